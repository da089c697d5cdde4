/*
 * words.h - the words of HBA and ident files, line by line. Private to the room.
 *
 * Words stand between blanks; a comma is a word of its own. Inside double quotes blanks, commas and
 * '#' are ordinary and "" stands for a quote. A '#' outside of quotes begins a comment.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_WORDS_H
#define PGWEIR_CONFIG_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "config/report.h"

enum word_kind {
    WORD_END, /* of the line */
    WORD_COMMA,
    WORD_PLAIN,
    WORD_QUOTED, /* begins with a quote: never a keyword */
    WORD_BROKEN, /* the text says what is wrong */
};

struct words {
    const char *file;     /* borrows; the name for reports */
    const char *at, *end; /* borrow the text; what has not been read */
    unsigned line;        /* of the current word; 0 before the first line */
    enum word_kind kind;  /* of the current word */
    struct buffer word;   /* owns; the current word, zero-terminated */
};

struct words words_of(const char *file, const char *text, size_t size) MUST_CHECK;
void words_release(struct words *words);

/* Goes to the first word of the next line that has one; false at the end of the text. */
bool words_next_line(struct words *words) MUST_CHECK;

/* Goes to the next word of the line. */
void words_next(struct words *words);

/* The current word; the empty text at the end of a line. */
const char *words_text(const struct words *words);

/* True for a name, a keyword or a number: neither end nor comma nor broken. */
bool words_is_word(const struct words *words);

/* True for this word without quotes. */
bool words_is_keyword(const struct words *words, const char *keyword);

/*
 * What stands behind the current word, as it is written, without comment and blanks at its ends.
 * The caller frees. NULL, with a broken word as the current one, if a quote in it is not closed.
 */
char *words_take_rest(struct words *words) MUST_CHECK;

/* How much of a word that is out of place may be shown: not of one that is a password. */
int words_shown_length(const char *text);

struct place words_place(const struct words *words);

/*
 * Reports that the line has `expected` missing where the current word stands: what is there
 * instead, or what is broken.
 */
void words_complain(const struct words *words, const char *expected, struct config_report *report);

#endif
