/*
 * shared_limits.c - limits on the server connections of several pools together.
 *
 * Every pool belongs to three budgets. Each keeps what it needs at hand, so that nothing is searched
 * for: the number of its sockets, its free servers in the order in which they became free, and the
 * pools that wait. Free servers are only kept where there is a limit.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/shared_limits.h"

#include <utlist.h>

#include "pool/growth.h"
#include "pool/pools.h"

/* How soon a pool below its minimum asks a shared limit again; no waiter reminds it. */
#define MINIMUM_RETRY_US (USEC_PER_SEC / 3)

/* A pool within its share keeps a free server for so long: shorter pauses do not cost a login. */
#define IDLE_GRACE_US USEC_PER_SEC

/* If there are more pools than servers they take turns; a turn lasts at least so long. */
#define TURN_US (USEC_PER_SEC / 4)

/* Of the servers that became free within IDLE_GRACE_US so many are looked at. */
#define LOOK_AT_MAX 16

static struct server_budget *budget_of(const struct pool *pool, enum budget_scope scope)
{
    return scope == BUDGET_DATABASE ? &pool->database->budget
           : scope == BUDGET_USER   ? &pool->user->budget
                                    : &pool->pools->budget;
}

static unsigned limit_of(const struct pool *pool, enum budget_scope scope)
{
    return scope == BUDGET_DATABASE ? pool->limits.max_db_connections
           : scope == BUDGET_USER   ? pool->limits.max_user_connections
                                    : pool->limits.max_server_connections;
}

/* ---- counts ---- */

void budgets_count(struct pool *pool, int change)
{
    for (enum budget_scope scope = 0; scope < BUDGET_SCOPES; scope++)
        budget_of(pool, scope)->servers += (unsigned) change;
}

void budgets_count_close_needed(struct pool *pool, int change)
{
    for (enum budget_scope scope = 0; scope < BUDGET_SCOPES; scope++)
        budget_of(pool, scope)->close_needed += (unsigned) change;
}

/* ---- free servers, unused for longest first ---- */

static bool is_offered(const struct server *server, enum budget_scope scope)
{
    return server->offered_prev[scope] != NULL;
}

static void offer(struct server_budget *budget, struct server *server, enum budget_scope scope)
{
    DL_APPEND2(budget->offered, server, offered_prev[scope], offered_next[scope]);
}

static void withdraw(struct server_budget *budget, struct server *server, enum budget_scope scope)
{
    if (!is_offered(server, scope))
        return;
    DL_DELETE2(budget->offered, server, offered_prev[scope], offered_next[scope]);
    server->offered_prev[scope] = NULL;
}

void budgets_offer(struct pool *pool, struct server *server)
{
    for (enum budget_scope scope = 0; scope < BUDGET_SCOPES; scope++)
        if (limit_of(pool, scope) > 0 && !is_offered(server, scope))
            offer(budget_of(pool, scope), server, scope);
}

