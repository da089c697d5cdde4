/*
 * pam.h - asks PAM about a password: service "pgbouncer", authentication, then the account.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_PAM_H
#define PGWEIR_AUTH_PAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/secret.h"

/*
 * Blocks for as long as the modules like; for a thread. `host` is the client's address or "unix".
 * False, with the reason for the log in `ret_problem`, also in a build without PAM.
 */
bool pam_check(const char *user, const char *host, const struct secret *password, char *ret_problem,
               size_t size) MUST_CHECK;

#endif
