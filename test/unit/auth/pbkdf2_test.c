/*
 * pbkdf2_test.c - PBKDF2 with HMAC-SHA-256, in slices.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/pbkdf2.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

#include <openssl/evp.h>

#include "base/compiler.h"

struct input {
    const char *password;
    size_t length;
    const char *salt;
    size_t salt_size;
    uint32_t iterations;
};

#define TEXT(literal) literal, sizeof(literal) - 1

/* Returns how many slices it took after the beginning. */
static unsigned derive(const struct input *input, uint32_t slice,
                       uint8_t ret_key[PBKDF2_KEY_SIZE])
{
    struct pbkdf2 pbkdf2;
    unsigned slices = 1;
    pbkdf2_begin(&pbkdf2, input->password, input->length, (const uint8_t *) input->salt,
                 input->salt_size, input->iterations);
    while (!pbkdf2_advance(&pbkdf2, slice))
        slices++;
    memcpy(ret_key, pbkdf2.key, PBKDF2_KEY_SIZE);
    assert_true(pbkdf2_advance(&pbkdf2, slice)); /* more than all changes nothing */
    assert_memory_equal(ret_key, pbkdf2.key, PBKDF2_KEY_SIZE);
    pbkdf2_release(&pbkdf2);
    return slices;
}

/* RFC 7914, section 11 (the first 32 of 64 bytes), and RFC 6070's inputs with SHA-256. */
static void test_published_vectors(void **state UNUSED)
{
    static const struct {
        struct input input;
        uint8_t key[PBKDF2_KEY_SIZE];
    } cases[] = {
        {{TEXT("passwd"), TEXT("salt"), 1},
         {0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f, 0xec, 0x16, 0x91,
          0xc2, 0x25, 0x44, 0xb6, 0x05, 0xf9, 0x41, 0x85, 0x21, 0x6d, 0xde,
          0x04, 0x65, 0xe6, 0x8b, 0x9d, 0x57, 0xc2, 0x0d, 0xac, 0xbc}},
        {{TEXT("Password"), TEXT("NaCl"), 80000},
         {0x4d, 0xdc, 0xd8, 0xf6, 0x0b, 0x98, 0xbe, 0x21, 0x83, 0x0c, 0xee,
          0x5e, 0xf2, 0x27, 0x01, 0xf9, 0x64, 0x1a, 0x44, 0x18, 0xd0, 0x4c,
          0x04, 0x14, 0xae, 0xff, 0x08, 0x87, 0x6b, 0x34, 0xab, 0x56}},
        {{TEXT("password"), TEXT("salt"), 4096},
         {0xc5, 0xe4, 0x78, 0xd5, 0x92, 0x88, 0xc8, 0x41, 0xaa, 0x53, 0x0d,
          0xb6, 0x84, 0x5c, 0x4c, 0x8d, 0x96, 0x28, 0x93, 0xa0, 0x01, 0xce,
          0x4e, 0x11, 0xa4, 0x96, 0x38, 0x73, 0xaa, 0x98, 0x13, 0x4a}},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        uint8_t key[PBKDF2_KEY_SIZE];
        derive(&cases[i].input, 2000, key);
        assert_memory_equal(key, cases[i].key, sizeof(key));
    }
}

/* Passwords around the size of a block, where HMAC begins to hash its key, in slices of all kinds. */
static void test_slices_make_no_difference(void **state UNUSED)
{
    static const size_t lengths[] = {0, 1, 63, 64, 65, 1000};
    static const uint32_t slices[] = {1, 2, 3, 99, 100, 101, 5000, UINT32_MAX};
    static char password[1000];
    memset(password, 'p', sizeof(password));
    for (size_t i = 0; i < countof(lengths); i++) {
        struct input input = {password, lengths[i], TEXT("any salt\0of any size"), 101};
        uint8_t expected[PBKDF2_KEY_SIZE], key[PBKDF2_KEY_SIZE];
        assert_int_equal(PKCS5_PBKDF2_HMAC(password, (int) lengths[i],
                                           (const uint8_t *) input.salt, (int) input.salt_size,
                                           101, EVP_sha256(), sizeof(expected), expected),
                         1);
        for (size_t j = 0; j < countof(slices); j++) {
            uint32_t size = slices[j];
            assert_int_equal(derive(&input, size, key), 100 / size + (100 % size > 0));
            assert_memory_equal(key, expected, sizeof(key));
        }
    }
}

static void test_release_in_mid_derivation(void **state UNUSED)
{
    static const struct pbkdf2 wiped;
    struct pbkdf2 pbkdf2;
    pbkdf2_begin(&pbkdf2, "password", 8, (const uint8_t *) "salt", 4, 1000);
    assert_false(pbkdf2_advance(&pbkdf2, 998));
    assert_int_equal(pbkdf2.left, 1);
    pbkdf2_release(&pbkdf2);
    assert_memory_equal(&pbkdf2, &wiped, sizeof(wiped));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_vectors),
        cmocka_unit_test(test_slices_make_no_difference),
        cmocka_unit_test(test_release_in_mid_derivation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
