/*
 * base64_test.c - base64, read strictly.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/base64.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

/* RFC 4648, section 10, and bytes beyond ASCII. */
static const struct {
    const char *bytes, *text;
} vectors[] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
    {"\xfb\xff\xbf", "+/+/"},
};

static void test_write(void **state UNUSED)
{
    for (size_t i = 0; i < countof(vectors); i++) {
        struct buffer out = {0};
        buffer_append(&out, ">", 1);
        base64_write(&out, (const uint8_t *) vectors[i].bytes, strlen(vectors[i].bytes));
        assert_int_equal(out.size, 1 + strlen(vectors[i].text));
        assert_memory_equal(out.data + 1, vectors[i].text, out.size - 1);
        buffer_release(&out);
    }
}

static void test_read(void **state UNUSED)
{
    for (size_t i = 0; i < countof(vectors); i++) {
        uint8_t bytes[6];
        size_t size = 4711;
        assert_true(
            base64_read(vectors[i].text, strlen(vectors[i].text), bytes, sizeof(bytes), &size));
        assert_int_equal(size, strlen(vectors[i].bytes));
        assert_memory_equal(bytes, vectors[i].bytes, size);
    }
}

static void test_read_takes_exactly_the_length(void **state UNUSED)
{
    uint8_t bytes[3];
    size_t size;
    assert_true(base64_read("Zm9vYmFy", 4, bytes, sizeof(bytes), &size));
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "foo", 3);
}

#define TEXT(literal) literal, sizeof(literal) - 1

static void test_what_is_no_base64(void **state UNUSED)
{
    static const struct {
        const char *text;
        size_t length;
    } cases[] = {
        {TEXT("Z")},
        {TEXT("Zg")},
        {TEXT("Zg=")},
        {TEXT("Zm9vYg")},
        {TEXT("=")},
        {TEXT("==")},
        {TEXT("====")},
        {TEXT("Z===")},
        {TEXT("Zg==Zg==")},
        {TEXT("Zg==Zm9v")},
        {TEXT("Z=g=")},
        {TEXT("=Zm9")},
        {TEXT(" Zm9v")},
        {TEXT("Zm9v ")},
        {TEXT("    Zm9v")},
        {TEXT("Zm9v    ")},
        {TEXT("Zm9\n")},
        {TEXT("\nZm9")},
        {TEXT("Zm9\0")},
        {TEXT("\0\0\0\0")},
        {TEXT("Zm9-")},
        {TEXT("Zm9_")},
        {TEXT("Zm9!")},
        {TEXT("Zm9\xff")},
        {TEXT("Zm9v\r\n\r\n")},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        uint8_t bytes[16];
        size_t size;
        assert_false(base64_read(cases[i].text, cases[i].length, bytes, sizeof(bytes), &size));
    }
}

/* Proofs of 31 and 33 bytes are told from one of 32 by whoever reads with a capacity of 32. */
static void test_capacity_is_kept(void **state UNUSED)
{
    for (size_t length = 30; length <= 34; length++) {
        struct buffer text = {0};
        uint8_t bytes[34], copy[34] = {0};
        size_t size;
        memset(bytes, 'x', sizeof(bytes));
        base64_write(&text, bytes, length);
        assert_int_equal(base64_read((const char *) text.data, text.size, copy, 32, &size),
                         length <= 32);
        assert_int_equal(copy[32], 0);
        if (length <= 32)
            assert_int_equal(size, length);
        buffer_release(&text);
    }
}

static void test_endless_text_is_refused(void **state UNUSED)
{
    static char text[65540];
    static uint8_t bytes[sizeof(text)];
    size_t size;
    memset(text, 'A', sizeof(text));
    assert_true(base64_read(text, 65536, bytes, sizeof(bytes), &size));
    assert_int_equal(size, 49152);
    assert_false(base64_read(text, 65540, bytes, sizeof(bytes), &size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_read_takes_exactly_the_length),
        cmocka_unit_test(test_what_is_no_base64),
        cmocka_unit_test(test_capacity_is_kept),
        cmocka_unit_test(test_endless_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
