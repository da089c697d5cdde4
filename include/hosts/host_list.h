/*
 * host_list.h - the hosts of a database entry, and which one the next connection goes to.
 *
 * As in PgBouncer: `round-robin` takes the next element for each new connection, `disable` stays on
 * one until an attempt there has failed. Roles, lag and health come with high availability.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_HOSTS_HOST_LIST_H
#define PGWEIR_HOSTS_HOST_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* A zeroed struct is a list without hosts: the Unix socket directory of the settings. */
struct host_list {
    char **names; /* owns the array and the texts */
    size_t count;
    size_t turn;  /* the element for the next connection */
    bool stay;    /* load_balance_hosts=disable */
};

/* Splits the comma list `hosts` (NULL: no hosts). Elements are not trimmed. */
void host_list_init(struct host_list *list, const char *hosts, bool stay);
void host_list_release(struct host_list *list);

/* The host for a new connection, NULL for the default Unix socket. Borrows the list. */
const char *host_list_pick(struct host_list *list);

/* The last pick did not lead to a login. */
void host_list_failed(struct host_list *list);

/* True for a Unix socket directory: it begins with '/' or '@'. */
bool host_is_unix(const char *host);

#endif
