/*
 * farewell.c - closes a connection so that the peer can read our last words.
 *
 * Each lingering socket is an object of this module with an event of its own, level-triggered, as
 * nothing here is urgent. Their number is bounded: whoever makes us refuse many connections at once
 * cannot keep more than LINGERING_MAX descriptors; beyond that the oldest is closed.
 * Does not wait for the delivery of the last words any longer than LINGER_US.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/farewell.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/memory.h"
#include "net/deadline.h"
#include "net/tls.h"

#define LINGER_US     USEC_PER_SEC
#define LINGERING_MAX 1000

/* How much input is thrown away before we take the trouble to linger. */
#define PROBE_SIZE  4096
#define PROBE_READS 4

struct farewell {
    struct loop *loop; /* borrows */
    struct event event;
    struct deadline deadline;
    struct buffer output; /* owns */
    size_t output_sent;
    int fd;                       /* owns */
    bool ended;                   /* the peer has shut down its side */
    struct farewell *next, *prev; /* member of the loop's list */
    struct deferred deferred;
};

struct farewell_list {
    struct farewell *oldest;
    size_t count;
};

static void release(struct deferred *deferred)
{
    free(container_of(deferred, struct farewell, deferred));
}

static void finish(struct farewell *self)
{
    struct farewell_list *list = self->loop->farewells;
    event_del(&self->event);
    close(self->fd);
    buffer_release(&self->output);
    deadline_clear(&self->deadline);
    DL_DELETE(list->oldest, self);
    list->count--;
    loop_free_later(self->loop, &self->deferred, release);
}

static void on_deadline(struct deadline *deadline)
{
    finish(container_of(deadline, struct farewell, deadline));
}

static bool has_output(const struct farewell *self)
{
    return self->output_sent < self->output.size;
}

/* Returns false if the peer is gone. */
static bool send_output(struct farewell *self)
{
    while (has_output(self)) {
        ssize_t sent = send(self->fd, self->output.data + self->output_sent,
                            self->output.size - self->output_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN;
        self->output_sent += (size_t) sent;
    }
    buffer_release(&self->output);
    self->output_sent = 0;
    return shutdown(self->fd, SHUT_WR) == 0;
}

/* One read is enough for one turn: the event comes again. Returns false if the peer is gone. */
static bool discard_input(struct farewell *self)
{
    ssize_t received = recv(self->fd, loop_read_buffer(self->loop), LOOP_READ_SIZE, 0);
    if (received == 0)
        self->ended = true;
    return received >= 0 || errno == EAGAIN || errno == EINTR;
}

static void on_event(evutil_socket_t fd, short what, void *argument);

/* Waits for what there is still to wait for; ends if that is nothing. */
static void watch(struct farewell *self)
{
    short wanted = EV_PERSIST;
    if (!self->ended)
        wanted |= EV_READ;
    if (has_output(self))
        wanted |= EV_WRITE;
    event_del(&self->event);
    event_assign(&self->event, self->loop->base, self->fd, wanted, on_event, self);
    if (wanted == EV_PERSIST || event_add(&self->event, NULL) != 0)
        finish(self);
}

static void on_event(evutil_socket_t fd UNUSED, short what, void *argument)
{
    struct farewell *self = argument;
    bool was_ended = self->ended;
    bool had_output = has_output(self);
    if (((what & EV_WRITE) && had_output && !send_output(self)) ||
        ((what & EV_READ) && !was_ended && !discard_input(self)))
        finish(self);
    else if (self->ended != was_ended || has_output(self) != had_output)
        watch(self);
}

static struct farewell_list *list_with_room(struct loop *loop)
{
    if (loop->farewells == NULL)
        loop->farewells = memory_new(sizeof(*loop->farewells));
    if (loop->farewells->count >= LINGERING_MAX)
        finish(loop->farewells->oldest);
    return loop->farewells;
}

/* Takes the socket and its output away from the owner. */
static void linger(struct connection *connection)
{
    struct loop *loop = connection->loop;
    struct farewell_list *list = list_with_room(loop);
    struct farewell *self = memory_new(sizeof(*self));
    self->loop = loop;
    self->deadline.passed = on_deadline;
    self->output = connection->output;
    self->output_sent = connection->output_sent;
    self->fd = connection->fd;
    DL_APPEND(list->oldest, self);
    list->count++;

    event_del(&connection->event);
    connection->fd = -1;
    connection->output = (struct buffer){.data = NULL};
    connection_close(connection);

    deadline_set(loop, &self->deadline, LINGER_US);
    evtimer_assign(&self->event, loop->base, on_event, self);
    watch(self);
}

/*
 * True if the peer has closed too and left nothing unread, or is gone. The bytes land in a buffer
 * of our own, as the caller may still hold some of the loop's.
 */
static bool peer_has_closed(const struct connection *connection)
{
    char discarded[PROBE_SIZE];
    for (unsigned i = 0; i < PROBE_READS; i++) {
        ssize_t received = recv(connection->fd, discarded, sizeof(discarded), MSG_DONTWAIT);
        if (received == 0)
            return true;
        if (received < 0)
            return errno != EAGAIN && errno != EINTR;
    }
    return false;
}

void farewell(struct connection *connection, const void *bytes, size_t size)
{
    if (!connection_is_open(connection))
        return;
    if (!connection->connecting && size != 0)
        connection_send_last(connection, bytes, size);
    tls_end(connection);
    bool is_gone = connection->failed || connection->connecting;
    if (!is_gone && !connection_is_congested(connection))
        is_gone = shutdown(connection->fd, SHUT_WR) != 0 || peer_has_closed(connection);
    if (is_gone)
        connection_close(connection);
    else
        linger(connection);
}

void farewell_close_all(struct loop *loop)
{
    struct farewell_list *list = loop->farewells;
    if (list == NULL)
        return;
    while (list->oldest != NULL)
        finish(list->oldest);
    free(list);
    loop->farewells = NULL;
}
