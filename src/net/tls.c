/*
 * tls.c - TLS on a connection.
 *
 * During the handshake OpenSSL reads from the socket itself, by small pieces, so that nothing behind
 * the handshake is taken. Afterwards whatever one receive brings is decrypted at once into the
 * loop's read buffer; only a record that is not whole stays in OpenSSL's own buffer. A peer that
 * sends much without saying anything (empty records, key updates) is cut off.
 *
 * OpenSSL's queue of errors belongs to the thread: it is emptied before every call.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/deadline.h"

/* One receive must fit into the read buffer together with a record that was kept back. */
#define CIPHERTEXT_SIZE (LOOP_READ_SIZE - 32 * 1024)

/* Bytes that a peer may send without giving us one byte of data. */
#define WITHOUT_PROGRESS_MAX (64 * 1024)

/* Answers of the protocol itself (to key updates) that may wait for a peer who does not read. */
#define UNREAD_ANSWERS_MAX (64 * 1024)

/* The first flight of a client of direct TLS, of which one receive may have brought all. */
#define EARLY_MAX (32 * 1024)

/* What the buffer for sending may keep when it is empty. */
#define SENDING_KEPT_MAX (1024 * 1024)

/* A handshake costs about a millisecond; this many steps, then others have their turn. */
#define HANDSHAKE_STEPS_PER_ROUND 8

/*
 * A handshake takes some 50 KiB in small pieces, and what follows it sits between them: after a storm
 * of handshakes the allocator holds much that it cannot give back by itself. It is told to when so
 * many connections have ended and none for a while.
 */
#define TRIM_AFTER 100
#define CALM_US    USEC_PER_SEC

/* What the TLS connections of a loop share. */
struct tls_workspace {
    uint8_t *ciphertext;   /* owns; what was received */
    struct buffer sending; /* owns; what OpenSSL has written and nobody has sent yet */
    struct tls *waiting;   /* whose handshakes can go on, first come first served */
    struct task task;      /* takes their steps */
    unsigned ended;        /* connections since memory was trimmed */
    struct deadline calm;  /* set while that is worth it */
};

struct tls {
    SSL *ssl; /* owns */
    struct connection *connection; /* borrows: the owner */
    struct tls *next, *prev;       /* member of the list of those who wait for a step, if in it */
    uint8_t *early;                /* owns; what came before us, while the handshake reads it */
    const uint8_t *input;          /* borrows; what OpenSSL may read */
    size_t input_left;
    size_t last_received;    /* bytes of the last receive */
    size_t without_progress; /* bytes since the last data */
    size_t unread_answers;   /* bytes that wait for the peer, beside data */
    char *problem;           /* owns; why the handshake failed, else NULL */
    bool established;
    bool closed;   /* the peer has said good-bye, or made an error */
    bool has_left; /* the peer was gone before the handshake was over */
};

/* ---- between OpenSSL and the connection ---- */

static struct tls_workspace *workspace_of(const struct connection *connection)
{
    return connection->loop->tls;
}

static int bio_read(BIO *bio, char *ret_bytes, int size)
{
    struct tls *tls = BIO_get_data(bio);
    struct connection *connection = tls->connection;
    BIO_clear_retry_flags(bio);
    if (tls->input_left > 0) {
        size_t part = (size_t) size < tls->input_left ? (size_t) size : tls->input_left;
        memcpy(ret_bytes, tls->input, part);
        tls->input += part;
        tls->input_left -= part;
        return (int) part;
    }
    if (!tls->established) {
        ssize_t received;
        do {
            received = recv(connection->fd, ret_bytes, (size_t) size, 0);
        } while (received < 0 && errno == EINTR);
        if (received >= 0)
            return (int) received;
        if (errno != EAGAIN)
            return -1;
        connection->readable = false;
    }
    BIO_set_retry_read(bio);
    return -1;
}

static int bio_write(BIO *bio, const char *bytes, int size)
{
    struct tls *tls = BIO_get_data(bio);
    buffer_append(&workspace_of(tls->connection)->sending, bytes, (size_t) size);
    return size;
}

static long bio_control(BIO *bio UNUSED, int command, long number UNUSED, void *pointer UNUSED)
{
    return command == BIO_CTRL_FLUSH;
}

