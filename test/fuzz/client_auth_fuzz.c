/*
 * client_auth_fuzz.c - a hostile client while it logs in.
 *
 * Nobody gets in without the password, computed here beside the code: the text itself, the md5
 * answer to the salt that was sent, or a SCRAM proof over the messages as they went over the wire.
 *
 * The input is two bytes that choose the method, the secret and the binding, then messages.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/client_auth.h"
#include "auth/md5.h"
#include "auth/stored_secret.h"
#include "auth_fuzz.h"
#include "fuzz.h"
#include "wire/frame.h"
#include "wire/message.h"

#define PASSWORD "a password"
#define SECOND   "the next one"

/* What is stored of the password, and what went over the wire. */
struct login {
    enum auth_method method;
    enum secret_kind kind;
    bool known, two;
    uint32_t request; /* the last one */
    struct buffer salt, client_first, server_first;
};

/* "SCRAM-SHA-256$4096:salt$StoredKey:ServerKey" */
static void write_verifier(struct buffer *out, const char *password)
{
    struct scram_keys keys;
    uint8_t stored[SCRAM_KEY_SIZE];
    derive_keys(password, (const uint8_t *) "salt", 4, 4096, &keys);
    scram_stored_key(keys.client_key, stored);
    put_text(out, "SCRAM-SHA-256$4096:");
    base64_write(out, (const uint8_t *) "salt", 4);
    put_text(out, "$");
    base64_write(out, stored, sizeof(stored));
    put_text(out, ":");
    base64_write(out, keys.server_key, sizeof(keys.server_key));
}

static void set_secret(struct secret *secret, enum secret_kind kind, const char *password)
{
    struct buffer text = {0};
    char md5[MD5_TEXT_SIZE];
    md5_stored(password, strlen(password), "bob", md5);
    if (kind == SECRET_PLAIN)
        put_text(&text, password);
    else if (kind == SECRET_MD5)
        put_text(&text, md5);
    else if (kind == SECRET_SCRAM)
        write_verifier(&text, password);
    secret_set(secret, text.data, text.size);
    HOLDS(secret_kind_of(secret) == kind);
    buffer_release(&text);
}

static struct client_auth *create(struct login *login, struct input *input,
                                  struct scram_key_cache *cache)
{
    struct scram_binding binding = {.end_point = "certificate", .size = 32};
    struct secret secret = {0};
    uint8_t first = take_byte(input), second = take_byte(input);
    login->method = (enum auth_method)(first % (AUTH_LDAP + 1));
    login->kind = (enum secret_kind)(second & 3);
    login->known = (second & 4) == 0;
    login->two = (second & 16) != 0;
    set_secret(&secret, login->kind, PASSWORD);
    struct client_auth *auth =
        client_auth_create(login->method, "bob", login->known, &secret, 4096, cache);
    if (login->two) {
        set_secret(&secret, login->kind, SECOND);
        client_auth_add_secret(auth, &secret);
    }
    if (second & 8)
        client_auth_bind(auth, &binding);
    secret_release(&secret);
    return auth;
}

/* Each is one authentication request; keeps what is needed to check the answer. */
static void take_output(struct login *login, const struct buffer *out)
{
    struct frame frame;
    if (out->size == 0)
        return;
    HOLDS(frame_read_header(out->data, &frame) && frame.type == 'R' && frame.size == out->size);
    struct message_reader reader =
        message_reader_of(out->data + FRAME_HEADER_SIZE, out->size - FRAME_HEADER_SIZE);
    struct buffer *kept;
    login->request = message_read_int32(&reader);
    HOLDS(login->request == 3 || login->request == 5 ||
          (login->request >= 10 && login->request <= 12));
    kept = login->request == 5 ? &login->salt : login->request == 11 ? &login->server_first : NULL;
    if (kept != NULL) {
        kept->size = 0;
        buffer_append(kept, reader.position, message_bytes_left(&reader));
    }
    HOLDS(memmem(out->data, out->size, PASSWORD, strlen(PASSWORD)) == NULL);
}

static bool is_text(const uint8_t *body, size_t size, const char *text)
{
    return size == strlen(text) + 1 && memcmp(body, text, size) == 0;
}

