/*
 * auth_query.h - asks a server for the secret of a user who is not in auth_file.
 *
 * The query runs on connections of its own, which no client is ever linked to: nothing that a
 * client sends can change what they mean. They belong to a pool of the authentication database and
 * auth_user, beside the pool that clients of that name would use, and count against its limits.
 *
 * With auth_query_cache_ttl answers are kept. One that did not let its user in is fetched again at
 * the next login, and while no server can be reached old answers do.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_POOL_AUTH_QUERY_H
#define PGWEIR_POOL_AUTH_QUERY_H

#include <stdbool.h>

#include "base/secret.h"
#include "net/loop.h"
#include "pool/pools.h"
#include "wire/error_response.h"

enum auth_answer {
    AUTH_ANSWER_USER,    /* user_name and secret tell who it is */
    AUTH_ANSWER_NO_USER, /* there is no such user */
    AUTH_ANSWER_FAILED,  /* the failure is for the client */
};

struct auth_lookup;

/* One question; a member of the asking login, zeroed before, with `answered` filled in. */
struct auth_request {
    void (*answered)(struct auth_request *request); /* runs from the run queue */
    enum auth_answer answer;
    const char *user_name; /* owns a reference; as the server spells it */
    struct secret secret;  /* owns; unset for a user without one */
    struct failure failure;
    struct buffer key; /* owns; under which the answer is kept */
    bool from_cache;
    struct auth_lookup *lookup; /* borrows while the query is under way, else NULL */
    struct pools *pools;        /* borrows */
    struct task task;
};

/*
 * The user who asks for logins of this entry, or NULL: there is no auth_query then. Users of the
 * console are asked for only where auth_dbname names an entry; otherwise asking fails.
 */
const char *auth_query_user(const struct database *database);

/* Asks for `name`; `answered` follows. */
void auth_query_ask(struct pools *pools, struct database *database, const char *name,
                    struct auth_request *request);

/* Takes an open question back (fine for one that is not open), and frees what the request owns. */
void auth_query_release(struct auth_request *request);

/* The answer did not let its user in: if it was a kept one, the next login asks again. */
void auth_query_distrust(const struct auth_request *request);

/* Drops all kept answers, and keeps none that was asked for before: the settings have changed. */
void auth_query_forget(struct pools *pools);

/* No server of the pool can be reached: what waits gets old answers, where there are any. */
void auth_query_use_old_answers(struct pool *pool);

/* Ends the queries of a pool that is about to go. */
void auth_query_end_pool(struct pool *pool);

#endif
