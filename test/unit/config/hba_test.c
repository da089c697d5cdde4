/*
 * hba_test.c - HBA rules: what is read from a file, and which rule a login meets.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/hba.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"

static struct hba *parse(const char *text)
{
    struct config_report report = {0};
    struct hba *hba = hba_parse("hba", text, strlen(text), NULL, &report);
    if (report.error_count > 0)
        fail_msg("'%s': %s", text, report.errors[0]);
    config_report_release(&report);
    return hba;
}

/* From an address, or "local"; "tls " or "replication " before it. */
static struct hba_login login_of(const char *origin, const char *database, const char *user)
{
    struct hba_login login = {.database = database, .user = user};
    if (strncmp(origin, "replication ", 12) == 0) {
        login.physical_replication = true;
        origin += 12;
    }
    if (strncmp(origin, "tls ", 4) == 0) {
        login.tls = true;
        origin += 4;
    }
    if (strcmp(origin, "local") == 0)
        login.family = AF_UNIX;
    else if (inet_pton(AF_INET, origin, &login.ipv4) == 1)
        login.family = AF_INET;
    else if (inet_pton(AF_INET6, origin, &login.ipv6) == 1)
        login.family = AF_INET6;
    else
        fail_msg("'%s' is no origin", origin);
    return login;
}

/* The line of the rule that is met; 0 for none. */
static unsigned line_for(const struct hba *hba, const char *origin, const char *database,
                         const char *user)
{
    struct hba_login login = login_of(origin, database, user);
    const struct hba_rule *rule = hba_match(hba, &login);
    return rule != NULL ? rule->line : 0;
}

/* ---- one rule ---- */

