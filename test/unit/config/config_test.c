/*
 * config_test.c - loads, reloads and the console's SET.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config.h"

#include "config/config.h"

#include "fixture.h"

static struct config_report report; /* of the last load; released by the next */

/* Loads the text as main.ini; NULL with errors in the report. */
static struct config *load_after(const char *text, const struct config *previous)
{
    config_report_release(&report);
    write_text("main.ini", text);
    return config_load("main.ini", previous, 0, &report);
}

static struct config *load(const char *text)
{
    struct config *config = load_after(text, NULL);
    assert_no_errors(&report);
    assert_non_null(config);
    return config;
}

static struct config *reload(struct config *previous, const char *text)
{
    struct config *config = load_after(text, previous);
    assert_no_errors(&report);
    assert_non_null(config);
    return config;
}

static void assert_load_fails(const char *text, const char *error)
{
    struct config *config = load_after(text, NULL);
    assert_only_error(&report, error);
    assert_null(config);
}

static int release_report(void **state UNUSED)
{
    config_report_release(&report);
    return 0;
}

/* ---- a load ---- */

static void test_smallest_file(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]");
    assert_no_warnings(&report);
    assert_string_equal(config->file, "main.ini");
    assert_string_equal(config->settings.conffile, "main.ini");
    assert_int_equal(config->settings.listen_port, 6432);
    assert_int_equal(HASH_COUNT(config->databases), 0);
    assert_null(config->fallback);
    assert_null(config->secrets);
    config_destroy(config);
    config_destroy(NULL);
}

static void test_all_sections(void **state UNUSED)
{
    struct config *config;
    write_text("users.txt", "\"bob\" \"pw\"\n\"al\" \"\"\n");
    config = load("[databases]\napp = host=a\n* = host=b\n[users]\nbob = pool_size=3\n"
                  "[peers]\n1 = host=c\n[pgbouncer]\nlisten_port = 7\nauth_file = users.txt\n"
                  "[databases]\nother =\n");
    assert_no_warnings(&report);
    assert_string_equal(config_find_database(config, "app")->host, "a");
    assert_int_equal(config_find_database(config, "app")->line, 2);
    assert_string_equal(config_find_database(config, "app")->file, "main.ini");
    assert_non_null(config_find_database(config, "other"));
    assert_null(config_find_database(config, "*"));
    assert_string_equal(config->fallback->host, "b");
    assert_int_equal(config_find_user(config, "bob")->pool_size, 3);
    assert_null(config_find_user(config, "al"));
    assert_int_equal(HASH_COUNT(config->peers), 1);
    assert_int_equal(config->settings.listen_port, 7);
    assert_true(secret_equals(config_find_secret(config, "bob"), "pw", 2));
    assert_true(secret_is_empty(config_find_secret(config, "al")));
    assert_null(config_find_secret(config, "nobody"));
    config_destroy(config);
}

static void test_databases_are_in_the_order_of_the_file(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\n[databases]\nc =\na =\nb =\n");
    const struct config_database *database = config->databases;
    assert_string_equal(database->name, "c");
    database = database->hh.next;
    assert_string_equal(database->name, "a");
    database = database->hh.next;
    assert_string_equal(database->name, "b");
    config_destroy(config);
}

static void test_same_setting_twice(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\nlisten_port=1\nlisten_port=2\nadmin_users=a\n"
                                 "admin_users=b\n");
    assert_int_equal(config->settings.listen_port, 2);
    assert_string_equal(config->settings.admin_users, "b");
    config_destroy(config);
}

/* Each header sets everything back that has a default. */
static void test_second_header(void **state UNUSED)
{
    struct config *config;
    write_text("more.ini", "[pgbouncer]\nlisten_backlog = 7\n");
    config = load("[pgbouncer]\nlisten_port = 1\nauth_user = bob\n%include more.ini\n"
                  "min_pool_size = 2\n");
    assert_int_equal(config->settings.listen_port, 6432);
    assert_int_equal(config->settings.listen_backlog, 7);
    assert_int_equal(config->settings.min_pool_size, 2);
    assert_string_equal(config->settings.auth_user, "bob");
    config_destroy(config);
}

