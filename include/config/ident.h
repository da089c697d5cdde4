/*
 * ident.h - the user-name maps of auth_ident_file: who may log in as whom.
 *
 *     MAP SYSTEM-NAME DB-USER
 *
 * A line lets the holder of a system name (of the operating system, or in a certificate) log in as
 * DB-USER, or as anybody if that is `all`. A map may have many lines.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_IDENT_H
#define PGWEIR_CONFIG_IDENT_H

#include <stddef.h>

#include "base/compiler.h"
#include "config/config.h"

struct ident;
struct ident_map;

/*
 * Parses the text of an auth_ident_file. Each line that is wrong is an error in the report,
 * "file:line: ...", and left out of the result. Never NULL.
 */
struct ident *ident_parse(const char *file, const char *text, size_t size,
                          struct config_report *report) MUST_CHECK;
void ident_destroy(struct ident *ident);

/* The map of that name, or NULL (also if `ident` is NULL). Borrowed from `ident`. */
const struct ident_map *ident_find(const struct ident *ident, const char *name);

/*
 * Walks through the system names that may log in as `user`: `position` begins with 0. NULL after
 * the last one.
 */
const char *ident_next(const struct ident_map *map, const char *user, size_t *position);

const char *ident_map_name(const struct ident_map *map);

#endif
