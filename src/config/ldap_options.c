/*
 * ldap_options.c - the options of LDAP logins.
 *
 * Stricter than PgBouncer where being lenient would open a door unnoticed: ldaptls is 0 or 1, a
 * filter names the user, and TLS is not asked for twice.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/ldap_options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

#define SEPARATORS     " \t\r\n,"
#define USER_VARIABLE  "$username"
#define PASSWORD_NAME  "ldapbindpasswd"
#define DEFAULT_SEARCH "uid"

static char *format_error(const char *format, ...) PRINTF_LIKE(1, 2);

static char *format_error(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return memory_copy_text(text);
}

static void add_text(struct buffer *out, const char *text)
{
    buffer_append(out, text, strlen(text));
}

/* Ends a text that was gathered in a buffer, and gives it away. */
static char *take_text(struct buffer *buffer)
{
    buffer_append(buffer, "", 1);
    return (char *) buffer->data;
}

/* ---- items ---- */

/*
 * Appends the next item to `item`, without its quotes and with a zero behind it, and returns where
 * it ends. `*ret_open` tells of a quote that is not closed.
 */
static const char *read_item(const char *at, struct buffer *item, bool *ret_open)
{
    bool quoted = false;
    /* All the room at once: growing would leave copies of a password behind. */
    buffer_extend(item, strlen(at) + 1);
    item->size = 0;
    for (; *at != '\0' && (quoted || strchr(SEPARATORS, *at) == NULL); at++) {
        if (*at != '"') {
            buffer_append(item, at, 1);
        } else if (quoted && at[1] == '"') {
            buffer_append(item, at, 1);
            at++;
        } else {
            quoted = !quoted;
        }
    }
    buffer_append(item, "", 1);
    *ret_open = quoted;
    return at;
}

static const char *skip_separators(const char *at)
{
    return at + strspn(at, SEPARATORS);
}

void ldap_options_print(const char *text, struct buffer *ret_text)
{
    static const char password[] = PASSWORD_NAME "=";
    for (const char *at = text; *at != '\0';) {
        struct buffer item = {0};
        bool open;
        const char *start = skip_separators(at), *end;
        buffer_append(ret_text, at, (size_t) (start - at));
        end = read_item(start, &item, &open);
        if (strncmp((const char *) item.data, password, sizeof(password) - 1) == 0)
            add_text(ret_text, PASSWORD_NAME "=***");
        else
            buffer_append(ret_text, start, (size_t) (end - start));
        buffer_wipe(&item);
        at = end;
    }
}

/* ---- single options: each returns NULL, or what its value should have been ---- */

static const char *set_text(char **field, const char *value)
{
    char *copy = memory_copy_text(value);
    free(*field);
    *field = copy;
    return NULL;
}

static const char *take_server(struct ldap_options *options, const char *value)
{
    if (value[strspn(value, " ")] == '\0' || strpbrk(value, "/?#@\"<>\t") != NULL)
        return "host names with blanks between (a URL goes into ldapurl)";
    return set_text(&options->server, value);
}

static const char *take_port(struct ldap_options *options, const char *value)
{
    int64_t port;
    if (!text_parse_int(value, 1, 65535, &port))
        return "a port from 1 to 65535";
    options->port = (int) port;
    return NULL;
}

static const char *take_scheme(struct ldap_options *options, const char *value)
{
    options->ldaps = text_equals_ignoring_case(value, "ldaps");
    return options->ldaps || text_equals_ignoring_case(value, "ldap") ? NULL : "ldap or ldaps";
}

static const char *take_tls(struct ldap_options *options, const char *value)
{
    options->start_tls = strcmp(value, "1") == 0;
    return options->start_tls || strcmp(value, "0") == 0 ? NULL : "0 or 1";
}

static const char *take_prefix(struct ldap_options *options, const char *value)
{
    return set_text(&options->prefix, value);
}

static const char *take_suffix(struct ldap_options *options, const char *value)
{
    return set_text(&options->suffix, value);
}

static const char *take_base_dn(struct ldap_options *options, const char *value)
{
    return set_text(&options->base_dn, value);
}

