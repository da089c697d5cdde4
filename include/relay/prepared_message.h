/*
 * prepared_message.h - what the parts of prepared.h share: one message of the client on its way.
 *
 *   prepared.c             Parse, Bind, Describe and Close of names
 *   prepared_unnamed.c     ... without a name
 *   prepared_deallocate.c  SQL that ends prepared statements
 *   prepared_insert.c      what is put in
 *   prepared_answers.c     what becomes of it all
 *
 * Private to them.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_PREPARED_MESSAGE_H
#define PGWEIR_RELAY_PREPARED_MESSAGE_H

#include "relay/prepared.h"
#include "server/server_statements.h"
#include "wire/extended.h"

/* PostgreSQL's, for errors in its place. */
#define SQLSTATE_UNKNOWN_STATEMENT "26000"

/* One message of the client, with what its head says. Lives for one call; everything is borrowed. */
struct prepared_message {
    struct session *session;
    struct stream *stream;
    const struct frame *frame;
    struct extended_names names;
    const uint8_t *rest; /* behind the names, as far as it has come */
    uint64_t rest_size;
};

static inline struct server *prepared_server(const struct prepared_message *message)
{
    return message->session->client->server;
}

/* What the linked server has; made if there is nothing yet. */
struct server_statements *prepared_statements(const struct prepared_message *message);

/* FATE_FORWARD if the session is linked now. */
enum message_fate prepared_link(const struct prepared_message *message);

/* The server takes nothing any more. */
enum message_fate prepared_lost(struct session *session);

/* It depends on an answer that has not come, but will: a Sync or a Flush has been sent. */
enum message_fate prepared_wait(const struct prepared_message *message);

/* The whole message passes as it is. */
enum message_fate prepared_pass(const struct prepared_message *message);

/* The client gets this error at the message's turn, and the server one that does the same. */
enum message_fate prepared_fail(const struct prepared_message *message, const char *sqlstate,
                                const char *text);

/* What will be answered next, and what is true then; takes over what the note owns. */
void prepared_expect(const struct prepared_message *message, uint8_t type, unsigned flags,
                     struct statement_note note);

/* ---- names ---- */

enum client_name_state prepared_find_name(const struct prepared_message *message,
                                          struct statement **ret_statement);

/* The name is to stand for the statement (borrowed), or for nothing, when the message is answered. */
struct client_statement *prepared_change_name(const struct prepared_message *message,
                                              struct statement *statement);

/* The budget that another `size` bytes would exceed, in words for the client; or NULL. */
const char *prepared_exceeds(const struct prepared_message *message, uint64_t size);

/* Without a server nothing is on its way: the name ends, and the client hears it. */
enum message_fate prepared_drop_name(const struct prepared_message *message);

/* ---- messages whose names are known ---- */

/* A Parse that is whole and within the budgets. */
enum message_fate prepared_take_parse(const struct prepared_message *message);

/* A Bind or Describe: only the name is another one. */
enum message_fate prepared_take_use(const struct prepared_message *message);

/* No server needs to hear that a name is not used any more. */
enum message_fate prepared_take_close(const struct prepared_message *message);

/* A message without a name. */
enum message_fate prepared_take_unnamed(struct prepared_message *message);

/* The text of a DEALLOCATE may be in a Parse without a name: FATE_FORWARD if it is not. */
enum message_fate prepared_take_parse_of_deallocate(struct prepared_message *message);

/* ---- what is put in; false: the server takes nothing any more ---- */

bool prepared_insert_close(const struct prepared_message *message, struct server_statement *entry)
    MUST_CHECK;

/* The head of a Parse with the statement's name on the server; the statement's body follows. */
bool prepared_insert_parse_head(const struct prepared_message *message,
                                const struct statement *statement) MUST_CHECK;

/* The message, a Bind or Describe, up to its names; the rest of it follows. */
bool prepared_insert_use(const struct prepared_message *message,
                         const struct statement *statement) MUST_CHECK;

/* Asks the server for the columns of the statement, which it has when it reads this. */
bool prepared_insert_describe(const struct prepared_message *message,
                              struct statement *statement) MUST_CHECK;

/* Behind a Parse: the first one is asked for the columns, with which those elsewhere are compared. */
bool prepared_learn_columns(const struct prepared_message *message,
                            struct statement *statement) MUST_CHECK;

/* Makes sure that the server has the statement of the entry when it reads what follows. */
bool prepared_ensure(const struct prepared_message *message,
                     struct server_statement *entry) MUST_CHECK;

/* Keeps the server at max_prepared_statements; `entry` stays in any case. */
bool prepared_evict(const struct prepared_message *message,
                    struct server_statement *entry) MUST_CHECK;

#endif
