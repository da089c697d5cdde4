/*
 * host_list_test.c - the hosts of a database entry.
 *
 * SPDX-License-Identifier: ISC
 */
#include "hosts/host_list.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

#include "base/compiler.h"

#define RETRY_US (16 * USEC_PER_SEC)

static usec_t now_us = 1000 * USEC_PER_SEC; /* of the test */

static void assert_picks(struct host_list *list, const char *expected)
{
    const char *picked = host_list_pick(list, now_us, RETRY_US)->name;
    assert_non_null(picked);
    assert_string_equal(picked, expected);
}

static bool fails(struct host_list *list, const char *name)
{
    return host_list_failed(list, name, 5432, now_us, now_us, RETRY_US);
}

/* The wait is of `pause_us`, with up to a tenth or a third of a second more by chance. */
static void assert_waits(const struct host_list *list, usec_t pause_us)
{
    usec_t got_us, since_us, most_us = pause_us / 10;
    assert_true(host_list_must_wait(list, now_us, RETRY_US, &got_us, &since_us));
    assert_int_equal(got_us, pause_us);
    assert_in_range(since_us, now_us,
                    now_us + (most_us < USEC_PER_SEC / 3 ? most_us : USEC_PER_SEC / 3));
    assert_true(host_list_must_wait(list, since_us + pause_us - 1, RETRY_US, &got_us, &since_us));
    assert_false(host_list_must_wait(list, since_us + pause_us, RETRY_US, &got_us, &since_us));
}

static void assert_need_not_wait(const struct host_list *list)
{
    usec_t pause_us, since_us;
    assert_false(host_list_must_wait(list, now_us, RETRY_US, &pause_us, &since_us));
}

static void test_no_hosts(void **state UNUSED)
{
    struct host_list list, zeroed = {0};
    for (int stay = 0; stay < 2; stay++) {
        host_list_init(&list, NULL, NULL, stay);
        assert_null(host_list_pick(&list, now_us, RETRY_US)->name);
        assert_need_not_wait(&list);
        assert_false(fails(&list, "/tmp"));
        assert_waits(&list, RETRY_US);
        assert_null(host_list_pick(&list, now_us, RETRY_US)->name);
        host_list_release(&list);
    }
    assert_need_not_wait(&zeroed);
    assert_false(fails(&zeroed, "a"));
    host_list_succeeded(&zeroed, "a", 5432);
    host_list_release(&zeroed);
}

/* As in PgBouncer: the whole pause from the first failure on. */
static void test_one_host(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "10.0.0.1", NULL, false);
    assert_picks(&list, "10.0.0.1");
    assert_need_not_wait(&list);
    for (int i = 0; i < 3; i++) {
        assert_false(fails(&list, "10.0.0.1"));
        assert_waits(&list, RETRY_US);
        now_us += 2 * RETRY_US;
    }
    assert_false(fails(&list, "10.0.0.1"));
    host_list_succeeded(&list, "10.0.0.1", 5432);
    assert_need_not_wait(&list);
    assert_picks(&list, "10.0.0.1");
    host_list_release(&list);
}

/* Counted from the beginning of the attempt; attempts of the same outage count once. */
static void test_pause_begins_with_the_attempt(void **state UNUSED)
{
    struct host_list list;
    usec_t pause_us, since_us, again_us;
    host_list_init(&list, "a", NULL, false);
    host_list_failed(&list, "a", 5432, now_us - 5 * USEC_PER_SEC, now_us, RETRY_US);
    assert_true(host_list_must_wait(&list, now_us, RETRY_US, &pause_us, &since_us));
    assert_in_range(since_us, now_us - 5 * USEC_PER_SEC, now_us - 4 * USEC_PER_SEC);
    host_list_failed(&list, "a", 5432, now_us - USEC_PER_SEC, now_us + 1, RETRY_US);
    assert_true(host_list_must_wait(&list, now_us, RETRY_US, &pause_us, &again_us));
    assert_int_equal(again_us, since_us);
    host_list_release(&list);
}

static void test_chance_is_real(void **state UNUSED)
{
    struct host_list list;
    usec_t pause_us, since_us, least_us = UINT64_MAX, most_us = 0;
    for (int i = 0; i < 100; i++) {
        host_list_init(&list, "a", NULL, false);
        fails(&list, "a");
        assert_true(host_list_must_wait(&list, now_us, RETRY_US, &pause_us, &since_us));
        least_us = since_us < least_us ? since_us : least_us;
        most_us = since_us > most_us ? since_us : most_us;
        host_list_release(&list);
    }
    assert_true(most_us - least_us > USEC_PER_SEC / 10);
}

