/*
 * from_server.c - the way from the server to the client.
 *
 * Bodies pass unseen, with two exceptions that must be whole in memory: ParameterStatus, whose values
 * are followed, and ReadyForQuery, which decides over the link. Answers to messages of our own are
 * left out, answers that no server gives are put in (prepared.h).
 *
 * SPDX-License-Identifier: ISC
 */
#include <string.h>

#include "config/config.h"
#include "relay/prepared.h"
#include "relay/repeat.h"
#include "server/leftovers.h"
#include "server/server_login.h"
#include "server/server_statements.h"
#include "wire/error_response.h"
#include "wire/message.h"
#include "wire/messages.h"
#include "wire/row_description.h"

/* A piece of the server's stream. */
struct piece {
    struct stream stream; /* to the client */
    struct session *session;
    struct server *server;
    const struct settings *settings; /* in force during the call */
};

/* The client is gone, and the session with it. */
static bool lost_client(struct session *session)
{
    session_close(session, "unexpected eof", NULL);
    return false;
}

/* Sends what has passed. Returns false if the session is over. */
static bool send_passed(struct piece *piece)
{
    if (stream_is_flushed(&piece->stream) || stream_flush(&piece->stream))
        return true;
    return lost_client(piece->session);
}

/* The stream cannot be trusted: the client gets what was good, then the end. */
static bool distrust(struct piece *piece, const char *reason)
{
    if (send_passed(piece))
        session_lose_server(piece->session, reason);
    return false;
}

/* The server goes away, and has answered all: the session goes on without it. */
static bool leave_server(struct piece *piece)
{
    if (send_passed(piece))
        session_leave_server(piece->session, "server conn crashed?");
    return false;
}

static bool take_parameter(struct piece *piece, const struct frame *frame)
{
    struct server *server = piece->server;
    struct client *client = piece->session->client;
    int place;
    if (!server_read_parameter_status(server, piece->stream.position + FRAME_HEADER_SIZE,
                                      (size_t) frame->size - FRAME_HEADER_SIZE, &place))
        return distrust(piece, "broken ParameterStatus packet");
    /* What our own SET has changed, the client has had all the time. */
    if (place >= 0 && !piece->session->set_unanswered) {
        parameters_set(&client->parameters, (unsigned) place,
                       server->parameters.values[place]);
        session_features_take_parameter(piece->session);
    }
    return true;
}

/* Statement pooling does not allow a transaction to stay open. */
static bool leaves_transaction_open(const struct piece *piece, char status)
{
    return session_pool_mode(piece->session) == POOL_STATEMENT && status != 'I';
}

/*
 * What the client is to hear of the features that it has used. Returns false if the session is over.
 * `*ret_swallowed`: the server has been asked something first, and this ReadyForQuery is kept.
 */
static bool tell_features(struct piece *piece, char status, bool *ret_swallowed)
{
    struct buffer warnings = {0};
    *ret_swallowed = session_features_ask(piece->session, status);
    if (*ret_swallowed)
        return true;
    const char *refusal = session_features_tell(piece->session, status, &warnings);
    if (refusal != NULL)
        return distrust(piece, refusal);
    bool sent = warnings.size == 0 ||
                stream_insert(&piece->stream, warnings.data, warnings.size);
    buffer_release(&warnings);
    return sent || lost_client(piece->session);
}

static bool take_ready(struct piece *piece, const struct frame *frame, bool *ret_swallowed)
{
    if (frame->size != FRAME_HEADER_SIZE + 1)
        return distrust(piece, "bad pkt header");
    char status = (char) piece->stream.position[FRAME_HEADER_SIZE];
    if (status != 'I' && status != 'T' && status != 'E')
        return distrust(piece, "bad pkt header");
    if (leaves_transaction_open(piece, status))
        return distrust(piece, "transaction blocks not allowed in statement pooling mode");
    if (piece->server->watched && session_features_are_watched(piece->session) &&
        !tell_features(piece, status, ret_swallowed))
        return false;
    if (!*ret_swallowed)
        session_end_query(piece->session, status);
    return true;
}

