/*
 * deallocate.c - recognises the SQL commands that end prepared statements.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/deallocate.h"

#include <string.h>

struct text {
    const char *position, *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}

static bool begins_name(char c)
{
    return (to_lower(c) >= 'a' && to_lower(c) <= 'z') || c == '_' || (unsigned char) c >= 0x80;
}

static bool continues_name(char c)
{
    return begins_name(c) || (c >= '0' && c <= '9') || c == '$';
}

static void skip_blanks(struct text *text)
{
    while (text->position < text->end && is_blank(*text->position))
        text->position++;
}

/* An unquoted word, folded; 0 bytes if there is none. */
static size_t read_word(struct text *text, char *word)
{
    size_t size = 0;
    if (text->position < text->end && begins_name(*text->position))
        while (text->position < text->end && continues_name(*text->position))
            word[size++] = to_lower(*text->position++);
    return size;
}

/* What stands in double quotes, of which two stand for one; 0 bytes if it is empty or not closed. */
static size_t read_quoted(struct text *text, char *name)
{
    size_t size = 0;
    for (text->position++; text->position < text->end; text->position++) {
        if (*text->position == '"' && text->position + 1 < text->end && text->position[1] == '"')
            text->position++;
        else if (*text->position == '"')
            break;
        name[size++] = *text->position;
    }
    if (text->position == text->end)
        return 0;
    text->position++;
    return size;
}

static size_t read_name(struct text *text, char *name, bool *ret_quoted)
{
    skip_blanks(text);
    *ret_quoted = text->position < text->end && *text->position == '"';
    return *ret_quoted ? read_quoted(text, name) : read_word(text, name);
}

static bool is_word(const char *name, size_t size, const char *word)
{
    return size == strlen(word) && memcmp(name, word, size) == 0;
}

static bool ends(struct text *text)
{
    skip_blanks(text);
    if (text->position < text->end && *text->position == ';')
        text->position++;
    skip_blanks(text);
    return text->position == text->end;
}

bool deallocate_read(const char *bytes, size_t size, char *name, size_t *ret_size)
{
    struct text text = {bytes, bytes + size};
    bool quoted;
    if (size > DEALLOCATE_TEXT_MAX)
        return false;
    *ret_size = read_name(&text, name, &quoted);
    if (quoted || !is_word(name, *ret_size, "deallocate"))
        return false;
    *ret_size = read_name(&text, name, &quoted);
    if (!quoted && is_word(name, *ret_size, "prepare")) {
        struct text behind = text;
        if (!ends(&behind)) /* else a statement of that name */
            *ret_size = read_name(&text, name, &quoted);
    }
    return *ret_size > 0 && (quoted || !is_word(name, *ret_size, "all")) && ends(&text);
}

bool deallocate_is_of_all(const char *bytes, size_t size)
{
    struct text text = {bytes, bytes + size};
    char name[DEALLOCATE_TEXT_MAX];
    bool quoted;
    if (size > DEALLOCATE_TEXT_MAX)
        return false;
    size_t name_size = read_name(&text, name, &quoted);
    bool deallocates = is_word(name, name_size, "deallocate");
    if (quoted || (!deallocates && !is_word(name, name_size, "discard")))
        return false;
    name_size = read_name(&text, name, &quoted);
    if (deallocates && !quoted && is_word(name, name_size, "prepare"))
        name_size = read_name(&text, name, &quoted);
    return !quoted && is_word(name, name_size, "all") && ends(&text);
}
