/*
 * console.c - a session of the console: messages in, replies out.
 *
 * A client that does not read its replies is not read either, so replies never pile up.
 *
 * SPDX-License-Identifier: ISC
 */
#include "console/console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/memory.h"
#include "config/config.h"
#include "console/console_session.h"
#include "wire/message.h"

/* Longest message: PgBouncer's pkt_buf in its default size. */
#define MESSAGE_MAX 4096

static struct console_session *session_of(const struct client *client)
{
    return client->session;
}

/* ---- the end ---- */

static void drop_waiting(struct console_session *session, struct waiting_command *waiting)
{
    pools_cancel_drain(session->console->pools, &waiting->drain);
    DL_DELETE(session->waiting, waiting);
    free(waiting);
}

static void close_session(struct console_session *session, const char *reason, const char *message)
{
    struct client *client = session->client;
    while (session->waiting != NULL)
        drop_waiting(session, session->waiting);
    collector_release(&session->incoming);
    buffer_release(&session->reply);
    client->session = NULL;
    free(session);
    client_close(client, reason, message);
}

/* Sends what the command has written; false if that ended the session. */
static bool flush(struct console_session *session)
{
    bool sent = session->reply.size == 0 ||
                connection_send(&session->client->connection, session->reply.data,
                                session->reply.size);
    buffer_release(&session->reply);
    if (!sent)
        close_session(session, "unexpected eof", NULL);
    return sent;
}

/* ---- waiting commands ---- */

static void on_drained_servers(struct task *task)
{
    struct drain *drain = container_of(task, struct drain, task);
    struct waiting_command *waiting = container_of(drain, struct waiting_command, drain);
    struct console_session *session = waiting->session;
    char text[STILL_ACTIVE_SIZE + 64];
    switch (drain->result) {
    case DRAIN_DONE:
        reply_tag(session, waiting->tag);
        break;
    case DRAIN_RESUMED:
        reply_error(session, SQLSTATE_PROTOCOL_VIOLATION, "the pause was ended by RESUME");
        break;
    case DRAIN_TIMED_OUT:
        snprintf(text, sizeof(text), "the pause was ended by its TIMEOUT, still active: %s",
                 drain->still_active);
        reply_error(session, SQLSTATE_QUERY_CANCELED, text);
        break;
    }
    message_write_ready_for_query(&session->reply, 'I');
    drop_waiting(session, waiting);
    flush(session);
}

void console_cancel(struct console *console, struct client *client)
{
    struct console_session *session = session_of(client);
    struct pools *pools = console->pools;
    struct waiting_command *waiting, *next;
    if (pools->pause != NULL && pools->shutdown == SHUTDOWN_NONE)
        pools_resume(pools, NULL); /* answers all who wait for the pause, from the run queue */
    DL_FOREACH_SAFE(session->waiting, waiting, next) {
        if (!waiting->drain.waiting)
            continue;
        reply_error(session, SQLSTATE_PROTOCOL_VIOLATION, "canceling statement due to user request");
        message_write_ready_for_query(&session->reply, 'I');
        drop_waiting(session, waiting);
    }
    (void) flush(session);
}

void session_wait_for_drain(struct console_session *session, enum drain_kind kind,
                            struct database *database, const char *tag)
{
    struct waiting_command *waiting = memory_new(sizeof(*waiting));
    waiting->session = session;
    waiting->tag = tag;
    waiting->drain.task.run = on_drained_servers;
    DL_APPEND(session->waiting, waiting);
    pools_wait_for_drain(session->console->pools, &waiting->drain, kind, database);
}

/* ---- messages ---- */

static void count_first_command(struct console_session *session)
{
    struct client *client = session->client;
    if (client->query_start_us != 0)
        return;
    client->query_start_us = clock_now_us();
    client->pool->stats.queries++;
    client->pool->stats.transactions++;
}

