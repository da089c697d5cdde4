/*
 * tls_test.c - TLS on a connection: two of ours in one loop, and ours against OpenSSL used by hand,
 * which can do what ours never would.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/tls.h"

#include "tls_fixture.h"

#define LOT (8U * 1024 * 1024)

struct owner {
    struct connection connection;
    char problem[256];
    struct buffer received; /* unless it only counts */
    size_t count;           /* bytes received */
    unsigned receives;
    bool is_secured, has_failed, is_drained, is_broken, has_ended, only_counts;
};

static struct certificate pair;
static struct loop *loop;
static struct tls_context *for_clients, *for_servers;
static struct owner ours, theirs;

static struct owner *owner_of(struct connection *connection)
{
    return container_of(connection, struct owner, connection);
}

/* What other code of the thread may leave behind; it must not be taken for an error of TLS. */
static void dirty_error_queue(void)
{
    ERR_raise(ERR_LIB_SSL, SSL_R_NO_SHARED_CIPHER);
}

static void on_connected(struct connection *connection UNUSED, int error UNUSED)
{
}

static void on_secured(struct connection *connection, const char *problem)
{
    struct owner *owner = owner_of(connection);
    assert_false(owner->is_secured || owner->has_failed);
    owner->is_secured = problem == NULL;
    owner->has_failed = problem != NULL;
    snprintf(owner->problem, sizeof(owner->problem), "%s", problem != NULL ? problem : "");
    dirty_error_queue();
}

static void on_readable(struct connection *connection)
{
    struct owner *owner = owner_of(connection);
    uint8_t *bytes;
    size_t size;
    for (;;) {
        dirty_error_queue();
        enum receive_result result = connection_receive(connection, &bytes, &size);
        owner->has_ended = owner->has_ended || result == RECEIVED_END;
        if (result != RECEIVED_BYTES)
            break;
        assert_true(size > 0 && size <= LOOP_READ_SIZE);
        owner->receives++;
        owner->count += size;
        if (!owner->only_counts)
            buffer_append(&owner->received, bytes, size);
    }
    if (owner->has_ended)
        connection_close(connection);
}

static void on_drained(struct connection *connection)
{
    owner_of(connection)->is_drained = true;
}

static void on_broken(struct connection *connection)
{
    owner_of(connection)->is_broken = true;
    connection_close(connection);
}

static const struct connection_ops ops = {.connected = on_connected,
                                          .secured = on_secured,
                                          .readable = on_readable,
                                          .drained = on_drained,
                                          .broken = on_broken};

/* ---- the stage ---- */

static struct tls_context *make_context(bool clients, enum sslmode mode)
{
    char problem[TLS_PROBLEM_SIZE] = "";
    struct tls_options options = {.side = clients ? "client" : "server",
                                  .mode = mode,
                                  .key_file = pair.key_file,
                                  .cert_file = pair.cert_file,
                                  .ca_file = pair.cert_file};
    struct tls_context *context = clients ? tls_context_for_clients(&options, problem)
                                          : tls_context_for_servers(&options, problem);
    assert_string_equal(problem, "");
    return context;
}

static void adopt(struct owner *owner, int fd)
{
    struct address peer = {.family = AF_INET, .port = 1};
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    connection_accept(&owner->connection, loop, &ops, fd, &peer);
}

static int set_up(void **state UNUSED)
{
    memset(&ours, 0, sizeof(ours));
    memset(&theirs, 0, sizeof(theirs));
    ours.connection.fd = theirs.connection.fd = -1;
    loop = loop_create();
    for_clients = make_context(true, SSLMODE_PREFER);
    for_servers = make_context(false, SSLMODE_VERIFY_CA);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    connection_close(&ours.connection);
    connection_close(&theirs.connection);
    buffer_release(&ours.received);
    buffer_release(&theirs.received);
    tls_context_give_back(for_clients);
    tls_context_give_back(for_servers);
    loop_destroy(loop);
    ERR_clear_error();
    return 0;
}