/* Made once for the process and kept. */
static BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method;
    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
        if (method == NULL)
            log_fatal("cannot set up TLS: %s", tls_last_error());
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_control);
    }
    return method;
}

/* Sends what OpenSSL has written. False if the peer is gone. */
static bool flush(struct connection *connection)
{
    struct buffer *sending = &workspace_of(connection)->sending;
    bool good = sending->size == 0 ||
                connection_send_raw(connection, sending->data, sending->size);
    sending->size = 0;
    if (sending->capacity > SENDING_KEPT_MAX)
        buffer_release(sending);
    return good;
}

/* ---- beginning ---- */

static void take_steps(struct task *task);

static void on_calm(struct deadline *deadline)
{
    container_of(deadline, struct tls_workspace, calm)->ended = 0;
    memory_trim();
}

static void count_ended(struct loop *loop)
{
    loop->tls->ended++;
    if (loop->tls->ended >= TRIM_AFTER)
        deadline_set(loop, &loop->tls->calm, CALM_US);
}

static void need_workspace(struct loop *loop)
{
    if (loop->tls != NULL)
        return;
    loop->tls = memory_new(sizeof(*loop->tls));
    loop->tls->ciphertext = memory_new(CIPHERTEXT_SIZE);
    loop->tls->task.run = take_steps;
    loop->tls->calm.passed = on_calm;
}

void tls_release_loop(struct loop *loop)
{
    if (loop->tls == NULL)
        return;
    loop_cancel(loop, &loop->tls->task);
    deadline_clear(&loop->tls->calm);
    free(loop->tls->ciphertext);
    buffer_wipe(&loop->tls->sending);
    free(loop->tls);
    loop->tls = NULL;
}

static struct tls *begin(struct connection *connection, const struct tls_context *context)
{
    struct tls *tls = memory_new(sizeof(*tls));
    BIO *bio = BIO_new(bio_method());
    need_workspace(connection->loop);
    ERR_clear_error();
    tls->ssl = SSL_new(context->ssl);
    if (tls->ssl == NULL || bio == NULL)
        abort(); /* memory is gone */
    tls->connection = connection;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    connection->tls = tls;
    return tls;
}

/* ---- the handshake ---- */

static void fail(struct tls *tls, const char *problem)
{
    if (tls->problem == NULL)
        tls->problem = memory_copy_text(problem);
    tls->closed = true;
    ERR_clear_error();
}

static void fail_handshake(struct tls *tls, int error)
{
    long verification = SSL_get_verify_result(tls->ssl);
    unsigned long code = ERR_peek_error();
    char text[256] = "the peer closed the connection in the handshake";
    tls->has_left = error != SSL_ERROR_SSL || code == 0;
    if (verification != X509_V_OK && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        snprintf(text, sizeof(text), "certificate verify failed: %s",
                 X509_verify_cert_error_string(verification));
    else if (!tls->has_left)
        snprintf(text, sizeof(text), "%s", tls_last_error());
    fail(tls, text);
}

static void step(struct tls *tls)
{
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
    tls->established = result == 1;
    if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ)
        fail_handshake(tls, error);
    /* Whatever came of it, the peer gets to hear it: also an alert. */
    if (!flush(tls->connection)) {
        tls->has_left = true;
        fail(tls, "the connection is broken");
    }
    if (tls->input_left > 0)
        return;
    free(tls->early);
    tls->early = NULL;
}

static void go_on(struct tls *tls)
{
    struct connection *connection = tls->connection;
    if (!tls->closed)
        step(tls);
    if (!tls->established && !tls->closed)
        return;
    if (tls->input_left > 0)
        fail(tls, "unexpected bytes in the handshake");
    connection->ops->secured(connection, tls->problem);
    if (connection_is_open(connection) && connection->readable)
        connection->ops->readable(connection);
}

static bool is_waiting(const struct tls *tls)
{
    return tls->prev != NULL;
}

static void stop_waiting(struct tls *tls)
{
    DL_DELETE(workspace_of(tls->connection)->waiting, tls);
    tls->next = tls->prev = NULL;
}

/* Each in his turn; whoever comes later is behind all who wait already. */
static void take_steps(struct task *task)
{
    struct tls_workspace *workspace = container_of(task, struct tls_workspace, task);
    struct loop *loop = workspace->waiting != NULL ? workspace->waiting->connection->loop : NULL;
    for (unsigned i = 0; i < HANDSHAKE_STEPS_PER_ROUND && workspace->waiting != NULL; i++) {
        struct tls *tls = workspace->waiting;
        stop_waiting(tls);
        go_on(tls);
    }
    if (workspace->waiting != NULL)
        loop_post(loop, &workspace->task);
}

