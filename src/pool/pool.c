/*
 * pool.c - lends the server connections of one (database entry, server-side user) to clients.
 *
 * Between a grant and the waiter's task a server is ACTIVE but not linked; `promised_to` leads back
 * to the waiter, so that a server that dies in between costs him nothing but a new wait at the head
 * of the queue.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/pool.h"

#include <stdio.h>
#include <string.h>

#include <utlist.h>

#include "base/log.h"
#include "base/text.h"
#include "pool/auth_query.h"
#include "pool/growth.h"
#include "pool/pause.h"
#include "pool/pools.h"
#include "pool/role.h"
#include "pool/shared_limits.h"
#include "server/leftovers.h"

static struct loop *loop_of(const struct pool *pool)
{
    return pool->pools->loop;
}

static bool has_text(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* ---- lists of servers by state ---- */

/* Nobody uses it, and nobody would miss it. */
static bool is_free(enum server_state state)
{
    return state == SERVER_IDLE || state == SERVER_USED;
}

/* Counts the server (+1, -1) as what it is in its state. */
static void count_server(struct pool *pool, const struct server *server, int change)
{
    pool->server_counts[server->state] += (unsigned) change;
    if (server->replication == REPLICATION_NONE)
        return;
    pool->dedicated_servers += (unsigned) change;
    if (server->state == SERVER_LOGIN)
        pool->dedicated_logins += (unsigned) change;
}

static void list_server(struct pool *pool, struct server *server, enum server_state state)
{
    server->state = state;
    count_server(pool, server, 1);
    if (state == SERVER_IDLE && settings_current()->server_round_robin)
        DL_APPEND(pool->servers[state], server);
    else
        DL_PREPEND(pool->servers[state], server);
    if (is_free(state))
        budgets_offer(pool, server);
    else
        budgets_withdraw(server);
}

static void unlist_server(struct pool *pool, struct server *server)
{
    count_server(pool, server, -1);
    DL_DELETE(pool->servers[server->state], server);
}

static void move_server(struct pool *pool, struct server *server, enum server_state state)
{
    unlist_server(pool, server);
    list_server(pool, server, state);
    budgets_note_demand(pool);
}

void pool_retire_server(struct server *server)
{
    if (server->close_needed)
        return;
    server->close_needed = true;
    budgets_count_close_needed(server->pool, 1);
    server_tell_close_needed(server);
}

void pool_add_server(struct pool *pool, struct server *server)
{
    list_server(pool, server, SERVER_LOGIN);
    budgets_count(pool, 1);
}

void pool_close_server(struct pool *pool, struct server *server, const char *reason)
{
    unlist_server(pool, server);
    budgets_withdraw(server);
    budgets_count(pool, -1);
    if (server->close_needed)
        budgets_count_close_needed(pool, -1);
    budgets_note_demand(pool);
    pool_begin_idle(pool);
    server_close(server, reason);
    pools_check_drains(pool->pools);
    pool_feed_hungry(pool);
    pool_tend(pool);
}

void pool_count_cancel(struct pool *pool, int change)
{
    pool->cancel_count += (unsigned) change;
    budgets_count(pool, change);
    if (change < 0) {
        pool_begin_idle(pool);
        pools_check_drains(pool->pools);
        pool_feed_hungry(pool);
        pool_tend(pool);
    }
}

/* ---- lending ---- */

bool pool_is_paused(const struct pool *pool)
{
    return pool->pools->pause != NULL || pool->database->pause != NULL;
}

bool pool_is_unreachable(const struct pool *pool)
{
    return pool->last_attempt_failed && !pool_has_connected_server(pool);
}

/* The first idle server that may still be used; others are closed on the way. */
static struct server *usable_idle_server(struct pool *pool)
{
    struct server *server;
    while ((server = pool->servers[SERVER_IDLE]) != NULL) {
        if (server->close_needed)
            pool_close_server(pool, server, "obsolete connection");
        else if (server->connection.ended)
            pool_close_server(pool, server, "server conn crashed?");
        else if (server->incoming.bytes.size > server->incoming.taken)
            pool_close_server(pool, server, "idle server got dirty");
        else
            return server;
    }
    return NULL;
}

