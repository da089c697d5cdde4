/*
 * client_auth_test.c - checks that a client is who it says.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/client_auth.h"

#include "auth/md5.h"
#include "base/clock.h"
#include "fixture.h"
#include "wire/frame.h"

#define ITERATIONS 2

/* Of the user "bob" and the password "bob-pw". */
#define MD5_SECRET "md51437cf777a4bdc5ee09d4a44200665da"
#define WRONG      "password authentication failed"
#define WRONG_SASL "SASL authentication failed"

static struct scram_key_cache *cache;
static struct client_auth *auth;
static struct buffer sent; /* what the pooler said last */
static struct failure failure;
static char verifier_text[200]; /* a verifier of "bob-pw" */

static int set_up(void **state UNUSED)
{
    cache = scram_key_cache_create(10);
    make_verifier_text("bob-pw", ITERATIONS, verifier_text, sizeof(verifier_text));
    return 0;
}

#define NO_PASSWORD "the user has no usable password"

static int tear_down(void **state UNUSED)
{
    client_auth_destroy(auth);
    auth = NULL;
    buffer_release(&sent);
    scram_key_cache_destroy(cache);
    return 0;
}

static enum auth_verdict begin_as(const char *user, enum auth_method method, bool known,
                                  const char *stored)
{
    struct secret secret = secret_of(stored);
    client_auth_destroy(auth);
    auth = client_auth_create(method, user, known, &secret, ITERATIONS, cache);
    secret_release(&secret);
    sent.size = 0;
    failure = (struct failure){0};
    return client_auth_begin(auth, &sent, &failure);
}

/* The secret may be NULL: a user without one. */
static enum auth_verdict begin(enum auth_method method, const char *stored)
{
    return begin_as("bob", method, true, stored);
}

static enum auth_verdict respond(const void *body, size_t size)
{
    sent.size = 0;
    failure = (struct failure){0};
    return client_auth_respond(auth, body, size, &sent, &failure);
}

static enum auth_verdict respond_text(const char *text)
{
    return respond(text, strlen(text) + 1);
}

static void expect_refused(enum auth_verdict verdict, const char *message)
{
    assert_int_equal(verdict, AUTH_REFUSED);
    assert_string_equal(failure.message, message);
    assert_string_equal(failure.sqlstate, "08P01");
    assert_int_equal(sent.size, 0);
    assert_null(client_auth_learned_keys(auth));
}

/* ---- no password ---- */

static void test_any_and_trust_ask_nothing(void **state UNUSED)
{
    assert_int_equal(begin_as("nobody", AUTH_ANY, false, NULL), AUTH_ACCEPTED);
    assert_int_equal(sent.size, 0);
    assert_int_equal(begin(AUTH_TRUST, NULL), AUTH_ACCEPTED);
    assert_int_equal(sent.size, 0);
    assert_null(client_auth_learned_keys(auth));
}

/* Who it is has been found out before: by the socket's owner or by the certificate. */
static void test_methods_without_a_password_need_a_known_user(void **state UNUSED)
{
    static const struct {
        enum auth_method method;
        const char *message;
    } cases[] = {
        {AUTH_TRUST, "\"trust\" authentication failed"},
        {AUTH_PEER, "unix socket login rejected"},
        {AUTH_CERT, "certificate authentication failed"},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(begin(cases[i].method, NULL), AUTH_ACCEPTED);
        assert_int_equal(sent.size, 0);
        expect_refused(begin_as("nobody", cases[i].method, false, "bob-pw"), cases[i].message);
        assert_string_equal(client_auth_problem(auth), "no such user");
    }
}

/* ---- PAM and LDAP ---- */

static const struct {
    enum auth_method method;
    const char *failure;
} outside[] = {{AUTH_PAM, "PAM authentication failed"}, {AUTH_LDAP, "LDAP authentication failed"}};

