/*
 * leftovers_test.c - what commands leave behind, and what removes it.
 *
 * SPDX-License-Identifier: ISC
 */
#include "server/leftovers.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

static unsigned after(unsigned left, const char *tag)
{
    return leftovers_after_tag(left, tag, strlen(tag) + 1);
}

static void test_what_ends_with_its_transaction(void **state UNUSED)
{
    static const char *const tags[] = {
        "BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SHOW", "RESET",
        "PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED", "NOTIFY", "UNLISTEN",
        "DEALLOCATE", "DEALLOCATE ALL", "CLOSE CURSOR", "CLOSE CURSOR ALL", "DISCARD TEMP"};
    for (size_t i = 0; i < countof(tags); i++) {
        assert_int_equal(after(LEFT_NOTHING, tags[i]), LEFT_NOTHING);
        assert_int_equal(after(LEFT_BY_FUNCTIONS, tags[i]), LEFT_BY_FUNCTIONS);
    }
}

static void test_single_kinds(void **state UNUSED)
{
    assert_int_equal(after(LEFT_NOTHING, "SET"), LEFT_SETTINGS);
    assert_int_equal(after(LEFT_NOTHING, "LISTEN"), LEFT_LISTENING);
    assert_int_equal(after(LEFT_SETTINGS, "PREPARE"), LEFT_SETTINGS | LEFT_STATEMENTS);
}

static void test_what_may_run_functions(void **state UNUSED)
{
    static const char *const tags[] = {
        "SELECT 1", "SELECT 18446744073709551615", "INSERT 0 1", "UPDATE 0", "DELETE 3", "MERGE 1",
        "COPY 5", "FETCH 2", "MOVE 0", "CALL", "DO", "EXPLAIN", "DECLARE CURSOR", "SELECT"};
    for (size_t i = 0; i < countof(tags); i++)
        assert_int_equal(after(LEFT_NOTHING, tags[i]), LEFT_BY_FUNCTIONS);
}

static void test_what_is_not_known_may_leave_anything(void **state UNUSED)
{
    static const char *const tags[] = {
        "CREATE TABLE", "CREATE TABLE AS", "ALTER SYSTEM", "LOAD", "VACUUM", "set", "SETX", "SELECTS",
        "BEGIN 1", "SELECT x", "SET 1", " SET", "", "DISCARD ALL 1", "DISCARD", "SELECT ", "SHO"};
    char longest[LEFTOVERS_TAG_MAX + 1];
    for (size_t i = 0; i < countof(tags); i++)
        assert_int_equal(after(LEFT_NOTHING, tags[i]), LEFT_UNKNOWN);
    assert_int_equal(leftovers_after_tag(LEFT_NOTHING, "SHOW", 4), LEFT_UNKNOWN); /* no zero */
    assert_int_equal(leftovers_after_tag(LEFT_NOTHING, "", 0), LEFT_UNKNOWN);
    memset(longest, 0, sizeof(longest));
    assert_int_equal(leftovers_after_tag(LEFT_NOTHING, longest, sizeof(longest)), LEFT_UNKNOWN);
}

static void test_discard_all_ends_it(void **state UNUSED)
{
    assert_int_equal(after(LEFT_UNKNOWN, "DISCARD ALL"), LEFT_NOTHING);
    assert_int_equal(after(after(LEFT_UNKNOWN, "DISCARD ALL"), "SET"), LEFT_SETTINGS);
}

static void test_messages(void **state UNUSED)
{
    for (unsigned type = 0; type < 256; type++) {
        unsigned left = leftovers_after_message(LEFT_NOTHING, (uint8_t) type);
        if (type != 0 && strchr("ANSIZ3ntTD", (int) type) != NULL)
            assert_int_equal(left, LEFT_NOTHING);
        else if (type == 'C')
            assert_int_equal(left, LEFT_UNKNOWN);
        else if (type == '1')
            assert_int_equal(left, LEFT_STATEMENTS);
        else
            assert_int_equal(left, LEFT_BY_FUNCTIONS);
        assert_int_equal(leftovers_after_message(LEFT_UNKNOWN, (uint8_t) type), LEFT_UNKNOWN);
    }
}

static void test_resets(void **state UNUSED)
{
    static const char all[] = "CLOSE ALL;SET SESSION AUTHORIZATION DEFAULT;RESET ALL;DEALLOCATE ALL;"
                              "UNLISTEN *;SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;"
                              "DISCARD SEQUENCES;";
    assert_null(leftovers_reset(LEFT_NOTHING));
    assert_string_equal(leftovers_reset(LEFT_SETTINGS),
                        "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;");
    assert_string_equal(leftovers_reset(LEFT_LISTENING), "UNLISTEN *;");
    assert_string_equal(leftovers_reset(LEFT_STATEMENTS), "DEALLOCATE ALL;");
    assert_string_equal(leftovers_reset(LEFT_LISTENING | LEFT_STATEMENTS),
                        "DEALLOCATE ALL;UNLISTEN *;");
    assert_string_equal(leftovers_reset(LEFT_BY_FUNCTIONS), all);
    assert_string_equal(leftovers_reset(LEFT_UNKNOWN), "DISCARD ALL");
    /* Of each kind there is everything that removes it. */
    for (unsigned left = 1; left < 8; left++) {
        const char *sql = leftovers_reset(left);
        assert_int_equal(strstr(sql, "RESET ALL;") != NULL, (left & LEFT_SETTINGS) != 0);
        assert_int_equal(strstr(sql, "AUTHORIZATION") != NULL, (left & LEFT_SETTINGS) != 0);
        assert_int_equal(strstr(sql, "UNLISTEN") != NULL, (left & LEFT_LISTENING) != 0);
        assert_int_equal(strstr(sql, "DEALLOCATE") != NULL, (left & LEFT_STATEMENTS) != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_ends_with_its_transaction),
        cmocka_unit_test(test_single_kinds),
        cmocka_unit_test(test_what_may_run_functions),
        cmocka_unit_test(test_what_is_not_known_may_leave_anything),
        cmocka_unit_test(test_discard_all_ends_it),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_resets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
