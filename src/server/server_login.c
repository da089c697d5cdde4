/*
 * server_login.c - the part of a server's life before it is usable.
 *
 * All that the login needs from the configuration is copied at the beginning, so that a reload in
 * mid login changes nothing. A server that cannot even begin fails from the loop, like any other.
 *
 * SPDX-License-Identifier: ISC
 */
#include "server/server_login.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/config.h"
#include "hosts/host_list.h"
#include "net/tls.h"
#include "wire/message.h"
#include "wire/startup.h"

static void fail(struct server *server, const char *reason)
{
    static const struct failure none;
    server->ops->failed(server, reason, &none);
}

static void fail_to_connect(struct server *server, int error)
{
    char address[ADDRESS_TEXT_SIZE];
    address_print(&server->connection.peer, address, sizeof(address));
    log_warn(NULL, "sbuf_connect failed to connect to %s: %s", address, strerror(error));
    fail(server, "connect failed");
}

/* Reports a connect that could not begin, as if it had failed later. */
static void on_begin_failed(struct task *task)
{
    struct server *server = container_of(task, struct server, task);
    fail(server, "connect failed");
}

static void begin_failed(struct server *server, int error)
{
    char address[ADDRESS_TEXT_SIZE];
    address_print(&server->connection.peer, address, sizeof(address));
    log_warn(NULL, "sbuf_connect failed to connect to %s: %s", address, strerror(error));
    server->task.run = on_begin_failed;
    loop_post(server->connection.loop, &server->task);
}

static void connect_to(struct server *server, const struct address *address)
{
    struct connection *connection = &server->connection;
    int error = connection_open(connection, connection->loop, connection->ops, address,
                                &server->login->sockets);
    if (error != 0) {
        connection->peer = *address;
        begin_failed(server, error);
    }
}

static void on_resolved(struct resolver_query *query, const struct address *addresses, size_t count,
                        const char *error)
{
    struct server_login *login = container_of(query, struct server_login, query);
    struct server *server = login->server;
    if (count == 0) {
        log_warn(NULL, "DNS lookup failed: %s: result=%s", server->host, error);
        fail(server, "server DNS lookup failed");
        return;
    }
    /* Consecutive connections use the addresses of a name in turn. */
    struct address address = addresses[server->id % count];
    address.port = login->port;
    connect_to(server, &address);
}

static void add_parameter(struct buffer *packet, const char *name, const char *value)
{
    if (value == NULL)
        return;
    message_add_text(packet, name);
    message_add_text(packet, value);
}

/* A walsender gets what its client asks for at once: it could not run our SET later. */
static void add_client_parameters(struct buffer *packet, const struct server_options *options)
{
    add_parameter(packet, "replication", startup_replication_value(options->replication));
    for (unsigned i = 0; i < options->tracked->count; i++)
        add_parameter(packet, options->tracked->names[i], options->client_parameters->values[i]);
    add_parameter(packet, "options", options->client_options);
}

static void build_startup_packet(struct buffer *packet, const struct server_options *options)
{
    size_t mark = message_begin_untyped(packet);
    message_add_int32(packet, PROTOCOL_3_0 + options->minor_version);
    add_parameter(packet, "database", options->dbname);
    add_parameter(packet, "client_encoding", options->client_encoding);
    add_parameter(packet, "datestyle", options->datestyle);
    add_parameter(packet, "timezone", options->timezone);
    add_parameter(packet, "application_name", options->application_name);
    if (options->replication != REPLICATION_NONE)
        add_client_parameters(packet, options);
    add_parameter(packet, "user", options->user);
    message_add_byte(packet, 0);
    message_end(packet, mark);
}

void server_login_begin(struct server *server, const struct server_options *options)
{
    struct connection *connection = &server->connection;
    struct server_login *login = memory_new(sizeof(*login));
    struct address address;

    server->login = login;
    login->server = server;
    login->sockets = options->sockets;
    login->port = options->port;
    login->minor_version = options->minor_version;
    login->tls = *options->tls;
    login->tls.context =
        host_is_unix(options->host) ? NULL : tls_context_share(options->tls->context);
    login->query.answered = on_resolved;
    login->connect_query = memory_copy_text(options->connect_query);
    login->auth = server_auth_create(options->user, options->secret, options->learned,
                                     options->key_cache);
    build_startup_packet(&login->startup_packet, options);

    if (host_is_unix(options->host)) {
        connection->peer = (struct address){.family = AF_UNIX, .port = options->port};
        int error = connection_open_unix(connection, connection->loop, connection->ops,
                                         options->host, options->port, &login->sockets);
        if (error != 0)
            begin_failed(server, error);
    } else if (address_parse(options->host, options->port, &address)) {
        connect_to(server, &address);
    } else {
        resolver_ask(options->resolver, options->host, &login->query);
    }
}

static void log_connected(const struct server *server)
{
    char address[ADDRESS_TEXT_SIZE];
    if (!settings_current()->log_connections)
        return;
    if (server->connection.peer.family == AF_UNIX) {
        log_info(&server->subject, "new connection to server");
        return;
    }
    struct address local = connection_local_address(&server->connection);
    address_print(&local, address, sizeof(address));
    log_info(&server->subject, "new connection to server (from %s)", address);
}

