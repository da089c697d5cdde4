/*
 * server_auth_test.c - logs in to a server.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/server_auth.h"

#include "auth/md5.h"
#include "fixture.h"
#include "wire/message.h"

/* Of the user "bob" and the password "bob-pw". */
#define MD5_SECRET "md51437cf777a4bdc5ee09d4a44200665da"

static struct scram_key_cache *cache;
static struct server_auth *auth;
static struct scram_server server; /* the other side, where it speaks SCRAM */
static struct scram_keys keys;     /* of the password with the verifier of `server` */
static char verifier_text[200];
static struct buffer sent; /* what we said last */
static struct failure failure;
static bool done;

static int set_up(void **state UNUSED)
{
    cache = scram_key_cache_create(10);
    make_verifier_text("bob-pw", 2, verifier_text, sizeof(verifier_text));
    return 0;
}

static int tear_down(void **state UNUSED)
{
    server_auth_destroy(auth);
    auth = NULL;
    scram_server_release(&server);
    buffer_release(&sent);
    scram_key_cache_destroy(cache);
    return 0;
}

static void begin(const char *stored, const struct scram_keys *learned)
{
    struct secret secret = secret_of(stored), password = secret_of("bob-pw");
    struct secret verifier = secret_of(verifier_text);
    server_auth_destroy(auth);
    auth = server_auth_create("bob", &secret, learned, cache);
    scram_server_release(&server);
    assert_true(secret_read_verifier(&verifier, &server.verifier));
    scram_key_cache_derive(cache, &password, server.verifier.salt, server.verifier.salt_size,
                           server.verifier.iterations, &keys);
    secret_release(&secret);
    secret_release(&password);
    secret_release(&verifier);
}

/* The body of an Authentication message. */
static bool request(uint32_t code, const void *content, size_t size)
{
    struct buffer body = {0};
    message_add_int32(&body, code);
    message_add_bytes(&body, content, size);
    sent.size = 0;
    done = true;
    failure = (struct failure){0};
    bool good = server_auth_respond(auth, body.data, body.size, &sent, &done, &failure);
    buffer_release(&body);
    return good;
}

static void expect_answered(bool good)
{
    assert_true(good);
    assert_false(done);
    assert_string_equal(failure.message, "");
}

static void expect_accepted(bool good)
{
    assert_true(good);
    assert_true(done);
    assert_int_equal(sent.size, 0);
}

static void expect_failed(bool good, const char *message)
{
    assert_false(good);
    assert_false(done);
    assert_int_equal(sent.size, 0);
    assert_string_equal(failure.message, message);
    assert_string_equal(failure.sqlstate, "08P01");
}

static void test_server_that_asks_nothing(void **state UNUSED)
{
    begin(NULL, NULL);
    expect_accepted(request(0, NULL, 0));
}

static void test_destroy_of_nothing(void **state UNUSED)
{
    server_auth_destroy(NULL);
}

/* ---- passwords ---- */

static void test_cleartext_needs_the_plain_secret(void **state UNUSED)
{
    const char *const unfit[] = {NULL, "", MD5_SECRET, verifier_text};
    begin("bob-pw", NULL);
    expect_answered(request(3, NULL, 0));
    expect_message(&sent, "p\0\0\0\x0b"
                          "bob-pw\0");
    expect_accepted(request(0, NULL, 0));
    for (size_t i = 0; i < countof(unfit); i++) {
        begin(unfit[i], &keys);
        expect_failed(request(3, NULL, 0), "server login failed: wrong password type");
    }
}

static void test_md5_needs_the_plain_secret_or_its_hash(void **state UNUSED)
{
    static const char *const fit[] = {"bob-pw", MD5_SECRET};
    const char *const unfit[] = {NULL, "", verifier_text};
    for (size_t i = 0; i < countof(fit); i++) {
        char expected[MD5_TEXT_SIZE];
        begin(fit[i], NULL);
        expect_answered(request(5, "salt", 4));
        md5_answer(MD5_SECRET, (const uint8_t *) "salt", expected);
        assert_int_equal(sent.size, 5 + MD5_TEXT_SIZE);
        assert_memory_equal(sent.data, "p\0\0\0\x28", 5);
        assert_memory_equal(sent.data + 5, expected, MD5_TEXT_SIZE);
        expect_accepted(request(0, NULL, 0));
    }
    for (size_t i = 0; i < countof(unfit); i++) {
        begin(unfit[i], &keys);
        expect_failed(request(5, "salt", 4), "server login failed: wrong password type");
    }
}

/* ---- SCRAM ---- */

