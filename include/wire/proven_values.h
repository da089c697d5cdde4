/*
 * proven_values.h - values of session parameters that a server has taken before.
 *
 * A statement that is sent together with our own SET runs even if the SET fails. So only values that
 * are not going to fail travel that way: those in this set, and application_name, which takes any
 * text. The set forgets the oldest when it is full.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_PROVEN_VALUES_H
#define PGWEIR_WIRE_PROVEN_VALUES_H

#include <stdbool.h>

#include "base/compiler.h"
#include "wire/parameters.h"

#define PROVEN_VALUES_MAX 1000

struct proven_value;

/* A zeroed struct is an empty set. */
struct proven_values {
    struct proven_value *values; /* owns; hash, in the order of arrival */
};

void proven_values_release(struct proven_values *proven);

/* A server has all of `parameters` now: each is proven for its name. */
void proven_values_add(struct proven_values *proven, const struct parameters *parameters,
                       const struct tracked_names *names);

/*
 * True if everything that parameters_difference() would set or reset with the same arguments is
 * proven.
 */
bool proven_values_cover(const struct proven_values *proven, const struct parameters *have,
                         const struct parameters *wanted, const struct tracked_names *names,
                         bool unknown) MUST_CHECK;

#endif