static bool is_of_set(const struct session *session)
{
    unsigned answer = answers_next(&session->client->server->answers);
    return (answer & ANSWER_SWALLOWED) && (answer & ANSWER_TYPE) == 'Q' &&
           session->features.asked == 0;
}

/* An error in place of the answer to our own SET, that must be whole before it is handled. */
static bool reads_error_of_set(const struct session *session, const struct frame *frame)
{
    return frame->type == 'E' && frame->size <= LOOP_HEADROOM && is_of_set(session);
}

/* The same is no answer, but the server's last word: it has been told to end. */
static bool is_last_word(const struct piece *piece, const struct frame *frame)
{
    struct error_fields fields;
    if (!reads_error_of_set(piece->session, frame))
        return false;
    if (!error_response_read(piece->stream.position + FRAME_HEADER_SIZE,
                             (size_t) frame->size - FRAME_HEADER_SIZE, &fields))
        return false;
    return strcmp(fields.severity, "FATAL") == 0 || strcmp(fields.severity, "PANIC") == 0;
}

/* An answer to our own SET. Returns false if the session is over. */
static bool take_answer_to_set(struct piece *piece, const struct frame *frame)
{
    if (frame->type == 'E') {
        if (!send_passed(piece))
            return false;
        session_sync_refused(piece->session);
        return false;
    }
    if (frame->type != 'Z')
        return true;
    if (frame->size != FRAME_HEADER_SIZE + 1 ||
        piece->stream.position[FRAME_HEADER_SIZE] != 'I')
        return distrust(piece, "bad pkt header");
    session_synced(piece->session);
    return true;
}

/* True if the client must not get a message of this type, because of what it answers. */
static bool is_swallowed(unsigned answer, uint8_t type)
{
    if (!(answer & (ANSWER_SWALLOWED | ANSWER_REPLACED)) || type == 'A')
        return false;
    if (answer & ANSWER_REPLACED)
        return type == 'E';
    /* Of what else is ours the client gets all but the good end: an error is his too. */
    return (answer & ANSWER_TYPE) == 'Q' || type == '1' || type == '3' || type == 't' ||
           type == 'T' || type == 'n';
}

/* Keeps the head of a message that is not whole yet. */
static void hold(struct piece *piece)
{
    buffer_append(&piece->server->held, piece->stream.position,
                  (size_t) (piece->stream.end - piece->stream.position));
    piece->stream.end = piece->stream.position;
}

/* A longer tag is none that PostgreSQL makes; it is not gathered. */
#define TAG_MESSAGE_MAX (FRAME_HEADER_SIZE + LEFTOVERS_TAG_MAX)

static bool watches_tag(const struct session *session, const struct frame *frame)
{
    const struct server *server = session->client->server;
    return frame->type == 'C' && frame->size <= TAG_MESSAGE_MAX &&
           (server->watched || server_has_unreported(server) || server->statements != NULL ||
            session->statements.by_name != NULL);
}

/* A longer one is not gathered: who takes advisory locks asks for few columns. */
#define COLUMNS_MESSAGE_MAX 1024

static bool watches_columns(const struct session *session, const struct frame *frame)
{
    return frame->type == 'T' && session->client->server->watched &&
           frame->size <= COLUMNS_MESSAGE_MAX;
}

/* It tells what columns the result of a statement has, and somebody wants to know. */
static bool tells_columns(const struct server *server, uint8_t type)
{
    if (type != 'T' && type != 'n') /* most messages */
        return false;
    unsigned answer = answers_next(&server->answers);
    return (answer & ANSWER_NOTED) && (answer & ANSWER_TYPE) == 'D';
}

