/*
 * listener_test.c - opening, accepting, running out of descriptors, and the socket file.
 *
 * accept4() is replaced here, so that it can fail in ways that are hard to bring about.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/listener.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "fixture.h"

#define MSEC USEC_PER_MSEC

/* ---- accept4() that fails on demand ---- */

static int failures[8];
static size_t failure_count, failures_given;
static int failure_for_ever;
static unsigned accept_calls;

int accept4(int fd, __SOCKADDR_ARG ret_address, socklen_t *restrict ret_size, int flags)
{
    accept_calls++;
    if (failure_for_ever != 0) {
        errno = failure_for_ever;
        return -1;
    }
    if (failures_given < failure_count) {
        errno = failures[failures_given++];
        return -1;
    }
    return (int) syscall(SYS_accept4, fd, ret_address.__sockaddr__, ret_size, flags);
}

/* ---- the stage ---- */

struct stage {
    struct loop *loop;
    struct listeners *listeners;
    struct listen_options options;
    char directory[32];
    char path[64];     /* of the socket file */
    char log_file[64]; /* what was logged */
    char *error;
    unsigned accepted, wanted;
    struct address peer; /* the last one */
    bool keeps;          /* accepted descriptors are kept open */
    int kept[64];
    unsigned kept_count;

    enum {
        GO_ON,
        CLOSE_TCP,
        DESTROY
    } when_accepted;
};

static void on_accepted(void *argument, int fd, const struct address *peer)
{
    struct stage *stage = argument;
    stage->accepted++;
    stage->peer = *peer;
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    if (stage->keeps && stage->kept_count < countof(stage->kept))
        stage->kept[stage->kept_count++] = fd;
    else
        close(fd);
    if (stage->when_accepted == CLOSE_TCP)
        listeners_close_tcp(stage->listeners);
    if (stage->when_accepted == DESTROY) {
        listeners_destroy(stage->listeners);
        stage->listeners = NULL;
    }
}

static bool enough_accepted(void *argument)
{
    const struct stage *stage = argument;
    return stage->accepted >= stage->wanted;
}

static void wait_for_accepts(struct stage *stage, unsigned wanted)
{
    stage->wanted = wanted;
    run_until(stage->loop, enough_accepted, stage);
    assert_int_equal(stage->accepted, wanted);
}

/* A port that was free a moment ago. */
static uint16_t free_port(void)
{
    struct address address;
    close(listen_on_loopback(&address));
    return address.port;
}

static int set_up(void **state)
{
    static struct stage stage;
    memset(&stage, 0, sizeof(stage));
    failure_count = failures_given = accept_calls = 0;
    failure_for_ever = 0;
    stage.loop = loop_create();
    snprintf(stage.directory, sizeof(stage.directory), "/tmp/net-test-XXXXXX");
    assert_non_null(mkdtemp(stage.directory));
    stage.options = (struct listen_options){.port = free_port(), .backlog = 200, .unix_mode = 0777};
    snprintf(stage.path, sizeof(stage.path), "%s/.s.PGSQL.%u", stage.directory, stage.options.port);
    snprintf(stage.log_file, sizeof(stage.log_file), "%s/log", stage.directory);
    const struct log_options log = {.file = stage.log_file};
    assert_true(log_configure(&log));
    *state = &stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    const struct log_options log = {.to_stderr = true};
    listeners_destroy(stage->listeners);
    loop_destroy(stage->loop);
    assert_true(log_configure(&log));
    for (unsigned i = 0; i < stage->kept_count; i++)
        close(stage->kept[i]);
    free(stage->error);
    unlink(stage->log_file);
    unlink(stage->path);
    rmdir(stage->directory);
    return 0;
}

static bool try_to_open(struct stage *stage)
{
    free(stage->error);
    stage->error = NULL;
    stage->listeners =
        listeners_open(stage->loop, &stage->options, on_accepted, stage, &stage->error);
    assert_true((stage->listeners == NULL) == (stage->error != NULL));
    return stage->listeners != NULL;
}

