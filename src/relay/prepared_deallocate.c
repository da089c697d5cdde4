/*
 * prepared_deallocate.c - SQL that ends prepared statements: DEALLOCATE and DISCARD ALL.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/prepared_message.h"

#include <string.h>

#include "wire/deallocate.h"
#include "wire/message.h"

/* True if the text is DEALLOCATE with a name; the message then has that name. */
static bool reads_deallocate(struct prepared_message *message, const uint8_t *text, uint64_t size,
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
static enum message_fate take_deallocate(const struct prepared_message *message)
{
    struct session *session = message->session;
    struct statement *statement;
    enum client_name_state state = prepared_find_name(message, &statement);
    if (state == CLIENT_NAME_UNCERTAIN)
        return prepared_wait(message);
    if (state == CLIENT_NAME_FREE)
        return FATE_FORWARD;
    if (session->state != SESSION_LINKED)
        return prepared_drop_name(message);
    if (answers_will_come(&prepared_server(message)->answers))
        return prepared_wait(message);
    if (prepared_server(message)->transaction_status == 'E' || !session_is_at_rest(session))
        return FATE_FORWARD;
    prepared_expect(message, 'Q', ANSWER_OWN,
                    (struct statement_note){.name = prepared_change_name(message, NULL)});
    return FATE_DROP;
}

/* It passes; what names a statement behind it waits for its answer. */
static enum message_fate pass_end_of_all(const struct prepared_message *message)
{
    struct session *session = message->session;
    enum message_fate fate = prepared_link(message);
    if (fate != FATE_FORWARD)
        return fate;
    session_begin_query(session);
    prepared_expect(message, 'Q', 0, (struct statement_note){.ends_all = true});
    session->ends_of_all++;
    return prepared_pass(message);
}

enum message_fate prepared_take_query(struct session *session, struct stream *stream,
                                      const struct frame *frame)
{
    struct prepared_message message = {.session = session, .stream = stream, .frame = frame};
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

/* A Parse of DEALLOCATE: the server is to have the statement, by its name there, and drops it. */
static enum message_fate send_deallocate(const struct prepared_message *message,
                                         struct statement *statement)
{
    static const char command[] = "DEALLOCATE \"";
    struct buffer parse = {0};
    struct session *session = message->session;
    enum message_fate fate = prepared_link(message);
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
    struct server_statement *entry = server_statements_get(prepared_statements(message), statement);
    bool sent = prepared_ensure(message, entry) &&
                stream_insert(message->stream, parse.data, parse.size) &&
                stream_leave_out(message->stream, (size_t) message->frame->size);
    buffer_release(&parse);
    if (!sent)
        return prepared_lost(session);
    prepared_expect(message, 'P', 0,
                    (struct statement_note){.name = prepared_change_name(message, NULL)});
    prepared_note_unnamed(session);
    return FATE_TAKEN;
}

enum message_fate prepared_take_parse_of_deallocate(struct prepared_message *message)
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
    enum client_name_state state = prepared_find_name(message, &statement);
    if (state == CLIENT_NAME_UNCERTAIN)
        fate = prepared_wait(message);
    else if (state != CLIENT_NAME_FREE)
        fate = send_deallocate(message, statement);
    message->names = names;
    return fate;
}
