/*
 * server_auth_fuzz.c - a hostile server while the pooler logs in to it.
 *
 * It must not get its AuthenticationOk believed before a SCRAM exchange that has begun is finished,
 * with a signature that only who knows the verifier can make; and no request may get the secret out
 * in a form that it did not ask for.
 *
 * The input is a byte that chooses what the pooler knows, then messages.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/md5.h"
#include "auth/server_auth.h"
#include "auth_fuzz.h"
#include "fuzz.h"
#include "wire/frame.h"
#include "wire/message.h"

#define PASSWORD "a password"

/* The conversation, seen from outside. */
struct conversation {
    unsigned requests;
    bool scram, answered, verified, failed;
    bool is_slow, too_early; /* deriving keys takes until after the next message; it has begun */
    const struct scram_keys *keys;                          /* borrows; NULL: of the password */
    struct buffer client_first, server_first, client_final; /* of SCRAM */
};

static void keep(struct buffer *text, const uint8_t *bytes, size_t size)
{
    text->size = 0;
    buffer_append(text, bytes, size);
}

/* What goes out: one password message, that fits the request. */
static void check_answer(struct conversation *seen, uint32_t request, const struct buffer *out,
                         const uint8_t *salt)
{
    struct frame frame;
    HOLDS(frame_read_header(out->data, &frame) && frame.type == 'p' && frame.size == out->size);
    struct message_reader reader =
        message_reader_of(out->data + FRAME_HEADER_SIZE, out->size - FRAME_HEADER_SIZE);
    char stored[MD5_TEXT_SIZE], expected[MD5_TEXT_SIZE];
    switch (request) {
    case 3:
        HOLDS(is_same_text(message_read_text(&reader), PASSWORD));
        seen->answered = true;
        break;
    case 5:
        md5_stored(PASSWORD, strlen(PASSWORD), "bob", stored);
        md5_answer(stored, salt, expected);
        HOLDS(is_same_text(message_read_text(&reader), expected));
        seen->answered = true;
        break;
    case 10:
        HOLDS(strncmp(message_read_text(&reader), SCRAM_MECHANISM, 13) == 0);
        HOLDS(message_read_int32(&reader) == message_bytes_left(&reader));
        keep(&seen->client_first, reader.position, message_bytes_left(&reader));
        seen->scram = true;
        reader.position = reader.end;
        break;
    default:
        HOLDS(request == 11 && seen->scram);
        keep(&seen->client_final, reader.position, message_bytes_left(&reader));
        reader.position = reader.end;
        break;
    }
    HOLDS(!reader.broken && message_bytes_left(&reader) == 0);
    /* With SCRAM the password never travels. */
    HOLDS(request < 10 || memmem(out->data, out->size, PASSWORD, strlen(PASSWORD)) == NULL);
}

/* The signature, made the long way. */
static bool is_signature(const struct conversation *seen, const uint8_t *message, size_t size)
{
    struct scram_keys derived;
    uint8_t given[SCRAM_KEY_SIZE], expected[SCRAM_KEY_SIZE];
    struct buffer text = {0};
    auth_text(&seen->client_first, &seen->server_first, seen->client_final.data,
              seen->client_final.size, &text);
    keys_for(PASSWORD, &seen->server_first, &derived);
    scram_hmac(seen->keys != NULL ? seen->keys->server_key : derived.server_key, text.data,
               text.size, expected);
    buffer_release(&text);
    return read_key(message, size, "v=", given) && memcmp(given, expected, SCRAM_KEY_SIZE) == 0;
}

static bool take_request(struct server_auth *auth, struct conversation *seen, const uint8_t *body,
                         size_t size)
{
    struct buffer out = {0};
    struct failure failure = {0};
    bool done;
    uint32_t request = size >= 4 ? frame_load_uint32(body) : UINT32_MAX;
    bool good = server_auth_respond(auth, body, size, &out, &done, &failure);
    HOLDS(good == (failure.message[0] == '\0'));
    HOLDS(!good || !seen->too_early);
    if (good && request == 11)
        keep(&seen->server_first, body + 4, size - 4);
    if (good && server_auth_needs_keys(auth)) {
        HOLDS(request == 11 && out.size == 0 && seen->keys == NULL);
        if (seen->is_slow) { /* the next message comes too early */
            seen->too_early = true;
            return true;
        }
        prove_with_new_keys(auth, &out);
    }
    if (good && request == 12)
        HOLDS(seen->verified = is_signature(seen, body + 4, size - 4));
    if (good && out.size > 0)
        check_answer(seen, request, &out, size >= 8 ? body + 4 : NULL);
    HOLDS(good || out.size == 0);
    HOLDS(!done || (good && request == 0 && out.size == 0));
    HOLDS(!done || seen->requests == 0 || seen->answered || seen->verified);
    HOLDS(!good || !seen->failed);
    seen->failed = !good;
    seen->requests++;
    buffer_release(&out);
    return !done;
}

/* What the pooler knows of the user, chosen by the low bits. */
static struct server_auth *create(uint8_t choice, const struct scram_keys *keys,
                                  struct scram_key_cache *cache)
{
    static const char *const secrets[] = {PASSWORD, "", "md5", PASSWORD};
    char md5[MD5_TEXT_SIZE];
    struct secret secret = {0};
    struct scram_binding binding = {.end_point = "certificate", .size = 32};
    const char *text = secrets[choice & 3];
    md5_stored(PASSWORD, strlen(PASSWORD), "bob", md5);
    if ((choice & 3) == 2)
        text = md5;
    secret_set(&secret, text, strlen(text));
    struct server_auth *auth = server_auth_create("bob", &secret, choice & 4 ? keys : NULL, cache);
    if (choice & 8)
        server_auth_bind(auth, &binding);
    secret_release(&secret);
    return auth;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct scram_key_cache *cache = scram_key_cache_create(4);
    struct scram_keys keys;
    uint8_t choice = take_byte(&input);
    bool plain = (choice & 3) == 0 || (choice & 3) == 3;
    derive_keys(PASSWORD, (const uint8_t *) "salt", 4, 4096, &keys);
    struct server_auth *auth = create(choice, &keys, cache);
    struct conversation seen = {.keys = plain ? NULL : &keys, .is_slow = choice & 16};
    bool going_on = true;
    while (going_on && input.left > 0) {
        size_t length;
        uint8_t *body = take_message(&input, &length);
        going_on = take_request(auth, &seen, body, length);
        free(body);
    }
    buffer_release(&seen.client_first);
    buffer_release(&seen.server_first);
    buffer_release(&seen.client_final);
    server_auth_destroy(auth);
    scram_key_cache_destroy(cache);
    return 0;
}