static int set_up_group(void **state UNUSED)
{
    static const char names[] = "DNS:localhost,DNS:*.example.org,IP:127.0.0.1,IP:::1";
    make_certificate(&pair, "ignored", 7, names);
    return 0;
}

static int tear_down_group(void **state UNUSED)
{
    remove_certificate(&pair);
    return 0;
}

static bool both_are_decided(void *argument UNUSED)
{
    return (ours.is_secured || ours.has_failed) && (theirs.is_secured || theirs.has_failed);
}

/* `ours` is the server of TLS, `theirs` the client: a PostgreSQL client and pgweir, say. */
static void shake_hands(const char *host)
{
    int fds[2];
    make_tcp_pair(fds);
    adopt(&ours, fds[0]);
    adopt(&theirs, fds[1]);
    tls_accept(&ours.connection, for_clients, NULL, 0);
    tls_connect(&theirs.connection, for_servers, host);
    run_until(loop, both_are_decided, NULL);
}

/* ---- two of ours ---- */

static void test_handshake(void **state UNUSED)
{
    char text[TLS_DESCRIPTION_SIZE];
    shake_hands("localhost");
    assert_string_equal(ours.problem, "");
    assert_string_equal(theirs.problem, "");
    assert_true(tls_is_established(&ours.connection) && tls_is_established(&theirs.connection));
    assert_true(tls_has_agreed_protocol(&ours.connection));
    assert_true(tls_has_agreed_protocol(&theirs.connection));
    tls_describe(&ours.connection, text, sizeof(text));
    assert_memory_equal(text, "TLSv1.3/TLS_AES_256_GCM_SHA384/ECDH=", 36);
}

static void test_a_plain_connection_has_no_tls(void **state UNUSED)
{
    int fds[2];
    char text[TLS_DESCRIPTION_SIZE] = "x";
    uint8_t hash[TLS_END_POINT_SIZE];
    make_tcp_pair(fds);
    adopt(&ours, fds[0]);
    adopt(&theirs, fds[1]);
    tls_describe(&ours.connection, text, sizeof(text));
    assert_string_equal(text, "");
    assert_false(tls_is_established(&ours.connection));
    assert_false(tls_peer_has_left(&ours.connection));
    assert_false(tls_has_agreed_protocol(&ours.connection));
    assert_false(tls_has_peer_certificate(&ours.connection));
    assert_false(tls_peer_certificate_names(&ours.connection, "localhost"));
    assert_int_equal(tls_server_end_point(&ours.connection, hash), 0);
}

static bool theirs_has_all(void *argument UNUSED)
{
    return theirs.count >= LOT;
}

/* More than the sockets hold: through the output queue, in order. */
static void test_a_lot_of_data(void **state UNUSED)
{
    uint8_t *lot = test_malloc(LOT);
    shake_hands("localhost");
    for (size_t i = 0; i < LOT; i++)
        lot[i] = (uint8_t) (i * 2654435761U >> 13);
    dirty_error_queue();
    assert_true(connection_send(&ours.connection, lot, LOT));
    assert_true(connection_is_congested(&ours.connection));
    run_until(loop, theirs_has_all, NULL);
    run_until(loop, flag_is_set, &ours.is_drained);
    assert_int_equal(theirs.received.size, LOT);
    assert_memory_equal(theirs.received.data, lot, LOT);
    assert_false(connection_is_congested(&ours.connection));
    test_free(lot);
}

static bool theirs_has_bytes(void *argument)
{
    return theirs.count >= *(const size_t *) argument;
}

static void test_sending_nothing_is_fine(void **state UNUSED)
{
    size_t expected = 1;
    shake_hands("localhost");
    assert_true(connection_send(&ours.connection, "", 0));
    assert_true(connection_send(&ours.connection, "x", 1));
    run_until(loop, theirs_has_bytes, &expected);
    assert_int_equal(theirs.count, 1);
}