static void test_which_logins_a_rule_is_for(void **state UNUSED)
{
    static const struct {
        const char *rule, *origin, *database, *user;
        bool fits;
    } cases[] = {
        /* types */
        {"local all all trust", "local", "d", "u", true},
        {"local all all trust", "127.0.0.1", "d", "u", false},
        {"local all all trust", "::1", "d", "u", false},
        {"host all all all trust", "local", "d", "u", false},
        {"host all all all trust", "127.0.0.1", "d", "u", true},
        {"host all all all trust", "2001:db8::1", "d", "u", true},
        {"host all all all trust", "tls 127.0.0.1", "d", "u", true},
        {"hostssl all all all trust", "tls 127.0.0.1", "d", "u", true},
        {"hostssl all all all trust", "127.0.0.1", "d", "u", false},
        {"hostssl all all all trust", "tls local", "d", "u", false},
        {"hostnossl all all all trust", "127.0.0.1", "d", "u", true},
        {"hostnossl all all all trust", "tls 127.0.0.1", "d", "u", false},
        {"hostnossl all all all trust", "local", "d", "u", false},
        /* databases */
        {"local d all trust", "local", "d", "u", true},
        {"local d all trust", "local", "D", "u", false},
        {"local d all trust", "local", "dd", "u", false},
        {"local a,d all trust", "local", "d", "u", true},
        {"local a , b,c , d all trust", "local", "d", "u", true},
        {"local a,b all trust", "local", "d", "u", false},
        {"local a,all all trust", "local", "d", "u", true},
        {"local \"all\" all trust", "local", "d", "u", false},
        {"local \"all\" all trust", "local", "all", "u", true},
        {"local ALL all trust", "local", "d", "u", false},
        {"local sameuser all trust", "local", "u", "u", true},
        {"local sameuser all trust", "local", "d", "u", false},
        {"local \"sameuser\" all trust", "local", "u", "u", false},
        {"local \"sameuser\" all trust", "local", "sameuser", "u", true},
        {"local x,sameuser all trust", "local", "u", "u", true},
        {"local \"samerole\",\"+g\",\"@f\",\"/r\" all trust", "local", "samerole", "u", true},
        {"local \"samerole\",\"+g\",\"@f\",\"/r\" all trust", "local", "+g", "u", true},
        {"local \"samerole\",\"+g\",\"@f\",\"/r\" all trust", "local", "@f", "u", true},
        {"local \"samerole\",\"+g\",\"@f\",\"/r\" all trust", "local", "/r", "u", true},
        {"local \"a b\" all trust", "local", "a b", "u", true},
        {"local \"a,b\" all trust", "local", "a,b", "u", true},
        {"local \"a,b\" all trust", "local", "a", "u", false},
        {"local \"a\"\"b\" all trust", "local", "a\"b", "u", true},
        {"local \"a#b\" all trust", "local", "a#b", "u", true},
        {"local a\"b c\"d all trust", "local", "ab cd", "u", true},
        {"local pgbouncer all trust", "local", "pgbouncer", "u", true},
        {"local all all trust", "local", "pgbouncer", "u", true},
        /* users */
        {"local all u trust", "local", "d", "u", true},
        {"local all u trust", "local", "d", "uu", false},
        {"local all u trust", "local", "d", "U", false},
        {"local all adm trust", "local", "d", "admin", false},
        {"local all admin trust", "local", "d", "adm", false},
        {"local all a,u,b trust", "local", "d", "u", true},
        {"local all \"all\" trust", "local", "d", "u", false},
        {"local all \"all\" trust", "local", "d", "all", true},
        {"local all replication trust", "local", "d", "replication", true},
        {"local all replication trust", "local", "d", "u", false},
        {"local all \"sameuser\" trust", "local", "u", "u", false},
        {"local all \"sameuser\" trust", "local", "d", "sameuser", true},
        {"local d u trust", "local", "d", "u", true},
        {"local d u trust", "local", "u", "d", false},
        /* physical replication */
        {"local all all trust", "replication local", "d", "u", false},
        {"local d all trust", "replication local", "d", "u", false},
        {"local sameuser all trust", "replication local", "u", "u", false},
        {"local \"replication\" all trust", "replication local", "replication", "u", false},
        {"local replication all trust", "replication local", "d", "u", true},
        {"local replication u trust", "replication local", "d", "u", true},
        {"local replication x trust", "replication local", "d", "u", false},
        {"local d,replication all trust", "replication local", "d", "u", true},
        {"local replication all trust", "local", "replication", "u", false},
        {"local \"replication\" all trust", "local", "replication", "u", true},
        /* IPv4 */
        {"host all all 10.0.0.0/8 trust", "10.255.255.255", "d", "u", true},
        {"host all all 10.0.0.0/8 trust", "11.0.0.0", "d", "u", false},
        {"host all all 10.0.0.0/8 trust", "9.255.255.255", "d", "u", false},
        {"host all all 10.1.2.3/32 trust", "10.1.2.3", "d", "u", true},
        {"host all all 10.1.2.3/32 trust", "10.1.2.2", "d", "u", false},
        {"host all all 0.0.0.0/0 trust", "203.0.113.9", "d", "u", true},
        {"host all all 0.0.0.0/0 trust", "2001:db8::1", "d", "u", false},
        {"host all all 128.0.0.0/1 trust", "255.0.0.1", "d", "u", true},
        {"host all all 128.0.0.0/1 trust", "127.0.0.1", "d", "u", false},
        {"host all all 10.0.0.0/31 trust", "10.0.0.1", "d", "u", true},
        {"host all all 10.0.0.0/31 trust", "10.0.0.2", "d", "u", false},
        {"host all all 10.0.0.0 255.0.0.0 trust", "10.9.9.9", "d", "u", true},
        {"host all all 10.0.0.0 255.0.0.0 trust", "11.9.9.9", "d", "u", false},
        {"host all all 10.0.0.7 255.255.255.255 trust", "10.0.0.7", "d", "u", true},
        {"host all all 0.0.0.0 0.0.0.0 trust", "10.0.0.7", "d", "u", true},
        {"host all all \"10.0.0.0/8\" trust", "10.0.0.7", "d", "u", true},
        /* IPv6 */
        {"host all all ::1/128 trust", "::1", "d", "u", true},
        {"host all all ::1/128 trust", "::2", "d", "u", false},
        {"host all all ::1/128 trust", "127.0.0.1", "d", "u", false},
        {"host all all ::/0 trust", "2001:db8::1", "d", "u", true},
        {"host all all ::/0 trust", "10.0.0.1", "d", "u", false},
        {"host all all 2001:db8::/32 trust", "2001:db8:ffff::1", "d", "u", true},
        {"host all all 2001:db8::/32 trust", "2001:db9::1", "d", "u", false},
        {"host all all 2001:db8::/33 trust", "2001:db8:7fff::1", "d", "u", true},
        {"host all all 2001:db8::/33 trust", "2001:db8:8000::1", "d", "u", false},
        {"host all all fe80:: ffff:ffff:ffff:ffff:: trust", "fe80::1:2:3", "d", "u", true},
        {"host all all fe80:: ffff:ffff:ffff:ffff:: trust", "fe80:0:0:1::1", "d", "u", false},
        /* IPv4 inside of IPv6 counts as both */
        {"host all all 10.0.0.0/8 trust", "::ffff:10.1.2.3", "d", "u", true},
        {"host all all 10.0.0.0/8 trust", "::ffff:11.1.2.3", "d", "u", false},
        {"host all all 10.0.0.0/8 trust", "::10.1.2.3", "d", "u", false},
        {"host all all ::/0 trust", "::ffff:10.1.2.3", "d", "u", true},
        {"host all all ::ffff:0:0/96 trust", "::ffff:10.1.2.3", "d", "u", true},
        {"host all all ::ffff:10.0.0.0/104 trust", "::ffff:10.1.2.3", "d", "u", true},
        {"host all all ::ffff:10.0.0.0/104 trust", "10.1.2.3", "d", "u", true},
        {"host all all ::ffff:10.0.0.0/104 trust", "11.1.2.3", "d", "u", false},
        {"host all all ::ffff:0:0/96 trust", "2001:db8::1", "d", "u", false},
        /* own addresses: every machine has these */
        {"host all all samehost trust", "127.0.0.1", "d", "u", true},
        {"host all all samehost trust", "::ffff:127.0.0.1", "d", "u", true},
        {"host all all samehost trust", "127.0.0.2", "d", "u", false},
        {"host all all samehost trust", "198.51.100.77", "d", "u", false},
        {"host all all samehost trust", "local", "d", "u", false},
        {"host all all samenet trust", "127.200.0.1", "d", "u", true},
        {"host all all samenet trust", "198.51.100.77", "d", "u", false},
        {"host all all samenet trust", "2001:db8::77", "d", "u", false},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct hba *hba = parse(cases[i].rule);
        bool fits = line_for(hba, cases[i].origin, cases[i].database, cases[i].user) == 1;
        if (fits != cases[i].fits)
            fail_msg("'%s' %s %s from '%s' to %s", cases[i].rule, fits ? "lets in" : "does not fit",
                     cases[i].user, cases[i].origin, cases[i].database);
        hba_destroy(hba);
    }
}

