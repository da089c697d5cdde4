/*
 * secret.c - a password, key or stored verifier: wiped before its memory is given back.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/secret.h"

#include <stdlib.h>

#include <openssl/crypto.h>

#include "base/memory.h"

void secret_release(struct secret *secret)
{
    if (secret->bytes != NULL)
        OPENSSL_cleanse(secret->bytes, secret->length);
    free(secret->bytes);
    *secret = (struct secret){0};
}

void secret_set(struct secret *secret, const void *bytes, size_t length)
{
    secret_release(secret);
    secret->bytes = memory_copy_bytes(bytes, length);
    secret->length = length;
}

void secret_copy(struct secret *to, const struct secret *from)
{
    if (to == from)
        return;
    if (from->bytes == NULL)
        secret_release(to);
    else
        secret_set(to, from->bytes, from->length);
}

bool secret_is_empty(const struct secret *secret)
{
    return secret->length == 0;
}

bool secret_equals(const struct secret *secret, const void *bytes, size_t length)
{
    return secret->length == length && (length == 0 || CRYPTO_memcmp(secret->bytes, bytes, length) == 0);
}
