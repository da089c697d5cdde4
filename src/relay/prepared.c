/*
 * prepared.c - prepared statements in transaction and statement pooling.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/prepared.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "config/config.h"
#include "server/server_statements.h"
#include "wire/deallocate.h"
#include "wire/error_response.h"
#include "wire/extended.h"
#include "wire/message.h"

#define SQLSTATE_DUPLICATE_STATEMENT "42P05"
#define SQLSTATE_UNKNOWN_STATEMENT   "26000"
#define SQLSTATE_OUT_OF_MEMORY       "53200"
#define SQLSTATE_TOO_LARGE           "54000"

/* A name that no statement has, unless somebody takes pains. */
static const char no_statement[] = "pgweir: none";

/* One message of the client, with what its head says. */
struct message {
    struct session *session;
    struct stream *stream;
    const struct frame *frame;
    struct extended_names names;
    const uint8_t *rest; /* behind the names, as far as it has come */
    uint64_t rest_size;
};

static struct server *server_of(const struct message *message)
{
    return message->session->client->server;
}

static enum message_fate lost(struct session *session)
{
    session_server_is_gone(session);
    return FATE_STOPPED;
}

/* FATE_FORWARD if the session is linked now. */
static enum message_fate link_session(const struct message *message)
{
    struct session *session = message->session;
    struct client *client = session->client;
    if (session->state != SESSION_LINKED && !session_obtain_server(session))
        return client->session == NULL ? FATE_STOPPED : FATE_STASH;
    message->stream->to = &client->server->connection;
    return FATE_FORWARD;
}

static struct server_statements *statements_of(const struct message *message)
{
    struct server *server = server_of(message);
    if (server->statements == NULL)
        server->statements = server_statements_create();
    return server->statements;
}

/* ---- writing ---- */

/* The head of a message with the name of a statement, and one byte before it. */
struct head {
    uint8_t bytes[FRAME_HEADER_SIZE + 1 + STATEMENT_NAME_SIZE];
    size_t size;
};

static void head_begin(struct head *head, uint8_t type)
{
    head->bytes[0] = type;
    head->size = FRAME_HEADER_SIZE;
}

static void head_add(struct head *head, const void *bytes, size_t size)
{
    assert(size <= sizeof(head->bytes) - head->size);
    memcpy(head->bytes + head->size, bytes, size);
    head->size += size;
}

/* `rest` more bytes belong to the message. */
static bool head_insert(struct head *head, uint64_t rest, struct stream *stream)
{
    uint32_t length = (uint32_t) (head->size - 1 + rest);
    uint8_t big_endian[4] = {(uint8_t) (length >> 24), (uint8_t) (length >> 16),
                             (uint8_t) (length >> 8), (uint8_t) length};
    memcpy(head->bytes + 1, big_endian, sizeof(big_endian));
    return stream_insert(stream, head->bytes, head->size);
}

static bool insert_close(const struct message *message, struct server_statement *entry)
{
    const struct statement *statement = entry->statement;
    struct server *server = server_of(message);
    struct head head;
    head_begin(&head, 'C');
    head_add(&head, "S", 1);
    head_add(&head, statement->name, statement->name_size);
    answers_expect_special(&server->answers, 'C', ANSWER_SWALLOWED | ANSWER_NOTED);
    server_statements_note(server->statements, (struct statement_note){.on_server = entry});
    return head_insert(&head, 0, message->stream);
}

/* The head of a Parse of ours; the statement's body follows. */
static bool insert_parse_head(const struct message *message, const struct statement *statement)
{
    struct head head;
    head_begin(&head, 'P');
    head_add(&head, statement->name, statement->name_size);
    message->session->client->pool->stats.server_parses++;
    return head_insert(&head, statement->size, message->stream);
}

/* The head of a Bind of the unnamed portal, or of a Describe, with the name on the server. */
static bool insert_use(const struct message *message, const struct statement *statement)
{
    struct head head;
    head_begin(&head, message->frame->type);
    head_add(&head, message->frame->type == 'B' ? "" : "S", 1);
    head_add(&head, statement->name, statement->name_size);
    return head_insert(&head, message->rest_size, message->stream);
}

