/*
 * prepared_insert.c - what the pooler writes itself for prepared statements, and when.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/prepared_message.h"

#include <assert.h>
#include <string.h>

/* The head of a message with the name of a statement, and one byte before it. */
struct head {
    uint8_t bytes[FRAME_HEADER_SIZE + 1 + STATEMENT_NAME_SIZE];
    size_t size;
};

static void head_begin(struct head *head, uint8_t type)
{
    head->bytes[0] = type;
    head->size = FRAME_HEADER_SIZE;
}

static void head_add(struct head *head, const void *bytes, size_t size)
{
    assert(size <= sizeof(head->bytes) - head->size);
    memcpy(head->bytes + head->size, bytes, size);
    head->size += size;
}

/* `rest` more bytes belong to the message. */
static bool head_insert(struct head *head, uint64_t rest, struct stream *stream)
{
    uint32_t length = (uint32_t) (head->size - 1 + rest);
    uint8_t big_endian[4] = {(uint8_t) (length >> 24), (uint8_t) (length >> 16),
                             (uint8_t) (length >> 8), (uint8_t) length};
    memcpy(head->bytes + 1, big_endian, sizeof(big_endian));
    return stream_insert(stream, head->bytes, head->size);
}

bool prepared_insert_close(const struct prepared_message *message, struct server_statement *entry)
{
    const struct statement *statement = entry->statement;
    struct head head;
    head_begin(&head, 'C');
    head_add(&head, "S", 1);
    head_add(&head, statement->name, statement->name_size);
    prepared_expect(message, 'C', ANSWER_SWALLOWED, (struct statement_note){.on_server = entry});
    return head_insert(&head, 0, message->stream);
}

bool prepared_insert_parse_head(const struct prepared_message *message,
                                const struct statement *statement)
{
    struct head head;
    head_begin(&head, 'P');
    head_add(&head, statement->name, statement->name_size);
    message->session->client->pool->stats.server_parses++;
    return head_insert(&head, statement->size, message->stream);
}

/* The head of a Bind of the unnamed portal, or of a Describe, with the name on the server. */
static bool insert_use(const struct prepared_message *message, const struct statement *statement)
{
    struct head head;
    head_begin(&head, message->frame->type);
    head_add(&head, message->frame->type == 'B' ? "" : "S", 1);
    head_add(&head, statement->name, statement->name_size);
    return head_insert(&head, message->rest_size, message->stream);
}

static bool insert_bind_of_portal(const struct prepared_message *message,
                                  const struct statement *statement)
{
    const struct extended_names *names = &message->names;
    struct head head;
    head_begin(&head, 'B');
    return head_insert(&head, names->portal_size + 1 + statement->name_size + message->rest_size,
                       message->stream) &&
           stream_insert(message->stream, names->portal, names->portal_size + 1) &&
           stream_insert(message->stream, statement->name, statement->name_size);
}

bool prepared_insert_use(const struct prepared_message *message,
                         const struct statement *statement)
{
    return message->names.portal_size == 0 ? insert_use(message, statement)
                                           : insert_bind_of_portal(message, statement);
}

bool prepared_evict(const struct prepared_message *message, struct server_statement *entry)
{
    struct server_statements *statements = prepared_statements(message);
    struct server_statement *oldest;
    unsigned limit = message->session->client->pool->limits.prepared_statements;
    while (statements->count > limit &&
           (oldest = server_statements_oldest(statements, entry)) != NULL)
        if (!prepared_insert_close(message, oldest))
            return false;
    return true;
}

bool prepared_insert_describe(const struct prepared_message *message,
                              struct statement *statement)
{
    struct head head;
    head_begin(&head, 'D');
    head_add(&head, "S", 1);
    head_add(&head, statement->name, statement->name_size);
    prepared_expect(message, 'D', ANSWER_SWALLOWED,
                    (struct statement_note){.described = statement_share(statement)});
    return head_insert(&head, 0, message->stream);
}

bool prepared_learn_columns(const struct prepared_message *message, struct statement *statement)
{
    return statement->columns != 0 || prepared_insert_describe(message, statement);
}

bool prepared_ensure(const struct prepared_message *message, struct server_statement *entry)
{
    struct server_statements *statements = prepared_statements(message);
    struct statement *statement = entry->statement;
    enum statement_need need = server_statements_need(statements, entry);
    if (need == STATEMENT_IS_THERE) {
        server_statements_touch(statements, entry);
        return true;
    }
    if (need == STATEMENT_REPLACE && !prepared_insert_close(message, entry))
        return false;
    prepared_expect(message, 'P', ANSWER_SWALLOWED,
                    (struct statement_note){.on_server = entry, .present = true});
    return prepared_insert_parse_head(message, statement) &&
           stream_insert(message->stream, statement->body, statement->size) &&
           prepared_learn_columns(message, statement) && prepared_evict(message, entry);
}
