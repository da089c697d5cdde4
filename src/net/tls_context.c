/*
 * tls_context.c - makes OpenSSL contexts from settings.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/tls_context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "base/memory.h"
#include "base/text.h"

/* What a server and its clients must agree on, so that no other protocol can be smuggled in. */
static const unsigned char alpn_postgresql[] = "\012postgresql";
#define ALPN_SIZE (sizeof(alpn_postgresql) - 1)

const char *tls_last_error(void)
{
    static char text[128];
    unsigned long code = ERR_peek_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    if (code != 0 && ERR_SYSTEM_ERROR(code))
        reason = strerror(ERR_GET_REASON(code));
    snprintf(text, sizeof(text), "%s", reason != NULL ? reason : "unknown error");
    ERR_clear_error();
    return text;
}

static bool has_text(const char *text)
{
    return text != NULL && text[0] != '\0';
}

PRINTF_LIKE(2, 3) static bool fail(char *ret_problem, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ret_problem, TLS_PROBLEM_SIZE, format, arguments);
    va_end(arguments);
    ERR_clear_error();
    return false;
}

/* ---- protocols and ciphers ---- */

enum { TLS_1_0 = 1, TLS_1_1 = 2, TLS_1_2 = 4, TLS_1_3 = 8, TLS_ALL = 15, TLS_SECURE = 12 };

static unsigned protocol_bits(const char *word, size_t length)
{
    static const struct {
        const char *word;
        unsigned bits;
    } words[] = {{"tlsv1.0", TLS_1_0},   {"tlsv1.1", TLS_1_1}, {"tlsv1.2", TLS_1_2},
                 {"tlsv1.3", TLS_1_3},   {"tlsv1", TLS_ALL},   {"all", TLS_ALL},
                 {"secure", TLS_SECURE}, {"default", TLS_SECURE}};
    for (size_t i = 0; i < countof(words); i++)
        if (strlen(words[i].word) == length && strncasecmp(words[i].word, word, length) == 0)
            return words[i].bits;
    return 0;
}

/* "tlsv1.2,tlsv1.3", "all:!tlsv1.0"; a list that begins with a negation begins from all. */
static bool read_protocols(const char *text, unsigned *ret_bits)
{
    static const char separators[] = ",: \t";
    unsigned bits = 0;
    if (!has_text(text))
        text = "secure";
    text += strspn(text, separators);
    if (*text == '!')
        bits = TLS_ALL;
    while (*text != '\0') {
        bool negated = *text == '!';
        text += negated;
        size_t length = strcspn(text, separators);
        unsigned more = protocol_bits(text, length);
        if (more == 0)
            return false;
        bits = negated ? bits & ~more : bits | more;
        text += length;
        text += strspn(text, separators);
    }
    *ret_bits = bits;
    return bits != 0;
}

static void allow_protocols(SSL_CTX *ssl, unsigned bits)
{
    uint64_t refused = (bits & TLS_1_0 ? 0 : SSL_OP_NO_TLSv1) | (bits & TLS_1_1 ? 0 : SSL_OP_NO_TLSv1_1) |
                       (bits & TLS_1_2 ? 0 : SSL_OP_NO_TLSv1_2) | (bits & TLS_1_3 ? 0 : SSL_OP_NO_TLSv1_3);
    SSL_CTX_set_min_proto_version(ssl, TLS1_VERSION); /* over the system's file: the setting decides */
    SSL_CTX_set_max_proto_version(ssl, 0);
    SSL_CTX_set_options(ssl, SSL_OP_NO_SSLv3 | refused);
    if (bits & (TLS_1_0 | TLS_1_1))
        SSL_CTX_set_security_level(ssl, 0); /* their hashes are too weak for any other level */
}

static bool is_default_word(const char *ciphers)
{
    return !has_text(ciphers) || text_equals_ignoring_case(ciphers, "default") ||
           text_equals_ignoring_case(ciphers, "secure") ||
           text_equals_ignoring_case(ciphers, "normal") || text_equals_ignoring_case(ciphers, "fast");
}

