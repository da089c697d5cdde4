/*
 * role.h - which servers may serve an entry with target_session_attrs.
 *
 * A connection is handed out only if its server has the wanted role, as it said itself at its login
 * or later. While no host of the entry has the role nobody is turned away: that a host refuses
 * connections, is starting up, or is a standby is no answer to those who wait, but a reason to look
 * again, every 100 ms at first and every second at last. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_POOL_ROLE_H
#define PGWEIR_POOL_ROLE_H

#include <stdbool.h>

#include "pool/pool.h"

static inline bool pool_wants_role(const struct pool *pool)
{
    return pool->database->config->target_session_attrs != TARGET_ANY;
}

/* The server has not said what the pool must know of it. */
bool role_is_unknown(const struct pool *pool, const struct server *server);

/* The server may serve the pool's clients. Notes what it is, and logs it if it is news. */
bool role_suits(struct pool *pool, const struct server *server);

/* It still may, by what it has said since. */
bool role_still_suits(const struct pool *pool, const struct server *server);

/* Where the entry does not care about roles, a switchover still ends with a primary. */
bool role_is_wrong_after_switchover(const struct pool *pool, const struct server *server);

/* server_login_retry, or less where a role is wanted. */
usec_t pool_login_retry_us(const struct pool *pool);

/* It did not answer, or says that it stops or starts. */
bool host_is_stopped(const struct failure *failure);

/* A failed attempt is no answer to clients who wait for a role: nothing but the host was wrong. */
bool role_may_come(const struct pool *pool, const struct failure *failure);

#endif
