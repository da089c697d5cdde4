/*
 * rows.c - the rows of the views: who is shown, in which order.
 *
 * Whatever is shown by name is sorted by name. Nothing is kept: each view is read from the living
 * objects while it is written.
 *
 * SPDX-License-Identifier: ISC
 */
#include "report/rows.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/memory.h"
#include "base/slab.h"
#include "relay/session.h"

/* ---- sorted lists of borrowed objects ---- */

struct list {
    const void **items; /* owns the array, borrows the objects */
    size_t count, capacity;
};

static void list_add(struct list *list, const void *item)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        list->items = memory_resize(list->items, list->capacity * sizeof(*list->items));
    }
    list->items[list->count++] = item;
}

static void list_sort(struct list *list, int (*compare)(const void *, const void *))
{
    if (list->count > 1)
        qsort(list->items, list->count, sizeof(*list->items), compare);
}

/* Visits all and frees the array. */
static void list_visit(struct list *list, const struct view *view, row_fn *visit, void *argument)
{
    for (size_t i = 0; i < list->count; i++)
        visit(argument, view, list->items[i]);
    free(list->items);
}

static int compare_pools(const void *a, const void *b)
{
    const struct pool *x = *(const struct pool *const *) a, *y = *(const struct pool *const *) b;
    int order = strcmp(x->database->name, y->database->name);
    if (order == 0)
        order = strcmp(x->user->name, y->user->name);
    return order != 0 ? order : (int) x->key.for_auth_query - (int) y->key.for_auth_query;
}

static int compare_databases(const void *a, const void *b)
{
    const struct database *x = *(const struct database *const *) a;
    const struct database *y = *(const struct database *const *) b;
    return strcmp(x->name, y->name);
}

static int compare_users(const void *a, const void *b)
{
    const struct user *x = *(const struct user *const *) a, *y = *(const struct user *const *) b;
    return strcmp(x->name, y->name);
}

static struct list sorted_pools(const struct report *report)
{
    struct list list = {0};
    const struct pool *pool;
    DL_FOREACH(report->pools->all, pool)
        list_add(&list, pool);
    list_sort(&list, compare_pools);
    return list;
}

static struct list sorted_databases(const struct report *report)
{
    struct list list = {0};
    for (const struct database *database = report->pools->databases; database != NULL;
         database = database->hh.next)
        list_add(&list, database);
    list_sort(&list, compare_databases);
    return list;
}

/* ---- clients and servers ---- */

/* The clients of a pool that wait, or those that do not. */
static void visit_clients(const struct pool *pool, bool waiting, const struct view *view,
                          row_fn *visit, void *argument)
{
    const struct pool_client *member;
    DL_FOREACH(pool->clients, member) {
        const struct client *client = container_of_const(member, struct client, member);
        if (client_is_waiting(client) == waiting)
            visit(argument, view, client);
    }
}

ROWS(clients)
{
    struct list pools = sorted_pools(report);
    const struct client *client;
    for (size_t i = 0; i < pools.count; i++) {
        visit_clients(pools.items[i], false, view, visit, argument);
        visit_clients(pools.items[i], true, view, visit, argument);
    }
    free(pools.items);
    DL_FOREACH(report->clients->canceling, client)
        visit(argument, view, client);
}

ROWS(servers)
{
    static const enum server_state order[] = {SERVER_ACTIVE, SERVER_IDLE,  SERVER_USED,
                                              SERVER_TESTED, SERVER_LOGIN, SERVER_BEING_CANCELED};
    struct list pools = sorted_pools(report);
    for (size_t i = 0; i < pools.count; i++) {
        const struct pool *pool = pools.items[i];
        for (size_t s = 0; s < countof(order); s++) {
            const struct server *server;
            DL_FOREACH(pool->servers[order[s]], server)
                visit(argument, view, server);
        }
    }
    free(pools.items);
}

/* ---- pools, databases, users ---- */

static bool have_same_names(const struct pool *a, const struct pool *b)
{
    return a->database == b->database && a->user == b->user;
}

/*
 * auth_query has a pool of its own beside that of the clients of the same names. Both are shown as
 * one: for whoever reads it, database and user name a pool. `second` may be NULL.
 */
static struct pool sum_of(const struct pool *first, const struct pool *second)
{
    const struct pool *asking = first->key.for_auth_query ? first : second;
    struct pool sum = *first;
    if (asking != NULL) /* who waits there has not joined a pool yet */
        sum.client_count += asking->waiter_count;
    if (second == NULL)
        return sum;
    for (int state = 0; state < SERVER_CLOSED; state++)
        sum.server_counts[state] += second->server_counts[state];
    sum.waiter_count += second->waiter_count;
    if (first->waiters == NULL ||
        (second->waiters != NULL && second->waiters->since_us < first->waiters->since_us))
        sum.waiters = second->waiters;
    return sum;
}

