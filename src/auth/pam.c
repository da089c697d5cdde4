/*
 * pam.c - asks PAM about a password.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config.h"

#include "auth/pam.h"

#include <stdio.h>

#ifdef HAVE_LIBPAM

#    include <openssl/crypto.h>
#    include <security/pam_appl.h>
#    include <stdlib.h>
#    include <string.h>

#    define SERVICE "pgbouncer"

/* What a module wants to know: the password where it is asked for, nothing where it only talks. */
static bool answer(const struct pam_message *message, const struct secret *password,
                   struct pam_response *ret_response)
{
    switch (message->msg_style) {
    case PAM_PROMPT_ECHO_OFF:
        ret_response->resp = strdup(password->bytes); /* the module frees it */
        return ret_response->resp != NULL;
    case PAM_ERROR_MSG:
    case PAM_TEXT_INFO:
        ret_response->resp = strdup("");
        return ret_response->resp != NULL;
    default:
        return false;
    }
}

static void free_responses(struct pam_response *responses, int count)
{
    for (int i = 0; i < count; i++) {
        if (responses[i].resp != NULL)
            OPENSSL_cleanse(responses[i].resp, strlen(responses[i].resp));
        free(responses[i].resp);
    }
    free(responses);
}

static int converse(int count, const struct pam_message **messages, struct pam_response **responses,
                    void *argument)
{
    const struct secret *password = argument;
    struct pam_response *given;
    if (count <= 0 || count > PAM_MAX_NUM_MSG)
        return PAM_CONV_ERR;
    given = calloc((size_t) count, sizeof(*given));
    if (given == NULL)
        return PAM_CONV_ERR;
    for (int i = 0; i < count; i++) {
        if (!answer(messages[i], password, &given[i])) {
            free_responses(given, count);
            return PAM_CONV_ERR;
        }
    }
    *responses = given;
    return PAM_SUCCESS;
}

bool pam_check(const char *user, const char *host, const struct secret *password, char *ret_problem,
               size_t size)
{
    struct secret copy = {0};
    struct pam_conv conversation = {.conv = converse, .appdata_ptr = &copy};
    pam_handle_t *handle = NULL;
    const char *step = "pam_start";
    int status;
    secret_copy(&copy, password);
    status = pam_start(SERVICE, user, &conversation, &handle);
    if (status == PAM_SUCCESS) {
        step = "pam_set_item";
        status = pam_set_item(handle, PAM_RHOST, host);
    }
    if (status == PAM_SUCCESS) {
        step = "pam_authenticate";
        status = pam_authenticate(handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    }
    if (status == PAM_SUCCESS) {
        step = "pam_acct_mgmt";
        status = pam_acct_mgmt(handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    }
    if (status != PAM_SUCCESS)
        snprintf(ret_problem, size, "%s: %s", step, pam_strerror(handle, status));
    if (handle != NULL)
        (void) pam_end(handle, status);
    secret_release(&copy);
    return status == PAM_SUCCESS;
}

#else

bool pam_check(const char *user UNUSED, const char *host UNUSED,
               const struct secret *password UNUSED, char *ret_problem, size_t size)
{
    snprintf(ret_problem, size, "this build has no PAM");
    return false;
}

#endif
