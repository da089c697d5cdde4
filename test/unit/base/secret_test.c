/*
 * secret_test.c - passwords and keys.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/secret.h"

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

static void test_unset_is_empty_and_may_be_released(void **state UNUSED)
{
    struct secret secret = {0};
    assert_true(secret_is_empty(&secret));
    secret_release(&secret);
    assert_null(secret.bytes);
    assert_int_equal(secret.length, 0);
}

static void test_set_copies(void **state UNUSED)
{
    char password[] = "hunter2";
    struct secret secret = {0};
    secret_set(&secret, password, 7);
    password[0] = 'X';
    assert_false(secret_is_empty(&secret));
    assert_int_equal(secret.length, 7);
    assert_string_equal(secret.bytes, "hunter2");
    secret_release(&secret);
    assert_null(secret.bytes);
    assert_true(secret_is_empty(&secret));
}

static void test_set_replaces(void **state UNUSED)
{
    struct secret secret = {0};
    secret_set(&secret, "a long first secret", 19);
    secret_set(&secret, "b\0c", 3);
    assert_int_equal(secret.length, 3);
    assert_memory_equal(secret.bytes, "b\0c", 4);
    secret_release(&secret);
}

static void test_secret_of_no_bytes_is_empty(void **state UNUSED)
{
    struct secret secret = {0};
    secret_set(&secret, "", 0);
    assert_true(secret_is_empty(&secret));
    assert_non_null(secret.bytes);
    assert_string_equal(secret.bytes, "");
    secret_release(&secret);
}

static void test_equals(void **state UNUSED)
{
    struct secret secret = {0};
    secret_set(&secret, "abc", 3);
    assert_true(secret_equals(&secret, "abc", 3));
    assert_true(secret_equals(&secret, "abcd", 3));
    assert_false(secret_equals(&secret, "abd", 3));
    assert_false(secret_equals(&secret, "Abc", 3));
    assert_false(secret_equals(&secret, "ab", 2));
    assert_false(secret_equals(&secret, "abc\0", 4));
    assert_false(secret_equals(&secret, "", 0));
    secret_set(&secret, "a\0b", 3);
    assert_true(secret_equals(&secret, "a\0b", 3));
    assert_false(secret_equals(&secret, "a\0c", 3));
    secret_release(&secret);
}

static void test_equals_of_unset(void **state UNUSED)
{
    struct secret secret = {0};
    assert_true(secret_equals(&secret, "", 0));
    assert_true(secret_equals(&secret, NULL, 0));
    assert_false(secret_equals(&secret, "a", 1));
}

static void test_copy(void **state UNUSED)
{
    struct secret from = {0}, to = {0};
    secret_set(&from, "abc", 3);
    secret_copy(&to, &from);
    assert_ptr_not_equal(to.bytes, from.bytes);
    secret_set(&from, "other", 5);
    assert_true(secret_equals(&to, "abc", 3));
    secret_copy(&to, &from);
    assert_true(secret_equals(&to, "other", 5));
    secret_release(&from);
    assert_true(secret_equals(&to, "other", 5));
    secret_copy(&to, &from); /* unset now */
    assert_null(to.bytes);
    assert_int_equal(to.length, 0);
}

static void test_copy_of_a_secret_of_no_bytes(void **state UNUSED)
{
    struct secret from = {0}, to = {0};
    secret_set(&from, "", 0);
    secret_copy(&to, &from);
    assert_non_null(to.bytes);
    assert_int_equal(to.length, 0);
    secret_release(&from);
    secret_release(&to);
}

static void test_copy_to_itself(void **state UNUSED)
{
    struct secret secret = {0};
    secret_set(&secret, "abc", 3);
    secret_copy(&secret, &secret);
    assert_true(secret_equals(&secret, "abc", 3));
    secret_release(&secret);
    secret_copy(&secret, &secret);
    assert_true(secret_is_empty(&secret));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unset_is_empty_and_may_be_released),
        cmocka_unit_test(test_set_copies),
        cmocka_unit_test(test_set_replaces),
        cmocka_unit_test(test_secret_of_no_bytes_is_empty),
        cmocka_unit_test(test_equals),
        cmocka_unit_test(test_equals_of_unset),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_copy_of_a_secret_of_no_bytes),
        cmocka_unit_test(test_copy_to_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
