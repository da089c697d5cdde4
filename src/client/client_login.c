/*
 * client_login.c - the conversation until a client is ready for queries: negotiation, password
 * exchange, welcome.
 *
 * Nothing of a client is believed or kept beyond small limits until it has authenticated. Bytes
 * that come behind the last login message are kept and handed to the consumer.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config.h"

#include "client/client_login.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <utlist.h>

#include "base/memory.h"
#include "base/random.h"
#include "net/farewell.h"
#include "net/tls.h"
#include "wire/message.h"

/* Bytes kept from a client that waits for the check or the welcome and talks already. */
#define EARLY_BYTES_MAX (64 * 1024)

void client_login_destroy(struct client_login *login)
{
    if (login == NULL)
        return;
    collector_release(&login->incoming);
    client_auth_destroy(login->auth);
    auth_query_release(&login->query);
    deadline_clear(&login->delay);
    outside_check_end(login->check);
    ldap_options_destroy(login->ldap);
    buffer_release(&login->dedicated.welcome);
    free(login->options);
    free(login);
}

/* ---- the untyped packets ---- */

/* How TLS towards this client is done; NULL: not at all. A Unix socket needs none. */
static const struct tls_context *tls_offer(const struct client *client)
{
    return client->connection.peer.family == AF_UNIX
               ? NULL
               : tls_setup_for_clients(client->clients->pools->tls);
}

static void answer(struct client *client, bool yes)
{
    collector_skip(&client->login->incoming, 8);
    if (!connection_send(&client->connection, yes ? "S" : "N", 1))
        client_close(client, NULL, NULL);
    else if (yes)
        tls_accept(&client->connection, tls_offer(client), NULL, 0);
}

/* Answers an SSLRequest or GSSENCRequest. Each may be asked once, and nothing may follow it. */
static void answer_request(struct client *client, bool *asked, bool yes, size_t available,
                           const char *too_early)
{
    if (available > 8) {
        client_close(client, too_early, too_early);
    } else if (client->connection.tls != NULL) {
        client_close(client, "SSL req inside SSL", NULL);
    } else if (*asked) {
        client_close(client, "bad packet header", "bad packet header: encryption was asked twice");
    } else {
        *asked = true;
        answer(client, yes);
    }
}

/* A TLS client that does not ask first (PostgreSQL 17, sslnegotiation=direct). */
static void begin_direct_tls(struct client *client, const uint8_t *bytes, size_t size)
{
    client->login->tls_direct = true;
    tls_accept(&client->connection, tls_offer(client), bytes, size);
    collector_skip(&client->login->incoming, size);
}

static bool is_tls_hello(const struct client *client, const uint8_t *bytes, size_t size)
{
    return size > 0 && bytes[0] == 0x16 && client->connection.tls == NULL &&
           !client->login->ssl_asked && !client->login->gss_asked && tls_offer(client) != NULL;
}

void client_login_secured(struct client *client, const char *problem)
{
    char description[TLS_DESCRIPTION_SIZE];
    if (problem == NULL && client->login->tls_direct &&
        !tls_has_agreed_protocol(&client->connection))
        problem = "direct TLS without the protocol \"postgresql\" (ALPN)";
    if (problem != NULL) {
        /* Who comes and goes without a word is a health check. */
        log_at(tls_peer_has_left(&client->connection) ? LEVEL_DEBUG : LEVEL_WARNING, NULL,
               "TLS handshake error: %s", problem);
        farewell(&client->connection, NULL, 0); /* the alert is worth being read */
        client_close(client, NULL, NULL);
        return;
    }
    tls_describe(&client->connection, description, sizeof(description));
    if (settings_current()->log_connections)
        log_info(&client->subject, "SSL established: %s", description);
}

static void begin_cancel(struct client *client, const uint8_t *packet, size_t packet_size)
{
    struct clients *clients = client->clients;
    uint8_t key[CANCEL_KEY_MAX];
    size_t size = packet_size - 8;
    memcpy(key, packet + 8, size);
    DL_DELETE(clients->logging_in, client);
    clients->logging_in_count--;
    client->state = CLIENT_CANCEL;
    DL_APPEND(clients->canceling, client);
    deadline_clear(&client->deadline);
    clients->ops->cancel(client, key, size);
}

