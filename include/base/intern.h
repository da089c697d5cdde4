/*
 * intern.h - strings that many objects share (user names, parameter values) are stored once.
 *
 * Two interned strings are equal exactly when their pointers are. Each holder owns one reference.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_INTERN_H
#define PGWEIR_BASE_INTERN_H

#include <stddef.h>

#include "base/compiler.h"

/* The shared copy of `text`; the caller owns one reference. NULL stays NULL. */
const char *intern_take(const char *text) MUST_CHECK;

/* The same for `length` bytes without a zero among them. */
const char *intern_take_bytes(const void *bytes, size_t length) MUST_CHECK;

/* One more reference to an interned string (NULL is fine). */
const char *intern_share(const char *interned) MUST_CHECK;

/* Gives a reference back; the string is freed with the last one. NULL is fine. */
void intern_give_back(const char *interned);

#endif