static void send_startup_packet(struct server *server)
{
    const struct buffer *packet = &server->login->startup_packet;
    if (!connection_send(&server->connection, packet->data, packet->size))
        fail(server, "startup pkt failed");
}

static void ask_for_tls(struct server *server)
{
    struct buffer request = {0};
    startup_write_ssl_request(&request);
    server->login->tls_asked = true;
    if (!connection_send(&server->connection, request.data, request.size))
        fail(server, "sslreq processing failed");
    buffer_release(&request);
}

void server_login_connected(struct server *server, int error)
{
    if (error != 0) {
        fail_to_connect(server, error);
        return;
    }
    log_connected(server);
    if (server->login->tls.context == NULL)
        send_startup_packet(server);
    else if (server->login->tls.negotiation == TLS_NEGOTIATION_DIRECT)
        tls_connect(&server->connection, server->login->tls.context, server->host);
    else
        ask_for_tls(server);
}

/* ---- TLS ---- */

void server_login_ssl_answer(struct server *server, const uint8_t *bytes, size_t size)
{
    struct server_login *login = server->login;
    login->tls_asked = false;
    switch (startup_read_ssl_answer(bytes, size)) {
    case SSL_ANSWER_YES:
        tls_connect(&server->connection, login->tls.context, server->host);
        return;
    case SSL_ANSWER_NO:
        if (login->tls.mode < SSLMODE_REQUIRE) {
            log_debug(&server->subject, "the server does not offer TLS");
            send_startup_packet(server);
        } else {
            fail(server, "server refused SSL");
        }
        return;
    case SSL_ANSWER_BROKEN:
        fail(server, "bad sslreq answer");
        return;
    case SSL_ANSWER_TOO_EARLY:
        fail(server, "received unencrypted data after SSL response");
        return;
    }
}

void server_login_secured(struct server *server, const char *problem)
{
    struct server_login *login = server->login;
    char description[TLS_DESCRIPTION_SIZE];
    struct scram_binding binding;
    if (problem == NULL && login->tls.negotiation == TLS_NEGOTIATION_DIRECT &&
        !tls_has_agreed_protocol(&server->connection))
        problem = "the server does not agree to speak \"postgresql\" (ALPN)";
    if (problem != NULL) {
        log_warn(NULL, "TLS handshake error: %s", problem);
        fail(server, "TLS startup failed");
        return;
    }
    server->tls = login->tls.context;
    server->tls_direct = login->tls.negotiation == TLS_NEGOTIATION_DIRECT;
    login->tls.context = NULL;
    binding.size = tls_server_end_point(&server->connection, binding.end_point);
    server_auth_bind(login->auth, &binding);
    tls_describe(&server->connection, description, sizeof(description));
    if (settings_current()->log_connections)
        log_info(&server->subject, "SSL established: %s", description);
    send_startup_packet(server);
}

/* ---- authentication ---- */

static void refuse(struct server *server, const struct failure *failure)
{
    log_warn(NULL, "server login failed: FATAL %s", failure->message);
    server->ops->failed(server, "failed to answer authreq", failure);
}

static void send_answer(struct server *server, const struct buffer *answer)
{
    if (answer->size > 0 && !connection_send(&server->connection, answer->data, answer->size))
        fail(server, "failed to answer authreq");
}

/* The keys that the server's challenge needs have been derived. */
static void on_keys_ready(struct task *task)
{
    struct server_login *login = container_of(task, struct server_login, key_request.ready);
    struct buffer answer = {0};
    server_auth_prove(login->auth, &login->key_request.keys, &answer);
    send_answer(login->server, &answer);
    buffer_wipe(&answer);
}

static void derive_keys(struct server_login *login)
{
    login->key_request.ready.run = on_keys_ready;
    server_auth_derive_keys(login->auth, login->server->connection.loop, &login->key_request);
}

static void handle_authentication(struct server *server, const struct collected_message *message)
{
    struct server_login *login = server->login;
    struct buffer answer = {0};
    struct failure failure = {0};
    bool done = false;

    if (login->authenticated) {
        fail(server, "unknown pkt from server");
        return;
    }
    bool good = server_auth_respond(login->auth, message->body, message->size, &answer, &done,
                                    &failure);
    login->authenticated = good && done;
    if (!good)
        refuse(server, &failure);
    else if (server_auth_needs_keys(login->auth))
        derive_keys(login);
    else
        send_answer(server, &answer);
    buffer_wipe(&answer);
}

