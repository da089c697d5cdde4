/*
 * slab.c - pools of objects of one size.
 *
 * Objects are cut from chunks of about 16 KiB and returned to a free list; chunks go only at the
 * end. Under AddressSanitizer every object comes from malloc(), so that use after free is seen.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/slab.h"

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#if defined(__SANITIZE_ADDRESS__)
#define SLAB_USES_MALLOC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_USES_MALLOC 1
#endif
#endif

#ifdef SLAB_USES_MALLOC

void *slab_take(struct slab *slab)
{
    slab->used++;
    return memory_new(slab->object_size);
}

void slab_give_back(struct slab *slab, void *object)
{
    assert(slab->used > 0);
    slab->used--;
    free(object);
}

void slab_release(struct slab *slab)
{
    assert(slab->used == 0);
}

#else

#define CHUNK_SIZE 16384

/* The link in the first word of a free object or chunk. */
struct link {
    void *next;
};

static void push(void **head, void *memory)
{
    ((struct link *) memory)->next = *head;
    *head = memory;
}

static void *pop(void **head)
{
    void *memory = *head;
    *head = ((struct link *) memory)->next;
    return memory;
}

static void add_chunk(struct slab *slab)
{
    size_t size = (slab->object_size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    size_t count = size < CHUNK_SIZE / 4 ? (CHUNK_SIZE - sizeof(max_align_t)) / size : 4;
    char *chunk = memory_resize(NULL, sizeof(max_align_t) + size * count);
    push(&slab->chunks, chunk);
    for (size_t i = count; i-- > 0;)
        push(&slab->free_objects, chunk + sizeof(max_align_t) + i * size);
    slab->unused += count;
}

void *slab_take(struct slab *slab)
{
    void *object;
    if (slab->free_objects == NULL)
        add_chunk(slab);
    object = pop(&slab->free_objects);
    slab->unused--;
    slab->used++;
    return memset(object, 0, slab->object_size);
}

void slab_give_back(struct slab *slab, void *object)
{
    assert(slab->used > 0);
    push(&slab->free_objects, object);
    slab->used--;
    slab->unused++;
}

void slab_release(struct slab *slab)
{
    assert(slab->used == 0);
    while (slab->chunks != NULL)
        free(pop(&slab->chunks));
    slab->free_objects = NULL;
    slab->unused = 0;
}

#endif
