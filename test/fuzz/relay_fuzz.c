/*
 * relay_fuzz.c - a session between a client and a server that both send anything, in pieces of any
 * size. The pools, the sockets and the loop around it are stand-ins; what is tested is the session,
 * the two ways through it, and the queue of answers, with the collector beside them.
 *
 * However the streams are cut, the same bytes must pass and the session must end the same way. To
 * the server go whole messages only, in their order, none changed; to the client goes the very
 * beginning of what the server sent.
 *
 * With prepared statements the server is one that knows them: it answers what it was sent, and the
 * bytes of its segments decide how. Only names of the pooler's own may reach it, a statement is never
 * prepared twice nor used before it is prepared, and when all is answered both sides agree on what
 * the server has.
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
#include "server/server_statements.h"
#include "wire/collector.h"
#include "wire/extended.h"
#include "wire/frame.h"
#include "wire/messages.h"

/* ---- the world around a session ---- */

static struct config config;
static struct tracked_names tracked;

static bool is_over(void);

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

void server_tell_close_needed(struct server *server UNUSED)
{
}

bool server_read_parameter_status(struct server *server UNUSED, const uint8_t *body, size_t size,
                                  int *ret_place)
{
    *ret_place = -1;
    return size >= 2 && body[size - 1] == 0;
}

/* ---- a server with prepared statements ---- */

#define PREPARED_MAX 64

static struct {
    char names[PREPARED_MAX][STATEMENT_NAME_SIZE];
    size_t count;
    size_t read; /* of what was sent to it */
    bool skipping, failed; /* `failed`: the transaction */
} backend;

static bool has_prepared(const char *name, size_t *ret_place)
{
    for (*ret_place = 0; *ret_place < backend.count; ++*ret_place)
        if (strcmp(backend.names[*ret_place], name) == 0)
            return true;
    return false;
}

static void forget_prepared(size_t place)
{
    backend.count--;
    memmove(backend.names[place], backend.names[backend.count], STATEMENT_NAME_SIZE);
}

static void say(uint8_t type, const char *body, size_t size)
{
    uint8_t header[FRAME_HEADER_SIZE] = {type, 0, 0, 0, (uint8_t) (size + 4)};
    buffer_append(&world.server_side.incoming, header, sizeof(header));
    buffer_append(&world.server_side.incoming, body, size);
}

/* What becomes of a name. Returns false if the message fails. */
static bool use_name(uint8_t type, const char *name, bool fails)
{
    size_t place;
    bool known = has_prepared(name, &place);
    if (strcmp(name, "pgweir: none") == 0)
        return false;
    HOLDS(strncmp(name, "PGBOUNCER_", 10) == 0);
    if (type == 'C') { /* never fails by itself */
        if (known)
            forget_prepared(place);
        return true;
    }
    HOLDS(known == (type != 'P'));
    if (type != 'P' || fails)
        return !fails;
    HOLDS(backend.count < PREPARED_MAX);
    strcpy(backend.names[backend.count++], name);
    return true;
}

/* Returns false if it is answered with an error. */
static bool read_names(const struct frame *frame, const uint8_t *message, bool fails)
{
    struct extended_names names;
    if (frame->type == 'E')
        return !fails;
    HOLDS(extended_read_names(frame, message + FRAME_HEADER_SIZE, (size_t) frame->size - 5,
                              &names) == EXTENDED_NAMES);
    if (names.of_portal || names.statement_size == 0)
        return frame->type == 'C' || !fails;
    return use_name(frame->type, names.statement, fails);
}

static void be_ready(void)
{
    backend.skipping = false;
    say('Z', backend.failed ? "E" : "I", 1);
    backend.failed = false; /* as if by a ROLLBACK that is not shown */
}

/* One message; `choice` decides what becomes of it. */
static void answer_message(const struct frame *frame, const uint8_t *message, uint8_t choice)
{
    static const char error[] = "SERROR\0C42601\0Mno\0";
    static const char types[] = "PBDEC", answers[] = "12nC3";
    const char *place = strchr(types, frame->type);
    bool fails = choice % 8 == 7;
    backend.failed = choice % 32 == 31;
    if (frame->type == 'S' || (frame->type == 'Q' && !backend.skipping)) {
        if (frame->type == 'Q')
            say('C', "OK", 3);
        be_ready();
    } else if (place != NULL && !backend.skipping) {
        if (!read_names(frame, message, fails)) {
            backend.skipping = true;
            say('E', error, sizeof(error));
        } else {
            say((uint8_t) answers[place - types], "OK", frame->type == 'E' ? 3 : 0);
        }
    }
}

