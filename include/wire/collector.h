/*
 * collector.h - gathers whole messages from a stream, up to a size, for the places that need to see
 * them whole: logins, internal queries, the console. The relay streams instead.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_COLLECTOR_H
#define PGWEIR_WIRE_COLLECTOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"

/* A zeroed struct is valid and empty. */
struct collector {
    struct buffer bytes; /* owns */
    size_t taken;        /* bytes of the messages that were handed out */
};

struct collected_message {
    uint8_t type;
    const uint8_t *body; /* borrows until the next collector call */
    size_t size;
};

enum collect_result {
    COLLECT_MORE,    /* no whole message yet */
    COLLECT_MESSAGE,
    COLLECT_BROKEN,  /* a length below four */
    COLLECT_TOO_LARGE
};

void collector_feed(struct collector *collector, const void *bytes, size_t size);

/* The next whole message of at most `limit` bytes in all; a larger one is told from its header. */
enum collect_result collector_next(struct collector *collector, size_t limit,
                                   struct collected_message *ret_message) MUST_CHECK;

/* What has been fed and not handed out; borrows. For the untyped packets of the startup phase. */
const uint8_t *collector_rest(struct collector *collector, size_t *ret_size);

/* Drops `size` bytes of the rest. */
void collector_skip(struct collector *collector, size_t size);

/* Moves the first `size` bytes of the rest to a buffer of their own, for the caller to release. */
struct buffer collector_take(struct collector *collector, size_t size) MUST_CHECK;

/* Wipes and frees; usable afterwards. */
void collector_release(struct collector *collector);

#endif
