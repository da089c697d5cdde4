/*
 * startup_test.c - the untyped packets that a client may send first.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/startup.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"

#define BYTES(literal) literal, sizeof(literal) - 1

static const char no_failure[] = "";

/* ---- the header ---- */

static void test_known_packets(void **state UNUSED)
{
    static const struct {
        const char *bytes;
        enum startup_kind kind;
        size_t size;
        unsigned minor_version;
    } cases[] = {
        {"\0\0\0\x08\x04\xd2\x16\x2f", STARTUP_SSL_REQUEST, 8, 0x162f},
        {"\0\0\0\x08\x04\xd2\x16\x30", STARTUP_GSS_REQUEST, 8, 0x1630},
        {"\0\0\0\x10\x04\xd2\x16\x2e", STARTUP_CANCEL_REQUEST, 16, 0x162e},
        {"\0\0\0\x08\0\x03\0\0", STARTUP_MESSAGE, 8, 0},
        {"\0\0\0\x09\0\x03\0\0", STARTUP_MESSAGE, 9, 0},
        {"\0\0\0\x29\0\x03\0\x02", STARTUP_MESSAGE, 41, 2},
        {"\0\0\0\x29\0\x03\xff\xff", STARTUP_MESSAGE, 41, 65535},
        {"\0\0\x27\x10\0\x03\0\0", STARTUP_MESSAGE, 10000, 0},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct failure failure = {0};
        struct startup_packet packet =
            startup_read_header((const uint8_t *) cases[i].bytes, 8, &failure);
        assert_int_equal(packet.kind, cases[i].kind);
        assert_int_equal(packet.size, cases[i].size);
        assert_int_equal(packet.minor_version, cases[i].minor_version);
        assert_string_equal(failure.message, no_failure);
    }
}

static void test_eight_bytes_are_needed(void **state UNUSED)
{
    for (size_t size = 0; size < 8; size++) {
        struct failure failure = {0};
        struct startup_packet packet =
            startup_read_header((const uint8_t *) "\0\0\0\x29\0\x03\0", size, &failure);
        assert_int_equal(packet.kind, STARTUP_MORE);
        assert_string_equal(failure.message, no_failure);
    }
}

/* Nothing is waited for or allocated because of a length that cannot be right. */
static void test_broken_headers(void **state UNUSED)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *message;
    } cases[] = {
        {BYTES("\0\0\0\0\0\x03\0\0"), "bad packet header: '0000000000030000'"},
        {BYTES("\0\0\0\x01\0\x03\0\0"), "bad packet header: '0000000100030000'"},
        {BYTES("\0\0\0\x04\0\x03\0\0"), "bad packet header: '0000000400030000'"},
        {BYTES("\0\0\0\x07\0\x03\0\0"), "bad packet header: '0000000700030000'"},
        {BYTES("\0\0\x27\x11\0\x03\0\0"), "bad packet header: '0000271100030000'"},
        {BYTES("\0\x01\0\0\0\x03\0\0"), "bad packet header: '0001000000030000'"},
        {BYTES("\0\0\0\x29\0\x04\0\0user"), "bad packet header: '0000002900040000'"},
        {BYTES("\0\0\0\x29\0\x01\0\0"), "bad packet header: '0000002900010000'"},
        {BYTES("\0\0\0\x29\0\x02\0\0"), "old V2 protocol not supported"},
        {BYTES("\0\0\0\0\0\x02\0\0"), "old V2 protocol not supported"},
        {BYTES("\0\0\0\0\0\0\0\0"), "bad packet header: '0000000000000000'"},
        {BYTES("\0\0\0\x07\x04\xd2\x16\x2f"), "bad packet header: '0000000704d2162f'"},
        {BYTES("\0\0\0\x09\x04\xd2\x16\x2f\0"), "bad packet header: '0000000904d2162f'"},
        {BYTES("\0\0\0\x10\x04\xd2\x16\x2f"), "bad packet header: '0000001004d2162f'"},
        {BYTES("\0\0\0\x09\x04\xd2\x16\x30"), "bad packet header: '0000000904d21630'"},
        {BYTES("\0\0\0\x08\x04\xd2\x16\x31"), "bad packet header: '0000000804d21631'"},
        {BYTES("p"), "client password pkt before startup packet"},
        {BYTES("p\0\0\0\x05x"), "client password pkt before startup packet"},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct failure failure = {0};
        struct startup_packet packet =
            startup_read_header((const uint8_t *) cases[i].bytes, cases[i].size, &failure);
        assert_int_equal(packet.kind, STARTUP_BROKEN);
        assert_string_equal(failure.message, cases[i].message);
        assert_string_equal(failure.sqlstate, "08P01");
    }
}

