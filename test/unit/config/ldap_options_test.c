/*
 * ldap_options_test.c - the grammar of LDAP options, and what is made of them.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/ldap_options.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>
#include <string.h>

static struct ldap_options *parse(const char *text)
{
    char *error;
    struct ldap_options *options = ldap_options_parse(text, &error);
    if (options == NULL)
        fail_msg("%s: %s", text, error);
    assert_null(error);
    return options;
}

static void assert_refused(const char *text, const char *part)
{
    char *error;
    assert_null(ldap_options_parse(text, &error));
    assert_non_null(error);
    if (strstr(error, part) == NULL)
        fail_msg("%s: \"%s\" is not in \"%s\"", text, part, error);
    free(error);
}

/* The result of `make` for the options and the user, compared and freed. */
static void assert_made(const char *text, char *(*make)(const struct ldap_options *, const char *),
                        const char *user, const char *expected)
{
    struct ldap_options *options = parse(text);
    char *made = make(options, user);
    assert_string_equal(made, expected);
    free(made);
    ldap_options_destroy(options);
}

static char *make_uri(const struct ldap_options *options, const char *user UNUSED)
{
    return ldap_options_uri(options);
}

static void test_simple_bind(void **state UNUSED)
{
    struct ldap_options *options =
        parse("ldapserver=ldap.example ldapprefix=\"cn=\" ldapsuffix=\", dc=example, dc=net\"");
    assert_string_equal(options->server, "ldap.example");
    assert_string_equal(options->prefix, "cn=");
    assert_string_equal(options->suffix, ", dc=example, dc=net");
    assert_int_equal(options->port, 389);
    assert_false(options->ldaps);
    assert_false(options->start_tls);
    assert_false(ldap_options_search(options));
    ldap_options_destroy(options);
}

static void test_search(void **state UNUSED)
{
    struct ldap_options *options =
        parse("ldapserver=a ldapport=3890,ldaptls=1, ldapbasedn=\"dc=x\","
              "ldapbinddn=\"cn=r,dc=x\" ldapbindpasswd=\"a b,c\"\"d\" "
              "ldapsearchattribute=mail");
    assert_true(ldap_options_search(options));
    assert_true(options->start_tls);
    assert_int_equal(options->port, 3890);
    assert_string_equal(options->base_dn, "dc=x");
    assert_string_equal(options->bind_dn, "cn=r,dc=x");
    assert_string_equal(options->bind_password.bytes, "a b,c\"d");
    assert_string_equal(options->search_attribute, "mail");
    assert_int_equal(options->scope, LDAP_SEARCH_SUBTREE);
    ldap_options_destroy(options);
}

static void test_quotes_and_separators(void **state UNUSED)
{
    struct ldap_options *options =
        parse(" ,\t\"ldapserver=a\",,  ldap\"prefix\"=\"\" ldapsuffix=\"\"\"x\"\"\" , ");
    assert_string_equal(options->server, "a");
    assert_string_equal(options->prefix, "");
    assert_string_equal(options->suffix, "\"x\"");
    ldap_options_destroy(options);
    options = parse("ldapserver=a ldapserver=b ldapprefix=x"); /* the last one counts */
    assert_string_equal(options->server, "b");
    ldap_options_destroy(options);
}

static void test_url(void **state UNUSED)
{
    struct ldap_options *options =
        parse("ldapurl=\"ldaps://h.example:7636/dc=a%2cb%20c,dc=net?mail,cn?one\"");
    assert_true(options->ldaps);
    assert_string_equal(options->server, "h.example");
    assert_int_equal(options->port, 7636);
    assert_string_equal(options->base_dn, "dc=a,b c,dc=net");
    assert_string_equal(options->search_attribute, "mail");
    assert_null(options->search_filter);
    assert_int_equal(options->scope, LDAP_SEARCH_ONE);
    ldap_options_destroy(options);

    options = parse("ldapurl=LDAP://h/dc=x??SUB?(|(uid=$username)(mail=$username))?x-harmless=1");
    assert_false(options->ldaps);
    assert_int_equal(options->port, 389);
    assert_null(options->search_attribute);
    assert_string_equal(options->search_filter, "(|(uid=$username)(mail=$username))");
    assert_int_equal(options->scope, LDAP_SEARCH_SUBTREE);
    ldap_options_destroy(options);

    options = parse("ldapurl=ldaps://[::1] ldapprefix=cn="); /* place only */
    assert_string_equal(options->server, "::1");
    assert_int_equal(options->port, 636);
    ldap_options_destroy(options);

    options = parse("ldapurl=ldap://h/dc=x"); /* the default of URLs */
    assert_int_equal(options->scope, LDAP_SEARCH_BASE);
    ldap_options_destroy(options);
}

