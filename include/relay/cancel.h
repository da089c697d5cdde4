/*
 * cancel.h - cancel requests: from the key a client was given to the server that runs its query.
 *
 * A request is sent only while the client that it names is still linked to the server that it was
 * linked to when the request came, and the same query runs; from that moment until PostgreSQL has
 * taken it (it closes the connection) the server is not lent to anybody else. So it never hits the
 * next client's query. No byte ever goes back to the requester; its socket is closed when the
 * request has ended.
 *
 * For each server at most one request is under way and one waits behind it: requesters who want the
 * same are served by the same one. So what they cost, however many there are, is bounded by the
 * number of servers that are linked.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_CANCEL_H
#define PGWEIR_RELAY_CANCEL_H

#include "client/client.h"

struct cancel;

/* All cancel requests under way. A zeroed struct with `clients` filled in is valid. */
struct cancels {
    struct clients *clients;   /* borrows */
    struct cancel *by_server;  /* owns; hash by the number of the server */
    usec_t unknown_since_us;   /* of the second in which unknown keys are counted */
    unsigned unknown_count;    /* requests with unknown keys in that second */
};

/* A client has sent a CancelRequest. Takes over the client (as its consumer) or closes it. */
void cancel_begin(struct cancels *cancels, struct client *requester,
                  const uint8_t *key, size_t size);

/* Gives up the requests of a database (NULL: all). */
void cancels_end_database(struct cancels *cancels, const struct database *database);

#endif
