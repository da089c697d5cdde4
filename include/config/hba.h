/*
 * hba.h - the rules of auth_hba_file: by which method a client must prove who it is.
 *
 *     local                    DATABASE USER METHOD [map=NAME]
 *     host|hostssl|hostnossl   DATABASE USER ADDRESS[/BITS] [MASK] METHOD [map=NAME | LDAP options]
 *
 * The first rule that fits decides. A list of rules is part of the configuration snapshot.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_HBA_H
#define PGWEIR_CONFIG_HBA_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/compiler.h"
#include "config/config.h"
#include "config/ident.h"

enum hba_method {
    HBA_TRUST,
    HBA_REJECT,
    HBA_MD5,
    HBA_PASSWORD,
    HBA_PEER,
    HBA_CERT,
    HBA_SCRAM,
    HBA_LDAP,
};

/* What a rule demands. */
struct hba_rule {
    enum hba_method method;
    unsigned line;               /* of auth_hba_file, for the log */
    const struct ident_map *map; /* borrows from the maps of the snapshot; NULL without map= */
    char *ldap_options;          /* owns; as written behind ldap, and good; NULL for other methods */
};

/* Who asks to be let in. */
struct hba_login {
    const char *database, *user;
    bool physical_replication;
    bool tls;
    sa_family_t family; /* AF_UNIX, AF_INET or AF_INET6 */

    union {
        struct in_addr ipv4;
        struct in6_addr ipv6;
    };
};

struct hba;

/*
 * Parses the text of an auth_hba_file. `file` is its name, to which its @files are relative. Each
 * line that is wrong, and each @file that cannot be read, is an error in the report, "file:line:
 * ...": rules with errors must not be used. `ident` (NULL: there are no maps) is borrowed by the
 * rules. The machine's own addresses are read if a rule asks for them. Never NULL.
 */
struct hba *hba_parse(const char *file, const char *text, size_t size, const struct ident *ident,
                      struct config_report *report) MUST_CHECK;
void hba_destroy(struct hba *hba);

/* The first rule that fits, or NULL. An IPv4 address inside an IPv6 one counts as both. */
const struct hba_rule *hba_match(const struct hba *hba, const struct hba_login *login);

#endif