static bool insert_bind_of_portal(const struct message *message, const struct statement *statement)
{
    const struct extended_names *names = &message->names;
    struct head head;
    head_begin(&head, 'B');
    return head_insert(&head, names->portal_size + 1 + statement->name_size + message->rest_size,
                       message->stream) &&
           stream_insert(message->stream, names->portal, names->portal_size + 1) &&
           stream_insert(message->stream, statement->name, statement->name_size);
}

/* Keeps the server at max_prepared_statements; `entry` stays in any case. */
static bool evict(const struct message *message, struct server_statement *entry)
{
    struct server_statements *statements = statements_of(message);
    struct server_statement *oldest;
    unsigned limit = message->session->client->pool->limits.prepared_statements;
    while (statements->count > limit &&
           (oldest = server_statements_oldest(statements, entry)) != NULL)
        if (!insert_close(message, oldest))
            return false;
    return true;
}

/* Makes sure that the server has the statement when it reads what follows. */
static bool ensure(const struct message *message, struct statement *statement)
{
    struct server_statements *statements = statements_of(message);
    struct server_statement *entry = server_statements_get(statements, statement);
    enum statement_need need = server_statements_need(statements, entry);
    if (need == STATEMENT_IS_THERE) {
        server_statements_touch(statements, entry);
        return true;
    }
    if (need == STATEMENT_REPLACE && !insert_close(message, entry))
        return false;
    answers_expect_special(&server_of(message)->answers, 'P', ANSWER_SWALLOWED | ANSWER_NOTED);
    server_statements_note(statements,
                           (struct statement_note){.on_server = entry, .present = true});
    return insert_parse_head(message, statement) &&
           stream_insert(message->stream, statement->body, statement->size) &&
           evict(message, entry);
}

/* Leaves out what is replaced; the rest of the message passes. */
static enum message_fate pass_rest(const struct message *message)
{
    if (!stream_leave_out(message->stream, FRAME_HEADER_SIZE + message->names.rest))
        return lost(message->session);
    message->session->dropping = false;
    message->session->body_left = message->rest_size;
    return FATE_TAKEN;
}

/* ---- errors ---- */

/* The client gets this error at the message's turn, and the server one that does the same. */
static enum message_fate fail(const struct message *message, const char *sqlstate,
                              const char *text)
{
    struct buffer error = {0}, bind = {0};
    enum message_fate fate = link_session(message);
    if (fate != FATE_FORWARD)
        return fate;
    error_response_write(&error, "ERROR", sqlstate, text);
    session_begin_query(message->session);
    answers_expect_special(&server_of(message)->answers, 'B', ANSWER_REPLACED | ANSWER_NOTED);
    server_statements_note(statements_of(message), (struct statement_note){.error = error});
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
    return sent ? FATE_DROP : lost(message->session);
}

/* PgBouncer ends the session; PostgreSQL answers with an error. */
static enum message_fate refuse_name(const struct message *message, const char *sqlstate,
                                     const char *fatal, const char *what)
{
    char text[EXTENDED_NAME_MAX + 64];
    if (!settings_current()->prepared_statement_errors)
        return refuse_message(message->session, fatal);
    snprintf(text, sizeof(text), "prepared statement \"%s\" %s", message->names.statement, what);
    return fail(message, sqlstate, text);
}

static enum message_fate refuse_unknown(const struct message *message)
{
    if (!settings_current()->prepared_statement_errors)
        log_error(&message->session->client->subject, "prepared statement '%s' not found",
                  message->names.statement);
    return refuse_name(message, SQLSTATE_UNKNOWN_STATEMENT, "prepared statement did not exist",
                       "does not exist");
}

