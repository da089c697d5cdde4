/*
 * entries.c - the lines of [databases], [users] and [peers].
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/entries.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/intern.h"
#include "base/memory.h"
#include "base/text.h"
#include "config/connect_string.h"

/* What a number means when it is not positive. */
enum key_kind {
    KEY_TEXT,
    KEY_SECRET,
    KEY_PORT,
    KEY_PORTS, /* a text, of which the first number is set, too */
    KEY_NOT_NEGATIVE, /* below 0: unset */
    KEY_POSITIVE,     /* 0 and below: unset */
    KEY_POOL_MODE,
    KEY_BALANCE,
    KEY_TARGET,
    KEY_SSLMODE,
    KEY_TLS_NEGOTIATION,
};

struct key {
    const char *name;
    enum key_kind kind;
    size_t offset;
};

#define DATABASE_KEY(name, kind, field) {name, kind, offsetof(struct config_database, field)}
#define USER_KEY(name, kind, field)     {name, kind, offsetof(struct config_user, field)}
#define PEER_KEY(name, kind, field)     {name, kind, offsetof(struct config_peer, field)}

static const struct key database_keys[] = {
    DATABASE_KEY("dbname", KEY_TEXT, dbname),
    DATABASE_KEY("host", KEY_TEXT, host),
    DATABASE_KEY("port", KEY_PORTS, ports),
    DATABASE_KEY("user", KEY_TEXT, user),
    DATABASE_KEY("password", KEY_SECRET, password),
    DATABASE_KEY("auth_user", KEY_TEXT, auth_user),
    DATABASE_KEY("auth_query", KEY_TEXT, auth_query),
    DATABASE_KEY("auth_dbname", KEY_TEXT, auth_dbname),
    DATABASE_KEY("pool_size", KEY_NOT_NEGATIVE, pool_size),
    DATABASE_KEY("min_pool_size", KEY_NOT_NEGATIVE, min_pool_size),
    DATABASE_KEY("reserve_pool_size", KEY_NOT_NEGATIVE, reserve_pool_size),
    DATABASE_KEY("reserve_pool", KEY_NOT_NEGATIVE, reserve_pool_size),
    DATABASE_KEY("pool_mode", KEY_POOL_MODE, pool_mode),
    DATABASE_KEY("max_db_connections", KEY_POSITIVE, max_db_connections),
    DATABASE_KEY("max_db_client_connections", KEY_POSITIVE, max_db_client_connections),
    DATABASE_KEY("server_lifetime", KEY_POSITIVE, server_lifetime),
    DATABASE_KEY("query_wait_timeout", KEY_NOT_NEGATIVE, query_wait_timeout),
    DATABASE_KEY("load_balance_hosts", KEY_BALANCE, load_balance_disable),
    DATABASE_KEY("target_session_attrs", KEY_TARGET, target_session_attrs),
    DATABASE_KEY("connect_query", KEY_TEXT, connect_query),
    DATABASE_KEY("client_encoding", KEY_TEXT, client_encoding),
    DATABASE_KEY("datestyle", KEY_TEXT, datestyle),
    DATABASE_KEY("timezone", KEY_TEXT, timezone),
    DATABASE_KEY("application_name", KEY_TEXT, application_name),
    DATABASE_KEY("server_tls_sslmode", KEY_SSLMODE, server_tls_sslmode),
    DATABASE_KEY("server_tls_negotiation", KEY_TLS_NEGOTIATION, server_tls_negotiation),
    DATABASE_KEY("server_tls_ca_file", KEY_TEXT, server_tls_ca_file),
    DATABASE_KEY("server_tls_cert_file", KEY_TEXT, server_tls_cert_file),
    DATABASE_KEY("server_tls_key_file", KEY_TEXT, server_tls_key_file),
    DATABASE_KEY("server_tls_protocols", KEY_TEXT, server_tls_protocols),
    DATABASE_KEY("server_tls_ciphers", KEY_TEXT, server_tls_ciphers),
    DATABASE_KEY("server_tls13_ciphers", KEY_TEXT, server_tls13_ciphers),
};