static bool set_algorithms(SSL_CTX *ssl, const struct tls_options *options, char *ret_problem)
{
    unsigned protocols;
    if (!read_protocols(options->protocols, &protocols))
        return fail(ret_problem, "invalid %s_tls_protocols: %s", options->side, options->protocols);
    allow_protocols(ssl, protocols);
    if (!is_default_word(options->ciphers) && SSL_CTX_set_cipher_list(ssl, options->ciphers) != 1)
        return fail(ret_problem, "invalid %s_tls_ciphers: %s", options->side, options->ciphers);
    if (has_text(options->tls13_ciphers) &&
        SSL_CTX_set_ciphersuites(ssl, options->tls13_ciphers) != 1)
        return fail(ret_problem, "invalid %s_tls13_ciphers: %s", options->side,
                    options->tls13_ciphers);
    return true;
}

/* ---- files ---- */

/* Nobody is there to type the pass phrase of a key. */
static int no_pass_phrase(char *ret_text UNUSED, int size UNUSED, int writing UNUSED,
                          void *argument UNUSED)
{
    return -1;
}

static bool load_certificate(SSL_CTX *ssl, const struct tls_options *options, char *ret_problem)
{
    SSL_CTX_set_default_passwd_cb(ssl, no_pass_phrase);
    if (SSL_CTX_use_certificate_chain_file(ssl, options->cert_file) != 1)
        return fail(ret_problem, "%s_tls_cert_file: cannot use \"%s\": %s", options->side,
                    options->cert_file, tls_last_error());
    if (SSL_CTX_use_PrivateKey_file(ssl, options->key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ssl) != 1)
        return fail(ret_problem, "%s_tls_key_file: cannot use \"%s\" with the certificate: %s",
                    options->side, options->key_file, tls_last_error());
    return true;
}

static bool load_authorities(SSL_CTX *ssl, const struct tls_options *options, char *ret_problem)
{
    if (!has_text(options->ca_file)) {
        if (SSL_CTX_set_default_verify_paths(ssl) != 1)
            return fail(ret_problem, "the system's certificate authorities cannot be used: %s",
                        tls_last_error());
        return true;
    }
    if (SSL_CTX_load_verify_file(ssl, options->ca_file) != 1)
        return fail(ret_problem, "%s_tls_ca_file: cannot use \"%s\": %s", options->side,
                    options->ca_file, tls_last_error());
    return true;
}

/* ---- contexts ---- */