static enum message_fate refuse_duplicate(const struct message *message)
{
    if (!settings_current()->prepared_statement_errors)
        log_error(&message->session->client->subject, "prepared statement '%s' was already prepared",
                  message->names.statement);
    return refuse_name(message, SQLSTATE_DUPLICATE_STATEMENT,
                       "prepared statement name is already in use", "already exists");
}

/* ---- the four messages ---- */

void prepared_note_unnamed(struct session *session)
{
    struct server *server = session->client->server;
    if (session->unnamed_statement == 0 || server->unnamed_statement != session->unnamed_statement)
        answers_mark_unnamed(&server->answers);
}

void prepared_number_unnamed(struct session *session)
{
    static uint64_t last_number;
    struct server *server = session->client->server;
    if (server->answers.unnamed_done)
        server->unnamed_statement = session->unnamed_statement = ++last_number;
    server->answers.unnamed_done = false;
}

/* What the name stands for depends on an answer that has not come, but will: a Sync lies between. */
static enum message_fate wait_for_answers(const struct message *message)
{
    message->session->awaits_answers = true;
    return FATE_STASH;
}

static uint32_t segment_of(const struct session *session)
{
    const struct server *server = session->client->server;
    return server != NULL && server->statements != NULL ? server->statements->segment : 0;
}

static enum client_name_state find_name(const struct message *message,
                                        struct statement **ret_statement)
{
    struct session *session = message->session;
    return client_statements_find(&session->statements, message->names.statement,
                                  message->names.statement_size, segment_of(session),
                                  ret_statement);
}

/* The name is to stand for the statement, or for nothing, when the message is answered. */
static struct client_statement *change_name(const struct message *message,
                                            struct statement *statement)
{
    struct session *session = message->session;
    return client_statements_change(&session->statements, message->names.statement,
                                    message->names.statement_size, segment_of(session), statement);
}

/* What is left of the budgets; says which one is used up. */
static const char *exceeded_budget(const struct message *message, uint64_t size)
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
static enum message_fate save_parse(const struct message *message, struct statement_note note)
{
    answers_expect_special(&server_of(message)->answers, 'P', ANSWER_OWN | ANSWER_NOTED);
    server_statements_note(statements_of(message), note);
    if (!stream_leave_out(message->stream, (size_t) message->frame->size))
        return lost(message->session);
    return FATE_TAKEN;
}

static enum message_fate send_parse(const struct message *message, struct statement_note note,
                                    enum statement_need need)
{
    struct server_statement *entry = note.on_server;
    if (need == STATEMENT_REPLACE && !insert_close(message, entry))
        return lost(message->session);
    answers_expect_special(&server_of(message)->answers, 'P', ANSWER_NOTED);
    server_statements_note(statements_of(message), note);
    if (!insert_parse_head(message, entry->statement) || pass_rest(message) != FATE_TAKEN)
        return lost(message->session);
    message->session->body_left = 0;
    message->stream->position += message->rest_size;
    return evict(message, entry) ? FATE_TAKEN : lost(message->session);
}

static enum message_fate take_whole_parse(const struct message *message)
{
    struct session *session = message->session;
    enum message_fate fate = link_session(message);
    if (fate != FATE_FORWARD)
        return fate;
    struct statement *statement = statement_take(message->rest, (uint32_t) message->rest_size);
    struct server_statements *statements = statements_of(message);
    struct server_statement *entry = server_statements_get(statements, statement);
    enum statement_need need = server_statements_need(statements, entry);
    if (server_of(message)->transaction_status == 'E' && need == STATEMENT_IS_THERE)
        need = STATEMENT_REPLACE; /* the server is to say that the transaction has failed */
    struct statement_note note = {.name = change_name(message, statement), .named = statement};
    session_begin_query(session);
    session->client->pool->stats.client_parses++;
    if (need == STATEMENT_IS_THERE)
        return save_parse(message, note);
    note.on_server = entry;
    note.present = true;
    return send_parse(message, note, need);
}

