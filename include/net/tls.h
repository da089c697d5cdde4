/*
 * tls.h - TLS on a connection: a transform between the socket's bytes and ours.
 *
 * OpenSSL never touches the socket once the handshake is over: what was received is put before it,
 * what it writes is gathered and sent in one piece. So a TLS connection keeps the rules of
 * connection.h: one system call for a receive, one for a send, one output queue.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_NET_TLS_H
#define PGWEIR_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "net/connection.h"
#include "net/tls_context.h"

/*
 * Begins the handshake of an accepted connection. `bytes` came already (of direct TLS: they are the
 * beginning of the handshake); they are borrowed for the call. `secured` reports the end of it.
 */
void tls_accept(struct connection *connection, const struct tls_context *context,
                const uint8_t *bytes, size_t size);

/*
 * Begins the handshake of a connection to a server. `host` is its name as it was configured: it is
 * sent (SNI) unless it is an address, and checked where the mode of the context is verify-full.
 */
void tls_connect(struct connection *connection, const struct tls_context *context,
                 const char *host);

/* True once the handshake is over. */
bool tls_is_established(const struct connection *connection);

/* True if a handshake failed because the peer was gone, without an alert that says why. */
bool tls_peer_has_left(const struct connection *connection);

/* "TLSv1.3/TLS_AES_256_GCM_SHA384/ECDH=X25519"; "" for a plain connection. */
#define TLS_DESCRIPTION_SIZE 128
void tls_describe(const struct connection *connection, char *ret_text, size_t size);

/* True if the peer has agreed on the protocol "postgresql" (ALPN). */
bool tls_has_agreed_protocol(const struct connection *connection);

/* True if the peer has shown a certificate (which was verified then). */
bool tls_has_peer_certificate(const struct connection *connection);

/*
 * True if the peer's certificate is made out to `name`: one of its DNS names or, if `name` is an
 * address, one of its addresses, or its common name if it has neither (RFC 6125; wildcards stand
 * for one label).
 */
bool tls_peer_certificate_names(const struct connection *connection, const char *name);

/*
 * The channel binding tls-server-end-point (RFC 5929): a hash of the certificate of whoever is the
 * server. Returns its size, or 0 if there is none.
 */
#define TLS_END_POINT_SIZE 64
size_t tls_server_end_point(const struct connection *connection,
                            uint8_t ret_hash[TLS_END_POINT_SIZE]);

/* ---- private to the room ---- */

/* Receives once and decrypts. As connection_receive(). */
enum receive_result tls_receive(struct connection *connection, uint8_t **ret_bytes,
                                size_t *ret_size) MUST_CHECK;

/* True if the last receive has emptied the socket. */
bool tls_has_drained(const struct connection *connection);

/* Encrypts and sends or queues. As connection_send(). */
bool tls_send(struct connection *connection, const void *bytes, size_t size) MUST_CHECK;

/* Goes on with the handshake, soon: after an event. */
void tls_continue(struct connection *connection);

/* Says good-bye (close_notify) behind what is queued, and frees. */
void tls_end(struct connection *connection);

/* Frees what the TLS connections of a loop share. */
void tls_release_loop(struct loop *loop);

/* Sends or queues bytes as they are. In connection.c. */
bool connection_send_raw(struct connection *connection, const void *bytes, size_t size) MUST_CHECK;

#endif