static void test_methods(void **state UNUSED)
{
    static const struct {
        const char *rule;
        enum hba_method method;
        const char *map, *ldap_options;
    } cases[] = {
        {"local all all trust", HBA_TRUST, NULL, NULL},
        {"local all all reject # no", HBA_REJECT, NULL, NULL},
        {"local all all md5#no", HBA_MD5, NULL, NULL},
        {"local all all password", HBA_PASSWORD, NULL, NULL},
        {"local all all scram-sha-256", HBA_SCRAM, NULL, NULL},
        {"local all all peer", HBA_PEER, NULL, NULL},
        {"local all all peer map=m1", HBA_PEER, "m1", NULL},
        {"local all all peer map=\"m 2\"", HBA_PEER, "m 2", NULL},
        {"local all all peer \"map=m 2\" # x", HBA_PEER, "m 2", NULL},
        {"local all all md5 map=m1", HBA_MD5, "m1", NULL},
        {"hostssl all all all cert map=m1\r", HBA_CERT, "m1", NULL},
        {"hostssl all all 10.0.0.0 255.0.0.0 cert", HBA_CERT, NULL, NULL},
        {"local all all ldap  ldapserver=a, ldapprefix=x \t# x", HBA_LDAP, NULL,
         "ldapserver=a, ldapprefix=x"},
        {"local all all ldap ldapurl=ldap://a/b ldapbinddn=\"cn=a # b, c\"\r", HBA_LDAP, NULL,
         "ldapurl=ldap://a/b ldapbinddn=\"cn=a # b, c\""},
    };

    static const char maps[] = "m1 a b\n\"m 2\" c d\n";
    struct config_report report = {0};
    struct ident *ident = ident_parse("ident", maps, sizeof(maps) - 1, &report);
    for (size_t i = 0; i < countof(cases); i++) {
        struct hba_login login = login_of("local", "d", "u");
        struct hba *hba = hba_parse("hba", cases[i].rule, strlen(cases[i].rule), ident, &report);
        if (report.error_count > 0)
            fail_msg("'%s': %s", cases[i].rule, report.errors[0]);
        if (strncmp(cases[i].rule, "hostssl", 7) == 0)
            login = login_of("tls 10.0.0.1", "d", "u");
        const struct hba_rule *rule = hba_match(hba, &login);
        assert_non_null(rule);
        assert_int_equal(rule->method, cases[i].method);
        assert_ptr_equal(rule->map, cases[i].map != NULL ? ident_find(ident, cases[i].map) : NULL);
        if (cases[i].ldap_options != NULL)
            assert_string_equal(rule->ldap_options, cases[i].ldap_options);
        else
            assert_null(rule->ldap_options);
        hba_destroy(hba);
    }
    ident_destroy(ident);
}