static const char *take_bind_dn(struct ldap_options *options, const char *value)
{
    return set_text(&options->bind_dn, value);
}

static const char *take_bind_password(struct ldap_options *options, const char *value)
{
    secret_set(&options->bind_password, value, strlen(value));
    return NULL;
}

static const char *take_search_attribute(struct ldap_options *options, const char *value)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.;";
    if (value[0] == '\0' || value[strspn(value, allowed)] != '\0')
        return "the name of an attribute";
    return set_text(&options->search_attribute, value);
}

static const char *take_search_filter(struct ldap_options *options, const char *value)
{
    if (strstr(value, USER_VARIABLE) == NULL)
        return "a filter with " USER_VARIABLE " in it";
    return set_text(&options->search_filter, value);
}

/* ---- ldapurl (RFC 4516) ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char) (c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %xx in place. Returns false for a broken one, and for a zero byte. */
static bool decode(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        int high, low;
        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        high = hex_digit(from[1]);
        low = high < 0 ? -1 : hex_digit(from[2]);
        if (low < 0 || (high == 0 && low == 0))
            return false;
        *to++ = (char) (high * 16 + low);
        from += 2;
    }
    *to = '\0';
    return true;
}

/* host, host:port, [address]:port; `authority` is taken apart in place. */
static const char *take_authority(struct ldap_options *options, char *authority)
{
    char *host = authority, *port = strchr(authority, ':');
    if (authority[0] == '[') {
        char *bracket = strchr(authority, ']');
        if (bracket == NULL || (bracket[1] != '\0' && bracket[1] != ':'))
            return "an address in brackets, perhaps with :port behind it";
        host = authority + 1;
        port = bracket[1] == ':' ? bracket + 1 : NULL;
        *bracket = '\0';
    }
    if (port != NULL) {
        *port = '\0';
        if (take_port(options, port + 1) != NULL)
            return "a port from 1 to 65535";
    }
    return strchr(host, ' ') != NULL || take_server(options, host) != NULL ? "one host" : NULL;
}

static const char *take_scope(struct ldap_options *options, const char *word)
{
    if (word[0] == '\0' || text_equals_ignoring_case(word, "base"))
        options->scope = LDAP_SEARCH_BASE;
    else if (text_equals_ignoring_case(word, "one"))
        options->scope = LDAP_SEARCH_ONE;
    else if (text_equals_ignoring_case(word, "sub"))
        options->scope = LDAP_SEARCH_SUBTREE;
    else
        return "base, one or sub as scope";
    return NULL;
}

/* base?attributes?scope?filter?extensions; of the attributes, the first counts. */
static const char *take_query(struct ldap_options *options, char *query)
{
    char *parts[5] = {query};
    const char *expected = NULL;
    for (size_t i = 0; i + 1 < countof(parts) && parts[i] != NULL; i++) {
        char *mark = strchr(parts[i], '?');
        if (mark == NULL)
            break;
        *mark = '\0';
        parts[i + 1] = mark + 1;
    }
    if (parts[4] != NULL && (parts[4][0] == '!' || strstr(parts[4], ",!") != NULL))
        return "no critical extension";
    for (size_t i = 0; i < countof(parts); i++)
        if (parts[i] != NULL && !decode(parts[i]))
            return "%xx with two hexadecimal digits";
    if (parts[0][0] != '\0')
        (void) set_text(&options->base_dn, parts[0]);
    if (parts[1] != NULL && parts[1][0] != '\0') {
        parts[1][strcspn(parts[1], ",")] = '\0';
        expected = take_search_attribute(options, parts[1]);
    }
    if (expected == NULL)
        expected = take_scope(options, parts[2] != NULL ? parts[2] : "");
    if (expected == NULL && parts[3] != NULL && parts[3][0] != '\0')
        expected = take_search_filter(options, parts[3]);
    return expected;
}

