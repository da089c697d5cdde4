/*
 * host_list.h - the hosts of a database entry, and which one the next connection goes to.
 *
 * As in PgBouncer: `round-robin` takes the next element for each new connection, `disable` stays on
 * one until an attempt there has failed. Where an entry wants a role (target_session_attrs), a host of
 * another role is treated as one that fails.
 *
 * A host where an attempt has failed is left alone for a while; the others are tried meanwhile. The
 * pause is counted from the beginning of the attempt, as server_login_retry is, and never shorter
 * than said: up to a tenth (at most a third of a second, PgBouncer's own delay) is added at random,
 * so that many poolers do not knock in the same moment.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_HOSTS_HOST_LIST_H
#define PGWEIR_HOSTS_HOST_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

/* What the last login there has shown. */
enum host_role { HOST_UNKNOWN, HOST_PRIMARY, HOST_STANDBY };

struct host {
    char *name;         /* owns; NULL: the Unix socket directory of the settings */
    uint16_t port;
    enum host_role role;
    unsigned failures;  /* since the last success, at most one for each pause; 0: it is fine */
    usec_t failed_us;   /* when the last one was counted */
    usec_t pause_since_us;
};

/* A zeroed struct is a list without hosts. */
struct host_list {
    struct host *hosts; /* owns */
    size_t count;
    size_t turn; /* the element for the next connection */
    bool stay;   /* load_balance_hosts=disable */
};

/*
 * Splits the comma list `hosts` (NULL: the default Unix socket). Elements are not trimmed. `ports`
 * is one number for all, or a comma list of as many (NULL: 5432).
 */
void host_list_init(struct host_list *list, const char *hosts, const char *ports, bool stay);
void host_list_release(struct host_list *list);

/*
 * The host for a new connection; borrows the list, which must not be empty. The first one in turn
 * whose pause is over, if there is one.
 */
const struct host *host_list_pick(struct host_list *list, usec_t now_us, usec_t retry_us);

/* How long to wait until any host may be tried; false: one may now. `retry_us`: server_login_retry. */
bool host_list_must_wait(const struct host_list *list, usec_t now_us, usec_t retry_us,
                         usec_t *ret_pause_us, usec_t *ret_since_us);

/*
 * An attempt that began at `started_us` did not lead to a login. The pause of an only host is
 * server_login_retry; of one among several it begins with a sixteenth of that and doubles. Returns
 * true if there is another host that is not known to fail.
 */
bool host_list_failed(struct host_list *list, const char *name, uint16_t port, usec_t started_us,
                      usec_t now_us, usec_t retry_us);

/* The attempt was refused for a reason that the other hosts have, too: all pause in full. */
void host_list_refused(struct host_list *list, usec_t started_us, usec_t now_us, usec_t retry_us);

/* A login has succeeded there. */
void host_list_succeeded(struct host_list *list, const char *name, uint16_t port);

/* A login there has shown the host's role. Returns true if that is news. */
bool host_list_note_role(struct host_list *list, const char *name, uint16_t port,
                         enum host_role role);

/* The role that was noted last; `unlisted` for a host that is not in the list. */
enum host_role host_list_role(const struct host_list *list, const char *name, uint16_t port,
                              enum host_role unlisted);

/* All hosts may be tried at once. */
void host_list_forget_failures(struct host_list *list);

/* True if there is a standby that is not known to fail, or a host whose role nobody knows yet. */
bool host_list_may_have_standby(const struct host_list *list);

/* True for a Unix socket directory: it begins with '/' or '@'. */
bool host_is_unix(const char *host);

#endif
