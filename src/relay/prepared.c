/*
 * prepared.c - prepared statements in transaction and statement pooling.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/prepared_message.h"

#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "wire/error_response.h"
#include "wire/message.h"

#define SQLSTATE_DUPLICATE_STATEMENT "42P05"
#define SQLSTATE_OUT_OF_MEMORY       "53200"
#define SQLSTATE_TOO_LARGE           "54000"
#define SQLSTATE_STALE               "0A000"

/* A name that no statement has, unless somebody takes pains. */
static const char no_statement[] = "pgweir: none";

/* ---- for all four messages ---- */

enum message_fate prepared_lost(struct session *session)
{
    session_server_is_gone(session);
    return FATE_STOPPED;
}

enum message_fate prepared_link(const struct prepared_message *message)
{
    struct session *session = message->session;
    struct client *client = session->client;
    if (session->state != SESSION_LINKED && !session_obtain_server(session))
        return client->session == NULL ? FATE_STOPPED : FATE_STASH;
    message->stream->to = &client->server->connection;
    return FATE_FORWARD;
}

struct server_statements *prepared_statements(const struct prepared_message *message)
{
    struct server *server = prepared_server(message);
    if (server->statements == NULL)
        server->statements = server_statements_create();
    return server->statements;
}

void prepared_expect(const struct prepared_message *message, uint8_t type, unsigned flags,
                     struct statement_note note)
{
    answers_expect_special(&prepared_server(message)->answers, type, flags | ANSWER_NOTED);
    server_statements_note(prepared_statements(message), note);
}

/* Leaves out what is replaced; the rest of the message passes. */
static enum message_fate pass_rest(const struct prepared_message *message)
{
    if (!stream_leave_out(message->stream, FRAME_HEADER_SIZE + message->names.rest))
        return prepared_lost(message->session);
    message->session->dropping = false;
    message->session->body_left = message->rest_size;
    return FATE_TAKEN;
}

enum message_fate prepared_pass(const struct prepared_message *message)
{
    message->session->dropping = false;
    message->session->body_left = message->frame->size - FRAME_HEADER_SIZE;
    message->stream->position += FRAME_HEADER_SIZE;
    return FATE_TAKEN;
}

enum message_fate prepared_wait(const struct prepared_message *message)
{
    message->session->awaits_answers = true;
    return FATE_STASH;
}

static uint32_t segment_of(const struct session *session)
{
    const struct server *server = session->client->server;
    return server != NULL && server->statements != NULL ? server->statements->segment : 0;
}

enum client_name_state prepared_find_name(const struct prepared_message *message,
                                          struct statement **ret_statement)
{
    struct session *session = message->session;
    return client_statements_find(&session->statements, message->names.statement,
                                  message->names.statement_size, segment_of(session),
                                  ret_statement);
}

struct client_statement *prepared_change_name(const struct prepared_message *message,
                                              struct statement *statement)
{
    struct session *session = message->session;
    return client_statements_change(&session->statements, message->names.statement,
                                    message->names.statement_size, segment_of(session), statement);
}

/* ---- errors ---- */

/* `routine` may be NULL. */
static enum message_fate fail_as(const struct prepared_message *message, const char *sqlstate,
                                 const char *text, const char *routine)
{
    struct buffer error = {0}, bind = {0};
    enum message_fate fate = prepared_link(message);
    if (fate != FATE_FORWARD)
        return fate;
    error_response_write_of(&error, "ERROR", sqlstate, text, routine);
    session_begin_query(message->session);
    prepared_expect(message, 'B', ANSWER_REPLACED, (struct statement_note){.error = error});
    size_t mark = message_begin(&bind, 'B');
    message_add_text(&bind, "");
    message_add_text(&bind, no_statement);
    /* It fails even if there is such a statement: two formats for no parameter. */
    message_add_int16(&bind, 2);
    for (int i = 0; i < 4; i++)
        message_add_int16(&bind, 0);
    message_end(&bind, mark);
    bool sent = stream_insert(message->stream, bind.data, bind.size);
    buffer_release(&bind);
    return sent ? FATE_DROP : prepared_lost(message->session);
}