/* Calls `visit`, if there is one, for each pair of names; returns how many there are. */
static unsigned visit_pools(const struct report *report, const struct view *view, row_fn *visit,
                            void *argument)
{
    struct list list = sorted_pools(report);
    unsigned count = 0;
    for (size_t i = 0; i < list.count; count++) {
        const struct pool *first = list.items[i++], *second = NULL;
        if (i < list.count && have_same_names(first, list.items[i]))
            second = list.items[i++];
        struct pool sum = sum_of(first, second);
        if (visit != NULL)
            visit(argument, view, &sum);
    }
    free(list.items);
    return count;
}

ROWS(pools)
{
    (void) visit_pools(report, view, visit, argument);
}

ROWS(databases)
{
    struct list list = sorted_databases(report);
    list_visit(&list, view, visit, argument);
}

/* Users that have never logged in have no object at run time; theirs is made for the view. */
struct users {
    const struct pools *pools;
    struct list list;
    struct user *made; /* owns; hash by name */
};

static void add_configured_user(struct users *users, const char *name)
{
    struct user *user;
    HASH_FIND_STR(users->made, name, user);
    if (user != NULL || pools_find_user(users->pools, name) != NULL)
        return;
    user = memory_new(sizeof(*user));
    user->name = name;
    user->config = config_find_user(config_current(), name);
    HASH_ADD_KEYPTR(hh, users->made, name, strlen(name), user);
    list_add(&users->list, user);
}

static void collect_users(struct users *users)
{
    const struct config *config = config_current();
    for (const struct user *user = users->pools->users; user != NULL; user = user->hh.next)
        list_add(&users->list, user);
    for (const struct config_user *line = config->users; line != NULL; line = line->hh.next)
        add_configured_user(users, line->name);
    for (const struct config_secret *line = config->secrets; line != NULL; line = line->hh.next)
        add_configured_user(users, line->name);
    for (const struct config_database *line = config->databases; line != NULL; line = line->hh.next)
        if (line->user != NULL)
            add_configured_user(users, line->user);
    list_sort(&users->list, compare_users);
}

static void release_users(struct users *users)
{
    struct user *user, *next;
    HASH_ITER(hh, users->made, user, next) {
        HASH_DEL(users->made, user);
        free(user);
    }
}

ROWS(users)
{
    struct users users = {.pools = report->pools};
    collect_users(&users);
    list_visit(&users.list, view, visit, argument);
    release_users(&users);
}

static size_t count_users(const struct report *report)
{
    struct users users = {.pools = report->pools};
    collect_users(&users);
    free(users.list.items);
    release_users(&users);
    return users.list.count;
}

ROWS(lists)
{
    const struct resolver *resolver = report->pools->resolver;
    const struct count_row rows[] = {
        {"databases", HASH_COUNT(report->pools->databases)},
        {"users", count_users(report)},
        {"peers", HASH_COUNT(config_current()->peers)},
        {"pools", visit_pools(report, NULL, NULL, NULL)},
        {"peer_pools", 0},
        {"free_clients", client_slab()->unused},
        {"used_clients", report->clients->count - report->clients->logging_in_count},
        {"login_clients", report->clients->logging_in_count},
        {"free_servers", server_slab()->unused},
        {"used_servers", report->pools->budget.servers},
        {"dns_names", resolver_names(resolver)},
        {"dns_zones", 0},
        {"dns_queries", resolver_open_queries(resolver)},
        {"dns_pending", 0},
    };
    for (size_t i = 0; i < countof(rows); i++)
        visit(argument, view, &rows[i]);
}

/* ---- pauses ---- */

static unsigned count_waiters(const struct pause *pause)
{
    const struct pool *pool;
    unsigned count = 0;
    if (pause->database == NULL)
        DL_FOREACH(pause->pools->all, pool)
            count += pool->waiter_count;
    else
        for (pool = pause->database->members; pool != NULL; pool = pool->hh.next)
            count += pool->waiter_count;
    return count;
}

static struct pause_row pause_row_of(const struct pause *pause)
{
    return (struct pause_row){
        .pause = pause, .servers = pause_servers_left(pause), .waiting = count_waiters(pause)};
}

