/*
 * parameters_test.c - the session parameters that the pooler follows.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/parameters.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <string.h>

#include "base/intern.h"

/* ---- the names ---- */

static void test_built_in_names_in_their_order(void **state UNUSED)
{
    static const char *const expected[] = {"DateStyle", "client_encoding", "TimeZone",
                                           "standard_conforming_strings", "application_name"};
    struct tracked_names names;
    assert_true(tracked_names_init(&names, NULL, NULL));
    assert_int_equal(names.count, TRACKED_BUILT_IN);
    for (unsigned i = 0; i < TRACKED_BUILT_IN; i++)
        assert_string_equal(names.names[i], expected[i]);
    assert_int_equal(tracked_names_find(&names, "application_name"), TRACKED_APPLICATION_NAME);
    tracked_names_release(&names);
    assert_int_equal(names.count, 0);
}

static void test_extra_names_follow_in_their_spelling(void **state UNUSED)
{
    struct tracked_names names;
    assert_true(
        tracked_names_init(&names, ",, IntervalStyle ,\t,search_path,timezone,INTERVALSTYLE,\t", NULL));
    assert_int_equal(names.count, TRACKED_BUILT_IN + 2);
    assert_string_equal(names.names[5], "IntervalStyle");
    assert_string_equal(names.names[6], "search_path");
    tracked_names_release(&names);
    assert_true(tracked_names_init(&names, "", NULL));
    assert_int_equal(names.count, TRACKED_BUILT_IN);
    tracked_names_release(&names);
}

static void test_names_are_found_in_any_case(void **state UNUSED)
{
    struct tracked_names names;
    assert_true(tracked_names_init(&names, "search_path", NULL));
    assert_int_equal(tracked_names_find(&names, "datestyle"), 0);
    assert_int_equal(tracked_names_find(&names, "TIMEZONE"), 2);
    assert_int_equal(tracked_names_find(&names, "Search_Path"), 5);
    assert_int_equal(tracked_names_find(&names, "search_pat"), -1);
    assert_int_equal(tracked_names_find(&names, "search_paths"), -1);
    assert_int_equal(tracked_names_find(&names, ""), -1);
    tracked_names_release(&names);
}

static void test_too_many_names_are_refused(void **state UNUSED)
{
    struct tracked_names names;
    char list[8 * TRACKED_MAX] = "";
    for (unsigned i = TRACKED_BUILT_IN; i < TRACKED_MAX; i++)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%sp%u", i > 5 ? "," : "", i);
    assert_true(tracked_names_init(&names, list, NULL));
    assert_int_equal(names.count, TRACKED_MAX);
    tracked_names_release(&names);
    strcat(list, ",P7"); /* there already */
    assert_true(tracked_names_init(&names, list, NULL));
    tracked_names_release(&names);
    strcat(list, ",one_more");
    assert_false(tracked_names_init(&names, list, NULL));
    assert_int_equal(names.count, 0);
}

/* ---- the values ---- */

#define SEARCH_PATH 5

static struct tracked_names names;
static struct parameters have, wanted;

static int set_up(void **state UNUSED)
{
    assert_true(tracked_names_init(&names, "search_path", NULL));
    parameters_init(&have, &names);
    parameters_init(&wanted, &names);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    parameters_release(&have, &names);
    parameters_release(&wanted, &names);
    tracked_names_release(&names);
    return 0;
}

static void test_values_begin_unknown(void **state UNUSED)
{
    for (unsigned i = 0; i < names.count; i++)
        assert_null(have.values[i]);
    assert_true(parameters_same(&have, &wanted, &names));
}

static void test_set_copies_and_replaces(void **state UNUSED)
{
    char text[] = "UTC";
    parameters_set(&have, 2, text);
    text[0] = 'X';
    assert_string_equal(have.values[2], "UTC");
    const char *same = have.values[2];
    parameters_set(&have, 2, "UTC");
    assert_ptr_equal(have.values[2], same);
    parameters_set(&have, 2, "utc");
    assert_string_equal(have.values[2], "utc");
    parameters_set(&have, 2, NULL);
    assert_null(have.values[2]);
    parameters_set(&have, 2, NULL);
    assert_null(have.values[2]);
}

static void test_same_is_exact(void **state UNUSED)
{
    parameters_set(&have, 2, "UTC");
    assert_false(parameters_same(&have, &wanted, &names));
    parameters_set(&wanted, 2, "utc");
    assert_false(parameters_same(&have, &wanted, &names));
    parameters_set(&wanted, 2, "UTC");
    assert_true(parameters_same(&have, &wanted, &names));
}

