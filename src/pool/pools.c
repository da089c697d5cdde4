/*
 * pools.c - all databases, users and pools: look-ups, reload, removal, averages.
 *
 * Databases and users live as long as anybody needs them: a database until its line is gone or, if
 * it was made from "*", until nobody has used it for autodb_idle_timeout; a user for ever (their
 * number is bounded by the userlist, [users], forced users and those whom PAM or LDAP let in). Pools
 * live as long as their database.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/pools.h"

#include <inttypes.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <utlist.h>

#include "base/intern.h"
#include "base/log.h"
#include "base/memory.h"
#include "pool/auth_query.h"
#include "pool/shared_limits.h"

/* Derived SCRAM keys that are kept: one for each user and direction that is in use. */
#define KEY_CACHE_LIMIT 100000

/* An automatic entry that only auth_query has used goes when it has had no server for so long. */
#define NEVER_ENTERED_LIMIT_US (60 * USEC_PER_SEC)

uint64_t pools_next_id(struct pools *pools)
{
    return ++pools->last_id;
}

struct socket_options pools_socket_options(void)
{
    const struct settings *settings = settings_current();
    return (struct socket_options){.keepalive = settings->tcp_keepalive,
                                   .keepidle = settings->tcp_keepidle,
                                   .keepintvl = settings->tcp_keepintvl,
                                   .keepcnt = settings->tcp_keepcnt,
                                   .buffer_size = settings->tcp_socket_buffer,
                                   .user_timeout = settings->tcp_user_timeout};
}

/* ---- users ---- */

struct user *pools_find_user(const struct pools *pools, const char *name)
{
    struct user *user;
    HASH_FIND_STR(pools->users, name, user);
    return user;
}

struct user *pools_get_user(struct pools *pools, const char *name)
{
    struct user *user = pools_find_user(pools, name);
    if (user == NULL) {
        user = memory_new(sizeof(*user));
        user->name = intern_take(name);
        user->config = config_find_user(config_current(), name);
        HASH_ADD_KEYPTR(hh, pools->users, user->name, strlen(user->name), user);
    }
    return user;
}

/* ---- pools ---- */

/* What clients have brought in belongs to the user of the pool, and goes with him. */
static void forget_credentials(struct pool *pool)
{
    secret_release(&pool->fetched);
    if (pool->learned != NULL)
        OPENSSL_cleanse(pool->learned, sizeof(*pool->learned));
    free(pool->learned);
    pool->learned = NULL;
}

void pool_learn(struct pool *pool, const struct secret *fetched, const struct scram_keys *learned)
{
    if (fetched != NULL)
        secret_copy(&pool->fetched, fetched);
    if (learned == NULL)
        return;
    if (pool->learned == NULL)
        pool->learned = memory_new(sizeof(*pool->learned));
    *pool->learned = *learned;
}

static void free_pool(struct deferred *deferred)
{
    struct pool *pool = container_of(deferred, struct pool, deferred);
    parameters_release(&pool->welcome_values, &pool->pools->tracked);
    parameters_release(&pool->opening_values, &pool->pools->tracked);
    buffer_release(&pool->welcome);
    buffer_release(&pool->opening);
    proven_values_release(&pool->proven_values);
    statement_table_destroy(pool->statements);
    host_list_release(&pool->hosts);
    forget_credentials(pool);
    free(pool);
}

/* Takes an empty pool out of all lists. Waiters are gone with the clients. */
static void drop_pool(struct pool *pool)
{
    struct pools *pools = pool->pools;
    pool->closing = true;
    loop_cancel(pools->loop, &pool->tend);
    deadline_clear(&pool->tend_later);
    deadline_clear(&pool->idle);
    pool_leave_hungry(pool);
    HASH_DELETE(hh, pool->database->members, pool);
    DL_DELETE(pools->all, pool);
    DL_DELETE2(pool->user->members, pool, user_prev, user_next);
    pools->pool_count--;
    loop_free_later(pools->loop, &pool->deferred, free_pool);
}

void pools_drop_database_pools(struct pools *pools UNUSED, struct database *database,
                               const char *reason)
{
    struct pool *pool, *next;
    HASH_ITER(hh, database->members, pool, next) {
        auth_query_end_pool(pool);
        pool_close_servers(pool, reason);
        if (pool->client_count == 0 && pool_server_count(pool) == 0)
            drop_pool(pool);
    }
}

