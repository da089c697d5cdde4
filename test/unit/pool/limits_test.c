/*
 * limits_test.c - what the settings, the database entry and the user say together.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/pools.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <limits.h>
#include <stdlib.h>

#include "base/memory.h"

/* A configuration in force, an entry and a user without any values, and a pool of the two. */
static struct config *config;
static struct settings *settings;
static struct config_database entry;
static struct config_user line;
static struct database database;
static struct user user;
static struct pool pool;

static int start(void **state UNUSED)
{
    config = memory_new(sizeof(*config));
    settings_init(&config->settings);
    settings = &config->settings;
    assert_null(config_use(config));
    entry = (struct config_database){.pool_size = CONFIG_UNSET,
                                     .min_pool_size = CONFIG_UNSET,
                                     .reserve_pool_size = CONFIG_UNSET,
                                     .pool_mode = CONFIG_UNSET,
                                     .max_db_connections = CONFIG_UNSET,
                                     .max_db_client_connections = CONFIG_UNSET,
                                     .server_lifetime = CONFIG_UNSET,
                                     .query_wait_timeout = CONFIG_UNSET};
    line = (struct config_user){.pool_size = CONFIG_UNSET,
                                .reserve_pool_size = CONFIG_UNSET,
                                .pool_mode = CONFIG_UNSET,
                                .max_user_connections = CONFIG_UNSET,
                                .max_user_client_connections = CONFIG_UNSET,
                                .query_timeout = CONFIG_UNSET,
                                .query_wait_timeout = CONFIG_UNSET,
                                .idle_transaction_timeout = CONFIG_UNSET,
                                .transaction_timeout = CONFIG_UNSET,
                                .client_idle_timeout = CONFIG_UNSET};
    database = (struct database){.config = &entry};
    user = (struct user){.config = &line};
    pool = (struct pool){.database = &database, .user = &user};
    return 0;
}

static int stop(void **state UNUSED)
{
    config_destroy(config_use(NULL));
    return 0;
}

static const struct pool_limits *limits(void)
{
    pool_refresh(&pool);
    return &pool.limits;
}

static void test_defaults(void **state UNUSED)
{
    for (int round = 0; round < 2; round++) {
        assert_int_equal(limits()->mode, POOL_SESSION);
        assert_int_equal(limits()->pool_size, 20);
        assert_int_equal(limits()->reserve_size, 0);
        assert_int_equal(limits()->min_size, 0);
        assert_int_equal(limits()->max_db_connections, 0);
        assert_int_equal(limits()->max_user_connections, 0);
        assert_int_equal(limits()->server_lifetime_us, 3600 * USEC_PER_SEC);
        assert_int_equal(limits()->query_timeout_us, 0);
        assert_int_equal(limits()->idle_transaction_timeout_us, 0);
        assert_int_equal(limits()->transaction_timeout_us, 0);
        assert_int_equal(database_max_clients(&database), 0);
        assert_int_equal(user_max_clients(&user), 0);
        assert_int_equal(client_query_wait_timeout_us(&database, &user), 120 * USEC_PER_SEC);
        assert_int_equal(client_idle_timeout_us(&user), 0);
        user.config = NULL; /* no line in [users] says the same */
    }
}

