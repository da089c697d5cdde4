/*
 * pbkdf2.h - PBKDF2 (RFC 8018) with HMAC-SHA-256, for a key of 32 bytes: in slices, as a million
 * iterations take a fifth of a second and more. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_PBKDF2_H
#define PGWEIR_AUTH_PBKDF2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "base/compiler.h"

#define PBKDF2_KEY_SIZE 32

/* One derivation. Failure of the crypto library is fatal. */
struct pbkdf2 {
    EVP_MD_CTX *inner, *outer; /* own; SHA-256 after the two pads of the HMAC key */
    EVP_MD_CTX *work;          /* owns */
    uint8_t last[PBKDF2_KEY_SIZE]; /* the outcome of the last iteration */
    uint8_t key[PBKDF2_KEY_SIZE];  /* the exclusive or of all; what is wanted in the end */
    uint32_t left;                 /* iterations still to do */
};

/* Does the first of `iterations` (at least 1). Nothing is borrowed. */
void pbkdf2_begin(struct pbkdf2 *pbkdf2, const void *password, size_t length, const uint8_t *salt,
                  size_t salt_size, uint32_t iterations);

/* Does up to `limit` more. True when none is left: `key` is complete. */
bool pbkdf2_advance(struct pbkdf2 *pbkdf2, uint32_t limit) MUST_CHECK;

/* Wipes; also in mid derivation. */
void pbkdf2_release(struct pbkdf2 *pbkdf2);

#endif
