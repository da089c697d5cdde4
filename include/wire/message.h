/*
 * message.h - builds protocol messages into a buffer and reads the fields of a message body.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_MESSAGE_H
#define PGWEIR_WIRE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"

/*
 * Building. message_begin() returns a mark that message_end() needs to fill in the length.
 *
 *     size_t mark = message_begin(&out, 'S');
 *     message_add_text(&out, name);
 *     message_add_text(&out, value);
 *     message_end(&out, mark);
 */
size_t message_begin(struct buffer *out, uint8_t type) MUST_CHECK;

/* The same for the untyped packets of the startup phase. */
size_t message_begin_untyped(struct buffer *out) MUST_CHECK;
void message_end(struct buffer *out, size_t mark);

void message_add_byte(struct buffer *out, uint8_t value);
void message_add_int16(struct buffer *out, uint16_t value);
void message_add_int32(struct buffer *out, uint32_t value);
void message_add_bytes(struct buffer *out, const void *bytes, size_t size);

/* The text and its terminating zero. */
void message_add_text(struct buffer *out, const char *text);

/* Whole messages that several rooms need. */
void message_write_query(struct buffer *out, const char *sql);
void message_write_parameter_status(struct buffer *out, const char *name, const char *value);
void message_write_ready_for_query(struct buffer *out, char transaction_status);
void message_write_command_complete(struct buffer *out, const char *tag);
void message_write_backend_key(struct buffer *out, const uint8_t *key, size_t size);
void message_write_terminate(struct buffer *out);

/* AuthenticationOk ('R' 0) and the other authentication requests: `code`, then `body`. */
void message_write_authentication(struct buffer *out, uint32_t code, const void *body, size_t size);

/*
 * Reading. A reader walks a body that is whole in memory. A read beyond the end sets `broken` and
 * gives zeros from then on, so a caller may read all fields and check once.
 */
struct message_reader {
    const uint8_t *position, *end; /* borrows until the body is gone */
    bool broken;
};

struct message_reader message_reader_of(const void *body, size_t size);
uint8_t message_read_byte(struct message_reader *reader);
uint16_t message_read_int16(struct message_reader *reader);
uint32_t message_read_int32(struct message_reader *reader);

/* `size` bytes, or NULL if there are not so many. */
const uint8_t *message_read_bytes(struct message_reader *reader, size_t size);

/* A zero-terminated text, or "" and `broken` if the terminator is missing. */
const char *message_read_text(struct message_reader *reader);

size_t message_bytes_left(const struct message_reader *reader);

#endif