enum message_fate prepared_fail(const struct prepared_message *message, const char *sqlstate,
                                const char *text)
{
    return fail_as(message, sqlstate, text, NULL);
}

/* PgBouncer logs it and ends the session; PostgreSQL answers with an error, that the name `what`. */
static enum message_fate refuse_name(const struct prepared_message *message, const char *logged,
                                     const char *fatal, const char *sqlstate, const char *what)
{
    struct session *session = message->session;
    char text[EXTENDED_NAME_MAX + 64];
    if (!settings_current()->prepared_statement_errors) {
        log_error(&session->client->subject, "prepared statement '%s' %s",
                  message->names.statement, logged);
        return refuse_message(session, fatal);
    }
    snprintf(text, sizeof(text), "prepared statement \"%s\" %s", message->names.statement, what);
    return prepared_fail(message, sqlstate, text);
}

static enum message_fate refuse_unknown(const struct prepared_message *message)
{
    return refuse_name(message, "not found", "prepared statement did not exist",
                       SQLSTATE_UNKNOWN_STATEMENT, "does not exist");
}

static enum message_fate refuse_duplicate(const struct prepared_message *message)
{
    return refuse_name(message, "was already prepared",
                       "prepared statement name is already in use",
                       SQLSTATE_DUPLICATE_STATEMENT, "already exists");
}

/* ---- the four messages ---- */

const char *prepared_exceeds(const struct prepared_message *message, uint64_t size)
{
    const struct settings *settings = settings_current();
    if (settings->max_client_prepared_memory != 0 &&
        message->session->statements.memory + size > settings->max_client_prepared_memory)
        return "too many prepared statements of this client (max_client_prepared_memory)";
    if (settings->max_prepared_memory != 0 &&
        statement_memory() + size > settings->max_prepared_memory)
        return "too many prepared statements of all clients (max_prepared_memory)";
    return NULL;
}

/* The whole Parse is left out: the server has the statement. */
static enum message_fate save_parse(const struct prepared_message *message,
                                    struct statement_note note)
{
    prepared_expect(message, 'P', ANSWER_OWN, note);
    if (!stream_leave_out(message->stream, (size_t) message->frame->size))
        return prepared_lost(message->session);
    return FATE_TAKEN;
}

static enum message_fate send_parse(const struct prepared_message *message,
                                    struct statement_note note, enum statement_need need)
{
    struct server_statement *entry = note.on_server;
    bool sent = need != STATEMENT_REPLACE || prepared_insert_close(message, entry);
    prepared_expect(message, 'P', 0, note);
    if (!sent || !prepared_insert_parse_head(message, entry->statement) ||
        !stream_leave_out(message->stream, FRAME_HEADER_SIZE + message->names.rest))
        return prepared_lost(message->session);
    message->stream->position += message->rest_size;
    sent = prepared_learn_columns(message, entry->statement) && prepared_evict(message, entry);
    return sent ? FATE_TAKEN : prepared_lost(message->session);
}

enum message_fate prepared_take_parse(const struct prepared_message *message)
{
    struct session *session = message->session;
    enum message_fate fate = prepared_link(message);
    if (fate != FATE_FORWARD)
        return fate;
    struct statement *statement = statement_take(session->client->pool->statements, message->rest,
                                                 (uint32_t) message->rest_size);
    struct server_statements *statements = prepared_statements(message);
    struct server_statement *entry = server_statements_get(statements, statement);
    enum statement_need need = server_statements_need(statements, entry);
    if (prepared_server(message)->transaction_status == 'E' && need == STATEMENT_IS_THERE)
        need = STATEMENT_REPLACE; /* the server is to say that the transaction has failed */
    struct statement_note note = {.name = prepared_change_name(message, statement),
                                  .named = statement};
    session_begin_query(session);
    session->client->pool->stats.client_parses++;
    if (need == STATEMENT_IS_THERE)
        return save_parse(message, note);
    note.on_server = entry;
    note.present = true;
    return send_parse(message, note, need);
}

