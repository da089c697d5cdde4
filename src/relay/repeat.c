/*
 * repeat.c - a pipeline that failed because a plan on the server was stale is sent again.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/repeat.h"

#include <string.h>

#include <utlist.h>

#include "server/server_statements.h"
#include "wire/error_response.h"
#include "wire/extended.h"
#include "wire/frame.h"
#include "wire/message.h"

/* Answers that the server owes. The pooler's own belong to messages that are not among what is kept. */
static uint32_t due(const struct answers *answers)
{
    return answers->count - answers->own_count;
}

static void keep_bytes(struct server_statements *statements, const uint8_t *bytes, size_t size)
{
    size_t room = sizeof(statements->kept) - statements->kept_size;
    size_t kept = size < room ? size : room;
    memcpy(statements->kept + statements->kept_size, bytes, kept);
    statements->kept_size += (uint32_t) kept;
}

void repeat_keep(struct session *session, const struct stream *stream, bool alone)
{
    struct server *server = session->client->server;
    struct server_statements *statements = server->statements;
    size_t run = (size_t) (stream->position - stream->run), size = stream->gathered + run;
    statements->kept_size = 0;
    statements->kept_relies = statements->relies_on_columns;
    statements->relies_on_columns = statements->has_held_parameters = false;
    if (!alone || stream->has_sent || stream->gathered == 0)
        return;
    keep_bytes(statements, loop_write_buffer(stream->to->loop), stream->gathered);
    keep_bytes(statements, stream->run, run);
    /* A SET of ours in front of it will have been answered. */
    statements->kept_answers = due(&server->answers) - (session->set_unanswered ? 1 : 0);
    statements->kept_is_whole = statements->kept_size == size && session->body_left == 0 &&
                                session->stash.size == 0 && server->transaction_status == 'I';
}

bool repeat_reads_error(const struct session *session, size_t size)
{
    const struct server *server = session->client->server;
    uint8_t type = (uint8_t) (answers_next(&server->answers) & ANSWER_TYPE);
    return server->statements != NULL && size <= LOOP_HEADROOM && (type == 'B' || type == 'D');
}

/* One kept message. */
struct kept_message {
    struct frame frame;
    size_t at;
};

/* Reads the head of the message at `at`. Returns false if it was not kept. */
static bool read_kept(const struct server_statements *statements, size_t at,
                      struct kept_message *ret_message)
{
    ret_message->at = at;
    return at < statements->kept_size && statements->kept_size - at >= FRAME_HEADER_SIZE &&
           frame_read_header(statements->kept + at, &ret_message->frame);
}

static bool read_next_kept(const struct server_statements *statements,
                           const struct kept_message *message, struct kept_message *ret_next)
{
    return message->frame.size < statements->kept_size &&
           read_kept(statements, message->at + (size_t) message->frame.size, ret_next);
}

/* The kept message whose answer is due. Returns false if that is not known. */
static bool find_failed(const struct server *server, struct kept_message *ret_message)
{
    const struct server_statements *statements = server->statements;
    uint32_t left = due(&server->answers);
    bool found = left <= statements->kept_answers && read_kept(statements, 0, ret_message);
    for (uint32_t answered = statements->kept_answers - left; found; ) {
        bool is_answered = ret_message->frame.type != 'H';
        if (is_answered && answered-- == 0)
            break;
        found = read_next_kept(statements, ret_message, ret_message);
    }
    return found;
}

/* The statement that it uses; NULL if it is none of those that all clients share. */
static struct server_statement *statement_used(const struct server_statements *statements,
                                               const struct kept_message *message)
{
    struct extended_names names;
    const uint8_t *body = statements->kept + message->at + FRAME_HEADER_SIZE;
    uint8_t type = message->frame.type;
    if ((type != 'B' && type != 'D') ||
        extended_read_names(&message->frame, body,
                            statements->kept_size - message->at - FRAME_HEADER_SIZE,
                            &names) != EXTENDED_NAMES ||
        names.of_portal)
        return NULL;
    return server_statements_find_name(statements, names.statement);
}

/* A table has changed: what any server has may be stale. */
static void doubt_statements(struct pool *pool)
{
    struct server *server;
    for (int state = SERVER_IDLE; state < SERVER_CLOSED; state++)
        DL_FOREACH(pool->servers[state], server)
            server_statements_doubt(server->statements);
}