/* Forced users' pools with a minimum stand without clients. */
static bool is_standing(const struct pool *pool)
{
    return pool->database->console ||
           (pool->database->config->user != NULL && pool->limits.min_size > 0);
}

static bool is_unused(const struct pool *pool)
{
    return pool->client_count == 0 && pool_server_count(pool) == 0 && !is_standing(pool);
}

static void on_pool_idle(struct deadline *deadline)
{
    struct pool *pool = container_of(deadline, struct pool, idle);
    if (!is_unused(pool))
        return; /* begins anew when that ends */
    if (pool->waiters != NULL || pool->cancels_queued > 0) {
        pool_begin_idle(pool);
        return;
    }
    log_info(NULL, "dropping pool %s/%s: pool_idle_timeout", pool->database->name,
             pool->user->name);
    drop_pool(pool);
}

void pool_begin_idle(struct pool *pool)
{
    if (is_unused(pool))
        deadline_set(pool->pools->loop, &pool->idle, settings_current()->pool_idle_timeout);
}

static struct pool_key key_of(struct user *user, bool for_auth_query)
{
    struct pool_key key;
    memset(&key, 0, sizeof(key));
    key.user = user;
    key.for_auth_query = for_auth_query;
    return key;
}

static struct pool *find_pool(const struct database *database, const struct pool_key *key)
{
    struct pool *pool;
    HASH_FIND(hh, database->members, key, sizeof(*key), pool);
    return pool;
}

static void rebind_hosts(struct pool *pool)
{
    const struct config_database *config = pool->database->config;
    host_list_release(&pool->hosts);
    host_list_init(&pool->hosts, config->host, config->ports, config->load_balance_disable);
}

static struct pool *create_pool(struct pools *pools, struct database *database,
                                const struct pool_key *key)
{
    struct user *user = key->user;
    struct pool *pool = memory_new(sizeof(*pool));
    /* Not earlier: whoever is refused could fill the log with names. */
    if (database->automatic && database->members == NULL)
        log_info(NULL, "registered new auto-database: %s", database->name);
    pool->pools = pools;
    pool->database = database;
    pool->user = user;
    pool->key = *key;
    rebind_hosts(pool);
    pool->statements = statement_table_create();
    parameters_init(&pool->welcome_values, &pools->tracked);
    parameters_init(&pool->opening_values, &pools->tracked);
    pool->idle.passed = on_pool_idle;
    pool_stats_window_init(&pool->window, clock_now_us());
    pool_refresh(pool);
    HASH_ADD(hh, database->members, key, sizeof(pool->key), pool);
    DL_APPEND(pools->all, pool);
    DL_APPEND2(user->members, pool, user_prev, user_next);
    pools->pool_count++;
    pool_begin_idle(pool);
    return pool;
}

struct pool *pools_get_pool(struct pools *pools, struct database *database, struct user *user)
{
    if (database->config->user != NULL)
        user = pools_get_user(pools, database->config->user);
    struct pool_key key = key_of(user, false);
    struct pool *pool = find_pool(database, &key);
    return pool != NULL ? pool : create_pool(pools, database, &key);
}

struct pool *pools_get_auth_pool(struct pools *pools, struct database *database, struct user *user)
{
    struct pool_key key = key_of(user, true);
    struct pool *pool = find_pool(database, &key);
    return pool != NULL ? pool : create_pool(pools, database, &key);
}

/* ---- databases ---- */

static void release_config(struct database *database)
{
    if (database->automatic)
        config_database_destroy((struct config_database *) (uintptr_t) database->config);
}

static void drop_database(struct pools *pools, struct database *database)
{
    pools_end_drains(pools, database);
    pause_release(&database->pause);
    deadline_clear(&database->idle);
    HASH_DELETE(hh, pools->databases, database);
    release_config(database);
    intern_give_back(database->name);
    free(database);
}

/* Somebody got in: auth_query alone makes a pool for every name that anybody can think of. */
static bool was_entered(const struct database *database)
{
    for (const struct pool *pool = database->members; pool != NULL; pool = pool->hh.next)
        if (!pool->key.for_auth_query)
            return true;
    return false;
}

