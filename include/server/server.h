/*
 * server.h - one connection to PostgreSQL: connect, login, internal queries, close.
 *
 * A server never closes or moves itself. It reports to its pool through `ops`, and the pool decides.
 * While it is linked to a client, the relay reads it (struct server_link_ops); its stream is at a
 * message boundary when it is linked and when it is released.
 *
 *   LOGIN -> IDLE -> ACTIVE -> (TESTED | USED | BEING_CANCELED) -> IDLE ... -> CLOSED
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_SERVER_SERVER_H
#define PGWEIR_SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/scram.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/secret.h"
#include "net/connection.h"
#include "net/deadline.h"
#include "net/resolver.h"
#include "net/tls_setup.h"
#include "server/answers.h"
#include "wire/collector.h"
#include "wire/error_response.h"
#include "wire/parameters.h"
#include "wire/startup.h"

enum server_state {
    SERVER_LOGIN,          /* connecting or logging in */
    SERVER_IDLE,           /* clean and free */
    SERVER_ACTIVE,         /* linked, or promised to a waiting client */
    SERVER_TESTED,         /* reset or check query is running */
    SERVER_USED,           /* free, but to be checked before it is used again */
    SERVER_BEING_CANCELED, /* free, but a cancel request for it is still on its way */
    SERVER_CLOSED,
    SERVER_STATES
};

/* The words of SHOW SERVERS and of the columns of SHOW POOLS ("new", "idle", ...). */
const char *server_state_name(enum server_state state);

/* What a server has said of itself. */
enum told { TOLD_NOTHING, TOLD_OFF, TOLD_ON };

/* A query of our own. */
enum errand {
    ERRAND_NONE,
    ERRAND_CONNECT,
    ERRAND_RESET,
    ERRAND_CHECK,
    ERRAND_ROLE,
    ERRAND_QUERY
};

/* Limits on servers that pools share; the pool's business (pool.h). */
#define SERVER_BUDGETS 3

struct server;
struct server_login;
struct server_statements;
struct session;
struct waiter;

struct collected_message;

/* A query whose answer matters; a member of who asks. */
struct server_query {
    /* One message of the answer; the body is borrowed for the call. */
    void (*message)(struct server_query *query, const struct collected_message *message);
    /* It is over. If not `complete` the server is lost; otherwise it is to be given back. */
    void (*ended)(struct server_query *query, bool complete);
};

/* News for the pool. Each comes from the loop, never from inside a call of the pool. */
struct server_ops {
    /* Login is complete and connect_query, if any, has run. */
    void (*logged_in)(struct server *server);
    /* Bytes came that no client gets: of our own queries, or unasked. Not during the login. */
    void (*received)(struct server *server, size_t size);
    /* A reset or check query ended well. */
    void (*errand_done)(struct server *server);
    /* The server cannot be used any more. A message in `failure` is for the waiting clients. */
    void (*failed)(struct server *server, const char *reason, const struct failure *failure);
    /* The deadline of the current state has passed (not while linked). */
    void (*deadline_passed)(struct server *server);
    /* server_lifetime is over. */
    void (*lifetime_over)(struct server *server);
};

/* News for the relay while the server is linked. */
struct server_link_ops {
    void (*readable)(struct server *server);
    void (*drained)(struct server *server);
    void (*broken)(struct server *server);
    void (*deadline_passed)(struct server *server);
    /* transaction_timeout is over. */
    void (*transaction_over)(struct server *server);
    /* The server is not to be used again. Returns true if it has been closed for that. */
    bool (*close_needed)(struct server *server);
};

struct server {
    struct connection connection;
    struct log_subject subject;
    const struct server_ops *ops;           /* borrows */
    const struct server_link_ops *link_ops; /* borrows while linked, else NULL */
    struct session *session;                /* borrows while linked, else NULL */
    struct pool *pool;                      /* borrows: the pool outlives its servers */
    struct waiter *promised_to;             /* borrows from the grant until the link, else NULL */
    struct server *next, *prev;             /* member of the pool's list of its state */
    struct server *offered_next[SERVER_BUDGETS], *offered_prev[SERVER_BUDGETS]; /* of budgets */
    const char *database_name, *user_name;  /* own a reference each; for the log and SHOW */
    const char *host;                       /* owns a reference; as it was picked from the entry */
    uint16_t port;                          /* of that host */
    uint64_t id;
    enum replication replication; /* if any, it serves one client and is then closed */
    enum server_state state;
    enum errand errand;
    struct server_query *query; /* borrows while the errand is a query */
    struct server_login *login; /* owns; NULL after login */
    struct tls_context *tls;    /* owns a reference; NULL: a plain connection */
    bool tls_direct;            /* ... that began without being asked for */

