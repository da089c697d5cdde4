/*
 * parameters.c - the session parameters that the pooler follows for clients and servers.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/parameters.h"

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

bool tracked_names_init(struct tracked_names *names, const char *extra)
{
    *names = (struct tracked_names){0};
    for (unsigned i = 0; i < TRACKED_BUILT_IN; i++)
        names->names[names->count++] = intern_take(built_in[i]);
    while (extra != NULL && *extra != '\0') {
        size_t length = strcspn(extra, ","), used;
        const char *next = extra + length + (extra[length] == ',');
        while (length > 0 && is_blank(*extra)) {
            extra++;
            length--;
        }
        for (used = length; used > 0 && is_blank(extra[used - 1]);)
            used--;
        if (!add_name(names, extra, used)) {
            tracked_names_release(names);
            return false;
        }
        extra = next;
    }
    return true;
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

static void add_quoted(struct buffer *sql, const char *value)
{
    add_sql(sql, strchr(value, '\\') != NULL ? "E'" : "'");
    for (; *value != '\0'; value++) {
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
        else if (!quoted && (*value == ';' || *value == '\'' || *value == '\\' || *value == '-' ||
                             *value == '/'))
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

bool parameters_difference(const struct parameters *have, const struct parameters *wanted,
                           const struct tracked_names *names, struct buffer *ret_sql)
{
    bool any = false;
    for (unsigned i = 0; i < names->count; i++) {
        const char *old = have->values[i], *new = wanted->values[i];
        if (old == new || old == NULL || new == NULL || text_equals_ignoring_case(old, new))
            continue;
        add_sql(ret_sql, "SET ");
        add_sql(ret_sql, names->names[i]);
        add_sql(ret_sql, "=");
        add_value(ret_sql, names->names[i], new);
        add_sql(ret_sql, ";");
        any = true;
    }
    return any;
}