static void test_fill_takes_only_what_is_missing(void **state UNUSED)
{
    parameters_set(&have, 0, "ISO, MDY");
    parameters_set(&have, 2, "UTC");
    parameters_set(&wanted, 2, "Europe/Berlin");
    parameters_fill(&wanted, &have, &names);
    assert_string_equal(wanted.values[0], "ISO, MDY");
    assert_null(wanted.values[1]);
    assert_string_equal(wanted.values[2], "Europe/Berlin");
}

static void test_copy_takes_everything(void **state UNUSED)
{
    parameters_set(&have, 0, "ISO, MDY");
    parameters_set(&wanted, 2, "Europe/Berlin");
    parameters_copy(&wanted, &have, &names);
    assert_true(parameters_same(&have, &wanted, &names));
    parameters_copy(&wanted, &wanted, &names);
    assert_string_equal(wanted.values[0], "ISO, MDY");
    assert_null(wanted.values[2]);
}

static void test_values_outlive_where_they_came_from(void **state UNUSED)
{
    parameters_set(&have, 0, "only here");
    parameters_fill(&wanted, &have, &names);
    parameters_set(&have, 0, NULL);
    assert_string_equal(wanted.values[0], "only here");
}

static void test_release_is_safe_twice_and_without_init(void **state UNUSED)
{
    struct parameters never = {0};
    parameters_release(&never, &names);
    parameters_release(&have, &names);
    parameters_release(&have, &names);
    assert_null(have.values);
}

/* ---- the difference ---- */

/* What is sent when the place has `old` and should have `new`. */
static void expect_sql(unsigned place, const char *old, const char *new, const char *expected)
{
    struct buffer sql = {0};
    parameters_set(&have, place, old);
    parameters_set(&wanted, place, new);
    assert_int_equal(parameters_difference(&have, &wanted, &names, false, &sql), expected[0] != '\0');
    buffer_append(&sql, "", 1);
    assert_string_equal((const char *) sql.data, expected);
    assert_int_equal(sql.size, strlen(expected) + 1);
    buffer_release(&sql);
}

static void test_no_difference(void **state UNUSED)
{
    expect_sql(2, NULL, NULL, "");
    expect_sql(2, NULL, "UTC", ""); /* the server does not report it: never applied */
    expect_sql(2, "UTC", NULL, "");
    expect_sql(2, "UTC", "UTC", "");
    expect_sql(2, "UTC", "utc", ""); /* case does not count */
    expect_sql(2, "", "", "");
}

static void test_values_are_quoted_for_the_server(void **state UNUSED)
{
    static const struct {
        const char *value, *literal;
    } cases[] = {
        {"app", "'app'"},
        {"", "''"},
        {"it's", "'it''s'"},
        {"''", "''''''"},
        {"a\\b", "E'a\\\\b'"},
        {"\\", "E'\\\\'"},
        {"\\'", "E'\\\\'''"},
        {"'; DROP TABLE t; --", "'''; DROP TABLE t; --'"},
        {"\\'; DROP TABLE t; --", "E'\\\\''; DROP TABLE t; --'"},
        {"%s%n \n\x1b", "'%s%n \n\x1b'"},
        {"\xff\xfe", "'\xff\xfe'"},
        /* in SJIS, \x81 and a backslash are one character */
        {"\xc3\x81\\'; DROP TABLE t; --", "E'\\xc3\\x81\\\\''; DROP TABLE t; --'"},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        char expected[100];
        snprintf(expected, sizeof(expected), "SET application_name=%s;", cases[i].literal);
        expect_sql(TRACKED_APPLICATION_NAME, "old", cases[i].value, expected);
    }
}

/* A reported search_path is a list of names that are quoted where they must be. */
static void test_search_path_is_a_list(void **state UNUSED)
{
    static const struct {
        const char *value, *sql;
    } cases[] = {
        {"public", "public"},
        {"\"$user\", public", "\"$user\", public"},
        {"\"\"", "''"},
        {"", "''"},
        {"\"semi;colon\", \"it's\", \"-- \\ /*\"", "\"semi;colon\", \"it's\", \"-- \\ /*\""},
        {"\"twice\"\"quoted;\"", "\"twice\"\"quoted;\""},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        char expected[100];
        snprintf(expected, sizeof(expected), "SET search_path=%s;", cases[i].sql);
        expect_sql(SEARCH_PATH, "old", cases[i].value, expected);
    }
}

