/*
 * md5.c - PostgreSQL's md5 password hashes.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/md5.h"

#include <string.h>

#include <openssl/evp.h>

#include "base/log.h"

/* "md5" and the hex digits of md5(first || second). */
static void digest_text(const void *first, size_t first_size, const void *second,
                        size_t second_size, char ret_text[MD5_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL || EVP_DigestInit_ex(context, EVP_md5(), NULL) != 1 ||
        EVP_DigestUpdate(context, first, first_size) != 1 ||
        EVP_DigestUpdate(context, second, second_size) != 1 ||
        EVP_DigestFinal_ex(context, digest, NULL) != 1)
        log_fatal("the crypto library refuses to compute md5; use scram-sha-256");
    EVP_MD_CTX_free(context);
    memcpy(ret_text, "md5", 3);
    for (size_t i = 0; i < 16; i++) {
        ret_text[3 + 2 * i] = digits[digest[i] >> 4];
        ret_text[4 + 2 * i] = digits[digest[i] & 15];
    }
    ret_text[MD5_TEXT_SIZE - 1] = '\0';
}

void md5_stored(const void *password, size_t length, const char *user, char ret_text[MD5_TEXT_SIZE])
{
    digest_text(password, length, user, strlen(user), ret_text);
}

void md5_answer(const char stored[MD5_TEXT_SIZE], const uint8_t salt[MD5_SALT_SIZE],
                char ret_text[MD5_TEXT_SIZE])
{
    digest_text(stored + 3, MD5_TEXT_SIZE - 4, salt, MD5_SALT_SIZE, ret_text);
}