static struct tls_context *create(const SSL_METHOD *method, enum sslmode mode)
{
    struct tls_context *context = memory_new(sizeof(*context));
    ERR_clear_error();
    context->ssl = SSL_CTX_new(method);
    if (context->ssl == NULL)
        abort(); /* memory is gone */
    context->mode = mode;
    context->references = 1;
    /* An idle connection keeps no buffers; a moved buffer on a repeated write is fine. */
    SSL_CTX_set_mode(context->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    return context;
}

/* A client that offers protocols must offer ours. */
static int select_alpn(SSL *ssl UNUSED, const unsigned char **ret_selected,
                       unsigned char *ret_length, const unsigned char *offered, unsigned length,
                       void *argument UNUSED)
{
    unsigned char *selected = NULL;
    if (SSL_select_next_proto(&selected, ret_length, alpn_postgresql, ALPN_SIZE, offered, length) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret_selected = selected;
    return SSL_TLSEXT_ERR_OK;
}

/* OpenSSL reads the list only, but its macro takes no pointer to const. */
static bool set_groups(SSL_CTX *ssl, const char *list)
{
    char *groups = memory_copy_text(list);
    bool set = SSL_CTX_set1_groups_list(ssl, groups) == 1;
    free(groups);
    return set;
}

static bool set_key_exchange(SSL_CTX *ssl, const struct tls_options *options, char *ret_problem)
{
    const char *curve = options->ecdhcurve, *dhe = options->dheparams;
    if (has_text(dhe) && !text_equals_ignoring_case(dhe, "auto") &&
        !text_equals_ignoring_case(dhe, "none"))
        return fail(ret_problem, "invalid %s_tls_dheparams: %s", options->side, dhe);
    SSL_CTX_set_dh_auto(ssl, !has_text(dhe) || text_equals_ignoring_case(dhe, "auto"));
    if (has_text(curve) && !text_equals_ignoring_case(curve, "auto") &&
        !text_equals_ignoring_case(curve, "none") && !set_groups(ssl, curve))
        return fail(ret_problem, "invalid %s_tls_ecdhecurve: %s", options->side, curve);
    return true;
}

/* The longest chain of authorities that a client may show; each costs the check of a signature. */
#define CLIENT_CHAIN_MAX 10

/* A certificate is asked for in every mode, and whoever sends one must have a good one. */
static bool set_client_verification(SSL_CTX *ssl, const struct tls_options *options,
                                    char *ret_problem)
{
    bool demanded = options->mode >= SSLMODE_VERIFY_CA;
    if (options->mode == SSLMODE_VERIFY_FULL && !has_text(options->ca_file))
        return fail(ret_problem, "client_tls_sslmode requires client_tls_ca_file");
    if (!load_authorities(ssl, options, ret_problem))
        return false;
    if (has_text(options->ca_file)) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(options->ca_file);
        if (names != NULL)
            SSL_CTX_set_client_CA_list(ssl, names);
    }
    SSL_CTX_set_verify_depth(ssl, CLIENT_CHAIN_MAX);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | (demanded ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       NULL);
    return true;
}

static bool configure_for_clients(SSL_CTX *ssl, const struct tls_options *options,
                                  char *ret_problem)
{
    static const unsigned char session_context[] = "pgweir";
    if (!has_text(options->key_file) || !has_text(options->cert_file))
        return fail(ret_problem, "To allow TLS connections from clients, client_tls_key_file and "
                                 "client_tls_cert_file must be set.");
    /* Passwords come this way: OpenSSL wipes its copy of what it has deciphered. */
    SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_CLEANSE_PLAINTEXT);
    /* Sessions are resumed by tickets alone, whose keys live and die with this context. */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ssl, session_context, sizeof(session_context) - 1);
    SSL_CTX_set_num_tickets(ssl, 1);
    SSL_CTX_set_max_early_data(ssl, 0);
    SSL_CTX_set_alpn_select_cb(ssl, select_alpn, NULL);
    return set_algorithms(ssl, options, ret_problem) &&
           set_key_exchange(ssl, options, ret_problem) &&
           load_certificate(ssl, options, ret_problem) &&
           set_client_verification(ssl, options, ret_problem);
}

static bool configure_for_servers(SSL_CTX *ssl, const struct tls_options *options,
                                  char *ret_problem)
{
    bool verify = options->mode >= SSLMODE_VERIFY_CA;
    if (has_text(options->key_file) != has_text(options->cert_file))
        return fail(ret_problem, "server_tls_key_file and server_tls_cert_file go together: one of "
                                 "them is not set");
    SSL_CTX_set_verify(ssl, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_protos(ssl, alpn_postgresql, ALPN_SIZE);
    return set_algorithms(ssl, options, ret_problem) &&
           (!has_text(options->cert_file) || load_certificate(ssl, options, ret_problem)) &&
           (!(verify || has_text(options->ca_file)) || load_authorities(ssl, options, ret_problem));
}

struct tls_context *tls_context_for_clients(const struct tls_options *options,
                                            char ret_problem[TLS_PROBLEM_SIZE])
{
    struct tls_context *context = create(TLS_server_method(), options->mode);
    if (configure_for_clients(context->ssl, options, ret_problem))
        return context;
    tls_context_give_back(context);
    return NULL;
}

struct tls_context *tls_context_for_servers(const struct tls_options *options,
                                            char ret_problem[TLS_PROBLEM_SIZE])
{
    struct tls_context *context = create(TLS_client_method(), options->mode);
    if (configure_for_servers(context->ssl, options, ret_problem))
        return context;
    tls_context_give_back(context);
    return NULL;
}

struct tls_context *tls_context_share(struct tls_context *context)
{
    if (context != NULL)
        context->references++;
    return context;
}

void tls_context_give_back(struct tls_context *context)
{
    if (context == NULL || --context->references > 0)
        return;
    SSL_CTX_free(context->ssl);
    free(context);
}