ROWS(pauses)
{
    struct list databases = sorted_databases(report);
    struct pause_row row;
    if (report->pools->pause != NULL) {
        row = pause_row_of(report->pools->pause);
        visit(argument, view, &row);
    }
    for (size_t i = 0; i < databases.count; i++) {
        const struct database *database = databases.items[i];
        if (database->pause == NULL)
            continue;
        row = pause_row_of(database->pause);
        visit(argument, view, &row);
    }
    free(databases.items);
}

/* ---- counters ---- */

/* The sums over some pools, now and at the older snapshot. */
struct sum {
    struct pool_stats total, older;
    usec_t older_us;
};

static void sum_add(struct sum *sum, const struct pool *pool)
{
    pool_stats_add(&sum->total, &pool->stats);
    pool_stats_add(&sum->older, &pool->window.older);
    if (pool->window.older_us < sum->older_us)
        sum->older_us = pool->window.older_us;
}

static struct pool_averages sum_average(const struct sum *sum)
{
    return pool_stats_average(&sum->total, &sum->older, sum->older_us, clock_now_us());
}

ROWS(stats)
{
    struct list databases = sorted_databases(report);
    for (size_t i = 0; i < databases.count; i++) {
        const struct database *database = databases.items[i];
        struct sum sum = {.older_us = UINT64_MAX};
        struct stats_row row = {.database = database->name};
        if (database->members == NULL)
            continue;
        for (const struct pool *pool = database->members; pool != NULL; pool = pool->hh.next)
            sum_add(&sum, pool);
        row.total = sum.total;
        row.average = sum_average(&sum);
        visit(argument, view, &row);
    }
    free(databases.items);
}

ROWS(totals)
{
    struct sum sum = {.older_us = UINT64_MAX};
    const struct pool *pool;
    DL_FOREACH(report->pools->all, pool)
        sum_add(&sum, pool);
    struct pool_averages average = sum_average(&sum);
    const struct count_row rows[] = {
#define COUNTER(name, field) {"total_" #name, sum.total.field},
#include "report/totals.def"
#undef COUNTER
#define COUNTER(name, field) {"avg_" #name, average.field},
#include "report/totals.def"
#undef COUNTER
    };
    for (size_t i = 0; i < countof(rows); i++)
        visit(argument, view, &rows[i]);
}

/* ---- the process ---- */

ROWS(config)
{
    (void) report;
    for (size_t i = 0; i < settings_count; i++) {
        struct buffer text = {0};
        struct config_row row = {.setting = &settings_table[i]};
        if (settings_print(settings_current(), row.setting, &text)) {
            buffer_append(&text, "", 1);
            row.value = (const char *) text.data;
        }
        visit(argument, view, &row);
        buffer_release(&text);
    }
}

ROWS(state)
{
    const struct count_row rows[] = {
        {"active", report->pools->pause == NULL},
        {"paused", report->pools->pause != NULL},
        {"suspended", false},
    };
    for (size_t i = 0; i < countof(rows); i++)
        visit(argument, view, &rows[i]);
}

ROWS(version)
{
    struct count_row row = {.name = report->version};
    visit(argument, view, &row);
}

ROWS(mem)
{
    const struct pools *pools = report->pools;
    const struct slab plain[] = {
        {.name = "user_cache", .object_size = sizeof(struct user), .used = HASH_COUNT(pools->users)},
        {.name = "db_cache",
         .object_size = sizeof(struct database),
         .used = HASH_COUNT(pools->databases)},
        {.name = "pool_cache", .object_size = sizeof(struct pool), .used = pools->pool_count},
        *server_slab(),
        *client_slab(),
        *session_slab(),
        {.name = "iobuf_cache", .object_size = LOOP_HEADROOM + LOOP_READ_SIZE, .used = 1},
    };
    for (size_t i = 0; i < countof(plain); i++)
        visit(argument, view, &plain[i]);
}

/* ---- names ---- */

struct dns_visit {
    const struct view *view;
    row_fn *visit;
    void *argument;
};

static void visit_name(void *argument, const char *name, usec_t seconds_left,
                       const struct address *addresses, size_t count)
{
    struct dns_visit *to = argument;
    struct buffer text = {0};
    for (size_t i = 0; i < count; i++) {
        char address[ADDRESS_TEXT_SIZE];
        address_print(&addresses[i], address, sizeof(address));
        buffer_append(&text, ",", i > 0);
        buffer_append(&text, address, strlen(address));
    }
    buffer_append(&text, "", 1);
    struct dns_row row = {name, seconds_left, (const char *) text.data};
    to->visit(to->argument, to->view, &row);
    buffer_release(&text);
}

ROWS(dns_hosts)
{
    struct dns_visit to = {view, visit, argument};
    resolver_visit(report->pools->resolver, visit_name, &to);
}
