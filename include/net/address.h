/*
 * address.h - the address of a peer: IPv4, IPv6 or a Unix socket, in few bytes.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_NET_ADDRESS_H
#define PGWEIR_NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/compiler.h"

/* Enough for any address that address_print() writes. */
#define ADDRESS_TEXT_SIZE 160

struct address {
    sa_family_t family; /* AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX */
    uint16_t port;      /* host byte order; of a Unix socket the port that its name stands for */
    union {
        struct in_addr ipv4;
        struct in6_addr ipv6;
        pid_t unix_pid; /* the process at the other end of a Unix socket, 0 if unknown */
    };
};

/* From what accept() or getpeername() gave. */
struct address address_from_socket(const struct sockaddr *socket_address);

/* To what connect() wants; not for Unix sockets. Returns the length. */
socklen_t address_to_socket(const struct address *address, struct sockaddr_storage *ret_socket);

/* A numeric IPv4 or IPv6 address. Returns false if `text` is neither. */
bool address_parse(const char *text, uint16_t port, struct address *ret_address) MUST_CHECK;

/*
 * The Unix socket for `port` in `directory`; a leading '@' means the abstract name space. Returns
 * the length for connect() or bind(), or 0 if the path is too long.
 */
socklen_t address_unix_socket(const char *directory, unsigned port, struct sockaddr_un *ret_socket)
    MUST_CHECK;

/* True for the same host, whatever the port. */
bool address_same_host(const struct address *a, const struct address *b);

/* "10.0.0.7", "2001:db8::1" or "unix". */
void address_print_host(const struct address *address, char *ret_text, size_t size);

/* As in log lines: "10.0.0.7:40112", "[2001:db8::1]:40112", "unix(4711):6432". */
void address_print(const struct address *address, char *ret_text, size_t size);

#endif