/* ---- several rules ---- */

static void test_the_first_rule_that_fits_decides(void **state UNUSED)
{
    struct hba *hba = parse("# comment\n"                               /* 1 */
                            "host all bob 10.0.0.66/32 reject\n"        /* 2 */
                            "\n"                                        /* 3 */
                            "host all all 10.0.0.64/26 scram-sha-256\n" /* 4 */
                            "host app,web all 10.0.0.0/8 md5\n"         /* 5 */
                            "host all alice,bob 0.0.0.0/0 password\n"   /* 6 */
                            "host app all 0.0.0.0/0 reject\n"           /* 7 */
                            "host sameuser all 0.0.0.0/0 trust\n"       /* 8 */
                            "local all postgres peer\n"                 /* 9 */
                            "local app all md5\n"                       /* 10 */
                            "local all all reject");                    /* 11 */

    static const struct {
        const char *origin, *database, *user;
        unsigned line;
    } cases[] = {
        {"10.0.0.66", "app", "bob", 2},
        {"10.0.0.66", "x", "bob", 2},
        {"10.0.0.66", "app", "alice", 4},
        {"10.0.0.67", "app", "bob", 4},
        {"10.0.0.5", "app", "bob", 5},
        {"10.0.0.5", "web", "alice", 5},
        {"10.0.0.5", "other", "alice", 6},
        {"192.0.2.1", "app", "bob", 6},
        {"192.0.2.1", "app", "carol", 7},
        {"192.0.2.1", "carol", "carol", 8},
        {"192.0.2.1", "x", "carol", 0},
        {"::1", "app", "bob", 0},
        {"local", "app", "postgres", 9},
        {"local", "app", "bob", 10},
        {"local", "x", "bob", 11},
        {"local", "postgres", "postgres", 9},
        {"::ffff:10.0.0.66", "a", "bob", 2},
        {"::ffff:192.0.2.1", "app", "carol", 7},
        {"replication 10.0.0.5", "app", "bob", 0},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        unsigned line = line_for(hba, cases[i].origin, cases[i].database, cases[i].user);
        if (line != cases[i].line)
            fail_msg("%s from %s to %s meets line %u, not %u", cases[i].user, cases[i].origin,
                     cases[i].database, line, cases[i].line);
    }
    hba_destroy(hba);
    hba_destroy(NULL);
}

static void test_no_rules(void **state UNUSED)
{
    static const char *const texts[] = {"", "\n", "#local all all trust", " \t\r\n#\n",
                                        "\xef\xbb\xbf# x\n"};
    for (size_t i = 0; i < countof(texts); i++) {
        struct hba *hba = parse(texts[i]);
        assert_int_equal(line_for(hba, "local", "d", "u"), 0);
        hba_destroy(hba);
    }
}

static void test_line_ends(void **state UNUSED)
{
    struct hba *hba = parse("\xef\xbb\xbflocal a all trust\r\nlocal b all trust\r\n\r\n"
                            "\t local\tc  all\vtrust \r\nlocal d all trust");
    assert_int_equal(line_for(hba, "local", "a", "u"), 1);
    assert_int_equal(line_for(hba, "local", "b", "u"), 2);
    assert_int_equal(line_for(hba, "local", "c", "u"), 4);
    assert_int_equal(line_for(hba, "local", "d", "u"), 5);
    hba_destroy(hba);
}

/* The index must not change which rule is the first: compared with trying one after the other. */
static void test_index_keeps_the_order(void **state UNUSED)
{
    static const char *const names[] = {"a", "b", "c", "all", "a,b", "b,c,all", "c,c"};
    unsigned seed = 4711;
    for (int round = 0; round < 300; round++) {
        struct buffer text = {0};
        struct hba *single[20];
        char line[64];
        for (size_t i = 0; i < countof(single); i++) {
            seed = seed * 1103515245 + 12345;
            int length = snprintf(line, sizeof(line), "host %s %s 10.0.0.%u/32 trust\n",
                                  names[(seed >> 8) % countof(names)],
                                  names[(seed >> 16) % countof(names)], (seed >> 24) % 2);
            buffer_append(&text, line, (size_t) length);
            single[i] = parse(line);
        }
        buffer_append(&text, "", 1);
        struct hba *hba = parse((const char *) text.data);
        for (unsigned c = 0; c < 32; c++) {
            const char *database = names[c % 4], *user = names[c / 4 % 4];
            const char *origin = c < 16 ? "10.0.0.0" : "10.0.0.1";
            unsigned expected = 0;
            for (unsigned i = 0; i < countof(single) && expected == 0; i++)
                if (line_for(single[i], origin, database, user) != 0)
                    expected = i + 1;
            assert_int_equal(line_for(hba, origin, database, user), expected);
        }
        for (size_t i = 0; i < countof(single); i++)
            hba_destroy(single[i]);
        hba_destroy(hba);
        buffer_release(&text);
    }
}

