/*
 * grammar_test.c - the words of a console command.
 *
 * SPDX-License-Identifier: ISC
 */
#include "console/grammar.h"

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

static void assert_words(const char *query, const char *name, const char *argument,
                         const char *value)
{
    struct command_words words;
    if (grammar_read(query, &words) != GRAMMAR_GOOD)
        fail_msg("<%s> was refused", query);
    assert_string_equal(words.name, name);
    assert_string_equal(words.argument, argument);
    assert_string_equal(words.value, value);
}

static void assert_syntax_error(const char *query)
{
    struct command_words words;
    if (grammar_read(query, &words) != GRAMMAR_SYNTAX_ERROR)
        fail_msg("<%s> was not refused", query);
}

static void test_commands(void **state UNUSED)
{
    static const struct {
        const char *query, *name, *argument;
    } cases[] = {
        {"RELOAD", "RELOAD", ""},
        {"reload;", "reload", ""},
        {" \t\r\nreload \t\r\n; \t\r\n", "reload", ""},
        {"show version", "show", "version"},
        {"SHOW\n\tVersion ;", "SHOW", "Version"},
        {"pause DB_1;", "pause", "DB_1"},
        {"pause 1", "pause", "1"},
        {"_x 9", "_x", "9"},
        {"pause \"my-db\"", "pause", "my-db"},
        {"pause \"a b;c\" ;", "pause", "a b;c"},
        {"pause \"quo\"\"te\"", "pause", "quo\"te"},
        {"pause \"\"\"\"", "pause", "\""},
        {"pause \"\"", "pause", ""},
        {"settle down", "settle", "down"},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_words(cases[i].query, cases[i].name, cases[i].argument, "");
}

static void test_assignments(void **state UNUSED)
{
    static const struct {
        const char *query, *key, *value;
    } cases[] = {
        {"SET a=b", "a", "b"},
        {"set a = b;", "a", "b"},
        {"set\ta\n=\rb ; ", "a", "b"},
        {"SET a TO b", "a", "b"},
        {"set a to 'b'", "a", "b"},
        {"set a To'b'", "a", "b"},
        {"set a='it''s; here' ;", "a", "it's; here"},
        {"set a=''", "a", ""},
        {"set a=''''", "a", "'"},
        {"set a=\"b-c\"", "a", "b-c"},
        {"set \"a.b\"=1", "a.b", "1"},
        {"set \"a\"to\"b\"", "a", "b"},
        {"set a='-1.5'", "a", "-1.5"},
        {"set to = to", "to", "to"},
        {"set to to to", "to", "to"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct command_words words;
        if (grammar_read(cases[i].query, &words) != GRAMMAR_GOOD)
            fail_msg("<%s> was refused", cases[i].query);
        assert_true(strcmp(words.name, "set") == 0 || strcmp(words.name, "SET") == 0);
        assert_string_equal(words.argument, cases[i].key);
        assert_string_equal(words.value, cases[i].value);
    }
}

static void test_what_is_no_command(void **state UNUSED)
{
    static const char *const queries[] = {
        "",
        " ",
        ";",
        " ; ",
        ";show version",
        "show version;;",
        "show version; ;",
        "show version x",
        "show version -- comment",
        "/* comment */ show version",
        "show my-db",
        "show a.b",
        "show 'version'",
        "show \"version",
        "\"show",
        "\"show\" version",
        "show \"version\"x",
        "show=version",
        "show {version}",
        "\"set",
        "show \xc3\xa4",
        "\xc3\xa4",
        "show version\x01",
        "show\vversion",
        "-1",
    };
    for (size_t i = 0; i < countof(queries); i++)
        assert_syntax_error(queries[i]);
}

/* Nothing stands behind the semicolon: neither a second command nor the argument of the first. */
static void test_one_command_at_a_time(void **state UNUSED)
{
    static const char *const queries[] = {
        "pause;resume", "pause; resume", "pause ; resume;", "show;version", "show ; version ;",
        "reload;;",     "pause;\"db\"",  "set a=b; reload", "set a;=b",     "set;a=b",
    };
    for (size_t i = 0; i < countof(queries); i++)
        assert_syntax_error(queries[i]);
}

static void test_words_are_apart(void **state UNUSED)
{
    assert_syntax_error("pause\"db\"");
    assert_syntax_error("\"pause\"db");
    assert_syntax_error("set\"a\"=1");
    assert_syntax_error("set a tob");
    assert_syntax_error("set ato b");
}

static void test_what_is_no_assignment(void **state UNUSED)
{
    static const char *const queries[] = {
        "set",          "set a",      "set a b",       "set a =",      "set = b",    "set a to",
        "set a to ;",   "set a==b",   "set a=b c",     "set a=b=c",    "set a=1.5",  "set a=-1",
        "set a='b",     "set a='b''", "set a='b'c",    "set a=\"b",    "set 'a'=b",
        "set a \"to\" b",
        "set a tooo b", "set a t b",  "\"set\" a = b", "\"SET\" a",    "\"set\"",    "set a:=b",
        "set a=;",      "set a to(b", "set \"a=b",
    };
    for (size_t i = 0; i < countof(queries); i++)
        assert_syntax_error(queries[i]);
}

/* `length` letters between `before` and `after`. */
static enum grammar_result read_long(const char *before, size_t length, const char *after)
{
    struct command_words words;
    char query[2048];
    size_t at = (size_t) snprintf(query, sizeof(query), "%s", before);
    memset(query + at, 'x', length);
    snprintf(query + at + length, sizeof(query) - at - length, "%s", after);
    enum grammar_result result = grammar_read(query, &words);
    assert_non_null(memchr(words.name, '\0', sizeof(words.name)));
    assert_non_null(memchr(words.argument, '\0', sizeof(words.argument)));
    assert_non_null(memchr(words.value, '\0', sizeof(words.value)));
    return result;
}

static void test_lengths(void **state UNUSED)
{
    static const struct {
        const char *before;
        size_t most;
        const char *after;
    } cases[] = {
        {"", COMMAND_NAME_SIZE - 1, ""},
        {"show ", COMMAND_ARGUMENT_SIZE - 1, ";"},
        {"show \"", COMMAND_ARGUMENT_SIZE - 1, "\""},
        {"set ", COMMAND_ARGUMENT_SIZE - 1, "=1"},
        {"set a=", COMMAND_VALUE_SIZE - 1, ""},
        {"set a='", COMMAND_VALUE_SIZE - 1, "'"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(read_long(cases[i].before, cases[i].most, cases[i].after), GRAMMAR_GOOD);
        assert_int_equal(read_long(cases[i].before, cases[i].most + 1, cases[i].after),
                         GRAMMAR_TOO_LONG);
        assert_int_equal(read_long(cases[i].before, 1500, cases[i].after), GRAMMAR_TOO_LONG);
    }
    assert_int_equal(read_long("", 1500, " ?"), GRAMMAR_SYNTAX_ERROR);
    assert_int_equal(read_long("show \"", 1500, ""), GRAMMAR_SYNTAX_ERROR);
    assert_int_equal(read_long("set a ", 1500, " b"), GRAMMAR_SYNTAX_ERROR);
}

/* A quote counts once, although it is written twice. */
static void test_length_of_doubled_quotes(void **state UNUSED)
{
    struct command_words words;
    char query[2 * COMMAND_ARGUMENT_SIZE + 16] = "pause \"";
    memset(query + 7, '"', 2 * (COMMAND_ARGUMENT_SIZE - 1) + 1);
    assert_int_equal(grammar_read(query, &words), GRAMMAR_GOOD);
    assert_int_equal(strlen(words.argument), COMMAND_ARGUMENT_SIZE - 1);
}

/* What an earlier command left behind does not show through. */
static void test_words_begin_empty(void **state UNUSED)
{
    struct command_words words;
    assert_int_equal(grammar_read("set a=b", &words), GRAMMAR_GOOD);
    assert_int_equal(grammar_read("reload", &words), GRAMMAR_GOOD);
    assert_string_equal(words.argument, "");
    assert_string_equal(words.value, "");
}

static void test_pause(void **state UNUSED)
{
    static const struct {
        const char *query, *argument, *timeout;
        bool until_switchover;
    } cases[] = {
        {"PAUSE", "", "", false},
        {"pause TIMEOUT 5;", "", "5", false},
        {"PAUSE timeout 0.25 ;", "", "0.25", false},
        {"PAUSE app\n timeout\t.5", "app", ".5", false},
        {"PAUSE timeout", "timeout", "", false},
        {"PAUSE timeout TIMEOUT 1", "timeout", "1", false},
        {"PAUSE \"timeout\" TIMEOUT 1", "timeout", "1", false},
        {"PAUSE until", "until", "", false},
        {"PAUSE until timeout 3", "until", "3", false},
        {"PAUSE UNTIL switchover", "", "", true},
        {"PAUSE UNTIL SWITCHOVER TIMEOUT 10;", "", "10", true},
        {"PAUSE \"my-db\" until switchover timeout 10", "my-db", "10", true},
        {"PAUSE switchover UNTIL SWITCHOVER", "switchover", "", true},
    };
    struct command_words words;
    for (size_t i = 0; i < countof(cases); i++) {
        if (grammar_read(cases[i].query, &words) != GRAMMAR_GOOD)
            fail_msg("<%s> was refused", cases[i].query);
        assert_string_equal(words.argument, cases[i].argument);
        assert_string_equal(words.timeout, cases[i].timeout);
        assert_int_equal(words.until_switchover, cases[i].until_switchover);
    }
    assert_syntax_error("PAUSE app TIMEOUT");
    assert_syntax_error("PAUSE app UNTIL");
    assert_syntax_error("PAUSE app UNTIL TIMEOUT 1");
    assert_syntax_error("PAUSE TIMEOUT 1 app");
    assert_syntax_error("PAUSE TIMEOUT 1 UNTIL SWITCHOVER");
    assert_syntax_error("PAUSE TIMEOUT \"1\"");
    assert_syntax_error("PAUSE TIMEOUT 1s");
    assert_syntax_error("PAUSE TIMEOUT 1 TIMEOUT 2");
    assert_syntax_error("RESUME app TIMEOUT 1");
    assert_int_equal(grammar_read("PAUSE TIMEOUT 11111111111111111", &words), GRAMMAR_TOO_LONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_assignments),
        cmocka_unit_test(test_what_is_no_command),
        cmocka_unit_test(test_one_command_at_a_time),
        cmocka_unit_test(test_words_are_apart),
        cmocka_unit_test(test_what_is_no_assignment),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_length_of_doubled_quotes),
        cmocka_unit_test(test_words_begin_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
