/*
 * relay_fuzz.c - a session between a client and a server that both send anything, in pieces of any
 * size. The pools, the sockets and the loop around it are stand-ins; what is tested is the session,
 * the two ways through it, and the queue of answers, with the collector beside them.
 *
 * However the streams are cut, the same bytes must pass and the session must end the same way. To
 * the server go whole messages only, in their order, none changed; to the client goes the very
 * beginning of what the server sent.
 *
 * The input: a byte of choices, then segments: a byte (bit 7: from the server; the rest: how it is
 * cut), a byte of length, and the bytes.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/config.h"
#include "fuzz.h"
#include "net/connection.h"
#include "net/loop.h"
#include "pool/pools.h"
#include "relay/session.h"
#include "server/server_login.h"
#include "wire/collector.h"
#include "wire/frame.h"
#include "wire/messages.h"

/* ---- the world around a session ---- */

static struct config config;
static struct tracked_names tracked;

/* One side: what it sent and was not received yet, and what it got. */
struct side {
    struct buffer incoming, outgoing;
    size_t piece; /* largest receive */
};

static struct world {
    struct loop loop;
    struct client client;
    struct server server;
    struct database database;
    struct user user;
    struct pool pool;
    struct side client_side, server_side;
    struct buffer gathered;
    bool waits; /* the first request finds no server */
    bool posted_client, posted_server;
    bool client_closed, server_closed, released;
} world;

static struct side *side_of(const struct connection *connection)
{
    return connection == &world.client.connection ? &world.client_side : &world.server_side;
}

const struct settings *settings_current(void)
{
    return &config.settings;
}

void loop_post(struct loop *loop UNUSED, struct task *task)
{
    if (task == &world.client.task)
        world.posted_client = true;
    else
        world.posted_server = true;
}

/* Our own SET goes in front of what is sent; it is no part of what the client said. */
bool connection_send(struct connection *connection, const void *bytes, size_t size)
{
    bool gathers = connection == &world.server.connection && world.gathered.size > 0;
    struct frame frame;
    HOLDS(size > 0 || gathers);
    HOLDS(!(connection == &world.client.connection ? world.client_closed : world.server_closed));
    HOLDS(!gathers || (frame_read_header(world.gathered.data, &frame) && frame.type == 'Q' &&
                       frame.size == world.gathered.size));
    if (gathers)
        world.gathered.size = 0;
    buffer_append(&side_of(connection)->outgoing, bytes, size);
    return true;
}

struct buffer *connection_gather(struct connection *connection)
{
    HOLDS(world.gathered.size == 0 && connection == &world.server.connection);
    return &world.gathered;
}

enum receive_result connection_receive(struct connection *connection, uint8_t **ret_bytes,
                                       size_t *ret_size)
{
    struct side *side = side_of(connection);
    uint8_t *start = loop_read_buffer(connection->loop);
    size_t size = side->incoming.size < side->piece ? side->incoming.size : side->piece;
    if (size == 0) {
        connection->readable = false;
        return RECEIVED_NOTHING;
    }
    memcpy(start, side->incoming.data, size);
    buffer_consume(&side->incoming, size);
    *ret_bytes = start;
    *ret_size = size;
    return RECEIVED_BYTES;
}

void connection_mark_drained(struct connection *connection UNUSED, size_t received UNUSED)
{
}

bool connection_peer_has_left(const struct connection *connection UNUSED)
{
    return false;
}

void deadline_set(struct loop *loop UNUSED, struct deadline *deadline UNUSED, usec_t us UNUSED)
{
}

void deadline_set_since(struct loop *loop UNUSED, struct deadline *deadline UNUSED,
                        usec_t us UNUSED, usec_t since_us UNUSED)
{
}

void deadline_clear(struct deadline *deadline UNUSED)
{
}

usec_t deadline_duration_us(const struct deadline *deadline UNUSED)
{
    return 0;
}

usec_t client_idle_timeout_us(const struct user *user UNUSED)
{
    return 0;
}

usec_t client_wait_limit_us(const struct database *database UNUSED, const struct user *user UNUSED,
                            const char **ret_message)
{
    *ret_message = "query_wait_timeout";
    return 0;
}

void client_close(struct client *client, const char *reason, const char *message UNUSED)
{
    HOLDS(!world.client_closed && reason != NULL && client->session == NULL);
    world.client_closed = true;
}

void client_close_with_failure(struct client *client, const struct failure *failure UNUSED)
{
    client_close(client, "failure", NULL);
}

