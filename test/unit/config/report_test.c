/*
 * report_test.c - what a load finds wrong, line by line.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/report.h"

#include "fixture.h"

static const struct place nowhere = {0};

static void test_places(void **state UNUSED)
{
    struct config_report report = {0};
    report_error(&report, (struct place){"a.ini", 7}, "wrong: %s", "x");
    report_error(&report, (struct place){"a.ini", 0}, "wrong");
    report_error(&report, nowhere, "wrong");
    report_error(&report, (struct place){NULL, 7}, "wrong");
    assert_int_equal(report.error_count, 4);
    assert_string_equal(report.errors[0], "a.ini:7: wrong: x");
    assert_string_equal(report.errors[1], "a.ini: wrong");
    assert_string_equal(report.errors[2], "wrong");
    assert_string_equal(report.errors[3], "wrong");
    assert_int_equal(report.warning_count, 0);
    config_report_release(&report);
}

static void test_warnings_are_kept_apart(void **state UNUSED)
{
    struct config_report report = {0};
    report_warning(&report, (struct place){"a.ini", 1}, "odd");
    report_error(&report, nowhere, "wrong");
    assert_only_warning(&report, "a.ini:1: odd");
    assert_only_error(&report, "wrong");
    config_report_release(&report);
}

static void test_release(void **state UNUSED)
{
    struct config_report report = {0};
    config_report_release(&report);
    report_error(&report, nowhere, "wrong");
    report_warning(&report, nowhere, "odd");
    config_report_release(&report);
    assert_null(report.errors);
    assert_null(report.warnings);
    assert_int_equal(report.error_count, 0);
    assert_int_equal(report.warning_count, 0);
    config_report_release(&report);
}

static void test_long_texts_are_cut(void **state UNUSED)
{
    struct config_report report = {0};
    char *text = repeat('x', 100000), *file = repeat('f', 100000);
    report_error(&report, nowhere, "%s", text);
    report_error(&report, (struct place){file, 1}, "%s", text);
    assert_int_equal(strlen(report.errors[0]), 4095);
    assert_int_equal(strlen(report.errors[1]), 4095);
    assert_int_equal(strspn(report.errors[1], "f"), 2047);
    assert_int_equal(strspn(report.errors[1] + 2047, "x"), 2048);
    config_report_release(&report);
    free(text);
    free(file);
}

static void test_a_flood_is_cut(void **state UNUSED)
{
    struct config_report report = {0};
    for (int i = 0; i < 100000; i++) {
        report_error(&report, nowhere, "error %d", i);
        report_warning(&report, nowhere, "warning %d", i);
    }
    assert_int_equal(report.error_count, CONFIG_REPORT_MAX + 1);
    assert_int_equal(report.warning_count, CONFIG_REPORT_MAX + 1);
    assert_string_equal(report.errors[CONFIG_REPORT_MAX - 1], "error 49");
    assert_non_null(strstr(report.errors[CONFIG_REPORT_MAX], "more"));
    assert_non_null(strstr(report.warnings[CONFIG_REPORT_MAX], "more"));
    config_report_release(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_warnings_are_kept_apart),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_a_flood_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