/* Who does not speak the protocol gets no answer, and is known by its first byte. */
static void test_strangers_are_told_nothing(void **state UNUSED)
{
    static const char *const bytes[] = {"GET / HTTP/1.1\r\n",
                                        "POST",
                                        "SSH-2.0-",
                                        "*1\r\n",
                                        "\x16\x03\x01",
                                        "Q\0\0\0\x04",
                                        "X",
                                        "S",
                                        "d",
                                        "\xff\xff\xff\xff\0\x03\0\0",
                                        "\x80\0\0\0\0\x03\0\0",
                                        "\x7f\xff\xff\xff\0\x03\0\0",
                                        "\x01"};
    for (size_t i = 0; i < countof(bytes); i++) {
        for (size_t size = 1; size <= 2; size++) {
            struct failure failure = {0};
            struct startup_packet packet =
                startup_read_header((const uint8_t *) bytes[i], size, &failure);
            assert_int_equal(packet.kind, STARTUP_BROKEN);
            assert_string_equal(failure.message, no_failure);
        }
    }
}

static enum startup_kind kind_of_cancel_request(unsigned size)
{
    uint8_t bytes[] = {0, 0, (uint8_t) (size >> 8), (uint8_t) size, 0x04, 0xd2, 0x16, 0x2e};
    struct failure failure = {0};
    enum startup_kind kind = startup_read_header(bytes, 8, &failure).kind;
    assert_string_equal(failure.message, no_failure);
    return kind;
}

/* Protocol 3.0 has keys of 8 bytes, 3.2 up to 260. */
static void test_cancel_request_has_the_size_of_a_key(void **state UNUSED)
{
    static const unsigned good[] = {16, 17, 44, 268}, bad[] = {0, 4, 7, 8, 11, 12, 15, 269, 5000};
    for (size_t i = 0; i < countof(good); i++)
        assert_int_equal(kind_of_cancel_request(good[i]), STARTUP_CANCEL_REQUEST);
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(kind_of_cancel_request(bad[i]), STARTUP_BROKEN);
}

/* ---- the side of a client ---- */

static void test_ssl_request_can_be_read_by_the_other_side(void **state UNUSED)
{
    struct buffer request = {0};
    struct failure failure = {0};
    startup_write_ssl_request(&request);
    assert_int_equal(request.size, 8);
    assert_int_equal(startup_read_header(request.data, request.size, &failure).kind,
                     STARTUP_SSL_REQUEST);
    buffer_release(&request);
}

/* Nothing that came before TLS protects it is ever looked at. */
static void test_answers_to_an_ssl_request(void **state UNUSED)
{
    static const struct {
        const char *bytes;
        size_t size;
        enum ssl_answer answer;
    } cases[] = {
        {BYTES("S"), SSL_ANSWER_YES},
        {BYTES("N"), SSL_ANSWER_NO},
        {BYTES("SS"), SSL_ANSWER_TOO_EARLY},
        {BYTES("S\x16"), SSL_ANSWER_TOO_EARLY},
        {BYTES("NR\0\0\0\x08\0\0\0\0"), SSL_ANSWER_TOO_EARLY},
        {BYTES("X"), SSL_ANSWER_BROKEN},
        {BYTES("s"), SSL_ANSWER_BROKEN},
        {BYTES("\0"), SSL_ANSWER_BROKEN},
        {BYTES("E\0\0\0\x08SFAT"), SSL_ANSWER_BROKEN},
    };

    for (size_t i = 0; i < countof(cases); i++)
        assert_int_equal(startup_read_ssl_answer((const uint8_t *) cases[i].bytes, cases[i].size),
                         cases[i].answer);
}

/* ---- the parameters ---- */

static bool read_parameters(const char *body, size_t size,
                            struct startup_parameters *ret_parameters, struct failure *ret_failure)
{
    *ret_failure = (struct failure){0};
    return startup_read_parameters((const uint8_t *) body, size, ret_parameters, ret_failure);
}

static void test_parameters_in_their_order(void **state UNUSED)
{
    static const char body[] = "user\0bob\0database\0\0user\0-rfile\0a\xff\n\"\0%s%n\0";
    static const char *const expected[][2] = {
        {"user", "bob"}, {"database", ""}, {"user", "-rfile"}, {"a\xff\n\"", "%s%n"}};
    struct startup_parameters parameters;
    struct failure failure;
    assert_true(read_parameters(body, sizeof(body), &parameters, &failure));
    assert_int_equal(parameters.count, countof(expected));
    for (size_t i = 0; i < countof(expected); i++) {
        assert_string_equal(parameters.items[i].name, expected[i][0]);
        assert_string_equal(parameters.items[i].value, expected[i][1]);
    }
    startup_parameters_release(&parameters);
    assert_int_equal(parameters.count, 0);
}

