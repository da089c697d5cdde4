/*
 * resolver.c - asynchronous name look-ups (c-ares), with a cache.
 *
 * Everything about a name happens in its task: the task starts a look-up if the answer is missing
 * or too old, and hands an answer to the askers. So neither a question nor an answer ever runs
 * inside a call of somebody else, although c-ares likes to answer at once.
 *
 * A request in c-ares cannot be taken back alone. When the time limit of a look-up passes, the name
 * lets go of the request, which ends in its own time. When the configuration changes, the channel
 * is replaced and what was in flight is asked again on the new one. Does not know about ports (the
 * asker adds his) and does not read record lifetimes.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/resolver.h"

#include <ares.h>
#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/deadline.h"

#define LOOKUP_LIMIT_US (5 * USEC_PER_SEC)
#define ADDRESSES_MAX   64
#define NAMES_MAX       10000

/* Two rounds through all servers, of 1 and 2 seconds each, unless LOOKUP_LIMIT_US ends it. */
#define TRY_MS 1000
#define TRIES  2

/* How long we believe a failure of our own (no descriptor, no server to talk to). */
#define LOCAL_FAILURE_US USEC_PER_SEC

enum outcome {
    OUTCOME_NONE,
    OUTCOME_FOUND,
    OUTCOME_FAILED,
    OUTCOME_LOCAL_FAILURE
};

struct resolver_name {
    struct resolver *resolver; /* borrows */
    UT_hash_handle hh;         /* member of the resolver's names */
    struct task task;
    struct deadline limit;         /* of the look-up */
    struct deadline expiry;        /* of the answer */
    struct resolver_query *askers; /* borrows; those who wait */
    struct request *request;       /* borrows; the look-up in flight */
    struct address *addresses;     /* owns; constant while the task runs */
    size_t count;
    const char *error; /* borrows (for ever); NULL after a success */
    usec_t answered_us;
    enum outcome outcome;
    bool is_news; /* an answer has come that the askers have not heard */
    char text[];
};

/* One request in c-ares. Ends with on_answer(), always. */
struct request {
    struct resolver *resolver;  /* borrows */
    struct resolver_name *name; /* borrows; NULL when nobody waits for the request any more */
};

/* A socket of c-ares. */
struct resolver_socket {
    struct resolver *resolver; /* borrows */
    struct event event;
    ares_socket_t fd;                    /* borrows */
    struct resolver_socket *next, *prev; /* member of the resolver's sockets */
};

/* What tells one version of a file from the next. All zero: there is no file. */
struct file_stamp {
    struct timespec changed;
    off_t size;
    ino_t inode;
};

struct resolver {
    struct loop *loop;    /* borrows */
    char *resolv_conf;    /* owns; NULL: the system's */
    ares_channel channel; /* owns */
    struct file_stamp configured;
    struct event timer;              /* when c-ares wants to repeat a question */
    struct resolver_socket *sockets; /* owns */
    struct resolver_name *names;     /* owns; in order of creation */
    usec_t max_ttl_us, nxdomain_ttl_us;
    size_t in_flight;   /* names with a request */
    bool has_timed_out; /* the channel is to be replaced when nobody needs it */
    bool closing;
};

/* ---- c-ares and the loop ---- */

static void arm_timer(struct resolver *resolver)
{
    struct timeval wait;
    if (ares_timeout(resolver->channel, NULL, &wait) == NULL)
        event_del(&resolver->timer);
    else
        event_add(&resolver->timer, &wait);
}

static void on_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *argument)
{
    struct resolver *resolver = argument;
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm_timer(resolver);
}

