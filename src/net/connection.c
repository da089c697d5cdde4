/*
 * connection.c - one stream socket: connect, receive into the loop's buffer, send, close.
 *
 * Why edge-triggered is safe here: after epoll_wait() has reported a socket, every further arrival
 * (bytes, FIN, RST) makes a new report, and a send that could not deliver everything is followed by
 * a report when there is room again. What was already there when epoll_wait() returned is covered
 * by that one report: bytes by `readable`, a FIN by `ended` (EPOLLRDHUP, libevent's EV_CLOSED).
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/connection.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "net/tls.h"

static void flush_output(struct connection *connection)
{
    while (connection->output_sent < connection->output.size) {
        ssize_t sent = send(connection->fd, connection->output.data + connection->output_sent,
                            connection->output.size - connection->output_sent, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN)
                connection->failed = true;
            return;
        }
        connection->output_sent += (size_t) sent;
    }
    buffer_release(&connection->output);
    connection->output_sent = 0;
}

static void finish_connect(struct connection *connection)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    connection->connecting = false;
    connection->ops->connected(connection, error);
}

static void on_event(evutil_socket_t fd UNUSED, short what, void *argument)
{
    struct connection *connection = argument;
    if (what & EV_CLOSED)
        connection->ended = true;
    if (what & (EV_READ | EV_CLOSED))
        connection->readable = true;
    if (connection->connecting) {
        finish_connect(connection);
        if (connection->readable && connection_is_open(connection) && connection->tls == NULL)
            connection->ops->readable(connection);
        return;
    }
    if ((what & EV_WRITE) && connection_is_congested(connection) && !connection->failed) {
        flush_output(connection);
        if (connection->failed) {
            connection->ops->broken(connection);
            return;
        }
        if (!connection_is_congested(connection))
            connection->ops->drained(connection);
    }
    if (!connection->readable || !connection_is_open(connection))
        return;
    if (connection->tls != NULL && !tls_is_established(connection))
        tls_continue(connection);
    else
        connection->ops->readable(connection);
}

static void set_option(int fd, int level, int name, int value)
{
    /* An option that the system does not know is no reason to refuse a connection. */
    (void) setsockopt(fd, level, name, &value, sizeof(value));
}

void socket_options_apply(int fd, bool tcp, const struct socket_options *options)
{
    if (options->buffer_size > 0) {
        set_option(fd, SOL_SOCKET, SO_SNDBUF, options->buffer_size);
        set_option(fd, SOL_SOCKET, SO_RCVBUF, options->buffer_size);
    }
    if (!tcp)
        return;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, options->keepalive);
    if (options->keepalive) {
        if (options->keepidle > 0)
            set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, options->keepidle);
        if (options->keepintvl > 0)
            set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, options->keepintvl);
        if (options->keepcnt > 0)
            set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, options->keepcnt);
    }
    if (options->user_timeout > 0)
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options->user_timeout);
}

static void start(struct connection *connection, struct loop *loop,
                  const struct connection_ops *ops, int fd)
{
    connection->loop = loop;
    connection->ops = ops;
    connection->fd = fd;
    connection->tls = NULL;
    connection->connecting = connection->readable = connection->ended = connection->failed = false;
    connection->gathers = false;
}

/* Adds the socket to epoll. */
static int register_events(struct connection *connection)
{
    event_assign(&connection->event, connection->loop->base, connection->fd,
                 EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, connection);
    if (event_add(&connection->event, NULL) == 0)
        return 0;
    int error = errno != 0 ? errno : ENOMEM;
    close(connection->fd);
    connection->fd = -1;
    return error;
}

static void find_unix_peer(struct connection *connection)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);
    if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0)
        connection->peer.unix_pid = credentials.pid;
}

void connection_accept(struct connection *connection, struct loop *loop,
                       const struct connection_ops *ops, int fd, const struct address *peer)
{
    start(connection, loop, ops, fd);
    connection->peer = *peer;
    if (peer->family == AF_UNIX)
        find_unix_peer(connection);
    if (register_events(connection) != 0)
        connection->failed = true;
}

static int begin_connect(struct connection *connection, const struct sockaddr *target,
                         socklen_t size)
{
    int error = 0;
    connection->connecting = true;
    do {
        error = connect(connection->fd, target, size) == 0 ? 0 : errno;
    } while (error == EINTR);
    /* EAGAIN: the backlog of a Unix socket is full; nothing would tell us when it has room again. */
    if (error != 0 && error != EINPROGRESS) {
        close(connection->fd);
        connection->fd = -1;
        return error;
    }
    error = register_events(connection);
    return error;
}