static void test_verbose_of_the_command_line(void **state UNUSED)
{
    struct config *config;
    write_text("main.ini", "[pgbouncer]\n");
    config = config_load("main.ini", NULL, 2, &report);
    assert_int_equal(config->settings.verbose, 2);
    config_destroy(config);
    write_text("main.ini", "[pgbouncer]\nverbose = 1\n");
    config = config_load("main.ini", NULL, 2, &report);
    assert_int_equal(config->settings.verbose, 1);
    config_destroy(config);
}

static void test_setting_of_windows(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\nservice_name = x\njob_name = y\n");
    assert_no_warnings(&report);
    config_destroy(config);
}

static void test_database_of_auth_query(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\nauth_dbname = app\n");
    assert_string_equal(config->settings.auth_dbname, "app");
    config_destroy(config);
}

static void test_settings_without_effect(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\npeer_id = 3\nserver_tls_sslmode = prefer\n"
                                 "pkt_buf = 1\n");
    assert_only_warning(&report, "main.ini:2: peer_id is not supported yet: it has no effect");
    config_destroy(config);
}

/* ---- what is wrong with a file ---- */

static void test_missing_main_section(void **state UNUSED)
{
    static const char *const texts[] = {"", "\n", "; [pgbouncer]\n", "[databases]\napp =\n",
                                        "[users]\n[peers]\n"};
    for (size_t i = 0; i < countof(texts); i++)
        assert_load_fails(texts[i],
                          "main.ini: main section [pgbouncer] missing from config file");
}

static void test_bad_sections(void **state UNUSED)
{
    assert_load_fails("[pgbouncer]\n[nonsense]\nlisten_port = x\nkey = value\n",
                      "main.ini:2: invalid section \"nonsense\": expected pgbouncer, databases, "
                      "users or peers");
    assert_load_fails("[PgBouncer]\n", "main.ini:1: invalid section \"PgBouncer\": expected "
                                       "pgbouncer, databases, users or peers");
    assert_load_fails("listen_port = 1\n[pgbouncer]\n",
                      "main.ini:1: value without section: listen_port");
}

