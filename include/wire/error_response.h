/*
 * error_response.h - ErrorResponse and NoticeResponse.
 *
 * What the pooler says itself carries only the fields S, C and M (no V), as PgBouncer's does.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_ERROR_RESPONSE_H
#define PGWEIR_WIRE_ERROR_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/compiler.h"

#define SQLSTATE_PROTOCOL_VIOLATION "08P01" /* PgBouncer's code for nearly everything */
#define SQLSTATE_CONFIG_FILE_ERROR  "F0000"
#define SQLSTATE_SUCCESS            "00000"
#define SQLSTATE_WARNING            "01000"
#define SQLSTATE_QUERY_CANCELED     "57014" /* query_canceled, of time limits, too */
#define SQLSTATE_TOO_MANY           "53300" /* too_many_connections */

/* PgBouncer cuts its own texts at this length, and scripts compare whole texts. */
#define OWN_TEXT_MAX 127

/* Why something failed, as a peer may be told. A zeroed struct means no failure. */
struct failure {
    char sqlstate[6];
    char message[256];
};

/* Fills `ret_failure` with SQLSTATE_PROTOCOL_VIOLATION and the text. */
void failure_set(struct failure *ret_failure, const char *format, ...) PRINTF_LIKE(2, 3);

/* Appends one ErrorResponse ('E') or NoticeResponse ('N', a WARNING too). `detail` may be NULL. */
void error_response_write(struct buffer *out, const char *severity, const char *sqlstate,
                          const char *message);
/* ... with a field R, the function of PostgreSQL that drivers know the error by. */
void error_response_write_of(struct buffer *out, const char *severity, const char *sqlstate,
                             const char *message, const char *routine);
void warning_response_write(struct buffer *out, const char *message, const char *hint);
void notice_response_write(struct buffer *out, const char *sqlstate, const char *message,
                           const char *detail);

/* The fields of a received ErrorResponse that matter; each is "" when it was absent. */
struct error_fields {
    char severity[32];
    char sqlstate[6];
    char message[512];
    char routine[64]; /* the C function that it comes from: the same in every language */
};

/*
 * Reads the body of an ErrorResponse or NoticeResponse. Returns false for a malformed one (a field
 * without its terminator, a missing end); what could be read is in `ret_fields` even then. Long
 * texts are cut. Unknown fields are skipped, of duplicated ones the first counts.
 */
bool error_response_read(const void *body, size_t size, struct error_fields *ret_fields);

#endif
