/*
 * cancel.h - cancel requests: from the key a client was given to the server that runs its query.
 *
 * A request is sent only while the client that it names is still linked to the server that it was
 * linked to when the request came; from that moment until PostgreSQL has taken it (it closes the
 * connection) the server is not lent to anybody else. So a cancel never hits the next client's
 * query. No byte ever goes back to the requester; its socket is closed when the request has ended.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_CANCEL_H
#define PGWEIR_RELAY_CANCEL_H

#include "client/client.h"

struct cancel;

/* All cancel requests under way. A zeroed struct with `clients` filled in is valid. */
struct cancels {
    struct clients *clients;
    struct cancel *requests; /* owns; in order of arrival */
};

/* A client has sent a CancelRequest. Takes over the client (as its consumer) or closes it. */
void cancel_begin(struct cancels *cancels, struct client *requester,
                  const uint8_t *key, size_t size);

/* Gives up the requests of a database (NULL: all). */
void cancels_end_database(struct cancels *cancels, const struct database *database);

#endif
