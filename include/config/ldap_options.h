/*
 * ldap_options.h - the options of LDAP logins: auth_ldap_options, and the rest of an HBA line whose
 * method is ldap. Pure: needs no LDAP library, so that any build can check a configuration.
 *
 *     options = [ item { separator item } ]       separator: blanks and commas
 *     item    = name "=" value                    either may stand in double quotes, whole or in
 * part; inside them "" is a quotation mark
 *
 * Simple bind:       ldapprefix, ldapsuffix: the name that is bound is prefix + user + suffix.
 * Search and bind:   ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute (uid) or
 *                    ldapsearchfilter, where $username stands for the user: the entry is searched,
 *                    then bound.
 * Where:             ldapserver (host names with blanks between), ldapport, ldapscheme (ldap,
 * ldaps), ldaptls=1 (StartTLS), or ldapurl=ldap[s]://host[:port]/base?attribute?scope?filter Of an
 * option that is given twice, the last one counts.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_LDAP_OPTIONS_H
#define PGWEIR_CONFIG_LDAP_OPTIONS_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/secret.h"

enum ldap_scope {
    LDAP_SEARCH_BASE,
    LDAP_SEARCH_ONE,
    LDAP_SEARCH_SUBTREE
};

/* The texts are owned; NULL where an option is absent. */
struct ldap_options {
    char *server; /* host names with blanks between; never absent */
    int port;     /* never 0: the default of the scheme is filled in */
    bool ldaps, start_tls;
    char *prefix, *suffix;
    char *base_dn;
    char *bind_dn;
    struct secret bind_password;
    char *search_attribute, *search_filter;
    enum ldap_scope scope;
};

/*
 * Reads and checks the options. NULL, with a text in `*ret_error` (free() it) that says what is
 * wrong and holds no password, if they cannot be used.
 */
struct ldap_options *ldap_options_parse(const char *text, char **ret_error) MUST_CHECK;

/* Wipes the password and frees. NULL is allowed. */
void ldap_options_destroy(struct ldap_options *options);

/* True for search and bind, false for a simple bind. */
bool ldap_options_search(const struct ldap_options *options);

/* Appends the text with *** in place of ldapbindpasswd, for SHOW CONFIG and the log. */
void ldap_options_print(const char *text, struct buffer *ret_text);

/* ---- what is made of them; all results are zero-terminated, release with free() ---- */

/* "ldap://a:389 ldap://b:389", as ldap_initialize() wants it. */
char *ldap_options_uri(const struct ldap_options *options) MUST_CHECK;

/*
 * The name to bind in a simple bind. Behind a prefix that ends with '=' the user is a value of a
 * distinguished name and is escaped as such (RFC 4514), so that he cannot name another entry.
 */
char *ldap_options_bind_name(const struct ldap_options *options, const char *user) MUST_CHECK;

/* The filter of the search, with the user escaped (RFC 4515). */
char *ldap_options_filter(const struct ldap_options *options, const char *user) MUST_CHECK;

/* False for a name that a search may not be asked for: one with any of * ( ) \ / in it. */
bool ldap_user_is_searchable(const char *user) MUST_CHECK;

#endif
