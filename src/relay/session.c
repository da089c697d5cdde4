/*
 * session.c - linking a client to a server and letting go again.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/session.h"

#include "base/slab.h"
#include "config/config.h"
#include "pool/pools.h"
#include "relay/prepared.h"

static struct slab sessions = SLAB_INITIAL("session_cache", struct session);

struct slab *session_slab(void)
{
    return &sessions;
}

/* ---- linking ---- */

static void on_server_readable(struct server *server)
{
    session_read_server(server->session);
}

static void on_server_drained(struct server *server)
{
    struct session *session = server->session;
    if (session->client->connection.readable || session->stash.size > 0)
        loop_post(session_loop(session), &session->client->task);
    /* All may have been answered before it was read: a COPY that failed early. */
    session_release_if_settled(session);
}

static void on_server_broken(struct server *server)
{
    session_server_is_gone(server->session);
}

static void on_server_deadline(struct server *server)
{
    bool in_query = server->query_start_us != 0 || server->session->state == SESSION_SYNCING;
    session_lose_server(server->session, in_query ? "query timeout" : "idle transaction timeout");
}

static void on_transaction_over(struct server *server)
{
    session_lose_server(server->session, "transaction timeout");
}

/* Both streams stand at the end of a message, and the client has got what it will get. */
static bool is_complete(const struct session *session)
{
    const struct server *server = session->client->server;
    bool mid_message = session->body_left > 0 && !session->dropping;
    return server->ready && answers_complete(&server->answers) && server->body_left == 0 &&
           server->held.size == 0 && session->stash.size == 0 && !mid_message &&
           !connection_is_congested(&server->connection) && !session_has_lost_its_server(session);
}

/*
 * The server is not to be used again. A session that would hold it for long is ended: replication at
 * once, others with server_fast_close when nothing is under way. Returns true if the session is over.
 */
static bool end_if_close_needed(struct session *session)
{
    const struct client *client = session->client;
    if (!client->server->close_needed)
        return false;
    bool ends = client->replication != REPLICATION_NONE ||
                (settings_current()->server_fast_close &&
                 session_pool_mode(session) == POOL_SESSION && is_complete(session));
    if (!ends)
        return false;
    session_lose_server(session, "database configuration changed");
    return true;
}

static bool on_server_close_needed(struct server *server)
{
    return end_if_close_needed(server->session);
}

static const struct server_link_ops link_ops = {
    .readable = on_server_readable,
    .drained = on_server_drained,
    .broken = on_server_broken,
    .deadline_passed = on_server_deadline,
    .transaction_over = on_transaction_over,
    .close_needed = on_server_close_needed,
};

/* Returns true if the session is LINKED; it may be SYNCING, or closed, instead. */
static bool link_server(struct session *session, struct server *server)
{
    struct client *client = session->client;
    deadline_clear(&client->deadline);
    server->promised_to = NULL;
    client->server = server;
    client->pool->stats.server_assignments++;
    server_link(server, session, &link_ops);
    session_watch(session);
    session->notified = false;
    session->state = SESSION_LINKED;
    return session_sync_parameters(session);
}

static void fail(struct session *session, const struct failure *failure);

bool session_obtain_server(struct session *session)
{
    struct client *client = session->client;
    struct server *server = NULL;
    struct failure failure;
    client->query_start_us = clock_now_us();
    switch (pool_take(client->pool, &server, &failure)) {
    case TAKE_SERVER:
        return link_server(session, server);
    case TAKE_REFUSED:
        fail(session, &failure);
        return false;
    case TAKE_WAIT:
        break;
    }
    if (client->connection.ended) { /* no event will tell of it any more */
        session_close(session, "client unexpected eof", NULL);
        return false;
    }
    session->state = SESSION_WAITING;
    pool_wait(client->pool, &client->waiter, false, client->query_start_us);
    session_set_wait_limit(session);
    return false;
}

/* The same, and so that the server may serve somebody else. */
static bool is_settled(const struct session *session)
{
    return is_complete(session) && answers_settled(&session->client->server->answers);
}

