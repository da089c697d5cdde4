/*
 * client.c - one connection from an application: events, counting, closing.
 *
 * SPDX-License-Identifier: ISC
 */
#include "client/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <utlist.h>

#include "base/buffer.h"
#include "base/intern.h"
#include "base/memory.h"
#include "base/slab.h"
#include "client/client_login.h"
#include "net/farewell.h"
#include "wire/error_response.h"

static struct slab client_objects = SLAB_INITIAL("client_cache", struct client);

struct slab *client_slab(void)
{
    return &client_objects;
}

static size_t describe(const struct log_subject *subject, char *ret_text, size_t size)
{
    const struct client *client = container_of_const(subject, struct client, subject);
    char address[ADDRESS_TEXT_SIZE];
    address_print(&client->connection.peer, address, sizeof(address));
    int length = snprintf(ret_text, size, "C-%p: %s/%s@%s", (const void *) client,
                          client->database_name != NULL ? client->database_name : "(nodb)",
                          client->user_name != NULL ? client->user_name : "(nouser)", address);
    return length < 0 ? 0 : (size_t) length;
}

static struct client *client_of(struct connection *connection)
{
    return container_of(connection, struct client, connection);
}

/* ---- events ---- */

static void on_connected(struct connection *connection UNUSED, int error UNUSED)
{
    /* Accepted sockets are connected from the beginning. */
}

static void on_secured(struct connection *connection, const char *problem)
{
    client_login_secured(client_of(connection), problem);
}

static void on_readable(struct connection *connection)
{
    struct client *client = client_of(connection);
    if (client->consumer != NULL)
        client->consumer->readable(client);
    else
        client_login_readable(client);
}

static void on_drained(struct connection *connection)
{
    struct client *client = client_of(connection);
    if (client->consumer != NULL)
        client->consumer->drained(client);
}

static void on_broken(struct connection *connection)
{
    struct client *client = client_of(connection);
    if (client->consumer != NULL)
        client->consumer->broken(client);
    else
        client_close(client, NULL, NULL);
}

static const struct connection_ops client_connection_ops = {
    .connected = on_connected,
    .secured = on_secured,
    .readable = on_readable,
    .drained = on_drained,
    .broken = on_broken,
};

static void on_waited(struct task *task)
{
    struct client *client = container_of(task, struct client, waiter.task);
    if (client->consumer != NULL)
        client->consumer->waited(client);
    else
        client_login_waited(client);
}

static void on_task(struct task *task)
{
    struct client *client = container_of(task, struct client, task);
    if (client->consumer != NULL)
        client->consumer->resumed(client);
    else
        client_login_readable(client);
}

static void on_deadline(struct deadline *deadline)
{
    struct client *client = container_of(deadline, struct client, deadline);
    if (client->consumer != NULL)
        client->consumer->deadline_passed(client);
    else
        client_login_deadline_passed(client);
}

/* ---- coming ---- */

/* How many sockets beyond max_client_conn may wait for a startup packet; it may be the console's. */
#define SPARE_CLIENTS 256

static void limit_silent_clients(struct clients *clients, const struct client *newcomer)
{
    int limit = settings_current()->max_client_conn;
    (void) clients_make_room(clients, newcomer, (limit > 0 ? (unsigned) limit : 0) + SPARE_CLIENTS);
}

void clients_accept(void *argument, int fd, const struct address *peer)
{
    struct clients *clients = argument;
    struct loop *loop = clients->pools->loop;
    struct client *client = slab_take(&client_objects);
    connection_accept(&client->connection, loop, &client_connection_ops, fd, peer);
    if (!connection_is_open(&client->connection)) {
        slab_give_back(&client_objects, client);
        return;
    }
    client->clients = clients;
    client->subject.describe = describe;
    client->waiter.task.run = on_waited;
    client->task.run = on_task;
    client->deadline.passed = on_deadline;
    client->id = pools_next_id(clients->pools);
    client->connect_us = client->request_us = clock_now_us();
    client->login = memory_new(sizeof(*client->login));
    client->login->client = client;
    parameters_init(&client->parameters, &clients->pools->tracked);
    DL_APPEND(clients->logging_in, client);
    clients->logging_in_count++;
    clients->count++;
    deadline_set(loop, &client->deadline, settings_current()->client_login_timeout);
    log_debug(&client->subject, "accepted");
    limit_silent_clients(clients, client);
}

/* ---- going ---- */

static void release(struct deferred *deferred)
{
    struct client *client = container_of(deferred, struct client, deferred);
    parameters_release(&client->parameters, &client->clients->pools->tracked);
    intern_give_back(client->database_name);
    intern_give_back(client->user_name);
    slab_give_back(&client_objects, client);
}

/* Takes the client out of every list and count that it is in. */
static void detach(struct client *client)
{
    struct clients *clients = client->clients;
    if (client->state == CLIENT_LOGIN) {
        DL_DELETE(clients->logging_in, client);
        clients->logging_in_count--;
    } else if (client->state == CLIENT_CANCEL) {
        DL_DELETE(clients->canceling, client);
    }
    if (client->by_key.tbl != NULL)
        HASH_DELETE(by_key, clients->keys, client);
    if (client->in_pool)
        pool_remove_client(client->pool, &client->member);
    if (client->counted_user)
        client->user->client_count--;
    if (client->counted_database)
        database_count_client(client->database, -1);
    client->in_pool = client->counted_user = client->counted_database = false;
    clients->count--;
}

