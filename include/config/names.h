/*
 * names.h - the DATABASE and USER columns of HBA rules: names, keywords, and @files of them.
 * Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_NAMES_H
#define PGWEIR_CONFIG_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/hash.h"
#include "config/report.h"
#include "config/words.h"

enum names_column { NAMES_OF_DATABASES, NAMES_OF_USERS };

/* The words of one list, or of one file and the files that it names. */
struct name_set {
    const char **items; /* own the array and a reference to each name; sorted */
    size_t count, capacity;
    bool all, same_user, replication;
};

/* A file that a list names; read once, whoever names it. */
struct name_file {
    char *key; /* owns; the column and the path */
    struct name_set set;
    UT_hash_handle hh; /* member of a table of the rules */
};

struct names {
    struct name_set own;
    const struct name_file **files; /* own the array, borrow the files */
    size_t file_count;
};

/*
 * Reads a list from the current word on, up to the first word behind it. `files` is the table of
 * files read so far. Returns false with errors in the report.
 */
bool names_read(struct words *words, enum names_column column, struct name_file **files,
                struct config_report *report, struct names *ret_names) MUST_CHECK;

/* True if `name` is written in the list or in a file of it (keywords do not count). */
bool names_contain(const struct names *names, const char *name);

/* True if the list holds nothing but names that are in `own`. */
bool names_are_plain(const struct names *names);

/* The keywords, wherever they are written. */
bool names_have_all(const struct names *names);
bool names_have_same_user(const struct names *names);
bool names_have_replication(const struct names *names);

void names_release(struct names *names);
void name_files_release(struct name_file **files);

#endif
