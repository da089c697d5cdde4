/*
 * frame_test.c - message boundaries in a stream of protocol bytes.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/frame.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "base/compiler.h"

static void test_numbers_are_big_endian_at_any_address(void **state UNUSED)
{
    static const uint8_t bytes[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0xff, 0xfe};
    assert_int_equal(frame_load_uint32(bytes), 0x00010203);
    assert_int_equal(frame_load_uint32(bytes + 1), 0x01020304);
    assert_int_equal(frame_load_uint32(bytes + 3), 0x0304fffe);
    assert_int_equal(frame_load_uint16(bytes + 1), 0x0102);
    assert_int_equal(frame_load_uint16(bytes + 5), 0xfffe);
}

/* The size is the whole message, and 64 bits wide: the largest length does not wrap. */
static void test_headers(void **state UNUSED)
{
    static const struct {
        const char *header;
        uint64_t size;
        bool sound;
    } cases[] = {
        {"Q\0\0\0\x04", 5, true},
        {"Q\0\0\0\x05", 6, true},
        {"Q\0\x01\0\0", 65537, true},
        {"Q\x7f\xff\xff\xff", UINT64_C(0x80000000), true},
        {"Q\x80\0\0\0", UINT64_C(0x80000001), true},
        {"Q\xff\xff\xff\xff", UINT64_C(0x100000000), true},
        {"Q\0\0\0\x03", 4, false},
        {"Q\0\0\0\x01", 2, false},
        {"Q\0\0\0\0", 1, false},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct frame frame;
        assert_int_equal(frame_read_header((const uint8_t *) cases[i].header, &frame),
                         cases[i].sound);
        assert_int_equal(frame.type, 'Q');
        assert_true(frame.size == cases[i].size);
    }
}

static void test_any_byte_may_be_a_type(void **state UNUSED)
{
    for (unsigned type = 0; type < 256; type++) {
        uint8_t header[FRAME_HEADER_SIZE] = {(uint8_t) type, 0, 0, 0, 4};
        struct frame frame;
        assert_true(frame_read_header(header, &frame));
        assert_int_equal(frame.type, type);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_big_endian_at_any_address),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_any_byte_may_be_a_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
