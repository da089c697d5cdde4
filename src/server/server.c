/*
 * server.c - one connection to PostgreSQL: events, internal queries, close.
 *
 * Three readers share the connection, chosen by what the server is doing: the login and our own
 * queries see whole messages, the relay streams, and an idle server may only speak of notifications.
 * After every report to the pool the server may be closed; its memory lasts until the end of the turn.
 *
 * SPDX-License-Identifier: ISC
 */
#include "server/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/intern.h"
#include "base/slab.h"
#include "base/text.h"
#include "config/config.h"
#include "server/leftovers.h"
#include "server/server_login.h"
#include "server/server_statements.h"
#include "wire/message.h"

/* Longest message of an answer to one of our own queries. */
#define ERRAND_MESSAGE_MAX (1024 * 1024)

static struct slab servers = SLAB_INITIAL("server_cache", struct server);

struct slab *server_slab(void)
{
    return &servers;
}

const char *server_state_name(enum server_state state)
{
    static const char *const names[SERVER_STATES] = {
        [SERVER_LOGIN] = "new",
        [SERVER_IDLE] = "idle",
        [SERVER_ACTIVE] = "active",
        [SERVER_TESTED] = "tested",
        [SERVER_USED] = "used",
        [SERVER_BEING_CANCELED] = "being_canceled",
        [SERVER_CLOSED] = "closed",
    };
    return names[state];
}

static size_t describe(const struct log_subject *subject, char *ret_text, size_t size)
{
    const struct server *server = container_of_const(subject, struct server, subject);
    char address[ADDRESS_TEXT_SIZE];
    address_print(&server->connection.peer, address, sizeof(address));
    int length = snprintf(ret_text, size, "S-%p: %s/%s@%s", (const void *) server,
                          server->database_name, server->user_name, address);
    return length < 0 ? 0 : (size_t) length;
}

static struct server *server_of(struct connection *connection)
{
    return container_of(connection, struct server, connection);
}

static void fail(struct server *server, const char *reason)
{
    static const struct failure none;
    server->ops->failed(server, reason, &none);
}

static void end_query(struct server *server, bool complete)
{
    struct server_query *query = server->query;
    server->query = NULL;
    if (query != NULL)
        query->ended(query, complete);
}

/* What has become of the parameters that are not reported. */
static void note_reset(struct server *server)
{
    server->unreported_unknown = !server->reset_is_total;
    if (server->reset_is_total)
        parameters_take_unreported(&server->parameters, NULL, server->tracked);
}

static bool errand_succeeded(const struct server *server, enum errand errand, char status)
{
    if (errand == ERRAND_ROLE && server->in_hot_standby == TOLD_NOTHING)
        return false;
    /* What a failed reset has left behind nobody knows. A check is passed by any answer. */
    return status == 'I' && !(errand == ERRAND_RESET && server->errand_failed);
}

static void errand_ended(struct server *server, char status)
{
    enum errand errand = server->errand;
    server->transaction_status = status;
    server->errand = ERRAND_NONE;
    deadline_clear(&server->deadline);
    if (!errand_succeeded(server, errand, status)) {
        fail(server, errand == ERRAND_RESET   ? "reset query failed"
                     : errand == ERRAND_CHECK ? "test query failed"
                     : errand == ERRAND_ROLE  ? "role query failed"
                     : errand == ERRAND_QUERY ? "unexpected response from auth_query"
                                              : "exec_on_connect query failed");
        return;
    }
    server->ready = true;
    if (errand == ERRAND_RESET)
        note_reset(server);
    if (errand == ERRAND_QUERY)
        end_query(server, true);
    else if (errand == ERRAND_CONNECT || errand == ERRAND_ROLE)
        server->ops->logged_in(server);
    else
        server->ops->errand_done(server);
}

static void take_errand_error(struct server *server, const struct collected_message *message)
{
    struct error_fields fields;
    (void) error_response_read(message->body, message->size, &fields);
    server->errand_failed = true;
    log_error(&server->subject, "S: error while executing %s: %s: %s",
              server->errand == ERRAND_RESET   ? "server_reset_query"
              : server->errand == ERRAND_CHECK ? "server_check_query"
              : server->errand == ERRAND_ROLE  ? "the query for the server's role"
                                               : "connect_query",
              fields.severity, fields.message);
}

