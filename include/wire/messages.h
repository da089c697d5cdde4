/*
 * messages.h - what each message type means to the relay, from messages.def.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_MESSAGES_H
#define PGWEIR_WIRE_MESSAGES_H

#include <stdint.h>

enum {
    MESSAGE_KNOWN = 1 << 0, /* set for every type in the table */
    MESSAGE_NEEDS_SERVER = 1 << 1,
    MESSAGE_EXPECTS_ANSWER = 1 << 2,
    MESSAGE_EXTENDED = 1 << 3,
    MESSAGE_COPY = 1 << 4,
    MESSAGE_ENDS_SESSION = 1 << 5,
    MESSAGE_WHOLE = 1 << 6,
    MESSAGE_ASYNCHRONOUS = 1 << 7,
    MESSAGE_ENDS_ANSWER = 1 << 8,
    MESSAGE_NAMES_STATEMENT = 1 << 9,
    MESSAGE_WATCHED = 1 << 10,
};

/* Flags by type byte; 0 for a type that the protocol does not have. */
extern const uint16_t client_message_flags[256];
extern const uint16_t server_message_flags[256];

#endif