/* How often the log has the text. */
static unsigned logged(const struct stage *stage, const char *text)
{
    static char log[65536];
    unsigned count = 0;
    FILE *file = fopen(stage->log_file, "r");
    assert_non_null(file);
    log[fread(log, 1, sizeof(log) - 1, file)] = '\0';
    fclose(file);
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

static int connect_tcp(const char *host, uint16_t port)
{
    struct address address;
    struct sockaddr_storage target;
    assert_true(address_parse(host, port, &address));
    socklen_t size = address_to_socket(&address, &target);
    int fd = socket(address.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *) &target, size) == 0)
        return fd;
    close(fd);
    return -1;
}

static int connect_unix(const char *directory, uint16_t port)
{
    struct sockaddr_un target;
    socklen_t size = address_unix_socket(directory, port, &target);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && size > 0);
    if (connect(fd, (const struct sockaddr *) &target, size) == 0)
        return fd;
    close(fd);
    return -1;
}

/* ---- TCP ---- */

static void test_accepts_tcp(void **state)
{
    struct stage *stage = *state;
    char text[64];
    stage->options.addresses = "127.0.0.1";
    assert_true(try_to_open(stage));
    assert_true(listeners_any(stage->listeners));
    snprintf(text, sizeof(text), "listening on 127.0.0.1:%u\n", stage->options.port);
    assert_int_equal(logged(stage, text), 1);
    int fd = connect_tcp("127.0.0.1", stage->options.port);
    assert_true(fd >= 0);
    wait_for_accepts(stage, 1);
    assert_int_equal(stage->peer.family, AF_INET);
    address_print_host(&stage->peer, text, sizeof(text));
    assert_string_equal(text, "127.0.0.1");
    assert_int_not_equal(stage->peer.port, stage->options.port);
    close(fd);
}

static void test_accepts_many(void **state)
{
    struct stage *stage = *state;
    int fds[100];
    stage->options.addresses = "127.0.0.1";
    assert_true(try_to_open(stage));
    for (size_t i = 0; i < countof(fds); i++)
        fds[i] = connect_tcp("127.0.0.1", stage->options.port);
    wait_for_accepts(stage, countof(fds));
    for (size_t i = 0; i < countof(fds); i++)
        close(fds[i]);
}

static void test_list_of_addresses(void **state)
{
    struct stage *stage = *state;
    stage->options.addresses = " 127.0.0.1 ,,\t127.0.0.2,127.0.0.1 , ";
    assert_true(try_to_open(stage));
    assert_int_equal(logged(stage, "listening on"), 2);
    assert_int_equal(logged(stage, "cannot listen"), 0);
    int first = connect_tcp("127.0.0.1", stage->options.port);
    int second = connect_tcp("127.0.0.2", stage->options.port);
    assert_true(first >= 0 && second >= 0);
    wait_for_accepts(stage, 2);
    close(first);
    close(second);
}

static void test_all_addresses(void **state)
{
    struct stage *stage = *state;
    char text[64];
    stage->options.addresses = "*";
    assert_true(try_to_open(stage));
    snprintf(text, sizeof(text), "listening on 0.0.0.0:%u\n", stage->options.port);
    assert_int_equal(logged(stage, text), 1);
    int fd = connect_tcp("127.0.0.1", stage->options.port);
    assert_true(fd >= 0);
    wait_for_accepts(stage, 1);
    close(fd);
    /* Without IPv6 in the kernel there is a warning in place of the second socket. */
    snprintf(text, sizeof(text), "listening on [::]:%u\n", stage->options.port);
    assert_int_equal(logged(stage, text) + logged(stage, "cannot listen on [::]"), 1);
}

