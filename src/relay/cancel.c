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

/* Requesters who wait for the end of one request; more than that are let go at once. */
#define REQUESTERS_MAX 100

/* Lines in the log about requests that are refused for their keys, in one second. */
#define REFUSED_LOGGED_MAX 10

static const char now_idle[] = "not sending cancel request for client that is now idle";

enum cancel_stage {
    CANCEL_BEHIND, /* another one for the same server is under way */
    CANCEL_QUEUED, /* waits for a connection: member of pool->cancels */
    CANCEL_OPEN,   /* has a connection, which is counted in the pool */
    CANCEL_SENT,   /* ... and the server is held back for it */
};

struct cancel {
    struct cancels *cancels;        /* borrows */
    struct pool_client *requesters; /* borrow; members of clients, who wait for the end */
    unsigned requester_count;
    struct pool *pool; /* borrows */
    uint64_t server_id;
    usec_t query_start_us; /* of the query that is meant; 0 if none was running */
    uint8_t client_key_size, client_key[CANCEL_KEY_SIZE_3_2];
    enum cancel_stage stage;
    struct connection connection; /* owns */
    struct deadline deadline;
    struct task begin; /* reports a connect that could not begin */
    struct deferred deferred;
    struct tls_context *tls; /* owns a reference; the server's, NULL if it is not spoken to by TLS */
    const char *host;        /* owns a reference; the server's */
    bool tls_direct;         /* TLS without asking for it first */
    bool tls_asked;          /* an SSLRequest waits for its one byte */
    struct cancel *ahead;    /* borrows; this one waits for the end of that one, or NULL */
    struct cancel *behind;   /* owns; its counterpart */
    struct cancel *next, *prev; /* member of pool->cancels while QUEUED */
    UT_hash_handle by_server;   /* member of cancels->by_server unless BEHIND */
};

