/*
 * parameters_fuzz.c - the SQL that gives a server the session parameters of a client.
 *
 * Clients choose the values, so each of them must stay inside its own SET, whatever is in it. The
 * SQL is taken apart here as PostgreSQL's scanner does it (scan.l), and must hold just the values.
 *
 * The input holds a byte, which says whether the server's unreported values are known, and texts,
 * each ended by a zero byte: what the server has, then what is wanted. Of those that servers do not
 * report, an empty one is none.
 *
 * SPDX-License-Identifier: ISC
 */
#include <strings.h>

#include "fuzz.h"
#include "wire/parameters.h"

static struct tracked_names names;

static bool is_identifier_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

static bool is_identifier(char c)
{
    return is_identifier_start(c) || (c >= '0' && c <= '9') || c == '$';
}

/* A literal, with backslashes if it begins with E; false if it does not end. */
static bool read_literal(const char **at, const char *end, struct buffer *ret_value)
{
    bool escapes = **at == 'E';
    *at += escapes ? 2 : 1;
    for (; *at < end; (*at)++) {
        char c = **at;
        if (c == '\'' && (*at + 1 == end || (*at)[1] != '\'')) {
            (*at)++;
            return true;
        }
        HOLDS(!escapes || (c & 0x80) == 0); /* it might take the backslash behind it along */
        if (escapes && c == '\\' && end - *at > 3 && (*at)[1] == 'x') {
            const char digits[] = {(*at)[2], (*at)[3], '\0'};
            c = (char) strtoul(digits, NULL, 16);
            HOLDS((c & 0x80) != 0);
            *at += 3;
        } else if (c == '\'' || (escapes && c == '\\')) {
            HOLDS(*at + 1 < end && (*at)[1] == c); /* only the two that need it are escaped */
            (*at)++;
        }
        HOLDS(escapes || c != '\\'); /* its meaning would depend on standard_conforming_strings */
        buffer_append(ret_value, &c, 1);
    }
    return false;
}

/* A list of names as it stands: up to a semicolon that ends the statement. */
static const char *skip_list(const char *at, const char *end)
{
    while (at < end && *at != ';') {
        if (*at == '"') {
            at = memchr(at + 1, '"', (size_t) (end - at) - 1);
            HOLDS(at != NULL);
            at++;
        } else if (is_identifier_start(*at)) {
            while (at < end && is_identifier(*at))
                at++;
        } else {
            HOLDS(*at != '\'' && *at != '$'); /* no literal begins, with quotes or with dollars */
            HOLDS(!(*at == '-' && at + 1 < end && at[1] == '-')); /* nor a comment */
            HOLDS(!(*at == '/' && at + 1 < end && at[1] == '*'));
            at++;
        }
    }
    return at;
}

/* "SET name=value;" */
static const char *read_set(const char *at, const char *end, const char *name, const char *value)
{
    struct buffer literal = {0};
    size_t length = strlen(name), size = (size_t) (end - at);
    HOLDS(size > 4 + length + 1 && memcmp(at, "SET ", 4) == 0);
    HOLDS(memcmp(at + 4, name, length) == 0 && at[4 + length] == '=');
    at += 4 + length + 1;
    if (*at == '\'' || (*at == 'E' && end - at > 1 && at[1] == '\'')) {
        bool whole = read_literal(&at, end, &literal);
        bool nothing = literal.size == 0 && strcmp(value, "\"\"") == 0;
        HOLDS(whole &&
              (nothing || (literal.size == strlen(value) &&
                           (literal.size == 0 || memcmp(literal.data, value, literal.size) == 0))));
    } else {
        const char *stop = skip_list(at, end);
        HOLDS(strcasecmp(name, "search_path") == 0);
        HOLDS((size_t) (stop - at) == strlen(value) && memcmp(at, value, strlen(value)) == 0);
        at = stop;
    }
    HOLDS(at < end && *at == ';');
    buffer_release(&literal);
    return at + 1;
}

static const char *expect(const char *at, const char *end, const char *text)
{
    HOLDS((size_t) (end - at) >= strlen(text) && memcmp(at, text, strlen(text)) == 0);
    return at + strlen(text);
}

static const char *read_exact_literal(const char *at, const char *end, const char *value)
{
    struct buffer literal = {0};
    HOLDS(at < end && (*at == '\'' || (*at == 'E' && end - at > 1 && at[1] == '\'')));
    HOLDS(read_literal(&at, end, &literal));
    HOLDS(is_same_text(end_text(&literal), value));
    buffer_release(&literal);
    return at;
}

/* "SELECT pg_catalog.set_config('name','value',false);" or "RESET "name";" */
static const char *read_unreported(const char *at, const char *end, const char *name,
                                   const char *identifier, const char *value)
{
    if (value == NULL)
        return expect(expect(expect(at, end, "RESET "), end, identifier), end, ";");
    at = read_exact_literal(expect(at, end, "SELECT pg_catalog.set_config("), end, name);
    return expect(read_exact_literal(expect(at, end, ","), end, value), end, ",false);");
}

static void check_sql(const struct buffer *sql, const struct parameters *have,
                      const struct parameters *wanted, bool unknown)
{
    static const char *const identifiers[] = {"\"role\"", "\"my\".\"own\""};
    const char *at = (const char *) sql->data, *end = at + sql->size;
    for (unsigned i = 0; i < names.reported; i++) {
        const char *old = have->values[i], *new = wanted->values[i];
        if (old != NULL && new != NULL && strcasecmp(old, new) != 0)
            at = read_set(at, end, names.names[i], new);
    }
    for (unsigned i = names.reported; i < names.count; i++)
        if (unknown || have->values[i] != wanted->values[i])
            at = read_unreported(at, end, names.names[i], identifiers[i - names.reported],
                                 wanted->values[i]);
    HOLDS(at == end);
}

static void read_values(struct input *input, struct parameters *parameters)
{
    parameters_init(parameters, &names);
    for (unsigned i = 0; i < names.count && input->left > 0; i++) {
        const uint8_t *end = memchr(input->at, '\0', input->left);
        size_t size, length = end != NULL ? (size_t) (end - input->at) : input->left;
        char *value = memory_copy_bytes(input->at, length);
        if (i < names.reported || length > 0)
            parameters_set(parameters, i, value);
        free(value);
        free(take_bytes(input, length + 1, &size));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct parameters have, wanted;
    struct buffer sql = {0};
    if (names.count == 0)
        HOLDS(tracked_names_init(&names, "search_path", "role, my.own"));
    bool unknown = (take_byte(&input) & 1) != 0;
    read_values(&input, &have);
    read_values(&input, &wanted);
    bool any = parameters_difference(&have, &wanted, &names, unknown, &sql);
    HOLDS(any == (sql.size > 0));
    if (any)
        check_sql(&sql, &have, &wanted, unknown);
    if (parameters_same(&have, &wanted, &names))
        HOLDS(!any || unknown);
    parameters_fill(&have, &wanted, &names);
    parameters_copy(&have, &wanted, &names);
    HOLDS(parameters_same(&have, &wanted, &names));
    buffer_release(&sql);
    parameters_release(&have, &names);
    parameters_release(&wanted, &names);
    return 0;
}
