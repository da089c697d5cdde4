/*
 * from_client.c - the way from the client to the server.
 *
 * The stream is cut into messages by their headers; bodies are not looked at, but for the names of
 * prepared statements (prepared.c). Everything that goes to the server leaves in as few sends as
 * possible (stream.h).
 *
 * SPDX-License-Identifier: ISC
 */
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "relay/prepared.h"
#include "relay/repeat.h"
#include "server/server_statements.h"
#include "wire/messages.h"

enum message_fate refuse_message(struct session *session, const char *message)
{
    session_close(session, message, message);
    return FATE_STOPPED;
}

/* Shows as much of the stream as PgBouncer does. */
static enum message_fate refuse_header(struct session *session, const struct stream *stream)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = stream->position;
    size_t available = (size_t) (stream->end - bytes);
    char hex[2 * 8 + 1] = "", text[64];
    for (size_t i = 0; i < available && i < 8; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
        hex[2 * i + 2] = '\0';
    }
    snprintf(text, sizeof(text), "bad packet header: '%s'", hex);
    return refuse_message(session, text);
}

/* All that has passed leaves, and our own SET even if nothing passes behind it. */
static bool flush(struct stream *stream)
{
    if (!stream_is_flushed(stream))
        return stream_flush(stream);
    return stream->to == NULL || !stream->to->gathers || connection_send(stream->to, NULL, 0);
}

/* Returns false if the session is over. */
static bool send_passed(struct session *session, struct stream *stream)
{
    if (flush(stream))
        return true;
    session_server_is_gone(session);
    return false;
}

static enum message_fate forward(struct session *session, uint8_t type, unsigned flags)
{
    struct server *server = session->client->server;
    if (flags & MESSAGE_NEEDS_SERVER)
        session_begin_query(session);
    if (type == 'S' && server->statements != NULL)
        server->statements->segment++;
    answers_expect(&server->answers, type);
    return FATE_FORWARD;
}

/* COPY data outside COPY: the server would ignore it, so it need not travel. */
static bool is_late_copy(const struct session *session, unsigned flags)
{
    const struct server *server = session->client->server;
    if (!(flags & MESSAGE_COPY))
        return false;
    return session->state != SESSION_LINKED || answers_settled(&server->answers);
}

/* Statements are followed only where a client's next transaction may run on another server. */
static bool follows_statements(const struct session *session)
{
    return session_pool_mode(session) != POOL_SESSION;
}

/* What the server skips is not looked into: the name may not have come yet. */
static bool is_unnamed(const struct session *session, const struct stream *stream)
{
    return answers_tracks(&session->client->server->answers) &&
           stream->position[FRAME_HEADER_SIZE] == '\0';
}

static enum message_fate decide(struct session *session, struct stream *stream,
                                const struct settings *settings, const struct frame *frame)
{
    const struct client *client = session->client;
    unsigned flags = client_message_flags[frame->type];
    if (flags == 0) {
        log_error(&client->subject, "unknown pkt from client: %u/0x%x", frame->type, frame->type);
        return refuse_message(session, "unknown pkt");
    }
    if (flags & MESSAGE_ENDS_SESSION) {
        session_close(session, "client close request", NULL);
        return FATE_STOPPED;
    }
    if (frame->type == 'Q' && settings->disable_pqexec)
        return refuse_message(session, "PQexec disallowed");
    if (frame->type == 'Q' && prepared_concerns_query(session, stream)) {
        enum message_fate fate = prepared_take_query(session, stream, frame);
        if (fate != FATE_FORWARD)
            return fate;
    }
    if (is_late_copy(session, flags))
        return FATE_DROP;
    bool follows = (flags & MESSAGE_NAMES_STATEMENT) && follows_statements(session);
    if (follows && !prepared_passes(session, stream, frame)) {
        enum message_fate fate = prepared_take(session, stream, frame);
        if (fate != FATE_FORWARD)
            return fate;
    }
    if (session->state != SESSION_LINKED && !session_obtain_server(session))
        return client->session == NULL ? FATE_STOPPED : FATE_STASH;
    stream->to = &client->server->connection;
    bool unnamed = follows && frame->type == 'P' && is_unnamed(session, stream);
    enum message_fate fate = forward(session, frame->type, flags);
    if (unnamed)
        prepared_note_unnamed(session);
    return fate;
}

