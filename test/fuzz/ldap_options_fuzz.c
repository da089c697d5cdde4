/*
 * ldap_options_fuzz.c - the options of LDAP logins, and what is made of them for a user who may
 * have any name. The password must not show, and the name must stay one value of the filter or the
 * DN.
 *
 * The first line of the input is the user, the rest the options.
 *
 * SPDX-License-Identifier: ISC
 */
#include "../../src/config/ldap_options.c"
#include "fuzz.h"

/* The text as SHOW CONFIG has it means the same, but for the password. */
static void check_print(const struct ldap_options *options, const char *text)
{
    struct buffer printed = {0};
    char *error, *uri = ldap_options_uri(options), *uri_again;
    ldap_options_print(text, &printed);
    struct ldap_options *again = ldap_options_parse(end_text(&printed), &error);
    HOLDS(again != NULL);
    HOLDS(is_same_text(options->server, again->server) && options->port == again->port);
    HOLDS(options->ldaps == again->ldaps && options->start_tls == again->start_tls);
    HOLDS(is_same_text(options->prefix, again->prefix));
    HOLDS(is_same_text(options->suffix, again->suffix));
    HOLDS(is_same_text(options->base_dn, again->base_dn));
    HOLDS(is_same_text(options->bind_dn, again->bind_dn));
    HOLDS(is_same_text(options->search_attribute, again->search_attribute));
    HOLDS(is_same_text(options->search_filter, again->search_filter));
    HOLDS(options->scope == again->scope);
    HOLDS(options->bind_password.bytes == NULL || is_same_text(again->bind_password.bytes, "***"));
    uri_again = ldap_options_uri(again);
    HOLDS(is_same_text(uri, uri_again));
    free(uri);
    free(uri_again);
    ldap_options_destroy(again);
    buffer_release(&printed);
}

/* Takes \xx away; what may not stand in a value as it is ends it. */
static const char *read_filter_value(const char *at, struct buffer *ret_value)
{
    for (; *at != '\0' && strchr("*()/", *at) == NULL; at++) {
        unsigned byte = (unsigned char) *at;
        if (*at == '\\') {
            HOLDS(sscanf(at + 1, "%2x", &byte) == 1 && hex_digit(at[1]) >= 0 &&
                  hex_digit(at[2]) >= 0);
            at += 2;
        }
        buffer_append(ret_value, &(char){(char) byte}, 1);
    }
    return at;
}

static void check_filter(const struct ldap_options *options, const char *user)
{
    char *filter = ldap_options_filter(options, user);
    struct buffer value = {0};
    if (options->search_filter == NULL) {
        const char *attribute = options->search_attribute;
        size_t length = strlen(attribute != NULL ? attribute : "uid") + 2;
        const char *end = read_filter_value(filter + length, &value);
        HOLDS(filter[0] == '(' && filter[length - 1] == '=' && is_same_text(end, ")"));
        HOLDS(is_same_text(end_text(&value), user));
    }
    buffer_release(&value);
    free(filter);
}

/* One value of a distinguished name; takes the backslashes away. */
static const char *read_dn_value(const char *at, struct buffer *ret_value)
{
    const char *start = at;
    for (; *at != '\0' && strchr(",+\"<>;=", *at) == NULL; at++) {
        HOLDS(*at != '#' || at > start);
        HOLDS(*at != ' ' || (at > start && at[1] != '\0'));
        if (*at == '\\') {
            HOLDS(at[1] != '\0');
            at++;
        }
        buffer_append(ret_value, at, 1);
    }
    return at;
}

static void check_bind_name(const struct ldap_options *options, const char *user)
{
    const char *prefix = options->prefix != NULL ? options->prefix : "";
    const char *suffix = options->suffix != NULL ? options->suffix : "";
    size_t length = strlen(prefix);
    char *name = ldap_options_bind_name(options, user);
    size_t size = strlen(name);
    HOLDS(size >= length + strlen(suffix) && strncmp(name, prefix, length) == 0);
    HOLDS(is_same_text(name + size - strlen(suffix), suffix));
    if (length > 0 && prefix[length - 1] == '=') {
        struct buffer value = {0};
        name[size - strlen(suffix)] = '\0';
        HOLDS(*read_dn_value(name + length, &value) == '\0');
        HOLDS(is_same_text(end_text(&value), user));
        buffer_release(&value);
    }
    free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    char *user = take_rest(&input), *error = NULL;
    char *text = strchr(user, '\n');
    if (text == NULL) {
        free(user);
        return -1;
    }
    *text++ = '\0';
    struct ldap_options *options = ldap_options_parse(text, &error);
    HOLDS((options == NULL) == (error != NULL));
    if (options != NULL) {
        HOLDS(options->server != NULL && options->port > 0 && options->port <= 65535);
        check_print(options, text);
        check_filter(options, user);
        check_bind_name(options, user);
    }
    ldap_options_destroy(options);
    free(error);
    free(user);
    return 0;
}
