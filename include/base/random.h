/*
 * random.h - random bytes from OpenSSL's generator. Failure of the generator is fatal.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_RANDOM_H
#define PGWEIR_BASE_RANDOM_H

#include <stddef.h>

void random_bytes(void *ret_bytes, size_t size);

#endif
