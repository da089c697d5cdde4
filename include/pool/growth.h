/*
 * growth.h - when a pool opens another server connection. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_POOL_GROWTH_H
#define PGWEIR_POOL_GROWTH_H

#include "pool/pool.h"

/* Opens a connection if one is needed and allowed, or sets a time to look again. */
void pool_grow(struct pool *pool);

/* The news of servers, for server_open(). In pool.c. */
extern const struct server_ops pool_server_ops;

/* Puts a new server on the list of its state. In pool.c. */
void pool_add_server(struct pool *pool, struct server *server);

/* Runs the check query on a USED server; it becomes TESTED, then IDLE. In pool.c. */
void pool_check_server(struct pool *pool, struct server *server, const char *sql, usec_t limit_us);

#endif
