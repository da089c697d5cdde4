/*
 * ini.c - reads PgBouncer's ini files.
 *
 * inih asks next_bytes() for lines as it would ask fgets(). What it gets are lines that we have
 * looked at already: section headers as they are, and "key=value" with the word "key" in the place
 * of the real key, which waits in the reader; so no quote or colon in a key can mislead it.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/ini.h"

#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "base/intern.h"
#include "base/memory.h"
#include "config/file.h"

#define INCLUDE_DEPTH_MAX 10

/* A file that is being read. */
struct source {
    struct source *outer; /* owns; the file that includes this one */
    struct buffer text;   /* owns */
    size_t position;
    struct place place; /* owns a reference to the name */
};

struct reader {
    const struct ini_ops *ops;
    void *argument;
    struct config_report *report;
    struct source *source; /* owns; the innermost */
    unsigned depth;
    struct buffer line;    /* owns; what inih gets next */
    size_t given;          /* bytes of it that inih has */
    struct buffer key;     /* owns; zero-terminated; empty for a section header */
    struct place place;    /* owns a reference; of that line */
    struct buffer rest;    /* owns; text behind a section header, looked at next */
};

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_key_character(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_.-*", c) != NULL);
}

/* ---- sources ---- */

static bool push_source(struct reader *reader, const char *file)
{
    struct source *source = memory_new(sizeof(*source));
    if (!file_read(file, &source->text)) {
        buffer_wipe(&source->text);
        free(source);
        return false;
    }
    source->place.file = intern_take(file);
    source->outer = reader->source;
    reader->source = source;
    reader->depth++;
    if (file_is_writable_by_others(file))
        report_warning(reader->report, source->place,
                       "everybody may change this file; chmod o-w takes the right away");
    return true;
}

static void pop_source(struct reader *reader)
{
    struct source *source = reader->source;
    reader->source = source->outer;
    reader->depth--;
    buffer_wipe(&source->text);
    intern_give_back(source->place.file);
    free(source);
}

/* The next line without its end and the blanks around it, as a borrowed range. */
static bool next_line(struct reader *reader, const uint8_t **ret_start, const uint8_t **ret_end)
{
    struct source *source;
    const uint8_t *start, *end, *newline;
    while (reader->source != NULL && reader->source->position >= reader->source->text.size)
        pop_source(reader);
    source = reader->source;
    if (source == NULL)
        return false;
    start = source->text.data + source->position;
    end = source->text.data + source->text.size;
    newline = memchr(start, '\n', (size_t) (end - start));
    if (newline != NULL)
        end = newline;
    source->position = (size_t) (end - source->text.data) + (newline != NULL);
    source->place.line++;
    while (start < end && is_blank(*start))
        start++;
    while (end > start && is_blank(end[-1]))
        end--;
    *ret_start = start;
    *ret_end = end;
    return true;
}

/* ---- one line ---- */

/* Files that include each other would be read a thousand times over: too deep is the end. */
static void stop_reading(struct reader *reader)
{
    while (reader->source != NULL)
        pop_source(reader);
}

static void include(struct reader *reader, const uint8_t *start, const uint8_t *end)
{
    struct place place = reader->source->place;
    char *file;
    while (start < end && is_blank(*start))
        start++;
    file = memory_copy_bytes(start, (size_t) (end - start));
    if (reader->depth > INCLUDE_DEPTH_MAX) {
        report_error(reader->report, place,
                     "include nesting level too deep: \"%s\"; the rest was not read", file);
        stop_reading(reader);
    } else if (!push_source(reader, file))
        report_error(reader->report, place, "could not load file \"%s\": %s", file, strerror(errno));
    free(file);
}

/* Cuts the key off the line; NULL if there is none. */
static const uint8_t *read_key(struct reader *reader, const uint8_t *at, const uint8_t *end)
{
    uint8_t quote = at < end && (*at == '\'' || *at == '"') ? *at : 0;
    reader->key.size = 0;
    if (quote == 0) {
        while (at < end && is_key_character(*at))
            buffer_append(&reader->key, at++, 1);
    } else {
        for (at++; at < end; at++) {
            if (*at == quote && quote == '"' && at + 1 < end && at[1] == quote)
                at++;
            else if (*at == quote)
                break;
            buffer_append(&reader->key, at, 1);
        }
        if (at++ == end)
            return NULL;
    }
    if (reader->key.size == 0)
        return NULL;
    buffer_append(&reader->key, "", 1);
    return at;
}

/* Names the first word only: passwords stand further back. */
static void complain(struct reader *reader, const uint8_t *start, const uint8_t *end)
{
    int length = 0;
    while (length < 40 && start + length < end && !is_blank(start[length]) && start[length] != '=')
        length++;
    report_error(reader->report, reader->source->place,
                 "syntax error: expected \"key = value\" and found \"%.*s\"", length,
                 (const char *) start);
}