/* ---- what is wrong ---- */

static void test_broken_lines(void **state UNUSED)
{
    static const struct {
        const char *line, *error;
    } cases[] = {
        {"lokal all all trust",
         "\"lokal\" is out of place: expected local, host, hostssl or hostnossl"},
        {"\"local\" all all trust",
         "\"local\" is out of place: expected local, host, hostssl or hostnossl"},
        {"hostgssenc all all all trust",
         "\"hostgssenc\" is out of place: expected local, host, hostssl or hostnossl"},
        {"include other.conf",
         "\"include\" is out of place: expected local, host, hostssl or hostnossl"},
        {", all all trust", "\",\" is out of place: expected local, host, hostssl or hostnossl"},
        {"local", "the line ends too early: expected the name of a database, all, sameuser, "
                  "replication, or @file"},
        {"local all", "the line ends too early: expected the name of a user, all, or @file"},
        {"local all all", "the line ends too early: expected a method: trust, reject, md5, "
                          "password, scram-sha-256, peer, cert or ldap"},
        {"local all, all trust", "the line ends too early: expected a method"},
        {"local all,,b all trust", "\",\" is out of place: expected the name of a database, all, "
                                   "sameuser, replication, or @file"},
        {"local all a, trust", "the line ends too early: expected a method"},
        {"local all a,", "the line ends too early: expected the name of a user, all, or @file"},
        {"local \"\" all trust", "\"\" is out of place: expected the name of a database"},
        {"local \"a all trust", "a quote that is not closed: expected the name of a database"},
        {"local a\" all trust", "a quote that is not closed: expected the name of a database"},
        {"local all all trust \"", "a quote that is not closed: expected map=NAME or the end"},
        {"local samerole all trust",
         "\"samerole\": groups are not known to the pooler; put it in quotes if it is a name"},
        {"local a,samegroup all trust", "\"samegroup\": groups are not known to the pooler"},
        {"local +g all trust", "\"+g\": groups are not known to the pooler; name the users, or a "
                               "file of them as @file"},
        {"local all a,+g trust", "\"+g\": groups are not known to the pooler"},
        {"local all samerole trust", "\"samerole\": groups are not known to the pooler"},
        {"local all sameuser trust",
         "\"sameuser\": stands for a database only; put it in quotes if it is a user"},
        {"local /^a all trust", "\"/^a\": regular expressions are not supported; put it in quotes "
                                "if it is a name"},
        {"local all /a trust", "\"/a\": regular expressions are not supported"},
        {"local @ all trust", NULL},
        {"local all all 127.0.0.1/32 trust", "\"127.0.0.1/32\" is out of place: expected a method"},
        {"host all all trust", "\"trust\": not an address: expected all, samehost, samenet, or an "
                               "IPv4 or IPv6 address; host names are not looked up"},
        {"host all all localhost trust", "\"localhost\": not an address"},
        {"host all all .example.com trust", "\".example.com\": not an address"},
        {"host all all \"all\" trust", "\"all\": not an address"},
        {"host all all \"samenet\" trust", "\"samenet\": not an address"},
        {"host all all localhost/8 trust", "\"localhost\": not an address"},
        {"host all all", "the line ends too early: expected an address, all, samehost or samenet"},
        {"host all all 127.0.0.1 trust",
         "\"127.0.0.1\": an address without a mask: write /32 behind it"},
        {"host all all ::1 trust", "\"::1\": an address without a mask: write /128 behind it"},
        {"host all all 127.0.0.1", "\"127.0.0.1\": an address without a mask: write /32 behind it"},
        {"host all all 10.0.0.0/33 trust",
         "\"10.0.0.0/33\": expected 0 to 32 bits behind the slash"},
        {"host all all 10.0.0.0/ trust", "\"10.0.0.0/\": expected 0 to 32 bits"},
        {"host all all 10.0.0.0/-1 trust", "\"10.0.0.0/-1\": expected 0 to 32 bits"},
        {"host all all 10.0.0.0/+8 trust", "\"10.0.0.0/+8\": expected 0 to 32 bits"},
        {"host all all 10.0.0.0/8x trust", "\"10.0.0.0/8x\": expected 0 to 32 bits"},
        {"host all all 10.0.0.0/4294967304 trust",
         "\"10.0.0.0/4294967304\": expected 0 to 32 bits"},
        {"host all all 10.0.0.0/255.0.0.0 trust", "\"10.0.0.0/255.0.0.0\": expected 0 to 32 bits"},
        {"host all all ::/129 trust", "\"::/129\": expected 0 to 128 bits behind the slash"},
        {"host all all 10.0/16 trust", "\"10.0\": not an address"},
        {"host all all 010.0.0.1/32 trust", "\"010.0.0.1\": not an address"},
        {"host all all 256.0.0.1/32 trust", "\"256.0.0.1\": not an address"},
        {"host all all fe80::1%lo/128 trust", "\"fe80::1%lo\": not an address"},
        {"host all all 10.0.0.1/8 trust",
         "\"10.0.0.1/8\": the address has bits outside of its mask, so that nobody would fit; "
         "clear them, or use a longer mask"},
        {"host all all 10.0.0.1 255.0.0.0 trust", "\"10.0.0.1\": the address has bits outside"},
        {"host all all 2001:db8::1/64 trust", "\"2001:db8::1/64\": the address has bits outside"},
        {"host all all 0.0.0.1/0 trust", "\"0.0.0.1/0\": the address has bits outside"},
        {"host all all 10.0.0.0 ffff:: trust",
         "\"ffff::\": the mask is of another family than the address"},
        {"host all all fe80:: 255.0.0.0 trust",
         "\"255.0.0.0\": the mask is of another family than the address"},
        {"host all all all 255.0.0.0 trust", "\"255.0.0.0\" is out of place: expected a method"},
        {"local all all any", "\"any\" is out of place: expected a method: trust, reject, md5"},
        {"local all all pam", "\"pam\" is out of place: expected a method"},
        {"local all all gss", "\"gss\" is out of place: expected a method"},
        {"local all all ident", "\"ident\" is out of place: expected a method"},
        {"local all all plain", "\"plain\" is out of place: expected a method"},
        {"local all all MD5", "\"MD5\" is out of place: expected a method"},
        {"local all all \"trust\"", "\"trust\" is out of place: expected a method"},
        {"local all all trust extra",
         "\"extra\" is out of place: expected map=NAME or the end of the line"},
        {"local all all trust \\", "\"\\\" is out of place: expected map=NAME or the end"},
        {"local all all peer map=", "\"map=\": no line of auth_ident_file begins with that name"},
        {"local all all peer map=m2",
         "\"map=m2\": no line of auth_ident_file begins with that name"},
        {"local all all peer map=m1 map=m1", "\"map=m1\" is out of place: expected the end of the "
                                             "line"},
        {"local all all peer map=m1,", "\",\" is out of place: expected the end of the line"},
        {"hostssl all all all cert clientcert=1",
         "\"clientcert=1\" is out of place: expected map=NAME or the end of the line"},
        {"local all all ldap \"x", "a quote that is not closed: expected options of ldap"},
        {"local all all ldap", "\"ldap\": ldapserver or ldapurl is missing"},
        {"local all all ldap map=m1", "\"ldap\": unknown LDAP option: map"},
        {"local all ldap ldapbindpasswd=secret", "\"ldapbindpasswd=\" is out of place"},
        {"host all all ldapbindpasswd=secret ldap", "\"ldapbindpasswd=\": not an address"},
        {"local all all ldap ldapserver=a", "\"ldap\": ldapbasedn, ldapprefix or ldapsuffix is"},
    };

    static const char map[] = "m1 a b\n";
    struct config_report none = {0};
    struct ident *ident = ident_parse("ident", map, sizeof(map) - 1, &none);
    for (size_t i = 0; i < countof(cases); i++) {
        struct config_report report = {0};
        char text[256], error[256];
        snprintf(text, sizeof(text), "local first all trust\n%s\nlocal last all trust\n",
                 cases[i].line);
        struct hba *hba = hba_parse("dir/hba", text, strlen(text), ident, &report);
        snprintf(error, sizeof(error), "dir/hba:2: %s",
                 cases[i].error != NULL ? cases[i].error : "");
        if (cases[i].error == NULL)
            assert_int_equal(report.error_count, 0); /* "@" alone is a name */
        else if (report.error_count != 1 || strncmp(report.errors[0], error, strlen(error)) != 0)
            fail_msg("'%s': %zu errors, the first: %s", cases[i].line, report.error_count,
                     report.error_count > 0 ? report.errors[0] : "");
        assert_int_equal(line_for(hba, "local", "first", "u"), 1);
        assert_int_equal(line_for(hba, "local", "last", "u"), 3);
        config_report_release(&report);
        hba_destroy(hba);
    }
    ident_destroy(ident);
}

