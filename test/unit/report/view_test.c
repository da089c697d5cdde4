/*
 * view_test.c - the columns of the views, and the rows that need no connections.
 *
 * SPDX-License-Identifier: ISC
 */
#include "report/view.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/slab.h"
#include "report/rows.h"

static const struct view *find(const char *name)
{
    const struct view *view = view_find(name);
    if (view == NULL)
        fail_msg("there is no view %s", name);
    return view;
}

/* ---- the columns, as clients see them ---- */

#define SOCKET_COLUMNS                                                                             \
    "type:t user:t database:t replication:t state:t addr:t port:i local_addr:t local_port:i "      \
    "connect_time:t request_time:t wait:i wait_us:i close_needed:i ptr:t link:t remote_pid:i "     \
    "tls:t application_name:t prepared_statements:i id:i "

static const struct {
    const char *name, *columns;
} expected[] = {
    {"clients", SOCKET_COLUMNS},
    {"servers", SOCKET_COLUMNS},
    {"pools", "database:t user:t cl_active:i cl_waiting:i cl_active_cancel_req:i "
              "cl_waiting_cancel_req:i sv_active:i sv_active_cancel:i sv_being_canceled:i "
              "sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i pool_mode:t "
              "load_balance_hosts:t "},
    {"databases", "name:t host:t port:i database:t force_user:t pool_size:i min_pool_size:i "
                  "reserve_pool_size:i server_lifetime:i pool_mode:t load_balance_hosts:t "
                  "max_connections:i current_connections:i max_client_connections:i "
                  "current_client_connections:i paused:i disabled:i "},
    {"users", "name:t pool_size:t reserve_pool_size:t pool_mode:t max_user_connections:i "
              "current_connections:i max_user_client_connections:i current_client_connections:i "},
    {"lists", "list:t items:i "},
    {"stats", "database:t total_server_assignment_count:N total_xact_count:N total_query_count:N "
              "total_received:N total_sent:N total_xact_time:N total_query_time:N "
              "total_wait_time:N total_client_parse_count:N total_server_parse_count:N "
              "total_bind_count:N avg_server_assignment_count:N avg_xact_count:N "
              "avg_query_count:N avg_recv:N avg_sent:N avg_xact_time:N avg_query_time:N "
              "avg_wait_time:N avg_client_parse_count:N avg_server_parse_count:N "
              "avg_bind_count:N "},
    {"stats_totals", "database:t server_assignment_count:N xact_count:N query_count:N "
                     "bytes_received:N bytes_sent:N xact_time:N query_time:N wait_time:N "
                     "client_parse_count:N server_parse_count:N bind_count:N "},
    {"stats_averages", "database:t server_assignment_count:N xact_count:N query_count:N "
                       "bytes_received:N bytes_sent:N xact_time:N query_time:N wait_time:N "
                       "avg_client_parse_count:N avg_server_parse_count:N avg_bind_count:N "},
    {"totals", "name:t value:N "},
    {"config", "key:t value:t default:t changeable:t "},
    {"state", "key:t value:t "},
    {"version", "version:t "},
    {"mem", "name:t size:i used:i free:i memtotal:i "},
    {"dns_hosts", "hostname:t ttl:q addrs:t "},
    {"pauses",
     "database:t target_session_attrs:t state:t since:t until:t timeout:t until_switchover:i user:t "
     "addr:t port:i servers:i waiting:i "},
};

static void test_columns(void **state UNUSED)
{
    static const char letters[] = {[COLUMN_TEXT] = 't', [COLUMN_INT4] = 'i', [COLUMN_INT8] = 'q',
                                   [COLUMN_NUMERIC] = 'N'};
    for (size_t i = 0; i < countof(expected); i++) {
        const struct view *view = find(expected[i].name);
        char columns[1024];
        size_t length = 0;
        for (size_t c = 0; c < view->column_count; c++)
            length += (size_t) snprintf(columns + length, sizeof(columns) - length, "%s:%c ",
                                        view->columns[c].name, letters[view->columns[c].type]);
        assert_string_equal(columns, expected[i].columns);
    }
    /* A view that is not in the list above would have columns that nobody has looked at. */
    assert_int_equal(view_count, countof(expected));
}

