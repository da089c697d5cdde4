/*
 * drain.h - console commands that wait until servers are gone: PAUSE and WAIT_CLOSE.
 *
 * Each waiting command has its own condition and gets its own answer.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_POOL_DRAIN_H
#define PGWEIR_POOL_DRAIN_H

#include <stdbool.h>

#include "net/loop.h"

struct database;
struct pause;
struct pools;

enum drain_kind {
    DRAIN_PAUSE,        /* PAUSE [db]: no server is left */
    DRAIN_SWITCHOVER,   /* PAUSE UNTIL SWITCHOVER: none of the databases that are paused for it */
    DRAIN_CLOSE_NEEDED, /* WAIT_CLOSE [db]: none that is marked for closing */
};

enum drain_result {
    DRAIN_DONE,
    DRAIN_RESUMED,   /* a RESUME has ended the pause before */
    DRAIN_TIMED_OUT, /* its deadline has */
};

/* Room for what is still active: names of databases are cut off, and counted no more, at its end. */
#define STILL_ACTIVE_SIZE 256

/* A member of whoever waits, zeroed, with `task` filled in. */
struct drain {
    enum drain_kind kind;
    struct database *database; /* borrows. NULL: all */
    struct task task;          /* posted when it is over; `result` tells how */
    bool waiting;
    enum drain_result result;
    char still_active[STILL_ACTIVE_SIZE]; /* of DRAIN_TIMED_OUT: "2 servers of database app" */
    struct drain *next, *prev;            /* member of pools->drains while it waits */
};

/* Posts the task when the condition is met, which may be now. */
void pools_wait_for_drain(struct pools *pools, struct drain *drain, enum drain_kind kind,
                          struct database *database);

/* Nobody waits any more; fine at any time. */
void pools_cancel_drain(struct pools *pools, struct drain *drain);

/* The database is about to go: whatever waits for its servers is over. */
void pools_end_drains(struct pools *pools, const struct database *database);

/* Ends what waits for the servers of a pause to go. */
void drains_of_pause_end(const struct pause *pause, enum drain_result result);

/* A server has come, gone or changed: waiting drains may be complete. Called by pool.c. */
void pools_check_drains(struct pools *pools);

#endif