/* The server that the request means, if its client is still linked to it, with the same query. */
static struct server *find_target(const struct cancel *cancel)
{
    const struct client *client = clients_find_key(cancel->cancels->clients, cancel->client_key,
                                                   cancel->client_key_size);
    if (client == NULL || client->server == NULL || client->server->id != cancel->server_id)
        return NULL;
    /* Where none was running it hits what runs when it arrives, as without a pooler. */
    if (cancel->query_start_us != 0 && cancel->query_start_us != client->server->query_start_us)
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

/* ---- the queue of a pool ---- */

static void enqueue(struct cancel *cancel)
{
    struct cancels *cancels = cancel->cancels;
    cancel->stage = CANCEL_QUEUED;
    cancel->ahead = NULL;
    HASH_ADD(by_server, cancels->by_server, server_id, sizeof(cancel->server_id), cancel);
    DL_APPEND(cancel->pool->cancels, cancel);
}

static void let_server_go(struct cancel *cancel, bool delivered)
{
    struct server *server = find_held(cancel);
    if (server == NULL)
        return;
    /*
     * Nobody can say when a request that is stuck will arrive: this server must not be used again.
     * One for replication never is.
     */
    if (!delivered && server->replication == REPLICATION_NONE)
        pool_retire_server(server);
    pool_hold_for_cancel(cancel->pool, server, -1);
}

/* Takes it from where its stage has it. */
static void leave_stage(struct cancel *cancel, bool delivered)
{
    struct pool *pool = cancel->pool;
    if (cancel->stage == CANCEL_SENT)
        let_server_go(cancel, delivered);
    if (cancel->stage == CANCEL_QUEUED)
        DL_DELETE(pool->cancels, cancel);
    if (cancel->stage == CANCEL_QUEUED || cancel->stage == CANCEL_BEHIND)
        pool->cancels_queued--;
    else
        pool_count_cancel(pool, -1);
    if (cancel->stage == CANCEL_BEHIND)
        cancel->ahead->behind = NULL;
    else
        HASH_DELETE(by_server, cancel->cancels->by_server, cancel);
}

static void stand_behind(struct cancel *cancel, struct cancel *ahead)
{
    cancel->stage = CANCEL_BEHIND;
    cancel->ahead = ahead;
    ahead->behind = cancel;
}

static void forget_requester(struct cancel *cancel, struct client *requester)
{
    DL_DELETE(cancel->requesters, &requester->member);
    cancel->requester_count--;
    requester->session = NULL;
}

static void let_requesters_go(struct cancel *cancel, const char *reason)
{
    while (cancel->requesters != NULL) {
        struct client *requester = container_of(cancel->requesters, struct client, member);
        forget_requester(cancel, requester);
        client_close(requester, reason, NULL);
    }
}

/* It is over; the one behind it takes its place. `reason` is for the log of the requesters. */
static void finish(struct cancel *cancel, const char *reason, bool delivered)
{
    struct loop *loop = cancel->cancels->clients->pools->loop;
    deadline_clear(&cancel->deadline);
    loop_cancel(loop, &cancel->begin);
    connection_close(&cancel->connection);
    leave_stage(cancel, delivered);
    let_requesters_go(cancel, reason);
    if (cancel->behind != NULL)
        enqueue(cancel->behind);
    loop_free_later(loop, &cancel->deferred, release);
}

static void open_connection(struct cancel *cancel, const struct server *server);

static bool may_open(const struct pool *pool)
{
    unsigned limit = pool->limits.pool_size;
    return limit == 0 || pool->cancel_count < limit;
}

/* Connections are free: the next requests of the pool may go. */
static void open_queued(struct pool *pool)
{
    while (pool->cancels != NULL && may_open(pool)) {
        struct cancel *cancel = pool->cancels;
        const struct server *server = find_target(cancel);
        if (server != NULL)
            open_connection(cancel, server);
        else
            finish(cancel, now_idle, false);
    }
}

static void end(struct cancel *cancel, const char *reason, bool delivered)
{
    struct pool *pool = cancel->pool;
    finish(cancel, reason, delivered);
    open_queued(pool);
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
        end(cancel, now_idle, false);
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
    cancel->stage = CANCEL_SENT;
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
            end(cancel, cancel->stage == CANCEL_SENT ? "successfully sent cancel request"
                                                     : "cancel request could not be sent",
                cancel->stage == CANCEL_SENT);
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

static void open_connection(struct cancel *cancel, const struct server *server)
{
    struct loop *loop = cancel->cancels->clients->pools->loop;
    const struct address *peer = &server->connection.peer;
    struct socket_options options = pools_socket_options();
    DL_DELETE(cancel->pool->cancels, cancel);
    cancel->pool->cancels_queued--;
    cancel->stage = CANCEL_OPEN;
    pool_count_cancel(cancel->pool, 1);
    /* To the very address of the server: its name may mean another host by now. */
    int error = peer->family == AF_UNIX
                    ? connection_open_unix(&cancel->connection, loop, &connection_ops, server->host,
                                           peer->port, &options)
                    : connection_open(&cancel->connection, loop, &connection_ops, peer, &options);
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
        forget_requester(cancel, client); /* the request goes on */
    client_close(client, NULL, NULL);
}

static void on_requester_event(struct client *client UNUSED)
{
}

static void on_requester_end(struct client *client, const char *message UNUSED)
{
    struct cancel *cancel = client->session;
    if (cancel != NULL)
        forget_requester(cancel, client);
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

/* ---- coming ---- */

static struct cancel *create(struct cancels *cancels, const struct client *target)
{
    struct cancel *cancel = memory_new(sizeof(*cancel));
    cancel->cancels = cancels;
    cancel->pool = target->pool;
    cancel->server_id = target->server->id;
    cancel->query_start_us = target->server->query_start_us;
    cancel->tls = tls_context_share(target->server->tls);
    cancel->tls_direct = target->server->tls_direct;
    cancel->host = intern_share(target->server->host);
    cancel->client_key_size = target->cancel_key_size;
    memcpy(cancel->client_key, target->cancel_key, target->cancel_key_size);
    cancel->connection.fd = -1;
    cancel->deadline.passed = on_deadline;
    cancel->begin.run = on_begin_failed;
    cancel->pool->cancels_queued++;
    deadline_set(cancels->clients->pools->loop, &cancel->deadline,
                 settings_current()->cancel_wait_timeout);
    return cancel;
}

/* Nothing of it has been sent, and it would not be dropped: it serves whoever wants the same. */
static bool may_be_joined(const struct cancel *cancel)
{
    return (cancel->stage == CANCEL_BEHIND || cancel->stage == CANCEL_QUEUED) &&
           find_target(cancel) != NULL;
}

/* The request that cancels the query of `target`: one that waits already, or a new one. */
static struct cancel *find_or_create(struct cancels *cancels, const struct client *target)
{
    struct cancel *first, *cancel;
    const uint64_t *id = &target->server->id;
    HASH_FIND(by_server, cancels->by_server, id, sizeof(*id), first);
    if (first == NULL) {
        cancel = create(cancels, target);
        enqueue(cancel);
        return cancel;
    }
    if (may_be_joined(first))
        return first;
    if (first->behind != NULL && may_be_joined(first->behind))
        return first->behind;
    if (first->behind != NULL)
        finish(first->behind, now_idle, false);
    cancel = create(cancels, target);
    stand_behind(cancel, first);
    return cancel;
}

static void join(struct cancel *cancel, struct client *requester)
{
    if (cancel->requester_count == REQUESTERS_MAX) {
        client_close(requester, "too many cancel requests for one query", NULL);
        return;
    }
    DL_APPEND(cancel->requesters, &requester->member);
    cancel->requester_count++;
    requester->session = cancel;
    requester->consumer = &requester_consumer;
    if (requester->connection.readable)
        loop_post(requester->connection.loop, &requester->task);
}

/* Whoever guesses keys must not fill the log. */
static void refuse(struct cancels *cancels, struct client *requester, const char *reason)
{
    usec_t now_us = clock_now_us();
    if (now_us - cancels->refused_since_us >= USEC_PER_SEC) {
        if (cancels->refused_count > REFUSED_LOGGED_MAX)
            log_info(NULL, "%u more failed cancel requests",
                     cancels->refused_count - REFUSED_LOGGED_MAX);
        cancels->refused_since_us = now_us;
        cancels->refused_count = 0;
    }
    cancels->refused_count++;
    client_close(requester, cancels->refused_count <= REFUSED_LOGGED_MAX ? reason : NULL, NULL);
}

struct client *cancel_find_target(struct cancels *cancels, struct client *requester,
                                  const uint8_t *key, size_t size)
{
    const struct address *address = &requester->connection.peer;
    usec_t now_us = clock_now_us();
    if (wrong_keys_too_many(&cancels->wrong_keys, address, now_us)) {
        refuse(cancels, requester, "too many failed cancel requests");
        return NULL;
    }
    struct client *target = clients_find_key(cancels->clients, key, size);
    if (target == NULL) {
        wrong_keys_add(&cancels->wrong_keys, address, now_us);
        refuse(cancels, requester, "failed cancel request");
    }
    return target;
}

void cancel_begin(struct cancels *cancels, struct client *requester, struct client *target)
{
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
    join(find_or_create(cancels, target), requester);
    open_queued(target->pool);
}

void cancels_end_database(struct cancels *cancels, const struct database *database)
{
    struct cancel *cancel, *next;
    HASH_ITER(by_server, cancels->by_server, cancel, next) {
        if (database != NULL && cancel->pool->database != database)
            continue;
        if (cancel->behind != NULL)
            finish(cancel->behind, "database removed", false);
        finish(cancel, "database removed", false);
    }
}

void cancels_close(struct cancels *cancels)
{
    cancels_end_database(cancels, NULL);
    wrong_keys_release(&cancels->wrong_keys);
}
