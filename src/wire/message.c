/*
 * message.c - builds protocol messages into a buffer and reads the fields of a message body.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/message.h"

#include <string.h>

#include "wire/frame.h"

size_t message_begin_untyped(struct buffer *out)
{
    size_t mark = out->size;
    message_add_int32(out, 0);
    return mark;
}

size_t message_begin(struct buffer *out, uint8_t type)
{
    message_add_byte(out, type);
    return message_begin_untyped(out);
}

void message_end(struct buffer *out, size_t mark)
{
    uint32_t length = __builtin_bswap32((uint32_t) (out->size - mark));
    memcpy(out->data + mark, &length, sizeof(length));
}

void message_add_byte(struct buffer *out, uint8_t value)
{
    buffer_append(out, &value, sizeof(value));
}

void message_add_int16(struct buffer *out, uint16_t value)
{
    value = __builtin_bswap16(value);
    buffer_append(out, &value, sizeof(value));
}

void message_add_int32(struct buffer *out, uint32_t value)
{
    value = __builtin_bswap32(value);
    buffer_append(out, &value, sizeof(value));
}

void message_add_bytes(struct buffer *out, const void *bytes, size_t size)
{
    buffer_append(out, bytes, size);
}

void message_add_text(struct buffer *out, const char *text)
{
    buffer_append(out, text, strlen(text) + 1);
}

void message_write_query(struct buffer *out, const char *sql)
{
    size_t mark = message_begin(out, 'Q');
    message_add_text(out, sql);
    message_end(out, mark);
}

void message_write_parameter_status(struct buffer *out, const char *name, const char *value)
{
    size_t name_size = strlen(name) + 1, value_size = strlen(value) + 1;
    uint8_t *at = buffer_extend(out, FRAME_HEADER_SIZE + name_size + value_size);
    uint32_t length = __builtin_bswap32((uint32_t) (sizeof(length) + name_size + value_size));
    at[0] = 'S';
    memcpy(at + 1, &length, sizeof(length));
    memcpy(at + FRAME_HEADER_SIZE, name, name_size);
    memcpy(at + FRAME_HEADER_SIZE + name_size, value, value_size);
}

void message_write_ready_for_query(struct buffer *out, char transaction_status)
{
    size_t mark = message_begin(out, 'Z');
    message_add_byte(out, (uint8_t) transaction_status);
    message_end(out, mark);
}

void message_write_command_complete(struct buffer *out, const char *tag)
{
    size_t mark = message_begin(out, 'C');
    message_add_text(out, tag);
    message_end(out, mark);
}

void message_write_backend_key(struct buffer *out, const uint8_t *key, size_t size)
{
    size_t mark = message_begin(out, 'K');
    message_add_bytes(out, key, size);
    message_end(out, mark);
}

void message_write_terminate(struct buffer *out)
{
    message_end(out, message_begin(out, 'X'));
}

void message_write_authentication(struct buffer *out, uint32_t code, const void *body, size_t size)
{
    size_t mark = message_begin(out, 'R');
    message_add_int32(out, code);
    message_add_bytes(out, body, size);
    message_end(out, mark);
}

struct message_reader message_reader_of(const void *body, size_t size)
{
    const uint8_t *start = body;
    return (struct message_reader){.position = start, .end = start + size};
}

size_t message_bytes_left(const struct message_reader *reader)
{
    return (size_t) (reader->end - reader->position);
}

const uint8_t *message_read_bytes(struct message_reader *reader, size_t size)
{
    const uint8_t *bytes = reader->position;
    if (message_bytes_left(reader) < size) {
        reader->broken = true;
        reader->position = reader->end;
        return NULL;
    }
    reader->position += size;
    return bytes;
}

uint8_t message_read_byte(struct message_reader *reader)
{
    const uint8_t *bytes = message_read_bytes(reader, 1);
    return bytes != NULL ? bytes[0] : 0;
}

uint16_t message_read_int16(struct message_reader *reader)
{
    const uint8_t *bytes = message_read_bytes(reader, 2);
    return bytes != NULL ? frame_load_uint16(bytes) : 0;
}

uint32_t message_read_int32(struct message_reader *reader)
{
    const uint8_t *bytes = message_read_bytes(reader, 4);
    return bytes != NULL ? frame_load_uint32(bytes) : 0;
}

const char *message_read_text(struct message_reader *reader)
{
    size_t left = message_bytes_left(reader);
    const uint8_t *start = reader->position;
    const uint8_t *end = left > 0 ? memchr(start, '\0', left) : NULL;
    if (end == NULL) {
        reader->broken = true;
        reader->position = reader->end;
        return "";
    }
    reader->position = end + 1;
    return (const char *) start;
}