/* A released server is gone for this client; the next request gets it again, clean. */
enum take_result pool_take(struct pool *pool UNUSED, struct server **ret_server,
                           struct failure *ret_failure UNUSED)
{
    HOLDS(!world.client_closed && world.client.server == NULL);
    if (world.waits)
        return TAKE_WAIT;
    *ret_server = &world.server;
    return TAKE_SERVER;
}

void pool_wait(struct pool *pool UNUSED, struct waiter *waiter UNUSED, bool for_welcome UNUSED,
               usec_t since_us UNUSED)
{
}

void pool_cancel_wait(struct pool *pool UNUSED, struct waiter *waiter UNUSED)
{
}

void pool_give_back(struct pool *pool UNUSED, struct server *server, bool settled,
                    const char *reason)
{
    HOLDS(settled == (reason == NULL));
    HOLDS(!settled || world.gathered.size == 0);
    HOLDS(!settled ||
          (answers_settled(&server->answers) && server->body_left == 0 && server->held.size == 0));
    world.released = settled;
    world.server_closed = !settled;
}

void pool_close_server(struct pool *pool UNUSED, struct server *server UNUSED,
                       const char *reason UNUSED)
{
    world.server_closed = true;
}

void server_link(struct server *server, struct session *session,
                 const struct server_link_ops *link_ops)
{
    server->session = session;
    server->link_ops = link_ops;
    world.released = false;
}

void server_unlink(struct server *server)
{
    server->session = NULL;
    server->link_ops = NULL;
}

bool server_read_parameter_status(struct server *server UNUSED, const uint8_t *body, size_t size,
                                  int *ret_place)
{
    *ret_place = -1;
    return size >= 2 && body[size - 1] == 0;
}

/* ---- one run ---- */

static void set_up(uint8_t choices, size_t piece)
{
    static uint8_t *memory, *write_memory;
    if (memory == NULL) {
        HOLDS(log_configure(&(struct log_options){.to_stderr = false}));
        memory = memory_new(LOOP_HEADROOM + LOOP_READ_SIZE);
        write_memory = memory_new(LOOP_WRITE_SIZE);
        settings_init(&config.settings);
        config.settings.max_packet_size = 4096;
        HOLDS(tracked_names_init(&tracked, NULL, "role"));
    }
    memset(&world, 0, sizeof(world));
    world.loop.read_memory = memory;
    world.loop.write_memory = write_memory;
    world.client.connection.loop = world.server.connection.loop = &world.loop;
    world.client.pool = world.server.pool = &world.pool;
    world.client.database = world.pool.database = &world.database;
    world.client.user = world.pool.user = &world.user;
    world.pool.limits.mode = choices & 1 ? POOL_TRANSACTION : POOL_SESSION;
    world.waits = (choices & 2) != 0;
    world.server.tracked = &tracked;
    world.server.ready = true;
    world.server.transaction_status = 'I';
    parameters_init(&world.client.parameters, &tracked);
    parameters_init(&world.server.parameters, &tracked);
    world.client_side.piece = world.server_side.piece = piece;
    session_start(&world.client, NULL, 0);
}

static bool is_over(void)
{
    return world.client_closed || world.server_closed;
}

/* Tasks that were posted, and a server for who waits. */
static void run_tasks(void)
{
    while (!is_over() && (world.posted_client || world.posted_server)) {
        bool client = world.posted_client;
        world.posted_client = false;
        if (client) {
            world.client.consumer->resumed(&world.client);
            continue;
        }
        world.posted_server = false;
        if (world.server.link_ops != NULL)
            world.server.link_ops->readable(&world.server);
    }
}

static void end_wait(void)
{
    const struct session *session = world.client.session;
    if (is_over() || session->state != SESSION_WAITING)
        return;
    world.waits = false;
    world.client.waiter.server = &world.server;
    world.client.consumer->waited(&world.client);
}

/* A server that is linked to nobody may say nothing: the pool would close it. */
static void take_segment(bool from_server, const uint8_t *bytes, size_t size)
{
    struct client *client = &world.client;
    struct server *server = &world.server;
    if (from_server && client->server == NULL)
        return;
    if (from_server) {
        buffer_append(&world.server_side.incoming, bytes, size);
        server->connection.readable = true;
        server->link_ops->readable(server);
    } else {
        buffer_append(&world.client_side.incoming, bytes, size);
        client->connection.readable = true;
        client->consumer->readable(client);
    }
    run_tasks();
    end_wait();
    run_tasks();
}

struct outcome {
    struct buffer to_client, to_server;
    bool client_closed, server_closed, released;
};

