/*
 * messages_test.c - what each message type means to the relay.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/messages.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

#include "base/compiler.h"

/* The types of a table that have the flag, in the order of their bytes. */
static const char *types_of(const uint16_t table[256], unsigned flag)
{
    static char types[257];
    size_t count = 0;
    for (unsigned type = 0; type < 256; type++)
        if (table[type] & flag)
            types[count++] = (char) type;
    types[count] = '\0';
    return types;
}

/* Nothing of the login phase, and nothing that only the other side sends, is among them. */
static void test_messages_after_login(void **state UNUSED)
{
    assert_string_equal(types_of(client_message_flags, MESSAGE_KNOWN), "BCDEFHPQSXcdf");
    assert_string_equal(types_of(server_message_flags, MESSAGE_KNOWN), "123ACDEGHINSTVWZcdnst");
}

static void test_every_known_type_has_flags_and_no_other(void **state UNUSED)
{
    for (unsigned type = 0; type < 256; type++) {
        assert_true(client_message_flags[type] == 0 || client_message_flags[type] & MESSAGE_KNOWN);
        assert_true(server_message_flags[type] == 0 || server_message_flags[type] & MESSAGE_KNOWN);
    }
}

static void test_what_client_messages_mean(void **state UNUSED)
{
    assert_string_equal(types_of(client_message_flags, MESSAGE_NEEDS_SERVER), "BCDEFHPQS");
    assert_string_equal(types_of(client_message_flags, MESSAGE_EXPECTS_ANSWER), "BCDEFPQS");
    assert_string_equal(types_of(client_message_flags, MESSAGE_EXTENDED), "BCDEP");
    assert_string_equal(types_of(client_message_flags, MESSAGE_COPY), "cdf");
    assert_string_equal(types_of(client_message_flags, MESSAGE_ENDS_SESSION), "X");
    assert_string_equal(types_of(client_message_flags, MESSAGE_ASYNCHRONOUS), "");
}

static void test_what_server_messages_mean(void **state UNUSED)
{
    assert_string_equal(types_of(server_message_flags, MESSAGE_ASYNCHRONOUS), "ANS");
    assert_string_equal(types_of(server_message_flags, MESSAGE_WHOLE), "SZ");
    assert_string_equal(types_of(server_message_flags, MESSAGE_ENDS_ANSWER), "123CEITZns");
    assert_string_equal(types_of(server_message_flags, MESSAGE_NEEDS_SERVER), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_after_login),
        cmocka_unit_test(test_every_known_type_has_flags_and_no_other),
        cmocka_unit_test(test_what_client_messages_mean),
        cmocka_unit_test(test_what_server_messages_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
