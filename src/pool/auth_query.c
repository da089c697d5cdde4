/*
 * auth_query.c - asks a server for the secret of a user.
 *
 * A lookup is an object of its own, because the login may go while its query runs.
 *
 * SPDX-License-Identifier: ISC
 */
#include "pool/auth_query.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/intern.h"
#include "base/log.h"
#include "base/memory.h"
#include "config/config.h"
#include "wire/message.h"

/* Longest secret that a login can use (PasswordMessage). */
#define SECRET_MAX 65530

/* Kept answers; beyond that the oldest goes. */
#define CACHE_LIMIT 100000

/* How long a query may take, from its start on, whose asker has gone; then its server is closed. */
#define ABANDONED_LIMIT_US USEC_PER_SEC

struct auth_lookup {
    struct pool *pool;            /* borrows */
    struct auth_request *request; /* borrows; NULL once it was taken back */
    char *sql, *name;             /* own */
    struct waiter waiter;
    struct server_query query;
    struct server *server; /* borrows while the query runs */
    const char *user_name; /* owns a reference; of the row */
    struct secret secret;  /* owns; of the row */
    unsigned columns, rows;
    bool broken;   /* the answer is of no use; the log says why */
    bool outdated; /* the configuration has changed since: the answer is not kept */
    usec_t started_us; /* the query was sent */
    struct deferred deferred;
    struct auth_lookup *next, *prev; /* member of pools->lookups */
};

/* An answer that is kept. */
struct kept_answer {
    struct buffer key; /* owns; see cache_key() */
    const char *user_name; /* owns a reference */
    struct secret secret;  /* owns */
    usec_t fetched_us;
    bool distrusted;
    struct kept_answer *next, *prev; /* by age, the oldest first */
    UT_hash_handle hh;
};

struct auth_cache {
    struct kept_answer *table, *by_age;
};

/* ---- where to ask ---- */

const char *auth_query_user(const struct database *database)
{
    const char *own = database->config->auth_user;
    const char *user = own != NULL ? own : settings_current()->auth_user;
    return user == NULL || user[0] == '\0' ? NULL : user;
}

static const char *query_of(const struct database *database)
{
    const char *own = database->config->auth_query;
    return own != NULL ? own : settings_current()->auth_query;
}

/* The entry in which the query runs; NULL with a failure. */
static struct database *find_auth_database(struct pools *pools, struct database *database,
                                           struct failure *ret_failure)
{
    const char *own = database->config->auth_dbname;
    const char *name = own != NULL ? own : settings_current()->auth_dbname;
    struct database *found = database;
    if (name != NULL && name[0] != '\0')
        found = pools_find_database(pools, name, true);
    if (found == NULL) {
        log_error(NULL, "authentication database \"%s\" is not configured.", name);
        failure_set(ret_failure, "bouncer config error");
    } else if (found->console) {
        log_error(NULL, "the console cannot be the authentication database (auth_dbname)");
        failure_set(ret_failure, "bouncer config error");
        found = NULL;
    } else if (found->disabled) {
        failure_set(ret_failure, "authentication database \"%s\" is disabled", found->name);
        found = NULL;
    }
    return found;
}

/* ---- kept answers ---- */

/* Answers depend on the entry, on who asks there, and on the name. */
static struct buffer cache_key(const struct database *database, const char *name)
{
    struct buffer key = {0};
    const char *asks = auth_query_user(database);
    message_add_text(&key, database->name);
    message_add_text(&key, asks != NULL ? asks : "");
    message_add_text(&key, name);
    return key;
}

static struct kept_answer *find_kept(const struct pools *pools, const struct buffer *key)
{
    struct kept_answer *kept = NULL;
    if (pools->auth_cache != NULL)
        HASH_FIND(hh, pools->auth_cache->table, key->data, key->size, kept);
    return kept;
}

static void drop_kept(struct auth_cache *cache, struct kept_answer *kept)
{
    HASH_DEL(cache->table, kept);
    DL_DELETE(cache->by_age, kept);
    intern_give_back(kept->user_name);
    secret_release(&kept->secret);
    buffer_release(&kept->key);
    free(kept);
}

