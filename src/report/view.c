/*
 * view.c - what can be shown: the columns, from views.def.
 *
 * For each column the compiler makes a small reading function from the expression in views.def.
 *
 * SPDX-License-Identifier: ISC
 */
#include "report/view.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/slab.h"
#include "base/text.h"
#include "net/tls.h"
#include "relay/session.h"
#include "report/rows.h"

/* ---- words that the expressions use ---- */

static const char *or_word(const char *text, const char *word)
{
    return text != NULL ? text : word;
}

static const char *host_text(struct view_context *at, const struct address *address)
{
    address_print_host(address, at->scratch, sizeof(at->scratch));
    return at->scratch;
}

static const char *local_host_text(struct view_context *at, const struct connection *connection)
{
    struct address local = connection_local_address(connection);
    return host_text(at, &local);
}

static unsigned local_port(const struct connection *connection)
{
    return connection_local_address(connection).port;
}

static const char *time_text(struct view_context *at, usec_t monotonic_us)
{
    time_t seconds = (time_t) (clock_wall_us(monotonic_us) / USEC_PER_SEC);
    struct tm broken_down;
    localtime_r(&seconds, &broken_down);
    if (strftime(at->scratch, sizeof(at->scratch), "%Y-%m-%d %H:%M:%S %Z", &broken_down) == 0)
        at->scratch[0] = '\0';
    return at->scratch;
}

static usec_t seconds_since(const struct view_context *at, usec_t start_us)
{
    return start_us == 0 ? 0 : (at->now_us - start_us) / USEC_PER_SEC;
}

static usec_t fraction_since(const struct view_context *at, usec_t start_us)
{
    return start_us == 0 ? 0 : (at->now_us - start_us) % USEC_PER_SEC;
}

static const char *pointer_text(struct view_context *at, const void *object)
{
    snprintf(at->scratch, sizeof(at->scratch), "%p", object);
    return at->scratch;
}

static const char *link_text(struct view_context *at, const void *object)
{
    return object != NULL ? pointer_text(at, object) : "";
}

static const char *server_link_text(struct view_context *at, const struct server *server)
{
    return server->session != NULL ? pointer_text(at, server->session->client) : "";
}

static const char *tls_text(struct view_context *at, const struct connection *connection)
{
    tls_describe(connection, at->scratch, sizeof(at->scratch));
    return at->scratch;
}

static int unix_pid(const struct connection *connection)
{
    return connection->peer.family == AF_UNIX ? (int) connection->peer.unix_pid : 0;
}

static int32_t server_pid(const struct server *server)
{
    uint32_t pid;
    if (server->connection.peer.family == AF_UNIX)
        return (int32_t) server->connection.peer.unix_pid;
    memcpy(&pid, server->cancel_key, sizeof(pid));
    return (int32_t) __builtin_bswap32(pid);
}

static const char *application_name(const struct parameters *parameters)
{
    return or_word(parameters->values[TRACKED_APPLICATION_NAME], "");
}

static usec_t client_wait_start(const struct client *client)
{
    return client->waiter.queued ? client->waiter.since_us : client->query_start_us;
}

static usec_t pool_wait_start(const struct pool *pool)
{
    return pool->waiters != NULL ? pool->waiters->since_us : 0;
}

static const char *balance_text(const struct config_database *config)
{
    if (config->host == NULL || strchr(config->host, ',') == NULL)
        return NULL;
    return config->load_balance_disable ? "disable" : "round-robin";
}

static int database_port(const struct database *database)
{
    return database->console ? settings_current()->listen_port : database->config->port;
}

static const char *database_force_user(const struct database *database)
{
    return database->console ? CONSOLE_DATABASE : database->config->user;
}

static const char *database_pool_mode(const struct database *database)
{
    int mode = database->config->pool_mode;
    return mode == CONFIG_UNSET ? NULL : pool_mode_name((enum pool_mode) mode);
}

static const char *user_pool_mode(const struct config_user *user)
{
    if (user == NULL || user->pool_mode == CONFIG_UNSET)
        return NULL;
    return pool_mode_name((enum pool_mode) user->pool_mode);
}

static const char *pause_target(const struct pause *pause)
{
    return pause->database != NULL
               ? target_session_attrs_name(pause->database->config->target_session_attrs)
               : NULL;
}

static const char *moment_text(struct view_context *at, usec_t monotonic_us)
{
    return monotonic_us != 0 ? time_text(at, monotonic_us) : NULL;
}

static const char *pause_timeout_text(struct view_context *at, const struct pause *pause)
{
    if (pause->timeout_us == 0)
        return NULL;
    snprintf(at->scratch, sizeof(at->scratch), "%g", (double) pause->timeout_us / USEC_PER_SEC);
    return at->scratch;
}

/* Right-aligned to nine places, as PgBouncer writes it; empty if unset. */
static const char *size_text(struct view_context *at, int size)
{
    if (size == CONFIG_UNSET)
        return "";
    snprintf(at->scratch, sizeof(at->scratch), "%9d", size);
    return at->scratch;
}

/* Counters have no sign, and what shows them does: the largest number stands for larger ones. */
static int64_t not_negative(uint64_t counter)
{
    return counter < INT64_MAX ? (int64_t) counter : INT64_MAX;
}

/* ---- the columns ---- */

#define VALUE_TEXT(expression)    ((struct value){.text = (expression)})
#define VALUE_INT4(expression)    ((struct value){.number = (int64_t) (expression)})
#define VALUE_INT8(expression)    VALUE_INT4(expression)
#define VALUE_NUMERIC(expression) ((struct value){.number = not_negative(expression)})