static void lend(struct pool *pool, struct server *server)
{
    deadline_clear(&server->deadline);
    move_server(pool, server, SERVER_ACTIVE);
}

bool pool_queue_is_full(const struct pool *pool, struct failure *ret_failure)
{
    if (pool->limits.max_waiting == 0 || pool->waiter_count < pool->limits.max_waiting)
        return false;
    failure_set(ret_failure, "too many clients wait for a server (max_waiting_clients)");
    strcpy(ret_failure->sqlstate, SQLSTATE_TOO_MANY);
    return true;
}

enum take_result pool_take(struct pool *pool, struct server **ret_server,
                           struct failure *ret_failure)
{
    if (pool->pools->shutdown == SHUTDOWN_WAIT_FOR_SERVERS) {
        failure_set(ret_failure, "server shutting down");
        return TAKE_REFUSED;
    }
    if (pool_is_paused(pool))
        return pool_queue_is_full(pool, ret_failure) ? TAKE_REFUSED : TAKE_WAIT;
    *ret_server = pool->waiters == NULL ? usable_idle_server(pool) : NULL;
    if (*ret_server != NULL) {
        lend(pool, *ret_server);
        return TAKE_SERVER;
    }
    if (pool_is_unreachable(pool)) {
        failure_set(ret_failure,
                    "server login has been failing, cached error: %.99s (server_login_retry)",
                    pool->login_failure.message);
        ret_failure->message[OWN_TEXT_MAX] = '\0';
        pool->attempt_wanted = true;
        pool_tend(pool);
        return TAKE_REFUSED;
    }
    return pool_queue_is_full(pool, ret_failure) ? TAKE_REFUSED : TAKE_WAIT;
}

static void count_waiter(struct pool *pool, const struct waiter *waiter, int change)
{
    pool->waiter_count += (unsigned) change;
    if (waiter->dedicated != NULL)
        pool->dedicated_count += (unsigned) change;
    budgets_note_demand(pool);
}

static void wait_for(struct pool *pool, struct waiter *waiter, bool for_welcome,
                     struct dedicated *dedicated, usec_t since_us)
{
    waiter->since_us = since_us;
    waiter->for_welcome = for_welcome;
    waiter->dedicated = dedicated;
    waiter->failed = waiter->dedicated_failed = false;
    waiter->queued = true;
    DL_APPEND(pool->waiters, waiter);
    count_waiter(pool, waiter, 1);
    pool_tend(pool);
}

void pool_wait(struct pool *pool, struct waiter *waiter, bool for_welcome, usec_t since_us)
{
    wait_for(pool, waiter, for_welcome, NULL, since_us);
}

void pool_wait_dedicated(struct pool *pool, struct waiter *waiter, struct dedicated *dedicated,
                         usec_t since_us)
{
    wait_for(pool, waiter, false, dedicated, since_us);
}

static void leave_queue(struct pool *pool, struct waiter *waiter)
{
    DL_DELETE(pool->waiters, waiter);
    count_waiter(pool, waiter, -1);
    waiter->queued = false;
}

void pool_promise(struct pool *pool, struct waiter *waiter, struct server *server)
{
    leave_queue(pool, waiter);
    server->promised_to = waiter;
    waiter->server = server;
    pool_tend(pool); /* whoever stands behind may not need a connection of his own */
}

/* The wait is over; `waiter` learns from its members how. */
static void end_wait(struct pool *pool, struct waiter *waiter)
{
    leave_queue(pool, waiter);
    loop_post(loop_of(pool), &waiter->task);
}

static void grant(struct pool *pool, struct waiter *waiter, struct server *server)
{
    lend(pool, server);
    server->promised_to = waiter;
    waiter->server = server;
    end_wait(pool, waiter);
}

static void fail_waiters(struct pool *pool)
{
    while (pool->waiters != NULL) {
        pool->waiters->failed = true;
        end_wait(pool, pool->waiters);
    }
}

