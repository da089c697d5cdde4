/*
 * client.h - one connection from an application: accepted, logged in, welcomed, and then handed to
 * a consumer (the relay or the console).
 *
 *   LOGIN -> READY -> CLOSED        LOGIN -> CANCEL -> CLOSED
 *
 * Until the client is READY this room reads it; afterwards its consumer does. Only its consumer (or
 * the login) closes a client with client_close(); everybody else says client_end(), which lets the
 * consumer put its things in order first.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CLIENT_CLIENT_H
#define PGWEIR_CLIENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/hash.h"
#include "auth/failed_logins.h"
#include "base/log.h"
#include "net/connection.h"
#include "net/deadline.h"
#include "pool/pools.h"
#include "wire/parameters.h"
#include "wire/startup.h"

struct client;
struct client_login;
struct offload;

enum client_state { CLIENT_LOGIN, CLIENT_READY, CLIENT_CANCEL, CLIENT_CLOSED };

enum console_role { CONSOLE_NONE, CONSOLE_STATS, CONSOLE_ADMIN };

/* Who looks after a client that is logged in. Events come from the loop. */
struct client_consumer {
    void (*readable)(struct client *client);
    void (*drained)(struct client *client);
    /* The peer is gone. */
    void (*broken)(struct client *client);
    /* The wait for a server is over: look at client->waiter. */
    void (*waited)(struct client *client);
    /* client->task was posted. */
    void (*resumed)(struct client *client);
    void (*deadline_passed)(struct client *client);
    /* Time limits may have changed: set the deadlines anew. */
    void (*limits_changed)(struct client *client);
    /* Must end now: close with client_close(), telling the client `message` as FATAL. */
    void (*end)(struct client *client, const char *message);
};

struct client {
    struct connection connection;
    struct log_subject subject;
    struct clients *clients;                /* borrows: the registry */
    const struct client_consumer *consumer; /* borrows; NULL until READY or CANCEL */
    void *session;                          /* the consumer's own data */
    struct server *server;                  /* borrows while the relay has it linked */
    struct client_login *login;             /* owns; NULL after login */
    struct database *database; /* borrows; NULL before the startup packet or if unknown */
    struct user *user;         /* borrows; the login user, NULL if unknown */
    struct pool *pool;         /* borrows; NULL until logged in */
    const char *database_name, *user_name; /* own a reference each; NULL before startup */
    struct parameters parameters;          /* owns */
    struct pool_client member;             /* of pool->clients */
    struct waiter waiter;
    struct task task;
    struct deadline deadline;
    struct deferred deferred;
    struct client *next, *prev; /* member of clients->logging_in or clients->canceling */
    UT_hash_handle by_key;      /* member of clients->keys once it has a key */
    uint8_t cancel_key_size, cancel_key[CANCEL_KEY_SIZE_3_2];
    uint64_t id;
    usec_t connect_us, request_us; /* accepted; last bytes from the client */
    usec_t query_start_us;         /* of the running or waiting query; 0 if none */
    enum client_state state;
    enum console_role console_role;
    enum replication replication;
    bool counted_database : 1, counted_user : 1;
    bool in_pool : 1;
};

/* News for the assembly (main). */
struct clients_ops {
    /*
     * Login is complete. Sets client->consumer. `bytes` came behind the login already; they are
     * borrowed for the call.
     */
    void (*ready)(struct client *client, const uint8_t *bytes, size_t size);
    /* A cancel request. Sets client->consumer, or closes the client. */
    void (*cancel)(struct client *client, const uint8_t *key, size_t size);
    /* A client has gone (for a shutdown that waits for clients). */
    void (*gone)(struct clients *clients);
};

/* All client connections. */
struct clients {
    struct pools *pools;           /* borrows */
    struct offload *offload;       /* borrows until clients_close(); checks passwords beside the loop */
    const struct clients_ops *ops; /* borrows */
    struct failed_logins *failed_logins; /* owns */
    struct buffer welcome;         /* owns; the last one that was sent: its memory is used again */
    struct client *logging_in;     /* in the order of accept */
    struct client *canceling;
    struct client *keys; /* hash by cancel key */
    unsigned count;      /* all sockets */
    unsigned logging_in_count;
    void *owner; /* for the ops */
};

struct clients *clients_create(struct pools *pools, struct offload *offload,
                               const struct clients_ops *ops, void *owner) MUST_CHECK;

/* Ends every client without a word (immediate shutdown). */
void clients_close(struct clients *clients);

/* Frees the registry, after loop_destroy(): closed clients borrow it until they are freed. */
void clients_destroy(struct clients *clients);

/* A new socket from a listener. Has the signature of accept_fn; `argument` is struct clients. */
void clients_accept(void *argument, int fd, const struct address *peer);

/* Ends all clients of a database, whatever they are doing; `message` is what they are told. */
void clients_end_database(struct clients *clients, struct database *database, const char *message);

/* Tells all clients that have logged in that time limits may have changed. */
void clients_renew_limits(struct clients *clients);

/* The client with this cancel key, or NULL. */
struct client *clients_find_key(struct clients *clients, const uint8_t *key, size_t size);

/* Calls the consumer's `end`, or ends the login. Does nothing to a closed client. */
void client_end(struct client *client, const char *message);

/*
 * Closes at once and frees at the end of the turn. `reason` goes to the log (NULL: not worth a
 * line), `message` to the client as FATAL (NULL: nothing). For the consumer and the login only.
 */
void client_close(struct client *client, const char *reason, const char *message);

/* The same with the SQLSTATE and message of a failed server login. */
void client_close_with_failure(struct client *client, const struct failure *failure);

/* It has no server, but waits in the queue or for the login of one of its own. */
static inline bool client_is_waiting(const struct client *client)
{
    return client->waiter.queued || client->waiter.server != NULL;
}

/* Words of SHOW CLIENTS: "active", "idle", "waiting", "active_cancel_req", "waiting_cancel_req". */
const char *client_state_name(const struct client *client);

struct slab;
struct slab *client_slab(void);

#endif
