/*
 * text_test.c - numbers, times and lists.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/text.h"

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

static int64_t number_of(const char *text)
{
    int64_t value = 4711;
    if (!text_parse_int(text, INT64_MIN, INT64_MAX, &value))
        fail_msg("'%s' was refused", text);
    return value;
}

static void test_integers(void **state UNUSED)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"0", 0},        {"7", 7},        {"-7", -7},       {"+7", 7},      {"6432", 6432},
        {"010", 8},      {"-010", -8},    {"00", 0},        {"0x10", 16},   {"0XfF", 255},
        {"-0x10", -16},  {"+0x1", 1},     {"-0", 0},        {"0777", 511},  {"0xAbCdEf", 0xabcdef},
        {"2147483648", INT64_C(2147483648)},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775807", -INT64_MAX},
        {"0x7fffffffffffffff", INT64_MAX},
        {"0777777777777777777777", INT64_MAX},
        {"000000000000000000000000000000001", 1},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_true(number_of(cases[i].text) == cases[i].value);
}

static void test_what_is_no_integer(void **state UNUSED)
{
    static const char *const texts[] = {"",    "-",   "+",    "x",    " 1",  "1 ",  "1x", "--1",
                                        "+-1", "0x",  "-0x",  "0xg",  "08",  "1.0", "1e3", "a",
                                        "0x-1", "1,2", "1_000", "0b1", "\n1", "½",  "/",  ":"};
    for (size_t i = 0; i < countof(texts); i++) {
        int64_t value;
        if (text_parse_int(texts[i], INT64_MIN, INT64_MAX, &value))
            fail_msg("'%s' was taken", texts[i]);
    }
}

/* The later ones are small numbers again after they have wrapped around. */
static void test_integers_beyond_64_bits(void **state UNUSED)
{
    static const char *const texts[] = {
        "9223372036854775808",  "-9223372036854775809", "18446744073709551615",
        "0x8000000000000000",   "0xffffffffffffffff",   "01000000000000000000000",
        "18446744073709551616", "18446744073709551620", "0x1000000000000000F",
        "0x10000000000000000",  "02000000000000000000001", "-18446744073709551620",
        "99999999999999999999999999999999999999",
    };
    for (size_t i = 0; i < countof(texts); i++) {
        int64_t value;
        if (text_parse_int(texts[i], INT64_MIN, INT64_MAX, &value))
            fail_msg("'%s' was taken as %lld", texts[i], (long long) value);
    }
}

static void test_integer_limits(void **state UNUSED)
{
    int64_t value;
    assert_true(text_parse_int("-5", -5, 5, &value));
    assert_true(value == -5);
    assert_true(text_parse_int("5", -5, 5, &value));
    assert_true(value == 5);
    assert_false(text_parse_int("-6", -5, 5, &value));
    assert_false(text_parse_int("6", -5, 5, &value));
    assert_false(text_parse_int("0", 1, 65535, &value));
    assert_false(text_parse_int("65536", 1, 65535, &value));
    assert_false(text_parse_int("0x10000", 1, 65535, &value));
}

static void test_seconds(void **state UNUSED)
{
    static const struct {
        const char *text;
        usec_t us;
    } cases[] = {
        {"0", 0},
        {"3600", UINT64_C(3600000000)},
        {"0.5", 500000},
        {".5", 500000},
        {"1.", 1000000},
        {"0.000001", 1},
        {"0.0000019", 1},
        {"1.123456789123456789123456789", 1123456},
        {"007", 7000000},
        {"4000000000", UINT64_C(4000000000000000)},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        usec_t us = 1;
        if (!text_parse_seconds(cases[i].text, &us) || us != cases[i].us)
            fail_msg("'%s' gave %llu", cases[i].text, (unsigned long long) us);
    }
}

static void test_what_is_no_time(void **state UNUSED)
{
    static const char *const texts[] = {"",    ".",    "-1",   "+1",    " 1",  "1 ",  "1s", "x",
                                        "1,5", "1..2", "0x10", "1.2.3", "nan", "inf", "1.-2",
                                        "4000000001", "18446744073709551617",
                                        "99999999999999999999999999999999999"};
    for (size_t i = 0; i < countof(texts); i++) {
        usec_t us;
        if (text_parse_seconds(texts[i], &us))
            fail_msg("'%s' was taken", texts[i]);
    }
}

