/*
 * auth_query_test.c - the answers that are kept.
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

/* For what is kept. */
#include "../../../src/pool/auth_query.c"
#include "base/compiler.h"

static struct config *config;
static struct pools pools;
static struct config_database entry;
static struct database database = {.name = "db", .config = &entry};

static int start(void **state UNUSED)
{
    config = memory_new(sizeof(*config));
    settings_init(&config->settings);
    config->settings.auth_query_cache_ttl = 60 * USEC_PER_SEC;
    assert_null(config_use(config));
    pools = (struct pools){0};
    entry = (struct config_database){.auth_user = (char *) (uintptr_t) "asker"};
    return 0;
}

static int stop(void **state UNUSED)
{
    auth_query_forget(&pools);
    assert_ptr_equal(config_use(NULL), config);
    config_destroy(config);
    return 0;
}

static struct auth_request request_of(const char *name, const char *secret)
{
    struct auth_request request = {.pools = &pools, .key = cache_key(&database, name)};
    request.user_name = intern_take(name);
    secret_set(&request.secret, secret, strlen(secret));
    return request;
}

static void release(struct auth_request *request)
{
    intern_give_back(request->user_name);
    secret_release(&request->secret);
    buffer_release(&request->key);
}

static void keep_answer(const char *name, const char *secret)
{
    struct auth_request request = request_of(name, secret);
    keep(&request);
    release(&request);
}

static const struct kept_answer *kept_of(const char *name)
{
    struct buffer key = cache_key(&database, name);
    const struct kept_answer *kept = find_kept(&pools, &key);
    buffer_release(&key);
    return kept;
}

static void test_newer_answer_replaces_older_one(void **state UNUSED)
{
    assert_null(kept_of("bob"));
    keep_answer("bob", "first");
    keep_answer("bob", "second");
    assert_int_equal(HASH_COUNT(pools.auth_cache->table), 1);
    assert_true(secret_equals(&kept_of("bob")->secret, "second", 6));
    assert_true(is_fresh(kept_of("bob")));
}

static void test_answers_belong_to_entry_asker_and_name(void **state UNUSED)
{
    keep_answer("bob", "secret");
    database.name = "other";
    assert_null(kept_of("bob"));
    database.name = "db";
    entry.auth_user = (char *) (uintptr_t) "another";
    assert_null(kept_of("bob"));
    entry.auth_user = (char *) (uintptr_t) "asker";
    assert_null(kept_of("bo"));
    assert_non_null(kept_of("bob"));
}

/* Only what came from the cache is to blame for a refusal. */
static void test_distrust(void **state UNUSED)
{
    struct auth_request request = request_of("bob", "secret");
    keep(&request);
    auth_query_distrust(&request);
    assert_true(is_fresh(kept_of("bob")));
    request.from_cache = true;
    auth_query_distrust(&request);
    assert_false(is_fresh(kept_of("bob")));
    keep(&request);
    assert_true(is_fresh(kept_of("bob")));
    auth_query_forget(&pools);
    auth_query_distrust(&request);
    release(&request);
}

static void test_nothing_is_kept_without_a_time(void **state UNUSED)
{
    config->settings.auth_query_cache_ttl = 0;
    keep_answer("bob", "secret");
    assert_null(kept_of("bob"));
}

static void test_the_oldest_goes_beyond_the_limit(void **state UNUSED)
{
    char name[32];
    for (unsigned number = 0; number < CACHE_LIMIT + 10; number++) {
        snprintf(name, sizeof(name), "user%u", number);
        keep_answer(name, "secret");
        if (number == 5)
            keep_answer("user0", "newer");
    }
    assert_int_equal(HASH_COUNT(pools.auth_cache->table), CACHE_LIMIT);
    assert_null(kept_of("user1"));
    assert_null(kept_of("user5"));
    assert_null(kept_of("user9"));
    assert_non_null(kept_of("user10"));
    assert_non_null(kept_of(name));
}

#define cache_unit_test(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cache_unit_test(test_newer_answer_replaces_older_one),
        cache_unit_test(test_answers_belong_to_entry_asker_and_name),
        cache_unit_test(test_distrust),
        cache_unit_test(test_nothing_is_kept_without_a_time),
        cache_unit_test(test_the_oldest_goes_beyond_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
