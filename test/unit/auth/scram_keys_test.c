/*
 * scram_keys_test.c - derives SCRAM keys from passwords, and remembers them.
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

#include <stdio.h>

/* For the entries of the table. */
#include "../../../src/auth/scram_keys.c"
#include "auth/stored_secret.h"
#include "base/compiler.h"

static struct secret secret_of(const char *text)
{
    struct secret secret = {0};
    secret_set(&secret, text, strlen(text));
    return secret;
}

static void derive_text(struct scram_key_cache *cache, const char *password, const char *salt,
                        uint32_t iterations, struct scram_keys *ret_keys)
{
    struct secret secret = secret_of(password);
    scram_key_cache_derive(cache, &secret, (const uint8_t *) salt, strlen(salt), iterations,
                           ret_keys);
    secret_release(&secret);
}

/*
 * Verifiers made by PostgreSQL 15. The later passwords are those that SASLprep changes, and those
 * that it refuses: they are used as they are.
 */
static void test_postgresqls_verifiers(void **state UNUSED)
{
    static const struct {
        const char *password, *verifier;
    } cases[] = {
        {"pencil", "he3euBrMxOj7tCtCLF5OuA==$2+juafFF7GY8tZ7hmaMmTx9mOnr2Dy89iTOXPaZY/UY="
                   ":UwGjw3/OHIMbLHOcVQAKZW5D9T1NNi2+Xqnd1AY187I="},
        {"pässwörd", "ThX/A9dHyzEKxeAsbHc6kw==$HP69GN9013Yd+e7pQ3W/ipjSY0gTsRhjSbNKmIh0sdY="
                     ":9lMgDpxeOmF+f1n6mO0G5uEAx35FRMzppUIVZLfuyfw="},
        {"I\u00adX", "mbYDNdQdjgDUYy6Uqayvug==$WdzCe5/xgqp6MKtCFhwoxhkIWhj0rP+VJbpAnW23vwA="
                     ":xZc2+J71j/jWmlrjQOtsy440diDsmnYqgCRhdUghNpI="},
        {"\u2168\u00a0x", "5cWKzCw9+BD/MckbnIL1fA==$J4AvqL6g7I2SgzHSriyQX4gWxYX4Xggb0T33HlNRBDs="
                          ":G9NFiwsIMNB1q6IAvhAqfsiS6gzt4CJJ6d/HZ+Ccf/I="},
        {"tab\tinside", "9sCMSlH7pjlYa1BtItdEUw==$J8D8+9BMV2FH0bDtd/eM3+64b7AFnyO5pJP5aznEmjA="
                        ":Qhz4WLefh2NxhEp0l3h8xel4iWpNMR3POwmfkFuCJL0="},
        {"\u0627"
         "1",
         "zot6F2Z4eIFdNy7w27H14g==$WMBuKCrszfrqZ0nKyFobcmE2vrZBz1AYrgTMnYL2rEE="
         ":PdJ/8PcoNdaaqXAdgQEVZSw+kZQwPzLdRpvpX1xBNO8="},
        {"\u00ad", "b/2ro5R/za4mqpbbNMDh6Q==$1CfyVQi5tjjucIuBot8EjOXfYTmcQ6cORMa0a5C/4+o="
                   ":LrJubGrICw2aTuc7jchwPsSx8ODNsYvWTKBEYE3Sgg4="},
        {"a\u0221"
         "b",
         "/eAwPEWfiURe1Djq+sRGsA==$T2+0QrMN65a3sIeVRJkJziqP9A7+N5QOYNOqlgXJjHw="
         ":c+Im5jehpKozZnwxGEklerZZI1Z3H+y5q3X0X4+Fm0o="},
    };
    struct scram_key_cache *cache = scram_key_cache_create(100);
    for (size_t i = 0; i < countof(cases); i++) {
        char text[200];
        struct scram_verifier verifier;
        struct scram_keys keys;
        uint8_t stored_key[SCRAM_KEY_SIZE];
        snprintf(text, sizeof(text), "SCRAM-SHA-256$4096:%s", cases[i].verifier);
        struct secret secret = secret_of(text), password = secret_of(cases[i].password);
        assert_true(secret_read_verifier(&secret, &verifier));
        scram_key_cache_derive(cache, &password, verifier.salt, verifier.salt_size,
                               verifier.iterations, &keys);
        scram_stored_key(keys.client_key, stored_key);
        assert_memory_equal(stored_key, verifier.stored_key, SCRAM_KEY_SIZE);
        assert_memory_equal(keys.server_key, verifier.server_key, SCRAM_KEY_SIZE);
        secret_release(&secret);
        secret_release(&password);
    }
    scram_key_cache_destroy(cache);
}

