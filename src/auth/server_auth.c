/*
 * server_auth.c - logs in to a server.
 *
 * Only the first request may choose a method, and a SCRAM exchange that has begun must be finished:
 * a server that cannot prove that it knows the verifier is not believed. After a failure nothing is.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/server_auth.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "auth/md5.h"
#include "auth/stored_secret.h"
#include "base/memory.h"
#include "wire/message.h"

enum {
    REQUEST_OK = 0,
    REQUEST_CLEARTEXT = 3,
    REQUEST_MD5 = 5,
    REQUEST_SASL = 10,
    REQUEST_SASL_CONTINUE = 11,
    REQUEST_SASL_FINAL = 12,
};

enum step {
    STEP_BEGIN,
    STEP_ANSWERED,
    STEP_SCRAM_FIRST_SENT,
    STEP_SCRAM_NEEDS_KEYS,
    STEP_SCRAM_FINAL_SENT,
    STEP_FAILED,
};

struct server_auth {
    enum step step;
    char *user; /* owns */
    struct secret stored; /* owns */
    enum secret_kind kind;
    bool has_learned;
    struct scram_keys learned;
    struct scram_binding binding;
    struct scram_client scram;
    struct scram_key_cache *key_cache; /* borrows */
};

struct server_auth *server_auth_create(const char *user, const struct secret *stored,
                                       const struct scram_keys *learned,
                                       struct scram_key_cache *key_cache)
{
    struct server_auth *auth = memory_new(sizeof(*auth));
    auth->user = memory_copy_text(user);
    secret_copy(&auth->stored, stored);
    auth->kind = secret_kind_of(stored);
    auth->has_learned = learned != NULL;
    if (learned != NULL)
        auth->learned = *learned;
    auth->key_cache = key_cache;
    return auth;
}

void server_auth_bind(struct server_auth *auth, const struct scram_binding *binding)
{
    auth->binding = *binding;
    auth->scram.binding = &auth->binding;
}

void server_auth_destroy(struct server_auth *auth)
{
    if (auth == NULL)
        return;
    scram_client_release(&auth->scram);
    secret_release(&auth->stored);
    free(auth->user);
    OPENSSL_cleanse(auth, sizeof(*auth));
    free(auth);
}

static bool fail(struct failure *ret_failure, const char *reason)
{
    failure_set(ret_failure, "server login failed: %s", reason);
    return false;
}

static void write_password(struct buffer *out, const void *bytes, size_t size)
{
    size_t mark = message_begin(out, 'p');
    message_add_bytes(out, bytes, size);
    message_end(out, mark);
}

static bool answer_cleartext(struct server_auth *auth, struct buffer *ret_bytes,
                             struct failure *ret_failure)
{
    if (auth->kind != SECRET_PLAIN)
        return fail(ret_failure, "wrong password type");
    write_password(ret_bytes, auth->stored.bytes, auth->stored.length + 1);
    auth->step = STEP_ANSWERED;
    return true;
}

static bool answer_md5(struct server_auth *auth, struct message_reader *reader,
                       struct buffer *ret_bytes, struct failure *ret_failure)
{
    const uint8_t *salt = message_read_bytes(reader, MD5_SALT_SIZE);
    char stored[MD5_TEXT_SIZE], answer[MD5_TEXT_SIZE];
    if (salt == NULL)
        return fail(ret_failure, "malformed authentication request");
    if (auth->kind == SECRET_MD5)
        memcpy(stored, auth->stored.bytes, MD5_TEXT_SIZE);
    else if (auth->kind == SECRET_PLAIN)
        md5_stored(auth->stored.bytes, auth->stored.length, auth->user, stored);
    else
        return fail(ret_failure, "wrong password type");
    md5_answer(stored, salt, answer);
    write_password(ret_bytes, answer, sizeof(answer));
    auth->step = STEP_ANSWERED;
    return true;
}

/* Reads the list up to the empty name that must end it. */
static void read_mechanisms(struct message_reader *reader, bool *ret_scram, bool *ret_plus)
{
    const char *mechanism = message_read_text(reader);
    *ret_scram = *ret_plus = false;
    for (; mechanism[0] != '\0'; mechanism = message_read_text(reader)) {
        *ret_scram = *ret_scram || strcmp(mechanism, SCRAM_MECHANISM) == 0;
        *ret_plus = *ret_plus || strcmp(mechanism, SCRAM_MECHANISM_PLUS) == 0;
    }
}

static bool answer_sasl(struct server_auth *auth, struct message_reader *reader,
                        struct buffer *ret_bytes, struct failure *ret_failure)
{
    struct buffer first = {0};
    size_t mark;
    bool offered, plus_offered;
    read_mechanisms(reader, &offered, &plus_offered);
    auth->scram.plus = plus_offered && auth->binding.size > 0;
    if (reader->broken || message_bytes_left(reader) != 0)
        return fail(ret_failure, "malformed authentication request");
    if (!offered && !auth->scram.plus)
        return fail(ret_failure,
                    "none of the server's SASL authentication mechanisms are supported");
    if (auth->kind != SECRET_PLAIN && !auth->has_learned)
        return fail(ret_failure, "wrong password type");
    scram_client_first(&auth->scram, &first);
    mark = message_begin(ret_bytes, 'p');
    message_add_text(ret_bytes, auth->scram.plus ? SCRAM_MECHANISM_PLUS : SCRAM_MECHANISM);
    message_add_int32(ret_bytes, (uint32_t) first.size);
    message_add_bytes(ret_bytes, first.data, first.size);
    message_end(ret_bytes, mark);
    buffer_release(&first);
    auth->step = STEP_SCRAM_FIRST_SENT;
    return true;
}

