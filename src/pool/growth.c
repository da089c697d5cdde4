/*
 * growth.c - when a pool opens another server connection.
 *
 * The order of the rules is PgBouncer's: not too many attempts at a time, not too soon after a
 * failure, the size of the pool with its reserve, then the limits that pools share
 * (shared_limits.h). A pool without servers makes one attempt; each success doubles the number of
 * attempts that may be under way, a failure ends that.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/growth.h"

#include <string.h>

#include "base/log.h"
#include "pool/pools.h"
#include "pool/role.h"
#include "pool/shared_limits.h"

/* More logins at once would load PostgreSQL more than they help those who wait. */
#define LOGINS_AT_ONCE_MAX 16

/* Servers that any client may get, once they are logged in and free. */
static unsigned ordinary_servers(const struct pool *pool)
{
    return pool_server_count(pool) - pool->cancel_count - pool->dedicated_servers;
}

static unsigned ordinary_logins(const struct pool *pool)
{
    return pool->server_counts[SERVER_LOGIN] - pool->dedicated_logins;
}

bool pool_has_connected_server(const struct pool *pool)
{
    return ordinary_servers(pool) > ordinary_logins(pool);
}

void pool_note_login(struct pool *pool, bool succeeded)
{
    unsigned before = pool_has_connected_server(pool) ? pool->logins_at_once : 1;
    pool->logins_at_once = !succeeded                       ? 1
                           : before < LOGINS_AT_ONCE_MAX / 2 ? 2 * before
                                                             : LOGINS_AT_ONCE_MAX;
}

static bool may_log_in(const struct pool *pool)
{
    unsigned under_way = pool->server_counts[SERVER_LOGIN];
    return under_way == 0 ||
           (under_way < pool->logins_at_once && pool_has_connected_server(pool));
}

/* Servers that will be free soon without a new connection; a stuck cancel request may take long. */
static unsigned expected_servers(const struct pool *pool)
{
    return pool->server_counts[SERVER_TESTED];
}

/* Waiters whom any server suits. */
static unsigned ordinary_waiters(const struct pool *pool)
{
    return pool->waiter_count - pool->dedicated_count;
}

static bool below_minimum(const struct pool *pool)
{
    unsigned minimum = pool->limits.min_size;
    if (minimum > pool->limits.pool_size)
        minimum = pool->limits.pool_size; /* 0, no limit: never kept at a minimum */
    return ordinary_servers(pool) < minimum &&
           (pool->client_count > 0 || pool->database->config->user != NULL) &&
           !pool->key.for_auth_query;
}

void pool_look_again(struct pool *pool, usec_t limit_us, usec_t since_us)
{
    deadline_set_since(pool->pools->loop, &pool->tend_later, limit_us, since_us);
}

static bool retry_is_due(struct pool *pool)
{
    usec_t pause_us, since_us;
    if (!host_list_must_wait(&pool->hosts, clock_now_us(), pool_login_retry_us(pool), &pause_us,
                             &since_us))
        return true;
    pool_look_again(pool, pause_us, since_us);
    return false;
}

static bool reserve_is_due(struct pool *pool)
{
    usec_t timeout_us = settings_current()->reserve_pool_timeout;
    const struct waiter *first = pool->waiters;
    if (first == NULL || timeout_us == 0 || pool->server_counts[SERVER_LOGIN] > 0 ||
        pool_server_count(pool) >= pool->limits.pool_size + pool->limits.reserve_size)
        return false;
    if (clock_now_us() - first->since_us < timeout_us) {
        pool_look_again(pool, timeout_us, first->since_us);
        return false;
    }
    return true;
}

static bool is_below_size(const struct pool *pool)
{
    return pool->limits.pool_size == 0 || pool_server_count(pool) < pool->limits.pool_size;
}

static bool size_allows(struct pool *pool)
{
    struct server *server;
    while (!is_below_size(pool)) {
        server = pool_surplus_for_dedicated(pool);
        if (server == NULL)
            return reserve_is_due(pool);
        pool_close_server(pool, server, "evicted");
    }
    return true;
}

static void log_use_of_reserve(const struct pool *pool)
{
    if (pool->limits.pool_size > 0 && pool_server_count(pool) >= pool->limits.pool_size)
        log_warn(NULL, "taking connection from reserve_pool (database %s, user %s)",
                 pool->database->name, pool->user->name);
}