static void test_password_that_is_no_utf8_is_used_as_it_is(void **state UNUSED)
{
    struct scram_key_cache *cache = scram_key_cache_create(10);
    struct scram_keys a, b;
    derive_text(cache, "\xff\xfe", "salt", 2, &a);
    derive_text(cache, "\xff\xfd", "salt", 2, &b);
    assert_memory_not_equal(&a, &b, sizeof(a));
    scram_key_cache_destroy(cache);
}

/* The symbol U+2168, which SASLprep turns into "IX", before many letters. */
static void test_long_passwords_are_used_as_they_are(void **state UNUSED)
{
    static const struct {
        size_t size;
        bool same;
    } cases[] = {{100, true}, {SCRAM_PREPARED_MAX, true}, {SCRAM_PREPARED_MAX + 1, false}};
    struct scram_key_cache *cache = scram_key_cache_create(10);
    for (size_t i = 0; i < countof(cases); i++) {
        static char symbol[SCRAM_PREPARED_MAX + 2], letters[SCRAM_PREPARED_MAX + 2];
        struct scram_keys of_symbol, of_letters;
        size_t size = cases[i].size;
        memset(symbol, 'a', size);
        memcpy(symbol, "\u2168", 3);
        memset(letters, 'a', size);
        memcpy(letters, "IX", 2);
        symbol[size] = letters[size - 1] = '\0';
        derive_text(cache, symbol, "salt", 2, &of_symbol);
        derive_text(cache, letters, "salt", 2, &of_letters);
        assert_int_equal(memcmp(&of_symbol, &of_letters, sizeof(of_symbol)) == 0, cases[i].same);
    }
    scram_key_cache_destroy(cache);
}

static void test_keys_are_remembered_by_all_that_they_depend_on(void **state UNUSED)
{
    struct scram_key_cache *cache = scram_key_cache_create(10);
    struct scram_keys first, again, other;
    derive_text(cache, "secret", "salt", 2, &first);
    derive_text(cache, "secret", "salt", 2, &again);
    assert_memory_equal(&first, &again, sizeof(first));
    assert_int_equal(HASH_COUNT(cache->table), 1);
    derive_text(cache, "Secret", "salt", 2, &other);
    assert_memory_not_equal(&first, &other, sizeof(first));
    derive_text(cache, "secret", "Salt", 2, &other);
    assert_memory_not_equal(&first, &other, sizeof(first));
    derive_text(cache, "secret", "salt", 3, &other);
    assert_memory_not_equal(&first, &other, sizeof(first));
    derive_text(cache, "tsecret", "sal", 2, &other); /* the same bytes, cut elsewhere */
    assert_memory_not_equal(&first, &other, sizeof(first));
    assert_int_equal(HASH_COUNT(cache->table), 5);
    scram_key_cache_destroy(cache);
}

/* Whether the keys of the password are in the table, and where by use; -1 if they are not. */
static int place_of(const struct scram_key_cache *cache, const char *password)
{
    struct secret secret = secret_of(password);
    uint8_t wanted[SCRAM_KEY_SIZE];
    const struct cached_keys *entry;
    int place = 0;
    fingerprint(cache, &secret, (const uint8_t *) "salt", 4, 2, wanted);
    secret_release(&secret);
    DL_FOREACH(cache->by_use, entry) {
        if (memcmp(entry->fingerprint, wanted, sizeof(wanted)) == 0)
            return place;
        place++;
    }
    return -1;
}

static void test_the_entry_unused_for_longest_goes_first(void **state UNUSED)
{
    struct scram_key_cache *cache = scram_key_cache_create(3);
    struct scram_keys keys, first;
    derive_text(cache, "a", "salt", 2, &first);
    derive_text(cache, "b", "salt", 2, &keys);
    derive_text(cache, "c", "salt", 2, &keys);
    derive_text(cache, "a", "salt", 2, &keys); /* used again, so b is the oldest */
    derive_text(cache, "d", "salt", 2, &keys);
    assert_int_equal(HASH_COUNT(cache->table), 3);
    assert_int_equal(place_of(cache, "d"), 0);
    assert_int_equal(place_of(cache, "a"), 1);
    assert_int_equal(place_of(cache, "c"), 2);
    assert_int_equal(place_of(cache, "b"), -1);
    derive_text(cache, "a", "salt", 2, &keys);
    assert_memory_equal(&keys, &first, sizeof(keys));
    scram_key_cache_destroy(cache);
}

