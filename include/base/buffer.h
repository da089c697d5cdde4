/*
 * buffer.h - a growable run of bytes. A zeroed struct is a valid empty buffer.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_BUFFER_H
#define PGWEIR_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buffer {
    uint8_t *data; /* owns */
    size_t size;   /* bytes in use */
    size_t capacity;
};

/* Frees the memory; the buffer is empty and usable afterwards. */
void buffer_release(struct buffer *buffer);

/* As buffer_release(), but overwrites the bytes first. For buffers that held secrets. */
void buffer_wipe(struct buffer *buffer);

/* Makes room for `size` more bytes, so that adding them in pieces moves nothing. */
void buffer_reserve(struct buffer *buffer, size_t size);

/* Makes `size` more bytes part of the buffer and returns where they begin, uninitialised. */
static inline uint8_t *buffer_extend(struct buffer *buffer, size_t size)
{
    if (buffer->data == NULL || buffer->capacity - buffer->size < size)
        buffer_reserve(buffer, size);
    uint8_t *start = buffer->data + buffer->size;
    buffer->size += size;
    return start;
}

static inline void buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    if (size > 0)
        memcpy(buffer_extend(buffer, size), bytes, size);
}

/* Removes `size` bytes (at most all of them) from the front. */
void buffer_consume(struct buffer *buffer, size_t size);

#endif
