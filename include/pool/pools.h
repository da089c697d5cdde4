/*
 * pools.h - all databases, users and pools, and what concerns them together: look-ups, reload and
 * shutdown.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_POOL_POOLS_H
#define PGWEIR_POOL_POOLS_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/scram.h"
#include "base/compiler.h"
#include "net/loop.h"
#include "net/resolver.h"
#include "net/tls_setup.h"
#include "pool/drain.h"
#include "pool/pause.h"
#include "pool/pool.h"
#include "wire/parameters.h"

enum shutdown_mode { SHUTDOWN_NONE, SHUTDOWN_WAIT_FOR_SERVERS, SHUTDOWN_WAIT_FOR_CLIENTS };

struct pools {
    struct loop *loop;                 /* borrows */
    struct resolver *resolver;         /* owns */
    struct scram_key_cache *key_cache; /* owns */
    struct tls_setup *tls;             /* owns */
    struct tracked_names tracked;
    struct database *databases; /* owns; hash by name */
    struct user *users;         /* owns; hash by name */
    struct pool *all;           /* owns */
    unsigned pool_count;
    struct pool *console; /* of the pseudo-database; member of `all` */
    uint64_t last_id;     /* of clients and servers */
    struct server_budget budget; /* max_server_connections */
    unsigned demanding_count;    /* pools that use servers or wait for them */
    struct pause *pause;         /* owns; of all; NULL: none */
    enum shutdown_mode shutdown;
    struct drain *drains;          /* of commands that wait */
    struct auth_lookup *lookups;   /* own: auth queries under way */
    struct auth_cache *auth_cache; /* owns; NULL: nothing is kept */
    struct deadline stats_deadline;
};

/*
 * Needs a configuration in force, and takes over what it asks for of TLS. NULL, with the reason
 * logged, if DNS cannot be set up.
 */
struct pools *pools_create(struct loop *loop, struct tls_setup *tls) MUST_CHECK;

/*
 * Takes over new TLS contexts, for connections that begin from now on. `reconnect`: settings have
 * changed, so that servers of now are not used again.
 */
void pools_use_tls(struct pools *pools, struct tls_setup *tls, bool reconnect);

/* Closes every server and drops all pools. No client may be left. */
void pools_close(struct pools *pools);

/* Frees the rest, after loop_destroy(): what the loop freed last still borrowed it. */
void pools_destroy(struct pools *pools);

/*
 * Binds everything to the configuration that has just been put in force: limits, changed entries
 * (their servers are marked), entries that are gone (their servers are closed; `removed` is called
 * for each first, to close its clients). Afterwards nothing points into the old snapshot.
 */
typedef void database_removed_fn(void *argument, struct database *database);
void pools_bind(struct pools *pools, database_removed_fn *removed, void *argument);

/* Recomputes all limits, after the console's SET; makes the pools that now have a minimum. */
void pools_refresh(struct pools *pools);

/* Closes all clients' servers of a database and drops its pools; KILL and removal. */
void pools_drop_database_pools(struct pools *pools, struct database *database, const char *reason);

/* Makes the pool of an entry with a forced user and a minimum, which exists without any client. */
void database_ensure_standing_pool(struct database *database);

/* Without clients an automatic entry is dropped when autodb_idle_timeout has passed, from now on. */
void database_begin_idle(struct database *database);

/* Without clients and servers a pool is dropped when pool_idle_timeout has passed, from now on. */
void pool_begin_idle(struct pool *pool);

/* Exactly this entry, or one made from "*" (if `create`); NULL if there is none. */
struct database *pools_find_database(struct pools *pools, const char *name, bool create);

/* The user object of a name, made on demand. The caller knows that the name is a known user. */
struct user *pools_get_user(struct pools *pools, const char *name);

/* The user object if it exists. */
struct user *pools_find_user(const struct pools *pools, const char *name);

/* The pool of the entry and the server-side user that goes with this login user. */
struct pool *pools_get_pool(struct pools *pools, struct database *database, struct user *user);

/* The pool in which `user` asks for secrets in this database (auth_query.h). */
struct pool *pools_get_auth_pool(struct pools *pools, struct database *database, struct user *user);

/* Clients come and go; an automatic entry without use is dropped later. */
void database_count_client(struct database *database, int change);

/* Effective limits for clients; 0: no limit. `user` is the login user and may be NULL. */
unsigned database_max_clients(const struct database *database);
unsigned user_max_clients(const struct user *user);
usec_t client_query_wait_timeout_us(const struct database *database, const struct user *user);

/* How long a client may wait for a server (0: no limit), and what it is told when that is over. */
usec_t client_wait_limit_us(const struct database *database, const struct user *user,
                            const char **ret_message);
usec_t client_idle_timeout_us(const struct user *user);

/* Effective sizes of an entry, as SHOW DATABASES prints them. */
unsigned database_pool_size(const struct database *database);
unsigned database_min_pool_size(const struct database *database);
unsigned database_reserve_pool_size(const struct database *database);
usec_t database_server_lifetime_us(const struct database *database);
unsigned database_max_connections(const struct database *database);
unsigned user_max_connections(const struct user *user);

/* A new unique number, for clients and servers alike. */
uint64_t pools_next_id(struct pools *pools);

/* The settings in force for new sockets. */
struct socket_options pools_socket_options(void);

#endif
