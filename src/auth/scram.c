/*
 * scram.c - the messages of SCRAM-SHA-256, both sides.
 *
 * A message is a list of attributes "x=value" with commas between them, in a fixed order. A cursor
 * walks it; whatever does not fit ends the exchange.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/scram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "auth/base64.h"
#include "auth/scram_hmac.h"
#include "base/memory.h"
#include "base/random.h"

#define NONCE_SIZE 18

/* The GS2 flag of the one channel binding that there is. */
#define GS2_BINDING "p=tls-server-end-point,"

struct cursor {
    const char *at, *end;
};

struct range {
    const char *start;
    size_t length;
};

static void add_text(struct buffer *out, const char *text)
{
    buffer_append(out, text, strlen(text));
}

/* Reads "<name>=value" up to the end or the next comma, and steps over it: more must follow. */
static bool read_attribute(struct cursor *cursor, char name, struct range *ret_value)
{
    const char *comma;
    if (cursor->end - cursor->at < 2 || cursor->at[0] != name || cursor->at[1] != '=')
        return false;
    cursor->at += 2;
    comma = memchr(cursor->at, ',', (size_t) (cursor->end - cursor->at));
    if (comma != NULL && comma + 1 == cursor->end)
        return false;
    ret_value->start = cursor->at;
    ret_value->length = (size_t) ((comma != NULL ? comma : cursor->end) - cursor->at);
    cursor->at = comma != NULL ? comma + 1 : cursor->end;
    return true;
}

/* Steps over an attribute that we do not know: a letter with any value. */
static bool skip_extension(struct cursor *cursor)
{
    struct range value;
    char name = *cursor->at;
    bool is_letter = (name >= 'a' && name <= 'z') || (name >= 'A' && name <= 'Z');
    return is_letter && read_attribute(cursor, name, &value);
}

static bool is_printable(struct range text)
{
    for (size_t i = 0; i < text.length; i++)
        if (text.start[i] < 0x21 || text.start[i] > 0x7e)
            return false;
    return text.length > 0;
}

static char *random_nonce(void)
{
    uint8_t bytes[NONCE_SIZE];
    struct buffer text = {0};
    random_bytes(bytes, sizeof(bytes));
    base64_write(&text, bytes, sizeof(bytes));
    buffer_append(&text, "", 1);
    return (char *) text.data;
}

/* client-first-bare "," server-first "," client-final-without-proof, which is kept zero-terminated
 * nowhere else. */
static void auth_message(const struct buffer *first_bare, const struct buffer *server_first,
                         const void *final, size_t final_size, struct buffer *ret_message)
{
    buffer_append(ret_message, first_bare->data, first_bare->size);
    add_text(ret_message, ",");
    buffer_append(ret_message, server_first->data, server_first->size);
    add_text(ret_message, ",");
    buffer_append(ret_message, final, final_size);
}

static void xor_keys(uint8_t key[SCRAM_KEY_SIZE], const uint8_t with[SCRAM_KEY_SIZE])
{
    for (size_t i = 0; i < SCRAM_KEY_SIZE; i++)
        key[i] ^= with[i];
}

/* ---- the server side ---- */

/* What no message of a client may be, wherever it stands. */
static scram_problem check_form(const uint8_t *message, size_t size)
{
    if (size > SCRAM_MESSAGE_MAX)
        return "the SCRAM message is too long";
    if (size > 0 && memchr(message, '\0', size) != NULL)
        return "malformed SCRAM message: it contains a zero byte";
    return NULL;
}

static bool starts_with(const struct cursor *cursor, const char *text)
{
    size_t length = strlen(text);
    return (size_t) (cursor->end - cursor->at) >= length && memcmp(cursor->at, text, length) == 0;
}

/* The channel-binding flag, up to its comma. */
static scram_problem read_gs2_flag(const struct scram_server *scram, struct cursor *cursor)
{
    if (scram->plus) {
        if (!starts_with(cursor, GS2_BINDING))
            return "the client chose SCRAM-SHA-256-PLUS without tls-server-end-point";
        cursor->at += strlen(GS2_BINDING);
        return NULL;
    }
    if (starts_with(cursor, "p"))
        return "the client requires SCRAM channel binding";
    /* It could have bound, and believes that we did not offer it: somebody stands between us. */
    if (starts_with(cursor, "y,") && scram->binding.size > 0)
        return "the client was not offered SCRAM channel binding, which we did offer";
    if (!starts_with(cursor, "n,") && !starts_with(cursor, "y,"))
        return "malformed SCRAM message: unexpected channel-binding flag";
    cursor->at += 2;
    return NULL;
}

