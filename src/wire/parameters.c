/*
 * parameters.c - the session parameters that the pooler follows for clients and servers.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/parameters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/intern.h"
#include "base/memory.h"
#include "base/text.h"
#include "wire/message.h"

static const char *const built_in[TRACKED_BUILT_IN] = {
    "DateStyle", "client_encoding", "TimeZone", "standard_conforming_strings", "application_name",
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Adds the item of `length` bytes, unless it is empty or there already. */
static bool add_name(struct tracked_names *names, const char *item, size_t length)
{
    const char *name = intern_take_bytes(item, length);
    if (length == 0 || tracked_names_find(names, name) >= 0) {
        intern_give_back(name);
        return true;
    }
    if (names->count == TRACKED_MAX) {
        intern_give_back(name);
        return false;
    }
    names->names[names->count++] = name;
    return true;
}

/* Adds the names of a comma list. */
static bool add_names(struct tracked_names *names, const char *list)
{
    while (list != NULL && *list != '\0') {
        size_t length = strcspn(list, ","), used;
        const char *next = list + length + (list[length] == ',');
        while (length > 0 && is_blank(*list)) {
            list++;
            length--;
        }
        for (used = length; used > 0 && is_blank(list[used - 1]);)
            used--;
        if (!add_name(names, list, used))
            return false;
        list = next;
    }
    return true;
}

bool tracked_names_init(struct tracked_names *names, const char *extra, const char *startup)
{
    bool good;
    *names = (struct tracked_names){0};
    for (unsigned i = 0; i < TRACKED_BUILT_IN; i++)
        names->names[names->count++] = intern_take(built_in[i]);
    good = add_names(names, extra);
    names->reported = names->count;
    if (good && add_names(names, startup))
        return true;
    tracked_names_release(names);
    return false;
}

void tracked_names_release(struct tracked_names *names)
{
    for (unsigned i = 0; i < names->count; i++)
        intern_give_back(names->names[i]);
    *names = (struct tracked_names){0};
}

int tracked_names_find(const struct tracked_names *names, const char *name)
{
    for (unsigned i = 0; i < names->count; i++)
        if (text_equals_ignoring_case(names->names[i], name))
            return (int) i;
    return -1;
}

void parameters_init(struct parameters *parameters, const struct tracked_names *names)
{
    parameters->values = memory_new(names->count * sizeof(*parameters->values));
}

void parameters_release(struct parameters *parameters, const struct tracked_names *names)
{
    for (unsigned i = 0; parameters->values != NULL && i < names->count; i++)
        intern_give_back(parameters->values[i]);
    free(parameters->values);
    parameters->values = NULL;
}

void parameters_set(struct parameters *parameters, unsigned place, const char *value)
{
    const char *old = parameters->values[place];
    if (old != NULL && value != NULL && strcmp(old, value) == 0)
        return;
    parameters->values[place] = intern_take(value);
    intern_give_back(old);
}

void parameters_fill(struct parameters *to, const struct parameters *from,
                     const struct tracked_names *names)
{
    for (unsigned i = 0; i < names->count; i++)
        if (to->values[i] == NULL)
            to->values[i] = intern_share(from->values[i]);
}

void parameters_copy(struct parameters *to, const struct parameters *from,
                     const struct tracked_names *names)
{
    for (unsigned i = 0; i < names->count; i++) {
        const char *old = to->values[i];
        to->values[i] = intern_share(from->values[i]);
        intern_give_back(old);
    }
}

bool parameters_same(const struct parameters *a, const struct parameters *b,
                     const struct tracked_names *names)
{
    return memcmp(a->values, b->values, names->count * sizeof(*a->values)) == 0;
}

static void add_sql(struct buffer *sql, const char *text)
{
    buffer_append(sql, text, strlen(text));
}

/*
 * The server reads the SQL in the client_encoding of whoever had it before, and in some of them a
 * backslash may be the second byte of a character: then one of two backslashes would be left to
 * escape the quote behind it. So beside backslashes nothing but ASCII goes out. A quote is never part
 * of a character.
 */
static void add_quoted(struct buffer *sql, const char *value)
{
    bool escapes = strchr(value, '\\') != NULL;
    char byte[5];
    add_sql(sql, escapes ? "E'" : "'");
    for (; *value != '\0'; value++) {
        if (escapes && (*value & 0x80) != 0) {
            snprintf(byte, sizeof(byte), "\\x%02x", (unsigned char) *value);
            add_sql(sql, byte);
            continue;
        }
        if (*value == '\'' || *value == '\\')
            buffer_append(sql, value, 1);
        buffer_append(sql, value, 1);
    }
    add_sql(sql, "'");
}

/*
 * search_path is a list: PostgreSQL reports it as it was given, quoted where it must be, so quoting
 * it as a whole would make one name of it. An unquoted report is safe to send back only if nothing
 * outside double quotes could end the statement.
 */
static bool is_plain_list(const char *value)
{
    bool quoted = false;
    for (; *value != '\0'; value++) {
        if (*value == '"')
            quoted = !quoted;
        else if (!quoted && strchr(";'\\-/$", *value) != NULL) /* a dollar may begin a literal */
            return false;
    }
    return !quoted;
}

static void add_value(struct buffer *sql, const char *name, const char *value)
{
    if (!text_equals_ignoring_case(name, "search_path") || !is_plain_list(value)) {
        add_quoted(sql, value);
        return;
    }
    if (*value == '\0' || strcmp(value, "\"\"") == 0)
        add_sql(sql, "''");
    else
        add_sql(sql, value);
}

/* SET for what servers report and both know. */
static bool add_reported(const char *name, const char *old, const char *new, struct buffer *sql)
{
    if (old == new || old == NULL || new == NULL || text_equals_ignoring_case(old, new))
        return false;
    add_sql(sql, "SET ");
    add_sql(sql, name);
    add_sql(sql, "=");
    add_value(sql, name, new);
    add_sql(sql, ";");
    return true;
}

/* A name of the configuration as an identifier: each part between its dots in quotes. */
static void add_identifier(struct buffer *sql, const char *name)
{
    add_sql(sql, "\"");
    for (; *name != '\0'; name++) {
        if (*name == '.')
            add_sql(sql, "\".\"");
        else if (*name != '"')
            buffer_append(sql, name, 1);
    }
    add_sql(sql, "\"");
}

static void add_unreported(const char *name, const char *new, struct buffer *sql)
{
    if (new == NULL) {
        add_sql(sql, "RESET ");
        add_identifier(sql, name);
    } else {
        add_sql(sql, "SELECT pg_catalog.set_config(");
        add_quoted(sql, name);
        add_sql(sql, ",");
        add_quoted(sql, new);
        add_sql(sql, ",false)");
    }
    add_sql(sql, ";");
}

bool parameters_difference(const struct parameters *have, const struct parameters *wanted,
                           const struct tracked_names *names, bool unknown,
                           struct buffer *ret_sql)
{
    bool any = false;
    for (unsigned i = 0; i < names->reported; i++)
        any |= add_reported(names->names[i], have->values[i], wanted->values[i], ret_sql);
    for (unsigned i = names->reported; i < names->count; i++) {
        if (!unknown && have->values[i] == wanted->values[i])
            continue;
        add_unreported(names->names[i], wanted->values[i], ret_sql);
        any = true;
    }
    return any;
}

void parameters_take_unreported(struct parameters *to, const struct parameters *from,
                                const struct tracked_names *names)
{
    for (unsigned i = names->reported; i < names->count; i++) {
        const char *old = to->values[i];
        to->values[i] = from != NULL ? intern_share(from->values[i]) : NULL;
        intern_give_back(old);
    }
}