static void test_ipv6(void **state)
{
    struct stage *stage = *state;
    char text[64];
    stage->options.addresses = "::1";
    if (!try_to_open(stage))
        skip();
    snprintf(text, sizeof(text), "listening on [::1]:%u\n", stage->options.port);
    assert_int_equal(logged(stage, text), 1);
    int fd = connect_tcp("::1", stage->options.port);
    assert_true(fd >= 0);
    wait_for_accepts(stage, 1);
    assert_int_equal(stage->peer.family, AF_INET6);
    close(fd);
}

static void test_name(void **state)
{
    struct stage *stage = *state;
    stage->options.addresses = "localhost";
    assert_true(try_to_open(stage));
    assert_true(logged(stage, "listening on") >= 1);
}

static void test_one_failing_address_is_a_warning(void **state)
{
    struct stage *stage = *state;
    struct address taken;
    char text[96];
    int other = listen_on_loopback(&taken);
    stage->options.port = taken.port;
    stage->options.addresses = "127.0.0.1,127.0.0.2";
    assert_true(try_to_open(stage));
    snprintf(text, sizeof(text), "cannot listen on 127.0.0.1:%u: bind(): %s\n", taken.port,
             strerror(EADDRINUSE));
    assert_int_equal(logged(stage, text), 1);
    assert_int_equal(logged(stage, "listening on 127.0.0.2"), 1);
    close(other);
}

static void test_all_failing_is_an_error(void **state)
{
    struct stage *stage = *state;
    struct address taken;
    int other = listen_on_loopback(&taken);
    stage->options.port = taken.port;
    stage->options.addresses = "127.0.0.1,192.0.2.1";
    assert_false(try_to_open(stage));
    assert_string_equal(stage->error, "failed to listen on any address in listen_addr list: "
                                      "127.0.0.1,192.0.2.1");
    assert_int_equal(logged(stage, "cannot listen on"), 2);
    close(other);
}

static void test_unknown_name_is_an_error(void **state)
{
    struct stage *stage = *state;
    stage->options.addresses = "127.0.0.1,no such name";
    assert_false(try_to_open(stage));
    assert_non_null(strstr(stage->error, "no such name"));
    assert_int_equal(connect_tcp("127.0.0.1", stage->options.port), -1);
}

static void test_nothing_to_listen_on(void **state)
{
    struct stage *stage = *state;
    static const char *const lists[] = {NULL, "", " ", ","};
    stage->options.unix_directory = "";
    for (size_t i = 0; i < countof(lists); i++) {
        stage->options.addresses = lists[i];
        assert_true(try_to_open(stage));
        assert_false(listeners_any(stage->listeners));
        listeners_destroy(stage->listeners);
        stage->listeners = NULL;
    }
    listeners_destroy(NULL);
}

static void test_port_is_free_again_after_destroy(void **state)
{
    struct stage *stage = *state;
    stage->options.addresses = "127.0.0.1";
    for (unsigned i = 0; i < 2; i++) {
        assert_true(try_to_open(stage));
        int fd = connect_tcp("127.0.0.1", stage->options.port);
        stage->accepted = 0;
        wait_for_accepts(stage, 1); /* leaves a socket in TIME_WAIT on our side */
        close(fd);
        listeners_destroy(stage->listeners);
        stage->listeners = NULL;
        assert_int_equal(connect_tcp("127.0.0.1", stage->options.port), -1);
    }
}

static void test_shared_port(void **state)
{
    struct stage *stage = *state;
    stage->options.addresses = "127.0.0.1";
    stage->options.reuse_port = true;
    assert_true(try_to_open(stage));
    struct listeners *first = stage->listeners;
    assert_true(try_to_open(stage));
    listeners_destroy(first);
}

static void test_defer_accept_can_be_toggled(void **state)
{
    struct stage *stage = *state;
    stage->options.addresses = "127.0.0.1";
    stage->options.unix_directory = stage->directory;
    stage->options.defer_accept = true;
    assert_true(try_to_open(stage));
    listeners_set_defer_accept(stage->listeners, false);
    int fd = connect_tcp("127.0.0.1", stage->options.port);
    wait_for_accepts(stage, 1); /* he has not said a word */
    close(fd);
    listeners_set_defer_accept(stage->listeners, true);
}

