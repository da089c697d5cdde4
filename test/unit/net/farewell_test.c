/*
 * farewell_test.c - the peer reads our last words, and no socket lingers for long.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/farewell.h"

#include <errno.h>
#include <sys/resource.h>

#include "fixture.h"

#define LOT       (16U * 1024 * 1024)
#define CROWD     1001 /* one more than may linger */
#define LAST      "server is going down"
#define LAST_SIZE (sizeof(LAST) - 1)

static void ignore(struct connection *connection UNUSED)
{
}

static void ignore_connect(struct connection *connection UNUSED, int error UNUSED)
{
}

static const struct connection_ops ops = {.connected = ignore_connect,
                                          .readable = ignore,
                                          .drained = ignore,
                                          .broken = ignore};

struct stage {
    struct loop *loop;
    struct connection connection;
    int fd;   /* that of the connection */
    int peer; /* blocking */
};

static void accept_pair(struct stage *stage, const int fds[2])
{
    struct address peer = {.family = AF_UNIX, .port = 6432};
    stage->fd = fds[0];
    stage->peer = fds[1];
    connection_accept(&stage->connection, stage->loop, &ops, fds[0], &peer);
}

static struct stage *new_stage(void **state)
{
    static struct stage stage;
    memset(&stage, 0, sizeof(stage));
    stage.loop = loop_create();
    *state = &stage;
    return &stage;
}

static int set_up_tcp(void **state)
{
    int fds[2];
    make_tcp_pair(fds);
    accept_pair(new_stage(state), fds);
    return 0;
}

static int set_up_unix(void **state)
{
    int fds[2];
    make_unix_pair(fds);
    accept_pair(new_stage(state), fds);
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    connection_close(&stage->connection);
    if (stage->peer >= 0)
        close(stage->peer);
    farewell_close_all(stage->loop);
    loop_destroy(stage->loop);
    return 0;
}

static bool is_closed(void *argument)
{
    return !fd_is_open(*(const int *) argument);
}

static void close_peer(struct stage *stage)
{
    close(stage->peer);
    stage->peer = -1;
}

/* Reads to the end; returns the number of bytes, or -1 after an error such as a reset. */
static ssize_t read_all(int fd, char *ret_tail, size_t tail_size)
{
    static char bytes[65536];
    ssize_t total = 0, size;
    while ((size = read(fd, bytes, sizeof(bytes))) > 0) {
        total += size;
        if ((size_t) size >= tail_size)
            memcpy(ret_tail, bytes + (size_t) size - tail_size, tail_size);
    }
    return size < 0 ? -1 : total;
}

/* The case that the module exists for: unread input must not turn our close into a reset. */
static void test_last_words_arrive_in_spite_of_unread_input(void **state)
{
    struct stage *stage = *state;
    char tail[LAST_SIZE];
    static const char noise[32768];
    assert_int_equal(write(stage->peer, noise, sizeof(noise)), sizeof(noise));
    run_for(stage->loop, 10 * USEC_PER_MSEC);
    farewell(&stage->connection, LAST, LAST_SIZE);
    assert_false(connection_is_open(&stage->connection));
    assert_true(fd_is_open(stage->fd));
    run_for(stage->loop, 10 * USEC_PER_MSEC);
    /* A peer that is still talking. */
    assert_int_equal(send(stage->peer, noise, sizeof(noise), MSG_NOSIGNAL), sizeof(noise));
    run_for(stage->loop, 10 * USEC_PER_MSEC);
    assert_int_equal(read_all(stage->peer, tail, sizeof(tail)), LAST_SIZE);
    assert_memory_equal(tail, LAST, LAST_SIZE);
    close_peer(stage);
    run_until(stage->loop, is_closed, &stage->fd);
}

static void test_without_words(void **state)
{
    struct stage *stage = *state;
    char tail[1];
    farewell(&stage->connection, NULL, 0);
    assert_int_equal(read_all(stage->peer, tail, sizeof(tail)), 0);
    close_peer(stage);
    run_until(stage->loop, is_closed, &stage->fd);
}

static void test_peer_that_never_closes_is_left_in_time(void **state)
{
    struct stage *stage = *state;
    clock_new_turn();
    usec_t start_us = clock_now_us();
    farewell(&stage->connection, LAST, LAST_SIZE);
    run_for(stage->loop, 200 * USEC_PER_MSEC);
    assert_true(fd_is_open(stage->fd) || clock_now_us() - start_us >= USEC_PER_SEC);
    run_until(stage->loop, is_closed, &stage->fd);
}

static void test_peer_that_has_closed_is_not_waited_for(void **state)
{
    struct stage *stage = *state;
    assert_int_equal(write(stage->peer, "xyz", 3), 3);
    shutdown(stage->peer, SHUT_WR);
    run_for(stage->loop, 20 * USEC_PER_MSEC);
    farewell(&stage->connection, LAST, LAST_SIZE);
    assert_false(fd_is_open(stage->fd));
    char tail[LAST_SIZE];
    assert_int_equal(read_all(stage->peer, tail, sizeof(tail)), LAST_SIZE);
}

static void test_dead_peer(void **state)
{
    struct stage *stage = *state;
    close_peer(stage);
    while (connection_send(&stage->connection, "x", 1))
        usleep(1000);
    farewell(&stage->connection, LAST, LAST_SIZE);
    assert_false(fd_is_open(stage->fd));
    farewell(&stage->connection, LAST, LAST_SIZE); /* nothing left to close */
}