/* Returns true if there may be more to handle. */
static bool handle_startup_bytes(struct client *client)
{
    struct client_login *login = client->login;
    struct failure failure = {0};
    size_t size;
    const uint8_t *bytes = collector_rest(&login->incoming, &size);
    if (is_tls_hello(client, bytes, size)) {
        begin_direct_tls(client, bytes, size);
        return false;
    }
    struct startup_packet packet = startup_read_header(bytes, size, &failure);

    switch (packet.kind) {
    case STARTUP_MORE:
        return false;
    case STARTUP_BROKEN:
        client_close(client, failure.message[0] != '\0' ? failure.message : "bad packet",
                     failure.message[0] != '\0' ? failure.message : NULL);
        return false;
    case STARTUP_SSL_REQUEST:
        answer_request(client, &login->ssl_asked, tls_offer(client) != NULL, size,
                       "received unencrypted data after SSL request");
        return client->state == CLIENT_LOGIN;
    case STARTUP_GSS_REQUEST:
        answer_request(client, &login->gss_asked, false, size,
                       "received unencrypted data after GSSAPI encryption request");
        return client->state == CLIENT_LOGIN;
    case STARTUP_CANCEL_REQUEST:
    case STARTUP_MESSAGE:
        break;
    }
    if (size < packet.size)
        return false;
    if (packet.kind == STARTUP_CANCEL_REQUEST) {
        begin_cancel(client, bytes, packet.size);
        return false;
    }
    const struct tls_context *offer = tls_offer(client);
    if (offer != NULL && offer->mode >= SSLMODE_REQUIRE && client->connection.tls == NULL) {
        client_close(client, "SSL required", "SSL required");
        return false;
    }
    login->stage = LOGIN_AUTHENTICATING;
    /* The login may be over when this returns, so the packet is taken out of its buffer first. */
    struct buffer taken = collector_take(&login->incoming, packet.size);
    client_handle_startup(client, taken.data, &packet);
    buffer_release(&taken);
    return client->state == CLIENT_LOGIN;
}

/* ---- authentication ---- */

void client_refuse(struct client *client, const char *message, const char *problem)
{
    if (settings_current()->log_connections)
        log_info(&client->subject, "login failed: db=%s user=%s%s%s", client->database_name,
                 client->user_name, problem != NULL ? ": " : "", problem != NULL ? problem : "");
    client_close(client, message, message);
}

static void on_outside_answer(struct outside_check *check)
{
    struct client *client = check->owner;
    struct buffer nothing = {0};
    struct failure failure = {0};
    enum auth_verdict verdict =
        client_auth_answer(client->login->auth, check->right, check->problem, &failure);
    if (verdict == AUTH_ACCEPTED && !client_take_user(client, &failure))
        client_close(client, failure.message, failure.message);
    else
        client_handle_verdict(client, verdict, &nothing, &failure);
}

/* Asks PAM or LDAP beside the loop. It goes on with the answer, or with the login's deadline. */
static void ask_outside(struct client *client)
{
    struct client_login *login = client->login;
    char host[ADDRESS_TEXT_SIZE];
    struct outside_question question = {.method = login->ldap != NULL ? AUTH_LDAP : AUTH_PAM,
                                        .user = client->user_name,
                                        .host = host,
                                        .password = client_auth_received(login->auth),
                                        .ldap = login->ldap};
    address_print_host(&client->connection.peer, host, sizeof(host));
    login->ldap = NULL;
    login->stage = LOGIN_CHECKING;
    login->check = outside_check_begin(client->clients->offload, &question, on_outside_answer,
                                       client);
    if (login->check == NULL) {
        struct failure failure = {0};
        enum auth_verdict refused = client_auth_answer(
            login->auth, false, "no thread or no place in the queue", &failure);
        assert(refused == AUTH_REFUSED);
        /* Not as a verdict: this is no failed guess that makes the next login wait. */
        client_refuse(client, failure.message, client_auth_problem(login->auth));
    }
}

