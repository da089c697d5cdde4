/*
 * pool.h - lends the server connections of one (database entry, server-side user) to clients.
 *
 * Every server is on exactly one of the pool's lists, that of its state. Clients that need a server
 * wait in strict order of arrival; a grant posts the waiter's task, so nobody is woken from inside
 * a call. Whoever changes something that may let a waiter go on calls pool_tend(); the work is done
 * once per turn, from the run queue.
 *
 * Does not speak the protocol (server/) and does not know what clients do (relay/).
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_POOL_POOL_H
#define PGWEIR_POOL_POOL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/hash.h"
#include "config/config.h"
#include "hosts/host_list.h"
#include "net/deadline.h"
#include "net/loop.h"
#include "pool/stats.h"
#include "server/server.h"
#include "server/statement.h"
#include "wire/error_response.h"
#include "wire/parameters.h"
#include "wire/proven_values.h"

struct pools;
struct pause;
struct cancel;

/* The pools that share a limit on server connections: those of a database entry, of a user, all. */
enum budget_scope { BUDGET_DATABASE, BUDGET_USER, BUDGET_ALL, BUDGET_SCOPES };

static_assert(BUDGET_SCOPES == SERVER_BUDGETS, "a server has a place in each");

/* What such pools have together (shared_limits.h). */
struct server_budget {
    unsigned servers;       /* sockets of all pools, logins and cancels included */
    unsigned close_needed;  /* those of them that are not to be used again */
    struct server *offered; /* free ones, unused for longest first, where there is a limit */
    struct pool *hungry;    /* pools that wait until there is room */
    unsigned promised;      /* room that was offered to pools which have not looked yet */
};

/* A database entry at run time. Made for each line of [databases], and from "*" on demand. */
struct database {
    const char *name;                     /* owns a reference */
    const struct config_database *config; /* borrows the snapshot; owned if `automatic` */
    struct pools *pools;                  /* borrows: the owner */
    struct pool *members;                 /* hash by key */
    struct server_budget budget;          /* max_db_connections */
    unsigned client_count;                /* from the startup packet on */
    bool automatic;                       /* made from "*" */
    bool console;                         /* the pseudo-database */
    struct pause *pause;                  /* owns; of this database; NULL: none */
    bool disabled;
    struct deadline idle; /* of an automatic entry that nobody uses */
    UT_hash_handle hh;    /* member of pools->databases */
};

/* A user at run time: a client's login user, or the server-side user of pools, or both. */
struct user {
    const char *name;                 /* owns a reference */
    const struct config_user *config; /* borrows the snapshot; NULL without a [users] line */
    struct pool *members;             /* pools of this server-side user */
    struct server_budget budget;      /* max_user_connections */
    unsigned client_count;
    struct secret received; /* owns; clear text that PAM or LDAP took from him last */
    UT_hash_handle hh;      /* member of pools->users */
};

/* What the settings, the entry and the user say together. Kept up to date by pools_refresh(). */
struct pool_limits {
    enum pool_mode mode;
    unsigned pool_size;    /* 0: no limit */
    unsigned reserve_size; /* 0: none */
    unsigned min_size;
    unsigned max_waiting; /* clients in the queue; 0: no limit */
    unsigned max_db_connections, max_user_connections, max_server_connections; /* 0: no limit */
    unsigned prepared_statements; /* on each server; 0: names of statements pass as they are */
    bool prepare_unnamed;
    usec_t server_lifetime_us;                         /* 0: use once */
    usec_t query_timeout_us, idle_transaction_timeout_us, transaction_timeout_us; /* 0: no limit */
};

