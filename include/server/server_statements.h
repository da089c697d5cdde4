/*
 * server_statements.h - the prepared statements that one server has, and what is on its way to it.
 *
 * Every Parse or Close that the pooler sends for itself or rewrites is an operation on a statement.
 * Operations are answered in the order of sending, so what the server has is known for certain once
 * all of them are answered; until then there is what will be true if all of them succeed.
 *
 * An operation that was sent before a Sync may have been skipped because of an error that nobody has
 * read yet. So it counts only up to that Sync; a message behind it that needs the statement gets its
 * own Close and Parse, which is right in both cases (closing what is not there is no error).
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_SERVER_SERVER_STATEMENTS_H
#define PGWEIR_SERVER_SERVER_STATEMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/hash.h"
#include "server/statement.h"

struct client_statement; /* relay's: a name of the client that is linked */

/* A statement of one server. */
struct server_statement {
    UT_hash_handle hh;           /* member of by_statement */
    struct statement *statement; /* owns a reference; the key */
    struct server_statement *next, *prev; /* member of in_use, the least recently used first */
    unsigned pending;            /* operations that are not answered */
    uint32_t segment;            /* of the newest operation */
    bool present;                /* on the server, once `pending` is 0 */
    bool expected;               /* present if everything on its way succeeds; in the list then */
    bool doubtful;               /* `present` may be wrong, or the plan is of no use any more */
    bool verified;               /* here, too, the result has the columns that it has elsewhere */
};

/* What is to become true when a message with ANSWER_NOTED is answered. */
struct statement_note {
    struct server_statement *on_server; /* borrows; NULL: nothing changes on the server */
    struct client_statement *name;      /* borrows; NULL: no name of the client changes */
    struct statement *named;            /* owns a reference; what the name then stands for, or NULL */
    struct statement *described;        /* owns a reference; whose columns the answer tells, or NULL */
    struct buffer error;                /* owns; the ErrorResponse of an ANSWER_REPLACED */
    bool present;                       /* of on_server */
    bool ends_all;                      /* DEALLOCATE ALL or DISCARD ALL is under way */
};

/* Of a longer pipeline the beginning is kept, and it is not repeated. */
#define STATEMENTS_KEPT_MAX 1024

struct server_statements {
    struct server_statement *by_statement; /* owns; hash */
    struct server_statement *in_use;       /* those that are expected */
    unsigned count;                        /* of in_use */
    uint32_t segment;                      /* Syncs sent so far */
    struct statement_note *notes;          /* owns; a ring of `notes_capacity`, a power of two */
    uint32_t notes_head, notes_count, notes_capacity;
    /* The last pipeline as it was sent, and the answers that it has to get (relay/repeat.h). */
    uint32_t kept_size, kept_answers;
    bool kept_is_whole;       /* and outside a transaction: it may be repeated */
    bool kept_relies;         /* ... but the client remembers the columns of a result in it */
    bool relies_on_columns;   /* ... and so does the one that is gathered now */
    bool has_held_parameters; /* the client was not told the parameters that came before an error */
    bool repeating; /* it has failed for a stale plan, and is sent again after its ReadyForQuery */
    uint8_t kept[STATEMENTS_KEPT_MAX];
};

struct server_statements *server_statements_create(void) MUST_CHECK;

/* NULL is fine. The names in the notes are not looked at: they may be gone. */
void server_statements_destroy(struct server_statements *statements);

/* The entry of a statement, made if there is none. */
struct server_statement *server_statements_get(struct server_statements *statements,
                                               struct statement *statement) MUST_CHECK;

enum statement_need {
    STATEMENT_IS_THERE,
    STATEMENT_PARSE,  /* the server does not have it */
    STATEMENT_REPLACE /* it may have it: Close, then Parse */
};

/* What must be sent before a message that uses the statement. */
enum statement_need server_statements_need(const struct server_statements *statements,
                                           const struct server_statement *entry);

/* The entry of the statement that has this name on the server; NULL if there is none. Slow. */
struct server_statement *server_statements_find_name(const struct server_statements *statements,
                                                     const char *name);

/* The statement has been used now. */
void server_statements_touch(struct server_statements *statements, struct server_statement *entry);

/* The least recently used one apart from `entry`; NULL if there is no other. */
struct server_statement *server_statements_oldest(const struct server_statements *statements,
                                                  const struct server_statement *entry);

/* A message with ANSWER_NOTED has been sent, or will be answered by the pooler itself. */
void server_statements_note(struct server_statements *statements, struct statement_note note);

/* The note whose answer is due next; there must be one. */
struct statement_note *server_statements_first_note(struct server_statements *statements);

/*
 * The answer that is due, to a Describe, tells the columns (row_description.h): here the statement has
 * the columns that it has elsewhere, or it is outdated. If the client asked about a name, that stands
 * for a statement with these columns then.
 */
void server_statements_take_columns(struct server_statements *statements, uint32_t fingerprint);

/*
 * That answer has come (`done`), or never will. The caller has taken what concerns the client's name
 * out of the note before.
 */
void server_statements_settle(struct server_statements *statements, bool done);

/* True if a CommandComplete with this tag (`size` with its zero) says that no statement is left. */
bool statement_tag_is_end_of_all(const void *tag, size_t size);

/* DEALLOCATE ALL or DISCARD ALL has run. NULL is fine. */
void server_statements_clear(struct server_statements *statements);

/* Each statement is prepared anew before it is used again. NULL is fine. */
void server_statements_doubt(struct server_statements *statements);

#endif
