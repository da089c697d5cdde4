/*
 * pbkdf2.c - PBKDF2 with HMAC-SHA-256, for a key of 32 bytes, in slices.
 *
 * 32 bytes are one block of PBKDF2, and an iteration is one HMAC under the same key. So the state of
 * SHA-256 after each pad of that key is kept, and an iteration costs two compressions.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/pbkdf2.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/log.h"

#define SHA256_BLOCK_SIZE 64

/* One is 1 where OpenSSL did what it was asked for. */
static void must(int one)
{
    if (one != 1)
        log_fatal("the crypto library failed to compute PBKDF2");
}

static EVP_MD_CTX *new_context(void)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    must(context != NULL);
    return context;
}

/* RFC 2104: a key that is longer than a block is hashed, a shorter one filled up with zeros. */
static void make_block(const void *password, size_t length, uint8_t ret_block[SHA256_BLOCK_SIZE])
{
    memset(ret_block, 0, SHA256_BLOCK_SIZE);
    if (length > SHA256_BLOCK_SIZE)
        must(EVP_Digest(password, length, ret_block, NULL, EVP_sha256(), NULL));
    else
        memcpy(ret_block, password, length);
}

static EVP_MD_CTX *hash_pad(const uint8_t block[SHA256_BLOCK_SIZE], uint8_t pad)
{
    uint8_t padded[SHA256_BLOCK_SIZE];
    EVP_MD_CTX *context = new_context();
    for (size_t i = 0; i < sizeof(padded); i++)
        padded[i] = block[i] ^ pad;
    must(EVP_DigestInit_ex(context, EVP_sha256(), NULL));
    must(EVP_DigestUpdate(context, padded, sizeof(padded)));
    OPENSSL_cleanse(padded, sizeof(padded));
    return context;
}

/* HMAC of what has been fed to `work`, which began as a copy of `inner`, into `last` and `key`. */
static void end_iteration(struct pbkdf2 *pbkdf2)
{
    must(EVP_DigestFinal_ex(pbkdf2->work, pbkdf2->last, NULL));
    must(EVP_MD_CTX_copy_ex(pbkdf2->work, pbkdf2->outer));
    must(EVP_DigestUpdate(pbkdf2->work, pbkdf2->last, sizeof(pbkdf2->last)));
    must(EVP_DigestFinal_ex(pbkdf2->work, pbkdf2->last, NULL));
    for (size_t i = 0; i < sizeof(pbkdf2->key); i++)
        pbkdf2->key[i] ^= pbkdf2->last[i];
}

void pbkdf2_begin(struct pbkdf2 *pbkdf2, const void *password, size_t length, const uint8_t *salt,
                  size_t salt_size, uint32_t iterations)
{
    static const uint8_t first_block[] = {0, 0, 0, 1};
    uint8_t block[SHA256_BLOCK_SIZE];
    make_block(password, length, block);
    pbkdf2->inner = hash_pad(block, 0x36);
    pbkdf2->outer = hash_pad(block, 0x5c);
    OPENSSL_cleanse(block, sizeof(block));
    pbkdf2->work = new_context();
    memset(pbkdf2->key, 0, sizeof(pbkdf2->key));
    pbkdf2->left = iterations - 1;
    must(EVP_MD_CTX_copy_ex(pbkdf2->work, pbkdf2->inner));
    must(EVP_DigestUpdate(pbkdf2->work, salt, salt_size));
    must(EVP_DigestUpdate(pbkdf2->work, first_block, sizeof(first_block)));
    end_iteration(pbkdf2);
}

bool pbkdf2_advance(struct pbkdf2 *pbkdf2, uint32_t limit)
{
    for (; pbkdf2->left > 0 && limit > 0; pbkdf2->left--, limit--) {
        must(EVP_MD_CTX_copy_ex(pbkdf2->work, pbkdf2->inner));
        must(EVP_DigestUpdate(pbkdf2->work, pbkdf2->last, sizeof(pbkdf2->last)));
        end_iteration(pbkdf2);
    }
    return pbkdf2->left == 0;
}

void pbkdf2_release(struct pbkdf2 *pbkdf2)
{
    EVP_MD_CTX_free(pbkdf2->inner);
    EVP_MD_CTX_free(pbkdf2->outer);
    EVP_MD_CTX_free(pbkdf2->work);
    OPENSSL_cleanse(pbkdf2, sizeof(*pbkdf2));
}
