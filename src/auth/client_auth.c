/*
 * client_auth.c - checks that a client is who it says.
 *
 * An unknown user, and one whose secret does not fit the method, go through the same messages as
 * everybody else, are refused where a wrong password would be, and cost the same.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/client_auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "auth/md5.h"
#include "auth/stored_secret.h"
#include "base/memory.h"
#include "base/random.h"
#include "wire/message.h"

enum step {
    STEP_BEGIN,
    STEP_PASSWORD,
    STEP_SCRAM_FIRST,
    STEP_SCRAM_FINAL,
    STEP_OUTSIDE, /* waits for client_auth_answer() */
    STEP_OVER,
};

/* A secret by which the user may prove himself. */
struct candidate {
    struct secret secret; /* owns */
    enum secret_kind kind;
};

struct client_auth {
    enum auth_method method;
    enum step step;
    char *user; /* owns */
    bool known;
    struct candidate first, second;
    uint32_t iterations;
    struct scram_key_cache *key_cache; /* borrows */
    uint8_t md5_salt[MD5_SALT_SIZE];
    struct scram_binding binding;
    struct scram_server *scram; /* owns; NULL before a SCRAM exchange */
    struct secret received; /* owns; under PAM and LDAP */
    bool accepted;
    const char *problem; /* for the log */
    char *outside_problem; /* owns */
};

struct client_auth *client_auth_create(enum auth_method method, const char *user, bool known,
                                       const struct secret *stored, uint32_t iterations,
                                       struct scram_key_cache *key_cache)
{
    struct client_auth *auth = memory_new(sizeof(*auth));
    auth->user = memory_copy_text(user);
    auth->known = known;
    secret_copy(&auth->first.secret, stored);
    auth->first.kind = known ? secret_kind_of(stored) : SECRET_NONE;
    auth->method = method == AUTH_MD5 && auth->first.kind == SECRET_SCRAM ? AUTH_SCRAM : method;
    auth->iterations = iterations;
    auth->key_cache = key_cache;
    return auth;
}

void client_auth_add_secret(struct client_auth *auth, const struct secret *other)
{
    if (!auth->known)
        return;
    secret_copy(&auth->second.secret, other);
    auth->second.kind = secret_kind_of(other);
}

void client_auth_bind(struct client_auth *auth, const struct scram_binding *binding)
{
    auth->binding = *binding;
}

void client_auth_destroy(struct client_auth *auth)
{
    if (auth == NULL)
        return;
    if (auth->scram != NULL)
        scram_server_release(auth->scram);
    free(auth->scram);
    free(auth->outside_problem);
    secret_release(&auth->first.secret);
    secret_release(&auth->second.secret);
    secret_release(&auth->received);
    free(auth->user);
    OPENSSL_cleanse(auth, sizeof(*auth));
    free(auth);
}

static const char no_user[] = "no such user";

const char *client_auth_problem(const struct client_auth *auth)
{
    return auth != NULL ? auth->problem : no_user;
}

const struct scram_keys *client_auth_learned_keys(const struct client_auth *auth)
{
    bool learned = auth != NULL && auth->accepted && auth->scram != NULL &&
                   auth->first.kind == SECRET_SCRAM && !auth->scram->other_was_right;
    return learned ? &auth->scram->learned : NULL;
}

static enum auth_verdict refuse(struct client_auth *auth, const char *message, const char *problem,
                                struct failure *ret_failure)
{
    auth->step = STEP_OVER;
    auth->problem = problem;
    failure_set(ret_failure, "%s", message);
    return AUTH_REFUSED;
}

static enum auth_verdict accept(struct client_auth *auth)
{
    auth->step = STEP_OVER;
    auth->accepted = true;
    return AUTH_ACCEPTED;
}

/* ---- no request ---- */

enum auth_verdict client_auth_decide(enum auth_method method, bool known,
                                     struct failure *ret_failure)
{
    static const char *const refusals[] = {
        [AUTH_TRUST] = "\"trust\" authentication failed",
        [AUTH_PEER] = "unix socket login rejected",
        [AUTH_CERT] = "certificate authentication failed",
    };
    if (method != AUTH_ANY && method != AUTH_TRUST && method != AUTH_PEER && method != AUTH_CERT)
        return AUTH_CONTINUE;
    if (known || method == AUTH_ANY)
        return AUTH_ACCEPTED;
    failure_set(ret_failure, "%s", refusals[method]);
    return AUTH_REFUSED;
}

/* ---- the first request ---- */

