/*
 * row_description.c - RowDescription: the columns of a result.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/row_description.h"

#include <string.h>

#include "base/hash.h"
#include "wire/message.h"

/* Table and number of the column there come first; then type, size and modifier; then the format. */
#define ORIGIN_SIZE 6
#define TYPE_SIZE   10
#define FORMAT_SIZE 2

static uint32_t add(uint32_t sum, const void *bytes, size_t size)
{
    return sum * 31 + hash_bytes(bytes, size);
}

uint32_t row_description_fingerprint(const uint8_t *body, size_t size)
{
    struct message_reader reader = message_reader_of(body, size);
    uint32_t sum = message_read_int16(&reader);
    while (!reader.broken && message_bytes_left(&reader) > 0) {
        const char *name = message_read_text(&reader);
        (void) message_read_bytes(&reader, ORIGIN_SIZE);
        const uint8_t *type = message_read_bytes(&reader, TYPE_SIZE);
        (void) message_read_bytes(&reader, FORMAT_SIZE);
        if (reader.broken)
            break;
        sum = add(add(sum, name, strlen(name)), type, TYPE_SIZE);
    }
    return sum | 2; /* neither 0 nor ROW_DESCRIPTION_OF_NONE */
}
