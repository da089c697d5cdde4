/*
 * command_tag.h - the tag of a CommandComplete, which tells what kind of command has ended.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_COMMAND_TAG_H
#define PGWEIR_WIRE_COMMAND_TAG_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* True if the tag, `size` bytes with its zero, is this one. */
static inline bool command_tag_is(const void *tag, size_t size, const char *wanted)
{
    return size == strlen(wanted) + 1 && memcmp(tag, wanted, size) == 0;
}

#endif
