/*
 * listener.h - listening sockets, TCP and Unix.
 *
 * When descriptors run out the listener accepts and closes at once with a descriptor it kept in
 * reserve, or pauses and tries again within a second; it never spins.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_NET_LISTENER_H
#define PGWEIR_NET_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "net/address.h"
#include "net/connection.h"
#include "net/loop.h"

struct listener;
struct listeners;

/* A new connection: non-blocking, close-on-exec. The callee owns `fd`. */
typedef void accept_fn(void *argument, int fd, const struct address *peer);

struct listen_options {
    const char *addresses; /* comma list of names, addresses or '*'; NULL or "": no TCP */
    uint16_t port;
    int backlog;
    bool defer_accept;
    bool reuse_port;
    const char *unix_directory; /* NULL or "": no Unix socket; '@' prefix: abstract */
    int unix_mode;
    const char *unix_group; /* NULL or "": leave it */
};

/*
 * Opens all sockets. One TCP address that fails is a warning; all failing, an unknown name, or a
 * Unix socket that cannot be made is an error: NULL, with the text for the log in `ret_error`
 * (owned by the caller). Logs "listening on ...". Texts: compat lifecycle, "Startup order".
 */
struct listeners *listeners_open(struct loop *loop, const struct listen_options *options,
                                 accept_fn *accepted, void *argument, char **ret_error) MUST_CHECK;

/* Tells whether somebody answers on our Unix socket path (a running instance). */
bool listeners_unix_socket_in_use(const struct listen_options *options);

/* Options for what is accepted from now on, which inherits them. */
void listeners_set_options(struct listeners *listeners, const struct socket_options *options);

/* Toggles TCP_DEFER_ACCEPT on the TCP sockets. */
void listeners_set_defer_accept(struct listeners *listeners, bool on);

/* Closes the TCP sockets, for a graceful shutdown; the Unix socket stays. */
void listeners_close_tcp(struct listeners *listeners);

/* Closes everything and removes the Unix socket file. */
void listeners_destroy(struct listeners *listeners);

/* True if there is a TCP listener or a Unix listener left. */
bool listeners_any(const struct listeners *listeners);

#endif
