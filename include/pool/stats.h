/*
 * stats.h - the counters of a pool and their averages, as SHOW STATS defines them.
 *
 * Plain additions on the data path; everything else happens once per stats_period or when somebody
 * asks.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_POOL_STATS_H
#define PGWEIR_POOL_STATS_H

#include <stdint.h>

#include "base/clock.h"

struct pool_stats {
    uint64_t server_assignments; /* a client was linked to a server */
    uint64_t transactions, queries;
    uint64_t bytes_received; /* from clients */
    uint64_t bytes_sent;     /* from servers */
    uint64_t transaction_us, query_us, wait_us;
    uint64_t client_parses, server_parses, binds;
    uint64_t client_logins;
};

/* Two snapshots, one to two periods old, from which averages are taken. */
struct pool_stats_window {
    struct pool_stats older, newer;
    usec_t older_us, newer_us;
};

/* Averages per second, and times per event in microseconds. */
struct pool_averages {
    uint64_t server_assignments, transactions, queries, bytes_received, bytes_sent;
    uint64_t transaction_us, query_us, wait_us;
    uint64_t client_parses, server_parses, binds, client_logins;
};

/* `sum` += `more`, counter by counter. */
void pool_stats_add(struct pool_stats *sum, const struct pool_stats *more);

/* Starts the averages: as if the last snapshot had been taken a second ago. */
void pool_stats_window_init(struct pool_stats_window *window, usec_t now_us);

/* A period has passed: the newer snapshot becomes the older, `current` the newer. */
void pool_stats_window_turn(struct pool_stats_window *window, const struct pool_stats *current,
                            usec_t now_us);

/* The averages between the older snapshot (`since`, taken at `since_us`) and `current`. */
struct pool_averages pool_stats_average(const struct pool_stats *current,
                                        const struct pool_stats *since, usec_t since_us,
                                        usec_t now_us);

#endif
