/*
 * statement_test.c - prepared statements as all clients share them.
 *
 * SPDX-License-Identifier: ISC
 */
#include "server/statement.h"

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

static struct statement *take(const char *body, size_t size)
{
    static struct statement_table *table;
    if (table == NULL)
        table = statement_table_create();
    return statement_take(table, (const uint8_t *) body, (uint32_t) size);
}

#define TAKE(literal) take((literal), sizeof(literal) - 1)

static unsigned long long number_of(const struct statement *statement)
{
    unsigned long long number;
    assert_int_equal(sscanf(statement->name, "PGBOUNCER_%llu", &number), 1);
    assert_int_equal(statement->name_size, strlen(statement->name) + 1);
    return number;
}

static void test_names_count_from_one(void **state UNUSED)
{
    struct statement *first = TAKE("SELECT 1\0\0\0"), *second = TAKE("SELECT 2\0\0\0");
    assert_string_equal(first->name, "PGBOUNCER_1");
    assert_string_equal(second->name, "PGBOUNCER_2");
    statement_give_back(first);
    statement_give_back(second);
}

static void test_same_bytes_are_one_statement(void **state UNUSED)
{
    struct statement *one = TAKE("SELECT 1\0\0\0"), *same = TAKE("SELECT 1\0\0\0");
    size_t memory = statement_memory();
    assert_ptr_equal(one, same);
    assert_int_equal(one->references, 2);
    assert_ptr_equal(statement_share(one), one);
    assert_int_equal(one->references, 3);
    assert_int_equal(statement_memory(), memory);
    assert_memory_equal(one->body, "SELECT 1\0\0\0", one->size);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(statement_memory(), memory);
        statement_give_back(one);
    }
    assert_int_equal(statement_memory(), 0);
}

static void test_types_are_part_of_it(void **state UNUSED)
{
    struct statement *untyped = TAKE("SELECT $1\0\0\0");
    struct statement *number = TAKE("SELECT $1\0\0\1\0\0\0\x17");
    struct statement *text = TAKE("SELECT $1\0\0\1\0\0\0\x19");
    assert_ptr_not_equal(untyped, number);
    assert_ptr_not_equal(number, text);
    assert_int_equal(number_of(number), number_of(untyped) + 1);
    statement_give_back(untyped);
    statement_give_back(number);
    statement_give_back(text);
    assert_int_equal(statement_memory(), 0);
}

/* The text may contain anything but a zero; the beginning of another one is another statement. */
static void test_nearly_the_same(void **state UNUSED)
{
    struct statement *taken[] = {TAKE("\0\0\0"),           TAKE(" \0\0\0"),
                                 TAKE("SELECT 1\0\0\0"),   TAKE("SELECT 1 \0\0\0"),
                                 TAKE("select 1\0\0\0"),   TAKE("SELECT 1\n\0\0\0"),
                                 TAKE("SELECT 1\xff\0\0\0")};
    for (size_t i = 0; i < countof(taken); i++)
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(taken[i], taken[j]);
    for (size_t i = 0; i < countof(taken); i++)
        statement_give_back(taken[i]);
    assert_int_equal(statement_memory(), 0);
}

/* A server may still have the old name for something that has been forgotten. */
static void test_a_number_is_never_used_again(void **state UNUSED)
{
    struct statement *statement = TAKE("SELECT 1\0\0\0");
    unsigned long long number = number_of(statement);
    statement_give_back(statement);
    statement = TAKE("SELECT 1\0\0\0");
    assert_int_equal(number_of(statement), number + 1);
    statement_give_back(statement);
}

/* The same text in another pool is about another table. */
static void test_each_table_has_its_own(void **state UNUSED)
{
    static const uint8_t body[] = "SELECT 1\0\0";
    struct statement_table *table = statement_table_create();
    struct statement *here = statement_take(table, body, sizeof(body));
    struct statement *elsewhere = TAKE("SELECT 1\0\0\0");
    assert_ptr_not_equal(here, elsewhere);
    assert_int_equal(number_of(elsewhere), number_of(here) + 1);
    statement_table_destroy(table); /* a server may have it still */
    statement_give_back(here);
    statement_give_back(elsewhere);
    assert_int_equal(statement_memory(), 0);
}

static void test_an_outdated_one_is_not_found_again(void **state UNUSED)
{
    struct statement *old = TAKE("SELECT 1\0\0\0");
    statement_set_outdated(old);
    statement_set_outdated(old);
    struct statement *new = TAKE("SELECT 1\0\0\0");
    assert_ptr_not_equal(old, new);
    assert_int_equal(number_of(new), number_of(old) + 1);
    statement_give_back(old);
    statement_give_back(new);
    assert_int_equal(statement_memory(), 0);
}

/* Many, given back in another order than they were taken. */
static void test_memory_comes_back(void **state UNUSED)
{
    enum { COUNT = 5000 };
    static struct statement *taken[COUNT];
    char body[100];
    size_t bodies = 0;
    for (int i = 0; i < COUNT; i++) {
        int size = snprintf(body, sizeof(body), "SELECT %d", i) + 3;
        memset(body + size - 3, 0, 3);
        taken[i] = take(body, (size_t) size);
        bodies += (size_t) size;
    }
    assert_true(statement_memory() >= bodies + COUNT * sizeof(struct statement));
    for (int i = 0; i < COUNT; i++) { /* 7 and 5000 have no common factor */
        struct statement **place = &taken[i * 7 % COUNT];
        statement_give_back(*place);
        *place = NULL;
    }
    assert_int_equal(statement_memory(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_count_from_one), /* the first, as its name says */
        cmocka_unit_test(test_same_bytes_are_one_statement),
        cmocka_unit_test(test_types_are_part_of_it),
        cmocka_unit_test(test_each_table_has_its_own),
        cmocka_unit_test(test_an_outdated_one_is_not_found_again),
        cmocka_unit_test(test_nearly_the_same),
        cmocka_unit_test(test_a_number_is_never_used_again),
        cmocka_unit_test(test_memory_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
