/*
 * compiler.h - the few compiler attributes and macros used everywhere.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_COMPILER_H
#define PGWEIR_BASE_COMPILER_H

#include <stddef.h>

#define MUST_CHECK                            __attribute__((warn_unused_result))
#define NO_RETURN                             __attribute__((noreturn))
#define PRINTF_LIKE(format_index, args_index) __attribute__((format(printf, format_index, args_index)))
#define UNUSED                                __attribute__((unused))
#define NO_INLINE                             __attribute__((noinline)) /* for a frame of its own */

#define countof(array) (sizeof(array) / sizeof((array)[0]))

/* The object that has `pointer` as its member `member`. */
#define container_of(pointer, type, member) ((type *) (void *) ((char *) (pointer) - offsetof(type, member)))

/* The same for a pointer to const. */
#define container_of_const(pointer, type, member)                                                  \
    ((const type *) (const void *) ((const char *) (pointer) - offsetof(type, member)))

#endif
