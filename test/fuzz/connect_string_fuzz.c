/*
 * connect_string_fuzz.c - the values of [databases], [users] and [peers].
 *
 * SPDX-License-Identifier: ISC
 */
#include "../../src/config/entries.c"
#include "fuzz.h"

/* ---- the form ---- */

static bool collect(void *argument, const char *key, const char *value)
{
    struct buffer *pairs = argument;
    HOLDS(key[0] != '\0' && strpbrk(key, "= ") == NULL && value[0] != '\0');
    buffer_append(pairs, key, strlen(key) + 1);
    buffer_append(pairs, value, strlen(value) + 1);
    return true;
}

/* What was accepted can be written with quotes, and is read the same again. */
static void check_form(const char *text)
{
    struct buffer pairs = {0}, written = {0}, again = {0};
    if (connect_string_read(text, collect, &pairs) == NULL && pairs.size > 0) {
        const char *at = (const char *) pairs.data, *end = at + pairs.size;
        while (at < end) {
            const char *value = at + strlen(at) + 1;
            put_text(&written, at);
            put_text(&written, " = ");
            add_quoted(&written, value, '\'');
            put_text(&written, " ");
            at = value + strlen(value) + 1;
        }
        HOLDS(connect_string_read(end_text(&written), collect, &again) == NULL);
        HOLDS(is_same_buffer(&pairs, &again));
    }
    buffer_release(&pairs);
    buffer_release(&written);
    buffer_release(&again);
}

/* ---- the lines ---- */

static const struct place here = {.file = NULL};

/* Texts of the words that a number in a field stands for. */
static const char *word_of(enum key_kind kind, int value, char *scratch, size_t size)
{
    static const char *const sslmodes[] = {"disable", "allow",     "prefer",
                                           "require", "verify-ca", "verify-full"};
    static const char *const negotiations[] = {"postgres", "direct"};
    if (kind == KEY_POOL_MODE)
        return pool_mode_name((enum pool_mode) value);
    if (kind == KEY_SSLMODE)
        return sslmodes[value];
    if (kind == KEY_TLS_NEGOTIATION)
        return negotiations[value];
    snprintf(scratch, size, "%d", value);
    return scratch;
}

/* The value of a field; NULL if it is not set. */
static const char *value_of(const void *object, const struct key *key, char *scratch, size_t size)
{
    const void *field = (const char *) object + key->offset;
    switch (key->kind) {
    case KEY_TEXT:
    case KEY_PORTS:
        return *(char *const *) field;
    case KEY_SECRET:
        return ((const struct secret *) field)->bytes;
    case KEY_BALANCE:
        return *(const bool *) field ? "disable" : "round-robin";
    case KEY_TARGET:
        return target_session_attrs_name(*(const enum target_session_attrs *) field);
    case KEY_PORT:
    case KEY_NOT_NEGATIVE:
    case KEY_POSITIVE:
    case KEY_POOL_MODE:
    case KEY_SSLMODE:
    case KEY_TLS_NEGOTIATION:
        if (*(const int *) field == CONFIG_UNSET)
            return NULL;
        return word_of(key->kind, *(const int *) field, scratch, size);
    }
    return NULL;
}

static void write_object(struct buffer *out, const void *object, const struct key *keys,
                         size_t count)
{
    char scratch[32];
    for (size_t i = 0; i < count; i++) {
        const char *value = value_of(object, &keys[i], scratch, sizeof(scratch));
        if (value != NULL) {
            put_text(out, keys[i].name);
            put_text(out, "=");
            add_quoted(out, value, '\'');
            put_text(out, " ");
        }
    }
}

static void expect_same(const void *a, const void *b, const struct key *keys, size_t count)
{
    char scratch_a[32], scratch_b[32];
    for (size_t i = 0; i < count; i++)
        HOLDS(is_same_text(value_of(a, &keys[i], scratch_a, sizeof(scratch_a)),
                           value_of(b, &keys[i], scratch_b, sizeof(scratch_b))));
}

static struct config *read_line(const char *name, const char *text,
                                void (*add)(struct config *, const char *, const char *,
                                            struct place, struct config_report *))
{
    struct config *config = memory_new(sizeof(*config));
    struct config_report report = {0};
    add(config, name, text, here, &report);
    HOLDS(report.warning_count == 0);
    bool any = config->databases != NULL || config->users != NULL || config->peers != NULL;
    HOLDS(any == (report.error_count == 0));
    config_report_release(&report);
    return config;
}

static void release(struct config *config)
{
    entries_release(config);
    free(config);
}

static void check_database(const char *text)
{
    struct config *config = read_line("d", text, entries_add_database);
    struct buffer written = {0};
    if (config->databases != NULL) {
        struct config_database *copy = config_database_copy(config->databases, "e");
        expect_same(config->databases, copy, database_keys, countof(database_keys));
        config_database_destroy(copy);
        write_object(&written, config->databases, database_keys, countof(database_keys));
        struct config *again = read_line("d", end_text(&written), entries_add_database);
        HOLDS(again->databases != NULL);
        expect_same(config->databases, again->databases, database_keys, countof(database_keys));
        HOLDS(!config_database_needs_reconnect(config->databases, again->databases));
        HOLDS(!config_database_tls_differs(config->databases, again->databases));
        release(again);
    }
    buffer_release(&written);
    release(config);
}

static void check_user(const char *text)
{
    struct config *config = read_line("u", text, entries_add_user);
    struct buffer written = {0};
    if (config->users != NULL) {
        write_object(&written, config->users, user_keys, countof(user_keys));
        struct config *again = read_line("u", end_text(&written), entries_add_user);
        HOLDS(again->users != NULL);
        expect_same(config->users, again->users, user_keys, countof(user_keys));
        release(again);
    }
    buffer_release(&written);
    release(config);
}

static void check_peer(const char *text)
{
    struct config *config = read_line("1", text, entries_add_peer);
    struct buffer written = {0};
    if (config->peers != NULL) {
        write_object(&written, config->peers, peer_keys, countof(peer_keys));
        struct config *again = read_line("1", end_text(&written), entries_add_peer);
        HOLDS(again->peers != NULL);
        expect_same(config->peers, again->peers, peer_keys, countof(peer_keys));
        release(again);
    }
    buffer_release(&written);
    release(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    char *text = take_rest(&input);
    check_form(text);
    check_database(text);
    check_user(text);
    check_peer(text);
    free(text);
    return 0;
}
