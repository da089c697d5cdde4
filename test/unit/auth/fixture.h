/*
 * fixture.h - what the tests of logins share: secrets, verifiers and SASL messages from texts.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_TEST_AUTH_FIXTURE_H
#define PGWEIR_TEST_AUTH_FIXTURE_H

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <string.h>

#include "auth/base64.h"
#include "auth/stored_secret.h"
#include "base/buffer.h"
#include "base/compiler.h"
#include "wire/message.h"

/* NULL gives an unset secret. */
UNUSED static struct secret secret_of(const char *text)
{
    struct secret secret = {0};
    if (text != NULL)
        secret_set(&secret, text, strlen(text));
    return secret;
}

/* What PostgreSQL would store for the password. */
UNUSED static void make_verifier_text(const char *password, uint32_t iterations, char *ret_text,
                                      size_t size)
{
    static const uint8_t salt[SCRAM_SALT_SIZE] = "sixteen letters";
    struct scram_key_cache *cache = scram_key_cache_create(1);
    struct secret secret = secret_of(password);
    struct scram_keys keys;
    uint8_t stored_key[SCRAM_KEY_SIZE];
    struct buffer text = {0};
    scram_key_cache_derive(cache, &secret, salt, sizeof(salt), iterations, &keys);
    scram_stored_key(keys.client_key, stored_key);
    base64_write(&text, salt, sizeof(salt));
    buffer_append(&text, "$", 1);
    base64_write(&text, stored_key, sizeof(stored_key));
    buffer_append(&text, ":", 1);
    base64_write(&text, keys.server_key, sizeof(keys.server_key));
    snprintf(ret_text, size, "SCRAM-SHA-256$%u:%.*s", iterations, (int) text.size,
             (const char *) text.data);
    buffer_release(&text);
    secret_release(&secret);
    scram_key_cache_destroy(cache);
}

/* What a client says to the server's challenge, with keys that are derived at once. */
UNUSED static scram_problem client_answer(struct scram_client *client,
                                          const struct secret *password,
                                          struct scram_key_cache *cache, const uint8_t *challenge,
                                          size_t size, struct buffer *ret_message)
{
    struct scram_keys keys;
    scram_problem problem = scram_client_challenge(client, challenge, size);
    if (problem != NULL)
        return problem;
    scram_key_cache_derive(cache, password, client->salt, client->salt_size, client->iterations,
                           &keys);
    scram_client_final(client, &keys, ret_message);
    return NULL;
}

/* The body of a SASLInitialResponse that claims `length` bytes of data. */
UNUSED static void write_sasl_initial(struct buffer *out, const char *mechanism, uint32_t length,
                                      const void *data, size_t size)
{
    message_add_text(out, mechanism);
    message_add_int32(out, length);
    message_add_bytes(out, data, size);
}

/* The buffer holds just the bytes of the literal, without its terminator. */
#define expect_message(buffer, literal)                                    \
    do {                                                                   \
        assert_int_equal((buffer)->size, sizeof(literal) - 1);             \
        assert_memory_equal((buffer)->data, literal, sizeof(literal) - 1); \
    } while (0)

#endif
