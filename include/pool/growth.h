/*
 * growth.h - when a pool opens another server connection. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_POOL_GROWTH_H
#define PGWEIR_POOL_GROWTH_H

#include "pool/pool.h"

/* Opens the connections that are needed and allowed, or sets a time to look again. */
void pool_grow(struct pool *pool);

/* A pool that awaits a switchover looks at one host, unless another of its database does. */
void pool_probe(struct pool *pool);

/* A login has succeeded or failed: sets how many may be under way at once from now on. */
void pool_note_login(struct pool *pool, bool succeeded);

/* A server is there that has logged in and is not for one client alone. */
bool pool_has_connected_server(const struct pool *pool);

/* The news of servers, for server_open(). In pool.c. */
extern const struct server_ops pool_server_ops;

/* Puts a new server on the list of its state. In pool.c. */
void pool_add_server(struct pool *pool, struct server *server);

/* It was opened for this waiter, who leaves the queue. In pool.c. */
void pool_promise(struct pool *pool, struct waiter *waiter, struct server *server);

/* The first in the queue needs a server of its own. */
static inline bool pool_dedicated_is_next(const struct pool *pool)
{
    return pool->waiters != NULL && pool->waiters->dedicated != NULL;
}

/* A free server of the pool that is of no use to who is next, because it needs one of its own. */
static inline struct server *pool_surplus_for_dedicated(const struct pool *pool)
{
    struct server *used = pool->servers[SERVER_USED], *idle = pool->servers[SERVER_IDLE];
    if (!pool_dedicated_is_next(pool))
        return NULL;
    return used != NULL ? used : idle != NULL ? idle->prev : NULL;
}

/* Runs the check query on a USED server; it becomes TESTED, then IDLE. In pool.c. */
void pool_check_server(struct pool *pool, struct server *server, const char *sql, usec_t limit_us);

#endif
