/*
 * scram.h - SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it, both sides, without I/O.
 *
 * The messages are those inside SASLInitialResponse, SASLContinue, SASLResponse and SASLFinal.
 * Passwords are prepared with SASLprep (RFC 4013) and used as they are where that fails, which is
 * PostgreSQL's rule. Comparisons of keys take constant time. The channel binding of
 * SCRAM-SHA-256-PLUS is tls-server-end-point (RFC 5929).
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_SCRAM_H
#define PGWEIR_AUTH_SCRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/secret.h"
#include "net/loop.h"

#define SCRAM_MECHANISM      "SCRAM-SHA-256"
#define SCRAM_MECHANISM_PLUS "SCRAM-SHA-256-PLUS"
#define SCRAM_KEY_SIZE       32
#define SCRAM_SALT_SIZE      16   /* of the verifiers that we derive */
#define SCRAM_SALT_MAX       1024 /* longest one accepted */
#define SCRAM_ITERATIONS_MAX 1000000 /* a larger count from a server is refused, not computed */
#define SCRAM_SLICE          2000 /* iterations in one turn of the loop, of a server's count */
#define SCRAM_PREPARED_MAX   4096 /* a longer password that is not ASCII is used as it is */
#define SCRAM_NONCE_MAX      1024 /* longest one accepted from a server, our part included */
#define SCRAM_MESSAGE_MAX    8192

/* ClientKey and ServerKey: enough to log in as the user. Wipe with OPENSSL_cleanse() after use. */
struct scram_keys {
    uint8_t client_key[SCRAM_KEY_SIZE], server_key[SCRAM_KEY_SIZE];
};

/* What ties an exchange to its TLS connection: the hash of the server's certificate. */
struct scram_binding {
    uint8_t end_point[64];
    size_t size; /* 0: there is none, as without TLS */
};

/* What a server stores about a password. */
struct scram_verifier {
    uint32_t iterations;
    size_t salt_size;
    uint8_t salt[SCRAM_SALT_MAX];
    uint8_t stored_key[SCRAM_KEY_SIZE], server_key[SCRAM_KEY_SIZE];
};

/*
 * Derived keys by (password, salt, iterations): PBKDF2 costs milliseconds, so it runs once for each
 * combination and its outcome is kept. Bounded: the entry unused for longest goes first.
 */
struct scram_key_cache;

/* Keys that are being derived; a member of who asks, zeroed, with `ready.run` filled in. */
struct scram_key_request {
    struct task ready;               /* posted when `keys` are there */
    struct scram_keys keys;
    struct loop *loop;               /* borrows; NULL: nothing was asked yet */
    struct scram_key_cache *cache;   /* borrows */
    struct scram_derivation *derivation;   /* owns until `ready` is posted, then NULL */
    struct scram_key_request *next, *prev; /* member of the cache's queue until then */
};

struct scram_key_cache *scram_key_cache_create(size_t limit) MUST_CHECK;
void scram_key_cache_destroy(struct scram_key_cache *cache);
void scram_key_cache_derive(struct scram_key_cache *cache, const struct secret *password,
                            const uint8_t *salt, size_t salt_size, uint32_t iterations,
                            struct scram_keys *ret_keys);

/* The same without a derivation: false if the keys are not there. */
bool scram_key_cache_find(struct scram_key_cache *cache, const struct secret *password,
                          const uint8_t *salt, size_t salt_size, uint32_t iterations,
                          struct scram_keys *ret_keys) MUST_CHECK;

/*
 * The same beside everything else, for counts that others choose: a turn of the loop does
 * SCRAM_SLICE iterations, for whoever has waited longest for a slice, so that the loop stops for
 * less than some milliseconds however many ask for however much.
 */
void scram_key_cache_request(struct scram_key_cache *cache, struct loop *loop,
                             struct scram_key_request *request, const struct secret *password,
                             const uint8_t *salt, size_t salt_size, uint32_t iterations);