/* The keys that stand behind a plain password, with the salt of the verifier. */
static void derive_keys(struct client_auth *auth, const struct secret *password,
                        uint8_t ret_stored_key[SCRAM_KEY_SIZE],
                        uint8_t ret_server_key[SCRAM_KEY_SIZE])
{
    const struct scram_verifier *verifier = &auth->scram->verifier;
    struct scram_keys keys;
    scram_key_cache_derive(auth->key_cache, password, verifier->salt, verifier->salt_size,
                           verifier->iterations, &keys);
    scram_stored_key(keys.client_key, ret_stored_key);
    memcpy(ret_server_key, keys.server_key, SCRAM_KEY_SIZE);
    OPENSSL_cleanse(&keys, sizeof(keys));
}

static void prepare_first(struct client_auth *auth)
{
    struct scram_verifier *verifier = &auth->scram->verifier;
    if (auth->first.kind == SECRET_SCRAM && secret_read_verifier(&auth->first.secret, verifier))
        return;
    verifier->iterations = auth->iterations;
    verifier->salt_size = SCRAM_SALT_SIZE;
    scram_key_cache_salt(auth->key_cache, auth->user, verifier->salt);
    if (auth->first.kind == SECRET_PLAIN) {
        derive_keys(auth, &auth->first.secret, verifier->stored_key, verifier->server_key);
        return;
    }
    random_bytes(verifier->stored_key, SCRAM_KEY_SIZE);
    random_bytes(verifier->server_key, SCRAM_KEY_SIZE);
    auth->scram->reject = true;
}

/* The second secret can be used too if it has, or can be given, the salt of the first. */
static void prepare_second(struct client_auth *auth)
{
    struct scram_server *scram = auth->scram;
    struct scram_verifier other;
    if (scram->reject)
        return;
    if (auth->second.kind == SECRET_PLAIN && scram->verifier.iterations <= SCRAM_ITERATIONS_MAX) {
        derive_keys(auth, &auth->second.secret, scram->other_stored_key, scram->other_server_key);
        scram->has_other = true;
    } else if (auth->second.kind == SECRET_SCRAM &&
               secret_read_verifier(&auth->second.secret, &other) &&
               other.iterations == scram->verifier.iterations &&
               other.salt_size == scram->verifier.salt_size &&
               memcmp(other.salt, scram->verifier.salt, other.salt_size) == 0) {
        memcpy(scram->other_stored_key, other.stored_key, SCRAM_KEY_SIZE);
        memcpy(scram->other_server_key, other.server_key, SCRAM_KEY_SIZE);
        scram->has_other = true;
    }
}

/* A verifier gives its salt to a plain password, not the other way round. */
static bool is_better_first(enum secret_kind first, enum secret_kind second)
{
    return (second == SECRET_SCRAM && first != SECRET_SCRAM) ||
           (second == SECRET_PLAIN && first != SECRET_SCRAM && first != SECRET_PLAIN);
}

static void prepare_verifiers(struct client_auth *auth)
{
    if (is_better_first(auth->first.kind, auth->second.kind)) {
        struct candidate first = auth->first;
        auth->first = auth->second;
        auth->second = first;
    }
    auth->scram = memory_new(sizeof(*auth->scram));
    auth->scram->binding = auth->binding;
    prepare_first(auth);
    prepare_second(auth);
}

/* The strongest first; an empty name ends the list. */
static void write_mechanisms(const struct client_auth *auth, struct buffer *ret_bytes)
{
    static const char both[] = SCRAM_MECHANISM_PLUS "\0" SCRAM_MECHANISM "\0";
    static const char one[] = SCRAM_MECHANISM "\0";
    if (auth->binding.size > 0)
        message_write_authentication(ret_bytes, 10, both, sizeof(both));
    else
        message_write_authentication(ret_bytes, 10, one, sizeof(one));
}

enum auth_verdict client_auth_begin(struct client_auth *auth, struct buffer *ret_bytes,
                                    struct failure *ret_failure)
{
    switch (auth->method) {
    case AUTH_ANY:
    case AUTH_TRUST:
    case AUTH_PEER:
    case AUTH_CERT:
        if (client_auth_decide(auth->method, auth->known, ret_failure) == AUTH_ACCEPTED)
            return accept(auth);
        auth->step = STEP_OVER;
        auth->problem = no_user;
        return AUTH_REFUSED;
    case AUTH_PLAIN:
    case AUTH_PAM:
    case AUTH_LDAP:
        message_write_authentication(ret_bytes, 3, NULL, 0);
        auth->step = STEP_PASSWORD;
        break;
    case AUTH_MD5:
        random_bytes(auth->md5_salt, sizeof(auth->md5_salt));
        message_write_authentication(ret_bytes, 5, auth->md5_salt, sizeof(auth->md5_salt));
        auth->step = STEP_PASSWORD;
        break;
    case AUTH_SCRAM:
        prepare_verifiers(auth);
        write_mechanisms(auth, ret_bytes);
        auth->step = STEP_SCRAM_FIRST;
        break;
    }
    return AUTH_CONTINUE;
}

/* ---- password messages ---- */

