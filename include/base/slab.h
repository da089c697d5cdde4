/*
 * slab.h - pools of objects of one size, for types that come and go with connections. Counted and
 * named for SHOW MEM. Under AddressSanitizer every object is a malloc() of its own.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_SLAB_H
#define PGWEIR_BASE_SLAB_H

#include <stddef.h>

#include "base/compiler.h"

struct slab {
    const char *name;   /* as SHOW MEM prints it */
    size_t object_size; /* rounded up to the alignment of max_align_t */
    size_t used, unused;
    void *free_objects;    /* singly linked through the first word */
    void *chunks;          /* owns; singly linked through the first word */
};

#define SLAB_INITIAL(slab_name, type) {.name = (slab_name), .object_size = sizeof(type)}

/* A zeroed object. */
void *slab_take(struct slab *slab) MUST_CHECK;

void slab_give_back(struct slab *slab, void *object);

/* Frees all chunks. Every object must have been given back. */
void slab_release(struct slab *slab);

#endif
