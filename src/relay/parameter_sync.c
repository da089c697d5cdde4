/*
 * parameter_sync.c - a server that is linked gets the parameters of its client.
 *
 * Our own SET goes in front of the client's first messages, in the same send. But what follows a SET
 * that fails is executed all the same, so a value that the pool's servers have not taken yet is sent
 * alone, and the client's messages wait for the answer: once for each value.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/session.h"

#include "pool/pool.h"
#include "wire/message.h"

/* The client takes over the server's spelling of values that mean the same. */
static void adopt_parameters(struct client *client, const struct server *server)
{
    for (unsigned i = 0; i < server->tracked->reported; i++)
        if (server->parameters.values[i] != NULL)
            parameters_set(&client->parameters, i, server->parameters.values[i]);
}

/* Writes our own SET. Returns false, with nothing written, if the server has what is wanted. */
static bool write_set(const struct client *client, struct buffer *ret_query)
{
    const struct server *server = client->server;
    size_t mark = message_begin(ret_query, 'Q');
    if (!parameters_difference(&server->parameters, &client->parameters, server->tracked,
                               server->unreported_unknown, ret_query)) {
        ret_query->size = 0;
        return false;
    }
    message_add_byte(ret_query, 0);
    message_end(ret_query, mark);
    return true;
}

/* The SET goes alone. */
static void send_set(struct session *session)
{
    struct client *client = session->client;
    struct server *server = client->server;
    session->state = SESSION_SYNCING;
    if (client->pool->limits.query_timeout_us != 0) /* the client's query has begun to wait */
        deadline_set_since(client->connection.loop, &server->deadline,
                           client->pool->limits.query_timeout_us, client->query_start_us);
    if (!connection_send(&server->connection, NULL, 0))
        session_lose_server(session, "server connection closed");
}

bool session_sync_parameters(struct session *session)
{
    struct client *client = session->client;
    struct server *server = client->server;
    bool unknown = server->unreported_unknown;
    if (!unknown && parameters_same(&server->parameters, &client->parameters, server->tracked))
        return true;
    if (!write_set(client, connection_gather(&server->connection))) {
        adopt_parameters(client, server);
        return true;
    }
    session->set_unanswered = true;
    server->ready = false;
    answers_expect_swallowed(&server->answers);
    if (proven_values_cover(&client->pool->proven_values, &server->parameters, &client->parameters,
                            server->tracked, unknown))
        return true;
    send_set(session);
    return false;
}

void session_synced(struct session *session)
{
    struct client *client = session->client;
    struct server *server = client->server;
    struct proven_values *proven = &client->pool->proven_values;
    bool waited = session->state == SESSION_SYNCING;
    session->set_unanswered = false;
    session->state = SESSION_LINKED;
    server->ready = waited; /* if not, what the client has sent behind it is under way */
    if (waited) /* the client's spelling is proven, and below the server's */
        proven_values_add(proven, &client->parameters, server->tracked);
    adopt_parameters(client, server);
    parameters_take_unreported(&server->parameters, &client->parameters, server->tracked);
    server->unreported_unknown = false;
    if (!waited)
        return;
    proven_values_add(proven, &client->parameters, server->tracked);
    loop_post(client->connection.loop, &client->task);
}

void session_sync_refused(struct session *session)
{
    struct client *client = session->client;
    log_error(&client->server->subject, "varcache_apply failed: the server refused a parameter");
    proven_values_release(&client->pool->proven_values);
    session_lose_server(session, "invalid server parameter");
}
