/*
 * client_statements_test.c - the names that a client gives, while their changes are on their way.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/client_statements.h"

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

struct stage {
    struct client_statements client;
    struct statement_table *table;
    struct statement *one, *two;
};

static int set_up(void **state)
{
    static struct stage stage;
    memset(&stage, 0, sizeof(stage));
    stage.table = statement_table_create();
    stage.one = statement_take(stage.table, (const uint8_t *) "SELECT 1\0\0\0", 11);
    stage.two = statement_take(stage.table, (const uint8_t *) "SELECT 22\0\0\0", 12);
    *state = &stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    client_statements_release(&stage->client);
    assert_int_equal(stage->client.memory, 0);
    assert_null(stage->client.by_name);
    assert_int_equal(stage->one->references, 1);
    assert_int_equal(stage->two->references, 1);
    statement_give_back(stage->one);
    statement_give_back(stage->two);
    assert_int_equal(statement_memory(), 0);
    statement_table_destroy(stage->table);
    return 0;
}

static struct client_statement *change(struct stage *stage, const char *name, uint32_t segment,
                                       struct statement *expected)
{
    return client_statements_change(&stage->client, name, strlen(name), segment, expected);
}

static void settle(struct stage *stage, struct client_statement *entry, struct statement *named,
                   bool done)
{
    client_statements_settle(&stage->client, entry, named, done);
}

static enum client_name_state find(struct stage *stage, const char *name, uint32_t segment)
{
    struct statement *statement = stage->one;
    enum client_name_state found =
        client_statements_find(&stage->client, name, strlen(name), segment, &statement);
    if (found == CLIENT_NAME_FREE || found == CLIENT_NAME_UNCERTAIN)
        assert_null(statement);
    return found;
}

static bool is_answered(const struct stage *stage, const char *name)
{
    const struct client_statement *entry;
    HASH_FIND(hh, stage->client.by_name, name, strlen(name), entry);
    return entry != NULL && entry->pending == 0;
}

static void assert_stands_for(struct stage *stage, const char *name, uint32_t segment,
                              const struct statement *expected)
{
    struct statement *statement;
    enum client_name_state found =
        client_statements_find(&stage->client, name, strlen(name), segment, &statement);
    assert_int_equal(found, is_answered(stage, name) ? CLIENT_NAME_USED : CLIENT_NAME_NEW);
    assert_ptr_equal(statement, expected);
}

/* A name that is in use for certain. */
static void have(struct stage *stage, const char *name, struct statement *statement)
{
    settle(stage, change(stage, name, 0, statement), statement, true);
    assert_stands_for(stage, name, 1000, statement);
}

static void test_a_name_that_is_not_known(void **state)
{
    struct stage *stage = *state;
    assert_int_equal(find(stage, "a", 0), CLIENT_NAME_FREE);
    client_statements_drop(&stage->client, "a", 1);
    client_statements_clear(&stage->client);
    assert_int_equal(client_statements_count(&stage->client), 0);
}

static void test_on_its_way(void **state)
{
    struct stage *stage = *state;
    struct client_statement *entry = change(stage, "a", 7, stage->one);
    assert_stands_for(stage, "a", 7, stage->one);
    assert_int_equal(find(stage, "a", 8), CLIENT_NAME_UNCERTAIN);
    assert_int_equal(find(stage, "a", 6), CLIENT_NAME_UNCERTAIN);
    assert_int_equal(find(stage, "A", 7), CLIENT_NAME_FREE);
    assert_int_equal(find(stage, "aa", 7), CLIENT_NAME_FREE);
    settle(stage, entry, stage->one, true);
    assert_stands_for(stage, "a", 8, stage->one);
    assert_int_equal(client_statements_count(&stage->client), 1);
}

static void test_a_parse_that_fails_leaves_no_name(void **state)
{
    struct stage *stage = *state;
    settle(stage, change(stage, "a", 0, stage->one), stage->one, false);
    assert_int_equal(find(stage, "a", 0), CLIENT_NAME_FREE);
    assert_int_equal(client_statements_count(&stage->client), 0);
    assert_int_equal(stage->client.memory, 0);
}

static void test_a_close(void **state)
{
    struct stage *stage = *state;
    have(stage, "a", stage->one);
    struct client_statement *entry = change(stage, "a", 3, NULL);
    assert_int_equal(find(stage, "a", 3), CLIENT_NAME_FREE);
    assert_int_equal(find(stage, "a", 4), CLIENT_NAME_UNCERTAIN);
    settle(stage, entry, NULL, false); /* skipped */
    assert_stands_for(stage, "a", 4, stage->one);
    settle(stage, change(stage, "a", 5, NULL), NULL, true);
    assert_int_equal(find(stage, "a", 5), CLIENT_NAME_FREE);
    assert_int_equal(stage->client.memory, 0);
}

