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

/* Larger ones may come zeroed from the system. For smaller ones calloc() of glibc is the slow way: it
 * passes by the cache of what was freed lately. */
#define ZEROED_BY_HAND_MAX 1024

void *memory_new(size_t size)
{
    void *memory;
    if (size <= ZEROED_BY_HAND_MAX)
        return memset(memory_resize(NULL, size), 0, size);
    memory = calloc(1, size);
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
    char *copy = memory_resize(NULL, length + 1);
    if (length > 0)
        memcpy(copy, bytes, length);
    copy[length] = '\0';
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
