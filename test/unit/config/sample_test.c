/*
 * sample_test.c - the sample ini and the list of the manual page.
 *
 * The source is part of this file, so that the breaking of lines can be tested.
 *
 * SPDX-License-Identifier: ISC
 */
#include "fixture.h"

#include "../../../src/config/sample.c"

static char printed[200000];

/* Fills `printed` with what the function writes to standard output. */
static void capture(void (*print)(void))
{
    int saved = dup(STDOUT_FILENO);
    FILE *stream;
    size_t size;
    fflush(stdout);
    stream = fopen("printed", "w+");
    assert_non_null(stream);
    assert_true(dup2(fileno(stream), STDOUT_FILENO) >= 0);
    print();
    fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    rewind(stream);
    size = fread(printed, 1, sizeof(printed) - 1, stream);
    assert_in_range(size, 1, sizeof(printed) - 2);
    printed[size] = '\0';
    fclose(stream);
}

static void test_every_setting_is_in_the_sample(void **state UNUSED)
{
    const char *at;
    capture(config_print_sample);
    at = printed;
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        char line[512];
        snprintf(line, sizeof(line), "\n;%s = %s\n", setting->name,
                 setting->default_text != NULL ? setting->default_text : "");
        at = strstr(at, line); /* in the order of the table */
        if (at == NULL)
            fail_msg("%s is missing", setting->name);
    }
}

static void test_lines_of_the_sample(void **state UNUSED)
{
    capture(config_print_sample);
    for (const char *line = printed; *line != '\0'; line = strchr(line, '\n') + 1) {
        size_t length = strcspn(line, "\n");
        bool is_comment = line[0] == ';' && line[1] == ' ';
        if (is_comment && length > 96)
            fail_msg("too long: %.*s", (int) length, line);
        if (length > 0 && line[length - 1] == ' ' && strstr(line, "; ") == line)
            fail_msg("a blank at the end: %.*s", (int) length, line);
        assert_true(length == 0 || line[0] == ';' || line[0] == '[');
    }
}

/* As it is, and with every line that has a value in force. */
static void test_sample_is_a_good_file(void **state UNUSED)
{
    struct config_report report;
    struct config *config;
    FILE *stream;
    capture(config_print_sample);
    write_text("sample.ini", printed);
    config = config_load("sample.ini", NULL, 0, &report);
    assert_no_errors(&report);
    assert_no_warnings(&report);
    config_destroy(config);

    stream = fopen("sample.ini", "w");
    assert_non_null(stream);
    for (const char *line = printed; *line != '\0'; line = strchr(line, '\n') + 1) {
        size_t length = strcspn(line, "\n");
        bool has_value = length > 0 && line[0] == ';' && line[1] != ' ' && line[1] != '\n' &&
                         line[length - 1] != ' ';
        fprintf(stream, "%.*s\n", (int) (length - has_value), line + has_value);
    }
    fclose(stream);
    config = config_load("sample.ini", NULL, 0, &report);
    assert_no_errors(&report);
    assert_no_warnings(&report);
    assert_non_null(config_find_database(config, "app"));
    assert_non_null(config->fallback);
    assert_non_null(config_find_user(config, "reports"));
    config_destroy(config);
}

static void test_manual(void **state UNUSED)
{
    const char *at;
    capture(config_print_manual);
    at = printed;
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        char line[512];
        snprintf(line, sizeof(line), ".It Cm %s\n%.300s", setting->name, setting->doc);
        at = strstr(at, line);
        if (at == NULL)
            fail_msg("%s is missing", setting->name);
        if (setting->default_text == NULL)
            snprintf(line, sizeof(line), "\nUnset by default.\n");
        else if (setting->default_text[0] == '\0')
            snprintf(line, sizeof(line), "\nDefault: empty.\n");
        else
            snprintf(line, sizeof(line), "\nDefault: %s.\n", setting->default_text);
        at = strstr(at, line);
        assert_non_null(at);
    }
    /* mdoc takes a line that begins with a point or an apostrophe for a macro. */
    for (const char *line = printed; *line != '\0'; line = strchr(line, '\n') + 1)
        assert_true((line[0] != '.' && line[0] != '\'') || strncmp(line, ".It Cm ", 7) == 0);
}

static void test_remarks(void **state UNUSED)
{
    static const struct setting restart = {.when = SETTING_RESTART, .state = SETTING_WORKS},
                                reload = {.when = SETTING_RELOAD, .state = SETTING_WORKS},
                                later = {.when = SETTING_RESTART, .state = SETTING_LATER},
                                none = {.when = SETTING_RESTART, .state = SETTING_NO_EFFECT};
    assert_string_equal(remark(&restart), " (A change needs a restart.)");
    assert_string_equal(remark(&reload), "");
    assert_string_equal(remark(&later), " (Not supported yet: it has no effect.)");
    assert_string_equal(remark(&none), " (Accepted, without effect.)");
}

static void test_length_of_a_line(void **state UNUSED)
{
    assert_int_equal(line_length("", 5), 0);
    assert_int_equal(line_length("one", 5), 3);
    assert_int_equal(line_length("three", 5), 5);
    assert_int_equal(line_length("three four", 5), 5);
    assert_int_equal(line_length("one two", 5), 3);
    assert_int_equal(line_length("one t", 5), 5);
    assert_int_equal(line_length("sixsix", 5), 6); /* a word is never broken */
    assert_int_equal(line_length("sixsix two", 5), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_setting_is_in_the_sample),
        cmocka_unit_test(test_lines_of_the_sample),
        cmocka_unit_test(test_sample_is_a_good_file),
        cmocka_unit_test(test_manual),
        cmocka_unit_test(test_remarks),
        cmocka_unit_test(test_length_of_a_line),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