static bool is_in_use(const struct database *database)
{
    for (const struct pool *pool = database->members; pool != NULL; pool = pool->hh.next)
        if (pool->waiters != NULL)
            return true;
    return database->client_count > 0 || database->budget.servers > 0 ||
           database->pause != NULL || database->disabled;
}

static void on_automatic_idle(struct deadline *deadline)
{
    struct database *database = container_of(deadline, struct database, idle);
    struct pools *pools = database->pools;
    if (database->client_count > 0 || database->pause != NULL || database->disabled)
        return; /* begins anew when that ends */
    if (is_in_use(database)) {
        database_begin_idle(database);
        return;
    }
    log_warn(NULL, "dropping database '%s' as it does not exist anymore or inactive auto-database",
             database->name);
    pools_drop_database_pools(pools, database, "database removed");
    drop_database(pools, database);
}

void database_begin_idle(struct database *database)
{
    usec_t limit_us = settings_current()->autodb_idle_timeout;
    if (database->members != NULL && !was_entered(database))
        limit_us = NEVER_ENTERED_LIMIT_US;
    if (database->automatic && database->client_count == 0)
        deadline_set(database->pools->loop, &database->idle, limit_us);
}

static struct database *add_database(struct pools *pools, const char *name,
                                     const struct config_database *config, bool automatic)
{
    struct database *database = memory_new(sizeof(*database));
    database->name = intern_take(name);
    database->config = config;
    database->pools = pools;
    database->automatic = automatic;
    database->idle.passed = on_automatic_idle;
    HASH_ADD_KEYPTR(hh, pools->databases, database->name, strlen(database->name), database);
    return database;
}

struct database *pools_find_database(struct pools *pools, const char *name, bool create)
{
    struct database *database;
    const struct config_database *fallback = config_current()->fallback;
    HASH_FIND_STR(pools->databases, name, database);
    if (database != NULL || !create || fallback == NULL || strlen(name) > DATABASE_NAME_MAX)
        return database;
    database = add_database(pools, name, config_database_copy(fallback, name), true);
    database_begin_idle(database); /* a command may have asked for it, and no client ever comes */
    return database;
}

void database_count_client(struct database *database, int change)
{
    database->client_count += (unsigned) change;
    if (!database->automatic || database->client_count > 0)
        return;
    /* Names that were only tried must not pile up. */
    if (!was_entered(database) && !is_in_use(database)) {
        pools_drop_database_pools(database->pools, database, "database removed");
        drop_database(database->pools, database);
    } else if (database->members != NULL) {
        database_begin_idle(database);
    }
}

/* ---- reload ---- */

static void give_pool_to(struct pool *pool, struct user *user)
{
    forget_credentials(pool);
    HASH_DELETE(hh, pool->database->members, pool);
    DL_DELETE2(pool->user->members, pool, user_prev, user_next);
    budgets_change_user(pool, user);
    pool->key.user = user;
    HASH_ADD(hh, pool->database->members, key, sizeof(pool->key), pool);
    DL_APPEND2(user->members, pool, user_prev, user_next);
}

/* Another forced user: the clients of the old one's pool go on, with servers of the new one. */
static void change_forced_user(struct database *database, const char *from, const char *to)
{
    struct pool_key old = key_of(pools_get_user(database->pools, from), false);
    struct pool_key new = key_of(pools_get_user(database->pools, to), false);
    struct pool *pool = find_pool(database, &old);
    if (pool != NULL && find_pool(database, &new) == NULL)
        give_pool_to(pool, new.user);
}

/* The entry has a new line: open servers that lead elsewhere must go. */
static void change_database(struct database *database, const struct config_database *config)
{
    bool reconnect = config_database_needs_reconnect(database->config, config) ||
                     config_database_tls_differs(database->config, config);
    struct pool *pool, *next;
    if (database->config->user != NULL && config->user != NULL &&
        strcmp(database->config->user, config->user) != 0)
        change_forced_user(database, database->config->user, config->user);
    release_config(database);
    database->config = config;
    if (!reconnect)
        return;
    HASH_ITER(hh, database->members, pool, next) {
        rebind_hosts(pool);
        pool_mark_close_needed(pool, "connect string changed");
    }
}