static const char no_password[] = "the user has no usable password";
static const char no_match[] = "the password does not match";

/* The checks give NULL if the password is right, or what the log is told. */

/* A count over the cap would stop the whole process for as long as PBKDF2 runs. */
static const char *check_by_verifier(const struct client_auth *auth, const struct secret *stored,
                                     const char *password, size_t length)
{
    struct secret given = {0};
    struct scram_verifier verifier;
    struct scram_keys keys;
    uint8_t stored_key[SCRAM_KEY_SIZE];
    if (!secret_read_verifier(stored, &verifier))
        return no_match;
    if (verifier.iterations > SCRAM_ITERATIONS_MAX)
        return "the stored verifier has too many iterations";
    secret_set(&given, password, length);
    scram_key_cache_derive(auth->key_cache, &given, verifier.salt, verifier.salt_size,
                           verifier.iterations, &keys);
    scram_stored_key(keys.client_key, stored_key);
    OPENSSL_cleanse(&keys, sizeof(keys));
    bool right = CRYPTO_memcmp(stored_key, verifier.stored_key, SCRAM_KEY_SIZE) == 0;
    if (!right)
        scram_key_cache_forget(auth->key_cache, &given, verifier.salt, verifier.salt_size,
                               verifier.iterations);
    secret_release(&given);
    return right ? NULL : no_match;
}

static const char *check_plain(const struct client_auth *auth, const struct candidate *candidate,
                               const char *password, size_t length)
{
    char md5[MD5_TEXT_SIZE];
    switch (candidate->kind) {
    case SECRET_NONE:
        return no_password;
    case SECRET_PLAIN:
        return secret_equals(&candidate->secret, password, length) ? NULL : no_match;
    case SECRET_MD5:
        md5_stored(password, length, auth->user, md5);
        return secret_equals(&candidate->secret, md5, MD5_TEXT_SIZE - 1) ? NULL : no_match;
    case SECRET_SCRAM:
        return check_by_verifier(auth, &candidate->secret, password, length);
    }
    return no_match;
}

static const char *check_md5(const struct client_auth *auth, const struct candidate *candidate,
                             const char *response, size_t length)
{
    char stored[MD5_TEXT_SIZE] = "", expected[MD5_TEXT_SIZE];
    if (candidate->kind == SECRET_MD5)
        memcpy(stored, candidate->secret.bytes, MD5_TEXT_SIZE);
    else
        md5_stored(candidate->secret.bytes != NULL ? candidate->secret.bytes : "", candidate->secret.length,
                   auth->user, stored);
    md5_answer(stored, auth->md5_salt, expected);
    bool right = length == MD5_TEXT_SIZE - 1 && CRYPTO_memcmp(expected, response, length) == 0;
    if (candidate->kind == SECRET_NONE)
        return no_password;
    return right ? NULL : no_match;
}

static const char *password_failure(const struct client_auth *auth)
{
    if (auth->method == AUTH_PAM)
        return "PAM authentication failed";
    return auth->method == AUTH_LDAP ? "LDAP authentication failed"
                                     : "password authentication failed";
}

static const char *check_candidate(const struct client_auth *auth,
                                   const struct candidate *candidate, const char *password,
                                   size_t length)
{
    return auth->method == AUTH_PLAIN ? check_plain(auth, candidate, password, length)
                                      : check_md5(auth, candidate, password, length);
}

static const char *check_candidates(const struct client_auth *auth, const char *password,
                                    size_t length)
{
    const char *problem = check_candidate(auth, &auth->first, password, length);
    if (problem != NULL && auth->second.kind != SECRET_NONE &&
        check_candidate(auth, &auth->second, password, length) == NULL)
        problem = NULL;
    return problem;
}

/* What a wrong password costs where there is a verifier. */
static void check_by_nothing(const struct client_auth *auth, const char *password, size_t length)
{
    struct secret given = {0};
    uint8_t salt[SCRAM_SALT_SIZE];
    struct scram_keys keys;
    scram_key_cache_salt(auth->key_cache, auth->user, salt);
    secret_set(&given, password, length);
    scram_key_cache_derive(auth->key_cache, &given, salt, sizeof(salt), auth->iterations, &keys);
    scram_key_cache_forget(auth->key_cache, &given, salt, sizeof(salt), auth->iterations);
    OPENSSL_cleanse(&keys, sizeof(keys));
    secret_release(&given);
}

/*
 * A wrong password costs a derivation of keys, whatever is stored of the user and whether he is
 * known: from the time that it takes nobody learns which users there are.
 */
static const char *check_plain_at_equal_cost(const struct client_auth *auth, const char *password,
                                             size_t length)
{
    uint64_t before = scram_key_cache_derivations(auth->key_cache);
    const char *problem = check_candidates(auth, password, length);
    if (problem != NULL && scram_key_cache_derivations(auth->key_cache) == before)
        check_by_nothing(auth, password, length);
    return problem;
}

