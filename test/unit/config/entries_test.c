/*
 * entries_test.c - the lines of [databases], [users] and [peers].
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/entries.h"

#include "fixture.h"

#include <limits.h>

#include "base/intern.h"

/* What the tests add to; empty at the start of each. */
static struct config config;
static struct config_report report;

static int start(void **state UNUSED)
{
    config = (struct config){0};
    report = (struct config_report){0};
    return 0;
}

static int stop(void **state UNUSED)
{
    entries_release(&config);
    config_report_release(&report);
    return 0;
}

typedef void add_fn(struct config *to, const char *name, const char *value, struct place place,
                    struct config_report *problems);

static void add(add_fn *function, const char *name, const char *value)
{
    struct place place = {.file = intern_take("a.ini"), .line = 7};
    function(&config, name, value, place, &report);
    intern_give_back(place.file);
}

static const struct config_database *add_database(const char *name, const char *value)
{
    add(entries_add_database, name, value);
    assert_no_errors(&report);
    assert_no_warnings(&report);
    return config_find_database(&config, name);
}

static const struct config_user *add_user(const char *name, const char *value)
{
    add(entries_add_user, name, value);
    assert_no_errors(&report);
    assert_no_warnings(&report);
    return config_find_user(&config, name);
}

static const struct config_peer *add_peer(const char *name, const char *value, int id)
{
    const struct config_peer *peer;
    add(entries_add_peer, name, value);
    assert_no_errors(&report);
    HASH_FIND_INT(config.peers, &id, peer);
    return peer;
}

static void assert_refused(add_fn *function, const char *name, const char *value, const char *error)
{
    add(function, name, value);
    assert_only_error(&report, error);
    assert_int_equal(HASH_COUNT(config.databases) + HASH_COUNT(config.users), 0);
    assert_int_equal(HASH_COUNT(config.peers), 0);
    assert_null(config.fallback);
    config_report_release(&report);
}

/* ---- databases ---- */

static void test_database_without_keys(void **state UNUSED)
{
    const struct config_database *database = add_database("app", "");
    assert_string_equal(database->name, "app");
    assert_null(database->dbname);
    assert_null(database->host);
    assert_int_equal(database->port, 5432);
    assert_null(database->user);
    assert_true(secret_is_empty(&database->password));
    assert_null(database->auth_user);
    assert_null(database->auth_query);
    assert_null(database->auth_dbname);
    assert_null(database->connect_query);
    assert_null(database->client_encoding);
    assert_null(database->datestyle);
    assert_null(database->timezone);
    assert_null(database->application_name);
    assert_int_equal(database->pool_size, CONFIG_UNSET);
    assert_int_equal(database->min_pool_size, CONFIG_UNSET);
    assert_int_equal(database->reserve_pool_size, CONFIG_UNSET);
    assert_int_equal(database->pool_mode, CONFIG_UNSET);
    assert_int_equal(database->max_db_connections, CONFIG_UNSET);
    assert_int_equal(database->max_db_client_connections, CONFIG_UNSET);
    assert_int_equal(database->server_lifetime, CONFIG_UNSET);
    assert_int_equal(database->query_wait_timeout, CONFIG_UNSET);
    assert_false(database->load_balance_disable);
    assert_int_equal(database->server_tls_sslmode, CONFIG_UNSET);
    assert_int_equal(database->server_tls_negotiation, CONFIG_UNSET);
    assert_null(database->server_tls_ca_file);
    assert_string_equal(database->file, "a.ini");
    assert_int_equal(database->line, 7);
}

static const char all_keys[] =
    "dbname=d host=h1,h2 port=6000 user=u password='p w' auth_user=au auth_query='SELECT ''x''' "
    "auth_dbname=ad pool_size=1 min_pool_size=2 reserve_pool_size=3 pool_mode=Statement "
    "max_db_connections=4 max_db_client_connections=5 server_lifetime=6 query_wait_timeout=7 "
    "load_balance_hosts=disable connect_query='SET a' client_encoding=e datestyle=ds timezone=tz "
    "application_name='a n' server_tls_sslmode=Verify-CA server_tls_negotiation=Direct "
    "server_tls_ca_file=ca server_tls_cert_file=cert server_tls_key_file=key "
    "server_tls_protocols=p server_tls_ciphers=c server_tls13_ciphers=c13";