/* The GS2 header: the flag and no other identity. */
static scram_problem read_gs2_header(struct scram_server *scram, struct cursor *cursor)
{
    const char *start = cursor->at;
    scram_problem problem = read_gs2_flag(scram, cursor);
    if (problem != NULL)
        return problem;
    if (starts_with(cursor, "a"))
        return "the client uses an authorization identity, which is not supported";
    if (!starts_with(cursor, ","))
        return "malformed SCRAM message";
    cursor->at++;
    buffer_append(&scram->gs2_header, start, (size_t) (cursor->at - start));
    return NULL;
}

/* What the final message says of the binding: base64 of the GS2 header and the data. */
static void write_binding(struct buffer *out, const void *gs2_header, size_t size,
                          const struct scram_binding *binding)
{
    struct buffer data = {0};
    buffer_append(&data, gs2_header, size);
    if (binding != NULL)
        buffer_append(&data, binding->end_point, binding->size);
    base64_write(out, data.data, data.size);
    buffer_release(&data);
}

static bool binding_is_right(const struct scram_server *scram, struct range given)
{
    struct buffer expected = {0};
    write_binding(&expected, scram->gs2_header.data, scram->gs2_header.size,
                  scram->plus ? &scram->binding : NULL);
    bool right = given.length == expected.size &&
                 CRYPTO_memcmp(given.start, expected.data, expected.size) == 0;
    buffer_release(&expected);
    return right;
}

scram_problem scram_server_first(struct scram_server *scram, const uint8_t *message, size_t size,
                                 struct buffer *ret_answer)
{
    struct cursor cursor = {(const char *) message, (const char *) message + size};
    struct range user, nonce;
    struct buffer joined = {0};
    char iterations[16];
    scram_problem problem = check_form(message, size);

    if (problem == NULL)
        problem = read_gs2_header(scram, &cursor);
    if (problem != NULL)
        return problem;
    buffer_append(&scram->client_first_bare, cursor.at, (size_t) (cursor.end - cursor.at));
    if (cursor.at < cursor.end && *cursor.at == 'm')
        return "the client requires an unsupported SCRAM extension";
    /* The user of the startup packet counts, as in PostgreSQL. */
    if (!read_attribute(&cursor, 'n', &user) || !read_attribute(&cursor, 'r', &nonce) ||
        !is_printable(nonce))
        return "malformed SCRAM message: no user or no nonce";
    while (cursor.at < cursor.end)
        if (!skip_extension(&cursor))
            return "malformed SCRAM message: no attribute behind the nonce";

    if (scram->own_nonce == NULL)
        scram->own_nonce = random_nonce();
    buffer_append(&joined, nonce.start, nonce.length);
    buffer_append(&joined, scram->own_nonce, strlen(scram->own_nonce) + 1);
    scram->nonce = (char *) joined.data;

    add_text(&scram->server_first, "r=");
    add_text(&scram->server_first, scram->nonce);
    add_text(&scram->server_first, ",s=");
    base64_write(&scram->server_first, scram->verifier.salt, scram->verifier.salt_size);
    snprintf(iterations, sizeof(iterations), ",i=%u", scram->verifier.iterations);
    add_text(&scram->server_first, iterations);
    buffer_append(ret_answer, scram->server_first.data, scram->server_first.size);
    return NULL;
}

/* Reads the final message up to its proof. */
static scram_problem read_final(const struct scram_server *scram, struct cursor *cursor,
                                uint8_t ret_proof[SCRAM_KEY_SIZE], size_t *ret_without_proof)
{
    const char *start = cursor->at;
    struct range value;
    size_t proof_size = 0;
    bool found = false;
    if (!read_attribute(cursor, 'c', &value) || !binding_is_right(scram, value))
        return "malformed SCRAM message: unexpected channel binding";
    if (!read_attribute(cursor, 'r', &value) || value.length != strlen(scram->nonce) ||
        CRYPTO_memcmp(value.start, scram->nonce, value.length) != 0)
        return "malformed SCRAM message: the nonce does not match";
    while (!found && cursor->at < cursor->end) {
        *ret_without_proof = (size_t) (cursor->at - 1 - start);
        found = read_attribute(cursor, 'p', &value);
        if (!found && !skip_extension(cursor))
            break; /* extensions before the proof are allowed and ignored */
    }
    if (!found || cursor->at != cursor->end ||
        !base64_read(value.start, value.length, ret_proof, SCRAM_KEY_SIZE, &proof_size) ||
        proof_size != SCRAM_KEY_SIZE)
        return "malformed SCRAM message: no valid proof";
    return NULL;
}

