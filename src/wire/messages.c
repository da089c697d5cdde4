/*
 * messages.c - what each message type means to the relay, from messages.def.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/messages.h"

#define SERVER_MESSAGE(byte, name, flags)
const uint16_t client_message_flags[256] = {
#define CLIENT_MESSAGE(byte, name, flags) [byte] = MESSAGE_KNOWN | (flags),
#include "wire/messages.def"
#undef CLIENT_MESSAGE
};
#undef SERVER_MESSAGE

#define CLIENT_MESSAGE(byte, name, flags)
const uint16_t server_message_flags[256] = {
#define SERVER_MESSAGE(byte, name, flags) [byte] = MESSAGE_KNOWN | (flags),
#include "wire/messages.def"
#undef SERVER_MESSAGE
};
#undef CLIENT_MESSAGE