static void test_no_pause(void **state UNUSED)
{
    struct host_list list;
    usec_t pause_us, since_us;
    host_list_init(&list, "a,b", NULL, false);
    for (int i = 0; i < 3; i++) {
        host_list_failed(&list, "a", 5432, now_us, now_us, 0);
        host_list_failed(&list, "b", 5432, now_us, now_us, 0);
        assert_false(host_list_must_wait(&list, now_us, 0, &pause_us, &since_us));
    }
    host_list_release(&list);
}

static void test_each_in_turn(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "a,b,c", NULL, false);
    for (int i = 0; i < 3; i++) {
        assert_picks(&list, "a");
        assert_picks(&list, "b");
        assert_picks(&list, "c");
    }
    host_list_release(&list);
}

/* The others go on at once; the pause doubles up to server_login_retry. */
static void test_failed_host_is_skipped(void **state UNUSED)
{
    struct host_list list;
    usec_t pause_us = RETRY_US / 16;
    host_list_init(&list, "a,b,c", NULL, false);
    for (int i = 0; i < 8; i++) {
        assert_true(fails(&list, "b"));
        assert_need_not_wait(&list);
        for (int round = 0; round < 3; round++) {
            assert_picks(&list, "a");
            assert_picks(&list, "c");
        }
        now_us += pause_us + pause_us / 10;
        assert_picks(&list, "a");
        assert_picks(&list, "b");
        assert_picks(&list, "c");
        pause_us = pause_us < RETRY_US ? 2 * pause_us : RETRY_US;
    }
    host_list_succeeded(&list, "b", 5432);
    assert_picks(&list, "a");
    assert_picks(&list, "b");
    host_list_release(&list);
}

static void test_all_have_failed(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "a,b,a", NULL, false);
    assert_true(fails(&list, "b"));
    assert_false(fails(&list, "a"));
    assert_waits(&list, RETRY_US / 16);
    now_us += RETRY_US / 8;
    assert_need_not_wait(&list);
    assert_false(fails(&list, "a"));
    assert_picks(&list, "b");
    assert_false(fails(&list, "b"));
    assert_waits(&list, RETRY_US / 8);
    host_list_release(&list);
}

static void test_short_pauses(void **state UNUSED)
{
    struct host_list list;
    usec_t pause_us, since_us;
    host_list_init(&list, "a,b", NULL, false);
    fails(&list, "a");
    fails(&list, "b");
    assert_true(host_list_must_wait(&list, now_us, USEC_PER_SEC / 2, &pause_us, &since_us));
    assert_int_equal(pause_us, USEC_PER_SEC / 10);
    assert_true(host_list_must_wait(&list, now_us, USEC_PER_SEC / 50, &pause_us, &since_us));
    assert_int_equal(pause_us, USEC_PER_SEC / 50);
    host_list_release(&list);
}

/* A wrong password is wrong everywhere. */
static void test_refusal_is_of_all(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "a,b", NULL, false);
    host_list_refused(&list, now_us, now_us, RETRY_US);
    assert_waits(&list, RETRY_US);
    host_list_succeeded(&list, "b", 5432);
    assert_need_not_wait(&list);
    assert_picks(&list, "b");
    assert_picks(&list, "b");
    host_list_release(&list);
}

static void test_stays_until_a_failure(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "a,b,c", NULL, true);
    assert_picks(&list, "a");
    assert_picks(&list, "a");
    assert_true(fails(&list, "a"));
    assert_picks(&list, "b");
    assert_picks(&list, "b");
    now_us += RETRY_US;
    assert_picks(&list, "b");
    assert_true(fails(&list, "b"));
    assert_picks(&list, "c");
    assert_false(fails(&list, "c"));
    now_us += RETRY_US;
    assert_picks(&list, "a");
    host_list_release(&list);
}

static void test_elements_are_not_trimmed(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, " a, b,,c,", NULL, false);
    assert_int_equal(list.count, 5);
    assert_picks(&list, " a");
    assert_picks(&list, " b");
    assert_picks(&list, "");
    assert_picks(&list, "c");
    assert_picks(&list, "");
    host_list_release(&list);
    host_list_init(&list, "", NULL, false);
    assert_int_equal(list.count, 1);
    assert_picks(&list, "");
    host_list_release(&list);
}

static void test_list_owns_its_texts(void **state UNUSED)
{
    char hosts[] = "/tmp,::1";
    struct host_list list;
    host_list_init(&list, hosts, NULL, false);
    memset(hosts, 'x', sizeof(hosts) - 1);
    assert_picks(&list, "/tmp");
    assert_picks(&list, "::1");
    host_list_release(&list);
    assert_int_equal(list.count, 0);
    host_list_release(&list);
}

