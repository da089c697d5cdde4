/*
 * limits.c - what the settings, the database entry and the user say together.
 *
 * The user's value beats the entry's, the entry's beats the global one. Pool settings are looked up
 * on the server-side user, client settings on the login user.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/pools.h"

static unsigned not_negative(int value)
{
    return value > 0 ? (unsigned) value : 0;
}

/* The first of the three that is given. */
static int narrowest(int user_value, int database_value, int global_value)
{
    if (user_value != CONFIG_UNSET)
        return user_value;
    return database_value != CONFIG_UNSET ? database_value : global_value;
}

/* A per-user time: whole seconds, where 0 means the global value. */
static usec_t user_time_us(const struct user *user, int seconds, usec_t global_us)
{
    if (user->config == NULL || seconds == CONFIG_UNSET || seconds == 0)
        return global_us;
    return (usec_t) seconds * USEC_PER_SEC;
}

unsigned database_pool_size(const struct database *database)
{
    return not_negative(narrowest(CONFIG_UNSET, database->config->pool_size,
                                  settings_current()->default_pool_size));
}

unsigned database_min_pool_size(const struct database *database)
{
    return not_negative(narrowest(CONFIG_UNSET, database->config->min_pool_size,
                                  settings_current()->min_pool_size));
}

unsigned database_reserve_pool_size(const struct database *database)
{
    return not_negative(narrowest(CONFIG_UNSET, database->config->reserve_pool_size,
                                  settings_current()->reserve_pool_size));
}

usec_t database_server_lifetime_us(const struct database *database)
{
    int seconds = database->config->server_lifetime;
    if (seconds > 0)
        return (usec_t) seconds * USEC_PER_SEC;
    return settings_current()->server_lifetime;
}

unsigned database_max_connections(const struct database *database)
{
    int own = database->config->max_db_connections;
    return not_negative(own > 0 ? own : settings_current()->max_db_connections);
}

unsigned database_max_clients(const struct database *database)
{
    int own = database->config->max_db_client_connections;
    return not_negative(own > 0 ? own : settings_current()->max_db_client_connections);
}

unsigned user_max_connections(const struct user *user)
{
    int own = user->config != NULL ? user->config->max_user_connections : 0;
    return not_negative(own > 0 ? own : settings_current()->max_user_connections);
}

unsigned user_max_clients(const struct user *user)
{
    int own = user->config != NULL ? user->config->max_user_client_connections : 0;
    return not_negative(own > 0 ? own : settings_current()->max_user_client_connections);
}

usec_t client_query_wait_timeout_us(const struct database *database, const struct user *user)
{
    int own = user != NULL && user->config != NULL ? user->config->query_wait_timeout
                                                   : CONFIG_UNSET;
    int seconds = narrowest(own, database->config->query_wait_timeout, CONFIG_UNSET);
    if (seconds != CONFIG_UNSET)
        return (usec_t) seconds * USEC_PER_SEC;
    return settings_current()->query_wait_timeout;
}

usec_t client_wait_limit_us(const struct database *database, const struct user *user,
                            const char **ret_message)
{
    usec_t wait_us = client_query_wait_timeout_us(database, user);
    usec_t query_us = settings_current()->query_timeout;
    bool query_is_first = query_us != 0 && (wait_us == 0 || query_us < wait_us);
    *ret_message = query_is_first ? "query_timeout" : "query_wait_timeout";
    return query_is_first ? query_us : wait_us;
}

usec_t client_idle_timeout_us(const struct user *user)
{
    usec_t global_us = settings_current()->client_idle_timeout;
    if (user == NULL || user->config == NULL)
        return global_us;
    return user_time_us(user, user->config->client_idle_timeout, global_us);
}

void pool_refresh(struct pool *pool)
{
    const struct settings *settings = settings_current();
    const struct config_database *entry = pool->database->config;
    const struct user *user = pool->user;
    static const struct config_user no_user = {.pool_size = CONFIG_UNSET,
                                               .reserve_pool_size = CONFIG_UNSET,
                                               .pool_mode = CONFIG_UNSET};
    const struct config_user *own = user->config != NULL ? user->config : &no_user;

    if (pool->database->console) {
        pool->limits = (struct pool_limits){.mode = POOL_STATEMENT, .pool_size = 2};
        return;
    }
    pool->limits = (struct pool_limits){
        .mode = (enum pool_mode) narrowest(own->pool_mode, entry->pool_mode,
                                           (int) settings->pool_mode),
        .pool_size = not_negative(
            narrowest(own->pool_size, entry->pool_size, settings->default_pool_size)),
        .reserve_size = not_negative(narrowest(own->reserve_pool_size, entry->reserve_pool_size,
                                               settings->reserve_pool_size)),
        .min_size = database_min_pool_size(pool->database),
        .max_waiting = not_negative(settings->max_waiting_clients),
        .max_db_connections = database_max_connections(pool->database),
        .max_user_connections = user_max_connections(user),
        .max_server_connections = not_negative(settings->max_server_connections),
        .server_lifetime_us = database_server_lifetime_us(pool->database),
        .query_timeout_us = user_time_us(user, own->query_timeout, settings->query_timeout),
        .idle_transaction_timeout_us = user_time_us(user, own->idle_transaction_timeout,
                                                    settings->idle_transaction_timeout),
        .transaction_timeout_us =
            user_time_us(user, own->transaction_timeout, settings->transaction_timeout),
    };
    if (pool->limits.mode != POOL_SESSION)
        pool->limits.prepared_statements = not_negative(settings->max_prepared_statements);
    pool->limits.prepare_unnamed = settings->prepare_unnamed &&
                                   pool->limits.prepared_statements > 0;
}
