/*
 * shared_limits.c - limits on the server connections of several pools together.
 *
 * Every pool belongs to two budgets. Each keeps what it needs at hand, so that nothing is searched
 * for: the number of its sockets, its free servers in the order in which they became free, and the
 * pools that wait. Free servers are only kept where there is a limit.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/shared_limits.h"

#include <utlist.h>

#include "pool/pools.h"

/* How soon a pool below its minimum asks a shared limit again; no waiter reminds it. */
#define MINIMUM_RETRY_US (USEC_PER_SEC / 3)

static struct server_budget *budget_of(const struct pool *pool, enum budget_scope scope)
{
    return scope == BUDGET_DATABASE ? &pool->database->budget : &pool->user->budget;
}

static unsigned limit_of(const struct pool *pool, enum budget_scope scope)
{
    return scope == BUDGET_DATABASE ? pool->limits.max_db_connections
                                    : pool->limits.max_user_connections;
}

/* ---- counts ---- */

void budgets_count(struct pool *pool, int change)
{
    for (int scope = 0; scope < BUDGET_SCOPES; scope++)
        budget_of(pool, scope)->servers += (unsigned) change;
}

void budgets_count_close_needed(struct pool *pool, int change)
{
    for (int scope = 0; scope < BUDGET_SCOPES; scope++)
        budget_of(pool, scope)->close_needed += (unsigned) change;
}

/* ---- free servers, unused for longest first ---- */

static bool is_offered(const struct server *server, int scope)
{
    return server->offered_prev[scope] != NULL;
}

static void offer(struct server_budget *budget, struct server *server, int scope)
{
    DL_APPEND2(budget->offered, server, offered_prev[scope], offered_next[scope]);
}

static void withdraw(struct server_budget *budget, struct server *server, int scope)
{
    if (!is_offered(server, scope))
        return;
    DL_DELETE2(budget->offered, server, offered_prev[scope], offered_next[scope]);
    server->offered_prev[scope] = NULL;
}

void budgets_offer(struct pool *pool, struct server *server)
{
    for (int scope = 0; scope < BUDGET_SCOPES; scope++)
        if (limit_of(pool, scope) > 0 && !is_offered(server, scope))
            offer(budget_of(pool, scope), server, scope);
}

void budgets_withdraw(struct server *server)
{
    for (int scope = 0; scope < BUDGET_SCOPES; scope++)
        withdraw(budget_of(server->pool, scope), server, scope);
}

void budgets_change_user(struct pool *pool, struct user *user)
{
    struct server_budget *old = &pool->user->budget, *new = &user->budget;
    unsigned servers = pool_server_count(pool);
    struct server *server;
    pool_leave_hungry(pool);
    for (int state = 0; state < SERVER_CLOSED; state++) {
        DL_FOREACH(pool->servers[state], server) {
            old->close_needed -= server->close_needed;
            new->close_needed += server->close_needed;
            if (!is_offered(server, BUDGET_USER))
                continue;
            withdraw(old, server, BUDGET_USER);
            offer(new, server, BUDGET_USER);
        }
    }
    old->servers -= servers;
    new->servers += servers;
    pool->user = user;
}

static struct server *find_evictable(const struct pool *pool, int scope)
{
    struct server *server = budget_of(pool, scope)->offered;
    for (; server != NULL; server = server->offered_next[scope]) {
        bool awaited = server->state == SERVER_USED && server->pool->waiters != NULL;
        if (server->pool != pool && !awaited)
            return server;
    }
    return NULL;
}

static bool evict(const struct pool *pool, int scope)
{
    struct server *server = find_evictable(pool, scope);
    if (server != NULL)
        pool_close_server(server->pool, server, "evicted");
    return server != NULL;
}

/* ---- pools that wait for room ---- */

static void wait_in(struct pool *pool, struct server_budget *budget)
{
    if (pool->waiters == NULL) {
        pool_look_again(pool, MINIMUM_RETRY_US, clock_now_us());
        return;
    }
    if (pool->hungry_in == budget)
        return; /* keeps its place */
    pool_leave_hungry(pool);
    DL_APPEND2(budget->hungry, pool, hungry_prev, hungry_next);
    pool->hungry_in = budget;
}

void pool_leave_hungry(struct pool *pool)
{
    if (pool->hungry_in == NULL)
        return;
    DL_DELETE2(pool->hungry_in->hungry, pool, hungry_prev, hungry_next);
    pool->hungry_in = NULL;
}

static void feed(struct server_budget *budget)
{
    struct pool *first = budget->hungry;
    if (first == NULL)
        return;
    pool_leave_hungry(first);
    pool_tend(first);
}

void pool_feed_hungry(struct pool *pool)
{
    for (int scope = 0; scope < BUDGET_SCOPES; scope++)
        feed(budget_of(pool, scope));
}

/* Brings the count below the limit, at the cost of others if need be. */
static bool fits(struct pool *pool, int scope)
{
    const struct server_budget *budget = budget_of(pool, scope);
    unsigned limit = limit_of(pool, scope);
    bool may_evict = pool->waiters != NULL;
    while (limit > 0 && budget->servers >= limit)
        if (!may_evict || !evict(pool, scope))
            return false;
    return true;
}

bool shared_limits_allow(struct pool *pool)
{
    for (int scope = 0; scope < BUDGET_SCOPES; scope++) {
        if (!fits(pool, scope)) {
            wait_in(pool, budget_of(pool, scope));
            return false;
        }
    }
    pool_leave_hungry(pool);
    return true;
}