static void test_all_errors_are_told(void **state UNUSED)
{
    static const char text[] = "a\nlocal all all trust\nhost\0all all all trust\nlocal all\0x all "
                               "trust\nlocal all all ldap x\0y\nb";
    static const char *const errors[] = {"hba:1: ", "hba:3: a zero byte: ", "hba:4: a zero byte: ",
                                         "hba:5: a zero byte: ", "hba:6: "};
    struct config_report report = {0};
    struct hba *hba = hba_parse("hba", text, sizeof(text) - 1, NULL, &report);
    assert_int_equal(report.error_count, countof(errors));
    for (size_t i = 0; i < countof(errors); i++)
        assert_memory_equal(report.errors[i], errors[i], strlen(errors[i]));
    config_report_release(&report);
    hba_destroy(hba);
}

/* ---- files of names ---- */

static char folder[] = "/tmp/hba_test_XXXXXX";

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state UNUSED)
{
    if (mkdtemp(folder) == NULL || mkdir(path_of("inner"), 0700) != 0 ||
        mkfifo(path_of("fifo"), 0600) != 0)
        return 1;
    write_file("users", "alice, bob # two\n\ncarol\n\"d e\" frank\r\n@inner/more\n@\"in ner\"\n");
    write_file("inner/more", "@more2 @../users2,greta\n");
    write_file("inner/more2", "heidi");
    write_file("users2", "ivan\n@inner/more2");
    write_file("in ner", "judy");
    write_file("words", "sameuser,\"all\"\nreplication\n");
    write_file("everybody", "x\nall\n");
    write_file("empty", "# nobody\n");
    write_file("broken", "ok\na,,b\n+g\n@nowhere\n@inner\n@fifo\n\"x\n");
    write_file("circle", "x\n@circle2\n");
    write_file("circle2", "@circle @circle2\n");
    return 0;
}