static enum message_fate take_parse(const struct message *message)
{
    struct session *session = message->session;
    uint64_t size = message->frame->size;
    uint32_t size_max = settings_current()->max_prepared_statement_size;
    size_t available = (size_t) (message->stream->end - message->stream->position);
    struct statement *old;
    enum client_name_state state = find_name(message, &old);
    if (size_max != 0 && size > size_max)
        return fail(message, SQLSTATE_TOO_LARGE,
                    "prepared statement is too large (max_prepared_statement_size)");
    if (available < size)
        return FATE_HOLD;
    if (!extended_is_statement(message->rest, (size_t) message->rest_size))
        return refuse_message(session, "broken Parse packet");
    if (state == CLIENT_NAME_USED)
        return refuse_duplicate(message);
    if (state == CLIENT_NAME_UNCERTAIN)
        return wait_for_answers(message);
    const char *exceeded = exceeded_budget(message, size);
    return exceeded != NULL ? fail(message, SQLSTATE_OUT_OF_MEMORY, exceeded)
                            : take_whole_parse(message);
}

/* A Bind or Describe of a named statement: only the name is another one. */
static enum message_fate take_use(const struct message *message)
{
    struct session *session = message->session;
    const struct extended_names *names = &message->names;
    const struct frame *frame = message->frame;
    struct statement *statement;
    enum client_name_state state = find_name(message, &statement);
    if (frame->type == 'D' && message->rest_size != 0)
        return refuse_message(session, "broken Describe packet");
    if (state == CLIENT_NAME_UNCERTAIN)
        return wait_for_answers(message);
    if (state == CLIENT_NAME_FREE)
        return refuse_unknown(message);
    enum message_fate fate = link_session(message);
    if (fate != FATE_FORWARD)
        return fate;
    session_begin_query(session);
    if (!ensure(message, statement))
        return lost(session);
    answers_expect(&server_of(message)->answers, frame->type);
    if (frame->type == 'B')
        session->client->pool->stats.binds++;
    bool inserted = names->portal_size == 0 ? insert_use(message, statement)
                                            : insert_bind_of_portal(message, statement);
    return inserted ? pass_rest(message) : lost(session);
}

static const uint8_t *own_answer(uint8_t type)
{
    static const uint8_t parse_complete[] = {'1', 0, 0, 0, 4}, close_complete[] = {'3', 0, 0, 0, 4},
                         deallocated[] = "C\0\0\0\017DEALLOCATE";
    return type == 'P' ? parse_complete : type == 'C' ? close_complete : deallocated;
}

static size_t own_answer_size(uint8_t type)
{
    return type == 'Q' ? FRAME_HEADER_SIZE + sizeof("DEALLOCATE") : FRAME_HEADER_SIZE;
}

/* Without a server nothing is on its way: the name ends, and the client hears it. */
static enum message_fate drop_name_at_once(const struct message *message)
{
    static const uint8_t ready[] = {'Z', 0, 0, 0, 5, 'I'};
    struct session *session = message->session;
    struct connection *connection = &session->client->connection;
    uint8_t type = message->frame->type;
    client_statements_drop(&session->statements, message->names.statement,
                           message->names.statement_size);
    if (connection_send(connection, own_answer(type), own_answer_size(type)) &&
        (type != 'Q' || connection_send(connection, ready, sizeof(ready))))
        return FATE_DROP;
    session_close(session, "unexpected eof", NULL);
    return FATE_STOPPED;
}

/* No server needs to hear that a name is not used any more. */
static enum message_fate take_close(const struct message *message)
{
    struct session *session = message->session;
    if (message->rest_size != 0)
        return refuse_message(session, "broken Close packet");
    if (session->state != SESSION_LINKED)
        return drop_name_at_once(message);
    struct statement *old;
    bool changes = find_name(message, &old) != CLIENT_NAME_FREE;
    answers_expect_special(&server_of(message)->answers, 'C',
                           changes ? ANSWER_OWN | ANSWER_NOTED : ANSWER_OWN);
    if (changes)
        server_statements_note(statements_of(message),
                               (struct statement_note){.name = change_name(message, NULL)});
    return FATE_DROP;
}

