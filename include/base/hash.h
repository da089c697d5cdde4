/*
 * hash.h - uthash with a seeded hash function, for keys that a client may choose.
 *
 * Include this instead of uthash.h, so that every table uses the same function.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_HASH_H
#define PGWEIR_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* xxHash with a random seed chosen once per process. */
uint32_t hash_bytes(const void *bytes, size_t size);

#define HASH_FUNCTION(key, length, ret_value) ((ret_value) = hash_bytes((key), (length)))

#include <uthash.h>

#endif
