/*
 * ini.h - reads PgBouncer's ini files: sections, keys, values, %include. Private to the room.
 *
 * inih does sections, comments and values. Keys are cut here, because PgBouncer's may be quoted and
 * a colon does not end them; so are %include lines and text behind a section header.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_INI_H
#define PGWEIR_CONFIG_INI_H

#include "base/compiler.h"
#include "config/report.h"

/* What is found, in the order of the file. All texts live for the call only, `place.file` longer. */
struct ini_ops {
    void (*section)(void *argument, const char *section, struct place place);
    void (*value)(void *argument, const char *section, const char *key, const char *value,
                  struct place place);
};

/* Reads the file and what it includes. What is wrong with their form goes to the report. */
void ini_read(const char *file, const struct ini_ops *ops, void *argument,
              struct config_report *report);

#endif
