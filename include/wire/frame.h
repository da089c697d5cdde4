/*
 * frame.h - message boundaries in a stream of protocol bytes.
 *
 * After the startup phase every message is a type byte, a 32-bit big-endian length that counts
 * itself but not the type byte, and a body (PostgreSQL documentation, "Message Flow" and "Message
 * Formats"). Only the header is looked at here: bodies are streamed by whoever reads.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_FRAME_H
#define PGWEIR_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FRAME_HEADER_SIZE 5

struct frame {
    uint8_t type;
    uint64_t size; /* whole message, header included; 64 bits so that no sum can wrap */
};

static inline uint32_t frame_load_uint32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return __builtin_bswap32(value);
}

static inline uint16_t frame_load_uint16(const uint8_t *bytes)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof(value));
    return __builtin_bswap16(value);
}

/*
 * Reads the header in the FRAME_HEADER_SIZE bytes at `header`. Returns false if the length is less
 * than the four bytes of the length field itself: the stream is broken.
 */
static inline bool frame_read_header(const uint8_t *header, struct frame *ret_frame)
{
    uint32_t length = frame_load_uint32(header + 1);
    ret_frame->type = header[0];
    ret_frame->size = (uint64_t) length + 1;
    return length >= 4;
}

#endif