/* Gives up a request in any state, also a zeroed one, and wipes it. */
void scram_key_request_cancel(struct scram_key_request *request);

/* Takes them out again: the password was only a guess, and guesses must not drive out what is used. */
void scram_key_cache_forget(struct scram_key_cache *cache, const struct secret *password,
                            const uint8_t *salt, size_t salt_size, uint32_t iterations);

/* How often keys had to be derived, as they were not there. The log counts along at verbosity 1. */
uint64_t scram_key_cache_derivations(const struct scram_key_cache *cache);

/*
 * A salt that looks like any other and is the same for a name as long as the process lives: for
 * users without a stored verifier, known or not.
 */
void scram_key_cache_salt(struct scram_key_cache *cache, const char *user,
                          uint8_t ret_salt[SCRAM_SALT_SIZE]);

/* StoredKey: what a server keeps of the client's key. */
void scram_stored_key(const uint8_t client_key[SCRAM_KEY_SIZE], uint8_t ret_stored[SCRAM_KEY_SIZE]);

/* Which of the texts of a failed exchange belongs to the log; never shown to the peer. */
typedef const char *scram_problem;

/*
 * The server side: we check a client. Zero the struct, set `verifier`, with TLS `binding`, and
 * `plus` if the client chose SCRAM-SHA-256-PLUS; then feed the client's two messages. `reject` makes
 * every proof fail (mock exchange for unknown users) at the same cost.
 */
struct scram_server {
    struct scram_verifier verifier;
    bool reject;
    bool plus;
    struct scram_binding binding;
    struct buffer gs2_header, client_first_bare, server_first; /* own */
    char *nonce;                  /* owns; client's and server's part, from the first message on */
    char *own_nonce;              /* owns; ours, random unless a test has set it */
    bool has_other;               /* a second password with the same salt is right, too */
    uint8_t other_stored_key[SCRAM_KEY_SIZE], other_server_key[SCRAM_KEY_SIZE];
    bool other_was_right;
    struct scram_keys learned;    /* client_key filled by a good final message */
};

/* Reads client-first-message, appends server-first-message. NULL, or why it was refused. */
scram_problem scram_server_first(struct scram_server *scram, const uint8_t *message, size_t size,
                                 struct buffer *ret_answer) MUST_CHECK;

/* Reads client-final-message, appends server-final-message. After success `learned` has both keys. */
scram_problem scram_server_final(struct scram_server *scram, const uint8_t *message, size_t size,
                                 struct buffer *ret_answer) MUST_CHECK;
void scram_server_release(struct scram_server *scram);

/* The client side: we log in to a server. */
struct scram_client {
    const struct scram_binding *binding; /* borrows until release; NULL: no TLS */
    bool plus;                          /* the server offers SCRAM-SHA-256-PLUS, and it is used */
    char *nonce;                        /* owns; random unless a test has set it */
    struct buffer first_bare, server_first; /* own */
    /* What the server said of the keys that it wants to see, from its first message on. */
    uint32_t iterations;
    size_t salt_size;
    uint8_t salt[SCRAM_SALT_MAX];
    uint8_t server_signature[SCRAM_KEY_SIZE];
    bool proof_sent;
};

/* Appends client-first-message. */
void scram_client_first(struct scram_client *scram, struct buffer *ret_message);

/* Reads server-first-message. The next step needs the keys for its `salt` and `iterations`. */
scram_problem scram_client_challenge(struct scram_client *scram, const uint8_t *message,
                                     size_t size) MUST_CHECK;

/* Appends client-final-message, after a good challenge; once. */
void scram_client_final(struct scram_client *scram, const struct scram_keys *keys,
                        struct buffer *ret_message);

/* Checks server-final-message: NULL if the server proved that it knows the verifier. */
scram_problem scram_client_verify(struct scram_client *scram, const uint8_t *message,
                                  size_t size) MUST_CHECK;
void scram_client_release(struct scram_client *scram);

#endif
