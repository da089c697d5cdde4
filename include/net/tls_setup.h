/*
 * tls_setup.h - the TLS contexts that a configuration asks for. Made with the configuration, and
 * swapped with it: one that cannot be made is an error of the configuration.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_NET_TLS_SETUP_H
#define PGWEIR_NET_TLS_SETUP_H

#include "config/config.h"
#include "net/tls_context.h"

/* How connections of one database entry to its servers are protected. */
struct server_tls {
    enum sslmode mode;
    enum tls_negotiation negotiation;
    struct tls_context *context; /* owns a reference; NULL if the mode is disable */
};

struct tls_setup;

/* Reads all files. NULL, with one line in the report for each problem, if anything cannot be used. */
struct tls_setup *tls_setup_create(const struct config *config,
                                   struct config_report *report) MUST_CHECK;
void tls_setup_destroy(struct tls_setup *setup);

/* Towards clients; NULL: none. Borrows. */
const struct tls_context *tls_setup_for_clients(const struct tls_setup *setup);

/* Towards the servers of an entry, which may be made from "*". Borrows. */
const struct server_tls *tls_setup_for_database(const struct tls_setup *setup,
                                                const struct config_database *database);

#endif