static const char *take_url(struct ldap_options *options, const char *value)
{
    char *url = memory_copy_text(value);
    char *authority = strstr(url, "://");
    const char *expected = "ldap://host or ldaps://host";
    if (authority != NULL) {
        char *query;
        *authority = '\0';
        authority += 3;
        query = authority + strcspn(authority, "/?");
        if (*query == '/')
            *query++ = '\0';
        expected = take_scheme(options, url);
        if (expected == NULL && *query != '?')
            expected = take_query(options, query);
        else if (expected == NULL)
            expected = "a slash behind the host";
        if (expected == NULL)
            expected = take_authority(options, authority);
    }
    free(url);
    return expected;
}

/* ---- all of them ---- */

static const struct {
    const char *name;
    const char *(*take)(struct ldap_options *options, const char *value);
} known[] = {
    {"ldapurl", take_url},
    {"ldapserver", take_server},
    {"ldapport", take_port},
    {"ldapscheme", take_scheme},
    {"ldaptls", take_tls},
    {"ldapprefix", take_prefix},
    {"ldapsuffix", take_suffix},
    {"ldapbasedn", take_base_dn},
    {"ldapbinddn", take_bind_dn},
    {PASSWORD_NAME, take_bind_password},
    {"ldapsearchattribute", take_search_attribute},
    {"ldapsearchfilter", take_search_filter},
};

/* NULL, or the error. The item is changed. */
static char *take_item(struct ldap_options *options, char *item)
{
    char *value = strchr(item, '=');
    if (value == NULL)
        return format_error("expected name=value; a value with blanks or commas needs quotes");
    *value++ = '\0';
    for (size_t i = 0; i < countof(known); i++) {
        const char *expected;
        if (strcmp(known[i].name, item) != 0)
            continue;
        expected = known[i].take(options, value);
        return expected != NULL ? format_error("%s: expected %s", item, expected) : NULL;
    }
    if (options->bind_password.bytes != NULL) /* it may be a word of the password */
        return format_error("unknown LDAP option behind " PASSWORD_NAME
                            " (a value with blanks or commas needs quotes)");
    return format_error("unknown LDAP option: %s (a value with blanks or commas needs quotes)",
                        item);
}

static char *take_items(struct ldap_options *options, const char *text)
{
    char *error = NULL;
    const char *at = skip_separators(text);
    while (*at != '\0' && error == NULL) {
        struct buffer item = {0};
        bool open;
        at = skip_separators(read_item(at, &item, &open));
        error = open ? format_error("a quotation mark is not closed")
                     : take_item(options, (char *) item.data);
        buffer_wipe(&item);
    }
    return error;
}

static const char *check_mode(const struct ldap_options *options)
{
    bool simple = options->prefix != NULL || options->suffix != NULL;
    bool search = options->base_dn != NULL || options->bind_dn != NULL ||
                  options->bind_password.bytes != NULL || options->search_attribute != NULL ||
                  options->search_filter != NULL;
    if (simple && search)
        return "ldapprefix and ldapsuffix (simple bind) cannot be mixed with ldapbasedn, "
               "ldapbinddn, ldapbindpasswd, ldapsearchattribute and ldapsearchfilter (search and "
               "bind), which may also come from ldapurl";
    if (!simple && options->base_dn == NULL)
        return "ldapbasedn, ldapprefix or ldapsuffix is missing";
    if (options->search_attribute != NULL && options->search_filter != NULL)
        return "ldapsearchattribute and ldapsearchfilter cannot be used together";
    return NULL;
}

static const char *check_options(const struct ldap_options *options)
{
    if (options->server == NULL)
        return "ldapserver or ldapurl is missing";
    if (options->ldaps && options->start_tls)
        return "ldaptls=1 cannot be used with ldaps, which is encrypted from the beginning";
    return check_mode(options);
}

struct ldap_options *ldap_options_parse(const char *text, char **ret_error)
{
    struct ldap_options *options = memory_new(sizeof(*options));
    options->scope = LDAP_SEARCH_SUBTREE;
    *ret_error = take_items(options, text);
    if (*ret_error == NULL)
        *ret_error = memory_copy_text(check_options(options));
    if (*ret_error != NULL) {
        ldap_options_destroy(options);
        return NULL;
    }
    if (options->port == 0)
        options->port = options->ldaps ? 636 : 389;
    return options;
}