void client_handle_verdict(struct client *client, enum auth_verdict verdict,
                           struct buffer *answer, const struct failure *failure)
{
    bool sent = answer->size == 0 ||
                connection_send(&client->connection, answer->data, answer->size);
    buffer_wipe(answer);
    if (!sent) {
        client_close(client, NULL, NULL);
    } else if (verdict == AUTH_REFUSED) {
        auth_query_distrust(&client->login->query);
        failed_logins_add(client->clients->failed_logins, &client->connection.peer,
                          client->user_name);
        client_refuse(client, failure->message, client_auth_problem(client->login->auth));
    } else if (verdict == AUTH_ACCEPTED) {
        failed_logins_clear(client->clients->failed_logins, &client->connection.peer,
                            client->user_name);
        client_authenticated(client);
    } else if (verdict == AUTH_PENDING) {
        ask_outside(client);
    }
}

static bool refuse_message(struct client *client, const char *message)
{
    client_close(client, message != NULL ? message : "bad packet", message);
    return false;
}

/* Returns true if there may be more to handle. */
static bool handle_authentication_bytes(struct client *client)
{
    struct client_login *login = client->login;
    struct collected_message message;
    size_t size;
    const uint8_t *bytes = collector_rest(&login->incoming, &size);

    if (size > 0 && bytes[0] == 0)
        return refuse_message(client, "client re-sent startup pkt");
    if (size > 0 && bytes[0] != 'p')
        return refuse_message(client, NULL);
    switch (collector_next(&login->incoming, AUTH_MESSAGE_MAX, &message)) {
    case COLLECT_MORE:
        return false;
    case COLLECT_BROKEN:
    case COLLECT_TOO_LARGE:
        return refuse_message(client, "bad packet header: the password message is too long");
    case COLLECT_MESSAGE:
        break;
    }
    struct buffer answer = {0};
    struct failure failure = {0};
    enum auth_verdict verdict =
        client_auth_respond(login->auth, message.body, message.size, &answer, &failure);
    client_handle_verdict(client, verdict, &answer, &failure);
    return client->state == CLIENT_LOGIN && client->consumer == NULL;
}

static void handle_bytes(struct client *client)
{
    bool more = true;
    while (more && client->state == CLIENT_LOGIN && client->consumer == NULL) {
        size_t size;
        switch (client->login->stage) {
        case LOGIN_STARTUP:
            more = handle_startup_bytes(client);
            break;
        case LOGIN_AUTHENTICATING:
            more = handle_authentication_bytes(client);
            break;
        case LOGIN_ASKING:
        case LOGIN_DELAYED:
        case LOGIN_CHECKING:
        case LOGIN_WELCOME:
            (void) collector_rest(&client->login->incoming, &size);
            if (size > EARLY_BYTES_MAX)
                client_close(client, "bad packet", "too many messages before the login was complete");
            more = false;
            break;
        }
    }
}

void client_login_readable(struct client *client)
{
    uint8_t *bytes;
    size_t size;
    while (client->state == CLIENT_LOGIN && client->consumer == NULL) {
        switch (connection_receive(&client->connection, &bytes, &size)) {
        case RECEIVED_BYTES:
            client->request_us = clock_now_us();
            collector_feed(&client->login->incoming, bytes, size);
            OPENSSL_cleanse(bytes, size < 4096 ? size : 4096); /* it may have held a password */
            handle_bytes(client);
            break;
        case RECEIVED_NOTHING:
            return;
        case RECEIVED_END:
            /* Health checks come and go like this all day: not worth a line. */
            client_close(client, NULL, NULL);
            return;
        }
    }
}

void client_login_resume(struct client *client)
{
    handle_bytes(client);
    if (client->state == CLIENT_LOGIN)
        client_login_readable(client);
}

/* ---- into the pool ---- */

static void join_pool(struct client *client, struct pool *pool)
{
    const struct auth_request *query = &client->login->query;
    if (pool->user == client->user)
        pool_learn(pool, query->user_name != NULL ? &query->secret : NULL,
                   client_auth_learned_keys(client->login->auth));
    const struct secret *received = client_auth_received(client->login->auth);
    if (received != NULL && pool->database->config->user == NULL && !pool->database->console)
        secret_copy(&client->user->received, received);
    client->pool = pool;
    pool_add_client(pool, &client->member);
    client->in_pool = true;
    pool->stats.client_logins++;
}

