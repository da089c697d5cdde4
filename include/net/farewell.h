/*
 * farewell.h - closes a connection so that the peer can read our last words.
 *
 * close() on a socket with unread input sends a reset, which may destroy an error message before the
 * peer has read it. So the socket is taken away from its owner, last words and queued output are
 * sent, the sending side is shut down, and input is thrown away until the peer closes too or a
 * second has passed.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_NET_FAREWELL_H
#define PGWEIR_NET_FAREWELL_H

#include <stddef.h>

#include "net/connection.h"

/*
 * Sends `size` bytes (may be 0) behind what is queued, and closes as described. For the owner the
 * connection is closed when this returns (connection_is_open() is false).
 */
void farewell(struct connection *connection, const void *bytes, size_t size);

/* Closes all sockets that still linger; for the end of the process. */
void farewell_close_all(struct loop *loop);

#endif
