/*
 * ident.c - the user-name maps of auth_ident_file.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/ident.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/intern.h"
#include "base/memory.h"
#include "config/words.h"

struct mapping {
    const char *system; /* owns a reference */
    const char *user;   /* owns a reference; NULL: all */
    size_t number;      /* place in the file */
};

struct ident_map {
    char *name;               /* owns */
    struct mapping *mappings; /* owns; those for all users first, then by user */
    size_t count, capacity;
    UT_hash_handle hh; /* member of ident->maps */
};

struct ident {
    struct ident_map *maps; /* hash by name */
};

/* ---- parsing ---- */

static struct ident_map *get_map(struct ident *ident, const char *name)
{
    struct ident_map *map;
    HASH_FIND_STR(ident->maps, name, map);
    if (map == NULL) {
        map = memory_new(sizeof(*map));
        map->name = memory_copy_text(name);
        HASH_ADD_KEYPTR(hh, ident->maps, map->name, strlen(map->name), map);
    }
    return map;
}

static void add_mapping(struct ident_map *map, const char *system, const char *user)
{
    if (map->count == map->capacity) {
        map->capacity = map->capacity == 0 ? 1 : 2 * map->capacity;
        map->mappings = memory_resize(map->mappings, map->capacity * sizeof(*map->mappings));
    }
    map->mappings[map->count] = (struct mapping){
        .system = intern_share(system), .user = intern_share(user), .number = map->count};
    map->count++;
}

/* Takes one of the three names; NULL with an error in the report. The caller owns a reference. */
static const char *take_name(struct words *words, const char *expected,
                             struct config_report *report)
{
    const char *text = words_text(words), *name = NULL;
    bool plain = words->kind == WORD_PLAIN;
    if (!words_is_word(words) || text[0] == '\0') {
        words_complain(words, expected, report);
    } else if (plain && text[0] == '/') {
        report_error(report, words_place(words),
                     "\"%.100s\": regular expressions are not supported; put it in quotes if it is "
                     "a name",
                     text);
    } else if (plain && text[0] == '+') {
        report_error(report, words_place(words),
                     "\"%.100s\": groups are not known to the pooler; write a line for each user",
                     text);
    } else {
        name = intern_take(text);
        words_next(words);
    }
    return name;
}

static void read_line(struct ident *ident, struct words *words, struct config_report *report)
{
    const char *map = take_name(words, "the name of a map", report);
    const char *system = map != NULL ? take_name(words, "the name of a system user", report) : NULL;
    bool all = system != NULL && words_is_keyword(words, "all");
    const char *user = system != NULL ? take_name(words, "a database user or all", report) : NULL;
    if (user != NULL && words->kind != WORD_END)
        words_complain(words, "the end of the line", report);
    else if (user != NULL)
        add_mapping(get_map(ident, map), system, all ? NULL : user);
    intern_give_back(user);
    intern_give_back(system);
    intern_give_back(map);
}

/* Those for all users come first. */
static int compare_users(const char *a, const char *b)
{
    return a == NULL || b == NULL ? (a != NULL) - (b != NULL) : strcmp(a, b);
}

static int compare_mappings(const void *a, const void *b)
{
    const struct mapping *left = a, *right = b;
    int result = compare_users(left->user, right->user);
    return result != 0 ? result : (left->number > right->number) - (left->number < right->number);
}

struct ident *ident_parse(const char *file, const char *text, size_t size,
                          struct config_report *report)
{
    struct ident *ident = memory_new(sizeof(*ident));
    struct words words = words_of(file, text, size);
    struct ident_map *map, *next;
    while (words_next_line(&words))
        read_line(ident, &words, report);
    words_release(&words);
    HASH_ITER(hh, ident->maps, map, next)
    {
        qsort(map->mappings, map->count, sizeof(*map->mappings), compare_mappings);
    }
    return ident;
}

void ident_destroy(struct ident *ident)
{
    struct ident_map *map, *next;
    if (ident == NULL)
        return;
    HASH_ITER(hh, ident->maps, map, next)
    {
        HASH_DEL(ident->maps, map);
        for (size_t i = 0; i < map->count; i++) {
            intern_give_back(map->mappings[i].system);
            intern_give_back(map->mappings[i].user);
        }
        free(map->mappings);
        free(map->name);
        free(map);
    }
    free(ident);
}

/* ---- looking up ---- */

const struct ident_map *ident_find(const struct ident *ident, const char *name)
{
    struct ident_map *map = NULL;
    if (ident != NULL)
        HASH_FIND_STR(ident->maps, name, map);
    return map;
}

const char *ident_map_name(const struct ident_map *map)
{
    return map->name;
}

/* The first mapping from `low` on that is for `user` or one sorted behind him. */
static size_t find_user(const struct ident_map *map, const char *user, size_t low)
{
    size_t high = map->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_users(map->mappings[middle].user, user) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const char *ident_next(const struct ident_map *map, const char *user, size_t *position)
{
    size_t i = *position;
    if (i < map->count && map->mappings[i].user != NULL) /* behind those for all */
        i = find_user(map, user, i);
    if (i >= map->count ||
        (map->mappings[i].user != NULL && strcmp(map->mappings[i].user, user) != 0))
        return NULL;
    *position = i + 1;
    return map->mappings[i].system;
}