static int remove_folder(void **state UNUSED)
{
    static const char *const names[] = {"users",  "inner/more", "inner/more2", "inner", "users2",
                                        "in ner", "words",      "everybody",   "empty", "broken",
                                        "circle", "circle2",    "fifo"};
    for (size_t i = 0; i < countof(names); i++)
        (void) remove(path_of(names[i]));
    return rmdir(folder);
}

static struct hba *parse_in_folder(const char *text, struct config_report *ret_report)
{
    *ret_report = (struct config_report){0};
    return hba_parse(path_of("hba"), text, strlen(text), NULL, ret_report);
}

static void test_files_of_names(void **state UNUSED)
{
    static const struct {
        const char *rule, *origin, *database, *user;
        bool fits;
    } cases[] = {
        {"local all @users trust", "local", "d", "alice", true},
        {"local all @users trust", "local", "d", "bob", true},
        {"local all @users trust", "local", "d", "carol", true},
        {"local all @users trust", "local", "d", "d e", true},
        {"local all @users trust", "local", "d", "frank", true},
        {"local all @users trust", "local", "d", "greta", true},
        {"local all @users trust", "local", "d", "heidi", true},
        {"local all @users trust", "local", "d", "ivan", true},
        {"local all @users trust", "local", "d", "judy", true},
        {"local all @users trust", "local", "d", "two", false},
        {"local all @users trust", "local", "d", "@users", false},
        {"local all @users trust", "local", "d", "", false},
        {"local all x,@users,y trust", "local", "d", "y", true},
        {"local all x,@users,y trust", "local", "d", "bob", true},
        {"local all @inner/more2,@users2 trust", "local", "d", "ivan", true},
        {"local all @\"in ner\" trust", "local", "d", "judy", true},
        {"local @users all trust", "local", "bob", "u", true},
        {"local @users all trust", "local", "d", "bob", false},
        {"local @users bob trust", "local", "carol", "bob", true},
        {"local @words all trust", "local", "u", "u", true},
        {"local @words all trust", "local", "all", "u", true},
        {"local @words all trust", "local", "d", "u", false},
        {"local @words all trust", "replication local", "d", "u", true},
        {"local @users all trust", "replication local", "bob", "u", false},
        {"local @everybody all trust", "local", "d", "u", true},
        {"local all @everybody trust", "local", "d", "u", true},
        {"local all @empty trust", "local", "d", "u", false},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct config_report report;
        struct hba *hba = parse_in_folder(cases[i].rule, &report);
        if (report.error_count > 0)
            fail_msg("'%s': %s", cases[i].rule, report.errors[0]);
        bool fits = line_for(hba, cases[i].origin, cases[i].database, cases[i].user) == 1;
        if (fits != cases[i].fits)
            fail_msg("'%s' %s %s to %s", cases[i].rule, fits ? "lets in" : "does not fit",
                     cases[i].user, cases[i].database);
        hba_destroy(hba);
    }
}

