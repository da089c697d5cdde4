/*
 * memory.c - allocation that cannot fail.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void *memory_new(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);
    if (memory == NULL)
        log_fatal("out of memory");
    return memory;
}

void *memory_resize(void *memory, size_t size)
{
    void *resized = realloc(memory, size > 0 ? size : 1);
    if (resized == NULL)
        log_fatal("out of memory");
    return resized;
}

char *memory_copy_bytes(const void *bytes, size_t length)
{
    char *copy = memory_new(length + 1);
    if (length > 0)
        memcpy(copy, bytes, length);
    return copy;
}

char *memory_copy_text(const char *text)
{
    return text == NULL ? NULL : memory_copy_bytes(text, strlen(text));
}

void memory_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