static void test_outside_decides(void **state UNUSED)
{
    for (size_t i = 0; i < countof(outside); i++) {
        assert_true(auth_method_is_outside(outside[i].method));
        assert_int_equal(begin_as("bob", outside[i].method, false, NULL), AUTH_CONTINUE);
        assert_int_equal(sent.size, 9); /* AuthenticationCleartextPassword */
        assert_null(client_auth_received(auth));
        assert_int_equal(respond_text("bob-pw"), AUTH_PENDING);
        assert_int_equal(sent.size, 0);
        assert_string_equal(client_auth_received(auth)->bytes, "bob-pw");
        assert_int_equal(client_auth_answer(auth, true, "", &failure), AUTH_ACCEPTED);
        assert_string_equal(client_auth_received(auth)->bytes, "bob-pw");
        assert_null(client_auth_learned_keys(auth));

        /* What is stored here does not matter. */
        assert_int_equal(begin(outside[i].method, "bob-pw"), AUTH_CONTINUE);
        assert_int_equal(respond_text("bob-pw"), AUTH_PENDING);
        expect_refused(client_auth_answer(auth, false, "no such entry", &failure),
                       outside[i].failure);
        assert_string_equal(client_auth_problem(auth), "no such entry");
        assert_null(client_auth_received(auth));
    }
    assert_false(auth_method_is_outside(AUTH_PLAIN));
}

static void test_outside_is_not_asked_in_vain(void **state UNUSED)
{
    for (size_t i = 0; i < countof(outside); i++) {
        assert_int_equal(begin(outside[i].method, NULL), AUTH_CONTINUE);
        expect_refused(respond_text(""), "empty password returned by client");
        assert_int_equal(begin(outside[i].method, NULL), AUTH_CONTINUE);
        expect_refused(respond("", 0), outside[i].failure);
        assert_int_equal(begin(outside[i].method, NULL), AUTH_CONTINUE);
        expect_refused(respond("bob", 3), outside[i].failure);
        assert_int_equal(begin(outside[i].method, NULL), AUTH_CONTINUE);
        expect_refused(respond("\0bob", 5), outside[i].failure);
        assert_null(client_auth_received(auth));
        /* An answer that nobody waits for lets nobody in. */
        expect_refused(client_auth_answer(auth, true, "", &failure), outside[i].failure);
    }
}

static void test_second_password_while_one_is_checked(void **state UNUSED)
{
    assert_int_equal(begin(AUTH_PAM, NULL), AUTH_CONTINUE);
    assert_int_equal(respond_text("bob-pw"), AUTH_PENDING);
    expect_refused(respond_text("bob-pw"), "bad packet");
    expect_refused(client_auth_answer(auth, true, "", &failure), "PAM authentication failed");
}

static void test_destroy_of_nothing(void **state UNUSED)
{
    client_auth_destroy(NULL);
}

/* ---- passwords ---- */

static void test_plain_password_fits_every_secret(void **state UNUSED)
{
    const char *const secrets[] = {"bob-pw", MD5_SECRET, verifier_text};
    static const char *const wrong[] = {"Bob-pw", "bob-pW", "bob-p", "bob-pwx", "x", MD5_SECRET};
    for (size_t i = 0; i < countof(secrets); i++) {
        assert_int_equal(begin(AUTH_PLAIN, secrets[i]), AUTH_CONTINUE);
        expect_message(&sent, "R\0\0\0\x08\0\0\0\x03");
        assert_int_equal(respond_text("bob-pw"), AUTH_ACCEPTED);
        assert_null(client_auth_problem(auth));
        assert_null(client_auth_learned_keys(auth));
        for (size_t j = 0; j < countof(wrong); j++) {
            assert_int_equal(begin(AUTH_PLAIN, secrets[i]), AUTH_CONTINUE);
            expect_refused(respond_text(wrong[j]), WRONG);
            assert_string_equal(client_auth_problem(auth), "the password does not match");
        }
        assert_int_equal(begin(AUTH_PLAIN, secrets[i]), AUTH_CONTINUE);
        expect_refused(respond_text(secrets[i][0] == 'b' ? "x" : secrets[i]), WRONG);
    }
}

