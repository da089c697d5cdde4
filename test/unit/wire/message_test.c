/*
 * message_test.c - builds protocol messages and reads the fields of a body.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/message.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

/* Compares with the literal (without its last zero) and releases. */
#define expect_bytes(buffer, literal)                                      \
    do {                                                                   \
        assert_int_equal((buffer)->size, sizeof(literal) - 1);             \
        assert_memory_equal((buffer)->data, literal, sizeof(literal) - 1); \
        buffer_release(buffer);                                            \
    } while (0)

static void test_lengths_are_filled_in(void **state UNUSED)
{
    struct buffer out = {0};
    buffer_append(&out, "before", 6);
    size_t mark = message_begin(&out, 'B');
    message_add_byte(&out, 0xfe);
    message_add_int16(&out, 0x0102);
    message_add_int32(&out, 0x03040506);
    message_add_text(&out, "text");
    message_add_text(&out, "");
    message_add_bytes(&out, "\0x", 2);
    message_add_bytes(&out, NULL, 0);
    message_end(&out, mark);
    expect_bytes(&out, "before"
                       "B\0\0\0\x13\xfe\x01\x02\x03\x04\x05\x06"
                       "text\0\0\0x");
}

static void test_untyped_packets_have_a_length_only(void **state UNUSED)
{
    struct buffer out = {0};
    size_t mark = message_begin_untyped(&out);
    message_add_int32(&out, 80877103);
    message_end(&out, mark);
    expect_bytes(&out, "\0\0\0\x08\x04\xd2\x16\x2f");
}

static void test_message_of_many_kilobytes(void **state UNUSED)
{
    struct buffer out = {0};
    size_t mark = message_begin(&out, 'd');
    for (unsigned i = 0; i < 70000; i++)
        message_add_byte(&out, 'x');
    message_end(&out, mark);
    assert_memory_equal(out.data, "d\x00\x01\x11\x74x", 6);
    assert_int_equal(out.size, 70005);
    buffer_release(&out);
}

static void test_whole_messages(void **state UNUSED)
{
    struct buffer out = {0};
    message_write_query(&out, "SELECT 1");
    expect_bytes(&out, "Q\0\0\0\x0dSELECT 1\0");
    message_write_query(&out, "");
    expect_bytes(&out, "Q\0\0\0\x05\0");
    message_write_parameter_status(&out, "TimeZone", "UTC");
    expect_bytes(&out, "S\0\0\0\x11TimeZone\0UTC\0");
    message_write_ready_for_query(&out, 'T');
    expect_bytes(&out, "Z\0\0\0\x05T");
    message_write_command_complete(&out, "SHOW");
    expect_bytes(&out, "C\0\0\0\x09SHOW\0");
    message_write_backend_key(&out, (const uint8_t *) "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    expect_bytes(&out, "K\0\0\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08");
    message_write_terminate(&out);
    expect_bytes(&out, "X\0\0\0\x04");
    message_write_authentication(&out, 0, NULL, 0);
    expect_bytes(&out, "R\0\0\0\x08\0\0\0\0");
    message_write_authentication(&out, 5, "salt", 4);
    expect_bytes(&out, "R\0\0\0\x0c\0\0\0\x05salt");
}

static void test_reader_walks_the_fields(void **state UNUSED)
{
    static const char body[] = "\xfe\x01\x02\x03\x04\x05\x06name\0\0raw";
    struct message_reader reader = message_reader_of(body, sizeof(body) - 1);
    assert_int_equal(message_read_byte(&reader), 0xfe);
    assert_int_equal(message_read_int16(&reader), 0x0102);
    assert_int_equal(message_read_int32(&reader), 0x03040506);
    assert_string_equal(message_read_text(&reader), "name");
    assert_string_equal(message_read_text(&reader), "");
    assert_int_equal(message_bytes_left(&reader), 3);
    assert_memory_equal(message_read_bytes(&reader, 3), "raw", 3);
    assert_false(reader.broken);
    assert_int_equal(message_bytes_left(&reader), 0);
}

static void test_reading_nothing_is_no_mistake(void **state UNUSED)
{
    struct message_reader reader = message_reader_of("", 0);
    assert_non_null(message_read_bytes(&reader, 0));
    assert_false(reader.broken);
}

/* Each read at the end of a body of `size` bytes, which is one too few for it. */
static void test_reads_beyond_the_end_give_zeros(void **state UNUSED)
{
    for (unsigned kind = 0; kind < 5; kind++) {
        static const size_t one_too_few[] = {0, 1, 3, 6, 3};
        struct message_reader reader =
            message_reader_of("\x01\x01\x01\x01\x01\x01", one_too_few[kind]);
        if (kind == 0)
            assert_int_equal(message_read_byte(&reader), 0);
        else if (kind == 1)
            assert_int_equal(message_read_int16(&reader), 0);
        else if (kind == 2)
            assert_int_equal(message_read_int32(&reader), 0);
        else if (kind == 3)
            assert_null(message_read_bytes(&reader, 7));
        else
            assert_string_equal(message_read_text(&reader), "");
        assert_true(reader.broken);
        assert_int_equal(message_bytes_left(&reader), 0);
    }
}

static void test_broken_reader_stays_broken(void **state UNUSED)
{
    struct message_reader reader = message_reader_of("abc", 3);
    assert_int_equal(message_read_int32(&reader), 0);
    assert_int_equal(message_read_byte(&reader), 0);
    assert_string_equal(message_read_text(&reader), "");
    assert_null(message_read_bytes(&reader, 1));
    assert_true(reader.broken);
}

static void test_sizes_from_the_wire_do_not_wrap(void **state UNUSED)
{
    struct message_reader reader = message_reader_of("abc", 3);
    assert_null(message_read_bytes(&reader, SIZE_MAX));
    assert_true(reader.broken);
}

static void test_text_ends_inside_the_body(void **state UNUSED)
{
    static const char beyond[] = "ab\0cd";
    struct message_reader reader = message_reader_of(beyond, 2);
    assert_string_equal(message_read_text(&reader), "");
    assert_true(reader.broken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_are_filled_in),
        cmocka_unit_test(test_untyped_packets_have_a_length_only),
        cmocka_unit_test(test_message_of_many_kilobytes),
        cmocka_unit_test(test_whole_messages),
        cmocka_unit_test(test_reader_walks_the_fields),
        cmocka_unit_test(test_reading_nothing_is_no_mistake),
        cmocka_unit_test(test_reads_beyond_the_end_give_zeros),
        cmocka_unit_test(test_broken_reader_stays_broken),
        cmocka_unit_test(test_sizes_from_the_wire_do_not_wrap),
        cmocka_unit_test(test_text_ends_inside_the_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
