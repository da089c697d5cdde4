/*
 * row_description_test.c - what counts when the columns of two results are compared.
 *
 * SPDX-License-Identifier: ISC
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "wire/message.h"
#include "wire/row_description.h"

struct column {
    const char *name;
    uint32_t table, type, modifier;
};

static uint32_t fingerprint(const struct column *columns, uint16_t count, size_t cut)
{
    struct buffer out = {0};
    size_t mark = message_begin(&out, 'T');
    message_add_int16(&out, count);
    for (uint16_t i = 0; i < count; i++) {
        message_add_text(&out, columns[i].name);
        message_add_int32(&out, columns[i].table);
        message_add_int16(&out, (uint16_t) columns[i].table);
        message_add_int32(&out, columns[i].type);
        message_add_int16(&out, 4);
        message_add_int32(&out, columns[i].modifier);
        message_add_int16(&out, 0);
    }
    message_end(&out, mark);
    uint32_t sum = row_description_fingerprint(out.data + 5, out.size - 5 - cut);
    buffer_release(&out);
    return sum;
}

static void test_names_and_types_count(void **state)
{
    (void) state;
    struct column one[] = {{"a", 10, 23, 0}, {"b", 10, 25, 0}};
    uint32_t sum = fingerprint(one, 2, 0);
    assert_int_equal(fingerprint(one, 2, 0), sum);
    assert_int_not_equal(fingerprint(one, 1, 0), sum);
    assert_int_not_equal(fingerprint((struct column[]){{"b", 10, 25, 0}, {"a", 10, 23, 0}}, 2, 0), sum);
    assert_int_not_equal(fingerprint((struct column[]){{"a", 10, 20, 0}, {"b", 10, 25, 0}}, 2, 0), sum);
    assert_int_not_equal(fingerprint((struct column[]){{"a", 10, 23, 0}, {"b", 10, 25, 8}}, 2, 0), sum);
    assert_int_not_equal(fingerprint((struct column[]){{"a", 10, 23, 0}, {"bb", 10, 25, 0}}, 2, 0), sum);
}

static void test_the_table_does_not_count(void **state)
{
    (void) state;
    assert_int_equal(fingerprint(&(struct column){"a", 10, 23, 0}, 1, 0),
                     fingerprint(&(struct column){"a", 11, 23, 0}, 1, 0));
}

static void test_what_is_cut(void **state)
{
    (void) state;
    struct column one[] = {{"a", 10, 23, 0}, {"b", 10, 25, 0}};
    for (size_t cut = 0; cut <= 42; cut++) {
        uint32_t sum = fingerprint(one, 2, cut);
        assert_true(sum != 0 && sum != ROW_DESCRIPTION_OF_NONE);
    }
    assert_true(fingerprint(NULL, 0, 0) > ROW_DESCRIPTION_OF_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_types_count),
        cmocka_unit_test(test_the_table_does_not_count),
        cmocka_unit_test(test_what_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
