/*
 * connect_string.c - "key=value key='other value'".
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/connect_string.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

static const char *skip_spaces(const char *text)
{
    return text + strspn(text, " ");
}

static void add(struct buffer *out, const char *bytes, size_t size)
{
    buffer_append(out, bytes, size);
}

/* Only the space separates; '' inside quotes is a quote and a backslash is nothing special. */
static const char *read_value(const char *text, struct buffer *ret_value)
{
    ret_value->size = 0;
    if (*text != '\'') {
        size_t length = strcspn(text, " ");
        add(ret_value, text, length);
        add(ret_value, "", 1);
        return text + length;
    }
    for (text++; *text != '\0'; text++) {
        if (*text == '\'' && text[1] != '\'')
            break;
        text += *text == '\'';
        add(ret_value, text, 1);
    }
    if (*text != '\'' || (text[1] != ' ' && text[1] != '\0'))
        return NULL;
    add(ret_value, "", 1);
    return text + 1;
}

const char *connect_string_read(const char *text, connect_string_fn *accept, void *argument)
{
    struct buffer key = {0}, value = {0};
    const char *problem = NULL;
    for (text = skip_spaces(text); problem == NULL && *text != '\0'; text = skip_spaces(text)) {
        size_t length = strcspn(text, "= ");
        const char *equals = skip_spaces(text + length);
        if (length == 0 || *equals != '=') {
            problem = "expected key=value";
            break;
        }
        key.size = 0;
        add(&key, text, length);
        add(&key, "", 1);
        text = read_value(skip_spaces(equals + 1), &value);
        if (text == NULL) {
            problem = "a quoted value does not end";
            break;
        }
        if (value.size == 1)
            problem = "a value is empty";
        else if (!accept(argument, (const char *) key.data, (const char *) value.data))
            break;
    }
    buffer_release(&key);
    buffer_wipe(&value);
    return problem;
}

int connect_string_number(const char *text)
{
    long value = strtol(text, NULL, 10);
    return value > INT_MAX ? INT_MAX : value < INT_MIN ? INT_MIN : (int) value;
}
