/*
 * client_statements.c - the prepared statements of one client.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/client_statements.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static struct client_statement *find(const struct client_statements *statements, const char *name,
                                     size_t size)
{
    struct client_statement *entry;
    HASH_FIND(hh, statements->by_name, name, size, entry);
    return entry;
}

static size_t memory_of(const struct client_statement *entry)
{
    size_t text = entry->expected != NULL ? entry->expected->size : 0;
    return sizeof(*entry) + entry->name_size + text;
}

/* Replaces the reference in `*place`; either may be NULL. */
static void put(struct statement **place, struct statement *statement)
{
    struct statement *old = *place;
    *place = statement != NULL ? statement_share(statement) : NULL;
    if (old != NULL)
        statement_give_back(old);
}

static void expect(struct client_statements *statements, struct client_statement *entry,
                   struct statement *expected)
{
    statements->memory -= (uint32_t) memory_of(entry);
    put(&entry->expected, expected);
    statements->memory += (uint32_t) memory_of(entry);
}

static void forget(struct client_statements *statements, struct client_statement *entry)
{
    HASH_DEL(statements->by_name, entry);
    statements->memory -= (uint32_t) memory_of(entry);
    put(&entry->present, NULL);
    put(&entry->expected, NULL);
    free(entry);
}

/* Nothing is on its way: the name stands for what is present. */
static void come_to_rest(struct client_statements *statements, struct client_statement *entry)
{
    if (entry->present == NULL)
        forget(statements, entry);
    else
        expect(statements, entry, entry->present);
}

enum client_name_state client_statements_find(const struct client_statements *statements,
                                              const char *name, size_t size, uint32_t segment,
                                              struct statement **ret_statement)
{
    struct client_statement *entry = find(statements, name, size);
    *ret_statement = NULL;
    if (entry == NULL)
        return CLIENT_NAME_FREE;
    if (entry->pending > 0 && entry->segment != segment)
        return CLIENT_NAME_UNCERTAIN;
    *ret_statement = entry->expected;
    if (entry->expected == NULL)
        return CLIENT_NAME_FREE;
    return entry->pending > 0 ? CLIENT_NAME_NEW : CLIENT_NAME_USED;
}

struct client_statement *client_statements_change(struct client_statements *statements,
                                                  const char *name, size_t size, uint32_t segment,
                                                  struct statement *expected)
{
    struct client_statement *entry = find(statements, name, size);
    if (entry == NULL) {
        entry = memory_new(sizeof(*entry) + size);
        entry->name_size = (uint32_t) size;
        memcpy(entry->name, name, size);
        HASH_ADD_KEYPTR(hh, statements->by_name, entry->name, size, entry);
        statements->memory += (uint32_t) memory_of(entry);
    }
    entry->pending++;
    entry->segment = segment;
    expect(statements, entry, expected);
    return entry;
}

void client_statements_settle(struct client_statements *statements, struct client_statement *entry,
                              struct statement *named, bool done)
{
    if (done)
        put(&entry->present, named);
    if (--entry->pending == 0)
        come_to_rest(statements, entry);
}

void client_statements_replace(struct client_statements *statements, const struct statement *old,
                               struct statement *new)
{
    struct client_statement *entry, *next;
    HASH_ITER(hh, statements->by_name, entry, next) {
        if (entry->pending > 0 || entry->present != old)
            continue;
        put(&entry->present, new);
        expect(statements, entry, new);
    }
}

void client_statements_drop(struct client_statements *statements, const char *name, size_t size)
{
    struct client_statement *entry = find(statements, name, size);
    if (entry == NULL)
        return;
    put(&entry->present, NULL);
    if (entry->pending == 0)
        come_to_rest(statements, entry);
}

void client_statements_clear(struct client_statements *statements)
{
    struct client_statement *entry, *next;
    HASH_ITER(hh, statements->by_name, entry, next) {
        put(&entry->present, NULL);
        if (entry->pending == 0)
            come_to_rest(statements, entry);
    }
}

void client_statements_release(struct client_statements *statements)
{
    struct client_statement *entry, *next;
    HASH_ITER(hh, statements->by_name, entry, next)
        forget(statements, entry);
}

unsigned client_statements_count(const struct client_statements *statements)
{
    return HASH_COUNT(statements->by_name);
}
