/*
 * ini_test.c - sections, keys, values and includes.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/ini.h"

#include "fixture.h"

#include "base/buffer.h"

/* What was found, one line each: "main.ini:1 [section]" or "main.ini:2 section/key=<value>". */
struct seen {
    struct buffer text;
    struct config_report report;
    size_t count;
};

static void add_line(struct seen *seen, struct place place, const char *format, ...)
    PRINTF_LIKE(3, 4);

static void add_line(struct seen *seen, struct place place, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    int length = snprintf(line, sizeof(line), "%s:%u ", place.file, place.line);
    buffer_append(&seen->text, line, (size_t) length);
    va_start(arguments, format);
    length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    assert_in_range(length, 0, sizeof(line) - 1);
    buffer_append(&seen->text, line, (size_t) length);
    buffer_append(&seen->text, "\n", 1);
    seen->count++;
}

static void on_section(void *argument, const char *section, struct place place)
{
    add_line(argument, place, "[%s]", section);
}

static void on_value(void *argument, const char *section, const char *key, const char *value,
                     struct place place)
{
    add_line(argument, place, "%s/%s=<%s>", section, key, value);
}

static const struct ini_ops ops = {.section = on_section, .value = on_value};

static struct seen read_main(void)
{
    struct seen seen = {0};
    ini_read("main.ini", &ops, &seen, &seen.report);
    buffer_append(&seen.text, "", 1);
    assert_no_warnings(&seen.report);
    return seen;
}

static void release(struct seen *seen)
{
    buffer_release(&seen->text);
    config_report_release(&seen->report);
}

static void assert_reads_bytes(const char *text, size_t size, const char *expected)
{
    struct seen seen;
    write_bytes("main.ini", text, size);
    seen = read_main();
    assert_no_errors(&seen.report);
    assert_string_equal((const char *) seen.text.data, expected);
    release(&seen);
}

static void assert_reads(const char *text, const char *expected)
{
    assert_reads_bytes(text, strlen(text), expected);
}

static void assert_refuses_bytes(const char *text, size_t size, const char *error)
{
    struct seen seen;
    write_bytes("main.ini", text, size);
    seen = read_main();
    assert_only_error(&seen.report, error);
    release(&seen);
}

static void assert_refuses(const char *text, const char *error)
{
    assert_refuses_bytes(text, strlen(text), error);
}

/* ---- one file ---- */

static void test_sections_and_values(void **state UNUSED)
{
    assert_reads("[a]\nb = c\n[d]\ne=f\n[a]\ng = h i \n",
                 "main.ini:1 [a]\nmain.ini:2 a/b=<c>\nmain.ini:3 [d]\nmain.ini:4 d/e=<f>\n"
                 "main.ini:5 [a]\nmain.ini:6 a/g=<h i>\n");
}

static void test_nothing(void **state UNUSED)
{
    static const char *const texts[] = {"",          "\n",           " \t\r\n \v\f\n", "; comment",
                                        "# comment", "  ;\n\t#\n;;", ";[a]\n#b=c\n"};
    for (size_t i = 0; i < countof(texts); i++)
        assert_reads(texts[i], "");
}

static void test_blanks(void **state UNUSED)
{
    assert_reads("  [a]  \n \t b \t=\t c \t\r\n\r\n\n d=e", "main.ini:1 [a]\nmain.ini:2 a/b=<c>\n"
                                                      "main.ini:5 a/d=<e>\n");
}

static void test_values(void **state UNUSED)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"k=", "main.ini:1 /k=<>\n"},
        {"k=  ", "main.ini:1 /k=<>\n"},
        {"k = v ; w # x", "main.ini:1 /k=<v ; w # x>\n"},
        {"k=;", "main.ini:1 /k=<;>\n"},
        {"k = 'v'", "main.ini:1 /k=<'v'>\n"},
        {"k = \"v\"", "main.ini:1 /k=<\"v\">\n"},
        {"k = v=w:x", "main.ini:1 /k=<v=w:x>\n"},
        {"k == v", "main.ini:1 /k=<= v>\n"},
        {"k = v \\\n l = w", "main.ini:1 /k=<v \\>\nmain.ini:2 /l=<w>\n"},
        {"k = a\tb\rc", "main.ini:1 /k=<a\tb\rc>\n"},
        {"k = [x]", "main.ini:1 /k=<[x]>\n"},
        {"k = %include x", "main.ini:1 /k=<%include x>\n"},
        {"k = $HOME ~ `x`", "main.ini:1 /k=<$HOME ~ `x`>\n"},
        {"k = \xff\x01", "main.ini:1 /k=<\xff\x01>\n"},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_reads(cases[i].text, cases[i].expected);
}

