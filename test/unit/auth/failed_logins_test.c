/*
 * failed_logins_test.c - who has failed to log in.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/failed_logins.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>

#define MOST_US (4 * USEC_PER_SEC)

static struct failed_logins *failed;

static int set_up(void **state UNUSED)
{
    failed = failed_logins_create(3);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    failed_logins_destroy(failed);
    return 0;
}

static struct address address_of(const char *text, uint16_t port)
{
    struct address address;
    assert_true(address_parse(text, port, &address));
    return address;
}

static usec_t delay_of(const char *host, const char *user)
{
    struct address address = address_of(host, 1);
    return failed_logins_delay_us(failed, &address, user, MOST_US);
}

static void note(const char *host, const char *user)
{
    struct address address = address_of(host, 2);
    failed_logins_add(failed, &address, user);
}

static void test_delay_doubles_up_to_its_limit(void **state UNUSED)
{
    static const usec_t delays_us[] = {0, 125000, 250000, 500000, 1000000, 2000000, 4000000, 4000000};
    for (size_t i = 0; i < countof(delays_us); i++) {
        assert_int_equal(delay_of("10.0.0.1", "bob"), delays_us[i]);
        note("10.0.0.1", "bob");
    }
    for (int i = 0; i < 100; i++)
        note("10.0.0.1", "bob");
    assert_int_equal(delay_of("10.0.0.1", "bob"), MOST_US);
}

static void test_nobody_else_waits(void **state UNUSED)
{
    note("10.0.0.1", "bob");
    assert_int_equal(delay_of("10.0.0.1", "alice"), 0);
    assert_int_equal(delay_of("10.0.0.2", "bob"), 0);
    assert_int_equal(delay_of("::1", "bob"), 0);
    assert_int_equal(delay_of("10.0.0.1", ""), 0);
}

static void test_no_wait_where_it_is_off(void **state UNUSED)
{
    struct address address = address_of("10.0.0.1", 1);
    note("10.0.0.1", "bob");
    assert_int_equal(failed_logins_delay_us(failed, &address, "bob", 0), 0);
}

static void test_success_clears(void **state UNUSED)
{
    struct address address = address_of("2001:db8::1", 1);
    note("2001:db8::1", "bob");
    note("2001:db8::1", "alice");
    assert_int_equal(failed_logins_count(failed, &address, "bob"), 1);
    failed_logins_clear(failed, &address, "bob");
    assert_int_equal(failed_logins_count(failed, &address, "bob"), 0);
    assert_int_equal(failed_logins_count(failed, &address, "alice"), 1);
    failed_logins_clear(failed, &address, "nobody");
}

static void test_unix_sockets_are_left_out(void **state UNUSED)
{
    struct address address = {.family = AF_UNIX};
    failed_logins_add(failed, &address, "bob");
    assert_int_equal(failed_logins_count(failed, &address, "bob"), 0);
    failed_logins_clear(failed, &address, "bob");
}

static void test_the_quietest_is_forgotten_first(void **state UNUSED)
{
    note("10.0.0.1", "a");
    note("10.0.0.1", "b");
    note("10.0.0.1", "c");
    note("10.0.0.1", "a");
    note("10.0.0.1", "d");
    assert_int_equal(delay_of("10.0.0.1", "a"), 250000);
    assert_int_equal(delay_of("10.0.0.1", "b"), 0);
    assert_int_equal(delay_of("10.0.0.1", "c"), 125000);
    assert_int_equal(delay_of("10.0.0.1", "d"), 125000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_delay_doubles_up_to_its_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_else_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_wait_where_it_is_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_success_clears, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unix_sockets_are_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_quietest_is_forgotten_first, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