int connection_open(struct connection *connection, struct loop *loop,
                    const struct connection_ops *ops, const struct address *peer,
                    const struct socket_options *options)
{
    struct sockaddr_storage target;
    socklen_t size = address_to_socket(peer, &target);
    int fd = socket(peer->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    start(connection, loop, ops, fd);
    if (fd < 0)
        return errno;
    connection->peer = *peer;
    socket_options_apply(connection->fd, peer->family != AF_UNIX, options);
    return begin_connect(connection, (const struct sockaddr *) &target, size);
}

int connection_open_unix(struct connection *connection, struct loop *loop,
                         const struct connection_ops *ops, const char *directory, uint16_t port,
                         const struct socket_options *options)
{
    struct sockaddr_un target;
    socklen_t size = address_unix_socket(directory, port, &target);
    start(connection, loop, ops, -1);
    if (size == 0)
        return ENAMETOOLONG;
    connection->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        return errno;
    connection->peer = (struct address){.family = AF_UNIX, .port = port};
    socket_options_apply(connection->fd, false, options);
    int error = begin_connect(connection, (const struct sockaddr *) &target, size);
    if (error == 0)
        find_unix_peer(connection);
    return error;
}

/* A larger buffer is not kept for the next time. */
#define GATHERED_KEPT_MAX (16 * 1024)

static void end_gathering(struct connection *connection)
{
    struct buffer *gathered = &connection->loop->gathered;
    connection->gathers = false;
    gathered->size = 0;
    if (gathered->capacity > GATHERED_KEPT_MAX)
        buffer_release(gathered);
}

void connection_close(struct connection *connection)
{
    if (connection->gathers)
        end_gathering(connection);
    tls_end(connection);
    buffer_release(&connection->output);
    connection->output_sent = 0;
    connection->readable = false;
    if (connection->fd < 0)
        return;
    event_del(&connection->event);
    close(connection->fd);
    connection->fd = -1;
}

enum receive_result connection_receive(struct connection *connection, uint8_t **ret_bytes,
                                       size_t *ret_size)
{
    uint8_t *buffer = loop_read_buffer(connection->loop);
    if (connection->tls != NULL)
        return tls_receive(connection, ret_bytes, ret_size);
    for (;;) {
        ssize_t received = recv(connection->fd, buffer, LOOP_READ_SIZE, 0);
        if (received > 0) {
            *ret_bytes = buffer;
            *ret_size = (size_t) received;
            return RECEIVED_BYTES;
        }
        if (received < 0 && errno == EINTR)
            continue;
        if (received < 0 && errno == EAGAIN) {
            connection->readable = false;
            return RECEIVED_NOTHING;
        }
        return RECEIVED_END;
    }
}

void connection_mark_drained(struct connection *connection, size_t received)
{
    bool drained = connection->tls != NULL ? tls_has_drained(connection) : received < LOOP_READ_SIZE;
    if (drained && !connection->ended)
        connection->readable = false;
}

bool connection_send_raw(struct connection *connection, const void *bytes, size_t size)
{
    if (connection->fd < 0 || connection->failed)
        return false;
    if (!connection_is_congested(connection)) {
        ssize_t sent;
        do {
            sent = send(connection->fd, bytes, size, MSG_NOSIGNAL);
        } while (sent < 0 && errno == EINTR);
        if (sent >= 0 && (size_t) sent == size)
            return true;
        if (sent < 0 && errno != EAGAIN) {
            connection->failed = true;
            return false;
        }
        if (sent > 0) {
            bytes = (const uint8_t *) bytes + sent;
            size -= (size_t) sent;
        }
    }
    buffer_append(&connection->output, bytes, size);
    return true;
}

static bool send_one(struct connection *connection, const void *bytes, size_t size)
{
    if (connection->tls != NULL)
        return tls_send(connection, bytes, size);
    return connection_send_raw(connection, bytes, size);
}

struct buffer *connection_gather(struct connection *connection)
{
    assert(connection->loop->gathered.size == 0);
    connection->gathers = true;
    return &connection->loop->gathered;
}

static bool send_gathered(struct connection *connection, const void *bytes, size_t size)
{
    struct buffer *gathered = &connection->loop->gathered;
    buffer_append(gathered, bytes, size);
    bool sent = gathered->size == 0 || send_one(connection, gathered->data, gathered->size);
    end_gathering(connection);
    return sent;
}

bool connection_send(struct connection *connection, const void *bytes, size_t size)
{
    if (connection->gathers)
        return send_gathered(connection, bytes, size);
    return send_one(connection, bytes, size);
}

void connection_send_last(struct connection *connection, const void *bytes, size_t size)
{
    bool sent UNUSED = connection_send(connection, bytes, size);
}

bool connection_peer_has_left(const struct connection *connection)
{
    struct pollfd poll_fd = {.fd = connection->fd, .events = POLLRDHUP};
    return poll(&poll_fd, 1, 0) == 1;
}

struct address connection_local_address(const struct connection *connection)
{
    struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof(local);
    if (connection->fd < 0 || connection->peer.family == AF_UNIX ||
        getsockname(connection->fd, (struct sockaddr *) &local, &size) < 0)
        return (struct address){.family = AF_UNIX, .port = connection->peer.port};
    return address_from_socket((const struct sockaddr *) &local);
}

bool connection_peer_uid(const struct connection *connection, uid_t *ret_uid)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);
    if (connection->fd < 0 || connection->peer.family != AF_UNIX ||
        getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
        return false;
    *ret_uid = credentials.uid;
    return true;
}
