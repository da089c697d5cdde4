/*
 * intern_test.c - strings that are stored once.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/intern.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <string.h>
#ifdef __SANITIZE_ADDRESS__
#    include <sanitizer/asan_interface.h>
#    define assert_gone(text) assert_true(__asan_address_is_poisoned(text))
#    define assert_alive(text) assert_false(__asan_address_is_poisoned(text))
#else
#    define assert_gone(text) ((void) (text))
#    define assert_alive(text) ((void) (text))
#endif

static void test_equal_texts_are_one(void **state UNUSED)
{
    char here[] = "bob", there[] = "bob";
    const char *first = intern_take(here), *second = intern_take(there);
    assert_ptr_equal(first, second);
    assert_ptr_not_equal(first, here);
    assert_string_equal(first, "bob");
    intern_give_back(first);
    assert_alive(second);
    assert_string_equal(second, "bob");
    intern_give_back(second);
    assert_gone(second);
}

static void test_different_texts_are_not(void **state UNUSED)
{
    static const char *const texts[] = {"", "b", "B", "bo", "bob ", "\xff"};
    const char *taken[countof(texts)];
    for (size_t i = 0; i < countof(texts); i++)
        taken[i] = intern_take(texts[i]);
    for (size_t i = 0; i < countof(texts); i++) {
        assert_string_equal(taken[i], texts[i]);
        for (size_t other = 0; other < i; other++)
            assert_ptr_not_equal(taken[i], taken[other]);
    }
    for (size_t i = 0; i < countof(texts); i++)
        intern_give_back(taken[i]);
}

static void test_bytes_and_text_meet(void **state UNUSED)
{
    const char *text = intern_take("app"), *bytes = intern_take_bytes("application", 3);
    assert_ptr_equal(text, bytes);
    intern_give_back(text);
    intern_give_back(bytes);
    const char *none = intern_take_bytes("x", 0);
    assert_string_equal(none, "");
    intern_give_back(none);
}

static void test_null_is_fine(void **state UNUSED)
{
    assert_null(intern_take(NULL));
    assert_null(intern_share(NULL));
    intern_give_back(NULL);
}

static void test_share_is_one_more_reference(void **state UNUSED)
{
    const char *text = intern_take("shared"), *again = intern_share(text);
    assert_ptr_equal(text, again);
    intern_give_back(text);
    assert_alive(again);
    assert_string_equal(again, "shared");
    const char *third = intern_take("shared");
    assert_ptr_equal(third, again);
    intern_give_back(again);
    intern_give_back(third);
    assert_gone(third);
}

static void test_text_may_come_back_after_the_last_reference(void **state UNUSED)
{
    for (int i = 0; i < 3; i++) {
        const char *text = intern_take("again");
        assert_string_equal(text, "again");
        intern_give_back(text);
        assert_gone(text);
    }
}

static void test_many(void **state UNUSED)
{
    enum { COUNT = 5000 };
    static const char *taken[COUNT];
    char text[32];
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), "name-%d", i);
        taken[i] = intern_take(text);
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), "name-%d", i);
        const char *again = intern_take(text);
        assert_ptr_equal(again, taken[i]);
        intern_give_back(again);
        intern_give_back(taken[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_texts_are_one),
        cmocka_unit_test(test_different_texts_are_not),
        cmocka_unit_test(test_bytes_and_text_meet),
        cmocka_unit_test(test_null_is_fine),
        cmocka_unit_test(test_share_is_one_more_reference),
        cmocka_unit_test(test_text_may_come_back_after_the_last_reference),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
