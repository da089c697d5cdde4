/*
 * extended_test.c - the names in front of Parse, Bind, Describe and Close, whole and cut anywhere.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/extended.h"

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

/* Reads from a copy of exactly `available` bytes, so that a sanitizer sees a byte too far. */
static enum extended_result read_cut(char type, const void *body, size_t size, size_t available,
                                     struct extended_names *names)
{
    static uint8_t *copy;
    struct frame frame = {.type = (uint8_t) type, .size = FRAME_HEADER_SIZE + size};
    free(copy);
    copy = malloc(available > 0 ? available : 1);
    memcpy(copy, body, available);
    return extended_read_names(&frame, copy, available, names);
}

/* Says what is read from the whole body, and that every beginning of it asks for more, or agrees. */
static struct extended_names read_everywhere(char type, const void *body, size_t size)
{
    struct extended_names whole, cut;
    assert_int_equal(read_cut(type, body, size, size, &whole), EXTENDED_NAMES);
    for (size_t available = 0; available < size; available++) {
        enum extended_result result = read_cut(type, body, size, available, &cut);
        if (available < whole.rest || (whole.of_portal && available == 0)) {
            assert_int_equal(result, EXTENDED_MORE);
            continue;
        }
        assert_int_equal(result, EXTENDED_NAMES);
        assert_int_equal(cut.rest, whole.rest);
        assert_int_equal(cut.statement_size, whole.statement_size);
        assert_int_equal(cut.portal_size, whole.portal_size);
        assert_int_equal(cut.of_portal, whole.of_portal);
    }
    assert_int_equal(read_cut(type, body, size, size, &whole), EXTENDED_NAMES);
    return whole;
}

#define READ(type, literal) read_everywhere((type), (literal), sizeof(literal) - 1)

static void test_parse(void **state UNUSED)
{
    struct extended_names names = READ('P', "name\0SELECT 1\0\0\0");
    assert_string_equal(names.statement, "name");
    assert_int_equal(names.statement_size, 4);
    assert_int_equal(names.rest, 5);
    assert_string_equal(names.portal, "");
    assert_false(names.of_portal);
    names = READ('P', "\0SELECT 1\0\0\0");
    assert_int_equal(names.statement_size, 0);
    assert_int_equal(names.rest, 1);
}

static void test_bind(void **state UNUSED)
{
    struct extended_names names = READ('B', "portal\0name\0\0\0\0\0\0\0");
    assert_string_equal(names.portal, "portal");
    assert_int_equal(names.portal_size, 6);
    assert_string_equal(names.statement, "name");
    assert_int_equal(names.statement_size, 4);
    assert_int_equal(names.rest, 12);
    names = READ('B', "\0name\0\0\0\0\0\0\0");
    assert_int_equal(names.portal_size, 0);
    assert_int_equal(names.rest, 6);
    names = READ('B', "portal\0\0\0\0\0\0\0\0");
    assert_int_equal(names.statement_size, 0);
    assert_int_equal(names.rest, 8);
}

static void test_describe_and_close(void **state UNUSED)
{
    for (const char *type = "DC"; *type != '\0'; type++) {
        struct extended_names names = READ(*type, "Sname\0");
        assert_string_equal(names.statement, "name");
        assert_int_equal(names.rest, 6);
        assert_false(names.of_portal);
        names = READ(*type, "S\0");
        assert_int_equal(names.statement_size, 0);
        assert_false(names.of_portal);
        assert_int_equal(names.rest, 2);
        assert_true(READ(*type, "Pname\0").of_portal);
        assert_true(READ(*type, "Xname\0").of_portal);
        assert_true(READ(*type, "P").of_portal); /* without its zero: the server will say so */
    }
}

static void test_what_is_broken(void **state UNUSED)
{
    static const struct {
        char type;
        const char *body;
        size_t size;
    } bodies[] = {{'P', "", 0},      {'B', "", 0},       {'D', "", 0},      {'C', "", 0},
                  {'P', "name", 4},  {'B', "portal", 6}, {'B', "p\0nam", 5}, {'B', "p\0", 2},
                  {'D', "S", 1},     {'C', "S", 1},      {'D', "Sname", 5}, {'C', "Sname", 5}};
    struct extended_names names;
    for (size_t i = 0; i < countof(bodies); i++)
        assert_int_equal(read_cut(bodies[i].type, bodies[i].body, bodies[i].size, bodies[i].size,
                                  &names),
                         EXTENDED_BROKEN);
}

