/*
 * session_wait.c - a client without a server: how long it may be idle or wait, and the end of that.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/session.h"

#include "config/config.h"
#include "pool/pools.h"
#include "wire/error_response.h"
#include "wire/frame.h"
#include "wire/message.h"

void session_set_idle_limit(struct session *session)
{
    struct client *client = session->client;
    usec_t limit_us = client_idle_timeout_us(client->user);
    if (limit_us != 0 || deadline_is_set(&client->deadline))
        deadline_set(session_loop(session), &client->deadline, limit_us);
}

static usec_t notify_after_us(const struct session *session)
{
    if (session->notified)
        return 0;
    return (usec_t) settings_current()->query_wait_notify * USEC_PER_SEC;
}

/* The limit or the notice, whichever comes first. */
static usec_t wait_deadline_us(const struct session *session)
{
    const char *message;
    usec_t limit_us =
        client_wait_limit_us(session->client->database, session->client->user, &message);
    usec_t notify_us = notify_after_us(session);
    return notify_us != 0 && (limit_us == 0 || notify_us < limit_us) ? notify_us : limit_us;
}

void session_set_wait_limit(struct session *session)
{
    struct client *client = session->client;
    deadline_set_since(session_loop(session), &client->deadline, wait_deadline_us(session),
                       client->query_start_us);
}

/* Returns false if the client is gone, and the session with it. */
static bool send_to_client(struct session *session, struct buffer *message)
{
    bool sent = connection_send(&session->client->connection, message->data, message->size);
    buffer_release(message);
    if (!sent)
        session_close(session, "unexpected eof", NULL);
    return sent;
}

/* Returns false if the session is over. */
static bool send_wait_notice(struct session *session)
{
    struct buffer notice = {0};
    notice_response_write(
        &notice, SQLSTATE_SUCCESS,
        "No server connection available in postgres backend, client being queued", NULL);
    session->notified = true;
    return send_to_client(session, &notice);
}

void session_wait_deadline_passed(struct session *session)
{
    const char *message;
    usec_t limit_us =
        client_wait_limit_us(session->client->database, session->client->user, &message);
    usec_t waited_us = clock_now_us() - session->client->query_start_us;
    if (limit_us != 0 && waited_us >= limit_us) {
        session_close(session, message, message);
        return;
    }
    usec_t notify_us = notify_after_us(session);
    if (notify_us == 0 || waited_us < notify_us || send_wait_notice(session))
        session_set_wait_limit(session);
}

/* The stash is one whole simple query: it can be answered without a server. */
static bool stash_is_one_query(const struct session *session)
{
    struct frame frame;
    return session->stash.size >= FRAME_HEADER_SIZE &&
           frame_read_header(session->stash.data, &frame) && frame.type == 'Q' &&
           frame.size == session->stash.size && session->body_left == 0;
}

void session_cancel_wait(struct session *session)
{
    static const char text[] = "canceling statement due to user request";
    struct client *client = session->client;
    struct buffer answer = {0};
    if (session->state != SESSION_WAITING)
        return;
    if (!stash_is_one_query(session)) {
        session_close(session, text, text);
        return;
    }
    pool_cancel_wait(client->pool, &client->waiter);
    buffer_release(&session->stash);
    session->state = SESSION_IDLE;
    client->query_start_us = 0;
    error_response_write(&answer, "ERROR", "57014", text);
    message_write_ready_for_query(&answer, 'I');
    if (!send_to_client(session, &answer))
        return;
    session_set_idle_limit(session);
    loop_post(session_loop(session), &client->task);
}

void session_renew_wait_limits(struct session *session)
{
    usec_t old_us = deadline_duration_us(&session->client->deadline);
    if (session->state == SESSION_WAITING && old_us != wait_deadline_us(session))
        session_set_wait_limit(session);
    else if (session->state == SESSION_IDLE &&
             old_us != client_idle_timeout_us(session->client->user))
        session_set_idle_limit(session); /* counts from now on */
}