/* The client's key is what the proof gives with the signature; its hash must be the stored key. */
static bool proof_fits(const uint8_t stored_key[SCRAM_KEY_SIZE], const struct buffer *message,
                       const uint8_t proof[SCRAM_KEY_SIZE], uint8_t ret_client_key[SCRAM_KEY_SIZE])
{
    uint8_t signature[SCRAM_KEY_SIZE], stored[SCRAM_KEY_SIZE];
    scram_hmac(stored_key, message->data, message->size, signature);
    memcpy(ret_client_key, proof, SCRAM_KEY_SIZE);
    xor_keys(ret_client_key, signature);
    scram_stored_key(ret_client_key, stored);
    return CRYPTO_memcmp(stored, stored_key, SCRAM_KEY_SIZE) == 0;
}

/* Fills `learned` if the proof is right. The costs are the same for right and wrong ones. */
static bool proof_is_right(struct scram_server *scram, const struct buffer *message,
                           const uint8_t proof[SCRAM_KEY_SIZE])
{
    const struct scram_verifier *verifier = &scram->verifier;
    uint8_t other_key[SCRAM_KEY_SIZE];
    bool right = proof_fits(verifier->stored_key, message, proof, scram->learned.client_key);
    bool other_right =
        scram->has_other && proof_fits(scram->other_stored_key, message, proof, other_key);
    memcpy(scram->learned.server_key, verifier->server_key, SCRAM_KEY_SIZE);
    if (!right && other_right) {
        memcpy(scram->learned.client_key, other_key, SCRAM_KEY_SIZE);
        memcpy(scram->learned.server_key, scram->other_server_key, SCRAM_KEY_SIZE);
        scram->other_was_right = true;
    }
    return (right || other_right) && !scram->reject;
}

scram_problem scram_server_final(struct scram_server *scram, const uint8_t *message, size_t size,
                                 struct buffer *ret_answer)
{
    struct cursor cursor = {(const char *) message, (const char *) message + size};
    uint8_t proof[SCRAM_KEY_SIZE], signature[SCRAM_KEY_SIZE];
    struct buffer signed_text = {0};
    size_t without_proof = 0;
    scram_problem problem = check_form(message, size);

    if (problem == NULL)
        problem = read_final(scram, &cursor, proof, &without_proof);
    if (problem != NULL)
        return problem;
    auth_message(&scram->client_first_bare, &scram->server_first, message, without_proof,
                 &signed_text);
    if (!proof_is_right(scram, &signed_text, proof)) {
        OPENSSL_cleanse(&scram->learned, sizeof(scram->learned));
        problem = "the password does not match";
    } else {
        scram_hmac(scram->learned.server_key, signed_text.data, signed_text.size, signature);
        add_text(ret_answer, "v=");
        base64_write(ret_answer, signature, sizeof(signature));
    }
    buffer_release(&signed_text);
    return problem;
}

void scram_server_release(struct scram_server *scram)
{
    buffer_release(&scram->gs2_header);
    buffer_release(&scram->client_first_bare);
    buffer_release(&scram->server_first);
    free(scram->nonce);
    free(scram->own_nonce);
    OPENSSL_cleanse(scram, sizeof(*scram));
}

/* ---- the client side ---- */

/* Whether we bind, could bind but are not offered it, or cannot. */
static const char *gs2_header_of(const struct scram_client *scram)
{
    if (scram->plus)
        return GS2_BINDING ",";
    return scram->binding != NULL && scram->binding->size > 0 ? "y,," : "n,,";
}

void scram_client_first(struct scram_client *scram, struct buffer *ret_message)
{
    if (scram->nonce == NULL)
        scram->nonce = random_nonce();
    add_text(&scram->first_bare, "n=,r=");
    add_text(&scram->first_bare, scram->nonce);
    add_text(ret_message, gs2_header_of(scram));
    buffer_append(ret_message, scram->first_bare.data, scram->first_bare.size);
}

static bool read_count(struct range text, uint32_t *ret_count)
{
    uint64_t value = 0;
    if (text.length == 0 || text.length > 9)
        return false;
    for (size_t i = 0; i < text.length; i++) {
        if (text.start[i] < '0' || text.start[i] > '9')
            return false;
        value = value * 10 + (uint64_t) (text.start[i] - '0');
    }
    *ret_count = (uint32_t) value;
    return value > 0;
}