static void serve_waiters(struct pool *pool)
{
    struct waiter *waiter;
    while ((waiter = pool->waiters) != NULL) {
        struct server *server = NULL;
        if (waiter->dedicated != NULL || (waiter->for_welcome && !pool->welcome_known))
            return;
        if (!waiter->for_welcome) {
            server = usable_idle_server(pool);
            if (server == NULL)
                return;
            grant(pool, waiter, server);
        } else {
            end_wait(pool, waiter);
        }
    }
}

/* ---- taking back ---- */

static usec_t errand_limit_us(void)
{
    /* No setting of its own: an internal query may take as long as a login. */
    return settings_current()->server_connect_timeout;
}

/* Idle servers leave by server_idle_timeout; before that they may have to be checked (USED). */
static void set_idle_deadline(struct server *server)
{
    const struct settings *settings = settings_current();
    usec_t limit_us = settings->server_idle_timeout;
    usec_t check_us = has_text(settings->server_check_query) ? settings->server_check_delay : 0;
    if (server->state == SERVER_IDLE && check_us > 0 && (limit_us == 0 || check_us < limit_us))
        limit_us = check_us;
    deadline_set_since(server->connection.loop, &server->deadline, limit_us, server->request_us);
}

/* The reserve is in use, or the size has been lowered. */
static bool is_above_size(const struct pool *pool)
{
    return pool->limits.pool_size > 0 && pool_server_count(pool) > pool->limits.pool_size;
}

static void make_free(struct pool *pool, struct server *server, enum server_state state)
{
    move_server(pool, server, state);
    server->request_us = clock_now_us();
    set_idle_deadline(server);
    if (pool->waiters != NULL && !pool_is_paused(pool)) {
        serve_waiters(pool);
        if (state == SERVER_USED || pool_dedicated_is_next(pool))
            pool_tend(pool);
    } else {
        pool_feed_hungry(pool);
        if (pool_is_paused(pool) || is_above_size(pool))
            pool_tend(pool);
    }
}

/* What removes the traces of the session that has ended; NULL: nothing has to. */
static const char *needed_reset(const struct pool *pool, const struct server *server,
                                bool *ret_total)
{
    const struct settings *settings = settings_current();
    const char *sql = settings->server_reset_query;
    unsigned left = settings->server_reset_query_mode == RESET_SMART ? server->left : LEFT_UNKNOWN;
    if (!has_text(sql) || left == LEFT_NOTHING ||
        (pool->limits.mode != POOL_SESSION && !settings->server_reset_query_always))
        return NULL;
    if (text_equals_ignoring_case(sql, "DISCARD ALL")) {
        *ret_total = (left & LEFT_SETTINGS) != 0;
        return leftovers_reset(left);
    }
    *ret_total = text_equals_ignoring_case(sql, "RESET ALL");
    return sql;
}

/* After use: reset it, put it aside for a check, or have it ready. */
static void settle(struct pool *pool, struct server *server)
{
    const struct settings *settings = settings_current();
    bool total;
    const char *reset = needed_reset(pool, server, &total);
    if (reset != NULL) {
        move_server(pool, server, SERVER_TESTED);
        server_run_reset(server, reset, total, errand_limit_us());
    } else if (settings->server_check_delay == 0 && has_text(settings->server_check_query)) {
        make_free(pool, server, SERVER_USED);
    } else {
        make_free(pool, server, SERVER_IDLE);
    }
}

/* Servers of a pool whose lifetime is over go one by one, spread over a lifetime. */
static usec_t lifetime_gap_us(const struct pool *pool)
{
    unsigned size = pool->limits.pool_size > 0 ? pool->limits.pool_size : 1;
    return pool->limits.server_lifetime_us / size;
}