static void assert_has_all_keys(const struct config_database *database)
{
    assert_string_equal(database->dbname, "d");
    assert_string_equal(database->host, "h1,h2");
    assert_int_equal(database->port, 6000);
    assert_string_equal(database->user, "u");
    assert_true(secret_equals(&database->password, "p w", 3));
    assert_string_equal(database->auth_user, "au");
    assert_string_equal(database->auth_query, "SELECT 'x'");
    assert_string_equal(database->auth_dbname, "ad");
    assert_int_equal(database->pool_size, 1);
    assert_int_equal(database->min_pool_size, 2);
    assert_int_equal(database->reserve_pool_size, 3);
    assert_int_equal(database->pool_mode, POOL_STATEMENT);
    assert_int_equal(database->max_db_connections, 4);
    assert_int_equal(database->max_db_client_connections, 5);
    assert_int_equal(database->server_lifetime, 6);
    assert_int_equal(database->query_wait_timeout, 7);
    assert_true(database->load_balance_disable);
    assert_string_equal(database->connect_query, "SET a");
    assert_string_equal(database->client_encoding, "e");
    assert_string_equal(database->datestyle, "ds");
    assert_string_equal(database->timezone, "tz");
    assert_string_equal(database->application_name, "a n");
    assert_int_equal(database->server_tls_sslmode, SSLMODE_VERIFY_CA);
    assert_int_equal(database->server_tls_negotiation, TLS_NEGOTIATION_DIRECT);
    assert_string_equal(database->server_tls_ca_file, "ca");
    assert_string_equal(database->server_tls_cert_file, "cert");
    assert_string_equal(database->server_tls_key_file, "key");
    assert_string_equal(database->server_tls_protocols, "p");
    assert_string_equal(database->server_tls_ciphers, "c");
    assert_string_equal(database->server_tls13_ciphers, "c13");
}

static void test_database_with_all_keys(void **state UNUSED)
{
    assert_has_all_keys(add_database("app", all_keys));
}

static void test_repeated_keys(void **state UNUSED)
{
    const struct config_database *database = add_database(
        "app", "host=a host=b password=a password=b port=1 port=2 pool_size=1 pool_size=-1 "
               "load_balance_hosts=disable load_balance_hosts=Round-Robin");
    assert_string_equal(database->host, "b");
    assert_true(secret_equals(&database->password, "b", 1));
    assert_int_equal(database->port, 2);
    assert_int_equal(database->pool_size, CONFIG_UNSET);
    assert_false(database->load_balance_disable);
}

static void test_reserve_pool_is_an_alias(void **state UNUSED)
{
    assert_int_equal(add_database("a", "reserve_pool=3")->reserve_pool_size, 3);
    assert_int_equal(add_database("b", "reserve_pool_size=4 reserve_pool=3")->reserve_pool_size, 3);
}

static void test_words_of_databases_ignore_case(void **state UNUSED)
{
    assert_true(add_database("a", "load_balance_hosts=DISABLE")->load_balance_disable);
    assert_int_equal(add_database("a", "target_session_attrs=Prefer-Standby")->target_session_attrs,
                     TARGET_PREFER_STANDBY);
    assert_int_equal(add_database("a", "")->target_session_attrs, TARGET_ANY);
    assert_int_equal(add_database("b", "pool_mode=TRANSACTION")->pool_mode, POOL_TRANSACTION);
}

