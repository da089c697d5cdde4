/*
 * parameters.h - the session parameters that the pooler follows for clients and servers.
 *
 * DateStyle, client_encoding, TimeZone, standard_conforming_strings and application_name, then the
 * names of track_extra_parameters, then those of track_startup_parameters, which servers do not
 * report: what they are is known because only we set and reset them. A set of values is an array of
 * interned strings in that order, so that two equal sets compare with one memcmp().
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_PARAMETERS_H
#define PGWEIR_WIRE_PARAMETERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/compiler.h"

#define TRACKED_BUILT_IN         5
#define TRACKED_APPLICATION_NAME 4 /* its place in the order */
#define TRACKED_MAX              32

/* The names, fixed at start (both settings need a restart). */
struct tracked_names {
    unsigned count;
    unsigned reported; /* the first so many are reported by servers */
    const char *names[TRACKED_MAX]; /* owns one interned reference each */
};

/*
 * Sets up the built-in names and those of the comma lists `extra` and `startup` (may be NULL), which
 * keep the spelling given there. Returns false if there are more than TRACKED_MAX.
 */
bool tracked_names_init(struct tracked_names *names, const char *extra,
                        const char *startup) MUST_CHECK;
void tracked_names_release(struct tracked_names *names);

/* The place of `name` (any case), or -1. */
int tracked_names_find(const struct tracked_names *names, const char *name);

/* The values of one client or server: NULL where none is known. */
struct parameters {
    const char **values; /* owns the array and one interned reference each; NULL until init */
};

void parameters_init(struct parameters *parameters, const struct tracked_names *names);
void parameters_release(struct parameters *parameters, const struct tracked_names *names);

/* `value` is copied (interned). */
void parameters_set(struct parameters *parameters, unsigned place, const char *value);

/* Takes over from `from` every value that `to` does not have. */
void parameters_fill(struct parameters *to, const struct parameters *from,
                     const struct tracked_names *names);

/* Makes `to` equal to `from`, including unknown values. */
void parameters_copy(struct parameters *to, const struct parameters *from,
                     const struct tracked_names *names);

/*
 * Appends the SQL that gives a server with `have` the values `wanted`: "SET name='value';" for each
 * name where both know a value and they differ beyond case. Values are quoted as PostgreSQL reads
 * them: '' doubled; if there is any backslash E'..', with it doubled and \xNN for what is not ASCII;
 * search_path goes in unquoted (its reported form is quoted), with "" turned into ''. Returns false,
 * and appends nothing, if there is no difference. The SQL is not zero-terminated.
 *
 * A name that servers do not report is set with set_config(), which reads a value as a startup packet
 * does, or RESET where none is wanted. If `unknown`, what the server has of them is not known, and
 * all are set or reset.
 */
bool parameters_difference(const struct parameters *have, const struct parameters *wanted,
                           const struct tracked_names *names, bool unknown,
                           struct buffer *ret_sql) MUST_CHECK;

/* What servers do not report is now in `to` as it is in `from`; NULL: at its default. */
void parameters_take_unreported(struct parameters *to, const struct parameters *from,
                                const struct tracked_names *names);

/* True if both hold the very same values: the quick check before parameters_difference(). */
bool parameters_same(const struct parameters *a, const struct parameters *b,
                     const struct tracked_names *names);

#endif
