/*
 * settings.c - reads and prints the settings by their types.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/settings.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/memory.h"
#include "base/text.h"
#include "config/ldap_options.h"

enum {
    TYPE_BOOL,
    TYPE_INT,
    TYPE_OCTAL,
    TYPE_UINT,
    TYPE_TIME,
    TYPE_TEXT,
    TYPE_FILE,
    TYPE_LDAP,
    TYPE_POOL_MODE,
    TYPE_SSLMODE,
    TYPE_AUTH_TYPE,
    TYPE_TLS_NEGOTIATION,
    TYPE_SERVER_PROTOCOL,
    TYPE_RESET_MODE,
    TYPE_FEATURE_ACTION,
    TYPE_COUNT,
};

const struct setting settings_table[] = {
#define SETTING(name, type, default_text, when, state, doc)                                        \
    {#name, default_text, doc, SETTING_##when, SETTING_##state, TYPE_##type,                       \
     offsetof(struct settings, name), sizeof(((struct settings *) NULL)->name)},
#include "config/settings.def"
#undef SETTING
};
const size_t settings_count = countof(settings_table);

/* ---- words ---- */

static const char *const pool_mode_words[] = {
    [POOL_SESSION] = "session", [POOL_TRANSACTION] = "transaction", [POOL_STATEMENT] = "statement"};

static const char *const sslmode_words[] = {
    [SSLMODE_DISABLE] = "disable",   [SSLMODE_ALLOW] = "allow",
    [SSLMODE_PREFER] = "prefer",     [SSLMODE_REQUIRE] = "require",
    [SSLMODE_VERIFY_CA] = "verify-ca", [SSLMODE_VERIFY_FULL] = "verify-full"};

static const char *const auth_type_words[] = {
    [AUTH_TYPE_ANY] = "any",     [AUTH_TYPE_TRUST] = "trust",         [AUTH_TYPE_PLAIN] = "plain",
    [AUTH_TYPE_MD5] = "md5",     [AUTH_TYPE_CERT] = "cert",           [AUTH_TYPE_HBA] = "hba",
    [AUTH_TYPE_SCRAM] = "scram-sha-256", [AUTH_TYPE_LDAP] = "ldap", [AUTH_TYPE_PAM] = "pam"};

static const char *const tls_negotiation_words[] = {[TLS_NEGOTIATION_POSTGRES] = "postgres",
                                                    [TLS_NEGOTIATION_DIRECT] = "direct"};

static const char *const server_protocol_words[] = {[SERVER_PROTOCOL_3_0] = "3.0",
                                                    [SERVER_PROTOCOL_3_2] = "3.2"};

static const char *const reset_mode_words[] = {[RESET_ALWAYS_IN_SESSION] = "always-in-session",
                                               [RESET_SMART] = "smart"};

static const char *const feature_action_words[] = {
    [FEATURES_OFF] = "off", [FEATURES_NOTICE] = "notice", [FEATURES_ERROR] = "error"};

/* The words of the types that are enums, in the order of their values. */
static const struct words {
    const char *const *words; /* NULL for all other types */
    size_t count;
} words_of[TYPE_COUNT] = {
    [TYPE_POOL_MODE] = {pool_mode_words, countof(pool_mode_words)},
    [TYPE_SSLMODE] = {sslmode_words, countof(sslmode_words)},
    [TYPE_AUTH_TYPE] = {auth_type_words, countof(auth_type_words)},
    [TYPE_TLS_NEGOTIATION] = {tls_negotiation_words, countof(tls_negotiation_words)},
    [TYPE_SERVER_PROTOCOL] = {server_protocol_words, countof(server_protocol_words)},
    [TYPE_RESET_MODE] = {reset_mode_words, countof(reset_mode_words)},
    [TYPE_FEATURE_ACTION] = {feature_action_words, countof(feature_action_words)},
};

/* The place of the word in its enum, or -1. */
static int find_word(int type, const char *text)
{
    for (size_t i = 0; i < words_of[type].count; i++)
        if (text_equals_ignoring_case(words_of[type].words[i], text))
            return (int) i;
    return -1;
}

const char *pool_mode_name(enum pool_mode mode)
{
    return pool_mode_words[mode];
}

