/*
 * listener.c - listening sockets, TCP and Unix.
 *
 * The events are level-triggered: what one turn does not accept (at most ACCEPTS_PER_TURN) the next
 * one will. An error of accept() that belongs to the one connection is skipped; any other, be it a
 * lack of descriptors or something unheard of, pauses all listeners for PAUSE_US. A socket file is
 * removed at the end only if it is still the one that we made.
 * Does not limit the number of clients and does not read from them.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "net/deadline.h"

#define ACCEPTS_PER_TURN  64
#define PAUSE_US          (250 * USEC_PER_MSEC)
#define WARNING_PERIOD_US (10 * USEC_PER_SEC)

struct listener {
    struct listeners *all; /* borrows */
    struct event event;
    struct sockaddr_storage bound; /* TCP: what it was bound to */
    socklen_t bound_size;
    uint16_t port;
    int fd;                       /* owns; -1 when closed */
    struct listener *next, *prev; /* member of `all` */
};

struct listeners {
    struct loop *loop; /* borrows */
    accept_fn *accepted;
    void *argument;         /* borrows */
    struct listener *first; /* owns */
    int reserve_fd;         /* owns; given up for a moment when descriptors run out; -1: lost */
    struct deadline pause;
    usec_t warned_us;  /* 0 = never */
    char *socket_file; /* owns; the file we made, NULL if none */
    dev_t socket_device;
    ino_t socket_inode;
    struct deferred deferred;
};

/*
 * Errors of accept() that tell about one connection only, see accept(2). Not EPERM: a security
 * module may say it again and again about the same connection.
 */
static const int passing_errors[] = {
    EINTR,  ECONNABORTED, EPROTO,     ENETDOWN,    ENOPROTOOPT, EHOSTDOWN,
    ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, ECONNRESET,  ETIMEDOUT,
};

static bool is_passing_error(int error)
{
    for (size_t i = 0; i < countof(passing_errors); i++) {
        if (passing_errors[i] == error)
            return true;
    }
    return false;
}

PRINTF_LIKE(1, 2) static char *make_text(const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return memory_copy_text(text);
}