/* Messages that end the session: what came before them must be on its way first. */
static bool ends_session(const struct frame *frame)
{
    unsigned flags = client_message_flags[frame->type];
    return flags == 0 || (flags & MESSAGE_ENDS_SESSION);
}

/* What is left of the stream waits: it will be taken again. */
static void keep(struct session *session, struct stream *stream, struct buffer *place)
{
    size_t left = (size_t) (stream->end - stream->position);
    buffer_append(place, stream->position, left);
    session->client->pool->stats.bytes_received -= left;
    stream->end = stream->position;
}

/* The first message of what is left must be longer. */
static void hold(struct session *session, struct stream *stream, uint64_t wanted)
{
    keep(session, stream, &session->held);
    session->held_wanted = wanted;
}

/* Lets the rest of a body pass, or leaves it out. Returns false if the session is over. */
static bool pass_body(struct session *session, struct stream *stream)
{
    size_t available = (size_t) (stream->end - stream->position);
    size_t part = session->body_left < available ? (size_t) session->body_left : available;
    session->body_left -= part;
    if (!session->dropping) {
        stream->position += part;
        return true;
    }
    if (stream_leave_out(stream, part))
        return true;
    session_server_is_gone(session);
    return false;
}

/* One message from its header on; the header is there. */
static enum message_fate take_message(struct session *session, struct stream *stream,
                                      const struct settings *settings)
{
    struct frame frame;
    size_t available = (size_t) (stream->end - stream->position);
    bool sound = frame_read_header(stream->position, &frame) &&
                 frame.size <= settings->max_packet_size;
    if ((!sound || ends_session(&frame)) && !send_passed(session, stream))
        return FATE_STOPPED;
    if (!sound)
        return refuse_header(session, stream);
    enum message_fate fate = decide(session, stream, settings, &frame);
    switch (fate) {
    case FATE_FORWARD:
        session->dropping = false;
        session->body_left = frame.size - FRAME_HEADER_SIZE;
        stream->position += FRAME_HEADER_SIZE;
        break;
    case FATE_DROP:
        session->dropping = true;
        session->body_left = frame.size;
        break;
    case FATE_HOLD:
        hold(session, stream, prepared_bytes_wanted(&frame, available));
        break;
    case FATE_STASH:
        keep(session, stream, &session->stash);
        break;
    case FATE_TAKEN:
    case FATE_STOPPED:
        break;
    }
    return fate;
}

void session_take_client_bytes(struct session *session, const uint8_t *bytes, size_t size)
{
    struct client *client = session->client;
    const struct settings *settings = settings_current();
    struct stream stream = {.position = bytes, .end = bytes + size, .run = bytes};
    bool alone = session->body_left == 0 &&
                 (client->server == NULL || session_is_at_rest(session));
    client->pool->stats.bytes_received += size;
    if (client->server != NULL)
        stream.to = &client->server->connection;
    while (stream.position < stream.end) {
        if (session->body_left > 0) {
            if (!pass_body(session, &stream))
                return;
        } else if ((size_t) (stream.end - stream.position) < FRAME_HEADER_SIZE) {
            hold(session, &stream, FRAME_HEADER_SIZE);
        } else if (take_message(session, &stream, settings) == FATE_STOPPED) {
            return;
        }
    }
    if (client->server == NULL)
        return;
    if (client->server->statements != NULL)
        repeat_keep(session, &stream, alone);
    if (!send_passed(session, &stream))
        return;
    if (answers_are_all_own(&client->server->answers))
        session_give_answers(session);
    if (client->session != NULL && client->server->ready)
        session_release_if_settled(session);
}

