/*
 * address_test.c - addresses: from and to the kernel's form, parsed and printed.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/address.h"

#include "fixture.h"

static void test_ipv4_there_and_back(void **state UNUSED)
{
    struct address address, again;
    struct sockaddr_storage socket_address;
    assert_true(address_parse("10.0.0.7", 40112, &address));
    assert_int_equal(address.family, AF_INET);
    assert_int_equal(address.port, 40112);
    assert_int_equal(address_to_socket(&address, &socket_address), sizeof(struct sockaddr_in));
    again = address_from_socket((const struct sockaddr *) &socket_address);
    assert_true(address_same_host(&address, &again));
    assert_int_equal(again.port, 40112);
}

static void test_ipv6_there_and_back(void **state UNUSED)
{
    struct address address, again;
    struct sockaddr_storage socket_address;
    assert_true(address_parse("2001:db8::1", 6432, &address));
    assert_int_equal(address.family, AF_INET6);
    assert_int_equal(address_to_socket(&address, &socket_address), sizeof(struct sockaddr_in6));
    again = address_from_socket((const struct sockaddr *) &socket_address);
    assert_true(address_same_host(&address, &again));
    assert_int_equal(again.port, 6432);
}

static void test_other_families_are_kept(void **state UNUSED)
{
    struct sockaddr_un unix_socket = {.sun_family = AF_UNIX};
    struct address address = address_from_socket((const struct sockaddr *) &unix_socket);
    assert_int_equal(address.family, AF_UNIX);
    assert_int_equal(address.port, 0);
    assert_int_equal(address.unix_pid, 0);
}

static void test_parse_refuses_what_is_no_address(void **state UNUSED)
{
    static const char *const texts[] = {"",          "localhost", "10.0.0",    "10.0.0.256",
                                        "1.2.3.4.5", " 10.0.0.1", "10.0.0.1 ", "2001:db8:::1",
                                        "[::1]",     "::1%lo",    "*",         "/run"};
    for (size_t i = 0; i < countof(texts); i++) {
        struct address address = {.family = AF_INET, .port = 1};
        assert_false(address_parse(texts[i], 5432, &address));
        assert_int_equal(address.family, AF_UNSPEC);
    }
}

static void test_same_host_ignores_the_port(void **state UNUSED)
{
    struct address a, b, c, v6, other_v6;
    struct address unix_a = {.family = AF_UNIX, .port = 1}, unix_b = {.family = AF_UNIX, .port = 2};
    assert_true(address_parse("10.0.0.7", 1, &a));
    assert_true(address_parse("10.0.0.7", 2, &b));
    assert_true(address_parse("10.0.0.8", 1, &c));
    assert_true(address_parse("::1", 1, &v6));
    assert_true(address_parse("::2", 1, &other_v6));
    assert_true(address_same_host(&a, &b));
    assert_false(address_same_host(&a, &c));
    assert_false(address_same_host(&a, &v6));
    assert_true(address_same_host(&v6, &v6));
    assert_false(address_same_host(&v6, &other_v6));
    assert_true(address_same_host(&unix_a, &unix_b));
    assert_false(address_same_host(&unix_a, &a));
}

static void test_unix_socket_path(void **state UNUSED)
{
    struct sockaddr_un target;
    socklen_t size = address_unix_socket("/run/db", 6432, &target);
    assert_int_equal(target.sun_family, AF_UNIX);
    assert_string_equal(target.sun_path, "/run/db/.s.PGSQL.6432");
    assert_int_equal(size, offsetof(struct sockaddr_un, sun_path) + strlen(target.sun_path) + 1);
}

static void test_abstract_unix_socket(void **state UNUSED)
{
    struct sockaddr_un target;
    socklen_t size = address_unix_socket("@pool", 6432, &target);
    assert_int_equal(target.sun_path[0], '\0');
    assert_string_equal(target.sun_path + 1, "pool/.s.PGSQL.6432");
    assert_int_equal(size, offsetof(struct sockaddr_un, sun_path) + strlen("@pool/.s.PGSQL.6432"));
}

/* "/.s.PGSQL.6432" is 14 bytes; 107 and a zero byte fit. */
static void test_unix_socket_path_length(void **state UNUSED)
{
    struct sockaddr_un target;
    char directory[108];
    memset(directory, 'd', sizeof(directory));
    directory[0] = '/';
    directory[107 - 14] = '\0';
    socklen_t size = address_unix_socket(directory, 6432, &target);
    assert_int_equal(size, sizeof(target));
    assert_int_equal(strlen(target.sun_path), 107);
    directory[107 - 14] = 'd';
    directory[108 - 14] = '\0';
    size = address_unix_socket(directory, 6432, &target);
    assert_int_equal(size, 0);
}

static void assert_prints(const struct address *address, const char *host, const char *whole)
{
    char text[ADDRESS_TEXT_SIZE];
    address_print_host(address, text, sizeof(text));
    assert_string_equal(text, host);
    address_print(address, text, sizeof(text));
    assert_string_equal(text, whole);
}

static void test_print(void **state UNUSED)
{
    struct address address;
    assert_true(address_parse("10.0.0.7", 40112, &address));
    assert_prints(&address, "10.0.0.7", "10.0.0.7:40112");
    assert_true(address_parse("2001:DB8:0::1", 65535, &address));
    assert_prints(&address, "2001:db8::1", "[2001:db8::1]:65535");
    assert_true(address_parse("::ffff:10.0.0.7", 1, &address));
    assert_prints(&address, "::ffff:10.0.0.7", "[::ffff:10.0.0.7]:1");
    address = (struct address){.family = AF_UNIX, .port = 6432, .unix_pid = 4711};
    assert_prints(&address, "unix", "unix(4711):6432");
    address.unix_pid = 0;
    assert_prints(&address, "unix", "unix:6432");
}

static void test_longest_address_fits(void **state UNUSED)
{
    struct address address;
    char text[ADDRESS_TEXT_SIZE];
    assert_true(address_parse("1111:2222:3333:4444:5555:6666:7777:8888", 65535, &address));
    address_print(&address, text, sizeof(text));
    assert_string_equal(text, "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ipv4_there_and_back),
        cmocka_unit_test(test_ipv6_there_and_back),
        cmocka_unit_test(test_other_families_are_kept),
        cmocka_unit_test(test_parse_refuses_what_is_no_address),
        cmocka_unit_test(test_same_host_ignores_the_port),
        cmocka_unit_test(test_unix_socket_path),
        cmocka_unit_test(test_abstract_unix_socket),
        cmocka_unit_test(test_unix_socket_path_length),
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_longest_address_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
