/*
 * server_auth.h - logs in to a server: answers its authentication requests. No I/O.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_SERVER_AUTH_H
#define PGWEIR_AUTH_SERVER_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/scram.h"
#include "base/buffer.h"
#include "base/compiler.h"
#include "base/secret.h"
#include "wire/error_response.h"

struct server_auth;

/*
 * `stored` is the secret of the server-side user in any form (copied); `learned` are SCRAM keys of
 * a client that logged in as the same user, or NULL (copied). Keys are used where `stored` is not
 * plain text.
 */
struct server_auth *server_auth_create(const char *user, const struct secret *stored,
                                       const struct scram_keys *learned,
                                       struct scram_key_cache *key_cache) MUST_CHECK;
/* The server is spoken to by TLS: SCRAM-SHA-256-PLUS is used where it is offered. */
void server_auth_bind(struct server_auth *auth, const struct scram_binding *binding);

void server_auth_destroy(struct server_auth *auth);

/*
 * The body of one Authentication message ('R'). Appends the answer, if one is due. Returns false,
 * with what the waiting clients are told, if the login cannot go on: a request that is not
 * supported, a secret that does not fit it, a server that does not prove its knowledge (a wrong or
 * missing SCRAM signature, AuthenticationOk in mid exchange), an iteration count over the cap.
 * `*ret_done` becomes true with AuthenticationOk.
 */
bool server_auth_respond(struct server_auth *auth, const uint8_t *body, size_t size,
                         struct buffer *ret_bytes, bool *ret_done,
                         struct failure *ret_failure) MUST_CHECK;

#endif
