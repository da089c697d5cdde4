/*
 * error_response.c - ErrorResponse and NoticeResponse.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/error_response.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wire/message.h"

void failure_set(struct failure *ret_failure, const char *format, ...)
{
    va_list arguments;
    snprintf(ret_failure->sqlstate, sizeof(ret_failure->sqlstate), "%s", SQLSTATE_PROTOCOL_VIOLATION);
    va_start(arguments, format);
    vsnprintf(ret_failure->message, sizeof(ret_failure->message), format, arguments);
    va_end(arguments);
}

static void add_field(struct buffer *out, char field, const char *text)
{
    message_add_byte(out, (uint8_t) field);
    message_add_text(out, text);
}

/* `text`, if there is one, goes into one more field. */
static void write_response(struct buffer *out, uint8_t type, const char *severity,
                           const char *sqlstate, const char *message, char other,
                           const char *text)
{
    size_t mark = message_begin(out, type);
    add_field(out, 'S', severity);
    add_field(out, 'C', sqlstate);
    add_field(out, 'M', message);
    if (text != NULL)
        add_field(out, other, text);
    message_add_byte(out, 0);
    message_end(out, mark);
}

void error_response_write(struct buffer *out, const char *severity, const char *sqlstate,
                          const char *message)
{
    write_response(out, 'E', severity, sqlstate, message, 0, NULL);
}

void error_response_write_of(struct buffer *out, const char *severity, const char *sqlstate,
                             const char *message, const char *routine)
{
    write_response(out, 'E', severity, sqlstate, message, 'R', routine);
}

void notice_response_write(struct buffer *out, const char *sqlstate, const char *message,
                           const char *detail)
{
    write_response(out, 'N', "NOTICE", sqlstate, message, 'D', detail);
}

void warning_response_write(struct buffer *out, const char *message, const char *hint)
{
    write_response(out, 'N', "WARNING", SQLSTATE_WARNING, message, 'H', hint);
}

/* The first occurrence of a field counts. */
static void keep(char *field, size_t size, const char *text)
{
    if (field[0] == '\0')
        snprintf(field, size, "%s", text);
}

bool error_response_read(const void *body, size_t size, struct error_fields *ret_fields)
{
    struct message_reader reader = message_reader_of(body, size);
    char localized_severity[sizeof(ret_fields->severity)] = "";
    uint8_t field;
    *ret_fields = (struct error_fields){0};
    while ((field = message_read_byte(&reader)) != 0) {
        const char *text = message_read_text(&reader);
        if (reader.broken)
            break;
        if (field == 'V')
            keep(ret_fields->severity, sizeof(ret_fields->severity), text);
        else if (field == 'S')
            keep(localized_severity, sizeof(localized_severity), text);
        else if (field == 'C')
            keep(ret_fields->sqlstate, sizeof(ret_fields->sqlstate), text);
        else if (field == 'M')
            keep(ret_fields->message, sizeof(ret_fields->message), text);
        else if (field == 'R')
            keep(ret_fields->routine, sizeof(ret_fields->routine), text);
    }
    keep(ret_fields->severity, sizeof(ret_fields->severity), localized_severity);
    return !reader.broken;
}