static void test_every_column_is_explained(void **state UNUSED)
{
    for (size_t i = 0; i < view_count; i++) {
        assert_non_null(views[i].each_row);
        for (size_t c = 0; c < views[i].column_count; c++) {
            const struct column *column = &views[i].columns[c];
            size_t length = strlen(column->help);
            if (length < 5 || column->help[length - 1] != '.')
                fail_msg("%s.%s has no help", views[i].name, column->name);
            assert_non_null(column->read);
        }
    }
}

static void test_find(void **state UNUSED)
{
    assert_string_equal(find("Stats_Totals")->name, "stats_totals");
    assert_string_equal(find("POOLS")->name, "pools");
    assert_null(view_find("pool"));
    assert_null(view_find("pools "));
    assert_null(view_find(""));
}

/* ---- rows, as text: a|b|NULL, one line for each ---- */

static struct buffer shown;

static void add_text(const char *text)
{
    buffer_append(&shown, text, strlen(text));
}

static void add_row(void *argument UNUSED, const struct view *view, const void *row)
{
    struct view_context context = {.now_us = clock_now_us()};
    for (size_t c = 0; c < view->column_count; c++) {
        const struct column *column = &view->columns[c];
        struct value value = column->read(row, &context);
        char number[32];
        snprintf(number, sizeof(number), "%" PRId64, value.number);
        add_text(c > 0 ? "|" : "");
        add_text(column->type != COLUMN_TEXT ? number : value.text != NULL ? value.text : "NULL");
    }
    add_text("\n");
}

static const char *shown_text(void)
{
    buffer_append(&shown, "", 1);
    return (const char *) shown.data;
}

static const char *show_row(const char *view, const void *row)
{
    shown.size = 0;
    add_row(NULL, find(view), row);
    return shown_text();
}

static const char *show(const char *name, const struct report *report)
{
    const struct view *view = find(name);
    shown.size = 0;
    view->each_row(view, report, add_row, NULL);
    return shown_text();
}

/* ---- pools, databases and users without any connection ---- */

static struct config *config;
static struct config_user line = {.name = (char *) (uintptr_t) "bob",
                                  .pool_size = 3,
                                  .reserve_pool_size = CONFIG_UNSET,
                                  .pool_mode = POOL_TRANSACTION,
                                  .max_user_connections = 7,
                                  .max_user_client_connections = CONFIG_UNSET};
static struct config_database plain_entry, full_entry;
static struct database plain, full;
static struct pause full_pause;
static struct user bob, al;
static struct pool pool;
static struct pools pools;
static const struct report report = {.pools = &pools, .version = "PgBouncer 1.25.2 (pgweir 1)"};

static int start(void **state UNUSED)
{
    const struct config_database unset = {.port = 5432,
                                          .pool_size = CONFIG_UNSET,
                                          .min_pool_size = CONFIG_UNSET,
                                          .reserve_pool_size = CONFIG_UNSET,
                                          .pool_mode = CONFIG_UNSET,
                                          .max_db_connections = CONFIG_UNSET,
                                          .max_db_client_connections = CONFIG_UNSET,
                                          .server_lifetime = CONFIG_UNSET,
                                          .query_wait_timeout = CONFIG_UNSET};
    config = memory_new(sizeof(*config));
    settings_init(&config->settings);
    assert_null(config_use(config));
    pools = (struct pools){0};
    plain_entry = full_entry = unset;
    full_entry.host = (char *) (uintptr_t) "h1,h2";
    full_entry.dbname = (char *) (uintptr_t) "real";
    full_entry.user = (char *) (uintptr_t) "forced";
    full_entry.port = 6000;
    full_entry.pool_mode = POOL_STATEMENT;
    full_entry.pool_size = 0;
    full_entry.min_pool_size = 2;
    full_entry.reserve_pool_size = 3;
    full_entry.server_lifetime = 60;
    full_entry.max_db_connections = 5;
    full_entry.max_db_client_connections = 6;
    plain = (struct database){.name = "plain", .config = &plain_entry, .pools = &pools};
    full_pause = (struct pause){.pools = &pools, .database = &full};
    full = (struct database){.name = "full",
                             .config = &full_entry,
                             .pools = &pools,
                             .budget = {.servers = 4},
                             .client_count = 5,
                             .pause = &full_pause,
                             .disabled = true};
    bob = (struct user){.name = "bob", .config = &line, .budget = {.servers = 1}, .client_count = 2};
    al = (struct user){.name = "al"};
    pool = (struct pool){.pools = &pools, .database = &full, .user = &bob};
    HASH_ADD_KEYPTR(hh, pools.databases, plain.name, strlen(plain.name), &plain);
    HASH_ADD_KEYPTR(hh, pools.databases, full.name, strlen(full.name), &full);
    HASH_ADD_KEYPTR(hh, pools.users, bob.name, strlen(bob.name), &bob);
    HASH_ADD_KEYPTR(hh, pools.users, al.name, strlen(al.name), &al);
    HASH_ADD_KEYPTR(hh, full.members, bob.name, strlen(bob.name), &pool);
    pools.all = &pool;
    pool.prev = &pool;
    pools.pool_count = 1;
    return 0;
}

