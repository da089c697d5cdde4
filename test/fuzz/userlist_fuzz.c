/*
 * userlist_fuzz.c - the auth_file, and what its secrets are.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/base64.h"
#include "auth/stored_secret.h"
#include "base/secret.h"
#include "config/config.h"
#include "fuzz.h"

static bool parse(const char *text, size_t size, struct config_secret **ret_secrets)
{
    struct config_report report = {0};
    bool good = userlist_parse("users", text, size, ret_secrets, &report);
    HOLDS(report.error_count == (good ? 0 : 1));
    config_report_release(&report);
    return good;
}

/* A verifier that was taken apart and put together again is the same. */
static void check_verifier(const struct secret *secret)
{
    struct scram_verifier verifier, again;
    struct secret written = {0};
    struct buffer text = {0};
    char iterations[16];
    HOLDS(secret_read_verifier(secret, &verifier));
    HOLDS(verifier.salt_size <= SCRAM_SALT_MAX && verifier.iterations > 0);
    snprintf(iterations, sizeof(iterations), "%u", verifier.iterations);
    put_text(&text, "SCRAM-SHA-256$");
    put_text(&text, iterations);
    put_text(&text, ":");
    base64_write(&text, verifier.salt, verifier.salt_size);
    put_text(&text, "$");
    base64_write(&text, verifier.stored_key, SCRAM_KEY_SIZE);
    put_text(&text, ":");
    base64_write(&text, verifier.server_key, SCRAM_KEY_SIZE);
    secret_set(&written, text.data, text.size);
    HOLDS(secret_kind_of(&written) == SECRET_SCRAM && secret_read_verifier(&written, &again));
    HOLDS(again.iterations == verifier.iterations && again.salt_size == verifier.salt_size);
    HOLDS(memcmp(again.salt, verifier.salt, verifier.salt_size) == 0);
    HOLDS(memcmp(again.stored_key, verifier.stored_key, SCRAM_KEY_SIZE) == 0);
    HOLDS(memcmp(again.server_key, verifier.server_key, SCRAM_KEY_SIZE) == 0);
    secret_release(&written);
    buffer_release(&text);
}

static void check_secret(const struct secret *secret)
{
    HOLDS(strlen(secret->bytes) == secret->length);
    switch (secret_kind_of(secret)) {
    case SECRET_NONE: /* empty, or a broken verifier */
        HOLDS(secret->length == 0 || strncmp(secret->bytes, "SCRAM-SHA-256$", 14) == 0);
        break;
    case SECRET_PLAIN:
        break;
    case SECRET_MD5:
        HOLDS(secret->length == 35);
        break;
    case SECRET_SCRAM:
        check_verifier(secret);
        break;
    }
}

static void check_entry(const struct config_secret *entry)
{
    HOLDS(entry->name[0] != '\0' && strlen(entry->name) <= USER_NAME_MAX);
    check_secret(&entry->secret);
    if (entry->older.bytes != NULL)
        check_secret(&entry->older);
}

static void write_line(struct buffer *out, const char *name, const struct secret *secret)
{
    if (secret->bytes == NULL)
        return;
    add_quoted(out, name, '"');
    put_text(out, " ");
    add_quoted(out, secret->bytes, '"');
    put_text(out, "\n");
}

/* What was read can be written, and is read the same again. */
static void write_again(const struct config_secret *secrets)
{
    struct buffer text = {0};
    struct config_secret *again = NULL;
    const struct config_secret *other;
    for (const struct config_secret *entry = secrets; entry != NULL; entry = entry->hh.next) {
        write_line(&text, entry->name, &entry->older);
        write_line(&text, entry->name, &entry->secret);
    }
    HOLDS(parse(end_text(&text), text.size - 1, &again));
    other = again;
    for (const struct config_secret *entry = secrets; entry != NULL; entry = entry->hh.next) {
        HOLDS(other != NULL && is_same_text(entry->name, other->name));
        HOLDS(secret_equals(&entry->secret, other->secret.bytes, other->secret.length));
        HOLDS(secret_equals(&entry->older, other->older.bytes, other->older.length));
        other = other->hh.next;
    }
    HOLDS(other == NULL);
    userlist_release(&again);
    buffer_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    char *text = (char *) take_bytes(&input, size, &size);
    struct config_secret *secrets = NULL;
    (void) parse(text, size, &secrets);
    for (const struct config_secret *entry = secrets; entry != NULL; entry = entry->hh.next)
        check_entry(entry);
    write_again(secrets);
    userlist_release(&secrets);
    free(text);
    return 0;
}
