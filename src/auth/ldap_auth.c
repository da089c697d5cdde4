/*
 * ldap_auth.c - asks an LDAP server about a password.
 *
 * A connection serves one bind, as in PostgreSQL: search and bind opens two. Referrals are not
 * followed, so that a password goes to no host that the configuration does not name. Certificates
 * are checked as ldap.conf says (TLS_CACERT, TLS_REQCERT).
 *
 * SPDX-License-Identifier: ISC
 */
#include "config.h"

#include "auth/ldap_auth.h"

#include <stdio.h>

#ifdef HAVE_LIBLDAP

#    include <errno.h>
#    include <ldap.h>
#    include <poll.h>
#    include <pthread.h>
#    include <stdint.h>
#    include <stdlib.h>
#    include <string.h>
#    include <sys/socket.h>
#    include <sys/time.h>
#    include <time.h>

/* Names of entries are all that we ask for. */
#    define LARGEST_ANSWER (1024 * 1024)

struct attempt {
    const struct ldap_options *options; /* borrows */
    LDAP *connection;                   /* owns */
    char *problem;                      /* borrows; of `problem_size` bytes */
    size_t problem_size;
    struct ldap_conncb callbacks;
    ber_socket_t fd;      /* borrows from the connection */
    int64_t step_ends_ms; /* on the monotonic clock */
};

bool ldap_is_supported(void)
{
    return true;
}

/* Notes what went wrong, with what the library has to add about it. */
static bool fail(struct attempt *attempt, const char *step, int status)
{
    char *more = NULL;
    if (attempt->connection != NULL && status != LDAP_INVALID_CREDENTIALS)
        ldap_get_option(attempt->connection, LDAP_OPT_DIAGNOSTIC_MESSAGE, &more);
    snprintf(attempt->problem, attempt->problem_size, "%s: %s%s%s", step, ldap_err2string(status),
             more != NULL && more[0] != '\0' ? ": " : "", more != NULL ? more : "");
    ldap_memfree(more);
    return false;
}

static bool refuse(struct attempt *attempt, const char *problem)
{
    snprintf(attempt->problem, attempt->problem_size, "%s", problem);
    return false;
}

static void disconnect(struct attempt *attempt)
{
    if (attempt->connection != NULL)
        ldap_unbind_ext_s(attempt->connection, NULL, NULL);
    attempt->connection = NULL;
}

/*
 * ---- time ----
 *
 * The library watches the time while it connects and while it waits for an answer, but in a TLS
 * handshake with a silent server it spins for ever. So a layer of ours lies between the socket and
 * TLS: it waits for the socket, and past the time of the step it breaks the connection.
 */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void begin_step(struct attempt *attempt)
{
    attempt->step_ends_ms = now_ms() + LDAP_TIMEOUT_SECONDS * 1000;
}

/* False, with errno set, if the time of the step is over before the socket is ready. */
static bool wait_for_socket(const struct attempt *attempt, short events)
{
    struct pollfd waiting = {.fd = attempt->fd, .events = events};
    int64_t left_ms = attempt->step_ends_ms - now_ms();
    int ready = left_ms > 0 ? poll(&waiting, 1, (int) left_ms) : 0; /* signals do not come here */
    if (ready == 0)
        errno = ETIMEDOUT;
    return ready > 0;
}

static ber_slen_t timed_read(Sockbuf_IO_Desc *layer, void *bytes, ber_len_t size)
{
    if (!wait_for_socket(layer->sbiod_pvt, POLLIN))
        return -1;
    return LBER_SBIOD_READ_NEXT(layer, bytes, size);
}

static ber_slen_t timed_write(Sockbuf_IO_Desc *layer, void *bytes, ber_len_t size)
{
    if (!wait_for_socket(layer->sbiod_pvt, POLLOUT))
        return -1;
    return LBER_SBIOD_WRITE_NEXT(layer, bytes, size);
}

static int set_up_layer(Sockbuf_IO_Desc *layer, void *argument)
{
    layer->sbiod_pvt = argument;
    return 0;
}

