/*
 * server_statements.c - the prepared statements that one server has.
 *
 * SPDX-License-Identifier: ISC
 */
#include "server/server_statements.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/memory.h"
#include "wire/command_tag.h"

#define NOTES_CAPACITY_INITIAL 16

struct server_statements *server_statements_create(void)
{
    return memory_new(sizeof(struct server_statements));
}

static void forget(struct server_statements *statements, struct server_statement *entry)
{
    HASH_DEL(statements->by_statement, entry);
    statement_give_back(entry->statement);
    free(entry);
}

static void release_note(struct statement_note *note)
{
    if (note->named != NULL)
        statement_give_back(note->named);
    if (note->described != NULL)
        statement_give_back(note->described);
    buffer_release(&note->error);
}

void server_statements_destroy(struct server_statements *statements)
{
    struct server_statement *entry, *next;
    if (statements == NULL)
        return;
    for (uint32_t i = 0; i < statements->notes_count; i++)
        release_note(&statements->notes[(statements->notes_head + i) &
                                        (statements->notes_capacity - 1)]);
    HASH_ITER(hh, statements->by_statement, entry, next)
        forget(statements, entry);
    free(statements->notes);
    free(statements);
}

struct server_statement *server_statements_get(struct server_statements *statements,
                                               struct statement *statement)
{
    struct server_statement *entry;
    HASH_FIND_PTR(statements->by_statement, &statement, entry);
    if (entry != NULL)
        return entry;
    entry = memory_new(sizeof(*entry));
    entry->statement = statement_share(statement);
    HASH_ADD_PTR(statements->by_statement, statement, entry);
    return entry;
}

struct server_statement *server_statements_find_name(const struct server_statements *statements,
                                                     const char *name)
{
    struct server_statement *entry, *next;
    HASH_ITER(hh, statements->by_statement, entry, next)
        if (strcmp(entry->statement->name, name) == 0)
            return entry;
    return NULL;
}

enum statement_need server_statements_need(const struct server_statements *statements,
                                           const struct server_statement *entry)
{
    if (entry->pending == 0 && !entry->doubtful)
        return entry->present ? STATEMENT_IS_THERE : STATEMENT_PARSE;
    if (entry->pending > 0 && entry->expected && entry->segment == statements->segment)
        return STATEMENT_IS_THERE;
    return STATEMENT_REPLACE;
}

/* Keeps the list of those that are expected. */
static void expect(struct server_statements *statements, struct server_statement *entry,
                   bool expected)
{
    if (entry->expected == expected)
        return;
    entry->expected = expected;
    if (expected) {
        DL_APPEND(statements->in_use, entry);
        statements->count++;
    } else {
        DL_DELETE(statements->in_use, entry);
        statements->count--;
    }
}

void server_statements_touch(struct server_statements *statements, struct server_statement *entry)
{
    if (!entry->expected || entry->next == NULL)
        return;
    DL_DELETE(statements->in_use, entry);
    DL_APPEND(statements->in_use, entry);
}

struct server_statement *server_statements_oldest(const struct server_statements *statements,
                                                  const struct server_statement *entry)
{
    struct server_statement *oldest = statements->in_use;
    return oldest != NULL && oldest == entry ? oldest->next : oldest;
}

static void grow_notes(struct server_statements *statements)
{
    uint32_t old = statements->notes_capacity;
    uint32_t capacity = old == 0 ? NOTES_CAPACITY_INITIAL : old * 2;
    struct statement_note *notes = memory_new(capacity * sizeof(*notes));
    for (uint32_t i = 0; i < statements->notes_count; i++)
        notes[i] = statements->notes[(statements->notes_head + i) & (old - 1)];
    free(statements->notes);
    statements->notes = notes;
    statements->notes_capacity = capacity;
    statements->notes_head = 0;
}

void server_statements_note(struct server_statements *statements, struct statement_note note)
{
    if (statements->notes_count == statements->notes_capacity)
        grow_notes(statements);
    uint32_t place = statements->notes_head + statements->notes_count;
    statements->notes[place & (statements->notes_capacity - 1)] = note;
    statements->notes_count++;
    if (note.on_server == NULL)
        return;
    note.on_server->pending++;
    note.on_server->segment = statements->segment;
    expect(statements, note.on_server, note.present);
}

struct statement_note *server_statements_first_note(struct server_statements *statements)
{
    assert(statements->notes_count > 0);
    return &statements->notes[statements->notes_head];
}

/* The statement with the same body that has these columns now. The caller owns one reference. */
static struct statement *take_current(const struct statement *outdated, uint32_t fingerprint)
{
    struct statement *statement = statement_take(outdated->table, outdated->body, outdated->size);
    while (statement->columns != 0 && statement->columns != fingerprint) {
        statement_set_outdated(statement);
        statement_give_back(statement);
        statement = statement_take(outdated->table, outdated->body, outdated->size);
    }
    statement->columns = fingerprint;
    return statement;
}

void server_statements_take_columns(struct server_statements *statements, uint32_t fingerprint)
{
    struct statement_note *note = server_statements_first_note(statements);
    struct statement *statement = note->described;
    struct server_statement *entry;
    HASH_FIND_PTR(statements->by_statement, &statement, entry);
    if (statement->columns == 0)
        statement->columns = fingerprint;
    if (statement->columns != fingerprint)
        statement_set_outdated(statement);
    else if (entry != NULL)
        entry->verified = true;
    if (note->named == NULL || !statement->outdated)
        return;
    statement_give_back(note->named);
    note->named = take_current(statement, fingerprint);
}

/* All operations are answered: what is there is what will be there. */
static void come_to_rest(struct server_statements *statements, struct server_statement *entry)
{
    expect(statements, entry, entry->present);
    if (!entry->present)
        forget(statements, entry);
}

void server_statements_settle(struct server_statements *statements, bool done)
{
    struct statement_note *note = server_statements_first_note(statements);
    struct server_statement *entry = note->on_server;
    if (entry != NULL && done) {
        entry->present = note->present;
        entry->doubtful = entry->verified = false;
    }
    release_note(note);
    statements->notes_head = (statements->notes_head + 1) & (statements->notes_capacity - 1);
    statements->notes_count--;
    if (entry != NULL && --entry->pending == 0)
        come_to_rest(statements, entry);
}

bool statement_tag_is_end_of_all(const void *tag, size_t size)
{
    return command_tag_is(tag, size, "DEALLOCATE ALL") || command_tag_is(tag, size, "DISCARD ALL");
}

void server_statements_clear(struct server_statements *statements)
{
    struct server_statement *entry, *next;
    if (statements == NULL)
        return;
    HASH_ITER(hh, statements->by_statement, entry, next) {
        entry->present = false;
        entry->doubtful = entry->verified = false;
        if (entry->pending == 0)
            come_to_rest(statements, entry);
    }
}

void server_statements_doubt(struct server_statements *statements)
{
    struct server_statement *entry, *next;
    if (statements != NULL)
        HASH_ITER(hh, statements->by_statement, entry, next)
            entry->doubtful = true;
}