static enum auth_verdict check_password(struct client_auth *auth, const uint8_t *body, size_t size,
                                        struct failure *ret_failure)
{
    const char *password = (const char *) body;
    const char *problem;
    if (size == 0 || memchr(body, '\0', size) != body + size - 1)
        return refuse(auth, password_failure(auth), "malformed password message", ret_failure);
    if (size == 1)
        return refuse(auth, "empty password returned by client", NULL, ret_failure);
    if (auth_method_is_outside(auth->method)) {
        secret_set(&auth->received, body, size - 1);
        auth->step = STEP_OUTSIDE;
        return AUTH_PENDING;
    }
    problem = auth->method == AUTH_PLAIN ? check_plain_at_equal_cost(auth, password, size - 1)
                                         : check_candidates(auth, password, size - 1);
    if (problem == NULL)
        return accept(auth);
    return refuse(auth, password_failure(auth), problem, ret_failure);
}

/* ---- PAM and LDAP ---- */

bool auth_method_is_outside(enum auth_method method)
{
    return method == AUTH_PAM || method == AUTH_LDAP;
}

const struct secret *client_auth_received(const struct client_auth *auth)
{
    return auth != NULL && auth->received.bytes != NULL ? &auth->received : NULL;
}

enum auth_verdict client_auth_answer(struct client_auth *auth, bool right, const char *problem,
                                     struct failure *ret_failure)
{
    if (auth->step == STEP_OUTSIDE && right)
        return accept(auth);
    secret_release(&auth->received);
    auth->outside_problem = memory_copy_text(problem);
    return refuse(auth, password_failure(auth), auth->outside_problem, ret_failure);
}

/* ---- SCRAM ---- */

static enum auth_verdict refuse_scram(struct client_auth *auth, const char *problem,
                                      struct failure *ret_failure)
{
    if (auth->first.kind == SECRET_MD5)
        problem = "the stored secret is an md5 hash, which scram-sha-256 cannot use";
    else if (auth->first.kind == SECRET_NONE)
        problem = no_password;
    return refuse(auth, "SASL authentication failed", problem, ret_failure);
}

static void write_sasl(struct buffer *out, uint32_t code, struct buffer *content)
{
    message_write_authentication(out, code, content->data, content->size);
    buffer_release(content);
}

static enum auth_verdict check_scram_first(struct client_auth *auth, const uint8_t *body,
                                           size_t size, struct buffer *ret_bytes,
                                           struct failure *ret_failure)
{
    struct message_reader reader = message_reader_of(body, size);
    const char *mechanism = message_read_text(&reader);
    uint32_t length = message_read_int32(&reader);
    struct buffer answer = {0};
    scram_problem problem;
    auth->scram->plus = auth->binding.size > 0 && strcmp(mechanism, SCRAM_MECHANISM_PLUS) == 0;
    if (!reader.broken && !auth->scram->plus && strcmp(mechanism, SCRAM_MECHANISM) != 0)
        return refuse(auth, "client selected an invalid SASL authentication mechanism", NULL,
                      ret_failure);
    if (reader.broken || length != message_bytes_left(&reader))
        return refuse_scram(auth, "malformed SASL message", ret_failure);
    problem = scram_server_first(auth->scram, reader.position, length, &answer);
    if (problem != NULL) {
        buffer_release(&answer);
        return refuse_scram(auth, problem, ret_failure);
    }
    write_sasl(ret_bytes, 11, &answer);
    auth->step = STEP_SCRAM_FINAL;
    return AUTH_CONTINUE;
}

static enum auth_verdict check_scram_final(struct client_auth *auth, const uint8_t *body,
                                           size_t size, struct buffer *ret_bytes,
                                           struct failure *ret_failure)
{
    struct buffer answer = {0};
    scram_problem problem = scram_server_final(auth->scram, body, size, &answer);
    if (problem != NULL) {
        buffer_release(&answer);
        return refuse_scram(auth, problem, ret_failure);
    }
    write_sasl(ret_bytes, 12, &answer);
    return accept(auth);
}

enum auth_verdict client_auth_respond(struct client_auth *auth, const uint8_t *body, size_t size,
                                      struct buffer *ret_bytes, struct failure *ret_failure)
{
    switch (auth->step) {
    case STEP_PASSWORD:
        return check_password(auth, body, size, ret_failure);
    case STEP_SCRAM_FIRST:
        return check_scram_first(auth, body, size, ret_bytes, ret_failure);
    case STEP_SCRAM_FINAL:
        return check_scram_final(auth, body, size, ret_bytes, ret_failure);
    case STEP_BEGIN:
    case STEP_OUTSIDE:
    case STEP_OVER:
        break;
    }
    return refuse(auth, "bad packet", "a password message that nobody asked for", ret_failure);
}