/* Where they are known; false if they have to be derived. */
static bool get_keys(struct server_auth *auth, struct scram_keys *ret_keys)
{
    const struct scram_client *scram = &auth->scram;
    if (auth->kind == SECRET_PLAIN)
        return scram_key_cache_find(auth->key_cache, &auth->stored, scram->salt, scram->salt_size,
                                    scram->iterations, ret_keys);
    *ret_keys = auth->learned;
    return true;
}

static bool answer_sasl_continue(struct server_auth *auth, struct message_reader *reader,
                                 struct buffer *ret_bytes, struct failure *ret_failure)
{
    struct scram_keys keys;
    scram_problem problem =
        scram_client_challenge(&auth->scram, reader->position, message_bytes_left(reader));
    if (problem != NULL)
        return fail(ret_failure, problem);
    auth->step = STEP_SCRAM_NEEDS_KEYS;
    if (get_keys(auth, &keys)) {
        server_auth_prove(auth, &keys, ret_bytes);
        OPENSSL_cleanse(&keys, sizeof(keys));
    }
    return true;
}

bool server_auth_needs_keys(const struct server_auth *auth)
{
    return auth->step == STEP_SCRAM_NEEDS_KEYS;
}

void server_auth_derive_keys(struct server_auth *auth, struct loop *loop,
                             struct scram_key_request *request)
{
    const struct scram_client *scram = &auth->scram;
    scram_key_cache_request(auth->key_cache, loop, request, &auth->stored, scram->salt,
                            scram->salt_size, scram->iterations);
}

void server_auth_prove(struct server_auth *auth, const struct scram_keys *keys,
                       struct buffer *ret_bytes)
{
    struct buffer final = {0};
    scram_client_final(&auth->scram, keys, &final);
    write_password(ret_bytes, final.data, final.size);
    buffer_release(&final);
    auth->step = STEP_SCRAM_FINAL_SENT;
}

static bool check_sasl_final(struct server_auth *auth, struct message_reader *reader,
                             struct failure *ret_failure)
{
    scram_problem problem =
        scram_client_verify(&auth->scram, reader->position, message_bytes_left(reader));
    auth->step = STEP_ANSWERED;
    return problem == NULL || fail(ret_failure, problem);
}

/* Whether a request may come now. A server that has been answered may only say OK. */
static bool fits_step(const struct server_auth *auth, uint32_t request)
{
    switch (auth->step) {
    case STEP_BEGIN:
        return request != REQUEST_SASL_CONTINUE && request != REQUEST_SASL_FINAL;
    case STEP_ANSWERED:
        return request == REQUEST_OK;
    case STEP_SCRAM_FIRST_SENT:
        return request == REQUEST_SASL_CONTINUE;
    case STEP_SCRAM_FINAL_SENT:
        return request == REQUEST_SASL_FINAL;
    case STEP_SCRAM_NEEDS_KEYS: /* it is not its turn */
    case STEP_FAILED:
        break;
    }
    return false;
}

static bool respond(struct server_auth *auth, const uint8_t *body, size_t size,
                    struct buffer *ret_bytes, bool *ret_done, struct failure *ret_failure)
{
    struct message_reader reader = message_reader_of(body, size);
    uint32_t request = message_read_int32(&reader);
    if (reader.broken)
        return fail(ret_failure, "malformed authentication request");
    if (!fits_step(auth, request)) {
        if (auth->step == STEP_SCRAM_FIRST_SENT || auth->step == STEP_SCRAM_NEEDS_KEYS ||
            auth->step == STEP_SCRAM_FINAL_SENT)
            return fail(ret_failure, "failed to verify server signature");
        return fail(ret_failure, "unexpected authentication request");
    }
    switch (request) {
    case REQUEST_OK:
        *ret_done = true;
        return true;
    case REQUEST_CLEARTEXT:
        return answer_cleartext(auth, ret_bytes, ret_failure);
    case REQUEST_MD5:
        return answer_md5(auth, &reader, ret_bytes, ret_failure);
    case REQUEST_SASL:
        return answer_sasl(auth, &reader, ret_bytes, ret_failure);
    case REQUEST_SASL_CONTINUE:
        return answer_sasl_continue(auth, &reader, ret_bytes, ret_failure);
    case REQUEST_SASL_FINAL:
        return check_sasl_final(auth, &reader, ret_failure);
    default:
        failure_set(ret_failure, "server login failed: unknown/unsupported auth method: %u",
                    request);
        return false;
    }
}

bool server_auth_respond(struct server_auth *auth, const uint8_t *body, size_t size,
                         struct buffer *ret_bytes, bool *ret_done, struct failure *ret_failure)
{
    *ret_done = false;
    if (respond(auth, body, size, ret_bytes, ret_done, ret_failure))
        return true;
    auth->step = STEP_FAILED;
    return false;
}