static const struct key user_keys[] = {
    USER_KEY("pool_mode", KEY_POOL_MODE, pool_mode),
    USER_KEY("pool_size", KEY_NOT_NEGATIVE, pool_size),
    USER_KEY("reserve_pool_size", KEY_NOT_NEGATIVE, reserve_pool_size),
    USER_KEY("max_user_connections", KEY_POSITIVE, max_user_connections),
    USER_KEY("max_user_client_connections", KEY_POSITIVE, max_user_client_connections),
    USER_KEY("query_timeout", KEY_POSITIVE, query_timeout),
    USER_KEY("query_wait_timeout", KEY_NOT_NEGATIVE, query_wait_timeout),
    USER_KEY("idle_transaction_timeout", KEY_POSITIVE, idle_transaction_timeout),
    USER_KEY("transaction_timeout", KEY_POSITIVE, transaction_timeout),
    USER_KEY("client_idle_timeout", KEY_POSITIVE, client_idle_timeout),
};

static const struct key peer_keys[] = {
    PEER_KEY("host", KEY_TEXT, host),
    PEER_KEY("port", KEY_PORT, port),
    PEER_KEY("pool_size", KEY_NOT_NEGATIVE, pool_size),
};

/* One line that is being read. */
struct line {
    void *object;
    const struct key *keys;
    size_t key_count;
    const char *what;    /* what the pairs are called: "connection string" */
    const char *unknown; /* what an unknown key is called */
    char problem[256];   /* with a pair that was not accepted; empty if there is none */
};

static bool complain(struct line *line, const char *what, const char *text)
{
    snprintf(line->problem, sizeof(line->problem), "%s: %s", what, text);
    return false;
}

static bool complain_unknown(struct line *line, const char *name)
{
    const char *nearest = NULL;
    unsigned smallest = 3;
    for (size_t i = 0; i < line->key_count; i++) {
        unsigned distance = text_edit_distance(name, line->keys[i].name);
        if (distance < smallest) {
            smallest = distance;
            nearest = line->keys[i].name;
        }
    }
    if (nearest == NULL)
        return complain(line, line->unknown, name);
    snprintf(line->problem, sizeof(line->problem), "%s: %.100s; did you mean \"%s\"?",
             line->unknown, name, nearest);
    return false;
}

static void set_text(char **field, const char *value)
{
    free(*field);
    *field = memory_copy_text(value);
}

static const char *const target_words[] = {[TARGET_ANY] = "any",
                                           [TARGET_READ_WRITE] = "read-write",
                                           [TARGET_READ_ONLY] = "read-only",
                                           [TARGET_PRIMARY] = "primary",
                                           [TARGET_STANDBY] = "standby",
                                           [TARGET_PREFER_STANDBY] = "prefer-standby"};

const char *target_session_attrs_name(enum target_session_attrs target)
{
    return target_words[target];
}

static bool read_target(const char *text, enum target_session_attrs *ret_target)
{
    for (size_t i = 0; i < countof(target_words); i++) {
        if (!text_equals_ignoring_case(text, target_words[i]))
            continue;
        *ret_target = (enum target_session_attrs) i;
        return true;
    }
    return false;
}

static bool is_text(const struct key *key)
{
    return key->kind == KEY_TEXT || key->kind == KEY_PORTS;
}

/* A comma list of ports; the first one is what an entry with one host has. */
static bool read_ports(const char *text, int *ret_first)
{
    char element[16];
    int first = 0;
    for (const char *next = text; next != NULL;) {
        size_t size = strcspn(next, ",");
        if (size >= sizeof(element))
            return false;
        memcpy(element, next, size);
        element[size] = '\0';
        int port = connect_string_number(element);
        if (port <= 0 || port > 65535)
            return false;
        first = first == 0 ? port : first;
        next = next[size] == ',' ? next + size + 1 : NULL;
    }
    *ret_first = first;
    return true;
}