bool pool_mode_read(const char *text, enum pool_mode *ret_mode)
{
    int found = find_word(TYPE_POOL_MODE, text);
    if (found >= 0)
        *ret_mode = (enum pool_mode) found;
    return found >= 0;
}

bool sslmode_read(const char *text, enum sslmode *ret_mode)
{
    int found = find_word(TYPE_SSLMODE, text);
    if (found >= 0)
        *ret_mode = (enum sslmode) found;
    return found >= 0;
}

bool tls_negotiation_read(const char *text, enum tls_negotiation *ret_negotiation)
{
    int found = find_word(TYPE_TLS_NEGOTIATION, text);
    if (found >= 0)
        *ret_negotiation = (enum tls_negotiation) found;
    return found >= 0;
}

/* ---- look-up ---- */

const struct setting *settings_find(const char *name)
{
    for (size_t i = 0; i < settings_count; i++)
        if (strcmp(settings_table[i].name, name) == 0)
            return &settings_table[i];
    return NULL;
}

const char *settings_nearest(const char *name)
{
    const size_t length = strlen(name), most = 20; /* what is further away is not near */
    const char *nearest = NULL;
    unsigned smallest = (unsigned) (length / 3 < most ? length / 3 + 1 : most);
    for (size_t i = 0; i < settings_count; i++) {
        unsigned distance = text_edit_distance(name, settings_table[i].name);
        if (distance <= smallest && (nearest == NULL || distance < smallest)) {
            smallest = distance;
            nearest = settings_table[i].name;
        }
    }
    return nearest;
}

/* ---- one value ---- */

static void *field_of(struct settings *settings, const struct setting *setting)
{
    return (char *) settings + setting->offset;
}

static const void *const_field_of(const struct settings *settings, const struct setting *setting)
{
    return (const char *) settings + setting->offset;
}

static bool set_text(char **field, const char *text)
{
    char *copy = memory_copy_text(text);
    free(*field);
    *field = copy;
    return true;
}

