/*
 * process.c - what the operating system knows of us.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config.h"

#include "main/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/log.h"
#include "base/random.h"
#include "base/text.h"

/* ---- user ---- */

void process_become_user(const char *name)
{
    const struct passwd *entry = getpwnam(name);
    if (entry == NULL)
        log_fatal("could not find user '%s' to switch to", name);
    if (geteuid() == entry->pw_uid && getegid() == entry->pw_gid)
        return;
    if (geteuid() == 0 && setgroups(1, &entry->pw_gid) != 0)
        log_fatal("could not reset groups for user '%s': %s", name, strerror(errno));
    if (setgid(entry->pw_gid) != 0 || setuid(entry->pw_uid) != 0)
        log_fatal("could not assume identity of user '%s': %s", name, strerror(errno));
}

void process_refuse_root(void)
{
    if (geteuid() == 0 || getuid() == 0)
        log_fatal("PgBouncer should not run as root; name a user with -u or the setting \"user\"");
}

/* ---- pid file ---- */

/* The number in the file, 0 if it holds no number, -1 with errno if it cannot be opened. */
static int64_t pidfile_read(const char *file)
{
    char text[32] = "";
    int64_t pid;
    /* Without O_NONBLOCK we would wait for somebody who writes to a FIFO. */
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -1;
    ssize_t size = read(fd, text, sizeof(text) - 1);
    text[size > 0 ? size : 0] = '\0';
    close(fd);
    text[strcspn(text, "\n")] = '\0';
    return text_parse_int(text, 1, INT32_MAX, &pid) ? pid : 0;
}

void pidfile_check(const char *file)
{
    int64_t pid;
    if (file == NULL || file[0] == '\0')
        return;
    pid = pidfile_read(file);
    if (pid < 0 && errno == ENOENT)
        return;
    if (pid <= 0 || kill((pid_t) pid, 0) == 0 || errno != ESRCH)
        log_fatal("pidfile '%s' exists, another instance running?", file);
    log_info(NULL, "stale pidfile, removing");
    if (unlink(file) != 0)
        log_fatal("could not remove stale pidfile '%s': %s", file, strerror(errno));
}

void pidfile_write(const char *file)
{
    char text[32];
    int length, fd;
    if (file == NULL || file[0] == '\0')
        return;
    fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        log_fatal("could not open pidfile '%s': %s", file, strerror(errno));
    length = snprintf(text, sizeof(text), "%d\n", (int) getpid());
    if (fchmod(fd, 0644) != 0 || write(fd, text, (size_t) length) != length || close(fd) != 0)
        log_fatal("could not write pidfile '%s': %s", file, strerror(errno));
}

void pidfile_remove(const char *file)
{
    if (file != NULL && file[0] != '\0' && pidfile_read(file) == getpid())
        unlink(file);
}

/* ---- background ---- */

static void fork_and_leave(void)
{
    pid_t pid = fork();
    if (pid < 0)
        log_fatal("could not go to the background: %s", strerror(errno));
    if (pid > 0)
        _exit(0);
}

void process_daemonize(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        log_fatal("could not open /dev/null: %s", strerror(errno));
    for (int fd = 0; fd <= 2; fd++)
        if (dup2(null, fd) < 0)
            log_fatal("could not detach from the terminal: %s", strerror(errno));
    close(null);
    fork_and_leave();
    if (setsid() < 0)
        log_fatal("could not start a session: %s", strerror(errno));
    fork_and_leave();
    random_forget();
}

/* ---- descriptors ---- */

/* Descriptors that are neither clients nor servers: log, epoll, listeners, resolver and the like. */
#define OTHER_DESCRIPTORS 32

static uint64_t expected_servers(const struct config *config)
{
    const struct settings *settings = &config->settings;
    uint64_t users = HASH_COUNT(config->secrets) + 1, count = 0;
    for (const struct config_database *database = config->databases; database != NULL;
         database = database->hh.next) {
        int size = database->pool_size != CONFIG_UNSET ? database->pool_size
                                                       : settings->default_pool_size;
        count += (uint64_t) (size > 0 ? size : 0) * (database->user != NULL ? 1 : users);
    }
    return count;
}

void process_raise_descriptor_limit(const struct config *config)
{
    struct rlimit limit;
    uint64_t clients = (uint64_t) (config->settings.max_client_conn > 0
                                       ? config->settings.max_client_conn
                                       : 0);
    uint64_t servers = expected_servers(config);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        log_warn(NULL, "could not get the limit of open descriptors: %s", strerror(errno));
        return;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            limit.rlim_cur = before;
    }
    log_info(NULL,
             "kernel file descriptor limit: %llu (hard: %llu); max_client_conn: %llu, "
             "max expected fd use: %llu",
             (unsigned long long) limit.rlim_cur, (unsigned long long) limit.rlim_max,
             (unsigned long long) clients,
             (unsigned long long) (clients + servers + OTHER_DESCRIPTORS));
    if (limit.rlim_cur == RLIM_INFINITY || clients + servers + OTHER_DESCRIPTORS <= limit.rlim_cur)
        return;
    log_warn(NULL,
             "the descriptor limit of %llu is too low for max_client_conn = %llu with up to %llu "
             "servers: raise it (LimitNOFILE= in the unit) or lower max_client_conn",
             (unsigned long long) limit.rlim_cur, (unsigned long long) clients,
             (unsigned long long) servers);
}

/* ---- core dumps ---- */

void process_forbid_core_dumps(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) != 0)
        log_fatal("could not get the limit of core dumps: %s", strerror(errno));
    /* 0 would only keep files from being written: a program in core_pattern still gets the dump. */
    limit.rlim_cur = limit.rlim_max > 1 ? 1 : limit.rlim_max;
    if (setrlimit(RLIMIT_CORE, &limit) != 0)
        log_fatal("could not set the limit of core dumps: %s", strerror(errno));
}

/* ---- the service manager ---- */

void process_notify(const char *state UNUSED)
{
#ifdef HAVE_LIBSYSTEMD
    (void) sd_notify(0, state);
#endif
}