static void test_closing_tcp_leaves_the_unix_socket(void **state)
{
    struct stage *stage = *state;
    stage->options.addresses = "127.0.0.1";
    stage->options.unix_directory = stage->directory;
    assert_true(try_to_open(stage));
    listeners_close_tcp(stage->listeners);
    listeners_close_tcp(stage->listeners);
    listeners_set_defer_accept(stage->listeners, false);
    assert_true(listeners_any(stage->listeners));
    assert_int_equal(connect_tcp("127.0.0.1", stage->options.port), -1);
    int fd = connect_unix(stage->directory, stage->options.port);
    assert_true(fd >= 0);
    wait_for_accepts(stage, 1);
    close(fd);
}

static void test_closing_from_inside_the_callback(void **state)
{
    struct stage *stage = *state;
    int fds[3];
    stage->options.addresses = "127.0.0.1";
    stage->when_accepted = CLOSE_TCP;
    assert_true(try_to_open(stage));
    for (size_t i = 0; i < countof(fds); i++)
        fds[i] = connect_tcp("127.0.0.1", stage->options.port);
    wait_for_accepts(stage, 1);
    run_for(stage->loop, 10 * MSEC);
    assert_int_equal(stage->accepted, 1);
    assert_false(listeners_any(stage->listeners));
    for (size_t i = 0; i < countof(fds); i++)
        close(fds[i]);
}

static void test_destroying_from_inside_the_callback(void **state)
{
    struct stage *stage = *state;
    stage->options.addresses = "127.0.0.1";
    stage->when_accepted = DESTROY;
    assert_true(try_to_open(stage));
    int fd = connect_tcp("127.0.0.1", stage->options.port);
    wait_for_accepts(stage, 1);
    assert_null(stage->listeners);
    close(fd);
}

/* ---- errors of accept() ---- */

static void test_errors_of_one_connection_are_skipped(void **state)
{
    struct stage *stage = *state;
    static const int passing[] = {ECONNABORTED, EINTR, EPROTO, ENETDOWN, EHOSTUNREACH};
    stage->options.addresses = "127.0.0.1";
    assert_true(try_to_open(stage));
    memcpy(failures, passing, sizeof(passing));
    failure_count = countof(passing);
    int fd = connect_tcp("127.0.0.1", stage->options.port);
    wait_for_accepts(stage, 1);
    assert_int_equal(failures_given, countof(passing));
    assert_int_equal(logged(stage, "accept() failed"), 0);
    close(fd);
}

/* A client that is gone before we come to accept him. */
static void test_connect_and_reset(void **state)
{
    struct stage *stage = *state;
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    stage->options.addresses = "127.0.0.1";
    assert_true(try_to_open(stage));
    for (unsigned i = 0; i < 10; i++) {
        int fd = connect_tcp("127.0.0.1", stage->options.port);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        close(fd);
    }
    run_for(stage->loop, 50 * MSEC);
    unsigned before = stage->accepted;
    int fd = connect_tcp("127.0.0.1", stage->options.port);
    wait_for_accepts(stage, before + 1);
    assert_int_equal(logged(stage, "accept() failed"), 0);
    close(fd);
}

static void test_lasting_error_pauses_and_does_not_spin(void **state)
{
    static const int lasting[] = {ENOBUFS, ENOMEM, ENFILE, EPERM, EBADF};
    struct stage *stage = *state;
    stage->options.addresses = "127.0.0.1";
    stage->options.unix_directory = stage->directory;
    assert_true(try_to_open(stage));
    unsigned clients = 0;
    for (size_t i = 0; i < countof(lasting); i++) {
        accept_calls = 0;
        failure_for_ever = lasting[i];
        int fd = connect_tcp("127.0.0.1", stage->options.port);
        run_for(stage->loop, 600 * MSEC);
        assert_in_range(accept_calls, 1, 20);
        failure_for_ever = 0;
        wait_for_accepts(stage, ++clients);
        close(fd);
    }
    assert_int_equal(logged(stage, "accept() failed: "), 1); /* once in ten seconds */
}

