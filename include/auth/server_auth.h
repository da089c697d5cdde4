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

/*
 * True after a good request that is not answered yet, as the keys for it have never been derived.
 * Then server_auth_derive_keys() asks for them; when they are there server_auth_prove() appends the
 * answer. A server that says anything else meanwhile is not believed.
 */
bool server_auth_needs_keys(const struct server_auth *auth);
void server_auth_derive_keys(struct server_auth *auth, struct loop *loop,
                             struct scram_key_request *request);
void server_auth_prove(struct server_auth *auth, const struct scram_keys *keys,
                       struct buffer *ret_bytes);

#endif
