/*
 * rows.h - the rows of the views: who is shown, in which order. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_REPORT_ROWS_H
#define PGWEIR_REPORT_ROWS_H

#include "report/view.h"

/* Rows that are not an object of their own. */
struct count_row {
    const char *name;
    uint64_t value;
};

struct stats_row {
    const char *database;
    struct pool_stats total;
    struct pool_averages average;
};

struct config_row {
    const struct setting *setting;
    const char *value;
};

struct dns_row {
    const char *name;
    usec_t seconds_left;
    const char *addresses;
};

struct pause_row {
    const struct pause *pause; /* borrows */
    unsigned servers;          /* that were open before, and have not gone yet */
    unsigned waiting;          /* clients */
};

#define ROWS(name)                                                                                 \
    void rows_##name(const struct view *view, const struct report *report, row_fn *visit,          \
                     void *argument)

ROWS(clients);
ROWS(servers);
ROWS(pools);
ROWS(databases);
ROWS(users);
ROWS(lists);
ROWS(stats);
ROWS(totals);
ROWS(config);
ROWS(state);
ROWS(version);
ROWS(mem);
ROWS(dns_hosts);
ROWS(pauses);

#endif
