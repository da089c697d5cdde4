/*
 * address.c - the address of a peer: IPv4, IPv6 or a Unix socket, in few bytes.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct address address_from_socket(const struct sockaddr *socket_address)
{
    struct address address = {.family = socket_address->sa_family};
    if (address.family == AF_INET) {
        struct sockaddr_in ipv4;
        memcpy(&ipv4, socket_address, sizeof(ipv4));
        address.ipv4 = ipv4.sin_addr;
        address.port = ntohs(ipv4.sin_port);
    } else if (address.family == AF_INET6) {
        struct sockaddr_in6 ipv6;
        memcpy(&ipv6, socket_address, sizeof(ipv6));
        address.ipv6 = ipv6.sin6_addr;
        address.port = ntohs(ipv6.sin6_port);
    }
    return address;
}

socklen_t address_to_socket(const struct address *address, struct sockaddr_storage *ret_socket)
{
    memset(ret_socket, 0, sizeof(*ret_socket));
    if (address->family == AF_INET) {
        struct sockaddr_in ipv4 = {.sin_family = AF_INET,
                                   .sin_port = htons(address->port),
                                   .sin_addr = address->ipv4};
        memcpy(ret_socket, &ipv4, sizeof(ipv4));
        return sizeof(ipv4);
    }
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6,
                                .sin6_port = htons(address->port),
                                .sin6_addr = address->ipv6};
    memcpy(ret_socket, &ipv6, sizeof(ipv6));
    return sizeof(ipv6);
}

bool address_parse(const char *text, uint16_t port, struct address *ret_address)
{
    *ret_address = (struct address){.port = port};
    if (inet_pton(AF_INET, text, &ret_address->ipv4) == 1)
        ret_address->family = AF_INET;
    else if (inet_pton(AF_INET6, text, &ret_address->ipv6) == 1)
        ret_address->family = AF_INET6;
    return ret_address->family != AF_UNSPEC;
}

socklen_t address_unix_socket(const char *directory, unsigned port, struct sockaddr_un *ret_socket)
{
    memset(ret_socket, 0, sizeof(*ret_socket));
    ret_socket->sun_family = AF_UNIX;
    int length = snprintf(ret_socket->sun_path, sizeof(ret_socket->sun_path), "%s/.s.PGSQL.%u",
                          directory, port);
    if (length < 0 || (size_t) length >= sizeof(ret_socket->sun_path))
        return 0;
    size_t header = offsetof(struct sockaddr_un, sun_path);
    if (directory[0] == '@') {
        ret_socket->sun_path[0] = '\0';
        return (socklen_t) (header + (size_t) length);
    }
    return (socklen_t) (header + (size_t) length + 1);
}

bool address_same_host(const struct address *a, const struct address *b)
{
    if (a->family != b->family)
        return false;
    if (a->family == AF_INET)
        return a->ipv4.s_addr == b->ipv4.s_addr;
    if (a->family == AF_INET6)
        return memcmp(&a->ipv6, &b->ipv6, sizeof(a->ipv6)) == 0;
    return true;
}

void address_print_host(const struct address *address, char *ret_text, size_t size)
{
    if (address->family == AF_INET)
        inet_ntop(AF_INET, &address->ipv4, ret_text, (socklen_t) size);
    else if (address->family == AF_INET6)
        inet_ntop(AF_INET6, &address->ipv6, ret_text, (socklen_t) size);
    else
        snprintf(ret_text, size, "unix");
}

void address_print(const struct address *address, char *ret_text, size_t size)
{
    char host[INET6_ADDRSTRLEN + 1];
    address_print_host(address, host, sizeof(host));
    if (address->family == AF_INET6)
        snprintf(ret_text, size, "[%s]:%u", host, address->port);
    else if (address->family == AF_INET)
        snprintf(ret_text, size, "%s:%u", host, address->port);
    else if (address->unix_pid != 0)
        snprintf(ret_text, size, "unix(%d):%u", (int) address->unix_pid, address->port);
    else
        snprintf(ret_text, size, "unix:%u", address->port);
}
