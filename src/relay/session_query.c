/*
 * session_query.c - queries and transactions on the linked server: clocks, counters and limits.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/session.h"

#include "pool/pools.h"

void session_begin_query(struct session *session)
{
    struct client *client = session->client;
    struct server *server = client->server;
    struct pool *pool = client->pool;
    server->ready = false;
    if (server->query_start_us != 0)
        return;
    server->query_start_us = client->query_start_us != 0 ? client->query_start_us : clock_now_us();
    client->query_start_us = server->query_start_us;
    pool->stats.queries++;
    /* First, as of two limits that are due at once it is the query's that is told. */
    if (pool->limits.query_timeout_us != 0 || deadline_is_set(&server->deadline))
        deadline_set_since(session_loop(session), &server->deadline, pool->limits.query_timeout_us,
                           server->query_start_us);
    if (server->transaction_start_us != 0)
        return;
    server->transaction_start_us = server->query_start_us;
    pool->stats.transactions++;
    if (pool->limits.transaction_timeout_us != 0)
        deadline_set_since(session_loop(session), &server->transaction_limit,
                           pool->limits.transaction_timeout_us, server->transaction_start_us);
}

void session_end_query(struct session *session, char transaction_status)
{
    struct client *client = session->client;
    struct server *server = client->server;
    struct pool *pool = client->pool;
    server->transaction_status = transaction_status;
    if (!answers_complete(&server->answers))
        return;
    usec_t now_us = clock_now_us();
    if (server->query_start_us != 0)
        pool->stats.query_us += now_us - server->query_start_us;
    server->query_start_us = 0;
    client->query_start_us = 0;
    server->ready = transaction_status == 'I';
    if (server->ready) {
        if (server->transaction_start_us != 0)
            pool->stats.transaction_us += now_us - server->transaction_start_us;
        server->transaction_start_us = 0;
        deadline_clear(&server->transaction_limit);
        deadline_clear(&server->deadline);
    } else {
        deadline_set(session_loop(session), &server->deadline,
                     pool->limits.idle_transaction_timeout_us);
    }
}

void session_renew_query_limits(struct session *session)
{
    const struct client *client = session->client;
    const struct pool_limits *limits = &client->pool->limits;
    struct server *server = client->server;
    struct loop *loop = session_loop(session);
    if (server->query_start_us != 0)
        deadline_set_since(loop, &server->deadline, limits->query_timeout_us,
                           server->query_start_us);
    else if (session->state == SESSION_SYNCING)
        deadline_set_since(loop, &server->deadline, limits->query_timeout_us,
                           client->query_start_us);
    else if (server->transaction_start_us != 0)
        deadline_set_since(loop, &server->deadline, limits->idle_transaction_timeout_us,
                           server->request_us);
    if (server->transaction_start_us != 0)
        deadline_set_since(loop, &server->transaction_limit, limits->transaction_timeout_us,
                           server->transaction_start_us);
}