/* Of one that is too long to be gathered the length must do. */
static void take_columns(struct piece *piece, const struct frame *frame)
{
    size_t size = (size_t) frame->size - FRAME_HEADER_SIZE;
    uint32_t fingerprint =
        frame->type == 'n'            ? ROW_DESCRIPTION_OF_NONE
        : frame->size > LOOP_HEADROOM ? (uint32_t) frame->size
                                      : row_description_fingerprint(
                                            piece->stream.position + FRAME_HEADER_SIZE, size);
    server_statements_take_columns(piece->server->statements, fingerprint);
}

/* A message that the client gets, looked at for what it tells of the session. */
static void watch(struct piece *piece, const struct frame *frame)
{
    struct server *server = piece->server;
    const uint8_t *body = piece->stream.position + FRAME_HEADER_SIZE;
    size_t size = (size_t) frame->size - FRAME_HEADER_SIZE;
    if (watches_tag(piece->session, frame)) {
        session_take_tag(piece->session, (const char *) body, size);
        return;
    }
    if (!server->watched)
        return;
    server->left = (uint8_t) leftovers_after_message(server->left, frame->type);
    if (frame->type == 'D' || frame->type == 'T')
        session_features_take_rows(piece->session,
                                   watches_columns(piece->session, frame) ? body : NULL, size);
}

/* Puts the error that the client is to get before the one that is swallowed. */
static bool replace_error(struct piece *piece)
{
    const struct buffer *error = prepared_error(piece->session);
    return stream_insert(&piece->stream, error->data, error->size) || lost_client(piece->session);
}

/* True if the client does not get this error, or this end, because its pipeline is sent again. */
static bool is_repeated(struct piece *piece, const struct frame *frame)
{
    const struct server_statements *statements = piece->server->statements;
    if (frame->type == 'E' && repeat_reads_error(piece->session, (size_t) frame->size))
        return repeat_take_error(piece->session, piece->stream.position + FRAME_HEADER_SIZE,
                                 (size_t) frame->size - FRAME_HEADER_SIZE);
    return frame->type == 'Z' && statements != NULL && statements->repeating;
}

/*
 * The parameters of a statement come before it turns out that its plan is stale. They are not told
 * until what follows is known, because they will come once more.
 */
static bool awaits_columns(const struct session *session, const struct frame *frame)
{
    return frame->type == 't' && session->client->server->statements != NULL &&
           frame->size <= LOOP_HEADROOM - FRAME_HEADER_SIZE;
}

static bool holds_parameters(const struct piece *piece, const struct frame *frame)
{
    bool failed = awaits_columns(piece->session, frame) &&
                  piece->stream.position[frame->size] == 'E';
    if (failed)
        piece->server->statements->has_held_parameters = true;
    return failed;
}

/* The end of the first try. Returns false if the session is over. */
static bool repeat_pipeline(struct piece *piece, const struct frame *frame)
{
    piece->server->body_left = 0;
    return (stream_leave_out(&piece->stream, (size_t) frame->size) ||
            lost_client(piece->session)) &&
           repeat_send(piece->session);
}

/* What has come was due, and what depends on it is true now. Returns false if that is all. */
static bool note_answer(struct piece *piece, const struct frame *frame)
{
    struct server *server = piece->server;
    /* Only a server that is going away speaks of an error when it owes no answer. */
    server->said_goodbye = frame->type == 'E' && server->answers.count == 0;
    if (server->said_goodbye && session_is_done_with_server(piece->session))
        return leave_server(piece);
    if (tells_columns(server, frame->type))
        take_columns(piece, frame);
    if (!answers_received(&server->answers, frame->type))
        return distrust(piece, "unknown pkt");
    /* What a stash waits for lies before a Sync, and is no later than its ReadyForQuery. */
    if (server->answers.notes_done + server->answers.notes_lost > 0 ||
        (piece->session->awaits_answers && frame->type == 'Z'))
        prepared_settle(piece->session);
    return true;
}

/* The header has been dealt with: it and the body pass, or go nowhere. */
static bool begin_body(struct piece *piece, const struct frame *frame, bool swallowed)
{
    piece->server->swallowing = swallowed;
    piece->server->body_left = frame->size - FRAME_HEADER_SIZE;
    if (swallowed)
        return stream_leave_out(&piece->stream, FRAME_HEADER_SIZE) || lost_client(piece->session);
    piece->stream.position += FRAME_HEADER_SIZE;
    return true;
}