static void test_limit_of_nothing_still_derives(void **state UNUSED)
{
    struct scram_key_cache *cache = scram_key_cache_create(0);
    struct scram_keys first, again;
    derive_text(cache, "a", "salt", 2, &first);
    derive_text(cache, "a", "salt", 2, &again);
    assert_memory_equal(&first, &again, sizeof(first));
    assert_null(cache->by_use);
    scram_key_cache_destroy(cache);
}

/* 2,000 logins of 20 users, on both sides: as many derivations as users and sides. */
static void test_one_derivation_for_each_user_and_side(void **state UNUSED)
{
    struct scram_key_cache *cache = scram_key_cache_create(100);
    struct scram_keys keys;
    assert_int_equal(scram_key_cache_derivations(cache), 0);
    for (int login = 0; login < 2000; login++) {
        uint8_t salt[SCRAM_SALT_SIZE];
        char name[20], servers_salt[20];
        snprintf(name, sizeof(name), "user%d", login % 20);
        snprintf(servers_salt, sizeof(servers_salt), "of the server %d", login % 20);
        struct secret secret = secret_of(name);
        scram_key_cache_salt(cache, name, salt);
        scram_key_cache_derive(cache, &secret, salt, sizeof(salt), 2, &keys);
        secret_release(&secret);
        derive_text(cache, name, servers_salt, 2, &keys);
    }
    assert_int_equal(scram_key_cache_derivations(cache), 40);
    scram_key_cache_destroy(cache);
}

static void test_forget(void **state UNUSED)
{
    struct scram_key_cache *cache = scram_key_cache_create(2);
    struct scram_keys keys;
    struct secret guess = secret_of("guess"), used = secret_of("used");
    scram_key_cache_derive(cache, &used, (const uint8_t *) "salt", 4, 2, &keys);
    for (int i = 0; i < 5; i++) {
        scram_key_cache_derive(cache, &guess, (const uint8_t *) "salt", 4, 2, &keys);
        scram_key_cache_forget(cache, &guess, (const uint8_t *) "salt", 4, 3); /* another one */
        assert_int_equal(HASH_COUNT(cache->table), 2);
        scram_key_cache_forget(cache, &guess, (const uint8_t *) "salt", 4, 2);
        scram_key_cache_forget(cache, &guess, (const uint8_t *) "salt", 4, 2);
        assert_int_equal(HASH_COUNT(cache->table), 1);
    }
    assert_int_equal(scram_key_cache_derivations(cache), 6);
    scram_key_cache_derive(cache, &used, (const uint8_t *) "salt", 4, 2, &keys);
    assert_int_equal(scram_key_cache_derivations(cache), 6);
    secret_release(&guess);
    secret_release(&used);
    scram_key_cache_destroy(cache);
}

/* An unknown user must look like a known one: the same salt at each try, another for each name. */
static void test_salt_of_a_name(void **state UNUSED)
{
    struct scram_key_cache *cache = scram_key_cache_create(1), *other = scram_key_cache_create(1);
    uint8_t first[SCRAM_SALT_SIZE], second[SCRAM_SALT_SIZE];
    scram_key_cache_salt(cache, "bob", first);
    scram_key_cache_salt(cache, "bob", second);
    assert_memory_equal(first, second, sizeof(first));
    scram_key_cache_salt(cache, "alice", second);
    assert_memory_not_equal(first, second, sizeof(first));
    scram_key_cache_salt(other, "bob", second); /* nobody can compute it ahead */
    assert_memory_not_equal(first, second, sizeof(first));
    scram_key_cache_destroy(cache);
    scram_key_cache_destroy(other);
}

/* ---- requests ---- */

static struct loop *loop;

/* Counts the turns of the loop until it has made `limit` of them. */
static struct {
    struct task task;
    unsigned made, limit;
} turns;

static void on_turn(struct task *task)
{
    turns.made++;
    if (turns.made == turns.limit)
        loop_stop(loop);
    else
        loop_post(loop, task);
}

static void make_turns(unsigned count)
{
    turns.task.run = on_turn;
    turns.limit = turns.made + count;
    loop->stopping = false;
    loop_post(loop, &turns.task);
    loop_run(loop);
}

struct asker {
    struct scram_key_request request;
    unsigned ready_in; /* the turn; 0: not yet */
};

static void on_ready(struct task *task)
{
    container_of(task, struct asker, request.ready)->ready_in = turns.made;
}

static void ask(struct scram_key_cache *cache, struct asker *asker, const char *password,
                uint32_t iterations)
{
    struct secret secret = secret_of(password);
    *asker = (struct asker){.request.ready.run = on_ready};
    scram_key_cache_request(cache, loop, &asker->request, &secret, (const uint8_t *) "salt", 4,
                            iterations);
    secret_release(&secret);
}