static const struct config_database *new_config_of(const struct database *database)
{
    const struct config *config = config_current();
    const struct config_database *entry = config_find_database(config, database->name);
    if (entry == NULL && database->automatic && config->fallback != NULL)
        return config_database_copy(config->fallback, database->name);
    return entry;
}

static void bind_databases(struct pools *pools, database_removed_fn *removed, void *argument)
{
    struct database *database, *next;
    HASH_ITER(hh, pools->databases, database, next) {
        if (database->console)
            continue;
        const struct config_database *entry = new_config_of(database);
        if (entry == NULL) {
            log_warn(NULL,
                     "dropping database '%s' as it does not exist anymore or inactive auto-database",
                     database->name);
            database->client_count++; /* its last client must not drop it, as we do that here */
            removed(argument, database);
            pools_drop_database_pools(pools, database, "database removed");
            drop_database(pools, database);
            continue;
        }
        change_database(database, entry);
        database->automatic = config_find_database(config_current(), database->name) == NULL;
    }
}

void database_ensure_standing_pool(struct database *database)
{
    if (database->config->user != NULL && database_min_pool_size(database) > 0)
        pool_tend(pools_get_pool(database->pools, database, NULL));
}

static void add_new_databases(struct pools *pools)
{
    const struct config_database *entry;
    for (entry = config_current()->databases; entry != NULL; entry = entry->hh.next)
        if (pools_find_database(pools, entry->name, false) == NULL)
            add_database(pools, entry->name, entry, false);
}

void pools_bind(struct pools *pools, database_removed_fn *removed, void *argument)
{
    struct user *user, *next;
    const struct settings *settings = settings_current();
    resolver_set_ttl(pools->resolver, settings->dns_max_ttl, settings->dns_nxdomain_ttl);
    HASH_ITER(hh, pools->users, user, next)
        user->config = config_find_user(config_current(), user->name);
    bind_databases(pools, removed, argument);
    add_new_databases(pools);
    pools_refresh(pools);
}

/* Passwords that PAM or LDAP took are of no use, and no safer, once neither is asked any more. */
static void forget_received(struct pools *pools)
{
    enum auth_type type = settings_current()->auth_type;
    struct user *user, *next;
    if (type == AUTH_TYPE_PAM || type == AUTH_TYPE_LDAP || type == AUTH_TYPE_HBA)
        return;
    HASH_ITER(hh, pools->users, user, next)
        secret_release(&user->received);
}

void pools_refresh(struct pools *pools)
{
    struct database *database, *next;
    struct pool *pool;
    auth_query_forget(pools);
    HASH_ITER(hh, pools->databases, database, next)
        database_ensure_standing_pool(database);
    forget_received(pools);
    DL_FOREACH(pools->all, pool) {
        pool_refresh(pool);
        pool_renew_deadlines(pool);
        if (deadline_duration_us(&pool->idle) != settings_current()->pool_idle_timeout)
            pool_begin_idle(pool);
        pool_tend(pool);
    }
}

void pools_use_tls(struct pools *pools, struct tls_setup *tls, bool reconnect)
{
    struct pool *pool;
    tls_setup_destroy(pools->tls);
    pools->tls = tls;
    if (!reconnect)
        return;
    DL_FOREACH(pools->all, pool)
        pool_mark_close_needed(pool, "database configuration changed");
}

/* ---- averages ---- */

static void log_stats(const struct pools *pools, usec_t now_us)
{
    struct pool_averages sum = {0};
    struct pool_stats total = {0}, since = {0};
    struct pool *pool;
    usec_t since_us = now_us;
    DL_FOREACH(pools->all, pool) {
        pool_stats_add(&total, &pool->stats);
        pool_stats_add(&since, &pool->window.newer);
        /* The console's pool is there from the beginning, and so has the period's. */
        if (pool->window.newer_us < since_us)
            since_us = pool->window.newer_us;
    }
    sum = pool_stats_average(&total, &since, since_us, now_us);
    log_info(NULL,
             "stats: %" PRIu64 " xacts/s, %" PRIu64 " queries/s, %" PRIu64
             " client parses/s, %" PRIu64 " server parses/s, %" PRIu64 " binds/s, in %" PRIu64
             " B/s, out %" PRIu64 " B/s, xact %" PRIu64 " us, query %" PRIu64 " us, wait %" PRIu64
             " us",
             sum.transactions, sum.queries, sum.client_parses, sum.server_parses, sum.binds,
             sum.bytes_received, sum.bytes_sent, sum.transaction_us, sum.query_us, sum.wait_us);
}