/* What a client says may be anything: it becomes one name and cannot end the statement. */
static void test_search_path_that_is_no_list_is_quoted(void **state UNUSED)
{
    static const struct {
        const char *value, *literal;
    } cases[] = {
        {"a; DROP TABLE t", "'a; DROP TABLE t'"},
        {"a--", "'a--'"},
        {"$a$", "'$a$'"}, /* would be a literal up to the next $a$, in another value */
        {"a, $$", "'a, $$'"},
        {"a/*", "'a/*'"},
        {"a'b", "'a''b'"},
        {"a\\", "E'a\\\\'"},
        {"\"open", "'\"open'"},
        {"\"a\"\"; DROP TABLE t", "'\"a\"\"; DROP TABLE t'"},
        {"\"a\";\"b\"", "'\"a\";\"b\"'"},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        char expected[100];
        snprintf(expected, sizeof(expected), "SET search_path=%s;", cases[i].literal);
        expect_sql(SEARCH_PATH, "old", cases[i].value, expected);
    }
}

static void test_all_differences_are_one_query_in_order(void **state UNUSED)
{
    static const char *const old[] = {"ISO, MDY", "UTF8", "UTC", "on", "psql", "public"};
    static const char *const new[] = {"SQL, DMY", "LATIN1", "utc", "off", "top", NULL};
    struct buffer sql = {0};
    for (unsigned i = 0; i < countof(old); i++) {
        parameters_set(&have, i, old[i]);
        parameters_set(&wanted, i, new[i]);
    }
    buffer_append(&sql, "x", 1); /* appended, not replaced */
    assert_true(parameters_difference(&have, &wanted, &names, false, &sql));
    buffer_append(&sql, "", 1);
    assert_string_equal((const char *) sql.data,
                        "xSET DateStyle='SQL, DMY';SET client_encoding='LATIN1';"
                        "SET standard_conforming_strings='off';SET application_name='top';");
    buffer_release(&sql);
}

static void test_long_value_is_sent_whole(void **state UNUSED)
{
    char value[6001], expected[7000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    snprintf(expected, sizeof(expected), "SET application_name='%s';", value);
    expect_sql(TRACKED_APPLICATION_NAME, "old", value, expected);
}

/* ---- what servers do not report ---- */

static void expect_unreported(bool unknown, const char *expected)
{
    struct buffer sql = {0};
    assert_int_equal(parameters_difference(&have, &wanted, &names, unknown, &sql),
                     expected[0] != '\0');
    assert_int_equal(sql.size, strlen(expected));
    assert_memory_equal(sql.data != NULL ? (const char *) sql.data : "", expected, sql.size);
    buffer_release(&sql);
}

static void test_unreported_values_are_set_and_reset(void **state UNUSED)
{
    parameters_release(&have, &names);
    parameters_release(&wanted, &names);
    tracked_names_release(&names);
    assert_true(tracked_names_init(&names, "IntervalStyle", "search_path, my.var,intervalstyle"));
    assert_int_equal(names.reported, TRACKED_BUILT_IN + 1);
    assert_int_equal(names.count, TRACKED_BUILT_IN + 3);
    unsigned path = names.reported, variable = names.reported + 1;
    parameters_init(&have, &names);
    parameters_init(&wanted, &names);

    expect_unreported(false, "");
    expect_unreported(true, "RESET \"search_path\";RESET \"my\".\"var\";");
    parameters_set(&wanted, path, "a, 'b'");
    expect_unreported(false, "SELECT pg_catalog.set_config('search_path','a, \'\'b\'\'',false);");
    parameters_take_unreported(&have, &wanted, &names);
    expect_unreported(false, "");
    parameters_set(&wanted, path, "A, 'b'"); /* case counts: nobody knows what it means */
    parameters_set(&wanted, variable, "");
    expect_unreported(false, "SELECT pg_catalog.set_config('search_path','A, \'\'b\'\'',false);"
                      "SELECT pg_catalog.set_config('my.var','',false);");
    parameters_take_unreported(&have, &wanted, &names);
    parameters_set(&wanted, path, NULL);
    expect_unreported(false, "RESET \"search_path\";");
    parameters_take_unreported(&have, NULL, &names);
    expect_unreported(false, "SELECT pg_catalog.set_config('my.var','',false);");
}

int main(void)
{
#define with_values(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in_names_in_their_order),
        cmocka_unit_test(test_extra_names_follow_in_their_spelling),
        cmocka_unit_test(test_names_are_found_in_any_case),
        cmocka_unit_test(test_too_many_names_are_refused),
        with_values(test_values_begin_unknown),
        with_values(test_set_copies_and_replaces),
        with_values(test_same_is_exact),
        with_values(test_fill_takes_only_what_is_missing),
        with_values(test_copy_takes_everything),
        with_values(test_values_outlive_where_they_came_from),
        with_values(test_release_is_safe_twice_and_without_init),
        with_values(test_no_difference),
        with_values(test_values_are_quoted_for_the_server),
        with_values(test_search_path_is_a_list),
        with_values(test_search_path_that_is_no_list_is_quoted),
        with_values(test_all_differences_are_one_query_in_order),
        with_values(test_long_value_is_sent_whole),
        with_values(test_unreported_values_are_set_and_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
