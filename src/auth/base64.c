/*
 * base64.c - base64 over OpenSSL's, made strict.
 *
 * EVP_DecodeBlock() trims blanks and counts padding as bytes; both are checked for here.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/base64.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

void base64_write(struct buffer *out, const uint8_t *bytes, size_t size)
{
    size_t length = (size + 2) / 3 * 4;
    uint8_t *text = buffer_extend(out, length + 1);
    EVP_EncodeBlock(text, bytes, (int) size);
    out->size--; /* the terminator */
}

static size_t count_padding(const char *text, size_t length)
{
    size_t padding = 0;
    while (padding < length && text[length - 1 - padding] == '=')
        padding++;
    return padding;
}

static bool is_alphabet(const char *text, size_t length)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\0' || strchr(alphabet, text[i]) == NULL)
            return false;
    return true;
}

bool base64_read(const char *text, size_t length, uint8_t *ret_bytes, size_t capacity,
                 size_t *ret_size)
{
    size_t padding = count_padding(text, length);
    struct buffer decoded = {0};
    int count;
    if (length % 4 != 0 || length > 65536 || padding > 2 || !is_alphabet(text, length - padding))
        return false;
    count = EVP_DecodeBlock(buffer_extend(&decoded, length + 1), (const uint8_t *) text,
                            (int) length);
    if (count < 0 || (size_t) count - padding > capacity) {
        buffer_wipe(&decoded);
        return false;
    }
    *ret_size = (size_t) count - padding;
    memcpy(ret_bytes, decoded.data, *ret_size);
    buffer_wipe(&decoded);
    return true;
}
