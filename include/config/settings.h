/*
 * settings.h - the settings of the [pgbouncer] section, from settings.def.
 *
 * settings.def is the one place where a setting is described: name, type, default, when a change
 * counts, whether it works already, and the text of the manual. From it come the struct below, the
 * parser, SHOW CONFIG, SET, the sample ini and the manual page.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_SETTINGS_H
#define PGWEIR_CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/compiler.h"

enum pool_mode { POOL_SESSION, POOL_TRANSACTION, POOL_STATEMENT };

enum sslmode {
    SSLMODE_DISABLE,
    SSLMODE_ALLOW,
    SSLMODE_PREFER,
    SSLMODE_REQUIRE,
    SSLMODE_VERIFY_CA,
    SSLMODE_VERIFY_FULL,
};

/* How TLS to a server begins: asked for with an SSLRequest, or at once (PostgreSQL 17). */
enum tls_negotiation { TLS_NEGOTIATION_POSTGRES, TLS_NEGOTIATION_DIRECT };

/* The version of the protocol that servers are asked for. */
enum server_protocol { SERVER_PROTOCOL_3_0, SERVER_PROTOCOL_3_2 };

/* When server_reset_query is sent: after each session, or as far as the session makes it necessary. */
enum reset_mode { RESET_ALWAYS_IN_SESSION, RESET_SMART };

/* What is done about features of a session that outlive a transaction, where that is not pooled. */
enum feature_action { FEATURES_OFF, FEATURES_NOTICE, FEATURES_ERROR };

/* Words of auth_type. */
enum auth_type {
    AUTH_TYPE_ANY,
    AUTH_TYPE_TRUST,
    AUTH_TYPE_PLAIN,
    AUTH_TYPE_MD5,
    AUTH_TYPE_CERT,
    AUTH_TYPE_HBA,
    AUTH_TYPE_SCRAM,
    AUTH_TYPE_LDAP,
    AUTH_TYPE_PAM,
};

/*
 * Types in settings.def and the C types of their fields:
 *   BOOL  int-bool: bool        INT, OCTAL: int          UINT: uint32_t
 *   TIME  seconds: usec_t       TEXT, FILE: char * (owns; NULL or "" when unset)
 *   LDAP  as TEXT, with a password in it that is not printed (config/ldap_options.h)
 *   POOL_MODE, SSLMODE, AUTH_TYPE, TLS_NEGOTIATION, SERVER_PROTOCOL, RESET_MODE,
 *   FEATURE_ACTION: the enums above
 */
#define SETTING_FIELD_BOOL      bool
#define SETTING_FIELD_INT       int
#define SETTING_FIELD_OCTAL     int
#define SETTING_FIELD_UINT      uint32_t
#define SETTING_FIELD_TIME      usec_t
#define SETTING_FIELD_TEXT      char *
#define SETTING_FIELD_FILE      char *
#define SETTING_FIELD_LDAP      char *
#define SETTING_FIELD_POOL_MODE enum pool_mode
#define SETTING_FIELD_SSLMODE   enum sslmode
#define SETTING_FIELD_AUTH_TYPE enum auth_type
#define SETTING_FIELD_TLS_NEGOTIATION enum tls_negotiation
#define SETTING_FIELD_SERVER_PROTOCOL enum server_protocol
#define SETTING_FIELD_RESET_MODE enum reset_mode
#define SETTING_FIELD_FEATURE_ACTION enum feature_action

struct settings {
#define SETTING(name, type, default_text, when, state, doc) SETTING_FIELD_##type name;
#include "config/settings.def"
#undef SETTING
};

enum setting_when { SETTING_RELOAD, SETTING_RESTART };

/* Does the setting have an effect yet? One that has not is accepted and warned about once. */
enum setting_state { SETTING_WORKS, SETTING_LATER, SETTING_NO_EFFECT };

struct setting {
    const char *name;
    const char *default_text; /* NULL: no default; such a value survives a [pgbouncer] header */
    const char *doc;
    enum setting_when when;
    enum setting_state state;
    int type;            /* private, as what follows */
    size_t offset, size; /* of the field */
};

/* All settings, in the order of SHOW CONFIG. */
extern const struct setting settings_table[];
extern const size_t settings_count;

/* NULL if there is none of that name (names are case-sensitive). */
const struct setting *settings_find(const char *name);

/* The known name nearest to a mistyped one, or NULL if none is near. */
const char *settings_nearest(const char *name);

/*
 * Sets one value from its text. Returns false for a text that the type does not allow (`ret_expected`
 * then says what would be, such as "an integer"); the old value stays.
 */
bool settings_set(struct settings *settings, const struct setting *setting, const char *text,
                  const char **ret_expected) MUST_CHECK;

/*
 * The value as SHOW CONFIG prints it, without a password. Returns false for an unset one (NULL).
 */
bool settings_print(const struct settings *settings, const struct setting *setting,
                    struct buffer *ret_text) MUST_CHECK;

/* All defaults; `settings` is uninitialised or zeroed before. */
void settings_init(struct settings *settings);

/* What a [pgbouncer] header does: back to the default, for every setting that has one. */
void settings_reset(struct settings *settings);
void settings_copy(struct settings *to, const struct settings *from);

/* Copies one value, also an unset one. */
void settings_copy_one(struct settings *to, const struct settings *from,
                       const struct setting *setting);
void settings_release(struct settings *settings);

/* Words of the enums, as SHOW prints them; the readers ignore case and return false if unknown. */
const char *pool_mode_name(enum pool_mode mode);
bool pool_mode_read(const char *text, enum pool_mode *ret_mode) MUST_CHECK;
bool sslmode_read(const char *text, enum sslmode *ret_mode) MUST_CHECK;
bool tls_negotiation_read(const char *text, enum tls_negotiation *ret_negotiation) MUST_CHECK;

/* True if the setting has the same value, or none, in both. */
bool settings_same(const struct settings *a, const struct settings *b,
                   const struct setting *setting);

/* True if any setting whose name begins with `prefix` has another value in `b` than in `a`. */
bool settings_differ(const struct settings *a, const struct settings *b, const char *prefix);

#endif