static void test_what_is_refused(void **state UNUSED)
{
    assert_refused("", "ldapserver or ldapurl is missing");
    assert_refused("ldapserver=a", "ldapbasedn, ldapprefix or ldapsuffix is missing");
    assert_refused("ldapserver=a ldapbinddn=x", "ldapbasedn, ldapprefix or ldapsuffix is missing");
    assert_refused("ldapserver=a ldapprefix=x ldapbasedn=y", "cannot be mixed");
    assert_refused("ldapserver=a ldapsuffix=x ldapbindpasswd=y", "cannot be mixed");
    assert_refused("ldapurl=ldap://h/dc=x ldapprefix=y", "cannot be mixed");
    assert_refused("ldapserver=a ldapbasedn=y ldapsearchattribute=u ldapsearchfilter=(u=$username)",
                   "cannot be used together");
    assert_refused("ldapserver=a ldapscheme=ldaps ldaptls=1 ldapprefix=x", "ldaps");
    assert_refused("ldapserver=a ldapprefix", "expected name=value");
    assert_refused("ldapserver=a ldapprefix=\"x", "quotation mark");
    assert_refused("ldapurl=ldap://h/dc=x,dc=y", "needs quotes");
    assert_refused("ldapserver=a ldaphost=x", "unknown LDAP option: ldaphost");
    assert_refused("ldapbindpasswd=two words=secret",
                   "unknown LDAP option behind ldapbindpasswd (a value with blanks or commas needs "
                   "quotes)");
    assert_refused("ldapserver=a ldapport=0 ldapprefix=x", "ldapport: expected a port");
    assert_refused("ldapserver=a ldapport=65536 ldapprefix=x", "ldapport: expected a port");
    assert_refused("ldapserver=a ldapport=389x ldapprefix=x", "ldapport: expected a port");
    assert_refused("ldapserver=a ldaptls=true ldapprefix=x", "ldaptls: expected 0 or 1");
    assert_refused("ldapserver=a ldapscheme=http ldapprefix=x",
                   "ldapscheme: expected ldap or ldaps");
    assert_refused("ldapserver=ldap://a ldapprefix=x", "ldapurl");
    assert_refused("ldapserver=\" \" ldapprefix=x", "ldapserver: expected host names");
    assert_refused("ldapserver=a ldapbasedn=y ldapsearchfilter=(objectClass=person)", "$username");
    assert_refused("ldapserver=a ldapbasedn=y ldapsearchattribute=\"u)(x\"",
                   "name of an attribute");
    assert_refused("ldapserver=a ldapbasedn=y ldapsearchattribute=", "name of an attribute");
}

static void test_urls_that_are_refused(void **state UNUSED)
{
    assert_refused("ldapurl=h/dc=x", "ldapurl: expected ldap://");
    assert_refused("ldapurl=http://h/dc=x", "ldap or ldaps");
    assert_refused("ldapurl=ldap:///dc=x", "one host");
    assert_refused("ldapurl=ldap://h?dc=x", "a slash");
    assert_refused("ldapurl=\"ldap://a b/dc=x\"", "one host");
    assert_refused("ldapurl=ldap://h:0/dc=x", "a port");
    assert_refused("ldapurl=ldap://[::1/dc=x", "brackets");
    assert_refused("ldapurl=ldap://[::1]x/dc=x", "brackets");
    assert_refused("ldapurl=ldap://h/dc=%4", "%xx");
    assert_refused("ldapurl=ldap://h/dc=%00x", "%xx");
    assert_refused("ldapurl=ldap://h/dc=%zz", "%xx");
    assert_refused("ldapurl=ldap://h/dc=x?uid?all", "base, one or sub");
    assert_refused("ldapurl=ldap://h/dc=x??sub?(uid=bob)", "$username");
    assert_refused("ldapurl=ldap://h/dc=x??sub?\?!bindname=x", "no critical extension");
    assert_refused("ldapurl=\"ldap://h/dc=x??sub?\?a=b,!bindname=x\"", "no critical extension");
}

static void test_errors_hold_no_password(void **state UNUSED)
{
    static const char *const texts[] = {
        "ldapbindpasswd=hunter2", "ldapbindpasswd=\"hunter2", "ldapbindpasswd hunter2",
        "ldapserver=a ldapprefix=x ldapbindpasswd=hunter2", "\"ldapbindpasswd=hunter2\" x"};
    for (size_t i = 0; i < countof(texts); i++) {
        char *error;
        assert_null(ldap_options_parse(texts[i], &error));
        assert_null(strstr(error, "hunter2"));
        free(error);
    }
}