static void test_bad_settings(void **state UNUSED)
{
    static const struct {
        const char *line, *error;
    } cases[] = {
        {"nonsense = 1", "main.ini:2: unknown parameter: pgbouncer/nonsense"},
        {"pool_mod = session",
         "main.ini:2: unknown parameter: pgbouncer/pool_mod; did you mean \"pool_mode\"?"},
        {"Listen_Port = 1", "main.ini:2: unknown parameter: pgbouncer/Listen_Port; did you mean "
                            "\"listen_port\"?"},
        {"= 1", "main.ini:2: syntax error: expected \"key = value\" and found \"\""},
        {"default_pool_size = 10s", "main.ini:2: invalid value \"10s\" for parameter "
                                    "default_pool_size: expected an integer"},
        {"default_pool_size =", "main.ini:2: invalid value \"\" for parameter default_pool_size: "
                                "expected an integer"},
        {"auth_type = crypt",
         "main.ini:2: invalid value \"crypt\" for parameter auth_type: expected any, trust, "
         "plain, md5, cert, hba, scram-sha-256, ldap or pam"},
        {"listen_port = 65536",
         "main.ini:2: invalid value \"65536\" for parameter listen_port: expected 0 to 65535"},
        {"listen_port = -1",
         "main.ini:2: invalid value \"-1\" for parameter listen_port: expected 0 to 65535"},
        {"stats_period = 0",
         "main.ini:2: invalid value \"0\" for parameter stats_period: expected 1 to 1000000000"},
        {"scram_iterations = 0", "main.ini:2: invalid value \"0\" for parameter scram_iterations: "
                                 "expected 1 to 1000000"},
        {"peer_id = 65536",
         "main.ini:2: invalid value \"65536\" for parameter peer_id: expected 0 to 65535"},
        {"auth_dbname = pgbouncer",
         "main.ini:2: auth_dbname: the console \"pgbouncer\" cannot be asked"},
        {"auth_type = cert",
         "main.ini:2: auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL"},
        {"auth_type = cert\nclient_tls_sslmode = verify-full",
         "main.ini:2: auth_type=cert requires client_tls_ca_file"},
        {"auth_ldap_options = ldapserver=a",
         "main.ini:2: auth_ldap_options: ldapbasedn, ldapprefix or ldapsuffix is missing"},
#ifndef HAVE_LIBLDAP
        {"auth_type = ldap", "main.ini:2: auth_type: ldap is not supported by this build; it was "
                             "made without LDAP (package libldap-dev)"},
#endif
#ifndef HAVE_LIBPAM
        {"auth_type = pam", "main.ini:2: auth_type: pam is not supported by this build; it was made "
                            "without PAM (package libpam0g-dev)"},
#endif
        {"[databases]\napp = word",
         "main.ini:3: \"app\": syntax error in connection string: expected key=value"},
        {"[users]\nbob = x=1", "main.ini:3: \"bob\": unrecognized user parameter: x"},
        {"[peers]\n0 = host=a", "main.ini:3: ids of peers must be a number larger than 0 and at "
                                "most 65536: \"0\""},
        {"word", "main.ini:2: syntax error: expected \"key = value\" and found \"word\""},
        {"%include missing.ini",
         "main.ini:2: could not load file \"missing.ini\": No such file or directory"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char text[256];
        snprintf(text, sizeof(text), "[pgbouncer]\n%s\n", cases[i].line);
        assert_load_fails(text, cases[i].error);
    }
}

/* Every setting that was once one, or is one elsewhere. */
static void test_names_that_are_not_accepted(void **state UNUSED)
{
    static const char *const names[] = {"autodb_connstr", "drop_on_error",       "track_parameters",
                                        "ldap_options",   "auth_ldap_parameter", "reserve_pool",
                                        "pool_size"};
    for (size_t i = 0; i < countof(names); i++) {
        char text[128];
        struct config *config;
        snprintf(text, sizeof(text), "[pgbouncer]\n%s = 1\n", names[i]);
        config = load_after(text, NULL);
        assert_null(config);
        assert_int_equal(report.error_count, 1);
        assert_non_null(strstr(report.errors[0], "unknown parameter: pgbouncer/"));
    }
}

static void test_all_errors_are_found(void **state UNUSED)
{
    struct config *config;
    write_text("users.txt", "wrong");
    config = load_after("[pgbouncer]\nnonsense = 1\nlisten_port = x\nauth_file = users.txt\n"
                        "stats_period = 0\n[databases]\na = b\n[wrong]\n",
                        NULL);
    assert_null(config);
    assert_int_equal(report.error_count, 6);
}

static void test_missing_file(void **state UNUSED)
{
    struct config *config;
    config_report_release(&report);
    config = config_load("missing.ini", NULL, 0, &report);
    assert_null(config);
    assert_only_error(&report, "could not load file \"missing.ini\": No such file or directory");
}

/* ---- the userlist ---- */

static void test_userlist_is_read_if_needed(void **state UNUSED)
{
    static const struct {
        const char *auth_type;
        bool read;
    } cases[] = {
        {"any", false}, {"trust", true}, {"plain", true}, {"md5", true}, {"scram-sha-256", true}};
    write_text("users.txt", "\"bob\" \"pw\"\n");
    for (size_t i = 0; i < countof(cases); i++) {
        char text[128];
        struct config *config;
        snprintf(text, sizeof(text), "[pgbouncer]\nauth_type = %s\nauth_file = users.txt\n",
                 cases[i].auth_type);
        config = load(text);
        assert_int_equal(config_find_secret(config, "bob") != NULL, cases[i].read);
        config_destroy(config);
    }
}

static void test_empty_name_of_the_userlist(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\nauth_file =\n");
    assert_no_warnings(&report);
    assert_null(config->secrets);
    config_destroy(config);
}

static void test_userlist_that_is_missing(void **state UNUSED)
{
    static const char text[] = "[pgbouncer]\nauth_file = missing.txt\n";
    struct config *config = load(text), *next;
    assert_only_warning(&report, "main.ini:2: could not open auth_file missing.txt: "
                                 "No such file or directory");
    next = load_after(text, config);
    assert_null(next);
    assert_only_error(&report, "main.ini:2: could not open auth_file missing.txt: "
                               "No such file or directory");
    config_destroy(config);
}

static void test_userlist_that_is_no_file(void **state UNUSED)
{
    struct config *config;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    config = load("[pgbouncer]\nauth_file = pipe\n");
    assert_only_warning(&report, "main.ini:2: could not open auth_file pipe: No such device");
    config_destroy(config);
    config = load("[pgbouncer]\nauth_file = /tmp\n");
    assert_only_warning(&report, "main.ini:2: could not open auth_file /tmp: Is a directory");
    config_destroy(config);
}

static void test_broken_userlist(void **state UNUSED)
{
    write_text("users.txt", "\"bob\" \"pw\"\n\n\"al");
    assert_load_fails("[pgbouncer]\nauth_file = users.txt\n",
                      "users.txt:3: broken auth file: expected \"user\" \"password\"");
}

static void test_userlist_open_to_everybody(void **state UNUSED)
{
    struct config *config;
    write_text("users.txt", "\"bob\" \"pw\"\n");
    assert_int_equal(chmod("users.txt", 0644), 0);
    config = load("[pgbouncer]\nauth_file = users.txt\n");
    assert_only_warning(&report, "main.ini:2: everybody may read or change auth_file users.txt; "
                                 "chmod o= takes the right away");
    assert_non_null(config->secrets);
    config_destroy(config);
    unlink("users.txt");
}

/* ---- reload ---- */

/* What was cut down to nothing by accident is refused; what is meant to be empty says so. */
static void test_userlist_that_became_empty(void **state UNUSED)
{
    static const char text[] = "[pgbouncer]\nauth_file = users.txt\n";
    struct config *config, *next;
    write_text("users.txt", "");
    config = load(text);
    next = reload(config, text);
    config_destroy(config);
    write_text("users.txt", "\"bob\" \"pw\"\n");
    config = reload(next, text);
    config_destroy(next);
    write_text("users.txt", "");
    next = load_after(text, config);
    assert_null(next);
    assert_only_error(&report, "main.ini:2: auth_file users.txt is empty now; a comment in it "
                               "would say that it is to be");
    write_text("empty.txt", "");
    next = reload(config, "[pgbouncer]\nauth_file = empty.txt\n");
    assert_null(next->secrets);
    config_destroy(next);
    write_text("users.txt", "; nobody\n");
    next = reload(config, text);
    assert_null(next->secrets);
    config_destroy(next);
    config_destroy(config);
}

static void test_reload_begins_with_the_defaults(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\nmax_client_conn = 7\nadmin_users = bob\n"
                                 "[databases]\na =\n[users]\nbob = pool_size=1\n");
    struct config *next = reload(config, "[pgbouncer]\n[databases]\nb =\n");
    assert_no_warnings(&report);
    assert_int_equal(next->settings.max_client_conn, 100);
    assert_string_equal(next->settings.admin_users, "");
    assert_null(config_find_database(next, "a"));
    assert_non_null(config_find_database(next, "b"));
    assert_null(next->users);
    assert_int_equal(config->settings.max_client_conn, 7);
    config_destroy(config);
    config_destroy(next);
}

