/*
 * server_login.h - the part of a server's life before it is usable: address, connect, startup
 * packet, authentication, ParameterStatus, first ReadyForQuery. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_SERVER_SERVER_LOGIN_H
#define PGWEIR_SERVER_SERVER_LOGIN_H

#include "auth/server_auth.h"
#include "base/buffer.h"
#include "net/resolver.h"
#include "server/server.h"
#include "wire/collector.h"

/* Longest message accepted during login (hostile rows BS02, BS03). */
#define LOGIN_MESSAGE_MAX (64 * 1024)
/* All ParameterStatus messages of a login together. */
#define LOGIN_PARAMETERS_MAX (256 * 1024)

struct server_login {
    struct server *server;         /* borrows: the owner */
    struct resolver_query query;
    struct server_auth *auth;      /* owns */
    struct scram_key_request key_request; /* while the server waits for a proof with new keys */
    struct buffer startup_packet;  /* owns */
    struct buffer parameters;      /* owns: raw ParameterStatus messages of untracked names */
    size_t parameters_size;        /* bytes of all ParameterStatus messages so far */
    char *connect_query;           /* owns; NULL if there is none */
    struct socket_options sockets;
    struct server_tls tls; /* owns the context's reference; of a Unix socket: disable */
    uint16_t port;
    bool tls_asked;        /* an SSLRequest waits for its one byte */
    unsigned minor_version; /* of protocol 3 that we asked for, or were told */
    bool authenticated;
    bool complete; /* ReadyForQuery came */
};

/* Begins: resolves, or connects at once. A failure to begin is reported from the loop. */
void server_login_begin(struct server *server, const struct server_options *options);

/* The connect has ended. */
void server_login_connected(struct server *server, int error);

/* The TLS handshake has ended. */
void server_login_secured(struct server *server, const char *problem);

/* The answer to our SSLRequest (while login->tls_asked). */
void server_login_ssl_answer(struct server *server, const uint8_t *bytes, size_t size);

/* One message that came during login. */
void server_login_message(struct server *server, const struct collected_message *message);

void server_login_destroy(struct server_login *login);

/* Reads a ParameterStatus body into the tracked values. Returns false if it is malformed. */
bool server_read_parameter_status(struct server *server, const uint8_t *body, size_t size,
                                  int *ret_place) MUST_CHECK;

#endif