void tls_continue(struct connection *connection)
{
    struct tls_workspace *workspace = workspace_of(connection);
    if (!is_waiting(connection->tls))
        DL_APPEND(workspace->waiting, connection->tls);
    loop_post(connection->loop, &workspace->task);
}

void tls_accept(struct connection *connection, const struct tls_context *context,
                const uint8_t *bytes, size_t size)
{
    struct tls *tls = begin(connection, context);
    SSL_set_accept_state(tls->ssl);
    if (size > EARLY_MAX) {
        fail(tls, "the first message is too long");
    } else if (size > 0) {
        tls->early = (uint8_t *) memory_copy_bytes(bytes, size);
        tls->input = tls->early;
        tls->input_left = size;
    }
    tls_continue(connection);
}

static bool is_address(const char *host)
{
    uint8_t bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* OpenSSL copies the name, but its macro takes no pointer to const. */
static void set_server_name(SSL *ssl, const char *host)
{
    char *name = memory_copy_text(host);
    SSL_set_tlsext_host_name(ssl, name);
    free(name);
}

void tls_connect(struct connection *connection, const struct tls_context *context,
                 const char *host)
{
    struct tls *tls = begin(connection, context);
    SSL_set_connect_state(tls->ssl);
    if (!is_address(host))
        set_server_name(tls->ssl, host);
    if (context->mode == SSLMODE_VERIFY_FULL) {
        X509_VERIFY_PARAM *parameters = SSL_get0_param(tls->ssl);
        bool set = is_address(host) ? X509_VERIFY_PARAM_set1_ip_asc(parameters, host) == 1
                                    : X509_VERIFY_PARAM_set1_host(parameters, host, 0) == 1;
        if (!set)
            fail(tls, "the host name cannot be compared with a certificate");
    }
    tls_continue(connection);
}

/* ---- data ---- */

/* Decrypts all whole records of the input. Returns the bytes of data. */
static size_t decrypt(struct tls *tls, uint8_t *ret_bytes, size_t capacity)
{
    size_t total = 0, size;
    ERR_clear_error();
    while (SSL_read_ex(tls->ssl, ret_bytes + total, capacity - total, &size) == 1)
        total += size;
    tls->closed = SSL_get_error(tls->ssl, 0) != SSL_ERROR_WANT_READ;
    tls->input_left = 0; /* behind an error nothing counts */
    ERR_clear_error();
    return total;
}

/*
 * Sends what the protocol itself has to say, an answer to a key update or an alert. A peer that makes
 * us talk and does not listen is cut off.
 */
static void answer(struct tls *tls)
{
    struct connection *connection = tls->connection;
    size_t size = workspace_of(connection)->sending.size;
    if (!flush(connection))
        tls->closed = true;
    tls->unread_answers = connection_is_congested(connection) ? tls->unread_answers + size : 0;
    if (tls->unread_answers > UNREAD_ANSWERS_MAX)
        tls->closed = true;
}

enum receive_result tls_receive(struct connection *connection, uint8_t **ret_bytes,
                                size_t *ret_size)
{
    struct tls *tls = connection->tls;
    uint8_t *ciphertext = workspace_of(connection)->ciphertext;
    uint8_t *plaintext = loop_read_buffer(connection->loop);
    if (!tls->established)
        return RECEIVED_NOTHING; /* `secured` will tell */
    while (!tls->closed) {
        ssize_t received = recv(connection->fd, ciphertext, CIPHERTEXT_SIZE, 0);
        if (received < 0 && errno == EINTR)
            continue;
        if (received < 0 && errno == EAGAIN) {
            connection->readable = false;
            return RECEIVED_NOTHING;
        }
        if (received <= 0)
            break;
        tls->input = ciphertext;
        tls->input_left = tls->last_received = (size_t) received;
        size_t size = decrypt(tls, plaintext, LOOP_READ_SIZE);
        answer(tls);
        if (tls->closed)
            connection->ended = true; /* no event will tell that the next receive finds the end */
        if (size > 0) {
            tls->without_progress = 0;
            *ret_bytes = plaintext;
            *ret_size = size;
            return RECEIVED_BYTES;
        }
        tls->without_progress += (size_t) received;
        if (tls->without_progress > WITHOUT_PROGRESS_MAX)
            break;
    }
    return RECEIVED_END;
}

bool tls_has_drained(const struct connection *connection)
{
    return connection->tls->last_received < CIPHERTEXT_SIZE;
}

bool tls_send(struct connection *connection, const void *bytes, size_t size)
{
    struct tls *tls = connection->tls;
    size_t written;
    if (!tls->established || connection->failed)
        return false;
    ERR_clear_error();
    if (size > 0 && SSL_write_ex(tls->ssl, bytes, size, &written) != 1) {
        connection->failed = true;
        workspace_of(connection)->sending.size = 0;
        return false;
    }
    return flush(connection);
}

void tls_end(struct connection *connection)
{
    struct tls *tls = connection->tls;
    if (tls == NULL)
        return;
    if (tls->established && !connection->failed) {
        ERR_clear_error();
        (void) SSL_shutdown(tls->ssl);
        (void) flush(connection);
    }
    if (is_waiting(tls))
        stop_waiting(tls);
    SSL_free(tls->ssl);
    ERR_clear_error();
    free(tls->early);
    free(tls->problem);
    free(tls);
    connection->tls = NULL;
    count_ended(connection->loop);
}

/* ---- questions ---- */

bool tls_is_established(const struct connection *connection)
{
    return connection->tls != NULL && connection->tls->established;
}

bool tls_peer_has_left(const struct connection *connection)
{
    return connection->tls != NULL && connection->tls->has_left;
}

void tls_describe(const struct connection *connection, char *ret_text, size_t size)
{
    ret_text[0] = '\0';
    if (!tls_is_established(connection))
        return;
    SSL *ssl = connection->tls->ssl;
    int group = (int) SSL_get_negotiated_group(ssl);
    const char *name = group > 0 ? SSL_group_to_name(ssl, group) : NULL;
    snprintf(ret_text, size, "%s/%s%s%s", SSL_get_version(ssl), SSL_get_cipher_name(ssl),
             name != NULL ? "/ECDH=" : "", name != NULL ? name : "");
}

bool tls_has_agreed_protocol(const struct connection *connection)
{
    const unsigned char *protocol;
    unsigned length = 0;
    if (connection->tls != NULL)
        SSL_get0_alpn_selected(connection->tls->ssl, &protocol, &length);
    return length > 0;
}

bool tls_has_peer_certificate(const struct connection *connection)
{
    return tls_is_established(connection) &&
           SSL_get0_peer_certificate(connection->tls->ssl) != NULL &&
           SSL_get_verify_result(connection->tls->ssl) == X509_V_OK;
}

bool tls_peer_certificate_names(const struct connection *connection, const char *name)
{
    /* A name that begins with a dot would stand for all names below it. */
    if (!tls_has_peer_certificate(connection) || name[0] == '\0' || name[0] == '.')
        return false;
    X509 *certificate = SSL_get0_peer_certificate(connection->tls->ssl);
    int match = is_address(name) ? X509_check_ip_asc(certificate, name, 0)
                                 : X509_check_host(certificate, name, strlen(name), 0, NULL);
    ERR_clear_error();
    return match == 1;
}

size_t tls_server_end_point(const struct connection *connection,
                            uint8_t ret_hash[TLS_END_POINT_SIZE])
{
    unsigned size = 0;
    int digest = NID_undef;
    if (!tls_is_established(connection))
        return 0;
    SSL *ssl = connection->tls->ssl;
    const X509 *certificate =
        SSL_is_server(ssl) ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl);
    if (certificate == NULL ||
        OBJ_find_sigid_algs(X509_get_signature_nid(certificate), &digest, NULL) != 1)
        return 0;
    /* RFC 5929: the certificate's own hash, but never one weaker than SHA-256. */
    const EVP_MD *md = digest == NID_md5 || digest == NID_sha1 ? EVP_sha256()
                                                               : EVP_get_digestbynid(digest);
    if (md == NULL || EVP_MD_get_size(md) > TLS_END_POINT_SIZE ||
        X509_digest(certificate, md, ret_hash, &size) != 1)
        size = 0;
    ERR_clear_error();
    return size;
}