/* True if the text is DEALLOCATE with a name; the message then has that name. */
static bool reads_deallocate(struct message *message, const uint8_t *text, uint64_t size,
                             char *name)
{
    size_t name_size;
    if (size == 0 || size > DEALLOCATE_TEXT_MAX || text[size - 1] != '\0' ||
        !deallocate_read((const char *) text, (size_t) size - 1, name, &name_size))
        return false;
    message->names.statement = name;
    message->names.statement_size = (uint32_t) name_size;
    return true;
}

/*
 * The Query goes nowhere: the statement stays on the servers that have it, for others. A failed
 * transaction refuses it, and in the middle of a pipeline it is its end: both are the server's to
 * say. What decides over the transaction must have been answered.
 */
static enum message_fate take_deallocate(const struct message *message)
{
    struct session *session = message->session;
    struct statement *statement;
    enum client_name_state state = find_name(message, &statement);
    if (state == CLIENT_NAME_UNCERTAIN)
        return wait_for_answers(message);
    if (state == CLIENT_NAME_FREE)
        return FATE_FORWARD;
    if (session->state != SESSION_LINKED)
        return drop_name_at_once(message);
    if (answers_will_come(&server_of(message)->answers))
        return wait_for_answers(message);
    if (server_of(message)->transaction_status == 'E' || !session_is_at_rest(session))
        return FATE_FORWARD;
    answers_expect_special(&server_of(message)->answers, 'Q', ANSWER_OWN | ANSWER_NOTED);
    server_statements_note(statements_of(message),
                           (struct statement_note){.name = change_name(message, NULL)});
    return FATE_DROP;
}

/* It passes; what names a statement behind it waits for its answer. */
static enum message_fate pass_end_of_all(const struct message *message)
{
    struct session *session = message->session;
    enum message_fate fate = link_session(message);
    if (fate != FATE_FORWARD)
        return fate;
    session_begin_query(session);
    answers_expect_special(&server_of(message)->answers, 'Q', ANSWER_NOTED);
    server_statements_note(statements_of(message), (struct statement_note){.ends_all = true});
    session->ends_of_all++;
    session->dropping = false;
    session->body_left = message->frame->size - FRAME_HEADER_SIZE;
    message->stream->position += FRAME_HEADER_SIZE;
    return FATE_TAKEN;
}

enum message_fate prepared_take_query(struct session *session, struct stream *stream,
                                      const struct frame *frame)
{
    struct message message = {.session = session, .stream = stream, .frame = frame};
    const uint8_t *text = stream->position + FRAME_HEADER_SIZE;
    uint64_t size = frame->size - FRAME_HEADER_SIZE;
    char name[DEALLOCATE_TEXT_MAX];
    const struct client *client = session->client;
    if (size > DEALLOCATE_TEXT_MAX || client->pool->limits.prepared_statements == 0 ||
        (session->state == SESSION_LINKED && !answers_tracks(&client->server->answers)))
        return FATE_FORWARD;
    if ((uint64_t) (stream->end - text) < size)
        return FATE_HOLD;
    if (size > 0 && text[size - 1] == '\0' && deallocate_is_of_all((const char *) text, size - 1))
        return pass_end_of_all(&message);
    return reads_deallocate(&message, text, size, name) ? take_deallocate(&message) : FATE_FORWARD;
}