static void fill(struct stage *stage)
{
    uint8_t *lot = calloc(1, LOT);
    assert_true(connection_send(&stage->connection, lot, LOT));
    assert_true(connection_is_congested(&stage->connection));
    free(lot);
}

struct reader {
    int fd;
    size_t received;
    char tail[LAST_SIZE];
    bool is_done;
};

static void on_peer_readable(evutil_socket_t fd, short what UNUSED, void *argument)
{
    struct reader *reader = argument;
    static char bytes[1024 * 1024];
    ssize_t size = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (size > 0) {
        reader->received += (size_t) size;
        if ((size_t) size >= LAST_SIZE)
            memcpy(reader->tail, bytes + (size_t) size - LAST_SIZE, LAST_SIZE);
    } else if (size == 0 || errno != EAGAIN) {
        reader->is_done = true;
    }
}

static void read_slowly_to_the_end(struct stage *stage, struct reader *reader)
{
    struct event *event =
        event_new(stage->loop->base, stage->peer, EV_READ | EV_PERSIST, on_peer_readable, reader);
    event_add(event, NULL);
    run_until(stage->loop, flag_is_set, &reader->is_done);
    event_free(event);
}

static void test_queued_output_goes_first(void **state)
{
    struct stage *stage = *state;
    struct reader reader = {.received = 0};
    fill(stage);
    farewell(&stage->connection, LAST, LAST_SIZE);
    assert_false(connection_is_open(&stage->connection));
    assert_int_equal(connection_queued(&stage->connection), 0);
    read_slowly_to_the_end(stage, &reader);
    assert_int_equal(reader.received, LOT + LAST_SIZE);
    assert_memory_equal(reader.tail, LAST, LAST_SIZE);
    close_peer(stage);
    run_until(stage->loop, is_closed, &stage->fd);
}

/* The peer has said its last word, but still wants ours. */
static void test_queued_output_for_a_peer_that_has_shut_down(void **state)
{
    struct stage *stage = *state;
    struct reader reader = {.received = 0};
    fill(stage);
    shutdown(stage->peer, SHUT_WR);
    farewell(&stage->connection, LAST, LAST_SIZE);
    run_for(stage->loop, 20 * USEC_PER_MSEC);
    read_slowly_to_the_end(stage, &reader);
    assert_int_equal(reader.received, LOT + LAST_SIZE);
    run_until(stage->loop, is_closed, &stage->fd);
}

static void test_peer_dies_with_output_queued(void **state)
{
    struct stage *stage = *state;
    fill(stage);
    farewell(&stage->connection, LAST, LAST_SIZE);
    assert_true(fd_is_open(stage->fd));
    close_peer(stage);
    assert_true(run_until_or(stage->loop, PATIENCE_US, is_closed, &stage->fd));
}

static void test_unfinished_connect_is_just_closed(void **state)
{
    struct stage *stage = *state;
    stage->connection.connecting = true;
    farewell(&stage->connection, LAST, LAST_SIZE);
    assert_false(fd_is_open(stage->fd));
    char tail[1];
    assert_int_equal(read_all(stage->peer, tail, sizeof(tail)), 0);
}

static void test_close_all(void **state)
{
    struct stage *stage = *state;
    farewell(&stage->connection, LAST, LAST_SIZE);
    assert_true(fd_is_open(stage->fd));
    farewell_close_all(stage->loop);
    assert_false(fd_is_open(stage->fd));
    farewell_close_all(stage->loop);
    run_for(stage->loop, 5 * USEC_PER_MSEC);
}

static void test_number_of_lingering_sockets_is_bounded(void **state)
{
    static struct stage crowd[CROWD];
    struct stage *stage = *state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 2 * CROWD + 64)
        skip();
    memset(crowd, 0, sizeof(crowd));
    for (size_t i = 0; i < CROWD; i++) {
        int fds[2];
        make_unix_pair(fds);
        crowd[i].loop = stage->loop;
        accept_pair(&crowd[i], fds);
    }
    for (size_t i = 0; i < CROWD; i++)
        farewell(&crowd[i].connection, LAST, LAST_SIZE);
    assert_false(fd_is_open(crowd[0].fd)); /* the oldest had to go */
    for (size_t i = 1; i < CROWD; i++)
        assert_true(fd_is_open(crowd[i].fd));
    farewell_close_all(stage->loop);
    for (size_t i = 0; i < CROWD; i++)
        close(crowd[i].peer);
}

#define TCP(test)  cmocka_unit_test_setup_teardown(test, set_up_tcp, tear_down)
#define UNIX(test) cmocka_unit_test_setup_teardown(test, set_up_unix, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TCP(test_last_words_arrive_in_spite_of_unread_input),
        UNIX(test_last_words_arrive_in_spite_of_unread_input),
        TCP(test_without_words),
        TCP(test_peer_that_never_closes_is_left_in_time),
        TCP(test_peer_that_has_closed_is_not_waited_for),
        UNIX(test_peer_that_has_closed_is_not_waited_for),
        TCP(test_dead_peer),
        UNIX(test_dead_peer),
        TCP(test_queued_output_goes_first),
        UNIX(test_queued_output_goes_first),
        TCP(test_queued_output_for_a_peer_that_has_shut_down),
        UNIX(test_queued_output_for_a_peer_that_has_shut_down),
        TCP(test_peer_dies_with_output_queued),
        UNIX(test_peer_dies_with_output_queued),
        TCP(test_unfinished_connect_is_just_closed),
        TCP(test_close_all),
        UNIX(test_number_of_lingering_sockets_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
