/*
 * ldap_auth.h - asks an LDAP server about a password: simple bind, or search and bind.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_LDAP_AUTH_H
#define PGWEIR_AUTH_LDAP_AUTH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/secret.h"
#include "config/ldap_options.h"

/* Seconds that each step (connecting, TLS, an answer) may take. */
#define LDAP_TIMEOUT_SECONDS 3

/* False in a build without LDAP. */
bool ldap_is_supported(void);

/*
 * Blocks for several times LDAP_TIMEOUT_SECONDS at most; for a thread. False, with the reason for
 * the log in `ret_problem`, also for an empty password (which an LDAP server would take for a wish
 * to stay anonymous) and in a build without LDAP.
 */
bool ldap_check(const struct ldap_options *options, const char *user, const struct secret *password,
                char *ret_problem, size_t size) MUST_CHECK;

#endif