#define OFFER "SCRAM-SHA-256\0"

static void answer_offer(void)
{
    expect_answered(request(10, OFFER, sizeof(OFFER)));
    assert_memory_equal(sent.data + 5, "SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=", 26);
}

/* The server's part after the offer. */
static void get_server_first(struct buffer *ret_first)
{
    ret_first->size = 0;
    assert_null(scram_server_first(&server, sent.data + 23, sent.size - 23, ret_first));
}

static void answer_continue(struct buffer *ret_final)
{
    struct buffer first = {0};
    get_server_first(&first);
    expect_answered(request(11, first.data, first.size));
    assert_int_equal(sent.data[0], 'p');
    assert_null(scram_server_final(&server, sent.data + 5, sent.size - 5, ret_final));
    buffer_release(&first);
}

static void test_scram_with_a_password_or_learned_keys(void **state UNUSED)
{
    const struct {
        const char *stored;
        bool with_keys;
    } cases[] = {{"bob-pw", false},
                 {"bob-pw", true},
                 {NULL, true},
                 {verifier_text, true},
                 {MD5_SECRET, true}};

    for (size_t i = 0; i < countof(cases); i++) {
        struct buffer final = {0};
        begin("bob-pw", NULL);
        begin(cases[i].stored, cases[i].with_keys ? &keys : NULL);
        answer_offer();
        answer_continue(&final);
        expect_answered(request(12, final.data, final.size));
        assert_int_equal(sent.size, 0);
        expect_accepted(request(0, NULL, 0));
        buffer_release(&final);
    }
}

static void forget_keys(void)
{
    struct secret password = secret_of("bob-pw");
    scram_key_cache_forget(cache, &password, server.verifier.salt, server.verifier.salt_size,
                           server.verifier.iterations);
    secret_release(&password);
}

static void on_keys_ready(struct task *task)
{
    struct loop *loop = container_of(task, struct scram_key_request, ready)->loop;
    loop_stop(loop);
}

/* Keys that were never derived: the answer comes when they have been. */
static void test_scram_with_keys_that_come_later(void **state UNUSED)
{
    struct buffer first = {0}, final = {0};
    struct scram_key_request key_request = {.ready.run = on_keys_ready};
    struct loop *loop = loop_create();
    begin("bob-pw", NULL);
    forget_keys();
    answer_offer();
    get_server_first(&first);
    assert_false(server_auth_needs_keys(auth));
    expect_answered(request(11, first.data, first.size));
    assert_int_equal(sent.size, 0);
    assert_true(server_auth_needs_keys(auth));

    server_auth_derive_keys(auth, loop, &key_request);
    loop_run(loop);
    assert_memory_equal(&key_request.keys, &keys, sizeof(keys));
    server_auth_prove(auth, &key_request.keys, &sent);
    assert_false(server_auth_needs_keys(auth));
    assert_int_equal(sent.data[0], 'p');
    assert_null(scram_server_final(&server, sent.data + 5, sent.size - 5, &final));
    expect_answered(request(12, final.data, final.size));
    expect_accepted(request(0, NULL, 0));
    scram_key_request_cancel(&key_request);
    buffer_release(&first);
    buffer_release(&final);
    loop_destroy(loop);
}

/* Whatever a server says before it has our proof, it has not waited for it. */
static void test_server_that_does_not_wait_for_the_proof(void **state UNUSED)
{
    static const uint32_t codes[] = {0, 3, 5, 10, 11, 12, 99};
    struct buffer first = {0};
    for (size_t i = 0; i < countof(codes); i++) {
        begin("bob-pw", NULL);
        forget_keys();
        answer_offer();
        get_server_first(&first);
        expect_answered(request(11, first.data, first.size));
        expect_failed(request(codes[i], first.data, first.size),
                      "server login failed: failed to verify server signature");
        assert_false(server_auth_needs_keys(auth));
    }
    buffer_release(&first);
}

static void test_scram_without_password_and_keys(void **state UNUSED)
{
    const char *const unfit[] = {NULL, "", MD5_SECRET, verifier_text};
    for (size_t i = 0; i < countof(unfit); i++) {
        begin(unfit[i], NULL);
        expect_failed(request(10, OFFER, sizeof(OFFER)),
                      "server login failed: wrong password type");
    }
}

#define LIST(literal) literal, sizeof(literal)

