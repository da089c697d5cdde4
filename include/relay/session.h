/*
 * session.h - a client that is ready for queries, and the server that it is linked to.
 *
 *   IDLE     no server; the client may be read
 *   WAITING  in the pool's queue; what it sent is in the stash, and it is not read
 *   SYNCING  linked; our own SET runs, with values that the server may refuse; not read
 *   LINKED   bytes pass both ways
 *
 * IDLE -> LINKED directly when a server is free, unless it may refuse the client's parameters. What is
 * true in every state:
 *   - the stash is empty unless WAITING or SYNCING, or LINKED and the next message depends on an
 *     answer that has not come (`awaits_answers`), or on room in the way to the server;
 *   - a client that is not read is read again by whoever changes the state (client->task);
 *   - a server is released only at message boundaries of both streams, with nothing owed.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_SESSION_H
#define PGWEIR_RELAY_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "client/client.h"
#include "relay/client_statements.h"
#include "relay/session_features.h"
#include "server/server.h"

enum session_state { SESSION_IDLE, SESSION_WAITING, SESSION_SYNCING, SESSION_LINKED };

struct session {
    struct client *client; /* borrows: owned by it */
    struct buffer stash;   /* owns; bytes of the client that wait for a server, or for answers */
    struct buffer held;    /* owns; a message that was cut by a read and must be longer */
    uint64_t held_wanted;  /* bytes of it that must be there before it is looked at again */
    uint64_t body_left;    /* of the client's message that is passing through */
    uint64_t unnamed_statement; /* number of its last Parse without a name; 0: there is none */
    struct client_statements statements;
    enum session_state state;
    bool dropping;       /* that body goes nowhere */
    bool notified;       /* has had the notice of query_wait_notify in this wait */
    uint32_t ends_of_all; /* DEALLOCATE ALL or DISCARD ALL that are not answered */
    bool awaits_answers; /* what is in the stash goes on when answers have come */
    bool set_unanswered; /* our own SET has been sent, or goes with what is sent next */
    struct session_features features;
};

/* Takes over a client that has logged in; `bytes` came behind its login. */
void session_start(struct client *client, const uint8_t *bytes, size_t size);

/* A cancel request for a client that waits for a server: its query is given up. */
void session_cancel_wait(struct session *session);

/* Prepared statements under the client's names; 0 for one that has no session. */
unsigned session_statement_count(const struct client *client);

/* ---- private to the room ---- */

static inline struct session *session_of(const struct client *client)
{
    return client->session;
}

static inline struct loop *session_loop(const struct session *session)
{
    return session->client->connection.loop;
}

/* The mode in force. A client for replication keeps its server, whatever the mode of its pool. */
static inline enum pool_mode session_pool_mode(const struct session *session)
{
    const struct client *client = session->client;
    return client->replication != REPLICATION_NONE ? POOL_SESSION : client->pool->limits.mode;
}

/*
 * The linked server has answered everything with ReadyForQuery, so no implicit transaction is open on
 * it; after a pipeline that was only flushed there is one, although no answer is owed.
 */
static inline bool session_is_at_rest(const struct session *session)
{
    const struct server *server = session->client->server;
    return server->answers.count == 0 && server->query_start_us == 0;
}

/* Ends the session: the server is given back or closed, the client is told and closed. */
void session_close(struct session *session, const char *reason, const char *message);

/* The linked server is lost or not to be trusted: it is closed, and the client with it. */
void session_lose_server(struct session *session, const char *reason);

/*
 * The linked server takes nothing any more. The client gets what the server said before it went,
 * such as why, and then the end; that may take until it has read what it had not. What it sends
 * meanwhile is not looked at.
 */
void session_server_is_gone(struct session *session);

/* The same has happened, and the client has not read all yet. */
static inline bool session_has_lost_its_server(const struct session *session)
{
    const struct server *server = session->client->server;
    return server != NULL && server->connection.failed;
}

/*
 * Finds a server for the message at hand. Returns true if the session is LINKED now. Otherwise it
 * waits (the caller stashes what it has) or has been closed.
 */
bool session_obtain_server(struct session *session);

/*
 * Gives the server that was just linked the client's parameters (parameter_sync.c). Returns true if
 * the client's messages may follow; otherwise the session is SYNCING or has been closed.
 */
bool session_sync_parameters(struct session *session);

/* Our own SET has been answered, and has failed: the session ends. */
void session_synced(struct session *session);
void session_sync_refused(struct session *session);

/*
 * What the session leaves behind on its server is watched from now on, if a setting asks for it
 * (session_watch.c). Called at the link and when the settings change.
 */
void session_watch(struct session *session);
void session_watch_anew(struct session *session);

/* A command of the client has ended, with this tag of `size` bytes; 0: it is not known. */
void session_take_tag(struct session *session, const char *tag, size_t size);

/* Gives the server back, if the mode and the state of both streams allow it. */
void session_release_if_settled(struct session *session);

/* True if the server would be given back now. */
bool session_is_done_with_server(const struct session *session) MUST_CHECK;

/* The server, which the session is done with, goes away: it is closed, and the session stays. */
void session_leave_server(struct session *session, const char *reason);

/* How long the client may be IDLE from now on, or WAITING since its query (session_wait.c). */
void session_set_idle_limit(struct session *session);
void session_set_wait_limit(struct session *session);
void session_wait_deadline_passed(struct session *session);

/* A query begins; sets the clocks, counters and limits (session_query.c). */
void session_begin_query(struct session *session);

/* The server is ready for the next query. */
void session_end_query(struct session *session, char transaction_status);

/* The settings have changed: limits count from where they would have, the idle one from now on. */
void session_renew_wait_limits(struct session *session);
void session_renew_query_limits(struct session *session);

/* A client that has so many requests under way is not read until some are answered. */
#define ANSWERS_HIGH_MARK 10000

/* Reads the client as far as it may be read now (from_client.c). */
void session_read_client(struct session *session);

/* Handles bytes of the client that are in memory already. */
void session_take_client_bytes(struct session *session, const uint8_t *bytes, size_t size);

/* Reads the linked server (from_server.c). */
void session_read_server(struct session *session);

/* Gives the client the answers that are the pooler's own, if none of the server comes before. */
void session_give_answers(struct session *session);

struct slab;
struct slab *session_slab(void);

#endif
