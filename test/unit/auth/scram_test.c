/*
 * scram_test.c - SCRAM-SHA-256, both sides.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/scram.h"

#include <stdlib.h>

#include "auth/scram_hmac.h"
#include "base/memory.h"
#include "fixture.h"

/* The exchange of RFC 7677, section 3: user "user", password "pencil". */
#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define NONCE        CLIENT_NONCE SERVER_NONCE
#define SALT         "W22ZaJ0SNY7soEsUEjb6gQ=="
#define CLIENT_FIRST "n,,n=user,r=" CLIENT_NONCE
#define SERVER_FIRST "r=" NONCE ",s=" SALT ",i=4096"
#define CLIENT_FINAL "c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SERVER_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static struct scram_key_cache *cache;
static struct secret password;
static struct scram_keys keys; /* of the password with the salt above */
static struct scram_server server;
static struct scram_client client;
static struct buffer answer;

static void begin_server(void)
{
    size_t salt_size = 0;
    scram_server_release(&server);
    server.verifier.iterations = 4096;
    assert_true(base64_read(SALT, strlen(SALT), server.verifier.salt, SCRAM_SALT_MAX, &salt_size));
    server.verifier.salt_size = salt_size;
    scram_key_cache_derive(cache, &password, server.verifier.salt, salt_size, 4096, &keys);
    scram_stored_key(keys.client_key, server.verifier.stored_key);
    memcpy(server.verifier.server_key, keys.server_key, SCRAM_KEY_SIZE);
    server.own_nonce = memory_copy_text(SERVER_NONCE);
}

/* The client of the RFC gives a user name, which ours leaves empty as libpq does. */
static void begin_client(void)
{
    scram_client_release(&client);
    client.nonce = memory_copy_text(CLIENT_NONCE);
    buffer_append(&client.first_bare, &CLIENT_FIRST[3], strlen(CLIENT_FIRST) - 3);
}

static int set_up(void **state UNUSED)
{
    cache = scram_key_cache_create(10);
    secret_set(&password, "pencil", 6);
    begin_server();
    begin_client();
    return 0;
}

static int tear_down(void **state UNUSED)
{
    scram_server_release(&server);
    scram_client_release(&client);
    scram_key_cache_destroy(cache);
    secret_release(&password);
    buffer_release(&answer);
    return 0;
}

static scram_problem server_first(const char *message, size_t size)
{
    answer.size = 0;
    return scram_server_first(&server, (const uint8_t *) message, size, &answer);
}

static scram_problem server_final(const char *message, size_t size)
{
    answer.size = 0;
    return scram_server_final(&server, (const uint8_t *) message, size, &answer);
}

static scram_problem client_final(const char *message, size_t size)
{
    answer.size = 0;
    return client_answer(&client, &password, cache, (const uint8_t *) message, size, &answer);
}

static scram_problem client_verify(const char *message)
{
    return scram_client_verify(&client, (const uint8_t *) message, strlen(message));
}

#define TEXT(literal) literal, sizeof(literal) - 1

#define expect_answer(literal)                                          \
    do {                                                                \
        assert_int_equal(answer.size, sizeof(literal) - 1);             \
        assert_memory_equal(answer.data, literal, sizeof(literal) - 1); \
    } while (0)

/* Completes `message` with the proof that the keys give, whatever the message says. */
static const char *with_proof(const char *message)
{
    static char text[10000];
    uint8_t stored[SCRAM_KEY_SIZE], proof[SCRAM_KEY_SIZE];
    struct buffer signed_text = {0}, proof_text = {0};
    buffer_append(&signed_text, server.client_first_bare.data, server.client_first_bare.size);
    buffer_append(&signed_text, ",", 1);
    buffer_append(&signed_text, server.server_first.data, server.server_first.size);
    buffer_append(&signed_text, ",", 1);
    buffer_append(&signed_text, message, strlen(message));
    scram_stored_key(keys.client_key, stored);
    scram_hmac(stored, signed_text.data, signed_text.size, proof);
    for (size_t i = 0; i < sizeof(proof); i++)
        proof[i] ^= keys.client_key[i];
    base64_write(&proof_text, proof, sizeof(proof));
    snprintf(text, sizeof(text), "%s,p=%.*s", message, (int) proof_text.size,
             (const char *) proof_text.data);
    buffer_release(&signed_text);
    buffer_release(&proof_text);
    return text;
}

