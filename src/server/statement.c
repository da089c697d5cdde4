/*
 * statement.c - a prepared statement as all clients share it.
 *
 * SPDX-License-Identifier: ISC
 */
#include "server/statement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static struct statement *statements; /* hash by body */
static uint64_t last_number;
static size_t memory;

/* Hashes of bodies that were asked for; a newer one takes the place of an older. */
#define ASKED_SIZE 4096
static uint32_t asked[ASKED_SIZE];

static size_t memory_of(const struct statement *statement)
{
    return sizeof(*statement) + statement->size;
}

struct statement *statement_take(const uint8_t *body, uint32_t size)
{
    struct statement *statement;
    unsigned hash = hash_bytes(body, size);
    HASH_FIND_BYHASHVALUE(hh, statements, body, size, hash, statement);
    if (statement != NULL)
        return statement_share(statement);
    statement = memory_new(sizeof(*statement) + size);
    statement->references = 1;
    statement->size = size;
    memcpy(statement->body, body, size);
    statement->name_size = 1 + (uint32_t) snprintf(statement->name, sizeof(statement->name),
                                                   "PGBOUNCER_%llu",
                                                   (unsigned long long) ++last_number);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, statements, statement->body, size, hash, statement);
    memory += memory_of(statement);
    return statement;
}

bool statement_is_frequent(const uint8_t *body, uint32_t size)
{
    struct statement *statement;
    unsigned hash = hash_bytes(body, size);
    uint32_t *place = &asked[hash % ASKED_SIZE];
    HASH_FIND_BYHASHVALUE(hh, statements, body, size, hash, statement);
    if (statement != NULL || *place == hash)
        return true;
    *place = hash;
    return false;
}

struct statement *statement_share(struct statement *statement)
{
    statement->references++;
    return statement;
}

void statement_give_back(struct statement *statement)
{
    if (--statement->references > 0)
        return;
    if (!statement->outdated)
        HASH_DEL(statements, statement);
    memory -= memory_of(statement);
    free(statement);
}

void statement_set_outdated(struct statement *statement)
{
    if (!statement->outdated)
        HASH_DEL(statements, statement);
    statement->outdated = true;
}

size_t statement_memory(void)
{
    return memory;
}