static void test_pause_ends_with_destroy(void **state)
{
    struct stage *stage = *state;
    stage->options.addresses = "127.0.0.1";
    assert_true(try_to_open(stage));
    failure_for_ever = ENOBUFS;
    int fd = connect_tcp("127.0.0.1", stage->options.port);
    run_for(stage->loop, 20 * MSEC);
    listeners_destroy(stage->listeners);
    stage->listeners = NULL;
    run_for(stage->loop, 400 * MSEC);
    close(fd);
}

/* The process has no descriptor left: clients are refused one by one, and let in afterwards. */
static void test_running_out_of_descriptors(void **state)
{
    struct stage *stage = *state;
    struct rlimit normal, low;
    int clients[6], next;
    char byte;
    stage->options.addresses = "127.0.0.1";
    stage->keeps = true;
    assert_true(try_to_open(stage));
    for (size_t i = 0; i < countof(clients); i++)
        clients[i] = connect_tcp("127.0.0.1", stage->options.port);
    next = open("/dev/null", O_RDONLY);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &normal), 0);
    low = normal;
    low.rlim_cur = (rlim_t) next + 2; /* room for two */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    accept_calls = 0;
    run_for(stage->loop, 300 * MSEC);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &normal), 0);
    assert_int_equal(stage->accepted, 2);
    assert_in_range(accept_calls, 4, 20);
    assert_int_equal(read(clients[2], &byte, 1), 0); /* refused, not left waiting */
    assert_int_equal(logged(stage, "accept() failed: "), 1);
    run_for(stage->loop, 600 * MSEC);
    assert_in_range(stage->accepted, 3, 5);
    assert_int_equal(connect_tcp("127.0.0.1", stage->options.port) >= 0, 1);
    wait_for_accepts(stage, stage->accepted + 1);
    for (size_t i = 0; i < countof(clients); i++)
        close(clients[i]);
}

/* ---- Unix ---- */

static void test_accepts_unix(void **state)
{
    struct stage *stage = *state;
    struct stat made;
    char text[96];
    stage->options.unix_directory = stage->directory;
    stage->options.unix_mode = 0640;
    assert_false(listeners_unix_socket_in_use(&stage->options));
    assert_true(try_to_open(stage));
    snprintf(text, sizeof(text), "listening on unix:%s\n", stage->path);
    assert_int_equal(logged(stage, text), 1);
    assert_int_equal(stat(stage->path, &made), 0);
    assert_true(S_ISSOCK(made.st_mode));
    assert_int_equal(made.st_mode & 07777, 0640);
    assert_true(listeners_unix_socket_in_use(&stage->options));
    wait_for_accepts(stage, 1);
    assert_int_equal(stage->peer.family, AF_UNIX);
    assert_int_equal(stage->peer.port, stage->options.port);
    listeners_destroy(stage->listeners);
    stage->listeners = NULL;
    assert_int_equal(access(stage->path, F_OK), -1);
    assert_false(listeners_unix_socket_in_use(&stage->options));
}

static void test_group_of_the_socket_file(void **state)
{
    struct stage *stage = *state;
    struct stat made;
    char number[16];
    snprintf(number, sizeof(number), "%u", (unsigned) getegid());
    stage->options.unix_directory = stage->directory;
    stage->options.unix_group = number;
    assert_true(try_to_open(stage));
    assert_int_equal(stat(stage->path, &made), 0);
    assert_int_equal(made.st_gid, getegid());
    listeners_destroy(stage->listeners);
    stage->listeners = NULL;
    const struct group *group = getgrgid(getegid());
    if (group != NULL) {
        stage->options.unix_group = group->gr_name;
        assert_true(try_to_open(stage));
        listeners_destroy(stage->listeners);
        stage->listeners = NULL;
    }
    stage->options.unix_group = "no-such-group-here";
    assert_false(try_to_open(stage));
    assert_string_equal(stage->error, "failed to create unix socket");
    assert_int_equal(logged(stage, "no such group: no-such-group-here"), 1);
    assert_int_equal(access(stage->path, F_OK), -1); /* nothing is left behind */
}

