/*
 * tls_setup.c - the TLS contexts that a configuration asks for.
 *
 * Entries that want the same share one context: a thousand of them must not read the same files a
 * thousand times.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/tls_setup.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "config/report.h"

/* The context of an entry that has TLS keys. */
struct database_tls {
    char *name; /* owns */
    struct server_tls tls;
    UT_hash_handle hh; /* member of the setup's table */
};

/* A context and what it was made from. */
struct known_context {
    struct buffer key;           /* owns; the options */
    struct tls_context *context; /* owns a reference */
    UT_hash_handle hh;           /* member of the setup's table */
};

struct tls_setup {
    struct known_context *known; /* owns; while the setup is being made */
    struct tls_context *clients; /* owns a reference; NULL: no TLS */
    struct server_tls servers;   /* of all entries without TLS keys */
    struct server_tls fallback;  /* of those made from "*" */
    struct database_tls *databases; /* owns; by name */
};

static const char *first_set(const char *own, const char *global)
{
    return own != NULL ? own : global;
}

static struct tls_options options_of(const struct settings *settings,
                                     const struct config_database *database)
{
    static const struct config_database none = {.server_tls_sslmode = CONFIG_UNSET,
                                                .server_tls_negotiation = CONFIG_UNSET};
    if (database == NULL)
        database = &none;
    return (struct tls_options){
        .side = "server",
        .mode = database->server_tls_sslmode != CONFIG_UNSET
                    ? (enum sslmode) database->server_tls_sslmode
                    : settings->server_tls_sslmode,
        .key_file = first_set(database->server_tls_key_file, settings->server_tls_key_file),
        .cert_file = first_set(database->server_tls_cert_file, settings->server_tls_cert_file),
        .ca_file = first_set(database->server_tls_ca_file, settings->server_tls_ca_file),
        .protocols = first_set(database->server_tls_protocols, settings->server_tls_protocols),
        .ciphers = first_set(database->server_tls_ciphers, settings->server_tls_ciphers),
        .tls13_ciphers = first_set(database->server_tls13_ciphers, settings->server_tls13_ciphers),
    };
}

/* ---- contexts that are shared ---- */

static struct buffer key_of(const struct tls_options *options)
{
    const char *const texts[] = {options->key_file,  options->cert_file, options->ca_file,
                                 options->protocols, options->ciphers,   options->tls13_ciphers};
    struct buffer key = {0};
    buffer_append(&key, &options->mode, sizeof(options->mode));
    for (size_t i = 0; i < countof(texts); i++)
        if (texts[i] != NULL)
            buffer_append(&key, texts[i], strlen(texts[i]) + 1);
        else
            buffer_append(&key, "", 1);
    return key;
}

/* NULL with a problem, as tls_context_for_servers(). */
static struct tls_context *find_or_make(struct tls_setup *setup, const struct tls_options *options,
                                        char ret_problem[TLS_PROBLEM_SIZE])
{
    struct buffer key = key_of(options);
    struct known_context *known;
    HASH_FIND(hh, setup->known, key.data, key.size, known);
    if (known != NULL) {
        buffer_release(&key);
        return tls_context_share(known->context);
    }
    struct tls_context *context = tls_context_for_servers(options, ret_problem);
    if (context == NULL) {
        buffer_release(&key);
        return NULL;
    }
    known = memory_new(sizeof(*known));
    known->key = key;
    known->context = context;
    HASH_ADD_KEYPTR(hh, setup->known, known->key.data, known->key.size, known);
    return tls_context_share(context);
}

static void forget_known(struct tls_setup *setup)
{
    struct known_context *known, *next;
    HASH_ITER(hh, setup->known, known, next) {
        HASH_DEL(setup->known, known);
        tls_context_give_back(known->context);
        buffer_release(&known->key);
        free(known);
    }
}

/* ---- making them ---- */

static void check_negotiation(const struct server_tls *tls, struct place place,
                              struct config_report *report)
{
    /* Direct TLS has no way to be told no: whoever wants it cannot make do without. */
    if (tls->negotiation == TLS_NEGOTIATION_DIRECT && tls->mode < SSLMODE_REQUIRE)
        report_error(report, place,
                     "server_tls_negotiation = direct needs server_tls_sslmode = require or stricter");
}

