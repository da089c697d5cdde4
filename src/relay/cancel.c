/*
 * cancel.c - cancel requests.
 *
 * A request outlives its requester: some drivers send it and close at once. It knows the client and
 * the server by key and number, not by pointer, because both may go at any time.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/cancel.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/intern.h"
#include "base/memory.h"
#include "hosts/host_list.h"
#include "net/tls.h"
#include "relay/session.h"
#include "wire/message.h"
#include "wire/startup.h"

#define CANCEL_REQUEST_CODE 80877102

struct cancel {
    struct cancels *cancels;  /* borrows */
    struct client *requester; /* borrows; NULL once it has gone */
    struct pool *pool;        /* borrows */
    uint64_t server_id;
    uint8_t client_key_size, client_key[CANCEL_KEY_SIZE_3_2];
    struct connection connection; /* owns */
    struct deadline deadline;
    struct task begin; /* reports a connect that could not begin */
    struct deferred deferred;
    struct tls_context *tls; /* owns a reference; the server's, NULL if it is not spoken to by TLS */
    const char *host;        /* owns a reference; the server's */
    bool tls_direct;         /* TLS without asking for it first */
    bool tls_asked;          /* an SSLRequest waits for its one byte */
    bool open; /* has a connection, which is counted in the pool */
    bool sent; /* the server is held back for it */
    struct cancel *next, *prev;
};

/* The server that the request means, if its client is still linked to it. */
static struct server *find_target(const struct cancel *cancel)
{
    const struct client *client = clients_find_key(cancel->cancels->clients, cancel->client_key,
                                                   cancel->client_key_size);
    if (client == NULL || client->server == NULL || client->server->id != cancel->server_id)
        return NULL;
    return client->server;
}

/* The server that is held back for a request that was sent; NULL if it has died. */
static struct server *find_held(const struct cancel *cancel)
{
    for (int state = 0; state < SERVER_CLOSED; state++) {
        struct server *server;
        DL_FOREACH(cancel->pool->servers[state], server)
            if (server->id == cancel->server_id)
                return server;
    }
    return NULL;
}

static void release(struct deferred *deferred)
{
    struct cancel *cancel = container_of(deferred, struct cancel, deferred);
    tls_context_give_back(cancel->tls);
    intern_give_back(cancel->host);
    free(cancel);
}

static void try_to_open(struct cancel *cancel);

/* A connection has become free: the next request of the pool may go. */
static void open_next(struct cancels *cancels, const struct pool *pool)
{
    struct cancel *cancel;
    DL_FOREACH(cancels->requests, cancel) {
        if (cancel->pool == pool && !cancel->open) {
            try_to_open(cancel);
            return;
        }
    }
}

static void let_server_go(struct cancel *cancel, bool delivered)
{
    struct server *server = find_held(cancel);
    if (server == NULL)
        return;
    /* Nobody can say when a request that is stuck will arrive: this server must not be used again. */
    if (!delivered)
        pool_retire_server(server);
    pool_hold_for_cancel(cancel->pool, server, -1);
}

/* The request is over. `reason` is for the log of the requester. */
static void end(struct cancel *cancel, const char *reason, bool delivered)
{
    struct cancels *cancels = cancel->cancels;
    struct loop *loop = cancels->clients->pools->loop;
    struct client *requester = cancel->requester;
    DL_DELETE(cancels->requests, cancel);
    deadline_clear(&cancel->deadline);
    loop_cancel(loop, &cancel->begin);
    connection_close(&cancel->connection);
    if (cancel->sent)
        let_server_go(cancel, delivered);
    if (cancel->open) {
        pool_count_cancel(cancel->pool, -1);
        open_next(cancels, cancel->pool);
    } else {
        cancel->pool->cancels_queued--;
    }
    if (requester != NULL) {
        requester->session = NULL;
        client_close(requester, reason, NULL);
    }
    loop_free_later(loop, &cancel->deferred, release);
}

/* ---- the connection to the server ---- */

static struct cancel *cancel_of(struct connection *connection)
{
    return container_of(connection, struct cancel, connection);
}

