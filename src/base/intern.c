/*
 * intern.c - strings that many objects share are stored once, with a count of their holders.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/intern.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

struct interned {
    UT_hash_handle hh;
    size_t holders;
    char text[];
};

static struct interned *table;

const char *intern_take_bytes(const void *bytes, size_t length)
{
    struct interned *entry;
    HASH_FIND(hh, table, bytes, length, entry);
    if (entry == NULL) {
        entry = memory_new(sizeof(*entry) + length + 1);
        memcpy(entry->text, bytes, length);
        HASH_ADD_KEYPTR(hh, table, entry->text, length, entry);
    }
    entry->holders++;
    return entry->text;
}

const char *intern_take(const char *text)
{
    return text == NULL ? NULL : intern_take_bytes(text, strlen(text));
}

/* The entry around a text that intern_take() gave out. */
static struct interned *entry_of(const char *text)
{
    return (struct interned *) (void *) ((uintptr_t) text - offsetof(struct interned, text));
}

const char *intern_share(const char *interned)
{
    if (interned != NULL)
        entry_of(interned)->holders++;
    return interned;
}

void intern_give_back(const char *interned)
{
    struct interned *entry;
    if (interned == NULL)
        return;
    entry = entry_of(interned);
    assert(entry->holders > 0);
    if (--entry->holders > 0)
        return;
    HASH_DEL(table, entry);
    free(entry);
}