static void test_no_data_before_the_handshake_is_over(void **state UNUSED)
{
    int fds[2];
    uint8_t *bytes;
    size_t size;
    make_tcp_pair(fds);
    adopt(&ours, fds[0]);
    adopt(&theirs, fds[1]);
    tls_accept(&ours.connection, for_clients, NULL, 0);
    assert_false(connection_send(&ours.connection, "secret", 6));
    assert_int_equal(connection_receive(&ours.connection, &bytes, &size), RECEIVED_NOTHING);
    connection_close(&ours.connection);
    run_until(loop, flag_is_set, &theirs.has_ended);
    assert_int_equal(theirs.count, 0);
}

static void test_close_is_an_end_for_the_other(void **state UNUSED)
{
    shake_hands("localhost");
    assert_true(connection_send(&ours.connection, "bye", 3));
    connection_close(&ours.connection);
    run_until(loop, flag_is_set, &theirs.has_ended);
    assert_int_equal(theirs.count, 3);
}

static void test_both_hash_the_same_certificate(void **state UNUSED)
{
    uint8_t a[TLS_END_POINT_SIZE], b[TLS_END_POINT_SIZE];
    shake_hands("localhost");
    assert_int_equal(tls_server_end_point(&ours.connection, a), 32);
    assert_int_equal(tls_server_end_point(&theirs.connection, b), 32);
    assert_memory_equal(a, b, 32);
}

/* ---- names ---- */

static void expect_failure(const char *host, const char *words)
{
    tls_context_give_back(for_servers);
    for_servers = make_context(false, SSLMODE_VERIFY_FULL);
    shake_hands(host);
    if (strstr(theirs.problem, words) == NULL)
        fail_msg("%s: \"%s\"", host, theirs.problem);
    if (words[0] == '\0')
        assert_true(theirs.is_secured);
}

