/*
 * clock_test.c - time, read once per turn.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/clock.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "base/compiler.h"

static usec_t read_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (usec_t) now.tv_sec * USEC_PER_SEC + (usec_t) now.tv_nsec / 1000;
}

static void nap(void)
{
    struct timespec two_ms = {.tv_nsec = 2000000};
    nanosleep(&two_ms, NULL);
}

static void test_first_answer_is_the_monotonic_clock(void **state UNUSED)
{
    usec_t before = read_us(CLOCK_MONOTONIC);
    clock_new_turn();
    usec_t now = clock_now_us();
    assert_in_range(now, before, read_us(CLOCK_MONOTONIC));
}

static void test_time_stands_still_within_a_turn(void **state UNUSED)
{
    usec_t now = clock_now_us();
    nap();
    assert_true(clock_now_us() == now);
}

static void test_new_turn_reads_again(void **state UNUSED)
{
    usec_t now = clock_now_us();
    nap();
    clock_new_turn();
    assert_true(clock_now_us() >= now + 2 * USEC_PER_MSEC);
}

static void test_new_turn_does_not_read_by_itself(void **state UNUSED)
{
    clock_new_turn();
    nap();
    usec_t before = read_us(CLOCK_MONOTONIC);
    assert_true(clock_now_us() >= before);
}

static void test_wall_time_of_now(void **state UNUSED)
{
    clock_new_turn();
    usec_t wall = clock_wall_us(clock_now_us()), expected = read_us(CLOCK_REALTIME);
    assert_in_range(wall, expected - USEC_PER_SEC, expected + USEC_PER_SEC);
}

static void test_wall_time_keeps_distances(void **state UNUSED)
{
    usec_t now = clock_now_us();
    usec_t distance = clock_wall_us(now + 3600 * USEC_PER_SEC) - clock_wall_us(now);
    assert_in_range(distance, 3599 * USEC_PER_SEC, 3601 * USEC_PER_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_answer_is_the_monotonic_clock),
        cmocka_unit_test(test_time_stands_still_within_a_turn),
        cmocka_unit_test(test_new_turn_reads_again),
        cmocka_unit_test(test_new_turn_does_not_read_by_itself),
        cmocka_unit_test(test_wall_time_of_now),
        cmocka_unit_test(test_wall_time_keeps_distances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