/* Below 0 is unset; where 0 makes no sense, 0 is, too. */
static void test_numbers_of_databases(void **state UNUSED)
{
    const struct config_database *database;
    database = add_database("negative", "pool_size=-1 min_pool_size=-2 reserve_pool_size=-3 "
                                        "max_db_connections=-4 max_db_client_connections=-5 "
                                        "server_lifetime=-6 query_wait_timeout=-7");
    assert_int_equal(database->pool_size, CONFIG_UNSET);
    assert_int_equal(database->min_pool_size, CONFIG_UNSET);
    assert_int_equal(database->reserve_pool_size, CONFIG_UNSET);
    assert_int_equal(database->max_db_connections, CONFIG_UNSET);
    assert_int_equal(database->max_db_client_connections, CONFIG_UNSET);
    assert_int_equal(database->server_lifetime, CONFIG_UNSET);
    assert_int_equal(database->query_wait_timeout, CONFIG_UNSET);
    database = add_database("zero", "pool_size=0 min_pool_size=0 reserve_pool_size=0 "
                                    "max_db_connections=0 max_db_client_connections=0 "
                                    "server_lifetime=0 query_wait_timeout=0");
    assert_int_equal(database->pool_size, 0);
    assert_int_equal(database->min_pool_size, 0);
    assert_int_equal(database->reserve_pool_size, 0);
    assert_int_equal(database->max_db_connections, CONFIG_UNSET);
    assert_int_equal(database->max_db_client_connections, CONFIG_UNSET);
    assert_int_equal(database->server_lifetime, CONFIG_UNSET);
    assert_int_equal(database->query_wait_timeout, 0);
    database = add_database("lenient", "pool_size=12x min_pool_size=x server_lifetime=1.9 "
                                       "query_wait_timeout=99999999999999");
    assert_int_equal(database->pool_size, 12);
    assert_int_equal(database->min_pool_size, 0);
    assert_int_equal(database->server_lifetime, 1);
    assert_int_equal(database->query_wait_timeout, INT_MAX);
}

static void test_ports(void **state UNUSED)
{
    assert_int_equal(add_database("a", "port=1")->port, 1);
    assert_int_equal(add_database("b", "port=65535")->port, 65535);
    assert_int_equal(add_database("c", "port=5433abc")->port, 5433);
}

static void test_names_of_databases(void **state UNUSED)
{
    char *longest = repeat('x', DATABASE_NAME_MAX), *longer = repeat('x', DATABASE_NAME_MAX + 1);
    char error[128];
    assert_non_null(add_database(longest, ""));
    assert_non_null(add_database("a b;'\"", ""));
    assert_non_null(add_database("PgBouncer", ""));
    entries_release(&config);
    config = (struct config){0};
    snprintf(error, sizeof(error), "a.ini:7: too long db name: %s", longer);
    assert_refused(entries_add_database, longer, "", error);
    assert_refused(entries_add_database, "", "", "a.ini:7: a database needs a name");
    assert_refused(entries_add_database, "pgbouncer", "",
                   "a.ini:7: database name \"pgbouncer\" is reserved");
    free(longest);
    free(longer);
}

