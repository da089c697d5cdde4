/*
 * random.h - random bytes from OpenSSL's generator. Failure of the generator is fatal.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_RANDOM_H
#define PGWEIR_BASE_RANDOM_H

#include <stddef.h>

/* From the thread of the loop only. */
void random_bytes(void *ret_bytes, size_t size);

/* Drops what was fetched ahead; after fork(), so that no two processes give out the same bytes. */
void random_forget(void);

#endif
