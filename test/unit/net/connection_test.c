/*
 * connection_test.c - one stream socket: connecting, receiving, queued output, and every way to
 * end.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/connection.h"

#include <errno.h>
#include <netinet/tcp.h>

#include "fixture.h"

/* More than the kernel keeps for a socket of these tests. */
#define LOT (16U * 1024 * 1024)

struct owner {
    struct connection connection;
    struct loop *loop;
    bool is_connected, is_drained, is_broken, has_ended;
    bool drinks;            /* reads on its own what comes */
    bool closes;            /* closes at the first news */
    int error;              /* of the connect */
    unsigned readable_news; /* how often it was told */
    unsigned drained_news;
    size_t received;
};

static struct owner *owner_of(struct connection *connection)
{
    return container_of(connection, struct owner, connection);
}

static void drink(struct owner *owner)
{
    uint8_t *bytes;
    size_t size;
    for (;;) {
        enum receive_result result = connection_receive(&owner->connection, &bytes, &size);
        if (result == RECEIVED_END)
            owner->has_ended = true;
        if (result != RECEIVED_BYTES)
            break;
        owner->received += size;
    }
    if (owner->has_ended)
        connection_close(&owner->connection);
}

static void on_connected(struct connection *connection, int error)
{
    struct owner *owner = owner_of(connection);
    owner->is_connected = true;
    owner->error = error;
    if (error != 0 || owner->closes)
        connection_close(connection);
}

static void on_readable(struct connection *connection)
{
    struct owner *owner = owner_of(connection);
    assert_true(connection_is_open(connection));
    assert_true(connection->readable);
    owner->readable_news++;
    if (owner->closes)
        connection_close(connection);
    else if (owner->drinks)
        drink(owner);
}

static void on_drained(struct connection *connection)
{
    struct owner *owner = owner_of(connection);
    assert_false(connection_is_congested(connection));
    owner->is_drained = true;
    owner->drained_news++;
    if (owner->closes)
        connection_close(connection);
}

static void on_broken(struct connection *connection)
{
    owner_of(connection)->is_broken = true;
    connection_close(connection);
}

static const struct connection_ops ops = {.connected = on_connected,
                                          .readable = on_readable,
                                          .drained = on_drained,
                                          .broken = on_broken};

static const struct socket_options no_options;

struct stage {
    struct loop *loop;
    struct owner owner;
    int peer; /* the other end, blocking */
};

static void accept_pair(struct stage *stage, int fds[2], sa_family_t family)
{
    struct address peer = {.family = family, .port = 6432};
    stage->peer = fds[1];
    connection_accept(&stage->owner.connection, stage->loop, &ops, fds[0], &peer);
}

static int set_up(void **state)
{
    static struct stage stage;
    memset(&stage, 0, sizeof(stage));
    stage.loop = loop_create();
    stage.owner.loop = stage.loop;
    stage.owner.connection.fd = -1;
    stage.peer = -1;
    *state = &stage;
    return 0;
}

static int set_up_tcp(void **state)
{
    int fds[2];
    set_up(state);
    make_tcp_pair(fds);
    accept_pair(*state, fds, AF_INET);
    return 0;
}

static int set_up_unix(void **state)
{
    int fds[2];
    set_up(state);
    make_unix_pair(fds);
    accept_pair(*state, fds, AF_UNIX);
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    connection_close(&stage->owner.connection);
    if (stage->peer >= 0)
        close(stage->peer);
    loop_destroy(stage->loop);
    return 0;
}

static void close_peer(struct stage *stage)
{
    close(stage->peer);
    stage->peer = -1;
}

/* close() with a reset instead of an end. */
static void reset_peer(struct stage *stage)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(stage->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close_peer(stage);
}

static bool has_readable_news(void *argument)
{
    return ((struct owner *) argument)->readable_news > 0;
}

