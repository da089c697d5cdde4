/*
 * buffer.c - a growable run of bytes.
 *
 * Capacity doubles, so that appending costs the same on average however it is done.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/memory.h"

#define SMALLEST_CAPACITY 64

void buffer_release(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void buffer_wipe(struct buffer *buffer)
{
    if (buffer->data != NULL)
        OPENSSL_cleanse(buffer->data, buffer->capacity);
    buffer_release(buffer);
}

/* Nothing that is secret grows beyond: the longest is a password message. */
#define MOVED_BY_HAND_MAX (128 * 1024)

/* It may be a secret: realloc() would leave a copy of it where it was. */
static uint8_t *move(struct buffer *buffer, size_t capacity)
{
    uint8_t *data = memory_resize(NULL, capacity);
    memcpy(data, buffer->data, buffer->size);
    OPENSSL_cleanse(buffer->data, buffer->capacity);
    free(buffer->data);
    return data;
}

void buffer_reserve(struct buffer *buffer, size_t size)
{
    size_t needed = buffer->size + size;
    size_t capacity = buffer->capacity < SMALLEST_CAPACITY ? SMALLEST_CAPACITY : buffer->capacity;
    if (needed <= buffer->capacity && buffer->data != NULL)
        return;
    while (capacity < needed)
        capacity *= 2;
    if (buffer->data != NULL && buffer->capacity <= MOVED_BY_HAND_MAX)
        buffer->data = move(buffer, capacity);
    else
        buffer->data = memory_resize(buffer->data, capacity);
    buffer->capacity = capacity;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    if (size == 0)
        return;
    if (size >= buffer->size) {
        buffer->size = 0;
        return;
    }
    buffer->size -= size;
    memmove(buffer->data, buffer->data + size, buffer->size);
}