/* The room for derived keys is for those who got in: 10 here. */
static void test_guesses_are_not_remembered(void **state UNUSED)
{
    char guess[16];
    uint64_t derivations;
    assert_int_equal(begin(AUTH_PLAIN, verifier_text), AUTH_CONTINUE);
    assert_int_equal(respond_text("bob-pw"), AUTH_ACCEPTED);
    derivations = scram_key_cache_derivations(cache);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(begin(AUTH_PLAIN, verifier_text), AUTH_CONTINUE);
        snprintf(guess, sizeof(guess), "guess %u", i);
        expect_refused(respond_text(guess), WRONG);
    }
    assert_int_equal(scram_key_cache_derivations(cache), derivations + 20);
    assert_int_equal(begin(AUTH_PLAIN, verifier_text), AUTH_CONTINUE);
    assert_int_equal(respond_text("bob-pw"), AUTH_ACCEPTED);
    assert_int_equal(scram_key_cache_derivations(cache), derivations + 20);
}

static void test_methods_that_ask_nothing(void **state UNUSED)
{
    static const struct {
        enum auth_method method;
        enum auth_verdict of_known, of_unknown;
        const char *refusal;
    } cases[] = {
        {AUTH_ANY, AUTH_ACCEPTED, AUTH_ACCEPTED, ""},
        {AUTH_TRUST, AUTH_ACCEPTED, AUTH_REFUSED, "\"trust\" authentication failed"},
        {AUTH_PEER, AUTH_ACCEPTED, AUTH_REFUSED, "unix socket login rejected"},
        {AUTH_CERT, AUTH_ACCEPTED, AUTH_REFUSED, "certificate authentication failed"},
        {AUTH_PLAIN, AUTH_CONTINUE, AUTH_CONTINUE, ""},
        {AUTH_MD5, AUTH_CONTINUE, AUTH_CONTINUE, ""},
        {AUTH_SCRAM, AUTH_CONTINUE, AUTH_CONTINUE, ""},
        {AUTH_PAM, AUTH_CONTINUE, AUTH_CONTINUE, ""},
        {AUTH_LDAP, AUTH_CONTINUE, AUTH_CONTINUE, ""},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        failure = (struct failure){0};
        assert_int_equal(client_auth_decide(cases[i].method, true, &failure), cases[i].of_known);
        assert_string_equal(failure.message, "");
        assert_int_equal(client_auth_decide(cases[i].method, false, &failure),
                         cases[i].of_unknown);
        assert_string_equal(failure.message, cases[i].refusal);
    }
    assert_string_equal(client_auth_problem(NULL), "no such user");
    assert_null(client_auth_received(NULL));
    assert_null(client_auth_learned_keys(NULL));
}

/* Or the time that it takes would tell who exists, and how his password is stored. */
static void test_wrong_passwords_cost_the_same_for_everybody(void **state UNUSED)
{
    static const struct {
        const char *stored;
        bool known;
    } users[] = {
        {NULL, false},
        {NULL, true},
        {"", true},
        {"bob-pw", true},
        {MD5_SECRET, true},
        {verifier_text, true},
        {"SCRAM-SHA-256$broken", true},
        {"SCRAM-SHA-256$2147483647:c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
         ":AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
         true},
    };

    for (size_t i = 0; i < countof(users); i++) {
        for (unsigned again = 0; again < 2; again++) { /* not remembered for the next time */
            uint64_t before = scram_key_cache_derivations(cache);
            assert_int_equal(begin_as("bob", AUTH_PLAIN, users[i].known, users[i].stored),
                             AUTH_CONTINUE);
            expect_refused(respond_text("wrong"), WRONG);
            assert_int_equal(scram_key_cache_derivations(cache), before + 1);
        }
    }
}

/* With two secrets as well, unless both are verifiers. */
static void test_wrong_passwords_cost_the_same_with_two_secrets(void **state UNUSED)
{
    static const char *const pairs[][2] = {
        {"bob-pw", "old-pw"}, {MD5_SECRET, "old-pw"}, {verifier_text, "old-pw"},
        {"old-pw", verifier_text}};
    for (size_t i = 0; i < countof(pairs); i++) {
        struct secret second = secret_of(pairs[i][1]);
        uint64_t before = scram_key_cache_derivations(cache);
        assert_int_equal(begin(AUTH_PLAIN, pairs[i][0]), AUTH_CONTINUE);
        client_auth_add_secret(auth, &second);
        expect_refused(respond_text("wrong"), WRONG);
        assert_int_equal(scram_key_cache_derivations(cache), before + 1);
        secret_release(&second);
    }
}

