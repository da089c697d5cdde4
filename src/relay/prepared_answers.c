/*
 * prepared_answers.c - answers that concern prepared statements.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/prepared_message.h"

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

enum message_fate prepared_drop_name(const struct prepared_message *message)
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