static enum message_fate take_parse(const struct prepared_message *message)
{
    struct session *session = message->session;
    uint64_t size = message->frame->size;
    uint32_t size_max = settings_current()->max_prepared_statement_size;
    size_t available = (size_t) (message->stream->end - message->stream->position);
    struct statement *old;
    enum client_name_state state = prepared_find_name(message, &old);
    if (size_max != 0 && size > size_max)
        return prepared_fail(message, SQLSTATE_TOO_LARGE,
                             "prepared statement is too large (max_prepared_statement_size)");
    if (available < size)
        return FATE_HOLD;
    if (!extended_is_statement(message->rest, (size_t) message->rest_size))
        return refuse_message(session, "broken Parse packet");
    if (state == CLIENT_NAME_UNCERTAIN)
        return prepared_wait(message);
    if (state != CLIENT_NAME_FREE)
        return refuse_duplicate(message);
    const char *exceeded = prepared_exceeds(message, size);
    return exceeded != NULL ? prepared_fail(message, SQLSTATE_OUT_OF_MEMORY, exceeded)
                            : prepared_take_parse(message);
}

/* Whether a Describe follows the Bind at once. What has not come yet might be one. */
static bool is_described(const struct prepared_message *message)
{
    size_t available = (size_t) (message->stream->end - message->stream->position);
    return message->frame->size >= available ||
           message->stream->position[message->frame->size] == 'D';
}

/* The client remembers the columns of the result. Others than those it would misread. */
static bool relies_on_columns(const struct prepared_message *message, enum client_name_state state)
{
    return message->frame->type == 'B' && state != CLIENT_NAME_NEW && !is_described(message);
}

static bool is_verified(const struct prepared_message *message,
                        const struct server_statement *entry)
{
    return entry->verified &&
           server_statements_need(prepared_statements(message), entry) == STATEMENT_IS_THERE;
}

/* The table may have been another one when the statement was prepared on this server. */
static enum message_fate verify(const struct prepared_message *message,
                                struct server_statement *entry)
{
    static const uint8_t flush[] = {'H', 0, 0, 0, 4};
    session_begin_query(message->session);
    if (!prepared_ensure(message, entry) ||
        !prepared_insert_describe(message, entry->statement) ||
        !stream_insert(message->stream, flush, sizeof(flush)))
        return prepared_lost(message->session);
    return prepared_wait(message);
}

/* The answer to the client's Describe is of use for those who do not ask. */
static void expect_use(const struct prepared_message *message, const struct server_statement *entry)
{
    struct statement *statement = entry->statement;
    message->session->client->pool->stats.binds += message->frame->type == 'B';
    if (message->frame->type == 'B' || (is_verified(message, entry) && !statement->outdated)) {
        answers_expect(&prepared_server(message)->answers, message->frame->type);
        return;
    }
    prepared_expect(message, 'D', 0,
                    (struct statement_note){.name = prepared_change_name(message, statement),
                                            .named = statement_share(statement),
                                            .described = statement_share(statement)});
}

/* In a failed transaction the server refuses everything, before it looks at the columns. */
static bool is_refused_anyway(const struct session *session)
{
    const struct server *server = session->client->server;
    return server != NULL && server->transaction_status == 'E' && server->answers.count == 0;
}

static enum message_fate refuse_outdated(const struct prepared_message *message)
{
    const struct server *server = prepared_server(message);
    if (server != NULL && answers_will_come(&server->answers))
        return prepared_wait(message); /* they tell whether the transaction has failed */
    return fail_as(message, SQLSTATE_STALE, "cached plan must not change result type",
                   "RevalidateCachedQuery");
}

