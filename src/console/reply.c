/*
 * reply.c - what the console answers: rows, tags, errors, notices.
 *
 * SPDX-License-Identifier: ISC
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "console/console_session.h"
#include "report/view.h"
#include "wire/message.h"

/* As PostgreSQL has them: type OID and length. */
static const struct {
    uint32_t oid;
    uint16_t length;
} types[] = {
    [COLUMN_TEXT] = {25, UINT16_MAX},
    [COLUMN_INT4] = {23, 4},
    [COLUMN_INT8] = {20, 8},
    [COLUMN_NUMERIC] = {1700, UINT16_MAX},
};

void reply_tag(struct console_session *session, const char *tag)
{
    message_write_command_complete(&session->reply, tag);
}

void reply_notice(struct console_session *session, const char *message, const char *detail)
{
    notice_response_write(&session->reply, SQLSTATE_SUCCESS, message, detail);
}

void reply_error(struct console_session *session, const char *sqlstate, const char *message)
{
    log_error(NULL, "%s", message);
    if (settings_current()->log_pooler_errors)
        log_warn(&session->client->subject, "pooler error: %s", message);
    error_response_write(&session->reply, "ERROR", sqlstate, message);
}

static void add_column(struct buffer *out, const char *name, enum column_type type)
{
    message_add_text(out, name);
    message_add_int32(out, 0); /* of no table */
    message_add_int16(out, 0);
    message_add_int32(out, types[type].oid);
    message_add_int16(out, types[type].length);
    message_add_int32(out, UINT32_MAX); /* no modifier */
    message_add_int16(out, 0);          /* text format */
}

/* Names that clients chose may be anything; the console has promised UTF-8. */
static void add_as_utf8(struct buffer *out, const char *text)
{
    while (*text != '\0') {
        size_t length = text_utf8_length(text);
        if (length > 0)
            message_add_bytes(out, text, length);
        else
            message_add_bytes(out, "\xef\xbf\xbd", 3); /* U+FFFD, the replacement character */
        text += length > 0 ? length : 1;
    }
}

static void add_text_value(struct buffer *out, const char *text)
{
    struct buffer value = {0};
    if (text == NULL) {
        message_add_int32(out, UINT32_MAX);
        return;
    }
    add_as_utf8(&value, text);
    message_add_int32(out, (uint32_t) value.size);
    message_add_bytes(out, value.data, value.size);
    buffer_release(&value);
}

static void add_value(struct buffer *out, enum column_type type, struct value value)
{
    char number[24];
    if (type != COLUMN_TEXT)
        snprintf(number, sizeof(number), "%" PRId64, value.number);
    add_text_value(out, type == COLUMN_TEXT ? value.text : number);
}

void reply_single(struct console_session *session, const char *column, const char *value)
{
    struct buffer *out = &session->reply;
    size_t mark = message_begin(out, 'T');
    message_add_int16(out, 1);
    add_column(out, column, COLUMN_TEXT);
    message_end(out, mark);
    mark = message_begin(out, 'D');
    message_add_int16(out, 1);
    add_text_value(out, value);
    message_end(out, mark);
    reply_tag(session, "SHOW");
}

/* One row into the session's reply. */
static void add_row(void *argument, const struct view *view, const void *row)
{
    struct buffer *out = argument;
    struct view_context context = {.now_us = clock_now_us()};
    size_t mark = message_begin(out, 'D');
    message_add_int16(out, (uint16_t) view->column_count);
    for (size_t i = 0; i < view->column_count; i++)
        add_value(out, view->columns[i].type, view->columns[i].read(row, &context));
    message_end(out, mark);
}

void reply_view(struct console_session *session, const struct view *view)
{
    const struct console *console = session->console;
    struct report report = {
        .pools = console->pools, .clients = console->clients, .version = console->version};
    struct buffer *out = &session->reply;
    size_t mark = message_begin(out, 'T');
    message_add_int16(out, (uint16_t) view->column_count);
    for (size_t i = 0; i < view->column_count; i++)
        add_column(out, view->columns[i].name, view->columns[i].type);
    message_end(out, mark);
    view->each_row(view, &report, add_row, out);
    reply_tag(session, "SHOW");
}