static void test_keys(void **state UNUSED)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"aZ09_.-* = v", "main.ini:1 /aZ09_.-*=<v>\n"},
        {"* = v", "main.ini:1 /*=<v>\n"},
        {"'my db' = v", "main.ini:1 /my db=<v>\n"},
        {"'a:b'=v", "main.ini:1 /a:b=<v>\n"},
        {"'a=b' = v", "main.ini:1 /a=b=<v>\n"},
        {"'[a]' = v", "main.ini:1 /[a]=<v>\n"},
        {"';' = v", "main.ini:1 /;=<v>\n"},
        {"'\"' = v", "main.ini:1 /\"=<v>\n"},
        {"\"my db\" = v", "main.ini:1 /my db=<v>\n"},
        {"\"a\"\"b\" = v", "main.ini:1 /a\"b=<v>\n"},
        {"\"\"\"\" = v", "main.ini:1 /\"=<v>\n"},
        {"\"it's\" = v", "main.ini:1 /it's=<v>\n"},
        {"'key' = v", "main.ini:1 /key=<v>\n"},
        {"key = v", "main.ini:1 /key=<v>\n"},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_reads(cases[i].text, cases[i].expected);
}

static void test_text_behind_a_section_header(void **state UNUSED)
{
    assert_reads("[a] b = c\n[d];comment\n[e][f] g=h\n",
                 "main.ini:1 [a]\nmain.ini:1 a/b=<c>\nmain.ini:2 [d]\nmain.ini:3 [e]\n"
                 "main.ini:3 [f]\nmain.ini:3 f/g=<h>\n");
}

static void test_names_of_sections(void **state UNUSED)
{
    assert_reads("[]\n[A b]\n[a;b]\n[a=b]\n",
                 "main.ini:1 []\nmain.ini:2 [A b]\nmain.ini:3 [a;b]\nmain.ini:4 [a=b]\n");
}

/* What stands behind it must not be lost without a word. */
static void test_zero_byte(void **state UNUSED)
{
    assert_refuses_bytes("a=b\nc=d\0e=f\ng=h\n", 16, "main.ini:2: syntax error: a zero byte");
    assert_refuses_bytes("\0a=b\n", 5, "main.ini:1: syntax error: a zero byte");
    assert_refuses_bytes("a=b\n\0", 5, "main.ini:2: syntax error: a zero byte");
}