static bool may_end_lifetime(struct pool *pool, struct server *server)
{
    usec_t gap_us = lifetime_gap_us(pool);
    if (pool->last_lifetime_close_us == 0 ||
        clock_now_us() - pool->last_lifetime_close_us >= gap_us) {
        pool->last_lifetime_close_us = clock_now_us();
        return true;
    }
    deadline_set(loop_of(pool), &server->lifetime, gap_us);
    return false;
}

/* Why a server that is about to be free must go instead; NULL if it may stay. */
static const char *reason_to_close(struct pool *pool, struct server *server)
{
    if (server->lifetime_is_over && may_end_lifetime(pool, server))
        return "server lifetime over";
    if (server->close_needed)
        return "close_needed";
    if (pool_is_paused(pool))
        return "pause mode";
    if (!role_still_suits(pool, server))
        return "wrong role";
    return shared_limits_demand(pool, server) ? "evicted" : NULL;
}

void pool_give_back(struct pool *pool, struct server *server, bool settled, const char *reason)
{
    server->promised_to = NULL;
    if (settled && server->replication != REPLICATION_NONE)
        reason = "replication client was closed";
    else if (settled)
        reason = pool->limits.server_lifetime_us == 0 ? "server lifetime over"
                                                      : reason_to_close(pool, server);
    if (reason != NULL)
        pool_close_server(pool, server, reason);
    else if (server->cancels_in_flight > 0)
        move_server(pool, server, SERVER_BEING_CANCELED);
    else
        settle(pool, server);
}

/* It is clean. */
static void free_or_close(struct pool *pool, struct server *server)
{
    const char *reason = reason_to_close(pool, server);
    if (reason != NULL)
        pool_close_server(pool, server, reason);
    else
        make_free(pool, server, SERVER_IDLE);
}

void pool_cancel_wait(struct pool *pool, struct waiter *waiter)
{
    loop_cancel(loop_of(pool), &waiter->task);
    if (waiter->queued)
        leave_queue(pool, waiter);
    if (waiter->server != NULL) {
        struct server *server = waiter->server;
        waiter->server = NULL;
        server->promised_to = NULL;
        if (server->replication != REPLICATION_NONE)
            pool_close_server(pool, server, "replication client disconnected");
        else
            free_or_close(pool, server); /* nobody has used it */
    }
}

void pool_check_server(struct pool *pool, struct server *server, const char *sql, usec_t limit_us)
{
    move_server(pool, server, SERVER_TESTED);
    server_run_errand(server, ERRAND_CHECK, sql, limit_us);
}

void pool_hold_for_cancel(struct pool *pool, struct server *server, int change)
{
    server->cancels_in_flight += (unsigned) change;
    if (server->cancels_in_flight == 0 && server->state == SERVER_BEING_CANCELED) {
        const char *reason = reason_to_close(pool, server);
        if (reason != NULL)
            pool_close_server(pool, server, reason);
        else
            settle(pool, server);
    }
}

/* ---- news from servers ---- */

static void keep_welcome(struct pool *pool, struct server *server)
{
    const struct buffer *parameters = server_login_parameters(server);
    buffer_release(&pool->welcome);
    buffer_append(&pool->welcome, parameters->data, parameters->size);
    parameters_copy(&pool->welcome_values, &server->parameters, server->tracked);
    pool->welcome_known = true;
}

/* Everybody who only waits for the first login may go on, wherever he stands in the queue. */
static void wake_welcome_waiters(struct pool *pool)
{
    struct waiter *waiter, *next;
    DL_FOREACH_SAFE(pool->waiters, waiter, next) {
        if (waiter->for_welcome)
            end_wait(pool, waiter);
    }
}

/* It goes to the one client that it was opened for, with all that its login has told. */
static void hand_over(struct pool *pool, struct server *server)
{
    struct waiter *waiter = server->promised_to;
    struct dedicated *dedicated = waiter->dedicated;
    const struct buffer *parameters = server_login_parameters(server);
    buffer_append(&dedicated->welcome, parameters->data, parameters->size);
    for (unsigned i = 0; i < server->tracked->reported; i++)
        if (server->parameters.values[i] != NULL)
            parameters_set(dedicated->parameters, i, server->parameters.values[i]);
    server_finish_login(server);
    if (pool->hosts.count > 1)
        host_list_succeeded(&pool->hosts, server->host, server->port);
    lend(pool, server);
    loop_post(loop_of(pool), &waiter->task);
    pool_tend(pool);
}

