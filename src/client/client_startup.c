/*
 * client_startup.c - what a StartupMessage asks for: parameters, database, user.
 *
 * The order of the checks is PgBouncer's (compat, "Order of events on a new client connection"): an
 * unknown database is told only after authentication, the limits count before it.
 *
 * SPDX-License-Identifier: ISC
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <utlist.h>

#include "base/intern.h"
#include "base/memory.h"
#include "base/text.h"
#include "client/client_login.h"
#include "net/tls.h"
#include "wire/message.h"

/* Longest application_name, decorated or not. */
#define APPLICATION_NAME_MAX 400

/* What is gathered from the packet; the texts borrow it. */
struct startup {
    struct client *client;
    const char *user, *database, *options;
    unsigned unsupported_count; /* names that begin with _pq_. */
};

/* "app - 10.0.0.7:40112": tells where the application runs. */
static void set_application_name_with_host(struct client *client, const char *name)
{
    char text[APPLICATION_NAME_MAX];
    char address[ADDRESS_TEXT_SIZE];
    char host[128] = "";
    const struct address *peer = &client->connection.peer;
    if (peer->family == AF_UNIX) {
        (void) gethostname(host, sizeof(host) - 1);
        snprintf(address, sizeof(address), "unix(%d@%s):%u", (int) peer->unix_pid, host,
                 peer->port);
    } else {
        address_print(peer, address, sizeof(address));
    }
    snprintf(text, sizeof(text), "%s - %s", name != NULL ? name : "app", address);
    parameters_set(&client->parameters, TRACKED_APPLICATION_NAME, text);
}

/* `name` is NULL before one is given. */
static void set_application_name(struct client *client, const char *name)
{
    if (settings_current()->application_name_add_host)
        set_application_name_with_host(client, name);
    else if (name != NULL)
        parameters_set(&client->parameters, TRACKED_APPLICATION_NAME, name);
}

static bool accept_option(void *argument, const char *name, const char *value,
                          struct failure *ret_failure)
{
    struct client *client = argument;
    const char *ignored = settings_current()->ignore_startup_parameters;
    int place = tracked_names_find(&client->clients->pools->tracked, name);
    if (place >= 0) {
        parameters_set(&client->parameters, (unsigned) place, value);
        return true;
    }
    if (text_list_contains(ignored, name) || text_list_contains(ignored, "options"))
        return true;
    log_warn(&client->subject, "unsupported startup parameter in options: %s=%s", name, value);
    failure_set(ret_failure, "unsupported startup parameter in options: %s", name);
    return false;
}

static bool refuse_parameter(const struct client *client, const char *name, const char *value,
                             struct failure *ret_failure)
{
    log_warn(&client->subject, "unsupported startup parameter: %s=%s", name, value);
    failure_set(ret_failure, "unsupported startup parameter: %s", name);
    return false;
}

/* What is to be set in the session, or may be left out. */
static bool take_session_parameter(struct client *client, const char *name, const char *value,
                                   struct failure *ret_failure)
{
    int place = tracked_names_find(&client->clients->pools->tracked, name);
    if (place == TRACKED_APPLICATION_NAME)
        set_application_name(client, value);
    else if (place >= 0)
        parameters_set(&client->parameters, (unsigned) place, value);
    else if (!text_list_contains(settings_current()->ignore_startup_parameters, name))
        return refuse_parameter(client, name, value, ret_failure);
    return true;
}

static bool take_replication(struct client *client, const char *value, struct failure *ret_failure)
{
    if (startup_read_replication(value, &client->replication))
        return true;
    log_warn(&client->subject, "unsupported startup parameter: replication=%s", value);
    failure_set(ret_failure, "invalid value for parameter \"replication\": \"%s\"", value);
    return false;
}

/* For replication they are the server's affair; of others it would know nothing. */
static bool take_options(struct client *client, const char *options, struct failure *ret_failure)
{
    if (options == NULL)
        return true;
    if (client->replication == REPLICATION_NONE)
        return startup_read_options(options, accept_option, client, ret_failure);
    client->login->options = memory_copy_text(options);
    return true;
}

static bool take_parameter(struct startup *startup, const struct startup_parameter *parameter,
                           struct failure *ret_failure)
{
    struct client *client = startup->client;
    const char *name = parameter->name, *value = parameter->value;

