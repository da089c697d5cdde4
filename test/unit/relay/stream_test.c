/*
 * stream_test.c - bytes that pass, are left out and put in, and the sends that they leave in.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/stream.h"

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

static struct {
    struct loop loop;
    struct connection connection;
    struct buffer sent;
    unsigned sends;
    unsigned sends_left; /* before the peer is gone */
} stage;

/* A stand-in for the socket. */
bool connection_send(struct connection *connection, const void *bytes, size_t size)
{
    assert_ptr_equal(connection, &stage.connection);
    assert_true(size > 0);
    if (stage.sends_left == 0)
        return false;
    stage.sends_left--;
    stage.sends++;
    buffer_append(&stage.sent, bytes, size);
    return true;
}

static int set_up(void **state UNUSED)
{
    stage.loop.write_memory = malloc(LOOP_WRITE_SIZE);
    stage.connection.loop = &stage.loop;
    stage.sends = 0;
    stage.sends_left = UINT32_MAX;
    return 0;
}

static int tear_down(void **state UNUSED)
{
    free(stage.loop.write_memory);
    buffer_release(&stage.sent);
    return 0;
}

static struct stream stream_of(const void *bytes, size_t size)
{
    const uint8_t *start = bytes;
    return (struct stream){
        .to = &stage.connection, .position = start, .end = start + size, .run = start};
}

static void assert_sent(const void *bytes, size_t size)
{
    assert_int_equal(stage.sent.size, size);
    assert_memory_equal(stage.sent.data, bytes, size);
}

static void test_what_passes_leaves_in_one_send(void **state UNUSED)
{
    struct stream stream = stream_of("one two three", 13);
    assert_true(stream_is_flushed(&stream));
    stream.position += 4;
    assert_false(stream_is_flushed(&stream));
    stream.position += 4;
    assert_true(stream_flush(&stream));
    assert_sent("one two ", 8);
    assert_int_equal(stage.sends, 1);
    assert_true(stream_is_flushed(&stream));
    assert_true(stream_flush(&stream)); /* nothing to send: nothing is */
    assert_int_equal(stage.sends, 1);
    stream.position = stream.end;
    assert_true(stream_flush(&stream));
    assert_sent("one two three", 13);
}

static void test_put_in_and_left_out(void **state UNUSED)
{
    struct stream stream = stream_of("one two three", 13);
    assert_true(stream_insert(&stream, "<", 1));
    stream.position += 4;
    assert_true(stream_leave_out(&stream, 4));
    assert_true(stream_insert(&stream, "2 ", 2));
    stream.position += 5;
    assert_true(stream_insert(&stream, ">", 1));
    assert_int_equal(stage.sends, 0);
    assert_true(stream_flush(&stream));
    assert_sent("<one 2 three>", 13);
    assert_int_equal(stage.sends, 1);
}

/* What is left out at either end copies nothing. */
static void test_left_out_alone(void **state UNUSED)
{
    struct stream stream = stream_of("one two three", 13);
    assert_true(stream_leave_out(&stream, 4));
    assert_true(stream_is_flushed(&stream));
    stream.position += 4;
    assert_true(stream_flush(&stream));
    assert_sent("two ", 4);
    assert_true(stream_leave_out(&stream, 5));
    assert_true(stream_is_flushed(&stream));
    assert_ptr_equal(stream.position, stream.end);
    assert_int_equal(stage.sends, 1);
}

/* As long as there is nobody to send to, bytes may be left out. */
static void test_left_out_without_a_peer(void **state UNUSED)
{
    struct stream stream = stream_of("one two", 7);
    stream.to = NULL;
    assert_true(stream_leave_out(&stream, 4));
    stream.to = &stage.connection;
    stream.position += 3;
    assert_true(stream_flush(&stream));
    assert_sent("two", 3);
}

/* Pieces of all sizes around the limits of the buffer stay in order. */
static void test_large_pieces(void **state UNUSED)
{
    static const size_t sizes[] = {1,
                                   LOOP_WRITE_SIZE / 4 - 1,
                                   LOOP_WRITE_SIZE / 4,
                                   LOOP_WRITE_SIZE / 4 + 1,
                                   LOOP_WRITE_SIZE - 1,
                                   LOOP_WRITE_SIZE,
                                   LOOP_WRITE_SIZE + 1,
                                   3 * LOOP_WRITE_SIZE};
    size_t count = countof(sizes), total = 0;
    uint8_t *bytes = malloc(4 * LOOP_WRITE_SIZE);
    for (size_t i = 0; i < 4 * LOOP_WRITE_SIZE; i++)
        bytes[i] = (uint8_t) (i * 7 + i / 251);
    for (size_t a = 0; a < count; a++)
        for (size_t b = 0; b < count; b++)
            for (size_t c = 0; c < count; c++) {
                struct stream stream = stream_of(bytes, sizes[b]);
                buffer_release(&stage.sent);
                assert_true(stream_insert(&stream, bytes, sizes[a]));
                stream.position = stream.end;
                assert_true(stream_insert(&stream, bytes, sizes[c]));
                assert_true(stream_flush(&stream));
                assert_int_equal(stage.sent.size, sizes[a] + sizes[b] + sizes[c]);
                assert_memory_equal(stage.sent.data, bytes, sizes[a]);
                assert_memory_equal(stage.sent.data + sizes[a], bytes, sizes[b]);
                assert_memory_equal(stage.sent.data + sizes[a] + sizes[b], bytes, sizes[c]);
                total++;
            }
    assert_int_equal(total, count * count * count);
    free(bytes);
}

/* More than the buffer holds: full buffers leave, and few of them. */
static void test_many_small_pieces(void **state UNUSED)
{
    enum { COUNT = 50000 };
    struct buffer passing = {0}, expected = {0};
    for (int i = 0; i < COUNT; i++) {
        buffer_append(&passing, "run-", 4);
        buffer_append(&expected, "pieceru-", 8);
    }
    struct stream stream = stream_of(passing.data, passing.size);
    for (int i = 0; i < COUNT; i++) {
        assert_true(stream_insert(&stream, "piece", 5));
        stream.position += 2;
        assert_true(stream_leave_out(&stream, 1));
        stream.position += 1;
    }
    assert_true(stream_flush(&stream));
    assert_sent(expected.data, expected.size);
    assert_in_range(stage.sends, 1, expected.size / (LOOP_WRITE_SIZE - 8) + 1);
    buffer_release(&passing);
    buffer_release(&expected);
}

static void test_a_peer_that_is_gone(void **state UNUSED)
{
    uint8_t *bytes = calloc(1, LOOP_WRITE_SIZE);
    for (unsigned sends = 0; sends < 3; sends++) {
        struct stream stream = stream_of(bytes, LOOP_WRITE_SIZE);
        stage.sends_left = sends;
        bool good = stream_insert(&stream, "small", 5);
        assert_true(good); /* it is only gathered */
        stream.position = stream.end;
        good = stream_insert(&stream, bytes, LOOP_WRITE_SIZE); /* three sends */
        assert_int_equal(good, false);
        assert_int_equal(stage.sends_left, 0);
    }
    struct stream stream = stream_of(bytes, 10);
    stream.position += 5;
    assert_false(stream_flush(&stream));
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_passes_leaves_in_one_send, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_put_in_and_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_left_out_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_left_out_without_a_peer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_small_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_peer_that_is_gone, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
