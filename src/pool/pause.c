/*
 * pause.c - PAUSE of a database, or of all; RESUME, and what else ends a pause.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/pause.h"

#include <stdlib.h>

#include <utlist.h>

#include "base/intern.h"
#include "base/log.h"
#include "base/memory.h"
#include "pool/drain.h"
#include "pool/pools.h"

static struct pause **place_of(struct pools *pools, struct database *database)
{
    return database != NULL ? &database->pause : &pools->pause;
}

/* The pools of the database, or all. */
static void tend_pools(struct pools *pools, const struct database *database)
{
    struct pool *pool;
    if (database == NULL) {
        DL_FOREACH(pools->all, pool)
            pool_tend(pool);
        return;
    }
    for (pool = database->members; pool != NULL; pool = pool->hh.next)
        pool_tend(pool);
}

/* ---- the end ---- */

void pause_release(struct pause **pause)
{
    if (*pause == NULL)
        return;
    deadline_clear(&(*pause)->deadline);
    host_list_release(&(*pause)->hosts);
    if ((*pause)->user != NULL)
        intern_give_back((*pause)->user);
    free(*pause);
    *pause = NULL;
}

/* What has failed while nobody could use it says nothing about now. */
static void forget_failures(struct database *database)
{
    for (struct pool *pool = database->members; pool != NULL; pool = pool->hh.next) {
        pool->last_attempt_failed = false;
        host_list_forget_failures(&pool->hosts);
    }
}

static void end_pause(struct pools *pools, struct database *database)
{
    struct pause **pause = place_of(pools, database);
    if ((*pause)->until_switchover)
        forget_failures(database);
    pause_release(pause);
    if (database != NULL) {
        database_begin_idle(database);
        database_ensure_standing_pool(database); /* KILL has dropped it */
    }
    tend_pools(pools, database);
}

void pools_resume(struct pools *pools, struct database *database)
{
    drains_of_pause_end(*place_of(pools, database), DRAIN_RESUMED);
    end_pause(pools, database);
}

static void on_deadline(struct deadline *deadline)
{
    struct pause *pause = container_of(deadline, struct pause, deadline);
    log_info(NULL, "the pause of %s%s has reached its TIMEOUT",
             pause->database != NULL ? "database " : "all databases",
             pause->database != NULL ? pause->database->name : "");
    drains_of_pause_end(pause, DRAIN_TIMED_OUT);
    end_pause(pause->pools, pause->database);
}

/* ---- the beginning ---- */

/* Hosts that no pool has met yet have not had the role either. */
static void list_hosts(struct pause *pause)
{
    const struct config_database *config = pause->database->config;
    if (pause->database->members != NULL)
        host_list_init(&pause->hosts, config->host, config->ports, false);
}

void pools_pause(struct pools *pools, struct database *database,
                 const struct pause_request *request)
{
    static const struct pause_request plain;
    struct pause **place = place_of(pools, database);
    struct pause *pause = memory_new(sizeof(*pause));
    if (request == NULL)
        request = &plain;
    pause_release(place);
    *place = pause;
    pause->pools = pools;
    pause->database = database;
    pause->since_us = clock_now_us();
    pause->timeout_us = request->timeout_us;
    pause->user = request->user != NULL ? intern_take(request->user) : NULL;
    pause->peer = request->peer;
    pause->until_switchover = database != NULL && request->until_switchover;
    pause->deadline.passed = on_deadline;
    if (pause->until_switchover)
        list_hosts(pause);
    if (pause->timeout_us > 0)
        deadline_set_at(pools->loop, &pause->deadline, pause->since_us + pause->timeout_us);
    tend_pools(pools, database);
}

static bool wants_primary(const struct database *database)
{
    enum target_session_attrs target = database->config->target_session_attrs;
    return !database->console && (target == TARGET_READ_WRITE || target == TARGET_PRIMARY);
}

unsigned pools_pause_for_switchover(struct pools *pools, const struct pause_request *request)
{
    struct database *database;
    unsigned count = 0;
    for (database = pools->databases; database != NULL; database = database->hh.next) {
        if (!wants_primary(database))
            continue;
        pools_pause(pools, database, request);
        count++;
    }
    return count;
}

/* ---- the switchover ---- */

unsigned pause_servers_left(const struct pause *pause)
{
    if (pause->until_switchover && pause->drained)
        return 0;
    return pause->database != NULL ? pause->database->budget.servers : pause->pools->budget.servers;
}

bool pool_awaits_switchover(const struct pool *pool)
{
    const struct pause *pause = pool->database->pause;
    return pool->pools->pause == NULL && pause != NULL && pause->until_switchover &&
           pause->drained;
}

void pause_note_drained(struct database *database)
{
    struct pause *pause = database->pause;
    if (pause != NULL && database->budget.servers == 0)
        pause->drained = true;
}

bool pause_note_login(struct pool *pool, const struct server *server, bool suits)
{
    struct pause *pause = pool->database->pause;
    if (!suits) {
        pause_note_failure(pool, server);
        return false;
    }
    if (host_list_role(&pause->hosts, server->host, server->port, HOST_STANDBY) != HOST_STANDBY)
        return false;
    log_info(&server->subject, "the switchover of database %s is over, the pause ends",
             pool->database->name);
    end_pause(pool->pools, pool->database);
    return true;
}

void pause_note_failure(struct pool *pool, const struct server *server)
{
    (void) host_list_note_role(&pool->database->pause->hosts, server->host, server->port,
                               HOST_STANDBY);
}
