/*
 * deallocate_test.c - what is DEALLOCATE with a name, and what is not.
 *
 * SPDX-License-Identifier: ISC
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "wire/deallocate.h"

static void check(const char *text, const char *expected)
{
    char name[DEALLOCATE_TEXT_MAX];
    size_t size;
    bool is = deallocate_read(text, strlen(text), name, &size);
    if (expected == NULL) {
        assert_false(is);
        return;
    }
    assert_true(is);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(name, expected, size);
}

static void test_names(void **state UNUSED)
{
    check("DEALLOCATE a1", "a1");
    check("deallocate prepare Pdo_Stmt_00000001;", "pdo_stmt_00000001");
    check(" \t\r\n\fDeallocate\n_pg3_1 ; ", "_pg3_1");
    check("DEALLOCATE \"Mixed Case\"", "Mixed Case");
    check("DEALLOCATE\"x\"\"y\"", "x\"y");
    check("DEALLOCATE PREPARE\"x\"", "x");
    check("DEALLOCATE \"all\"", "all");
    check("DEALLOCATE \"prepare\"", "prepare");
    check("DEALLOCATE na\xc3\xafve$1", "na\xc3\xafve$1");
}

static void test_what_is_none(void **state UNUSED)
{
    static const char *const texts[] = {
        "", "DEALLOCATE", "DEALLOCATE ", "DEALLOCATE ;", "DEALLOCATE ALL", "deallocate prepare all",
        "DEALLOCATE a b", "DEALLOCATE a;;", "DEALLOCATE a; SELECT 1", "DEALLOCATE 1a", "DEALLOCATE $1",
        "DEALLOCATE \"\"", "DEALLOCATE \"a", "DEALLOCATE \"a\"\"", "DEALLOCATE a -- end",
        "/* */ DEALLOCATE a", "DEALLOCATEa", "\"deallocate\" a", "DELETE FROM a", "DISCARD ALL"};
    for (size_t i = 0; i < countof(texts); i++)
        check(texts[i], NULL);
    check("DEALLOCATE PREPARE", "prepare"); /* PostgreSQL reads it so */
}

static bool is_of_all(const char *text)
{
    return deallocate_is_of_all(text, strlen(text));
}

static void test_all(void **state UNUSED)
{
    assert_true(is_of_all("DISCARD ALL"));
    assert_true(is_of_all(" deallocate\tall ; "));
    assert_true(is_of_all("DEALLOCATE PREPARE ALL;"));
    assert_false(is_of_all("DISCARD PLANS"));
    assert_false(is_of_all("DISCARD PREPARE ALL"));
    assert_false(is_of_all("DEALLOCATE \"all\""));
    assert_false(is_of_all("DEALLOCATE PREPARE"));
    assert_false(is_of_all("DISCARD ALL; SELECT 1"));
    assert_false(is_of_all("DISCARD ALLES"));
    assert_false(is_of_all(""));
}

static void test_length(void **state UNUSED)
{
    char text[DEALLOCATE_TEXT_MAX + 2];
    memset(text, 'x', sizeof(text));
    memcpy(text, "DEALLOCATE ", strlen("DEALLOCATE "));
    text[DEALLOCATE_TEXT_MAX] = '\0';
    check(text, text + strlen("DEALLOCATE "));
    text[DEALLOCATE_TEXT_MAX] = 'x';
    text[DEALLOCATE_TEXT_MAX + 1] = '\0';
    check(text, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
