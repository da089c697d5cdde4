/*
 * hash_test.c - the seeded hash function.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/hash.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/compiler.h"

/* The hash of a fresh process: this one must not have hashed yet. */
static uint32_t hash_in_child(void)
{
    int ends[2];
    uint32_t hash = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        hash = hash_bytes("key", 3);
        _exit(write(ends[1], &hash, sizeof(hash)) == (ssize_t) sizeof(hash) ? 0 : 1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &hash, sizeof(hash)), sizeof(hash));
    close(ends[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return hash;
}

/* Must run first. Of three equal hashes of 32 bits by chance nobody need be afraid. */
static void test_every_process_has_its_own_seed(void **state UNUSED)
{
    uint32_t first = hash_in_child(), second = hash_in_child(), third = hash_in_child();
    assert_false(first == second && second == third);
}

static void test_equal_bytes_have_equal_hashes(void **state UNUSED)
{
    char here[] = "application_name", there[] = "application_name";
    assert_int_equal(hash_bytes(here, 16), hash_bytes(there, 16));
    assert_int_equal(hash_bytes("", 0), hash_bytes("x", 0));
}

static void test_zero_bytes_and_lengths_count(void **state UNUSED)
{
    static const uint8_t zeros[4] = {0};
    uint32_t hashes[5];
    unsigned equal = 0;
    for (unsigned i = 0; i < 5; i++)
        hashes[i] = hash_bytes(zeros, i < 4 ? i : 4);
    for (unsigned i = 0; i < 4; i++)
        equal += hashes[i] == hashes[i + 1];
    assert_int_equal(equal, 0);
}

static void test_similar_keys_are_spread(void **state UNUSED)
{
    unsigned buckets[64] = {0};
    for (unsigned i = 0; i < 6400; i++)
        buckets[hash_bytes(&i, sizeof(i)) % 64]++;
    for (unsigned i = 0; i < 64; i++)
        assert_in_range(buckets[i], 30, 250);
}

struct item {
    int key;
    UT_hash_handle hh;
};

static void test_uthash_uses_it(void **state UNUSED)
{
    struct item items[100] = {0}, *table = NULL, *found;
    for (int i = 0; i < 100; i++) {
        items[i].key = i;
        HASH_ADD_INT(table, key, &items[i]);
    }
    for (int i = 0; i < 100; i++) {
        HASH_FIND_INT(table, &i, found);
        assert_ptr_equal(found, &items[i]);
        assert_int_equal(items[i].hh.hashv, hash_bytes(&i, sizeof(i)));
    }
    HASH_CLEAR(hh, table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_process_has_its_own_seed),
        cmocka_unit_test(test_equal_bytes_have_equal_hashes),
        cmocka_unit_test(test_zero_bytes_and_lengths_count),
        cmocka_unit_test(test_similar_keys_are_spread),
        cmocka_unit_test(test_uthash_uses_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
