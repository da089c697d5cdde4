/*
 * sasl_fuzz.c - somebody between two honest sides of a SCRAM exchange: the pooler's own server_auth
 * and client_auth. The input says where he changes, cuts or lengthens what passes.
 *
 * Untouched, an exchange succeeds if and only if the passwords are the same, and with a channel
 * binding on both sides it is used. Touched, it must not succeed for both, unless all that he
 * changed is the list of mechanisms, in a way that changes nothing, or bits that base64 does not
 * use. That a server asks for SCRAM at all is not protected (it may ask for the password): he
 * leaves that alone.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/client_auth.h"
#include "auth/server_auth.h"
#include "auth_fuzz.h"
#include "fuzz.h"
#include "wire/frame.h"

static const char *const passwords[] = {
    "secret", "p\xc3\xa4ss\xc2\xa0word", "\xff\xfe", "x", "IX", "\xe2\x85\xa8", "a\x01", "secret "};

/* What passes, and what he makes of it. */
struct wire {
    struct input edits;
    bool touched; /* what the exchange protects */
    bool perhaps; /* the list of mechanisms, or bits that may mean nothing */
    bool bound;   /* the client chose SCRAM-SHA-256-PLUS */
};

/* One edit: where, what to do, and a byte for it. Returns whether there was one. */
static bool edit(struct wire *wire, struct buffer *message)
{
    size_t place = take_byte(&wire->edits), left = message->size;
    uint8_t what = take_byte(&wire->edits), value = take_byte(&wire->edits);
    if (value == 0)
        return false;
    if (what % 4 == 0 && place < left)
        message->data[place] ^= value;
    else if (what % 4 == 1 && place < left)
        message->size = place;
    else if (what % 4 == 2)
        buffer_append(message, &value, 1);
    else
        return false;
    return true;
}

/* Only the last character in front of a single '=' was changed: some of its bits mean nothing. */
static bool is_padding(const uint8_t *before, size_t size, const struct buffer *after)
{
    return size >= 2 && size == after->size && before[size - 1] == '=' && before[size - 2] != '=' &&
           after->data[size - 1] == '=' && memcmp(before, after->data, size - 2) == 0;
}

/* Takes one message to the other side, without its type and length. */
static void pass(struct wire *wire, struct buffer *from, struct buffer *ret_body, bool protected)
{
    struct frame frame;
    const uint8_t *before = from->data + FRAME_HEADER_SIZE;
    size_t size = from->size - FRAME_HEADER_SIZE;
    HOLDS(frame_read_header(from->data, &frame) && frame.size == from->size);
    ret_body->size = 0;
    buffer_append(ret_body, before, size);
    if (edit(wire, ret_body)) {
        if (!protected && ret_body->size >= 4)
            memcpy(ret_body->data, before, 4);
        if (protected && !is_padding(before, size, ret_body))
            wire->touched = true;
        else
            wire->perhaps = true;
    }
    if (frame.type == 'p' && size > sizeof(SCRAM_MECHANISM_PLUS) &&
        memcmp(before, SCRAM_MECHANISM_PLUS, sizeof(SCRAM_MECHANISM_PLUS)) == 0)
        wire->bound = true;
    from->size = 0;
}

struct sides {
    struct server_auth *asking;   /* the one who logs in */
    struct client_auth *checking; /* the one who is logged in to */
    bool accepted, done, refused;
};

/* From the one who checks to the one who asks, and back; false if it ends here. */
static bool take_turn(struct sides *sides, struct wire *wire, struct buffer *out, bool protected)
{
    struct buffer body = {0}, answer = {0};
    struct failure failure = {0};
    pass(wire, out, &body, protected);
    sides->refused = !server_auth_respond(sides->asking, body.data, body.size, &answer,
                                          &sides->done, &failure);
    prove_with_new_keys(sides->asking, &answer);
    if (!sides->accepted && answer.size > 0) {
        pass(wire, &answer, &body, true);
        enum auth_verdict verdict =
            client_auth_respond(sides->checking, body.data, body.size, out, &failure);
        sides->accepted = verdict == AUTH_ACCEPTED;
        sides->refused = verdict == AUTH_REFUSED;
    }
    buffer_release(&body);
    buffer_release(&answer);
    return !sides->refused && out->size > 0;
}

static void run(struct sides *sides, struct wire *wire)
{
    static const uint8_t ok[] = {0, 0, 0, 0};
    struct buffer out = {0}, nothing = {0};
    struct failure failure = {0};
    bool done;
    HOLDS(client_auth_begin(sides->checking, &out, &failure) == AUTH_CONTINUE);
    if (take_turn(sides, wire, &out, false) && take_turn(sides, wire, &out, true))
        (void) take_turn(sides, wire, &out, true);
    /* The signature has passed: now AuthenticationOk is believed, and not before. */
    bool believed = server_auth_respond(sides->asking, ok, sizeof(ok), &nothing, &done, &failure);
    HOLDS(believed == done);
    sides->done = done;
    buffer_release(&out);
    buffer_release(&nothing);
}

/* Both sides with the same or different bindings, as without TLS, with it, and through a proxy. */
static void bind_sides(struct sides *sides, uint8_t choice)
{
    struct scram_binding one = {.end_point = "one", .size = 32},
                         two = {.end_point = "two", .size = 32};
    if (choice & 1)
        server_auth_bind(sides->asking, &one);
    if (choice & 2)
        client_auth_bind(sides->checking, choice & 4 ? &two : &one);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire wire = {.edits = {data, size}};
    struct scram_key_cache *cache = scram_key_cache_create(4);
    struct secret right = {0}, given = {0};
    struct sides sides = {.accepted = false};
    uint8_t choice = take_byte(&wire.edits), bindings = take_byte(&wire.edits);
    const char *stored = passwords[choice % countof(passwords)];
    const char *typed = passwords[choice / 8 % countof(passwords)];
    secret_set(&right, stored, strlen(stored));
    secret_set(&given, typed, strlen(typed));
    sides.checking = client_auth_create(AUTH_SCRAM, "bob", true, &right, 4096, cache);
    sides.asking = server_auth_create("bob", &given, NULL, cache);
    bind_sides(&sides, bindings);
    run(&sides, &wire);

    bool same = strcmp(stored, typed) == 0 ||
                (strcmp(stored, "IX") == 0 && strcmp(typed, "\xe2\x85\xa8") == 0) ||
                (strcmp(typed, "IX") == 0 && strcmp(stored, "\xe2\x85\xa8") == 0);
    bool between = (bindings & 7) == 7; /* each side sees another certificate */
    HOLDS(!sides.accepted || same);
    HOLDS(!(sides.accepted && between));
    HOLDS(!(sides.done && !sides.accepted));
    HOLDS(!(sides.done && wire.touched));
    HOLDS(!(sides.done && (bindings & 3) == 3 && !wire.bound));
    if (!wire.touched && !wire.perhaps)
        HOLDS(sides.done == (same && !between));
    server_auth_destroy(sides.asking);
    client_auth_destroy(sides.checking);
    secret_release(&right);
    secret_release(&given);
    scram_key_cache_destroy(cache);
    return 0;
}
