/*
 * session_features.h - features of a session that outlive the transaction, where the server does not
 * stay with the client (warn_session_features).
 *
 * SET, LISTEN and PREPARE are told by the tags of commands. For temporary tables and advisory locks the
 * answers only give a hint; what is certain is asked from the server, by a query of our own before the
 * client gets its ReadyForQuery. Nothing that the client sends is parsed.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_SESSION_FEATURES_H
#define PGWEIR_RELAY_SESSION_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"

struct session;

enum session_feature {
    FEATURE_SET = 1,
    FEATURE_LISTEN = 2,
    FEATURE_PREPARE = 4,
    FEATURE_TEMPORARY_TABLE = 8,
    FEATURE_ADVISORY_LOCK = 16
};

/* A member of the session, zeroed. */
struct session_features {
    uint8_t told;      /* the client has been told of these */
    uint8_t seen;      /* used since the last ReadyForQuery */
    uint8_t suspected; /* the server is to be asked about these */
    uint8_t asked;     /* about this one it has been asked, and has not answered; 0: none */
    bool in_block;     /* a transaction block has begun since the last ReadyForQuery */
    bool has_rows;     /* since the last tag */
    uint16_t sets;     /* SETs outside of a block, minus tracked parameters that changed */
};

/* True if the features of this session are looked for. */
bool session_features_are_watched(const struct session *session) MUST_CHECK;

/* A command has ended, with this tag of `size` bytes with its zero. */
void session_features_take_tag(struct session *session, const char *tag, size_t size);

/* A RowDescription; or a DataRow (`body` NULL). */
void session_features_take_rows(struct session *session, const uint8_t *body, size_t size);

/* A tracked parameter has another value: it follows the client. */
void session_features_take_parameter(struct session *session);

/*
 * A ReadyForQuery of this status comes. Returns true if the server was asked something: the client
 * gets the ReadyForQuery that ends the answer instead.
 */
bool session_features_ask(struct session *session, char status) MUST_CHECK;

/* A message of the answer to our own question; true if it is the ReadyForQuery for the client. */
bool session_features_answered(struct session *session, uint8_t type) MUST_CHECK;

/*
 * What the client must hear before its ReadyForQuery of this status: appends warnings, or returns the
 * message that its session ends with (NULL: it goes on).
 */
const char *session_features_tell(struct session *session, char status,
                                  struct buffer *ret_warnings) MUST_CHECK;

#endif
