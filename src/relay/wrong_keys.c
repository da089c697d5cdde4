/*
 * wrong_keys.c - who has sent cancel requests with keys that fit nobody.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/wrong_keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

struct wrong_key_source {
    uint64_t network;
    usec_t paid_at_us; /* each wrong key moves this by one pause, from now if it has passed */
    UT_hash_handle hh;
};

/*
 * The first half of an IPv6 address. An IPv4 address takes the place of one whose first 32 bits are
 * zero, which nobody has; ::1 is 0, as 0.0.0.0 would be.
 */
static uint64_t network_of(const struct address *address)
{
    uint64_t network = address->ipv4.s_addr;
    if (address->family == AF_INET6)
        memcpy(&network, &address->ipv6, sizeof(network));
    return network;
}

static struct wrong_key_source *find(const struct wrong_keys *keys, const struct address *address)
{
    struct wrong_key_source *source;
    uint64_t network = network_of(address);
    HASH_FIND(hh, keys->sources, &network, sizeof(network), source);
    return source;
}

static void drop(struct wrong_keys *keys, struct wrong_key_source *source)
{
    HASH_DEL(keys->sources, source);
    free(source);
}

void wrong_keys_add(struct wrong_keys *keys, const struct address *address, usec_t now_us)
{
    struct wrong_key_source *source;
    if (address->family == AF_UNIX)
        return;
    source = find(keys, address);
    if (source != NULL) {
        HASH_DEL(keys->sources, source);
    } else {
        source = memory_new(sizeof(*source));
        source->network = network_of(address);
    }
    if (source->paid_at_us < now_us)
        source->paid_at_us = now_us;
    source->paid_at_us += WRONG_KEYS_PAUSE_US;
    HASH_ADD(hh, keys->sources, network, sizeof(source->network), source);
    if (HASH_COUNT(keys->sources) > WRONG_KEYS_ADDRESSES_MAX)
        drop(keys, keys->sources);
}

bool wrong_keys_too_many(const struct wrong_keys *keys, const struct address *address,
                         usec_t now_us)
{
    const struct wrong_key_source *source;
    if (keys->sources == NULL || address->family == AF_UNIX) /* the usual case */
        return false;
    source = find(keys, address);
    return source != NULL &&
           source->paid_at_us > now_us + (WRONG_KEYS_AT_ONCE - 1) * WRONG_KEYS_PAUSE_US;
}

void wrong_keys_release(struct wrong_keys *keys)
{
    while (keys->sources != NULL)
        drop(keys, keys->sources);
}
