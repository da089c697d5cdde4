/*
 * extended.c - the names in front of the messages of the extended protocol.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/extended.h"

#include <string.h>

/* A walk through the part of the body that has come. */
struct walk {
    const uint8_t *body;
    size_t position, available;
    bool whole; /* nothing more will come */
};

static enum extended_result missing(const struct walk *walk)
{
    return walk->whole ? EXTENDED_BROKEN : EXTENDED_MORE;
}

static enum extended_result read_name(struct walk *walk, const char **ret_name, uint32_t *ret_size)
{
    const uint8_t *start = walk->body + walk->position;
    size_t left = walk->available - walk->position;
    size_t looked = left <= EXTENDED_NAME_MAX ? left : EXTENDED_NAME_MAX + 1;
    const uint8_t *end = looked > 0 ? memchr(start, '\0', looked) : NULL;
    if (end == NULL)
        return looked > EXTENDED_NAME_MAX ? EXTENDED_BROKEN : missing(walk);
    *ret_name = (const char *) start;
    *ret_size = (uint32_t) (end - start);
    walk->position += *ret_size + 1;
    return EXTENDED_NAMES;
}

enum extended_result extended_read_names(const struct frame *frame, const uint8_t *body,
                                         size_t available, struct extended_names *ret_names)
{
    uint64_t size = frame->size - FRAME_HEADER_SIZE;
    struct walk walk = {.body = body,
                        .available = available < size ? available : (size_t) size,
                        .whole = available >= size};
    enum extended_result result = EXTENDED_NAMES;
    *ret_names = (struct extended_names){.portal = "", .statement = ""};
    if (frame->type == 'D' || frame->type == 'C') {
        if (walk.available == 0)
            return missing(&walk);
        walk.position = 1;
        ret_names->of_portal = body[0] != 'S';
        if (ret_names->of_portal) /* the server looks for itself */
            return EXTENDED_NAMES;
    } else if (frame->type == 'B') {
        result = read_name(&walk, &ret_names->portal, &ret_names->portal_size);
    }
    if (result == EXTENDED_NAMES)
        result = read_name(&walk, &ret_names->statement, &ret_names->statement_size);
    ret_names->rest = (uint32_t) walk.position;
    return result;
}

bool extended_is_statement(const uint8_t *bytes, size_t size)
{
    const uint8_t *zero = size > 0 ? memchr(bytes, '\0', size) : NULL;
    if (zero == NULL)
        return false;
    size_t left = size - (size_t) (zero + 1 - bytes);
    return left >= 2 && left - 2 == (size_t) frame_load_uint16(zero + 1) * 4;
}
