/*
 * names.c - the DATABASE and USER columns of HBA rules.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/names.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/intern.h"
#include "base/memory.h"
#include "config/file.h"

/* ---- sets ---- */

static void set_add(struct name_set *set, const char *name)
{
    if (set->count == set->capacity) {
        set->capacity = set->capacity == 0 ? 1 : 2 * set->capacity;
        set->items = memory_resize(set->items, set->capacity * sizeof(*set->items));
    }
    set->items[set->count++] = intern_take(name);
}

static int compare_items(const void *a, const void *b)
{
    return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static void set_sort(struct name_set *set)
{
    if (set->count > 1)
        qsort(set->items, set->count, sizeof(*set->items), compare_items);
}

static bool set_contains(const struct name_set *set, const char *name)
{
    return set->count > 0 &&
           bsearch(&name, set->items, set->count, sizeof(*set->items), compare_items) != NULL;
}

static void set_release(struct name_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        intern_give_back(set->items[i]);
    free(set->items);
}

/* ---- files that are to be read ---- */

#define NO_PARENT SIZE_MAX

struct wanted {
    char *path;         /* owns */
    size_t parent;      /* index of the file that names it, or NO_PARENT */
    struct place place; /* where it is named; file borrows */
};

/* Files in the order in which they are named. */
struct wanted_list {
    struct wanted *items;
    size_t count;
};

/* A relative path is relative to the folder of the file that names it. */
static char *path_beside(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    size_t length = strlen(path), folder = slash != NULL ? (size_t) (slash - file) + 1 : 0;
    char *result;
    if (path[0] == '/' || folder == 0)
        return memory_copy_text(path);
    result = memory_new(folder + length + 1);
    memcpy(result, file, folder);
    memcpy(result + folder, path, length);
    return result;
}

static void want(struct wanted_list *list, char *path, size_t parent, struct place place)
{
    list->items = memory_resize(list->items, (list->count + 1) * sizeof(*list->items));
    list->items[list->count++] = (struct wanted){.path = path, .parent = parent, .place = place};
}

static void wanted_release(struct wanted_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].path);
    free(list->items);
}

/* ---- lists ---- */

static bool complain(const struct words *words, const char *advice, struct config_report *report)
{
    report_error(report, words_place(words), "\"%.100s\": %s", words_text(words), advice);
    return false;
}

/* The meaning that a word without quotes has; returns false with an error. */
static bool add_plain_word(const struct words *words, enum names_column column,
                           struct config_report *report, struct name_set *set)
{
    bool user = column == NAMES_OF_USERS;
    const char *text = words_text(words);
    if (text[0] == '+')
        return complain(words,
                        "groups are not known to the pooler; name the users, or a file of "
                        "them as @file",
                        report);
    if (text[0] == '/')
        return complain(words,
                        "regular expressions are not supported; put it in quotes if it is "
                        "a name",
                        report);
    if (strcmp(text, "samerole") == 0 || strcmp(text, "samegroup") == 0)
        return complain(words,
                        "groups are not known to the pooler; put it in quotes if it is a "
                        "name",
                        report);
    if (strcmp(text, "sameuser") == 0 && user)
        return complain(words, "stands for a database only; put it in quotes if it is a user",
                        report);
    if (strcmp(text, "all") == 0)
        set->all = true;
    else if (strcmp(text, "sameuser") == 0)
        set->same_user = true;
    else if (strcmp(text, "replication") == 0 && !user)
        set->replication = true;
    else
        set_add(set, text);
    return true;
}

/* One list: names go into the set, files into `wanted`. */
static bool read_list(struct words *words, enum names_column column, size_t parent,
                      struct config_report *report, struct name_set *set,
                      struct wanted_list *wanted)
{
    for (;;) {
        const char *text = words_text(words);
        if (!words_is_word(words) || text[0] == '\0') {
            words_complain(words,
                           column == NAMES_OF_USERS ? "the name of a user, all, or @file"
                                                    : "the name of a database, all, sameuser, "
                                                      "replication, or @file",
                           report);
            return false;
        }
        if (words->kind == WORD_QUOTED)
            set_add(set, text);
        else if (text[0] == '@' && text[1] != '\0')
            want(wanted, path_beside(words->file, text + 1), parent, words_place(words));
        else if (!add_plain_word(words, column, report, set))
            return false;
        words_next(words);
        if (words->kind != WORD_COMMA)
            return true;
        words_next(words);
    }
}

/* ---- files ---- */

