/*
 * buffer_test.c - a growable run of bytes.
 *
 * SPDX-License-Identifier: ISC
 */
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

#include "base/compiler.h"

static size_t freed_size; /* of the memory that is freed next; 0: do not look */
static uint8_t freed[256];

/* What is given back, as it is then. */
static void seen_free(void *memory)
{
    if (memory != NULL && freed_size > 0)
        memcpy(freed, memory, freed_size);
    freed_size = 0;
    free(memory);
}

#define free seen_free
#include "../../../src/base/buffer.c"
#undef free

static void test_zeroed_struct_is_empty_and_may_be_released(void **state UNUSED)
{
    struct buffer buffer = {0};
    buffer_release(&buffer);
    buffer_wipe(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.size, 0);
}

static void test_append_of_nothing_changes_nothing(void **state UNUSED)
{
    struct buffer buffer = {0};
    buffer_append(&buffer, NULL, 0);
    assert_int_equal(buffer.size, 0);
    assert_null(buffer.data);
}

static void test_append_keeps_the_order(void **state UNUSED)
{
    struct buffer buffer = {0};
    buffer_append(&buffer, "abc", 3);
    buffer_append(&buffer, "\0d", 2);
    assert_int_equal(buffer.size, 5);
    assert_memory_equal(buffer.data, "abc\0d", 5);
    buffer_release(&buffer);
}

static void test_growth_keeps_every_byte(void **state UNUSED)
{
    struct buffer buffer = {0};
    for (unsigned i = 0; i < 5000; i++) {
        uint8_t byte = (uint8_t) (i * 7);
        buffer_append(&buffer, &byte, 1);
        assert_true(buffer.capacity >= buffer.size);
    }
    assert_int_equal(buffer.size, 5000);
    for (unsigned i = 0; i < 5000; i++)
        assert_int_equal(buffer.data[i], (uint8_t) (i * 7));
    buffer_release(&buffer);
}

/* A password that comes in pieces must not stay where its first pieces were. */
static void test_growth_leaves_no_copy_of_a_secret(void **state UNUSED)
{
    static const uint8_t zeros[64];
    struct buffer buffer = {0};
    buffer_append(&buffer, "a secret of a length that fills it, and that is not a power of 2", 64);
    assert_int_equal(buffer.capacity, 64);
    memset(freed, 'x', sizeof(freed));
    freed_size = 64;
    buffer_append(&buffer, "!", 1);
    assert_memory_equal(freed, zeros, 64);
    freed_size = 65;
    buffer_wipe(&buffer);
    assert_memory_equal(freed, zeros, 64);
}

static void test_capacity_grows_by_doubling(void **state UNUSED)
{
    struct buffer buffer = {0};
    unsigned changes = 0;
    size_t capacity = 0;
    for (unsigned i = 0; i < 100000; i++) {
        buffer_append(&buffer, "x", 1);
        changes += buffer.capacity != capacity;
        capacity = buffer.capacity;
    }
    assert_in_range(changes, 1, 20);
    buffer_release(&buffer);
}

static void test_extend_of_nothing_still_gives_a_place(void **state UNUSED)
{
    struct buffer buffer = {0};
    uint8_t *start = buffer_extend(&buffer, 0);
    assert_non_null(start);
    assert_ptr_equal(start, buffer.data);
    assert_int_equal(buffer.size, 0);
    buffer_release(&buffer);
}

static void test_extend_gives_the_end(void **state UNUSED)
{
    struct buffer buffer = {0};
    buffer_append(&buffer, "head", 4);
    uint8_t *start = buffer_extend(&buffer, 10000);
    assert_ptr_equal(start, buffer.data + 4);
    assert_int_equal(buffer.size, 10004);
    memset(start, 'z', 10000); /* AddressSanitizer looks whether it is all ours */
    assert_memory_equal(buffer.data, "headz", 5);
    buffer_release(&buffer);
}

static void test_extend_at_the_very_capacity_does_not_grow(void **state UNUSED)
{
    struct buffer buffer = {0};
    buffer_append(&buffer, "x", 1);
    size_t capacity = buffer.capacity;
    memset(buffer_extend(&buffer, capacity - 1), 'y', capacity - 1);
    assert_int_equal(buffer.size, capacity);
    assert_int_equal(buffer.capacity, capacity);
    buffer_append(&buffer, "z", 1);
    assert_true(buffer.capacity > capacity);
    buffer_release(&buffer);
}

static void test_consume_moves_the_rest_to_the_front(void **state UNUSED)
{
    struct buffer buffer = {0};
    buffer_append(&buffer, "abcdef", 6);
    buffer_consume(&buffer, 0);
    assert_int_equal(buffer.size, 6);
    buffer_consume(&buffer, 2);
    assert_int_equal(buffer.size, 4);
    assert_memory_equal(buffer.data, "cdef", 4);
    buffer_consume(&buffer, 3);
    assert_memory_equal(buffer.data, "f", 1);
    buffer_release(&buffer);
}

static void test_consume_of_all_or_more_empties(void **state UNUSED)
{
    struct buffer buffer = {0};
    buffer_consume(&buffer, 5); /* of a buffer without memory */
    assert_int_equal(buffer.size, 0);
    buffer_append(&buffer, "abc", 3);
    buffer_consume(&buffer, 3);
    assert_int_equal(buffer.size, 0);
    buffer_append(&buffer, "abc", 3);
    buffer_consume(&buffer, SIZE_MAX);
    assert_int_equal(buffer.size, 0);
    buffer_append(&buffer, "de", 2);
    assert_memory_equal(buffer.data, "de", 2);
    buffer_release(&buffer);
}

static void test_release_leaves_a_usable_buffer(void **state UNUSED)
{
    struct buffer buffer = {0};
    buffer_append(&buffer, "abc", 3);
    buffer_release(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.size, 0);
    assert_int_equal(buffer.capacity, 0);
    buffer_append(&buffer, "d", 1);
    assert_memory_equal(buffer.data, "d", 1);
    buffer_wipe(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.capacity, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeroed_struct_is_empty_and_may_be_released),
        cmocka_unit_test(test_append_of_nothing_changes_nothing),
        cmocka_unit_test(test_append_keeps_the_order),
        cmocka_unit_test(test_growth_keeps_every_byte),
        cmocka_unit_test(test_growth_leaves_no_copy_of_a_secret),
        cmocka_unit_test(test_capacity_grows_by_doubling),
        cmocka_unit_test(test_extend_of_nothing_still_gives_a_place),
        cmocka_unit_test(test_extend_gives_the_end),
        cmocka_unit_test(test_extend_at_the_very_capacity_does_not_grow),
        cmocka_unit_test(test_consume_moves_the_rest_to_the_front),
        cmocka_unit_test(test_consume_of_all_or_more_empties),
        cmocka_unit_test(test_release_leaves_a_usable_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
