/*
 * extended.h - the names in front of the messages of the extended protocol, read before the message
 * is whole in memory (PostgreSQL documentation, "Message Formats": Parse, Bind, Describe, Close).
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_EXTENDED_H
#define PGWEIR_WIRE_EXTENDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "wire/frame.h"

/* A longer name is taken for a broken message: PostgreSQL uses 63 bytes of it. */
#define EXTENDED_NAME_MAX 4095

struct extended_names {
    const char *portal;     /* of a Bind; else "" */
    const char *statement;  /* "" if the message has none: an unnamed one, or a portal's */
    uint32_t portal_size, statement_size; /* without the terminating zero */
    uint32_t rest;          /* where in the body that begins which follows the names */
    bool of_portal;         /* a Describe or Close of a portal, or of nothing that is known */
};

enum extended_result {
    EXTENDED_NAMES, /* they are read */
    EXTENDED_MORE,  /* they are not all there yet */
    EXTENDED_BROKEN
};

/*
 * Reads the names of a Parse, Bind, Describe or Close from the `available` bytes of its body. They
 * are borrowed from there.
 */
enum extended_result extended_read_names(const struct frame *frame, const uint8_t *body,
                                         size_t available,
                                         struct extended_names *ret_names) MUST_CHECK;

/* True if `size` bytes are exactly what follows the name in a Parse: text, zero, types. */
bool extended_is_statement(const uint8_t *bytes, size_t size) MUST_CHECK;

#endif