static void expect_right(const char *message)
{
    scram_problem problem = server_final(message, strlen(message));
    if (problem != NULL)
        fail_msg("'%s' was refused: %s", message, problem);
}

/* ---- the server side ---- */

static void test_server_of_the_rfc(void **state UNUSED)
{
    assert_null(server_first(TEXT(CLIENT_FIRST)));
    expect_answer(SERVER_FIRST);
    assert_null(server_final(TEXT(CLIENT_FINAL)));
    expect_answer(SERVER_FINAL);
}

static void test_server_learns_the_keys_of_a_good_client(void **state UNUSED)
{
    assert_null(server_first(TEXT(CLIENT_FIRST)));
    assert_null(server_final(TEXT(CLIENT_FINAL)));
    assert_memory_equal(&server.learned, &keys, sizeof(keys));
}

static void test_client_that_would_bind_the_channel_is_fine(void **state UNUSED)
{
    assert_null(server_first(TEXT("y,,n=,r=" CLIENT_NONCE)));
    expect_right(with_proof("c=eSws,r=" NONCE));
}

/* A user name of any kind: the one of the startup packet counts. Extensions may follow. */
static void test_first_messages_that_are_fine(void **state UNUSED)
{
    static const char *const messages[] = {
        "n,,n=,r=" CLIENT_NONCE,       "n,,n=somebody=2Celse,r=" CLIENT_NONCE,
        "n,,n=\xff,r=" CLIENT_NONCE,   "n,,n=,r=" CLIENT_NONCE ",x=1",
        "n,,n=,r=" CLIENT_NONCE ",x=", "n,,n=,r=" CLIENT_NONCE ",x=1,Y=a=b",
    };
    for (size_t i = 0; i < countof(messages); i++) {
        begin_server();
        assert_null(server_first(messages[i], strlen(messages[i])));
        expect_answer(SERVER_FIRST);
        expect_right(with_proof("c=biws,r=" NONCE));
    }
}

static void test_first_messages_that_are_refused(void **state UNUSED)
{
    static const struct {
        const char *message;
        size_t size;
    } cases[] = {
        {TEXT("")},
        {TEXT("n")},
        {TEXT("n,")},
        {TEXT("n,,")},
        {TEXT("p=tls-server-end-point,,n=,r=abc")},
        {TEXT("p,,n=,r=abc")},
        {TEXT("x,,n=,r=abc")},
        {TEXT("N,,n=,r=abc")},
        {TEXT("\0,,n=,r=abc")},
        {TEXT("nn,n=,r=abc")},
        {TEXT("n,a=admin,n=,r=abc")},
        {TEXT("n,x,n=,r=abc")},
        {TEXT("n,,m=ext,n=,r=abc")},
        {TEXT("n,,n")},
        {TEXT("n,,n,r=abc")},
        {TEXT("n,,n=")},
        {TEXT("n,,n=,")},
        {TEXT("n,,r=abc,n=")},
        {TEXT("n,,n=,r")},
        {TEXT("n,,n=,r=")},
        {TEXT("n,,n=,r=,x=abc")},
        {TEXT("n,,n=,rabc")},
        {TEXT("n,,n=,n=,r=abc")},
        {TEXT("n,,n=,r=ab c")},
        {TEXT("n,,n=,r=ab\x7f")},
        {TEXT("n,,n=,r=ab\xc3\xa9")},
        {TEXT("n,,n=,r=ab\0c")},
        {TEXT("n,,n=a\0b,r=abc")},
        {TEXT("n,,n=,r=abc\0")},
        {TEXT("n,,n=,r=abc,x=\0")},
        {TEXT("n,,n=,r=ab,cd")},
        {TEXT("n,,n=,r=abc,x")},
        {TEXT("n,,n=,r=abc,1=2")},
        {TEXT("n,,n=,r=abc,_=2")},
        {TEXT("n,,n=,r=abc,{=2")},
        {TEXT("n,,n=,r=abc,,x=1")},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        begin_server();
        if (server_first(cases[i].message, cases[i].size) == NULL)
            fail_msg("'%s' was taken", cases[i].message);
        assert_int_equal(answer.size, 0);
    }
}