/* Wants a file that another one names, unless it is wanted already; none may lead to itself. */
static void want_inner(struct wanted_list *wanted, const struct wanted *inner,
                       struct config_report *report)
{
    for (size_t i = inner->parent; i != NO_PARENT; i = wanted->items[i].parent) {
        if (strcmp(wanted->items[i].path, inner->path) == 0) {
            report_error(report, inner->place,
                         "\"@%s\": the file leads to itself; remove one of the lines of the circle",
                         inner->path);
            return;
        }
    }
    for (size_t i = 0; i < wanted->count; i++)
        if (strcmp(wanted->items[i].path, inner->path) == 0)
            return;
    want(wanted, memory_copy_text(inner->path), inner->parent, inner->place);
}

/* Every line of a file holds lists. */
static void read_lines(struct words *words, enum names_column column, size_t self,
                       struct config_report *report, struct name_set *set,
                       struct wanted_list *named)
{
    while (words_next_line(words)) {
        bool good = true;
        while (good && words->kind != WORD_END)
            good = read_list(words, column, self, report, set, named);
    }
}

/* Reads a file and those that it names, each once, into one set. */
static void read_file(const char *path, enum names_column column, struct place place,
                      struct config_report *report, struct name_set *set)
{
    struct wanted_list wanted = {0};
    want(&wanted, memory_copy_text(path), NO_PARENT, place);
    for (size_t i = 0; i < wanted.count; i++) {
        const char *file = wanted.items[i].path;
        struct buffer text = {0};
        if (file_read(file, &text)) {
            struct words words =
                words_of(file, text.size > 0 ? (const char *) text.data : "", text.size);
            struct wanted_list named = {0};
            read_lines(&words, column, i, report, set, &named);
            for (size_t k = 0; k < named.count; k++)
                want_inner(&wanted, &named.items[k], report);
            wanted_release(&named);
            words_release(&words);
        } else {
            report_error(report, wanted.items[i].place, "could not open \"@%s\": %s", file,
                         strerror(errno));
        }
        buffer_release(&text);
    }
    wanted_release(&wanted);
    set_sort(set);
}

static const struct name_file *get_file(struct name_file **files, const struct wanted *wanted,
                                        enum names_column column, struct config_report *report)
{
    size_t length = strlen(wanted->path) + 1;
    struct name_file *file;
    char *key = memory_new(length + 1);
    key[0] = column == NAMES_OF_USERS ? 'u' : 'd';
    memcpy(key + 1, wanted->path, length);
    HASH_FIND(hh, *files, key, length, file);
    if (file != NULL) {
        free(key);
        return file;
    }
    file = memory_new(sizeof(*file));
    file->key = key;
    HASH_ADD_KEYPTR(hh, *files, file->key, length, file);
    read_file(wanted->path, column, wanted->place, report, &file->set);
    return file;
}

/* ---- the columns ---- */

bool names_read(struct words *words, enum names_column column, struct name_file **files,
                struct config_report *report, struct names *ret_names)
{
    struct wanted_list wanted = {0};
    size_t errors = report->error_count;
    *ret_names = (struct names){0};
    if (read_list(words, column, NO_PARENT, report, &ret_names->own, &wanted) && wanted.count > 0) {
        ret_names->files = memory_new(wanted.count * sizeof(*ret_names->files));
        for (size_t i = 0; i < wanted.count; i++)
            ret_names->files[ret_names->file_count++] =
                get_file(files, &wanted.items[i], column, report);
    }
    wanted_release(&wanted);
    set_sort(&ret_names->own);
    return report->error_count == errors;
}

bool names_contain(const struct names *names, const char *name)
{
    bool found = set_contains(&names->own, name);
    for (size_t i = 0; i < names->file_count && !found; i++)
        found = set_contains(&names->files[i]->set, name);
    return found;
}

bool names_are_plain(const struct names *names)
{
    return names->file_count == 0 && !names->own.all && !names->own.same_user &&
           !names->own.replication;
}

bool names_have_all(const struct names *names)
{
    bool found = names->own.all;
    for (size_t i = 0; i < names->file_count; i++)
        found |= names->files[i]->set.all;
    return found;
}

bool names_have_same_user(const struct names *names)
{
    bool found = names->own.same_user;
    for (size_t i = 0; i < names->file_count; i++)
        found |= names->files[i]->set.same_user;
    return found;
}

bool names_have_replication(const struct names *names)
{
    bool found = names->own.replication;
    for (size_t i = 0; i < names->file_count; i++)
        found |= names->files[i]->set.replication;
    return found;
}

void names_release(struct names *names)
{
    set_release(&names->own);
    free(names->files);
}

void name_files_release(struct name_file **files)
{
    struct name_file *file, *next;
    HASH_ITER(hh, *files, file, next)
    {
        HASH_DEL(*files, file);
        set_release(&file->set);
        free(file->key);
        free(file);
    }
}