static const char in_doubt[] = "more may be answered than was expected, after a failed COPY";

static struct server *unlink_server(struct session *session)
{
    struct client *client = session->client;
    struct server *server = client->server;
    prepared_number_unnamed(session);
    server->answers.unnamed_sent = false;
    server_unlink(server);
    client->server = NULL;
    client->query_start_us = 0;
    session->set_unanswered = false;
    session->state = SESSION_IDLE;
    return server;
}

static void go_on_without_server(struct session *session)
{
    struct client *client = session->client;
    session_set_idle_limit(session);
    if (client->connection.readable)
        loop_post(session_loop(session), &client->task);
}

void session_release_if_settled(struct session *session)
{
    if (session_pool_mode(session) == POOL_SESSION) {
        end_if_close_needed(session);
        return;
    }
    if (!is_complete(session))
        return;
    bool settled = is_settled(session);
    pool_give_back(session->client->pool, unlink_server(session), settled,
                   settled ? NULL : in_doubt);
    go_on_without_server(session);
}

bool session_is_done_with_server(const struct session *session)
{
    return session_pool_mode(session) != POOL_SESSION && is_settled(session);
}

void session_leave_server(struct session *session, const char *reason)
{
    pool_close_server(session->client->pool, unlink_server(session), reason);
    go_on_without_server(session);
}

/* ---- the end ---- */

static void release_session(struct session *session)
{
    session->client->session = NULL;
    client_statements_release(&session->statements);
    buffer_release(&session->stash);
    buffer_release(&session->held);
    slab_give_back(&sessions, session);
}

/* There is no server for the client, which holds none. */
static void fail(struct session *session, const struct failure *failure)
{
    struct client *client = session->client;
    release_session(session);
    client_close_with_failure(client, failure);
}

static const char *unsettled_reason(const struct server *server)
{
    if (!server->ready)
        return "client disconnect while server was not ready";
    if (server->answers.count > 0)
        return "client disconnected with query in progress";
    if (server->answers.in_doubt)
        return in_doubt;
    return "client disconnect before everything was sent to the server";
}

/*
 * What the client is told at the end: nothing, if it has the head of a message whose rest will never
 * come. Our words would be taken for that rest, a wrong value in a row of its result.
 */
static const char *last_words(const struct client *client, const char *message)
{
    const struct server *server = client->server;
    bool mid_message = server != NULL && server->body_left > 0 && !server->swallowing;
    return mid_message ? NULL : message;
}

void session_close(struct session *session, const char *reason, const char *message)
{
    struct client *client = session->client;
    struct pool *pool = client->pool;
    message = last_words(client, message);
    if (client->server != NULL) {
        bool settled = session->state == SESSION_LINKED && is_settled(session);
        const char *why = settled ? NULL : unsettled_reason(client->server);
        pool_give_back(pool, unlink_server(session), settled, why);
    }
    release_session(session);
    client_close(client, reason, message);
}

void session_lose_server(struct session *session, const char *reason)
{
    struct client *client = session->client;
    const char *message = last_words(client, reason);
    struct server *server = unlink_server(session);
    pool_close_server(client->pool, server, reason);
    release_session(session);
    client_close(client, reason, message);
}

void session_server_is_gone(struct session *session)
{
    struct client *client = session->client;
    struct server *server = client->server;
    server->connection.failed = true; /* so it is not released, and the client not read */
    server->connection.readable = true;
    session_read_server(session);
    /* If there is more to read it goes on when the client has room, and ends with the end. */
    if (client->session != NULL && !server->connection.readable)
        session_lose_server(session, "server connection closed");
}

/* ---- news for the client's consumer ---- */

static void on_readable(struct client *client)
{
    struct session *session = session_of(client);
    /* A client that goes away while it waits has nothing to get any more: it leaves the queue. */
    if (session->state == SESSION_WAITING && connection_peer_has_left(&client->connection))
        session_close(session, "client unexpected eof", NULL);
    else
        session_read_client(session);
}

