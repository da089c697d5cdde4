/*
 * text.c - numbers, times and lists as they are written in configuration files.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

static int digit_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c = to_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

bool text_parse_int(const char *text, int64_t minimum, int64_t maximum, int64_t *ret_value)
{
    bool negative = *text == '-';
    int base = 10;
    uint64_t value = 0;
    const char *digits = text + (*text == '-' || *text == '+');
    if (digits[0] == '0' && to_lower(digits[1]) == 'x') {
        base = 16;
        digits += 2;
    } else if (digits[0] == '0' && digits[1] != '\0') {
        base = 8;
        digits++;
    }
    if (*digits == '\0')
        return false;
    for (; *digits != '\0'; digits++) {
        int digit = digit_value(*digits);
        if (digit >= base || value > (uint64_t) (INT64_MAX - digit) / (uint64_t) base)
            return false;
        value = value * (uint64_t) base + (uint64_t) digit;
    }
    *ret_value = negative ? -(int64_t) value : (int64_t) value;
    return *ret_value >= minimum && *ret_value <= maximum;
}

bool text_parse_seconds(const char *text, usec_t *ret_us)
{
    const usec_t most_seconds = UINT64_C(4000000000);
    usec_t seconds = 0, fraction = 0, unit = USEC_PER_SEC;
    bool any = false;
    for (; is_digit(*text); text++, any = true) {
        seconds = seconds * 10 + (usec_t) (*text - '0');
        if (seconds > most_seconds)
            return false;
    }
    if (*text == '.')
        for (text++; is_digit(*text); text++, any = true) {
            unit /= 10;
            fraction += unit * (usec_t) (*text - '0');
        }
    if (*text != '\0' || !any)
        return false;
    *ret_us = seconds * USEC_PER_SEC + fraction;
    return true;
}

void text_print_seconds(usec_t us, char *ret_text, size_t size)
{
    char fraction[8];
    size_t length;
    snprintf(fraction, sizeof(fraction), "%06u", (unsigned) (us % USEC_PER_SEC));
    for (length = strlen(fraction); length > 0 && fraction[length - 1] == '0'; length--)
        fraction[length - 1] = '\0';
    snprintf(ret_text, size, "%" PRIu64 "%s%s", us / USEC_PER_SEC, length > 0 ? "." : "", fraction);
}

bool text_equals_ignoring_case(const char *a, const char *b)
{
    while (*a != '\0' && to_lower(*a) == to_lower(*b)) {
        a++;
        b++;
    }
    return *a == '\0' && *b == '\0';
}

bool text_list_contains(const char *list, const char *item)
{
    static const char blanks[] = " \t\r\n";
    size_t item_length = strlen(item);
    while (list != NULL) {
        const char *end;
        size_t length;
        list += strspn(list, blanks);
        end = strchr(list, ',');
        length = end != NULL ? (size_t) (end - list) : strlen(list);
        while (length > 0 && strchr(blanks, list[length - 1]) != NULL)
            length--;
        if (length > 0 && length == item_length && memcmp(list, item, length) == 0)
            return true;
        list = end != NULL ? end + 1 : NULL;
    }
    return false;
}

unsigned text_edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    unsigned row[LONGEST + 1];
    size_t width = strlen(b), height = strlen(a);
    if (width > LONGEST || height > LONGEST)
        return LONGEST;
    for (unsigned x = 0; x <= width; x++)
        row[x] = x;
    for (unsigned y = 1; y <= height; y++) {
        unsigned diagonal = row[0];
        row[0] = y;
        for (unsigned x = 1; x <= width; x++) {
            unsigned replaced = diagonal + (a[y - 1] != b[x - 1]);
            unsigned other = (row[x] < row[x - 1] ? row[x] : row[x - 1]) + 1;
            diagonal = row[x];
            row[x] = replaced < other ? replaced : other;
        }
    }
    return row[width];
}

size_t text_utf8_length(const char *text)
{
    /* By the number of bytes: the least character that needs so many. */
    static const uint32_t least[] = {0, 1, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *) text;
    size_t length = bytes[0] < 0x80 ? 1 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
    uint32_t character = length == 1 ? bytes[0] : bytes[0] & (0x7fu >> length);
    if ((bytes[0] >= 0x80 && bytes[0] < 0xc0) || bytes[0] > 0xf7)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0; /* the end of the text included */
        character = character << 6 | (bytes[i] & 0x3f);
    }
    bool is_surrogate = character >= 0xd800 && character <= 0xdfff;
    return character < least[length] || character > 0x10ffff || is_surrogate ? 0 : length;
}
