/*
 * connection.h - one stream socket: connect, receive into the loop's buffer, send, close.
 *
 * The socket is registered once, edge-triggered, for reading and writing, and never touched in
 * epoll again. Two facts follow:
 *   - `readable` says that bytes (or the end) may wait in the socket. It is set by an event and
 *     cleared by a receive that finds nothing, or by connection_mark_drained(). Whoever stops
 *     reading while it is set must come back by himself (post a task): no event will remind him.
 *   - what a send could not deliver is copied into the output queue, which empties itself. Whoever
 *     feeds the connection must stop at `connection_is_congested()` and go on at `drained`.
 *
 * Events are delivered from the loop, never from inside a call. After connection_close() none come.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_NET_CONNECTION_H
#define PGWEIR_NET_CONNECTION_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "net/address.h"
#include "net/loop.h"

struct connection;
struct tls;

/*
 * News for the owner. All members are required, `connected` only for outgoing connections, `secured`
 * only where TLS may be used (tls.h).
 */
struct connection_ops {
    /* The connect has ended: `error` is 0 or an errno value. The owner closes after an error. */
    void (*connected)(struct connection *connection, int error);
    /* The TLS handshake has ended; `problem` is NULL, or says why it failed. The owner closes then. */
    void (*secured)(struct connection *connection, const char *problem);
    /* There is something to receive. */
    void (*readable)(struct connection *connection);
    /* The output queue has become empty. */
    void (*drained)(struct connection *connection);
    /* Queued output could not be delivered: the peer is gone. The owner closes. */
    void (*broken)(struct connection *connection);
};

struct connection {
    struct loop *loop;                /* borrows */
    const struct connection_ops *ops; /* borrows */
    struct buffer output;             /* owns; what a send could not deliver */
    size_t output_sent;               /* bytes of `output` that have left already */
    struct event event;
    struct address peer;
    struct tls *tls; /* owns; NULL for a plain connection */
    int fd;          /* owns; -1 when closed */
    bool connecting : 1;
    bool readable : 1; /* bytes or the end may wait in the socket */
    bool ended : 1;    /* the peer has shut down its side: read on until the end is seen */
    bool failed : 1;   /* a send met an error: the peer is gone */
    bool gathers : 1;  /* what is in loop->gathered goes first */
};

/* Options for new sockets, from the settings in force. */
struct socket_options {
    bool keepalive;
    int keepidle, keepintvl, keepcnt; /* seconds, seconds, probes; 0 = system default */
    int buffer_size;                  /* bytes; 0 = system default */
    int user_timeout;                 /* milliseconds; 0 = system default */
};

/*
 * Sets the options of a socket, `tcp` or Unix. Those of a listener are inherited by what it accepts,
 * which saves every client a few system calls.
 */
void socket_options_apply(int fd, bool tcp, const struct socket_options *options);

/*
 * Takes over an accepted socket (non-blocking already). `peer` may come from accept(); for a Unix
 * socket the peer's process is looked up. Registers with the loop.
 */
void connection_accept(struct connection *connection, struct loop *loop,
                       const struct connection_ops *ops, int fd, const struct address *peer);

/*
 * Starts a connect; `connected` reports the end of it. Returns 0, or an errno value if the attempt
 * could not even begin (the connection is then closed).
 */
int connection_open(struct connection *connection, struct loop *loop,
                    const struct connection_ops *ops, const struct address *peer,
                    const struct socket_options *options) MUST_CHECK;
int connection_open_unix(struct connection *connection, struct loop *loop,
                         const struct connection_ops *ops, const char *directory, uint16_t port,
                         const struct socket_options *options) MUST_CHECK;

/* Closes the socket at once and drops queued output. Idempotent; no events come afterwards. */
void connection_close(struct connection *connection);

static inline bool connection_is_open(const struct connection *connection)
{
    return connection->fd >= 0;
}

enum receive_result {
    RECEIVED_BYTES,
    RECEIVED_NOTHING, /* the socket is empty: wait for `readable` */
    RECEIVED_END      /* the peer closed its side, or the connection is broken */
};

/*
 * Reads once into the loop's buffer: at most LOOP_READ_SIZE bytes, borrowed until the next receive
 * of any connection or the end of the turn.
 */
enum receive_result connection_receive(struct connection *connection, uint8_t **ret_bytes,
                                       size_t *ret_size) MUST_CHECK;

/*
 * Says that a receive of `received` bytes has emptied the socket, and so saves the receive that would
 * find nothing. Ignored where that cannot be known (a full buffer, a peer that has shut down). Only
 * for callers that will notice a dead peer in another way, by sending to it without having to hear
 * from it first: an error that arrived together with the bytes makes no event of its own.
 */
void connection_mark_drained(struct connection *connection, size_t received);

/*
 * Sends the bytes, as far as possible at once; the rest is copied into the output queue. Returns false if the
 * peer is gone (nothing more will reach it; the caller closes).
 */
bool connection_send(struct connection *connection, const void *bytes, size_t size) MUST_CHECK;

/*
 * What is put into this buffer, empty at first, leaves in one with what is sent next. It is the loop's,
 * for one connection at a time: a send, of nothing perhaps, or the close follows before anything else
 * is gathered.
 */
struct buffer *connection_gather(struct connection *connection) MUST_CHECK;

/* For goodbyes: the outcome does not matter. */
void connection_send_last(struct connection *connection, const void *bytes, size_t size);

/* Bytes in the output queue. */
static inline size_t connection_queued(const struct connection *connection)
{
    return connection->output.size - connection->output_sent;
}

/* True while anything is queued: whoever feeds this connection must wait for `drained`. */
static inline bool connection_is_congested(const struct connection *connection)
{
    return connection->output.size != 0;
}

/*
 * True if the peer has closed its side or is gone, asked from the kernel; for those who do not read
 * now and hear of an event. A reset comes as an event that looks like bytes.
 */
bool connection_peer_has_left(const struct connection *connection);

/* The local address, asked from the kernel (for SHOW). */
struct address connection_local_address(const struct connection *connection);

/* The user id of the process at the other end of a Unix socket. Returns false if unknown. */
bool connection_peer_uid(const struct connection *connection, uid_t *ret_uid) MUST_CHECK;

#endif
