/*
 * stream.h - bytes on their way from one side to the other: most as they are, some left out, some
 * put in, and all of them in as few sends as possible.
 *
 * What passes as it is goes from where it was read. Only once something is put in or left out in
 * the middle are the pieces gathered in the loop's write buffer.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_STREAM_H
#define PGWEIR_RELAY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "net/connection.h"

/* Lives for one call: it points into memory that is borrowed for the call. */
struct stream {
    struct connection *to;         /* borrows; NULL as long as nothing may be sent */
    const uint8_t *position, *end; /* what has come and is not looked at yet */
    const uint8_t *run;            /* from here to `position` everything passes as it is */
    size_t gathered;               /* bytes in the loop's write buffer; they go before the run */
    bool has_sent;                 /* something has left already */
};

/* True if nothing waits to be sent. */
static inline bool stream_is_flushed(const struct stream *stream)
{
    return stream->gathered == 0 && stream->run == stream->position;
}

/* Puts bytes in behind what has passed. Returns false if the peer is gone. */
bool stream_insert(struct stream *stream, const void *bytes, size_t size) MUST_CHECK;

/* Sends all that has passed. Returns false if the peer is gone. */
bool stream_flush(struct stream *stream) MUST_CHECK;

/* Leaves out the next `size` bytes. Returns false if the peer is gone. */
bool stream_leave_out(struct stream *stream, size_t size) MUST_CHECK;

#endif