static void send_request(struct cancel *cancel)
{
    struct server *server = find_target(cancel);
    struct buffer packet = {0};
    if (server == NULL || server->cancel_key_size == 0) {
        end(cancel, "not sending cancel request for client that is now idle", false);
        return;
    }
    if (server->session->set_unanswered) {
        end(cancel, "ignoring cancel request for server that is setting vars", false);
        return;
    }
    size_t mark = message_begin_untyped(&packet);
    message_add_int32(&packet, CANCEL_REQUEST_CODE);
    message_add_bytes(&packet, server->cancel_key, server->cancel_key_size);
    message_end(&packet, mark);
    bool sent = connection_send(&cancel->connection, packet.data, packet.size);
    buffer_release(&packet);
    if (!sent) {
        end(cancel, "cancel request could not be sent", false);
        return;
    }
    cancel->sent = true;
    pool_hold_for_cancel(cancel->pool, server, 1);
}

static void ask_for_tls(struct cancel *cancel)
{
    struct buffer request = {0};
    startup_write_ssl_request(&request);
    cancel->tls_asked = true;
    bool sent = connection_send(&cancel->connection, request.data, request.size);
    buffer_release(&request);
    if (!sent)
        end(cancel, "cancel request could not be sent", false);
}

static void on_connected(struct connection *connection, int error)
{
    struct cancel *cancel = cancel_of(connection);
    if (error != 0)
        end(cancel, "cancel request could not be sent: connect failed", false);
    else if (cancel->tls == NULL)
        send_request(cancel);
    else if (cancel->tls_direct)
        tls_connect(connection, cancel->tls, cancel->host);
    else
        ask_for_tls(cancel);
}

/* The key is a secret: where the server is spoken to by TLS it never goes in clear. */
static void handle_ssl_answer(struct cancel *cancel, const uint8_t *bytes, size_t size)
{
    cancel->tls_asked = false;
    if (startup_read_ssl_answer(bytes, size) == SSL_ANSWER_YES)
        tls_connect(&cancel->connection, cancel->tls, cancel->host);
    else
        end(cancel, "cancel request could not be sent: the server refuses TLS", false);
}

static void on_secured(struct connection *connection, const char *problem)
{
    struct cancel *cancel = cancel_of(connection);
    if (problem == NULL) {
        send_request(cancel);
        return;
    }
    log_warn(NULL, "TLS handshake error: %s", problem);
    end(cancel, "cancel request could not be sent: TLS startup failed", false);
}

static void on_readable(struct connection *connection)
{
    struct cancel *cancel = cancel_of(connection);
    uint8_t *bytes;
    size_t size, read = 0;
    while (connection_is_open(connection)) {
        switch (connection_receive(connection, &bytes, &size)) {
        case RECEIVED_BYTES:
            read += size;
            if (cancel->tls_asked)
                handle_ssl_answer(cancel, bytes, size);
            else if (read >= LOOP_READ_SIZE)
                end(cancel, "cancel request could not be sent: unexpected answer", false);
            break; /* PostgreSQL sends nothing else here; whatever it is goes nowhere */
        case RECEIVED_NOTHING:
            return;
        case RECEIVED_END:
            end(cancel, cancel->sent ? "successfully sent cancel request"
                                     : "cancel request could not be sent",
                cancel->sent);
            return;
        }
    }
}

static void on_drained(struct connection *connection UNUSED)
{
}

static void on_broken(struct connection *connection)
{
    end(cancel_of(connection), "cancel request could not be sent", false);
}

static const struct connection_ops connection_ops = {
    .connected = on_connected,
    .secured = on_secured,
    .readable = on_readable,
    .drained = on_drained,
    .broken = on_broken,
};

static void on_begin_failed(struct task *task)
{
    end(container_of(task, struct cancel, begin), "cancel request could not be sent", false);
}

static bool may_open(const struct pool *pool)
{
    unsigned limit = pool->limits.pool_size;
    return limit == 0 || pool->cancel_count < limit;
}