static void test_no_parameters_at_all(void **state UNUSED)
{
    struct startup_parameters parameters;
    struct failure failure;
    assert_true(read_parameters("", 1, &parameters, &failure));
    assert_int_equal(parameters.count, 0);
    startup_parameters_release(&parameters);
}

static void test_body_must_end_with_its_terminator(void **state UNUSED)
{
    static const struct {
        const char *body;
        size_t size;
    } cases[] = {
        {BYTES("")},
        {BYTES("\0\0")},
        {BYTES("u")},
        {BYTES("user\0bob")},
        {BYTES("user\0bob\0")},
        {BYTES("user\0bob\0x")},
        {BYTES("user\0bob\0database\0\0")},
        {BYTES("user\0bob\0database\0app")},
        {BYTES("user\0bob\0database")},
        {BYTES("user\0b\0ob\0\0")},
        {BYTES("user\0bob\0\0x")},
        {BYTES("user\0bob\0\0\0")},
        {BYTES("user\0bob\0\0database\0app\0\0")},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct startup_parameters parameters;
        struct failure failure;
        assert_false(read_parameters(cases[i].body, cases[i].size, &parameters, &failure));
        assert_string_equal(failure.message, "invalid startup packet layout: expected terminator "
                                             "as last byte");
        assert_null(parameters.items);
        assert_int_equal(parameters.count, 0);
    }
}

static void test_as_many_as_a_packet_can_hold(void **state UNUSED)
{
    enum {
        COUNT = (STARTUP_PACKET_MAX - 8 - 1) / 4
    };

    static char body[COUNT * 4 + 1];
    struct startup_parameters parameters;
    struct failure failure;
    for (size_t i = 0; i < COUNT; i++)
        memcpy(body + 4 * i, "n\0v", 4);
    for (size_t count = 1; count <= COUNT; count += count < 40 ? 1 : COUNT - 40) {
        body[4 * count] = '\0';
        assert_true(read_parameters(body, 4 * count + 1, &parameters, &failure));
        assert_int_equal(parameters.count, count);
        for (size_t i = 0; i < count; i++)
            assert_string_equal(parameters.items[i].value, "v");
        startup_parameters_release(&parameters);
        body[4 * count] = 'n';
    }
}

/* Whatever the cut, nothing behind it is read; AddressSanitizer looks. */
static void test_body_cut_at_every_byte(void **state UNUSED)
{
    static const char body[] = "user\0bob\0database\0app\0options\0-c a=b\0";
    for (size_t size = 0; size < sizeof(body); size++) {
        struct startup_parameters parameters;
        struct failure failure;
        char *copy = memory_copy_bytes(body, size);
        bool good = read_parameters(copy, size, &parameters, &failure);
        assert_int_equal(good, false);
        free(copy);
    }
}

/* ---- options ---- */

struct collected_options {
    char text[500]; /* "name=value;" for each */
    const char *refused;
};

static bool collect_option(void *argument, const char *name, const char *value,
                           struct failure *ret_failure)
{
    struct collected_options *collected = argument;
    size_t used = strlen(collected->text);
    if (collected->refused != NULL && strcmp(name, collected->refused) == 0) {
        failure_set(ret_failure, "refused: %s", name);
        return false;
    }
    snprintf(collected->text + used, sizeof(collected->text) - used, "%s=%s;", name, value);
    return true;
}

static void test_options(void **state UNUSED)
{
    static const struct {
        const char *options, *expected;
    } cases[] = {
        {"", ""},
        {"-c search_path=x", "search_path=x;"},
        {"-csearch_path=x", "search_path=x;"},
        {"--search_path=x", "search_path=x;"},
        {"-c   a=b --c=d\t-ce=f", "a=b;c=d;e=f;"},
        {"  \t\n\v\f\r-c a=b", "a=b;"},
        {"-c a=", "a=;"},
        {"-c a=b=c", "a=b=c;"},
        {"-c a=b\\ c", "a=b c;"},
        {"-c a\\ b=\\\\c\\=", "a b=\\c=;"},
        {"-c a=b\\", "a=b\\;"},
        {"-\\c a=b", "a=b;"},
        {"-c a='b\"c", "a='b\"c;"},
        {"-c a=\xff%s%n", "a=\xff%s%n;"},
        {"-c -c=1", "-c=1;"},
        {"---a=b", "-a=b;"},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct collected_options collected = {0};
        struct failure failure = {0};
        assert_true(startup_read_options(cases[i].options, collect_option, &collected, &failure));
        assert_string_equal(collected.text, cases[i].expected);
        assert_string_equal(failure.message, no_failure);
    }
}

