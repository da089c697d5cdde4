/*
 * wrong_keys_test.c - who has guessed keys of cancel requests.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/wrong_keys.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#define NOW_US (100 * USEC_PER_SEC)

static struct wrong_keys keys;

static int tear_down(void **state UNUSED)
{
    wrong_keys_release(&keys);
    return 0;
}

static struct address address_of(const char *text)
{
    struct address address;
    assert_true(address_parse(text, 1, &address));
    return address;
}

static bool is_refused(const char *host, usec_t now_us)
{
    struct address address = address_of(host);
    return wrong_keys_too_many(&keys, &address, now_us);
}

/* Sends wrong keys until one would not be looked up. Returns how many were. */
static unsigned guess(const char *host, usec_t now_us)
{
    struct address address = address_of(host);
    unsigned count = 0;
    for (; !wrong_keys_too_many(&keys, &address, now_us) && count < 2 * WRONG_KEYS_AT_ONCE; count++)
        wrong_keys_add(&keys, &address, now_us);
    return count;
}

static void test_many_at_once_then_some_in_a_second(void **state UNUSED)
{
    const char *host = "10.0.0.1";
    assert_int_equal(guess(host, NOW_US), WRONG_KEYS_AT_ONCE);
    assert_true(is_refused(host, NOW_US));
    assert_true(is_refused(host, NOW_US + WRONG_KEYS_PAUSE_US - 1));
    assert_int_equal(guess(host, NOW_US + WRONG_KEYS_PAUSE_US), 1);
    assert_int_equal(guess(host, NOW_US + 8 * WRONG_KEYS_PAUSE_US), 7);
}

static void test_all_is_forgiven_in_time(void **state UNUSED)
{
    usec_t later_us = NOW_US + WRONG_KEYS_AT_ONCE * WRONG_KEYS_PAUSE_US;
    assert_int_equal(guess("10.0.0.1", NOW_US), WRONG_KEYS_AT_ONCE);
    assert_int_equal(guess("10.0.0.1", later_us), WRONG_KEYS_AT_ONCE);
    /* Patience is not saved up. */
    assert_int_equal(guess("10.0.0.1", later_us * 100), WRONG_KEYS_AT_ONCE);
}

static void test_nobody_else_is_refused(void **state UNUSED)
{
    guess("10.0.0.1", NOW_US);
    guess("2001:db8:0:1::1", NOW_US);
    assert_false(is_refused("10.0.0.2", NOW_US));
    assert_false(is_refused("2001:db8:0:2::1", NOW_US));
    assert_false(is_refused("::1", NOW_US));
    assert_int_equal(guess("10.0.0.2", NOW_US), WRONG_KEYS_AT_ONCE);
}

static void test_port_and_second_half_of_ipv6_are_of_no_account(void **state UNUSED)
{
    struct address other_port = address_of("10.0.0.1");
    other_port.port = 2;
    guess("10.0.0.1", NOW_US);
    assert_true(wrong_keys_too_many(&keys, &other_port, NOW_US));
    guess("2001:db8:0:1::1", NOW_US);
    assert_true(is_refused("2001:db8:0:1:ffff::2", NOW_US));
}

static void test_unix_sockets_are_left_out(void **state UNUSED)
{
    struct address address = {.family = AF_UNIX};
    for (int i = 0; i < 2 * WRONG_KEYS_AT_ONCE; i++)
        wrong_keys_add(&keys, &address, NOW_US);
    assert_false(wrong_keys_too_many(&keys, &address, NOW_US));
    assert_null(keys.sources);
}

static void test_memory_is_bounded(void **state UNUSED)
{
    struct address other = address_of("10.1.0.0");
    guess("10.0.0.1", NOW_US);
    guess("10.0.0.2", NOW_US);
    for (uint32_t i = 1; i < WRONG_KEYS_ADDRESSES_MAX - 1; i++) {
        other.ipv4.s_addr = htonl(UINT32_C(0x0a010000) + i);
        wrong_keys_add(&keys, &other, NOW_US);
    }
    assert_true(is_refused("10.0.0.1", NOW_US));
    assert_int_equal(guess("10.0.0.1", NOW_US + WRONG_KEYS_PAUSE_US), 1); /* the last again */
    wrong_keys_add(&keys, &(struct address){.family = AF_INET}, NOW_US);
    assert_true(is_refused("10.0.0.1", NOW_US));
    assert_false(is_refused("10.0.0.2", NOW_US));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_many_at_once_then_some_in_a_second, tear_down),
        cmocka_unit_test_teardown(test_all_is_forgiven_in_time, tear_down),
        cmocka_unit_test_teardown(test_nobody_else_is_refused, tear_down),
        cmocka_unit_test_teardown(test_port_and_second_half_of_ipv6_are_of_no_account, tear_down),
        cmocka_unit_test_teardown(test_unix_sockets_are_left_out, tear_down),
        cmocka_unit_test_teardown(test_memory_is_bounded, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
