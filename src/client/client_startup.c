/*
 * client_startup.c - what a StartupMessage asks for: parameters, database, user, and the method by
 * which the user proves himself.
 *
 * The order of the checks is PgBouncer's (compat, "Order of events on a new client connection"): an
 * unknown database is told only after authentication, the limits count before it.
 *
 * SPDX-License-Identifier: ISC
 */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <utlist.h>

#include "auth/ldap_auth.h"
#include "base/intern.h"
#include "base/memory.h"
#include "base/text.h"
#include "client/client_login.h"
#include "config/hba.h"
#include "config/ident.h"
#include "net/tls.h"
#include "wire/message.h"

/* Longest application_name, decorated or not. */
#define APPLICATION_NAME_MAX 400

/* What is gathered from the packet; the texts borrow it. */
struct startup {
    struct client *client;
    const char *user, *database;
    unsigned unsupported_count; /* names that begin with _pq_. */
};

static bool is_true(const char *text)
{
    static const char *const words[] = {"true", "yes", "on", "1"};
    for (size_t i = 0; i < countof(words); i++)
        if (strncasecmp(words[i], text, strlen(text)) == 0 && text[0] != '\0' &&
            (strcasecmp(text, "o") != 0))
            return true;
    return false;
}

/* "app - 10.0.0.7:40112": tells where the application runs (application_name_add_host). */
static void set_application_name(struct client *client, const char *name)
{
    char text[APPLICATION_NAME_MAX];
    char address[ADDRESS_TEXT_SIZE];
    char host[128] = "";
    const struct address *peer = &client->connection.peer;
    if (!settings_current()->application_name_add_host) {
        if (name != NULL)
            parameters_set(&client->parameters, TRACKED_APPLICATION_NAME, name);
        return;
    }
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

static bool take_parameter(struct startup *startup, const struct startup_parameter *parameter,
                           struct failure *ret_failure)
{
    struct client *client = startup->client;
    const char *name = parameter->name, *value = parameter->value;
    int place = tracked_names_find(&client->clients->pools->tracked, name);

    if (strcmp(name, "user") == 0) {
        startup->user = value;
    } else if (strcmp(name, "database") == 0) {
        startup->database = value;
    } else if (strcmp(name, "options") == 0) {
        return startup_read_options(value, accept_option, client, ret_failure);
    } else if (strcmp(name, "replication") == 0) {
        /* Replication connections are never pooled with others; they come with their own issue. */
        if (is_true(value) || strcmp(value, "database") == 0)
            return refuse_parameter(client, name, value, ret_failure);
    } else if (strncmp(name, "_pq_.", 5) == 0) {
        startup->unsupported_count++;
    } else if (place == TRACKED_APPLICATION_NAME) {
        set_application_name(client, value);
    } else if (place >= 0) {
        parameters_set(&client->parameters, (unsigned) place, value);
    } else if (!text_list_contains(settings_current()->ignore_startup_parameters, name)) {
        return refuse_parameter(client, name, value, ret_failure);
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

static bool is_own_unix_client(const struct client *client)
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
    if (client->console_role == CONSOLE_ADMIN && is_own_unix_client(client)) {
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

/* ---- what the connection proves ---- */

/* Does whoever this is (`identity`) have that name? */
typedef bool has_name_fn(const void *identity, const char *name);

/* `identity`: the connection, whose certificate is looked at. */
static bool certificate_has_name(const void *identity, const char *name)
{
    return tls_peer_certificate_names(identity, name);
}

/* `identity`: the name of an operating system user. */
static bool is_that_name(const void *identity, const char *name)
{
    return strcmp(identity, name) == 0;
}

/* May somebody of these names log in as `user`? Without a map only under the same name. */
static bool may_log_in_as(const char *user, const struct ident_map *map, has_name_fn *has_name,
                          const void *identity)
{
    size_t position = 0;
    const char *name;
    if (map == NULL)
        return has_name(identity, user);
    while ((name = ident_next(map, user, &position)) != NULL)
        if (has_name(identity, name))
            return true;
    return false;
}

/* The name of the user whose process is at the other end; NULL if unknown. The caller frees. */
static char *os_user_of(const struct client *client)
{
    enum { SIZE = 65536 };
    struct passwd entry, *found = NULL;
    char *buffer, *name = NULL;
    uid_t uid;
    if (client->connection.peer.family != AF_UNIX ||
        !connection_peer_uid(&client->connection, &uid))
        return NULL;
    buffer = memory_new(SIZE);
    if (getpwuid_r(uid, &entry, buffer, SIZE, &found) == 0 && found != NULL)
        name = memory_copy_text(found->pw_name);
    free(buffer);
    return name;
}

/* What a client must pass. */
struct demand {
    enum auth_method method;
    const struct ident_map *map; /* borrows; NULL: the names must be the same */
    const char *ldap_options;    /* borrows; of AUTH_LDAP */
};

static void refuse_for_map(struct client *client, const char *message, const char *problem,
                           const struct ident_map *map)
{
    char text[160];
    if (map != NULL) {
        snprintf(text, sizeof(text), "ident map: %.100s does not have a match",
                 ident_map_name(map));
        problem = text;
    }
    client_refuse(client, message, problem);
}

/* Returns false after refusing the client. */
static bool check_peer(struct client *client, const struct ident_map *map)
{
    char *name = os_user_of(client);
    bool good = name != NULL && may_log_in_as(client->user_name, map, is_that_name, name);
    if (name == NULL)
        client_refuse(client, "unix socket login rejected",
                      client->connection.peer.family == AF_UNIX
                          ? "the system does not know the user at the other end"
                          : "peer works on Unix sockets only");
    else if (!good)
        refuse_for_map(client, "unix socket login rejected",
                       "the system user has another name", map);
    free(name);
    return good;
}

/* Returns false after refusing the client. */
static bool check_certificate(struct client *client, const struct ident_map *map)
{
    static const char message[] = "certificate authentication failed";
    const struct connection *connection = &client->connection;
    bool good = may_log_in_as(client->user_name, map, certificate_has_name, connection);
    if (!tls_is_established(connection))
        client_refuse(client, message, "TLS connection required");
    else if (!tls_has_peer_certificate(connection))
        client_refuse(client, message, "TLS client certificate required");
    else if (!good)
        refuse_for_map(client, message, "TLS certificate name mismatch", map);
    return good;
}

/* ---- the method ---- */

static const struct hba_rule *find_rule(const struct client *client)
{
    const struct address *peer = &client->connection.peer;
    struct hba_login login = {.database = client->database_name,
                              .user = client->user_name,
                              .tls = tls_is_established(&client->connection),
                              .family = peer->family};
    if (peer->family == AF_INET)
        login.ipv4 = peer->ipv4;
    else if (peer->family == AF_INET6)
        login.ipv6 = peer->ipv6;
    return config_current()->hba != NULL ? hba_match(config_current()->hba, &login) : NULL;
}

/* What the first rule that fits demands; returns false after refusing the client. */
static bool demand_by_rule(struct client *client, struct demand *ret_demand)
{
    static const enum auth_method methods[] = {
        [HBA_TRUST] = AUTH_TRUST, [HBA_MD5] = AUTH_MD5,   [HBA_PASSWORD] = AUTH_PLAIN,
        [HBA_PEER] = AUTH_PEER,   [HBA_CERT] = AUTH_CERT, [HBA_SCRAM] = AUTH_SCRAM,
        [HBA_LDAP] = AUTH_LDAP,
    };
    const struct hba_rule *rule = find_rule(client);
    char problem[80];
    if (rule == NULL) {
        client_refuse(client, "no authentication method is found",
                      "no line of auth_hba_file fits");
        return false;
    }
    snprintf(problem, sizeof(problem), "by line %u of auth_hba_file", rule->line);
    if (rule->method == HBA_REJECT || (rule->method == HBA_LDAP && !ldap_is_supported())) {
        client_refuse(client,
                      rule->method == HBA_REJECT ? "login rejected"
                                                 : "ldap is not supported by this build",
                      problem);
        return false;
    }
    *ret_demand = (struct demand){.method = methods[rule->method],
                                  .map = rule->map,
                                  .ldap_options = rule->ldap_options};
    return true;
}

/* What the settings demand of this client; returns false after refusing it. */
static bool find_demand(struct client *client, struct demand *ret_demand)
{
    *ret_demand = (struct demand){.method = AUTH_SCRAM};
    switch (settings_current()->auth_type) {
    case AUTH_TYPE_ANY:
        ret_demand->method = AUTH_ANY;
        break;
    case AUTH_TYPE_TRUST:
        ret_demand->method = AUTH_TRUST;
        break;
    case AUTH_TYPE_PLAIN:
        ret_demand->method = AUTH_PLAIN;
        break;
    case AUTH_TYPE_MD5:
        ret_demand->method = AUTH_MD5;
        break;
    case AUTH_TYPE_CERT:
        ret_demand->method = AUTH_CERT;
        break;
    case AUTH_TYPE_HBA:
        return demand_by_rule(client, ret_demand);
    case AUTH_TYPE_LDAP:
        ret_demand->method = AUTH_LDAP;
        ret_demand->ldap_options = settings_current()->auth_ldap_options;
        break;
    case AUTH_TYPE_PAM:
        ret_demand->method = AUTH_PAM;
        break;
    case AUTH_TYPE_SCRAM:
        break;
    }
    return true;
}

/* Kept with the login, so that a reload in mid login changes nothing. */
static bool take_ldap_options(struct client *client, const char *text)
{
    char *error = NULL;
    if (text == NULL || text[0] == '\0') {
        client_refuse(client, "auth_ldap_options is null", NULL);
        return false;
    }
    client->login->ldap = ldap_options_parse(text, &error);
    if (client->login->ldap == NULL) /* they were good when the configuration was loaded */
        client_refuse(client, "LDAP authentication failed", error);
    free(error);
    return client->state == CLIENT_LOGIN;
}

/* What can be settled before the first message; returns false after refusing the client. */
static bool prepare(struct client *client, const struct demand *demand)
{
    if (demand->method == AUTH_PEER)
        return check_peer(client, demand->map);
    if (demand->method == AUTH_LDAP)
        return take_ldap_options(client, demand->ldap_options);
    return demand->method != AUTH_CERT || check_certificate(client, demand->map);
}

/* From auth_query, if that was asked, or from auth_file; NULL if there is none. */
static const struct secret *known_secret(const struct client *client)
{
    const struct auth_request *query = &client->login->query;
    return query->user_name != NULL ? &query->secret
                                    : config_find_secret(config_current(), client->user_name);
}

/*
 * Two secrets of a user are both good. Where they cannot both be tried at once (two verifiers) they
 * are tried in turn: after a failure the older one comes first.
 */
static void find_secrets(const struct client *client, const struct secret **ret_first,
                         const struct secret **ret_second)
{
    bool queried = client->login->query.user_name != NULL;
    *ret_first = known_secret(client);
    *ret_second = queried ? NULL : config_find_older_secret(config_current(), client->user_name);
    if (*ret_second != NULL &&
        failed_logins_count(client->clients->failed_logins, &client->connection.peer,
                            client->user_name) % 2 == 1) {
        const struct secret *newer = *ret_first;
        *ret_first = *ret_second;
        *ret_second = newer;
    }
}

static void begin_authentication(struct client *client)
{
    static const struct secret none;
    const struct secret *first, *second;
    struct client_login *login = client->login;
    struct buffer request = {0};
    struct failure failure = {0};
    struct scram_binding binding;
    struct demand demand = {.method = AUTH_ANY};

    if (client->console_role == CONSOLE_ADMIN && is_own_unix_client(client))
        log_info(&client->subject, "pgbouncer access from unix socket");
    else if (!find_demand(client, &demand) || !prepare(client, &demand))
        return;
    find_secrets(client, &first, &second);
    login->auth = client_auth_create(
        demand.method, client->user_name, client->user != NULL, first != NULL ? first : &none,
        (uint32_t) settings_current()->scram_iterations, client->clients->pools->key_cache);
    if (second != NULL)
        client_auth_add_secret(login->auth, second);
    binding.size = tls_server_end_point(&client->connection, binding.end_point);
    client_auth_bind(login->auth, &binding);
    enum auth_verdict verdict = client_auth_begin(login->auth, &request, &failure);
    client_handle_verdict(client, verdict, &request, &failure);
}

static void on_delay_over(struct deadline *deadline)
{
    struct client *client = container_of(deadline, struct client_login, delay)->client;
    client->login->stage = LOGIN_AUTHENTICATING;
    begin_authentication(client);
    if (client->state == CLIENT_LOGIN)
        client_login_resume(client);
}

/* Guessing is slow: after failed logins the next one of that address and user waits first. */
static void begin_when_due(struct client *client)
{
    struct client_login *login = client->login;
    usec_t delay_us =
        failed_logins_delay_us(client->clients->failed_logins, &client->connection.peer,
                               client->user_name, settings_current()->auth_delay_max);
    if (delay_us == 0) {
        begin_authentication(client);
        return;
    }
    login->stage = LOGIN_DELAYED;
    login->delay.passed = on_delay_over;
    deadline_set(client->connection.loop, &login->delay, delay_us);
}

static void log_login_attempt(const struct client *client)
{
    char tls[TLS_DESCRIPTION_SIZE];
    tls_describe(&client->connection, tls, sizeof(tls));
    log_info(&client->subject, "login attempt: db=%s user=%s tls=%s replication=no",
             client->database_name, client->user_name, tls[0] != '\0' ? tls : "no");
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
    const struct secret *own = config_find_secret(config_current(), client->user_name);
    return type != AUTH_TYPE_ANY && type != AUTH_TYPE_PAM && type != AUTH_TYPE_LDAP &&
           client->database != NULL && auth_query_user(client->database) != NULL &&
           !(client->console_role == CONSOLE_ADMIN && is_own_unix_client(client)) &&
           (own == NULL || secret_is_empty(own));
}

static void go_on(struct client *client, struct failure *failure)
{
    if (admit_user(client, failure))
        begin_when_due(client);
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
    if (console)
        client->console_role =
            is_own_unix_client(client) ? CONSOLE_ADMIN : console_role_of(client, startup->user);
    return client->database == NULL || count_database(client, is_exempt(client), ret_failure);
}

void client_handle_startup(struct client *client, const uint8_t *packet,
                           const struct startup_packet *header)
{
    struct startup startup = {.client = client};
    struct startup_parameters parameters = {0};
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