static bool set_field(struct line *line, const struct key *key, const char *value)
{
    void *field = (char *) line->object + key->offset;
    int number = connect_string_number(value);
    enum pool_mode mode;
    enum sslmode sslmode;
    enum tls_negotiation negotiation;
    switch (key->kind) {
    case KEY_TEXT:
        set_text(field, value);
        break;
    case KEY_SECRET:
        secret_set(field, value, strlen(value));
        break;
    case KEY_PORT:
        if (number <= 0 || number > 65535)
            return complain(line, "invalid port", value);
        *(int *) field = number;
        break;
    case KEY_PORTS:
        if (!read_ports(value, &((struct config_database *) line->object)->port))
            return complain(line, "invalid port", value);
        set_text(field, value);
        break;
    case KEY_NOT_NEGATIVE:
        *(int *) field = number < 0 ? CONFIG_UNSET : number;
        break;
    case KEY_POSITIVE:
        *(int *) field = number <= 0 ? CONFIG_UNSET : number;
        break;
    case KEY_POOL_MODE:
        if (!pool_mode_read(value, &mode))
            return complain(line, "invalid pool mode", value);
        *(int *) field = (int) mode;
        break;
    case KEY_BALANCE:
        *(bool *) field = text_equals_ignoring_case(value, "disable");
        if (!*(bool *) field && !text_equals_ignoring_case(value, "round-robin"))
            return complain(line, "invalid load_balance_hosts", value);
        break;
    case KEY_TARGET:
        if (!read_target(value, field))
            return complain(line, "invalid target_session_attrs", value);
        break;
    case KEY_SSLMODE:
        if (!sslmode_read(value, &sslmode))
            return complain(line, "invalid server_tls_sslmode", value);
        *(int *) field = (int) sslmode;
        break;
    case KEY_TLS_NEGOTIATION:
        if (!tls_negotiation_read(value, &negotiation))
            return complain(line, "invalid server_tls_negotiation", value);
        *(int *) field = (int) negotiation;
        break;
    }
    return true;
}

static bool accept_pair(void *argument, const char *key, const char *value)
{
    struct line *line = argument;
    for (size_t i = 0; i < line->key_count; i++)
        if (strcmp(line->keys[i].name, key) == 0)
            return set_field(line, &line->keys[i], value);
    return complain_unknown(line, key);
}

/* Reads the pairs into the object; false with an error in the report. */
static bool read_pairs(struct line *line, const char *name, const char *value, struct place place,
                       struct config_report *report)
{
    const char *problem = connect_string_read(value, accept_pair, line);
    if (problem != NULL)
        report_error(report, place, "\"%s\": syntax error in %s: %s", name, line->what, problem);
    else if (line->problem[0] != '\0')
        report_error(report, place, "\"%s\": %s", name, line->problem);
    return problem == NULL && line->problem[0] == '\0';
}

/* ---- databases ---- */

void config_database_destroy(struct config_database *database)
{
    if (database == NULL)
        return;
    for (size_t i = 0; i < countof(database_keys); i++) {
        char *field = (char *) database + database_keys[i].offset;
        if (is_text(&database_keys[i])) {
            free(*(char **) (void *) field);
            *(char **) (void *) field = NULL;
        }
    }
    secret_release(&database->password);
    intern_give_back(database->file);
    free(database->name);
    free(database);
}