static void test_print_seconds(void **state UNUSED)
{
    static const struct {
        usec_t us;
        const char *text;
    } cases[] = {
        {0, "0"},           {1, "0.000001"},       {500000, "0.5"},
        {1000000, "1"},     {1500000, "1.5"},      {UINT64_C(3600000000), "3600"},
        {100000, "0.1"},    {10, "0.00001"},       {1010000, "1.01"},
        {999999, "0.999999"}, {UINT64_C(4000000000000000), "4000000000"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char text[40];
        usec_t again;
        text_print_seconds(cases[i].us, text, sizeof(text));
        assert_string_equal(text, cases[i].text);
        assert_true(text_parse_seconds(text, &again));
        assert_true(again == cases[i].us);
    }
}

static void test_print_seconds_stays_in_its_place(void **state UNUSED)
{
    char text[8];
    memset(text, 'x', sizeof(text));
    text_print_seconds(UINT64_C(123456500000), text, 4);
    assert_string_equal(text, "123");
    assert_int_equal(text[4], 'x');
}

static void test_equal_up_to_case(void **state UNUSED)
{
    assert_true(text_equals_ignoring_case("", ""));
    assert_true(text_equals_ignoring_case("DateStyle", "dATEsTYLE"));
    assert_true(text_equals_ignoring_case("a_1", "A_1"));
    assert_false(text_equals_ignoring_case("a", ""));
    assert_false(text_equals_ignoring_case("", "a"));
    assert_false(text_equals_ignoring_case("abc", "abcd"));
    assert_false(text_equals_ignoring_case("abcd", "abc"));
    assert_false(text_equals_ignoring_case("abc", "abd"));
    /* ASCII letters alone have a case: not the neighbours of A and Z, nor other alphabets. */
    assert_false(text_equals_ignoring_case("@", "\x60"));
    assert_false(text_equals_ignoring_case("[", "{"));
    assert_false(text_equals_ignoring_case("\xc4", "\xe4"));
    assert_true(text_equals_ignoring_case("\xc4", "\xc4"));
}

static void test_list_contains(void **state UNUSED)
{
    assert_true(text_list_contains("bob", "bob"));
    assert_true(text_list_contains("ann,bob", "bob"));
    assert_true(text_list_contains("bob,ann", "bob"));
    assert_true(text_list_contains("ann,bob,cid", "bob"));
    assert_true(text_list_contains(" ann ,\t bob \r\n, cid", "bob"));
    assert_true(text_list_contains(",,bob,,", "bob"));
    assert_true(text_list_contains("a b", "a b"));
}

static void test_list_does_not_contain(void **state UNUSED)
{
    assert_false(text_list_contains("", "bob"));
    assert_false(text_list_contains(NULL, "bob"));
    assert_false(text_list_contains("bobby", "bob"));
    assert_false(text_list_contains("bo,b", "bob"));
    assert_false(text_list_contains("bob x", "bob"));
    assert_false(text_list_contains("Bob", "bob"));
    assert_false(text_list_contains("xbob", "bob"));
    assert_false(text_list_contains("ann,bob", "ann,bob"));
}

/* An empty user name must not be on a list because the list has a comma too many. */
static void test_list_never_contains_nothing(void **state UNUSED)
{
    assert_false(text_list_contains("", ""));
    assert_false(text_list_contains(",", ""));
    assert_false(text_list_contains("ann, ,bob,", ""));
    assert_false(text_list_contains("   ", ""));
}

static void test_edit_distance(void **state UNUSED)
{
    assert_int_equal(text_edit_distance("", ""), 0);
    assert_int_equal(text_edit_distance("abc", "abc"), 0);
    assert_int_equal(text_edit_distance("", "abc"), 3);
    assert_int_equal(text_edit_distance("abc", ""), 3);
    assert_int_equal(text_edit_distance("abc", "axc"), 1);
    assert_int_equal(text_edit_distance("abc", "abxc"), 1);
    assert_int_equal(text_edit_distance("abxc", "abc"), 1);
    assert_int_equal(text_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(text_edit_distance("sitting", "kitten"), 3);
    assert_int_equal(text_edit_distance("pool_sise", "pool_size"), 1);
    assert_int_equal(text_edit_distance("ab", "ba"), 2);
}

static void test_edit_distance_of_long_texts(void **state UNUSED)
{
    char longest[64], longer[65];
    memset(longest, 'a', 63);
    longest[63] = '\0';
    memset(longer, 'a', 64);
    longer[64] = '\0';
    assert_int_equal(text_edit_distance(longest, longest), 0);
    assert_int_equal(text_edit_distance(longest, ""), 63);
    assert_true(text_edit_distance(longer, longest) > 60);
    assert_true(text_edit_distance(longest, longer) > 60);
    assert_true(text_edit_distance("", longer) > 60);
}

static void test_utf8_length(void **state UNUSED)
{
    static const struct {
        const char *text;
        size_t length;
    } cases[] = {
        {"", 0},
        {"a", 1},
        {"\x7f", 1},
        {"\xc3\xa4x", 2},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\x98\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\x80", 0},             /* a byte that only continues */
        {"\xc3", 0},             /* cut */
        {"\xe2\x82", 0},
        {"\xe2\x82x", 0},
        {"\xc0\xaf", 0},         /* overlong */
        {"\xe0\x80\xaf", 0},
        {"\xf0\x80\x80\xaf", 0},
        {"\xed\xa0\x80", 0},     /* surrogate */
        {"\xf4\x90\x80\x80", 0}, /* past the end */
        {"\xf8\x88\x80\x80\x80", 0},
        {"\xff", 0},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_int_equal(text_utf8_length(cases[i].text), cases[i].length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_what_is_no_integer),
        cmocka_unit_test(test_integers_beyond_64_bits),
        cmocka_unit_test(test_integer_limits),
        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_what_is_no_time),
        cmocka_unit_test(test_print_seconds),
        cmocka_unit_test(test_print_seconds_stays_in_its_place),
        cmocka_unit_test(test_equal_up_to_case),
        cmocka_unit_test(test_list_contains),
        cmocka_unit_test(test_list_does_not_contain),
        cmocka_unit_test(test_list_never_contains_nothing),
        cmocka_unit_test(test_edit_distance),
        cmocka_unit_test(test_edit_distance_of_long_texts),
        cmocka_unit_test(test_utf8_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