static void keep(struct auth_request *request)
{
    struct pools *pools = request->pools;
    struct kept_answer *kept = find_kept(pools, &request->key);
    if (settings_current()->auth_query_cache_ttl == 0)
        return;
    if (pools->auth_cache == NULL)
        pools->auth_cache = memory_new(sizeof(*pools->auth_cache));
    if (kept != NULL)
        drop_kept(pools->auth_cache, kept);
    kept = memory_new(sizeof(*kept));
    buffer_append(&kept->key, request->key.data, request->key.size);
    kept->user_name = intern_share(request->user_name);
    secret_copy(&kept->secret, &request->secret);
    kept->fetched_us = clock_now_us();
    HASH_ADD_KEYPTR(hh, pools->auth_cache->table, kept->key.data, kept->key.size, kept);
    DL_APPEND(pools->auth_cache->by_age, kept);
    if (HASH_COUNT(pools->auth_cache->table) > CACHE_LIMIT)
        drop_kept(pools->auth_cache, pools->auth_cache->by_age);
}

static void use_kept(struct auth_request *request, const struct kept_answer *kept)
{
    request->answer = AUTH_ANSWER_USER;
    request->from_cache = true;
    request->user_name = intern_share(kept->user_name);
    secret_copy(&request->secret, &kept->secret);
}

void auth_query_distrust(const struct auth_request *request)
{
    struct kept_answer *kept =
        request->from_cache ? find_kept(request->pools, &request->key) : NULL;
    if (kept != NULL)
        kept->distrusted = true;
}

void auth_query_forget(struct pools *pools)
{
    struct auth_lookup *lookup;
    DL_FOREACH(pools->lookups, lookup)
        lookup->outdated = true;
    while (pools->auth_cache != NULL && pools->auth_cache->by_age != NULL)
        drop_kept(pools->auth_cache, pools->auth_cache->by_age);
    free(pools->auth_cache);
    pools->auth_cache = NULL;
}

/* ---- the answer ---- */

static void on_task(struct task *task)
{
    struct auth_request *request = container_of(task, struct auth_request, task);
    request->answered(request);
}

static void post_answer(struct auth_request *request)
{
    request->task.run = on_task;
    loop_post(request->pools->loop, &request->task);
}

static void release_lookup(struct deferred *deferred)
{
    struct auth_lookup *lookup = container_of(deferred, struct auth_lookup, deferred);
    intern_give_back(lookup->user_name);
    secret_release(&lookup->secret);
    free(lookup->sql);
    free(lookup->name);
    free(lookup);
}

static void end_lookup(struct auth_lookup *lookup)
{
    struct pools *pools = lookup->pool->pools;
    pool_cancel_wait(lookup->pool, &lookup->waiter);
    DL_DELETE(pools->lookups, lookup);
    loop_free_later(pools->loop, &lookup->deferred, release_lookup);
}

/* The asking login hears of the lookup once. */
static void tell(struct auth_lookup *lookup)
{
    struct auth_request *request = lookup->request;
    request->lookup = NULL;
    lookup->request = NULL;
    post_answer(request);
}

/* The asking login gets its answer, if it is still there. */
static void answer(struct auth_lookup *lookup, enum auth_answer answer)
{
    struct auth_request *request = lookup->request;
    if (request == NULL)
        return;
    request->answer = answer;
    if (answer == AUTH_ANSWER_USER) {
        request->user_name = intern_share(lookup->user_name);
        secret_copy(&request->secret, &lookup->secret);
        if (!lookup->outdated)
            keep(request);
    }
    tell(lookup);
}

/* ... which is a failure of the pool, in the words that the pool has for its clients. */
static void answer_failure(struct auth_lookup *lookup, const struct failure *failure)
{
    if (lookup->request != NULL)
        lookup->request->failure = *failure;
    answer(lookup, AUTH_ANSWER_FAILED);
    end_lookup(lookup);
}

/* While no server can be reached, an old answer is better than none. */
static bool answer_from_kept(struct auth_lookup *lookup)
{
    struct auth_request *request = lookup->request;
    const struct kept_answer *kept =
        request != NULL ? find_kept(request->pools, &request->key) : NULL;
    if (kept == NULL)
        return false;
    use_kept(request, kept);
    tell(lookup);
    return true;
}

void auth_query_use_old_answers(struct pool *pool)
{
    struct auth_lookup *lookup, *next;
    DL_FOREACH_SAFE(pool->pools->lookups, lookup, next) {
        if (lookup->pool == pool && lookup->server == NULL && answer_from_kept(lookup))
            end_lookup(lookup);
    }
}

