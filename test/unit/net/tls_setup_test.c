/*
 * tls_setup_test.c - the contexts that a configuration asks for, and which entry gets which.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/tls_setup.h"

#include "config/report.h"
#include "tls_fixture.h"

static struct certificate pair;

struct made {
    struct config *config;
    struct tls_setup *setup; /* NULL: refused */
    struct config_report report;
};

/* The setup of a configuration file: entries, then settings. */
static struct made make(const char *databases, const char *settings)
{
    struct made made = {0};
    char name[] = "/tmp/pgweir-tls-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    dprintf(fd, "[databases]\n%s\n[pgbouncer]\nauth_type = any\n%s\n", databases, settings);
    close(fd);
    made.config = config_load(name, NULL, 0, &made.report);
    unlink(name);
    assert_non_null(made.config);
    made.setup = tls_setup_create(made.config, &made.report);
    return made;
}

static void release(struct made *made)
{
    tls_setup_destroy(made->setup);
    config_destroy(made->config);
    config_report_release(&made->report);
}

static const struct server_tls *of_entry(const struct made *made, const char *name)
{
    const struct config_database *database;
    for (database = made->config->databases; database != NULL; database = database->hh.next)
        if (strcmp(database->name, name) == 0)
            return tls_setup_for_database(made->setup, database);
    return tls_setup_for_database(made->setup, made->config->fallback);
}

static void assert_refused(const char *databases, const char *settings, const char *words)
{
    struct made made = make(databases, settings);
    assert_null(made.setup);
    assert_int_equal(made.report.error_count, 1);
    if (strstr(made.report.errors[0], words) == NULL)
        fail_msg("expected \"%s\", got \"%s\"", words, made.report.errors[0]);
    release(&made);
}

static int set_up(void **state UNUSED)
{
    make_certificate(&pair, "localhost", 9, NULL);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    remove_certificate(&pair);
    return 0;
}

static void test_defaults(void **state UNUSED)
{
    struct made made = make("a = host=x", "");
    assert_null(tls_setup_for_clients(made.setup));
    const struct server_tls *tls = of_entry(&made, "a");
    assert_int_equal(tls->mode, SSLMODE_PREFER);
    assert_int_equal(tls->negotiation, TLS_NEGOTIATION_POSTGRES);
    assert_non_null(tls->context);
    release(&made);
}

static void test_disabled(void **state UNUSED)
{
    struct made made = make("a = host=x", "server_tls_sslmode = disable");
    assert_int_equal(of_entry(&made, "a")->mode, SSLMODE_DISABLE);
    assert_null(of_entry(&made, "a")->context);
    release(&made);
}

static void test_clients(void **state UNUSED)
{
    char settings[256];
    snprintf(settings, sizeof(settings),
             "client_tls_sslmode = require\nclient_tls_cert_file = %s\nclient_tls_key_file = %s",
             pair.cert_file, pair.key_file);
    struct made made = make("a = host=x", settings);
    assert_int_equal(tls_setup_for_clients(made.setup)->mode, SSLMODE_REQUIRE);
    release(&made);
}

static void test_keys_of_entries_beat_the_settings(void **state UNUSED)
{
    struct made made =
        make("a = host=x server_tls_sslmode=require server_tls_negotiation=direct\n"
             "b = host=x\nc = host=x server_tls_protocols=tlsv1.3\n* = server_tls_sslmode=disable",
             "server_tls_sslmode = prefer");
    assert_int_equal(of_entry(&made, "a")->mode, SSLMODE_REQUIRE);
    assert_int_equal(of_entry(&made, "a")->negotiation, TLS_NEGOTIATION_DIRECT);
    assert_int_equal(of_entry(&made, "b")->mode, SSLMODE_PREFER);
    assert_int_equal(of_entry(&made, "b")->negotiation, TLS_NEGOTIATION_POSTGRES);
    assert_int_equal(of_entry(&made, "c")->mode, SSLMODE_PREFER);
    assert_true(SSL_CTX_get_options(of_entry(&made, "c")->context->ssl) & SSL_OP_NO_TLSv1_2);
    assert_false(SSL_CTX_get_options(of_entry(&made, "b")->context->ssl) & SSL_OP_NO_TLSv1_2);
    assert_int_equal(of_entry(&made, "made from *")->mode, SSLMODE_DISABLE);
    assert_null(of_entry(&made, "made from *")->context);
    release(&made);
}

/* An entry may be less strict than the settings, and an empty key takes a file away. */
static void test_an_entry_may_weaken(void **state UNUSED)
{
    char settings[200];
    snprintf(settings, sizeof(settings),
             "server_tls_sslmode = verify-full\nserver_tls_ca_file = %s", pair.cert_file);
    struct made made = make("a = host=x server_tls_sslmode=prefer\nb = host=x", settings);
    assert_int_equal(of_entry(&made, "a")->mode, SSLMODE_PREFER);
    assert_int_equal(of_entry(&made, "b")->mode, SSLMODE_VERIFY_FULL);
    release(&made);
}

/* A thousand entries that want the same do not read the same files a thousand times. */
static void test_the_same_keys_share_a_context(void **state UNUSED)
{
    struct made made = make("a = host=x server_tls_sslmode=require\n"
                            "b = host=y server_tls_sslmode=require\n"
                            "c = host=z server_tls_sslmode=verify-ca\n"
                            "d = host=z server_tls_sslmode=prefer\n* = host=z",
                            "");
    assert_ptr_equal(of_entry(&made, "a")->context, of_entry(&made, "b")->context);
    assert_ptr_not_equal(of_entry(&made, "a")->context, of_entry(&made, "c")->context);
    assert_ptr_equal(of_entry(&made, "d")->context, of_entry(&made, "other")->context);
    release(&made);
}

static void test_problems_name_their_place(void **state UNUSED)
{
    static const char direct[] =
        "server_tls_negotiation = direct needs server_tls_sslmode = require or stricter";
    assert_refused("a = host=x", "server_tls_ciphers = nonsense",
                   "invalid server_tls_ciphers: nonsense");
    assert_refused("a = host=x", "client_tls_sslmode = allow", "To allow TLS connections");
    assert_refused("a = host=x", "server_tls_negotiation = direct", direct);
    assert_refused("a = host=x server_tls_negotiation=direct", "", direct);
    assert_refused("z = host=x\na = host=x server_tls_ciphers=nonsense", "", ":3: ");
    assert_refused("* = server_tls_ciphers=nonsense", "", ":2: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_disabled),
        cmocka_unit_test(test_clients),
        cmocka_unit_test(test_keys_of_entries_beat_the_settings),
        cmocka_unit_test(test_an_entry_may_weaken),
        cmocka_unit_test(test_the_same_keys_share_a_context),
        cmocka_unit_test(test_problems_name_their_place),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