static const struct secret *server_secret(const struct pool *pool)
{
    static const struct secret none;
    const struct config_database *config = pool->database->config;
    /* A pool may be older than the entry's user, whose password is not for others. */
    if (config->user != NULL && strcmp(config->user, pool->user->name) == 0 &&
        !secret_is_empty(&config->password))
        return &config->password;
    if (config->user == NULL && !secret_is_empty(&pool->user->received))
        return &pool->user->received;
    const struct secret *secret = config_find_secret(config_current(), pool->user->name);
    if (secret != NULL && !secret_is_empty(secret))
        return secret;
    return secret_is_empty(&pool->fetched) ? &none : &pool->fetched;
}

/* Opens a connection; for this waiter alone, or for whoever needs one (NULL). */
static void launch(struct pool *pool, struct waiter *waiter)
{
    static const struct dedicated none;
    const struct dedicated *dedicated = waiter != NULL ? waiter->dedicated : &none;
    const struct config_database *config = pool->database->config;
    const struct settings *settings = settings_current();
    const struct host *host =
        host_list_pick(&pool->hosts, clock_now_us(), pool_login_retry_us(pool));
    struct server_options options = {
        .id = pools_next_id(pool->pools),
        .resolver = pool->pools->resolver,
        .key_cache = pool->pools->key_cache,
        .tracked = &pool->pools->tracked,
        .host = host->name != NULL ? host->name : settings->unix_socket_dir,
        .port = host->port,
        .sockets = pools_socket_options(),
        .tls = tls_setup_for_database(pool->pools->tls, config),
        .minor_version = settings->server_protocol == SERVER_PROTOCOL_3_2 ? 2 : 0,
        .database_name = pool->database->name,
        .dbname = config->dbname != NULL ? config->dbname : pool->database->name,
        .user = pool->user->name,
        .secret = server_secret(pool),
        .learned = pool->learned,
        .client_encoding = config->client_encoding,
        .datestyle = config->datestyle,
        .timezone = config->timezone,
        .application_name = config->application_name,
        .replication = dedicated->replication,
        .client_parameters = dedicated->parameters,
        .client_options = dedicated->options,
        /* A walsender without a database knows no SQL. */
        .connect_query =
            dedicated->replication == REPLICATION_PHYSICAL ? NULL : config->connect_query,
        .connect_timeout_us = settings->server_connect_timeout,
        .lifetime_us = pool->limits.server_lifetime_us,
    };
    struct server *server = server_open(pool->pools->loop, &pool_server_ops, pool, &options);
    pool_add_server(pool, server);
    if (waiter != NULL) {
        pool_promise(pool, waiter, server);
        return;
    }
    pool->attempt_wanted = false;
}

/* A used server is checked before anything new is opened. Returns true if there was one. */
static bool check_used_server(struct pool *pool)
{
    const struct settings *settings = settings_current();
    struct server *server = pool->servers[SERVER_USED];
    if (server == NULL)
        return false;
    const char *sql = settings->server_check_query;
    if (sql != NULL && strcmp(sql, "<empty>") == 0)
        sql = "";
    pool_check_server(pool, server, sql != NULL ? sql : "", settings->server_connect_timeout);
    return true;
}

/* A connection is needed, and the pool's own rules allow it now. */
static bool wants_server(struct pool *pool)
{
    unsigned under_way = ordinary_logins(pool);
    bool needed = ordinary_waiters(pool) > expected_servers(pool) + under_way ||
                  pool_dedicated_is_next(pool) || (pool->attempt_wanted && under_way == 0) ||
                  below_minimum(pool);
    if (!needed || !may_log_in(pool))
        return false;
    /* A login for one client alone has nothing to do with those that failed, but for its role. */
    return ((pool_dedicated_is_next(pool) && !pool_wants_role(pool)) || retry_is_due(pool)) &&
           size_allows(pool);
}

void pool_grow(struct pool *pool)
{
    while (ordinary_waiters(pool) > expected_servers(pool) && check_used_server(pool))
        ;
    if (!wants_server(pool)) {
        pool_needs_no_room(pool);
        return;
    }
    while (wants_server(pool) && shared_limits_allow(pool)) {
        log_use_of_reserve(pool);
        launch(pool, pool_dedicated_is_next(pool) ? pool->waiters : NULL);
    }
}

void pool_probe(struct pool *pool)
{
    bool wanted = pool->database->budget.servers == 0 && !pool->key.for_auth_query &&
                  retry_is_due(pool);
    if (!wanted)
        pool_needs_no_room(pool);
    else if (shared_limits_allow(pool))
        launch(pool, NULL);
}