static void test_server_random_nonces_differ(void **state UNUSED)
{
    char *first = NULL;
    for (unsigned i = 0; i < 2; i++) {
        begin_server();
        free(server.own_nonce);
        server.own_nonce = NULL;
        assert_null(server_first(TEXT("n,,n=,r=abc")));
        assert_int_equal(strlen(server.own_nonce), 24); /* 18 bytes */
        if (first == NULL)
            first = memory_copy_text(server.own_nonce);
        else
            assert_string_not_equal(server.own_nonce, first);
    }
    free(first);
}

static void test_longest_messages_of_a_client(void **state UNUSED)
{
    static char message[60000] = "n,,n=,r=";
    memset(message + 8, 'x', sizeof(message) - 8);
    assert_null(server_first(message, SCRAM_MESSAGE_MAX));
    begin_server();
    assert_non_null(server_first(message, SCRAM_MESSAGE_MAX + 1));
    begin_server();
    assert_non_null(server_first(message, sizeof(message)));
    assert_non_null(server_final(message, sizeof(message)));
}

static void test_final_message_may_have_extensions(void **state UNUSED)
{
    static const char *const messages[] = {"c=biws,r=" NONCE ",i=1", "c=biws,r=" NONCE ",x=,Y=p=z",
                                           "c=biws,r=" NONCE ",r=abc"};
    for (size_t i = 0; i < countof(messages); i++) {
        begin_server();
        assert_null(server_first(TEXT(CLIENT_FIRST)));
        expect_right(with_proof(messages[i]));
    }
}

/* The proof is right for what comes before it wherever that can be; the form is what is wrong. */
static void test_final_messages_that_are_refused(void **state UNUSED)
{
    static const char *const prefixes[] = {
        "",
        "r=" NONCE,
        "c=",
        "c=biws",
        "c=eSws,r=" NONCE, /* "y,,": not what was said before */
        "c=biwsbiws,r=" NONCE,
        "c=biw,r=" NONCE,
        "c=!!!!,r=" NONCE,
        "c=biws,r=",
        "c=biws,r=" CLIENT_NONCE,
        "c=biws,r=" NONCE "x",
        "c=biws,r=" CLIENT_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k1",
        "c=biws,x=1,r=" NONCE,
        "c=biws,r=" NONCE ",",
        "c=biws,r=" NONCE ",x",
        "c=biws,r=" NONCE ",1=2",
        "c=biws,r=" NONCE ",,=x",
    };
    for (size_t i = 0; i < countof(prefixes); i++) {
        begin_server();
        assert_null(server_first(TEXT(CLIENT_FIRST)));
        const char *message = with_proof(prefixes[i]);
        if (server_final(message, strlen(message)) == NULL)
            fail_msg("'%s' was taken", message);
        assert_int_equal(answer.size, 0);
    }
}

