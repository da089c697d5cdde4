/*
 * base64.h - base64 (RFC 4648, with padding) over OpenSSL's, made strict. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_BASE64_H
#define PGWEIR_AUTH_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"

void base64_write(struct buffer *out, const uint8_t *bytes, size_t size);

/* Decodes exactly `length` characters. False if they are not base64 or give more than `capacity`. */
bool base64_read(const char *text, size_t length, uint8_t *ret_bytes, size_t capacity,
                 size_t *ret_size) MUST_CHECK;

#endif