static void test_names_of_the_server(void **state)
{
    static const struct {
        const char *host, *words;
    } rows[] = {
        {"localhost", ""},
        {"LOCALHOST", ""},
        {"127.0.0.1", ""},
        {"::1", ""},
        {"db.example.org", ""},
        {"example.org", "hostname mismatch"},
        {"a.b.example.org", "hostname mismatch"},
        {"localhost.example.com", "hostname mismatch"},
        {"ignored", "hostname mismatch"}, /* the common name does not count beside others */
        {"127.0.0.2", "IP address mismatch"},
        {"::2", "IP address mismatch"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        expect_failure(rows[i].host, rows[i].words);
        tear_down(state);
        set_up(state);
    }
}

struct named {
    const char *common_name;
    size_t size;
    const char *alternative_names, *asked;
    bool matches;
};

static bool certificate_names(const struct named *row)
{
    struct certificate kept = pair;
    make_certificate(&pair, row->common_name, row->size, row->alternative_names);
    tls_context_give_back(for_clients);
    tls_context_give_back(for_servers);
    for_clients = make_context(true, SSLMODE_VERIFY_FULL);
    for_servers = make_context(false, SSLMODE_REQUIRE);
    shake_hands("127.0.0.1");
    assert_true(ours.is_secured);
    assert_true(tls_has_peer_certificate(&ours.connection));
    bool matches = tls_peer_certificate_names(&ours.connection, row->asked);
    remove_certificate(&pair);
    pair = kept;
    return matches;
}

/* Whom the certificate of a client is made out to: all of a name, or nothing. */
static void test_names_of_a_client(void **state)
{
    static const struct named rows[] = {
        {"bob", 3, NULL, "bob", true},
        {"Bob", 3, NULL, "bOB", true},
        {"bob", 3, NULL, "alice", false},
        {"bob", 3, NULL, "bo", false},
        {"bob", 3, NULL, "", false},
        {"bob", 3, NULL, ".bob", false},
        {"bob\0.example.org", 16, NULL, "bob", false},
        {"bob\0", 4, NULL, "bob", false},
        {"bobxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 70, NULL,
         "bobxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", false},
        {"bob", 3, "DNS:alice", "alice", true},
        {"bob", 3, "DNS:alice", "bob", false},
        {"bob", 3, "IP:10.0.0.1", "10.0.0.1", true},
        {"bob", 3, "email:bob@example.org", "bob", true},
        {"x", 1, "DNS:*.example.org", "a.example.org", true},
        {"x", 1, "DNS:*.example.org", "example.org", false},
        {"x", 1, "DNS:*.example.org", ".example.org", false},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        if (certificate_names(&rows[i]) != rows[i].matches)
            fail_msg("row %zu: %s", i, rows[i].asked);
        tear_down(state);
        set_up(state);
    }
}

static void test_a_client_without_a_certificate(void **state UNUSED)
{
    char problem[TLS_PROBLEM_SIZE];
    struct tls_options options = {.side = "server", .mode = SSLMODE_REQUIRE};
    tls_context_give_back(for_servers);
    for_servers = tls_context_for_servers(&options, problem);
    assert_non_null(for_servers);
    shake_hands("localhost");
    assert_true(ours.is_secured);
    assert_false(tls_has_peer_certificate(&ours.connection));
    assert_false(tls_peer_certificate_names(&ours.connection, "bob"));
}

/* ---- against OpenSSL by hand ---- */

struct peer {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    int fd;
};

static struct peer peer;

/* The peer is a client of TLS; ours has accepted. */
static void begin_peer(int version)
{
    int fds[2];
    make_tcp_pair(fds);
    adopt(&ours, fds[0]);
    peer.fd = fds[1];
    assert_int_equal(fcntl(peer.fd, F_SETFL, O_NONBLOCK), 0);
    peer.context = SSL_CTX_new(TLS_client_method());
    if (version != 0)
        SSL_CTX_set_max_proto_version(peer.context, version);
    peer.ssl = SSL_new(peer.context);
    peer.in = BIO_new(BIO_s_mem());
    peer.out = BIO_new(BIO_s_mem());
    SSL_set_bio(peer.ssl, peer.in, peer.out);
    SSL_set_connect_state(peer.ssl);
}

static void end_peer(void)
{
    SSL_free(peer.ssl);
    SSL_CTX_free(peer.context);
    if (peer.fd >= 0)
        close(peer.fd);
}

/* What OpenSSL has written for the peer. */
static struct buffer peer_output(void)
{
    struct buffer bytes = {0};
    char *data;
    long size = BIO_get_mem_data(peer.out, &data);
    buffer_append(&bytes, data, (size_t) size);
    (void) BIO_reset(peer.out);
    return bytes;
}

static void send_all(const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(peer.fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0)
            return; /* ours has closed, or does not read */
        bytes += sent;
        size -= (size_t) sent;
    }
}

static void flush_peer(void)
{
    struct buffer bytes = peer_output();
    send_all(bytes.data, bytes.size);
    buffer_release(&bytes);
}

static void fill_peer(void)
{
    char bytes[8192];
    ssize_t received;
    while ((received = recv(peer.fd, bytes, sizeof(bytes), 0)) > 0)
        BIO_write(peer.in, bytes, (int) received);
}

static bool peer_and_ours_are_secured(void *argument UNUSED)
{
    ERR_clear_error();
    fill_peer();
    int done = SSL_do_handshake(peer.ssl);
    flush_peer();
    return done == 1 && ours.is_secured;
}

static void shake_hands_with_peer(int version)
{
    begin_peer(version);
    tls_accept(&ours.connection, for_clients, NULL, 0);
    run_until(loop, peer_and_ours_are_secured, NULL);
}