static int stop(void **state UNUSED)
{
    HASH_CLEAR(hh, full.members);
    HASH_CLEAR(hh, pools.databases);
    HASH_CLEAR(hh, pools.users);
    assert_ptr_equal(config_use(NULL), config);
    config_destroy(config);
    buffer_release(&shown);
    return 0;
}

static void test_databases(void **state UNUSED)
{
    assert_string_equal(show("databases", &report),
                        "full|h1,h2|6000|real|forced|0|2|3|60|statement|round-robin|5|4|6|5|1|1\n"
                        "plain|NULL|5432|plain|NULL|20|0|0|3600|NULL|NULL|0|0|0|0|0|0\n");
    full_entry.load_balance_disable = true;
    assert_non_null(strstr(show("databases", &report), "|statement|disable|"));
    full_entry.host = (char *) (uintptr_t) "h1";
    assert_non_null(strstr(show("databases", &report), "|statement|NULL|"));
}

static void test_console_database(void **state UNUSED)
{
    plain.name = "pgbouncer";
    plain.console = true;
    config->settings.listen_port = 7000;
    assert_non_null(strstr(show("databases", &report),
                           "pgbouncer|NULL|7000|pgbouncer|pgbouncer|"));
}

static void test_users(void **state UNUSED)
{
    config->settings.max_user_connections = 8;
    config->settings.max_user_client_connections = 9;
    assert_string_equal(show("users", &report), "al|||NULL|8|0|9|0\n"
                                                "bob|        3||transaction|7|1|9|2\n");
}

static void add_entry(const char *name, const char *user)
{
    struct config_database *database = memory_new(sizeof(*database));
    database->name = memory_copy_text(name);
    database->user = memory_copy_text(user);
    HASH_ADD_KEYPTR(hh, config->databases, database->name, strlen(database->name), database);
}

static void add_secret(const char *name)
{
    struct config_secret *secret = memory_new(sizeof(*secret));
    secret->name = memory_copy_text(name);
    HASH_ADD_KEYPTR(hh, config->secrets, secret->name, strlen(secret->name), secret);
}

/* Users of the files are shown before they have logged in, each once. */
static void test_users_that_never_logged_in(void **state UNUSED)
{
    struct config_user *own = memory_new(sizeof(*own));
    *own = line;
    own->name = memory_copy_text("carl");
    HASH_ADD_KEYPTR(hh, config->users, own->name, strlen(own->name), own);
    add_secret("carl");
    add_secret("dora");
    add_secret("bob");
    add_entry("one", "dora");
    add_entry("two", "emil");
    add_entry("three", "emil");
    add_entry("four", NULL);
    assert_string_equal(show("users", &report), "al|||NULL|0|0|0|0\n"
                                                "bob|        3||transaction|7|1|0|2\n"
                                                "carl|        3||transaction|7|0|0|0\n"
                                                "dora|||NULL|0|0|0|0\n"
                                                "emil|||NULL|0|0|0|0\n");
}