static void test_settings_without_a_default_stay(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\nauth_ident_file = x\nverbose = 1\n");
    struct config *next = reload(config, "[pgbouncer]\n");
    assert_string_equal(next->settings.auth_ident_file, "x");
    assert_string_equal(next->settings.conffile, "main.ini");
    assert_int_equal(next->settings.verbose, 1);
    config_destroy(config);
    config_destroy(next);
}

static void test_settings_that_need_a_restart_stay(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\nlisten_port = 1\nuser = bob\nso_reuseport = 1\n");
    struct config *next =
        reload(config, "[pgbouncer]\nlisten_port = 2\nuser = alice\nso_reuseport = 1\n");
    assert_int_equal(report.warning_count, 2);
    assert_string_equal(report.warnings[0],
                        "main.ini:2: the change of listen_port needs a restart");
    assert_string_equal(report.warnings[1], "main.ini:3: the change of user needs a restart");
    assert_int_equal(next->settings.listen_port, 1);
    assert_string_equal(next->settings.user, "bob");
    assert_true(next->settings.so_reuseport);
    config_destroy(config);
    config = reload(next, "[pgbouncer]\n"); /* the lines are gone */
    assert_int_equal(report.warning_count, 2);
    assert_string_equal(report.warnings[0], "the change of listen_port needs a restart");
    assert_int_equal(config->settings.listen_port, 1);
    config_destroy(config);
    config_destroy(next);
}

