/*
 * scram_keys.c - derives SCRAM keys from passwords, and remembers them.
 *
 * The table is keyed by an HMAC of its input under a secret of this process, so no password stays
 * in it. Entries are ordered by their last use.
 *
 * Requests take turns: each slice goes to the one that has waited longest for it.
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

#include "auth/pbkdf2.h"
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
    struct scram_key_request *requests; /* who waits for the next slice longest is first */
    struct task slice;                  /* posted while there are requests */
    uint64_t derivations;
};

/* What a request waits for. */
struct scram_derivation {
    struct pbkdf2 pbkdf2;
    uint8_t fingerprint[SCRAM_KEY_SIZE]; /* under which the keys will be kept */
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

/* The time of SASLprep grows with the square of the length, and a guess may have 64 KiB. */
static bool is_for_saslprep(const struct secret *password)
{
    bool is_ascii = true;
    for (size_t i = 0; i < password->length && is_ascii; i++)
        is_ascii = (unsigned char) password->bytes[i] < 0x80;
    return !is_ascii && password->length <= SCRAM_PREPARED_MAX;
}

/* SASLprep where it applies, else the password as it is: PostgreSQL's rule. */
static char *prepare(const struct secret *password)
{
    char *prepared = NULL;
    if (is_for_saslprep(password) &&
        stringprep_profile(password->bytes, &prepared, "SASLprep", STRINGPREP_NO_UNASSIGNED) ==
            STRINGPREP_OK &&
        prepared[0] != '\0')
        return prepared;
    if (prepared != NULL)
        OPENSSL_cleanse(prepared, strlen(prepared));
    free(prepared);
    return memory_copy_text(password->bytes);
}

static void begin(struct pbkdf2 *pbkdf2, const struct secret *password, const uint8_t *salt,
                  size_t salt_size, uint32_t iterations)
{
    char *prepared = prepare(password);
    size_t length = strlen(prepared);
    pbkdf2_begin(pbkdf2, prepared, length, salt, salt_size, iterations);
    OPENSSL_cleanse(prepared, length);
    free(prepared);
}

/* The salted password is complete: takes the keys from it. */
static void finish(struct pbkdf2 *pbkdf2, struct scram_keys *ret_keys)
{
    scram_hmac(pbkdf2->key, "Client Key", 10, ret_keys->client_key);
    scram_hmac(pbkdf2->key, "Server Key", 10, ret_keys->server_key);
    pbkdf2_release(pbkdf2);
}

static bool find(struct scram_key_cache *cache, const uint8_t key[SCRAM_KEY_SIZE],
                 struct scram_keys *ret_keys)
{
    struct cached_keys *entry;
    HASH_FIND(hh, cache->table, key, SCRAM_KEY_SIZE, entry);
    if (entry == NULL)
        return false;
    DL_DELETE(cache->by_use, entry);
    DL_PREPEND(cache->by_use, entry);
    *ret_keys = entry->keys;
    return true;
}

/* Keeps keys that were derived, unless somebody else has derived them meanwhile. */
static void add(struct scram_key_cache *cache, const uint8_t key[SCRAM_KEY_SIZE],
                const struct scram_keys *keys)
{
    struct scram_keys known;
    struct cached_keys *entry;
    cache->derivations++;
    log_debug(NULL, "derived the keys of a password (%" PRIu64 " so far)", cache->derivations);
    if (find(cache, key, &known))
        return;
    entry = memory_new(sizeof(*entry));
    memcpy(entry->fingerprint, key, SCRAM_KEY_SIZE);
    entry->keys = *keys;
    HASH_ADD(hh, cache->table, fingerprint, SCRAM_KEY_SIZE, entry);
    DL_PREPEND(cache->by_use, entry);
    if (HASH_COUNT(cache->table) > cache->limit)
        drop(cache, cache->by_use->prev);
}

bool scram_key_cache_find(struct scram_key_cache *cache, const struct secret *password,
                          const uint8_t *salt, size_t salt_size, uint32_t iterations,
                          struct scram_keys *ret_keys)
{
    uint8_t key[SCRAM_KEY_SIZE];
    fingerprint(cache, password, salt, salt_size, iterations, key);
    return find(cache, key, ret_keys);
}

void scram_key_cache_derive(struct scram_key_cache *cache, const struct secret *password,
                            const uint8_t *salt, size_t salt_size, uint32_t iterations,
                            struct scram_keys *ret_keys)
{
    uint8_t key[SCRAM_KEY_SIZE];
    struct pbkdf2 pbkdf2;
    fingerprint(cache, password, salt, salt_size, iterations, key);
    if (find(cache, key, ret_keys))
        return;
    begin(&pbkdf2, password, salt, salt_size, iterations);
    while (!pbkdf2_advance(&pbkdf2, UINT32_MAX))
        ;
    finish(&pbkdf2, ret_keys);
    add(cache, key, ret_keys);
}

/* ---- requests ---- */

static void leave_queue(struct scram_key_request *request)
{
    DL_DELETE(request->cache->requests, request);
    free(request->derivation);
    request->derivation = NULL;
}

/* One slice for the first in the queue, who then goes to its end. */
static void on_slice(struct task *task)
{
    struct scram_key_cache *cache = container_of(task, struct scram_key_cache, slice);
    struct scram_key_request *request = cache->requests;
    struct scram_derivation *derivation = request->derivation;
    struct loop *loop = request->loop;
    DL_DELETE(cache->requests, request);
    DL_APPEND(cache->requests, request);
    if (pbkdf2_advance(&derivation->pbkdf2, SCRAM_SLICE)) {
        finish(&derivation->pbkdf2, &request->keys);
        add(cache, derivation->fingerprint, &request->keys);
        leave_queue(request);
        loop_post(loop, &request->ready);
    }
    if (cache->requests != NULL)
        loop_post(loop, &cache->slice);
}

void scram_key_cache_request(struct scram_key_cache *cache, struct loop *loop,
                             struct scram_key_request *request, const struct secret *password,
                             const uint8_t *salt, size_t salt_size, uint32_t iterations)
{
    struct scram_derivation *derivation = memory_new(sizeof(*derivation));
    fingerprint(cache, password, salt, salt_size, iterations, derivation->fingerprint);
    begin(&derivation->pbkdf2, password, salt, salt_size, iterations);
    request->loop = loop;
    request->cache = cache;
    request->derivation = derivation;
    DL_APPEND(cache->requests, request);
    cache->slice.run = on_slice;
    loop_post(loop, &cache->slice);
}

void scram_key_request_cancel(struct scram_key_request *request)
{
    if (request->derivation != NULL) {
        pbkdf2_release(&request->derivation->pbkdf2);
        leave_queue(request);
        if (request->cache->requests == NULL)
            loop_cancel(request->loop, &request->cache->slice);
    }
    if (request->loop != NULL)
        loop_cancel(request->loop, &request->ready);
    OPENSSL_cleanse(&request->keys, sizeof(request->keys));
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