static void test_unknown_users_secret_is_not_looked_at(void **state UNUSED)
{
    assert_int_equal(begin_as("nobody", AUTH_PLAIN, false, "bob-pw"), AUTH_CONTINUE);
    expect_message(&sent, "R\0\0\0\x08\0\0\0\x03");
    expect_refused(respond_text("bob-pw"), WRONG);
    assert_int_equal(begin_as("nobody", AUTH_MD5, false, MD5_SECRET), AUTH_CONTINUE);
    assert_int_equal(sent.size, 13);
    expect_refused(respond_text(MD5_SECRET), WRONG);
}

static void test_malformed_password_messages(void **state UNUSED)
{
    static const struct {
        const char *body;
        size_t size;
        const char *message;
    } cases[] = {
        {"", 0, WRONG},          {"bob-pw", 6, WRONG}, /* no terminator */
        {"bob-pw\0", 8, WRONG},                        /* two of them */
        {"bob-pw\0x", 8, WRONG},                       /* something behind it */
        {"\0bob-pw", 8, WRONG},  {"", 1, "empty password returned by client"},
    };

    static const enum auth_method methods[] = {AUTH_PLAIN, AUTH_MD5};

    for (size_t i = 0; i < 2 * countof(cases); i++) {
        assert_int_equal(begin(methods[i % 2], "bob-pw"), AUTH_CONTINUE);
        expect_refused(respond(cases[i / 2].body, cases[i / 2].size), cases[i / 2].message);
    }
}

static void test_user_without_a_secret_never_gets_in(void **state UNUSED)
{
    static const char *const secrets[] = {NULL, ""};
    char stored[MD5_TEXT_SIZE], answer[MD5_TEXT_SIZE];
    md5_stored("", 0, "bob", stored);
    for (size_t i = 0; i < countof(secrets); i++) {
        assert_int_equal(begin(AUTH_PLAIN, secrets[i]), AUTH_CONTINUE);
        expect_refused(respond_text(""), "empty password returned by client");
        assert_int_equal(begin(AUTH_PLAIN, secrets[i]), AUTH_CONTINUE);
        expect_refused(respond_text("x"), WRONG);
        assert_string_equal(client_auth_problem(auth), NO_PASSWORD);
        assert_int_equal(begin(AUTH_MD5, secrets[i]), AUTH_CONTINUE);
        md5_answer(stored, sent.data + 9, answer);
        expect_refused(respond_text(answer), WRONG);
    }
}

static void test_longest_password(void **state UNUSED)
{
    static char password[65530 + 1];
    memset(password, 'x', sizeof(password) - 1);
    assert_int_equal(begin(AUTH_PLAIN, password), AUTH_CONTINUE);
    assert_int_equal(respond_text(password), AUTH_ACCEPTED);
    assert_true(5 + sizeof(password) <= AUTH_MESSAGE_MAX);
}

/* Our own file may hold a verifier that would take an hour to check a password against. */
static void test_verifier_of_endless_iterations_is_not_computed(void **state UNUSED)
{
    char text[200];
    usec_t start_us;
    snprintf(text, sizeof(text), "SCRAM-SHA-256$2147483647:%s", strchr(verifier_text, ':') + 1);
    assert_int_equal(begin(AUTH_PLAIN, text), AUTH_CONTINUE);
    clock_new_turn();
    start_us = clock_now_us();
    expect_refused(respond_text("bob-pw"), WRONG);
    assert_string_equal(client_auth_problem(auth), "the stored verifier has too many iterations");
    clock_new_turn();
    assert_true(clock_now_us() - start_us < 10 * USEC_PER_SEC);
}

/* ---- md5 ---- */

static void answer_md5(const char *password, const char *user, char ret_answer[MD5_TEXT_SIZE])
{
    char stored[MD5_TEXT_SIZE];
    assert_int_equal(sent.size, 13);
    assert_memory_equal(sent.data, "R\0\0\0\x0c\0\0\0\x05", 9);
    md5_stored(password, strlen(password), user, stored);
    md5_answer(stored, sent.data + 9, ret_answer);
}