void ldap_options_destroy(struct ldap_options *options)
{
    if (options == NULL)
        return;
    free(options->server);
    free(options->prefix);
    free(options->suffix);
    free(options->base_dn);
    free(options->bind_dn);
    secret_release(&options->bind_password);
    free(options->search_attribute);
    free(options->search_filter);
    free(options);
}

bool ldap_options_search(const struct ldap_options *options)
{
    return options->base_dn != NULL;
}

/* ---- what is made of them ---- */

/* A host without a port of its own gets the common one; an IPv6 address gets brackets. */
static void add_host(struct buffer *out, const struct ldap_options *options, const char *host,
                     size_t length)
{
    const char *colon = memchr(host, ':', length);
    bool ipv6 = colon != NULL && host[0] != '[' &&
                memchr(colon + 1, ':', length - (size_t) (colon + 1 - host)) != NULL;
    bool has_port = host[0] == '[' ? host[length - 1] != ']' : colon != NULL && !ipv6;
    char port[16];
    snprintf(port, sizeof(port), ":%d", options->port);
    add_text(out, options->ldaps ? "ldaps://" : "ldap://");
    add_text(out, ipv6 ? "[" : "");
    buffer_append(out, host, length);
    add_text(out, ipv6 ? "]" : "");
    add_text(out, has_port ? "" : port);
}

char *ldap_options_uri(const struct ldap_options *options)
{
    struct buffer uri = {0};
    const char *at = options->server + strspn(options->server, " ");
    while (*at != '\0') {
        size_t length = strcspn(at, " ");
        if (uri.size > 0)
            add_text(&uri, " ");
        add_host(&uri, options, at, length);
        at += length;
        at += strspn(at, " ");
    }
    return take_text(&uri);
}

/* RFC 4514: special characters anywhere, '#' and ' ' at the beginning, ' ' at the end. */
static void add_dn_value(struct buffer *out, const char *value)
{
    for (const char *at = value; *at != '\0'; at++) {
        bool edge = (at == value && (*at == ' ' || *at == '#')) || (*at == ' ' && at[1] == '\0');
        if (edge || strchr(",+\"\\<>;=", *at) != NULL)
            add_text(out, "\\");
        buffer_append(out, at, 1);
    }
}

char *ldap_options_bind_name(const struct ldap_options *options, const char *user)
{
    struct buffer name = {0};
    const char *prefix = options->prefix != NULL ? options->prefix : "";
    add_text(&name, prefix);
    if (prefix[0] != '\0' && prefix[strlen(prefix) - 1] == '=')
        add_dn_value(&name, user);
    else
        add_text(&name, user);
    add_text(&name, options->suffix != NULL ? options->suffix : "");
    return take_text(&name);
}

/* RFC 4515 */
static void add_filter_value(struct buffer *out, const char *value)
{
    char escaped[8];
    for (const char *at = value; *at != '\0'; at++) {
        unsigned char c = (unsigned char) *at;
        if (c > ' ' && c < 0x7f && strchr("*()\\/", c) == NULL) {
            buffer_append(out, at, 1);
            continue;
        }
        snprintf(escaped, sizeof(escaped), "\\%02x", c);
        add_text(out, escaped);
    }
}

char *ldap_options_filter(const struct ldap_options *options, const char *user)
{
    struct buffer filter = {0};
    const char *at = options->search_filter, *variable;
    if (at == NULL) {
        add_text(&filter, "(");
        add_text(&filter,
                 options->search_attribute != NULL ? options->search_attribute : DEFAULT_SEARCH);
        add_text(&filter, "=");
        add_filter_value(&filter, user);
        add_text(&filter, ")");
        return take_text(&filter);
    }
    while ((variable = strstr(at, USER_VARIABLE)) != NULL) {
        buffer_append(&filter, at, (size_t) (variable - at));
        add_filter_value(&filter, user);
        at = variable + strlen(USER_VARIABLE);
    }
    add_text(&filter, at);
    return take_text(&filter);
}

bool ldap_user_is_searchable(const char *user)
{
    return strpbrk(user, "*()\\/") == NULL;
}
