/*
 * leftovers.h - what a session may have left behind on its server, as the server's answers tell.
 *
 * Nothing a client sends is parsed. A command whose tag is known to leave nothing, or one kind of
 * thing, counts as that; whatever may run a function may leave what a function can leave; whatever is
 * not known may leave anything. Failed commands have no tag and count as functions: locks, prepared
 * statements and sequences survive a rollback. Reasons: doc/adr/0013-smart-resets.md.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_SERVER_LEFTOVERS_H
#define PGWEIR_SERVER_LEFTOVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum leftovers {
    LEFT_NOTHING = 0,
    LEFT_SETTINGS = 1, /* of parameters, the role among them */
    LEFT_LISTENING = 2,
    LEFT_STATEMENTS = 4, /* prepared ones */
    /* Cursors, advisory locks, temporary tables, values of sequences, and all of the above. */
    LEFT_BY_FUNCTIONS = 8 | LEFT_SETTINGS | LEFT_LISTENING | LEFT_STATEMENTS,
    LEFT_UNKNOWN = 16 | LEFT_BY_FUNCTIONS
};

/* The longest tag that PostgreSQL makes, its zero included (COMPLETION_TAG_BUFSIZE). */
#define LEFTOVERS_TAG_MAX 64

/* What is left after the command of this tag, of `size` bytes with its zero, when `left` was before. */
unsigned leftovers_after_tag(unsigned left, const char *tag, size_t size) MUST_CHECK;

/* The same as by a tag, for a message of this type; a CommandComplete is one whose tag is not known. */
unsigned leftovers_after_message(unsigned left, uint8_t type) MUST_CHECK;

/*
 * The smallest part of DISCARD ALL that removes what is left, NULL if nothing is. It puts all
 * parameters back to their default if LEFT_SETTINGS is among it.
 */
const char *leftovers_reset(unsigned left) MUST_CHECK;

#endif
