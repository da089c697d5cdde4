/*
 * tls_context_test.c - contexts from settings: the words for protocols, and what is said of values
 * that cannot be used.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/tls_context.h"

#include "tls_fixture.h"

static struct certificate pair, other;

static int set_up(void **state UNUSED)
{
    make_certificate(&pair, "localhost", 9, NULL);
    make_certificate(&other, "other", 5, NULL);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    remove_certificate(&pair);
    remove_certificate(&other);
    return 0;
}

static struct tls_options client_options(void)
{
    return (struct tls_options){.side = "client",
                                .mode = SSLMODE_REQUIRE,
                                .key_file = pair.key_file,
                                .cert_file = pair.cert_file};
}

static struct tls_options server_options(void)
{
    return (struct tls_options){.side = "server", .mode = SSLMODE_PREFER};
}

static void assert_good(const struct tls_options *options)
{
    char problem[TLS_PROBLEM_SIZE] = "";
    struct tls_context *context = options->side[0] == 'c'
                                      ? tls_context_for_clients(options, problem)
                                      : tls_context_for_servers(options, problem);
    assert_string_equal(problem, "");
    assert_non_null(context);
    assert_int_equal(context->mode, options->mode);
    tls_context_give_back(context);
}

static void assert_bad(const struct tls_options *options, const char *expected)
{
    char problem[TLS_PROBLEM_SIZE] = "";
    struct tls_context *context = options->side[0] == 'c'
                                      ? tls_context_for_clients(options, problem)
                                      : tls_context_for_servers(options, problem);
    assert_null(context);
    if (strncmp(problem, expected, strlen(expected)) != 0)
        fail_msg("expected \"%s\", got \"%s\"", expected, problem);
    assert_int_equal(ERR_peek_error(), 0);
}

#define NO_1_0 SSL_OP_NO_TLSv1
#define NO_1_1 SSL_OP_NO_TLSv1_1
#define NO_1_2 SSL_OP_NO_TLSv1_2
#define NO_1_3 SSL_OP_NO_TLSv1_3

static void test_protocol_words(void **state UNUSED)
{
    static const struct {
        const char *text;
        uint64_t refused;
    } rows[] = {
        {NULL, NO_1_0 | NO_1_1},
        {"", NO_1_0 | NO_1_1},
        {"secure", NO_1_0 | NO_1_1},
        {"default", NO_1_0 | NO_1_1},
        {"Secure", NO_1_0 | NO_1_1},
        {"all", 0},
        {"tlsv1", 0},
        {"tlsv1.0", NO_1_1 | NO_1_2 | NO_1_3},
        {"tlsv1.1:tlsv1.2", NO_1_0 | NO_1_3},
        {"tlsv1.2,tlsv1.3", NO_1_0 | NO_1_1},
        {" tlsv1.2 , tlsv1.3 ", NO_1_0 | NO_1_1},
        {"tlsv1.3", NO_1_0 | NO_1_1 | NO_1_2},
        {"secure:!tlsv1.2", NO_1_0 | NO_1_1 | NO_1_2},
        {"!tlsv1.0", NO_1_0},
        {"!tlsv1.0:!tlsv1.1", NO_1_0 | NO_1_1},
        {"all,!tlsv1.3", NO_1_3},
        {"!tlsv1.3,tlsv1.3", 0},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        char problem[TLS_PROBLEM_SIZE];
        struct tls_options options = client_options();
        options.protocols = rows[i].text;
        struct tls_context *context = tls_context_for_clients(&options, problem);
        assert_non_null(context);
        uint64_t set = SSL_CTX_get_options(context->ssl);
        assert_int_equal(set & (NO_1_0 | NO_1_1 | NO_1_2 | NO_1_3), rows[i].refused);
        assert_true(set & SSL_OP_NO_SSLv3);
        tls_context_give_back(context);
    }
}

static void test_bad_protocol_words(void **state UNUSED)
{
    static const char *const rows[] = {"legacy", "sslv3", "tlsv1.4", "tls", "tlsv1.2x", "!",
                                       "tlsv1.2,!", "!all", "tlsv1.2 !tlsv1.2", "!!tlsv1.0", "-all"};
    for (size_t i = 0; i < countof(rows); i++) {
        char expected[80];
        struct tls_options options = client_options();
        options.protocols = rows[i];
        snprintf(expected, sizeof(expected), "invalid client_tls_protocols: %s", rows[i]);
        assert_bad(&options, expected);
        options = server_options();
        options.protocols = rows[i];
        snprintf(expected, sizeof(expected), "invalid server_tls_protocols: %s", rows[i]);
        assert_bad(&options, expected);
    }
}

static void test_cipher_words(void **state UNUSED)
{
    static const char *const good[] = {NULL,     "",       "default", "secure",
                                       "Normal", "fast",   "ALL",     "HIGH:!aNULL",
                                       "ECDHE-ECDSA-AES128-GCM-SHA256"};
    for (size_t i = 0; i < countof(good); i++) {
        struct tls_options options = client_options();
        options.ciphers = good[i];
        assert_good(&options);
    }
    struct tls_options options = client_options();
    options.ciphers = "all";
    assert_bad(&options, "invalid client_tls_ciphers: all");
    options.ciphers = NULL;
    options.tls13_ciphers = "nonsense";
    assert_bad(&options, "invalid client_tls13_ciphers: nonsense");
    options.tls13_ciphers = "TLS_AES_128_GCM_SHA256";
    assert_good(&options);
}

static void test_key_exchange(void **state UNUSED)
{
    static const char *const curves[] = {NULL, "", "auto", "none", "prime256v1", "X25519:secp384r1"};
    for (size_t i = 0; i < countof(curves); i++) {
        struct tls_options options = client_options();
        options.ecdhcurve = curves[i];
        options.dheparams = i % 2 ? "auto" : "none";
        assert_good(&options);
    }
    struct tls_options options = client_options();
    options.ecdhcurve = "nonsense";
    assert_bad(&options, "invalid client_tls_ecdhecurve: nonsense");
    options = client_options();
    options.dheparams = "legacy";
    assert_bad(&options, "invalid client_tls_dheparams: legacy");
}

static void test_files_of_clients(void **state UNUSED)
{
    static const char both[] = "To allow TLS connections from clients, client_tls_key_file and "
                               "client_tls_cert_file must be set.";
    struct tls_options options = client_options();
    options.key_file = "";
    assert_bad(&options, both);
    options = client_options();
    options.cert_file = NULL;
    assert_bad(&options, both);
    options = client_options();
    options.cert_file = "/nonexistent";
    assert_bad(&options, "client_tls_cert_file: cannot use \"/nonexistent\": No such file");
    options = client_options();
    options.key_file = "/nonexistent";
    assert_bad(&options, "client_tls_key_file: cannot use \"/nonexistent\" with the certificate: "
                         "No such file");
    options = client_options();
    options.key_file = other.key_file;
    assert_bad(&options, "client_tls_key_file: cannot use");
    options = client_options();
    options.ca_file = "/nonexistent";
    assert_bad(&options, "client_tls_ca_file: cannot use \"/nonexistent\": No such file");
    options = client_options();
    options.ca_file = pair.key_file; /* PEM, but no certificate */
    assert_bad(&options, "client_tls_ca_file: cannot use");
}

