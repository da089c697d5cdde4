/*
 * settings_test.c - the settings by their types.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/settings.h"

#include "fixture.h"

#include <limits.h>

static const struct setting *find(const char *name)
{
    const struct setting *setting = settings_find(name);
    if (setting == NULL)
        fail_msg("there is no setting %s", name);
    return setting;
}

/* The value as SHOW CONFIG prints it; "(unset)" if there is none. Free it. */
static char *printed(const struct settings *settings, const char *name)
{
    struct buffer text = {0};
    if (!settings_print(settings, find(name), &text))
        buffer_append(&text, "(unset)", 7);
    buffer_append(&text, "", 1);
    return (char *) text.data;
}

static void assert_printed(const struct settings *settings, const char *name, const char *expected)
{
    char *text = printed(settings, name);
    if (strcmp(text, expected) != 0)
        fail_msg("%s is %s, not %s", name, text, expected);
    free(text);
}

static bool set(struct settings *settings, const char *name, const char *text)
{
    const char *expected = NULL;
    bool good = settings_set(settings, find(name), text, &expected);
    assert_non_null(expected);
    return good;
}

/* ---- the table ---- */

static void test_table(void **state UNUSED)
{
    assert_true(settings_count > 0);
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        size_t length = strlen(setting->doc);
        assert_ptr_equal(settings_find(setting->name), setting); /* so no name is there twice */
        if (length < 10 || setting->doc[length - 1] != '.')
            fail_msg("%s is not documented", setting->name);
        assert_true(setting->offset + setting->size <= sizeof(struct settings));
    }
}

static void test_find(void **state UNUSED)
{
    assert_non_null(settings_find("pool_mode"));
    assert_null(settings_find("Pool_Mode"));
    assert_null(settings_find("pool_mode "));
    assert_null(settings_find(""));
    assert_null(settings_find("pool"));
}

static void test_nearest(void **state UNUSED)
{
    char *text = repeat('x', 10000);
    assert_string_equal(settings_nearest("pool_mod"), "pool_mode");
    assert_null(settings_nearest("POOL_MODE"));
    assert_string_equal(settings_nearest("max_clients_conn"), "max_client_conn");
    assert_string_equal(settings_nearest("server_reset_qeury"), "server_reset_query");
    assert_string_equal(settings_nearest("usr"), "user");
    assert_string_equal(settings_nearest("pool_mode"), "pool_mode");
    assert_null(settings_nearest(""));
    assert_null(settings_nearest("nonsense"));
    assert_null(settings_nearest(text));
    free(text);
}

static void test_defaults(void **state UNUSED)
{
    struct settings settings;
    memset(&settings, 0xff, sizeof(settings));
    settings_init(&settings);
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        if (strcmp(setting->name, "unix_socket_mode") == 0)
            assert_printed(&settings, setting->name, "511"); /* decimal, as in PgBouncer */
        else if (strcmp(setting->name, "verbose") == 0)
            assert_printed(&settings, setting->name, "0"); /* a number is never unset */
        else
            assert_printed(&settings, setting->name,
                           setting->default_text != NULL ? setting->default_text : "(unset)");
    }
    settings_release(&settings);
}

/* These have no default, so they outlive a header: all texts but verbose. */
static void test_settings_without_a_default(void **state UNUSED)
{
    static const char *const names[] = {
        "auth_dbname", "auth_file",            "auth_ident_file", "auth_ldap_options",
        "auth_user",   "client_tls13_ciphers", "conffile",        "server_tls13_ciphers",
        "user",        "verbose"};
    size_t count = 0;
    for (size_t i = 0; i < settings_count; i++)
        count += settings_table[i].default_text == NULL;
    assert_int_equal(count, countof(names));
    for (size_t i = 0; i < countof(names); i++)
        assert_null(find(names[i])->default_text);
}

static void test_settings_that_need_a_restart(void **state UNUSED)
{
    static const char *const names[] = {
        "disable_pqexec", "job_name",     "listen_addr",      "listen_backlog",
        "listen_port",    "pidfile",      "pkt_buf",          "resolv_conf",
        "so_reuseport",   "track_extra_parameters",           "track_startup_parameters",
        "unix_socket_dir",
        "unix_socket_group",              "unix_socket_mode", "user"};
    size_t count = 0;
    for (size_t i = 0; i < settings_count; i++)
        count += settings_table[i].when == SETTING_RESTART;
    assert_int_equal(count, countof(names));
    for (size_t i = 0; i < countof(names); i++)
        assert_int_equal(find(names[i])->when, SETTING_RESTART);
}

