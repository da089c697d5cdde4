/*
 * text.h - numbers, times and lists as they are written in configuration files and on the console,
 * and characters of UTF-8.
 *
 * All parsers read the whole text or refuse it, and never look at the locale.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_TEXT_H
#define PGWEIR_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"

/* A C integer: decimal, 0x.. or 0.. octal, with an optional sign. */
bool text_parse_int(const char *text, int64_t minimum, int64_t maximum, int64_t *ret_value) MUST_CHECK;

/* Non-negative decimal seconds ("3600", "0.5") as microseconds. */
bool text_parse_seconds(const char *text, usec_t *ret_us) MUST_CHECK;

/* Writes microseconds as the shortest decimal seconds (as printf %g would): "3600", "0.5". */
void text_print_seconds(usec_t us, char *ret_text, size_t size);

/* Equal up to ASCII case. */
bool text_equals_ignoring_case(const char *a, const char *b);

/* True if `item` is one of the comma-separated items of `list` (blanks around items are ignored). */
bool text_list_contains(const char *list, const char *item);

/* How many single-character edits lead from a to b; to suggest a name for a mistyped one. */
unsigned text_edit_distance(const char *a, const char *b);

/*
 * The bytes of the UTF-8 character at the start of a text; 0 if there is none, such as at the end of
 * the text. Overlong forms, surrogates and numbers past U+10FFFF are none.
 */
size_t text_utf8_length(const char *text);

#endif
