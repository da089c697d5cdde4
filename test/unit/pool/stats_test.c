/*
 * stats_test.c - the counters of a pool and their averages.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/stats.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "base/compiler.h"

/* Every counter has a value of its own: the first is `first`, and so on. */
static struct pool_stats numbered(uint64_t first)
{
    return (struct pool_stats){
        .server_assignments = first,
        .transactions = first + 1,
        .queries = first + 2,
        .bytes_received = first + 3,
        .bytes_sent = first + 4,
        .transaction_us = first + 5,
        .query_us = first + 6,
        .wait_us = first + 7,
        .client_parses = first + 8,
        .server_parses = first + 9,
        .binds = first + 10,
        .client_logins = first + 11,
    };
}

static void test_add(void **state UNUSED)
{
    struct pool_stats sum = numbered(100), more = numbered(1000);
    pool_stats_add(&sum, &more);
    assert_int_equal(sum.server_assignments, 1100);
    assert_int_equal(sum.transactions, 1102);
    assert_int_equal(sum.queries, 1104);
    assert_int_equal(sum.bytes_received, 1106);
    assert_int_equal(sum.bytes_sent, 1108);
    assert_int_equal(sum.transaction_us, 1110);
    assert_int_equal(sum.query_us, 1112);
    assert_int_equal(sum.wait_us, 1114);
    assert_int_equal(sum.client_parses, 1116);
    assert_int_equal(sum.server_parses, 1118);
    assert_int_equal(sum.binds, 1120);
    assert_int_equal(sum.client_logins, 1122);
    assert_int_equal(more.server_assignments, 1000);
}

static void test_averages_in_a_second(void **state UNUSED)
{
    struct pool_stats since = {0}, now = {.server_assignments = 20,
                                          .transactions = 40,
                                          .queries = 60,
                                          .bytes_received = 80,
                                          .bytes_sent = 100,
                                          .transaction_us = 4000,
                                          .query_us = 12000,
                                          .wait_us = 800,
                                          .client_parses = 120,
                                          .server_parses = 140,
                                          .binds = 160,
                                          .client_logins = 180};
    struct pool_averages average =
        pool_stats_average(&now, &since, 5 * USEC_PER_SEC, 15 * USEC_PER_SEC);
    assert_int_equal(average.server_assignments, 2);
    assert_int_equal(average.transactions, 4);
    assert_int_equal(average.queries, 6);
    assert_int_equal(average.bytes_received, 8);
    assert_int_equal(average.bytes_sent, 10);
    assert_int_equal(average.transaction_us, 100); /* for one transaction */
    assert_int_equal(average.query_us, 200);       /* for one query */
    assert_int_equal(average.wait_us, 40);         /* for one assignment */
    assert_int_equal(average.client_parses, 12);
    assert_int_equal(average.server_parses, 14);
    assert_int_equal(average.binds, 16);
    assert_int_equal(average.client_logins, 18);
}

/* Only what has come since the snapshot counts. */
static void test_averages_since_a_snapshot(void **state UNUSED)
{
    struct pool_stats since = numbered(1000), now = numbered(1000);
    struct pool_averages average;
    now.queries += 7;
    now.query_us += 70;
    average = pool_stats_average(&now, &since, 0, USEC_PER_SEC);
    assert_int_equal(average.queries, 7);
    assert_int_equal(average.query_us, 10);
    assert_int_equal(average.transactions, 0);
    assert_int_equal(average.transaction_us, 0);
}

static void test_nothing_happened(void **state UNUSED)
{
    struct pool_stats nothing = {0};
    struct pool_averages average = pool_stats_average(&nothing, &nothing, 0, USEC_PER_SEC);
    assert_int_equal(average.queries, 0);
    assert_int_equal(average.query_us, 0);
    assert_int_equal(average.wait_us, 0);
}

static void test_fractions_are_cut(void **state UNUSED)
{
    struct pool_stats since = {0}, now = {.queries = 3, .query_us = 11};
    struct pool_averages average = pool_stats_average(&now, &since, 0, 2 * USEC_PER_SEC);
    assert_int_equal(average.queries, 1);
    assert_int_equal(average.query_us, 3);
}