static void test_lists_of_mechanisms(void **state UNUSED)
{
#define NONE      "none of the server's SASL authentication mechanisms are supported"
#define MALFORMED "malformed authentication request"

    static const struct {
        const char *list;
        size_t size;
        const char *reason; /* NULL: taken */
    } cases[] = {
        {LIST("SCRAM-SHA-256\0"), NULL},
        {LIST("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0"), NULL},
        {LIST("SCRAM-SHA-256\0OTHER\0"), NULL},
        {LIST(""), NONE},
        {LIST("OTHER\0"), NONE},
        {LIST("SCRAM-SHA-256-PLUS\0"), NONE},
        {LIST("\0SCRAM-SHA-256\0"), MALFORMED}, /* behind the end */
        {LIST("SCRAM-SHA-256\0\0"), MALFORMED},
        {LIST("SCRAM-SHA-256\0\0more"), MALFORMED},
        {"", 0, MALFORMED},
        {LIST("SCRAM-SHA-256"), MALFORMED},
        {LIST("SCRAM-SHA-256\0OTHER"), MALFORMED},
        {"SCRAM-SHA-256", 13, MALFORMED},
        {"SCRAM-SHA-256\0OTHER", 19, MALFORMED},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        char message[100];
        begin("bob-pw", NULL);
        bool good = request(10, cases[i].list, cases[i].size);
        if (cases[i].reason == NULL) {
            expect_answered(good);
            continue;
        }
        snprintf(message, sizeof(message), "server login failed: %s", cases[i].reason);
        expect_failed(good, message);
    }
}