#define READER(view, row_type, name, type, expression)                                             \
    static struct value view##_##name(const void *object, struct view_context *at UNUSED)          \
    {                                                                                              \
        const row_type *row UNUSED = object;                                                       \
        return VALUE_##type(expression);                                                           \
    }

#define CLIENTS_COLUMN(name, type, value, help)   READER(clients, struct client, name, type, value)
#define SERVERS_COLUMN(name, type, value, help)   READER(servers, struct server, name, type, value)
#define POOLS_COLUMN(name, type, value, help)     READER(pools, struct pool, name, type, value)
#define DATABASES_COLUMN(name, type, value, help) READER(databases, struct database, name, type, value)
#define USERS_COLUMN(name, type, value, help)     READER(users, struct user, name, type, value)
#define LISTS_COLUMN(name, type, value, help)     READER(lists, struct count_row, name, type, value)
#define STATS_COLUMN(name, type, value, help)     READER(stats, struct stats_row, name, type, value)
#define STATS_TOTALS_COLUMN(name, type, value, help)                                               \
    READER(stats_totals, struct stats_row, name, type, value)
#define STATS_AVERAGES_COLUMN(name, type, value, help)                                             \
    READER(stats_averages, struct stats_row, name, type, value)
#define TOTALS_COLUMN(name, type, value, help)    READER(totals, struct count_row, name, type, value)
#define CONFIG_COLUMN(name, type, value, help)    READER(config, struct config_row, name, type, value)
#define STATE_COLUMN(name, type, value, help)     READER(state, struct count_row, name, type, value)
#define VERSION_COLUMN(name, type, value, help)   READER(version, struct count_row, name, type, value)
#define MEM_COLUMN(name, type, value, help)       READER(mem, struct slab, name, type, value)
#define DNS_HOSTS_COLUMN(name, type, value, help) READER(dns_hosts, struct dns_row, name, type, value)
#define PAUSES_COLUMN(name, type, value, help)    READER(pauses, struct pause_row, name, type, value)
#include "report/views.def"

#define ENTRY(view, name, type, help) {#name, COLUMN_##type, help, view##_##name},

static const struct column clients_columns[] = {
#define CLIENTS_COLUMN(name, type, value, help) ENTRY(clients, name, type, help)
#include "report/views.def"
};
static const struct column servers_columns[] = {
#define SERVERS_COLUMN(name, type, value, help) ENTRY(servers, name, type, help)
#include "report/views.def"
};
static const struct column pools_columns[] = {
#define POOLS_COLUMN(name, type, value, help) ENTRY(pools, name, type, help)
#include "report/views.def"
};
static const struct column databases_columns[] = {
#define DATABASES_COLUMN(name, type, value, help) ENTRY(databases, name, type, help)
#include "report/views.def"
};
static const struct column users_columns[] = {
#define USERS_COLUMN(name, type, value, help) ENTRY(users, name, type, help)
#include "report/views.def"
};
static const struct column lists_columns[] = {
#define LISTS_COLUMN(name, type, value, help) ENTRY(lists, name, type, help)
#include "report/views.def"
};
static const struct column stats_columns[] = {
#define STATS_COLUMN(name, type, value, help) ENTRY(stats, name, type, help)
#include "report/views.def"
};
static const struct column stats_totals_columns[] = {
#define STATS_TOTALS_COLUMN(name, type, value, help) ENTRY(stats_totals, name, type, help)
#include "report/views.def"
};
static const struct column stats_averages_columns[] = {
#define STATS_AVERAGES_COLUMN(name, type, value, help) ENTRY(stats_averages, name, type, help)
#include "report/views.def"
};
static const struct column totals_columns[] = {
#define TOTALS_COLUMN(name, type, value, help) ENTRY(totals, name, type, help)
#include "report/views.def"
};
static const struct column config_columns[] = {
#define CONFIG_COLUMN(name, type, value, help) ENTRY(config, name, type, help)
#include "report/views.def"
};
static const struct column state_columns[] = {
#define STATE_COLUMN(name, type, value, help) ENTRY(state, name, type, help)
#include "report/views.def"
};
static const struct column version_columns[] = {
#define VERSION_COLUMN(name, type, value, help) ENTRY(version, name, type, help)
#include "report/views.def"
};
static const struct column mem_columns[] = {
#define MEM_COLUMN(name, type, value, help) ENTRY(mem, name, type, help)
#include "report/views.def"
};
static const struct column dns_hosts_columns[] = {
#define DNS_HOSTS_COLUMN(name, type, value, help) ENTRY(dns_hosts, name, type, help)
#include "report/views.def"
};

static const struct column pauses_columns[] = {
#define PAUSES_COLUMN(name, type, value, help) ENTRY(pauses, name, type, help)
#include "report/views.def"
};

/* ---- the views ---- */

#define VIEW(name, rows) {#name, name##_columns, countof(name##_columns), rows}

const struct view views[] = {
    VIEW(clients, rows_clients),
    VIEW(config, rows_config),
    VIEW(databases, rows_databases),
    VIEW(dns_hosts, rows_dns_hosts),
    VIEW(lists, rows_lists),
    VIEW(mem, rows_mem),
    VIEW(pauses, rows_pauses),
    VIEW(pools, rows_pools),
    VIEW(servers, rows_servers),
    VIEW(state, rows_state),
    VIEW(stats, rows_stats),
    VIEW(stats_averages, rows_stats),
    VIEW(stats_totals, rows_stats),
    VIEW(totals, rows_totals),
    VIEW(users, rows_users),
    VIEW(version, rows_version),
};
const size_t view_count = countof(views);

const struct view *view_find(const char *name)
{
    for (size_t i = 0; i < view_count; i++)
        if (text_equals_ignoring_case(views[i].name, name))
            return &views[i];
    return NULL;
}