static struct config_database *create_database(const char *name, struct place place)
{
    struct config_database *database = memory_new(sizeof(*database));
    *database = (struct config_database){
        .name = memory_copy_text(name),
        .port = 5432,
        .pool_size = CONFIG_UNSET,
        .min_pool_size = CONFIG_UNSET,
        .reserve_pool_size = CONFIG_UNSET,
        .pool_mode = CONFIG_UNSET,
        .max_db_connections = CONFIG_UNSET,
        .max_db_client_connections = CONFIG_UNSET,
        .server_lifetime = CONFIG_UNSET,
        .query_wait_timeout = CONFIG_UNSET,
        .server_tls_sslmode = CONFIG_UNSET,
        .server_tls_negotiation = CONFIG_UNSET,
        .file = intern_share(place.file),
        .line = place.line,
    };
    return database;
}

struct config_database *config_database_copy(const struct config_database *from, const char *name)
{
    struct config_database *copy = memory_new(sizeof(*copy));
    *copy = *from;
    copy->name = memory_copy_text(name);
    copy->file = intern_share(from->file);
    copy->password = (struct secret){0};
    secret_copy(&copy->password, &from->password);
    memset(&copy->hh, 0, sizeof(copy->hh));
    for (size_t i = 0; i < countof(database_keys); i++) {
        char **field = (char **) (void *) ((char *) copy + database_keys[i].offset);
        if (is_text(&database_keys[i]))
            *field = memory_copy_text(*field);
    }
    return copy;
}

static unsigned count_elements(const char *list)
{
    unsigned count = 1;
    for (; *list != '\0'; list++)
        count += *list == ',';
    return count;
}

/* One port for all hosts, or one for each. */
static bool ports_fit_hosts(const struct config_database *database, struct place place,
                            struct config_report *report)
{
    unsigned ports = database->ports != NULL ? count_elements(database->ports) : 1;
    unsigned hosts = database->host != NULL ? count_elements(database->host) : 1;
    if (ports != 1 && ports != hosts)
        report_error(report, place, "\"%s\": %u ports for %u hosts: give one for all, or one for each",
                     database->name, ports, hosts);
    return ports == 1 || ports == hosts;
}

