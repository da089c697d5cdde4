/*
 * random.c - random bytes from OpenSSL's generator.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/random.h"

#include <limits.h>

#include <openssl/rand.h>

#include "base/log.h"

void random_bytes(void *ret_bytes, size_t size)
{
    if (size > INT_MAX || RAND_bytes(ret_bytes, (int) size) != 1)
        log_fatal("the random generator failed");
}
