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

void repeat_keep(struct session *session, const struct stream *stream, bool alone)
{
    struct server *server = session->client->server;
    struct server_statements *statements = server->statements;
    size_t run = (size_t) (stream->position - stream->run), size = stream->gathered + run;
    statements->kept_size = 0;
    if (!alone || stream->has_sent || stream->gathered == 0 || size > sizeof(statements->kept) ||
        session->body_left > 0 || session->stash.size > 0 || server->transaction_status != 'I')
        return;
    memcpy(statements->kept, loop_write_buffer(stream->to->loop), stream->gathered);
    memcpy(statements->kept + stream->gathered, stream->run, run);
    statements->kept_size = (uint32_t) size;
    /* A SET of ours and answers of our own in front of it will have been given. */
    statements->kept_answers = server->answers.count - server->answers.own_count -
                               (session->set_unanswered ? 1 : 0);
}

bool repeat_reads_error(const struct session *session, size_t size)
{
    const struct server *server = session->client->server;
    unsigned type = answers_next(&server->answers) & ANSWER_TYPE;
    return server->statements != NULL && size <= LOOP_HEADROOM && (type == 'B' || type == 'D');
}

/* The statement that the kept Bind or Describe uses; NULL if it is none that all clients share. */
static struct server_statement *find_kept(const struct server_statements *statements)
{
    struct extended_names names;
    struct frame frame;
    if (statements->kept_size == 0 || !frame_read_header(statements->kept, &frame) ||
        (frame.type != 'B' && frame.type != 'D') ||
        extended_read_names(&frame, statements->kept + FRAME_HEADER_SIZE,
                            statements->kept_size - FRAME_HEADER_SIZE, &names) != EXTENDED_NAMES)
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
    return server->answers.count == statements->kept_answers && !server->answers.begun &&
           answers_are_one_pipeline(&server->answers) && find_kept(statements) != NULL;
}

/*
 * The client asks for the columns of the result, or has prepared the statement in this pipeline. If
 * not it remembers those of an earlier Describe, and would take new values for old columns.
 */
static bool learns_columns(const struct server_statements *statements)
{
    const struct server_statement *entry = find_kept(statements);
    struct frame frame;
    if (entry != NULL && entry->statement == statements->saved &&
        statements->saved_segment + 1 == statements->segment)
        return true;
    for (size_t at = 0; at + FRAME_HEADER_SIZE <= statements->kept_size; at += (size_t) frame.size) {
        if (!frame_read_header(statements->kept + at, &frame) || frame.type == 'E')
            return false;
        if (frame.type == 'D')
            return true;
    }
    return false;
}

bool repeat_take_error(struct session *session, const uint8_t *body, size_t size)
{
    struct server *server = session->client->server;
    struct server_statements *statements = server->statements;
    struct error_fields fields;
    bool columns_are_safe = true;
    (void) error_response_read(body, size, &fields);
    if (answers_next(&server->answers) & ANSWER_REPLACED)
        return false;
    if (strcmp(fields.sqlstate, "0A000") == 0 &&
        strcmp(fields.routine, "RevalidateCachedQuery") == 0) {
        doubt_statements(session->client->pool);
        columns_are_safe = learns_columns(statements);
    } else if (strcmp(fields.sqlstate, "26000") == 0) {
        server_statements_doubt(statements);
    } else {
        return false;
    }
    statements->repeating = may_repeat(server) && columns_are_safe;
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

/* What was kept is whole messages. */
static void expect_kept(struct server *server)
{
    const struct server_statements *statements = server->statements;
    struct frame frame;
    for (size_t at = 0; at < statements->kept_size; at += (size_t) frame.size) {
        if (!frame_read_header(statements->kept + at, &frame))
            return;
        answers_expect(&server->answers, frame.type);
    }
    server->statements->segment++;
}

bool repeat_send(struct session *session)
{
    struct client *client = session->client;
    struct server *server = client->server;
    struct server_statements *statements = server->statements;
    struct server_statement *entry = find_kept(statements);
    struct buffer out = {0};
    statements->repeating = false;
    if (entry == NULL) {
        session_lose_server(session, "prepared statement did not exist");
        return false;
    }
    write_replacement(server, entry, &out);
    expect_kept(server);
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
