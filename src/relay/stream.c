/*
 * stream.c - bytes on their way from one side to the other.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/stream.h"

#include <string.h>

/* A larger piece is not copied: one more send costs less. */
#define PIECE_COPIED_MAX (LOOP_WRITE_SIZE / 4)

static bool send_piece(struct stream *stream, const void *bytes, size_t size)
{
    stream->has_sent = true;
    return connection_send(stream->to, bytes, size);
}

static bool send_gathered(struct stream *stream)
{
    size_t size = stream->gathered;
    stream->gathered = 0;
    return size == 0 || send_piece(stream, loop_write_buffer(stream->to->loop), size);
}

static bool gather(struct stream *stream, const void *bytes, size_t size)
{
    if (size > PIECE_COPIED_MAX)
        return send_gathered(stream) && send_piece(stream, bytes, size);
    if (size > LOOP_WRITE_SIZE - stream->gathered && !send_gathered(stream))
        return false;
    memcpy(loop_write_buffer(stream->to->loop) + stream->gathered, bytes, size);
    stream->gathered += size;
    return true;
}

/* The run becomes one of the pieces. */
static bool gather_run(struct stream *stream)
{
    const uint8_t *run = stream->run;
    stream->run = stream->position;
    return run == stream->position || gather(stream, run, (size_t) (stream->position - run));
}

bool stream_insert(struct stream *stream, const void *bytes, size_t size)
{
    return gather_run(stream) && gather(stream, bytes, size);
}

bool stream_flush(struct stream *stream)
{
    const uint8_t *run = stream->run;
    if (stream->gathered > 0)
        return gather_run(stream) && send_gathered(stream);
    stream->run = stream->position;
    return run == stream->position ||
           send_piece(stream, run, (size_t) (stream->position - run));
}

bool stream_leave_out(struct stream *stream, size_t size)
{
    if (!gather_run(stream))
        return false;
    stream->position += size;
    stream->run = stream->position;
    return true;
}