static void on_socket(evutil_socket_t fd, short what, void *argument)
{
    /* The socket may be gone after the call, the resolver not. */
    struct resolver *resolver = ((struct resolver_socket *) argument)->resolver;
    ares_process_fd(resolver->channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
                    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
    arm_timer(resolver);
}

static void drop_socket(struct resolver_socket *resolver_socket)
{
    event_del(&resolver_socket->event);
    DL_DELETE(resolver_socket->resolver->sockets, resolver_socket);
    free(resolver_socket);
}

/* c-ares says what it wants to hear of a socket; nothing, before it closes it. */
static void on_socket_state(void *argument, ares_socket_t fd, int readable, int writable)
{
    struct resolver *resolver = argument;
    struct resolver_socket *found;
    DL_SEARCH_SCALAR(resolver->sockets, found, fd, fd);
    if (!readable && !writable) {
        if (found != NULL)
            drop_socket(found);
        return;
    }
    if (found == NULL) {
        found = memory_new(sizeof(*found));
        found->resolver = resolver;
        found->fd = fd;
        DL_APPEND(resolver->sockets, found);
    } else {
        event_del(&found->event);
    }
    short wanted = (short) (EV_PERSIST | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
    event_assign(&found->event, resolver->loop->base, fd, wanted, on_socket, found);
    /* Without the event the question is repeated and then fails: the timer sees to that. */
    if (event_add(&found->event, NULL) != 0)
        log_warn(NULL, "cannot watch a socket of the DNS resolver");
}

/* Returns an error of c-ares. */
static int open_channel(struct resolver *resolver, ares_channel *ret_channel)
{
    char lookups[] = "fb"; /* the hosts file, then DNS */
    struct ares_options options = {.timeout = TRY_MS,
                                   .tries = TRIES,
                                   .lookups = lookups,
                                   .sock_state_cb = on_socket_state,
                                   .sock_state_cb_data = resolver};
    int set = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
    if (resolver->resolv_conf != NULL) {
#ifdef ARES_OPT_RESOLVCONF
        options.resolvconf_path = resolver->resolv_conf;
        set |= ARES_OPT_RESOLVCONF;
#else
        return ARES_ENOTIMP;
#endif
    }
    return ares_init_options(ret_channel, &options, set);
}

static struct file_stamp current_stamp(const struct resolver *resolver)
{
    struct stat found;
    const char *path = resolver->resolv_conf != NULL ? resolver->resolv_conf : "/etc/resolv.conf";
    if (stat(path, &found) != 0)
        return (struct file_stamp){.size = 0};
    return (struct file_stamp){
        .changed = found.st_mtim, .size = found.st_size, .inode = found.st_ino};
}

static bool is_same_stamp(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec &&
           a->size == b->size && a->inode == b->inode;
}

/*
 * Makes a new channel if the configuration has changed. Also after a time limit has passed and the
 * requests that are left belong to nobody: whatever was wrong with the old sockets is over then.
 */
static void renew_channel(struct resolver *resolver)
{
    ares_channel old = resolver->channel, new;
    struct file_stamp now = current_stamp(resolver);
    if (is_same_stamp(&now, &resolver->configured) &&
        !(resolver->has_timed_out && resolver->in_flight == 0))
        return;
    int status = open_channel(resolver, &new);
    if (status != ARES_SUCCESS) {
        log_warn(NULL, "cannot read the DNS configuration again: %s", ares_strerror(status));
        return;
    }
    resolver->channel = new;
    resolver->configured = now;
    resolver->has_timed_out = false;
    ares_destroy(old); /* what was in flight comes back through on_answer() */
}

/* ---- names ---- */

static usec_t lifetime_us(const struct resolver_name *name)
{
    const struct resolver *resolver = name->resolver;
    if (name->outcome == OUTCOME_FOUND)
        return resolver->max_ttl_us;
    if (name->outcome == OUTCOME_LOCAL_FAILURE && resolver->nxdomain_ttl_us > LOCAL_FAILURE_US)
        return LOCAL_FAILURE_US;
    return resolver->nxdomain_ttl_us;
}

static usec_t left_us(const struct resolver_name *name)
{
    usec_t end_us = name->answered_us + lifetime_us(name);
    usec_t now_us = clock_now_us();
    return name->outcome != OUTCOME_NONE && end_us > now_us ? end_us - now_us : 0;
}

static bool is_idle(const struct resolver_name *name)
{
    return name->askers == NULL && name->request == NULL && !task_is_posted(&name->task);
}

static void drop_name(struct resolver_name *name)
{
    struct resolver *resolver = name->resolver;
    HASH_DELETE(hh, resolver->names, name);
    loop_cancel(resolver->loop, &name->task);
    deadline_clear(&name->limit);
    deadline_clear(&name->expiry);
    free(name->addresses);
    free(name);
}

static void let_go_of_request(struct resolver_name *name)
{
    if (name->request == NULL)
        return;
    name->request->name = NULL;
    name->request = NULL;
    name->resolver->in_flight--;
}

static void take_answer(struct resolver_name *name, enum outcome outcome, const char *error)
{
    name->outcome = outcome;
    name->error = error;
    name->answered_us = clock_now_us();
    name->is_news = true;
    deadline_clear(&name->limit);
    loop_post(name->resolver->loop, &name->task);
    if (error != NULL)
        log_debug(NULL, "DNS lookup of %s failed: %s", name->text, error);
    else
        log_debug(NULL, "DNS lookup of %s: %zu addresses", name->text, name->count);
}

static void forget_addresses(struct resolver_name *name)
{
    free(name->addresses);
    name->addresses = NULL;
    name->count = 0;
}

static void keep_addresses(struct resolver_name *name, const struct ares_addrinfo *answer)
{
    const struct ares_addrinfo_node *node;
    name->addresses = memory_new(ADDRESSES_MAX * sizeof(*name->addresses));
    for (node = answer->nodes; node != NULL && name->count < ADDRESSES_MAX; node = node->ai_next) {
        if (node->ai_family != AF_INET && node->ai_family != AF_INET6)
            continue;
        struct address address = address_from_socket(node->ai_addr);
        address.port = 0;
        name->addresses[name->count++] = address;
    }
}

/* Failures that say nothing about the name, and may be over in a moment. */
static bool is_local_failure(int status)
{
    return status == ARES_ECONNREFUSED || status == ARES_ENOMEM || status == ARES_EFILE;
}

static void on_answer(void *argument, int status, int timeouts UNUSED, struct ares_addrinfo *answer)
{
    struct request *request = argument;
    struct resolver *resolver = request->resolver;
    struct resolver_name *name = request->name;
    if (name != NULL)
        let_go_of_request(name);
    free(request);
    if (name != NULL && !resolver->closing) {
        if (status == ARES_EDESTRUCTION) {
            loop_post(resolver->loop, &name->task); /* once more, on the new channel */
        } else {
            forget_addresses(name);
            if (status == ARES_SUCCESS)
                keep_addresses(name, answer);
            else if (status == ARES_ETIMEOUT)
                resolver->has_timed_out = true;
            if (name->count > 0)
                take_answer(name, OUTCOME_FOUND, NULL);
            else
                take_answer(name, is_local_failure(status) ? OUTCOME_LOCAL_FAILURE : OUTCOME_FAILED,
                            ares_strerror(status == ARES_SUCCESS ? ARES_ENODATA : status));
        }
    }
    if (answer != NULL)
        ares_freeaddrinfo(answer);
}

static void on_limit(struct deadline *deadline)
{
    struct resolver_name *name = container_of(deadline, struct resolver_name, limit);
    let_go_of_request(name);
    name->resolver->has_timed_out = true;
    forget_addresses(name);
    take_answer(name, OUTCOME_FAILED, "timeout");
}

static void start_lookup(struct resolver_name *name)
{
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
                                                     .ai_socktype = SOCK_STREAM};
    struct resolver *resolver = name->resolver;
    renew_channel(resolver);
    struct request *request = memory_new(sizeof(*request));
    request->resolver = resolver;
    request->name = name;
    name->request = request;
    resolver->in_flight++;
    deadline_clear(&name->expiry);
    if (!deadline_is_set(&name->limit))
        deadline_set(resolver->loop, &name->limit, LOOKUP_LIMIT_US);
    ares_getaddrinfo(resolver->channel, name->text, NULL, &hints, on_answer, request);
    arm_timer(resolver);
}

/* Questions that are asked meanwhile stand behind a marker and wait for the next round. */
static void tell_askers(struct resolver_name *name)
{
    struct resolver_query marker = {.answered = NULL};
    DL_APPEND(name->askers, &marker);
    while (name->askers != &marker) {
        struct resolver_query *query = name->askers;
        resolver_cancel(query);
        query->answered(query, name->addresses, name->count, name->error);
    }
    DL_DELETE(name->askers, &marker);
}

static void run_name(struct task *task)
{
    struct resolver_name *name = container_of(task, struct resolver_name, task);
    if (name->request != NULL)
        return;
    if (!name->is_news && left_us(name) == 0) {
        if (name->askers != NULL)
            start_lookup(name);
        else
            drop_name(name);
        return;
    }
    name->is_news = false;
    tell_askers(name);
    if (is_idle(name) && left_us(name) == 0)
        drop_name(name);
    else
        deadline_set_since(name->resolver->loop, &name->expiry, lifetime_us(name),
                           name->answered_us);
}

static void on_expiry(struct deadline *deadline)
{
    struct resolver_name *name = container_of(deadline, struct resolver_name, expiry);
    if (is_idle(name))
        drop_name(name);
}

/* Makes room for one more name: the oldest that nobody waits for has to go. */
static void limit_names(struct resolver *resolver)
{
    struct resolver_name *name, *next;
    if (HASH_COUNT(resolver->names) < NAMES_MAX)
        return;
    HASH_ITER(hh, resolver->names, name, next) {
        if (is_idle(name)) {
            drop_name(name);
            return;
        }
    }
}

static struct resolver_name *find_or_add_name(struct resolver *resolver, const char *text)
{
    struct resolver_name *name;
    size_t length = strlen(text);
    HASH_FIND(hh, resolver->names, text, length, name);
    if (name != NULL)
        return name;
    limit_names(resolver);
    name = memory_new(sizeof(*name) + length + 1);
    name->resolver = resolver;
    name->task.run = run_name;
    name->limit.passed = on_limit;
    name->expiry.passed = on_expiry;
    memcpy(name->text, text, length + 1);
    HASH_ADD_KEYPTR(hh, resolver->names, name->text, length, name);
    return name;
}

/* ---- the public side ---- */

void resolver_ask(struct resolver *resolver, const char *name, struct resolver_query *query)
{
    assert(query->name == NULL);
    struct resolver_name *found = find_or_add_name(resolver, name);
    query->name = found;
    DL_APPEND(found->askers, query);
    loop_post(resolver->loop, &found->task);
}

void resolver_cancel(struct resolver_query *query)
{
    if (query->name == NULL)
        return;
    DL_DELETE(query->name->askers, query);
    query->name = NULL;
    query->next = query->prev = NULL;
}

struct resolver *resolver_create(struct loop *loop, const struct resolver_options *options)
{
    struct resolver *resolver = memory_new(sizeof(*resolver));
    resolver->loop = loop;
    if (options->resolv_conf != NULL && options->resolv_conf[0] != '\0')
        resolver->resolv_conf = memory_copy_text(options->resolv_conf);
    resolver->max_ttl_us = options->max_ttl_us;
    resolver->nxdomain_ttl_us = options->nxdomain_ttl_us;
    resolver->configured = current_stamp(resolver);
    evtimer_assign(&resolver->timer, loop->base, on_timer, resolver);
    int status = ares_library_init(ARES_LIB_INIT_ALL);
    if (status == ARES_SUCCESS) {
        status = open_channel(resolver, &resolver->channel);
        if (status == ARES_SUCCESS)
            return resolver;
        ares_library_cleanup();
    }
    log_error(NULL, "dns setup failed: %s", ares_strerror(status));
    free(resolver->resolv_conf);
    free(resolver);
    return NULL;
}

void resolver_set_ttl(struct resolver *resolver, usec_t max_ttl_us, usec_t nxdomain_ttl_us)
{
    struct resolver_name *name, *next;
    resolver->max_ttl_us = max_ttl_us;
    resolver->nxdomain_ttl_us = nxdomain_ttl_us;
    HASH_ITER(hh, resolver->names, name, next) {
        if (!is_idle(name))
            continue; /* its task will look at the times */
        if (left_us(name) == 0)
            drop_name(name);
        else
            deadline_set_since(resolver->loop, &name->expiry, lifetime_us(name), name->answered_us);
    }
}

void resolver_destroy(struct resolver *resolver)
{
    struct resolver_name *name, *next_name;
    struct resolver_socket *resolver_socket, *next_socket;
    if (resolver == NULL)
        return;
    resolver->closing = true;
    ares_destroy(resolver->channel);
    ares_library_cleanup();
    event_del(&resolver->timer);
    HASH_ITER(hh, resolver->names, name, next_name) {
        while (name->askers != NULL)
            resolver_cancel(name->askers);
        drop_name(name);
    }
    DL_FOREACH_SAFE(resolver->sockets, resolver_socket, next_socket) {
        drop_socket(resolver_socket);
    }
    free(resolver->resolv_conf);
    free(resolver);
}

static int compare_names(const void *a, const void *b)
{
    const struct resolver_name *const *name_a = a, *const *name_b = b;
    return strcmp((*name_a)->text, (*name_b)->text);
}

void resolver_visit(const struct resolver *resolver, resolver_visit_fn *visit, void *argument)
{
    size_t count = 0, names = resolver_names(resolver);
    const struct resolver_name *name;
    if (names == 0)
        return;
    const struct resolver_name **sorted = memory_new(names * sizeof(struct resolver_name *));
    for (name = resolver->names; name != NULL; name = name->hh.next)
        sorted[count++] = name;
    qsort(sorted, count, sizeof(struct resolver_name *), compare_names);
    for (size_t i = 0; i < count; i++)
        visit(argument, sorted[i]->text, left_us(sorted[i]) / USEC_PER_SEC, sorted[i]->addresses,
              sorted[i]->count);
    free(sorted);
}

size_t resolver_names(const struct resolver *resolver)
{
    return HASH_COUNT(resolver->names);
}

size_t resolver_open_queries(const struct resolver *resolver)
{
    return resolver->in_flight;
}

const char *resolver_library(void)
{
    static char text[32];
    snprintf(text, sizeof(text), "c-ares %s", ares_version(NULL));
    return text;
}