    if (strcmp(name, "user") == 0) {
        startup->user = value;
    } else if (strcmp(name, "database") == 0) {
        startup->database = value;
    } else if (strcmp(name, "options") == 0) {
        startup->options = value;
    } else if (strcmp(name, "replication") == 0) {
        return take_replication(client, value, ret_failure);
    } else if (strncmp(name, "_pq_.", 5) == 0) {
        startup->unsupported_count++;
    } else {
        return take_session_parameter(client, name, value, ret_failure);
    }
    return true;
}

static bool take_parameters(struct startup *startup, const struct startup_parameters *parameters,
                            struct failure *ret_failure)
{
    struct client *client = startup->client;
    set_application_name(client, NULL);
    for (size_t i = 0; i < parameters->count; i++)
        if (!take_parameter(startup, &parameters->items[i], ret_failure))
            return false;
    if (!take_options(client, startup->options, ret_failure))
        return false;
    if (startup->user == NULL || startup->user[0] == '\0') {
        failure_set(ret_failure, "no username supplied");
        return false;
    }
    if (startup->database == NULL || startup->database[0] == '\0')
        startup->database = startup->user;
    client->user_name = intern_take(startup->user);
    client->database_name = intern_take(startup->database);
    if (strlen(startup->user) > USER_NAME_MAX) {
        failure_set(ret_failure, "username too long");
        return false;
    }
    return true;
}

/* Tells, once, what is spoken where the client asked for a newer version or unknown extensions. */
static void negotiate_version(struct client *client, const struct startup_parameters *parameters,
                              unsigned unsupported_count)
{
    struct buffer out = {0};
    size_t mark = message_begin(&out, 'v');
    message_add_int32(&out, PROTOCOL_3_0 + client->login->minor_version);
    message_add_int32(&out, unsupported_count);
    for (size_t i = 0; i < parameters->count; i++)
        if (strncmp(parameters->items[i].name, "_pq_.", 5) == 0)
            message_add_text(&out, parameters->items[i].name);
    message_end(&out, mark);
    connection_send_last(&client->connection, out.data, out.size);
    buffer_release(&out);
}

#define TOO_MANY "no more connections allowed (max_client_conn)"

/* The oldest client but one of those who have not authenticated; who has said nothing goes first. */
static struct client *find_evictable(const struct clients *clients, const struct client *spared)
{
    struct client *other;
    DL_FOREACH(clients->logging_in, other) {
        if (other != spared && other->login->stage == LOGIN_STARTUP)
            return other;
    }
    DL_FOREACH(clients->logging_in, other) {
        if (other != spared && other->login->stage == LOGIN_AUTHENTICATING)
            return other;
    }
    return NULL;
}

bool clients_make_room(struct clients *clients, const struct client *newcomer, unsigned limit)
{
    while (clients->count > limit) {
        struct client *evicted = find_evictable(clients, newcomer);
        if (evicted == NULL)
            return false;
        if (evicted->login->stage == LOGIN_STARTUP && newcomer->login->stage == LOGIN_STARTUP)
            client_close(evicted, NULL, NULL); /* health checks by the hundred: not worth a line */
        else if (evicted->login->stage == LOGIN_STARTUP)
            client_close(evicted, "silent, and max_client_conn is reached", NULL);
        else
            client_close(evicted, "not logged in, and max_client_conn is reached", TOO_MANY);
    }
    return true;
}

static bool check_client_limit(struct client *client, bool console, struct failure *ret_failure)
{
    int limit = settings_current()->max_client_conn;
    if (console || clients_make_room(client->clients, client, limit > 0 ? (unsigned) limit : 0))
        return true;
    failure_set(ret_failure, TOO_MANY);
    return false;
}

/* ---- console ---- */

bool client_is_owner_of_process(const struct client *client)
{
    uid_t uid;
    return connection_peer_uid(&client->connection, &uid) && uid == geteuid() &&
           strcmp(client->user_name, CONSOLE_DATABASE) == 0;
}

static enum console_role console_role_of(const struct client *client, const char *user)
{
    const struct settings *settings = settings_current();
    if (text_list_contains(settings->admin_users, user))
        return CONSOLE_ADMIN;
    if (text_list_contains(settings->stats_users, user))
        return CONSOLE_STATS;
    /* With auth_type=any there is no telling people apart: everybody may look. */
    return settings->auth_type == AUTH_TYPE_ANY && client->database->console ? CONSOLE_STATS
                                                                            : CONSOLE_NONE;
}

