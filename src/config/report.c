/*
 * report.c - collects what a load finds wrong.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

PRINTF_LIKE(2, 0)
static char *format_line(struct place place, const char *format, va_list arguments)
{
    char line[4096];
    int length = 0;
    if (place.file != NULL && place.line > 0)
        length = snprintf(line, sizeof(line) / 2, "%s:%u: ", place.file, place.line);
    else if (place.file != NULL)
        length = snprintf(line, sizeof(line) / 2, "%s: ", place.file);
    if (length > (int) sizeof(line) / 2 - 1)
        length = (int) sizeof(line) / 2 - 1;
    vsnprintf(line + length, sizeof(line) - (size_t) length, format, arguments);
    return memory_copy_text(line);
}

/* Takes the line over; the first beyond the most becomes a remark, later ones are dropped. */
static void add_line(char ***lines, size_t *count, char *line)
{
    if (*count > CONFIG_REPORT_MAX) {
        free(line);
        return;
    }
    if (*count == CONFIG_REPORT_MAX) {
        free(line);
        line = memory_copy_text("there is more like this; it is not listed");
    }
    *lines = memory_resize(*lines, (*count + 1) * sizeof(**lines));
    (*lines)[(*count)++] = line;
}

void report_error(struct config_report *report, struct place place, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_line(&report->errors, &report->error_count, format_line(place, format, arguments));
    va_end(arguments);
}

void report_warning(struct config_report *report, struct place place, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_line(&report->warnings, &report->warning_count, format_line(place, format, arguments));
    va_end(arguments);
}

void config_report_release(struct config_report *report)
{
    for (size_t i = 0; i < report->error_count; i++)
        free(report->errors[i]);
    for (size_t i = 0; i < report->warning_count; i++)
        free(report->warnings[i]);
    free(report->errors);
    free(report->warnings);
    *report = (struct config_report){0};
}
