/*
 * startup.h - the untyped packets that a client may send first.
 *
 * PostgreSQL documentation, "Message Formats": StartupMessage, SSLRequest, GSSENCRequest,
 * CancelRequest. Pure functions over bytes; nothing is allocated but what startup_release() frees.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_STARTUP_H
#define PGWEIR_WIRE_STARTUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "wire/error_response.h"

/* PostgreSQL's own limit; a longer first packet is refused from its header (hostile row ST08). */
#define STARTUP_PACKET_MAX 10000

/* Protocol versions as they stand in a StartupMessage. */
#define PROTOCOL_3_0          196608
#define PROTOCOL_MINOR_NEWEST 2 /* 3.2: PostgreSQL 18 */

/*
 * A cancel key: process id and secret. In protocol 3.0 it has 8 bytes; from 3.2 on the secret may be
 * longer. Ours then has 32 bytes, as PostgreSQL's.
 */
#define CANCEL_KEY_SIZE_3_0 8
#define CANCEL_KEY_SIZE_3_2 (4 + 32)
#define CANCEL_KEY_MAX      (4 + 256)

enum startup_kind {
    STARTUP_MORE,   /* not enough bytes to tell; at most 8 are needed */
    STARTUP_BROKEN, /* not a packet of this protocol; see the failure */
    STARTUP_SSL_REQUEST,
    STARTUP_GSS_REQUEST,
    STARTUP_CANCEL_REQUEST,
    STARTUP_MESSAGE, /* protocol 3.x */
};

struct startup_packet {
    enum startup_kind kind;
    size_t size;                         /* of the whole packet, known for all kinds but MORE, BROKEN */
    unsigned minor_version;              /* of a STARTUP_MESSAGE */
};

/*
 * Looks at the first bytes of a connection. The header alone (8 bytes) decides; the caller waits
 * until packet.size bytes have come before it reads the body. A first byte that is not zero is no
 * startup packet and gives STARTUP_BROKEN as soon as it is seen. STARTUP_BROKEN with an empty failure
 * means that the peer is told nothing; so it is for a CancelRequest whose key cannot be one, too. Texts: errors.tsv.
 */
struct startup_packet startup_read_header(const uint8_t *bytes, size_t size,
                                          struct failure *ret_failure);

/* ---- the side of a client: how we ask a server for TLS ---- */

void startup_write_ssl_request(struct buffer *out);

enum ssl_answer {
    SSL_ANSWER_YES,
    SSL_ANSWER_NO,
    SSL_ANSWER_BROKEN,    /* something else than one 'S' or 'N' */
    SSL_ANSWER_TOO_EARLY, /* more bytes behind it: somebody speaks before TLS protects him */
};

/* Reads what came after an SSLRequest; at least one byte. */
enum ssl_answer startup_read_ssl_answer(const uint8_t *bytes, size_t size);

/* ---- the side of a server ---- */

/* One parameter of a StartupMessage; both strings point into the packet. */
struct startup_parameter {
    const char *name, *value;
};

struct startup_parameters {
    struct startup_parameter *items; /* owns, unless it is `few`; the texts borrow the packet */
    size_t count;
    struct startup_parameter few[8];
};

/*
 * Splits the body of a StartupMessage (the bytes after the version). Returns false, with the text
 * of errors.tsv, if it is not zero-terminated exactly at its end or has a name without a value.
 * `packet` must stay valid as long as the result.
 */
bool startup_read_parameters(const uint8_t *body, size_t size, struct startup_parameters *ret_parameters,
                             struct failure *ret_failure) MUST_CHECK;
void startup_parameters_release(struct startup_parameters *parameters);

/* What a connection asks for with the startup parameter `replication`. */
enum replication {
    REPLICATION_NONE,
    REPLICATION_LOGICAL,  /* "database": a walsender that is connected to a database */
    REPLICATION_PHYSICAL, /* "true" and its like: one that is connected to none */
};

/*
 * Reads the value as PostgreSQL does: "database", or a boolean word in any of its spellings. Returns
 * false for any other text.
 */
bool startup_read_replication(const char *value, enum replication *ret_replication) MUST_CHECK;

/* The value that asks a server for it; NULL for REPLICATION_NONE. */
const char *startup_replication_value(enum replication replication);

/* The words of SHOW: "none", "logical", "physical". */
const char *replication_name(enum replication replication);

/*
 * Walks a startup `options` string: "-c name=value", "-cname=value", "--name=value", separated by
 * blanks, a backslash escapes the next character. Calls `accept` for each pair; `accept` returns
 * false (having filled the failure) to refuse. Returns false with a failure for any other form,
 * trailing blanks included.
 */
typedef bool startup_option_fn(void *argument, const char *name, const char *value,
                               struct failure *ret_failure);
bool startup_read_options(const char *options, startup_option_fn *accept, void *argument,
                          struct failure *ret_failure) MUST_CHECK;

#endif
