/*
 * deadline_test.c - time limits: order, clearing, setting again, and the past.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/deadline.h"

#include "fixture.h"

#define MSEC USEC_PER_MSEC

struct probe {
    struct deadline deadline;
    struct loop *loop;
    unsigned passed, rank;
    usec_t passed_us;
    usec_t again_us;           /* set again when passed */
    struct deadline *to_clear; /* cleared when passed */
    bool is_done;
};

static unsigned next_rank;

static void on_passed(struct deadline *deadline)
{
    struct probe *probe = container_of(deadline, struct probe, deadline);
    assert_false(deadline_is_set(deadline));
    probe->passed++;
    probe->rank = ++next_rank;
    probe->passed_us = clock_now_us();
    probe->is_done = true;
    if (probe->again_us != 0 && probe->passed < 3) {
        probe->is_done = false;
        deadline_set(probe->loop, deadline, probe->again_us);
    }
    if (probe->to_clear != NULL)
        deadline_clear(probe->to_clear);
}

static struct probe make_probe(struct loop *loop)
{
    return (struct probe){.deadline.passed = on_passed, .loop = loop};
}

static int set_up(void **state)
{
    next_rank = 0;
    *state = loop_create();
    clock_new_turn();
    return 0;
}

static int tear_down(void **state)
{
    loop_destroy(*state);
    return 0;
}

static void test_passes_once_and_not_early(void **state)
{
    struct loop *loop = *state;
    struct probe probe = make_probe(loop);
    usec_t start_us = clock_now_us();
    deadline_set(loop, &probe.deadline, 20 * MSEC);
    assert_true(deadline_is_set(&probe.deadline));
    assert_int_equal(probe.deadline.due_us, start_us + 20 * MSEC);
    run_until(loop, flag_is_set, &probe.is_done);
    assert_true(probe.passed_us >= start_us + 20 * MSEC);
    run_for(loop, 40 * MSEC);
    assert_int_equal(probe.passed, 1);
}

static void test_order_within_and_across_queues(void **state)
{
    struct loop *loop = *state;
    struct probe first = make_probe(loop), second = first, third = first;
    deadline_set(loop, &third.deadline, 30 * MSEC);
    deadline_set(loop, &first.deadline, 10 * MSEC);
    deadline_set(loop, &second.deadline, 10 * MSEC);
    run_until(loop, flag_is_set, &third.is_done);
    assert_int_equal(first.rank, 1);
    assert_int_equal(second.rank, 2);
    assert_int_equal(third.rank, 3);
}

static void test_clear(void **state)
{
    struct loop *loop = *state;
    struct probe head = make_probe(loop), other = head, zero = head;
    deadline_set(loop, &head.deadline, 5 * MSEC);
    deadline_set(loop, &other.deadline, 5 * MSEC);
    deadline_set(loop, &zero.deadline, 5 * MSEC);
    deadline_clear(&head.deadline);
    deadline_clear(&head.deadline);
    deadline_set(loop, &zero.deadline, 0);
    assert_false(deadline_is_set(&zero.deadline));
    run_until(loop, flag_is_set, &other.is_done);
    run_for(loop, 20 * MSEC);
    assert_int_equal(head.passed, 0);
    assert_int_equal(zero.passed, 0);
    assert_int_equal(other.passed, 1);
}

static void test_timer_without_deadline_is_harmless(void **state)
{
    struct loop *loop = *state;
    struct probe probe = make_probe(loop);
    deadline_set(loop, &probe.deadline, 5 * MSEC);
    deadline_clear(&probe.deadline);
    run_for(loop, 20 * MSEC);
    assert_int_equal(probe.passed, 0);
    deadline_set(loop, &probe.deadline, 5 * MSEC);
    run_until(loop, flag_is_set, &probe.is_done);
}

static void test_setting_again_moves_to_the_tail(void **state)
{
    struct loop *loop = *state;
    struct probe moved = make_probe(loop), stays = moved;
    deadline_set(loop, &moved.deadline, 10 * MSEC);
    deadline_set(loop, &stays.deadline, 10 * MSEC);
    deadline_set(loop, &moved.deadline, 10 * MSEC);
    run_until(loop, flag_is_set, &moved.is_done);
    assert_int_equal(stays.rank, 1);
    assert_int_equal(moved.rank, 2);
    assert_int_equal(moved.passed, 1);
}

