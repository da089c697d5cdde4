/*
 * log.h - the log: stderr, a file and syslog, in PgBouncer's line format:
 *
 *     YYYY-MM-DD HH:MM:SS.mmm ZZZ [PID] LEVEL PREFIX MESSAGE
 *
 * A line is written whole and unbuffered before the call returns, so a peer never sees an event
 * before the log has it. Control characters and what is not UTF-8 are escaped (\x1b), newlines too,
 * so that an event is one line; blanks at the end are dropped, a message is cut at 2047 bytes.
 * No secret may reach a format string: use struct secret.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_LOG_H
#define PGWEIR_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

enum log_level { LEVEL_FATAL, LEVEL_ERROR, LEVEL_WARNING, LEVEL_LOG, LEVEL_DEBUG, LEVEL_NOISE };

/*
 * Who a message is about. Objects embed one; `describe` writes the prefix (such as
 * "C-0x55d0c0de10: app/bob@10.0.0.7:40112") without a trailing blank and returns its length.
 */
struct log_subject {
    size_t (*describe)(const struct log_subject *subject, char *ret_text, size_t size);
};

struct log_options {
    bool to_stderr;
    const char *file; /* NULL or empty: none */
    bool to_syslog;
    const char *syslog_ident, *syslog_facility;
    int verbose; /* 0 = LEVEL_LOG and above, 1 adds DEBUG, 2 adds NOISE */
};

/*
 * Applies the options; a changed file name is opened, an unchanged one is reopened (rotation).
 * Returns false, with the old log still in force and errno set, if the file cannot be opened.
 */
bool log_configure(const struct log_options *options) MUST_CHECK;

/* Changes the level alone. */
void log_set_verbose(int verbose);

/* Closes the file and syslog; for a clean end. */
void log_close(void);

bool log_level_enabled(enum log_level level);

/* The function behind the macros below. `subject` may be NULL. */
void log_write(enum log_level level, const struct log_subject *subject, const char *format, ...)
    PRINTF_LIKE(3, 4);

#define log_at(level, subject, ...)                                                                \
    do {                                                                                           \
        if (log_level_enabled(level))                                                              \
            log_write((level), (subject), __VA_ARGS__);                                            \
    } while (0)
#define log_noise(subject, ...) log_at(LEVEL_NOISE, subject, __VA_ARGS__)
#define log_debug(subject, ...) log_at(LEVEL_DEBUG, subject, __VA_ARGS__)
#define log_info(subject, ...)  log_at(LEVEL_LOG, subject, __VA_ARGS__)
#define log_warn(subject, ...)  log_at(LEVEL_WARNING, subject, __VA_ARGS__)
#define log_error(subject, ...) log_at(LEVEL_ERROR, subject, __VA_ARGS__)

/* Logs at FATAL and ends the process with status 1. */
void log_fatal(const char *format, ...) PRINTF_LIKE(1, 2) NO_RETURN;

#endif