/* Parse, Close and Parse of another one in one pipeline; each may fail: the last done one counts. */
static void test_every_end_of_three_changes(void **state)
{
    struct stage *stage = *state;
    for (int before = 0; before < 2; before++)
        for (int done = 0; done < 8; done++) {
            struct statement *changes[] = {stage->one, NULL, stage->two};
            struct statement *present = before == 1 ? stage->two : NULL;
            struct client_statement *entry = NULL;
            if (present != NULL)
                have(stage, "name", present);
            for (int i = 0; i < 3; i++)
                entry = change(stage, "name", (uint32_t) i, changes[i]);
            assert_stands_for(stage, "name", 2, stage->two);
            for (int i = 0; i < 3; i++) {
                bool succeeds = (done >> i) & 1;
                if (succeeds)
                    present = changes[i];
                assert_int_equal(find(stage, "name", 9), CLIENT_NAME_UNCERTAIN);
                settle(stage, entry, changes[i], succeeds);
            }
            if (present == NULL)
                assert_int_equal(find(stage, "name", 9), CLIENT_NAME_FREE);
            else
                assert_stands_for(stage, "name", 9, present);
            client_statements_drop(&stage->client, "name", 4);
            assert_int_equal(stage->client.memory, 0);
            assert_int_equal(client_statements_count(&stage->client), 0);
        }
}

static void test_dropped_while_a_change_is_on_its_way(void **state)
{
    struct stage *stage = *state;
    have(stage, "a", stage->one);
    struct client_statement *entry = change(stage, "a", 0, NULL);
    client_statements_drop(&stage->client, "a", 1);
    settle(stage, entry, NULL, false);
    assert_int_equal(find(stage, "a", 0), CLIENT_NAME_FREE);
    assert_int_equal(stage->client.memory, 0);
}

/* DEALLOCATE ALL ends what was before it; what was sent behind it is answered later. */
static void test_clear(void **state)
{
    struct stage *stage = *state;
    have(stage, "kept", stage->one);
    have(stage, "gone", stage->one);
    have(stage, "closing", stage->two);
    struct client_statement *fails = change(stage, "fails", 0, stage->one);
    struct client_statement *comes = change(stage, "comes", 0, stage->two);
    struct client_statement *closing = change(stage, "closing", 0, NULL);
    client_statements_clear(&stage->client);
    assert_int_equal(find(stage, "gone", 0), CLIENT_NAME_FREE);
    assert_int_equal(find(stage, "kept", 0), CLIENT_NAME_FREE);
    settle(stage, fails, stage->one, false);
    settle(stage, comes, stage->two, true);
    settle(stage, closing, NULL, false);
    assert_int_equal(find(stage, "fails", 1), CLIENT_NAME_FREE);
    assert_int_equal(find(stage, "closing", 1), CLIENT_NAME_FREE);
    assert_stands_for(stage, "comes", 1, stage->two);
    assert_int_equal(client_statements_count(&stage->client), 1);
}

static void test_memory_counts_names_and_texts(void **state)
{
    struct stage *stage = *state;
    have(stage, "a", stage->one);
    uint32_t memory = stage->client.memory;
    assert_true(memory >= 1 + stage->one->size);
    have(stage, "abc", stage->two);
    assert_int_equal(stage->client.memory, 2 * memory + 2 + stage->two->size - stage->one->size);
    struct client_statement *entry = change(stage, "abc", 0, NULL);
    assert_int_equal(stage->client.memory, 2 * memory + 2 - stage->one->size);
    settle(stage, entry, NULL, false);
    assert_int_equal(stage->client.memory, 2 * memory + 2 + stage->two->size - stage->one->size);
    client_statements_clear(&stage->client);
    assert_int_equal(stage->client.memory, 0);
}

/* A client that leaves in the middle of everything. */
static void test_release_in_the_middle(void **state)
{
    struct stage *stage = *state;
    have(stage, "a", stage->one);
    have(stage, "b", stage->two);
    (void) change(stage, "b", 0, stage->one);
    (void) change(stage, "c", 0, stage->two);
    (void) change(stage, "a", 0, NULL);
    client_statements_release(&stage->client);
    assert_null(stage->client.by_name);
    assert_int_equal(stage->client.memory, 0);
}

/* Names are bytes, and any two differ. */
static void test_many_names(void **state)
{
    enum { COUNT = 3000 };
    struct stage *stage = *state;
    char name[32];
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "\xff\x80name %d", i);
        have(stage, name, i % 2 == 0 ? stage->one : stage->two);
    }
    assert_int_equal(client_statements_count(&stage->client), COUNT);
    for (int i = 0; i < COUNT; i += 2) {
        snprintf(name, sizeof(name), "\xff\x80name %d", i);
        client_statements_drop(&stage->client, name, strlen(name));
    }
    assert_int_equal(client_statements_count(&stage->client), COUNT / 2);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "\xff\x80name %d", i);
        assert_int_equal(find(stage, name, 0), i % 2 == 0 ? CLIENT_NAME_FREE : CLIENT_NAME_USED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_name_that_is_not_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_on_its_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_parse_that_fails_leaves_no_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_close, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_end_of_three_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dropped_while_a_change_is_on_its_way, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_clear, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory_counts_names_and_texts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_release_in_the_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_names, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