/* What follows the message in memory is none of its business. */
static void test_the_next_message_is_not_read(void **state UNUSED)
{
    struct frame frame = {.type = 'P', .size = FRAME_HEADER_SIZE + 4};
    struct extended_names names;
    assert_int_equal(extended_read_names(&frame, (const uint8_t *) "nameX\0", 6, &names),
                     EXTENDED_BROKEN);
    frame = (struct frame){.type = 'D', .size = FRAME_HEADER_SIZE};
    assert_int_equal(extended_read_names(&frame, (const uint8_t *) "Sname\0", 6, &names),
                     EXTENDED_BROKEN);
}

static void test_longest_name(void **state UNUSED)
{
    struct extended_names names;
    char body[EXTENDED_NAME_MAX + 100];
    memset(body, 'n', sizeof(body));
    body[EXTENDED_NAME_MAX] = '\0';
    assert_int_equal(read_cut('P', body, sizeof(body), sizeof(body), &names), EXTENDED_NAMES);
    assert_int_equal(names.statement_size, EXTENDED_NAME_MAX);
    body[EXTENDED_NAME_MAX] = 'n';
    /* Broken as soon as it is certain, not before. */
    assert_int_equal(read_cut('P', body, 1 << 20, EXTENDED_NAME_MAX, &names), EXTENDED_MORE);
    assert_int_equal(read_cut('P', body, 1 << 20, EXTENDED_NAME_MAX + 1, &names), EXTENDED_BROKEN);
    body[EXTENDED_NAME_MAX + 1] = '\0'; /* that its end is in sight does not help */
    assert_int_equal(read_cut('P', body, sizeof(body), sizeof(body), &names), EXTENDED_BROKEN);
    body[0] = '\0';
    body[EXTENDED_NAME_MAX + 1] = 'n';
    assert_int_equal(read_cut('B', body, 1 << 20, EXTENDED_NAME_MAX + 1, &names), EXTENDED_MORE);
    assert_int_equal(read_cut('B', body, 1 << 20, EXTENDED_NAME_MAX + 2, &names), EXTENDED_BROKEN);
}

/* Four gigabytes are announced: the sums must not wrap. */
static void test_largest_message(void **state UNUSED)
{
    struct frame frame = {.type = 'B', .size = (uint64_t) UINT32_MAX + 1};
    struct extended_names names;
    assert_int_equal(extended_read_names(&frame, (const uint8_t *) "p\0s\0", 4, &names),
                     EXTENDED_NAMES);
    assert_int_equal(names.rest, 4);
    assert_int_equal(extended_read_names(&frame, (const uint8_t *) "p\0s", 3, &names),
                     EXTENDED_MORE);
}

#define IS_STATEMENT(literal) \
    extended_is_statement((const uint8_t *) (literal), sizeof(literal) - 1)

static void test_statements(void **state UNUSED)
{
    assert_true(IS_STATEMENT("\0\0\0"));
    assert_true(IS_STATEMENT("SELECT 1\0\0\0"));
    assert_true(IS_STATEMENT("SELECT $1\0\0\1\0\0\0\x17"));
    assert_true(IS_STATEMENT("SELECT $1\0\0\2\0\0\0\x17\0\0\0\x19"));
    assert_false(IS_STATEMENT(""));
    assert_false(IS_STATEMENT("SELECT 1"));
    assert_false(IS_STATEMENT("SELECT 1\0"));
    assert_false(IS_STATEMENT("SELECT 1\0\0"));
    assert_false(IS_STATEMENT("SELECT 1\0\0\0\0"));
    assert_false(IS_STATEMENT("SELECT $1\0\0\1\0\0\0"));
    assert_false(IS_STATEMENT("SELECT $1\0\0\1\0\0\0\x17\0"));
    assert_false(IS_STATEMENT("SELECT 1\0\xff\xff"));
    assert_false(IS_STATEMENT("SELECT 1\0\x80\0\0\0\0\0"));
}

static void test_most_parameters(void **state UNUSED)
{
    size_t size = 1 + 2 + 65535 * 4;
    uint8_t *body = calloc(size + 4, 1);
    body[1] = body[2] = 0xff;
    assert_true(extended_is_statement(body, size));
    assert_false(extended_is_statement(body, size - 1));
    assert_false(extended_is_statement(body, size + 4));
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_bind),
        cmocka_unit_test(test_describe_and_close),
        cmocka_unit_test(test_what_is_broken),
        cmocka_unit_test(test_the_next_message_is_not_read),
        cmocka_unit_test(test_longest_name),
        cmocka_unit_test(test_largest_message),
        cmocka_unit_test(test_statements),
        cmocka_unit_test(test_most_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