static void test_other_forms_of_options_are_refused(void **state UNUSED)
{
    static const char *const options[] = {
        " ",        "-c",         "-c ",        "--",   "-ca",           "-c a",     "a=b",
        "-d a=b",   "-c =b",      "--=b",       "-c=b", "-c a=b ",       "-c a=b x", "-c a=b -c",
        "-c a=b\n", "-c 'a b=c'", "\"-c a=b\"", "-",    "-c a=b -- c=d", "\\-",      "-C a=b",
    };
    for (size_t i = 0; i < countof(options); i++) {
        struct collected_options collected = {0};
        struct failure failure = {0};
        assert_false(startup_read_options(options[i], collect_option, &collected, &failure));
        assert_string_equal(failure.message, "unsupported options startup parameter: only '-c "
                                             "config=val' and '--config=val' are allowed");
    }
}

static void test_refused_option_ends_the_walk(void **state UNUSED)
{
    struct collected_options collected = {.refused = "b"};
    struct failure failure = {0};
    assert_false(
        startup_read_options("-c a=1 -c b=2 -c c=3", collect_option, &collected, &failure));
    assert_string_equal(collected.text, "a=1;");
    assert_string_equal(failure.message, "refused: b");
}

static bool count_option(void *argument, const char *name UNUSED, const char *value UNUSED,
                         struct failure *ret_failure UNUSED)
{
    (*(unsigned *) argument)++;
    return true;
}

static void test_options_of_nine_kilobytes(void **state UNUSED)
{
    static char options[9001];
    unsigned count = 0;
    struct failure failure = {0};
    for (size_t i = 0; i + 6 <= sizeof(options) - 1; i += 6)
        memcpy(options + i, " -ca=b", 6);
    assert_true(startup_read_options(options, count_option, &count, &failure));
    assert_int_equal(count, 1500);
}

static void test_replication_values(void **state UNUSED)
{
    static const struct {
        const char *values[12];
        enum replication replication;
    } cases[] = {
        {{"database"}, REPLICATION_LOGICAL},
        {{"true", "TRUE", "t", "tru", "yes", "y", "on", "On", "1"}, REPLICATION_PHYSICAL},
        {{"false", "F", "no", "n", "off", "of", "0"}, REPLICATION_NONE},
    };
    static const char *const wrong[] = {"",     "o",  "2",     "01",        "Database", "data",
                                        "true ", "tt", "truer", "databases", "onn",      "yes\n"};
    for (size_t i = 0; i < countof(cases); i++) {
        for (const char *const *value = cases[i].values; *value != NULL; value++) {
            enum replication replication = (enum replication) -1;
            assert_true(startup_read_replication(*value, &replication));
            assert_int_equal(replication, cases[i].replication);
        }
    }
    for (size_t i = 0; i < countof(wrong); i++) {
        enum replication replication;
        assert_false(startup_read_replication(wrong[i], &replication));
    }
}

static void test_replication_words(void **state UNUSED)
{
    assert_null(startup_replication_value(REPLICATION_NONE));
    assert_string_equal(startup_replication_value(REPLICATION_LOGICAL), "database");
    assert_string_equal(startup_replication_value(REPLICATION_PHYSICAL), "true");
    assert_string_equal(replication_name(REPLICATION_NONE), "none");
    assert_string_equal(replication_name(REPLICATION_LOGICAL), "logical");
    assert_string_equal(replication_name(REPLICATION_PHYSICAL), "physical");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_packets),
        cmocka_unit_test(test_eight_bytes_are_needed),
        cmocka_unit_test(test_broken_headers),
        cmocka_unit_test(test_strangers_are_told_nothing),
        cmocka_unit_test(test_cancel_request_has_the_size_of_a_key),
        cmocka_unit_test(test_ssl_request_can_be_read_by_the_other_side),
        cmocka_unit_test(test_answers_to_an_ssl_request),
        cmocka_unit_test(test_parameters_in_their_order),
        cmocka_unit_test(test_no_parameters_at_all),
        cmocka_unit_test(test_body_must_end_with_its_terminator),
        cmocka_unit_test(test_as_many_as_a_packet_can_hold),
        cmocka_unit_test(test_body_cut_at_every_byte),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_other_forms_of_options_are_refused),
        cmocka_unit_test(test_refused_option_ends_the_walk),
        cmocka_unit_test(test_options_of_nine_kilobytes),
        cmocka_unit_test(test_replication_values),
        cmocka_unit_test(test_replication_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
