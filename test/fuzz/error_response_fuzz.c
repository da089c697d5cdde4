/*
 * error_response_fuzz.c - ErrorResponse and NoticeResponse of a server.
 *
 * SPDX-License-Identifier: ISC
 */
#include "fuzz.h"
#include "wire/error_response.h"
#include "wire/frame.h"

/* Fields up to a zero byte, each with its terminator. */
static bool is_well_formed(const uint8_t *body, size_t size)
{
    size_t at = 0;
    while (at < size && body[at] != 0) {
        const uint8_t *end = memchr(body + at + 1, 0, size - at - 1);
        if (end == NULL)
            return false;
        at = (size_t) (end - body) + 1;
    }
    return at < size;
}

/* The first field of a kind, or NULL. */
static const char *find_field(const uint8_t *body, char kind)
{
    for (const char *at = (const char *) body; *at != '\0'; at += strlen(at) + 1)
        if (*at == kind && at[1] != '\0')
            return at + 1;
    return "";
}

static void check_field(const char *field, size_t size, const char *expected)
{
    size_t length = strlen(expected) < size ? strlen(expected) : size - 1;
    HOLDS(strlen(field) == length && memcmp(field, expected, length) == 0);
}

/* The pooler's own messages are read as they were written. */
static void check_own(const struct error_fields *fields)
{
    struct buffer out = {0};
    struct error_fields again;
    struct frame frame;
    error_response_write(&out, fields->severity, fields->sqlstate, fields->message);
    HOLDS(frame_read_header(out.data, &frame) && frame.type == 'E' && frame.size == out.size);
    HOLDS(error_response_read(out.data + FRAME_HEADER_SIZE, out.size - FRAME_HEADER_SIZE, &again));
    HOLDS(is_same_text(fields->severity, again.severity));
    HOLDS(is_same_text(fields->sqlstate, again.sqlstate));
    HOLDS(is_same_text(fields->message, again.message));
    out.size = 0;
    notice_response_write(&out, fields->sqlstate, fields->message, fields->severity);
    HOLDS(frame_read_header(out.data, &frame) && frame.type == 'N' && frame.size == out.size);
    HOLDS(error_response_read(out.data + FRAME_HEADER_SIZE, out.size - FRAME_HEADER_SIZE, &again));
    HOLDS(is_same_text(fields->message, again.message));
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    uint8_t *body = take_bytes(&input, size, &size);
    struct error_fields fields;
    bool good = error_response_read(body, size, &fields);
    HOLDS(good == is_well_formed(body, size));
    if (good) {
        const char *severity = find_field(body, 'V');
        check_field(fields.severity, sizeof(fields.severity),
                    severity[0] != '\0' ? severity : find_field(body, 'S'));
        check_field(fields.sqlstate, sizeof(fields.sqlstate), find_field(body, 'C'));
        check_field(fields.message, sizeof(fields.message), find_field(body, 'M'));
        check_field(fields.routine, sizeof(fields.routine), find_field(body, 'R'));
        check_own(&fields);
    }
    free(body);
    return 0;
}