/* ---- values ---- */

static void test_values(void **state UNUSED)
{
    static const struct {
        const char *name, *text, *printed;
    } cases[] = {
        {"default_pool_size", "7", "7"},
        {"default_pool_size", "0x10", "16"},
        {"default_pool_size", "010", "8"},
        {"default_pool_size", "-1", "-1"},
        {"default_pool_size", "2147483647", "2147483647"},
        {"default_pool_size", "-2147483648", "-2147483648"},
        {"max_packet_size", "4294967295", "4294967295"},
        {"max_packet_size", "0", "0"},
        {"unix_socket_mode", "0770", "504"},
        {"unix_socket_mode", "770", "770"},
        {"log_connections", "0", "0"},
        {"log_connections", "1", "1"},
        {"log_connections", "-5", "1"}, /* any other number is true */
        {"query_timeout", "0", "0"},
        {"query_timeout", "0.5", "0.5"},
        {"query_timeout", "1.500", "1.5"},
        {"query_timeout", "3600.0", "3600"},
        {"query_timeout", ".25", "0.25"},
        {"pool_mode", "SESSION", "session"},
        {"pool_mode", "transaction", "transaction"},
        {"pool_mode", "Statement", "statement"},
        {"client_tls_sslmode", "disable", "disable"},
        {"client_tls_sslmode", "allow", "allow"},
        {"client_tls_sslmode", "PREFER", "prefer"},
        {"client_tls_sslmode", "require", "require"},
        {"client_tls_sslmode", "verify-ca", "verify-ca"},
        {"client_tls_sslmode", "verify-full", "verify-full"},
        {"server_tls_negotiation", "Direct", "direct"},
        {"server_tls_negotiation", "postgres", "postgres"},
        {"auth_type", "any", "any"},
        {"auth_type", "trust", "trust"},
        {"auth_type", "plain", "plain"},
        {"auth_type", "MD5", "md5"},
        {"auth_type", "cert", "cert"},
        {"auth_type", "hba", "hba"},
        {"auth_type", "SCRAM-sha-256", "scram-sha-256"},
        {"auth_type", "ldap", "ldap"},
        {"auth_type", "pam", "pam"},
        {"admin_users", " a, b ", " a, b "},
        {"admin_users", "", ""},
        {"logfile", "a b", "a b"},
        {"server_check_query", "", ""},
        {"auth_file", "x", "x"},
    };
    struct settings settings;
    settings_init(&settings);
    for (size_t i = 0; i < countof(cases); i++) {
        if (!set(&settings, cases[i].name, cases[i].text))
            fail_msg("%s = %s was refused", cases[i].name, cases[i].text);
        assert_printed(&settings, cases[i].name, cases[i].printed);
    }
    settings_release(&settings);
}

static void test_fields(void **state UNUSED)
{
    struct settings settings;
    settings_init(&settings);
    assert_true(set(&settings, "query_timeout", "1.5"));
    assert_true(set(&settings, "unix_socket_mode", "0700"));
    assert_true(set(&settings, "pool_mode", "statement"));
    assert_true(set(&settings, "auth_type", "scram-sha-256"));
    assert_true(set(&settings, "server_tls_sslmode", "allow"));
    assert_true(set(&settings, "max_packet_size", "4294967295"));
    assert_true(set(&settings, "syslog", "1"));
    assert_true(settings.query_timeout == 1500000);
    assert_int_equal(settings.unix_socket_mode, 0700);
    assert_int_equal(settings.pool_mode, POOL_STATEMENT);
    assert_int_equal(settings.auth_type, AUTH_TYPE_SCRAM);
    assert_int_equal(settings.server_tls_sslmode, SSLMODE_ALLOW);
    assert_true(settings.max_packet_size == UINT32_MAX);
    assert_true(settings.syslog);
    assert_false(settings.so_reuseport);
    settings_release(&settings);
}

