/*
 * stored_secret.h - what a stored password is: plain text, an md5 hash or a SCRAM verifier.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_STORED_SECRET_H
#define PGWEIR_AUTH_STORED_SECRET_H

#include "auth/scram.h"
#include "base/secret.h"

enum secret_kind { SECRET_NONE, SECRET_PLAIN, SECRET_MD5, SECRET_SCRAM };

/*
 * "md5" + 32 lower-case hex digits, or "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>"
 * with valid base64 and 32-byte keys; everything else is plain text. SECRET_NONE, with which nobody
 * gets in, is an empty secret and a verifier that is malformed: its text must not become the password.
 */
enum secret_kind secret_kind_of(const struct secret *secret);

/* Takes a SECRET_SCRAM apart. Returns false for any other kind. */
bool secret_read_verifier(const struct secret *secret, struct scram_verifier *ret_verifier);

#endif
