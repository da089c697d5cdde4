/*
 * userlist.c - the auth_file: "user" "secret", one per line.
 *
 * SPDX-License-Identifier: ISC
 */
#include <stdlib.h>
#include <string.h>

#include "base/intern.h"
#include "base/memory.h"
#include "config/report.h"

#define SECRET_MAX 65530

struct cursor {
    const char *at, *end;
    unsigned line;
};

static void step(struct cursor *cursor)
{
    cursor->line += *cursor->at == '\n';
    cursor->at++;
}

static void skip_line(struct cursor *cursor)
{
    while (cursor->at < cursor->end && *cursor->at != '\n')
        cursor->at++;
}

/* Blanks, empty lines and comments. */
static void skip_to_entry(struct cursor *cursor)
{
    while (cursor->at < cursor->end) {
        if (strchr(" \t\r\n\v\f", *cursor->at) != NULL && *cursor->at != '\0')
            step(cursor);
        else if (*cursor->at == ';')
            skip_line(cursor);
        else
            return;
    }
}

/* A quoted field, "" standing for a quote; false if it does not begin or end. */
static bool read_field(struct cursor *cursor, struct buffer *ret_text)
{
    ret_text->size = 0;
    if (cursor->at == cursor->end || *cursor->at != '"')
        return false;
    for (cursor->at++; cursor->at < cursor->end && *cursor->at != '\n'; cursor->at++) {
        if (*cursor->at == '"') {
            cursor->at++;
            if (cursor->at == cursor->end || *cursor->at != '"')
                return true;
        }
        buffer_append(ret_text, cursor->at, 1);
    }
    return false;
}

static bool skip_to_quote(struct cursor *cursor)
{
    while (cursor->at < cursor->end && *cursor->at != '"' && *cursor->at != '\n')
        cursor->at++;
    return cursor->at < cursor->end && *cursor->at == '"';
}

static const char *problem_of(const struct buffer *name, const struct buffer *secret)
{
    if (name->size > USER_NAME_MAX)
        return "username too long in auth file";
    if (secret->size > SECRET_MAX)
        return "password too long in auth file";
    if (memchr(name->data, '\0', name->size) != NULL ||
        (secret->size > 0 && memchr(secret->data, '\0', secret->size) != NULL))
        return "broken auth file: a zero byte";
    return name->size == 0 ? "broken auth file: a user without a name" : NULL;
}

static void set_secret(struct config_secret **secrets, const struct buffer *name,
                       const struct buffer *secret)
{
    struct config_secret *entry;
    HASH_FIND(hh, *secrets, name->data, name->size, entry);
    if (entry == NULL) {
        entry = memory_new(sizeof(*entry));
        entry->name = memory_copy_bytes(name->data, name->size);
        HASH_ADD_KEYPTR(hh, *secrets, entry->name, name->size, entry);
    } else {
        secret_copy(&entry->older, &entry->secret);
    }
    secret_set(&entry->secret, secret->data, secret->size);
}

bool userlist_parse(const char *file, const char *text, size_t size, struct config_secret **secrets,
                    struct config_report *report)
{
    struct cursor cursor = {.at = text, .end = text + size, .line = 1};
    struct buffer name = {0}, secret = {0};
    const char *problem = NULL;
    (void) buffer_extend(&name, 1); /* so that data is never NULL */
    for (skip_to_entry(&cursor); cursor.at < cursor.end; skip_to_entry(&cursor)) {
        if (!read_field(&cursor, &name) || !skip_to_quote(&cursor) || !read_field(&cursor, &secret))
            problem = "broken auth file: expected \"user\" \"password\"";
        else
            problem = problem_of(&name, &secret);
        if (problem != NULL)
            break; /* where the cursor stands */
        set_secret(secrets, &name, &secret);
        skip_line(&cursor);
    }
    if (problem != NULL) {
        struct place place = {.file = intern_take(file), .line = cursor.line};
        report_error(report, place, "%s", problem);
        intern_give_back(place.file);
    }
    buffer_release(&name);
    buffer_wipe(&secret);
    return problem == NULL;
}

void userlist_release(struct config_secret **secrets)
{
    struct config_secret *entry, *next;
    HASH_ITER(hh, *secrets, entry, next) {
        HASH_DEL(*secrets, entry);
        secret_release(&entry->secret);
        secret_release(&entry->older);
        free(entry->name);
        free(entry);
    }
}
