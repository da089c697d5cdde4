/*
 * userlist_test.c - the auth_file: "user" "secret", one per line.
 *
 * SPDX-License-Identifier: ISC
 */
#include "fixture.h"

/* A parsed text. */
struct parsed {
    struct config config; /* only its secrets */
    struct config_report report;
    bool good;
};

static struct parsed parse_bytes(const char *text, size_t size)
{
    struct parsed parsed = {0};
    /* An exact copy, so that a sanitizer sees a read beyond the end. */
    char *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, text, size);
    parsed.good =
        userlist_parse("users.txt", copy, size, &parsed.config.secrets, &parsed.report);
    free(copy);
    assert_int_equal(parsed.good, parsed.report.error_count == 0);
    assert_no_warnings(&parsed.report);
    return parsed;
}

static struct parsed parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void release(struct parsed *parsed)
{
    userlist_release(&parsed->config.secrets);
    config_report_release(&parsed->report);
}

static void assert_user(const struct parsed *parsed, const char *name, const char *expected)
{
    const struct secret *secret = config_find_secret(&parsed->config, name);
    if (secret == NULL)
        fail_msg("there is no user %s", name);
    assert_int_equal(secret->length, strlen(expected));
    assert_string_equal(secret->bytes, expected);
}

static void assert_single_user(const char *text, const char *name, const char *secret)
{
    struct parsed parsed = parse(text);
    assert_no_errors(&parsed.report);
    assert_int_equal(HASH_COUNT(parsed.config.secrets), 1);
    assert_user(&parsed, name, secret);
    release(&parsed);
}

static void test_entries(void **state UNUSED)
{
    static const struct {
        const char *text, *name, *secret;
    } cases[] = {
        {"\"bob\" \"secret\"\n", "bob", "secret"},
        {"\"bob\" \"secret\"", "bob", "secret"}, /* no newline at the end */
        {"\"bob\" \"secret\"\r\n", "bob", "secret"},
        {" \t\r\n\v\f \"bob\" \"secret\"\n\n \n", "bob", "secret"},
        {"\"bob\"\"\" \"x\"\n", "bob\"", "x"},
        {"\"bob\"\t\t\"x\"", "bob", "x"},
        {"\"bob\"=anything but a quote\"x\"", "bob", "x"},
        {"\"bob\" \"x\" the rest \"of\" the line\n", "bob", "x"},
        {"\"bob\" \"x\"\"y\"\n", "bob", "x\"y"},
        {"\"bob\" \"\"\n", "bob", ""},
        {"\"bob\" \"\"\"\"\n", "bob", "\""},
        {"\"bob\" \" x ;#\\ \"\n", "bob", " x ;#\\ "},
        {"\"b\xc3\xb6" "b\" \"\xff\x01\"\n", "b\xc3\xb6" "b", "\xff\x01"},
        {"; \"no\" \"comment\"\n\"bob\" \"x\"\n ; \"the\" \"end\"", "bob", "x"},
        {";\n\"bob\" \"x\"", "bob", "x"},
        {"\"%s%n\" \"%d\"", "%s%n", "%d"},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_single_user(cases[i].text, cases[i].name, cases[i].secret);
}

static void test_no_users(void **state UNUSED)
{
    static const char *const texts[] = {"", "\n", " \t\r\n", "; nobody", ";\n;\n"};
    for (size_t i = 0; i < countof(texts); i++) {
        struct parsed parsed = parse(texts[i]);
        assert_no_errors(&parsed.report);
        assert_int_equal(HASH_COUNT(parsed.config.secrets), 0);
        release(&parsed);
    }
}

static void test_last_one_wins(void **state UNUSED)
{
    assert_single_user("\"bob\" \"a long first secret\"\n\"bob\" \"x\"\n\"bob\" \"last\"\n", "bob",
                       "last");
}

static void test_names_are_case_sensitive(void **state UNUSED)
{
    struct parsed parsed = parse("\"bob\" \"1\"\n\"Bob\" \"2\"\n\"bob \" \"3\"");
    assert_int_equal(HASH_COUNT(parsed.config.secrets), 3);
    assert_user(&parsed, "bob", "1");
    assert_user(&parsed, "Bob", "2");
    assert_user(&parsed, "bob ", "3");
    assert_null(config_find_secret(&parsed.config, "BOB"));
    release(&parsed);
}

static void test_broken_entries(void **state UNUSED)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"bob \"x\"", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\n\n\"bob", "users.txt:3: broken auth file: expected \"user\" \"password\""},
        {"\"", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"bob\"", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"bob\"\n\"x\"", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"bob\" x\n", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"bob\" \"x", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"bob\" \"x\"\"", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"bob\" \"x\ny\"", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"b\nob\" \"x\"", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"bob\"\"x\"", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"# no comment", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"a\" \"1\n\n\n\"b\" \"2\"",
         "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"'bob' 'x'", "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\xef\xbb\xbf\"bob\" \"x\"",
         "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"\" \"x\"", "users.txt:1: broken auth file: a user without a name"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct parsed parsed = parse(cases[i].text);
        assert_only_error(&parsed.report, cases[i].error);
        assert_int_equal(HASH_COUNT(parsed.config.secrets), 0);
        release(&parsed);
    }
}