/* Each is looked up, not compared with all others: this ends at once. */
static void test_many_users(void **state UNUSED)
{
    enum { COUNT = 50000 };
    size_t rows = 0;
    for (int i = 0; i < COUNT; i++) {
        char name[32], user[32];
        snprintf(name, sizeof(name), "secret%d", i);
        snprintf(user, sizeof(user), "forced%d", i);
        add_secret(name);
        add_entry(name, user);
    }
    for (const char *at = show("users", &report); *at != '\0'; at++)
        rows += *at == '\n';
    assert_int_equal(rows, 2 * COUNT + 2);
}

static void test_pools(void **state UNUSED)
{
    pool.limits.mode = POOL_TRANSACTION;
    pool.client_count = 7;
    pool.waiter_count = 2;
    pool.cancel_count = 3;
    pool.cancels_queued = 4;
    pool.server_counts[SERVER_ACTIVE] = 11;
    pool.server_counts[SERVER_BEING_CANCELED] = 12;
    pool.server_counts[SERVER_IDLE] = 13;
    pool.server_counts[SERVER_USED] = 14;
    pool.server_counts[SERVER_TESTED] = 15;
    pool.server_counts[SERVER_LOGIN] = 16;
    assert_string_equal(show("pools", &report),
                        "full|bob|5|2|3|4|11|3|12|13|14|15|16|0|0|transaction|round-robin\n");
}

/* auth_query has a pool of its own; to those who look, a pool is a database and a user. */
static void test_pools_of_the_same_names_are_one_row(void **state UNUSED)
{
    struct waiter first = {.since_us = clock_now_us() - 3250000};
    struct waiter second = {.since_us = clock_now_us() - 1000000};
    struct pool asking = {.pools = &pools, .database = &full, .user = &bob};
    struct pool others = {.pools = &pools, .database = &full, .user = &al};
    asking.key.for_auth_query = others.key.for_auth_query = 1;
    asking.waiters = &first;
    asking.waiter_count = 2;
    asking.server_counts[SERVER_ACTIVE] = 10;
    asking.server_counts[SERVER_LOGIN] = 1;
    others.waiter_count = 5;
    others.server_counts[SERVER_IDLE] = 3;
    pool.waiters = &second;
    pool.client_count = 7;
    pool.waiter_count = 1;
    pool.server_counts[SERVER_ACTIVE] = 4;
    pools.all = NULL;
    DL_APPEND(pools.all, &asking);
    DL_APPEND(pools.all, &pool);
    DL_APPEND(pools.all, &others);
    assert_string_equal(show("pools", &report),
                        "full|al|0|5|0|0|0|0|0|3|0|0|0|0|0|session|round-robin\n"
                        "full|bob|6|3|0|0|14|0|0|0|0|0|1|3|250000|session|round-robin\n");
    asking.waiters = NULL;
    assert_non_null(strstr(show("pools", &report), "full|bob|6|3|0|0|14|0|0|0|0|0|1|1|0|session"));
    pool.waiters = NULL;
    asking.waiters = &first;
    assert_non_null(strstr(show("pools", &report), "|1|3|250000|session"));
}

static void test_longest_wait(void **state UNUSED)
{
    struct waiter waiter = {.since_us = clock_now_us() - 3250000};
    pool.waiters = &waiter;
    assert_non_null(strstr(show("pools", &report), "|3|250000|session|"));
}