/* A promised server died before it was linked: its client waits again, as the first of all. */
static void take_back_promise(struct pool *pool, struct server *server)
{
    struct waiter *waiter = server->promised_to;
    if (waiter == NULL)
        return;
    loop_cancel(loop_of(pool), &waiter->task);
    server->promised_to = NULL;
    waiter->server = NULL;
    waiter->queued = true;
    DL_PREPEND(pool->waiters, waiter);
    count_waiter(pool, waiter, 1);
}

/* Its host is left alone for a while. Returns true if another one may be better off. */
static bool pause_host(struct pool *pool, const struct server *server)
{
    return host_list_failed(&pool->hosts, server->host, server->port, server->connect_us,
                            clock_now_us(), pool_login_retry_us(pool));
}

/* Why a server that has logged in may not serve; NULL if it may. A good one can end a pause. */
static const char *reason_to_refuse(struct pool *pool, const struct server *server)
{
    /* A walsender of before PostgreSQL 14 does not tell its role, and cannot be asked. */
    bool suits = role_is_unknown(pool, server) || role_suits(pool, server);
    if (pool_awaits_switchover(pool) &&
        !pause_note_login(pool, server, suits && !role_is_wrong_after_switchover(pool, server)))
        return suits ? "pause mode" : "wrong role";
    return suits ? NULL : "wrong role";
}

/* The host is well, but is not what the clients need: another one is looked for. */
static void refuse_server(struct pool *pool, struct server *server, const char *reason)
{
    take_back_promise(pool, server);
    (void) pause_host(pool, server);
    pool->last_attempt_failed = pool->attempt_wanted = false;
    pool_close_server(pool, server, reason);
}

static void on_logged_in(struct server *server)
{
    struct pool *pool = server->pool;
    if (role_is_unknown(pool, server) && server->replication != REPLICATION_PHYSICAL) {
        server_ask_role(server, settings_current()->server_connect_timeout);
        return;
    }
    const char *reason = reason_to_refuse(pool, server);
    if (reason != NULL) {
        refuse_server(pool, server, reason);
        return;
    }
    if (server->replication != REPLICATION_NONE) {
        hand_over(pool, server);
        return;
    }
    if (!pool->welcome_known)
        keep_welcome(pool, server);
    server_finish_login(server);
    host_list_succeeded(&pool->hosts, server->host, server->port);
    pool->last_attempt_failed = pool->attempt_wanted = false;
    pool_note_login(pool, true);
    wake_welcome_waiters(pool);
    free_or_close(pool, server);
    pool_tend(pool);
}

static void on_received(struct server *server, size_t size)
{
    server->pool->stats.bytes_sent += size;
}

static void on_errand_done(struct server *server)
{
    free_or_close(server->pool, server);
}

/* "The database system is starting up" and its like: not an answer to those who wait. */
static bool is_not_yet(const struct failure *failure)
{
    return strcmp(failure->sqlstate, "57P03") == 0;
}

/* It concerns the host alone: shutting down, full, or it did not answer as a server does. */
static bool is_about_host(const struct failure *failure)
{
    return host_is_stopped(failure) || strncmp(failure->sqlstate, "53", 2) == 0;
}

/* Returns true if there is another host, which may be better off. */
static bool note_failed_host(struct pool *pool, const struct server *server,
                             const struct failure *failure)
{
    if (pool_awaits_switchover(pool) && host_is_stopped(failure))
        pause_note_failure(pool, server);
    if (is_about_host(failure))
        return pause_host(pool, server);
    host_list_refused(&pool->hosts, server->connect_us, clock_now_us(), pool_login_retry_us(pool));
    return false;
}