/* The server said no. Its words go to the clients that wait for this login. */
static void handle_error(struct server *server, const struct collected_message *message)
{
    struct error_fields fields;
    struct failure failure = {0};
    (void) error_response_read(message->body, message->size, &fields);
    if (server->replication == REPLICATION_NONE)
        log_warn(NULL, "server login failed: %s %s", fields.severity, fields.message);
    else
        log_error(NULL, "S: login failed: %s: %s", fields.severity, fields.message);
    failure_set(&failure, "%s", fields.message);
    if (strlen(fields.sqlstate) == 5)
        memcpy(failure.sqlstate, fields.sqlstate, sizeof(failure.sqlstate));
    /* The one client of a replication connection is not told more than that. */
    server->ops->failed(server, server->replication == REPLICATION_NONE ? failure.message
                                                                        : "login failed",
                        &failure);
}

static enum told told(const char *value)
{
    return strcmp(value, "on") == 0 ? TOLD_ON : strcmp(value, "off") == 0 ? TOLD_OFF : TOLD_NOTHING;
}

/* PostgreSQL 14 tells its role at login, and of a promotion with the next answer. */
static void note_role(struct server *server, const char *name, const char *value)
{
    if (strcmp(name, "in_hot_standby") == 0)
        server->in_hot_standby = told(value);
    else if (strcmp(name, "default_transaction_read_only") == 0)
        server->read_only = told(value);
}

bool server_read_parameter_status(struct server *server, const uint8_t *body, size_t size,
                                  int *ret_place)
{
    struct message_reader reader = message_reader_of(body, size);
    const char *name = message_read_text(&reader);
    const char *value = message_read_text(&reader);
    *ret_place = -1;
    if (reader.broken || message_bytes_left(&reader) != 0)
        return false;
    *ret_place = tracked_names_find(server->tracked, name);
    if (*ret_place >= (int) server->tracked->reported)
        *ret_place = -1; /* only what we set ourselves counts */
    if (*ret_place >= 0)
        parameters_set(&server->parameters, (unsigned) *ret_place, value);
    else
        note_role(server, name, value);
    return true;
}

static void handle_parameter_status(struct server *server, const struct collected_message *message)
{
    struct server_login *login = server->login;
    int place;
    login->parameters_size += message->size;
    if (!login->authenticated || login->parameters_size > LOGIN_PARAMETERS_MAX ||
        !server_read_parameter_status(server, message->body, message->size, &place)) {
        fail(server, "broken ParameterStatus packet");
        return;
    }
    if (place < 0) {
        size_t mark = message_begin(&login->parameters, 'S');
        message_add_bytes(&login->parameters, message->body, message->size);
        message_end(&login->parameters, mark);
    }
}

/* An older server tells which minor version it speaks. We ask for no extensions. */
static void handle_negotiation(struct server *server, const struct collected_message *message)
{
    struct server_login *login = server->login;
    struct message_reader reader = message_reader_of(message->body, message->size);
    uint32_t version = message_read_int32(&reader);
    uint32_t refused = message_read_int32(&reader);
    if (reader.broken || message_bytes_left(&reader) != 0 || refused != 0 || login->authenticated ||
        (version >= PROTOCOL_3_0 ? version - PROTOCOL_3_0 : version) >= login->minor_version) {
        fail(server, "unknown pkt from server");
        return;
    }
    /* PostgreSQL before 11 tells the minor version alone. */
    login->minor_version = version >= PROTOCOL_3_0 ? version - PROTOCOL_3_0 : version;
}

/* A process id and a secret; in protocol 3.2 secrets of up to 256 bytes. */
static void handle_key(struct server *server, const struct collected_message *message)
{
    if (message->size < CANCEL_KEY_SIZE_3_0 || message->size > CANCEL_KEY_MAX) {
        fail(server, "bad cancel key");
        return;
    }
    memcpy(server->cancel_key, message->body, message->size);
    server->cancel_key_size = (uint16_t) message->size;
}

static void handle_ready(struct server *server, const struct collected_message *message)
{
    struct server_login *login = server->login;
    if (!login->authenticated || message->size != 1 || message->body[0] != 'I') {
        fail(server, "unexpected transaction status after login");
        return;
    }
    login->complete = true;
    server->transaction_status = 'I';
    server->ready = true;
    if (login->connect_query != NULL)
        server_run_errand(server, ERRAND_CONNECT, login->connect_query, 0);
    else
        server->ops->logged_in(server);
}

void server_login_message(struct server *server, const struct collected_message *message)
{
    switch (message->type) {
    case 'R':
        handle_authentication(server, message);
        return;
    case 'S':
        handle_parameter_status(server, message);
        return;
    case 'v':
        handle_negotiation(server, message);
        return;
    case 'K':
        handle_key(server, message);
        return;
    case 'Z':
        handle_ready(server, message);
        return;
    case 'E':
        handle_error(server, message);
        return;
    case 'N':
        return;
    default:
        fail(server, "unknown pkt from server");
        return;
    }
}

void server_login_destroy(struct server_login *login)
{
    if (login == NULL)
        return;
    resolver_cancel(&login->query);
    scram_key_request_cancel(&login->key_request);
    server_auth_destroy(login->auth);
    tls_context_give_back(login->tls.context);
    buffer_wipe(&login->startup_packet);
    buffer_release(&login->parameters);
    free(login->connect_query);
    free(login);
}
