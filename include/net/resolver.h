/*
 * resolver.h - asynchronous name look-ups (c-ares), with a cache.
 *
 * Look-ups for one name are shared. A result is used for dns_max_ttl, a failure for
 * dns_nxdomain_ttl; a new look-up happens only when somebody asks. Each look-up has a deadline of
 * its own, so that a silent name server delays but never blocks. When the resolver configuration
 * changes on disk the next look-up uses it.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_NET_RESOLVER_H
#define PGWEIR_NET_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "net/address.h"
#include "net/loop.h"

struct resolver;

/* One question; a member of the asking object, zeroed before. */
struct resolver_query {
    /* Runs from the run queue, never inside resolver_ask(). count is 0 after a failure. */
    void (*answered)(struct resolver_query *query, const struct address *addresses, size_t count,
                     const char *error);
    struct resolver_name *name; /* borrows while the question is open */
    struct resolver_query *next, *prev;
};

struct resolver_options {
    const char *resolv_conf; /* NULL or "": the system's */
    usec_t max_ttl_us, nxdomain_ttl_us;
};

/* NULL, with the reason logged, if c-ares cannot be set up ("dns setup failed"). */
struct resolver *resolver_create(struct loop *loop, const struct resolver_options *options) MUST_CHECK;

/* The times may change with a reload. */
void resolver_set_ttl(struct resolver *resolver, usec_t max_ttl_us, usec_t nxdomain_ttl_us);
void resolver_destroy(struct resolver *resolver);

/* Asks; `answered` comes later, from the run queue, also for a cached answer. */
void resolver_ask(struct resolver *resolver, const char *name, struct resolver_query *query);

/* Takes an open question back; `answered` will not run. Fine for one that is not open. */
void resolver_cancel(struct resolver_query *query);

/* For SHOW DNS_HOSTS and SHOW LISTS: calls `visit` for each cached name, sorted by name. */
typedef void resolver_visit_fn(void *argument, const char *name, usec_t seconds_left,
                               const struct address *addresses, size_t count);
void resolver_visit(const struct resolver *resolver, resolver_visit_fn *visit, void *argument);
size_t resolver_names(const struct resolver *resolver);
size_t resolver_open_queries(const struct resolver *resolver);

/* The name and version of the library, for --version and the "process up" line: "c-ares 1.18.1". */
const char *resolver_library(void);

#endif
