/*
 * connect_string.h - "key=value key='other value'": the values of [databases], [users], [peers].
 * Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_CONNECT_STRING_H
#define PGWEIR_CONFIG_CONNECT_STRING_H

#include <stdbool.h>

#include "base/compiler.h"

/*
 * Calls `accept` for each pair; it returns false, and remembers why, to stop. Returns NULL, or a
 * static text that says what is wrong with the form ("a value is empty"). A repeated key is
 * accepted each time.
 */
typedef bool connect_string_fn(void *argument, const char *key, const char *value);
const char *connect_string_read(const char *text, connect_string_fn *accept,
                                void *argument) MUST_CHECK;

/* A number as PgBouncer reads it here: leading digits with an optional sign; 0 if there are none. */
int connect_string_number(const char *text);

#endif