static bool may_read(const struct session *session)
{
    const struct client *client = session->client;
    const struct server *server = client->server;
    if (!client->connection.readable || session->stash.size > 0)
        return false;
    if (session->state == SESSION_IDLE) /* it may get answers without a server */
        return !connection_is_congested(&client->connection);
    return session->state == SESSION_LINKED && !session_has_lost_its_server(session) &&
           !connection_is_congested(&server->connection) &&
           server->answers.count < ANSWERS_HIGH_MARK &&
           (server->statements == NULL || !server->statements->repeating);
}

/* The stash ends with a whole message that will be answered. */
static bool stash_will_be_answered(const struct session *session)
{
    const uint8_t *position = session->stash.data;
    size_t left = session->stash.size;
    struct frame frame = {.type = 0};
    while (left >= FRAME_HEADER_SIZE) {
        if (!frame_read_header(position, &frame) || frame.size > left)
            return false;
        position += frame.size;
        left -= (size_t) frame.size;
    }
    return left == 0 && answers_ends_request(frame.type);
}

/*
 * True if the client will be sent something, whatever it does: then a connection that died together
 * with the last bytes is noticed, and the receive that would find nothing can be saved.
 */
static bool will_be_answered(const struct session *session)
{
    const struct client *client = session->client;
    if (session->held.size > 0)
        return false;
    if (session->stash.size > 0)
        return stash_will_be_answered(session);
    return client->server != NULL && session->body_left == 0 &&
           answers_will_come(&client->server->answers);
}

/* Bytes behind some that wait already wait too. */
static void take_behind(struct session *session, const uint8_t *bytes, size_t size)
{
    if (session->stash.size > 0)
        buffer_append(&session->stash, bytes, size);
    else if (size > 0)
        session_take_client_bytes(session, bytes, size);
}

/*
 * Takes bytes from the loop's read buffer, with the cut message that they go on with. That is put
 * back in front of them, or, if there is no room for it, gathered until it is long enough.
 */
static void take_received(struct session *session, uint8_t *bytes, size_t size)
{
    struct client *client = session->client;
    struct buffer held = session->held;
    if (held.size == 0) {
        session_take_client_bytes(session, bytes, size);
        return;
    }
    if (held.size <= LOOP_HEADROOM) {
        session->held = (struct buffer){0};
        memcpy(bytes - held.size, held.data, held.size);
        session_take_client_bytes(session, bytes - held.size, size + held.size);
        buffer_release(&held);
        return;
    }
    uint64_t missing = session->held_wanted - held.size;
    size_t part = missing < size ? (size_t) missing : size;
    buffer_append(&session->held, bytes, part);
    if (part < missing)
        return;
    held = session->held;
    session->held = (struct buffer){0};
    session_take_client_bytes(session, held.data, held.size);
    buffer_release(&held);
    if (client->session != NULL && !session_has_lost_its_server(session))
        take_behind(session, bytes + part, size - part);
}

void session_read_client(struct session *session)
{
    struct client *client = session->client;
    size_t read = 0;
    while (may_read(session)) {
        uint8_t *bytes;
        size_t size;
        if (read >= LOOP_READ_SIZE) {
            /* Others get their turn first. */
            loop_post(client->connection.loop, &client->task);
            return;
        }
        switch (connection_receive(&client->connection, &bytes, &size)) {
        case RECEIVED_NOTHING:
            return;
        case RECEIVED_END:
            session_close(session, "client unexpected eof", NULL);
            return;
        case RECEIVED_BYTES:
            break;
        }
        size_t received = size;
        read += received;
        client->request_us = clock_now_us();
        take_received(session, bytes, size);
        if (client->session == NULL)
            return;
        if (session->state == SESSION_WAITING && client->connection.ended) {
            /* The end came with the query, so it will not be reported again. */
            session_close(session, "client unexpected eof", NULL);
            return;
        }
        if (will_be_answered(session))
            connection_mark_drained(&client->connection, received);
    }
}
