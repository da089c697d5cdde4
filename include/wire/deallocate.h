/*
 * deallocate.h - recognises the SQL commands that end prepared statements, in the form that drivers
 * send.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_DEALLOCATE_H
#define PGWEIR_WIRE_DEALLOCATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

/* A longer text is not looked at. */
#define DEALLOCATE_TEXT_MAX 160

/*
 * True if `size` bytes of text (no zero among them) are DEALLOCATE [PREPARE] name, with blanks and
 * one semicolon where SQL allows them, and no comments; never for DEALLOCATE ALL. `name` has room
 * for DEALLOCATE_TEXT_MAX bytes and gets the name as PostgreSQL would understand it: folded to lower
 * case, or unquoted; without a zero. Only ASCII is folded.
 */
bool deallocate_read(const char *text, size_t size, char *name, size_t *ret_size) MUST_CHECK;

/* True if the text is DEALLOCATE [PREPARE] ALL or DISCARD ALL, with the same freedom. */
bool deallocate_is_of_all(const char *text, size_t size) MUST_CHECK;

#endif
