/*
 * memory.h - allocation that cannot fail. Small objects abort the process when memory is gone; the
 * graceful refusal happens at the door, before a client gets that far.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_MEMORY_H
#define PGWEIR_BASE_MEMORY_H

#include <stddef.h>

#include "base/compiler.h"

/* Zeroed memory for one object; release with free(). */
void *memory_new(size_t size) MUST_CHECK;

/* Like realloc(), but never NULL for a size above 0. */
void *memory_resize(void *memory, size_t size) MUST_CHECK;

/* A copy of `text`; NULL stays NULL. Release with free(). */
char *memory_copy_text(const char *text) MUST_CHECK;

/* A zero-terminated copy of `length` bytes. Release with free(). */
char *memory_copy_bytes(const void *bytes, size_t length) MUST_CHECK;

/*
 * Gives memory that was freed back to the system, where the allocator keeps it. Walks all of it, so
 * only for calm moments after much has been freed.
 */
void memory_trim(void);

#endif