static void test_syntax_errors(void **state UNUSED)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"word", "main.ini:1: syntax error: expected \"key = value\" and found \"word\""},
        {"\n\nword\n\n\n", "main.ini:3: syntax error: expected \"key = value\" and found \"word\""},
        {"a b = c", "main.ini:1: syntax error: expected \"key = value\" and found \"a\""},
        {"a:b = c", "main.ini:1: syntax error: expected \"key = value\" and found \"a:b\""},
        {"\xc3\xa4 = c",
         "main.ini:1: syntax error: expected \"key = value\" and found \"\xc3\xa4\""},
        {"= c", "main.ini:1: syntax error: expected \"key = value\" and found \"\""}, /* no user "" */
        {"'' = c", "main.ini:1: syntax error: expected \"key = value\" and found \"''\""},
        {"\"\" = c", "main.ini:1: syntax error: expected \"key = value\" and found \"\"\"\""},
        {"'a", "main.ini:1: syntax error: expected \"key = value\" and found \"'a\""},
        {"'", "main.ini:1: syntax error: expected \"key = value\" and found \"'\""},
        {"\"a\"\"", "main.ini:1: syntax error: expected \"key = value\" and found \"\"a\"\"\""},
        {"\"a\"", "main.ini:1: syntax error: expected \"key = value\" and found \"\"a\"\""},
        {"'a=b", "main.ini:1: syntax error: expected \"key = value\" and found \"'a\""},
        {"'a''b' = c", "main.ini:1: syntax error: expected \"key = value\" and found \"'a''b'\""},
        {"'a'b = c", "main.ini:1: syntax error: expected \"key = value\" and found \"'a'b\""},
        {"]", "main.ini:1: syntax error: expected \"key = value\" and found \"]\""},
        {"%include", "main.ini:1: syntax error: expected \"key = value\" and found \"%include\""},
        {"%includex y",
         "main.ini:1: syntax error: expected \"key = value\" and found \"%includex\""},
        {"%INCLUDE y", "main.ini:1: syntax error: expected \"key = value\" and found \"%INCLUDE\""},
        {"\xef\xbb\xbf[a]",
         "main.ini:1: syntax error: expected \"key = value\" and found \"\xef\xbb\xbf[a]\""},
        {"[a", "main.ini:1: syntax error: a section header without its \"]\""},
        {"[a]]", "main.ini:1: syntax error: expected \"key = value\" and found \"]\""},
        {"[a] word", "main.ini:1: syntax error: expected \"key = value\" and found \"word\""},
        {"[a][", "main.ini:1: syntax error: a section header without its \"]\""},
    };
    for (size_t i = 0; i < countof(cases); i++)
        assert_refuses(cases[i].text, cases[i].error);
}

/* All of them are found, and what is right between them is read. */
static void test_errors_do_not_end_it(void **state UNUSED)
{
    struct seen seen;
    write_text("main.ini", "wrong\na = b\n[wrong\nc = d\nwrong");
    seen = read_main();
    assert_int_equal(seen.report.error_count, 3);
    assert_string_equal((const char *) seen.text.data, "main.ini:2 /a=<b>\nmain.ini:4 /c=<d>\n");
    release(&seen);
}

static void test_no_password_in_an_error(void **state UNUSED)
{
    struct seen seen;
    write_text("main.ini", "app host=127.0.0.1 password=hunter2\n'app host=1 password=hunter2\n"
                           "[databases] app password=hunter2\n");
    seen = read_main();
    assert_int_equal(seen.report.error_count, 3);
    for (size_t i = 0; i < seen.report.error_count; i++)
        assert_null(strstr(seen.report.errors[i], "hunter2"));
    release(&seen);
}

static void test_long_first_word_is_cut(void **state UNUSED)
{
    char *text = repeat('/', 1000000);
    assert_refuses(text, "main.ini:1: syntax error: expected \"key = value\" and found "
                         "\"////////////////////////////////////////\"");
    free(text);
}

/* ---- sizes ---- */

static size_t longest;

static void measure_section(void *argument UNUSED, const char *section, struct place place UNUSED)
{
    longest = strlen(section) > longest ? strlen(section) : longest;
}

static void measure_value(void *argument, const char *section UNUSED, const char *key,
                          const char *value, struct place place)
{
    size_t length = strlen(key) + strlen(value);
    longest = length > longest ? length : longest;
    if (strcmp(key, "after") == 0)
        assert_int_equal(place.line, *(unsigned *) argument);
}

static size_t measure_main(unsigned last_line)
{
    static const struct ini_ops measure = {.section = measure_section, .value = measure_value};
    struct config_report report = {0};
    longest = 0;
    ini_read("main.ini", &measure, &last_line, &report);
    assert_no_errors(&report);
    return longest;
}

/* Around the sizes at which buffers are read and grown. */
static void test_long_lines(void **state UNUSED)
{
    static const size_t sizes[] = {1,    48,   49,    50,    51,    198,    199,     200,   201,
                                   398,  399,  400,   4095,  4096,  65535,  65536,   65537, 131072,
                                   1000000};
    for (size_t i = 0; i < countof(sizes); i++) {
        char *filler = repeat('x', sizes[i]);
        size_t size = 2 * sizes[i] + 32;
        char *text = malloc(size);
        assert_non_null(text);
        snprintf(text, size, "%s = %s\nafter = 1\n", filler, filler);
        write_text("main.ini", text);
        assert_int_equal(measure_main(2), 2 * sizes[i] > 6 ? 2 * sizes[i] : 6);
        free(text);
        free(filler);
    }
}