/* One message from its header on. Returns false if the session is over. */
static bool take_message(struct piece *piece, const struct frame *frame)
{
    struct server *server = piece->server;
    unsigned answer = answers_next(&server->answers);
    bool swallowed = is_swallowed(answer, frame->type) && !is_last_word(piece, frame);
    bool of_set = swallowed && is_of_set(piece->session);
    if (swallowed && (answer & ANSWER_REPLACED) && !replace_error(piece))
        return false;
    bool repeated = is_repeated(piece, frame);
    if (!note_answer(piece, frame))
        return false;
    if (frame->type == 'S' && !take_parameter(piece, frame))
        return false;
    if (!swallowed && (frame->type == 'C' || server->watched))
        watch(piece, frame);
    if (of_set && !take_answer_to_set(piece, frame))
        return false;
    if (repeated && frame->type == 'Z')
        return repeat_pipeline(piece, frame);
    if (swallowed && piece->session->features.asked != 0)
        swallowed = !session_features_answered(piece->session, frame->type);
    if (frame->type == 'Z' && !swallowed && !take_ready(piece, frame, &swallowed))
        return false;
    if (!(server_message_flags[frame->type] & (MESSAGE_ASYNCHRONOUS | MESSAGE_WHOLE)))
        server->ready = false;
    return begin_body(piece, frame, swallowed || repeated || holds_parameters(piece, frame));
}

/* Lets the rest of a body pass, as far as it has come. Returns false if the session is over. */
static bool pass_body(struct piece *piece)
{
    struct server *server = piece->server;
    size_t available = (size_t) (piece->stream.end - piece->stream.position);
    size_t part = server->body_left < available ? (size_t) server->body_left : available;
    server->body_left -= part;
    if (server->swallowing)
        return stream_leave_out(&piece->stream, part) || lost_client(piece->session);
    piece->stream.position += part;
    return true;
}

/* True at a glance: the message is an answer to the client and nothing else. */
static bool is_plain(const struct piece *piece, const struct frame *frame, unsigned flags)
{
    const struct server *server = piece->server;
    if (server->watched || answers_next(&server->answers) > ANSWER_TYPE)
        return false;
    return !(flags & MESSAGE_WATCHED) ||
           (frame->type == 'C' && !watches_tag(piece->session, frame));
}

/* As take_message(), for one that is plain. */
static bool pass_message(struct piece *piece, const struct frame *frame, unsigned flags)
{
    struct server *server = piece->server;
    if (!answers_received(&server->answers, frame->type))
        return distrust(piece, "unknown pkt");
    if (!(flags & MESSAGE_ASYNCHRONOUS))
        server->ready = false;
    return begin_body(piece, frame, false);
}

/* Takes the message at the position, or holds it. Returns false if the session is over. */
static bool take_next(struct piece *piece)
{
    size_t available = (size_t) (piece->stream.end - piece->stream.position);
    struct frame frame;
    if (available < FRAME_HEADER_SIZE) {
        hold(piece);
        return true;
    }
    if (!frame_read_header(piece->stream.position, &frame) ||
        frame.size > piece->settings->max_packet_size)
        return distrust(piece, "bad pkt header");
    unsigned flags = server_message_flags[frame.type];
    if (flags == 0)
        return distrust(piece, "unknown pkt");
    if (is_plain(piece, &frame, flags))
        return pass_message(piece, &frame, flags);
    bool whole = (flags & MESSAGE_WHOLE) || watches_tag(piece->session, &frame) ||
                 watches_columns(piece->session, &frame) ||
                 reads_error_of_set(piece->session, &frame) ||
                 (frame.size <= LOOP_HEADROOM && tells_columns(piece->server, frame.type)) ||
                 (frame.type == 'E' && repeat_reads_error(piece->session, (size_t) frame.size));
    uint64_t wanted = awaits_columns(piece->session, &frame) ? frame.size + FRAME_HEADER_SIZE
                      : whole                                ? frame.size
                                                             : FRAME_HEADER_SIZE;
    if (available >= wanted)
        return take_message(piece, &frame);
    if (frame.size > LOOP_HEADROOM)
        return distrust(piece, "broken ParameterStatus packet");
    hold(piece);
    return true;
}