static void note_failed_login(struct pool *pool, const struct server *server, const char *reason,
                              const struct failure *failure)
{
    if (note_failed_host(pool, server, failure)) {
        pool->last_attempt_failed = false;
        return;
    }
    pool_note_login(pool, false);
    if (pool->key.for_auth_query && !pool_has_connected_server(pool))
        auth_query_use_old_answers(pool);
    if (is_not_yet(failure) || role_may_come(pool, failure)) {
        pool->last_attempt_failed = false;
        return;
    }
    if (failure->message[0] != '\0')
        pool->login_failure = *failure;
    else
        failure_set(&pool->login_failure, "%s", reason);
    pool->last_attempt_failed = true;
    if (failure->message[0] != '\0' && !pool_has_connected_server(pool))
        fail_waiters(pool);
}

/* The login of a server for one client alone: nobody else is concerned. */
static void fail_dedicated(struct pool *pool, struct server *server, const char *reason,
                           const struct failure *failure)
{
    struct waiter *waiter = server->promised_to;
    bool held = role_may_come(pool, failure);
    /* The others are not to wait for a dead host. */
    if (held || (failure->message[0] == '\0' && pool->hosts.count > 1))
        (void) pause_host(pool, server);
    if (held) {
        take_back_promise(pool, server);
    } else {
        server->promised_to = NULL;
        waiter->server = NULL;
        waiter->dedicated_failed = true;
        loop_post(loop_of(pool), &waiter->task);
    }
    pool_close_server(pool, server, reason);
}

static void on_failed(struct server *server, const char *reason, const struct failure *failure)
{
    struct pool *pool = server->pool;
    struct failure kept = *failure; /* `reason` may point into it */
    if (reason == failure->message)
        reason = kept.message;
    /* One that dies before its first client has it would be replaced at once, again and again. */
    bool stillborn = server->state == SERVER_LOGIN ||
                     (server->promised_to != NULL && !server->was_linked);
    if (server->replication != REPLICATION_NONE && server->promised_to != NULL) {
        fail_dedicated(pool, server, reason, &kept);
        return;
    }
    take_back_promise(pool, server);
    pool_close_server(pool, server, reason);
    if (stillborn)
        note_failed_login(pool, server, reason, &kept);
}

static void idle_deadline_passed(struct pool *pool, struct server *server)
{
    const struct settings *settings = settings_current();
    usec_t idle_us = clock_now_us() - server->request_us;
    unsigned kept = pool->limits.min_size;
    if (settings->server_idle_timeout == 0 || idle_us < settings->server_idle_timeout) {
        move_server(pool, server, SERVER_USED);
        set_idle_deadline(server);
    } else if (pool_server_count(pool) - pool->dedicated_servers > kept) {
        pool_close_server(pool, server, "server idle timeout");
    } else {
        deadline_set(loop_of(pool), &server->deadline, settings->server_idle_timeout);
    }
}

static void on_deadline_passed(struct server *server)
{
    static const struct failure none;
    if (server->state == SERVER_LOGIN)
        on_failed(server, server->connection.connecting ? "connect failed" : "connect timeout",
                  &none);
    else if (server->state == SERVER_IDLE || server->state == SERVER_USED)
        idle_deadline_passed(server->pool, server);
}

static void on_lifetime_over(struct server *server)
{
    struct pool *pool = server->pool;
    server->lifetime_is_over = true;
    if ((server->state == SERVER_IDLE || server->state == SERVER_USED) &&
        may_end_lifetime(pool, server))
        pool_close_server(pool, server, "server lifetime over");
}

const struct server_ops pool_server_ops = {
    .logged_in = on_logged_in,
    .received = on_received,
    .errand_done = on_errand_done,
    .failed = on_failed,
    .deadline_passed = on_deadline_passed,
    .lifetime_over = on_lifetime_over,
};

/* ---- upkeep ---- */

static void close_state(struct pool *pool, enum server_state state, const char *reason)
{
    while (pool->servers[state] != NULL) {
        take_back_promise(pool, pool->servers[state]);
        pool_close_server(pool, pool->servers[state], reason);
    }
}