static void test_md5(void **state UNUSED)
{
    static const char *const secrets[] = {"bob-pw", MD5_SECRET};

    static const struct {
        const char *password, *user;
        enum auth_verdict verdict;
    } cases[] = {
        {"bob-pw", "bob", AUTH_ACCEPTED},
        {"bob-px", "bob", AUTH_REFUSED},
        {"bob-pw", "bop", AUTH_REFUSED},
    };

    for (size_t i = 0; i < 2 * countof(cases); i++) {
        char answer[MD5_TEXT_SIZE];
        assert_int_equal(begin(AUTH_MD5, secrets[i % 2]), AUTH_CONTINUE);
        answer_md5(cases[i / 2].password, cases[i / 2].user, answer);
        assert_int_equal(respond_text(answer), cases[i / 2].verdict);
        assert_string_equal(failure.message, cases[i / 2].verdict == AUTH_REFUSED ? WRONG : "");
    }
}

static void test_md5_answer_has_one_form(void **state UNUSED)
{
    for (unsigned variant = 0; variant < 4; variant++) {
        char answer[MD5_TEXT_SIZE + 1];
        assert_int_equal(begin(AUTH_MD5, MD5_SECRET), AUTH_CONTINUE);
        answer_md5("bob-pw", "bob", answer);
        if (variant == 0)
            strcpy(answer + MD5_TEXT_SIZE - 1, "0");
        else if (variant == 1)
            answer[MD5_TEXT_SIZE - 2] = '\0';
        else if (variant == 2)
            answer[0] = 'M';
        else
            strcpy(answer, MD5_SECRET); /* the hash itself is no answer */
        expect_refused(respond_text(answer), WRONG);
    }
}

static void test_md5_answer_cannot_be_replayed(void **state UNUSED)
{
    char answer[MD5_TEXT_SIZE];
    assert_int_equal(begin(AUTH_MD5, MD5_SECRET), AUTH_CONTINUE);
    answer_md5("bob-pw", "bob", answer);
    assert_int_equal(begin(AUTH_MD5, MD5_SECRET), AUTH_CONTINUE);
    expect_refused(respond_text(answer), WRONG);
}

static void test_md5_salts_are_random(void **state UNUSED)
{
    enum {
        COUNT = 100
    };

    uint32_t salts[COUNT];
    unsigned same = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(begin(AUTH_MD5, MD5_SECRET), AUTH_CONTINUE);
        salts[i] = frame_load_uint32(sent.data + 9);
        for (unsigned j = 0; j < i; j++)
            same += salts[i] == salts[j];
    }
    assert_in_range(same, 0, 1);
}

/* ---- SCRAM ---- */

#define SASL_OFFER "R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"

/* The client of one SCRAM login, whose messages are put into `message`. */
static struct scram_client client;
static struct secret client_password;
static struct buffer message;

static void release_client(void)
{
    scram_client_release(&client);
    secret_release(&client_password);
    buffer_release(&message);
}

/* SASLInitialResponse with the client-first-message of a client that has the password. */
static enum auth_verdict respond_first(const char *password)
{
    struct buffer body = {0};
    release_client();
    client_password = secret_of(password);
    scram_client_first(&client, &message);
    write_sasl_initial(&body, "SCRAM-SHA-256", (uint32_t) message.size, message.data, message.size);
    enum auth_verdict verdict = respond(body.data, body.size);
    buffer_release(&body);
    return verdict;
}

static enum auth_verdict respond_final(void)
{
    message.size = 0;
    assert_memory_equal(sent.data + 5, "\0\0\0\x0b", 4);
    assert_null(client_answer(&client, &client_password, cache, sent.data + 9, sent.size - 9,
                              &message));
    return respond(message.data, message.size);
}

static enum auth_verdict log_in_by_scram(const char *password)
{
    expect_message(&sent, SASL_OFFER);
    assert_int_equal(respond_first(password), AUTH_CONTINUE);
    return respond_final();
}

static void expect_server_proof(void)
{
    assert_memory_equal(sent.data + 5, "\0\0\0\x0c", 4);
    assert_null(scram_client_verify(&client, sent.data + 9, sent.size - 9));
    release_client();
}