static void test_long_section(void **state UNUSED)
{
    char *text = repeat('x', 100001);
    text[0] = '[';
    text[100000] = ']';
    write_text("main.ini", text);
    assert_in_range(measure_main(0), 49, 100000); /* inih keeps 49 bytes; no known name is longer */
    free(text);
}

static void test_many_lines(void **state UNUSED)
{
    enum { COUNT = 100000 };
    FILE *stream = fopen("main.ini", "w");
    struct seen seen;
    assert_non_null(stream);
    for (int i = 0; i < COUNT; i++)
        fprintf(stream, "db%d = host=10.0.0.1\n", i);
    fclose(stream);
    seen = read_main();
    assert_no_errors(&seen.report);
    assert_int_equal(seen.count, COUNT);
    release(&seen);
}

static void test_binary_file(void **state UNUSED)
{
    struct seen seen;
    static char bytes[100000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char) (i * 2654435761U >> 16 | 1);
    write_bytes("main.ini", bytes, sizeof(bytes));
    seen = read_main();
    assert_in_range(seen.report.error_count, 1, CONFIG_REPORT_MAX + 1);
    release(&seen);
}

/* ---- includes ---- */

static void test_include(void **state UNUSED)
{
    write_text("more.ini", "c = d\n[x]\ne = f");
    assert_reads("[a]\n%include more.ini\ng = h\n  %include \t more.ini \t\r\ni = j\n",
                 "main.ini:1 [a]\nmore.ini:1 a/c=<d>\nmore.ini:2 [x]\nmore.ini:3 x/e=<f>\n"
                 "main.ini:3 x/g=<h>\nmore.ini:1 x/c=<d>\nmore.ini:2 [x]\nmore.ini:3 x/e=<f>\n"
                 "main.ini:5 x/i=<j>\n");
}

static void test_include_of_nothing(void **state UNUSED)
{
    write_text("more.ini", "");
    assert_reads("a=b\n%include more.ini\nc=d\n%include /dev/null\ne=f\n%include more.ini",
                 "main.ini:1 /a=<b>\nmain.ini:3 /c=<d>\nmain.ini:5 /e=<f>\n");
}

static void test_include_behind_a_section_header(void **state UNUSED)
{
    write_text("more.ini", "b = c\n");
    assert_reads("[a] %include more.ini\nd = e\n",
                 "main.ini:1 [a]\nmore.ini:1 a/b=<c>\nmain.ini:2 a/d=<e>\n");
}

static void test_names_of_includes(void **state UNUSED)
{
    write_text("a file.ini", "a = b\n");
    assert_reads("%include a file.ini", "a file.ini:1 /a=<b>\n");
    assert_refuses("%include 'a file.ini'",
                   "main.ini:1: could not load file \"'a file.ini'\": No such file or directory");
    assert_refuses("%include $HOME/x",
                   "main.ini:1: could not load file \"$HOME/x\": No such file or directory");
}

static void test_zero_byte_in_an_included_file(void **state UNUSED)
{
    write_bytes("more.ini", "a=b\0c=d", 7);
    assert_refuses("%include more.ini\ne=f", "more.ini:1: syntax error: a zero byte");
}

static void test_error_in_an_included_file(void **state UNUSED)
{
    write_text("more.ini", "\nwrong\n");
    assert_refuses("a=b\n%include more.ini\nc=d\n",
                   "more.ini:2: syntax error: expected \"key = value\" and found \"wrong\"");
}

static void test_files_that_cannot_be_included(void **state UNUSED)
{
    assert_int_equal(mkdir("folder", 0700), 0);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_refuses("a=b\n%include missing.ini\nc=d",
                   "main.ini:2: could not load file \"missing.ini\": No such file or directory");
    assert_refuses("%include folder", "main.ini:1: could not load file \"folder\": Is a directory");
    assert_refuses("%include pipe", "main.ini:1: could not load file \"pipe\": No such device");
    assert_refuses("%include /dev/zero",
                   "main.ini:1: could not load file \"/dev/zero\": No such device");
}

