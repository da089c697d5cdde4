/*
 * md5.h - PostgreSQL's md5 password hashes.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_MD5_H
#define PGWEIR_AUTH_MD5_H

#include <stddef.h>
#include <stdint.h>

#define MD5_SALT_SIZE 4
#define MD5_TEXT_SIZE 36 /* "md5", 32 hex digits, zero */

/* "md5" + hex(md5(password || user)): the stored form. */
void md5_stored(const void *password, size_t length, const char *user, char ret_text[MD5_TEXT_SIZE]);

/* "md5" + hex(md5(hex digits of the stored form || salt)): the answer to a challenge. */
void md5_answer(const char stored[MD5_TEXT_SIZE], const uint8_t salt[MD5_SALT_SIZE],
                char ret_text[MD5_TEXT_SIZE]);

#endif
