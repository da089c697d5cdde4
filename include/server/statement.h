/*
 * statement.h - a prepared statement as the clients of a pool share it: one text with one list of parameter
 * types, and the name that it has on every server.
 *
 * Two clients of a pool that prepare the same bytes share one statement, whatever they call it; in
 * another database, or for another user, the same bytes may mean another table. The names count from 1
 * in each process (PGBOUNCER_1, ...), the way PgBouncer's do, because people look for them in
 * pg_prepared_statements and pg_stat_activity.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_SERVER_STATEMENT_H
#define PGWEIR_SERVER_STATEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/hash.h"

#define STATEMENT_NAME_SIZE 32

/* The statements of a pool. */
struct statement_table;

struct statement {
    UT_hash_handle hh;             /* member of the table */
    struct statement_table *table; /* borrows */
    unsigned references;
    uint32_t columns;               /* fingerprint of its result's columns; 0: not known yet */
    bool outdated;                  /* its result has other columns now, or the pool is gone: it is
                                       in no table any more */
    uint32_t size;                  /* of `body` */
    uint32_t name_size;             /* the terminating zero included */
    char name[STATEMENT_NAME_SIZE]; /* on every server */
    uint8_t body[]; /* what follows the name in a Parse: the text, its zero, the parameter types */
};

struct statement_table *statement_table_create(void) MUST_CHECK;

/* Nobody prepares anything any more; whoever has a statement of the table keeps it. */
void statement_table_destroy(struct statement_table *table);

/* The statement with this body, made if there is none; the caller owns one reference. */
struct statement *statement_take(struct statement_table *table, const uint8_t *body,
                                 uint32_t size) MUST_CHECK;

/*
 * True if there is such a statement, or if this was asked before for the same body, not too long ago:
 * it is worth being prepared. One out of many may be taken for another.
 */
bool statement_is_frequent(const struct statement_table *table, const uint8_t *body, uint32_t size);

/* One more reference. */
struct statement *statement_share(struct statement *statement) MUST_CHECK;

/* Gives a reference back; the statement is forgotten with the last one. */
void statement_give_back(struct statement *statement);

/*
 * A server has said that the result has other columns than when it was prepared. Whoever has the
 * statement keeps it; who prepares the same body from now on gets another one, under another name. So
 * it is known of each client whether it has seen the old columns.
 */
void statement_set_outdated(struct statement *statement);

/* Memory of all statements, in bytes. */
size_t statement_memory(void);

#endif