    struct collector incoming; /* owns; what is not linked reads whole messages */
    uint64_t body_left;        /* of the message that is passing through to the client */
    bool swallowing;           /* that body goes nowhere: it answers a statement of our own */
    bool said_goodbye;         /* that body is an error that nobody asked for: nothing follows it */
    bool errand_failed;        /* our own query was answered with an error */
    struct answers answers;
    struct buffer held; /* owns; the head of a message that was cut by a read */
    char transaction_status;   /* of the last ReadyForQuery: 'I', 'T', 'E' */
    bool ready;                /* idle outside a transaction, and silent since */
    enum told in_hot_standby, read_only; /* at login, and since then if it has changed */
    bool close_needed;         /* not to be used again (pool_retire_server) */
    bool lifetime_is_over;
    bool was_linked;           /* a client has had it */
    unsigned cancels_in_flight;

    struct server_statements *statements; /* owns; NULL before the first prepared statement */
    uint64_t unnamed_statement; /* number of the last Parse without a name; 0: there was none */

    struct parameters parameters; /* owns */
    const struct tracked_names *tracked; /* borrows */
    bool unreported_unknown; /* what track_startup_parameters names may have been changed */
    bool reset_is_total;     /* the reset that runs puts everything back to its default */
    bool watched;            /* while linked: its answers are looked at, for what follows */
    uint8_t left;            /* enum leftovers: of the session that is linked, or was */
    uint16_t cancel_key_size; /* 0: the server gave none */
    uint8_t cancel_key[CANCEL_KEY_MAX];
    usec_t connect_us, request_us; /* connect began; last bytes from the server */
    usec_t query_start_us, transaction_start_us; /* 0 when none runs */

    struct deadline deadline; /* of the state */
    struct deadline lifetime;
    struct deadline transaction_limit; /* set by the relay */
    struct task task;         /* continues reading when a turn was not enough */
    struct deferred deferred;
};

/* All that a login needs; copied where it must last. */
struct server_options {
    uint64_t id;
    struct resolver *resolver;
    struct scram_key_cache *key_cache;
    const struct tracked_names *tracked;
    const char *host; /* name, address or Unix directory (never NULL) */
    uint16_t port;
    struct socket_options sockets;
    const struct server_tls *tls;
    unsigned minor_version; /* of protocol 3 that we ask for */
    const char *database_name; /* of the entry, for the log */
    const char *dbname, *user; /* sent to the server */
    const struct secret *secret;       /* may be unset */
    const struct scram_keys *learned;  /* or NULL */
    const char *client_encoding, *datestyle, *timezone, *application_name; /* NULL: not sent */
    const char *connect_query;         /* NULL: none */
    enum replication replication;
    const struct parameters *client_parameters; /* sent if it is for replication, else NULL */
    const char *client_options;                 /* the same; or NULL */
    usec_t connect_timeout_us;         /* connect and login together; 0: no limit */
    usec_t lifetime_us;                /* 0: no limit */
};

/*
 * Starts to connect and log in; `logged_in` or `failed` follows. The state is SERVER_LOGIN. The
 * pool owns the server and gives it up with server_close().
 */
struct server *server_open(struct loop *loop, const struct server_ops *ops, struct pool *pool,
                           const struct server_options *options) MUST_CHECK;

/*
 * Closes at once, logs the reason, and frees at the end of the turn. A server that is logged in is
 * told Terminate. The pool has taken it off its lists before.
 */
void server_close(struct server *server, const char *reason);

/*
 * Sends a query of our own, but no reset; `errand_done` follows, or `failed` if it does not end outside a
 * transaction or takes longer than `limit_us` (0: no limit).
 */
void server_run_errand(struct server *server, enum errand errand, const char *sql,
                       usec_t limit_us);

/*
 * The same for a reset. `total`: it puts all parameters back to their default.
 */
void server_run_reset(struct server *server, const char *sql, bool total, usec_t limit_us);

/*
 * Sends messages that end with one Sync; `query` gets the answer. The server is ACTIVE, and lost if
 * its `deadline` passes before the end.
 */
void server_run_query(struct server *server, const struct buffer *messages,
                      struct server_query *query);

/* It has been marked close_needed: whoever it is linked to is told, from the loop. */
void server_tell_close_needed(struct server *server);

/* The relay takes over the reading. */
void server_link(struct server *server, struct session *session,
                 const struct server_link_ops *link_ops);

/* ... and hands it back; the stream must be at a message boundary if the server is to live on. */
void server_unlink(struct server *server);

/* The raw ParameterStatus messages of untracked parameters, as they came at login. For the welcome. */
const struct buffer *server_login_parameters(const struct server *server);

/* Frees what only the login needed. Called by the pool when it has taken what it wants. */
void server_finish_login(struct server *server);

/* True if the server follows names that it does not report (track_startup_parameters). */
static inline bool server_has_unreported(const struct server *server)
{
    return server->tracked->count > server->tracked->reported;
}

/* Prepared statements that it has, for SHOW SERVERS. */
unsigned server_statement_count(const struct server *server);

/*
 * Asks an older server, which does not tell at login, whether it is a standby and whether it is
 * read-only; `logged_in` follows once more, or `failed`. 0: no limit.
 */
void server_ask_role(struct server *server, usec_t limit_us);

/* Objects in use and free, for SHOW MEM and SHOW LISTS. */
struct slab;
struct slab *server_slab(void);

#endif