static void test_scram_with_a_plain_secret(void **state UNUSED)
{
    assert_int_equal(begin(AUTH_SCRAM, "bob-pw"), AUTH_CONTINUE);
    assert_int_equal(log_in_by_scram("bob-pw"), AUTH_ACCEPTED);
    assert_null(client_auth_learned_keys(auth)); /* the password itself is known */
    expect_server_proof();
}

static void test_scram_with_a_verifier_learns_the_keys(void **state UNUSED)
{
    static const enum auth_method methods[] = {AUTH_SCRAM, AUTH_MD5};

    for (size_t i = 0; i < countof(methods); i++) {
        struct secret stored = secret_of(verifier_text);
        struct scram_verifier verifier;
        uint8_t stored_key[SCRAM_KEY_SIZE];
        assert_int_equal(begin(methods[i], verifier_text), AUTH_CONTINUE);
        assert_null(client_auth_learned_keys(auth));
        assert_int_equal(log_in_by_scram("bob-pw"), AUTH_ACCEPTED);
        const struct scram_keys *keys = client_auth_learned_keys(auth);
        assert_non_null(keys);
        assert_true(secret_read_verifier(&stored, &verifier));
        scram_stored_key(keys->client_key, stored_key);
        assert_memory_equal(stored_key, verifier.stored_key, SCRAM_KEY_SIZE);
        assert_memory_equal(keys->server_key, verifier.server_key, SCRAM_KEY_SIZE);
        expect_server_proof();
        secret_release(&stored);
    }
}

/* Whatever the reason, the client sees the same; the log knows more. */
static void test_scram_that_fails(void **state UNUSED)
{
    const struct {
        const char *user, *stored, *password, *problem;
        bool known;
    } cases[] = {
        {"bob", "bob-pw", "Bob-pw", "the password does not match", true},
        {"bob", verifier_text, "bob-px", "the password does not match", true},
        {"bob", MD5_SECRET, "bob-pw",
         "the stored secret is an md5 hash, which scram-sha-256 cannot use", true},
        {"bob", NULL, "bob-pw", NO_PASSWORD, true},
        {"bob", "", "", NO_PASSWORD, true},
        {"nobody", "bob-pw", "bob-pw", NO_PASSWORD, false},
        {"nobody", verifier_text, "bob-pw", NO_PASSWORD, false},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(begin_as(cases[i].user, AUTH_SCRAM, cases[i].known, cases[i].stored),
                         AUTH_CONTINUE);
        expect_refused(log_in_by_scram(cases[i].password), WRONG_SASL);
        assert_string_equal(client_auth_problem(auth), cases[i].problem);
    }
    release_client();
}

/* The server-first-message without its nonce: what an attacker could compare. */
static void get_challenge(const char *user, bool known, const char *stored, char ret_text[100])
{
    assert_int_equal(begin_as(user, AUTH_SCRAM, known, stored), AUTH_CONTINUE);
    assert_int_equal(respond_first("x"), AUTH_CONTINUE);
    const char *text = (const char *) sent.data + 9, *end = (const char *) sent.data + sent.size;
    const char *comma = memchr(text, ',', (size_t) (end - text));
    assert_non_null(comma);
    snprintf(ret_text, 100, "%zu %.*s", (size_t) (comma - text), (int) (end - comma), comma);
    release_client();
}

static void test_unknown_user_looks_like_a_known_one(void **state UNUSED)
{
    char known[100], unknown[100], again[100];
    get_challenge("bob", true, "bob-pw", known);
    get_challenge("nobody", false, NULL, unknown);
    get_challenge("nobody", false, NULL, again);
    assert_string_equal(unknown, again);
    assert_int_equal(strlen(known), strlen(unknown));
    assert_string_not_equal(known, unknown);
    get_challenge("bob", true, MD5_SECRET, again);
    assert_string_equal(known, again);
}

