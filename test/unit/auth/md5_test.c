/*
 * md5_test.c - PostgreSQL's md5 password hashes.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/md5.h"

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

/* Made by PostgreSQL 15 with password_encryption=md5, but for the empty ones, which it refuses. */
static void test_stored_form(void **state UNUSED)
{
    static const struct {
        const char *password, *user, *stored;
    } cases[] = {
        {"bob-pw", "bob", "md51437cf777a4bdc5ee09d4a44200665da"},
        {"pässwörd", "Ünü", "md5969e8b5840ffd383cfaeabe78fd12b5c"},
        {"", "bob", "md59f9d51bc70ef21ca5c14f307980a29d8"},
        {"", "", "md5d41d8cd98f00b204e9800998ecf8427e"},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        char text[MD5_TEXT_SIZE];
        md5_stored(cases[i].password, strlen(cases[i].password), cases[i].user, text);
        assert_string_equal(text, cases[i].stored);
    }
}

static void test_password_may_be_of_any_bytes(void **state UNUSED)
{
    char a[MD5_TEXT_SIZE], b[MD5_TEXT_SIZE];
    md5_stored("a\0b", 3, "bob", a);
    md5_stored("a\0c", 3, "bob", b);
    assert_string_not_equal(a, b);
}

/* md5(hex(md5(password || user)) || salt), as `printf` and `md5sum` compute it. */
static void test_answer_to_a_challenge(void **state UNUSED)
{
    static const struct {
        uint8_t salt[MD5_SALT_SIZE];
        const char *answer;
    } cases[] = {
        {{1, 2, 3, 4}, "md5358b05ad8721609a31b55963a47a7991"},
        {{0, 0, 0, 0}, "md58314c5070d6600822f7e80d2e6db4353"},
        {{0xff, 0, 0x80, 0x0a}, "md523eaccdfc065a1ca08676ec415a263df"},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        char text[MD5_TEXT_SIZE];
        md5_answer("md51437cf777a4bdc5ee09d4a44200665da", cases[i].salt, text);
        assert_string_equal(text, cases[i].answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored_form),
        cmocka_unit_test(test_password_may_be_of_any_bytes),
        cmocka_unit_test(test_answer_to_a_challenge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
