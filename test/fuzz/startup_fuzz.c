/*
 * startup_fuzz.c - the first packet of a client: header, parameters, options; and the answer to
 * an SSLRequest.
 *
 * SPDX-License-Identifier: ISC
 */
#include "fuzz.h"
#include "wire/startup.h"

/* Eight bytes decide, whatever follows, and fewer never say anything else. */
static struct startup_packet read_header(const uint8_t *data, size_t size)
{
    struct failure failure = {0}, same_failure = {0};
    struct startup_packet packet = startup_read_header(data, size, &failure);
    for (size_t part = 0; part <= 8 && part <= size; part++) {
        struct input input = {data, part};
        uint8_t *bytes = take_bytes(&input, part, &part);
        struct startup_packet early = startup_read_header(bytes, part, &same_failure);
        HOLDS(early.kind == packet.kind || (part < 8 && early.kind == STARTUP_MORE));
        HOLDS(early.kind != packet.kind || early.size == packet.size);
        free(bytes);
    }
    HOLDS(is_same_text(failure.message, same_failure.message));
    return packet;
}

static void check_header(const struct startup_packet *packet, size_t size)
{
    switch (packet->kind) {
    case STARTUP_MORE:
        HOLDS(size < 8);
        break;
    case STARTUP_SSL_REQUEST:
    case STARTUP_GSS_REQUEST:
        HOLDS(packet->size == 8);
        break;
    case STARTUP_CANCEL_REQUEST:
        HOLDS(packet->size >= 8 + CANCEL_KEY_SIZE_3_0 && packet->size <= 8 + CANCEL_KEY_MAX);
        break;
    case STARTUP_MESSAGE:
        HOLDS(packet->size >= 8 && packet->size <= STARTUP_PACKET_MAX);
        break;
    case STARTUP_BROKEN:
        break;
    }
}

/* ---- options ---- */

static bool collect(void *argument, const char *name, const char *value,
                    struct failure *ret_failure UNUSED)
{
    struct buffer *pairs = argument;
    HOLDS(name[0] != '\0' && strchr(name, '=') == NULL);
    buffer_append(pairs, name, strlen(name) + 1);
    buffer_append(pairs, value, strlen(value) + 1);
    return true;
}

static void add_escaped(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr(" \t\n\v\f\r\\", *text) != NULL)
            buffer_append(out, "\\", 1);
        buffer_append(out, text, 1);
    }
}

/* What was accepted can be written in each form, and is read the same again. */
static void write_again(const struct buffer *pairs, const char *prefix)
{
    struct buffer options = {0}, again = {0};
    struct failure failure = {0};
    const char *at = (const char *) pairs->data, *end = at + pairs->size;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        put_text(&options, at == (const char *) pairs->data ? prefix + 1 : prefix);
        add_escaped(&options, at);
        put_text(&options, "=");
        add_escaped(&options, value);
        at = value + strlen(value) + 1;
    }
    HOLDS(startup_read_options(end_text(&options), collect, &again, &failure));
    HOLDS(is_same_buffer(pairs, &again));
    buffer_release(&options);
    buffer_release(&again);
}

static void check_options(const char *options)
{
    struct buffer pairs = {0};
    struct failure failure = {0};
    if (!startup_read_options(options, collect, &pairs, &failure)) {
        HOLDS(failure.message[0] != '\0');
    } else if (pairs.size > 0) {
        write_again(&pairs, " -c ");
        write_again(&pairs, " -c");
        write_again(&pairs, " --");
    }
    buffer_release(&pairs);
}

/* ---- parameters ---- */

/* What was accepted gives the very bytes again. */
static void check_parameters(const uint8_t *body, size_t size)
{
    struct startup_parameters parameters;
    struct failure failure = {0};
    struct buffer again = {0};
    if (!startup_read_parameters(body, size, &parameters, &failure)) {
        HOLDS(failure.message[0] != '\0' && parameters.items == NULL);
        return;
    }
    for (size_t i = 0; i < parameters.count; i++) {
        buffer_append(&again, parameters.items[i].name, strlen(parameters.items[i].name) + 1);
        buffer_append(&again, parameters.items[i].value, strlen(parameters.items[i].value) + 1);
        check_options(parameters.items[i].value);
    }
    buffer_append(&again, "", 1);
    HOLDS(again.size == size && memcmp(again.data, body, size) == 0);
    buffer_release(&again);
    startup_parameters_release(&parameters);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct startup_packet packet = read_header(data, size);
    check_header(&packet, size);
    if (packet.kind == STARTUP_MESSAGE && size >= packet.size) {
        struct input input = {data + 8, packet.size - 8};
        size_t length;
        uint8_t *body = take_bytes(&input, input.left, &length);
        check_parameters(body, length);
        free(body);
    }
    if (packet.kind == STARTUP_BROKEN) {
        struct input input = {data, size};
        char *options = take_rest(&input);
        check_options(options);
        free(options);
    }
    if (size > 0) {
        enum ssl_answer answer = startup_read_ssl_answer(data, size);
        HOLDS((answer == SSL_ANSWER_YES || answer == SSL_ANSWER_NO) ==
              (size == 1 && (data[0] == 'S' || data[0] == 'N')));
    }
    return 0;
}