static void check_errors(const char *text, const char *const *errors, size_t count)
{
    struct config_report report;
    struct hba *hba = parse_in_folder(text, &report);
    for (size_t i = 0; i < report.error_count && i < count; i++) {
        char expected[256];
        snprintf(expected, sizeof(expected), "%s/%s", folder, errors[i]);
        assert_memory_equal(report.errors[i], expected, strlen(expected));
    }
    assert_int_equal(report.error_count, count);
    config_report_release(&report);
    hba_destroy(hba);
}

static void test_broken_files_of_names(void **state UNUSED)
{
    static const char *const missing[] = {"hba:1: could not open \"@/tmp/hba_test_",
                                          "hba:2: could not open \"@/nowhere/at/all\": No such"};
    static const char *const broken[] = {
        "broken:2: \",\" is out of place: expected the name of a user",
        "broken:3: \"+g\": groups are not known to the pooler",
        "broken:7: a quote that is not closed: expected the name of a user",
        "broken:4: could not open \"@",
        "broken:5: could not open \"@",
        "broken:6: could not open \"@",
    };
    static const char *const circle[] = {"circle2:1: \"@", "circle2:1: \"@"};
    static const char *const word[] = {"words:1: \"sameuser\": stands for a database only"};
    check_errors("local all @no trust\nlocal @/nowhere/at/all all trust\n", missing, 2);
    check_errors("local all @broken trust\nlocal d @broken trust\n", broken, countof(broken));
    check_errors("local all @circle trust\n", circle, countof(circle));
    check_errors("local all @words trust\n", word, 1);
}

/* ---- size ---- */

/* The kinds of large files: a line for each user, database or address. */
enum large {
    LARGE_USERS,
    LARGE_DATABASES,
    LARGE_ADDRESSES,
    LARGE_FILES
};

static struct hba *parse_large(enum large kind, int count)
{
    struct buffer text = {0};
    struct config_report report = {0};
    char line[96], name[16];
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        int length = snprintf(line, sizeof(line), "host %s %s 10.%d.%d.%d/32 md5\n",
                              kind == LARGE_DATABASES ? name : "all",
                              kind == LARGE_USERS   ? name
                              : kind == LARGE_FILES ? "@users"
                                                    : "all",
                              i >> 16, i >> 8 & 255, i & 255);
        buffer_append(&text, line, (size_t) length);
    }
    struct hba *hba = hba_parse(path_of("hba"), (const char *) text.data, text.size, NULL, &report);
    assert_int_equal(report.error_count, 0);
    buffer_release(&text);
    return hba;
}

/* Counted generously: what is quadratic takes minutes. */
static void test_many_lines(void **state UNUSED)
{
    enum {
        LINES = 100000
    };

    usec_t start_us = clock_now_us();
    for (int kind = LARGE_USERS; kind <= LARGE_FILES; kind++) {
        struct hba *hba = parse_large((enum large) kind, LINES);
        for (int i = 0; i < LINES; i += 997) {
            char name[16], origin[32];
            snprintf(name, sizeof(name), "n%d", i);
            snprintf(origin, sizeof(origin), "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
            assert_int_equal(line_for(hba, origin, name, kind == LARGE_USERS ? name : "bob"),
                             i + 1);
            assert_int_equal(line_for(hba, "192.0.2.1", name, "bob"), 0);
        }
        hba_destroy(hba);
    }
    assert_true(clock_now_us() - start_us < 30 * 1000000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_logins_a_rule_is_for),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_the_first_rule_that_fits_decides),
        cmocka_unit_test(test_no_rules),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_index_keeps_the_order),
        cmocka_unit_test(test_broken_lines),
        cmocka_unit_test(test_all_errors_are_told),
        cmocka_unit_test(test_files_of_names),
        cmocka_unit_test(test_broken_files_of_names),
        cmocka_unit_test(test_many_lines),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