enum message_fate prepared_take_use(const struct prepared_message *message)
{
    struct session *session = message->session;
    const struct frame *frame = message->frame;
    struct statement *statement;
    enum client_name_state state = prepared_find_name(message, &statement);
    if (frame->type == 'D' && message->rest_size != 0)
        return refuse_message(session, "broken Describe packet");
    if (state == CLIENT_NAME_UNCERTAIN)
        return prepared_wait(message);
    if (state == CLIENT_NAME_FREE)
        return refuse_unknown(message);
    bool relies = relies_on_columns(message, state) && !is_refused_anyway(session);
    if (relies && statement->outdated)
        return refuse_outdated(message);
    enum message_fate fate = prepared_link(message);
    if (fate != FATE_FORWARD)
        return fate;
    struct server_statements *statements = prepared_statements(message);
    struct server_statement *entry = server_statements_get(statements, statement);
    if (relies && !is_verified(message, entry))
        return verify(message, entry);
    statements->relies_on_columns |= relies;
    session_begin_query(session);
    if (!prepared_ensure(message, entry))
        return prepared_lost(session);
    expect_use(message, entry);
    return prepared_insert_use(message, statement) ? pass_rest(message) : prepared_lost(session);
}

enum message_fate prepared_take_close(const struct prepared_message *message)
{
    struct session *session = message->session;
    if (message->rest_size != 0)
        return refuse_message(session, "broken Close packet");
    if (session->state != SESSION_LINKED)
        return prepared_drop_name(message);
    struct statement *old;
    bool changes = prepared_find_name(message, &old) != CLIENT_NAME_FREE;
    if (changes)
        prepared_expect(message, 'C', ANSWER_OWN,
                        (struct statement_note){.name = prepared_change_name(message, NULL)});
    else
        answers_expect_special(&prepared_server(message)->answers, 'C', ANSWER_OWN);
    return FATE_DROP;
}

enum message_fate prepared_take(struct session *session, struct stream *stream,
                                const struct frame *frame)
{
    static const char *const broken[] = {['P'] = "broken Parse packet",
                                         ['B'] = "broken Bind packet",
                                         ['D'] = "broken Describe packet",
                                         ['C'] = "broken Close packet"};
    struct prepared_message message = {.session = session, .stream = stream, .frame = frame};
    const struct client *client = session->client;
    const uint8_t *body = stream->position + FRAME_HEADER_SIZE;
    if (session->state == SESSION_LINKED && !answers_tracks(&client->server->answers))
        return FATE_FORWARD; /* the server skips it, or a COPY fails by it */
    switch (extended_read_names(frame, body, (size_t) (stream->end - body), &message.names)) {
    case EXTENDED_BROKEN:
        return refuse_message(session, broken[frame->type]);
    case EXTENDED_MORE:
        return FATE_HOLD;
    case EXTENDED_NAMES:
        break;
    }
    message.rest = body + message.names.rest;
    message.rest_size = frame->size - FRAME_HEADER_SIZE - message.names.rest;
    if (message.names.of_portal)
        return FATE_FORWARD;
    /* A few bytes of the client may become a large Parse: the server's pace is the limit. */
    if (session->state == SESSION_LINKED && connection_is_congested(&client->server->connection))
        return FATE_STASH;
    if (session->ends_of_all > 0 &&
        (message.names.statement_size > 0 || client->pool->limits.prepare_unnamed))
        return prepared_wait(&message);
    if (message.names.statement_size == 0)
        return prepared_take_unnamed(&message);
    if (client->pool->limits.prepared_statements == 0)
        return FATE_FORWARD;
    if (frame->type == 'P')
        return take_parse(&message);
    return frame->type == 'C' ? prepared_take_close(&message) : prepared_take_use(&message);
}

uint64_t prepared_bytes_wanted(const struct frame *frame, size_t available)
{
    return frame->type == 'P' || frame->type == 'Q' ? frame->size : available + 1;
}
