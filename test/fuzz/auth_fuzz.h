/*
 * auth_fuzz.h - what the fuzzers of logins share: SCRAM computed from the messages as RFC 5802 has
 * it, beside the code that is tested, and with a key derivation that costs nothing.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_TEST_AUTH_FUZZ_H
#define PGWEIR_TEST_AUTH_FUZZ_H

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "auth/base64.h"
#include "auth/pbkdf2.h"
#include "auth/scram.h"
#include "auth/scram_hmac.h"
#include "auth/server_auth.h"
#include "fuzz.h"

/* In the place of auth/pbkdf2.c: all of its input counts, its cost does not. */
void pbkdf2_begin(struct pbkdf2 *pbkdf2, const void *password, size_t length, const uint8_t *salt,
                  size_t salt_size, uint32_t iterations)
{
    struct buffer text = {0};
    HOLDS(iterations >= 1 && iterations <= SCRAM_ITERATIONS_MAX);
    buffer_append(&text, salt, salt_size);
    buffer_append(&text, &iterations, sizeof(iterations));
    HMAC(EVP_sha256(), password, (int) length, text.data, text.size, pbkdf2->key, NULL);
    buffer_release(&text);
}

bool pbkdf2_advance(struct pbkdf2 *pbkdf2 UNUSED, uint32_t limit UNUSED)
{
    return true;
}

void pbkdf2_release(struct pbkdf2 *pbkdf2 UNUSED)
{
}

UNUSED static void derive_keys(const char *password, const uint8_t *salt, size_t size,
                               uint32_t iterations, struct scram_keys *ret_keys)
{
    struct pbkdf2 salted;
    pbkdf2_begin(&salted, password, strlen(password), salt, size, iterations);
    scram_hmac(salted.key, "Client Key", 10, ret_keys->client_key);
    scram_hmac(salted.key, "Server Key", 10, ret_keys->server_key);
}

UNUSED static void on_keys_ready(struct task *task)
{
    loop_stop(container_of(task, struct scram_key_request, ready)->loop);
}

/* Gives the server what it waits for, if it waits for keys to be derived. */
UNUSED static void prove_with_new_keys(struct server_auth *auth, struct buffer *ret_answer)
{
    static struct loop *loop;
    struct scram_key_request request = {.ready.run = on_keys_ready};
    if (!server_auth_needs_keys(auth))
        return;
    if (loop == NULL)
        loop = loop_create();
    loop->stopping = false;
    server_auth_derive_keys(auth, loop, &request);
    loop_run(loop);
    server_auth_prove(auth, &request.keys, ret_answer);
    HOLDS(!server_auth_needs_keys(auth));
    scram_key_request_cancel(&request);
}

/* The value of ",<name>=" in a message; "" if it is not there. The caller frees. */
UNUSED static char *find_value(const struct buffer *message, const char *name)
{
    const char *start = (const char *) message->data, *end = start + message->size;
    const char *at = message->size > 0 ? memmem(start, message->size, name, strlen(name)) : NULL;
    if (at == NULL)
        return memory_copy_text("");
    at += strlen(name);
    const char *comma = memchr(at, ',', (size_t) (end - at));
    return memory_copy_bytes(at, (size_t) ((comma != NULL ? comma : end) - at));
}

/* The keys for salt and count of a server-first-message. */
UNUSED static void keys_for(const char *password, const struct buffer *server_first,
                            struct scram_keys *ret_keys)
{
    uint8_t salt[SCRAM_SALT_MAX];
    size_t size = 0;
    char *text = find_value(server_first, ",s="), *count = find_value(server_first, ",i=");
    HOLDS(base64_read(text, strlen(text), salt, sizeof(salt), &size));
    derive_keys(password, salt, size, (uint32_t) atoi(count), ret_keys);
    free(text);
    free(count);
}

/* AuthMessage: the first message without its header, and the last one without its proof. */
UNUSED static void auth_text(const struct buffer *client_first, const struct buffer *server_first,
                             const uint8_t *final, size_t size, struct buffer *ret_text)
{
    const char *first = (const char *) client_first->data;
    const char *bare = memchr(first, ',', client_first->size);
    bare = memchr(bare + 1, ',', client_first->size - (size_t) (bare + 1 - first));
    bare++;
    const char *proof = memmem(final, size, ",p=", 3);
    HOLDS(proof != NULL);
    buffer_append(ret_text, bare, client_first->size - (size_t) (bare - first));
    buffer_append(ret_text, ",", 1);
    buffer_append(ret_text, server_first->data, server_first->size);
    buffer_append(ret_text, ",", 1);
    buffer_append(ret_text, final, (size_t) (proof - (const char *) final));
}

/* A message that begins with `name` and ends with base64 of 32 bytes. */
UNUSED static bool read_key(const uint8_t *message, size_t size, const char *name,
                            uint8_t ret_key[SCRAM_KEY_SIZE])
{
    const uint8_t *at = size > 0 ? memmem(message, size, name, strlen(name)) : NULL;
    size_t length = 0;
    if (at == NULL)
        return false;
    at += strlen(name);
    return base64_read((const char *) at, (size_t) (message + size - at), ret_key, SCRAM_KEY_SIZE,
                       &length) &&
           length == SCRAM_KEY_SIZE;
}

#endif