/* What kind of answer the messages were. */
static enum auth_answer judge(struct auth_lookup *lookup, bool complete)
{
    if (!complete || lookup->broken)
        return AUTH_ANSWER_FAILED;
    if (lookup->columns != 2) {
        log_error(&lookup->server->subject, "expected 2 columns from auth_query, not %u",
                  lookup->columns);
        return AUTH_ANSWER_FAILED;
    }
    if (lookup->rows > 1) {
        log_error(&lookup->server->subject, "expected at most 1 row from auth_query, not %u",
                  lookup->rows);
        return AUTH_ANSWER_FAILED;
    }
    return lookup->rows == 1 ? AUTH_ANSWER_USER : AUTH_ANSWER_NO_USER;
}

static void refuse_answer(struct auth_lookup *lookup, const char *reason)
{
    if (!lookup->broken)
        log_error(&lookup->server->subject, "%s", reason);
    lookup->broken = true;
}

/* A field of a DataRow; NULL is SQL's NULL. */
static const uint8_t *read_field(struct message_reader *reader, size_t *ret_size)
{
    uint32_t size = message_read_int32(reader);
    *ret_size = 0;
    if (size == UINT32_MAX)
        return NULL;
    *ret_size = size;
    return message_read_bytes(reader, size);
}

static void take_row(struct auth_lookup *lookup, const struct collected_message *message)
{
    struct message_reader reader = message_reader_of(message->body, message->size);
    size_t name_size, secret_size;
    unsigned fields = message_read_int16(&reader);
    if (fields != 2 && fields == lookup->columns)
        return; /* told by the number of columns */
    const uint8_t *name = read_field(&reader, &name_size);
    const uint8_t *secret = read_field(&reader, &secret_size);
    if (fields != 2 || reader.broken || message_bytes_left(&reader) != 0) {
        refuse_answer(lookup, "unexpected response from auth_query");
    } else if (name == NULL) {
        refuse_answer(lookup, "auth_query response contained null user name");
    } else if (name_size == 0 || name_size > USER_NAME_MAX || secret_size > SECRET_MAX ||
               memchr(name, '\0', name_size) != NULL ||
               (secret_size > 0 && memchr(secret, '\0', secret_size) != NULL)) {
        refuse_answer(lookup,
                      "auth_query response contained a user name or secret that cannot be used");
    } else {
        intern_give_back(lookup->user_name);
        lookup->user_name = intern_take_bytes(name, name_size);
        secret_release(&lookup->secret);
        if (secret_size > 0)
            secret_set(&lookup->secret, secret, secret_size);
        lookup->rows++;
    }
}

static void take_error(struct auth_lookup *lookup, const struct collected_message *message)
{
    struct error_fields fields;
    (void) error_response_read(message->body, message->size, &fields);
    if (!lookup->broken)
        log_error(&lookup->server->subject, "S: error in auth_query: %s: %s", fields.severity,
                  fields.message);
    lookup->broken = true;
}

static void on_message(struct server_query *query, const struct collected_message *message)
{
    struct auth_lookup *lookup = container_of(query, struct auth_lookup, query);
    struct message_reader reader = message_reader_of(message->body, message->size);
    switch (message->type) {
    case '1':
    case '2':
    case 'C':
    case 'n':
        break;
    case 'T':
        lookup->columns = message_read_int16(&reader);
        break;
    case 'D':
        take_row(lookup, message);
        break;
    case 'E':
        take_error(lookup, message);
        break;
    default:
        refuse_answer(lookup, "unexpected response from auth_query");
        break;
    }
}

static void on_ended(struct server_query *query, bool complete)
{
    struct auth_lookup *lookup = container_of(query, struct auth_lookup, query);
    struct server *server = lookup->server;
    bool unanswered = !complete && !lookup->broken && lookup->columns == 0;
    if (lookup->request != NULL && !(unanswered && answer_from_kept(lookup)))
        answer(lookup, judge(lookup, complete));
    lookup->server = NULL;
    if (complete)
        pool_give_back(lookup->pool, server, true, NULL);
    end_lookup(lookup);
}

/* ---- the question ---- */

/* Parse, Bind with the name as text, Describe, Execute, Sync. */
static void write_question(const struct auth_lookup *lookup, struct buffer *out)
{
    size_t mark = message_begin(out, 'P');
    message_add_text(out, "");
    message_add_text(out, lookup->sql);
    message_add_int16(out, 0);
    message_end(out, mark);

    mark = message_begin(out, 'B');
    message_add_text(out, "");
    message_add_text(out, "");
    message_add_int16(out, 0);
    message_add_int16(out, 1);
    message_add_int32(out, (uint32_t) strlen(lookup->name));
    message_add_bytes(out, lookup->name, strlen(lookup->name));
    message_add_int16(out, 0);
    message_end(out, mark);

    mark = message_begin(out, 'D');
    message_add_text(out, "P");
    message_end(out, mark);

    mark = message_begin(out, 'E');
    message_add_text(out, "");
    message_add_int32(out, 0);
    message_end(out, mark);

    message_end(out, message_begin(out, 'S'));
}