static void test_bad_values_change_nothing(void **state UNUSED)
{
    static const struct {
        const char *name, *text, *expected;
    } cases[] = {
        {"default_pool_size", "", "an integer"},
        {"default_pool_size", "many", "an integer"},
        {"default_pool_size", "10s", "an integer"},
        {"default_pool_size", "1.0", "an integer"},
        {"default_pool_size", " 1", "an integer"},
        {"default_pool_size", "2147483648", "an integer"},
        {"default_pool_size", "-2147483649", "an integer"},
        {"default_pool_size", "99999999999999999999", "an integer"},
        {"max_packet_size", "-1", "a non-negative integer"},
        {"max_packet_size", "4294967296", "a non-negative integer"},
        {"max_packet_size", "x", "a non-negative integer"},
        {"query_wait_notify", "1.5", "a non-negative integer"},
        {"unix_socket_mode", "0888", "an octal number such as 0770"},
        {"unix_socket_mode", "rwx", "an octal number such as 0770"},
        {"log_connections", "yes", "0 or 1"},
        {"log_connections", "on", "0 or 1"},
        {"log_connections", "true", "0 or 1"},
        {"log_connections", "", "0 or 1"},
        {"query_timeout", "-1", "a number of seconds without a unit"},
        {"query_timeout", "5s", "a number of seconds without a unit"},
        {"query_timeout", "", "a number of seconds without a unit"},
        {"query_timeout", "1,5", "a number of seconds without a unit"},
        {"pool_mode", "transactions", "session, transaction or statement"},
        {"pool_mode", "", "session, transaction or statement"},
        {"client_tls_sslmode", "disabled",
         "disable, allow, prefer, require, verify-ca or verify-full"},
        {"server_tls_negotiation", "yes", "postgres or direct"},
        {"server_protocol", "3.1", "3.0 or 3.2"},
        {"server_reset_query_mode", "always", "always-in-session or smart"},
        {"warn_session_features", "on", "off, notice or error"},
        {"auth_type", "crypt",
         "any, trust, plain, md5, cert, hba, scram-sha-256, ldap or pam"},
    };
    struct settings settings;
    settings_init(&settings);
    for (size_t i = 0; i < countof(cases); i++) {
        const char *expected;
        char *before = printed(&settings, cases[i].name);
        if (settings_set(&settings, find(cases[i].name), cases[i].text, &expected))
            fail_msg("%s = %s was accepted", cases[i].name, cases[i].text);
        assert_string_equal(expected, cases[i].expected);
        assert_printed(&settings, cases[i].name, before);
        free(before);
    }
    settings_release(&settings);
}

static void test_long_text(void **state UNUSED)
{
    struct settings settings;
    char *text = repeat('x', 1000000);
    settings_init(&settings);
    assert_true(set(&settings, "admin_users", text));
    assert_printed(&settings, "admin_users", text);
    settings_release(&settings);
    free(text);
}

static void test_print_appends(void **state UNUSED)
{
    struct settings settings;
    struct buffer text = {0};
    settings_init(&settings);
    buffer_append(&text, "a", 1);
    assert_false(settings_print(&settings, find("auth_user"), &text));
    assert_int_equal(text.size, 1);
    assert_true(settings_print(&settings, find("listen_port"), &text));
    assert_int_equal(text.size, 5);
    assert_memory_equal(text.data, "a6432", 5);
    buffer_release(&text);
    settings_release(&settings);
}

/* ---- all of them ---- */

static void test_reset(void **state UNUSED)
{
    struct settings settings;
    settings_init(&settings);
    assert_true(set(&settings, "listen_port", "1"));
    assert_true(set(&settings, "admin_users", "bob"));
    assert_true(set(&settings, "pool_mode", "statement"));
    assert_true(set(&settings, "auth_user", "bob"));
    assert_true(set(&settings, "verbose", "2"));
    settings_reset(&settings);
    assert_printed(&settings, "listen_port", "6432");
    assert_printed(&settings, "admin_users", "");
    assert_printed(&settings, "pool_mode", "session");
    assert_printed(&settings, "auth_user", "bob");
    assert_printed(&settings, "verbose", "2");
    settings_release(&settings);
}

