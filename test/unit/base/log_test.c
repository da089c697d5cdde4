/*
 * log_test.c - the lines of the log and where they go.
 *
 * The source is part of this file, so that the calls of the system can be looked at.
 *
 * SPDX-License-Identifier: ISC
 */
/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

/* ---- what the source calls ---- */

/* What the next calls of write() do: bytes to take, or minus an errno. */
static const int *write_plan;
static size_t write_plan_size;

static ssize_t planned_write(int fd, const void *bytes, size_t size)
{
    int step;
    if (write_plan_size == 0)
        return write(fd, bytes, size);
    step = *write_plan++;
    write_plan_size--;
    if (step < 0)
        errno = -step;
    return step < 0 ? -1 : write(fd, bytes, (size_t) step);
}

static struct {
    char ident[64], text[512];
    int priority, facility;
    unsigned opened, closed, lines;
} syslog_seen;

static void seen_openlog(const char *ident, int option, int facility)
{
    assert_int_equal(option, LOG_PID);
    snprintf(syslog_seen.ident, sizeof(syslog_seen.ident), "%s", ident);
    syslog_seen.facility = facility;
    syslog_seen.opened++;
}

static void seen_closelog(void)
{
    syslog_seen.closed++;
}

static void seen_syslog(int priority, const char *format, const char *text)
{
    assert_string_equal(format, "%s");
    snprintf(syslog_seen.text, sizeof(syslog_seen.text), "%s", text);
    syslog_seen.priority = priority;
    syslog_seen.lines++;
}

#define write    planned_write
#define openlog  seen_openlog
#define closelog seen_closelog
#undef syslog /* some compilers make a macro of it */
#define syslog   seen_syslog
#include "../../../src/base/log.c"
#undef write
#undef syslog

/* ---- a log in a folder of its own ---- */

static char folder[64], log_file[80];
static char content[65536];

