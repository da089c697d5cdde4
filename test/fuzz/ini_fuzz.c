/*
 * ini_fuzz.c - the form of ini files: what is found can be written, and is found again.
 *
 * The input is the file. It may include itself, and a file "inner" that holds sections of its own.
 *
 * SPDX-License-Identifier: ISC
 */
#include <errno.h>

#include "config/file.h"
#include "config/ini.h"
#include "fuzz.h"

static const uint8_t *main_text;
static size_t main_size;

/* In the place of the ones in the library: two files, in memory. */
bool file_read(const char *file, struct buffer *ret_text)
{
    static const char inner[] = "a = b\n[users] c = d\n  \"e\"\"f\"=g\n'h' : i\n%include none\n";
    if (strcmp(file, "main") == 0)
        buffer_append(ret_text, main_text, main_size);
    else if (strcmp(file, "inner") == 0)
        buffer_append(ret_text, inner, sizeof(inner) - 1);
    else
        errno = ENOENT;
    return strcmp(file, "main") == 0 || strcmp(file, "inner") == 0;
}

bool file_is_writable_by_others(const char *file UNUSED)
{
    return false;
}

bool file_is_open_to_others(const char *file UNUSED)
{
    return false;
}

/* What was found: kind, section, key, value, each with its terminator; and as a file of its own. */
struct found {
    struct buffer items, text;
};

static void add(struct buffer *out, const char *text)
{
    buffer_append(out, text, strlen(text) + 1);
}

static void on_section(void *argument, const char *section, struct place place)
{
    struct found *found = argument;
    HOLDS(place.file != NULL && place.line > 0);
    HOLDS(strpbrk(section, "\n]") == NULL);
    add(&found->items, "section");
    add(&found->items, section);
    put_text(&found->text, "[");
    put_text(&found->text, section);
    put_text(&found->text, "]\n");
}

static void on_value(void *argument, const char *section, const char *key, const char *value,
                     struct place place)
{
    struct found *found = argument;
    HOLDS(place.file != NULL && place.line > 0);
    HOLDS(key[0] != '\0' && strchr(key, '\n') == NULL && strchr(value, '\n') == NULL);
    add(&found->items, "value");
    add(&found->items, section);
    add(&found->items, key);
    add(&found->items, value);
    add_quoted(&found->text, key, '"');
    put_text(&found->text, " = ");
    put_text(&found->text, value);
    put_text(&found->text, "\n");
}

static size_t read_main(const uint8_t *data, size_t size, struct found *ret_found)
{
    static const struct ini_ops ops = {.section = on_section, .value = on_value};
    struct config_report report = {0};
    size_t errors;
    main_text = data;
    main_size = size;
    ini_read("main", &ops, ret_found, &report);
    errors = report.error_count;
    config_report_release(&report);
    return errors;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct found found = {0}, again = {0};
    (void) read_main(data, size, &found);
    HOLDS(read_main(found.text.data, found.text.size, &again) == 0);
    HOLDS(is_same_buffer(&found.items, &again.items));
    buffer_release(&found.items);
    buffer_release(&found.text);
    buffer_release(&again.items);
    buffer_release(&again.text);
    return 0;
}