static void test_bad_databases(void **state UNUSED)
{
    static const struct {
        const char *value, *error;
    } cases[] = {
        {"word", "a.ini:7: \"app\": syntax error in connection string: expected key=value"},
        {"host=", "a.ini:7: \"app\": syntax error in connection string: a value is empty"},
        {"host='a",
         "a.ini:7: \"app\": syntax error in connection string: a quoted value does not end"},
        {"host=a nonsense=1", "a.ini:7: \"app\": unrecognized connection parameter: nonsense"},
        {"HOST=a", "a.ini:7: \"app\": unrecognized connection parameter: HOST"},
        {"prot=1", "a.ini:7: \"app\": unrecognized connection parameter: prot; "
                   "did you mean \"port\"?"},
        {"poolsize=1", "a.ini:7: \"app\": unrecognized connection parameter: poolsize; "
                       "did you mean \"pool_size\"?"},
        {"sslmode=require", "a.ini:7: \"app\": unrecognized connection parameter: sslmode"},
        {"port=0", "a.ini:7: \"app\": invalid port: 0"},
        {"port=-1", "a.ini:7: \"app\": invalid port: -1"},
        {"port=abc", "a.ini:7: \"app\": invalid port: abc"},
        {"port=65536", "a.ini:7: \"app\": invalid port: 65536"},
        {"pool_mode=x", "a.ini:7: \"app\": invalid pool mode: x"},
        {"server_tls_sslmode=x", "a.ini:7: \"app\": invalid server_tls_sslmode: x"},
        {"server_tls_negotiation=x", "a.ini:7: \"app\": invalid server_tls_negotiation: x"},
        {"host=a,b,c port=1,2",
         "a.ini:7: \"app\": 2 ports for 3 hosts: give one for all, or one for each"},
        {"host=a,b port=1,x", "a.ini:7: \"app\": invalid port: 1,x"},
        {"host=a,b port=1,65536", "a.ini:7: \"app\": invalid port: 1,65536"},
        {"host=a,b port=1,", "a.ini:7: \"app\": invalid port: 1,"},
        {"target_session_attrs=master",
         "a.ini:7: \"app\": invalid target_session_attrs: master"},
        {"load_balance_hosts=x", "a.ini:7: \"app\": invalid load_balance_hosts: x"},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_refused(entries_add_database, "app", cases[i].value, cases[i].error);
    assert_refused(entries_add_database, "*", "word",
                   "a.ini:7: \"*\": syntax error in connection string: expected key=value");
}

static void test_long_unknown_key(void **state UNUSED)
{
    char *key = repeat('x', 100000), *pair = malloc(100003);
    assert_non_null(pair);
    snprintf(pair, 100003, "%s=1", key);
    add(entries_add_database, "app", pair);
    assert_int_equal(report.error_count, 1);
    assert_true(strlen(report.errors[0]) < 300);
    free(key);
    free(pair);
}

/* A password is nowhere in what is said about its line. */
static void test_password_stays_secret(void **state UNUSED)
{
    static const char *const values[] = {"password=hunter2 x=1", "passwrod=hunter2",
                                         "password='hunter2", "password='hunter2'x"};
    for (size_t i = 0; i < countof(values); i++) {
        add(entries_add_database, "app", values[i]);
        assert_null(strstr(report.errors[i], "hunter2"));
    }
}

static void test_last_database_wins(void **state UNUSED)
{
    add_database("a", "host=first");
    add_database("b", "");
    add_database("a", "port=1");
    assert_int_equal(HASH_COUNT(config.databases), 2);
    assert_null(config_find_database(&config, "a")->host);
    assert_int_equal(config_find_database(&config, "a")->port, 1);
}

static void test_fallback(void **state UNUSED)
{
    assert_null(add_database("*", "host=a"));
    assert_string_equal(config.fallback->host, "a");
    assert_null(config_find_database(&config, "anything"));
    assert_null(add_database("*", "port=1"));
    assert_null(config.fallback->host);
    assert_int_equal(HASH_COUNT(config.databases), 0);
}

static void test_copy(void **state UNUSED)
{
    struct config_database *copy, *copy_of_nothing;
    copy = config_database_copy(add_database("app", all_keys), "other");
    copy_of_nothing = config_database_copy(add_database("empty", ""), "x");
    entries_release(&config);
    config = (struct config){0};
    assert_string_equal(copy->name, "other");
    assert_has_all_keys(copy);
    assert_string_equal(copy->file, "a.ini");
    assert_int_equal(copy->line, 7);
    assert_null(copy_of_nothing->host);
    assert_true(secret_is_empty(&copy_of_nothing->password));
    config_database_destroy(copy);
    config_database_destroy(copy_of_nothing);
    config_database_destroy(NULL);
}

static void test_what_makes_servers_go(void **state UNUSED)
{
    static const struct {
        const char *before, *now;
        bool reconnect;
    } cases[] = {
        {"", "", false},
        {all_keys, all_keys, false},
        {"", "dbname=x", true},
        {"dbname=x", "", true},
        {"dbname=x", "dbname=y", true},
        {"host=x", "host=y", true},
        {"port=1", "port=2", true},
        {"user=x", "user=y", true},
        {"connect_query=x", "connect_query=y", true},
        {"auth_dbname=x", "auth_dbname=y", true},
        {"auth_query=x", "auth_query=y", true},
        {"", "load_balance_hosts=disable", true},
        {"", "target_session_attrs=primary", true},
        {"host=a,b port=1,2", "host=a,b port=1,3", true},
        {"password=x auth_user=x client_encoding=x datestyle=x timezone=x application_name=x",
         "password=y auth_user=y client_encoding=y datestyle=y timezone=y application_name=y",
         false},
        {"", "pool_size=1 min_pool_size=1 reserve_pool_size=1 pool_mode=statement "
             "max_db_connections=1 max_db_client_connections=1 server_lifetime=1 "
             "query_wait_timeout=1", false},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        const struct config_database *a = add_database("a", cases[i].before);
        const struct config_database *b = add_database("b", cases[i].now);
        if (config_database_needs_reconnect(a, b) != cases[i].reconnect)
            fail_msg("from <%s> to <%s>", cases[i].before, cases[i].now);
    }
}

static void test_what_is_a_difference_of_tls(void **state UNUSED)
{
    static const char *const values[] = {
        "server_tls_sslmode=require", "server_tls_negotiation=direct", "server_tls_ca_file=x",
        "server_tls_cert_file=x",     "server_tls_key_file=x",         "server_tls_protocols=x",
        "server_tls_ciphers=x",       "server_tls13_ciphers=x",
    };
    const struct config_database *none = add_database("none", "host=a");
    assert_false(config_database_tls_differs(none, add_database("b", "host=b port=1")));
    for (size_t i = 0; i < countof(values); i++) {
        const struct config_database *one = add_database("one", values[i]);
        assert_true(config_database_tls_differs(none, one));
        assert_true(config_database_tls_differs(one, none));
        assert_false(config_database_tls_differs(one, add_database("same", values[i])));
    }
}

/* ---- users ---- */

static void test_user_without_keys(void **state UNUSED)
{
    const struct config_user *user = add_user("bob", "");
    assert_string_equal(user->name, "bob");
    assert_int_equal(user->pool_size, CONFIG_UNSET);
    assert_int_equal(user->reserve_pool_size, CONFIG_UNSET);
    assert_int_equal(user->pool_mode, CONFIG_UNSET);
    assert_int_equal(user->max_user_connections, CONFIG_UNSET);
    assert_int_equal(user->max_user_client_connections, CONFIG_UNSET);
    assert_int_equal(user->query_timeout, CONFIG_UNSET);
    assert_int_equal(user->query_wait_timeout, CONFIG_UNSET);
    assert_int_equal(user->idle_transaction_timeout, CONFIG_UNSET);
    assert_int_equal(user->transaction_timeout, CONFIG_UNSET);
    assert_int_equal(user->client_idle_timeout, CONFIG_UNSET);
}

static void test_user_with_all_keys(void **state UNUSED)
{
    const struct config_user *user =
        add_user("bob", "pool_mode=transaction pool_size=1 reserve_pool_size=2 "
                        "max_user_connections=3 max_user_client_connections=4 query_timeout=5 "
                        "query_wait_timeout=6 idle_transaction_timeout=7 transaction_timeout=8 "
                        "client_idle_timeout=9");
    assert_int_equal(user->pool_mode, POOL_TRANSACTION);
    assert_int_equal(user->pool_size, 1);
    assert_int_equal(user->reserve_pool_size, 2);
    assert_int_equal(user->max_user_connections, 3);
    assert_int_equal(user->max_user_client_connections, 4);
    assert_int_equal(user->query_timeout, 5);
    assert_int_equal(user->query_wait_timeout, 6);
    assert_int_equal(user->idle_transaction_timeout, 7);
    assert_int_equal(user->transaction_timeout, 8);
    assert_int_equal(user->client_idle_timeout, 9);
}

static void test_zeros_of_users(void **state UNUSED)
{
    const struct config_user *user =
        add_user("bob", "pool_size=0 reserve_pool_size=0 max_user_connections=0 "
                        "max_user_client_connections=0 query_timeout=0 query_wait_timeout=0 "
                        "idle_transaction_timeout=0 transaction_timeout=0 client_idle_timeout=0");
    assert_int_equal(user->pool_size, 0);
    assert_int_equal(user->reserve_pool_size, 0);
    assert_int_equal(user->max_user_connections, CONFIG_UNSET);
    assert_int_equal(user->max_user_client_connections, CONFIG_UNSET);
    assert_int_equal(user->query_timeout, CONFIG_UNSET);
    assert_int_equal(user->query_wait_timeout, 0);
    assert_int_equal(user->idle_transaction_timeout, CONFIG_UNSET);
    assert_int_equal(user->transaction_timeout, CONFIG_UNSET);
    assert_int_equal(user->client_idle_timeout, CONFIG_UNSET);
}

static void test_last_user_wins(void **state UNUSED)
{
    add_user("bob", "pool_size=1 query_timeout=1");
    add_user("bob", "pool_size=2");
    assert_int_equal(HASH_COUNT(config.users), 1);
    assert_int_equal(config_find_user(&config, "bob")->pool_size, 2);
    assert_int_equal(config_find_user(&config, "bob")->query_timeout, CONFIG_UNSET);
}

static void test_bad_users(void **state UNUSED)
{
    assert_refused(entries_add_user, "bob", "word",
                   "a.ini:7: \"bob\": syntax error in user settings: expected key=value");
    assert_refused(entries_add_user, "bob", "pool_size=",
                   "a.ini:7: \"bob\": syntax error in user settings: a value is empty");
    assert_refused(entries_add_user, "bob", "host=a",
                   "a.ini:7: \"bob\": unrecognized user parameter: host");
    assert_refused(entries_add_user, "bob", "reserve_pool=1",
                   "a.ini:7: \"bob\": unrecognized user parameter: reserve_pool");
    assert_refused(entries_add_user, "bob", "pool_mode=x",
                   "a.ini:7: \"bob\": invalid pool mode: x");
}

/* Nobody can log in with such a name, so it stops nothing. */
static void test_long_names_of_users(void **state UNUSED)
{
    char *longest = repeat('x', USER_NAME_MAX), *longer = repeat('x', USER_NAME_MAX + 1);
    assert_non_null(add_user(longest, "pool_size=1"));
    add(entries_add_user, longer, "pool_size=1");
    assert_only_warning(&report,
                        "a.ini:7: nobody can have a name of 128 bytes: the line is ignored");
    assert_no_errors(&report);
    assert_null(config_find_user(&config, longer));
    free(longest);
    free(longer);
}

/* ---- peers ---- */

static void test_peers(void **state UNUSED)
{
    const struct config_peer *peer = add_peer("1", "host=a", 1);
    assert_int_equal(peer->id, 1);
    assert_string_equal(peer->host, "a");
    assert_int_equal(peer->port, 6432);
    assert_int_equal(peer->pool_size, CONFIG_UNSET);
    peer = add_peer("65535", "host=/tmp port=1 pool_size=3", 65535);
    assert_string_equal(peer->host, "/tmp");
    assert_int_equal(peer->port, 1);
    assert_int_equal(peer->pool_size, 3);
    assert_string_equal(add_peer("1", "host=b", 1)->host, "b");
    assert_int_equal(HASH_COUNT(config.peers), 2);
}

static void test_bad_peers(void **state UNUSED)
{
    static const char *const ids[] = {"0", "-1", "65536", "x", "", "1x", "99999999999999999999"};
    for (size_t i = 0; i < countof(ids); i++) {
        char error[128];
        snprintf(error, sizeof(error),
                 "a.ini:7: ids of peers must be a number larger than 0 and at most 65536: \"%s\"",
                 ids[i]);
        assert_refused(entries_add_peer, ids[i], "host=a", error);
    }
    assert_refused(entries_add_peer, "1", "", "a.ini:7: host was not provided for peer 1");
    assert_refused(entries_add_peer, "1", "port=1", "a.ini:7: host was not provided for peer 1");
    assert_refused(entries_add_peer, "1", "host=a dbname=b",
                   "a.ini:7: \"1\": unrecognized connection parameter: dbname");
    assert_refused(entries_add_peer, "1", "host=a port=x", "a.ini:7: \"1\": invalid port: x");
}

#define entries_unit_test(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        entries_unit_test(test_database_without_keys),
        entries_unit_test(test_database_with_all_keys),
        entries_unit_test(test_repeated_keys),
        entries_unit_test(test_reserve_pool_is_an_alias),
        entries_unit_test(test_words_of_databases_ignore_case),
        entries_unit_test(test_numbers_of_databases),
        entries_unit_test(test_ports),
        entries_unit_test(test_names_of_databases),
        entries_unit_test(test_bad_databases),
        entries_unit_test(test_long_unknown_key),
        entries_unit_test(test_password_stays_secret),
        entries_unit_test(test_last_database_wins),
        entries_unit_test(test_fallback),
        entries_unit_test(test_copy),
        entries_unit_test(test_what_makes_servers_go),
        entries_unit_test(test_what_is_a_difference_of_tls),
        entries_unit_test(test_user_without_keys),
        entries_unit_test(test_user_with_all_keys),
        entries_unit_test(test_zeros_of_users),
        entries_unit_test(test_last_user_wins),
        entries_unit_test(test_bad_users),
        entries_unit_test(test_long_names_of_users),
        entries_unit_test(test_peers),
        entries_unit_test(test_bad_peers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