static void test_abstract_socket(void **state)
{
    struct stage *stage = *state;
    char name[64], text[128];
    snprintf(name, sizeof(name), "@net-test-%d", (int) getpid());
    stage->options.unix_directory = name;
    assert_true(try_to_open(stage));
    snprintf(text, sizeof(text), "listening on unix:%s/.s.PGSQL.%u\n", name, stage->options.port);
    assert_int_equal(logged(stage, text), 1);
    int fd = connect_unix(name, stage->options.port);
    assert_true(fd >= 0);
    wait_for_accepts(stage, 1);
    close(fd);
    struct listeners *first = stage->listeners;
    assert_false(try_to_open(stage));
    assert_string_equal(stage->error, "failed to create unix socket");
    listeners_destroy(first);
}

static void make_stale_socket(const struct stage *stage)
{
    struct sockaddr_un target;
    socklen_t size = address_unix_socket(stage->directory, stage->options.port, &target);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *) &target, size), 0);
    close(fd);
}

static void test_stale_socket_is_replaced(void **state)
{
    struct stage *stage = *state;
    stage->options.unix_directory = stage->directory;
    make_stale_socket(stage);
    assert_false(listeners_unix_socket_in_use(&stage->options));
    assert_true(try_to_open(stage));
    assert_true(listeners_unix_socket_in_use(&stage->options));
}

static void test_other_files_are_left_alone(void **state)
{
    struct stage *stage = *state;
    struct stat found;
    char elsewhere[64];
    stage->options.unix_directory = stage->directory;

    close(open(stage->path, O_CREAT | O_WRONLY, 0600));
    assert_false(listeners_unix_socket_in_use(&stage->options));
    assert_false(try_to_open(stage));
    assert_string_equal(stage->error, "failed to create unix socket");
    assert_int_equal(logged(stage, "is not a socket"), 1);
    assert_int_equal(lstat(stage->path, &found), 0);
    assert_true(S_ISREG(found.st_mode));
    unlink(stage->path);

    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", stage->directory);
    assert_int_equal(symlink(elsewhere, stage->path), 0);
    assert_false(try_to_open(stage));
    assert_int_equal(lstat(stage->path, &found), 0);
    assert_true(S_ISLNK(found.st_mode));
    assert_int_equal(access(elsewhere, F_OK), -1);
}

static void test_lock_file_means_in_use(void **state)
{
    struct stage *stage = *state;
    char lock_file[80], text[64];
    stage->options.unix_directory = stage->directory;
    snprintf(lock_file, sizeof(lock_file), "%s.lock", stage->path);
    close(open(lock_file, O_CREAT | O_WRONLY, 0600));
    assert_false(try_to_open(stage));
    snprintf(text, sizeof(text), "unix port %u is in use", stage->options.port);
    assert_string_equal(stage->error, text);
    assert_int_equal(access(stage->path, F_OK), -1);
    unlink(lock_file);
}

static void test_directory_that_is_not_there(void **state)
{
    struct stage *stage = *state;
    stage->options.addresses = "127.0.0.1";
    stage->options.unix_directory = "/tmp/net-test-nowhere";
    assert_false(try_to_open(stage));
    assert_string_equal(stage->error, "failed to create unix socket");
    assert_int_equal(logged(stage, "bind(): "), 1);
    assert_int_equal(connect_tcp("127.0.0.1", stage->options.port), -1);
}

