/*
 * log.c - the log: stderr, a file and syslog.
 *
 * Everything that a peer chose may stand in a message, so whatever could forge a line or drive a
 * terminal is escaped here, in the one place that all lines pass.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"

#define MESSAGE_MAX 2047
#define PREFIX_MAX  512
#define BODY_MAX    (PREFIX_MAX + 1 + MESSAGE_MAX)
#define ESCAPED_MAX (4 * BODY_MAX) /* \xNN for each byte */

static const struct {
    const char *name;
    int syslog_priority;
} levels[] = {
    [LEVEL_FATAL] = {"FATAL", LOG_CRIT},       [LEVEL_ERROR] = {"ERROR", LOG_ERR},
    [LEVEL_WARNING] = {"WARNING", LOG_WARNING}, [LEVEL_LOG] = {"LOG", LOG_INFO},
    [LEVEL_DEBUG] = {"DEBUG", LOG_DEBUG},      [LEVEL_NOISE] = {"NOISE", LOG_DEBUG},
};

static const struct {
    const char *name;
    int facility;
} facilities[] = {
    {"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"daemon", LOG_DAEMON}, {"user", LOG_USER},
    {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1},     {"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3},
    {"local4", LOG_LOCAL4}, {"local5", LOG_LOCAL5},     {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7},
};

static struct {
    enum log_level level;
    bool to_stderr;
    int fd;             /* owns; -1: no file */
    char *syslog_ident; /* owns; openlog() keeps the pointer */
} state = {.level = LEVEL_LOG, .to_stderr = true, .fd = -1};

static int facility_of(const char *name)
{
    for (size_t i = 0; name != NULL && i < countof(facilities); i++)
        if (text_equals_ignoring_case(facilities[i].name, name))
            return facilities[i].facility;
    return LOG_DAEMON;
}

static void close_syslog(void)
{
    if (state.syslog_ident == NULL)
        return;
    closelog();
    free(state.syslog_ident);
    state.syslog_ident = NULL;
}

void log_set_verbose(int verbose)
{
    state.level = verbose >= 2 ? LEVEL_NOISE : verbose == 1 ? LEVEL_DEBUG : LEVEL_LOG;
}

bool log_configure(const struct log_options *options)
{
    int fd = -1;
    if (options->file != NULL && options->file[0] != '\0') {
        fd = open(options->file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
        if (fd < 0)
            return false;
    }
    if (state.fd >= 0)
        close(state.fd);
    state.fd = fd;
    state.to_stderr = options->to_stderr;
    close_syslog();
    if (options->to_syslog) {
        state.syslog_ident = memory_copy_text(options->syslog_ident);
        openlog(state.syslog_ident, LOG_PID, facility_of(options->syslog_facility));
    }
    log_set_verbose(options->verbose);
    return true;
}

void log_close(void)
{
    if (state.fd >= 0)
        close(state.fd);
    state.fd = -1;
    close_syslog();
}

bool log_level_enabled(enum log_level level)
{
    return level <= state.level;
}

/* The bytes of the next character if it may stand in a log; 0 if its first byte must be escaped. */
static size_t harmless_length(const char *text)
{
    const unsigned char *bytes = (const unsigned char *) text;
    bool is_control = (bytes[0] < 0x20 && bytes[0] != '\t') || bytes[0] == 0x7f ||
                      (bytes[0] == 0xc2 && bytes[1] < 0xa0); /* U+0080 to U+009F drive terminals */
    return is_control ? 0 : text_utf8_length(text);
}

/* Copies `text`, making what is no harmless character visible; returns the length. */
static size_t escape(const char *text, char *ret_escaped, size_t size)
{
    size_t length = 0;
    while (*text != '\0' && length + 5 < size) {
        size_t bytes = harmless_length(text);
        if (bytes == 0)
            length += (size_t) snprintf(ret_escaped + length, size - length, "\\x%02x",
                                        (unsigned char) *text);
        else
            memcpy(ret_escaped + length, text, bytes);
        length += bytes;
        text += bytes > 0 ? bytes : 1;
    }
    ret_escaped[length] = '\0';
    return length;
}

static size_t time_stamp(char *ret_text, size_t size)
{
    struct timeval now;
    struct tm broken_down;
    char zone[16];
    size_t length;
    gettimeofday(&now, NULL);
    localtime_r(&now.tv_sec, &broken_down);
    length = strftime(ret_text, size, "%Y-%m-%d %H:%M:%S", &broken_down);
    if (strftime(zone, sizeof(zone), "%Z", &broken_down) == 0)
        zone[0] = '\0';
    length += (size_t) snprintf(ret_text + length, size - length, ".%03d %s [%d] ",
                                (int) (now.tv_usec / 1000), zone, (int) getpid());
    return length;
}

static void write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* a full disk must not stop the pooler */
        bytes += written;
        size -= (size_t) written;
    }
}

/* `body` is a message behind its prefix. */
static void write_line(enum log_level level, const char *body)
{
    char line[64 + ESCAPED_MAX + 1];
    size_t length = time_stamp(line, sizeof(line));
    length += (size_t) snprintf(line + length, sizeof(line) - length, "%s ", levels[level].name);
    const char *escaped = line + length;
    length += escape(body, line + length, sizeof(line) - length);
    if (state.syslog_ident != NULL && level <= LEVEL_LOG)
        syslog(levels[level].syslog_priority, "%s", escaped);
    line[length++] = '\n';
    if (state.to_stderr)
        write_all(STDERR_FILENO, line, length);
    if (state.fd >= 0)
        write_all(state.fd, line, length);
}

/* What peers send often ends with a newline. */
static void cut_trailing_blanks(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r\n\v\f", text[length - 1]) != NULL)
        text[--length] = '\0';
}

static void write_formatted(enum log_level level, const struct log_subject *subject,
                            const char *format, va_list arguments)
{
    char body[BODY_MAX + 1];
    int saved_errno = errno;
    size_t length = 0;
    if (subject != NULL && subject->describe != NULL) {
        length = subject->describe(subject, body, PREFIX_MAX);
        if (length >= PREFIX_MAX)
            length = PREFIX_MAX - 1;
        body[length++] = ' ';
    }
    vsnprintf(body + length, MESSAGE_MAX + 1, format, arguments);
    cut_trailing_blanks(body);
    write_line(level, body);
    errno = saved_errno;
}

void log_write(enum log_level level, const struct log_subject *subject, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_formatted(level, subject, format, arguments);
    va_end(arguments);
}

void log_fatal(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_formatted(LEVEL_FATAL, NULL, format, arguments);
    va_end(arguments);
    exit(1);
}
