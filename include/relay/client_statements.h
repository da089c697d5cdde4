/*
 * client_statements.h - the prepared statements of one client, by the names that it gave them.
 *
 * A name changes its meaning when the message that changes it is answered. Until then it stands for
 * what it will stand for if everything on its way succeeds.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_CLIENT_STATEMENTS_H
#define PGWEIR_RELAY_CLIENT_STATEMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/hash.h"
#include "server/statement.h"

struct client_statement {
    UT_hash_handle hh;         /* member of by_name */
    struct statement *present; /* owns a reference; NULL: the name is not in use */
    struct statement *expected; /* owns a reference; NULL: it will not be */
    unsigned pending;           /* changes that are not answered */
    uint32_t segment;           /* of the newest change */
    uint32_t name_size;
    char name[]; /* the key, without a zero */
};

/* A zeroed struct is empty. */
struct client_statements {
    struct client_statement *by_name; /* owns; hash */
    uint32_t memory;                  /* bytes of all names and of their statements' texts */
};

enum client_name_state {
    CLIENT_NAME_FREE,
    CLIENT_NAME_NEW, /* used, but the Parse has not been answered: the client knows nothing of it */
    CLIENT_NAME_USED,
    CLIENT_NAME_UNCERTAIN /* an answer that has not come decides */
};

/*
 * What a message of this `segment` (Syncs sent before it) that says the name finds. What was sent in
 * the same segment has succeeded by the time the message is read, or the message is skipped too.
 * The statement is borrowed, NULL unless the name is used.
 */
enum client_name_state client_statements_find(const struct client_statements *statements,
                                              const char *name, size_t size, uint32_t segment,
                                              struct statement **ret_statement);

/* A change of a name is on its way: `expected` (borrowed) or, if NULL, the end of it. */
struct client_statement *client_statements_change(struct client_statements *statements,
                                                  const char *name, size_t size, uint32_t segment,
                                                  struct statement *expected) MUST_CHECK;

/* That change has been answered with success: the name stands for `named` (borrowed). Or it failed. */
void client_statements_settle(struct client_statements *statements, struct client_statement *entry,
                              struct statement *named, bool done);

/* Names that stand for `old`, with nothing on its way, stand for `new` from now on (both borrowed). */
void client_statements_replace(struct client_statements *statements, const struct statement *old,
                               struct statement *new);

/* The name ends at once, without anything on its way. */
void client_statements_drop(struct client_statements *statements, const char *name, size_t size);

/* DEALLOCATE ALL has run: all names end but for what is on its way. */
void client_statements_clear(struct client_statements *statements);

/* For the end of the client; nobody will settle what is on its way. */
void client_statements_release(struct client_statements *statements);

/* Names in use, for SHOW CLIENTS. */
unsigned client_statements_count(const struct client_statements *statements);

#endif