/* Over TLS the exchange is bound to the server's certificate, if the server offers that. */
static void test_choice_of_the_mechanism(void **state UNUSED)
{
    static const struct scram_binding binding = {"the hash of the certificate", 27};

    static const struct {
        const char *list;
        size_t size;
        bool over_tls;
        const char *mechanism, *gs2_header; /* NULL: none fits */
    } cases[] = {
        {LIST("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0"), true, "SCRAM-SHA-256-PLUS",
         "p=tls-server-end-point,,"},
        {LIST("SCRAM-SHA-256\0SCRAM-SHA-256-PLUS\0"), true, "SCRAM-SHA-256-PLUS",
         "p=tls-server-end-point,,"},
        {LIST("SCRAM-SHA-256-PLUS\0"), true, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"},
        {LIST("SCRAM-SHA-256\0"), true, "SCRAM-SHA-256", "y,,"},
        {LIST("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0"), false, "SCRAM-SHA-256", "n,,"},
        {LIST("OTHER\0"), true, NULL, NULL},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        begin("bob-pw", NULL);
        if (cases[i].over_tls)
            server_auth_bind(auth, &binding);
        bool good = request(10, cases[i].list, cases[i].size);
        if (cases[i].mechanism == NULL) {
            expect_failed(good, "server login failed: " NONE);
            continue;
        }
        expect_answered(good);
        size_t length = strlen(cases[i].mechanism);
        assert_memory_equal(sent.data + 5, cases[i].mechanism, length + 1);
        assert_memory_equal(sent.data + 5 + length + 1 + 4, cases[i].gs2_header,
                            strlen(cases[i].gs2_header));
    }
}

static void test_endless_list_of_mechanisms(void **state UNUSED)
{
    struct buffer list = {0};
    for (unsigned i = 0; i < 10000; i++)
        message_add_text(&list, "A");
    message_add_byte(&list, 0);
    begin("bob-pw", NULL);
    expect_failed(request(10, list.data, list.size), "server login failed: " NONE);
    buffer_release(&list);
}

static void test_malformed_challenge_ends_the_login(void **state UNUSED)
{
    static const char *const extensions[] = {",s=,i=2", ",s=AAAA,i=0", ",s=AAAA,i=-1",
                                             ",s=AAAA,i=abc", ",s=AAAA,i=2147483647"};
    for (size_t i = 0; i < countof(extensions); i++) {
        char challenge[100];
        begin("bob-pw", NULL);
        answer_offer();
        snprintf(challenge, sizeof(challenge), "r=%.24sx%s", (const char *) sent.data + 31,
                 extensions[i]);
        assert_false(request(11, challenge, strlen(challenge)));
        assert_int_equal(sent.size, 0);
        assert_memory_equal(failure.message, "server login failed: ", 21);
        begin("bob-pw", NULL);
        answer_offer();
        snprintf(challenge, sizeof(challenge), "r=%.24s,s=AAAA,i=2", (const char *) sent.data + 31);
        expect_failed(
            request(11, challenge, strlen(challenge)),
            "server login failed: malformed SCRAM message from the server: the nonce does "
            "not match");
    }
}

static void test_server_must_prove_what_it_knows(void **state UNUSED)
{
    struct buffer final = {0};
    begin("bob-pw", NULL);
    answer_offer();
    answer_continue(&final);
    final.data[2] = final.data[2] == 'A' ? 'B' : 'A';
    expect_failed(request(12, final.data, final.size),
                  "server login failed: invalid server signature");
    buffer_release(&final);
}

/* ---- the order ---- */

static void test_scram_cannot_be_left_early(void **state UNUSED)
{
    static const uint32_t after_offer[] = {0, 3, 5, 10, 12, 99},
                          after_proof[] = {0, 3, 5, 10, 11, 99};
    static const char message[] = "server login failed: failed to verify server signature";
    for (size_t i = 0; i < countof(after_offer); i++) {
        struct buffer final = {0};
        begin("bob-pw", NULL);
        answer_offer();
        expect_failed(request(after_offer[i], OFFER, sizeof(OFFER)), message);
        begin("bob-pw", NULL);
        answer_offer();
        answer_continue(&final);
        expect_failed(request(after_proof[i], OFFER, sizeof(OFFER)), message);
        buffer_release(&final);
    }
}

static void test_scram_must_begin_with_an_offer(void **state UNUSED)
{
    begin("bob-pw", NULL);
    expect_failed(request(11, "r=x", 3), "server login failed: unexpected authentication request");
    begin("bob-pw", NULL);
    expect_failed(request(12, "v=x", 3), "server login failed: unexpected authentication request");
}

/* Or a server could have the password in one form after it got it in another. */
static void test_only_one_method_is_answered(void **state UNUSED)
{
    static const uint32_t codes[] = {3, 5, 7, 10, 11, 12};
    for (size_t i = 0; i < 3 * countof(codes); i++) {
        begin("bob-pw", NULL);
        if (i % 3 == 0) {
            expect_answered(request(3, NULL, 0));
        } else if (i % 3 == 1) {
            expect_answered(request(5, "salt", 4));
        } else {
            struct buffer final = {0};
            answer_offer();
            answer_continue(&final);
            expect_answered(request(12, final.data, final.size));
            buffer_release(&final);
        }
        expect_failed(request(codes[i / 3], OFFER, sizeof(OFFER)),
                      "server login failed: unexpected authentication request");
    }
}

/* Whoever could not prove himself cannot say that all is well. */
static void test_nothing_is_believed_after_a_failure(void **state UNUSED)
{
    static const char wrong[] = "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    struct buffer final = {0};
    begin("bob-pw", NULL);
    answer_offer();
    answer_continue(&final);
    expect_failed(request(12, wrong, sizeof(wrong) - 1),
                  "server login failed: invalid server signature");
    expect_failed(request(0, NULL, 0), "server login failed: unexpected authentication request");
    expect_failed(request(12, final.data, final.size),
                  "server login failed: unexpected authentication request");
    begin(NULL, NULL);
    expect_failed(request(3, NULL, 0), "server login failed: wrong password type");
    expect_failed(request(0, NULL, 0), "server login failed: unexpected authentication request");
    buffer_release(&final);
}

static void test_unsupported_requests(void **state UNUSED)
{
    static const uint32_t codes[] = {1, 2, 4, 6, 7, 8, 9, 13, 99, 0xffffffff};
    for (size_t i = 0; i < countof(codes); i++) {
        char message[100];
        begin("bob-pw", &keys);
        snprintf(message, sizeof(message),
                 "server login failed: unknown/unsupported auth method: %u", codes[i]);
        expect_failed(request(codes[i], NULL, 0), message);
    }
}

static void test_requests_that_are_cut(void **state UNUSED)
{
    static const char body[] = "\0\0\0\x05salt";
    for (size_t size = 0; size < 8; size++) {
        begin("bob-pw", NULL);
        sent.size = 0;
        bool good = server_auth_respond(auth, (const uint8_t *) body, size, &sent, &done, &failure);
        expect_failed(good, "server login failed: malformed authentication request");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_server_that_asks_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_destroy_of_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cleartext_needs_the_plain_secret, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_md5_needs_the_plain_secret_or_its_hash, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_scram_with_a_password_or_learned_keys, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_scram_with_keys_that_come_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_server_that_does_not_wait_for_the_proof, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_scram_without_password_and_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lists_of_mechanisms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_choice_of_the_mechanism, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_endless_list_of_mechanisms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_malformed_challenge_ends_the_login, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_server_must_prove_what_it_knows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_scram_cannot_be_left_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_scram_must_begin_with_an_offer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_one_method_is_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_is_believed_after_a_failure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unsupported_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_requests_that_are_cut, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
