/*
 * collector_test.c - gathers whole messages from a stream.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/collector.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

#define LIMIT 100

static const uint8_t two_messages[] = "Q\0\0\0\x08one\0S\0\0\0\x04";
#define FIRST_SIZE 9
#define BOTH_SIZE  14

static void expect_first(const struct collected_message *message)
{
    assert_int_equal(message->type, 'Q');
    assert_int_equal(message->size, 4);
    assert_string_equal((const char *) message->body, "one");
}

static void test_zeroed_struct_is_empty_and_may_be_released(void **state UNUSED)
{
    struct collector collector = {0};
    struct collected_message message;
    size_t size = 4711;
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MORE);
    assert_null(collector_rest(&collector, &size));
    assert_int_equal(size, 0);
    collector_release(&collector);
}

static void test_messages_come_out_in_order(void **state UNUSED)
{
    struct collector collector = {0};
    struct collected_message message;
    collector_feed(&collector, two_messages, BOTH_SIZE);
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MESSAGE);
    expect_first(&message);
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MESSAGE);
    assert_int_equal(message.type, 'S');
    assert_int_equal(message.size, 0);
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MORE);
    collector_release(&collector);
}

static void test_message_cut_at_every_byte_is_the_same(void **state UNUSED)
{
    for (size_t cut = 0; cut < FIRST_SIZE; cut++) {
        struct collector collector = {0};
        struct collected_message message;
        collector_feed(&collector, two_messages, cut);
        assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MORE);
        collector_feed(&collector, two_messages + cut, FIRST_SIZE - cut);
        assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MESSAGE);
        expect_first(&message);
        collector_release(&collector);
    }
}

static void test_body_lives_until_the_next_call(void **state UNUSED)
{
    struct collector collector = {0};
    struct collected_message message;
    collector_feed(&collector, two_messages, BOTH_SIZE);
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MESSAGE);
    expect_first(&message);
    collector_feed(&collector, two_messages, BOTH_SIZE);
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MESSAGE);
    assert_int_equal(message.type, 'S');
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MESSAGE);
    expect_first(&message);
    collector_release(&collector);
}

/* No length takes memory: the header alone decides. */
static void test_bad_lengths_are_told_from_the_header(void **state UNUSED)
{
    static const struct {
        const char *header;
        enum collect_result result;
    } cases[] = {
        {"p\0\0\0\0", COLLECT_BROKEN},
        {"p\0\0\0\x01", COLLECT_BROKEN},
        {"R\0\0\0\x03", COLLECT_BROKEN},
        {"p\0\0\0\x63", COLLECT_MORE}, /* the limit counts the type byte */
        {"p\0\0\0\x64", COLLECT_TOO_LARGE},
        {"p\x7f\xff\xff\xf0", COLLECT_TOO_LARGE},
        {"p\x80\0\0\0", COLLECT_TOO_LARGE},
        {"R\xff\xff\xff\xfb", COLLECT_TOO_LARGE},
        {"p\xff\xff\xff\xff", COLLECT_TOO_LARGE},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct collector collector = {0};
        struct collected_message message;
        collector_feed(&collector, cases[i].header, 4);
        assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MORE);
        collector_feed(&collector, cases[i].header + 4, 1);
        assert_int_equal(collector_next(&collector, LIMIT, &message), cases[i].result);
        collector_release(&collector);
    }
}

static void test_untyped_packets_are_read_from_the_rest(void **state UNUSED)
{
    struct collector collector = {0};
    struct collected_message message;
    size_t size;
    collector_feed(&collector, "\0\0\0\x08SSLX", 8);
    collector_feed(&collector, two_messages, BOTH_SIZE);
    collector_skip(&collector, 8);
    assert_memory_equal(collector_rest(&collector, &size), two_messages, BOTH_SIZE);
    assert_int_equal(size, BOTH_SIZE);
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MESSAGE);
    assert_memory_equal(collector_rest(&collector, &size), "S\0\0\0\x04", 5);
    assert_int_equal(size, 5);
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MESSAGE);
    collector_skip(&collector, 0);
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MORE);
    collector_release(&collector);
}

static void test_packet_is_taken_out(void **state UNUSED)
{
    struct collector collector = {0};
    size_t size;
    collector_feed(&collector, "firstsecond", 11);
    struct buffer first = collector_take(&collector, 5);
    struct buffer second = collector_take(&collector, 6);
    struct buffer nothing = collector_take(&collector, 0);
    (void) collector_rest(&collector, &size);
    assert_int_equal(size, 0);
    collector_feed(&collector, "third", 5); /* does not touch what was taken */
    collector_release(&collector);
    assert_int_equal(first.size, 5);
    assert_memory_equal(first.data, "first", 5);
    assert_int_equal(second.size, 6);
    assert_memory_equal(second.data, "second", 6);
    assert_int_equal(nothing.size, 0);
    buffer_release(&first);
    buffer_release(&second);
    buffer_release(&nothing);
}

static void test_released_collector_is_usable(void **state UNUSED)
{
    struct collector collector = {0};
    struct collected_message message;
    collector_feed(&collector, two_messages, BOTH_SIZE);
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MESSAGE);
    collector_release(&collector);
    collector_feed(&collector, two_messages, BOTH_SIZE);
    assert_int_equal(collector_next(&collector, LIMIT, &message), COLLECT_MESSAGE);
    expect_first(&message);
    collector_release(&collector);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeroed_struct_is_empty_and_may_be_released),
        cmocka_unit_test(test_messages_come_out_in_order),
        cmocka_unit_test(test_message_cut_at_every_byte_is_the_same),
        cmocka_unit_test(test_body_lives_until_the_next_call),
        cmocka_unit_test(test_bad_lengths_are_told_from_the_header),
        cmocka_unit_test(test_untyped_packets_are_read_from_the_rest),
        cmocka_unit_test(test_packet_is_taken_out),
        cmocka_unit_test(test_released_collector_is_usable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