static enum told read_told(struct message_reader *row)
{
    uint32_t size = message_read_int32(row);
    const uint8_t *word = message_read_bytes(row, size);
    if (word == NULL)
        return TOLD_NOTHING;
    return size == 2 && memcmp(word, "on", 2) == 0    ? TOLD_ON
           : size == 3 && memcmp(word, "off", 3) == 0 ? TOLD_OFF
                                                      : TOLD_NOTHING;
}

/* The row that server_ask_role() asks for. */
static void take_role(struct server *server, const struct collected_message *message)
{
    struct message_reader row = message_reader_of(message->body, message->size);
    if (message_read_int16(&row) != 2)
        return;
    server->in_hot_standby = read_told(&row);
    server->read_only = read_told(&row);
}

static void errand_message(struct server *server, const struct collected_message *message)
{
    int place;
    if (message->type == 'C' && statement_tag_is_end_of_all(message->body, message->size))
        server_statements_clear(server->statements);
    switch (message->type) {
    case 'Z':
        errand_ended(server, message->size == 1 ? (char) message->body[0] : '?');
        return;
    case 'S':
        if (!server_read_parameter_status(server, message->body, message->size, &place))
            fail(server, "broken ParameterStatus packet");
        return;
    case 'A':
    case 'N':
        return;
    case 'E':
        if (server->query != NULL)
            server->query->message(server->query, message);
        else
            take_errand_error(server, message);
        return;
    case 'G':
    case 'W':
        fail(server, "unexpected COPY in an internal query");
        return;
    case 'D':
        if (server->errand == ERRAND_ROLE)
            take_role(server, message);
        else if (server->query != NULL)
            server->query->message(server->query, message);
        return;
    default: /* the rows of a reset or a check interest nobody */
        if (server->query != NULL)
            server->query->message(server->query, message);
        return;
    }
}

/* A notification for nobody is no harm; whatever else it is, the server is not what it was. */
static void unasked_message(struct server *server, const struct collected_message *message)
{
    char type = message->type > ' ' && message->type < 0x7f ? (char) message->type : '?';
    log_warn(&server->subject, "got packet '%c' from server when not linked", type);
    if (message->type != 'A')
        fail(server, server->state == SERVER_USED ? "SV_USED server got dirty"
                                                  : "SV_IDLE server got dirty");
}

static void handle_message(struct server *server, const struct collected_message *message)
{
    if (server->state == SERVER_LOGIN && server->errand == ERRAND_NONE)
        server_login_message(server, message);
    else if (server->errand != ERRAND_NONE)
        errand_message(server, message);
    else
        unasked_message(server, message);
}

/* Handles what has been gathered, until the server is closed or linked or more is needed. */
static void handle_messages(struct server *server)
{
    size_t limit = server->login != NULL ? LOGIN_MESSAGE_MAX : ERRAND_MESSAGE_MAX;
    struct collected_message message;
    while (server->state != SERVER_CLOSED && server->link_ops == NULL) {
        switch (collector_next(&server->incoming, limit, &message)) {
        case COLLECT_MESSAGE:
            handle_message(server, &message);
            break;
        case COLLECT_MORE:
            return;
        case COLLECT_BROKEN:
        case COLLECT_TOO_LARGE:
            fail(server, "bad pkt header");
            return;
        }
    }
}

/* The rows of auth_query are secrets: nothing of them stays where they came in. */
static void read_messages(struct server *server, uint8_t *bytes, size_t size)
{
    bool secret = server->query != NULL;
    collector_feed(&server->incoming, bytes, size);
    handle_messages(server);
    if (!secret)
        return;
    OPENSSL_cleanse(bytes, size);
    if (server->incoming.bytes.size == server->incoming.taken)
        collector_release(&server->incoming);
}

