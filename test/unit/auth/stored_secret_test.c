/*
 * stored_secret_test.c - what a stored password is.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/stored_secret.h"

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

/* Made by PostgreSQL 15 of the password "pencil". */
#define SALT       "he3euBrMxOj7tCtCLF5OuA=="
#define STORED_KEY "2+juafFF7GY8tZ7hmaMmTx9mOnr2Dy89iTOXPaZY/UY="
#define SERVER_KEY "UwGjw3/OHIMbLHOcVQAKZW5D9T1NNi2+Xqnd1AY187I="

static struct secret secret_of(const char *text)
{
    struct secret secret = {0};
    secret_set(&secret, text, strlen(text));
    return secret;
}

static void test_kinds(void **state UNUSED)
{
    static const struct {
        const char *text;
        enum secret_kind kind;
    } cases[] = {
        {"", SECRET_NONE},
        {"x", SECRET_PLAIN},
        {"md51437cf777a4bdc5ee09d4a44200665da", SECRET_MD5},
        {"md51437cf777a4bdc5ee09d4a44200665d", SECRET_PLAIN},
        {"md51437cf777a4bdc5ee09d4a44200665da0", SECRET_PLAIN},
        {"md51437CF777A4BDC5EE09D4A44200665DA", SECRET_PLAIN},
        {"md51437cf777a4bdc5ee09d4a44200665dg", SECRET_PLAIN},
        {"MD51437cf777a4bdc5ee09d4a44200665da", SECRET_PLAIN},
        {"md5", SECRET_PLAIN},
        {"SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY, SECRET_SCRAM},
        {"SCRAM-SHA-256$1:" SALT "$" STORED_KEY ":" SERVER_KEY, SECRET_SCRAM},
        {"SCRAM-SHA-256$2147483647:" SALT "$" STORED_KEY ":" SERVER_KEY, SECRET_SCRAM},
        {"SCRAM-SHA-256$04096:" SALT "$" STORED_KEY ":" SERVER_KEY, SECRET_SCRAM},
        {"SCRAM-SHA-256$4096:c2FsdA==$" STORED_KEY ":" SERVER_KEY, SECRET_SCRAM},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct secret secret = secret_of(cases[i].text);
        assert_int_equal(secret_kind_of(&secret), cases[i].kind);
        secret_release(&secret);
    }
}

static void test_unset_is_none(void **state UNUSED)
{
    static const struct secret unset;
    struct scram_verifier verifier;
    assert_int_equal(secret_kind_of(&unset), SECRET_NONE);
    assert_false(secret_read_verifier(&unset, &verifier));
}

static void test_verifier_is_taken_apart(void **state UNUSED)
{
    struct secret secret = secret_of("SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY);
    struct scram_verifier verifier;
    assert_true(secret_read_verifier(&secret, &verifier));
    assert_int_equal(verifier.iterations, 4096);
    assert_int_equal(verifier.salt_size, 16);
    assert_memory_equal(verifier.salt, "\x85\xed\xde\xb8\x1a\xcc\xc4\xe8", 8);
    assert_memory_equal(verifier.stored_key, "\xdb\xe8\xee\x69\xf1\x45\xec\x66", 8);
    assert_memory_equal(verifier.server_key, "\x53\x01\xa3\xc3\x7f\xce\x1c\x83", 8);
    secret_release(&secret);
}

/* Nothing that looks like one is half believed. */
static void test_what_is_no_verifier(void **state UNUSED)
{
    static const char *const texts[] = {
        "bob-pw",
        "SCRAM-SHA-256",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$4096",
        "SCRAM-SHA-256$4096:",
        "SCRAM-SHA-256$4096:" SALT,
        "SCRAM-SHA-256$4096:" SALT "$",
        "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY,
        "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":",
        "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY "$" SERVER_KEY,
        "SCRAM-SHA-256$4096:" SALT ":" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$0:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$-1:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$+1:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$ 1:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$x:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$2147483648:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$4294967297:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$18446744073709551617:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$4096:bad base64$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$4096:" SALT "$c2hvcnQ=:" SERVER_KEY,
        "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":c2hvcnQ=",
        "SCRAM-SHA-256$4096:" SALT "$AA" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$4096:" SALT "$AAAA" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY "=",
        "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY "\n",
        "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY ":more",
        " SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "scram-sha-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY,
        "SCRAM-SHA-1$4096:" SALT "$" STORED_KEY ":" SERVER_KEY,
    };
    for (size_t i = 0; i < countof(texts); i++) {
        struct secret secret = secret_of(texts[i]);
        struct scram_verifier verifier;
        if (secret_read_verifier(&secret, &verifier))
            fail_msg("'%s' was taken", texts[i]);
        /* The text of a broken verifier must not become a password. */
        bool broken = strncmp(texts[i], "SCRAM-SHA-256$", 14) == 0;
        assert_int_equal(secret_kind_of(&secret), broken ? SECRET_NONE : SECRET_PLAIN);
        secret_release(&secret);
    }
}

static void test_longest_salt(void **state UNUSED)
{
    for (size_t size = SCRAM_SALT_MAX; size <= SCRAM_SALT_MAX + 3; size += 3) {
        char text[2000] = "SCRAM-SHA-256$4096:";
        struct scram_verifier verifier;
        size_t start = strlen(text), end = start + (size + 2) / 3 * 4;
        memset(text + start, 'A', end - start);
        if (size % 3 == 1)
            memcpy(text + end - 2, "==", 2);
        strcpy(text + end, "$" STORED_KEY ":" SERVER_KEY);
        struct secret secret = secret_of(text);
        assert_int_equal(secret_read_verifier(&secret, &verifier), size <= SCRAM_SALT_MAX);
        if (size <= SCRAM_SALT_MAX)
            assert_int_equal(verifier.salt_size, size);
        secret_release(&secret);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_unset_is_none),
        cmocka_unit_test(test_verifier_is_taken_apart),
        cmocka_unit_test(test_what_is_no_verifier),
        cmocka_unit_test(test_longest_salt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