/* Nothing of it has run, the client has nothing of its answer, and nothing else is under way. */
static bool may_repeat(const struct server *server)
{
    const struct server_statements *statements = server->statements;
    return statements->kept_is_whole &&
           (!server->answers.begun || statements->has_held_parameters) &&
           due(&server->answers) == statements->kept_answers &&
           answers_are_one_pipeline(&server->answers);
}

static bool is_stale(const struct error_fields *fields)
{
    return strcmp(fields->sqlstate, "0A000") == 0 &&
           strcmp(fields->routine, "RevalidateCachedQuery") == 0;
}

static bool has_vanished(const struct error_fields *fields)
{
    return strcmp(fields->sqlstate, "26000") == 0;
}

bool repeat_take_error(struct session *session, const uint8_t *body, size_t size)
{
    struct server *server = session->client->server;
    struct server_statements *statements = server->statements;
    struct server_statement *entry = NULL;
    struct kept_message failed;
    struct error_fields fields;
    if (answers_next(&server->answers) & ANSWER_REPLACED)
        return false;
    (void) error_response_read(body, size, &fields);
    if (!is_stale(&fields) && !has_vanished(&fields))
        return false;
    if (find_failed(server, &failed))
        entry = statement_used(statements, &failed);
    if (is_stale(&fields))
        doubt_statements(session->client->pool);
    else
        server_statements_doubt(statements);
    if (entry == NULL)
        return false;
    if (is_stale(&fields))
        statement_set_outdated(entry->statement);
    statements->repeating = may_repeat(server) &&
                            (has_vanished(&fields) || !statements->kept_relies);
    if (statements->repeating)
        log_info(&server->subject, "prepared statements are stale: preparing them again");
    return statements->repeating;
}

/* Close and Parse; neither answer is for the client. */
static void write_replacement(struct server *server, struct server_statement *entry,
                              struct buffer *out)
{
    const struct statement *statement = entry->statement;
    for (int present = 0; present <= 1; present++) {
        answers_expect_special(&server->answers, present ? 'P' : 'C',
                               ANSWER_SWALLOWED | ANSWER_NOTED);
        server_statements_note(server->statements, (struct statement_note){
                                                       .on_server = entry, .present = present});
        size_t mark = message_begin(out, present ? 'P' : 'C');
        if (!present)
            message_add_byte(out, 'S');
        message_add_text(out, statement->name);
        if (present)
            message_add_bytes(out, statement->body, statement->size);
        message_end(out, mark);
    }
}

/*
 * The client's Describe, which comes first: its answer tells the columns as they are now, so the
 * client's name stands for the statement of those who prepare it now.
 */
static void expect_describe(struct session *session, const struct statement *outdated)
{
    struct server *server = session->client->server;
    struct statement *current = statement_take(outdated->table, outdated->body, outdated->size);
    client_statements_replace(&session->statements, outdated, current);
    answers_expect_special(&server->answers, 'D', ANSWER_NOTED);
    server_statements_note(server->statements, (struct statement_note){.described = current});
}

/* What was kept is whole messages. */
static void expect_kept(struct session *session, const struct statement *statement)
{
    struct server *server = session->client->server;
    const struct server_statements *statements = server->statements;
    struct frame frame;
    for (size_t at = 0; at < statements->kept_size; at += (size_t) frame.size) {
        if (!frame_read_header(statements->kept + at, &frame))
            return;
        if (at == 0 && frame.type == 'D' && statement->outdated)
            expect_describe(session, statement);
        else
            answers_expect(&server->answers, frame.type);
    }
    server->statements->segment++;
}

bool repeat_send(struct session *session)
{
    struct client *client = session->client;
    struct server *server = client->server;
    struct server_statements *statements = server->statements;
    struct server_statement *entry = NULL;
    struct kept_message first;
    struct buffer out = {0};
    statements->repeating = false;
    if (read_kept(statements, 0, &first))
        entry = statement_used(statements, &first);
    if (entry == NULL) {
        session_lose_server(session, "prepared statement did not exist");
        return false;
    }
    write_replacement(server, entry, &out);
    expect_kept(session, entry->statement);
    message_add_bytes(&out, statements->kept, statements->kept_size);
    statements->kept_size = 0;
    client->pool->stats.server_parses++;
    bool sent = connection_send(&server->connection, out.data, out.size);
    buffer_release(&out);
    if (!sent)
        session_lose_server(session, "server connection closed");
    else if (client->connection.readable)
        loop_post(client->connection.loop, &client->task);
    return sent;
}