/* A server that never stops talking must not keep others waiting, nor its own deadline. */
static void read_unlinked(struct server *server)
{
    uint8_t *bytes;
    size_t size, read = 0;
    while (server->state != SERVER_CLOSED && server->link_ops == NULL) {
        switch (connection_receive(&server->connection, &bytes, &size)) {
        case RECEIVED_BYTES:
            server->request_us = clock_now_us();
            read += size;
            if (server->login != NULL && server->login->tls_asked) {
                server_login_ssl_answer(server, bytes, size);
                break;
            }
            if (server->login == NULL)
                server->ops->received(server, size);
            read_messages(server, bytes, size);
            if (read >= LOOP_READ_SIZE && server->state != SERVER_CLOSED) {
                loop_post(server->connection.loop, &server->task);
                return;
            }
            break;
        case RECEIVED_NOTHING:
            return;
        case RECEIVED_END:
            fail(server, "server conn crashed?");
            return;
        }
    }
}

static void on_connected(struct connection *connection, int error)
{
    server_login_connected(server_of(connection), error);
}

static void on_secured(struct connection *connection, const char *problem)
{
    server_login_secured(server_of(connection), problem);
}

static void on_readable(struct connection *connection)
{
    struct server *server = server_of(connection);
    if (server->link_ops != NULL)
        server->link_ops->readable(server);
    else
        read_unlinked(server);
}

static void on_drained(struct connection *connection)
{
    struct server *server = server_of(connection);
    if (server->link_ops != NULL)
        server->link_ops->drained(server);
}

static void on_broken(struct connection *connection)
{
    struct server *server = server_of(connection);
    if (server->link_ops != NULL)
        server->link_ops->broken(server);
    else
        fail(server, "server connection closed");
}

static const struct connection_ops server_connection_ops = {
    .connected = on_connected,
    .secured = on_secured,
    .readable = on_readable,
    .drained = on_drained,
    .broken = on_broken,
};

static void on_deadline(struct deadline *deadline)
{
    struct server *server = container_of(deadline, struct server, deadline);
    if (server->link_ops != NULL)
        server->link_ops->deadline_passed(server);
    else if (server->errand == ERRAND_RESET)
        fail(server, "reset query failed");
    else if (server->errand == ERRAND_CHECK)
        fail(server, "test query failed");
    else if (server->errand == ERRAND_QUERY)
        fail(server, "auth_query was given up");
    else
        server->ops->deadline_passed(server);
}

static void on_lifetime_over(struct deadline *deadline)
{
    struct server *server = container_of(deadline, struct server, lifetime);
    server->ops->lifetime_over(server);
}

static void on_transaction_over(struct deadline *deadline)
{
    struct server *server = container_of(deadline, struct server, transaction_limit);
    if (server->link_ops != NULL)
        server->link_ops->transaction_over(server);
}

/* Goes on reading where a turn was not enough. */
static void on_task(struct task *task)
{
    struct server *server = container_of(task, struct server, task);
    if (server->state == SERVER_CLOSED)
        return;
    if (server->link_ops == NULL || !server->close_needed ||
        !server->link_ops->close_needed(server))
        on_readable(&server->connection);
}

unsigned server_statement_count(const struct server *server)
{
    return server->statements != NULL ? server->statements->count : 0;
}

void server_tell_close_needed(struct server *server)
{
    if (server->link_ops != NULL)
        loop_post(server->connection.loop, &server->task);
}

struct server *server_open(struct loop *loop, const struct server_ops *ops, struct pool *pool,
                           const struct server_options *options)
{
    struct server *server = slab_take(&servers);
    server->connection.loop = loop;
    server->connection.ops = &server_connection_ops;
    server->connection.fd = -1;
    server->subject.describe = describe;
    server->ops = ops;
    server->pool = pool;
    server->id = options->id;
    server->replication = options->replication;
    server->database_name = intern_take(options->database_name);
    server->user_name = intern_take(options->user);
    server->host = intern_take(options->host);
    server->port = options->port;
    server->tracked = options->tracked;
    server->deadline.passed = on_deadline;
    server->lifetime.passed = on_lifetime_over;
    server->transaction_limit.passed = on_transaction_over;
    server->task.run = on_task;
    server->connect_us = server->request_us = clock_now_us();
    parameters_init(&server->parameters, options->tracked);
    deadline_set(loop, &server->deadline, options->connect_timeout_us);
    deadline_set(loop, &server->lifetime, options->lifetime_us);
    server_login_begin(server, options);
    return server;
}