/* The user's value beats the entry's, the entry's the global one; 0 is a value. */
static void test_sizes_and_modes(void **state UNUSED)
{
    settings->default_pool_size = 1;
    settings->reserve_pool_size = 2;
    settings->min_pool_size = 3;
    settings->pool_mode = POOL_TRANSACTION;
    assert_int_equal(limits()->pool_size, 1);
    assert_int_equal(limits()->reserve_size, 2);
    assert_int_equal(limits()->min_size, 3);
    assert_int_equal(limits()->mode, POOL_TRANSACTION);
    entry.pool_size = 11;
    entry.reserve_pool_size = 12;
    entry.min_pool_size = 13;
    entry.pool_mode = POOL_STATEMENT;
    assert_int_equal(limits()->pool_size, 11);
    assert_int_equal(limits()->reserve_size, 12);
    assert_int_equal(limits()->min_size, 13);
    assert_int_equal(limits()->mode, POOL_STATEMENT);
    line.pool_size = 21;
    line.reserve_pool_size = 22;
    line.pool_mode = POOL_SESSION;
    assert_int_equal(limits()->pool_size, 21);
    assert_int_equal(limits()->reserve_size, 22);
    assert_int_equal(limits()->min_size, 13);
    assert_int_equal(limits()->mode, POOL_SESSION);
    line.pool_size = 0;
    line.reserve_pool_size = 0;
    entry.min_pool_size = 0;
    assert_int_equal(limits()->pool_size, 0);
    assert_int_equal(limits()->reserve_size, 0);
    assert_int_equal(limits()->min_size, 0);
    user.config = NULL;
    assert_int_equal(limits()->pool_size, 11);
    assert_int_equal(limits()->reserve_size, 12);
}

/* What SHOW DATABASES prints knows no user. */
static void test_sizes_of_a_database(void **state UNUSED)
{
    settings->default_pool_size = 1;
    settings->reserve_pool_size = 2;
    settings->min_pool_size = 3;
    assert_int_equal(database_pool_size(&database), 1);
    assert_int_equal(database_reserve_pool_size(&database), 2);
    assert_int_equal(database_min_pool_size(&database), 3);
    entry.pool_size = 0;
    entry.reserve_pool_size = 12;
    entry.min_pool_size = 13;
    line.pool_size = 21;
    assert_int_equal(database_pool_size(&database), 0);
    assert_int_equal(database_reserve_pool_size(&database), 12);
    assert_int_equal(database_min_pool_size(&database), 13);
}

/* As in PgBouncer, a negative number is no limit. */
static void test_negative_settings(void **state UNUSED)
{
    settings->default_pool_size = -1;
    settings->reserve_pool_size = -2;
    settings->min_pool_size = INT_MIN;
    settings->max_db_connections = -1;
    settings->max_db_client_connections = -1;
    settings->max_user_connections = -1;
    settings->max_user_client_connections = INT_MIN;
    assert_int_equal(limits()->pool_size, 0);
    assert_int_equal(limits()->reserve_size, 0);
    assert_int_equal(limits()->min_size, 0);
    assert_int_equal(limits()->max_db_connections, 0);
    assert_int_equal(limits()->max_user_connections, 0);
    assert_int_equal(database_max_clients(&database), 0);
    assert_int_equal(user_max_clients(&user), 0);
}

static void test_limits_of_connections(void **state UNUSED)
{
    settings->max_db_connections = 1;
    settings->max_user_connections = 2;
    settings->max_db_client_connections = 3;
    settings->max_user_client_connections = 4;
    assert_int_equal(limits()->max_db_connections, 1);
    assert_int_equal(limits()->max_user_connections, 2);
    assert_int_equal(database_max_clients(&database), 3);
    assert_int_equal(user_max_clients(&user), 4);
    entry.max_db_connections = 11;
    line.max_user_connections = 12;
    entry.max_db_client_connections = 13;
    line.max_user_client_connections = 14;
    assert_int_equal(limits()->max_db_connections, 11);
    assert_int_equal(limits()->max_user_connections, 12);
    assert_int_equal(database_max_clients(&database), 13);
    assert_int_equal(user_max_clients(&user), 14);
    user.config = NULL;
    assert_int_equal(limits()->max_user_connections, 2);
    assert_int_equal(user_max_clients(&user), 4);
}

/* Of the entry 0 is the global value; globally it is a use for one time. */
static void test_server_lifetime(void **state UNUSED)
{
    settings->server_lifetime = 0;
    assert_int_equal(limits()->server_lifetime_us, 0);
    settings->server_lifetime = 1500000;
    assert_int_equal(limits()->server_lifetime_us, 1500000);
    entry.server_lifetime = 0;
    assert_int_equal(limits()->server_lifetime_us, 1500000);
    entry.server_lifetime = 7;
    assert_int_equal(limits()->server_lifetime_us, 7 * USEC_PER_SEC);
}