static void test_proofs_that_are_refused(void **state UNUSED)
{
#define START "c=biws,r=" NONCE

    static const struct {
        const char *message;
        size_t size;
    } cases[] = {
        {TEXT(START)},
        {TEXT(START ",")},
        {TEXT(START ",p")},
        {TEXT(START ",p=")},
        {TEXT(START ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ")},
        {TEXT(START
              ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndV=")}, /* 32 bytes, another proof */
        {TEXT(START ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndQ==")}, /* 31 bytes */
        {TEXT(START ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQA")}, /* 33 bytes */
        {TEXT(START ",p=!HzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")},
        {TEXT(START ",p=AHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")},
        {TEXT(START ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=,x=1")},
        {TEXT(START ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=\0")},
        {TEXT(START ",x=\0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")},
        {TEXT("")},
        {TEXT("\0")},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        static const struct scram_keys none;
        begin_server();
        assert_null(server_first(TEXT(CLIENT_FIRST)));
        if (server_final(cases[i].message, cases[i].size) == NULL)
            fail_msg("'%s' was taken", cases[i].message);
        assert_int_equal(answer.size, 0);
        assert_memory_equal(&server.learned, &none, sizeof(none));
    }
}

static void test_replayed_final_message_is_refused(void **state UNUSED)
{
    free(server.own_nonce);
    server.own_nonce = NULL;
    assert_null(server_first(TEXT(CLIENT_FIRST)));
    assert_non_null(server_final(TEXT(CLIENT_FINAL)));
}

static void test_rejecting_server_refuses_the_right_proof(void **state UNUSED)
{
    static const struct scram_keys none;
    server.reject = true;
    assert_null(server_first(TEXT(CLIENT_FIRST)));
    expect_answer(SERVER_FIRST);
    assert_string_equal(server_final(TEXT(CLIENT_FINAL)), "the password does not match");
    assert_int_equal(answer.size, 0);
    assert_memory_equal(&server.learned, &none, sizeof(none));
}

/* ---- channel binding ---- */

#define GS2_PLUS "p=tls-server-end-point,,"

static const struct scram_binding binding = {"the hash of our certificate", 27};
static const struct scram_binding other_binding = {"the hash of a false one....", 27};

/* "c=...,r=..." for a GS2 header and what it is bound to, which may be NULL; with its proof. */
static const char *final_bound_to(const char *gs2_header, const struct scram_binding *bound)
{
    char text[1000];
    struct buffer data = {0}, encoded = {0};
    buffer_append(&data, gs2_header, strlen(gs2_header));
    if (bound != NULL)
        buffer_append(&data, bound->end_point, bound->size);
    base64_write(&encoded, data.data, data.size);
    snprintf(text, sizeof(text), "c=%.*s,r=%s", (int) encoded.size, (const char *) encoded.data,
             NONCE);
    buffer_release(&data);
    buffer_release(&encoded);
    return with_proof(text);
}

static void begin_bound_server(bool plus)
{
    begin_server();
    server.binding = binding;
    server.plus = plus;
}

static void test_bound_client(void **state UNUSED)
{
    begin_bound_server(true);
    assert_null(server_first(TEXT(GS2_PLUS "n=,r=" CLIENT_NONCE)));
    expect_right(final_bound_to(GS2_PLUS, &binding));
}

static void test_client_that_cannot_bind_is_fine(void **state UNUSED)
{
    begin_bound_server(false);
    assert_null(server_first(TEXT("n,,n=,r=" CLIENT_NONCE)));
    expect_right(final_bound_to("n,,", NULL));
}

static void test_offer_that_somebody_stripped_is_noticed(void **state UNUSED)
{
    begin_bound_server(false);
    assert_non_null(server_first(TEXT("y,,n=,r=" CLIENT_NONCE)));
}

static void test_flags_that_do_not_fit_the_mechanism(void **state UNUSED)
{
    static const char *const messages[] = {
        "n,,n=,r=abc",
        "y,,n=,r=abc",
        "p=tls-unique,,n=,r=abc",
        "p=tls-server-end-point",
        "p=tls-server-end-point,n=,r=abc",
        "p=tls-server-end-point,a=x,n=,r=abc",
        "p=tls-server-end-pointx,,n=,r=abc",
        "P=tls-server-end-point,,n=,r=abc",
    };

    for (size_t i = 0; i < countof(messages); i++) {
        begin_bound_server(true);
        if (server_first(messages[i], strlen(messages[i])) == NULL)
            fail_msg("'%s' was taken", messages[i]);
    }
}

static void test_binding_to_another_certificate_is_refused(void **state UNUSED)
{
    const struct {
        const char *gs2_header;
        const struct scram_binding *bound;
    } cases[] = {
        {GS2_PLUS, &other_binding}, {GS2_PLUS, NULL}, {"n,,", NULL}, {"y,,", NULL},
        {"n,,", &binding},          {"", &binding},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        begin_bound_server(true);
        assert_null(server_first(TEXT(GS2_PLUS "n=,r=" CLIENT_NONCE)));
        const char *message = final_bound_to(cases[i].gs2_header, cases[i].bound);
        assert_non_null(server_final(message, strlen(message)));
    }
}

static void test_our_client_binds(void **state UNUSED)
{
    static const struct {
        const struct scram_binding *bound;
        bool plus;
        const char *gs2_header;
    } cases[] = {
        {NULL, false, "n,,"},
        {&binding, false, "y,,"}, /* TLS, but the server does not offer it */
        {&binding, true, GS2_PLUS},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct scram_client ours = {0};
        ours.binding = cases[i].bound;
        ours.plus = cases[i].plus;
        ours.nonce = memory_copy_text(CLIENT_NONCE);
        answer.size = 0;
        scram_client_first(&ours, &answer);
        assert_int_equal(answer.size, strlen(cases[i].gs2_header) + 5 + strlen(CLIENT_NONCE));
        assert_memory_equal(answer.data, cases[i].gs2_header, strlen(cases[i].gs2_header));
        begin_server();
        server.plus = cases[i].plus;
        if (cases[i].plus)
            server.binding = binding;
        struct buffer challenge = {0};
        assert_null(scram_server_first(&server, answer.data, answer.size, &challenge));
        answer.size = 0;
        assert_null(client_answer(&ours, &password, cache, challenge.data, challenge.size, &answer));
        challenge.size = 0;
        assert_null(scram_server_final(&server, answer.data, answer.size, &challenge));
        buffer_release(&challenge);
        scram_client_release(&ours);
    }
}

/* ---- the client side ---- */

static void test_client_of_the_rfc(void **state UNUSED)
{
    assert_null(client_final(TEXT(SERVER_FIRST)));
    expect_answer(CLIENT_FINAL);
    assert_null(client_verify(SERVER_FINAL));
}

static void test_client_first_message(void **state UNUSED)
{
    struct buffer first = {0};
    client.first_bare.size = 0;
    scram_client_first(&client, &first);
    assert_int_equal(first.size, 8 + strlen(CLIENT_NONCE));
    assert_memory_equal(first.data, "n,,n=,r=" CLIENT_NONCE, first.size);
    buffer_release(&first);
}

static void test_client_random_nonces_differ(void **state UNUSED)
{
    struct scram_client clients[2] = {0};
    for (unsigned i = 0; i < 2; i++) {
        answer.size = 0;
        scram_client_first(&clients[i], &answer);
        assert_int_equal(answer.size, 8 + 24);
    }
    assert_string_not_equal(clients[0].nonce, clients[1].nonce);
    scram_client_release(&clients[0]);
    scram_client_release(&clients[1]);
}

static void test_server_messages_that_are_refused(void **state UNUSED)
{
    static const struct {
        const char *message;
        size_t size;
    } cases[] = {
        {TEXT("")},
        {TEXT("r")},
        {TEXT("r=")},
        {TEXT("r=,s=" SALT ",i=4096")},
        {TEXT("r=" CLIENT_NONCE ",s=" SALT ",i=4096")}, /* not extended */
        {TEXT("r=" SERVER_NONCE CLIENT_NONCE ",s=" SALT ",i=4096")},
        {TEXT("r=" CLIENT_NONCE "a b,s=" SALT ",i=4096")},
        {TEXT("r=" CLIENT_NONCE "a\0b,s=" SALT ",i=4096")},
        {TEXT("m=ext,r=" NONCE ",s=" SALT ",i=4096")},
        {TEXT("s=" SALT ",r=" NONCE ",i=4096")},
        {TEXT("r=" NONCE)},
        {TEXT("r=" NONCE ",s=,i=4096")},
        {TEXT("r=" NONCE ",s=!,i=4096")},
        {TEXT("r=" NONCE ",s=W22Z=,i=4096")},
        {TEXT("r=" NONCE ",i=4096,s=" SALT)},
        {TEXT("r=" NONCE ",s=" SALT)},
        {TEXT("r=" NONCE ",s=" SALT ",")},
        {TEXT("r=" NONCE ",s=" SALT ",i=")},
        {TEXT("r=" NONCE ",s=" SALT ",i=0")},
        {TEXT("r=" NONCE ",s=" SALT ",i=-1")},
        {TEXT("r=" NONCE ",s=" SALT ",i=+1")},
        {TEXT("r=" NONCE ",s=" SALT ",i= 1")},
        {TEXT("r=" NONCE ",s=" SALT ",i=abc")},
        {TEXT("r=" NONCE ",s=" SALT ",i=1e3")},
        {TEXT("r=" NONCE ",s=" SALT ",i=0x10")},
        {TEXT("r=" NONCE ",s=" SALT ",i=1000001")},
        {TEXT("r=" NONCE ",s=" SALT ",i=10000000")},
        {TEXT("r=" NONCE ",s=" SALT ",i=2147483647")},
        {TEXT("r=" NONCE ",s=" SALT ",i=4294967297")},
        {TEXT("r=" NONCE ",s=" SALT ",i=18446744073709551617")},
        {TEXT("e=other-error")},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        begin_client();
        if (client_final(cases[i].message, cases[i].size) == NULL)
            fail_msg("'%s' was taken", cases[i].message);
        assert_int_equal(answer.size, 0);
        assert_false(client.proof_sent);
    }
}

/* A nonce or salt of `size` characters is appended to `start`, then `end`. */
static scram_problem client_final_with(const char *start, char filler, size_t size, const char *end)
{
    static char message[70000];
    size_t length = strlen(start);
    memcpy(message, start, length);
    memset(message + length, filler, size);
    strcpy(message + length + size, end);
    begin_client();
    return client_final(message, length + size + strlen(end));
}

static void test_server_sends_endless_fields(void **state UNUSED)
{
    static const char nonce[] = "r=" CLIENT_NONCE, salt[] = "r=" NONCE ",s=";
    static const char after_nonce[] = ",s=" SALT ",i=4096", after_salt[] = ",i=4096";
    size_t left = SCRAM_NONCE_MAX - strlen(CLIENT_NONCE);
    assert_null(client_final_with(nonce, 'x', left, after_nonce));
    assert_non_null(client_final_with(nonce, 'x', left + 1, after_nonce));
    assert_non_null(client_final_with(nonce, 'x', 3000, after_nonce));
    assert_non_null(client_final_with(nonce, 'x', 60000, after_nonce));
    assert_null(client_final_with(salt, 'A', SCRAM_SALT_MAX / 3 * 4, after_salt));
    assert_non_null(client_final_with(salt, 'A', (SCRAM_SALT_MAX / 3 + 1) * 4, after_salt));
    assert_non_null(client_final_with(salt, 'A', 60000, after_salt));
}

/* A server that does not know the verifier cannot make the signature up. */
static void test_signatures_that_are_refused(void **state UNUSED)
{
    static const char *const messages[] = {
        "",
        "v",
        "v=",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95A==",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4A",
        "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        (SERVER_FINAL ",x=1"),
        (SERVER_FINAL ","), /* a comma with nothing behind it */
        (" " SERVER_FINAL),
        "e=invalid-proof",
        "e=",
    };
    for (size_t i = 0; i < countof(messages); i++) {
        begin_client();
        assert_null(client_final(TEXT(SERVER_FIRST)));
        if (client_verify(messages[i]) == NULL)
            fail_msg("'%s' was believed", messages[i]);
    }
}

static void test_endless_signature_is_refused(void **state UNUSED)
{
    static uint8_t message[SCRAM_MESSAGE_MAX + 1];
    assert_null(client_final(TEXT(SERVER_FIRST)));
    memcpy(message, "v=", 2);
    assert_non_null(scram_client_verify(&client, message, sizeof(message)));
}

static void test_signature_before_the_proof_is_refused(void **state UNUSED)
{
    assert_non_null(client_verify("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
}

static void test_both_sides_understand_each_other(void **state UNUSED)
{
    static const uint8_t salt[] = "any salt";
    struct scram_server other = {.verifier = {.iterations = 3, .salt_size = sizeof(salt)}};
    struct scram_client ours = {0};
    struct buffer message = {0};
    memcpy(other.verifier.salt, salt, sizeof(salt));
    scram_key_cache_derive(cache, &password, salt, sizeof(salt), 3, &keys);
    scram_stored_key(keys.client_key, other.verifier.stored_key);
    memcpy(other.verifier.server_key, keys.server_key, SCRAM_KEY_SIZE);
    scram_client_first(&ours, &message);
    assert_null(scram_server_first(&other, message.data, message.size, &answer));
    message.size = 0;
    assert_null(client_answer(&ours, &password, cache, answer.data, answer.size, &message));
    answer.size = 0;
    assert_null(scram_server_final(&other, message.data, message.size, &answer));
    assert_null(scram_client_verify(&ours, answer.data, answer.size));
    buffer_release(&message);
    scram_server_release(&other);
    scram_client_release(&ours);
}

/* ---- channel binding ---- */

static const struct scram_binding here = {.end_point = {1, 2, 3}, .size = 32};
static const struct scram_binding elsewhere = {.end_point = {1, 2, 4}, .size = 32};

/* A whole exchange; returns why the server refused it. */
static scram_problem exchange(const struct scram_binding *of_client, bool client_plus,
                              const struct scram_binding *of_server, bool server_plus)
{
    struct buffer message = {0};
    begin_server();
    begin_client();
    client.binding = of_client;
    client.plus = client_plus;
    if (of_server != NULL)
        server.binding = *of_server;
    server.plus = server_plus;
    client.first_bare.size = 0;
    scram_client_first(&client, &message);
    scram_problem problem = server_first((const char *) message.data, message.size);
    message.size = 0;
    if (problem == NULL) {
        assert_null(client_answer(&client, &password, cache, answer.data, answer.size, &message));
        problem = server_final((const char *) message.data, message.size);
    }
    buffer_release(&message);
    return problem;
}

static void test_exchange_is_bound_to_its_channel(void **state UNUSED)
{
    assert_null(exchange(&here, true, &here, true));
    assert_null(exchange(NULL, false, NULL, false));
    assert_null(exchange(NULL, false, &here, false)); /* a client that cannot bind */
    assert_null(exchange(&here, false, NULL, false)); /* a server that cannot bind */
}

static void test_exchange_on_another_channel_is_refused(void **state UNUSED)
{
    assert_non_null(exchange(&here, true, &elsewhere, true));
}

static void test_binding_that_was_stripped_is_noticed(void **state UNUSED)
{
    /* The client could bind and was not offered it, though the server did offer it. */
    assert_non_null(exchange(&here, false, &here, false));
}

static void test_mechanism_and_header_must_agree(void **state UNUSED)
{
    assert_non_null(exchange(&here, true, &here, false));
    assert_non_null(exchange(&here, false, &here, true));
    assert_non_null(exchange(NULL, false, &here, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_server_of_the_rfc, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_server_learns_the_keys_of_a_good_client, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_client_that_would_bind_the_channel_is_fine, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_first_messages_that_are_fine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_first_messages_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_server_random_nonces_differ, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_longest_messages_of_a_client, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_final_message_may_have_extensions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_final_messages_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_proofs_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replayed_final_message_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rejecting_server_refuses_the_right_proof, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_bound_client, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client_that_cannot_bind_is_fine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_offer_that_somebody_stripped_is_noticed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_flags_that_do_not_fit_the_mechanism, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_binding_to_another_certificate_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_our_client_binds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client_of_the_rfc, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client_first_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_client_random_nonces_differ, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_server_messages_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_server_sends_endless_fields, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_signatures_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_endless_signature_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_signature_before_the_proof_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_both_sides_understand_each_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_exchange_is_bound_to_its_channel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_exchange_on_another_channel_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_binding_that_was_stripped_is_noticed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_mechanism_and_header_must_agree, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
