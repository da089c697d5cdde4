/*
 * from_client.c - the way from the client to the server.
 *
 * The stream is cut into messages by their headers; bodies are not looked at. Everything that goes
 * to the server leaves in as few sends as possible: a run of bytes grows until the buffer ends or a
 * message goes another way.
 *
 * SPDX-License-Identifier: ISC
 */
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "relay/session.h"
#include "wire/messages.h"

/* What becomes of one message. */
enum message_fate {
    FATE_FORWARD,
    FATE_DROP,
    FATE_STASH,  /* it waits for a server, and all behind it */
    FATE_STOPPED /* the session has been closed */
};

static enum message_fate refuse(struct session *session, const char *message)
{
    session_close(session, message, message);
    return FATE_STOPPED;
}

/* Shows as much of the stream as PgBouncer does. */
static void refuse_header(struct session *session, const uint8_t *bytes, size_t available)
{
    static const char digits[] = "0123456789abcdef";
    char hex[2 * 8 + 1] = "", text[64];
    for (size_t i = 0; i < available && i < 8; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
        hex[2 * i + 2] = '\0';
    }
    snprintf(text, sizeof(text), "bad packet header: '%s'", hex);
    session_close(session, text, text);
}

static enum message_fate forward(struct session *session, uint8_t type, unsigned flags)
{
    struct server *server = session->client->server;
    if (flags & MESSAGE_NEEDS_SERVER)
        session_begin_query(session);
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

static enum message_fate decide(struct session *session, const struct frame *frame)
{
    const struct settings *settings = settings_current();
    const struct client *client = session->client;
    unsigned flags = client_message_flags[frame->type];
    if (flags == 0) {
        log_error(&client->subject, "unknown pkt from client: %u/0x%x", frame->type, frame->type);
        return refuse(session, "unknown pkt");
    }
    if (flags & MESSAGE_ENDS_SESSION) {
        session_close(session, "client close request", NULL);
        return FATE_STOPPED;
    }
    if (frame->type == 'Q' && settings->disable_pqexec)
        return refuse(session, "PQexec disallowed");
    if (is_late_copy(session, flags))
        return FATE_DROP;
    if (session->state != SESSION_LINKED && !session_obtain_server(session))
        return client->session == NULL ? FATE_STOPPED : FATE_STASH;
    return forward(session, frame->type, flags);
}

/* Returns false if the session is over. */
static bool send_run(struct session *session, const uint8_t *run, const uint8_t *end)
{
    struct client *client = session->client;
    if (run == end)
        return true;
    client->pool->stats.bytes_received += (size_t) (end - run);
    if (connection_send(&client->server->connection, run, (size_t) (end - run)))
        return true;
    session_lose_server(session, "server connection closed");
    return false;
}

static void hold(struct session *session, const uint8_t *bytes, size_t size)
{
    memcpy(session->held, bytes, size);
    session->held_size = (uint8_t) size;
}

/* Messages that end the session: what came before them must be on its way first. */
static bool ends_session(const struct frame *frame)
{
    unsigned flags = client_message_flags[frame->type];
    return flags == 0 || (flags & MESSAGE_ENDS_SESSION);
}

void session_take_client_bytes(struct session *session, const uint8_t *bytes, size_t size)
{
    struct client *client = session->client;
    const uint8_t *position = bytes, *end = bytes + size, *run = bytes;
    while (position < end) {
        size_t available = (size_t) (end - position);
        if (session->body_left > 0) {
            size_t part = session->body_left < available ? (size_t) session->body_left : available;
            session->body_left -= part;
            position += part;
            if (session->dropping)
                run = position;
            continue;
        }
        if (available < FRAME_HEADER_SIZE) {
            hold(session, position, available);
            end = position;
            break;
        }
        struct frame frame;
        bool sound = frame_read_header(position, &frame) &&
                     frame.size <= settings_current()->max_packet_size;
        if (!sound || ends_session(&frame)) {
            if (!send_run(session, run, position))
                return;
            run = position;
        }
        if (!sound) {
            refuse_header(session, position, available);
            return;
        }
        enum message_fate fate = decide(session, &frame);
        if (fate == FATE_STOPPED)
            return;
        if (fate == FATE_STASH) {
            buffer_append(&session->stash, position, available);
            return;
        }
        if (fate == FATE_DROP && !send_run(session, run, position))
            return;
        session->dropping = fate == FATE_DROP;
        session->body_left = frame.size - FRAME_HEADER_SIZE;
        position += FRAME_HEADER_SIZE;
        if (session->dropping)
            run = position;
    }
    if (client->server == NULL)
        return;
    if (send_run(session, run, end) && client->server->ready)
        session_release_if_settled(session);
}

static bool may_read(const struct session *session)
{
    const struct client *client = session->client;
    const struct server *server = client->server;
    if (!client->connection.readable || session->stash.size > 0)
        return false;
    if (session->state == SESSION_IDLE)
        return true;
    return session->state == SESSION_LINKED && !connection_is_congested(&server->connection) &&
           server->answers.count < ANSWERS_HIGH_MARK;
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
    if (session->held_size > 0)
        return false;
    if (session->stash.size > 0)
        return stash_will_be_answered(session);
    return client->server != NULL && session->body_left == 0 &&
           answers_will_come(&client->server->answers);
}

/* Puts the head of a cut message back in front of what followed it. */
static uint8_t *put_back(struct session *session, uint8_t *bytes, size_t *size)
{
    uint8_t *start = bytes - session->held_size;
    memcpy(start, session->held, session->held_size);
    *size += session->held_size;
    session->held_size = 0;
    return start;
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
        bytes = put_back(session, bytes, &size);
        session_take_client_bytes(session, bytes, size);
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
