/*
 * error_response_test.c - ErrorResponse and NoticeResponse.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/error_response.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

static void test_failure_carries_the_usual_code(void **state UNUSED)
{
    struct failure failure = {0};
    failure_set(&failure, "unsupported startup parameter: %s", "x");
    assert_string_equal(failure.sqlstate, "08P01");
    assert_string_equal(failure.message, "unsupported startup parameter: x");
}

static void test_long_failure_is_cut(void **state UNUSED)
{
    struct failure failure;
    failure_set(&failure, "%01000d", 7);
    assert_int_equal(strlen(failure.message), sizeof(failure.message) - 1);
}

static void test_error_has_severity_code_and_message_only(void **state UNUSED)
{
    static const char expected[] = "E\0\0\0\x20SFATAL\0C08P01\0Munknown pkt\0";
    struct buffer out = {0};
    error_response_write(&out, "FATAL", SQLSTATE_PROTOCOL_VIOLATION, "unknown pkt");
    assert_int_equal(out.size, sizeof(expected));
    assert_memory_equal(out.data, expected, sizeof(expected));
    buffer_release(&out);
}

static void test_notice_may_have_a_detail(void **state UNUSED)
{
    static const char plain[] = "N\0\0\0\x1cSNOTICE\0C00000\0Mqueued\0";
    static const char detailed[] = "N\0\0\0\x22SNOTICE\0C00000\0Mqueued\0Dlong\0";
    struct buffer out = {0};
    notice_response_write(&out, SQLSTATE_SUCCESS, "queued", NULL);
    assert_int_equal(out.size, sizeof(plain));
    assert_memory_equal(out.data, plain, sizeof(plain));
    out.size = 0;
    notice_response_write(&out, SQLSTATE_SUCCESS, "queued", "long");
    assert_int_equal(out.size, sizeof(detailed));
    assert_memory_equal(out.data, detailed, sizeof(detailed));
    buffer_release(&out);
}

#define BODY(literal) literal, sizeof(literal) - 1

/* The unlocalized severity (V) is the one to compare with; 9.5 and older have S alone. */
static void test_read(void **state UNUSED)
{
    static const struct {
        const char *body;
        size_t size;
        bool sound;
        const char *severity, *sqlstate, *message;
    } cases[] = {
        {BODY("SFATAL\0C28P01\0Mno\0\0"), true, "FATAL", "28P01", "no"},
        {BODY("SFEHLER\0VERROR\0C42601\0Mno\0\0"), true, "ERROR", "42601", "no"},
        {BODY("VERROR\0SFEHLER\0C42601\0Mno\0\0"), true, "ERROR", "42601", "no"},
        {BODY("SFATAL\0Mno code\0\0"), true, "FATAL", "", "no code"},
        {BODY("C57P01\0\0"), true, "", "57P01", ""},
        {BODY("\0"), true, "", "", ""},
        {BODY("SERROR\0Zstrange\0\x01x\0\xffy\0C42601\0Mno\0Fscan.l\0L1\0Rscanner\0\0"), true,
         "ERROR", "42601", "no"},
        {BODY("SERROR\0SFATAL\0C42601\0C00000\0Mfirst\0Msecond\0VPANIC\0VLOG\0\0"), true, "PANIC",
         "42601", "first"},
        {BODY("SERROR\0C42601XXXX\0M\0\0"), true, "ERROR", "42601", ""},
        {BODY("SERROR\0C42601\0Mno\0\0behind the end\0"), true, "ERROR", "42601", "no"},
        {"", 0, false, "", "", ""},
        {BODY("M"), false, "", "", ""},
        {BODY("Mno end"), false, "", "", ""},
        {BODY("SERROR\0Mno end of the list\0"), false, "ERROR", "", "no end of the list"},
        {BODY("SERROR\0C42601\0Mcut"), false, "ERROR", "42601", ""},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct error_fields fields;
        assert_int_equal(error_response_read(cases[i].body, cases[i].size, &fields),
                         cases[i].sound);
        assert_string_equal(fields.severity, cases[i].severity);
        assert_string_equal(fields.sqlstate, cases[i].sqlstate);
        assert_string_equal(fields.message, cases[i].message);
    }
}

static void test_long_texts_are_cut(void **state UNUSED)
{
    struct buffer body = {0};
    struct error_fields fields;
    for (const char *field = "SCVM"; *field != '\0'; field++) {
        buffer_append(&body, field, 1);
        memset(buffer_extend(&body, 1000000), 'x', 1000000);
        buffer_append(&body, "", 1);
    }
    buffer_append(&body, "", 1);
    assert_true(error_response_read(body.data, body.size, &fields));
    assert_int_equal(strlen(fields.severity), sizeof(fields.severity) - 1);
    assert_int_equal(strlen(fields.sqlstate), sizeof(fields.sqlstate) - 1);
    assert_int_equal(strlen(fields.message), sizeof(fields.message) - 1);
    buffer_release(&body);
}

static void test_what_is_written_can_be_read(void **state UNUSED)
{
    struct buffer out = {0};
    struct error_fields fields;
    error_response_write(&out, "ERROR", "42P05", "");
    assert_true(error_response_read(out.data + 5, out.size - 5, &fields));
    assert_string_equal(fields.severity, "ERROR");
    assert_string_equal(fields.sqlstate, "42P05");
    assert_string_equal(fields.message, "");
    buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failure_carries_the_usual_code),
        cmocka_unit_test(test_long_failure_is_cut),
        cmocka_unit_test(test_error_has_severity_code_and_message_only),
        cmocka_unit_test(test_notice_may_have_a_detail),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_what_is_written_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