static void test_receives_bytes_then_nothing_then_the_end(void **state)
{
    struct stage *stage = *state;
    struct owner *owner = &stage->owner;
    uint8_t *bytes;
    size_t size;
    assert_int_equal(write(stage->peer, "hello", 5), 5);
    run_until(stage->loop, has_readable_news, owner);
    assert_int_equal(connection_receive(&owner->connection, &bytes, &size), RECEIVED_BYTES);
    assert_ptr_equal(bytes, loop_read_buffer(stage->loop));
    assert_int_equal(size, 5);
    assert_memory_equal(bytes, "hello", 5);
    assert_true(owner->connection.readable);
    assert_int_equal(connection_receive(&owner->connection, &bytes, &size), RECEIVED_NOTHING);
    assert_false(owner->connection.readable);
    assert_false(owner->connection.ended);
    owner->readable_news = 0;
    close_peer(stage);
    run_until(stage->loop, has_readable_news, owner);
    assert_true(owner->connection.ended);
    assert_int_equal(connection_receive(&owner->connection, &bytes, &size), RECEIVED_END);
}

/* Bytes and the end in one event: the bytes come first. */
static void test_last_bytes_are_not_lost(void **state)
{
    struct stage *stage = *state;
    stage->owner.drinks = true;
    assert_int_equal(write(stage->peer, "bye", 3), 3);
    close_peer(stage);
    run_until(stage->loop, flag_is_set, &stage->owner.has_ended);
    assert_int_equal(stage->owner.received, 3);
}

static void test_reset_is_an_end(void **state)
{
    struct stage *stage = *state;
    stage->owner.drinks = true;
    reset_peer(stage);
    run_until(stage->loop, flag_is_set, &stage->owner.has_ended);
}

static void test_news_comes_again_for_new_bytes(void **state)
{
    struct stage *stage = *state;
    struct owner *owner = &stage->owner;
    uint8_t *bytes;
    size_t size;
    for (unsigned i = 0; i < 3; i++) {
        owner->readable_news = 0;
        assert_int_equal(write(stage->peer, "abc", 3), 3);
        run_until(stage->loop, has_readable_news, owner);
        assert_int_equal(connection_receive(&owner->connection, &bytes, &size), RECEIVED_BYTES);
        assert_int_equal(size, 3);
        connection_mark_drained(&owner->connection, size);
        assert_false(owner->connection.readable);
    }
}

static void test_mark_drained_is_ignored_where_it_cannot_be_known(void **state)
{
    struct stage *stage = *state;
    struct connection *connection = &stage->owner.connection;
    connection->readable = true;
    connection_mark_drained(connection, LOOP_READ_SIZE);
    assert_true(connection->readable);
    connection->ended = true;
    connection_mark_drained(connection, 1);
    assert_true(connection->readable);
    connection->ended = false;
    connection_mark_drained(connection, 1);
    assert_false(connection->readable);
}

static void test_send_at_once(void **state)
{
    struct stage *stage = *state;
    char received[4] = "";
    assert_true(connection_send(&stage->owner.connection, "abc", 3));
    assert_false(connection_is_congested(&stage->owner.connection));
    assert_int_equal(connection_queued(&stage->owner.connection), 0);
    assert_int_equal(read(stage->peer, received, sizeof(received)), 3);
    assert_string_equal(received, "abc");
}

/* A socket that shows each send of its own. */
static void test_what_is_gathered_leaves_with_the_next_send(void **state)
{
    struct stage *stage = *state;
    struct connection *connection = &stage->owner.connection;
    char received[8] = "";
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
    accept_pair(stage, fds, AF_UNIX);
    buffer_append(connection_gather(connection), "ab", 2);
    assert_int_equal(recv(stage->peer, received, sizeof(received), 0), -1);
    assert_true(connection_send(connection, "cd", 2));
    assert_int_equal(recv(stage->peer, received, sizeof(received), 0), 4);
    assert_string_equal(received, "abcd");
    assert_true(connection_send(connection, "e", 1));
    assert_int_equal(recv(stage->peer, received, sizeof(received), 0), 1);

    buffer_append(connection_gather(connection), "f", 1);
    assert_true(connection_send(connection, NULL, 0));
    assert_int_equal(recv(stage->peer, received, sizeof(received), 0), 1);
    assert_int_equal(received[0], 'f');
}

static void test_what_is_gathered_goes_with_its_connection(void **state)
{
    struct stage *stage = *state;
    buffer_append(connection_gather(&stage->owner.connection), "ab", 2);
    connection_close(&stage->owner.connection);
    assert_int_equal(stage->loop->gathered.size, 0);
    assert_false(connection_send(&stage->owner.connection, "c", 1));
}

struct drinker {
    struct event *event;
    size_t received;
    uint8_t next; /* the byte that must come next */
    bool is_wrong;
};