static void test_modes_of_clients(void **state UNUSED)
{
    struct tls_options options = client_options();
    options.mode = SSLMODE_VERIFY_FULL;
    assert_bad(&options, "client_tls_sslmode requires client_tls_ca_file");
    options.ca_file = other.cert_file;
    assert_good(&options);
    options.mode = SSLMODE_VERIFY_CA;
    assert_good(&options);
    options.ca_file = NULL; /* the system's */
    assert_good(&options);
}

static void test_files_of_servers(void **state UNUSED)
{
    struct tls_options options = server_options();
    assert_good(&options);
    options.key_file = pair.key_file;
    assert_bad(&options, "server_tls_key_file and server_tls_cert_file go together");
    options.cert_file = pair.cert_file;
    assert_good(&options);
    options.cert_file = other.cert_file;
    assert_bad(&options, "server_tls_key_file: cannot use");
    options = server_options();
    options.mode = SSLMODE_VERIFY_CA;
    options.ca_file = "/nonexistent";
    assert_bad(&options, "server_tls_ca_file: cannot use");
    options.ca_file = pair.cert_file;
    assert_good(&options);
}

/* A long value is cut, not written past the end. */
static void test_long_values(void **state UNUSED)
{
    char value[2000];
    struct tls_options options = client_options();
    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    options.protocols = value;
    assert_bad(&options, "invalid client_tls_protocols: xxxx");
    options = client_options();
    options.ca_file = value;
    assert_bad(&options, "client_tls_ca_file: cannot use \"xxxx");
}

static void test_references(void **state UNUSED)
{
    char problem[TLS_PROBLEM_SIZE];
    struct tls_options options = server_options();
    struct tls_context *context = tls_context_for_servers(&options, problem);
    assert_ptr_equal(tls_context_share(context), context);
    tls_context_give_back(context);
    assert_non_null(SSL_CTX_get_cert_store(context->ssl));
    tls_context_give_back(context);
    assert_null(tls_context_share(NULL));
    tls_context_give_back(NULL);
}

static void test_words_for_errors(void **state UNUSED)
{
    ERR_clear_error();
    assert_string_equal(tls_last_error(), "unknown error");
    ERR_raise(ERR_LIB_SSL, SSL_R_NO_SHARED_CIPHER);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    assert_string_equal(tls_last_error(), "no shared cipher");
    assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protocol_words),
        cmocka_unit_test(test_bad_protocol_words),
        cmocka_unit_test(test_cipher_words),
        cmocka_unit_test(test_key_exchange),
        cmocka_unit_test(test_files_of_clients),
        cmocka_unit_test(test_modes_of_clients),
        cmocka_unit_test(test_files_of_servers),
        cmocka_unit_test(test_long_values),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_words_for_errors),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
