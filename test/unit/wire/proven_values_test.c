/*
 * proven_values_test.c - which values may be sent together with what must not run without them.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/proven_values.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>

#define TIMEZONE   2
#define UNREPORTED 5

struct fixture {
    struct tracked_names names;
    struct parameters have, wanted;
    struct proven_values proven;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    assert_true(tracked_names_init(&fixture.names, NULL, "search_path"));
    parameters_init(&fixture.have, &fixture.names);
    parameters_init(&fixture.wanted, &fixture.names);
    parameters_set(&fixture.have, TIMEZONE, "GMT");
    parameters_set(&fixture.have, TRACKED_APPLICATION_NAME, "");
    parameters_fill(&fixture.wanted, &fixture.have, &fixture.names);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    proven_values_release(&fixture->proven);
    parameters_release(&fixture->have, &fixture->names);
    parameters_release(&fixture->wanted, &fixture->names);
    tracked_names_release(&fixture->names);
    return 0;
}

static void want(struct fixture *fixture, unsigned place, const char *value)
{
    parameters_set(&fixture->wanted, place, value);
}

static void prove(struct fixture *fixture)
{
    proven_values_add(&fixture->proven, &fixture->wanted, &fixture->names);
}

static bool covers_unknown(const struct fixture *fixture, bool unknown)
{
    return proven_values_cover(&fixture->proven, &fixture->have, &fixture->wanted, &fixture->names,
                               unknown);
}

static bool covers(const struct fixture *fixture)
{
    return covers_unknown(fixture, false);
}

static void test_what_fits_needs_no_proof(void **state)
{
    struct fixture *fixture = *state;
    assert_true(covers(fixture));
    want(fixture, TIMEZONE, NULL); /* not known: it is not set */
    assert_true(covers(fixture));
    want(fixture, 0, "ISO"); /* the server does not report it: it is not set either */
    assert_true(covers(fixture));
}

static void test_a_value_is_proven_for_its_name(void **state)
{
    struct fixture *fixture = *state;
    want(fixture, TIMEZONE, "Asia/Tokyo");
    assert_false(covers(fixture));
    prove(fixture);
    assert_true(covers(fixture));
    want(fixture, TIMEZONE, "Nowhere/Land");
    assert_false(covers(fixture));
    want(fixture, TIMEZONE, "Asia/Tokyo");
    parameters_set(&fixture->have, 0, "ISO");
    want(fixture, 0, "Asia/Tokyo");
    assert_false(covers(fixture));
}

static void test_application_name_takes_any_ascii(void **state)
{
    struct fixture *fixture = *state;
    want(fixture, TRACKED_APPLICATION_NAME, "it's \\ \n anything");
    assert_true(covers(fixture));
    want(fixture, TRACKED_APPLICATION_NAME, "caf\xc3\xa9");
    assert_false(covers(fixture));
    prove(fixture);
    assert_false(covers(fixture));
}

static void test_text_beyond_ascii_is_never_proven(void **state)
{
    struct fixture *fixture = *state;
    want(fixture, TIMEZONE, "caf\xe9");
    prove(fixture);
    assert_false(covers(fixture));
}

static void test_unreported_values_and_resets(void **state)
{
    struct fixture *fixture = *state;
    want(fixture, UNREPORTED, "a");
    assert_false(covers(fixture));
    prove(fixture);
    assert_true(covers(fixture));
    want(fixture, UNREPORTED, NULL);
    assert_true(covers(fixture));
    assert_false(covers_unknown(fixture, true)); /* a RESET may fail as well */
    prove(fixture);
    assert_true(covers_unknown(fixture, true));
}

static void test_the_oldest_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    char value[32];
    want(fixture, UNREPORTED, "a"); /* together with GMT there are two from here on */
    for (unsigned i = 0; i < PROVEN_VALUES_MAX; i++) {
        snprintf(value, sizeof(value), "zone %u", i);
        want(fixture, TIMEZONE, value);
        prove(fixture);
    }
    assert_true(covers(fixture));
    want(fixture, TIMEZONE, "zone 0");
    assert_false(covers(fixture));
    want(fixture, TIMEZONE, "zone 1");
    assert_true(covers(fixture));
    proven_values_release(&fixture->proven);
    assert_false(covers(fixture));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_what_fits_needs_no_proof),
        TEST(test_a_value_is_proven_for_its_name),
        TEST(test_application_name_takes_any_ascii),
        TEST(test_text_beyond_ascii_is_never_proven),
        TEST(test_unreported_values_and_resets),
        TEST(test_the_oldest_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
