/*
 * failed_logins.h - remembers who has failed to log in, by (address, user), to make guessing slow.
 *
 * The next login of the same pair has to wait before it may begin; the right password is of no help
 * against that, so that nobody learns anything from a fast answer. Others do not notice. A login
 * that succeeds clears the pair. Bounded: the pair that has been quiet for longest is forgotten.
 * Unix sockets are left out.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_FAILED_LOGINS_H
#define PGWEIR_AUTH_FAILED_LOGINS_H

#include <stddef.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "net/address.h"

struct failed_logins;

struct failed_logins *failed_logins_create(size_t limit) MUST_CHECK;
void failed_logins_destroy(struct failed_logins *failed);

/* How often the pair has failed in a row, lately. */
unsigned failed_logins_count(const struct failed_logins *failed, const struct address *address,
                             const char *user);

/* How long the next login of the pair must wait: 0, or 1/8 s that doubles up to `most_us`. */
usec_t failed_logins_delay_us(const struct failed_logins *failed, const struct address *address,
                              const char *user, usec_t most_us);

void failed_logins_add(struct failed_logins *failed, const struct address *address,
                       const char *user);
void failed_logins_clear(struct failed_logins *failed, const struct address *address,
                         const char *user);

#endif