/* Reads up to `size` messages; returns false if there was none. */
static bool backend_answers(const uint8_t *choices, size_t size)
{
    const struct buffer *sent = &world.server_side.outgoing;
    size_t answered = 0;
    for (; answered < size && sent->size - backend.read >= FRAME_HEADER_SIZE; answered++) {
        const uint8_t *message = sent->data + backend.read;
        struct frame frame;
        HOLDS(frame_read_header(message, &frame));
        if (frame.size > sent->size - backend.read)
            break;
        backend.read += (size_t) frame.size;
        if (frame.type == 'F') /* more of the protocol than is needed here */
            world.server_closed = true;
        answer_message(&frame, message, choices[answered]);
    }
    return answered > 0;
}

/* Nothing is on its way: what we think the server has is what it has. */
static void compare_prepared(void)
{
    const struct server_statements *statements = world.server.statements;
    struct server_statement *entry, *next;
    size_t place, count = 0;
    if (statements == NULL || world.server.answers.count > 0 || is_over())
        return;
    HOLDS(statements->notes_count == 0);
    HASH_ITER(hh, statements->by_statement, entry, next) {
        HOLDS(entry->pending == 0 && entry->present && entry->expected);
        HOLDS(has_prepared(entry->statement->name, &place));
        count++;
    }
    HOLDS(count == backend.count && count == statements->count);
}

/* ---- one run ---- */

static bool is_over(void)
{
    return world.client_closed || world.server_closed;
}

/* In transaction pooling. */
static bool has_statements(uint8_t choices)
{
    return (choices & 5) == 5;
}

static void set_up(uint8_t choices, size_t piece)
{
    static uint8_t *memory, *write_memory;
    if (memory == NULL) {
        HOLDS(log_configure(&(struct log_options){.to_stderr = false}));
        memory = memory_new(LOOP_HEADROOM + LOOP_READ_SIZE);
        write_memory = memory_new(LOOP_WRITE_SIZE);
        settings_init(&config.settings);
        config.settings.max_packet_size = 4096;
        config.settings.max_prepared_statement_size = 100;
        config.settings.max_client_prepared_memory = 1000;
        HOLDS(tracked_names_init(&tracked, NULL, "role"));
    }
    memset(&world, 0, sizeof(world));
    world.loop.read_memory = memory;
    world.loop.write_memory = write_memory;
    world.client.connection.loop = world.server.connection.loop = &world.loop;
    world.client.pool = world.server.pool = &world.pool;
    world.pool.statements = statement_table_create();
    world.client.database = world.pool.database = &world.database;
    world.client.user = world.pool.user = &world.user;
    world.pool.limits.mode = choices & 1 ? POOL_TRANSACTION : POOL_SESSION;
    world.waits = (choices & 2) != 0;
    memset(&backend, 0, sizeof(backend));
    if (has_statements(choices)) {
        world.pool.limits.prepared_statements = 2;
        world.pool.limits.prepare_unnamed = (choices & 8) != 0;
    }
    config.settings.prepared_statement_errors = (choices & 16) != 0;
    world.server.tracked = &tracked;
    world.server.ready = true;
    world.server.transaction_status = 'I';
    parameters_init(&world.client.parameters, &tracked);
    parameters_init(&world.server.parameters, &tracked);
    world.client_side.piece = world.server_side.piece = piece;
    session_start(&world.client, NULL, 0);
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
        if (world.pool.limits.prepared_statements == 0)
            buffer_append(&world.server_side.incoming, bytes, size);
        else if (!backend_answers(bytes, size) || is_over())
            return;
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
    compare_prepared();
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
    statement_table_destroy(world.pool.statements);
    server_statements_destroy(world.server.statements);
    HOLDS(statement_memory() == 0);
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
    if (size == 0 || !has_statements(data[0]))
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
