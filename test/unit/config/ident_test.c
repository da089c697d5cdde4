/*
 * ident_test.c - user-name maps.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/ident.h"

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

#include "base/buffer.h"

static struct ident *parse(const char *text)
{
    struct config_report report = {0};
    struct ident *ident = ident_parse("ident", text, strlen(text), &report);
    if (report.error_count > 0)
        fail_msg("'%s': %s", text, report.errors[0]);
    config_report_release(&report);
    return ident;
}

/* The system names that may log in as the user, with blanks between them. */
static const char *names_of(const struct ident *ident, const char *map, const char *user)
{
    static char text[256];
    const struct ident_map *found = ident_find(ident, map);
    size_t position = 0, length = 0;
    const char *name;
    if (found == NULL)
        return NULL;
    text[0] = '\0';
    while ((name = ident_next(found, user, &position)) != NULL)
        length += (size_t) snprintf(text + length, sizeof(text) - length, "%s%s",
                                    length > 0 ? " " : "", name);
    return text;
}

static void test_maps(void **state UNUSED)
{
    struct ident *ident = parse("# who is who\n"
                                "m1 alice app\n"
                                "m1 bob app # a second one\n"
                                "\n"
                                "m1\tcarol  other\r\n"
                                "  m2 root all\n"
                                "m1 boss all\n"
                                "m3 \"a b\" \"all\"\n"
                                "m3 \"say \"\"hi\"\"\" \"c,d\"\n"
                                "\"m 4\" x y");

    static const struct {
        const char *map, *user, *names;
    } cases[] = {
        {"m1", "app", "boss alice bob"},
        {"m1", "other", "boss carol"},
        {"m1", "ap", "boss"},
        {"m1", "zzz", "boss"},
        {"m1", "", "boss"},
        {"m2", "anybody", "root"},
        {"m3", "all", "a b"},
        {"m3", "anybody", ""},
        {"m3", "c,d", "say \"hi\""},
        {"m 4", "y", "x"},
        {"M1", "app", NULL},
        {"m", "app", NULL},
        {"m5", "app", NULL},
        {"", "app", NULL},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        const char *names = names_of(ident, cases[i].map, cases[i].user);
        if (names == NULL || cases[i].names == NULL)
            assert_true(names == cases[i].names);
        else
            assert_string_equal(names, cases[i].names);
    }
    assert_string_equal(ident_map_name(ident_find(ident, "m2")), "m2");
    assert_null(ident_find(NULL, "m1"));
    ident_destroy(ident);
    ident_destroy(NULL);
}

static void test_nothing(void **state UNUSED)
{
    static const char *const texts[] = {"", "\n", "# a b", "  \t\r\n\n#", "\xef\xbb\xbf"};
    for (size_t i = 0; i < countof(texts); i++) {
        struct ident *ident = parse(texts[i]);
        assert_null(ident_find(ident, ""));
        ident_destroy(ident);
    }
}

/* Each line is between two good ones, which are kept. */
static void test_broken_lines(void **state UNUSED)
{
    static const struct {
        const char *line, *error;
    } cases[] = {
        {"m1", "ident:2: the line ends too early: expected the name of a system user"},
        {"m1 a", "ident:2: the line ends too early: expected a database user or all"},
        {"m1 a b c", "ident:2: \"c\" is out of place: expected the end of the line"},
        {"m1 a b,c", "ident:2: \",\" is out of place: expected the end of the line"},
        {"m1 , b", "ident:2: \",\" is out of place: expected the name of a system user"},
        {"m1 \"a b", "ident:2: a quote that is not closed: expected the name of a system user"},
        {"m1 \"\" b", "ident:2: \"\" is out of place: expected the name of a system user"},
        {"m1 /^x b", "ident:2: \"/^x\": regular expressions are not supported; put it in quotes if "
                     "it is a name"},
        {"m1 a +b", "ident:2: \"+b\": groups are not known to the pooler; write a line for each "
                    "user"},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct config_report report = {0};
        char text[128];
        snprintf(text, sizeof(text), "good a b\n%s\ngood c d\n", cases[i].line);
        struct ident *ident = ident_parse("ident", text, strlen(text), &report);
        assert_int_equal(report.error_count, 1);
        assert_string_equal(report.errors[0], cases[i].error);
        assert_null(ident_find(ident, "m1"));
        assert_string_equal(names_of(ident, "good", "d"), "c");
        config_report_release(&report);
        ident_destroy(ident);
    }
}

static void test_all_errors_are_told(void **state UNUSED)
{
    struct config_report report = {0};
    static const char text[] = "a\nb x\0y z\nc d e\nf";
    struct ident *ident = ident_parse("ident", text, sizeof(text) - 1, &report);
    assert_int_equal(report.error_count, 3);
    assert_string_equal(report.errors[1],
                        "ident:2: a zero byte: expected the name of a system user");
    assert_non_null(ident_find(ident, "c"));
    config_report_release(&report);
    ident_destroy(ident);
}

static void test_many_lines(void **state UNUSED)
{
    struct buffer text = {0};
    struct config_report report = {0};
    char line[64], user[16], system[16];
    for (int i = 0; i < 100000; i++)
        buffer_append(&text, line,
                      (size_t) snprintf(line, sizeof(line), "map s%d u%d\n", i, 99999 - i));
    struct ident *ident = ident_parse("ident", (const char *) text.data, text.size, &report);
    assert_int_equal(report.error_count, 0);
    for (int i = 0; i < 100000; i += 7) {
        snprintf(user, sizeof(user), "u%d", i);
        snprintf(system, sizeof(system), "s%d", 99999 - i);
        assert_string_equal(names_of(ident, "map", user), system);
    }
    ident_destroy(ident);
    buffer_release(&text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maps),         cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_broken_lines), cmocka_unit_test(test_all_errors_are_told),
        cmocka_unit_test(test_many_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
