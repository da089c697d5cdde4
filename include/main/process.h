/*
 * process.h - what the operating system knows of us: user, pid file, background, descriptors.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_MAIN_PROCESS_H
#define PGWEIR_MAIN_PROCESS_H

#include "base/compiler.h"
#include "config/config.h"

/* Becomes the user (and its primary group). Fatal if that is impossible. */
void process_become_user(const char *name);

/* Fatal if we are root: a pooler parses what strangers send. */
void process_refuse_root(void);

/* Fatal if another instance runs; removes a stale file. */
void pidfile_check(const char *file);

/* Fatal if the file cannot be made. */
void pidfile_write(const char *file);
void pidfile_remove(const char *file);

/* Goes to the background. Only the child returns. */
void process_daemonize(void);

/* Raises the limit of open descriptors as far as allowed, and logs how many clients that allows. */
void process_raise_descriptor_limit(const struct config *config);

/*
 * A core dump would hold every secret, so the soft limit is set to where the kernel writes none, not
 * even to a program. prlimit(1) raises it for a process that is to be debugged.
 */
void process_forbid_core_dumps(void);

/* Tells the service manager ("READY=1"), if there is one. */
void process_notify(const char *state);

#endif