static bool ours_has_bytes(void *argument)
{
    return ours.count >= *(const size_t *) argument || ours.has_ended;
}

/* A record that comes byte by byte: nothing is said until it is whole, and nothing after it is lost. */
static void test_a_record_in_pieces(void **state UNUSED)
{
    static const char text[] = "a record of its own";
    size_t expected = 2 * sizeof(text);
    shake_hands_with_peer(0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(SSL_write(peer.ssl, text, sizeof(text)), sizeof(text));
    struct buffer bytes = peer_output();
    for (size_t i = 0; i < bytes.size; i++) {
        send_all(bytes.data + i, 1);
        run_for(loop, 500);
        if (i < bytes.size / 2 - 1)
            assert_int_equal(ours.count, 0);
    }
    run_until(loop, ours_has_bytes, &expected);
    assert_int_equal(ours.receives, 2);
    assert_memory_equal(ours.received.data, text, sizeof(text));
    buffer_release(&bytes);
    end_peer();
}

/* What is behind a whole record waits in OpenSSL, and the socket is empty: a new event must come. */
static void test_a_record_and_a_half(void **state UNUSED)
{
    static char text[16384];
    size_t expected = sizeof(text);
    memset(text, 'x', sizeof(text));
    shake_hands_with_peer(0);
    assert_int_equal(SSL_write(peer.ssl, text, sizeof(text)), sizeof(text));
    assert_int_equal(SSL_write(peer.ssl, text, sizeof(text)), sizeof(text));
    struct buffer bytes = peer_output();
    send_all(bytes.data, bytes.size / 2 + 100);
    run_until(loop, ours_has_bytes, &expected);
    run_for(loop, 2000);
    assert_int_equal(ours.count, sizeof(text));
    connection_mark_drained(&ours.connection, sizeof(text));
    send_all(bytes.data + bytes.size / 2 + 100, bytes.size - bytes.size / 2 - 100);
    expected = 2 * sizeof(text);
    run_until(loop, ours_has_bytes, &expected);
    buffer_release(&bytes);
    end_peer();
}

static void test_early_bytes_are_the_beginning(void **state UNUSED)
{
    char received[1];
    begin_peer(0);
    SSL_do_handshake(peer.ssl);
    struct buffer hello = peer_output();
    tls_accept(&ours.connection, for_clients, hello.data, hello.size);
    memset(hello.data, 0, hello.size); /* borrowed for the call */
    /* A handshake is too dear to be made inside the call: it has its turn. */
    assert_int_equal(recv(peer.fd, received, 1, MSG_PEEK), -1);
    run_until(loop, peer_and_ours_are_secured, NULL);
    buffer_release(&hello);
    end_peer();
}

static void test_early_bytes_have_a_limit(void **state UNUSED)
{
    static uint8_t bytes[32 * 1024 + 1] = {0x16, 3, 1};
    begin_peer(0);
    tls_accept(&ours.connection, for_clients, bytes, sizeof(bytes));
    run_until(loop, flag_is_set, &ours.has_failed);
    assert_string_equal(ours.problem, "the first message is too long");
    end_peer();
}

static void test_no_handshake_but_words(void **state UNUSED)
{
    static const uint8_t words[] = "GET / HTTP/1.1\r\n\r\n";
    begin_peer(0);
    tls_accept(&ours.connection, for_clients, NULL, 0);
    send_all(words, sizeof(words) - 1);
    run_until(loop, flag_is_set, &ours.has_failed);
    assert_string_equal(ours.problem, "http request");
    assert_false(tls_peer_has_left(&ours.connection));
    end_peer();
}

/* Direct TLS that fails at its first bytes is told like any other. */
static void test_early_bytes_that_are_wrong(void **state UNUSED)
{
    static const uint8_t words[] = {0x16, 3, 1, 0, 4, 9, 9, 9, 9};
    begin_peer(0);
    tls_accept(&ours.connection, for_clients, words, sizeof(words));
    on_readable(&ours.connection);
    assert_true(connection_is_open(&ours.connection));
    run_until(loop, flag_is_set, &ours.has_failed);
    end_peer();
}

static void test_a_peer_that_leaves(void **state UNUSED)
{
    begin_peer(0);
    tls_accept(&ours.connection, for_clients, NULL, 0);
    close(peer.fd);
    peer.fd = -1;
    run_until(loop, flag_is_set, &ours.has_failed);
    assert_true(tls_peer_has_left(&ours.connection));
    end_peer();
}

static void test_data_and_good_bye_in_one(void **state UNUSED)
{
    shake_hands_with_peer(0);
    assert_int_equal(SSL_write(peer.ssl, "last", 4), 4);
    SSL_shutdown(peer.ssl);
    flush_peer();
    run_until(loop, flag_is_set, &ours.has_ended);
    assert_int_equal(ours.count, 4);
    end_peer();
}

static void test_data_and_an_end_without_good_bye(void **state UNUSED)
{
    shake_hands_with_peer(0);
    assert_int_equal(SSL_write(peer.ssl, "last", 4), 4);
    flush_peer();
    close(peer.fd);
    peer.fd = -1;
    run_until(loop, flag_is_set, &ours.has_ended);
    assert_int_equal(ours.count, 4);
    end_peer();
}

static void test_a_forged_record_is_the_end(void **state UNUSED)
{
    shake_hands_with_peer(0);
    assert_int_equal(SSL_write(peer.ssl, "good", 4), 4);
    flush_peer();
    assert_int_equal(SSL_write(peer.ssl, "evil", 4), 4);
    struct buffer bytes = peer_output();
    bytes.data[bytes.size - 1] ^= 1;
    send_all(bytes.data, bytes.size);
    run_until(loop, flag_is_set, &ours.has_ended);
    assert_int_equal(ours.count, 4);
    buffer_release(&bytes);
    end_peer();
}

static void update_key(int kind)
{
    ERR_clear_error();
    assert_int_equal(SSL_key_update(peer.ssl, kind), 1);
    SSL_do_handshake(peer.ssl);
}

static void test_key_update(void **state UNUSED)
{
    size_t expected = 4;
    char answer[8] = "";
    shake_hands_with_peer(0);
    update_key(SSL_KEY_UPDATE_REQUESTED);
    assert_int_equal(SSL_write(peer.ssl, "data", 4), 4);
    flush_peer();
    run_until(loop, ours_has_bytes, &expected);
    assert_true(connection_send(&ours.connection, "answer", 6));
    fill_peer();
    assert_int_equal(SSL_read(peer.ssl, answer, sizeof(answer)), 6);
    assert_string_equal(answer, "answer");
    end_peer();
}

/* Work without data: cut off in the end. */
static void test_nothing_but_key_updates(void **state UNUSED)
{
    shake_hands_with_peer(0);
    for (unsigned i = 0; i < 10000 && !ours.has_ended; i++) {
        update_key(SSL_KEY_UPDATE_NOT_REQUESTED);
        flush_peer();
        if (i % 500 == 0)
            run_for(loop, 1000);
    }
    run_until(loop, flag_is_set, &ours.has_ended);
    assert_int_equal(ours.count, 0);
    end_peer();
}

/* With data between them, but no answer is ever read: what waits for the peer stays small. */
static void test_key_updates_of_a_peer_that_does_not_read(void **state UNUSED)
{
    uint8_t *lot = test_malloc(LOT);
    size_t most = 0, queued_before;
    memset(lot, 'x', LOT);
    shake_hands_with_peer(0);
    assert_true(connection_send(&ours.connection, lot, LOT));
    queued_before = connection_queued(&ours.connection);
    assert_true(queued_before > 0);
    for (unsigned i = 0; i < 20000 && !ours.has_ended; i++) {
        update_key(SSL_KEY_UPDATE_REQUESTED);
        assert_int_equal(SSL_write(peer.ssl, "x", 1), 1);
        flush_peer();
        if (i % 200 != 0)
            continue;
        run_for(loop, 1000);
        if (connection_is_open(&ours.connection) &&
            connection_queued(&ours.connection) - queued_before > most)
            most = connection_queued(&ours.connection) - queued_before;
    }
    run_until(loop, flag_is_set, &ours.has_ended);
    assert_true(most < 128 * 1024);
    test_free(lot);
    end_peer();
}

static void test_no_renegotiation(void **state UNUSED)
{
    shake_hands_with_peer(TLS1_2_VERSION);
    SSL_clear_options(peer.ssl, SSL_OP_NO_RENEGOTIATION);
    assert_int_equal(SSL_renegotiate(peer.ssl), 1);
    SSL_do_handshake(peer.ssl);
    flush_peer();
    run_for(loop, 5000);
    fill_peer();
    assert_true(SSL_do_handshake(peer.ssl) != 1);
    assert_int_equal(ours.count, 0);
    connection_close(&ours.connection);
    end_peer();
}

/* ---- turns ---- */

/* Handshakes that never end and always want their step, more than a round has. */
#define GREEDY 40

struct crowd {
    struct task task;
    struct owner owners[GREEDY];
    int fds[GREEDY];
};

static void crowd_round(struct task *task)
{
    struct crowd *crowd = container_of(task, struct crowd, task);
    for (size_t i = 0; i < GREEDY; i++)
        tls_continue(&crowd->owners[i].connection);
    loop_post(loop, &crowd->task);
}

/* Whoever has to wait for his step gets it, though others come all the time. */
static void test_nobody_is_overtaken_for_ever(void **state UNUSED)
{
    struct crowd *crowd = test_calloc(1, sizeof(*crowd));
    for (size_t i = 0; i < GREEDY; i++) {
        int fds[2];
        make_tcp_pair(fds);
        adopt(&crowd->owners[i], fds[0]);
        crowd->fds[i] = fds[1];
        tls_accept(&crowd->owners[i].connection, for_clients, NULL, 0);
    }
    crowd->task.run = crowd_round;
    loop_post(loop, &crowd->task);
    shake_hands("localhost");
    assert_true(ours.is_secured && theirs.is_secured);
    loop_cancel(loop, &crowd->task);
    for (size_t i = 0; i < GREEDY; i++) {
        connection_close(&crowd->owners[i].connection);
        close(crowd->fds[i]);
    }
    test_free(crowd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_handshake),
        TEST(test_a_plain_connection_has_no_tls),
        TEST(test_a_lot_of_data),
        TEST(test_sending_nothing_is_fine),
        TEST(test_no_data_before_the_handshake_is_over),
        TEST(test_close_is_an_end_for_the_other),
        TEST(test_both_hash_the_same_certificate),
        TEST(test_names_of_the_server),
        TEST(test_names_of_a_client),
        TEST(test_a_client_without_a_certificate),
        TEST(test_a_record_in_pieces),
        TEST(test_a_record_and_a_half),
        TEST(test_early_bytes_are_the_beginning),
        TEST(test_early_bytes_have_a_limit),
        TEST(test_early_bytes_that_are_wrong),
        TEST(test_no_handshake_but_words),
        TEST(test_a_peer_that_leaves),
        TEST(test_data_and_good_bye_in_one),
        TEST(test_data_and_an_end_without_good_bye),
        TEST(test_a_forged_record_is_the_end),
        TEST(test_key_update),
        TEST(test_nothing_but_key_updates),
        TEST(test_key_updates_of_a_peer_that_does_not_read),
        TEST(test_no_renegotiation),
        TEST(test_nobody_is_overtaken_for_ever),
    };
    return cmocka_run_group_tests(tests, set_up_group, tear_down_group);
}
