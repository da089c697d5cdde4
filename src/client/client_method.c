/*
 * client_method.c - how a client has to prove who it is: the settings or the first HBA rule that fits,
 * and what the connection itself proves (peer, certificate).
 *
 * SPDX-License-Identifier: ISC
 */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/ldap_auth.h"
#include "base/memory.h"
#include "client/client_login.h"
#include "config/hba.h"
#include "config/ident.h"
#include "net/tls.h"

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
                              .physical_replication = client->replication == REPLICATION_PHYSICAL,
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

static enum auth_verdict begin_conversation(struct client *client, enum auth_method method,
                                            struct buffer *ret_request,
                                            struct failure *ret_failure)
{
    static const struct secret none;
    const struct secret *first, *second;
    struct client_login *login = client->login;
    struct scram_binding binding;
    find_secrets(client, &first, &second);
    login->auth = client_auth_create(
        method, client->user_name, client->user != NULL, first != NULL ? first : &none,
        (uint32_t) settings_current()->scram_iterations, client->clients->pools->key_cache);
    if (second != NULL)
        client_auth_add_secret(login->auth, second);
    binding.size = tls_server_end_point(&client->connection, binding.end_point);
    client_auth_bind(login->auth, &binding);
    return client_auth_begin(login->auth, ret_request, ret_failure);
}

static void begin_authentication(struct client *client)
{
    struct buffer request = {0};
    struct failure failure = {0};
    struct demand demand = {.method = AUTH_ANY};

    if (client->console_role == CONSOLE_ADMIN && client_is_owner_of_process(client))
        log_info(&client->subject, "pgbouncer access from unix socket");
    else if (!find_demand(client, &demand) || !prepare(client, &demand))
        return;
    enum auth_verdict verdict = client_auth_decide(demand.method, client->user != NULL, &failure);
    if (verdict == AUTH_CONTINUE)
        verdict = begin_conversation(client, demand.method, &request, &failure);
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

void client_begin_authentication(struct client *client)
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
