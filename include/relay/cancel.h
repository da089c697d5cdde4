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
 * number of servers that are linked. Whoever guesses keys is soon not listened to (wrong_keys.h).
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_CANCEL_H
#define PGWEIR_RELAY_CANCEL_H

#include "client/client.h"
#include "relay/wrong_keys.h"

struct cancel;

/* All cancel requests under way. A zeroed struct with `clients` filled in is valid. */
struct cancels {
    struct clients *clients;   /* borrows */
    struct cancel *by_server;  /* owns; hash by the number of the server */
    struct wrong_keys wrong_keys;
    usec_t refused_since_us;   /* of the second in which refused requests are counted */
    unsigned refused_count;    /* requests that were refused in that second */
};

/*
 * A client has sent a CancelRequest. Returns whose key that is, or closes the requester and returns
 * NULL: it is nobody's, or there were too many such from that address, and this one is not looked up.
 */
struct client *cancel_find_target(struct cancels *cancels, struct client *requester,
                                  const uint8_t *key, size_t size) MUST_CHECK;

/* Cancels what `target` does. Takes over the requester (as its consumer) or closes it. */
void cancel_begin(struct cancels *cancels, struct client *requester, struct client *target);

/* Gives up the requests of a database (NULL: all). */
void cancels_end_database(struct cancels *cancels, const struct database *database);

/* Gives up all, and forgets who has guessed. */
void cancels_close(struct cancels *cancels);

#endif