static void try_to_open(struct cancel *cancel)
{
    struct loop *loop = cancel->cancels->clients->pools->loop;
    struct server *server = find_target(cancel);
    struct socket_options options = pools_socket_options();
    int error = 0;
    if (!may_open(cancel->pool))
        return;
    cancel->open = true;
    cancel->pool->cancels_queued--;
    pool_count_cancel(cancel->pool, 1);
    if (server == NULL)
        error = -1;
    else if (server->connection.peer.family == AF_UNIX)
        error = connection_open_unix(&cancel->connection, loop, &connection_ops, server->host,
                                     server->connection.peer.port, &options);
    else
        error = connection_open(&cancel->connection, loop, &connection_ops,
                                &server->connection.peer, &options);
    if (error != 0)
        loop_post(loop, &cancel->begin);
}

static void on_deadline(struct deadline *deadline)
{
    end(container_of(deadline, struct cancel, deadline), "cancel_wait_timeout", false);
}

/* ---- the requester ---- */

static void on_requester_readable(struct client *client)
{
    struct cancel *cancel = client->session;
    uint8_t *bytes;
    size_t size;
    size_t read = 0;
    enum receive_result result;
    do {
        result = connection_receive(&client->connection, &bytes, &size);
        read += result == RECEIVED_BYTES ? size : 0;
    } while (result == RECEIVED_BYTES && read < LOOP_READ_SIZE);
    if (result == RECEIVED_NOTHING)
        return;
    /* It has left, or it has much to say where nothing is to be said. */
    if (cancel != NULL)
        cancel->requester = NULL; /* the request goes on */
    client_close(client, NULL, NULL);
}

static void on_requester_event(struct client *client UNUSED)
{
}

static void on_requester_end(struct client *client, const char *message UNUSED)
{
    struct cancel *cancel = client->session;
    if (cancel != NULL)
        cancel->requester = NULL;
    client_close(client, NULL, NULL);
}

static void on_requester_broken(struct client *client)
{
    on_requester_end(client, NULL);
}

static const struct client_consumer requester_consumer = {
    .readable = on_requester_readable,
    .drained = on_requester_event,
    .broken = on_requester_broken,
    .waited = on_requester_event,
    .resumed = on_requester_readable,
    .deadline_passed = on_requester_event,
    .limits_changed = on_requester_event,
    .end = on_requester_end,
};

static struct cancel *create(struct cancels *cancels, struct client *requester,
                             const struct client *target)
{
    struct cancel *cancel = memory_new(sizeof(*cancel));
    cancel->cancels = cancels;
    cancel->requester = requester;
    cancel->pool = target->pool;
    cancel->server_id = target->server->id;
    cancel->tls = tls_context_share(target->server->tls);
    cancel->tls_direct = target->server->tls_direct;
    cancel->host = intern_share(target->server->host);
    cancel->client_key_size = target->cancel_key_size;
    memcpy(cancel->client_key, target->cancel_key, target->cancel_key_size);
    cancel->connection.fd = -1;
    cancel->deadline.passed = on_deadline;
    cancel->begin.run = on_begin_failed;
    DL_APPEND(cancels->requests, cancel);
    cancel->pool->cancels_queued++;
    return cancel;
}

void cancel_begin(struct cancels *cancels, struct client *requester,
                  const uint8_t *key, size_t size)
{
    struct client *target = clients_find_key(cancels->clients, key, size);
    if (target == NULL) {
        client_close(requester, "failed cancel request", NULL);
        return;
    }
    if (target->console_role != CONSOLE_NONE) {
        client_close(requester, "cancel request for console client", NULL);
        return;
    }
    if (target->server == NULL) {
        if (target->session != NULL)
            session_cancel_wait(session_of(target));
        client_close(requester, "cancel request for idle client", NULL);
        return;
    }
    if (session_of(target)->set_unanswered) {
        client_close(requester, "ignoring cancel request for server that is setting vars", NULL);
        return;
    }
    struct cancel *cancel = create(cancels, requester, target);
    requester->session = cancel;
    requester->consumer = &requester_consumer;
    deadline_set(cancels->clients->pools->loop, &cancel->deadline,
                 settings_current()->cancel_wait_timeout);
    try_to_open(cancel);
    if (requester->connection.readable)
        loop_post(requester->connection.loop, &requester->task);
}

void cancels_end_database(struct cancels *cancels, const struct database *database)
{
    struct cancel *cancel, *next;
    DL_FOREACH_SAFE(cancels->requests, cancel, next) {
        if (database == NULL || cancel->pool->database == database)
            end(cancel, "database removed", false);
    }
}
