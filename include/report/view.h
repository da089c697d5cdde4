/*
 * view.h - what can be shown: named lists of rows with typed columns, from views.def.
 *
 * A view is read row by row and column by column; a sink (the console's rows; later Prometheus text
 * and JSON) decides what becomes of the values.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_REPORT_VIEW_H
#define PGWEIR_REPORT_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/client.h"
#include "pool/pools.h"

enum column_type { COLUMN_TEXT, COLUMN_INT4, COLUMN_INT8, COLUMN_NUMERIC };

/* A moment, and room for texts that must be made. Borrowed values live until the next column. */
struct view_context {
    usec_t now_us;
    char scratch[ADDRESS_TEXT_SIZE];
};

struct value {
    const char *text; /* of COLUMN_TEXT; NULL is SQL's NULL. Borrows */
    int64_t number;   /* of the others */
};

struct column {
    const char *name;
    enum column_type type;
    const char *help;
    struct value (*read)(const void *row, struct view_context *context);
};

/* Where the rows come from. */
struct report {
    struct pools *pools;
    struct clients *clients;
    const char *version; /* of SHOW VERSION */
};

struct view;
typedef void row_fn(void *argument, const struct view *view, const void *row);

struct view {
    const char *name; /* lower case, as in SHOW <name> */
    const struct column *columns;
    size_t column_count;
    void (*each_row)(const struct view *view, const struct report *report, row_fn *visit,
                     void *argument);
};

extern const struct view views[];
extern const size_t view_count;

/* The view of that name, in any case; NULL if there is none. */
const struct view *view_find(const char *name);

#endif
