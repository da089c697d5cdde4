/*
 * options.h - the command line.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_MAIN_OPTIONS_H
#define PGWEIR_MAIN_OPTIONS_H

#include <stdbool.h>

#include "base/compiler.h"

struct options {
    const char *config_file;
    const char *user; /* NULL: as the configuration says */
    bool daemon, quiet, check;
    int verbose;
};

/* Reads the command line. Ends the process for --help, --version, --print-... and usage errors. */
struct options options_read(int argc, char *argv[]);

/* "PgBouncer 1.25.2 (pgweir 0.1.0)": what --version and SHOW VERSION say first. */
const char *version_text(void);

/* "libevent 2.1.12-stable (epoll), adns: c-ares 1.18.1, tls: OpenSSL 3.0.16" for the log. */
void version_libraries(const char *method, char *ret_text, unsigned size);

#endif