static void release(struct deferred *deferred)
{
    struct server *server = container_of(deferred, struct server, deferred);
    parameters_release(&server->parameters, server->tracked);
    collector_release(&server->incoming);
    answers_release(&server->answers);
    server_statements_destroy(server->statements);
    tls_context_give_back(server->tls);
    buffer_release(&server->held);
    intern_give_back(server->database_name);
    intern_give_back(server->user_name);
    intern_give_back(server->host);
    slab_give_back(&servers, server);
}

void server_close(struct server *server, const char *reason)
{
    struct loop *loop = server->connection.loop;
    if (server->state == SERVER_CLOSED)
        return;
    if (settings_current()->log_disconnections)
        log_info(&server->subject, "closing because: %s (age=%" PRIu64 "s)", reason,
                 (clock_now_us() - server->connect_us) / USEC_PER_SEC);
    if (server->login == NULL && !connection_is_congested(&server->connection)) {
        static const uint8_t terminate[] = {'X', 0, 0, 0, 4};
        connection_send_last(&server->connection, terminate, sizeof(terminate));
    }
    server->state = SERVER_CLOSED;
    server->link_ops = NULL;
    server->session = NULL;
    server_finish_login(server);
    deadline_clear(&server->deadline);
    deadline_clear(&server->lifetime);
    deadline_clear(&server->transaction_limit);
    loop_cancel(loop, &server->task);
    connection_close(&server->connection);
    end_query(server, false);
    loop_free_later(loop, &server->deferred, release);
}

void server_run_errand(struct server *server, enum errand errand, const char *sql,
                       usec_t limit_us)
{
    struct buffer query = {0};
    server->errand = errand;
    server->errand_failed = false;
    server->ready = false;
    if (errand != ERRAND_CONNECT)
        deadline_set(server->connection.loop, &server->deadline, limit_us);
    message_write_query(&query, sql);
    bool sent UNUSED = connection_send(&server->connection, query.data, query.size);
    /* A dead server is noticed by reading: the errand's answer will not come, the end will. */
    if (server->connection.failed)
        loop_post(server->connection.loop, &server->task);
    buffer_release(&query);
}

void server_run_reset(struct server *server, const char *sql, bool total, usec_t limit_us)
{
    server->reset_is_total = total;
    server_run_errand(server, ERRAND_RESET, sql, limit_us);
}

void server_run_query(struct server *server, const struct buffer *messages,
                      struct server_query *query)
{
    server->errand = ERRAND_QUERY;
    server->left = LEFT_UNKNOWN;
    server->query = query;
    server->ready = false;
    connection_send_last(&server->connection, messages->data, messages->size);
    /* A dead server is noticed by reading, as above. */
    if (server->connection.failed)
        loop_post(server->connection.loop, &server->task);
}

void server_link(struct server *server, struct session *session,
                 const struct server_link_ops *link_ops)
{
    server->session = session;
    server->link_ops = link_ops;
    server->was_linked = true;
    deadline_clear(&server->deadline);
}

void server_unlink(struct server *server)
{
    server->session = NULL;
    server->link_ops = NULL;
    deadline_clear(&server->deadline);
    deadline_clear(&server->transaction_limit);
    /* What the relay has left unread is for us, above all the end. */
    if (server->connection.readable)
        loop_post(server->connection.loop, &server->task);
    else
        loop_cancel(server->connection.loop, &server->task);
}

const struct buffer *server_login_parameters(const struct server *server)
{
    return &server->login->parameters;
}

void server_finish_login(struct server *server)
{
    server_login_destroy(server->login);
    server->login = NULL;
}

void server_ask_role(struct server *server, usec_t limit_us)
{
    server_run_errand(server, ERRAND_ROLE,
                      "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'on' ELSE 'off' END,"
                      " pg_catalog.current_setting('transaction_read_only')",
                      limit_us);
}