static void test_ports(void **state UNUSED)
{
    static const struct {
        const char *hosts, *ports;
        uint16_t expected[3];
    } cases[] = {{"a,b,a", NULL, {5432, 5432, 5432}},
                 {"a,b,a", "6000", {6000, 6000, 6000}},
                 {"a,b,a", "6000,6001,6002", {6000, 6001, 6002}}};
    struct host_list list;
    for (size_t i = 0; i < countof(cases); i++) {
        host_list_init(&list, cases[i].hosts, cases[i].ports, false);
        for (size_t place = 0; place < 3; place++)
            assert_int_equal(host_list_pick(&list, now_us, RETRY_US)->port,
                             cases[i].expected[place]);
        host_list_release(&list);
    }
    /* The same address twice is two hosts. */
    host_list_init(&list, "a,a", "1,2", false);
    (void) host_list_failed(&list, "a", 1, now_us, now_us, RETRY_US);
    for (int i = 0; i < 3; i++)
        assert_int_equal(host_list_pick(&list, now_us, RETRY_US)->port, 2);
    host_list_release(&list);
}

static void test_roles(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "a,b,a", NULL, false);
    assert_true(host_list_may_have_standby(&list)); /* nobody knows yet */
    assert_true(host_list_note_role(&list, "a", 5432, HOST_PRIMARY));
    assert_false(host_list_note_role(&list, "a", 5432, HOST_PRIMARY)); /* no news */
    assert_true(host_list_may_have_standby(&list));
    fails(&list, "b");
    assert_false(host_list_may_have_standby(&list));
    host_list_succeeded(&list, "b", 5432);
    assert_true(host_list_note_role(&list, "b", 5432, HOST_STANDBY));
    assert_true(host_list_may_have_standby(&list));
    assert_true(host_list_note_role(&list, "b", 5432, HOST_PRIMARY));
    assert_false(host_list_may_have_standby(&list));
    host_list_release(&list);
}

static void test_unix_sockets(void **state UNUSED)
{
    assert_true(host_is_unix("/tmp"));
    assert_true(host_is_unix("/"));
    assert_true(host_is_unix("@name"));
    assert_false(host_is_unix(""));
    assert_false(host_is_unix("tmp"));
    assert_false(host_is_unix("10.0.0.1"));
    assert_false(host_is_unix("::1"));
    assert_false(host_is_unix(" /tmp"));
}

static void test_role_of_a_host(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "a,b", "1,2", false);
    assert_true(host_list_note_role(&list, "b", 2, HOST_STANDBY));
    assert_int_equal(host_list_role(&list, "a", 1, HOST_STANDBY), HOST_UNKNOWN);
    assert_int_equal(host_list_role(&list, "b", 2, HOST_PRIMARY), HOST_STANDBY);
    assert_int_equal(host_list_role(&list, "b", 1, HOST_PRIMARY), HOST_PRIMARY);
    host_list_release(&list);
    assert_int_equal(host_list_role(&list, "a", 1, HOST_STANDBY), HOST_STANDBY);
}

static void test_forgotten_failures(void **state UNUSED)
{
    struct host_list list;
    usec_t pause_us, since_us;
    host_list_init(&list, "a,b", NULL, false);
    host_list_refused(&list, 1000, 1000, USEC_PER_SEC);
    assert_true(host_list_must_wait(&list, 1000, USEC_PER_SEC, &pause_us, &since_us));
    host_list_forget_failures(&list);
    assert_false(host_list_must_wait(&list, 1000, USEC_PER_SEC, &pause_us, &since_us));
    host_list_release(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_hosts),
        cmocka_unit_test(test_one_host),
        cmocka_unit_test(test_each_in_turn),
        cmocka_unit_test(test_pause_begins_with_the_attempt),
        cmocka_unit_test(test_chance_is_real),
        cmocka_unit_test(test_no_pause),
        cmocka_unit_test(test_failed_host_is_skipped),
        cmocka_unit_test(test_all_have_failed),
        cmocka_unit_test(test_short_pauses),
        cmocka_unit_test(test_refusal_is_of_all),
        cmocka_unit_test(test_stays_until_a_failure),
        cmocka_unit_test(test_elements_are_not_trimmed),
        cmocka_unit_test(test_list_owns_its_texts),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_role_of_a_host),
        cmocka_unit_test(test_forgotten_failures),
        cmocka_unit_test(test_unix_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
