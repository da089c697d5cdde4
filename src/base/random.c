/*
 * random.c - random bytes from OpenSSL's generator, fetched in larger pieces.
 *
 * A call of the generator costs thousands of instructions whatever its size, and a login needs a few
 * bytes. Bytes that were given out are wiped from the stock. For the thread of the loop only, and not
 * before the process has gone to the background: a child must not share its parent's stock.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/random.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "base/log.h"

#define STOCK_SIZE 1024

static uint8_t stock[STOCK_SIZE];
static size_t stock_left;

static void fetch(void *ret_bytes, size_t size)
{
    if (size > INT_MAX || RAND_bytes(ret_bytes, (int) size) != 1)
        log_fatal("the random generator failed");
}

void random_bytes(void *ret_bytes, size_t size)
{
    if (size > STOCK_SIZE / 8) {
        fetch(ret_bytes, size);
        return;
    }
    if (size > stock_left) {
        fetch(stock, STOCK_SIZE);
        stock_left = STOCK_SIZE;
    }
    stock_left -= size;
    memcpy(ret_bytes, stock + stock_left, size);
    OPENSSL_cleanse(stock + stock_left, size);
}

void random_forget(void)
{
    OPENSSL_cleanse(stock, sizeof(stock));
    stock_left = 0;
}
