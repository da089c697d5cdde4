/*
 * connect_string_test.c - "key=value key='other value'".
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/connect_string.h"

#include "fixture.h"

#include <limits.h>

/* What was accepted, as "key=<value>;". */
struct seen {
    char text[512];
    size_t length;
    const char *refused; /* the key that is not accepted */
};

static bool accept(void *argument, const char *key, const char *value)
{
    struct seen *seen = argument;
    if (seen->refused != NULL && strcmp(seen->refused, key) == 0)
        return false;
    seen->length += (size_t) snprintf(seen->text + seen->length, sizeof(seen->text) - seen->length,
                                      "%s=<%s>;", key, value);
    return true;
}

static void test_pairs(void **state UNUSED)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"", ""},
        {"   ", ""},
        {"host=a", "host=<a>;"},
        {"  host=a  ", "host=<a>;"},
        {"host=a port=1", "host=<a>;port=<1>;"},
        {"host = a   port =1 user= b", "host=<a>;port=<1>;user=<b>;"},
        {"a=1 a=2", "a=<1>;a=<2>;"},
        {"a='b c'", "a=<b c>;"},
        {"a = 'b' c=d", "a=<b>;c=<d>;"},
        {"a='it''s'", "a=<it's>;"},
        {"a=''''", "a=<'>;"},
        {"a=''''''", "a=<''>;"},
        {"a='b''' c=d", "a=<b'>;c=<d>;"},
        {"a='=' b==", "a=<=>;b=<=>;"},
        {"a=b=c", "a=<b=c>;"},
        {"a=b\\ c=d", "a=<b\\>;c=<d>;"},
        {"a='b\\' c=d", "a=<b\\>;c=<d>;"},
        {"a=b'c", "a=<b'c>;"},
        {"a=b''", "a=<b''>;"},
        {"a=\"b c=d", "a=<\"b>;c=<d>;"},
        {"a=b\tc=d", "a=<b\tc=d>;"},   /* a tab is an ordinary character */
        {"\ta=b", "\ta=<b>;"},
        {"'a'=b", "'a'=<b>;"},
        {"a=\xc3\xa4;#", "a=<\xc3\xa4;#>;"},
        {"a='\n'", "a=<\n>;"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct seen seen = {0};
        const char *problem = connect_string_read(cases[i].text, accept, &seen);
        if (problem != NULL)
            fail_msg("<%s>: %s", cases[i].text, problem);
        assert_string_equal(seen.text, cases[i].expected);
    }
}

static void test_broken_ones(void **state UNUSED)
{
    static const struct {
        const char *text, *seen, *problem;
    } cases[] = {
        {"word", "", "expected key=value"},
        {"a=b word", "a=<b>;", "expected key=value"},
        {"a b=c", "", "expected key=value"},
        {"=b", "", "expected key=value"},
        {" = b", "", "expected key=value"},
        {"a\t=b c", "a\t=<b>;", "expected key=value"},
        {"a=", "", "a value is empty"},
        {"a=  ", "", "a value is empty"},
        {"a=''", "", "a value is empty"},
        {"a=1 b='' c=2", "a=<1>;", "a value is empty"},
        {"a='", "", "a quoted value does not end"},
        {"a='b", "", "a quoted value does not end"},
        {"a='b''", "", "a quoted value does not end"},
        {"a='b'c=d", "", "a quoted value does not end"},
        {"a='b'\tc=d", "", "a quoted value does not end"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct seen seen = {0};
        const char *problem = connect_string_read(cases[i].text, accept, &seen);
        if (problem == NULL)
            fail_msg("<%s> was accepted", cases[i].text);
        assert_string_equal(problem, cases[i].problem);
        assert_string_equal(seen.text, cases[i].seen);
    }
}

/* Nothing is read behind a pair that is not accepted, and its form is no problem. */
static void test_pair_that_is_not_accepted(void **state UNUSED)
{
    struct seen seen = {.refused = "b"};
    assert_null(connect_string_read("a=1 b=2 c=3 word", accept, &seen));
    assert_string_equal(seen.text, "a=<1>;");
}

static bool count_bytes(void *argument, const char *key, const char *value)
{
    *(size_t *) argument += strlen(key) + strlen(value);
    return true;
}

static void test_long_values(void **state UNUSED)
{
    enum { SIZE = 1000000 };
    char *text = repeat('\'', SIZE); /* a quote, SIZE / 2 - 1 doubled ones, a quote */
    char *pairs = malloc(SIZE + 3);
    size_t bytes = 0;
    assert_non_null(pairs);
    snprintf(pairs, SIZE + 3, "a=%s", text);
    assert_null(connect_string_read(pairs, count_bytes, &bytes));
    assert_int_equal(bytes, 1 + SIZE / 2 - 1);
    memset(pairs + 2, 'x', SIZE);
    bytes = 0;
    assert_null(connect_string_read(pairs, count_bytes, &bytes));
    assert_int_equal(bytes, 1 + SIZE);
    free(pairs);
    free(text);
}

/* As atoi() reads, but what does not fit stays at the limit. */
static void test_numbers(void **state UNUSED)
{
    static const struct {
        const char *text;
        int value;
    } cases[] = {
        {"0", 0},       {"5432", 5432}, {"-1", -1},     {"+7", 7},      {"010", 10},
        {"12abc", 12},  {"1.9", 1},     {"0x10", 0},    {"abc", 0},     {"", 0},
        {"-", 0},       {" 3", 3},      {"2147483647", INT_MAX},
        {"2147483648", INT_MAX},        {"99999999999999999999", INT_MAX},
        {"-2147483648", INT_MIN},       {"-2147483649", INT_MIN},
        {"-99999999999999999999", INT_MIN},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_int_equal(connect_string_number(cases[i].text), cases[i].value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_broken_ones),
        cmocka_unit_test(test_pair_that_is_not_accepted),
        cmocka_unit_test(test_long_values),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