static void test_unset_setting_that_needs_a_restart_stays_unset(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\n");
    struct config *next = reload(config, "[pgbouncer]\nuser = bob\n");
    assert_only_warning(&report, "main.ini:2: the change of user needs a restart");
    assert_null(next->settings.user);
    config_destroy(config);
    config_destroy(next);
}

/* A reload with errors gives nothing, and what is in force is not touched. */
static void test_failed_reload(void **state UNUSED)
{
    static const char *const texts[] = {
        "",
        "[pgbouncer]\nnonsense = 1\n",
        "[pgbouncer]\nmax_client_conn = x\n",
        "[pgbouncer]\nmax_client_conn = 8\n[databases]\nb = port=x\n",
        "[pgbouncer]\nmax_client_conn = 8\n[data",
        ("\x7f" "ELF\x01\x02"),
        "\xef\xbb\xbf[pgbouncer]\n",
        "[pgbouncer]\n%include main.ini\n",
    };
    struct config *config = load("[pgbouncer]\nmax_client_conn = 7\n[databases]\na =\n");
    for (size_t i = 0; i < countof(texts); i++) {
        struct config *next = load_after(texts[i], config);
        assert_null(next);
        assert_true(report.error_count > 0);
        assert_non_null(strstr(report.errors[0], "main.ini"));
        assert_int_equal(config->settings.max_client_conn, 7);
        assert_non_null(config_find_database(config, "a"));
    }
    config_destroy(config);
}

/* ---- many ---- */

static void test_many_databases_and_users(void **state UNUSED)
{
    enum { DATABASES = 10000, USERS = 10000 };
    FILE *stream = fopen("many.ini", "w");
    struct config *config, *next;
    assert_non_null(stream);
    fprintf(stream, "[pgbouncer]\n[databases]\n");
    for (int i = 0; i < DATABASES; i++)
        fprintf(stream, "db%d = host=10.0.0.1 port=%d password=x\n", i, i % 1000 + 1);
    fprintf(stream, "[users]\n");
    for (int i = 0; i < USERS; i++)
        fprintf(stream, "user%d = pool_size=%d\n", i, i);
    fclose(stream);
    config = config_load("many.ini", NULL, 0, &report);
    assert_no_errors(&report);
    next = config_load("many.ini", config, 0, &report);
    assert_no_errors(&report);
    config_destroy(config);
    assert_int_equal(HASH_COUNT(next->databases), DATABASES);
    assert_int_equal(HASH_COUNT(next->users), USERS);
    assert_int_equal(config_find_database(next, "db1234")->port, 235);
    assert_int_equal(config_find_user(next, "user1234")->pool_size, 1234);
    config_destroy(next);
}

/* ---- the snapshot in force ---- */

static void test_use(void **state UNUSED)
{
    struct config *one = load("[pgbouncer]\nlisten_port = 1\n");
    struct config *two = load("[pgbouncer]\nlisten_port = 2\n");
    assert_null(config_current());
    assert_null(config_use(one));
    assert_ptr_equal(config_current(), one);
    assert_int_equal(settings_current()->listen_port, 1);
    assert_ptr_equal(config_use(two), one);
    assert_int_equal(settings_current()->listen_port, 2);
    assert_ptr_equal(config_use(NULL), two);
    config_destroy(one);
    config_destroy(two);
}

static void test_set(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\nlisten_port = 1\nauth_user = bob\n");
    assert_null(config_use(config));
    assert_true(config_set("max_client_conn", "7"));
    assert_int_equal(settings_current()->max_client_conn, 7);
    assert_true(config_set("admin_users", ""));
    assert_true(config_set("pool_mode", "STATEMENT"));
    assert_int_equal(settings_current()->pool_mode, POOL_STATEMENT);
    assert_true(config_set("conffile", "other.ini"));
    assert_string_equal(settings_current()->conffile, "other.ini");
    assert_true(config_set("listen_port", "2")); /* needs a restart: accepted and left alone */
    assert_int_equal(settings_current()->listen_port, 1);
    assert_string_equal(settings_current()->auth_user, "bob");
    assert_ptr_equal(config_use(NULL), config);
    config_destroy(config);
}