static void test_stats(void **state UNUSED)
{
    pool.stats = (struct pool_stats){1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    pool_stats_window_init(&pool.window, clock_now_us());
    assert_string_equal(show("stats_totals", &report), "full|1|2|3|4|5|6|7|8|9|10|11\n");
    assert_string_equal(show("stats_averages", &report), "full|1|2|3|4|5|3|2|8|9|10|11\n");
    assert_string_equal(show("stats", &report),
                        "full|1|2|3|4|5|6|7|8|9|10|11|1|2|3|4|5|3|2|8|9|10|11\n");
    assert_string_equal(show("totals", &report),
                        "total_server_assignment_count|1\ntotal_xact_count|2\n"
                        "total_query_count|3\ntotal_client_bytes|4\ntotal_server_bytes|5\n"
                        "total_xact_time|6\ntotal_query_time|7\ntotal_wait_time|8\n"
                        "total_ps_client_parse_count|9\ntotal_ps_server_parse_count|10\n"
                        "total_ps_bind_count|11\n"
                        "avg_server_assignment_count|1\navg_xact_count|2\navg_query_count|3\n"
                        "avg_client_bytes|4\navg_server_bytes|5\navg_xact_time|3\n"
                        "avg_query_time|2\navg_wait_time|8\navg_ps_client_parse_count|9\n"
                        "avg_ps_server_parse_count|10\navg_ps_bind_count|11\n");
}

/* A counter is never negative, however large it is. */
static void test_large_counters(void **state UNUSED)
{
    struct count_row row = {"x", UINT64_C(1) << 53};
    assert_string_equal(show_row("totals", &row), "x|9007199254740992\n");
    row.value = INT64_MAX;
    assert_string_equal(show_row("totals", &row), "x|9223372036854775807\n");
    row.value = UINT64_C(1) << 63;
    assert_string_equal(show_row("totals", &row), "x|9223372036854775807\n");
    row.value = UINT64_MAX;
    assert_string_equal(show_row("totals", &row), "x|9223372036854775807\n");
}

/* ---- the process ---- */

static void test_config(void **state UNUSED)
{
    const char *text = show("config", &report);
    assert_non_null(strstr(text, "admin_users|||yes\n"));
    assert_non_null(strstr(text, "\nauth_user|NULL|NULL|yes\n"));
    assert_non_null(strstr(text, "\nlisten_port|6432|6432|no\n"));
    assert_non_null(strstr(text, "\nunix_socket_mode|511|0777|no\n"));
    assert_non_null(strstr(text, "\nverbose|0|NULL|yes\n"));
    assert_ptr_equal(strstr(text, "admin_users"), text);
}

static void test_state(void **state UNUSED)
{
    assert_string_equal(show("state", &report), "active|yes\npaused|no\nsuspended|no\n");
    struct pause pause = {.pools = &pools};
    pools.pause = &pause;
    assert_string_equal(show("state", &report), "active|no\npaused|yes\nsuspended|no\n");
}

static void test_pauses(void **state UNUSED)
{
    struct pause_row row = {.pause = &full_pause, .servers = 2, .waiting = 3};
    const char *text;
    full_pause.timeout_us = 1500 * USEC_PER_MSEC;
    full_pause.user = "admin";
    full_pause.until_switchover = true;
    text = show_row("pauses", &row);
    assert_non_null(strstr(text, "full|any|draining|"));
    assert_non_null(strstr(text, "|NULL|1.5|1|admin|"));
    assert_non_null(strstr(text, "|2|3\n"));
    full_pause.drained = true; /* what is open now was opened to look */
    text = show("pauses", &report);
    assert_non_null(strstr(text, "full|any|paused|"));
    assert_non_null(strstr(text, "|0|0\n"));
}

static void test_version(void **state UNUSED)
{
    assert_string_equal(show("version", &report), "PgBouncer 1.25.2 (pgweir 1)\n");
}

static void test_mem(void **state UNUSED)
{
    const struct slab slab = {.name = "x", .object_size = 100, .used = 3, .unused = 4};
    assert_string_equal(show_row("mem", &slab), "x|100|3|4|700\n");
    assert_non_null(strstr(show("mem", &report), "\npool_cache|"));
}

static void test_dns_hosts(void **state UNUSED)
{
    const struct dns_row row = {"db.example", 7, "10.0.0.7:0,[::1]:0"};
    assert_string_equal(show_row("dns_hosts", &row), "db.example|7|10.0.0.7:0,[::1]:0\n");
}

#define view_unit_test(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_every_column_is_explained),
        cmocka_unit_test(test_find),
        view_unit_test(test_databases),
        view_unit_test(test_console_database),
        view_unit_test(test_users),
        view_unit_test(test_users_that_never_logged_in),
        view_unit_test(test_many_users),
        view_unit_test(test_pools),
        view_unit_test(test_pools_of_the_same_names_are_one_row),
        view_unit_test(test_longest_wait),
        view_unit_test(test_stats),
        view_unit_test(test_large_counters),
        view_unit_test(test_config),
        view_unit_test(test_state),
        view_unit_test(test_pauses),
        view_unit_test(test_version),
        view_unit_test(test_mem),
        view_unit_test(test_dns_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