static void assert_printed(const char *text, const char *expected)
{
    struct buffer printed = {0};
    ldap_options_print(text, &printed);
    buffer_append(&printed, "", 1);
    assert_string_equal((const char *) printed.data, expected);
    buffer_release(&printed);
}

static void test_password_is_not_printed(void **state UNUSED)
{
    assert_printed("", "");
    assert_printed("ldapserver=a, ldapprefix=\"x\"", "ldapserver=a, ldapprefix=\"x\"");
    assert_printed("ldapserver=a ldapbindpasswd=pw ldapbasedn=b",
                   "ldapserver=a ldapbindpasswd=*** ldapbasedn=b");
    assert_printed("ldapbindpasswd=\"a b\"\"c\",ldapserver=a", "ldapbindpasswd=***,ldapserver=a");
    assert_printed("\"ldapbindpasswd=pw x\" ldapserver=a", "ldapbindpasswd=*** ldapserver=a");
    assert_printed("ldapbind\"passwd\"=pw", "ldapbindpasswd=***");
    assert_printed("ldapbindpasswd=\"pw and no end", "ldapbindpasswd=***");
}

static void test_uri(void **state UNUSED)
{
    assert_made("ldapserver=a ldapprefix=x", make_uri, "", "ldap://a:389");
    assert_made("ldapserver=\" a  b \" ldapport=3 ldapprefix=x", make_uri, "",
                "ldap://a:3 ldap://b:3");
    assert_made("ldapserver=\"a:1 b\" ldapprefix=x", make_uri, "", "ldap://a:1 ldap://b:389");
    assert_made("ldapserver=::1 ldapscheme=ldaps ldapprefix=x", make_uri, "", "ldaps://[::1]:636");
    assert_made("ldapserver=\"[::1] [::2]:4\" ldapprefix=x", make_uri, "",
                "ldap://[::1]:389 ldap://[::2]:4");
    assert_made("ldapurl=ldaps://[::1]:7/dc=x", make_uri, "", "ldaps://[::1]:7");
}

static void test_bind_name(void **state UNUSED)
{
    static const char dn[] = "ldapserver=a ldapprefix=\"uid=\" ldapsuffix=\",dc=x\"";
    assert_made(dn, ldap_options_bind_name, "bob", "uid=bob,dc=x");
    assert_made(dn, ldap_options_bind_name, "bob,ou=other", "uid=bob\\,ou\\=other,dc=x");
    assert_made(dn, ldap_options_bind_name, "a+b\"c\\d<e>f;g",
                "uid=a\\+b\\\"c\\\\d\\<e\\>f\\;g,dc=x");
    assert_made(dn, ldap_options_bind_name, " a b ", "uid=\\ a b\\ ,dc=x");
    assert_made(dn, ldap_options_bind_name, "#a#", "uid=\\#a#,dc=x");
    assert_made("ldapserver=a ldapsuffix=@example.net", ldap_options_bind_name, "bob",
                "bob@example.net");
    assert_made("ldapserver=a ldapprefix=\"EXAMPLE\\\"", ldap_options_bind_name, "b+b",
                "EXAMPLE\\b+b");
}

static void test_filter(void **state UNUSED)
{
    assert_made("ldapserver=a ldapbasedn=x", ldap_options_filter, "bob", "(uid=bob)");
    assert_made("ldapserver=a ldapbasedn=x ldapsearchattribute=cn", ldap_options_filter,
                "a*b)(c\\/", "(cn=a\\2ab\\29\\28c\\5c\\2f)");
    assert_made("ldapserver=a ldapbasedn=x", ldap_options_filter, "J\xc3\xb6 l",
                "(uid=J\\c3\\b6\\20l)");
    assert_made(
        "ldapserver=a ldapbasedn=x ldapsearchfilter=\"(|(uid=$username)(mail=$username@x))\"",
        ldap_options_filter, "b*", "(|(uid=b\\2a)(mail=b\\2a@x))");
    assert_made("ldapserver=a ldapbasedn=x ldapsearchfilter=(uid=$username)", ldap_options_filter,
                "$username", "(uid=$username)");
}

static void test_searchable_users(void **state UNUSED)
{
    static const char *const bad[] = {"*", "a(b", "a)b", "a\\b", "a/b"};
    for (size_t i = 0; i < countof(bad); i++)
        assert_false(ldap_user_is_searchable(bad[i]));
    assert_true(ldap_user_is_searchable("bob@example.net"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple_bind),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_quotes_and_separators),
        cmocka_unit_test(test_url),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_urls_that_are_refused),
        cmocka_unit_test(test_errors_hold_no_password),
        cmocka_unit_test(test_password_is_not_printed),
        cmocka_unit_test(test_uri),
        cmocka_unit_test(test_bind_name),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_searchable_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