static void on_peer_readable(evutil_socket_t fd, short what UNUSED, void *argument)
{
    struct drinker *drinker = argument;
    static uint8_t bytes[65536];
    ssize_t size = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    for (ssize_t i = 0; i < size; i++)
        drinker->is_wrong |= bytes[i] != drinker->next++;
    if (size > 0)
        drinker->received += (size_t) size;
}

static void test_queued_output_arrives_whole_and_in_order(void **state)
{
    struct stage *stage = *state;
    struct connection *connection = &stage->owner.connection;
    uint8_t *lot = malloc(LOT + 256);
    assert_non_null(lot);
    for (size_t i = 0; i < LOT + 256; i++)
        lot[i] = (uint8_t) i;
    assert_true(connection_send(connection, lot, LOT));
    assert_true(connection_is_congested(connection));
    assert_true(connection_queued(connection) > 0 && connection_queued(connection) < LOT);
    size_t before = connection_queued(connection);
    assert_true(connection_send(connection, lot + LOT, 256)); /* goes behind the rest */
    assert_int_equal(connection_queued(connection), before + 256);

    struct drinker drinker = {.received = 0};
    drinker.event =
        event_new(stage->loop->base, stage->peer, EV_READ | EV_PERSIST, on_peer_readable, &drinker);
    event_add(drinker.event, NULL);
    run_until(stage->loop, flag_is_set, &stage->owner.is_drained);
    assert_int_equal(connection_queued(connection), 0);
    assert_int_equal(stage->owner.drained_news, 1);
    run_for(stage->loop, 50 * USEC_PER_MSEC);
    assert_int_equal(stage->owner.drained_news, 1);
    connection_close(connection);
    run_for(stage->loop, 50 * USEC_PER_MSEC);
    while (drinker.received < LOT + 256)
        on_peer_readable(stage->peer, EV_READ, &drinker);
    assert_false(drinker.is_wrong);
    event_free(drinker.event);
    free(lot);
}

static void test_broken_when_the_peer_dies_with_output_queued(void **state)
{
    struct stage *stage = *state;
    uint8_t *lot = calloc(1, LOT);
    assert_true(connection_send(&stage->owner.connection, lot, LOT));
    free(lot);
    reset_peer(stage);
    run_until(stage->loop, flag_is_set, &stage->owner.is_broken);
    assert_false(connection_is_open(&stage->owner.connection));
}

static void test_send_to_the_dead_fails_and_stays_so(void **state)
{
    struct stage *stage = *state;
    struct connection *connection = &stage->owner.connection;
    close_peer(stage);
    bool is_sent = true;
    for (unsigned i = 0; i < 100 && is_sent; i++) {
        is_sent = connection_send(connection, "x", 1);
        usleep(1000);
    }
    assert_false(is_sent);
    assert_true(connection->failed);
    assert_false(connection_send(connection, "x", 1));
    connection_send_last(connection, "x", 1);
    assert_false(connection_is_congested(connection));
}

static void test_close_is_final_and_idempotent(void **state)
{
    struct stage *stage = *state;
    struct connection *connection = &stage->owner.connection;
    uint8_t *bytes, *lot = calloc(1, LOT);
    size_t size;
    int fd = connection->fd;
    assert_true(connection_send(connection, lot, LOT));
    free(lot);
    assert_int_equal(write(stage->peer, "x", 1), 1);
    connection_close(connection);
    connection_close(connection);
    assert_false(connection_is_open(connection));
    assert_false(fd_is_open(fd));
    assert_int_equal(connection_queued(connection), 0);
    assert_false(connection_send(connection, "x", 1));
    assert_int_equal(connection_receive(connection, &bytes, &size), RECEIVED_END);
    run_for(stage->loop, 20 * USEC_PER_MSEC);
    assert_int_equal(stage->owner.readable_news, 0);
}

/* After `drained` has closed the connection, nothing is said about the bytes that wait. */
static void test_closing_in_one_callback_silences_the_next(void **state)
{
    struct stage *stage = *state;
    stage->owner.closes = true;
    assert_int_equal(write(stage->peer, "x", 1), 1);
    buffer_append(&stage->owner.connection.output, "y", 1);
    run_until(stage->loop, flag_is_set, &stage->owner.is_drained);
    assert_int_equal(stage->owner.readable_news, 0);
}

/* ---- connecting ---- */