static void run(struct auth_lookup *lookup, struct server *server)
{
    struct buffer question = {0};
    server->promised_to = NULL;
    lookup->server = server;
    lookup->started_us = clock_now_us();
    lookup->query.message = on_message;
    lookup->query.ended = on_ended;
    write_question(lookup, &question);
    server_run_query(server, &question, &lookup->query);
    buffer_release(&question);
}

static void on_granted(struct task *task)
{
    struct waiter *waiter = container_of(task, struct waiter, task);
    struct auth_lookup *lookup = container_of(waiter, struct auth_lookup, waiter);
    struct server *server = waiter->server;
    waiter->server = NULL;
    if (waiter->failed)
        answer_failure(lookup, &lookup->pool->login_failure);
    else
        run(lookup, server);
}

static void begin(struct auth_lookup *lookup)
{
    struct server *server;
    struct failure failure;
    switch (pool_take(lookup->pool, &server, &failure)) {
    case TAKE_SERVER:
        run(lookup, server);
        return;
    case TAKE_WAIT:
        pool_wait(lookup->pool, &lookup->waiter, false, clock_now_us());
        return;
    case TAKE_REFUSED:
        answer_failure(lookup, &failure);
        return;
    }
}

static bool is_fresh(const struct kept_answer *kept)
{
    return !kept->distrusted &&
           clock_now_us() - kept->fetched_us < settings_current()->auth_query_cache_ttl;
}

static void look_up(struct pool *pool, struct database *database, const char *name,
                    struct auth_request *request)
{
    struct auth_lookup *lookup = memory_new(sizeof(*lookup));
    lookup->pool = pool;
    lookup->request = request;
    lookup->sql = memory_copy_text(query_of(database));
    lookup->name = memory_copy_text(name);
    lookup->waiter.task.run = on_granted;
    request->lookup = lookup;
    DL_APPEND(pool->pools->lookups, lookup);
    begin(lookup);
}

void auth_query_ask(struct pools *pools, struct database *database, const char *name,
                    struct auth_request *request)
{
    struct database *where;
    struct pool *pool;
    const struct kept_answer *kept;
    request->pools = pools;
    request->key = cache_key(database, name);
    kept = find_kept(pools, &request->key);
    request->answer = AUTH_ANSWER_FAILED;
    failure_set(&request->failure, "bouncer config error");
    where = find_auth_database(pools, database, &request->failure);
    if (where == NULL) {
        post_answer(request);
        return;
    }
    pool = pools_get_auth_pool(pools, where, pools_get_user(pools, auth_query_user(database)));
    if (kept == NULL || (!is_fresh(kept) && !pool_is_unreachable(pool))) {
        look_up(pool, database, name, request);
        return;
    }
    use_kept(request, kept);
    post_answer(request);
    if (!is_fresh(kept)) { /* nobody waits, but somebody wants to know if the server is back */
        pool->attempt_wanted = true;
        pool_tend(pool);
    }
}

/*
 * Whoever asked has gone. A query that waits is given up. One that runs may end, so that nobody can
 * make the pool open servers by leaving early; if it takes long, its server is closed.
 */
static void abandon(struct auth_lookup *lookup)
{
    lookup->request = NULL;
    if (lookup->server != NULL)
        deadline_set_since(lookup->pool->pools->loop, &lookup->server->deadline, ABANDONED_LIMIT_US,
                           lookup->started_us);
    else
        end_lookup(lookup);
}

void auth_query_release(struct auth_request *request)
{
    if (request->lookup != NULL)
        abandon(request->lookup);
    if (request->pools != NULL)
        loop_cancel(request->pools->loop, &request->task);
    intern_give_back(request->user_name);
    secret_release(&request->secret);
    buffer_release(&request->key);
    request->user_name = NULL;
    request->lookup = NULL;
}

void auth_query_end_pool(struct pool *pool)
{
    struct auth_lookup *lookup, *next;
    DL_FOREACH_SAFE(pool->pools->lookups, lookup, next) {
        if (lookup->pool != pool)
            continue;
        answer(lookup, AUTH_ANSWER_FAILED);
        if (lookup->server != NULL)
            pool_close_server(pool, lookup->server, "auth_query was given up");
        else
            end_lookup(lookup);
    }
}
