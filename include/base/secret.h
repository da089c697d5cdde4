/*
 * secret.h - a password, key or stored verifier. There is no way to print one, it is compared in
 * constant time and its memory is overwritten before it is given back.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_SECRET_H
#define PGWEIR_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* A zeroed struct is a valid secret that is unset. */
struct secret {
    char *bytes; /* owns; zero-terminated for C libraries, NULL when unset */
    size_t length;
};

/* Replaces the secret with a copy of `length` bytes. */
void secret_set(struct secret *secret, const void *bytes, size_t length);

void secret_copy(struct secret *to, const struct secret *from);

/* Overwrites and frees; the secret is unset afterwards. */
void secret_release(struct secret *secret);

/* True for an unset secret and for one of no bytes: neither ever lets anybody in. */
bool secret_is_empty(const struct secret *secret);

/* Compares in time that depends on the lengths only. */
bool secret_equals(const struct secret *secret, const void *bytes, size_t length);

#endif
