/*
 * from_server.c - the way from the server to the client.
 *
 * Bodies pass unseen, with two exceptions that must be whole in memory: ParameterStatus, whose values
 * are followed, and ReadyForQuery, which decides over the link. Answers to our own SET are swallowed.
 *
 * SPDX-License-Identifier: ISC
 */
#include <string.h>

#include "config/config.h"
#include "relay/session.h"
#include "server/server_login.h"
#include "wire/message.h"
#include "wire/messages.h"

/* Where we are in a piece of the server's stream. */
struct stream {
    struct session *session;
    struct server *server;
    const uint8_t *position, *end;
    const uint8_t *run; /* from here to `position` everything goes to the client */
};

/* Sends the run. Returns false if the client is gone, and the session with it. */
static bool send_run(struct stream *stream)
{
    struct session *session = stream->session;
    const uint8_t *run = stream->run;
    stream->run = stream->position;
    if (run == stream->position)
        return true;
    if (connection_send(&session->client->connection, run, (size_t) (stream->position - run)))
        return true;
    session_close(session, "unexpected eof", NULL);
    return false;
}

/* The stream cannot be trusted: the client gets what was good, then the end. */
static bool distrust(struct stream *stream, const char *reason)
{
    if (send_run(stream))
        session_lose_server(stream->session, reason);
    return false;
}

static bool take_parameter(struct stream *stream, const struct frame *frame)
{
    struct server *server = stream->server;
    struct client *client = stream->session->client;
    int place;
    if (!server_read_parameter_status(server, stream->position + FRAME_HEADER_SIZE,
                                      (size_t) frame->size - FRAME_HEADER_SIZE, &place))
        return distrust(stream, "broken ParameterStatus packet");
    if (place >= 0 && stream->session->state == SESSION_LINKED)
        parameters_set(&client->parameters, (unsigned) place,
                       server->parameters.values[place]);
    return true;
}

/* Statement pooling does not allow a transaction to stay open. */
static bool leaves_transaction_open(const struct stream *stream, char status)
{
    return stream->session->client->pool->limits.mode == POOL_STATEMENT && status != 'I';
}

static bool take_ready(struct stream *stream, const struct frame *frame)
{
    char status = (char) stream->position[FRAME_HEADER_SIZE];
    if (frame->size != FRAME_HEADER_SIZE + 1 || (status != 'I' && status != 'T' && status != 'E'))
        return distrust(stream, "bad pkt header");
    if (leaves_transaction_open(stream, status))
        return distrust(stream, "transaction blocks not allowed in statement pooling mode");
    session_end_query(stream->session, status);
    return true;
}

/* An answer to our own SET. Returns false if the session is over. */
static bool swallow(struct stream *stream, const struct frame *frame)
{
    if (!send_run(stream))
        return false;
    if (frame->type == 'E') {
        log_error(&stream->server->subject, "varcache_apply failed: the server refused a parameter");
        session_lose_server(stream->session, "invalid server parameter");
        return false;
    }
    if (frame->type == 'Z') {
        stream->server->ready = true;
        session_synced(stream->session);
    }
    return true;
}

/* Keeps the head of a message that is not whole yet. */
static void hold(struct stream *stream)
{
    buffer_append(&stream->server->held, stream->position,
                  (size_t) (stream->end - stream->position));
    stream->end = stream->position;
}

/* Longest tag that may tell of a changed parameter, header included. */
#define TAG_WATCHED_MAX 32

static bool watches_tag(const struct server *server, const struct frame *frame)
{
    return frame->type == 'C' && frame->size <= TAG_WATCHED_MAX && server_has_unreported(server);
}

/* The client has set or reset something: what the server does not report is not known any more. */
static void take_tag(struct stream *stream, const struct frame *frame)
{
    static const char *const tags[] = {"SET", "RESET", "DISCARD ALL"};
    const char *tag = (const char *) stream->position + FRAME_HEADER_SIZE;
    size_t size = (size_t) frame->size - FRAME_HEADER_SIZE;
    for (size_t i = 0; i < countof(tags); i++)
        if (size == strlen(tags[i]) + 1 && memcmp(tag, tags[i], size) == 0)
            stream->server->unreported_unknown = true;
}

/* One message from its header on. Returns false if the session is over. */
static bool take_message(struct stream *stream, const struct frame *frame)
{
    struct server *server = stream->server;
    bool swallowed = answers_swallows_next(&server->answers) && frame->type != 'A';
    /* Only a server that is going away speaks of an error when it owes no answer. */
    server->said_goodbye = frame->type == 'E' && server->answers.count == 0;
    if (!answers_received(&server->answers, frame->type))
        return distrust(stream, "unknown pkt");
    if (frame->type == 'S' && !take_parameter(stream, frame))
        return false;
    if (!swallowed && watches_tag(server, frame))
        take_tag(stream, frame);
    if (swallowed && !swallow(stream, frame))
        return false;
    if (frame->type == 'Z' && !swallowed && !take_ready(stream, frame))
        return false;
    if (!(server_message_flags[frame->type] & (MESSAGE_ASYNCHRONOUS | MESSAGE_WHOLE)))
        server->ready = false;
    server->swallowing = swallowed;
    server->body_left = frame->size - FRAME_HEADER_SIZE;
    stream->position += FRAME_HEADER_SIZE;
    if (swallowed)
        stream->run = stream->position;
    return true;
}

/* Lets the rest of a body pass, as far as it has come. */
static void pass_body(struct stream *stream)
{
    struct server *server = stream->server;
    size_t available = (size_t) (stream->end - stream->position);
    size_t part = server->body_left < available ? (size_t) server->body_left : available;
    server->body_left -= part;
    stream->position += part;
    if (server->swallowing)
        stream->run = stream->position;
}

/* Returns false if the session is over. */
static bool take_bytes(struct session *session, const uint8_t *bytes, size_t size)
{
    struct server *server = session->client->server;
    struct stream stream = {session, server, bytes, bytes + size, bytes};
    while (stream.position < stream.end) {
        size_t available = (size_t) (stream.end - stream.position);
        struct frame frame;
        if (server->body_left > 0) {
            pass_body(&stream);
            continue;
        }
        if (server->said_goodbye)
            break;
        if (available < FRAME_HEADER_SIZE) {
            hold(&stream);
            break;
        }
        if (!frame_read_header(stream.position, &frame) ||
            frame.size > settings_current()->max_packet_size)
            return distrust(&stream, "bad pkt header");
        unsigned flags = server_message_flags[frame.type];
        if (flags == 0)
            return distrust(&stream, "unknown pkt");
        bool whole = (flags & MESSAGE_WHOLE) || watches_tag(server, &frame);
        if (whole && available < frame.size) {
            if (frame.size > LOOP_HEADROOM)
                return distrust(&stream, "broken ParameterStatus packet");
            hold(&stream);
            break;
        }
        if (!take_message(&stream, &frame))
            return false;
    }
    if (server->said_goodbye && server->body_left == 0)
        return distrust(&stream, "server conn crashed?");
    return send_run(&stream);
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
