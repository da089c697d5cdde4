/*
 * drain.c - PAUSE and RESUME, and the console commands that wait until servers are gone.
 *
 * Each waiting command has its own condition and gets its own answer. Conditions are looked at when
 * a server has gone; with no command waiting that costs one comparison.
 *
 * SPDX-License-Identifier: ISC
 */
#include <utlist.h>

#include "pool/pools.h"

static bool is_complete(const struct pools *pools, const struct drain *drain)
{
    const struct server_budget *budget =
        drain->database != NULL ? &drain->database->budget : &pools->budget;
    return (drain->kind == DRAIN_PAUSE ? budget->servers : budget->close_needed) == 0;
}

static void end_drain(struct pools *pools, struct drain *drain, bool resumed)
{
    DL_DELETE(pools->drains, drain);
    drain->waiting = false;
    drain->resumed = resumed;
    loop_post(pools->loop, &drain->task);
}

void pools_check_drains(struct pools *pools)
{
    struct drain *drain, *next;
    DL_FOREACH_SAFE(pools->drains, drain, next) {
        if (is_complete(pools, drain))
            end_drain(pools, drain, false);
    }
}

void pools_wait_for_drain(struct pools *pools, struct drain *drain, enum drain_kind kind,
                          struct database *database)
{
    drain->kind = kind;
    drain->database = database;
    drain->waiting = true;
    drain->resumed = false;
    DL_APPEND(pools->drains, drain);
    pools_check_drains(pools);
}

void pools_cancel_drain(struct pools *pools, struct drain *drain)
{
    loop_cancel(pools->loop, &drain->task);
    if (drain->waiting)
        DL_DELETE(pools->drains, drain);
    drain->waiting = false;
}

void pools_end_drains(struct pools *pools, const struct database *database)
{
    struct drain *drain, *next;
    DL_FOREACH_SAFE(pools->drains, drain, next) {
        if (drain->database == database)
            end_drain(pools, drain, false);
    }
}

static void tend_all(struct pools *pools, const struct database *database)
{
    struct pool *pool;
    DL_FOREACH(pools->all, pool) {
        if (database == NULL || pool->database == database)
            pool_tend(pool);
    }
}

void pools_pause(struct pools *pools, struct database *database)
{
    if (database != NULL)
        database->paused = true;
    else
        pools->paused = true;
    tend_all(pools, database);
}

void pools_resume(struct pools *pools, struct database *database)
{
    struct drain *drain, *next;
    if (database != NULL) {
        database->paused = false;
        database_begin_idle(database);
        database_ensure_standing_pool(database); /* KILL has dropped it */
    } else {
        pools->paused = false;
    }
    DL_FOREACH_SAFE(pools->drains, drain, next) {
        if (drain->kind == DRAIN_PAUSE && drain->database == database)
            end_drain(pools, drain, true);
    }
    tend_all(pools, database);
}
