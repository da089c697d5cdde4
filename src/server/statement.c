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

struct statement_table {
    struct statement *members; /* hash by body */
};

static uint64_t last_number;
static size_t memory;

/* Hashes of bodies that were asked for; a newer one takes the place of an older. */
#define ASKED_SIZE 4096
static uint32_t asked[ASKED_SIZE];

static size_t memory_of(const struct statement *statement)
{
    return sizeof(*statement) + statement->size;
}

struct statement_table *statement_table_create(void)
{
    return memory_new(sizeof(struct statement_table));
}

void statement_table_destroy(struct statement_table *table)
{
    struct statement *statement, *next;
    HASH_ITER(hh, table->members, statement, next)
        statement_set_outdated(statement);
    free(table);
}

struct statement *statement_take(struct statement_table *table, const uint8_t *body, uint32_t size)
{
    struct statement *statement;
    unsigned hash = hash_bytes(body, size);
    HASH_FIND_BYHASHVALUE(hh, table->members, body, size, hash, statement);
    if (statement != NULL)
        return statement_share(statement);
    statement = memory_new(sizeof(*statement) + size);
    statement->table = table;
    statement->references = 1;
    statement->size = size;
    memcpy(statement->body, body, size);
    statement->name_size = 1 + (uint32_t) snprintf(statement->name, sizeof(statement->name),
                                                   "PGBOUNCER_%llu",
                                                   (unsigned long long) ++last_number);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, table->members, statement->body, size, hash, statement);
    memory += memory_of(statement);
    return statement;
}

bool statement_is_frequent(const struct statement_table *table, const uint8_t *body, uint32_t size)
{
    struct statement *statement;
    unsigned hash = hash_bytes(body, size);
    uint32_t *place = &asked[hash % ASKED_SIZE];
    HASH_FIND_BYHASHVALUE(hh, table->members, body, size, hash, statement);
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
        HASH_DEL(statement->table->members, statement);
    memory -= memory_of(statement);
    free(statement);
}

void statement_set_outdated(struct statement *statement)
{
    if (!statement->outdated)
        HASH_DEL(statement->table->members, statement);
    statement->outdated = true;
}

size_t statement_memory(void)
{
    return memory;
}