static void make_server_tls(struct tls_setup *setup, const struct settings *settings,
                            const struct config_database *database, struct config_report *report,
                            struct server_tls *ret_tls)
{
    struct tls_options options = options_of(settings, database);
    struct place place = {0};
    char problem[TLS_PROBLEM_SIZE];
    if (database != NULL)
        place = (struct place){.file = database->file, .line = database->line};
    ret_tls->mode = options.mode;
    ret_tls->negotiation = database != NULL && database->server_tls_negotiation != CONFIG_UNSET
                               ? (enum tls_negotiation) database->server_tls_negotiation
                               : settings->server_tls_negotiation;
    check_negotiation(ret_tls, place, report);
    if (options.mode == SSLMODE_DISABLE)
        return;
    ret_tls->context = find_or_make(setup, &options, problem);
    if (ret_tls->context == NULL)
        report_error(report, place, "%s", problem);
}

static bool has_own_tls(const struct config_database *database)
{
    static const struct config_database none = {.server_tls_sslmode = CONFIG_UNSET,
                                                .server_tls_negotiation = CONFIG_UNSET};
    return config_database_tls_differs(database, &none);
}

static void make_client_tls(struct tls_setup *setup, const struct settings *settings,
                            struct config_report *report)
{
    struct tls_options options = {
        .side = "client",
        .mode = settings->client_tls_sslmode,
        .key_file = settings->client_tls_key_file,
        .cert_file = settings->client_tls_cert_file,
        .ca_file = settings->client_tls_ca_file,
        .protocols = settings->client_tls_protocols,
        .ciphers = settings->client_tls_ciphers,
        .tls13_ciphers = settings->client_tls13_ciphers,
        .ecdhcurve = settings->client_tls_ecdhcurve,
        .dheparams = settings->client_tls_dheparams,
    };
    char problem[TLS_PROBLEM_SIZE];
    if (options.mode == SSLMODE_DISABLE)
        return;
    setup->clients = tls_context_for_clients(&options, problem);
    if (setup->clients == NULL)
        report_error(report, (struct place){0}, "%s", problem);
}

struct tls_setup *tls_setup_create(const struct config *config, struct config_report *report)
{
    struct tls_setup *setup = memory_new(sizeof(*setup));
    size_t errors_before = report->error_count;
    const struct config_database *database;
    make_client_tls(setup, &config->settings, report);
    make_server_tls(setup, &config->settings, NULL, report, &setup->servers);
    if (config->fallback != NULL)
        make_server_tls(setup, &config->settings, config->fallback, report, &setup->fallback);
    for (database = config->databases; database != NULL; database = database->hh.next) {
        if (!has_own_tls(database))
            continue;
        struct database_tls *own = memory_new(sizeof(*own));
        own->name = memory_copy_text(database->name);
        make_server_tls(setup, &config->settings, database, report, &own->tls);
        HASH_ADD_KEYPTR(hh, setup->databases, own->name, strlen(own->name), own);
    }
    forget_known(setup);
    if (report->error_count == errors_before)
        return setup;
    tls_setup_destroy(setup);
    return NULL;
}

void tls_setup_destroy(struct tls_setup *setup)
{
    struct database_tls *own, *next;
    if (setup == NULL)
        return;
    tls_context_give_back(setup->clients);
    tls_context_give_back(setup->servers.context);
    tls_context_give_back(setup->fallback.context);
    HASH_ITER(hh, setup->databases, own, next) {
        HASH_DEL(setup->databases, own);
        tls_context_give_back(own->tls.context);
        free(own->name);
        free(own);
    }
    free(setup);
}

const struct tls_context *tls_setup_for_clients(const struct tls_setup *setup)
{
    return setup->clients;
}

const struct server_tls *tls_setup_for_database(const struct tls_setup *setup,
                                                const struct config_database *database)
{
    struct database_tls *own;
    HASH_FIND_STR(setup->databases, database->name, own);
    if (own != NULL)
        return &own->tls;
    return has_own_tls(database) ? &setup->fallback : &setup->servers;
}
