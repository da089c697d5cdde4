/*
 * outside_check.h - a password that somebody outside knows: asks PAM or LDAP, off the loop.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_OUTSIDE_CHECK_H
#define PGWEIR_AUTH_OUTSIDE_CHECK_H

#include <stdbool.h>

#include "auth/client_auth.h"
#include "auth/offload.h"
#include "base/compiler.h"
#include "base/secret.h"
#include "config/ldap_options.h"

/* The texts and the password are copied. */
struct outside_question {
    enum auth_method method; /* AUTH_PAM or AUTH_LDAP */
    const char *user;
    const char *host; /* the client's address, or "unix" */
    const struct secret *password;
    struct ldap_options *ldap; /* for AUTH_LDAP; taken over, whatever comes of it */
};

struct outside_check {
    struct offload_job job;
    void (*answered)(struct outside_check *check); /* runs on the loop */
    void *owner;
    /* The answer: */
    bool right;
    char problem[256]; /* for the log */
    /* private: */
    enum auth_method method;
    char *user, *host;         /* own */
    struct ldap_options *ldap; /* owns */
    struct secret password;
};

/*
 * Asks; `answered` runs when the answer is there, never within this call. NULL if too many ask.
 */
struct outside_check *outside_check_begin(struct offload *offload,
                                          const struct outside_question *question,
                                          void (*answered)(struct outside_check *check),
                                          void *owner) MUST_CHECK;

/* Answered or not, it is over. NULL is allowed. */
void outside_check_end(struct outside_check *check);

#endif
