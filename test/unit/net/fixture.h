/*
 * fixture.h - what the unit tests of this room share: a loop that runs until something is true, and
 * sockets on the loopback interface.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_TEST_NET_FIXTURE_H
#define PGWEIR_TEST_NET_FIXTURE_H

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/address.h"
#include "net/deadline.h"
#include "net/loop.h"

#define PATIENCE_US (20 * USEC_PER_SEC)

struct watch {
    struct loop *loop;
    bool (*condition)(void *argument);
    void *argument;
    usec_t end_us;
    bool is_met;
};

UNUSED static void watch_tick(evutil_socket_t fd UNUSED, short what UNUSED, void *argument)
{
    struct watch *watch = argument;
    watch->is_met = watch->condition(watch->argument);
    if (watch->is_met || clock_now_us() >= watch->end_us)
        loop_stop(watch->loop);
}

/* Runs the loop until the condition holds. Returns false when the time is up. */
UNUSED static bool run_until_or(struct loop *loop, usec_t limit_us,
                                bool (*condition)(void *argument), void *argument)
{
    clock_new_turn();
    struct watch watch = {.loop = loop,
                          .condition = condition,
                          .argument = argument,
                          .end_us = clock_now_us() + limit_us};
    struct timeval period = {.tv_usec = 1000};
    struct event *tick = event_new(loop->base, -1, EV_PERSIST, watch_tick, &watch);
    event_add(tick, &period);
    loop->stopping = false;
    loop_run(loop);
    event_free(tick);
    return watch.is_met;
}

UNUSED static bool flag_is_set(void *argument)
{
    return *(const bool *) argument;
}

UNUSED static bool never(void *argument UNUSED)
{
    return false;
}

#define run_until(loop, condition, argument) \
    assert_true(run_until_or((loop), PATIENCE_US, (condition), (argument)))

/* Lets the loop turn for a while, for what must not happen. */
UNUSED static void run_for(struct loop *loop, usec_t duration_us)
{
    run_until_or(loop, duration_us, never, NULL);
}

UNUSED static bool fd_is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* A TCP listener on 127.0.0.1 with a port of the system's choice. */
UNUSED static int listen_on_loopback(struct address *ret_address)
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof(bound);
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *) &target, sizeof(target)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *) &bound, &size), 0);
    *ret_address = address_from_socket((const struct sockaddr *) &bound);
    return fd;
}

/* A connected TCP pair: [0] non-blocking, for us; [1] blocking, for the peer. */
UNUSED static void make_tcp_pair(int ret_fds[2])
{
    struct address address;
    struct sockaddr_storage target;
    int listening = listen_on_loopback(&address);
    socklen_t size = address_to_socket(&address, &target);
    ret_fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(ret_fds[1], (const struct sockaddr *) &target, size), 0);
    ret_fds[0] = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(ret_fds[0] >= 0);
    close(listening);
}

/* The same over a Unix socket. */
UNUSED static void make_unix_pair(int ret_fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds), 0);
    assert_int_equal(fcntl(ret_fds[0], F_SETFL, O_NONBLOCK), 0);
}

#endif