static void test_path_that_is_too_long(void **state)
{
    struct stage *stage = *state;
    char directory[PATH_MAX];
    memset(directory, 'd', sizeof(directory));
    directory[0] = '/';
    directory[120] = '\0';
    stage->options.unix_directory = directory;
    assert_false(listeners_unix_socket_in_use(&stage->options));
    assert_false(try_to_open(stage));
    assert_string_equal(stage->error, "failed to create unix socket");
    assert_int_equal(logged(stage, "longer than 107 bytes"), 1);
    directory[120] = 'd';
    directory[sizeof(directory) - 1] = '\0';
    assert_false(try_to_open(stage));
}

/* Another process has put its socket in place of ours: it is not ours to remove. */
static void test_socket_of_another_survives_destroy(void **state)
{
    struct stage *stage = *state;
    char aside[80];
    stage->options.unix_directory = stage->directory;
    assert_true(try_to_open(stage));
    snprintf(aside, sizeof(aside), "%s.aside", stage->path); /* keeps the inode from being reused */
    assert_int_equal(rename(stage->path, aside), 0);
    make_stale_socket(stage);
    listeners_destroy(stage->listeners);
    stage->listeners = NULL;
    assert_int_equal(access(stage->path, F_OK), 0);
    unlink(aside);
}

static void test_socket_file_removed_meanwhile(void **state)
{
    struct stage *stage = *state;
    stage->options.unix_directory = stage->directory;
    assert_true(try_to_open(stage));
    assert_int_equal(unlink(stage->path), 0);
    listeners_destroy(stage->listeners);
    stage->listeners = NULL;
}

/* Somebody who is too busy to accept is alive too. */
static void test_full_backlog_and_other_kinds_are_in_use(void **state)
{
    struct stage *stage = *state;
    struct sockaddr_un target;
    socklen_t size = address_unix_socket(stage->directory, stage->options.port, &target);
    stage->options.unix_directory = stage->directory;
    int fds[8];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *) &target, size), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (size_t i = 0; i < countof(fds); i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void) connect(fds[i], (const struct sockaddr *) &target, size);
    }
    assert_true(listeners_unix_socket_in_use(&stage->options));
    for (size_t i = 0; i < countof(fds); i++)
        close(fds[i]);
    close(fd);
    unlink(stage->path);
    fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *) &target, size), 0);
    assert_true(listeners_unix_socket_in_use(&stage->options));
    close(fd);
    stage->options.unix_directory = NULL;
    assert_false(listeners_unix_socket_in_use(&stage->options));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_accepts_tcp),
        TEST(test_accepts_many),
        TEST(test_list_of_addresses),
        TEST(test_all_addresses),
        TEST(test_ipv6),
        TEST(test_name),
        TEST(test_one_failing_address_is_a_warning),
        TEST(test_all_failing_is_an_error),
        TEST(test_unknown_name_is_an_error),
        TEST(test_nothing_to_listen_on),
        TEST(test_port_is_free_again_after_destroy),
        TEST(test_shared_port),
        TEST(test_defer_accept_can_be_toggled),
        TEST(test_closing_tcp_leaves_the_unix_socket),
        TEST(test_closing_from_inside_the_callback),
        TEST(test_destroying_from_inside_the_callback),
        TEST(test_errors_of_one_connection_are_skipped),
        TEST(test_connect_and_reset),
        TEST(test_lasting_error_pauses_and_does_not_spin),
        TEST(test_pause_ends_with_destroy),
        TEST(test_running_out_of_descriptors),
        TEST(test_accepts_unix),
        TEST(test_group_of_the_socket_file),
        TEST(test_abstract_socket),
        TEST(test_stale_socket_is_replaced),
        TEST(test_other_files_are_left_alone),
        TEST(test_lock_file_means_in_use),
        TEST(test_directory_that_is_not_there),
        TEST(test_path_that_is_too_long),
        TEST(test_socket_of_another_survives_destroy),
        TEST(test_socket_file_removed_meanwhile),
        TEST(test_full_backlog_and_other_kinds_are_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