/* A client's place in the queue; a member of the client, zeroed, with `task` filled in. */
struct waiter {
    struct waiter *next, *prev; /* member of pool->waiters while queued */
    struct task task;           /* posted when the wait is over: read `server` and `failed` then */
    struct server *server;      /* granted; the waiter must link it or give it back */
    usec_t since_us;
    struct dedicated *dedicated; /* borrows; waits for a server of its own. Else NULL */
    bool queued;
    bool for_welcome; /* waits for the first login of the pool, not for a server */
    bool failed;      /* pool->login_failure tells why */
    bool dedicated_failed; /* the login of the server of its own has failed */
};

/*
 * A server connection that is opened for one client alone, for replication; a member of a client's
 * login, zeroed. The first three are filled in by who asks, the welcome by the pool.
 */
struct dedicated {
    enum replication replication;
    struct parameters *parameters; /* borrows; the client's: sent to the server, then as it says */
    const char *options;           /* borrows; sent as it is; NULL: none */
    struct buffer welcome;         /* owns; the untracked ParameterStatus messages of its login */
};

/* What a pool knows of its clients: that they are there. Members of struct client. */
struct pool_client {
    struct pool_client *next, *prev;
};

/* What tells the pools of a database apart. Zeroed before it is filled in: it is hashed as bytes. */
struct pool_key {
    struct user *user;        /* borrows */
    uintptr_t for_auth_query; /* 1: its servers only run auth_query (auth_query.h) */
};

struct pool {
    struct pools *pools;       /* borrows: the owner */
    struct database *database; /* borrows: outlives the pool */
    struct user *user;         /* borrows: outlives the pool; the server-side user */
    struct pool_key key;
    struct secret fetched;     /* owns; of the user, from auth_query; unset if it was not asked */
    struct scram_keys *learned; /* owns; from a client that proved a stored verifier; or NULL */
    struct pool_limits limits;

    struct server *servers[SERVER_STATES]; /* owns; doubly linked, head is used next */
    unsigned server_counts[SERVER_STATES];
    unsigned cancel_count;   /* open connections that carry a cancel request */
    struct cancel *cancels;  /* borrows; requests that wait for one, in order (relay/cancel.h) */
    unsigned cancels_queued; /* requests that wait, also behind others for the same server */
    struct waiter *waiters;
    unsigned waiter_count;
    unsigned dedicated_count;  /* of the waiters: who wait for a server of their own */
    unsigned dedicated_servers; /* of the servers: opened for one client alone, of use to no other */
    unsigned dedicated_logins;  /* of those: in login */
    struct pool_client *clients; /* logged in, or waiting for the welcome */
    unsigned client_count;

    struct host_list hosts;
    bool welcome_known;
    struct buffer welcome;             /* untracked ParameterStatus messages of the first login */
    struct parameters welcome_values;  /* tracked ones */
    /* What the last client was told, up to its cancel key: most clients of a pool say the same. */
    struct buffer opening;             /* owns; empty: to be written anew */
    struct parameters opening_values;  /* of the client that it was written for */
    bool last_attempt_failed;          /* for a reason that clients are told at once */
    struct proven_values proven_values; /* owns; what its servers have taken */
    struct statement_table *statements; /* owns; what its clients have prepared */
    bool attempt_wanted;               /* a client was refused: find out if the server is back */
    unsigned logins_at_once;           /* so many may be under way while others are connected */
    struct failure login_failure;      /* why; for waiters that failed and for the fast refusal */
    usec_t last_lifetime_close_us;

    struct pool_stats stats;
    struct pool_stats_window window;

    struct task tend;
    struct deadline tend_later;
    struct deadline idle; /* without clients and servers */
    bool demanding; /* servers are in use or waited for: it counts when a budget is shared out */
    struct pool *next, *prev;               /* member of pools->all */
    struct pool *user_next, *user_prev;     /* member of user->members */
    struct pool *hungry_next, *hungry_prev; /* member of a budget's `hungry` */
    struct server_budget *hungry_in;        /* borrows: whose; NULL if in none */
    struct server_budget *promised_by;      /* borrows: has kept room for us; or NULL */
    struct deferred deferred;
    bool closing;
    UT_hash_handle hh; /* member of database->members */
};