static int make_folder(void **unused UNUSED)
{
    snprintf(folder, sizeof(folder), "/tmp/log_test.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(log_file, sizeof(log_file), "%s/log", folder);
    return 0;
}

static int remove_folder(void **unused UNUSED)
{
    return rmdir(folder);
}

static struct log_options options_for(const char *file)
{
    return (struct log_options){.file = file};
}

static int open_file(void **unused UNUSED)
{
    struct log_options options = options_for(log_file);
    memset(&syslog_seen, 0, sizeof(syslog_seen));
    return log_configure(&options) ? 0 : 1;
}

static int close_file(void **unused UNUSED)
{
    log_close();
    return unlink(log_file);
}

/* The whole file; also its length, for zeros. */
static size_t read_file(const char *file)
{
    FILE *stream = fopen(file, "r");
    size_t size;
    assert_non_null(stream);
    size = fread(content, 1, sizeof(content) - 1, stream);
    content[size] = '\0';
    fclose(stream);
    return size;
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    bool found;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

/* What stands behind time, process and level in the only line; its newline is cut off. */
static const char *logged_message(void)
{
    size_t size = read_file(log_file);
    char *at = strstr(content, "] ");
    assert_true(size > 0 && content[size - 1] == '\n');
    content[size - 1] = '\0';
    assert_non_null(at);
    at = strchr(at + 2, ' ');
    assert_non_null(at);
    assert_int_equal(truncate(log_file, 0), 0);
    return at + 1;
}

static void assert_logged_as(const char *message, const char *expected)
{
    log_info(NULL, "%s", message);
    assert_string_equal(logged_message(), expected);
}

/* ---- the line ---- */

static void test_line(void **unused UNUSED)
{
    char pattern[160];
    log_info(NULL, "hello %d %s", 7, "world");
    read_file(log_file);
    snprintf(pattern, sizeof(pattern),
             "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} [^ ]+ \\[%d\\] "
             "LOG hello 7 world\n$",
             (int) getpid());
    assert_true(matches(content, pattern));
}

static void test_names_of_the_levels(void **unused UNUSED)
{
    static const char *const names[] = {"FATAL", "ERROR", "WARNING", "LOG", "DEBUG", "NOISE"};
    for (enum log_level level = LEVEL_FATAL; level <= LEVEL_NOISE; level++) {
        char expected[32];
        log_write(level, NULL, "text");
        read_file(log_file);
        snprintf(expected, sizeof(expected), "] %s text\n", names[level]);
        assert_non_null(strstr(content, expected));
        assert_int_equal(truncate(log_file, 0), 0);
    }
}

static size_t describe_client(const struct log_subject *subject UNUSED, char *ret_text, size_t size)
{
    return (size_t) snprintf(ret_text, size, "C-0x1: app/bob@10.0.0.7:40112");
}

static size_t describe_long(const struct log_subject *subject UNUSED, char *ret_text, size_t size)
{
    memset(ret_text, 'p', size - 1);
    ret_text[size - 1] = '\0';
    return 5000; /* as snprintf() says what it would have written */
}

static void test_subject(void **unused UNUSED)
{
    struct log_subject subject = {.describe = describe_client};
    log_info(&subject, "closing because: %s", "x");
    assert_string_equal(logged_message(), "C-0x1: app/bob@10.0.0.7:40112 closing because: x");
    subject.describe = NULL;
    log_info(&subject, "text");
    assert_string_equal(logged_message(), "text");
}

static void test_long_subject_leaves_room_for_the_message(void **unused UNUSED)
{
    struct log_subject subject = {.describe = describe_long};
    char text[MESSAGE_MAX + 1];
    const char *logged;
    memset(text, 'm', MESSAGE_MAX);
    text[MESSAGE_MAX] = '\0';
    log_info(&subject, "%s", text);
    logged = logged_message();
    assert_int_equal(strlen(logged), PREFIX_MAX - 1 + 1 + MESSAGE_MAX);
    assert_int_equal(strspn(logged, "p"), PREFIX_MAX - 1);
    assert_string_equal(logged + PREFIX_MAX, text);
}

static void test_message_is_cut(void **unused UNUSED)
{
    char text[5001];
    memset(text, 'x', 5000);
    text[5000] = '\0';
    log_info(NULL, "%s", text);
    assert_int_equal(strlen(logged_message()), 2047);
}

/* All of what is left after the cut is there, even if every byte has to be escaped. */
static void test_message_of_escapes_is_whole(void **unused UNUSED)
{
    struct log_subject subject = {.describe = describe_long};
    char text[MESSAGE_MAX + 1];
    memset(text, '\x1b', MESSAGE_MAX);
    text[MESSAGE_MAX] = '\0';
    log_info(&subject, "%s", text);
    assert_int_equal(strlen(logged_message()), PREFIX_MAX + 4 * MESSAGE_MAX);
}

/* ---- what peers write into it ---- */

static void test_control_characters(void **unused UNUSED)
{
    assert_logged_as("a\x1b[31mb", "a\\x1b[31mb");
    assert_logged_as("a\rb", "a\\x0db");
    assert_logged_as("\x01\x02\x1f\x7f.", "\\x01\\x02\\x1f\\x7f.");
    assert_logged_as("a\tb", "a\tb");
    assert_logged_as("\\x1b", "\\x1b");
}

/* Nobody can forge a line: an event is one. */
static void test_newlines(void **unused UNUSED)
{
    assert_logged_as("one\ntwo\n\nthree", "one\\x0atwo\\x0a\\x0athree");
    assert_logged_as("bob\n2026-01-01 00:00:00.000 UTC [1] FATAL forged",
                     "bob\\x0a2026-01-01 00:00:00.000 UTC [1] FATAL forged");
}

static void test_blanks_at_the_end(void **unused UNUSED)
{
    assert_logged_as("text \t\r\n\v\f\n", "text");
    assert_logged_as(" text", " text");
    log_info(NULL, "%s", "\n \n");
    assert_string_equal(logged_message(), "");
}

static void test_format_in_a_text_is_text(void **unused UNUSED)
{
    assert_logged_as("%s%n%1000000d", "%s%n%1000000d");
}

static void test_utf8_stays(void **unused UNUSED)
{
    static const char *const texts[] = {
        "\xc3\xa4",                                 /* U+00E4 */
        "\xc2\xa0.",                                /* U+00A0, the first after the controls */
        "\xdf\xbf",         "\xe0\xa0\x80",         /* U+07FF, U+0800 */
        "\xe2\x82\xac",     "\xed\x9f\xbf",         /* the euro sign, U+D7FF */
        "\xee\x80\x80",     "\xef\xbf\xbf",         /* U+E000, U+FFFF */
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf",     /* U+10000, U+10FFFF */
        "\xc3\xa4\xc3\xb6", ("a\xf0\x9f\x98\x80" "b"),
    };
    for (size_t i = 0; i < countof(texts); i++)
        assert_logged_as(texts[i], texts[i]);
}

static void test_what_is_not_utf8(void **unused UNUSED)
{
    assert_logged_as("\xe4.", "\\xe4.");
    assert_logged_as("\x80", "\\x80");
    assert_logged_as("\xbf", "\\xbf");
    assert_logged_as("\xff\xfe\xf8\x88", "\\xff\\xfe\\xf8\\x88");
    assert_logged_as("\xc3", "\\xc3");
    assert_logged_as("\xe2\x82", "\\xe2\\x82");
    assert_logged_as("\xe2\x82x", "\\xe2\\x82x");
    assert_logged_as("\xf0\x9f\x98\xc3\xa4", "\\xf0\\x9f\\x98\xc3\xa4");
    assert_logged_as("\xc0\x8a", "\\xc0\\x8a");                 /* a newline in two bytes */
    assert_logged_as("\xc1\xbf", "\\xc1\\xbf");                 /* DEL in two bytes */
    assert_logged_as("\xe0\x82\x9b", "\\xe0\\x82\\x9b");        /* CSI in three bytes */
    assert_logged_as("\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf");
    assert_logged_as("\xed\xa0\x80", "\\xed\\xa0\\x80");        /* surrogates */
    assert_logged_as("\xed\xbf\xbf", "\\xed\\xbf\\xbf");
    assert_logged_as("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* beyond U+10FFFF */
}

/* In UTF-8 too they drive terminals: U+009B is what ESC [ is. */
static void test_control_characters_beyond_ascii(void **unused UNUSED)
{
    assert_logged_as("\xc2\x80", "\\xc2\\x80");
    assert_logged_as("\xc2\x9b" "31m", "\\xc2\\x9b31m");
    assert_logged_as("\xc2\x9f", "\\xc2\\x9f");
}

/* The cut may go through a character; what is left of it is visible. */
static void test_cut_character(void **unused UNUSED)
{
    char text[2 * MESSAGE_MAX];
    const char *logged;
    for (size_t i = 0; i + 2 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xa4", 3);
    log_info(NULL, "%s", text);
    logged = logged_message();
    assert_int_equal(strlen(logged), MESSAGE_MAX - 1 + 4);
    assert_string_equal(logged + MESSAGE_MAX - 1, "\\xc3");
}

/* The parts of a subject are chosen by peers, too. */
static size_t describe_hostile(const struct log_subject *subject UNUSED, char *ret_text,
                               size_t size)
{
    return (size_t) snprintf(ret_text, size, "C: a\x1b/b\nc\xff%%s");
}

static void test_hostile_subject(void **unused UNUSED)
{
    struct log_subject subject = {.describe = describe_hostile};
    log_info(&subject, "x");
    assert_string_equal(logged_message(), "C: a\\x1b/b\\x0a" "c\\xff%s x");
}

/* ---- levels ---- */

static unsigned evaluated;

static int evaluate(void)
{
    return (int) ++evaluated;
}

static void test_levels(void **unused UNUSED)
{
    static const struct {
        int verbose;
        enum log_level last;
    } cases[] = {{-1, LEVEL_LOG},
                 {0, LEVEL_LOG},
                 {1, LEVEL_DEBUG},
                 {2, LEVEL_NOISE},
                 {9, LEVEL_NOISE}};
    for (size_t i = 0; i < countof(cases); i++) {
        log_set_verbose(cases[i].verbose);
        for (enum log_level level = LEVEL_FATAL; level <= LEVEL_NOISE; level++)
            assert_int_equal(log_level_enabled(level), level <= cases[i].last);
    }
}

static void test_a_line_that_is_off_costs_nothing(void **unused UNUSED)
{
    log_set_verbose(0);
    log_debug(NULL, "%d", evaluate());
    log_noise(NULL, "%d", evaluate());
    assert_int_equal(evaluated, 0);
    assert_int_equal(read_file(log_file), 0);
    log_set_verbose(2);
    log_noise(NULL, "%d", evaluate());
    log_debug(NULL, "%d", evaluate());
    log_warn(NULL, "%d", evaluate());
    log_error(NULL, "%d", evaluate());
    assert_int_equal(evaluated, 4);
    log_set_verbose(0);
}

static void test_errno_stays(void **unused UNUSED)
{
    static const int plan[] = {-ENOSPC};
    write_plan = plan;
    write_plan_size = countof(plan);
    errno = ECHILD;
    log_info(NULL, "text");
    assert_int_equal(errno, ECHILD);
}

/* ---- where it goes ---- */

static void test_lines_are_appended(void **unused UNUSED)
{
    struct log_options options = options_for(log_file);
    struct stat status;
    log_info(NULL, "one");
    assert_true(log_configure(&options));
    log_info(NULL, "two");
    read_file(log_file);
    assert_true(matches(content, "LOG one\n.* LOG two\n$"));
    assert_int_equal(stat(log_file, &status), 0);
    assert_int_equal(status.st_mode & 0133, 0); /* nothing beyond rw-r--r-- */
}

/* Rotation: the file is moved away, then everything is configured again. */
static void test_reopening(void **unused UNUSED)
{
    struct log_options options = options_for(log_file);
    char moved[sizeof(log_file) + 2];
    snprintf(moved, sizeof(moved), "%s.1", log_file);
    log_info(NULL, "one");
    assert_int_equal(rename(log_file, moved), 0);
    log_info(NULL, "two");
    assert_true(log_configure(&options));
    log_info(NULL, "three");
    read_file(moved);
    assert_true(matches(content, "LOG one\n.* LOG two\n$"));
    assert_string_equal(logged_message(), "three");
    assert_int_equal(unlink(moved), 0);
}

static void test_file_that_cannot_be_opened(void **unused UNUSED)
{
    char missing[sizeof(folder) + 16];
    struct log_options options = {.file = missing, .verbose = 2, .to_syslog = true};
    snprintf(missing, sizeof(missing), "%s/missing/log", folder);
    errno = 0;
    assert_false(log_configure(&options));
    assert_int_equal(errno, ENOENT);
    assert_false(log_level_enabled(LEVEL_DEBUG));
    assert_int_equal(syslog_seen.opened, 0);
    log_info(NULL, "still here");
    assert_string_equal(logged_message(), "still here");
    options.file = folder;
    assert_false(log_configure(&options));
    assert_int_equal(errno, EISDIR);
}

static void test_no_file(void **unused UNUSED)
{
    struct log_options options = options_for(NULL);
    assert_true(log_configure(&options));
    log_info(NULL, "nowhere");
    options.file = "";
    assert_true(log_configure(&options));
    log_info(NULL, "nowhere");
    assert_int_equal(read_file(log_file), 0);
}

static void test_short_and_interrupted_writes(void **unused UNUSED)
{
    static const int plan[] = {3, -EINTR, 5, -EINTR};
    write_plan = plan;
    write_plan_size = countof(plan);
    log_info(NULL, "whole");
    assert_int_equal(write_plan_size, 0);
    assert_string_equal(logged_message(), "whole");
}

/* A full disk costs the line, not the process. */
static void test_failed_writes(void **unused UNUSED)
{
    static const int plan[] = {-ENOSPC, 3, -EIO, 0};
    write_plan = plan;
    write_plan_size = countof(plan);
    log_info(NULL, "lost");
    log_info(NULL, "cut");
    log_info(NULL, "lost");
    assert_int_equal(write_plan_size, 0);
    assert_int_equal(read_file(log_file), 3);
}

static void test_stderr(void **unused UNUSED)
{
    struct log_options options = {.to_stderr = true};
    int saved = dup(STDERR_FILENO);
    assert_non_null(freopen(log_file, "a", stderr));
    assert_true(log_configure(&options));
    log_info(NULL, "seen");
    options.to_stderr = false;
    assert_true(log_configure(&options));
    log_info(NULL, "not seen");
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    assert_string_equal(logged_message(), "seen");
}

static void test_closing(void **unused UNUSED)
{
    log_close();
    log_info(NULL, "nowhere");
    log_close();
    assert_int_equal(read_file(log_file), 0);
}

static void test_fatal_ends_the_process(void **unused UNUSED)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        /* Without what the test framework would do at the end. */
        atexit(log_close);
        log_fatal("cannot %s", "go on");
    }
    assert_true(waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    read_file(log_file);
    assert_true(matches(content, "] FATAL cannot go on\n$"));
}

/* ---- syslog ---- */

static void use_syslog(const char *ident, const char *facility)
{
    struct log_options options = {.to_syslog = true,
                                  .syslog_ident = ident,
                                  .syslog_facility = facility,
                                  .verbose = 2};
    assert_true(log_configure(&options));
}

static void test_syslog_gets_the_message_alone(void **unused UNUSED)
{
    struct log_subject subject = {.describe = describe_client};
    use_syslog("weir", "local3");
    assert_string_equal(syslog_seen.ident, "weir");
    assert_int_equal(syslog_seen.facility, LOG_LOCAL3);
    log_info(&subject, "text");
    assert_string_equal(syslog_seen.text, "C-0x1: app/bob@10.0.0.7:40112 text");
}

static void test_syslog_gets_no_control_characters(void **unused UNUSED)
{
    use_syslog("weir", "daemon");
    log_info(NULL, "%s", "a\x1b" "b\nc\xff\n");
    assert_string_equal(syslog_seen.text, "a\\x1b" "b\\x0a" "c\\xff");
}

static void test_syslog_priorities(void **unused UNUSED)
{
    static const int priorities[] = {LOG_CRIT, LOG_ERR, LOG_WARNING, LOG_INFO};
    use_syslog("weir", "daemon");
    for (enum log_level level = LEVEL_FATAL; level <= LEVEL_LOG; level++) {
        log_write(level, NULL, "text");
        assert_int_equal(syslog_seen.priority, priorities[level]);
    }
    assert_int_equal(syslog_seen.lines, 4);
    log_write(LEVEL_DEBUG, NULL, "text");
    log_write(LEVEL_NOISE, NULL, "text");
    assert_int_equal(syslog_seen.lines, 4);
}

static void test_syslog_facilities(void **unused UNUSED)
{
    static const struct {
        const char *name;
        int facility;
    } cases[] = {
        {"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"daemon", LOG_DAEMON},
        {"user", LOG_USER},     {"local0", LOG_LOCAL0},     {"local1", LOG_LOCAL1},
        {"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3},     {"local4", LOG_LOCAL4},
        {"local5", LOG_LOCAL5}, {"local6", LOG_LOCAL6},     {"local7", LOG_LOCAL7},
        {"LOCAL7", LOG_LOCAL7}, {"nonsense", LOG_DAEMON},   {"", LOG_DAEMON},
        {NULL, LOG_DAEMON},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        use_syslog("weir", cases[i].name);
        assert_int_equal(syslog_seen.facility, cases[i].facility);
    }
}

static void test_syslog_is_opened_again(void **unused UNUSED)
{
    struct log_options none = {0};
    use_syslog("one", "daemon");
    use_syslog("two", "user");
    assert_string_equal(syslog_seen.ident, "two");
    assert_int_equal(syslog_seen.opened, 2);
    assert_int_equal(syslog_seen.closed, 1);
    assert_true(log_configure(&none));
    assert_int_equal(syslog_seen.closed, 2);
    log_info(NULL, "nowhere");
    assert_int_equal(syslog_seen.lines, 0);
}

#define log_unit_test(test) cmocka_unit_test_setup_teardown(test, open_file, close_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        log_unit_test(test_line),
        log_unit_test(test_names_of_the_levels),
        log_unit_test(test_subject),
        log_unit_test(test_long_subject_leaves_room_for_the_message),
        log_unit_test(test_message_is_cut),
        log_unit_test(test_message_of_escapes_is_whole),
        log_unit_test(test_control_characters),
        log_unit_test(test_newlines),
        log_unit_test(test_blanks_at_the_end),
        log_unit_test(test_format_in_a_text_is_text),
        log_unit_test(test_utf8_stays),
        log_unit_test(test_what_is_not_utf8),
        log_unit_test(test_control_characters_beyond_ascii),
        log_unit_test(test_cut_character),
        log_unit_test(test_hostile_subject),
        log_unit_test(test_levels),
        log_unit_test(test_a_line_that_is_off_costs_nothing),
        log_unit_test(test_errno_stays),
        log_unit_test(test_lines_are_appended),
        log_unit_test(test_reopening),
        log_unit_test(test_file_that_cannot_be_opened),
        log_unit_test(test_no_file),
        log_unit_test(test_short_and_interrupted_writes),
        log_unit_test(test_failed_writes),
        log_unit_test(test_stderr),
        log_unit_test(test_closing),
        log_unit_test(test_fatal_ends_the_process),
        log_unit_test(test_syslog_gets_the_message_alone),
        log_unit_test(test_syslog_gets_no_control_characters),
        log_unit_test(test_syslog_priorities),
        log_unit_test(test_syslog_facilities),
        log_unit_test(test_syslog_is_opened_again),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