void entries_add_database(struct config *config, const char *name, const char *value,
                          struct place place, struct config_report *report)
{
    struct config_database *database, *old;
    struct line line = {.keys = database_keys,
                        .key_count = countof(database_keys),
                        .what = "connection string",
                        .unknown = "unrecognized connection parameter"};
    if (strcmp(name, CONSOLE_DATABASE) == 0) {
        report_error(report, place, "database name \"%s\" is reserved", name);
        return;
    }
    if (strlen(name) > DATABASE_NAME_MAX || name[0] == '\0') {
        report_error(report, place, name[0] == '\0' ? "a database needs a name%s" : "too long db name: %s",
                     name);
        return;
    }
    database = create_database(name, place);
    line.object = database;
    if (!read_pairs(&line, name, value, place, report) ||
        !ports_fit_hosts(database, place, report)) {
        config_database_destroy(database);
    } else if (strcmp(name, "*") == 0) {
        config_database_destroy(config->fallback);
        config->fallback = database;
    } else {
        HASH_REPLACE(hh, config->databases, name[0], strlen(database->name), database, old);
        config_database_destroy(old);
    }
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool config_database_needs_reconnect(const struct config_database *a,
                                     const struct config_database *b)
{
    return !same_text(a->dbname, b->dbname) || !same_text(a->host, b->host) ||
           !same_text(a->ports, b->ports) ||
           !same_text(a->user, b->user) || !same_text(a->connect_query, b->connect_query) ||
           !same_text(a->auth_dbname, b->auth_dbname) || !same_text(a->auth_query, b->auth_query) ||
           a->load_balance_disable != b->load_balance_disable ||
           a->target_session_attrs != b->target_session_attrs;
}

bool config_database_tls_differs(const struct config_database *a, const struct config_database *b)
{
    return a->server_tls_sslmode != b->server_tls_sslmode ||
           a->server_tls_negotiation != b->server_tls_negotiation ||
           !same_text(a->server_tls_ca_file, b->server_tls_ca_file) ||
           !same_text(a->server_tls_cert_file, b->server_tls_cert_file) ||
           !same_text(a->server_tls_key_file, b->server_tls_key_file) ||
           !same_text(a->server_tls_protocols, b->server_tls_protocols) ||
           !same_text(a->server_tls_ciphers, b->server_tls_ciphers) ||
           !same_text(a->server_tls13_ciphers, b->server_tls13_ciphers);
}

/* ---- users ---- */

static void destroy_user(struct config_user *user)
{
    if (user == NULL)
        return;
    free(user->name);
    free(user);
}

void entries_add_user(struct config *config, const char *name, const char *value,
                      struct place place, struct config_report *report)
{
    struct config_user *user, *old;
    struct line line = {.keys = user_keys,
                        .key_count = countof(user_keys),
                        .what = "user settings",
                        .unknown = "unrecognized user parameter"};
    if (strlen(name) > USER_NAME_MAX) {
        report_warning(report, place, "nobody can have a name of %zu bytes: the line is ignored",
                       strlen(name));
        return;
    }
    user = memory_new(sizeof(*user));
    *user = (struct config_user){.name = memory_copy_text(name),
                                 .pool_size = CONFIG_UNSET,
                                 .reserve_pool_size = CONFIG_UNSET,
                                 .pool_mode = CONFIG_UNSET,
                                 .max_user_connections = CONFIG_UNSET,
                                 .max_user_client_connections = CONFIG_UNSET,
                                 .query_timeout = CONFIG_UNSET,
                                 .query_wait_timeout = CONFIG_UNSET,
                                 .idle_transaction_timeout = CONFIG_UNSET,
                                 .transaction_timeout = CONFIG_UNSET,
                                 .client_idle_timeout = CONFIG_UNSET};
    line.object = user;
    if (!read_pairs(&line, name, value, place, report)) {
        destroy_user(user);
        return;
    }
    HASH_REPLACE(hh, config->users, name[0], strlen(user->name), user, old);
    destroy_user(old);
}

/* ---- peers ---- */

static void destroy_peer(struct config_peer *peer)
{
    if (peer == NULL)
        return;
    free(peer->host);
    free(peer);
}

void entries_add_peer(struct config *config, const char *name, const char *value,
                      struct place place, struct config_report *report)
{
    struct config_peer *peer, *old;
    struct line line = {.keys = peer_keys,
                        .key_count = countof(peer_keys),
                        .what = "connection string",
                        .unknown = "unrecognized connection parameter"};
    int64_t id;
    if (!text_parse_int(name, 1, 65535, &id)) {
        report_error(report, place,
                     "ids of peers must be a number larger than 0 and at most 65536: \"%s\"", name);
        return;
    }
    peer = memory_new(sizeof(*peer));
    *peer = (struct config_peer){.id = (int) id, .port = 6432, .pool_size = CONFIG_UNSET};
    line.object = peer;
    if (!read_pairs(&line, name, value, place, report)) {
        destroy_peer(peer);
        return;
    }
    if (peer->host == NULL) {
        report_error(report, place, "host was not provided for peer %d", peer->id);
        destroy_peer(peer);
        return;
    }
    HASH_REPLACE_INT(config->peers, id, peer, old);
    destroy_peer(old);
}

void entries_release(struct config *config)
{
    struct config_database *database, *next_database;
    struct config_user *user, *next_user;
    struct config_peer *peer, *next_peer;
    HASH_ITER(hh, config->databases, database, next_database)
    {
        HASH_DEL(config->databases, database);
        config_database_destroy(database);
    }
    config_database_destroy(config->fallback);
    HASH_ITER(hh, config->users, user, next_user)
    {
        HASH_DEL(config->users, user);
        destroy_user(user);
    }
    HASH_ITER(hh, config->peers, peer, next_peer)
    {
        HASH_DEL(config->peers, peer);
        destroy_peer(peer);
    }
}
