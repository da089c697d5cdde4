/*
 * pooler.h - puts the rooms together: one loop, its pools, clients, listeners and console; signals,
 * reload and shutdown.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_MAIN_POOLER_H
#define PGWEIR_MAIN_POOLER_H

#include "base/compiler.h"
#include "main/options.h"
#include "net/tls_setup.h"

struct pooler;

/*
 * Loads the first configuration with its certificates and puts it in force; then becomes the user
 * and opens the log that it names. Returns what it asks for of TLS (the caller owns it), or NULL,
 * with the reasons said, if it cannot be used. At a check (options.check) the user stays and
 * everything is said on standard error.
 */
struct tls_setup *pooler_load(const struct options *options) MUST_CHECK;

/* Opens the listeners, takes over `tls`. Fatal, with the reason logged, if something is missing. */
struct pooler *pooler_create(const struct options *options, struct tls_setup *tls) MUST_CHECK;

/* Serves until a signal or the console ends it. */
void pooler_run(struct pooler *pooler);

/* Closes and frees everything. Ends the process if a thread hangs in a library. */
void pooler_destroy(struct pooler *pooler);

#endif