static void test_change_of_duration(void **state)
{
    struct loop *loop = *state;
    struct probe probe = make_probe(loop);
    deadline_set(loop, &probe.deadline, 3600 * USEC_PER_SEC);
    deadline_set(loop, &probe.deadline, 5 * MSEC);
    run_until(loop, flag_is_set, &probe.is_done);
    assert_int_equal(probe.passed, 1);
}

static void test_passed_may_set_itself_again(void **state)
{
    struct loop *loop = *state;
    struct probe probe = make_probe(loop);
    probe.again_us = 5 * MSEC;
    deadline_set(loop, &probe.deadline, 5 * MSEC);
    run_until(loop, flag_is_set, &probe.is_done);
    assert_int_equal(probe.passed, 3);
}

static void test_passed_may_clear_another(void **state)
{
    struct loop *loop = *state;
    struct probe killer = make_probe(loop), victim = killer, last = killer;
    killer.to_clear = &victim.deadline;
    deadline_set(loop, &killer.deadline, 5 * MSEC);
    deadline_set(loop, &victim.deadline, 5 * MSEC);
    deadline_set(loop, &last.deadline, 5 * MSEC);
    run_until(loop, flag_is_set, &last.is_done);
    assert_int_equal(victim.passed, 0);
}

static void test_since_the_past_passes_at_once_but_from_the_loop(void **state)
{
    struct loop *loop = *state;
    struct probe probe = make_probe(loop);
    usec_t now_us = clock_now_us();
    deadline_set_since(loop, &probe.deadline, USEC_PER_SEC, now_us - 2 * USEC_PER_SEC);
    assert_int_equal(probe.passed, 0);
    assert_true(deadline_is_set(&probe.deadline));
    run_until(loop, flag_is_set, &probe.is_done);
    deadline_set_since(loop, &probe.deadline, 0, now_us);
    assert_false(deadline_is_set(&probe.deadline));
}

/* All of one duration, with starts in every order: they must pass in the order of their ends. */
static void test_since_keeps_the_queue_sorted(void **state)
{
    static const usec_t ages_ms[] = {500, 520, 470, 510, 530, 490, 480, 480};
    static const unsigned ranks[] = {4, 2, 8, 3, 1, 5, 6, 7};
    struct loop *loop = *state;
    struct probe probes[countof(ages_ms)];
    usec_t now_us = clock_now_us();
    for (size_t i = 0; i < countof(ages_ms); i++) {
        probes[i] = make_probe(loop);
        deadline_set_since(loop, &probes[i].deadline, 540 * MSEC, now_us - ages_ms[i] * MSEC);
    }
    run_until(loop, flag_is_set, &probes[2].is_done);
    for (size_t i = 0; i < countof(ages_ms); i++)
        assert_int_equal(probes[i].rank, ranks[i]);
}

/* The timer still stands for a head that has left; the newcomer is due before that. */
static void test_since_into_a_queue_that_has_run_empty(void **state)
{
    struct loop *loop = *state;
    struct probe gone = make_probe(loop), early = gone;
    usec_t now_us = clock_now_us();
    deadline_set(loop, &gone.deadline, 3600 * USEC_PER_SEC);
    deadline_clear(&gone.deadline);
    deadline_set_since(loop, &early.deadline, 3600 * USEC_PER_SEC,
                       now_us - 3600 * USEC_PER_SEC + 10 * MSEC);
    assert_true(run_until_or(loop, 2 * USEC_PER_SEC, flag_is_set, &early.is_done));
}

static void test_moments_of_any_distance(void **state)
{
    struct loop *loop = *state;
    struct probe late = make_probe(loop), early = make_probe(loop), past = make_probe(loop);
    usec_t now_us = clock_now_us();
    deadline_set_at(loop, &late.deadline, now_us + 40 * MSEC);
    deadline_set_at(loop, &early.deadline, now_us + 20 * MSEC);
    deadline_set_at(loop, &past.deadline, now_us);
    run_until(loop, flag_is_set, &late.is_done);
    assert_int_equal(past.rank, 1);
    assert_int_equal(early.rank, 2);
    assert_true(early.passed_us >= now_us + 20 * MSEC);
    assert_true(late.passed_us >= now_us + 40 * MSEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_passes_once_and_not_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_moments_of_any_distance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order_within_and_across_queues, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clear, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_timer_without_deadline_is_harmless, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_setting_again_moves_to_the_tail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_change_of_duration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_passed_may_set_itself_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_passed_may_clear_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_since_the_past_passes_at_once_but_from_the_loop,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_since_keeps_the_queue_sorted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_since_into_a_queue_that_has_run_empty, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