/* ---- users and limits ---- */

static bool count_database(struct client *client, bool exempt, struct failure *ret_failure)
{
    unsigned limit = database_max_clients(client->database);
    if (!exempt && limit > 0 && client->database->client_count >= limit) {
        failure_set(ret_failure, "client connections exceeded (max_db_client_connections)");
        return false;
    }
    database_count_client(client->database, 1);
    client->counted_database = true;
    return true;
}

static bool count_user(struct client *client, bool exempt, struct failure *ret_failure)
{
    unsigned limit = user_max_clients(client->user);
    if (!exempt && limit > 0 && client->user->client_count >= limit) {
        failure_set(ret_failure, "client connections exceeded (max_user_client_connections)");
        return false;
    }
    client->user->client_count++;
    client->counted_user = true;
    return true;
}

/* Limits do not keep an administrator from the console. */
static bool is_exempt(const struct client *client)
{
    return client->database != NULL && client->database->console &&
           client->console_role == CONSOLE_ADMIN;
}

/* Does auth_type leave it to PAM or LDAP, whoever the client is? */
static bool all_are_outside(void)
{
    enum auth_type type = settings_current()->auth_type;
    return type == AUTH_TYPE_PAM || type == AUTH_TYPE_LDAP;
}

/*
 * PAM or LDAP knows the users, whoever asks. There is no struct user before the password is right,
 * so that names that were only tried do not pile up.
 */
static bool find_outside_user(struct client *client, struct failure *ret_failure)
{
    const struct database *database = client->database;
    if (database != NULL && !database->console && auth_query_user(database) != NULL) {
        log_error(&client->subject, "auth_type %s cannot be used together with auth_user",
                  settings_current()->auth_type == AUTH_TYPE_PAM ? "pam" : "ldap");
        failure_set(ret_failure, "bouncer config error");
        return false;
    }
    client->user = pools_find_user(client->clients->pools, client->user_name);
    return true;
}

bool client_take_user(struct client *client, struct failure *ret_failure)
{
    if (client->user != NULL)
        return true;
    client->user = pools_get_user(client->clients->pools, client->user_name);
    return count_user(client, is_exempt(client), ret_failure);
}

/* A user is known if he has an entry in auth_file, or where the entry decides who he is. */
static bool find_user(struct client *client, struct failure *ret_failure)
{
    struct pools *pools = client->clients->pools;
    const char *name = client->user_name;
    if (client->console_role == CONSOLE_ADMIN && client_is_owner_of_process(client)) {
        client->user = pools_get_user(pools, name);
        return true;
    }
    if (settings_current()->auth_type == AUTH_TYPE_ANY) {
        const struct database *database = client->database;
        if (database == NULL)
            return true; /* refused after the login; a name that means nothing makes no user */
        if (database->console) {
            name = CONSOLE_DATABASE;
        } else if (database->config->user != NULL) {
            name = database->config->user;
        } else {
            log_error(&client->subject, "auth_type=any requires forced user");
            failure_set(ret_failure, "bouncer config error");
            return false;
        }
        intern_give_back(client->user_name);
        client->user_name = intern_take(name);
        client->user = pools_get_user(pools, name);
        return true;
    }
    if (all_are_outside())
        return find_outside_user(client, ret_failure);
    if (config_find_secret(config_current(), name) != NULL)
        client->user = pools_get_user(pools, name);
    else
        log_info(&client->subject, "no such user: %s", name);
    return true;
}

/* ---- when it is known who the user is ---- */

static void log_login_attempt(const struct client *client)
{
    char tls[TLS_DESCRIPTION_SIZE];
    tls_describe(&client->connection, tls, sizeof(tls));
    log_info(&client->subject, "login attempt: db=%s user=%s tls=%s replication=%s",
             client->database_name, client->user_name, tls[0] != '\0' ? tls : "no",
             client->replication == REPLICATION_NONE      ? "no"
             : client->replication == REPLICATION_LOGICAL ? "database"
                                                          : "yes");
}

/* What is left when it is known who the user is: up to the first authentication request. */
static bool admit_user(struct client *client, struct failure *ret_failure)
{
    if (client->user != NULL && !count_user(client, is_exempt(client), ret_failure))
        return false;
    if (settings_current()->log_connections)
        log_login_attempt(client);
    bool may_be_known = client->user != NULL || all_are_outside();
    if (client->database != NULL && client->database->console && may_be_known &&
        client->console_role == CONSOLE_NONE) {
        failure_set(ret_failure, "not allowed");
        return false;
    }
    return true;
}

