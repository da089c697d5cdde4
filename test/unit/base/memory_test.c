/*
 * memory_test.c - allocation that cannot fail.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/memory.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>
#include <string.h>

static void test_new_memory_is_zero(void **state UNUSED)
{
    static const uint8_t zeros[1000];
    void *memory = memory_new(sizeof(zeros));
    assert_memory_equal(memory, zeros, sizeof(zeros));
    memset(memory, 1, sizeof(zeros));
    free(memory);
}

static void test_nothing_is_not_null(void **state UNUSED)
{
    void *none = memory_new(0), *resized = memory_resize(NULL, 0);
    assert_non_null(none);
    assert_non_null(resized);
    resized = memory_resize(resized, 0);
    assert_non_null(resized);
    free(none);
    free(resized);
}

static void test_resize_keeps_the_bytes(void **state UNUSED)
{
    char *memory = memory_resize(NULL, 4);
    memcpy(memory, "abcd", 4);
    memory = memory_resize(memory, 100000);
    assert_memory_equal(memory, "abcd", 4);
    memory = memory_resize(memory, 2);
    assert_memory_equal(memory, "ab", 2);
    free(memory);
}

static void test_copy_text(void **state UNUSED)
{
    char original[] = "text";
    char *copy = memory_copy_text(original), *empty = memory_copy_text("");
    original[0] = 'n';
    assert_string_equal(copy, "text");
    assert_string_equal(empty, "");
    assert_null(memory_copy_text(NULL));
    free(copy);
    free(empty);
}

static void test_copy_bytes_is_terminated(void **state UNUSED)
{
    char *copy = memory_copy_bytes("ab\0cdX", 5);
    assert_memory_equal(copy, "ab\0cd", 6);
    free(copy);
    copy = memory_copy_bytes(NULL, 0);
    assert_string_equal(copy, "");
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_memory_is_zero),
        cmocka_unit_test(test_nothing_is_not_null),
        cmocka_unit_test(test_resize_keeps_the_bytes),
        cmocka_unit_test(test_copy_text),
        cmocka_unit_test(test_copy_bytes_is_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
