/*
 * client_login.h - the conversation until a client is ready for queries. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CLIENT_CLIENT_LOGIN_H
#define PGWEIR_CLIENT_CLIENT_LOGIN_H

#include "auth/client_auth.h"
#include "auth/outside_check.h"
#include "client/client.h"
#include "pool/auth_query.h"
#include "wire/collector.h"

enum login_stage {
    LOGIN_STARTUP,       /* waits for a startup packet */
    LOGIN_ASKING,        /* waits for the answer of auth_query */
    LOGIN_DELAYED,       /* waits because the last ones like it have failed (auth_delay_max) */
    LOGIN_AUTHENTICATING,
    LOGIN_CHECKING,      /* PAM or LDAP is asked about the password */
    LOGIN_WELCOME,       /* authenticated; waits for a server login: the first one, or its own */
};

struct client_login {
    struct client *client;     /* borrows: the owner */
    struct collector incoming; /* owns */
    struct client_auth *auth;  /* owns */
    struct auth_request query; /* of a user who is not in auth_file */
    struct deadline delay;     /* of LOGIN_DELAYED */
    struct outside_check *check; /* owns; NULL unless PAM or LDAP was asked */
    struct ldap_options *ldap;   /* owns until the check has them; NULL without LDAP */
    struct dedicated dedicated;  /* of a client for replication */
    char *options;               /* owns; what it sends to its server; NULL: none */
    enum login_stage stage;
    unsigned minor_version; /* of protocol 3 that is spoken */
    bool ssl_asked, gss_asked;
    bool tls_direct; /* TLS began with the first byte */
};

/* There is something to receive. */
void client_login_readable(struct client *client);

/* The TLS handshake has ended. */
void client_login_secured(struct client *client, const char *problem);

/* The pool's welcome is known, or its first login failed. */
void client_login_waited(struct client *client);

void client_login_deadline_passed(struct client *client);

void client_login_destroy(struct client_login *login);

/* The login goes on after a wait: handles what has come meanwhile. */
void client_login_resume(struct client *client);

/* Begins to wait: the limit of the login or of the wait for a server counts, whichever is first. */
void client_login_limit_wait(struct client *client);

/* The wait is over: the limit of the login counts. */
void client_login_limit_login(struct client *client);

/*
 * PAM or LDAP has let the client in: now its name is that of a user. False if it is one client too
 * many. In client_startup.c.
 */
bool client_take_user(struct client *client, struct failure *ret_failure) MUST_CHECK;

/* Handles a whole StartupMessage. Ends with an authentication request sent, or a closed client. */
void client_handle_startup(struct client *client, const uint8_t *packet,
                           const struct startup_packet *header);

/*
 * Closes clients that have not authenticated, the oldest first, until there are no more than `limit`
 * clients. Whoever floods us with half-done logins evicts his own, and cannot keep others out, nor can
 * he make max_client_conn wider. Returns false if those that are left, `newcomer` apart, have all
 * authenticated. In client_startup.c.
 */
bool clients_make_room(struct clients *clients, const struct client *newcomer, unsigned limit);

/*
 * The user is known, or known to be unknown: chooses the method and sends the first request, or has
 * the login wait first if others of its address and user have failed (client_method.c).
 */
void client_begin_authentication(struct client *client);

/* The user "pgbouncer" on our Unix socket with our own user id: needs no password. */
bool client_is_owner_of_process(const struct client *client);

/* Authentication succeeded: find the pool, then welcome(). In client_login.c. */
void client_authenticated(struct client *client);

/*
 * Authentication failed: closes, telling the client `message`. `problem` (NULL: there is no more to
 * say) goes to the log only. In client_login.c.
 */
void client_refuse(struct client *client, const char *message, const char *problem);

/* Sends what a ready client gets to see, in one write, and hands over to the consumer. */
void client_welcome(struct client *client);

/* Acts on a verdict of the authentication. In client_login.c. */
void client_handle_verdict(struct client *client, enum auth_verdict verdict,
                           struct buffer *answer, const struct failure *failure);

#endif