/* Returns false if the session has ended. */
static bool handle_query(struct console_session *session, const struct collected_message *message)
{
    struct client *client = session->client;
    char *query;
    if (message->size == 0 ||
        memchr(message->body, '\0', message->size) != message->body + message->size - 1) {
        close_session(session, "incomplete query", "incomplete query");
        return false;
    }
    if (settings_current()->disable_pqexec) {
        close_session(session, "PQexec disallowed", "PQexec disallowed");
        return false;
    }
    count_first_command(session);
    query = memory_copy_bytes(message->body, message->size);
    command_run(session, query);
    free(query);
    /* KILL_CLIENT may have been aimed at ourselves. */
    return client->state == CLIENT_READY && flush(session);
}

static bool refuse_message(struct console_session *session, uint8_t type)
{
    char text[80];
    if (type == 'P' || type == 'B' || type == 'E')
        snprintf(text, sizeof(text), "extended query protocol not supported by admin console");
    else
        snprintf(text, sizeof(text), "unsupported packet type for admin console: %u", type);
    reply_error(session, SQLSTATE_PROTOCOL_VIOLATION, text);
    message_write_ready_for_query(&session->reply, 'I');
    if (flush(session))
        close_session(session, "bad packet", "bad packet");
    return false;
}

static bool handle_message(struct console_session *session, const struct collected_message *message)
{
    switch (message->type) {
    case 'Q':
        return handle_query(session, message);
    case 'X':
        close_session(session, "client close request", NULL);
        return false;
    case 'd':
    case 'c':
    case 'f':
        return true;
    default:
        return refuse_message(session, message->type);
    }
}

/* Handles what has been gathered; false if the session has ended. */
static bool handle_messages(struct console_session *session)
{
    struct collected_message message;
    const struct client *client = session->client;
    while (!connection_is_congested(&client->connection)) {
        switch (collector_next(&session->incoming, MESSAGE_MAX, &message)) {
        case COLLECT_MORE:
            return true;
        case COLLECT_MESSAGE:
            if (!handle_message(session, &message))
                return false;
            break;
        case COLLECT_BROKEN:
            close_session(session, "bad packet header", "bad packet header");
            return false;
        case COLLECT_TOO_LARGE:
            close_session(session, "incomplete pkt", "incomplete pkt");
            return false;
        }
    }
    return true;
}

static void read_client(struct console_session *session)
{
    struct client *client = session->client;
    uint8_t *bytes;
    size_t size, read = 0;
    while (handle_messages(session) && !connection_is_congested(&client->connection)) {
        if (read >= LOOP_READ_SIZE) {
            loop_post(client->connection.loop, &client->task); /* others get their turn first */
            return;
        }
        switch (connection_receive(&client->connection, &bytes, &size)) {
        case RECEIVED_BYTES:
            client->request_us = clock_now_us();
            read += size;
            collector_feed(&session->incoming, bytes, size);
            break;
        case RECEIVED_NOTHING:
            return;
        case RECEIVED_END:
            close_session(session, "client unexpected eof", NULL);
            return;
        }
    }
}

/* ---- news for the client's consumer ---- */

static void on_readable(struct client *client)
{
    read_client(session_of(client));
}

static void on_broken(struct client *client)
{
    close_session(session_of(client), "unexpected eof", NULL);
}

static void on_nothing(struct client *client UNUSED)
{
    /* A console client neither waits for a server nor has a deadline. */
}

static void on_end(struct client *client, const char *message)
{
    close_session(session_of(client), message != NULL ? message : "shutdown", message);
}

static const struct client_consumer console_consumer = {
    .readable = on_readable,
    .drained = on_readable,
    .broken = on_broken,
    .waited = on_nothing,
    .resumed = on_readable,
    .deadline_passed = on_nothing,
    .limits_changed = on_nothing,
    .end = on_end,
};

void console_start(struct console *console, struct client *client, const uint8_t *bytes,
                   size_t size)
{
    struct console_session *session = memory_new(sizeof(*session));
    session->console = console;
    session->client = client;
    client->session = session;
    client->consumer = &console_consumer;
    collector_feed(&session->incoming, bytes, size);
    loop_post(client->connection.loop, &client->task);
}