/* Sockets to the server that count against the limits. */
static inline unsigned pool_server_count(const struct pool *pool)
{
    unsigned count = pool->cancel_count;
    for (int state = 0; state < SERVER_CLOSED; state++)
        count += pool->server_counts[state];
    return count;
}

enum take_result { TAKE_SERVER, TAKE_WAIT, TAKE_REFUSED };

/*
 * Asks for a server. TAKE_SERVER: `*ret_server` is ACTIVE and must be linked or given back.
 * TAKE_WAIT: the caller queues with pool_wait(). TAKE_REFUSED: `ret_failure` says why.
 */
enum take_result pool_take(struct pool *pool, struct server **ret_server,
                           struct failure *ret_failure) MUST_CHECK;

/* max_waiting_clients is reached: nobody may queue. `ret_failure` says so. */
bool pool_queue_is_full(const struct pool *pool, struct failure *ret_failure);

/* Queues for a server, or for the welcome. The waiter's task is posted when the wait is over. */
void pool_wait(struct pool *pool, struct waiter *waiter, bool for_welcome, usec_t since_us);

/*
 * Queues for a server of one's own. When it is its turn and there is room, idle servers of the pool
 * making some if need be, a connection is opened and promised to the waiter: it has left the queue
 * then, and `server` is set. The task is posted when the login has ended: `server` is logged in, or
 * `failed` or `dedicated_failed` is set. Such a server is never lent to anybody else.
 */
void pool_wait_dedicated(struct pool *pool, struct waiter *waiter, struct dedicated *dedicated,
                         usec_t since_us);

/* Leaves the queue; fine if not queued. A server that was granted already is given back. */
void pool_cancel_wait(struct pool *pool, struct waiter *waiter);

/*
 * Takes back a server that is unlinked. It is reset, checked, kept or closed as the rules say, and
 * goes to the first waiter when it is clean. `settled`: nothing is owed and it is outside a
 * transaction; otherwise it is closed with `reason`.
 */
void pool_give_back(struct pool *pool, struct server *server, bool settled, const char *reason);

/* Closes a server in any state; it must not be linked. */
void pool_close_server(struct pool *pool, struct server *server, const char *reason);

/* The server is not used again: it is closed when it is given back. */
void pool_retire_server(struct server *server);

/* A cancel request for the server is on its way (+1) or has ended (-1). */
void pool_hold_for_cancel(struct pool *pool, struct server *server, int change);

/* A connection that carries a cancel request has been opened (+1) or closed (-1). */
void pool_count_cancel(struct pool *pool, int change);

/* No server is there and the last attempt to get one has failed. */
bool pool_is_unreachable(const struct pool *pool);

/* Something has changed: look after the pool, once, from the run queue. */
void pool_tend(struct pool *pool);

void pool_add_client(struct pool *pool, struct pool_client *client);
void pool_remove_client(struct pool *pool, struct pool_client *client);

/* Servers may not be lent now: PAUSE in force. */
bool pool_is_paused(const struct pool *pool);

/* Marks all servers as not to be used again (RECONNECT); those in login are closed with `reason`. */
void pool_mark_close_needed(struct pool *pool, const char *reason);

/* Closes all servers, linked ones excepted, and forgets the welcome. */
void pool_close_servers(struct pool *pool, const char *reason);

/*
 * What the pool's user has shown by logging in as a client is of use for logins to the server: the
 * secret that auth_query has told, and SCRAM keys; either may be NULL. They stay with the pool,
 * because another database may know the same name by another secret.
 */
void pool_learn(struct pool *pool, const struct secret *fetched, const struct scram_keys *learned);

/* Recomputes the limits from the configuration in force. */
void pool_refresh(struct pool *pool);

/* Sets idle times and lifetimes of its servers anew, after a change of the settings. */
void pool_renew_deadlines(struct pool *pool);

#endif