static void log_closing(const struct client *client, const char *reason)
{
    if (reason != NULL && settings_current()->log_disconnections)
        log_info(&client->subject, "closing because: %s (age=%" PRIu64 "s)", reason,
                 (clock_now_us() - client->connect_us) / USEC_PER_SEC);
}

/* The log line is written before the peer can see the end. */
static void close_with(struct client *client, const char *reason, const struct buffer *goodbye)
{
    struct clients *clients = client->clients;
    struct loop *loop = clients->pools->loop;
    log_closing(client, reason);
    if (client->pool != NULL) /* what it waits for may be a member of the login */
        pool_cancel_wait(client->pool, &client->waiter);
    client_login_destroy(client->login); /* before the counts: its question may keep the database */
    client->login = NULL;
    detach(client);
    client->state = CLIENT_CLOSED;
    client->server = NULL;
    deadline_clear(&client->deadline);
    loop_cancel(loop, &client->task);
    if (goodbye->size > 0)
        farewell(&client->connection, goodbye->data, goodbye->size);
    else
        connection_close(&client->connection);
    loop_free_later(loop, &client->deferred, release);
    clients->ops->gone(clients);
}

void client_close(struct client *client, const char *reason, const char *message)
{
    struct buffer goodbye = {0};
    char text[OWN_TEXT_MAX + 1];
    if (client->state == CLIENT_CLOSED)
        return;
    if (message != NULL) {
        snprintf(text, sizeof(text), "%s", message);
        if (settings_current()->log_pooler_errors)
            log_warn(&client->subject, "pooler error: %s", text);
        error_response_write(&goodbye, "FATAL", SQLSTATE_PROTOCOL_VIOLATION, text);
    }
    close_with(client, reason, &goodbye);
    buffer_release(&goodbye);
}

void client_close_with_failure(struct client *client, const struct failure *failure)
{
    struct buffer goodbye = {0};
    if (client->state == CLIENT_CLOSED)
        return;
    if (settings_current()->log_pooler_errors)
        log_warn(&client->subject, "pooler error: %s", failure->message);
    error_response_write(&goodbye, "FATAL", failure->sqlstate, failure->message);
    close_with(client, failure->message, &goodbye);
    buffer_release(&goodbye);
}

void client_end(struct client *client, const char *message)
{
    if (client->state == CLIENT_CLOSED)
        return;
    if (client->consumer != NULL)
        client->consumer->end(client, message);
    else
        client_close(client, message, message);
}

/* ---- all of them ---- */

/* Pairs of address and user that are remembered. */
#define FAILED_LOGINS_MAX 4096

struct clients *clients_create(struct pools *pools, struct offload *offload,
                               const struct clients_ops *ops, void *owner)
{
    struct clients *clients = memory_new(sizeof(*clients));
    clients->pools = pools;
    clients->offload = offload;
    clients->ops = ops;
    clients->owner = owner;
    clients->failed_logins = failed_logins_create(FAILED_LOGINS_MAX);
    return clients;
}

static void end_pool(struct pool *pool, const char *message)
{
    struct pool_client *member, *next;
    DL_FOREACH_SAFE(pool->clients, member, next)
        client_end(container_of(member, struct client, member), message);
}

void clients_end_database(struct clients *clients, struct database *database, const char *message)
{
    struct client *client, *next;
    for (struct pool *pool = database->members; pool != NULL; pool = pool->hh.next)
        end_pool(pool, message);
    DL_FOREACH_SAFE(clients->logging_in, client, next) {
        if (client->database == database)
            client_end(client, message);
    }
    DL_FOREACH_SAFE(clients->canceling, client, next) {
        if (client->pool != NULL && client->pool->database == database)
            client_end(client, NULL);
    }
}

void clients_renew_limits(struct clients *clients)
{
    struct pool_client *member, *next;
    struct pool *pool;
    DL_FOREACH(clients->pools->all, pool) {
        DL_FOREACH_SAFE(pool->clients, member, next) { /* one may be closed for what has changed */
            struct client *client = container_of(member, struct client, member);
            if (client->consumer != NULL)
                client->consumer->limits_changed(client);
        }
    }
}

void clients_close(struct clients *clients)
{
    struct client *client, *next;
    struct pool *pool;
    DL_FOREACH(clients->pools->all, pool)
        end_pool(pool, NULL);
    DL_FOREACH_SAFE(clients->logging_in, client, next)
        client_end(client, NULL);
    DL_FOREACH_SAFE(clients->canceling, client, next)
        client_end(client, NULL);
}

void clients_destroy(struct clients *clients)
{
    failed_logins_destroy(clients->failed_logins);
    buffer_release(&clients->welcome);
    free(clients);
}

struct client *clients_find_key(struct clients *clients, const uint8_t *key, size_t size)
{
    struct client *client;
    HASH_FIND(by_key, clients->keys, key, size, client);
    return client;
}

const char *client_state_name(const struct client *client)
{
    if (client->state == CLIENT_CANCEL)
        return client->server != NULL ? "active_cancel_req" : "waiting_cancel_req";
    if (client_is_waiting(client))
        return "waiting";
    return client->server != NULL ? "active" : "idle";
}
