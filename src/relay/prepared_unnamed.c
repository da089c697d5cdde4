/*
 * prepared_unnamed.c - the statement without a name.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/prepared_message.h"

#include "config/config.h"

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

/* It goes to the server as it is; what the empty name stood for until now is over. */
static enum message_fate forward_unnamed_parse(const struct prepared_message *message)
{
    struct session *session = message->session;
    struct statement *old;
    if (prepared_find_name(message, &old) == CLIENT_NAME_FREE)
        return FATE_FORWARD;
    enum message_fate fate = prepared_link(message);
    if (fate != FATE_FORWARD)
        return fate;
    session_begin_query(session);
    prepared_expect(message, 'P', 0,
                    (struct statement_note){.name = prepared_change_name(message, NULL)});
    prepared_note_unnamed(session);
    return prepared_pass(message);
}

/* prepare_unnamed: one that comes again is prepared as if its name were empty. */
static enum message_fate take_unnamed_text(const struct prepared_message *message)
{
    uint64_t size = message->frame->size;
    uint32_t size_max = settings_current()->max_prepared_statement_size;
    if (size_max != 0 && size > size_max)
        return forward_unnamed_parse(message);
    if ((uint64_t) (message->stream->end - message->stream->position) < size)
        return FATE_HOLD;
    if (!extended_is_statement(message->rest, (size_t) message->rest_size) ||
        prepared_exceeds(message, size) != NULL ||
        !statement_is_frequent(message->session->client->pool->statements, message->rest,
                               (uint32_t) message->rest_size))
        return forward_unnamed_parse(message);
    if (message->session->client->server != NULL)
        prepared_number_unnamed(message->session);
    message->session->unnamed_statement = 0;
    return prepared_take_parse(message);
}

static enum message_fate take_unnamed_parse(struct prepared_message *message)
{
    const struct pool_limits *limits = &message->session->client->pool->limits;
    if (limits->prepared_statements == 0)
        return FATE_FORWARD;
    if (message->session->statements.by_name != NULL) {
        enum message_fate fate = prepared_take_parse_of_deallocate(message);
        if (fate != FATE_FORWARD)
            return fate;
    }
    return limits->prepare_unnamed ? take_unnamed_text(message) : FATE_FORWARD;
}

/*
 * A statement without a name lasts until the next one. In transaction pooling the one that this
 * server has may be of another client, or an older one of this client: then it must not be used.
 */
static enum message_fate use_unnamed(const struct prepared_message *message)
{
    enum message_fate fate = prepared_link(message);
    if (fate != FATE_FORWARD || prepared_owns_unnamed(message->session, prepared_server(message)))
        return fate;
    if (prepared_server(message)->answers.unnamed_count > 0)
        return prepared_wait(message);
    return prepared_fail(message, SQLSTATE_UNKNOWN_STATEMENT,
                         "unnamed prepared statement does not exist");
}

enum message_fate prepared_take_unnamed(struct prepared_message *message)
{
    bool prepares = message->session->client->pool->limits.prepare_unnamed;
    enum client_name_state state = CLIENT_NAME_FREE;
    struct statement *statement;
    if (message->frame->type == 'P')
        return take_unnamed_parse(message);
    if (prepares)
        state = prepared_find_name(message, &statement);
    if (state == CLIENT_NAME_UNCERTAIN)
        return prepared_wait(message);
    if (message->frame->type == 'C')
        return state != CLIENT_NAME_FREE ? prepared_take_close(message) : FATE_FORWARD;
    return state != CLIENT_NAME_FREE ? prepared_take_use(message) : use_unnamed(message);
}
