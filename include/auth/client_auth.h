/*
 * client_auth.h - checks that a client is who it says: one login conversation as a state machine,
 * bytes in, bytes out, verdict. No I/O.
 *
 * Messages of the pooler's side: AuthenticationCleartextPassword, -MD5Password, -SASL, -SASLContinue,
 * -SASLFinal. The final AuthenticationOk is not written here: it is part of the welcome.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_CLIENT_AUTH_H
#define PGWEIR_AUTH_CLIENT_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/scram.h"
#include "base/buffer.h"
#include "base/compiler.h"
#include "base/secret.h"
#include "wire/error_response.h"

/*
 * AUTH_PEER and AUTH_CERT are proven by the connection, not by messages: the caller has checked
 * them before it begins one. AUTH_PAM and AUTH_LDAP are decided outside: see client_auth_answer().
 */
enum auth_method {
    AUTH_ANY,
    AUTH_TRUST,
    AUTH_PLAIN,
    AUTH_MD5,
    AUTH_SCRAM,
    AUTH_PEER,
    AUTH_CERT,
    AUTH_PAM,
    AUTH_LDAP,
};

enum auth_verdict {
    AUTH_CONTINUE, /* send what was written and wait for the next message */
    AUTH_ACCEPTED,
    AUTH_REFUSED, /* the failure says what the client is told */
    AUTH_PENDING, /* somebody outside is to be asked about client_auth_received() */
};

/* One PasswordMessage or SASL response may not be longer (a password of 65,530 bytes fits). */
#define AUTH_MESSAGE_MAX 65540

struct client_auth;

/*
 * For the methods that ask the client nothing (any, trust, peer, cert): accepted, or refused with the
 * failure. AUTH_CONTINUE with the others: a conversation is to be created.
 */
enum auth_verdict client_auth_decide(enum auth_method method, bool known,
                                     struct failure *ret_failure) MUST_CHECK;

/*
 * `method` is what the configuration asks for; md5 becomes SCRAM where the stored secret is a
 * verifier. `stored` is copied. A user that is not known (`known` false) goes through the same
 * exchange as one that is, with a salt that is derived from the name and a secret of this process,
 * and is refused at the end. Under AUTH_PLAIN every wrong password costs one derivation of keys, as
 * a stored verifier makes it cost. SCRAM of a plain secret uses `iterations` and such a derived salt too,
 * so that the derived keys can be cached in `key_cache` (borrowed until destroy).
 */
struct client_auth *client_auth_create(enum auth_method method, const char *user, bool known,
                                       const struct secret *stored, uint32_t iterations,
                                       struct scram_key_cache *key_cache) MUST_CHECK;

/*
 * A second secret of the user that is as good as the first (copied): while a password is being
 * changed. Of two verifiers with different salts only the first can be used, as one salt must be
 * told before the password is seen. Before client_auth_begin().
 */
void client_auth_add_secret(struct client_auth *auth, const struct secret *other);

/* The client speaks by TLS: offers SCRAM-SHA-256-PLUS too. Before client_auth_begin(). */
void client_auth_bind(struct client_auth *auth, const struct scram_binding *binding);

/* Wipes and frees. */
void client_auth_destroy(struct client_auth *auth);

/* Starts the conversation: appends the first request, or decides at once (trust). */
enum auth_verdict client_auth_begin(struct client_auth *auth, struct buffer *ret_bytes,
                                    struct failure *ret_failure) MUST_CHECK;

/* The body of the client's next 'p' message. */
enum auth_verdict client_auth_respond(struct client_auth *auth, const uint8_t *body, size_t size,
                                      struct buffer *ret_bytes, struct failure *ret_failure) MUST_CHECK;

/*
 * What those outside (PAM, LDAP) say about the password that was received; ends AUTH_PENDING.
 * `problem` is for the log and is copied.
 */
enum auth_verdict client_auth_answer(struct client_auth *auth, bool right, const char *problem,
                                     struct failure *ret_failure) MUST_CHECK;

/* True for the methods that somebody outside decides. */
bool auth_method_is_outside(enum auth_method method);

/* In the following, `auth` may be NULL: client_auth_decide() has decided. */

/*
 * The password that a client sent in clear text under PAM or LDAP: to be checked while the verdict
 * is pending, and good for the server once it was accepted. NULL before and with other methods.
 */
const struct secret *client_auth_received(const struct client_auth *auth);

/* Why the client was refused, for the log only; NULL if there is no more to say. */
const char *client_auth_problem(const struct client_auth *auth);

/*
 * The keys learned from a client that proved by SCRAM that it knows the password behind a stored
 * verifier: with them the pooler can log in to the server as that user. NULL otherwise (also when
 * the verifier was derived from a plain secret).
 */
const struct scram_keys *client_auth_learned_keys(const struct client_auth *auth);

#endif
