/*
 * config.c - loads configurations, and holds the one in force.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config.h"

#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/intern.h"
#include "base/memory.h"
#include "config/entries.h"
#include "config/hba.h"
#include "config/ident.h"
#include "config/file.h"
#include "config/ini.h"
#include "config/ldap_options.h"
#include "config/report.h"

static struct config *current;

/* ---- loading ---- */

struct load {
    struct config *config;
    const struct config *previous;
    struct config_report *report;
    bool main_section_seen;
    bool unknown_section;
    struct place *places; /* owns; where each setting was set last; file is a reference */
};

static bool is_known_section(const char *section)
{
    return strcmp(section, "pgbouncer") == 0 || strcmp(section, "databases") == 0 ||
           strcmp(section, "users") == 0 || strcmp(section, "peers") == 0;
}

static void on_section(void *argument, const char *section, struct place place)
{
    struct load *load = argument;
    load->unknown_section = !is_known_section(section);
    if (load->unknown_section) {
        report_error(load->report, place,
                     "invalid section \"%s\": expected pgbouncer, databases, users or peers",
                     section);
    } else if (strcmp(section, "pgbouncer") == 0) {
        load->main_section_seen = true;
        settings_reset(&load->config->settings);
    }
}

static void add_setting(struct load *load, const char *name, const char *value, struct place place)
{
    const struct setting *setting = settings_find(name);
    const char *expected, *nearest;
    struct place *kept;
    if (strcmp(name, "service_name") == 0) /* of Windows */
        return;
    if (setting == NULL) {
        nearest = settings_nearest(name);
        if (nearest != NULL)
            report_error(load->report, place,
                         "unknown parameter: pgbouncer/%s; did you mean \"%s\"?", name, nearest);
        else
            report_error(load->report, place, "unknown parameter: pgbouncer/%s", name);
        return;
    }
    if (!settings_set(&load->config->settings, setting, value, &expected)) {
        report_error(load->report, place, "invalid value \"%s\" for parameter %s: expected %s",
                     value, name, expected);
        return;
    }
    kept = &load->places[setting - settings_table];
    intern_give_back(kept->file);
    *kept = (struct place){.file = intern_share(place.file), .line = place.line};
}

static void on_value(void *argument, const char *section, const char *key, const char *value,
                     struct place place)
{
    struct load *load = argument;
    if (load->unknown_section)
        return;
    if (section[0] == '\0')
        report_error(load->report, place, "value without section: %s", key);
    else if (strcmp(section, "pgbouncer") == 0)
        add_setting(load, key, value, place);
    else if (strcmp(section, "databases") == 0)
        entries_add_database(load->config, key, value, place, load->report);
    else if (strcmp(section, "users") == 0)
        entries_add_user(load->config, key, value, place, load->report);
    else
        entries_add_peer(load->config, key, value, place, load->report);
}

/* ---- checks after the last line ---- */

static struct place place_of(const struct load *load, const char *name)
{
    return load->places[settings_find(name) - settings_table];
}

static void check_range(struct load *load, const char *name, int value, int least, int most)
{
    if (value < least || value > most)
        report_error(load->report, place_of(load, name),
                     "invalid value \"%d\" for parameter %s: expected %d to %d", value, name, least,
                     most);
}

/* Without these anybody could make a certificate that names anybody. */
static void check_certificates_can_count(struct load *load)
{
    const struct settings *settings = &load->config->settings;
    if (settings->client_tls_sslmode != SSLMODE_VERIFY_FULL)
        report_error(load->report, place_of(load, "auth_type"),
                     "auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL");
    else if (settings->client_tls_ca_file[0] == '\0')
        report_error(load->report, place_of(load, "auth_type"),
                     "auth_type=cert requires client_tls_ca_file");
}

static void check_ldap_options(struct load *load)
{
    const char *text = load->config->settings.auth_ldap_options;
    char *error = NULL;
    if (text != NULL && text[0] != '\0')
        ldap_options_destroy(ldap_options_parse(text, &error));
    else if (load->config->settings.auth_type == AUTH_TYPE_LDAP)
        report_warning(load->report, place_of(load, "auth_type"),
                       "auth_type is ldap and auth_ldap_options is not set: nobody can log in");
    if (error != NULL)
        report_error(load->report, place_of(load, "auth_ldap_options"), "auth_ldap_options: %s",
                     error);
    free(error);
}