static usec_t stats_period_us(void)
{
    int seconds = settings_current()->stats_period;
    return (seconds > 0 ? (usec_t) seconds : 60) * USEC_PER_SEC;
}

static void on_stats_period(struct deadline *deadline)
{
    struct pools *pools = container_of(deadline, struct pools, stats_deadline);
    usec_t now_us = clock_now_us();
    struct pool *pool;
    if (settings_current()->log_stats)
        log_stats(pools, now_us);
    DL_FOREACH(pools->all, pool)
        pool_stats_window_turn(&pool->window, &pool->stats, now_us);
    deadline_set(pools->loop, deadline, stats_period_us());
}

/* ---- beginning and end ---- */

static void create_console(struct pools *pools)
{
    static const struct config_database console = {.pool_size = 2,
                                                   .min_pool_size = 0,
                                                   .reserve_pool_size = 0,
                                                   .pool_mode = POOL_STATEMENT,
                                                   .max_db_connections = CONFIG_UNSET,
                                                   .max_db_client_connections = CONFIG_UNSET,
                                                   .server_lifetime = CONFIG_UNSET,
                                                   .query_wait_timeout = CONFIG_UNSET};
    struct database *database = add_database(pools, CONSOLE_DATABASE, &console, false);
    struct pool_key key = key_of(pools_get_user(pools, CONSOLE_DATABASE), false);
    database->console = true;
    pools->console = create_pool(pools, database, &key);
    pools->console->welcome_known = true;
}

struct pools *pools_create(struct loop *loop, struct tls_setup *tls)
{
    const struct settings *settings = settings_current();
    struct resolver_options resolver = {.resolv_conf = settings->resolv_conf,
                                        .max_ttl_us = settings->dns_max_ttl,
                                        .nxdomain_ttl_us = settings->dns_nxdomain_ttl};
    struct pools *pools = memory_new(sizeof(*pools));
    pools->loop = loop;
    pools->resolver = resolver_create(loop, &resolver);
    if (pools->resolver == NULL ||
        !tracked_names_init(&pools->tracked, settings->track_extra_parameters,
                            settings->track_startup_parameters)) {
        log_error(NULL, pools->resolver == NULL ? "dns setup failed"
                                                : "too many names in track_extra_parameters and track_startup_parameters");
        free(pools);
        return NULL;
    }
    pools->tls = tls;
    pools->key_cache = scram_key_cache_create(KEY_CACHE_LIMIT);
    create_console(pools);
    add_new_databases(pools);
    pools_refresh(pools);
    pools->stats_deadline.passed = on_stats_period;
    deadline_set(loop, &pools->stats_deadline, stats_period_us());
    return pools;
}

void pools_close(struct pools *pools)
{
    struct database *database, *next_database;
    struct user *user, *next_user;
    struct pool *pool, *next_pool;
    deadline_clear(&pools->stats_deadline);
    pause_release(&pools->pause);
    HASH_ITER(hh, pools->databases, database, next_database) {
        HASH_ITER(hh, database->members, pool, next_pool) {
            auth_query_end_pool(pool);
            pool_close_servers(pool, "shutdown");
            drop_pool(pool);
        }
        drop_database(pools, database);
    }
    HASH_ITER(hh, pools->users, user, next_user) {
        HASH_DELETE(hh, pools->users, user);
        secret_release(&user->received);
        intern_give_back(user->name);
        free(user);
    }
    resolver_destroy(pools->resolver);
    auth_query_forget(pools);
    scram_key_cache_destroy(pools->key_cache);
    tls_setup_destroy(pools->tls);
}

void pools_destroy(struct pools *pools)
{
    tracked_names_release(&pools->tracked);
    free(pools);
}