/* After pool_size was lowered: idle servers that are too many go. */
static void close_surplus(struct pool *pool)
{
    unsigned limit = pool->limits.pool_size + pool->limits.reserve_size;
    if (pool->limits.pool_size == 0)
        return;
    while (pool->servers[SERVER_IDLE] != NULL && pool_server_count(pool) > limit)
        pool_close_server(pool, pool->servers[SERVER_IDLE]->prev, "too many servers in the pool");
}

static void tend_paused(struct pool *pool)
{
    if (!pool_awaits_switchover(pool)) {
        close_state(pool, SERVER_IDLE, "pause mode");
        close_state(pool, SERVER_USED, "pause mode");
        close_state(pool, SERVER_LOGIN, "pause mode");
        pool_needs_no_room(pool);
        pause_note_drained(pool->database);
    }
    if (pool_awaits_switchover(pool))
        pool_probe(pool);
}

static void tend(struct pool *pool)
{
    if (pool->closing)
        return;
    if (pool->pools->shutdown == SHUTDOWN_WAIT_FOR_SERVERS && pool->waiters != NULL) {
        failure_set(&pool->login_failure, "server shutting down");
        fail_waiters(pool);
    }
    if (pool_is_paused(pool)) {
        tend_paused(pool);
        return;
    }
    close_surplus(pool);
    serve_waiters(pool);
    pool_grow(pool);
}

void pool_renew_deadlines(struct pool *pool)
{
    usec_t lifetime_us = pool->limits.server_lifetime_us;
    for (enum server_state state = SERVER_IDLE; state < SERVER_CLOSED; state++) {
        struct server *server;
        DL_FOREACH(pool->servers[state], server) {
            if (is_free(server->state)) {
                set_idle_deadline(server);
                budgets_offer(pool, server); /* the limit may be new; their order is not exact then */
            }
            server->lifetime_is_over = false;
            deadline_set_since(loop_of(pool), &server->lifetime, lifetime_us, server->connect_us);
        }
    }
}

static void on_tend(struct task *task)
{
    tend(container_of(task, struct pool, tend));
}

static void on_tend_later(struct deadline *deadline)
{
    tend(container_of(deadline, struct pool, tend_later));
}

void pool_tend(struct pool *pool)
{
    if (pool->closing || pool->database->console)
        return;
    pool->tend.run = on_tend;
    pool->tend_later.passed = on_tend_later;
    loop_post(loop_of(pool), &pool->tend);
}

void pool_add_client(struct pool *pool, struct pool_client *client)
{
    DL_APPEND(pool->clients, client);
    pool->client_count++;
    if (pool->limits.min_size > 0)
        pool_tend(pool);
}

void pool_remove_client(struct pool *pool, struct pool_client *client)
{
    DL_DELETE(pool->clients, client);
    pool->client_count--;
    pool_begin_idle(pool);
}

static void forget_welcome(struct pool *pool)
{
    pool->welcome_known = false;
    buffer_release(&pool->welcome);
    buffer_release(&pool->opening);
    proven_values_release(&pool->proven_values);
}

void pool_mark_close_needed(struct pool *pool, const char *reason)
{
    for (int state = 0; state < SERVER_CLOSED; state++) {
        struct server *server;
        DL_FOREACH(pool->servers[state], server)
            pool_retire_server(server);
    }
    forget_welcome(pool);
    close_state(pool, SERVER_LOGIN, reason);
    close_state(pool, SERVER_IDLE, "database configuration changed");
    close_state(pool, SERVER_USED, "database configuration changed");
    pools_check_drains(pool->pools);
    pool_tend(pool);
}

void pool_close_servers(struct pool *pool, const char *reason)
{
    forget_welcome(pool);
    for (int state = 0; state < SERVER_CLOSED; state++) {
        struct server *server, *next;
        DL_FOREACH_SAFE(pool->servers[state], server, next) {
            take_back_promise(pool, server);
            if (server->link_ops == NULL)
                pool_close_server(pool, server, reason);
        }
    }
}