static void take_reserve(struct listeners *all)
{
    if (all->reserve_fd < 0)
        all->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* ---- accepting ---- */

/* Lets one client know at once that we have no room, instead of leaving him in the backlog. */
static void refuse_one(struct listener *listener)
{
    struct listeners *all = listener->all;
    if (all->reserve_fd < 0)
        return;
    close(all->reserve_fd);
    all->reserve_fd = -1;
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    take_reserve(all);
}

static void pause_accepting(struct listener *listener, int error)
{
    struct listeners *all = listener->all;
    struct listener *other;
    usec_t now_us = clock_now_us();
    if (all->warned_us == 0 || now_us - all->warned_us >= WARNING_PERIOD_US) {
        log_warn(NULL, "accept() failed: %s", strerror(error));
        all->warned_us = now_us;
    }
    if (error == EMFILE || error == ENFILE)
        refuse_one(listener);
    DL_FOREACH(all->first, other) {
        if (other->fd >= 0)
            event_del(&other->event);
    }
    deadline_set(all->loop, &all->pause, PAUSE_US);
}

static void on_pause_over(struct deadline *deadline)
{
    struct listeners *all = container_of(deadline, struct listeners, pause);
    struct listener *listener;
    bool all_added = true;
    take_reserve(all);
    DL_FOREACH(all->first, listener) {
        if (listener->fd >= 0 && event_add(&listener->event, NULL) != 0)
            all_added = false;
    }
    if (!all_added)
        deadline_set(all->loop, &all->pause, PAUSE_US);
}

static void on_event(evutil_socket_t event_fd UNUSED, short what UNUSED, void *argument)
{
    struct listener *listener = argument;
    for (unsigned i = 0; i < ACCEPTS_PER_TURN && listener->fd >= 0; i++) {
        struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
        socklen_t size = sizeof(from);
        int fd =
            accept4(listener->fd, (struct sockaddr *) &from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            int error = errno;
            if (error == EAGAIN)
                return;
            if (is_passing_error(error))
                continue;
            pause_accepting(listener, error);
            return;
        }
        struct address peer = {.family = AF_UNIX, .port = listener->port};
        if (listener->bound.ss_family != AF_UNIX)
            peer = address_from_socket((const struct sockaddr *) &from);
        listener->all->accepted(listener->all->argument, fd, &peer);
    }
}

/* ---- opening ---- */

static void set_option(int fd, int level, int name, int value)
{
    /* What the kernel does not know must not keep us from listening. */
    (void) setsockopt(fd, level, name, &value, sizeof(value));
}

static void warn_cannot_listen(const char *place, const char *call, int error)
{
    log_warn(NULL, "cannot listen on %s: %s(): %s", place, call, strerror(error));
}

/* Takes over a listening socket. */
static bool add_listener(struct listeners *all, int fd, const struct sockaddr *bound,
                         socklen_t bound_size, uint16_t port)
{
    struct listener *listener = memory_new(sizeof(*listener));
    listener->all = all;
    memcpy(&listener->bound, bound, bound_size);
    listener->bound_size = bound_size;
    listener->port = port;
    listener->fd = fd;
    DL_APPEND(all->first, listener);
    event_assign(&listener->event, all->loop->base, fd, EV_READ | EV_PERSIST, on_event, listener);
    return event_add(&listener->event, NULL) == 0;
}

static bool is_bound_already(const struct listeners *all, const struct sockaddr *target,
                             socklen_t size)
{
    const struct listener *listener;
    DL_FOREACH(all->first, listener) {
        if (listener->bound_size == size && memcmp(&listener->bound, target, size) == 0)
            return true;
    }
    return false;
}

/* Makes one TCP socket. Returns its descriptor, or -1 with the failed call and errno set. */
static int open_tcp_socket(const struct listen_options *options, const struct sockaddr *target,
                           socklen_t size, const char **ret_call)
{
    *ret_call = "socket";
    int fd = socket(target->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (options->reuse_port)
        set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (target->sa_family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    *ret_call = "bind";
    if (bind(fd, target, size) == 0) {
        *ret_call = "listen";
        if (options->defer_accept)
            set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
        if (listen(fd, options->backlog) == 0)
            return fd;
    }
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static bool listen_tcp(struct listeners *all, const struct listen_options *options,
                       const struct sockaddr *target, socklen_t size)
{
    const char *call;
    char place[ADDRESS_TEXT_SIZE];
    struct address address = address_from_socket(target);
    address_print(&address, place, sizeof(place));
    int fd = open_tcp_socket(options, target, size, &call);
    if (fd < 0) {
        warn_cannot_listen(place, call, errno);
        return false;
    }
    if (!add_listener(all, fd, target, size, options->port)) {
        warn_cannot_listen(place, "epoll_ctl", errno);
        return false;
    }
    log_info(NULL, "listening on %s", place);
    return true;
}

/* Listens on all addresses of one name. Returns false, with the text, if it is unknown. */
static bool listen_name(struct listeners *all, const struct listen_options *options,
                        const char *name, bool *ret_listening, char **ret_error)
{
    char port[8];
    struct addrinfo *results, *result;
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    snprintf(port, sizeof(port), "%u", options->port);
    int error = getaddrinfo(strcmp(name, "*") == 0 ? NULL : name, port, &hints, &results);
    if (error != 0) {
        *ret_error =
            make_text("cannot resolve \"%s\" in listen_addr: %s", name, gai_strerror(error));
        return false;
    }
    for (result = results; result != NULL; result = result->ai_next) {
        if (result->ai_family != AF_INET && result->ai_family != AF_INET6)
            continue;
        /* The hosts file may give one address twice, and so may the list. */
        if (is_bound_already(all, result->ai_addr, result->ai_addrlen) ||
            listen_tcp(all, options, result->ai_addr, result->ai_addrlen))
            *ret_listening = true;
    }
    freeaddrinfo(results);
    return true;
}

static bool open_tcp(struct listeners *all, const struct listen_options *options, char **ret_error)
{
    static const char blanks[] = " \t\r\n";
    char *list = memory_copy_text(options->addresses == NULL ? "" : options->addresses);
    bool listening = false, is_empty = true, is_valid = true;
    char *rest = list, *item;
    while (is_valid && (item = strsep(&rest, ",")) != NULL) {
        item += strspn(item, blanks);
        size_t length = strlen(item);
        while (length > 0 && strchr(blanks, item[length - 1]) != NULL)
            length--;
        item[length] = '\0';
        if (length == 0)
            continue;
        is_empty = false;
        is_valid = listen_name(all, options, item, &listening, ret_error);
    }
    free(list);
    if (is_valid && !is_empty && !listening) {
        *ret_error = make_text("failed to listen on any address in listen_addr list: %s",
                               options->addresses);
        is_valid = false;
    }
    return is_valid;
}

static bool wants_unix(const struct listen_options *options)
{
    return options->unix_directory != NULL && options->unix_directory[0] != '\0';
}

/* Removes what an earlier process left behind, and nothing but a socket. */
static bool clear_path(const char *place, const char *path)
{
    struct stat found;
    if (lstat(path, &found) != 0)
        return true; /* bind() will tell */
    if (!S_ISSOCK(found.st_mode)) {
        log_warn(NULL, "cannot listen on %s: this file is not a socket and is left alone", place);
        return false;
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        warn_cannot_listen(place, "unlink", errno);
        return false;
    }
    return true;
}

static bool find_group(const char *text, gid_t *ret_group)
{
    int64_t number;
    if (text_parse_int(text, 0, UINT32_MAX - 1, &number)) {
        *ret_group = (gid_t) number;
        return true;
    }
    const struct group *group = getgrnam(text);
    if (group == NULL)
        return false;
    *ret_group = group->gr_gid;
    return true;
}

/* The rights of the socket file; before listen(), so that nobody slips in. */
static bool set_rights(const struct listen_options *options, const char *place, const char *path)
{
    gid_t group;
    if (chmod(path, (mode_t) options->unix_mode & 07777) != 0) {
        warn_cannot_listen(place, "chmod", errno);
        return false;
    }
    if (options->unix_group == NULL || options->unix_group[0] == '\0')
        return true;
    if (!find_group(options->unix_group, &group)) {
        log_warn(NULL, "cannot listen on %s: no such group: %s", place, options->unix_group);
        return false;
    }
    if (chown(path, (uid_t) -1, group) != 0) {
        warn_cannot_listen(place, "chown", errno);
        return false;
    }
    return true;
}

/* Remembers the file that bind() has just made. */
static void remember_file(struct listeners *all, const char *path)
{
    struct stat made;
    if (lstat(path, &made) != 0)
        return;
    all->socket_file = memory_copy_text(path);
    all->socket_device = made.st_dev;
    all->socket_inode = made.st_ino;
}

static bool bind_unix(struct listeners *all, const struct listen_options *options,
                      const struct sockaddr_un *target, socklen_t size, const char *place)
{
    const char *path = target->sun_path;
    bool has_file = path[0] != '\0';
    if (has_file && !clear_path(place, path))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        warn_cannot_listen(place, "socket", errno);
        return false;
    }
    const char *call = "bind";
    if (bind(fd, (const struct sockaddr *) target, size) != 0)
        goto failed;
    if (has_file)
        remember_file(all, path);
    if (has_file && !set_rights(options, place, path)) {
        close(fd);
        return false;
    }
    call = "listen";
    if (listen(fd, options->backlog) != 0)
        goto failed;
    call = "epoll_ctl"; /* the descriptor belongs to the list from here on, also after a failure */
    if (add_listener(all, fd, (const struct sockaddr *) target, size, options->port))
        return true;
    fd = -1;
failed:
    warn_cannot_listen(place, call, errno);
    if (fd >= 0)
        close(fd);
    return false;
}

static bool open_unix(struct listeners *all, const struct listen_options *options, char **ret_error)
{
    struct sockaddr_un target;
    if (!wants_unix(options))
        return true;
    char *place = make_text("unix:%s/.s.PGSQL.%u", options->unix_directory, options->port);
    char *lock_file = make_text("%s.lock", place + strlen("unix:"));
    bool is_abstract = options->unix_directory[0] == '@';
    socklen_t size = address_unix_socket(options->unix_directory, options->port, &target);
    bool is_open = false;
    if (size == 0) {
        log_warn(NULL, "cannot listen on %s: the path is longer than %zu bytes", place,
                 sizeof(target.sun_path) - 1);
    } else if (!is_abstract && access(lock_file, F_OK) == 0) {
        *ret_error = make_text("unix port %d is in use", options->port);
    } else {
        is_open = bind_unix(all, options, &target, size, place);
    }
    if (is_open)
        log_info(NULL, "listening on %s", place);
    else if (*ret_error == NULL)
        *ret_error = make_text("failed to create unix socket");
    free(lock_file);
    free(place);
    return is_open;
}

struct listeners *listeners_open(struct loop *loop, const struct listen_options *options,
                                 accept_fn *accepted, void *argument, char **ret_error)
{
    struct listeners *all = memory_new(sizeof(*all));
    *ret_error = NULL;
    all->loop = loop;
    all->accepted = accepted;
    all->argument = argument;
    all->pause.passed = on_pause_over;
    all->reserve_fd = -1;
    take_reserve(all);
    if (!open_tcp(all, options, ret_error) || !open_unix(all, options, ret_error)) {
        listeners_destroy(all);
        return NULL;
    }
    return all;
}

bool listeners_unix_socket_in_use(const struct listen_options *options)
{
    struct sockaddr_un target;
    socklen_t size = 0;
    if (wants_unix(options))
        size = address_unix_socket(options->unix_directory, options->port, &target);
    if (size == 0)
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    /* EAGAIN: a full backlog. EPROTOTYPE: a live socket of another kind. */
    bool in_use = connect(fd, (const struct sockaddr *) &target, size) == 0 || errno == EAGAIN ||
                  errno == EPROTOTYPE;
    close(fd);
    return in_use;
}

/* ---- afterwards ---- */

static void close_listener(struct listener *listener)
{
    if (listener->fd < 0)
        return;
    event_del(&listener->event);
    close(listener->fd);
    listener->fd = -1;
}

void listeners_set_options(struct listeners *listeners, const struct socket_options *options)
{
    struct listener *listener;
    DL_FOREACH(listeners->first, listener) {
        if (listener->fd >= 0)
            socket_options_apply(listener->fd, listener->bound.ss_family != AF_UNIX, options);
    }
}

void listeners_set_defer_accept(struct listeners *listeners, bool on)
{
    struct listener *listener;
    DL_FOREACH(listeners->first, listener) {
        if (listener->fd >= 0 && listener->bound.ss_family != AF_UNIX)
            set_option(listener->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, on);
    }
}

void listeners_close_tcp(struct listeners *listeners)
{
    struct listener *listener;
    DL_FOREACH(listeners->first, listener) {
        if (listener->bound.ss_family != AF_UNIX)
            close_listener(listener);
    }
}

static void remove_socket_file(struct listeners *listeners)
{
    struct stat found;
    if (listeners->socket_file == NULL)
        return;
    if (lstat(listeners->socket_file, &found) == 0 && S_ISSOCK(found.st_mode) &&
        found.st_dev == listeners->socket_device && found.st_ino == listeners->socket_inode)
        unlink(listeners->socket_file);
    free(listeners->socket_file);
    listeners->socket_file = NULL;
}

static void release(struct deferred *deferred)
{
    struct listeners *listeners = container_of(deferred, struct listeners, deferred);
    struct listener *listener, *next;
    DL_FOREACH_SAFE(listeners->first, listener, next) {
        free(listener);
    }
    free(listeners);
}

void listeners_destroy(struct listeners *listeners)
{
    struct listener *listener;
    if (listeners == NULL)
        return;
    DL_FOREACH(listeners->first, listener) {
        close_listener(listener);
    }
    deadline_clear(&listeners->pause);
    if (listeners->reserve_fd >= 0)
        close(listeners->reserve_fd);
    listeners->reserve_fd = -1;
    remove_socket_file(listeners);
    /* A listener may be in the middle of on_event(). */
    loop_free_later(listeners->loop, &listeners->deferred, release);
}

bool listeners_any(const struct listeners *listeners)
{
    const struct listener *listener;
    DL_FOREACH(listeners->first, listener) {
        if (listener->fd >= 0)
            return true;
    }
    return false;
}