/* The methods that need a library which this build may not have. */
static void check_outside_methods(struct load *load)
{
#ifndef HAVE_LIBPAM
    if (load->config->settings.auth_type == AUTH_TYPE_PAM)
        report_error(load->report, place_of(load, "auth_type"),
                     "auth_type: pam is not supported by this build; it was made without PAM "
                     "(package libpam0g-dev)");
#endif
#ifndef HAVE_LIBLDAP
    if (load->config->settings.auth_type == AUTH_TYPE_LDAP)
        report_error(load->report, place_of(load, "auth_type"),
                     "auth_type: ldap is not supported by this build; it was made without LDAP "
                     "(package libldap-dev)");
#endif
    check_ldap_options(load);
}

static void check_values(struct load *load)
{
    const struct settings *settings = &load->config->settings;
    check_range(load, "listen_port", settings->listen_port, 0, 65535);
    check_range(load, "stats_period", settings->stats_period, 1, 1000000000);
    check_range(load, "scram_iterations", settings->scram_iterations, 1, 1000000);
    check_range(load, "peer_id", settings->peer_id, 0, 65535);
    if (settings->auth_dbname != NULL && strcmp(settings->auth_dbname, CONSOLE_DATABASE) == 0)
        report_error(load->report, place_of(load, "auth_dbname"),
                     "auth_dbname: the console \"%s\" cannot be asked", CONSOLE_DATABASE);
    if (settings->auth_type == AUTH_TYPE_CERT)
        check_certificates_can_count(load);
    check_outside_methods(load);
}

static void warn_of_settings_without_effect(struct load *load)
{
    struct settings defaults;
    settings_init(&defaults);
    for (size_t i = 0; i < settings_count; i++)
        if (settings_table[i].state == SETTING_LATER &&
            !settings_same(&defaults, &load->config->settings, &settings_table[i]))
            report_warning(load->report, load->places[i],
                           "%s is not supported yet: it has no effect", settings_table[i].name);
    settings_release(&defaults);
}

/* What needs a restart stays as it was. */
static void keep_start_settings(struct load *load)
{
    struct settings *settings = &load->config->settings;
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        if (setting->when != SETTING_RESTART ||
            settings_same(settings, &load->previous->settings, setting))
            continue;
        report_warning(load->report, load->places[i], "the change of %s needs a restart",
                       setting->name);
        settings_copy_one(settings, &load->previous->settings, setting);
    }
}

static bool needs_secrets(const struct settings *settings)
{
    return settings->auth_type != AUTH_TYPE_ANY && settings->auth_type != AUTH_TYPE_PAM &&
           settings->auth_file != NULL && settings->auth_file[0] != '\0';
}

/* A file that was emptied by accident must not lock everybody out. */
static bool was_emptied(const struct load *load, const char *file, const struct buffer *text)
{
    return text->size == 0 && load->previous != NULL && load->previous->secrets != NULL &&
           strcmp(load->previous->settings.auth_file, file) == 0;
}

static void load_secrets(struct load *load)
{
    const char *file = load->config->settings.auth_file;
    struct place place = place_of(load, "auth_file");
    struct buffer text = {0};
    if (!needs_secrets(&load->config->settings))
        return;
    if (file_is_open_to_others(file))
        report_warning(load->report, place,
                       "everybody may read or change auth_file %s; chmod o= takes the right away",
                       file);
    if (file_read(file, &text)) {
        if (was_emptied(load, file, &text))
            report_error(load->report, place,
                         "auth_file %s is empty now; a comment in it would say that it is to be",
                         file);
        userlist_parse(file, text.size > 0 ? (const char *) text.data : "", text.size,
                       &load->config->secrets, load->report);
    } else if (load->previous == NULL) {
        report_warning(load->report, place, "could not open auth_file %s: %s", file,
                       strerror(errno));
    } else {
        report_error(load->report, place, "could not open auth_file %s: %s", file, strerror(errno));
    }
    buffer_wipe(&text);
}

/* The file that a setting names; false with an error. */
static bool read_rule_file(struct load *load, const char *setting, const char *file,
                           struct buffer *ret_text)
{
    if (file_read(file, ret_text))
        return true;
    report_error(load->report, place_of(load, setting), "could not open %s \"%s\": %s", setting,
                 file, strerror(errno));
    return false;
}

static const char *text_of(const struct buffer *buffer)
{
    return buffer->size > 0 ? (const char *) buffer->data : "";
}

