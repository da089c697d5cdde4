/*
 * tls_fixture.h - certificates for the unit tests of TLS, made in the process and signed by
 * themselves: each is its own authority.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_TEST_NET_TLS_FIXTURE_H
#define PGWEIR_TEST_NET_TLS_FIXTURE_H

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "fixture.h"

#define PATH_SIZE 64

struct certificate {
    char folder[PATH_SIZE - 16];
    char cert_file[PATH_SIZE], key_file[PATH_SIZE];
};

UNUSED static void add_alternative_names(X509 *x509, const char *names)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(x509, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

UNUSED static X509 *sign_certificate(EVP_PKEY *key, const char *name, size_t name_size,
                                     const char *alternative_names)
{
    X509 *x509 = X509_new();
    X509_NAME *subject = X509_get_subject_name(x509);
    X509_set_version(x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 86400);
    X509_set_pubkey(x509, key);
    /* By the octets, as a name that is too long or has a zero in it can be written only so. */
    X509_NAME_ENTRY *entry = X509_NAME_ENTRY_create_by_NID(NULL, NID_organizationName, V_ASN1_UTF8STRING,
                                                           (const unsigned char *) "x", 1);
    assert_int_equal(ASN1_STRING_set(X509_NAME_ENTRY_get_data(entry), name, (int) name_size), 1);
    X509_NAME_ENTRY_set_object(entry, OBJ_nid2obj(NID_commonName));
    X509_NAME_add_entry(subject, entry, -1, 0);
    X509_NAME_ENTRY_free(entry);
    X509_set_issuer_name(x509, subject);
    if (alternative_names != NULL)
        add_alternative_names(x509, alternative_names);
    assert_true(X509_sign(x509, key, EVP_sha256()) > 0);
    return x509;
}

UNUSED static void write_files(const struct certificate *certificate, const X509 *x509,
                               const EVP_PKEY *key)
{
    FILE *file = fopen(certificate->cert_file, "w");
    assert_int_equal(PEM_write_X509(file, x509), 1);
    fclose(file);
    file = fopen(certificate->key_file, "w");
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
}

/* A key and a certificate for it, in a folder of their own. */
UNUSED static void make_certificate(struct certificate *ret_certificate, const char *name,
                                    size_t name_size, const char *alternative_names)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    X509 *x509 = sign_certificate(key, name, name_size, alternative_names);
    snprintf(ret_certificate->folder, sizeof(ret_certificate->folder), "/tmp/pgweir-tls-XXXXXX");
    assert_non_null(mkdtemp(ret_certificate->folder));
    snprintf(ret_certificate->cert_file, PATH_SIZE, "%s/crt", ret_certificate->folder);
    snprintf(ret_certificate->key_file, PATH_SIZE, "%s/key", ret_certificate->folder);
    write_files(ret_certificate, x509, key);
    X509_free(x509);
    EVP_PKEY_free(key);
}

UNUSED static void remove_certificate(const struct certificate *certificate)
{
    unlink(certificate->cert_file);
    unlink(certificate->key_file);
    rmdir(certificate->folder);
}

#endif
