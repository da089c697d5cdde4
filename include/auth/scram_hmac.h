/*
 * scram_hmac.h - HMAC-SHA-256 with a key of 32 bytes. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_SCRAM_HMAC_H
#define PGWEIR_AUTH_SCRAM_HMAC_H

#include <stddef.h>
#include <stdint.h>

#include "auth/scram.h"

/* Failure of the library is fatal. */
void scram_hmac(const uint8_t key[SCRAM_KEY_SIZE], const void *bytes, size_t size,
                uint8_t ret_mac[SCRAM_KEY_SIZE]);

#endif