static void test_times_of_users(void **state UNUSED)
{
    settings->query_timeout = 1;
    settings->idle_transaction_timeout = 2;
    settings->transaction_timeout = 3;
    settings->client_idle_timeout = 4;
    for (int round = 0; round < 2; round++) { /* unset, then 0: the global value */
        assert_int_equal(limits()->query_timeout_us, 1);
        assert_int_equal(limits()->idle_transaction_timeout_us, 2);
        assert_int_equal(limits()->transaction_timeout_us, 3);
        assert_int_equal(client_idle_timeout_us(&user), 4);
        line.query_timeout = line.idle_transaction_timeout = line.transaction_timeout =
            line.client_idle_timeout = 0;
    }
    line.query_timeout = 11;
    line.idle_transaction_timeout = 12;
    line.transaction_timeout = 13;
    line.client_idle_timeout = INT_MAX;
    assert_int_equal(limits()->query_timeout_us, 11 * USEC_PER_SEC);
    assert_int_equal(limits()->idle_transaction_timeout_us, 12 * USEC_PER_SEC);
    assert_int_equal(limits()->transaction_timeout_us, 13 * USEC_PER_SEC);
    assert_int_equal(client_idle_timeout_us(&user), INT_MAX * USEC_PER_SEC);
    user.config = NULL;
    assert_int_equal(limits()->query_timeout_us, 1);
    assert_int_equal(client_idle_timeout_us(&user), 4);
    assert_int_equal(client_idle_timeout_us(NULL), 4);
}

/* Of the entry and of the user 0 means for ever. */
static void test_query_wait_timeout(void **state UNUSED)
{
    settings->query_wait_timeout = 5;
    assert_int_equal(client_query_wait_timeout_us(&database, &user), 5);
    entry.query_wait_timeout = 7;
    assert_int_equal(client_query_wait_timeout_us(&database, &user), 7 * USEC_PER_SEC);
    line.query_wait_timeout = 9;
    assert_int_equal(client_query_wait_timeout_us(&database, &user), 9 * USEC_PER_SEC);
    line.query_wait_timeout = 0;
    assert_int_equal(client_query_wait_timeout_us(&database, &user), 0);
    line.query_wait_timeout = CONFIG_UNSET;
    entry.query_wait_timeout = 0;
    assert_int_equal(client_query_wait_timeout_us(&database, &user), 0);
    entry.query_wait_timeout = 7;
    assert_int_equal(client_query_wait_timeout_us(&database, NULL), 7 * USEC_PER_SEC);
    user.config = NULL;
    assert_int_equal(client_query_wait_timeout_us(&database, &user), 7 * USEC_PER_SEC);
}

/* The console's pool is what it is, whatever the settings say. */
static void test_console(void **state UNUSED)
{
    database.console = true;
    settings->pool_mode = POOL_TRANSACTION;
    settings->query_timeout = 1;
    settings->max_user_connections = 1;
    assert_int_equal(limits()->mode, POOL_STATEMENT);
    assert_int_equal(limits()->pool_size, 2);
    assert_int_equal(limits()->query_timeout_us, 0);
    assert_int_equal(limits()->max_user_connections, 0);
}

#define limits_unit_test(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        limits_unit_test(test_defaults),
        limits_unit_test(test_sizes_and_modes),
        limits_unit_test(test_sizes_of_a_database),
        limits_unit_test(test_negative_settings),
        limits_unit_test(test_limits_of_connections),
        limits_unit_test(test_server_lifetime),
        limits_unit_test(test_times_of_users),
        limits_unit_test(test_query_wait_timeout),
        limits_unit_test(test_console),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