void budgets_withdraw(struct server *server)
{
    for (enum budget_scope scope = 0; scope < BUDGET_SCOPES; scope++)
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

/* ---- fair shares of max_server_connections ---- */

void budgets_note_demand(struct pool *pool)
{
    bool demanding = pool->waiters != NULL || pool->server_counts[SERVER_ACTIVE] > 0;
    if (demanding == pool->demanding)
        return;
    pool->demanding = demanding;
    pool->pools->demanding_count += demanding ? 1 : -1U;
}

/* How the pool's servers compare with its share, which is the limit divided by those who want some. */
static int compare_with_share(const struct pool *pool)
{
    uint64_t sharers = pool->pools->demanding_count + (pool->demanding ? 0 : 1);
    uint64_t sum = pool_server_count(pool) * sharers;
    uint64_t limit = pool->limits.max_server_connections;
    return sum > limit ? 1 : sum < limit ? -1 : 0;
}

static bool is_long_idle(const struct server *server)
{
    return clock_now_us() - server->request_us >= IDLE_GRACE_US;
}

static bool has_better_right(const struct pool *waiting, const struct pool *pool,
                             const struct server *server)
{
    unsigned theirs = pool_server_count(waiting), ours = pool_server_count(pool);
    if (waiting->waiters == NULL || compare_with_share(waiting) >= 0 ||
        compare_with_share(pool) <= 0)
        return false;
    return ours >= theirs + 2 ||
           (theirs == 0 && clock_now_us() - server->connect_us >= TURN_US);
}

bool shared_limits_demand(struct pool *pool, const struct server *server)
{
    struct server_budget *all = &pool->pools->budget;
    struct pool *waiting = all->hungry;
    unsigned limit = pool->limits.max_server_connections;
    if (waiting == NULL || limit == 0 || all->servers < limit)
        return false;
    if (waiting != pool && has_better_right(waiting, pool, server))
        return true;
    DL_DELETE2(all->hungry, waiting, hungry_prev, hungry_next);
    DL_APPEND2(all->hungry, waiting, hungry_prev, hungry_next);
    return false;
}

/* ---- eviction ---- */

static bool may_be_evicted(const struct server *server, enum budget_scope scope)
{
    if (server->state == SERVER_USED && server->pool->waiters != NULL)
        return false;
    return scope != BUDGET_ALL || is_long_idle(server) || compare_with_share(server->pool) > 0;
}

static struct server *find_evictable(const struct pool *pool, enum budget_scope scope)
{
    struct server *server = budget_of(pool, scope)->offered;
    struct server *own = pool_surplus_for_dedicated(pool);
    unsigned looked_at = 0;
    if (own != NULL)
        return own;
    for (; server != NULL && looked_at < LOOK_AT_MAX; server = server->offered_next[scope]) {
        if (server->pool != pool && may_be_evicted(server, scope))
            return server;
        looked_at += scope == BUDGET_ALL;
    }
    return NULL;
}

/* The room that this makes is ours: whoever waits is not offered it. */
static bool evict(const struct pool *pool, enum budget_scope scope)
{
    struct server_budget *budget = budget_of(pool, scope);
    struct server *server = find_evictable(pool, scope);
    if (server == NULL)
        return false;
    budget->promised++;
    pool_close_server(server->pool, server, "evicted");
    budget->promised--;
    return true;
}

/* ---- pools that wait for room ---- */

/* No event tells that a server has been idle for long. */
static void look_again_when_long_idle(struct pool *pool)
{
    const struct server *first = pool->pools->budget.offered;
    if (first != NULL)
        pool_look_again(pool, IDLE_GRACE_US,
                        is_long_idle(first) ? clock_now_us() : first->request_us);
}

static void wait_in(struct pool *pool, enum budget_scope scope)
{
    struct server_budget *budget = budget_of(pool, scope);
    if (pool->waiters == NULL) {
        pool_look_again(pool, MINIMUM_RETRY_US, clock_now_us());
        return;
    }
    if (scope == BUDGET_ALL)
        look_again_when_long_idle(pool);
    if (pool->hungry_in == budget)
        return; /* keeps its place */
    pool_leave_hungry(pool);
    DL_APPEND2(budget->hungry, pool, hungry_prev, hungry_next);
    pool->hungry_in = budget;
}

static void give_up_promise(struct pool *pool)
{
    if (pool->promised_by != NULL)
        pool->promised_by->promised--;
    pool->promised_by = NULL;
}

void pool_leave_hungry(struct pool *pool)
{
    give_up_promise(pool);
    if (pool->hungry_in == NULL)
        return;
    DL_DELETE2(pool->hungry_in->hungry, pool, hungry_prev, hungry_next);
    pool->hungry_in = NULL;
}

static bool has_room(const struct pool *pool, enum budget_scope scope)
{
    const struct server_budget *budget = budget_of(pool, scope);
    unsigned limit = limit_of(pool, scope);
    return limit == 0 || budget->servers + budget->promised < limit;
}

/* Room is kept for the first one until it has looked: others may be looked after before it. */
static void feed(struct server_budget *budget, enum budget_scope scope)
{
    struct pool *first = budget->hungry;
    if (first == NULL)
        return;
    if (has_room(first, scope)) {
        pool_leave_hungry(first);
        first->promised_by = budget;
        budget->promised++;
    }
    pool_tend(first);
}

void pool_feed_hungry(struct pool *pool)
{
    for (enum budget_scope scope = 0; scope < BUDGET_SCOPES; scope++)
        feed(budget_of(pool, scope), scope);
}

void pool_needs_no_room(struct pool *pool)
{
    pool_leave_hungry(pool);
    pool_feed_hungry(pool);
}

/* Makes room, at the cost of others if need be. */
static bool fits(struct pool *pool, enum budget_scope scope)
{
    bool may_evict = pool->waiters != NULL;
    while (!has_room(pool, scope))
        if (!may_evict || !evict(pool, scope))
            return false;
    return true;
}

bool shared_limits_allow(struct pool *pool)
{
    give_up_promise(pool);
    for (enum budget_scope scope = 0; scope < BUDGET_SCOPES; scope++) {
        if (!fits(pool, scope)) {
            wait_in(pool, scope);
            return false;
        }
    }
    pool_leave_hungry(pool);
    return true;
}
