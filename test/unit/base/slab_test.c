/*
 * slab_test.c - pools of objects of one size.
 *
 * Under AddressSanitizer every object is a malloc() of its own, so that only the counting of used
 * objects can be looked at in both builds.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/slab.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdalign.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#    define OBJECTS_ARE_POOLED 0
#else
#    define OBJECTS_ARE_POOLED 1
#endif

struct thing {
    uint64_t numbers[5];
};

static void assert_zero(const void *object, size_t size)
{
    const uint8_t *bytes = object;
    for (size_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], 0);
}

static void test_initial(void **state UNUSED)
{
    struct slab slab = SLAB_INITIAL("thing", struct thing);
    assert_string_equal(slab.name, "thing");
    assert_int_equal(slab.object_size, sizeof(struct thing));
    assert_int_equal(slab.used, 0);
    assert_int_equal(slab.unused, 0);
    slab_release(&slab);
}

static void test_objects_are_zeroed_every_time(void **state UNUSED)
{
    struct slab slab = SLAB_INITIAL("thing", struct thing);
    for (int i = 0; i < 5; i++) {
        struct thing *thing = slab_take(&slab);
        assert_zero(thing, sizeof(*thing));
        memset(thing, 0xff, sizeof(*thing));
        slab_give_back(&slab, thing);
    }
    slab_release(&slab);
}

static void test_counts(void **state UNUSED)
{
    struct slab slab = SLAB_INITIAL("thing", struct thing);
    void *first = slab_take(&slab), *second = slab_take(&slab);
    size_t unused = slab.unused;
    assert_int_equal(slab.used, 2);
    slab_give_back(&slab, first);
    assert_int_equal(slab.used, 1);
    assert_int_equal(slab.unused, unused + OBJECTS_ARE_POOLED);
    slab_give_back(&slab, second);
    assert_int_equal(slab.used, 0);
    slab_release(&slab);
    assert_int_equal(slab.unused, 0);
}

static void test_objects_are_apart_and_aligned(void **state UNUSED)
{
    enum { COUNT = 2000 };
    struct slab slab = SLAB_INITIAL("thing", struct thing);
    static struct thing *things[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        things[i] = slab_take(&slab);
        assert_int_equal((uintptr_t) things[i] % alignof(max_align_t), 0);
        assert_zero(things[i], sizeof(*things[i]));
        memset(things[i], (int) (i % 255) + 1, sizeof(*things[i]));
    }
    assert_int_equal(slab.used, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        const uint8_t *bytes = (const uint8_t *) things[i];
        for (size_t b = 0; b < sizeof(*things[i]); b++)
            assert_int_equal(bytes[b], i % 255 + 1);
    }
    for (unsigned i = 0; i < COUNT; i++)
        slab_give_back(&slab, things[i]);
    slab_release(&slab);
}

static void test_any_object_size(void **state UNUSED)
{
    static const size_t sizes[] = {1, 7, 8, 17, 4079, 4080, 4096, 16384, 100000};
    for (size_t s = 0; s < countof(sizes); s++) {
        struct slab slab = {.name = "any", .object_size = sizes[s]};
        uint8_t *objects[9];
        for (size_t i = 0; i < countof(objects); i++) {
            objects[i] = slab_take(&slab);
            assert_zero(objects[i], sizes[s]);
            assert_int_equal((uintptr_t) objects[i] % alignof(max_align_t), 0);
            memset(objects[i], (int) i + 1, sizes[s]);
        }
        for (size_t i = 0; i < countof(objects); i++) {
            assert_int_equal(objects[i][0], i + 1);
            assert_int_equal(objects[i][sizes[s] - 1], i + 1);
            slab_give_back(&slab, objects[i]);
        }
        slab_release(&slab);
    }
}

static void test_given_back_objects_are_used_again(void **state UNUSED)
{
    struct slab slab = SLAB_INITIAL("thing", struct thing);
    void *objects[300];
    for (size_t i = 0; i < countof(objects); i++)
        objects[i] = slab_take(&slab);
    size_t all = slab.used + slab.unused;
    for (int round = 0; round < 100; round++) {
        for (size_t i = 0; i < countof(objects); i++)
            slab_give_back(&slab, objects[i]);
        for (size_t i = 0; i < countof(objects); i++)
            objects[i] = slab_take(&slab);
    }
    assert_int_equal(slab.used + slab.unused, all);
    for (size_t i = 0; i < countof(objects); i++)
        slab_give_back(&slab, objects[i]);
    slab_release(&slab);
}

static void test_release_leaves_a_usable_slab(void **state UNUSED)
{
    struct slab slab = SLAB_INITIAL("thing", struct thing);
    slab_give_back(&slab, slab_take(&slab));
    slab_release(&slab);
    struct thing *thing = slab_take(&slab);
    assert_zero(thing, sizeof(*thing));
    slab_give_back(&slab, thing);
    slab_release(&slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_initial),
        cmocka_unit_test(test_objects_are_zeroed_every_time),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_objects_are_apart_and_aligned),
        cmocka_unit_test(test_any_object_size),
        cmocka_unit_test(test_given_back_objects_are_used_again),
        cmocka_unit_test(test_release_leaves_a_usable_slab),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