static void test_file_that_cannot_be_read(void **state UNUSED)
{
    struct seen seen = {0};
    ini_read("missing.ini", &ops, &seen, &seen.report);
    assert_only_error(&seen.report,
                      "could not load file \"missing.ini\": No such file or directory");
    assert_int_equal(seen.count, 0);
    release(&seen);
}

/* main.ini includes 1.ini, and so on to `deepest`. */
static void write_nested(int deepest)
{
    for (int i = 0; i <= deepest; i++) {
        char file[16], text[64];
        snprintf(file, sizeof(file), i == 0 ? "main.ini" : "%d.ini", i);
        snprintf(text, sizeof(text), i == deepest ? "a=b\n" : "%%include %d.ini\nx=y\n", i + 1);
        write_text(file, text);
    }
}

static void test_ten_levels(void **state UNUSED)
{
    struct seen seen;
    write_nested(10);
    seen = read_main();
    assert_no_errors(&seen.report);
    assert_int_equal(seen.count, 11);
    release(&seen);
}

static void test_eleven_levels(void **state UNUSED)
{
    struct seen seen;
    write_nested(11);
    seen = read_main();
    assert_only_error(&seen.report, "10.ini:1: include nesting level too deep: \"11.ini\"; "
                                    "the rest was not read");
    assert_int_equal(seen.count, 0);
    release(&seen);
}

/* Work is bounded by the depth: eleven times the lines, not their eleventh power. */
static void test_loop_of_includes(void **state UNUSED)
{
    FILE *stream = fopen("main.ini", "w");
    struct seen seen;
    assert_non_null(stream);
    for (int i = 0; i < 40000; i++)
        fprintf(stream, "a = b\n%%include main.ini\n");
    fclose(stream);
    seen = read_main();
    assert_only_error(&seen.report, "main.ini:2: include nesting level too deep: \"main.ini\"; "
                                    "the rest was not read");
    assert_int_equal(seen.count, 11);
    release(&seen);
}

static void test_loop_behind_a_section_header(void **state UNUSED)
{
    struct seen seen;
    write_text("main.ini", "[a] %include main.ini\n[b]\n");
    seen = read_main();
    assert_int_equal(seen.report.error_count, 1);
    assert_int_equal(seen.count, 11);
    release(&seen);
}

static void test_file_that_everybody_may_change(void **state UNUSED)
{
    struct config_report report = {0};
    struct seen seen = {0};
    write_text("main.ini", "%include more.ini");
    write_text("more.ini", "a=b");
    assert_int_equal(chmod("more.ini", 0666), 0);
    ini_read("main.ini", &ops, &seen, &report);
    assert_only_warning(&report,
                        "more.ini: everybody may change this file; chmod o-w takes the right away");
    assert_no_errors(&report);
    config_report_release(&report);
    release(&seen);
    assert_int_equal(unlink("more.ini"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sections_and_values),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_blanks),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_text_behind_a_section_header),
        cmocka_unit_test(test_names_of_sections),
        cmocka_unit_test(test_zero_byte),
        cmocka_unit_test(test_syntax_errors),
        cmocka_unit_test(test_errors_do_not_end_it),
        cmocka_unit_test(test_no_password_in_an_error),
        cmocka_unit_test(test_long_first_word_is_cut),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_long_section),
        cmocka_unit_test(test_many_lines),
        cmocka_unit_test(test_binary_file),
        cmocka_unit_test(test_include),
        cmocka_unit_test(test_include_of_nothing),
        cmocka_unit_test(test_include_behind_a_section_header),
        cmocka_unit_test(test_names_of_includes),
        cmocka_unit_test(test_zero_byte_in_an_included_file),
        cmocka_unit_test(test_error_in_an_included_file),
        cmocka_unit_test(test_files_that_cannot_be_included),
        cmocka_unit_test(test_file_that_cannot_be_read),
        cmocka_unit_test(test_ten_levels),
        cmocka_unit_test(test_eleven_levels),
        cmocka_unit_test(test_loop_of_includes),
        cmocka_unit_test(test_loop_behind_a_section_header),
        cmocka_unit_test(test_file_that_everybody_may_change),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
