/*
 * config.h - one configuration: settings, databases, users, peers and the userlist, as an immutable
 * snapshot.
 *
 * A load parses into a new snapshot and collects every error; a snapshot with errors is thrown away
 * and the running one stays untouched. A good one is swapped in whole (config_use()). Only the
 * console's SET changes a running snapshot, through config_set().
 *
 * The current snapshot is one of the few process-wide values (doc/adr). Nobody keeps a pointer into
 * it across a turn of the loop, except the pools, which are bound again at each swap.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_CONFIG_H
#define PGWEIR_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/hash.h"
#include "base/secret.h"
#include "config/settings.h"

#define DATABASE_NAME_MAX 63
#define USER_NAME_MAX     127
#define CONSOLE_DATABASE  "pgbouncer"

/* "No value given" for the numbers below; the wider scope counts then. */
#define CONFIG_UNSET (-1)

/* Which servers may serve an entry; libpq's words and meanings. */
enum target_session_attrs {
    TARGET_ANY, /* as PgBouncer: nobody asks */
    TARGET_READ_WRITE,
    TARGET_READ_ONLY,
    TARGET_PRIMARY,
    TARGET_STANDBY,
    TARGET_PREFER_STANDBY,
};

/* The word: "read-write". */
const char *target_session_attrs_name(enum target_session_attrs target);

/* One line of [databases]. The texts are owned by the snapshot; NULL where the key is absent. */
struct config_database {
    char *name;
    char *dbname; /* NULL: the name of the entry */
    char *host;   /* as written; NULL: Unix socket in unix_socket_dir. May be a comma list */
    char *ports;  /* as written: one for all hosts, or one for each; NULL: 5432 */
    int port;     /* the first of them */
    char *user; /* forced server-side user */
    struct secret password;
    char *auth_user, *auth_query, *auth_dbname;
    char *connect_query;
    char *client_encoding, *datestyle, *timezone, *application_name;
    int pool_size, min_pool_size, reserve_pool_size; /* CONFIG_UNSET or >= 0 */
    int pool_mode;                                   /* enum pool_mode or CONFIG_UNSET */
    int max_db_connections, max_db_client_connections; /* CONFIG_UNSET or > 0 */
    int server_lifetime;    /* seconds, > 0, or CONFIG_UNSET */
    int query_wait_timeout; /* seconds, 0 = never, or CONFIG_UNSET */
    bool load_balance_disable; /* load_balance_hosts=disable */
    enum target_session_attrs target_session_attrs;
    int server_tls_sslmode;     /* enum sslmode or CONFIG_UNSET */
    int server_tls_negotiation; /* enum tls_negotiation or CONFIG_UNSET */
    char *server_tls_ca_file, *server_tls_cert_file, *server_tls_key_file;
    char *server_tls_protocols, *server_tls_ciphers, *server_tls13_ciphers;
    const char *file;          /* where the line stands; interned */
    unsigned line;
    UT_hash_handle hh; /* by name, in the order of the file */
};

/* One line of [users]. */
struct config_user {
    char *name;
    int pool_size, reserve_pool_size, pool_mode;
    int max_user_connections, max_user_client_connections;
    int query_timeout, query_wait_timeout, idle_transaction_timeout, transaction_timeout,
        client_idle_timeout; /* seconds or CONFIG_UNSET */
    UT_hash_handle hh;
};

/* One line of [peers]. */
struct config_peer {
    int id;
    char *host;
    int port;      /* 6432 */
    int pool_size; /* or CONFIG_UNSET */
    UT_hash_handle hh; /* by id */
};

/* One entry of auth_file. */
struct config_secret {
    char *name;
    struct secret secret; /* of the last line */
    struct secret older;  /* of the line before, while a password is being changed; or unset */
    UT_hash_handle hh;
};

struct hba;
struct ident;

struct config {
    char *file; /* the path it was loaded from */
    struct settings settings;
    struct config_database *databases; /* hash by name, without the fallback */
    struct config_database *fallback;  /* the "*" line or NULL */
    struct config_user *users;
    struct config_peer *peers;
    struct config_secret *secrets;
    struct hba *hba;     /* owns; NULL unless auth_type was hba at the load */
    struct ident *ident; /* owns; the maps that `hba` names; NULL without auth_ident_file */
};

#define CONFIG_REPORT_MAX 50

/*
 * What a load found: one line of text per error or warning, "file:line: message" where there is a
 * place. An error names the thing, the place and what to do. Beyond CONFIG_REPORT_MAX lines of a
 * kind there is one that says that there are more: a senseless file must not flood the log.
 */
struct config_report {
    char **errors, **warnings; /* own */
    size_t error_count, warning_count;
};

void config_report_release(struct config_report *report);

/*
 * Loads `file` and what it includes, the auth_file if auth_type needs one, and the auth_hba_file and
 * auth_ident_file if auth_type is hba; both must be readable and without errors. Relative names of
 * included files are relative to the working directory. Returns NULL if the report has errors.
 *
 * `previous` is NULL at the first load: `verbose` then is what the command line asked for, and an
 * auth_file that cannot be opened is a warning, as in PgBouncer. At a reload it supplies the values
 * of the settings without a default whose line is gone and of those that need a restart, and an
 * auth_file that cannot be opened, or that has become empty, is an error.
 */
struct config *config_load(const char *file, const struct config *previous, int verbose,
                           struct config_report *ret_report) MUST_CHECK;
void config_destroy(struct config *config);

/* The snapshot in force. NULL before the first config_use(). */
const struct config *config_current(void);

/* Shorthand for the settings of the snapshot in force. */
const struct settings *settings_current(void);

/* Puts a snapshot in force and returns the one before (caller destroys it when nobody points in). */
struct config *config_use(struct config *config) MUST_CHECK;

/*
 * The console's SET: changes one setting of the snapshot in force. Returns false for an unknown key
 * or a bad value, and for auth_type = hba if the snapshot has no rules, because none are loaded here.
 * A setting that needs a restart is accepted and left alone, as in PgBouncer.
 */
bool config_set(const char *name, const char *value) MUST_CHECK;

/* Look-ups; NULL if there is none. config_find_database() does not fall back to "*". */
const struct config_database *config_find_database(const struct config *config, const char *name);
const struct config_user *config_find_user(const struct config *config, const char *name);
const struct secret *config_find_secret(const struct config *config, const char *name);

/* The user's other secret, where auth_file has two lines for him. */
const struct secret *config_find_older_secret(const struct config *config, const char *name);

/* True if the two entries lead to different servers or sessions, so that open servers must go. */
bool config_database_needs_reconnect(const struct config_database *a, const struct config_database *b);

/* True if the two lines say something different about TLS to the servers. */
bool config_database_tls_differs(const struct config_database *a, const struct config_database *b);

/* A deep copy (for an automatic entry made from "*", which gets `name`). */
struct config_database *config_database_copy(const struct config_database *from, const char *name) MUST_CHECK;
void config_database_destroy(struct config_database *database);

/*
 * Parses an auth_file's text. Adds to `*secrets` (a uthash table). Returns false with an error in
 * the report, "file:line: ...", at the first malformed entry.
 */
bool userlist_parse(const char *file, const char *text, size_t size, struct config_secret **secrets,
                    struct config_report *report);

/* Frees what userlist_parse() has made; the table is empty afterwards. */
void userlist_release(struct config_secret **secrets);

/*
 * Writes every setting with its documentation to standard output: as an ini file in which all lines
 * are comments, or as the list of the manual page (mdoc).
 */
void config_print_sample(void);
void config_print_manual(void);

#endif