/* The Parse of a DEALLOCATE: the server is to have the statement, under its name there, and drop it. */
static enum message_fate send_deallocate(const struct message *message,
                                         struct statement *statement)
{
    static const char command[] = "DEALLOCATE \"";
    struct buffer parse = {0};
    struct session *session = message->session;
    enum message_fate fate = link_session(message);
    if (fate != FATE_FORWARD)
        return fate;
    session_begin_query(session);
    size_t mark = message_begin(&parse, 'P');
    message_add_text(&parse, "");
    message_add_bytes(&parse, command, strlen(command));
    message_add_bytes(&parse, statement->name, statement->name_size - 1);
    message_add_text(&parse, "\"");
    message_add_int16(&parse, 0);
    message_end(&parse, mark);
    bool sent = ensure(message, statement) &&
                stream_insert(message->stream, parse.data, parse.size) &&
                stream_leave_out(message->stream, (size_t) message->frame->size);
    buffer_release(&parse);
    if (!sent)
        return lost(session);
    answers_expect_special(&server_of(message)->answers, 'P', ANSWER_NOTED);
    prepared_note_unnamed(session);
    server_statements_note(statements_of(message),
                           (struct statement_note){.name = change_name(message, NULL)});
    return FATE_TAKEN;
}

/* The text of a DEALLOCATE may be in a Parse without a name: FATE_FORWARD if it is not. */
static enum message_fate take_parse_of_deallocate(struct message *message)
{
    char name[DEALLOCATE_TEXT_MAX];
    struct extended_names names = message->names;
    struct statement *statement;
    enum message_fate fate = FATE_FORWARD;
    if (message->rest_size > DEALLOCATE_TEXT_MAX || message->rest_size < 3)
        return FATE_FORWARD;
    if ((uint64_t) (message->stream->end - message->rest) < message->rest_size)
        return FATE_HOLD;
    /* Behind the text stands the number of types: none. */
    if (!extended_is_statement(message->rest, (size_t) message->rest_size) ||
        !reads_deallocate(message, message->rest, message->rest_size - 2, name))
        return FATE_FORWARD;
    enum client_name_state state = find_name(message, &statement);
    if (state == CLIENT_NAME_UNCERTAIN)
        fate = wait_for_answers(message);
    else if (state == CLIENT_NAME_USED)
        fate = send_deallocate(message, statement);
    message->names = names;
    return fate;
}

/* It goes to the server as it is; what the empty name stood for until now is over. */
static enum message_fate forward_unnamed_parse(const struct message *message)
{
    struct session *session = message->session;
    struct statement *old;
    if (find_name(message, &old) == CLIENT_NAME_FREE)
        return FATE_FORWARD;
    enum message_fate fate = link_session(message);
    if (fate != FATE_FORWARD)
        return fate;
    session_begin_query(session);
    answers_expect_special(&server_of(message)->answers, 'P', ANSWER_NOTED);
    prepared_note_unnamed(session);
    server_statements_note(statements_of(message),
                           (struct statement_note){.name = change_name(message, NULL)});
    session->dropping = false;
    session->body_left = message->frame->size - FRAME_HEADER_SIZE;
    message->stream->position += FRAME_HEADER_SIZE;
    return FATE_TAKEN;
}

/* prepare_unnamed: one that comes again is prepared as if its name were empty. */
static enum message_fate take_unnamed_text(const struct message *message)
{
    uint64_t size = message->frame->size;
    uint32_t size_max = settings_current()->max_prepared_statement_size;
    if (size_max != 0 && size > size_max)
        return forward_unnamed_parse(message);
    if ((uint64_t) (message->stream->end - message->stream->position) < size)
        return FATE_HOLD;
    if (!extended_is_statement(message->rest, (size_t) message->rest_size) ||
        exceeded_budget(message, size) != NULL ||
        !statement_is_frequent(message->rest, (uint32_t) message->rest_size))
        return forward_unnamed_parse(message);
    if (message->session->client->server != NULL)
        prepared_number_unnamed(message->session);
    message->session->unnamed_statement = 0;
    return take_whole_parse(message);
}

static enum message_fate take_unnamed_parse(struct message *message)
{
    const struct pool_limits *limits = &message->session->client->pool->limits;
    if (limits->prepared_statements == 0)
        return FATE_FORWARD;
    if (message->session->statements.by_name != NULL) {
        enum message_fate fate = take_parse_of_deallocate(message);
        if (fate != FATE_FORWARD)
            return fate;
    }
    return limits->prepare_unnamed ? take_unnamed_text(message) : FATE_FORWARD;
}