static void test_first_error_ends_it(void **state UNUSED)
{
    struct parsed parsed = parse("; comment\n\"a\" \"1\"\n\n  wrong\nwrong\n\"b\" \"2\"\n");
    assert_only_error(&parsed.report,
                      "users.txt:4: broken auth file: expected \"user\" \"password\"");
    assert_user(&parsed, "a", "1");
    assert_null(config_find_secret(&parsed.config, "b"));
    release(&parsed);
}

static void test_zero_bytes(void **state UNUSED)
{
    static const struct {
        const char *text;
        size_t size;
        const char *error;
    } cases[] = {
        {"\0", 1, "users.txt:1: broken auth file: expected \"user\" \"password\""},
        {"\"b\0b\" \"x\"\n", 10, "users.txt:1: broken auth file: a zero byte"},
        {"\"bob\" \"x\0y\"\n", 12, "users.txt:1: broken auth file: a zero byte"},
        {"\"bob\" \"\0\"\n", 10, "users.txt:1: broken auth file: a zero byte"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct parsed parsed = parse_bytes(cases[i].text, cases[i].size);
        assert_only_error(&parsed.report, cases[i].error);
        release(&parsed);
    }
}

/* A file that ends anywhere: what is whole before the cut is there, and the cut is an error. */
static void test_cut_files(void **state UNUSED)
{
    static const char whole[] = "\"a\" \"1\"\n\"bo\"\"b\" \"se\"\"cret\"\n";
    const size_t second_begins = 8, second_ends = sizeof(whole) - 2;
    for (size_t size = 0; size < sizeof(whole); size++) {
        struct parsed parsed = parse_bytes(whole, size);
        bool cut_inside_first = size > 0 && size < second_begins - 1;
        bool cut_inside_second = size > second_begins && size < second_ends;
        /* se" is the end of a shorter secret; nothing can tell that it was to go on. */
        if (size == second_ends - 6)
            cut_inside_second = false;
        if (parsed.good == (cut_inside_first || cut_inside_second))
            fail_msg("cut after %zu bytes", size);
        if (size >= second_begins - 1)
            assert_user(&parsed, "a", "1");
        release(&parsed);
    }
}

/* "name" "secret" with so many bytes of each. */
static struct parsed parse_sizes(size_t name_size, size_t secret_size)
{
    size_t size = name_size + secret_size + 6;
    char *text = malloc(size + 1);
    char *name = repeat('n', name_size), *secret = repeat('s', secret_size);
    struct parsed parsed;
    assert_non_null(text);
    snprintf(text, size + 1, "\"%s\" \"%s\"\n", name, secret);
    parsed = parse_bytes(text, size);
    if (parsed.good)
        assert_user(&parsed, name, secret);
    free(text);
    free(name);
    free(secret);
    return parsed;
}

static void test_lengths(void **state UNUSED)
{
    static const struct {
        size_t name, secret;
        const char *error;
    } cases[] = {
        {63, 1, NULL},
        {64, 1, NULL},
        {127, 65530, NULL},
        {128, 1, "users.txt:1: username too long in auth file"},
        {5000, 1, "users.txt:1: username too long in auth file"},
        {1, 65531, "users.txt:1: password too long in auth file"},
        {1, 10000000, "users.txt:1: password too long in auth file"},
        {10000000, 1, "users.txt:1: username too long in auth file"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct parsed parsed = parse_sizes(cases[i].name, cases[i].secret);
        if (cases[i].error == NULL)
            assert_no_errors(&parsed.report);
        else
            assert_only_error(&parsed.report, cases[i].error);
        release(&parsed);
    }
}

static void test_many_users(void **state UNUSED)
{
    enum { COUNT = 100000, LINE = 40 };
    char *text = malloc((size_t) COUNT * LINE), name[32];
    size_t size = 0;
    struct parsed parsed;
    assert_non_null(text);
    for (int i = 0; i < COUNT; i++)
        size += (size_t) snprintf(text + size, LINE, "\"user%06d\" \"secret%d\"\n", i, i);
    parsed = parse_bytes(text, size);
    assert_no_errors(&parsed.report);
    assert_int_equal(HASH_COUNT(parsed.config.secrets), COUNT);
    for (int i = 0; i < COUNT; i += 9999) {
        char secret[32];
        snprintf(name, sizeof(name), "user%06d", i);
        snprintf(secret, sizeof(secret), "secret%d", i);
        assert_user(&parsed, name, secret);
    }
    release(&parsed);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_no_users),
        cmocka_unit_test(test_last_one_wins),
        cmocka_unit_test(test_names_are_case_sensitive),
        cmocka_unit_test(test_broken_entries),
        cmocka_unit_test(test_first_error_ends_it),
        cmocka_unit_test(test_zero_bytes),
        cmocka_unit_test(test_cut_files),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_many_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
