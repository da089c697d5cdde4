/*
 * tls_context.h - what all TLS connections of one kind share: certificate, key, authorities,
 * protocols and ciphers, made from settings and immutable afterwards.
 *
 * A reload makes new contexts; connections that are open keep theirs.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_NET_TLS_CONTEXT_H
#define PGWEIR_NET_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stddef.h>

#include "base/compiler.h"
#include "config/settings.h"

/* The values of the settings <side>_tls_...; NULL or "" where unset. All borrow. */
struct tls_options {
    const char *side; /* "client" or "server": how the settings' names begin, for error texts */
    enum sslmode mode;
    const char *key_file, *cert_file, *ca_file;
    const char *protocols, *ciphers, *tls13_ciphers;
    const char *ecdhcurve, *dheparams; /* towards clients only */
};

struct tls_context {
    SSL_CTX *ssl; /* owns */
    enum sslmode mode;
    unsigned references;
};

#define TLS_PROBLEM_SIZE 256

/*
 * For connections that clients open, or that we open to servers. The caller owns one reference. NULL
 * if the settings cannot be used; `ret_problem` then names the setting and says what is wrong.
 */
struct tls_context *tls_context_for_clients(const struct tls_options *options,
                                            char ret_problem[TLS_PROBLEM_SIZE]) MUST_CHECK;
struct tls_context *tls_context_for_servers(const struct tls_options *options,
                                            char ret_problem[TLS_PROBLEM_SIZE]) MUST_CHECK;

/* One more reference (NULL is fine), and one less. */
struct tls_context *tls_context_share(struct tls_context *context) MUST_CHECK;
void tls_context_give_back(struct tls_context *context);

/* The words of OpenSSL for the error that it met last; empties its queue of errors. */
const char *tls_last_error(void);

#endif