/* As many slices as it takes, one in a turn, and the keys are what they would be at once. */
static void test_request(void **state UNUSED)
{
    struct scram_key_cache *cache = scram_key_cache_create(10), *other = scram_key_cache_create(1);
    struct secret secret = secret_of("password");
    struct scram_keys keys;
    struct asker asker;
    loop = loop_create();
    ask(cache, &asker, "password", 10 * SCRAM_SLICE);
    make_turns(10);
    assert_int_equal(asker.ready_in, 0);
    make_turns(1);
    assert_int_equal(asker.ready_in, 10);
    derive_text(other, "password", "salt", 10 * SCRAM_SLICE, &keys);
    assert_memory_equal(&asker.request.keys, &keys, sizeof(keys));
    assert_true(scram_key_cache_find(cache, &secret, (const uint8_t *) "salt", 4, 10 * SCRAM_SLICE,
                                     &keys));
    assert_false(scram_key_cache_find(cache, &secret, (const uint8_t *) "salt", 4, SCRAM_SLICE,
                                      &keys));
    assert_memory_equal(&asker.request.keys, &keys, sizeof(keys));
    assert_int_equal(scram_key_cache_derivations(cache), 1);
    scram_key_request_cancel(&asker.request);
    secret_release(&secret);
    scram_key_cache_destroy(cache);
    scram_key_cache_destroy(other);
    loop_destroy(loop);
}

/* Many together cost no more per turn, and who asks for little does not wait for who asks for much. */
static void test_requests_take_turns(void **state UNUSED)
{
    struct scram_key_cache *cache = scram_key_cache_create(10);
    struct asker long_one, short_one, twin;
    loop = loop_create();
    turns.made = 0;
    ask(cache, &long_one, "long", 6 * SCRAM_SLICE);
    ask(cache, &short_one, "short", SCRAM_SLICE);
    ask(cache, &twin, "short", SCRAM_SLICE);
    make_turns(20);
    assert_int_equal(short_one.ready_in, 2); /* in the round after its slice */
    assert_int_equal(twin.ready_in, 3);
    assert_int_equal(long_one.ready_in, 8);
    assert_memory_equal(&short_one.request.keys, &twin.request.keys, sizeof(struct scram_keys));
    assert_int_equal(HASH_COUNT(cache->table), 2);
    scram_key_cache_destroy(cache);
    loop_destroy(loop);
}

static void test_request_is_given_up(void **state UNUSED)
{
    static const struct scram_keys wiped;
    struct scram_key_cache *cache = scram_key_cache_create(10);
    struct asker gone = {0}, other, ready;
    loop = loop_create();
    scram_key_request_cancel(&gone.request); /* never asked */
    ask(cache, &gone, "gone", 5 * SCRAM_SLICE);
    ask(cache, &other, "other", 2 * SCRAM_SLICE);
    make_turns(2);
    scram_key_request_cancel(&gone.request);
    scram_key_request_cancel(&gone.request);
    make_turns(10);
    assert_int_equal(gone.ready_in, 0);
    assert_int_not_equal(other.ready_in, 0);
    ask(cache, &gone, "gone", 5 * SCRAM_SLICE);
    scram_key_request_cancel(&gone.request); /* the only one */
    assert_null(loop->tasks);
    ask(cache, &ready, "ready", 2);
    make_turns(1);
    assert_true(task_is_posted(&ready.request.ready));
    scram_key_request_cancel(&ready.request); /* its keys are there */
    assert_memory_equal(&ready.request.keys, &wiped, sizeof(wiped));
    make_turns(2);
    assert_int_equal(ready.ready_in, 0);
    scram_key_cache_destroy(cache);
    loop_destroy(loop);
}

static void test_destroy_of_nothing(void **state UNUSED)
{
    scram_key_cache_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_postgresqls_verifiers),
        cmocka_unit_test(test_password_that_is_no_utf8_is_used_as_it_is),
        cmocka_unit_test(test_long_passwords_are_used_as_they_are),
        cmocka_unit_test(test_keys_are_remembered_by_all_that_they_depend_on),
        cmocka_unit_test(test_the_entry_unused_for_longest_goes_first),
        cmocka_unit_test(test_limit_of_nothing_still_derives),
        cmocka_unit_test(test_one_derivation_for_each_user_and_side),
        cmocka_unit_test(test_forget),
        cmocka_unit_test(test_salt_of_a_name),
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_requests_take_turns),
        cmocka_unit_test(test_request_is_given_up),
        cmocka_unit_test(test_destroy_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
