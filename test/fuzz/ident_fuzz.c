/*
 * ident_fuzz.c - user-name maps. A map of many lines must say what its lines say one by one.
 *
 * SPDX-License-Identifier: ISC
 */
#include "../../src/config/ident.c"
#include "fuzz.h"

#define MAPPINGS_MAX 200

/* What one line says. */
struct line {
    struct ident *ident;             /* owns; holds what is borrowed below */
    const char *map, *system, *user; /* borrow; the user is NULL for all */
};

static struct ident *parse(const char *text, size_t size, size_t *ret_errors)
{
    struct config_report report = {0};
    struct ident *ident = ident_parse("/nonexistent/ident", text, size, &report);
    *ret_errors = report.error_count;
    config_report_release(&report);
    return ident;
}

/* Reads each line for itself, as long as there is room. */
static size_t read_lines(const char *text, size_t size, struct line *ret_lines)
{
    size_t count = 0, errors;
    const char *end = text + size;
    while (text < end && count < MAPPINGS_MAX) {
        const char *newline = memchr(text, '\n', (size_t) (end - text));
        size_t length = newline != NULL ? (size_t) (newline - text) : (size_t) (end - text);
        struct ident *ident = parse(text, length, &errors);
        if (ident->maps == NULL) {
            ident_destroy(ident);
        } else {
            const struct ident_map *map = ident->maps;
            HOLDS(errors == 0 && map->hh.next == NULL && map->count == 1);
            ret_lines[count++] = (struct line){.ident = ident,
                                               .map = map->name,
                                               .system = map->mappings[0].system,
                                               .user = map->mappings[0].user};
        }
        text += length + (newline != NULL);
    }
    return count;
}

/* A line that looks like the beginning of a text, with a mark, means something else alone. */
static bool has_inner_mark(const char *text, size_t size)
{
    return memmem(text, size, "\n\xef\xbb\xbf", 4) != NULL;
}

/* First those for all, then those for him, in the order of the file. */
static void check_user(const struct ident *ident, const struct line *lines, size_t count,
                       const char *name, const char *user)
{
    const struct ident_map *map = ident_find(ident, name);
    size_t position = 0;
    for (int for_all = 1; for_all >= 0; for_all--) {
        for (size_t i = 0; i < count; i++) {
            bool is_for_all = lines[i].user == NULL;
            if (is_for_all != for_all || strcmp(lines[i].map, name) != 0 ||
                (!is_for_all && strcmp(lines[i].user, user) != 0))
                continue;
            HOLDS(map != NULL && is_same_text(ident_next(map, user, &position), lines[i].system));
        }
    }
    if (map != NULL) {
        HOLDS(is_same_text(ident_map_name(map), name));
        HOLDS(ident_next(map, user, &position) == NULL);
    }
}

/* What was read can be written, and is read without errors. */
static void write_again(const struct line *lines, size_t count)
{
    struct buffer text = {0};
    size_t errors;
    for (size_t i = 0; i < count; i++) {
        add_quoted(&text, lines[i].map, '"');
        put_text(&text, " ");
        add_quoted(&text, lines[i].system, '"');
        put_text(&text, " ");
        if (lines[i].user != NULL)
            add_quoted(&text, lines[i].user, '"');
        else
            put_text(&text, "all");
        put_text(&text, "\n");
    }
    end_text(&text);
    struct ident *ident = parse((const char *) text.data, text.size - 1, &errors);
    HOLDS(errors == 0);
    for (size_t i = 0; i < count; i++)
        check_user(ident, lines, count, lines[i].map, lines[i].user != NULL ? lines[i].user : "");
    ident_destroy(ident);
    buffer_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct line lines[MAPPINGS_MAX];
    struct input input = {data, size};
    char *text = (char *) take_bytes(&input, size, &size);
    size_t errors, count;
    struct ident *ident = parse(text, size, &errors);
    count = read_lines(text, size, lines);
    if (count < MAPPINGS_MAX && !has_inner_mark(text, size)) {
        for (size_t i = 0; i < count; i++) {
            check_user(ident, lines, count, lines[i].map,
                       lines[i].user != NULL ? lines[i].user : "");
            check_user(ident, lines, count, lines[i].map, lines[i].system);
            check_user(ident, lines, count, lines[i].system, "nobody");
        }
        write_again(lines, count);
    }
    for (size_t i = 0; i < count; i++)
        ident_destroy(lines[i].ident);
    ident_destroy(ident);
    free(text);
    return 0;
}
