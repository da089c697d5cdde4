/*
 * drain.c - console commands that wait until servers are gone.
 *
 * Conditions are looked at when a server has gone; with no command waiting that costs one
 * comparison.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/drain.h"

#include <stdio.h>

#include <utlist.h>

#include "pool/pause.h"
#include "pool/pools.h"

/* Servers of the database that the drain waits for. */
static unsigned servers_in_the_way(const struct drain *drain, const struct database *database)
{
    const struct pause *pause = database->pause;
    if (drain->kind == DRAIN_CLOSE_NEEDED)
        return database->budget.close_needed;
    if (drain->kind == DRAIN_PAUSE)
        return database->budget.servers;
    return pause != NULL && pause->until_switchover ? pause_servers_left(pause) : 0;
}

static bool is_complete(const struct pools *pools, const struct drain *drain)
{
    const struct database *database;
    if (drain->database != NULL)
        return servers_in_the_way(drain, drain->database) == 0;
    if (drain->kind == DRAIN_CLOSE_NEEDED)
        return pools->budget.close_needed == 0;
    if (drain->kind == DRAIN_PAUSE)
        return pools->budget.servers == 0;
    for (database = pools->databases; database != NULL; database = database->hh.next)
        if (servers_in_the_way(drain, database) > 0)
            return false;
    return true;
}

static void describe(const struct pools *pools, struct drain *drain)
{
    size_t length = 0;
    const struct database *database;
    for (database = pools->databases; database != NULL; database = database->hh.next) {
        unsigned count = drain->database == NULL || drain->database == database
                             ? servers_in_the_way(drain, database)
                             : 0;
        if (count == 0 || length >= sizeof(drain->still_active))
            continue;
        length += (size_t) snprintf(drain->still_active + length,
                                    sizeof(drain->still_active) - length,
                                    "%s%u server%s of database %s", length > 0 ? ", " : "", count,
                                    count == 1 ? "" : "s", database->name);
    }
}

static void end_drain(struct pools *pools, struct drain *drain, enum drain_result result)
{
    if (result == DRAIN_TIMED_OUT)
        describe(pools, drain);
    DL_DELETE(pools->drains, drain);
    drain->waiting = false;
    drain->result = result;
    loop_post(pools->loop, &drain->task);
}

void pools_check_drains(struct pools *pools)
{
    struct drain *drain, *next;
    DL_FOREACH_SAFE(pools->drains, drain, next) {
        if (is_complete(pools, drain))
            end_drain(pools, drain, DRAIN_DONE);
    }
}

void pools_wait_for_drain(struct pools *pools, struct drain *drain, enum drain_kind kind,
                          struct database *database)
{
    drain->kind = kind;
    drain->database = database;
    drain->waiting = true;
    drain->result = DRAIN_DONE;
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
            end_drain(pools, drain, DRAIN_DONE);
    }
}

static bool waits_for(const struct drain *drain, const struct pause *pause)
{
    return (drain->kind == DRAIN_PAUSE && drain->database == pause->database) ||
           (drain->kind == DRAIN_SWITCHOVER && pause->until_switchover);
}

void drains_of_pause_end(const struct pause *pause, enum drain_result result)
{
    struct drain *drain, *next;
    DL_FOREACH_SAFE(pause->pools->drains, drain, next) {
        if (waits_for(drain, pause))
            end_drain(pause->pools, drain, result);
    }
}
