/*
 * proven_values.c - values of session parameters that a server has taken before.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/proven_values.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/intern.h"
#include "base/memory.h"

/* Zeroed before it is filled in: it is hashed as bytes. */
struct proven_key {
    const char *value; /* owns a reference; NULL: reset */
    uintptr_t place;   /* of its name */
};

struct proven_value {
    struct proven_key key;
    UT_hash_handle hh; /* member of the set */
};

static struct proven_key key_of(unsigned place, const char *value)
{
    return (struct proven_key){.value = value, .place = place};
}

static void forget(struct proven_values *proven, struct proven_value *value)
{
    HASH_DEL(proven->values, value);
    intern_give_back(value->key.value);
    free(value);
}

void proven_values_release(struct proven_values *proven)
{
    while (proven->values != NULL)
        forget(proven, proven->values);
}

static bool has(const struct proven_values *proven, unsigned place, const char *value)
{
    struct proven_key key = key_of(place, value);
    struct proven_value *found;
    HASH_FIND(hh, proven->values, &key, sizeof(key), found);
    return found != NULL;
}

static void add(struct proven_values *proven, unsigned place, const char *value)
{
    struct proven_value *added = memory_new(sizeof(*added));
    if (HASH_COUNT(proven->values) >= PROVEN_VALUES_MAX)
        forget(proven, proven->values);
    added->key = key_of(place, intern_share(value));
    HASH_ADD(hh, proven->values, key, sizeof(added->key), added);
}

/* What is not is read in the encoding of whoever had the server before: a matter of luck. */
static bool is_ascii(const char *value)
{
    while (*value != '\0' && (*value & 0x80) == 0)
        value++;
    return *value == '\0';
}

void proven_values_add(struct proven_values *proven, const struct parameters *parameters,
                       const struct tracked_names *names)
{
    for (unsigned i = 0; i < names->count; i++) {
        const char *value = parameters->values[i];
        bool can_be_sent = value != NULL ? is_ascii(value) : i >= names->reported;
        if (can_be_sent && i != TRACKED_APPLICATION_NAME && !has(proven, i, value))
            add(proven, i, value);
    }
}

/* True if parameters_difference() would not set or reset this one. */
static bool fits(const char *have, const char *wanted, bool reported, bool unknown)
{
    if (reported)
        return have == wanted || have == NULL || wanted == NULL;
    return have == wanted && !unknown;
}

bool proven_values_cover(const struct proven_values *proven, const struct parameters *have,
                         const struct parameters *wanted, const struct tracked_names *names,
                         bool unknown)
{
    for (unsigned i = 0; i < names->count; i++) {
        const char *value = wanted->values[i];
        if (fits(have->values[i], value, i < names->reported, unknown))
            continue;
        bool takes_any_text = i == TRACKED_APPLICATION_NAME && is_ascii(value);
        if (!takes_any_text && !has(proven, i, value))
            return false;
    }
    return true;
}
