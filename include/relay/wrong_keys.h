/*
 * wrong_keys.h - who has sent cancel requests with keys that fit nobody, to make guessing slow.
 *
 * Only wrong keys count: as long as an address sends right ones, it may send as many as it likes. A
 * thousand wrong keys are forgiven at once, then ten in a second. So clients who share an address
 * (behind one NAT, a load balancer in front of several poolers, localhost) get there only together
 * with one who guesses. Beside such a one they may try again: a requester never learns what became
 * of his request anyway, and whoever looks a key up to spare them has answered the guess.
 *
 * What shares the first 64 bits of an IPv6 address counts as one, because a single host may have
 * them all. Unix sockets are left out: all their users would be one. Bounded: the address that has
 * not guessed for longest is forgotten.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_WRONG_KEYS_H
#define PGWEIR_RELAY_WRONG_KEYS_H

#include <stdbool.h>

#include "base/clock.h"
#include "net/address.h"

/* Forgiven at once, after a long time without any. */
#define WRONG_KEYS_AT_ONCE 1000

/* From then on, one in this time. */
#define WRONG_KEYS_PAUSE_US (USEC_PER_SEC / 10)

/* Addresses that are remembered. */
#define WRONG_KEYS_ADDRESSES_MAX 4096

/* Zeroed it is valid, and empty. */
struct wrong_keys {
    struct wrong_key_source *sources; /* owns; hash by network, whoever has just guessed is last */
};

void wrong_keys_add(struct wrong_keys *keys, const struct address *address, usec_t now_us);

/* True if what the address sends now is not to be looked up. */
bool wrong_keys_too_many(const struct wrong_keys *keys, const struct address *address,
                         usec_t now_us);

void wrong_keys_release(struct wrong_keys *keys);

#endif