static void on_drained(struct client *client)
{
    struct session *session = session_of(client);
    if (client->server == NULL) {
        if (client->connection.readable)
            loop_post(session_loop(session), &client->task);
        return;
    }
    if (client->server->connection.readable)
        loop_post(session_loop(session), &client->server->task);
    session_give_answers(session);
    if (client->session != NULL && client->server->ready)
        session_release_if_settled(session);
}

static void on_broken(struct client *client)
{
    session_close(session_of(client), "unexpected eof", NULL);
}

/* A stash of an ordinary query is kept for the next one, so that waiting costs no allocation. */
#define STASH_KEPT_MAX 256

static void send_stash(struct session *session)
{
    struct client *client = session->client;
    struct buffer stash = session->stash;
    session->stash = (struct buffer){0};
    session_take_client_bytes(session, stash.data, stash.size);
    if (client->session != NULL && session->stash.data == NULL && stash.capacity <= STASH_KEPT_MAX) {
        stash.size = 0;
        session->stash = stash;
    } else {
        buffer_release(&stash);
    }
}

/* Goes on where the session stopped: with the stash, then with the socket. */
static void on_resumed(struct client *client)
{
    struct session *session = session_of(client);
    if (session->state == SESSION_LINKED && session->stash.size > 0)
        send_stash(session);
    if (client->session != NULL)
        session_read_client(session);
}

static void on_waited(struct client *client)
{
    struct session *session = session_of(client);
    struct server *server = client->waiter.server;
    client->waiter.server = NULL;
    if (client->waiter.failed) {
        struct failure failure = client->pool->login_failure;
        fail(session, &failure);
        return;
    }
    client->pool->stats.wait_us += clock_now_us() - client->waiter.since_us;
    if (link_server(session, server))
        on_resumed(client);
}

static void on_deadline_passed(struct client *client)
{
    struct session *session = session_of(client);
    if (session->state == SESSION_WAITING)
        session_wait_deadline_passed(session);
    else if (session->state == SESSION_IDLE)
        session_close(session, "client_idle_timeout", "client_idle_timeout");
}

/* Clients may be many, and most reloads change nothing for them. */
static void on_limits_changed(struct client *client)
{
    struct session *session = session_of(client);
    if (client->server == NULL) {
        session_renew_wait_limits(session);
    } else if (!end_if_close_needed(session)) {
        session_renew_query_limits(session);
        session_watch_anew(session);
    }
}

static void on_end(struct client *client, const char *message)
{
    session_close(session_of(client), message != NULL ? message : "shutdown", message);
}

static const struct client_consumer relay_consumer = {
    .readable = on_readable,
    .drained = on_drained,
    .broken = on_broken,
    .waited = on_waited,
    .resumed = on_resumed,
    .deadline_passed = on_deadline_passed,
    .limits_changed = on_limits_changed,
    .end = on_end,
};

unsigned session_statement_count(const struct client *client)
{
    if (client->consumer != &relay_consumer)
        return 0;
    return client_statements_count(&session_of(client)->statements);
}

/* The server was opened for this client alone, and has all its parameters. */
static void link_own_server(struct session *session)
{
    struct client *client = session->client;
    struct server *server = client->waiter.server;
    client->waiter.server = NULL;
    server->promised_to = NULL;
    client->server = server;
    server_link(server, session, &link_ops);
    session->state = SESSION_LINKED;
    server_tell_close_needed(server); /* if it was marked between its login and now */
    if (server->incoming.bytes.size > server->incoming.taken)
        session_lose_server(session, "idle server got dirty");
    else if (server->connection.readable)
        loop_post(session_loop(session), &server->task);
}

void session_start(struct client *client, const uint8_t *bytes, size_t size)
{
    struct session *session = slab_take(&sessions);
    session->client = client;
    client->session = session;
    client->consumer = &relay_consumer;
    if (client->waiter.server != NULL)
        link_own_server(session);
    else
        session_set_idle_limit(session);
    if (size > 0 && client->session != NULL)
        session_take_client_bytes(session, bytes, size);
    if (client->session != NULL && client->connection.readable)
        loop_post(session_loop(session), &client->task);
}
