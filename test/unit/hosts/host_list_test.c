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

static void assert_picks(struct host_list *list, const char *expected)
{
    const char *picked = host_list_pick(list);
    assert_non_null(picked);
    assert_string_equal(picked, expected);
}

static void test_no_hosts(void **state UNUSED)
{
    struct host_list list, zeroed = {0};
    host_list_init(&list, NULL, false);
    assert_null(host_list_pick(&list));
    host_list_failed(&list);
    assert_null(host_list_pick(&list));
    host_list_release(&list);
    host_list_init(&list, NULL, true);
    host_list_failed(&list);
    assert_null(host_list_pick(&list));
    host_list_release(&list);
    assert_null(host_list_pick(&zeroed));
    host_list_release(&zeroed);
}

static void test_one_host(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "10.0.0.1", false);
    assert_picks(&list, "10.0.0.1");
    host_list_failed(&list);
    assert_picks(&list, "10.0.0.1");
    host_list_release(&list);
}

static void test_each_in_turn(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "a,b,c", false);
    for (int i = 0; i < 3; i++) {
        assert_picks(&list, "a");
        assert_picks(&list, "b");
        assert_picks(&list, "c");
    }
    host_list_release(&list);
}

/* The next connection goes to the next host anyway; a failure skips none. */
static void test_failure_in_turn_skips_nobody(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "a,b", false);
    assert_picks(&list, "a");
    host_list_failed(&list);
    assert_picks(&list, "b");
    host_list_failed(&list);
    assert_picks(&list, "a");
    host_list_release(&list);
}

static void test_stays_until_a_failure(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, "a,b,c", true);
    assert_picks(&list, "a");
    assert_picks(&list, "a");
    host_list_failed(&list);
    assert_picks(&list, "b");
    assert_picks(&list, "b");
    host_list_failed(&list);
    host_list_failed(&list);
    assert_picks(&list, "a");
    host_list_release(&list);
}

static void test_elements_are_not_trimmed(void **state UNUSED)
{
    struct host_list list;
    host_list_init(&list, " a, b,,c,", false);
    assert_int_equal(list.count, 5);
    assert_picks(&list, " a");
    assert_picks(&list, " b");
    assert_picks(&list, "");
    assert_picks(&list, "c");
    assert_picks(&list, "");
    host_list_release(&list);
    host_list_init(&list, "", false);
    assert_int_equal(list.count, 1);
    assert_picks(&list, "");
    host_list_release(&list);
}

static void test_list_owns_its_texts(void **state UNUSED)
{
    char hosts[] = "/tmp,::1";
    struct host_list list;
    host_list_init(&list, hosts, false);
    memset(hosts, 'x', sizeof(hosts) - 1);
    assert_picks(&list, "/tmp");
    assert_picks(&list, "::1");
    host_list_release(&list);
    assert_int_equal(list.count, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_hosts),
        cmocka_unit_test(test_one_host),
        cmocka_unit_test(test_each_in_turn),
        cmocka_unit_test(test_failure_in_turn_skips_nobody),
        cmocka_unit_test(test_stays_until_a_failure),
        cmocka_unit_test(test_elements_are_not_trimmed),
        cmocka_unit_test(test_list_owns_its_texts),
        cmocka_unit_test(test_unix_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