static int control_layer(Sockbuf_IO_Desc *layer, int option, void *argument)
{
    return LBER_SBIOD_CTRL_NEXT(layer, option, argument);
}

static Sockbuf_IO timed_layer = {.sbi_setup = set_up_layer,
                                 .sbi_ctrl = control_layer,
                                 .sbi_read = timed_read,
                                 .sbi_write = timed_write};

static int on_connected(LDAP *connection UNUSED, Sockbuf *socket, LDAPURLDesc *url UNUSED,
                        struct sockaddr *address UNUSED, struct ldap_conncb *callbacks)
{
    static const struct timeval limit = {.tv_sec = LDAP_TIMEOUT_SECONDS};
    struct attempt *attempt = callbacks->lc_arg;
    ber_len_t largest = LARGEST_ANSWER;
    begin_step(attempt);
    (void) ber_sockbuf_ctrl(socket, LBER_SB_OPT_SET_MAX_INCOMING, &largest);
    if (ber_sockbuf_ctrl(socket, LBER_SB_OPT_GET_FD, &attempt->fd) <= 0)
        return -1;
    /* A message that does not fit into the socket's buffer blocks inside the write. */
    (void) setsockopt(attempt->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    return ber_sockbuf_add_io(socket, &timed_layer, LBER_SBIOD_LEVEL_PROVIDER + 1, attempt);
}

static void on_disconnected(LDAP *connection UNUSED, Sockbuf *socket UNUSED,
                            struct ldap_conncb *callbacks UNUSED)
{
}

/* ---- connections ---- */

static int set_options(struct attempt *attempt)
{
    LDAP *connection = attempt->connection;
    static const int version = LDAP_VERSION3;
    static const struct timeval limit = {.tv_sec = LDAP_TIMEOUT_SECONDS};
    int status = ldap_set_option(connection, LDAP_OPT_PROTOCOL_VERSION, &version);
    if (status == LDAP_OPT_SUCCESS)
        status = ldap_set_option(connection, LDAP_OPT_NETWORK_TIMEOUT, &limit);
    if (status == LDAP_OPT_SUCCESS)
        status = ldap_set_option(connection, LDAP_OPT_TIMEOUT, &limit);
    if (status == LDAP_OPT_SUCCESS)
        status = ldap_set_option(connection, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
    if (status == LDAP_OPT_SUCCESS)
        status = ldap_set_option(connection, LDAP_OPT_CONNECT_CB, &attempt->callbacks);
    return status;
}

/* The library reads its own configuration in the first call of all, and takes no care of threads.
 */
static void set_up_library(void)
{
    int version;
    (void) ldap_get_option(NULL, LDAP_OPT_PROTOCOL_VERSION, &version);
}

static bool connect_to(struct attempt *attempt)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char *uri = ldap_options_uri(attempt->options);
    int status;
    (void) pthread_once(&once, set_up_library);
    status = ldap_initialize(&attempt->connection, uri);
    free(uri);
    if (status != LDAP_SUCCESS)
        return fail(attempt, "ldap_initialize", status);
    status = set_options(attempt);
    if (status != LDAP_OPT_SUCCESS)
        return fail(attempt, "ldap_set_option", status);
    if (attempt->options->start_tls) {
        begin_step(attempt);
        status = ldap_start_tls_s(attempt->connection, NULL, NULL);
        if (status != LDAP_SUCCESS)
            return fail(attempt, "StartTLS", status);
    }
    return true;
}

static bool bind_as(struct attempt *attempt, const char *name, const struct secret *password,
                    const char *step)
{
    begin_step(attempt);
    struct berval credentials = {.bv_len = password->length, .bv_val = password->bytes};
    int status = ldap_sasl_bind_s(attempt->connection, name, LDAP_SASL_SIMPLE, &credentials, NULL,
                                  NULL, NULL);
    return status == LDAP_SUCCESS || fail(attempt, step, status);
}

/* ---- search ---- */

static int scope_of(const struct ldap_options *options)
{
    switch (options->scope) {
    case LDAP_SEARCH_BASE:
        return LDAP_SCOPE_BASE;
    case LDAP_SEARCH_ONE:
        return LDAP_SCOPE_ONELEVEL;
    case LDAP_SEARCH_SUBTREE:
        break;
    }
    return LDAP_SCOPE_SUBTREE;
}

/* The name of the only entry found; free with ldap_memfree(). NULL if there is none, or several. */
static char *take_name(struct attempt *attempt, LDAPMessage *result)
{
    char *name;
    int count = ldap_count_entries(attempt->connection, result);
    if (count != 1) {
        (void) refuse(attempt, count == 0 ? "the LDAP search found no entry"
                                          : "the LDAP search found more than one entry");
        return NULL;
    }
    name = ldap_get_dn(attempt->connection, ldap_first_entry(attempt->connection, result));
    if (name != NULL && name[0] != '\0')
        return name;
    (void) refuse(attempt, "the LDAP search found an entry without a name");
    ldap_memfree(name);
    return NULL;
}

static char *search(struct attempt *attempt, const char *user)
{
    static char no_attributes[] = LDAP_NO_ATTRS;
    char *attributes[] = {no_attributes, NULL};
    struct timeval limit = {.tv_sec = LDAP_TIMEOUT_SECONDS};
    LDAPMessage *result = NULL;
    char *name = NULL;
    char *filter = ldap_options_filter(attempt->options, user);
    begin_step(attempt);
    int status = ldap_search_ext_s(attempt->connection, attempt->options->base_dn,
                                   scope_of(attempt->options), filter, attributes, 0, NULL, NULL,
                                   &limit, 2, &result);
    /* Two are enough to know that it is not one, and a server may say so in either way. */
    if (status == LDAP_SUCCESS || status == LDAP_SIZELIMIT_EXCEEDED)
        name = take_name(attempt, result);
    else
        (void) fail(attempt, "LDAP search", status);
    ldap_msgfree(result);
    free(filter);
    return name;
}

/* The entry of the user. NULL, with the problem noted, if there is none. */
static char *find_name(struct attempt *attempt, const char *user)
{
    const struct ldap_options *options = attempt->options;
    char *name = NULL;
    if (!ldap_user_is_searchable(user))
        (void) refuse(attempt, "the user name has a character that a search does not allow");
    else if (connect_to(attempt) &&
             bind_as(attempt, options->bind_dn != NULL ? options->bind_dn : "",
                     &options->bind_password, "LDAP bind with ldapbinddn"))
        name = search(attempt, user);
    disconnect(attempt);
    return name;
}

/* ---- the check ---- */

static bool check_name(struct attempt *attempt, const char *name, const struct secret *password)
{
    bool right;
    /* Both would be anonymous binds, which succeed. */
    if (name[0] == '\0' || secret_is_empty(password) || strlen(password->bytes) == 0)
        return refuse(attempt, "an LDAP bind needs a name and a password");
    right = connect_to(attempt) && bind_as(attempt, name, password, "LDAP bind");
    disconnect(attempt);
    return right;
}

bool ldap_check(const struct ldap_options *options, const char *user, const struct secret *password,
                char *ret_problem, size_t size)
{
    struct attempt attempt = {
        .options = options,
        .problem = ret_problem,
        .problem_size = size,
        .callbacks = {.lc_add = on_connected, .lc_del = on_disconnected, .lc_arg = &attempt},
    };
    char *name;
    bool right;
    if (!ldap_options_search(options)) {
        name = ldap_options_bind_name(options, user);
        right = check_name(&attempt, name, password);
        free(name);
        return right;
    }
    name = find_name(&attempt, user);
    right = name != NULL && check_name(&attempt, name, password);
    ldap_memfree(name);
    return right;
}

#else

bool ldap_is_supported(void)
{
    return false;
}

bool ldap_check(const struct ldap_options *options UNUSED, const char *user UNUSED,
                const struct secret *password UNUSED, char *ret_problem, size_t size)
{
    snprintf(ret_problem, size, "this build has no LDAP");
    return false;
}

#endif