static void test_set_refuses(void **state UNUSED)
{
    static const struct {
        const char *name, *value;
    } cases[] = {
        {"nonsense", "1"},           {"Pool_mode", "session"},      {"", ""},
        {"max_client_conn", "many"}, {"max_client_conn", ""},       {"pool_mode", "x"},
        {"log_connections", "yes"},  {"query_timeout", "-1"},       {"stats_period", "0"},
        {"scram_iterations", "-1"},  {"auth_dbname", "pgbouncer"},  {"auth_type", "hba"},
        {"peer_id", "65536"},        {"client_tls_sslmode", "yes"}, {"server_tls_negotiation", "x"},
        {"listen_port", "x"},        {"service_name", "x"},
    };
    struct config *config = load("[pgbouncer]\n");
    assert_null(config_use(config));
    for (size_t i = 0; i < countof(cases); i++)
        if (config_set(cases[i].name, cases[i].value))
            fail_msg("%s = %s was accepted", cases[i].name, cases[i].value);
    assert_int_equal(settings_current()->max_client_conn, 100);
    assert_int_equal(settings_current()->stats_period, 60);
    assert_null(settings_current()->auth_dbname);
    assert_int_equal(settings_current()->auth_type, AUTH_TYPE_MD5);
    assert_ptr_equal(config_use(NULL), config);
    config_destroy(config);
}

/* What SET changed is gone after a reload, except where nothing has a default. */
static void test_set_until_the_reload(void **state UNUSED)
{
    struct config *config = load("[pgbouncer]\nmax_client_conn = 5\n"), *next;
    assert_null(config_use(config));
    assert_true(config_set("max_client_conn", "7"));
    assert_true(config_set("auth_user", "bob"));
    next = reload(config, "[pgbouncer]\nmax_client_conn = 5\n");
    assert_int_equal(next->settings.max_client_conn, 5);
    assert_string_equal(next->settings.auth_user, "bob");
    assert_ptr_equal(config_use(NULL), config);
    config_destroy(config);
    config_destroy(next);
}

#define config_unit_test(test) cmocka_unit_test_teardown(test, release_report)

int main(void)
{
    const struct CMUnitTest tests[] = {
        config_unit_test(test_smallest_file),
        config_unit_test(test_all_sections),
        config_unit_test(test_databases_are_in_the_order_of_the_file),
        config_unit_test(test_same_setting_twice),
        config_unit_test(test_second_header),
        config_unit_test(test_verbose_of_the_command_line),
        config_unit_test(test_setting_of_windows),
        config_unit_test(test_database_of_auth_query),
        config_unit_test(test_settings_without_effect),
        config_unit_test(test_missing_main_section),
        config_unit_test(test_bad_sections),
        config_unit_test(test_bad_settings),
        config_unit_test(test_names_that_are_not_accepted),
        config_unit_test(test_all_errors_are_found),
        config_unit_test(test_missing_file),
        config_unit_test(test_userlist_is_read_if_needed),
        config_unit_test(test_empty_name_of_the_userlist),
        config_unit_test(test_userlist_that_is_missing),
        config_unit_test(test_userlist_that_is_no_file),
        config_unit_test(test_broken_userlist),
        config_unit_test(test_userlist_open_to_everybody),
        config_unit_test(test_userlist_that_became_empty),
        config_unit_test(test_reload_begins_with_the_defaults),
        config_unit_test(test_settings_without_a_default_stay),
        config_unit_test(test_settings_that_need_a_restart_stay),
        config_unit_test(test_unset_setting_that_needs_a_restart_stays_unset),
        config_unit_test(test_failed_reload),
        config_unit_test(test_many_databases_and_users),
        config_unit_test(test_use),
        config_unit_test(test_set),
        config_unit_test(test_set_refuses),
        config_unit_test(test_set_until_the_reload),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