static void test_mechanism_must_be_the_offered_one(void **state UNUSED)
{
    static const char *const mechanisms[] = {"FOO", "SCRAM-SHA-1",   "SCRAM-SHA-256-PLUS",
                                             "",    "scram-sha-256", "SCRAM-SHA-25"};
    for (size_t i = 0; i < countof(mechanisms); i++) {
        struct buffer body = {0};
        write_sasl_initial(&body, mechanisms[i], 9, "n,,n=,r=a", 9);
        assert_int_equal(begin(AUTH_SCRAM, "bob-pw"), AUTH_CONTINUE);
        expect_refused(respond(body.data, body.size),
                       "client selected an invalid SASL authentication mechanism");
        buffer_release(&body);
    }
}

static void test_lengths_that_lie_about_the_sasl_response(void **state UNUSED)
{
    static const uint32_t lengths[] = {0xffffffff, 0xfffffff0, 0xfffffffe, 0x7fffffff,
                                       0x80000000, 0,          8,          10};
    for (size_t i = 0; i < countof(lengths); i++) {
        struct buffer body = {0};
        write_sasl_initial(&body, "SCRAM-SHA-256", lengths[i], "n,,n=,r=a", 9);
        assert_int_equal(begin(AUTH_SCRAM, "bob-pw"), AUTH_CONTINUE);
        expect_refused(respond(body.data, body.size), WRONG_SASL);
        buffer_release(&body);
    }
}

/* Also when no data at all is claimed: there is no mechanism of ours that could begin so. */
static void test_sasl_response_cut_anywhere(void **state UNUSED)
{
    struct buffer body = {0};
    write_sasl_initial(&body, "SCRAM-SHA-256", 9, "n,,n=,r=a", 9);
    for (size_t size = 0; size < body.size; size++) {
        assert_int_equal(begin(AUTH_SCRAM, "bob-pw"), AUTH_CONTINUE);
        expect_refused(respond(body.data, size), WRONG_SASL);
    }
    body.size = 0;
    write_sasl_initial(&body, "SCRAM-SHA-256", 0xffffffff, NULL, 0);
    assert_int_equal(begin(AUTH_SCRAM, "bob-pw"), AUTH_CONTINUE);
    expect_refused(respond(body.data, body.size), WRONG_SASL);
    buffer_release(&body);
}

/* The forms themselves are tested with SCRAM; here, that the client learns no more of them. */
static void test_malformed_scram_is_refused_like_a_wrong_password(void **state UNUSED)
{
    static const char *const messages[] = {
        "", "n,,", "p=tls-unique,,n=,r=a", "n,a=x,n=,r=a", "n,,m=x,n=,r=a", "n,,n=,r="};
    for (size_t i = 0; i < countof(messages); i++) {
        struct buffer body = {0};
        size_t size = strlen(messages[i]);
        write_sasl_initial(&body, "SCRAM-SHA-256", (uint32_t) size, messages[i], size);
        assert_int_equal(begin(AUTH_SCRAM, "bob-pw"), AUTH_CONTINUE);
        expect_refused(respond(body.data, body.size), WRONG_SASL);
        assert_non_null(client_auth_problem(auth));
        buffer_release(&body);
    }
    assert_int_equal(begin(AUTH_SCRAM, "bob-pw"), AUTH_CONTINUE);
    assert_int_equal(respond_first("bob-pw"), AUTH_CONTINUE);
    expect_refused(respond("c=biws", 6), WRONG_SASL);
    release_client();
}

/* ---- SCRAM over TLS ---- */

static const struct scram_binding binding = {"the hash of our certificate", 27};

