/*
 * fixture.h - what the unit tests of this room share: files in a folder of their own, and looking
 * for lines in a report.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_TEST_CONFIG_FIXTURE_H
#define PGWEIR_TEST_CONFIG_FIXTURE_H

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "config/config.h"

/* The working directory of the tests; names of files are relative to it. */
static char folder[64];

UNUSED static int enter_folder(void **state UNUSED)
{
    snprintf(folder, sizeof(folder), "/tmp/config_test.XXXXXX");
    umask(077);
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

UNUSED static int leave_folder(void **state UNUSED)
{
    char command[sizeof(folder) + 16];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return chdir("/") != 0 || system(command) != 0;
}

UNUSED static void write_bytes(const char *file, const void *bytes, size_t size)
{
    FILE *stream = fopen(file, "w");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
}

UNUSED static void write_text(const char *file, const char *text)
{
    write_bytes(file, text, strlen(text));
}

/* `count` times the letter. Free it. */
UNUSED static char *repeat(char letter, size_t count)
{
    char *text = malloc(count + 1);
    assert_non_null(text);
    memset(text, letter, count);
    text[count] = '\0';
    return text;
}

UNUSED static void assert_no_errors(const struct config_report *report)
{
    if (report->error_count > 0)
        fail_msg("%zu errors, the first: %s", report->error_count, report->errors[0]);
}

UNUSED static void assert_no_warnings(const struct config_report *report)
{
    if (report->warning_count > 0)
        fail_msg("%zu warnings, the first: %s", report->warning_count, report->warnings[0]);
}

/* The report has this one error. */
UNUSED static void assert_only_error(const struct config_report *report, const char *error)
{
    if (report->error_count == 0)
        fail_msg("no error, expected: %s", error);
    assert_string_equal(report->errors[0], error);
    assert_int_equal(report->error_count, 1);
}

UNUSED static void assert_only_warning(const struct config_report *report, const char *warning)
{
    if (report->warning_count == 0)
        fail_msg("no warning, expected: %s", warning);
    assert_string_equal(report->warnings[0], warning);
    assert_int_equal(report->warning_count, 1);
}

#endif
