/*
 * stored_secret.c - what a stored password is.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/stored_secret.h"

#include <string.h>

#include <openssl/crypto.h>

#include "auth/base64.h"
#include "auth/md5.h"

static bool is_md5(const struct secret *secret)
{
    return secret->length == MD5_TEXT_SIZE - 1 && memcmp(secret->bytes, "md5", 3) == 0 &&
           strspn(secret->bytes + 3, "0123456789abcdef") == MD5_TEXT_SIZE - 4;
}

static const char verifier_prefix[] = SCRAM_MECHANISM "$";

static bool looks_like_verifier(const struct secret *secret)
{
    return secret->bytes != NULL &&
           strncmp(secret->bytes, verifier_prefix, sizeof(verifier_prefix) - 1) == 0;
}

/* Reads base64 that ends with `end`; returns what follows, or NULL. */
static const char *read_part(const char *text, char end, uint8_t *ret_bytes, size_t capacity,
                             size_t *ret_size)
{
    const char *stop = strchr(text, end);
    if (stop == NULL || !base64_read(text, (size_t) (stop - text), ret_bytes, capacity, ret_size))
        return NULL;
    return stop + (end != '\0');
}

static const char *read_iterations(const char *text, uint32_t *ret_iterations)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && value <= INT32_MAX; at++)
        value = value * 10 + (uint64_t) (*at - '0');
    if (at == text || *at != ':' || value == 0 || value > INT32_MAX)
        return NULL;
    *ret_iterations = (uint32_t) value;
    return at + 1;
}

bool secret_read_verifier(const struct secret *secret, struct scram_verifier *ret_verifier)
{
    size_t stored_size = 0, server_size = 0;
    const char *at;
    if (!looks_like_verifier(secret))
        return false;
    at = read_iterations(secret->bytes + sizeof(verifier_prefix) - 1, &ret_verifier->iterations);
    if (at != NULL)
        at = read_part(at, '$', ret_verifier->salt, SCRAM_SALT_MAX, &ret_verifier->salt_size);
    if (at != NULL)
        at = read_part(at, ':', ret_verifier->stored_key, SCRAM_KEY_SIZE, &stored_size);
    if (at != NULL)
        at = read_part(at, '\0', ret_verifier->server_key, SCRAM_KEY_SIZE, &server_size);
    return at != NULL && stored_size == SCRAM_KEY_SIZE && server_size == SCRAM_KEY_SIZE;
}

enum secret_kind secret_kind_of(const struct secret *secret)
{
    struct scram_verifier verifier;
    if (secret_is_empty(secret))
        return SECRET_NONE;
    if (is_md5(secret))
        return SECRET_MD5;
    if (!looks_like_verifier(secret))
        return SECRET_PLAIN;
    bool usable = secret_read_verifier(secret, &verifier);
    OPENSSL_cleanse(&verifier, sizeof(verifier));
    return usable ? SECRET_SCRAM : SECRET_NONE;
}