/* The product with a million does not fit into 64 bits. */
static void test_large_counters(void **state UNUSED)
{
    static const uint64_t counts[] = {UINT64_C(1) << 31, UINT64_C(1) << 53, UINT64_C(1) << 63,
                                      UINT64_MAX};
    for (size_t i = 0; i < countof(counts); i++) {
        struct pool_stats since = {0}, now = {.bytes_sent = counts[i]};
        struct pool_averages average = pool_stats_average(&now, &since, 0, USEC_PER_SEC);
        assert_true(average.bytes_sent == counts[i]);
        average = pool_stats_average(&now, &since, 0, 60 * USEC_PER_SEC);
        assert_true(average.bytes_sent == counts[i] / 60);
    }
}

/* What does not fit is the largest number, not a small one. */
static void test_average_that_does_not_fit(void **state UNUSED)
{
    struct pool_stats since = {0}, now = {.bytes_sent = UINT64_MAX};
    struct pool_averages average = pool_stats_average(&now, &since, 0, USEC_PER_SEC / 2);
    assert_true(average.bytes_sent == UINT64_MAX);
}

static void test_counter_that_begins_again(void **state UNUSED)
{
    struct pool_stats since = {.queries = UINT64_MAX - 4}, now = {.queries = 5};
    struct pool_averages average = pool_stats_average(&now, &since, 0, USEC_PER_SEC);
    assert_int_equal(average.queries, 10);
}

/* No time has passed, or it went backwards: nothing is divided by 0. */
static void test_no_time(void **state UNUSED)
{
    struct pool_stats since = {0}, now = {.queries = 1};
    assert_int_equal(pool_stats_average(&now, &since, 5, 5).queries, USEC_PER_SEC);
    assert_int_equal(pool_stats_average(&now, &since, 5, 4).queries, USEC_PER_SEC);
    assert_int_equal(pool_stats_average(&since, &since, 5, 4).queries, 0);
}

static void test_window(void **state UNUSED)
{
    struct pool_stats_window window;
    struct pool_stats first = numbered(100), second = numbered(200);
    pool_stats_window_init(&window, 10 * USEC_PER_SEC);
    assert_int_equal(window.older_us, 9 * USEC_PER_SEC);
    assert_int_equal(window.newer_us, 10 * USEC_PER_SEC);
    assert_int_equal(window.older.queries, 0);
    pool_stats_window_turn(&window, &first, 70 * USEC_PER_SEC);
    assert_int_equal(window.older_us, 10 * USEC_PER_SEC);
    assert_int_equal(window.newer_us, 70 * USEC_PER_SEC);
    assert_int_equal(window.older.queries, 0);
    assert_int_equal(window.newer.queries, 102);
    pool_stats_window_turn(&window, &second, 130 * USEC_PER_SEC);
    assert_int_equal(window.older_us, 70 * USEC_PER_SEC);
    assert_int_equal(window.older.queries, 102);
    assert_int_equal(window.newer.queries, 202);
    assert_int_equal(window.newer.client_logins, 211);
}

/* The clock may count from the start of the machine. */
static void test_window_in_the_first_second(void **state UNUSED)
{
    struct pool_stats_window window;
    struct pool_stats nothing = {0}, now = {.queries = 3};
    pool_stats_window_init(&window, 1000);
    assert_int_equal(window.older_us, 0);
    assert_int_equal(
        pool_stats_average(&now, &nothing, window.older_us, 3 * USEC_PER_SEC).queries, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_averages_in_a_second),
        cmocka_unit_test(test_averages_since_a_snapshot),
        cmocka_unit_test(test_nothing_happened),
        cmocka_unit_test(test_fractions_are_cut),
        cmocka_unit_test(test_large_counters),
        cmocka_unit_test(test_average_that_does_not_fit),
        cmocka_unit_test(test_counter_that_begins_again),
        cmocka_unit_test(test_no_time),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_window_in_the_first_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