/* The client's SASLInitialResponse over TLS, with the mechanism it chose. */
static enum auth_verdict respond_first_bound(const char *mechanism, bool plus,
                                             const struct scram_binding *bound)
{
    struct secret stored = secret_of("bob-pw");
    struct buffer body = {0};
    client_auth_destroy(auth);
    auth = client_auth_create(AUTH_SCRAM, "bob", true, &stored, ITERATIONS, cache);
    client_auth_bind(auth, &binding);
    sent.size = 0;
    assert_int_equal(client_auth_begin(auth, &sent, &failure), AUTH_CONTINUE);
    expect_message(&sent, "R\0\0\0\x2a\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    release_client();
    client_password = stored;
    client.binding = bound;
    client.plus = plus;
    scram_client_first(&client, &message);
    write_sasl_initial(&body, mechanism, (uint32_t) message.size, message.data, message.size);
    enum auth_verdict verdict = respond(body.data, body.size);
    buffer_release(&body);
    return verdict;
}

static void test_channel_binding_is_offered_over_tls(void **state UNUSED)
{
    assert_int_equal(respond_first_bound("SCRAM-SHA-256-PLUS", true, &binding), AUTH_CONTINUE);
    assert_int_equal(respond_final(), AUTH_ACCEPTED);
    assert_int_equal(respond_first_bound("SCRAM-SHA-256", false, NULL), AUTH_CONTINUE);
    assert_int_equal(respond_final(), AUTH_ACCEPTED);
    release_client();
}

static void test_channel_binding_that_is_not_right(void **state UNUSED)
{
    static const struct scram_binding other = {"the hash of a false one....", 27};
    assert_int_equal(respond_first_bound("SCRAM-SHA-256-PLUS", true, &other), AUTH_CONTINUE);
    expect_refused(respond_final(), WRONG_SASL);
    expect_refused(respond_first_bound("SCRAM-SHA-256-PLUS", false, NULL), WRONG_SASL);
    expect_refused(respond_first_bound("SCRAM-SHA-256", true, &binding), WRONG_SASL);
    expect_refused(respond_first_bound("SCRAM-SHA-256", false, &binding), WRONG_SASL); /* "y,," */
    release_client();
}

static void test_nothing_is_answered_out_of_turn(void **state UNUSED)
{
    struct secret secret = secret_of("bob-pw");
    struct buffer first = {0};
    auth = client_auth_create(AUTH_PLAIN, "bob", true, &secret, ITERATIONS, cache);
    secret_release(&secret);
    expect_refused(respond_text("bob-pw"), "bad packet"); /* before the request */

    assert_int_equal(begin(AUTH_PLAIN, "bob-pw"), AUTH_CONTINUE);
    assert_int_equal(respond_text("bob-pw"), AUTH_ACCEPTED);
    expect_refused(respond_text("bob-pw"), "bad packet");

    assert_int_equal(begin(AUTH_PLAIN, "bob-pw"), AUTH_CONTINUE);
    expect_refused(respond_text("wrong"), WRONG);
    expect_refused(respond_text("bob-pw"), "bad packet"); /* no second try */

    assert_int_equal(begin(AUTH_SCRAM, "bob-pw"), AUTH_CONTINUE);
    assert_int_equal(log_in_by_scram("bob-pw"), AUTH_ACCEPTED);
    expect_refused(respond(message.data, message.size), "bad packet"); /* the final one again */

    assert_int_equal(begin(AUTH_SCRAM, "bob-pw"), AUTH_CONTINUE);
    assert_int_equal(respond_first("bob-pw"), AUTH_CONTINUE);
    write_sasl_initial(&first, "SCRAM-SHA-256", 9, "n,,n=,r=a", 9);
    expect_refused(respond(first.data, first.size), WRONG_SASL); /* the first one again */
    buffer_release(&first);
    release_client();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_any_and_trust_ask_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_methods_without_a_password_need_a_known_user, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_outside_decides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outside_is_not_asked_in_vain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_second_password_while_one_is_checked, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_destroy_of_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plain_password_fits_every_secret, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_methods_that_ask_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_guesses_are_not_remembered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_passwords_cost_the_same_for_everybody, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_passwords_cost_the_same_with_two_secrets, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_unknown_users_secret_is_not_looked_at, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_malformed_password_messages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_user_without_a_secret_never_gets_in, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_longest_password, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_verifier_of_endless_iterations_is_not_computed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_md5, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_md5_answer_has_one_form, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_md5_answer_cannot_be_replayed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_md5_salts_are_random, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_scram_with_a_plain_secret, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_scram_with_a_verifier_learns_the_keys, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_scram_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unknown_user_looks_like_a_known_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_mechanism_must_be_the_offered_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lengths_that_lie_about_the_sasl_response, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_sasl_response_cut_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_malformed_scram_is_refused_like_a_wrong_password,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_channel_binding_is_offered_over_tls, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_channel_binding_that_is_not_right, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_is_answered_out_of_turn, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