/* Between two messages: the pooler's own answers, if it is their turn. */
static bool give_own_answers(struct piece *piece)
{
    if (!answers_next_is_own(&piece->server->answers))
        return true;
    return prepared_give_answers(piece->session, &piece->stream) || lost_client(piece->session);
}

/* Returns false if the session is over. */
static bool take_bytes(struct session *session, const uint8_t *bytes, size_t size)
{
    struct server *server = session->client->server;
    struct piece piece = {.stream = {.to = &session->client->connection,
                                     .position = bytes,
                                     .end = bytes + size,
                                     .run = bytes},
                          .session = session,
                          .server = server,
                          .settings = settings_current()};
    while (piece.stream.position < piece.stream.end) {
        if (server->body_left > 0) {
            if (!pass_body(&piece))
                return false;
            continue;
        }
        if (server->said_goodbye)
            break;
        if (!give_own_answers(&piece) || !take_next(&piece))
            return false;
    }
    if (server->body_left > 0)
        return send_passed(&piece);
    if (server->said_goodbye)
        return distrust(&piece, "server conn crashed?");
    return (server->held.size > 0 || give_own_answers(&piece)) && send_passed(&piece);
}

void session_give_answers(struct session *session)
{
    struct client *client = session->client;
    struct stream stream = {.to = &client->connection};
    if (!answers_are_all_own(&client->server->answers) || client->server->body_left > 0 ||
        connection_is_congested(&client->connection))
        return;
    if (!prepared_give_answers(session, &stream) || !stream_flush(&stream))
        lost_client(session);
}

/* Puts the head of a cut message back in front of what followed it. */
static uint8_t *put_back(struct server *server, uint8_t *bytes, size_t *size)
{
    uint8_t *start = bytes - server->held.size;
    if (server->held.size == 0)
        return bytes;
    memcpy(start, server->held.data, server->held.size);
    *size += server->held.size;
    buffer_release(&server->held);
    return start;
}

/*
 * A server that has answered everything needs no receive that finds nothing: if it died with its
 * last bytes, the next client's send to it will tell.
 */
static bool has_answered(const struct server *server)
{
    return answers_settled(&server->answers) && server->body_left == 0 && server->held.size == 0;
}

/* True while the client is not read because it has too many requests under way. */
static bool holds_client(const struct server *server)
{
    return server->answers.count >= ANSWERS_HIGH_MARK;
}

void session_read_server(struct session *session)
{
    struct client *client = session->client;
    struct server *server = client->server;
    size_t read = 0;
    while (server->connection.readable && !connection_is_congested(&client->connection)) {
        uint8_t *bytes;
        size_t size;
        if (read >= LOOP_READ_SIZE) {
            loop_post(server->connection.loop, &server->task);
            return;
        }
        switch (connection_receive(&server->connection, &bytes, &size)) {
        case RECEIVED_NOTHING:
            return;
        case RECEIVED_END:
            session_lose_server(session, "server conn crashed?");
            return;
        case RECEIVED_BYTES:
            break;
        }
        size_t received = size;
        read += received;
        server->request_us = clock_now_us();
        client->pool->stats.bytes_sent += received;
        bytes = put_back(server, bytes, &size);
        bool held = holds_client(server);
        if (!take_bytes(session, bytes, size))
            return;
        if (held && !holds_client(server) && client->connection.readable)
            loop_post(client->connection.loop, &client->task);
        if (has_answered(server))
            connection_mark_drained(&server->connection, received);
        if (server->ready && session->state == SESSION_LINKED)
            session_release_if_settled(session);
        if (client->server == NULL)
            return;
    }
}