/* `ret_nonce`: the client's and the server's part together. */
static scram_problem read_server_first(struct scram_client *scram, struct cursor cursor,
                                       struct range *ret_nonce)
{
    struct range salt, iterations;
    size_t own = strlen(scram->nonce);
    if (!read_attribute(&cursor, 'r', ret_nonce) || !is_printable(*ret_nonce) ||
        ret_nonce->length <= own || memcmp(ret_nonce->start, scram->nonce, own) != 0)
        return "malformed SCRAM message from the server: the nonce does not match";
    if (ret_nonce->length > SCRAM_NONCE_MAX)
        return "the nonce from the server is too long";
    if (!read_attribute(&cursor, 's', &salt) ||
        !base64_read(salt.start, salt.length, scram->salt, SCRAM_SALT_MAX, &scram->salt_size) ||
        scram->salt_size == 0)
        return "malformed SCRAM message from the server: no valid salt";
    if (!read_attribute(&cursor, 'i', &iterations) ||
        !read_count(iterations, &scram->iterations))
        return "malformed SCRAM message from the server: no valid iteration count";
    if (scram->iterations > SCRAM_ITERATIONS_MAX)
        return "the server asks for too many SCRAM iterations";
    return NULL;
}

scram_problem scram_client_challenge(struct scram_client *scram, const uint8_t *message,
                                     size_t size)
{
    struct cursor cursor = {(const char *) message, (const char *) message + size};
    struct range nonce;
    scram_problem problem;
    if (size > SCRAM_MESSAGE_MAX)
        return "the SCRAM message from the server is too long";
    problem = read_server_first(scram, cursor, &nonce);
    if (problem != NULL)
        return problem;
    buffer_append(&scram->server_first, message, size);
    free(scram->nonce);
    scram->nonce = memory_copy_bytes(nonce.start, nonce.length);
    return NULL;
}

/* The proof: the client's key, under the signature of the whole conversation. */
static void prove(struct scram_client *scram, const struct scram_keys *keys,
                  const struct buffer *signed_text, uint8_t ret_proof[SCRAM_KEY_SIZE])
{
    uint8_t stored[SCRAM_KEY_SIZE], signature[SCRAM_KEY_SIZE];
    scram_hmac(keys->server_key, signed_text->data, signed_text->size, scram->server_signature);
    scram_stored_key(keys->client_key, stored);
    scram_hmac(stored, signed_text->data, signed_text->size, signature);
    memcpy(ret_proof, keys->client_key, SCRAM_KEY_SIZE);
    xor_keys(ret_proof, signature);
    scram->proof_sent = true;
    OPENSSL_cleanse(stored, sizeof(stored));
}

void scram_client_final(struct scram_client *scram, const struct scram_keys *keys,
                        struct buffer *ret_message)
{
    struct buffer final = {0}, signed_text = {0};
    uint8_t proof[SCRAM_KEY_SIZE];
    const char *gs2_header = gs2_header_of(scram);
    add_text(&final, "c=");
    write_binding(&final, gs2_header, strlen(gs2_header), scram->plus ? scram->binding : NULL);
    add_text(&final, ",r=");
    add_text(&final, scram->nonce);
    auth_message(&scram->first_bare, &scram->server_first, final.data, final.size, &signed_text);
    prove(scram, keys, &signed_text, proof);
    add_text(&final, ",p=");
    base64_write(&final, proof, SCRAM_KEY_SIZE);
    buffer_append(ret_message, final.data, final.size);
    buffer_release(&final);
    buffer_release(&signed_text);
}

scram_problem scram_client_verify(struct scram_client *scram, const uint8_t *message, size_t size)
{
    struct cursor cursor = {(const char *) message, (const char *) message + size};
    struct range value;
    uint8_t signature[SCRAM_KEY_SIZE];
    size_t signature_size = 0;
    if (!scram->proof_sent)
        return "the server ends the SCRAM exchange too early";
    if (size > SCRAM_MESSAGE_MAX)
        return "the SCRAM message from the server is too long";
    if (read_attribute(&cursor, 'e', &value))
        return "the server reports an error in the SCRAM exchange";
    if (!read_attribute(&cursor, 'v', &value) || cursor.at != cursor.end ||
        !base64_read(value.start, value.length, signature, sizeof(signature), &signature_size) ||
        signature_size != sizeof(signature))
        return "malformed SCRAM message from the server: no valid signature";
    if (CRYPTO_memcmp(signature, scram->server_signature, sizeof(signature)) != 0)
        return "invalid server signature";
    return NULL;
}

void scram_client_release(struct scram_client *scram)
{
    free(scram->nonce);
    buffer_release(&scram->first_bare);
    buffer_release(&scram->server_first);
    OPENSSL_cleanse(scram, sizeof(*scram));
}