static void test_copy(void **state UNUSED)
{
    struct settings from, to;
    settings_init(&from);
    settings_init(&to);
    assert_true(set(&from, "auth_user", "bob"));
    assert_true(set(&from, "listen_port", "1"));
    assert_true(set(&from, "pool_mode", "statement"));
    assert_true(set(&from, "query_timeout", "0.5"));
    assert_true(set(&to, "auth_file", "x")); /* is unset by the copy */
    settings_copy(&to, &from);
    for (size_t i = 0; i < settings_count; i++) {
        char *text = printed(&from, settings_table[i].name);
        assert_printed(&to, settings_table[i].name, text);
        free(text);
    }
    assert_ptr_not_equal(to.auth_user, from.auth_user);
    assert_null(to.auth_file);
    settings_release(&from);
    assert_printed(&to, "auth_user", "bob");
    settings_release(&to);
}

static void test_copy_of_one_value(void **state UNUSED)
{
    struct settings from, to;
    settings_init(&from);
    settings_init(&to);
    assert_true(set(&from, "auth_user", "bob"));
    assert_true(set(&from, "listen_port", "1"));
    assert_true(set(&from, "so_reuseport", "1"));
    assert_true(set(&to, "user", "alice"));
    settings_copy_one(&to, &from, find("auth_user"));
    settings_copy_one(&to, &from, find("so_reuseport"));
    settings_copy_one(&to, &from, find("user"));
    assert_printed(&to, "auth_user", "bob");
    assert_printed(&to, "so_reuseport", "1");
    assert_printed(&to, "user", "(unset)");
    assert_printed(&to, "listen_port", "6432");
    settings_release(&from);
    settings_release(&to);
}

static void test_release(void **state UNUSED)
{
    struct settings settings = {0};
    settings_release(&settings);
    settings_init(&settings);
    settings_release(&settings);
    assert_null(settings.admin_users);
    settings_release(&settings);
}

static void test_differences(void **state UNUSED)
{
    struct settings a, b;
    settings_init(&a);
    settings_init(&b);
    assert_false(settings_differ(&a, &b, ""));
    assert_true(set(&b, "server_tls_ca_file", "x"));
    assert_true(set(&b, "syslog_ident", "x"));
    assert_true(settings_differ(&a, &b, "server_tls_"));
    assert_true(settings_differ(&a, &b, "sys"));
    assert_true(settings_differ(&a, &b, ""));
    assert_false(settings_differ(&a, &b, "client_tls_"));
    assert_false(settings_differ(&a, &b, "nonsense"));
    assert_true(settings_same(&a, &b, find("syslog"))); /* and not what begins like it */
    assert_false(settings_same(&a, &b, find("syslog_ident")));
    assert_true(settings_same(&a, &b, find("auth_user")));
    assert_true(set(&b, "auth_user", ""));
    assert_false(settings_same(&a, &b, find("auth_user"))); /* unset and empty are two things */
    assert_true(set(&a, "syslog_ident", "y"));
    assert_false(settings_same(&a, &b, find("syslog_ident")));
    settings_release(&a);
    settings_release(&b);
}

static void test_words_of_pool_modes(void **state UNUSED)
{
    enum pool_mode mode = POOL_STATEMENT;
    assert_string_equal(pool_mode_name(POOL_SESSION), "session");
    assert_string_equal(pool_mode_name(POOL_TRANSACTION), "transaction");
    assert_string_equal(pool_mode_name(POOL_STATEMENT), "statement");
    assert_true(pool_mode_read("Session", &mode));
    assert_int_equal(mode, POOL_SESSION);
    assert_false(pool_mode_read("sessions", &mode));
    assert_false(pool_mode_read("", &mode));
    assert_int_equal(mode, POOL_SESSION);
}

static void test_words_of_tls(void **state UNUSED)
{
    enum sslmode mode = SSLMODE_ALLOW;
    enum tls_negotiation negotiation = TLS_NEGOTIATION_POSTGRES;
    assert_true(sslmode_read("Verify-Full", &mode));
    assert_int_equal(mode, SSLMODE_VERIFY_FULL);
    assert_false(sslmode_read("disabled", &mode));
    assert_int_equal(mode, SSLMODE_VERIFY_FULL);
    assert_true(tls_negotiation_read("DIRECT", &negotiation));
    assert_int_equal(negotiation, TLS_NEGOTIATION_DIRECT);
    assert_false(tls_negotiation_read("x", &negotiation));
    assert_int_equal(negotiation, TLS_NEGOTIATION_DIRECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_settings_without_a_default),
        cmocka_unit_test(test_settings_that_need_a_restart),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_bad_values_change_nothing),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_print_appends),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_copy_of_one_value),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_words_of_pool_modes),
        cmocka_unit_test(test_words_of_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
