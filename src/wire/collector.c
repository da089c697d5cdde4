/*
 * collector.c - gathers whole messages from a stream, up to a size.
 *
 * A message that was handed out stays in the buffer until the next call, so that its body can be
 * borrowed; `taken` remembers how much of the front that is.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/collector.h"

#include "wire/frame.h"

static void drop_taken(struct collector *collector)
{
    buffer_consume(&collector->bytes, collector->taken);
    collector->taken = 0;
}

void collector_feed(struct collector *collector, const void *bytes, size_t size)
{
    drop_taken(collector);
    buffer_append(&collector->bytes, bytes, size);
}

enum collect_result collector_next(struct collector *collector, size_t limit,
                                   struct collected_message *ret_message)
{
    struct frame frame;
    drop_taken(collector);
    if (collector->bytes.size < FRAME_HEADER_SIZE)
        return COLLECT_MORE;
    if (!frame_read_header(collector->bytes.data, &frame))
        return COLLECT_BROKEN;
    if (frame.size > limit)
        return COLLECT_TOO_LARGE;
    if (collector->bytes.size < frame.size)
        return COLLECT_MORE;
    collector->taken = (size_t) frame.size;
    *ret_message = (struct collected_message){.type = frame.type,
                                              .body = collector->bytes.data + FRAME_HEADER_SIZE,
                                              .size = collector->taken - FRAME_HEADER_SIZE};
    return COLLECT_MESSAGE;
}

const uint8_t *collector_rest(struct collector *collector, size_t *ret_size)
{
    drop_taken(collector);
    *ret_size = collector->bytes.size;
    return collector->bytes.data;
}

void collector_skip(struct collector *collector, size_t size)
{
    drop_taken(collector);
    buffer_consume(&collector->bytes, size);
}

void collector_release(struct collector *collector)
{
    buffer_wipe(&collector->bytes);
    collector->taken = 0;
}
