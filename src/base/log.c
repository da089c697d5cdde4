/*
 * log.c - the log: stderr, a file and syslog.
 *
 * Writing a line never waits: what a full disk or a pipe that nobody reads does not take is lost and
 * counted, and the loss is told when there is room again. (syslog() may wait for its daemon.)
 *
 * Everything that a peer chose may stand in a message, so whatever could forge a line or drive a
 * terminal is escaped here, in the one place that all lines pass.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* Where lines go. */
struct sink {
    int fd;        /* -1: nowhere */
    bool may_block; /* a pipe, a terminal, a socket: somebody has to read what we write */
    bool torn;     /* the last line could not be written to its end */
    uint64_t lost; /* lines, since the loss was told */
};

static struct {
    enum log_level level;
    struct sink error; /* stderr; borrows */
    struct sink file;  /* owns */
    char *syslog_ident; /* owns; openlog() keeps the pointer */
} state = {.level = LEVEL_LOG, .error = {.fd = STDERR_FILENO}, .file = {.fd = -1}};

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

static void set_sink(struct sink *sink, int fd)
{
    struct stat found;
    sink->fd = fd;
    sink->torn = false;
    sink->may_block = fd >= 0 && (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode));
}

bool log_configure(const struct log_options *options)
{
    int fd = -1;
    if (options->file != NULL && options->file[0] != '\0') {
        /* Without O_NONBLOCK we would wait for somebody who reads a FIFO. */
        fd = open(options->file,
                  O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
        if (fd < 0)
            return false;
    }
    if (state.file.fd >= 0)
        close(state.file.fd);
    set_sink(&state.file, fd);
    set_sink(&state.error, options->to_stderr ? STDERR_FILENO : -1);
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
    if (state.file.fd >= 0)
        close(state.file.fd);
    state.file.fd = -1;
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

struct line {
    char text[64 + ESCAPED_MAX + 1];
    size_t length;  /* without a newline */
    size_t message; /* where it begins, behind time and level */
};

static void make_line(struct line *ret_line, enum log_level level, const char *body)
{
    char *text = ret_line->text;
    size_t size = sizeof(ret_line->text), length = time_stamp(text, size);
    length += (size_t) snprintf(text + length, size - length, "%s ", levels[level].name);
    ret_line->message = length;
    ret_line->length = length + escape(body, text + length, size - length);
}

/* A pipe with room takes PIPE_BUF bytes at once. */
static bool has_room(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT) != 0;
}

/* Returns false if the line is lost: a full disk or a reader that sleeps must not stop the pooler. */
NO_INLINE static bool put(struct sink *sink, const struct line *line)
{
    char bytes[1 + sizeof(line->text) + 1];
    size_t size = 0, done = 0;
    if (sink->may_block && !has_room(sink->fd))
        return false;
    if (sink->torn)
        bytes[size++] = '\n';
    memcpy(bytes + size, line->text, line->length);
    size += line->length;
    bytes[size++] = '\n';
    if (sink->may_block && size > PIPE_BUF) {
        size = PIPE_BUF;
        bytes[size - 1] = '\n';
    }
    while (done < size) {
        ssize_t written = write(sink->fd, bytes + done, size - done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        done += (size_t) written;
    }
    if (done > 0)
        sink->torn = done < size;
    return done == size;
}

NO_INLINE static bool tell_loss(struct sink *sink)
{
    char body[80];
    struct line line;
    if (sink->lost == 0)
        return true;
    snprintf(body, sizeof(body), "%" PRIu64 " lines of the log were lost", sink->lost);
    make_line(&line, LEVEL_WARNING, body);
    if (!put(sink, &line))
        return false;
    sink->lost = 0;
    return true;
}

static void write_to(struct sink *sink, const struct line *line)
{
    if (sink->fd >= 0 && !(tell_loss(sink) && put(sink, line)))
        sink->lost++;
}

/* `body` is a message behind its prefix. */
static void write_line(enum log_level level, const char *body)
{
    struct line line;
    make_line(&line, level, body);
    if (state.syslog_ident != NULL && level <= LEVEL_LOG)
        syslog(levels[level].syslog_priority, "%s", line.text + line.message);
    write_to(&state.error, &line);
    write_to(&state.file, &line);
}

/* What peers send often ends with a newline. */
static void cut_trailing_blanks(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r\n\v\f", text[length - 1]) != NULL)
        text[--length] = '\0';
}

PRINTF_LIKE(3, 0)
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
