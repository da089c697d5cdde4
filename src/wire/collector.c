/*
 * collector.c - gathers whole messages from a stream, up to a size.
 *
 * What was handed out stays at the front of the buffer, so that its body can be borrowed, and is
 * dropped when no whole message is left: to move the rest forward for each message would cost far
 * more than the messages. `taken` remembers how much it is.
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
    size_t left = collector->bytes.size - collector->taken;
    struct frame frame;
    if (left >= FRAME_HEADER_SIZE) {
        const uint8_t *next = collector->bytes.data + collector->taken;
        if (!frame_read_header(next, &frame))
            return COLLECT_BROKEN;
        if (frame.size > limit)
            return COLLECT_TOO_LARGE;
        if (left >= frame.size) {
            collector->taken += (size_t) frame.size;
            *ret_message =
                (struct collected_message){.type = frame.type,
                                           .body = next + FRAME_HEADER_SIZE,
                                           .size = (size_t) frame.size - FRAME_HEADER_SIZE};
            return COLLECT_MESSAGE;
        }
    }
    drop_taken(collector);
    return COLLECT_MORE;
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

struct buffer collector_take(struct collector *collector, size_t size)
{
    struct buffer taken = {0};
    drop_taken(collector);
    if (size == collector->bytes.size) { /* nothing follows, as a rule */
        taken = collector->bytes;
        collector->bytes = (struct buffer){0};
    } else {
        buffer_append(&taken, collector->bytes.data, size);
        buffer_consume(&collector->bytes, size);
    }
    return taken;
}

void collector_release(struct collector *collector)
{
    buffer_wipe(&collector->bytes);
    collector->taken = 0;
}
