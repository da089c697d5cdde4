/*
 * pause.h - PAUSE of a database, or of all: servers are not lent, and go when they are released.
 *
 * A pause ends by RESUME, by its deadline if it has one, whether all servers have gone or not, or,
 * if it is for a switchover, when that is over. A later pause of the same database, or of all, takes
 * the place of the earlier one, deadline included.
 *
 * A pause for a switchover looks at the hosts itself, once the servers that were open before have
 * gone: one login at a time, every 100 ms for each host. It ends with a login that shows the role
 * that the entry wants (a primary, if it wants none) on a host that has been seen without it since
 * the pause began. That leaves out the old primary that is about to stop, and takes the new one as
 * well as the old one that has come back.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_POOL_PAUSE_H
#define PGWEIR_POOL_PAUSE_H

#include <stdbool.h>

#include "hosts/host_list.h"
#include "net/address.h"
#include "net/deadline.h"
#include "pool/pool.h"

/* What was asked for, by whom. */
struct pause_request {
    usec_t timeout_us;     /* 0: until RESUME */
    bool until_switchover; /* of a database, with a timeout */
    const char *user;      /* borrows; of the console's client. NULL: a signal, or a shutdown */
    struct address peer;   /* of the console's client */
};

struct pause {
    struct pools *pools;       /* borrows */
    struct database *database; /* borrows: the owner. NULL: all; pools is the owner */
    usec_t since_us;
    usec_t timeout_us; /* as asked for */
    struct deadline deadline;
    const char *user; /* owns a reference; NULL: nobody on the console */
    struct address peer;
    bool until_switchover;
    bool drained; /* until_switchover: no server that was open before is left */
    /* until_switchover: the hosts; STANDBY are those that have been seen without the role since. */
    struct host_list hosts;
};

/*
 * Pauses a database, or all (NULL). A NULL `request` is one by nobody and without a deadline. The
 * caller has checked that it makes sense.
 */
void pools_pause(struct pools *pools, struct database *database,
                 const struct pause_request *request);

/* Pauses each database whose entry wants a primary; returns their number. */
unsigned pools_pause_for_switchover(struct pools *pools, const struct pause_request *request);

/* Ends a pause that is in force, as RESUME does: who waits for its servers to go learns of it. */
void pools_resume(struct pools *pools, struct database *database);

/* Frees a pause without ending it for anybody; fine if there is none. */
void pause_release(struct pause **pause);

/* Servers that were open before the pause, and have not gone yet. */
unsigned pause_servers_left(const struct pause *pause);

/* The pool is paused for a switchover, and all servers of its database that were open have gone. */
bool pool_awaits_switchover(const struct pool *pool);

/* Looks whether the last server has gone; called when the pool is looked after. */
void pause_note_drained(struct database *database);

/*
 * A login of a pool that awaits a switchover: `suits` if the server has the role that the entry
 * wants. True if the switchover is over: the pause has been ended, and the server may be used.
 */
bool pause_note_login(struct pool *pool, const struct server *server, bool suits);

/* A login of such a pool has failed, for a reason that lies in the host. */
void pause_note_failure(struct pool *pool, const struct server *server);

#endif
