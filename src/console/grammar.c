/*
 * grammar.c - the words of a console command.
 *
 * SPDX-License-Identifier: ISC
 */
#include "console/grammar.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/text.h"

struct cursor {
    const char *at;
    bool too_long;
};

/* Returns whether there were any. */
static bool skip_blanks(struct cursor *cursor)
{
    size_t count = strspn(cursor->at, " \t\r\n");
    cursor->at += count;
    return count > 0;
}

static bool is_word_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static void add(struct cursor *cursor, char *text, size_t size, size_t *length, char c)
{
    if (*length + 1 < size)
        text[(*length)++] = c;
    else
        cursor->too_long = true;
}

/* What stands between two `quote`; a doubled one stands for itself. */
static bool read_quoted(struct cursor *cursor, char quote, char *ret_text, size_t size)
{
    size_t length = 0;
    for (cursor->at++; *cursor->at != '\0'; cursor->at++) {
        if (*cursor->at == quote && *++cursor->at != quote) {
            ret_text[length] = '\0';
            return true;
        }
        add(cursor, ret_text, size, &length, *cursor->at);
    }
    return false;
}

static bool read_word(struct cursor *cursor, char *ret_text, size_t size)
{
    size_t length = 0;
    if (*cursor->at == '"')
        return read_quoted(cursor, '"', ret_text, size);
    for (; is_word_character(*cursor->at); cursor->at++)
        add(cursor, ret_text, size, &length, *cursor->at);
    ret_text[length] = '\0';
    return length > 0 || cursor->too_long;
}

/* One optional semicolon, then nothing. */
static bool at_end(struct cursor *cursor)
{
    skip_blanks(cursor);
    if (*cursor->at == ';')
        cursor->at++;
    skip_blanks(cursor);
    return *cursor->at == '\0';
}

static bool read_assignment(struct cursor *cursor, struct command_words *words)
{
    char to[4];
    if (!skip_blanks(cursor) || !read_word(cursor, words->argument, sizeof(words->argument)))
        return false;
    skip_blanks(cursor);
    if (*cursor->at == '=') {
        cursor->at++;
    } else if (!is_word_character(*cursor->at) || !read_word(cursor, to, sizeof(to)) ||
               !text_equals_ignoring_case(to, "to")) {
        return false;
    }
    skip_blanks(cursor);
    if (*cursor->at == '\'')
        return read_quoted(cursor, '\'', words->value, sizeof(words->value));
    return read_word(cursor, words->value, sizeof(words->value));
}

static bool read_argument(struct cursor *cursor, struct command_words *words)
{
    if (!skip_blanks(cursor) || (*cursor->at != '"' && !is_word_character(*cursor->at)))
        return true;
    return read_word(cursor, words->argument, sizeof(words->argument));
}

/* Reads the word if it comes next, as it stands here in lower case. */
static bool read_keyword(struct cursor *cursor, const char *keyword)
{
    struct cursor ahead = *cursor;
    char word[COMMAND_NAME_SIZE];
    if (!skip_blanks(&ahead) || !is_word_character(*ahead.at) ||
        !read_word(&ahead, word, sizeof(word)) || !text_equals_ignoring_case(word, keyword))
        return false;
    *cursor = ahead;
    return true;
}

static bool read_number(struct cursor *cursor, char *ret_text, size_t size)
{
    size_t length = 0;
    skip_blanks(cursor);
    for (; (*cursor->at >= '0' && *cursor->at <= '9') || *cursor->at == '.'; cursor->at++)
        add(cursor, ret_text, size, &length, *cursor->at);
    ret_text[length] = '\0';
    return length > 0;
}

/* A keyword without its operand is none: the cursor stays. Returns whether there was a clause. */
static bool read_clauses(struct cursor *cursor, struct command_words *words)
{
    struct cursor ahead = *cursor;
    bool found = false;
    if (read_keyword(&ahead, "until") && read_keyword(&ahead, "switchover")) {
        words->until_switchover = found = true;
        *cursor = ahead;
    }
    ahead = *cursor;
    if (read_keyword(&ahead, "timeout") &&
        read_number(&ahead, words->timeout, sizeof(words->timeout))) {
        found = true;
        *cursor = ahead;
    }
    return found;
}

static bool read_pause(struct cursor *cursor, struct command_words *words)
{
    if (read_clauses(cursor, words))
        return true;
    if (!read_argument(cursor, words))
        return false;
    (void) read_clauses(cursor, words);
    return true;
}

enum grammar_result grammar_read(const char *query, struct command_words *ret_words)
{
    struct cursor cursor = {.at = query};
    bool good;
    *ret_words = (struct command_words){0};
    skip_blanks(&cursor);
    good = is_word_character(*cursor.at) &&
           read_word(&cursor, ret_words->name, sizeof(ret_words->name));
    if (good && text_equals_ignoring_case(ret_words->name, "set")) {
        good = read_assignment(&cursor, ret_words) && at_end(&cursor);
    } else if (good && text_equals_ignoring_case(ret_words->name, "pause")) {
        good = read_pause(&cursor, ret_words) && at_end(&cursor);
    } else if (good) {
        good = read_argument(&cursor, ret_words) && at_end(&cursor);
    }
    if (!good)
        return GRAMMAR_SYNTAX_ERROR;
    return cursor.too_long ? GRAMMAR_TOO_LONG : GRAMMAR_GOOD;
}
