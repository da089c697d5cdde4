/*
 * role.c - which servers may serve an entry with target_session_attrs.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/role.h"

#include <string.h>

#include "config/config.h"
#include "pool/pause.h"

/* Where a role is wanted the hosts are looked at this often, at last. */
#define ROLE_RETRY_US USEC_PER_SEC

/* In a pause that waits for the end of a switchover; the shortest pause of a host. */
#define SWITCHOVER_RETRY_US (USEC_PER_SEC / 10)

static enum target_session_attrs wanted(const struct pool *pool)
{
    return pool->database->config->target_session_attrs;
}

bool role_is_unknown(const struct pool *pool, const struct server *server)
{
    return pool_wants_role(pool) && server->in_hot_standby == TOLD_NOTHING;
}

/* A server of which nobody has asked suits whoever does not care. */
static bool has_role(const struct server *server, enum target_session_attrs target)
{
    bool standby = server->in_hot_standby == TOLD_ON;
    bool writes = !standby && server->read_only != TOLD_ON;
    switch (target) {
    case TARGET_READ_WRITE:
        return writes;
    case TARGET_READ_ONLY:
        return !writes;
    case TARGET_PRIMARY:
        return !standby;
    case TARGET_STANDBY:
    case TARGET_PREFER_STANDBY:
        return standby;
    case TARGET_ANY:
        break;
    }
    return true;
}

bool role_suits(struct pool *pool, const struct server *server)
{
    enum target_session_attrs target = wanted(pool);
    bool standby = server->in_hot_standby == TOLD_ON;
    if (target == TARGET_ANY)
        return true;
    if (host_list_note_role(&pool->hosts, server->host, server->port,
                            standby ? HOST_STANDBY : HOST_PRIMARY))
        log_info(&server->subject, "the host is a %s (database %s, target_session_attrs=%s)",
                 standby ? "standby" : "primary", pool->database->name,
                 target_session_attrs_name(target));
    return has_role(server, target) ||
           (target == TARGET_PREFER_STANDBY && !host_list_may_have_standby(&pool->hosts));
}

bool role_still_suits(const struct pool *pool, const struct server *server)
{
    return wanted(pool) == TARGET_PREFER_STANDBY || has_role(server, wanted(pool));
}

bool role_is_wrong_after_switchover(const struct pool *pool, const struct server *server)
{
    return !pool_wants_role(pool) && server->in_hot_standby == TOLD_ON;
}

usec_t pool_login_retry_us(const struct pool *pool)
{
    usec_t retry_us = settings_current()->server_login_retry;
    if (pool_awaits_switchover(pool))
        return SWITCHOVER_RETRY_US;
    return pool_wants_role(pool) && retry_us > ROLE_RETRY_US ? ROLE_RETRY_US : retry_us;
}

bool host_is_stopped(const struct failure *failure)
{
    return failure->message[0] == '\0' || strncmp(failure->sqlstate, "57", 2) == 0;
}

bool role_may_come(const struct pool *pool, const struct failure *failure)
{
    return (pool_wants_role(pool) || pool_awaits_switchover(pool)) && host_is_stopped(failure);
}
