/*
 * stats.c - the counters of a pool and their averages.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/stats.h"

void pool_stats_add(struct pool_stats *sum, const struct pool_stats *more)
{
    sum->server_assignments += more->server_assignments;
    sum->transactions += more->transactions;
    sum->queries += more->queries;
    sum->bytes_received += more->bytes_received;
    sum->bytes_sent += more->bytes_sent;
    sum->transaction_us += more->transaction_us;
    sum->query_us += more->query_us;
    sum->wait_us += more->wait_us;
    sum->client_parses += more->client_parses;
    sum->server_parses += more->server_parses;
    sum->binds += more->binds;
    sum->client_logins += more->client_logins;
}

void pool_stats_window_init(struct pool_stats_window *window, usec_t now_us)
{
    *window = (struct pool_stats_window){
        .older_us = now_us > USEC_PER_SEC ? now_us - USEC_PER_SEC : 0, .newer_us = now_us};
}

void pool_stats_window_turn(struct pool_stats_window *window, const struct pool_stats *current,
                            usec_t now_us)
{
    window->older = window->newer;
    window->older_us = window->newer_us;
    window->newer = *current;
    window->newer_us = now_us;
}

__extension__ typedef unsigned __int128 wide; /* the product may not fit into 64 bits */

static uint64_t per_second(uint64_t now, uint64_t then, usec_t elapsed_us)
{
    wide rate = (wide) (now - then) * USEC_PER_SEC / elapsed_us;
    return rate < UINT64_MAX ? (uint64_t) rate : UINT64_MAX;
}

static uint64_t per_event(uint64_t us, uint64_t events)
{
    return events == 0 ? 0 : us / events;
}

struct pool_averages pool_stats_average(const struct pool_stats *current,
                                        const struct pool_stats *since, usec_t since_us,
                                        usec_t now_us)
{
    usec_t elapsed_us = now_us > since_us ? now_us - since_us : 1;
#define RATE(counter) per_second(current->counter, since->counter, elapsed_us)
#define TIME(total, events)                                                                        \
    per_event(current->total - since->total, current->events - since->events)
    return (struct pool_averages){
        .server_assignments = RATE(server_assignments),
        .transactions = RATE(transactions),
        .queries = RATE(queries),
        .bytes_received = RATE(bytes_received),
        .bytes_sent = RATE(bytes_sent),
        .transaction_us = TIME(transaction_us, transactions),
        .query_us = TIME(query_us, queries),
        .wait_us = TIME(wait_us, server_assignments),
        .client_parses = RATE(client_parses),
        .server_parses = RATE(server_parses),
        .binds = RATE(binds),
        .client_logins = RATE(client_logins),
    };
#undef RATE
#undef TIME
}