/* The maps first, because the rules name them. */
static void load_rules(struct load *load)
{
    struct config *config = load->config;
    const char *hba = config->settings.auth_hba_file, *ident = config->settings.auth_ident_file;
    struct buffer text = {0};
    if (config->settings.auth_type != AUTH_TYPE_HBA)
        return;
    if (ident != NULL && ident[0] != '\0' &&
        read_rule_file(load, "auth_ident_file", ident, &text))
        config->ident = ident_parse(ident, text_of(&text), text.size, load->report);
    buffer_release(&text);
    if (hba == NULL || hba[0] == '\0')
        report_error(load->report, place_of(load, "auth_type"),
                     "auth_type = hba needs rules: set auth_hba_file");
    else if (read_rule_file(load, "auth_hba_file", hba, &text))
        config->hba = hba_parse(hba, text_of(&text), text.size, config->ident, load->report);
    buffer_release(&text);
}

struct config *config_load(const char *file, const struct config *previous, int verbose,
                           struct config_report *ret_report)
{
    static const struct ini_ops ops = {.section = on_section, .value = on_value};
    struct config *config = memory_new(sizeof(*config));
    struct load load = {.config = config, .previous = previous, .report = ret_report};

    *ret_report = (struct config_report){0};
    load.places = memory_new(settings_count * sizeof(*load.places));
    config->file = memory_copy_text(file);
    if (previous != NULL) {
        settings_copy(&config->settings, &previous->settings);
        settings_reset(&config->settings);
    } else {
        settings_init(&config->settings);
        config->settings.conffile = memory_copy_text(file);
        config->settings.verbose = verbose;
    }
    ini_read(file, &ops, &load, ret_report);
    if (!load.main_section_seen && ret_report->error_count == 0)
        report_error(ret_report, (struct place){.file = file},
                     "main section [pgbouncer] missing from config file");
    check_values(&load);
    load_secrets(&load);
    load_rules(&load);
    if (ret_report->error_count == 0) {
        warn_of_settings_without_effect(&load);
        if (previous != NULL)
            keep_start_settings(&load);
    }
    for (size_t i = 0; i < settings_count; i++)
        intern_give_back(load.places[i].file);
    free(load.places);
    if (ret_report->error_count > 0) {
        config_destroy(config);
        return NULL;
    }
    return config;
}

void config_destroy(struct config *config)
{
    if (config == NULL)
        return;
    entries_release(config);
    hba_destroy(config->hba); /* before the maps, which it borrows */
    ident_destroy(config->ident);
    userlist_release(&config->secrets);
    settings_release(&config->settings);
    free(config->file);
    free(config);
}

/* ---- the snapshot in force ---- */

const struct config *config_current(void)
{
    return current;
}

const struct settings *settings_current(void)
{
    return &current->settings;
}

struct config *config_use(struct config *config)
{
    struct config *old = current;
    current = config;
    return old;
}

bool config_set(const char *name, const char *value)
{
    const struct setting *setting = settings_find(name);
    struct settings changed = {0};
    struct config trial = {0};
    struct config_report report = {0};
    const char *expected;
    bool good;
    if (setting == NULL)
        return false;
    settings_copy(&changed, &current->settings);
    good = settings_set(&changed, setting, value, &expected);
    if (good) {
        struct load load = {.config = &trial, .report = &report};
        load.places = memory_new(settings_count * sizeof(*load.places));
        trial.settings = changed;
        check_values(&load);
        free(load.places);
        good = report.error_count == 0 &&
               (changed.auth_type != AUTH_TYPE_HBA || current->hba != NULL);
        config_report_release(&report);
    }
    if (good && setting->when == SETTING_RELOAD)
        good = settings_set(&current->settings, setting, value, &expected);
    settings_release(&changed);
    return good;
}

const struct config_database *config_find_database(const struct config *config, const char *name)
{
    struct config_database *database;
    HASH_FIND_STR(config->databases, name, database);
    return database;
}

const struct config_user *config_find_user(const struct config *config, const char *name)
{
    struct config_user *user;
    HASH_FIND_STR(config->users, name, user);
    return user;
}

static const struct config_secret *find_secret(const struct config *config, const char *name)
{
    struct config_secret *secret;
    HASH_FIND_STR(config->secrets, name, secret);
    return secret;
}

const struct secret *config_find_secret(const struct config *config, const char *name)
{
    const struct config_secret *secret = find_secret(config, name);
    return secret != NULL ? &secret->secret : NULL;
}

const struct secret *config_find_older_secret(const struct config *config, const char *name)
{
    const struct config_secret *secret = find_secret(config, name);
    return secret != NULL && !secret_is_empty(&secret->older) ? &secret->older : NULL;
}
