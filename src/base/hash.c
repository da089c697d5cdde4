/*
 * hash.c - the seeded hash function behind every uthash table.
 *
 * The seed keeps a client from choosing names that all fall into one bucket.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/hash.h"

#include <stdbool.h>

#include <xxhash.h>

#include "base/random.h"

uint32_t hash_bytes(const void *bytes, size_t size)
{
    static uint64_t seed;
    static bool seeded;
    if (!seeded) {
        random_bytes(&seed, sizeof(seed));
        seeded = true;
    }
    return (uint32_t) XXH3_64bits_withSeed(bytes, size, seed);
}
