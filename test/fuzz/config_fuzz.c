/*
 * config_fuzz.c - whole configurations: settings, entries, userlist, rules and maps together.
 *
 * The input holds the files, one behind the other. A line "=NAME" begins the file NAME; before the
 * first of them stands pgweir.ini.
 *
 * SPDX-License-Identifier: ISC
 */
#include <errno.h>

#include "config/config.h"
#include "config/file.h"
#include "fuzz.h"

static const char *files, *files_end;

/* Finds the text of a file; false if there is none. */
static bool find_file(const char *name, const char **ret_start, const char **ret_end)
{
    const char *at = files, *current = "pgweir.ini";
    size_t current_length = strlen(current);
    while (at <= files_end) {
        const char *end = memmem(at, (size_t) (files_end - at), "\n=", 2);
        *ret_start = at;
        *ret_end = end != NULL ? end + 1 : files_end;
        if (strlen(name) == current_length && memcmp(name, current, current_length) == 0)
            return true;
        if (end == NULL)
            return false;
        current = end + 2;
        at = memchr(current, '\n', (size_t) (files_end - current));
        if (at == NULL)
            return false;
        current_length = (size_t) (at - current);
        at++;
    }
    return false;
}

/* In the place of the ones in the library. */
bool file_read(const char *file, struct buffer *ret_text)
{
    const char *start, *end;
    if (find_file(file, &start, &end)) {
        buffer_append(ret_text, start, (size_t) (end - start));
        return true;
    }
    errno = ENOENT;
    return false;
}

bool file_is_writable_by_others(const char *file UNUSED)
{
    return false;
}

bool file_is_open_to_others(const char *file)
{
    return file[0] == 'o';
}

/* ---- properties ---- */

/* Every setting can be printed, and set again from what was printed. */
static void check_settings(const struct settings *settings)
{
    struct settings again;
    settings_init(&again);
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        struct buffer text = {0};
        const char *expected;
        if (settings_print(settings, setting, &text)) {
            HOLDS(settings_set(&again, setting, end_text(&text), &expected));
            HOLDS(settings_same(settings, &again, setting));
        }
        buffer_release(&text);
    }
    settings_release(&again);
}

static void check_secrets(const struct config *config)
{
    for (const struct config_secret *entry = config->secrets; entry != NULL; entry = entry->hh.next)
        HOLDS(config_find_secret(config, entry->name) == &entry->secret);
}

static void check_entries(const struct config *config)
{
    for (const struct config_database *entry = config->databases; entry != NULL;
         entry = entry->hh.next) {
        HOLDS(config_find_database(config, entry->name) == entry);
        HOLDS(strcmp(entry->name, CONSOLE_DATABASE) != 0 && strcmp(entry->name, "*") != 0);
        HOLDS(strlen(entry->name) <= DATABASE_NAME_MAX);
        HOLDS(entry->port > 0 && entry->port <= 65535);
    }
    for (const struct config_user *entry = config->users; entry != NULL; entry = entry->hh.next)
        HOLDS(config_find_user(config, entry->name) == entry);
}

/* A reload of the same files changes nothing, and has nothing to say about restarts. */
static void load_again(const struct config *config, size_t warnings)
{
    struct config_report report;
    struct config *again = config_load("pgweir.ini", config, 0, &report);
    if (again != NULL) {
        HOLDS(report.warning_count <= warnings);
        for (size_t i = 0; i < settings_count; i++)
            HOLDS(settings_same(&config->settings, &again->settings, &settings_table[i]));
        HOLDS(HASH_COUNT(config->databases) == HASH_COUNT(again->databases));
        HOLDS(HASH_COUNT(config->users) == HASH_COUNT(again->users));
        HOLDS(HASH_COUNT(config->peers) == HASH_COUNT(again->peers));
        HOLDS(HASH_COUNT(config->secrets) == HASH_COUNT(again->secrets));
        HOLDS((config->hba == NULL) == (again->hba == NULL));
        config_destroy(again);
    } else {
        HOLDS(report.error_count > 0);
    }
    config_report_release(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_report report;
    struct config *config;
    files = (const char *) data;
    files_end = files + size;
    if (size == 0)
        return -1;
    config = config_load("pgweir.ini", NULL, 0, &report);
    HOLDS((config == NULL) == (report.error_count > 0));
    HOLDS(report.error_count <= CONFIG_REPORT_MAX + 1 &&
          report.warning_count <= CONFIG_REPORT_MAX + 1);
    if (config != NULL) {
        HOLDS(config->settings.auth_type != AUTH_TYPE_HBA || config->hba != NULL);
        check_settings(&config->settings);
        check_secrets(config);
        check_entries(config);
        load_again(config, report.warning_count);
    }
    config_destroy(config);
    config_report_release(&report);
    return 0;
}