static void wipe_text(char *text)
{
    if (text != NULL)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

static bool set_secret_text(char **field, const char *text)
{
    char *copy = memory_copy_text(text);
    wipe_text(*field);
    *field = copy;
    return true;
}

static bool set_word(void *field, int type, const char *text)
{
    int found = find_word(type, text);
    if (found >= 0)
        memcpy(field, &found, sizeof(found));
    return found >= 0;
}

static bool set_number(void *field, int type, const char *text)
{
    int64_t value;
    if (type == TYPE_UINT) {
        if (!text_parse_int(text, 0, UINT32_MAX, &value))
            return false;
        *(uint32_t *) field = (uint32_t) value;
        return true;
    }
    if (!text_parse_int(text, INT_MIN, INT_MAX, &value))
        return false;
    if (type == TYPE_BOOL)
        *(bool *) field = value != 0;
    else
        *(int *) field = (int) value;
    return true;
}

static bool set_value(void *field, int type, const char *text)
{
    switch (type) {
    case TYPE_TIME:
        return text_parse_seconds(text, field);
    case TYPE_TEXT:
    case TYPE_FILE:
        return set_text(field, text);
    case TYPE_LDAP:
        return set_secret_text(field, text);
    default:
        return words_of[type].words != NULL ? set_word(field, type, text)
                                            : set_number(field, type, text);
    }
}

static const char *const expectations[TYPE_COUNT] = {
    [TYPE_BOOL] = "0 or 1",
    [TYPE_INT] = "an integer",
    [TYPE_OCTAL] = "an octal number such as 0770",
    [TYPE_UINT] = "a non-negative integer",
    [TYPE_TIME] = "a number of seconds without a unit",
    [TYPE_TEXT] = "a text",
    [TYPE_FILE] = "a file name",
    [TYPE_LDAP] = "a text",
    [TYPE_POOL_MODE] = "session, transaction or statement",
    [TYPE_SSLMODE] = "disable, allow, prefer, require, verify-ca or verify-full",
    [TYPE_TLS_NEGOTIATION] = "postgres or direct",
    [TYPE_SERVER_PROTOCOL] = "3.0 or 3.2",
    [TYPE_RESET_MODE] = "always-in-session or smart",
    [TYPE_FEATURE_ACTION] = "off, notice or error",
    [TYPE_AUTH_TYPE] = "any, trust, plain, md5, cert, hba, scram-sha-256, ldap or pam",
};

bool settings_set(struct settings *settings, const struct setting *setting, const char *text,
                  const char **ret_expected)
{
    *ret_expected = expectations[setting->type];
    return set_value(field_of(settings, setting), setting->type, text);
}

static void print_number(struct buffer *out, int64_t value)
{
    char text[32];
    int length = snprintf(text, sizeof(text), "%" PRId64, value);
    buffer_append(out, text, (size_t) length);
}

static void print_text(struct buffer *out, const char *text)
{
    buffer_append(out, text, strlen(text));
}

bool settings_print(const struct settings *settings, const struct setting *setting,
                    struct buffer *ret_text)
{
    const void *field = const_field_of(settings, setting);
    char seconds[32];
    switch (setting->type) {
    case TYPE_BOOL:
        print_number(ret_text, *(const bool *) field);
        break;
    case TYPE_UINT:
        print_number(ret_text, *(const uint32_t *) field);
        break;
    case TYPE_TIME:
        text_print_seconds(*(const usec_t *) field, seconds, sizeof(seconds));
        print_text(ret_text, seconds);
        break;
    case TYPE_TEXT:
    case TYPE_FILE:
        if (*(char *const *) field == NULL)
            return false;
        print_text(ret_text, *(char *const *) field);
        break;
    case TYPE_LDAP:
        if (*(char *const *) field == NULL)
            return false;
        ldap_options_print(*(char *const *) field, ret_text);
        break;
    default:
        if (words_of[setting->type].words != NULL)
            print_text(ret_text, words_of[setting->type].words[*(const int *) field]);
        else
            print_number(ret_text, *(const int *) field);
        break;
    }
    return true;
}

/* ---- all of them ---- */

bool settings_same(const struct settings *a, const struct settings *b,
                   const struct setting *setting)
{
    struct buffer text_a = {0}, text_b = {0};
    bool set_a = settings_print(a, setting, &text_a), set_b = settings_print(b, setting, &text_b);
    bool same = set_a == set_b && text_a.size == text_b.size &&
                (text_a.size == 0 || memcmp(text_a.data, text_b.data, text_a.size) == 0);
    buffer_release(&text_a);
    buffer_release(&text_b);
    return same;
}

bool settings_differ(const struct settings *a, const struct settings *b, const char *prefix)
{
    for (size_t i = 0; i < settings_count; i++)
        if (strncmp(settings_table[i].name, prefix, strlen(prefix)) == 0 &&
            !settings_same(a, b, &settings_table[i]))
            return true;
    return false;
}

static bool is_owned_text(const struct setting *setting)
{
    return setting->type == TYPE_TEXT || setting->type == TYPE_FILE || setting->type == TYPE_LDAP;
}

void settings_reset(struct settings *settings)
{
    for (size_t i = 0; i < settings_count; i++)
        if (settings_table[i].default_text != NULL)
            (void) set_value(field_of(settings, &settings_table[i]), settings_table[i].type,
                             settings_table[i].default_text);
}

void settings_init(struct settings *settings)
{
    *settings = (struct settings){0};
    settings_reset(settings);
}

void settings_copy_one(struct settings *to, const struct settings *from,
                       const struct setting *setting)
{
    void *field = field_of(to, setting);
    const void *source = const_field_of(from, setting);
    if (is_owned_text(setting)) {
        free(*(char **) field);
        *(char **) field = memory_copy_text(*(char *const *) source);
    } else {
        memcpy(field, source, setting->size);
    }
}

void settings_copy(struct settings *to, const struct settings *from)
{
    for (size_t i = 0; i < settings_count; i++)
        settings_copy_one(to, from, &settings_table[i]);
}

void settings_release(struct settings *settings)
{
    for (size_t i = 0; i < settings_count; i++) {
        char **field = field_of(settings, &settings_table[i]);
        if (settings_table[i].type == TYPE_LDAP)
            wipe_text(*field);
        else if (is_owned_text(&settings_table[i]))
            free(*field);
    }
    *settings = (struct settings){0};
}