/* Takes `line` apart and fills reader->line; false if there is nothing for inih in it. */
static bool prepare_value(struct reader *reader, const uint8_t *start, const uint8_t *end)
{
    const uint8_t *at = read_key(reader, start, end);
    while (at != NULL && at < end && is_blank(*at))
        at++;
    if (at == NULL || at == end || *at != '=') {
        complain(reader, start, end);
        return false;
    }
    buffer_append(&reader->line, "key", 3);
    buffer_append(&reader->line, at, (size_t) (end - at));
    return true;
}

static bool prepare_section(struct reader *reader, const uint8_t *start, const uint8_t *end)
{
    const uint8_t *close = memchr(start, ']', (size_t) (end - start));
    if (close == NULL) {
        report_error(reader->report, reader->source->place,
                     "syntax error: a section header without its \"]\"");
        return false;
    }
    buffer_append(&reader->line, start, (size_t) (close + 1 - start));
    buffer_append(&reader->line, "\nkey=", 5);
    reader->key.size = 0;
    for (close++; close < end && is_blank(*close);)
        close++;
    reader->rest.size = 0;
    buffer_append(&reader->rest, close, (size_t) (end - close));
    return true;
}

static bool prepare(struct reader *reader, const uint8_t *start, const uint8_t *end)
{
    static const char word[] = "%include";
    size_t size = (size_t) (end - start), length = sizeof(word) - 1;
    if (size == 0 || *start == ';' || *start == '#')
        return false;
    if (memchr(start, '\0', size) != NULL) {
        report_error(reader->report, reader->source->place, "syntax error: a zero byte");
        return false;
    }
    if (size > length && memcmp(start, word, length) == 0 && is_blank(start[length])) {
        include(reader, start + length, end);
        return false;
    }
    return *start == '[' ? prepare_section(reader, start, end) : prepare_value(reader, start, end);
}

/* Fills reader->line with the next line for inih; false at the end of everything. */
static bool prepare_next(struct reader *reader)
{
    const uint8_t *start, *end;
    bool ready = false;
    reader->line.size = 0;
    reader->given = 0;
    while (!ready) {
        if (reader->rest.size > 0) {
            /* The text moves over, so that a header behind a header can fill `rest` again. */
            struct buffer text = reader->rest;
            reader->rest = (struct buffer){0};
            ready = prepare(reader, text.data, text.data + text.size);
            buffer_wipe(&text);
        } else if (next_line(reader, &start, &end)) {
            ready = prepare(reader, start, end);
        } else {
            return false;
        }
    }
    intern_give_back(reader->place.file);
    reader->place.line = reader->source->place.line;
    reader->place.file = intern_share(reader->source->place.file);
    buffer_append(&reader->line, "\n", 1);
    return true;
}

/* ---- inih ---- */

/* fgets() over the prepared lines. */
static char *next_bytes(char *ret_bytes, int size, void *stream)
{
    struct reader *reader = stream;
    size_t count = (size_t) size - 1, left;
    const uint8_t *start, *newline;
    if (reader->given == reader->line.size && !prepare_next(reader))
        return NULL;
    start = reader->line.data + reader->given;
    left = reader->line.size - reader->given;
    newline = memchr(start, '\n', left);
    if (newline != NULL && (size_t) (newline - start) < count)
        count = (size_t) (newline - start) + 1;
    memcpy(ret_bytes, start, count);
    ret_bytes[count] = '\0';
    reader->given += count;
    return ret_bytes;
}

static int handle(void *argument, const char *section, const char *name UNUSED, const char *value)
{
    struct reader *reader = argument;
    if (reader->key.size == 0)
        reader->ops->section(reader->argument, section, reader->place);
    else
        reader->ops->value(reader->argument, section, (const char *) reader->key.data, value,
                           reader->place);
    return 1;
}

void ini_read(const char *file, const struct ini_ops *ops, void *argument,
              struct config_report *report)
{
    struct reader reader = {.ops = ops, .argument = argument, .report = report};
    /* Debian's inih has its switches as variables; the defaults would cut lines and values. */
    ini_allow_inline_comments = false;
    ini_allow_multiline = false;
    ini_use_stack = false;
    ini_allow_realloc = true;
    ini_max_line = 1 << 30;

    if (!push_source(&reader, file)) {
        report_error(report, (struct place){0}, "could not load file \"%s\": %s", file,
                     strerror(errno));
    } else if (ini_parse_stream(next_bytes, &reader, handle, &reader) != 0) {
        report_error(report, reader.place, "syntax error");
    }
    stop_reading(&reader);
    intern_give_back(reader.place.file);
    buffer_wipe(&reader.line);
    buffer_wipe(&reader.rest);
    buffer_release(&reader.key);
}
