/*
 * scram_keys.c - derives SCRAM keys from passwords, and remembers them.
 *
 * The table is keyed by an HMAC of its input under a secret of this process, so no password stays
 * in it. Entries are ordered by their last use.
 *
 * SPDX-License-Identifier: ISC
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stringprep.h>
#include <utlist.h>

#include "auth/scram.h"
#include "auth/scram_hmac.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"

struct cached_keys {
    uint8_t fingerprint[SCRAM_KEY_SIZE];
    struct scram_keys keys;
    struct cached_keys *prev, *next; /* by last use, the newest first */
    UT_hash_handle hh;
};

struct scram_key_cache {
    size_t limit;
    uint8_t secret[SCRAM_KEY_SIZE]; /* of this process */
    struct cached_keys *table, *by_use;
    uint64_t derivations;
};

void scram_hmac(const uint8_t key[SCRAM_KEY_SIZE], const void *bytes, size_t size,
                uint8_t ret_mac[SCRAM_KEY_SIZE])
{
    if (HMAC(EVP_sha256(), key, SCRAM_KEY_SIZE, bytes, size, ret_mac, NULL) == NULL)
        log_fatal("the crypto library failed to compute HMAC-SHA-256");
}

void scram_stored_key(const uint8_t client_key[SCRAM_KEY_SIZE], uint8_t ret_stored[SCRAM_KEY_SIZE])
{
    if (EVP_Digest(client_key, SCRAM_KEY_SIZE, ret_stored, NULL, EVP_sha256(), NULL) != 1)
        log_fatal("the crypto library failed to compute SHA-256");
}

struct scram_key_cache *scram_key_cache_create(size_t limit)
{
    struct scram_key_cache *cache = memory_new(sizeof(*cache));
    cache->limit = limit;
    random_bytes(cache->secret, sizeof(cache->secret));
    return cache;
}

static void drop(struct scram_key_cache *cache, struct cached_keys *entry)
{
    HASH_DEL(cache->table, entry);
    DL_DELETE(cache->by_use, entry);
    OPENSSL_cleanse(entry, sizeof(*entry));
    free(entry);
}

void scram_key_cache_destroy(struct scram_key_cache *cache)
{
    if (cache == NULL)
        return;
    while (cache->by_use != NULL)
        drop(cache, cache->by_use);
    OPENSSL_cleanse(cache, sizeof(*cache));
    free(cache);
}

void scram_key_cache_salt(struct scram_key_cache *cache, const char *user,
                          uint8_t ret_salt[SCRAM_SALT_SIZE])
{
    uint8_t mac[SCRAM_KEY_SIZE];
    scram_hmac(cache->secret, user, strlen(user), mac);
    memcpy(ret_salt, mac, SCRAM_SALT_SIZE);
}

static void fingerprint(const struct scram_key_cache *cache, const struct secret *password,
                        const uint8_t *salt, size_t salt_size, uint32_t iterations,
                        uint8_t ret_fingerprint[SCRAM_KEY_SIZE])
{
    struct buffer input = {0};
    buffer_append(&input, &iterations, sizeof(iterations));
    buffer_append(&input, &salt_size, sizeof(salt_size));
    buffer_append(&input, salt, salt_size);
    buffer_append(&input, password->bytes, password->length);
    scram_hmac(cache->secret, input.data, input.size, ret_fingerprint);
    buffer_wipe(&input);
}

/* SASLprep where it applies, else the password as it is: PostgreSQL's rule. */
static char *prepare(const struct secret *password)
{
    char *prepared = NULL;
    if (stringprep_profile(password->bytes, &prepared, "SASLprep", STRINGPREP_NO_UNASSIGNED) ==
            STRINGPREP_OK &&
        prepared[0] != '\0')
        return prepared;
    if (prepared != NULL)
        OPENSSL_cleanse(prepared, strlen(prepared));
    free(prepared);
    return memory_copy_text(password->bytes);
}

static void derive(const struct secret *password, const uint8_t *salt, size_t salt_size,
                   uint32_t iterations, struct scram_keys *ret_keys)
{
    uint8_t salted[SCRAM_KEY_SIZE];
    char *prepared = prepare(password);
    if (PKCS5_PBKDF2_HMAC(prepared, (int) strlen(prepared), salt, (int) salt_size,
                          (int) iterations, EVP_sha256(), sizeof(salted), salted) != 1)
        log_fatal("the crypto library failed to compute PBKDF2");
    OPENSSL_cleanse(prepared, strlen(prepared));
    free(prepared);
    scram_hmac(salted, "Client Key", 10, ret_keys->client_key);
    scram_hmac(salted, "Server Key", 10, ret_keys->server_key);
    OPENSSL_cleanse(salted, sizeof(salted));
}

void scram_key_cache_derive(struct scram_key_cache *cache, const struct secret *password,
                            const uint8_t *salt, size_t salt_size, uint32_t iterations,
                            struct scram_keys *ret_keys)
{
    uint8_t key[SCRAM_KEY_SIZE];
    struct cached_keys *entry;
    fingerprint(cache, password, salt, salt_size, iterations, key);
    HASH_FIND(hh, cache->table, key, sizeof(key), entry);
    if (entry == NULL) {
        entry = memory_new(sizeof(*entry));
        memcpy(entry->fingerprint, key, sizeof(key));
        derive(password, salt, salt_size, iterations, &entry->keys);
        cache->derivations++;
        log_debug(NULL, "derived the keys of a password (%" PRIu64 " so far)", cache->derivations);
        HASH_ADD(hh, cache->table, fingerprint, sizeof(key), entry);
    } else {
        DL_DELETE(cache->by_use, entry);
    }
    DL_PREPEND(cache->by_use, entry);
    *ret_keys = entry->keys;
    if (HASH_COUNT(cache->table) > cache->limit)
        drop(cache, cache->by_use->prev);
}

void scram_key_cache_forget(struct scram_key_cache *cache, const struct secret *password,
                            const uint8_t *salt, size_t salt_size, uint32_t iterations)
{
    uint8_t key[SCRAM_KEY_SIZE];
    struct cached_keys *entry;
    fingerprint(cache, password, salt, salt_size, iterations, key);
    HASH_FIND(hh, cache->table, key, sizeof(key), entry);
    if (entry != NULL)
        drop(cache, entry);
}

uint64_t scram_key_cache_derivations(const struct scram_key_cache *cache)
{
    return cache->derivations;
}
