/*
 * words.c - the words of HBA and ident files, line by line.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/words.h"

#include <string.h>

#include "base/memory.h"

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r' && c != '\n');
}

static bool is_end(const struct words *words)
{
    return words->at == words->end || *words->at == '\n';
}

static void skip_line(struct words *words)
{
    const char *newline = memchr(words->at, '\n', (size_t) (words->end - words->at));
    words->at = newline != NULL ? newline : words->end;
}

static void skip_blanks(struct words *words)
{
    while (!is_end(words) && is_blank(*words->at))
        words->at++;
    if (!is_end(words) && *words->at == '#')
        skip_line(words);
}

static void set_word(struct words *words, enum word_kind kind, const char *text, size_t length)
{
    words->kind = kind;
    words->word.size = 0;
    buffer_append(&words->word, text, length);
    buffer_append(&words->word, "", 1);
}

static void set_broken(struct words *words, const char *problem)
{
    set_word(words, WORD_BROKEN, problem, strlen(problem));
}

struct words words_of(const char *file, const char *text, size_t size)
{
    struct words words = {.file = file, .at = text, .end = text + size};
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
        words.at += 3;
    set_word(&words, WORD_END, "", 0);
    return words;
}

void words_release(struct words *words)
{
    buffer_release(&words->word);
}

bool words_next_line(struct words *words)
{
    do {
        if (words->line > 0)
            skip_line(words);
        if (words->line > 0 && words->at < words->end)
            words->at++;
        if (words->at == words->end)
            return false;
        words->line++;
        words_next(words);
    } while (words->kind == WORD_END);
    return true;
}

static void read_word(struct words *words)
{
    bool quoted = false;
    words->kind = *words->at == '"' ? WORD_QUOTED : WORD_PLAIN;
    words->word.size = 0;
    for (; !is_end(words); words->at++) {
        char c = *words->at;
        if (!quoted && (is_blank(c) || c == ',' || c == '#'))
            break;
        if (c == '\0') {
            set_broken(words, "a zero byte");
            return;
        }
        if (c != '"') {
            buffer_append(&words->word, &c, 1);
        } else if (quoted && words->at + 1 < words->end && words->at[1] == '"') {
            words->at++;
            buffer_append(&words->word, "\"", 1);
        } else {
            quoted = !quoted;
        }
    }
    buffer_append(&words->word, "", 1);
    if (quoted)
        set_broken(words, "a quote that is not closed");
}

void words_next(struct words *words)
{
    skip_blanks(words);
    if (is_end(words)) {
        set_word(words, WORD_END, "", 0);
    } else if (*words->at == ',') {
        words->at++;
        set_word(words, WORD_COMMA, ",", 1);
    } else {
        read_word(words);
    }
}

const char *words_text(const struct words *words)
{
    return (const char *) words->word.data;
}

bool words_is_word(const struct words *words)
{
    return words->kind == WORD_PLAIN || words->kind == WORD_QUOTED;
}

bool words_is_keyword(const struct words *words, const char *keyword)
{
    return words->kind == WORD_PLAIN && strcmp(words_text(words), keyword) == 0;
}

char *words_take_rest(struct words *words)
{
    bool quoted = false;
    const char *start, *end;
    skip_blanks(words);
    start = words->at;
    for (; !is_end(words) && (quoted || *words->at != '#') && *words->at != '\0'; words->at++)
        quoted ^= *words->at == '"';
    if (quoted || (!is_end(words) && *words->at == '\0')) {
        set_broken(words, quoted ? "a quote that is not closed" : "a zero byte");
        return NULL;
    }
    for (end = words->at; end > start && is_blank(end[-1]); end--)
        continue;
    words_next(words); /* the end of the line */
    return memory_copy_bytes(start, (size_t) (end - start));
}

int words_shown_length(const char *text)
{
    static const char password[] = "ldapbindpasswd=";
    if (strncmp(text, password, sizeof(password) - 1) == 0)
        return sizeof(password) - 1;
    return 100;
}

struct place words_place(const struct words *words)
{
    return (struct place){.file = words->file, .line = words->line};
}

void words_complain(const struct words *words, const char *expected, struct config_report *report)
{
    switch (words->kind) {
    case WORD_END:
        report_error(report, words_place(words), "the line ends too early: expected %s", expected);
        break;
    case WORD_BROKEN:
        report_error(report, words_place(words), "%s: expected %s", words_text(words), expected);
        break;
    case WORD_COMMA:
    case WORD_PLAIN:
    case WORD_QUOTED:
        report_error(report, words_place(words), "\"%.*s\" is out of place: expected %s",
                     words_shown_length(words_text(words)), words_text(words), expected);
        break;
    }
}