/* The limit that comes first: on the login as a whole, or on the wait for a server. */
static const char *set_wait_limit(struct client *client)
{
    const char *message;
    usec_t login_us = settings_current()->client_login_timeout;
    usec_t wait_us = client_wait_limit_us(client->database, client->user, &message);
    usec_t waited_us = client->waiter.since_us - client->connect_us;
    bool wait_is_first = wait_us != 0 && (login_us == 0 || waited_us + wait_us < login_us);
    deadline_set_since(client->connection.loop, &client->deadline,
                       wait_is_first ? wait_us : login_us,
                       wait_is_first ? client->waiter.since_us : client->connect_us);
    if (wait_is_first)
        return message;
    return client->login->stage == LOGIN_WELCOME ? "client_login_timeout (server down)"
                                                 : "client_login_timeout";
}

void client_login_limit_wait(struct client *client)
{
    client->waiter.since_us = clock_now_us();
    (void) set_wait_limit(client);
}

void client_login_limit_login(struct client *client)
{
    deadline_set_since(client->connection.loop, &client->deadline,
                       settings_current()->client_login_timeout, client->connect_us);
}

/* What a client for replication gets is what its own server said to it. */
static void wait_for_own_server(struct client *client)
{
    struct client_login *login = client->login;
    struct failure failure;
    if (pool_queue_is_full(client->pool, &failure)) {
        client_close_with_failure(client, &failure);
        return;
    }
    login->dedicated.replication = client->replication;
    login->dedicated.parameters = &client->parameters;
    login->dedicated.options = login->options;
    login->stage = LOGIN_WELCOME;
    pool_wait_dedicated(client->pool, &client->waiter, &login->dedicated, clock_now_us());
    (void) set_wait_limit(client);
}

void client_authenticated(struct client *client)
{
    struct database *database = client->database;
    struct pools *pools = client->clients->pools;
    struct failure failure;
    char text[128];

    if (client->console_role != CONSOLE_NONE) {
        join_pool(client, pools->console);
        client_welcome(client);
        return;
    }
    if (database != NULL && database->console) {
        client_close(client, "not allowed", "not allowed");
        return;
    }
    if (database == NULL) {
        snprintf(text, sizeof(text), "no such database: %.63s", client->database_name);
        client_close(client, text, text);
        return;
    }
    if (database->disabled) {
        snprintf(text, sizeof(text), "database \"%.63s\" is disabled", database->name);
        client_close(client, text, text);
        return;
    }
    if (pools->shutdown != SHUTDOWN_NONE) {
        client_close(client, "pooler is shutting down", "pooler is shutting down");
        return;
    }
    join_pool(client, pools_get_pool(pools, database, client->user));
    if (client->replication != REPLICATION_NONE) {
        wait_for_own_server(client);
        return;
    }
    if (client->pool->welcome_known) {
        client_welcome(client);
        return;
    }
    if (pool_queue_is_full(client->pool, &failure)) {
        client_close_with_failure(client, &failure);
        return;
    }
    client->login->stage = LOGIN_WELCOME;
    pool_wait(client->pool, &client->waiter, true, clock_now_us());
    (void) set_wait_limit(client);
}

void client_login_waited(struct client *client)
{
    if (client->waiter.failed)
        client_close_with_failure(client, &client->pool->login_failure);
    else if (client->waiter.dedicated_failed)
        client_close(client, "login failed", "login failed");
    else if (client->waiter.server != NULL || client->pool->welcome_known)
        client_welcome(client);
    else /* forgotten again in the same turn */
        pool_wait(client->pool, &client->waiter, true, client->waiter.since_us);
}

void client_login_deadline_passed(struct client *client)
{
    enum login_stage stage = client->login->stage;
    const char *text = stage == LOGIN_WELCOME || stage == LOGIN_ASKING ? set_wait_limit(client)
                                                                       : "client_login_timeout";
    client_close(client, text, text);
}

/* ---- welcome ---- */