/*
 * A statement without a name lasts until the next one. In transaction pooling the one that this
 * server has may be of another client, or an older one of this client: then it must not be used.
 */
static enum message_fate use_unnamed(const struct message *message)
{
    enum message_fate fate = link_session(message);
    if (fate != FATE_FORWARD || prepared_owns_unnamed(message->session, server_of(message)))
        return fate;
    if (server_of(message)->answers.unnamed_count > 0)
        return wait_for_answers(message);
    return fail(message, SQLSTATE_UNKNOWN_STATEMENT, "unnamed prepared statement does not exist");
}

static enum message_fate take_unnamed(struct message *message)
{
    bool prepares = message->session->client->pool->limits.prepare_unnamed;
    enum client_name_state state = CLIENT_NAME_FREE;
    struct statement *statement;
    if (message->frame->type == 'P')
        return take_unnamed_parse(message);
    if (prepares)
        state = find_name(message, &statement);
    if (state == CLIENT_NAME_UNCERTAIN)
        return wait_for_answers(message);
    if (message->frame->type == 'C')
        return state == CLIENT_NAME_USED ? take_close(message) : FATE_FORWARD;
    return state == CLIENT_NAME_USED ? take_use(message) : use_unnamed(message);
}

enum message_fate prepared_take(struct session *session, struct stream *stream,
                                const struct frame *frame)
{
    static const char *const broken[] = {['P'] = "broken Parse packet",
                                         ['B'] = "broken Bind packet",
                                         ['D'] = "broken Describe packet",
                                         ['C'] = "broken Close packet"};
    struct message message = {.session = session, .stream = stream, .frame = frame};
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
        return wait_for_answers(&message);
    if (message.names.statement_size == 0)
        return take_unnamed(&message);
    if (client->pool->limits.prepared_statements == 0)
        return FATE_FORWARD;
    if (frame->type == 'P')
        return take_parse(&message);
    return frame->type == 'C' ? take_close(&message) : take_use(&message);
}

uint64_t prepared_bytes_wanted(const struct frame *frame, size_t available)
{
    return frame->type == 'P' || frame->type == 'Q' ? frame->size : available + 1;
}

/* ---- answers ---- */

static void settle_one(struct session *session, bool done)
{
    struct server_statements *statements = session->client->server->statements;
    struct statement_note *note = server_statements_first_note(statements);
    if (note->name != NULL)
        client_statements_settle(&session->statements, note->name, note->named, done);
    if (note->ends_all)
        session->ends_of_all--;
    server_statements_settle(statements, done);
}

void prepared_settle(struct session *session)
{
    struct answers *answers = &session->client->server->answers;
    for (; answers->notes_done > 0; answers->notes_done--)
        settle_one(session, true);
    for (; answers->notes_lost > 0; answers->notes_lost--)
        settle_one(session, false);
    if (session->awaits_answers)
        loop_post(session->client->connection.loop, &session->client->task);
    session->awaits_answers = false;
}

bool prepared_give_answers(struct session *session, struct stream *stream)
{
    struct server *server = session->client->server;
    while (answers_next_is_own(&server->answers)) {
        uint8_t type = answers_give_own(&server->answers);
        prepared_settle(session);
        if (!stream_insert(stream, own_answer(type), own_answer_size(type)))
            return false;
        if (type == 'Q') {
            uint8_t ready[] = {'Z', 0, 0, 0, 5, (uint8_t) server->transaction_status};
            session_end_query(session, server->transaction_status);
            if (!stream_insert(stream, ready, sizeof(ready)))
                return false;
        }
    }
    return true;
}

const struct buffer *prepared_error(const struct session *session)
{
    return &server_statements_first_note(session->client->server->statements)->error;
}

void prepared_clear(struct session *session)
{
    server_statements_clear(session->client->server->statements);
    client_statements_clear(&session->statements);
}
