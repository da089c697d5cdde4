/*
 * startup.c - the untyped packets that a client may send first.
 *
 * Only the low 16 bits of a length can be set in a packet that is not refused, so a first byte that
 * is not zero tells a typed message, plain HTTP or a TLS hello apart from a startup packet.
 *
 * SPDX-License-Identifier: ISC
 */
#include "wire/startup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "wire/frame.h"
#include "wire/message.h"

#define STARTUP_HEADER_SIZE 8
#define CODE_CANCEL         80877102
#define CODE_SSL            80877103
#define CODE_GSS            80877104

static void set_failure(const uint8_t bytes[STARTUP_HEADER_SIZE], uint32_t code,
                        struct failure *ret_failure)
{
    char hex[2 * STARTUP_HEADER_SIZE + 1] = "";
    if (code >> 16 == 2) {
        failure_set(ret_failure, "old V2 protocol not supported");
        return;
    }
    for (size_t i = 0; i < STARTUP_HEADER_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    failure_set(ret_failure, "bad packet header: '%s'", hex);
}

/* A request has its size, or a range of them; anything else is no packet of ours. */
static enum startup_kind kind_of(uint32_t code, size_t size)
{
    switch (code) {
    case CODE_SSL:
        return size == STARTUP_HEADER_SIZE ? STARTUP_SSL_REQUEST : STARTUP_BROKEN;
    case CODE_GSS:
        return size == STARTUP_HEADER_SIZE ? STARTUP_GSS_REQUEST : STARTUP_BROKEN;
    case CODE_CANCEL:
        return size >= STARTUP_HEADER_SIZE + CANCEL_KEY_SIZE_3_0 &&
                       size <= STARTUP_HEADER_SIZE + CANCEL_KEY_MAX
                   ? STARTUP_CANCEL_REQUEST
                   : STARTUP_BROKEN;
    default:
        return code >> 16 == 3 ? STARTUP_MESSAGE : STARTUP_BROKEN;
    }
}

struct startup_packet startup_read_header(const uint8_t *bytes, size_t size,
                                          struct failure *ret_failure)
{
    struct startup_packet packet = {.kind = STARTUP_MORE};
    uint32_t code;
    if (size > 0 && bytes[0] == 'p') {
        packet.kind = STARTUP_BROKEN;
        failure_set(ret_failure, "client password pkt before startup packet");
        return packet;
    }
    if (size > 0 && bytes[0] != 0) {
        packet.kind = STARTUP_BROKEN; /* whoever it is, it would not understand an answer */
        return packet;
    }
    if (size < STARTUP_HEADER_SIZE)
        return packet;
    packet.size = frame_load_uint32(bytes);
    code = frame_load_uint32(bytes + 4);
    packet.minor_version = code & 0xffff;
    packet.kind = STARTUP_BROKEN;
    if (packet.size >= STARTUP_HEADER_SIZE && packet.size <= STARTUP_PACKET_MAX)
        packet.kind = kind_of(code, packet.size);
    if (packet.kind == STARTUP_BROKEN && code != CODE_CANCEL)
        set_failure(bytes, code, ret_failure);
    return packet;
}

void startup_write_ssl_request(struct buffer *out)
{
    size_t mark = message_begin_untyped(out);
    message_add_int32(out, CODE_SSL);
    message_end(out, mark);
}

enum ssl_answer startup_read_ssl_answer(const uint8_t *bytes, size_t size)
{
    if (bytes[0] != 'S' && bytes[0] != 'N')
        return SSL_ANSWER_BROKEN;
    if (size > 1)
        return SSL_ANSWER_TOO_EARLY;
    return bytes[0] == 'S' ? SSL_ANSWER_YES : SSL_ANSWER_NO;
}

static void grow(struct startup_parameters *parameters, size_t capacity)
{
    bool is_first = parameters->items == parameters->few;
    parameters->items = memory_resize(is_first ? NULL : parameters->items,
                                      capacity * sizeof(*parameters->items));
    if (is_first)
        memcpy(parameters->items, parameters->few, sizeof(parameters->few));
}

bool startup_read_parameters(const uint8_t *body, size_t size,
                             struct startup_parameters *ret_parameters, struct failure *ret_failure)
{
    struct message_reader reader = message_reader_of(body, size);
    size_t capacity = countof(ret_parameters->few);
    ret_parameters->items = ret_parameters->few;
    ret_parameters->count = 0;
    while (message_bytes_left(&reader) > 1 && *reader.position != 0) {
        struct startup_parameter item;
        item.name = message_read_text(&reader);
        item.value = message_read_text(&reader);
        if (reader.broken)
            break;
        if (ret_parameters->count == capacity) {
            capacity *= 2;
            grow(ret_parameters, capacity);
        }
        ret_parameters->items[ret_parameters->count++] = item;
    }
    if (!reader.broken && message_bytes_left(&reader) == 1 && *reader.position == 0)
        return true;
    failure_set(ret_failure, "invalid startup packet layout: expected terminator as last byte");
    startup_parameters_release(ret_parameters);
    return false;
}

void startup_parameters_release(struct startup_parameters *parameters)
{
    if (parameters->items != parameters->few)
        free(parameters->items);
    parameters->items = NULL;
    parameters->count = 0;
}

/* A word may be shortened as long as it is clear: "o" may be "on" or "off". */
static bool is_short_for(const char *text, const char *word, size_t shortest)
{
    size_t size = strlen(text);
    return size >= shortest && size <= strlen(word) && strncasecmp(text, word, size) == 0;
}

bool startup_read_replication(const char *value, enum replication *ret_replication)
{
    if (strcmp(value, "database") == 0)
        *ret_replication = REPLICATION_LOGICAL;
    else if (is_short_for(value, "true", 1) || is_short_for(value, "yes", 1) ||
             is_short_for(value, "on", 2) || strcmp(value, "1") == 0)
        *ret_replication = REPLICATION_PHYSICAL;
    else if (is_short_for(value, "false", 1) || is_short_for(value, "no", 1) ||
             is_short_for(value, "off", 2) || strcmp(value, "0") == 0)
        *ret_replication = REPLICATION_NONE;
    else
        return false;
    return true;
}

const char *startup_replication_value(enum replication replication)
{
    static const char *const values[] = {NULL, "database", "true"};
    return values[replication];
}

const char *replication_name(enum replication replication)
{
    static const char *const names[] = {"none", "logical", "physical"};
    return names[replication];
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Reads one word, taking the backslashes out. Returns where it ended. */
static const char *read_word(const char *options, struct buffer *ret_word)
{
    ret_word->size = 0;
    while (*options != '\0' && !is_blank(*options)) {
        if (*options == '\\' && options[1] != '\0')
            options++;
        message_add_byte(ret_word, (uint8_t) *options++);
    }
    message_add_byte(ret_word, 0);
    return options;
}

static const char *skip_blanks(const char *text)
{
    while (is_blank(*text))
        text++;
    return text;
}

/* Reads the next item of the string as "name=value"; NULL if it has another form. */
static const char *read_item(const char *options, struct buffer *word, char **ret_name,
                             char **ret_value)
{
    char *pair, *equals;
    options = read_word(skip_blanks(options), word);
    pair = (char *) word->data;
    if (strcmp(pair, "-c") == 0) {
        options = read_word(skip_blanks(options), word);
        pair = (char *) word->data;
    } else if (strncmp(pair, "-c", 2) == 0 || strncmp(pair, "--", 2) == 0) {
        pair += 2;
    } else {
        return NULL;
    }
    equals = strchr(pair, '=');
    if (equals == NULL || equals == pair)
        return NULL;
    *equals = '\0';
    *ret_name = pair;
    *ret_value = equals + 1;
    return options;
}

bool startup_read_options(const char *options, startup_option_fn *accept, void *argument,
                          struct failure *ret_failure)
{
    struct buffer word = {0};
    bool good = true;
    while (good && *options != '\0') {
        char *name, *value;
        options = read_item(options, &word, &name, &value);
        if (options == NULL) {
            failure_set(ret_failure, "unsupported options startup parameter: only '-c config=val' "
                                     "and '--config=val' are allowed");
            good = false;
        } else {
            good = accept(argument, name, value, ret_failure);
        }
    }
    buffer_release(&word);
    return good;
}