static void write_console_parameters(struct buffer *out)
{
    message_write_parameter_status(out, "server_version", PGBOUNCER_VERSION "/bouncer");
    message_write_parameter_status(out, "client_encoding", "UTF8");
    message_write_parameter_status(out, "server_encoding", "UTF8");
    message_write_parameter_status(out, "DateStyle", "ISO");
    message_write_parameter_status(out, "TimeZone", "GMT");
    message_write_parameter_status(out, "standard_conforming_strings", "on");
    message_write_parameter_status(out, "is_superuser", "on");
}

static void write_tracked_parameters(const struct client *client, struct buffer *out)
{
    const struct tracked_names *tracked = &client->clients->pools->tracked;
    for (unsigned i = 0; i < tracked->reported; i++)
        if (client->parameters.values[i] != NULL)
            message_write_parameter_status(out, tracked->names[i], client->parameters.values[i]);
}

/* AuthenticationOk and the parameters, of a client of a pool; written anew if they are not as before. */
static const struct buffer *opening_for(struct client *client)
{
    const struct tracked_names *tracked = &client->clients->pools->tracked;
    struct pool *pool = client->pool;
    struct buffer *opening = &pool->opening;
    parameters_fill(&client->parameters, &pool->welcome_values, tracked);
    if (opening->size > 0 && parameters_same(&pool->opening_values, &client->parameters, tracked))
        return opening;
    parameters_copy(&pool->opening_values, &client->parameters, tracked);
    opening->size = 0;
    message_write_authentication(opening, 0, NULL, 0);
    message_add_bytes(opening, pool->welcome.data, pool->welcome.size);
    write_tracked_parameters(client, opening);
    return opening;
}

/* Keys are random; two live clients never have the same. */
static void give_key(struct client *client)
{
    struct clients *clients = client->clients;
    size_t size =
        client->login->minor_version >= 2 ? CANCEL_KEY_SIZE_3_2 : CANCEL_KEY_SIZE_3_0;
    struct client *other;
    unsigned hash;
    client->cancel_key_size = (uint8_t) size;
    do {
        random_bytes(client->cancel_key, size);
        client->cancel_key[0] &= 0x7f;
        HASH_VALUE(client->cancel_key, size, hash);
        HASH_FIND_BYHASHVALUE(by_key, clients->keys, client->cancel_key, size, hash, other);
    } while (other != NULL);
    HASH_ADD_BYHASHVALUE(by_key, clients->keys, cancel_key, size, hash, client);
}

static void write_welcome(struct client *client, struct buffer *out)
{
    const char *notice = settings_current()->login_notify_message;
    const struct buffer *opening;
    if (client->console_role == CONSOLE_NONE && client->replication == REPLICATION_NONE) {
        opening = opening_for(client);
        message_add_bytes(out, opening->data, opening->size);
    } else {
        message_write_authentication(out, 0, NULL, 0);
        opening = &client->login->dedicated.welcome; /* empty for the console */
        message_add_bytes(out, opening->data, opening->size);
        if (client->console_role != CONSOLE_NONE)
            write_console_parameters(out);
        write_tracked_parameters(client, out);
    }
    message_write_backend_key(out, client->cancel_key, client->cancel_key_size);
    if (notice != NULL && notice[0] != '\0')
        notice_response_write(out, SQLSTATE_SUCCESS, notice, NULL);
    message_write_ready_for_query(out, 'I');
}

void client_welcome(struct client *client)
{
    struct clients *clients = client->clients;
    struct client_login *login = client->login;
    struct buffer *welcome = &clients->welcome;
    size_t early_size;

    give_key(client);
    welcome->size = 0;
    write_welcome(client, welcome);
    if (!connection_send(&client->connection, welcome->data, welcome->size)) {
        client_close(client, NULL, NULL);
        return;
    }
    DL_DELETE(clients->logging_in, client);
    clients->logging_in_count--;
    client->state = CLIENT_READY;
    client->login = NULL;
    client->waiter.dedicated = NULL; /* was a member of the login */
    deadline_clear(&client->deadline);
    const uint8_t *early = collector_rest(&login->incoming, &early_size);
    clients->ops->ready(client, early, early_size);
    client_login_destroy(login);
}