static bool is_md5_answer(const struct login *login, const uint8_t *body, size_t size,
                          const char *password)
{
    char stored[MD5_TEXT_SIZE], expected[MD5_TEXT_SIZE];
    md5_stored(password, strlen(password), "bob", stored);
    md5_answer(stored, login->salt.data, expected);
    return is_text(body, size, expected);
}

/* ClientKey = proof XOR HMAC(StoredKey, AuthMessage) */
static bool is_proof(const struct login *login, const uint8_t *body, size_t size,
                     const char *password)
{
    struct scram_keys keys;
    uint8_t stored[SCRAM_KEY_SIZE], signature[SCRAM_KEY_SIZE], proof[SCRAM_KEY_SIZE];
    struct buffer text = {0};
    bool same = read_key(body, size, ",p=", proof);
    keys_for(password, &login->server_first, &keys);
    scram_stored_key(keys.client_key, stored);
    auth_text(&login->client_first, &login->server_first, body, size, &text);
    scram_hmac(stored, text.data, text.size, signature);
    for (size_t i = 0; i < SCRAM_KEY_SIZE; i++)
        same = same && (proof[i] ^ signature[i]) == keys.client_key[i];
    buffer_release(&text);
    return same;
}

/* Whether this message, as the answer to the last request, shows that the client knows it. */
static bool proves(const struct login *login, const uint8_t *body, size_t size,
                   const char *password)
{
    switch (login->request) {
    case 3:
        return is_text(body, size, password);
    case 5:
        return is_md5_answer(login, body, size, password);
    case 11:
        return is_proof(login, body, size, password);
    default:
        return false;
    }
}

static enum auth_verdict take_response(struct client_auth *auth, struct login *login,
                                       const uint8_t *body, size_t size)
{
    struct buffer out = {0};
    struct failure failure = {0};
    uint32_t request = login->request;
    if (request == 10 && size > 4) { /* behind the mechanism and the length */
        const uint8_t *end = memchr(body, 0, size);
        size_t start = end != NULL ? (size_t) (end - body) + 5 : size;
        login->client_first.size = 0;
        if (start < size)
            buffer_append(&login->client_first, body + start, size - start);
    }
    enum auth_verdict verdict = client_auth_respond(auth, body, size, &out, &failure);
    HOLDS((verdict == AUTH_REFUSED) == (failure.message[0] != '\0'));
    if (verdict == AUTH_ACCEPTED) {
        HOLDS(login->known && login->kind != SECRET_NONE);
        HOLDS(proves(login, body, size, PASSWORD) ||
              (login->two && proves(login, body, size, SECOND)));
    }
    if (verdict == AUTH_PENDING) {
        const struct secret *received = client_auth_received(auth);
        HOLDS(login->method == AUTH_PAM || login->method == AUTH_LDAP);
        HOLDS(size == received->length + 1 && memcmp(body, received->bytes, size) == 0);
    }
    take_output(login, &out);
    buffer_release(&out);
    return verdict;
}

static bool lets_in_without_a_word(const struct login *login)
{
    return login->method == AUTH_ANY || login->method == AUTH_TRUST || login->method == AUTH_PEER ||
           login->method == AUTH_CERT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct scram_key_cache *cache = scram_key_cache_create(4);
    struct login login = {.request = 0};
    struct client_auth *auth = create(&login, &input, cache);
    struct buffer out = {0};
    struct failure failure = {0};
    enum auth_verdict verdict = client_auth_begin(auth, &out, &failure);
    HOLDS(verdict != AUTH_ACCEPTED || lets_in_without_a_word(&login));
    take_output(&login, &out);
    buffer_release(&out);
    while (verdict == AUTH_CONTINUE && input.left > 0) {
        size_t length;
        uint8_t *body = take_message(&input, &length);
        verdict = take_response(auth, &login, body, length);
        free(body);
    }
    if (verdict != AUTH_CONTINUE && verdict != AUTH_PENDING) {
        login.request = 0;
        HOLDS(take_response(auth, &login, (const uint8_t *) PASSWORD, sizeof(PASSWORD)) ==
              AUTH_REFUSED);
    }
    buffer_release(&login.salt);
    buffer_release(&login.client_first);
    buffer_release(&login.server_first);
    client_auth_destroy(auth);
    scram_key_cache_destroy(cache);
    return 0;
}