/* Sends what the input says, in pieces of at most `piece` bytes. */
static void run(const uint8_t *data, size_t size, size_t piece, struct outcome *ret_outcome)
{
    struct input input = {data, size};
    set_up(take_byte(&input), piece);
    while (input.left > 0 && !is_over()) {
        uint8_t kind = take_byte(&input);
        size_t length = take_byte(&input), taken;
        uint8_t *bytes = take_bytes(&input, length, &taken);
        take_segment((kind & 0x80) != 0, bytes, taken);
        free(bytes);
    }
    *ret_outcome = (struct outcome){.to_client = world.client_side.outgoing,
                                    .to_server = world.server_side.outgoing,
                                    .client_closed = world.client_closed,
                                    .server_closed = world.server_closed,
                                    .released = world.released};
    if (!world.client_closed)
        world.client.consumer->end(&world.client, NULL);
    HOLDS(world.client_closed && world.client.session == NULL && world.client.server == NULL);
    buffer_release(&world.client_side.incoming);
    buffer_release(&world.server_side.incoming);
    buffer_release(&world.server.held);
    buffer_release(&world.gathered);
    proven_values_release(&world.pool.proven_values);
    answers_release(&world.server.answers);
    parameters_release(&world.client.parameters, &tracked);
    parameters_release(&world.server.parameters, &tracked);
}

/* ---- what must be true ---- */

static void join(const uint8_t *data, size_t size, bool from_server, struct buffer *ret_stream)
{
    struct input input = {data, size};
    (void) take_byte(&input);
    while (input.left > 0) {
        bool server = (take_byte(&input) & 0x80) != 0;
        size_t length = take_byte(&input), taken;
        uint8_t *bytes = take_bytes(&input, length, &taken);
        if (server == from_server)
            buffer_append(ret_stream, bytes, taken);
        free(bytes);
    }
}

/* Every message of the client went to the server as it is, or was COPY data and dropped. */
static void check_to_server(const struct buffer *sent, const struct buffer *got)
{
    size_t at = 0, place = 0;
    while (place < got->size) {
        struct frame frame;
        HOLDS(sent->size - at >= FRAME_HEADER_SIZE);
        HOLDS(frame_read_header(sent->data + at, &frame) && frame.size <= 4096);
        unsigned flags = client_message_flags[frame.type];
        HOLDS(flags != 0 && !(flags & MESSAGE_ENDS_SESSION));
        size_t size = frame.size < sent->size - at ? (size_t) frame.size : sent->size - at;
        size_t left = got->size - place, part = size < left ? size : left;
        bool same = memcmp(sent->data + at, got->data + place, part) == 0;
        HOLDS(same || (flags & MESSAGE_COPY));
        place += same ? part : 0;
        at += size;
    }
}

/* The collector finds the same messages, in one piece or byte by byte. */
static void check_collector(const struct buffer *stream)
{
    struct collector whole = {0}, pieces = {0};
    struct collected_message a, b;
    enum collect_result result = COLLECT_MESSAGE;
    size_t fed = 0;
    buffer_append(&whole.bytes, stream->data, stream->size);
    while (result == COLLECT_MESSAGE) {
        enum collect_result other = collector_next(&pieces, 1000, &b);
        while (other == COLLECT_MORE && fed < stream->size) {
            collector_feed(&pieces, stream->data + fed++, 1);
            other = collector_next(&pieces, 1000, &b);
        }
        result = collector_next(&whole, 1000, &a);
        HOLDS(result == other);
        HOLDS(result != COLLECT_MESSAGE ||
              (a.type == b.type && a.size == b.size && memcmp(a.body, b.body, a.size) == 0));
    }
    collector_release(&whole);
    collector_release(&pieces);
}

static void release(struct outcome *outcome)
{
    buffer_release(&outcome->to_client);
    buffer_release(&outcome->to_server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {1, 3, 7};
    struct outcome whole, cut;
    struct buffer client = {0}, server = {0};
    run(data, size, LOOP_READ_SIZE, &whole);
    join(data, size, false, &client);
    join(data, size, true, &server);
    check_to_server(&client, &whole.to_server);
    check_collector(&client);
    if (size > 0 && (data[0] & 1) == 0) { /* in session mode nothing depends on the moment */
        HOLDS(whole.to_client.size <= server.size);
        for (size_t i = 0; i < countof(pieces); i++) {
            run(data, size, pieces[i], &cut);
            HOLDS(is_same_buffer(&whole.to_client, &cut.to_client));
            HOLDS(is_same_buffer(&whole.to_server, &cut.to_server));
            HOLDS(whole.client_closed == cut.client_closed);
            HOLDS(whole.server_closed == cut.server_closed);
            release(&cut);
        }
    }
    release(&whole);
    buffer_release(&client);
    buffer_release(&server);
    return 0;
}