static void test_connects(void **state)
{
    struct stage *stage = *state;
    struct address address, local;
    uid_t uid;
    int listening = listen_on_loopback(&address);
    const struct socket_options options = {.keepalive = true,
                                           .keepidle = 61,
                                           .keepintvl = 7,
                                           .keepcnt = 3,
                                           .buffer_size = 65536,
                                           .user_timeout = 9000};
    struct connection *connection = &stage->owner.connection;
    assert_int_equal(connection_open(connection, stage->loop, &ops, &address, &options), 0);
    assert_false(stage->owner.is_connected); /* never from inside the call */
    run_until(stage->loop, flag_is_set, &stage->owner.is_connected);
    assert_int_equal(stage->owner.error, 0);
    assert_true(connection_is_open(connection));
    assert_false(connection->connecting);
    local = connection_local_address(connection);
    assert_true(address_same_host(&local, &address));
    assert_int_not_equal(local.port, address.port);
    assert_false(connection_peer_uid(connection, &uid));

    int value;
    socklen_t size = sizeof(value);
    getsockopt(connection->fd, IPPROTO_TCP, TCP_KEEPIDLE, &value, &size);
    assert_int_equal(value, 61);
    getsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &value, &size);
    assert_int_not_equal(value, 0);
    getsockopt(connection->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size);
    assert_int_equal(value, 9000);
    close(listening);
}

static void test_connection_refused(void **state)
{
    struct stage *stage = *state;
    struct address address;
    close(listen_on_loopback(&address)); /* now nobody listens there */
    int error = connection_open(&stage->owner.connection, stage->loop, &ops, &address, &no_options);
    if (error == 0) {
        run_until(stage->loop, flag_is_set, &stage->owner.is_connected);
        error = stage->owner.error;
    }
    assert_int_equal(error, ECONNREFUSED);
    assert_false(connection_is_open(&stage->owner.connection));
}

static void test_connect_that_cannot_begin(void **state)
{
    struct stage *stage = *state;
    struct address address = {.family = AF_UNSPEC};
    assert_int_not_equal(
        connection_open(&stage->owner.connection, stage->loop, &ops, &address, &no_options), 0);
    assert_false(connection_is_open(&stage->owner.connection));
}

/* The peer speaks as soon as it accepts: connect and bytes are one event for us. */
static void test_bytes_that_come_with_the_connect(void **state)
{
    struct stage *stage = *state;
    struct address address;
    int listening = listen_on_loopback(&address);
    stage->owner.drinks = true;
    assert_int_equal(
        connection_open(&stage->owner.connection, stage->loop, &ops, &address, &no_options), 0);
    stage->peer = accept(listening, NULL, NULL);
    assert_true(stage->peer >= 0);
    assert_int_equal(write(stage->peer, "welcome", 7), 7);
    close_peer(stage);
    usleep(20000);
    run_until_or(stage->loop, 2 * USEC_PER_SEC, flag_is_set, &stage->owner.has_ended);
    assert_true(stage->owner.is_connected);
    assert_int_equal(stage->owner.error, 0);
    assert_int_equal(stage->owner.received, 7);
    assert_true(stage->owner.has_ended);
    close(listening);
}

static void test_closing_when_connected(void **state)
{
    struct stage *stage = *state;
    struct address address;
    int listening = listen_on_loopback(&address);
    stage->owner.closes = true;
    assert_int_equal(
        connection_open(&stage->owner.connection, stage->loop, &ops, &address, &no_options), 0);
    stage->peer = accept(listening, NULL, NULL);
    assert_int_equal(write(stage->peer, "welcome", 7), 7);
    run_until(stage->loop, flag_is_set, &stage->owner.is_connected);
    run_for(stage->loop, 20 * USEC_PER_MSEC);
    assert_int_equal(stage->owner.readable_news, 0);
    close(listening);
}

/* A closed connection may be opened again, and remembers nothing. */
static void test_opening_again(void **state)
{
    struct stage *stage = *state;
    struct connection *connection = &stage->owner.connection;
    struct address address;
    int listening = listen_on_loopback(&address);
    close_peer(stage);
    run_until(stage->loop, has_readable_news, &stage->owner);
    while (connection_send(connection, "x", 1))
        usleep(1000);
    connection_close(connection);
    assert_int_equal(connection_open(connection, stage->loop, &ops, &address, &no_options), 0);
    run_until(stage->loop, flag_is_set, &stage->owner.is_connected);
    assert_false(connection->ended);
    assert_false(connection->failed);
    assert_true(connection_send(connection, "x", 1));
    close(listening);
}