/* ---- users who are not in auth_file ---- */

static bool needs_query(const struct client *client)
{
    enum auth_type type = settings_current()->auth_type;
    const struct secret *own;
    if (type == AUTH_TYPE_ANY || type == AUTH_TYPE_PAM || type == AUTH_TYPE_LDAP ||
        client->database == NULL || auth_query_user(client->database) == NULL ||
        (client->console_role == CONSOLE_ADMIN && client_is_owner_of_process(client)))
        return false;
    own = config_find_secret(config_current(), client->user_name);
    return own == NULL || secret_is_empty(own);
}

static void go_on(struct client *client, struct failure *failure)
{
    if (admit_user(client, failure))
        client_begin_authentication(client);
    else
        client_close(client, failure->message, failure->message);
}

/* The words are ours, or those of the server that would not let auth_user in. */
static void refuse_with_failure(struct client *client, const struct failure *failure)
{
    if (strcmp(failure->sqlstate, SQLSTATE_PROTOCOL_VIOLATION) == 0)
        client_close(client, failure->message, failure->message);
    else
        client_close_with_failure(client, failure);
}

static void on_query_answered(struct auth_request *request)
{
    struct client_login *login = container_of(request, struct client_login, query);
    struct client *client = login->client;
    if (request->answer == AUTH_ANSWER_FAILED) {
        refuse_with_failure(client, &request->failure);
        return;
    }
    if (request->answer == AUTH_ANSWER_NO_USER) {
        log_info(&client->subject, "no such user: %s", client->user_name);
        client_close(client, "no such user", "no such user");
        return;
    }
    intern_give_back(client->user_name);
    client->user_name = intern_share(request->user_name);
    client->user = pools_get_user(client->clients->pools, client->user_name);
    if (client->database->console) /* what the name that he gave may do is of no account any more */
        client->console_role = console_role_of(client, client->user_name);
    login->stage = LOGIN_AUTHENTICATING;
    client_login_limit_login(client);
    go_on(client, &request->failure);
    if (client->state == CLIENT_LOGIN)
        client_login_resume(client);
}

static void ask_for_user(struct client *client)
{
    struct client_login *login = client->login;
    login->stage = LOGIN_ASKING;
    login->query.answered = on_query_answered;
    client_login_limit_wait(client);
    auth_query_ask(client->clients->pools, client->database, client->user_name, &login->query);
}

/* ---- the startup packet ---- */

/* Everything that does not depend on the user; false with a failure to be told. */
static bool admit(struct client *client, const struct startup *startup,
                  struct failure *ret_failure)
{
    bool console = strcmp(startup->database, CONSOLE_DATABASE) == 0;
    if (!check_client_limit(client, console, ret_failure))
        return false;
    client->database = pools_find_database(client->clients->pools, startup->database, true);
    if (console) {
        client->replication = REPLICATION_NONE; /* there is nothing to replicate */
        client->console_role =
            client_is_owner_of_process(client) ? CONSOLE_ADMIN : console_role_of(client, startup->user);
    }
    return client->database == NULL || count_database(client, is_exempt(client), ret_failure);
}

void client_handle_startup(struct client *client, const uint8_t *packet,
                           const struct startup_packet *header)
{
    struct startup startup = {.client = client};
    struct startup_parameters parameters;
    struct failure failure = {0};
    bool good = startup_read_parameters(packet + 8, header->size - 8, &parameters, &failure) &&
                take_parameters(&startup, &parameters, &failure) &&
                admit(client, &startup, &failure);
    client->login->minor_version = header->minor_version < PROTOCOL_MINOR_NEWEST
                                       ? header->minor_version
                                       : PROTOCOL_MINOR_NEWEST;
    if (good && (header->minor_version > PROTOCOL_MINOR_NEWEST || startup.unsupported_count > 0))
        negotiate_version(client, &parameters, startup.unsupported_count);
    startup_parameters_release(&parameters);
    if (good && needs_query(client))
        ask_for_user(client);
    else if (good && find_user(client, &failure))
        go_on(client, &failure);
    else
        client_close(client, failure.message, failure.message);
}
