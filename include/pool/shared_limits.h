/*
 * shared_limits.h - limits that several pools share: max_db_connections of a database entry,
 * max_user_connections of a server-side user, max_server_connections of all. Private to the room.
 *
 * A pool whose clients wait while a limit is reached gets room at once where another pool has a
 * connection that is free: the one that is unused for longest is evicted. Otherwise the pool stands
 * in the queue of the limit, and is told when a connection becomes free or ends.
 *
 * max_server_connections is shared out fairly. The share of a pool is the limit divided by the number
 * of pools that use servers or wait for them. A pool within its share keeps a free server until it
 * is idle for a second, so that clients who pause do not cost a login each time; a pool above it
 * gives up a busy one, when its transaction is over, to a pool that waits and is below.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_POOL_SHARED_LIMITS_H
#define PGWEIR_POOL_SHARED_LIMITS_H

#include "pool/pool.h"

/* The budgets of a pool count one socket to the server more (+1) or less (-1). */
void budgets_count(struct pool *pool, int change);

/* The server is not to be used again; WAIT_CLOSE waits until it is gone. */
void budgets_count_close_needed(struct pool *pool, int change);

/* Servers or waiting clients of the pool have come or gone: does it count among those who share? */
void budgets_note_demand(struct pool *pool);

/* The server may be evicted from now on (fine if it could be already), or no longer. */
void budgets_offer(struct pool *pool, struct server *server);
void budgets_withdraw(struct server *server);

/* Moves a pool with all its servers to another user. */
void budgets_change_user(struct pool *pool, struct user *user);

/*
 * Makes room for one more server, at the cost of other pools if somebody waits. Returns false if
 * there is none: the pool is told later.
 */
bool shared_limits_allow(struct pool *pool);

/*
 * The server is about to be free, and another pool has a better right to it: it is to be closed.
 * Looks at one of the pools that wait, the next time at the next one.
 */
bool shared_limits_demand(struct pool *pool, const struct server *server);

/* A server of the pool went idle or away: others that wait for a shared limit may try. */
void pool_feed_hungry(struct pool *pool);

/* Takes the pool out of the queue that it stands in. */
void pool_leave_hungry(struct pool *pool);

/* It leaves the queue, and if room was offered to it, that goes to the next one. */
void pool_needs_no_room(struct pool *pool);

/* Sets a time to look after the pool again, `limit_us` after `since_us`; in growth.c. */
void pool_look_again(struct pool *pool, usec_t limit_us, usec_t since_us);

#endif