static void test_connects_to_a_unix_socket(void **state)
{
    struct stage *stage = *state;
    struct connection *connection = &stage->owner.connection;
    struct sockaddr_un target;
    char directory[] = "/tmp/net-test-XXXXXX";
    uid_t uid = 12345;
    assert_non_null(mkdtemp(directory));
    socklen_t size = address_unix_socket(directory, 6432, &target);
    int listening = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (const struct sockaddr *) &target, size), 0);
    assert_int_equal(listen(listening, 5), 0);
    assert_int_equal(
        connection_open_unix(connection, stage->loop, &ops, directory, 6432, &no_options), 0);
    run_until(stage->loop, flag_is_set, &stage->owner.is_connected);
    assert_int_equal(stage->owner.error, 0);
    assert_int_equal(connection->peer.family, AF_UNIX);
    assert_int_equal(connection->peer.port, 6432);
    assert_int_equal(connection->peer.unix_pid, getpid());
    assert_true(connection_peer_uid(connection, &uid));
    assert_int_equal(uid, geteuid());
    struct address local = connection_local_address(connection);
    assert_int_equal(local.family, AF_UNIX);
    assert_int_equal(local.port, 6432);
    close(listening);
    unlink(target.sun_path);
    rmdir(directory);
}

static void test_unix_socket_that_is_not_there(void **state)
{
    struct stage *stage = *state;
    struct connection *connection = &stage->owner.connection;
    char long_directory[200];
    memset(long_directory, 'd', sizeof(long_directory));
    long_directory[sizeof(long_directory) - 1] = '\0';
    assert_int_equal(connection_open_unix(connection, stage->loop, &ops, "/tmp/net-test-nowhere",
                                          6432, &no_options),
                     ENOENT);
    assert_false(connection_is_open(connection));
    assert_int_equal(
        connection_open_unix(connection, stage->loop, &ops, long_directory, 6432, &no_options),
        ENAMETOOLONG);
    assert_false(connection_is_open(connection));
}

static void test_accepted_unix_peer_is_known(void **state)
{
    struct stage *stage = *state;
    uid_t uid;
    assert_int_equal(stage->owner.connection.peer.unix_pid, getpid());
    assert_true(connection_peer_uid(&stage->owner.connection, &uid));
    assert_int_equal(uid, geteuid());
    connection_close(&stage->owner.connection);
    assert_false(connection_peer_uid(&stage->owner.connection, &uid));
}

#define TCP(test)  cmocka_unit_test_setup_teardown(test, set_up_tcp, tear_down)
#define UNIX(test) cmocka_unit_test_setup_teardown(test, set_up_unix, tear_down)
#define BARE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TCP(test_receives_bytes_then_nothing_then_the_end),
        UNIX(test_receives_bytes_then_nothing_then_the_end),
        TCP(test_last_bytes_are_not_lost),
        UNIX(test_last_bytes_are_not_lost),
        TCP(test_reset_is_an_end),
        TCP(test_news_comes_again_for_new_bytes),
        UNIX(test_news_comes_again_for_new_bytes),
        TCP(test_mark_drained_is_ignored_where_it_cannot_be_known),
        TCP(test_send_at_once),
        BARE(test_what_is_gathered_leaves_with_the_next_send),
        TCP(test_what_is_gathered_goes_with_its_connection),
        TCP(test_queued_output_arrives_whole_and_in_order),
        UNIX(test_queued_output_arrives_whole_and_in_order),
        TCP(test_broken_when_the_peer_dies_with_output_queued),
        UNIX(test_broken_when_the_peer_dies_with_output_queued),
        TCP(test_send_to_the_dead_fails_and_stays_so),
        UNIX(test_send_to_the_dead_fails_and_stays_so),
        TCP(test_close_is_final_and_idempotent),
        TCP(test_closing_in_one_callback_silences_the_next),
        BARE(test_connects),
        BARE(test_connection_refused),
        BARE(test_connect_that_cannot_begin),
        BARE(test_bytes_that_come_with_the_connect),
        BARE(test_closing_when_connected),
        TCP(test_opening_again),
        BARE(test_connects_to_a_unix_socket),
        BARE(test_unix_socket_that_is_not_there),
        UNIX(test_accepted_unix_peer_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
