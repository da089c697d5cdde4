/*
 * grammar_fuzz.c - the words of console commands.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/text.h"
#include "console/grammar.h"
#include "fuzz.h"

/* A command can be written from its words, and is read the same again. */
static void write_again(const struct command_words *words, bool set, const char *end)
{
    struct command_words again;
    struct buffer query = {0};
    put_text(&query, words->name);
    put_text(&query, " ");
    if (set || words->argument[0] != '\0')
        add_quoted(&query, words->argument, '"');
    if (set) {
        put_text(&query, " = ");
        add_quoted(&query, words->value, '\'');
    }
    put_text(&query, end);
    HOLDS(grammar_read(end_text(&query), &again) == GRAMMAR_GOOD);
    HOLDS(is_same_text(words->name, again.name) && is_same_text(words->argument, again.argument) &&
          is_same_text(words->value, again.value));
    buffer_release(&query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    char *query = take_rest(&input);
    struct command_words words;
    if (grammar_read(query, &words) == GRAMMAR_GOOD) {
        bool set = text_equals_ignoring_case(words.name, "set");
        HOLDS(words.name[0] != '\0' && (set || words.value[0] == '\0'));
        write_again(&words, set, "");
        write_again(&words, set, " ; ");
    }
    free(query);
    return 0;
}
