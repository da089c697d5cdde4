/*
 * resolver_test.c - look-ups against a name server of our own: shared, cached, late, lost and
 * wrong.
 *
 * The server runs in the loop under test. ares_init_options() is replaced here, to put the server's
 * port in place of 53.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>

#include "base/log.h"
#include "fixture.h"

#define MSEC USEC_PER_MSEC

enum {
    TYPE_A = 1,
    TYPE_CNAME = 5,
    TYPE_AAAA = 28
};

enum {
    CODE_OK = 0,
    CODE_SERVFAIL = 2,
    CODE_NXDOMAIN = 3,
    CODE_REFUSED = 5
};

/* ---- c-ares on another port ---- */

static uint16_t server_port;
static bool setup_fails;
static unsigned channels_made;

int ares_init_options(ares_channel *ret_channel, struct ares_options *options, int set)
{
    int (*real)(ares_channel *, struct ares_options *, int);
    void *symbol = dlsym(RTLD_NEXT, "ares_init_options");
    assert_non_null(symbol);
    memcpy(&real, &symbol, sizeof(real));
    if (setup_fails)
        return ARES_ENOMEM;
    channels_made++;
    options->udp_port = server_port;
    options->tcp_port = server_port;
    return real(ret_channel, options, set | ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT);
}

/* ---- the name server ---- */

struct zone_entry {
    const char *name;
    int code;
    unsigned a_count, aaaa_count;
    bool is_silent, is_loop, has_wrong_id;
};

static const struct zone_entry zone[] = {
    {.name = "one.test", .a_count = 1},
    {.name = "two.test", .a_count = 2},
    {.name = "both.test", .a_count = 1, .aaaa_count = 1},
    {.name = "six.test", .aaaa_count = 1},
    {.name = "many.test", .a_count = 1000},
    {.name = "empty.test"},
    {.name = "nothing.test", .code = CODE_NXDOMAIN},
    {.name = "broken.test", .code = CODE_SERVFAIL},
    {.name = "refused.test", .code = CODE_REFUSED},
    {.name = "silent.test", .is_silent = true},
    {.name = "loop.test", .is_loop = true},
    {.name = "forged.test", .a_count = 1, .has_wrong_id = true},
};

static unsigned questions; /* for A records, over UDP */
static unsigned tcp_questions;
static uint8_t last_octet; /* of the addresses given out */

static size_t put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t) (value >> 8);
    at[1] = (uint8_t) value;
    return 2;
}

/* A record for the name of the question. Returns its size. */
static size_t put_record(uint8_t *at, unsigned type, const void *bytes, unsigned size)
{
    size_t length = put16(at, 0xc00c);
    length += put16(at + length, type);
    length += put16(at + length, 1);
    length += put16(at + length, 0);
    length += put16(at + length, 3600);
    length += put16(at + length, size);
    memcpy(at + length, bytes, size);
    return length + size;
}

static const struct zone_entry *find_entry(const uint8_t *question, size_t size, size_t *ret_end)
{
    char name[256] = "";
    size_t at = 12;
    while (at < size && question[at] != 0 && at + question[at] + 1U < size) {
        if (name[0] != '\0')
            strncat(name, ".", sizeof(name) - strlen(name) - 1);
        strncat(name, (const char *) question + at + 1, question[at]);
        at += question[at] + 1U;
    }
    *ret_end = at + 1;
    for (size_t i = 0; i < countof(zone); i++) {
        if (strcasecmp(zone[i].name, name) == 0)
            return &zone[i];
    }
    return NULL;
}

/* Returns the size of the answer, 0 for silence. */
static size_t answer_question(const uint8_t *question, size_t size, bool is_tcp,
                              uint8_t *ret_answer)
{
    static const struct zone_entry unknown = {.code = CODE_NXDOMAIN};
    size_t end;
    assert_true(size > 16 && size < 400);
    const struct zone_entry *entry = find_entry(question, size, &end);
    if (entry == NULL)
        entry = &unknown;
    unsigned type = (unsigned) question[end] << 8 | question[end + 1];
    end += 4;
    if (type == TYPE_A)
        *(is_tcp ? &tcp_questions : &questions) += 1;
    if (entry->is_silent)
        return 0;
    unsigned count = type == TYPE_A ? entry->a_count : type == TYPE_AAAA ? entry->aaaa_count : 0;
    bool is_cut = !is_tcp && count > 10;
    memcpy(ret_answer, question, end);
    if (entry->has_wrong_id)
        ret_answer[0] = (uint8_t) ~ret_answer[0];
    ret_answer[2] = (uint8_t) (0x81 | (is_cut ? 2 : 0));
    ret_answer[3] = (uint8_t) (0x80 | entry->code);
    memset(ret_answer + 6, 0, 6);
    if (entry->is_loop) {
        put16(ret_answer + 6, 1);
        return end + put_record(ret_answer + end, TYPE_CNAME, "\xc0\x0c", 2);
    }
    if (is_cut)
        return end;
    put16(ret_answer + 6, count);
    for (unsigned i = 0; i < count; i++) {
        uint8_t address[16] = {10, (uint8_t) (i >> 8), (uint8_t) i, last_octet};
        if (type == TYPE_AAAA)
            memcpy(address, "\x20\x01\x0d\xb8", 4);
        end += put_record(ret_answer + end, type, address, type == TYPE_A ? 4 : 16);
    }
    return end;
}

static void on_udp(evutil_socket_t fd, short what UNUSED, void *argument UNUSED)
{
    uint8_t question[512], answer[4096];
    struct sockaddr_storage from;
    socklen_t from_size = sizeof(from);
    ssize_t size = recvfrom(fd, question, sizeof(question), MSG_DONTWAIT, (struct sockaddr *) &from,
                            &from_size);
    if (size <= 0)
        return;
    size_t answer_size = answer_question(question, (size_t) size, false, answer);
    if (answer_size > 0)
        (void) sendto(fd, answer, answer_size, 0, (const struct sockaddr *) &from, from_size);
}

/* One question per connection is all that c-ares asks here. */
static void on_tcp_question(evutil_socket_t fd, short what UNUSED, void *argument UNUSED)
{
    static uint8_t answer[2 + 65536];
    uint8_t question[514];
    ssize_t size = recv(fd, question, sizeof(question), 0);
    if (size > 2) {
        size_t answer_size = answer_question(question + 2, (size_t) size - 2, true, answer + 2);
        put16(answer, (unsigned) answer_size);
        assert_int_equal(send(fd, answer, answer_size + 2, MSG_NOSIGNAL), answer_size + 2);
    }
    close(fd);
}

static void on_tcp(evutil_socket_t listening, short what UNUSED, void *argument)
{
    int fd = accept(listening, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(event_base_once(argument, fd, EV_READ, on_tcp_question, NULL, NULL), 0);
}

/* ---- the stage ---- */

struct stage {
    struct loop *loop;
    struct resolver *resolver;
    char resolv_conf[32];
    int udp, tcp, deaf; /* deaf: a server that never answers, on 127.0.0.2 */
    struct event *udp_event, *tcp_event;
};

struct asker {
    struct resolver_query query;
    struct resolver *resolver;
    bool is_answered;
    unsigned answers;
    size_t count;
    struct address addresses[128];
    char error[128];
    const char *asks_again;         /* asks for this name from inside the answer, once */
    struct resolver_query *cancels; /* takes this one back from inside the answer */
};

static void on_answered(struct resolver_query *query, const struct address *addresses, size_t count,
                        const char *error)
{
    struct asker *asker = container_of(query, struct asker, query);
    assert_null(query->name);
    asker->is_answered = true;
    asker->answers++;
    asker->count = count;
    assert_true(count <= countof(asker->addresses));
    if (count > 0) {
        assert_null(error);
        memcpy(asker->addresses, addresses, count * sizeof(*addresses));
    } else {
        assert_non_null(error);
        snprintf(asker->error, sizeof(asker->error), "%s", error);
    }
    if (asker->cancels != NULL)
        resolver_cancel(asker->cancels);
    if (asker->asks_again != NULL) {
        const char *name = asker->asks_again;
        asker->asks_again = NULL;
        asker->is_answered = false;
        resolver_ask(asker->resolver, name, query);
        assert_int_equal(asker->answers, 1);
    }
}

static void ask(struct stage *stage, struct asker *asker, const char *name)
{
    *asker = (struct asker){.query.answered = on_answered, .resolver = stage->resolver};
    resolver_ask(stage->resolver, name, &asker->query);
    assert_false(asker->is_answered);
}

static void ask_and_wait(struct stage *stage, struct asker *asker, const char *name)
{
    ask(stage, asker, name);
    run_until(stage->loop, flag_is_set, &asker->is_answered);
}

static void assert_address(const struct asker *asker, size_t index, const char *text)
{
    char found[ADDRESS_TEXT_SIZE];
    assert_true(index < asker->count);
    address_print_host(&asker->addresses[index], found, sizeof(found));
    assert_string_equal(found, text);
    assert_int_equal(asker->addresses[index].port, 0);
}

static void write_configuration(const struct stage *stage, const char *text)
{
    /* A new file each time: the stamp differs even within the granularity of its time. */
    unlink(stage->resolv_conf);
    FILE *file = fopen(stage->resolv_conf, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int bind_to(const char *host, uint16_t port, int type)
{
    struct address address;
    struct sockaddr_storage target;
    assert_true(address_parse(host, port, &address));
    socklen_t size = address_to_socket(&address, &target);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (bind(fd, (const struct sockaddr *) &target, size) == 0)
        return fd;
    close(fd);
    return -1;
}

/* One port for UDP and TCP. */
static void bind_server(struct stage *stage)
{
    for (unsigned i = 0; i < 20; i++) {
        struct address address;
        stage->tcp = listen_on_loopback(&address);
        server_port = address.port;
        stage->udp = bind_to("127.0.0.1", server_port, SOCK_DGRAM);
        stage->deaf = bind_to("127.0.0.2", server_port, SOCK_DGRAM);
        if (stage->udp >= 0 && stage->deaf >= 0)
            return;
        close(stage->tcp);
        close(stage->udp);
        close(stage->deaf);
    }
    fail();
}

static int set_up(void **state)
{
    static struct stage stage;
    memset(&stage, 0, sizeof(stage));
    questions = tcp_questions = channels_made = 0;
    last_octet = 1;
    setup_fails = false;
    stage.loop = loop_create();
    bind_server(&stage);
    stage.udp_event = event_new(stage.loop->base, stage.udp, EV_READ | EV_PERSIST, on_udp, NULL);
    stage.tcp_event =
        event_new(stage.loop->base, stage.tcp, EV_READ | EV_PERSIST, on_tcp, stage.loop->base);
    event_add(stage.udp_event, NULL);
    event_add(stage.tcp_event, NULL);
    snprintf(stage.resolv_conf, sizeof(stage.resolv_conf), "/tmp/net-test-XXXXXX");
    int fd = mkstemp(stage.resolv_conf);
    assert_true(fd >= 0);
    close(fd);
    write_configuration(&stage, "nameserver 127.0.0.1\nsearch test\n");
    const struct resolver_options options = {.resolv_conf = stage.resolv_conf,
                                             .max_ttl_us = 600 * USEC_PER_SEC,
                                             .nxdomain_ttl_us = 600 * USEC_PER_SEC};
    stage.resolver = resolver_create(stage.loop, &options);
    assert_non_null(stage.resolver);
    *state = &stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    resolver_destroy(stage->resolver);
    event_free(stage->udp_event);
    event_free(stage->tcp_event);
    close(stage->udp);
    close(stage->tcp);
    close(stage->deaf);
    unlink(stage->resolv_conf);
    loop_destroy(stage->loop);
    return 0;
}

/* ---- answers ---- */

static void test_finds_addresses(void **state)
{
    struct asker asker;
    ask_and_wait(*state, &asker, "one.test");
    assert_int_equal(asker.count, 1);
    assert_address(&asker, 0, "10.0.0.1");
    ask_and_wait(*state, &asker, "two.test");
    assert_int_equal(asker.count, 2);
    ask_and_wait(*state, &asker, "six.test");
    assert_int_equal(asker.count, 1);
    assert_address(&asker, 0, "2001:db8::");
    ask_and_wait(*state, &asker, "both.test");
    assert_int_equal(asker.count, 2);
    assert_int_not_equal(asker.addresses[0].family, asker.addresses[1].family);
}

static void test_search_domain(void **state)
{
    struct asker asker;
    ask_and_wait(*state, &asker, "one");
    assert_int_equal(asker.count, 1);
    assert_address(&asker, 0, "10.0.0.1");
}

static void test_hosts_file(void **state)
{
    struct asker asker;
    ask_and_wait(*state, &asker, "localhost");
    assert_true(asker.count >= 1);
    assert_int_equal(questions, 0);
}

/* Cut over UDP, whole over TCP, and more than we want. */
static void test_a_thousand_addresses(void **state)
{
    struct asker asker;
    ask_and_wait(*state, &asker, "many.test");
    assert_int_equal(asker.count, 64);
    assert_int_equal(tcp_questions, 1);
}

static void test_failures(void **state)
{
    static const char *const names[] = {"nothing.test",
                                        "broken.test",
                                        "refused.test",
                                        "empty.test",
                                        "loop.test",
                                        "bad..name",
                                        "",
                                        "."};
    struct asker asker;
    for (size_t i = 0; i < countof(names); i++) {
        ask_and_wait(*state, &asker, names[i]);
        assert_int_equal(asker.count, 0);
        assert_string_not_equal(asker.error, "");
    }
}

static void test_long_name(void **state)
{
    struct asker asker;
    static char name[100000];
    memset(name, 'n', sizeof(name) - 1);
    ask_and_wait(*state, &asker, name);
    assert_int_equal(asker.count, 0);
}

/* An answer that does not fit the question is no answer: the limit passes. */
static void test_forged_answer_is_not_believed(void **state)
{
    struct asker asker;
    ask_and_wait(*state, &asker, "forged.test");
    assert_int_equal(asker.count, 0);
}

/* ---- sharing and caching ---- */

static void test_one_lookup_for_all(void **state)
{
    struct stage *stage = *state;
    struct asker askers[3];
    for (size_t i = 0; i < countof(askers); i++)
        ask(stage, &askers[i], "one.test");
    for (size_t i = 0; i < countof(askers); i++)
        run_until(stage->loop, flag_is_set, &askers[i].is_answered);
    assert_int_equal(questions, 1);
    assert_int_equal(askers[2].count, 1);
    assert_int_equal(resolver_open_queries(stage->resolver), 0);
    assert_int_equal(resolver_names(stage->resolver), 1);
}

static void test_answers_are_cached(void **state)
{
    struct asker asker;
    for (unsigned i = 0; i < 3; i++) {
        ask_and_wait(*state, &asker, "one.test");
        assert_int_equal(asker.count, 1);
    }
    assert_int_equal(questions, 1);
    for (unsigned i = 0; i < 3; i++) {
        ask_and_wait(*state, &asker, "nothing.test");
        assert_int_equal(asker.count, 0);
        assert_string_not_equal(asker.error, "");
    }
    /* The search domain makes two questions of one. */
    assert_in_range(questions, 2, 3);
}

static void test_without_caching(void **state)
{
    struct stage *stage = *state;
    struct asker asker;
    resolver_set_ttl(stage->resolver, 0, 0);
    ask_and_wait(stage, &asker, "one.test");
    assert_int_equal(asker.count, 1);
    assert_int_equal(resolver_names(stage->resolver), 0);
    last_octet = 2;
    ask_and_wait(stage, &asker, "one.test");
    assert_address(&asker, 0, "10.0.0.2");
    assert_int_equal(questions, 2);
    ask_and_wait(stage, &asker, "bad..name");
    assert_int_equal(asker.count, 0);
    assert_int_equal(resolver_names(stage->resolver), 0);
}

static bool has_no_names(void *argument)
{
    return resolver_names(argument) == 0;
}

static void test_names_expire(void **state)
{
    struct stage *stage = *state;
    struct asker asker;
    resolver_set_ttl(stage->resolver, 30 * MSEC, 30 * MSEC);
    ask_and_wait(stage, &asker, "one.test");
    ask_and_wait(stage, &asker, "bad..name");
    run_until(stage->loop, has_no_names, stage->resolver);
    ask_and_wait(stage, &asker, "one.test");
    assert_int_equal(questions, 2);
}

static void test_new_times_hold_for_old_answers(void **state)
{
    struct stage *stage = *state;
    struct asker asker;
    ask_and_wait(stage, &asker, "one.test");
    ask_and_wait(stage, &asker, "bad..name");
    assert_int_equal(resolver_names(stage->resolver), 2);
    resolver_set_ttl(stage->resolver, 30 * MSEC, 0);
    assert_in_range(resolver_names(stage->resolver), 0, 1);
    run_until(stage->loop, has_no_names, stage->resolver);
    ask(stage, &asker, "two.test");
    resolver_set_ttl(stage->resolver, 0, 0); /* with a question open */
    run_until(stage->loop, flag_is_set, &asker.is_answered);
    assert_int_equal(asker.count, 2);
}

/* ---- asking and cancelling at awkward times ---- */

static void test_asking_again_from_inside_the_answer(void **state)
{
    struct stage *stage = *state;
    struct asker asker, other;
    resolver_set_ttl(stage->resolver, 0, 0);
    ask(stage, &asker, "one.test");
    asker.asks_again = "one.test";
    ask(stage, &other, "one.test");
    run_until(stage->loop, flag_is_set, &asker.is_answered);
    assert_int_equal(asker.answers, 2);
    assert_int_equal(other.answers, 1);
    assert_int_equal(questions, 2); /* nothing was cached */
    resolver_set_ttl(stage->resolver, USEC_PER_SEC, USEC_PER_SEC);
    ask(stage, &asker, "bad..name"); /* fails inside ares_getaddrinfo() */
    asker.asks_again = "bad..name";
    run_until(stage->loop, flag_is_set, &asker.is_answered);
    assert_int_equal(asker.answers, 2);
}

static void test_cancel(void **state)
{
    struct stage *stage = *state;
    struct asker asker, other;
    ask(stage, &asker, "one.test"); /* before the look-up starts */
    resolver_cancel(&asker.query);
    resolver_cancel(&asker.query);
    run_for(stage->loop, 20 * MSEC);
    assert_int_equal(asker.answers, 0);
    assert_int_equal(resolver_names(stage->resolver), 0);

    ask(stage, &asker, "one.test");
    ask_and_wait(stage, &other, "one.test");
    ask(stage, &asker, "one.test"); /* cached, the answer is on its way */
    resolver_cancel(&asker.query);
    run_for(stage->loop, 20 * MSEC);
    assert_int_equal(asker.answers, 0);

    ask(stage, &asker, "silent.test"); /* the look-up is in flight */
    run_for(stage->loop, 20 * MSEC);
    assert_int_equal(resolver_open_queries(stage->resolver), 1);
    resolver_cancel(&asker.query);
    run_for(stage->loop, 20 * MSEC);
    assert_int_equal(asker.answers, 0);
}

static void test_cancelling_another_from_inside_the_answer(void **state)
{
    struct stage *stage = *state;
    struct asker first, second, third;
    ask(stage, &first, "one.test");
    ask(stage, &second, "one.test");
    ask(stage, &third, "one.test");
    first.cancels = &second.query;
    third.cancels = &first.query; /* which is not open any more */
    run_until(stage->loop, flag_is_set, &third.is_answered);
    assert_int_equal(first.answers, 1);
    assert_int_equal(second.answers, 0);
}

static void test_destroy_with_everything_open(void **state)
{
    struct stage *stage = *state;
    struct asker silent, fresh, cached;
    ask_and_wait(stage, &cached, "one.test");
    ask(stage, &silent, "silent.test");
    run_for(stage->loop, 20 * MSEC);
    ask(stage, &fresh, "two.test");
    ask(stage, &cached, "one.test");
    resolver_destroy(stage->resolver);
    stage->resolver = NULL;
    resolver_cancel(&silent.query);
    resolver_cancel(&fresh.query);
    run_for(stage->loop, 20 * MSEC);
    assert_int_equal(silent.answers + fresh.answers + cached.answers, 0);
    resolver_destroy(NULL);
}

/* ---- trouble ---- */

static void test_silent_server(void **state)
{
    struct stage *stage = *state;
    struct asker silent, other;
    clock_new_turn();
    usec_t start_us = clock_now_us();
    ask(stage, &silent, "silent.test");
    ask_and_wait(stage, &other, "one.test"); /* is not held up */
    assert_int_equal(other.count, 1);
    assert_false(silent.is_answered);
    run_until(stage->loop, flag_is_set, &silent.is_answered);
    assert_int_equal(silent.count, 0);
    assert_true(clock_now_us() - start_us < 15 * USEC_PER_SEC);
    /* The channel that has seen the timeout is not used again. */
    assert_int_equal(channels_made, 1);
    ask_and_wait(stage, &other, "two.test");
    assert_int_equal(other.count, 2);
    assert_int_equal(channels_made, 2);
}

/* Two deaf servers take c-ares longer than we wait; the request outlives its question. */
static void test_limit_of_a_lookup(void **state)
{
    struct stage *stage = *state;
    struct asker asker;
    int second = bind_to("127.0.0.3", server_port, SOCK_DGRAM);
    assert_true(second >= 0);
    write_configuration(stage, "nameserver 127.0.0.2\nnameserver 127.0.0.3\n");
    ask_and_wait(stage, &asker, "one.test");
    assert_int_equal(asker.count, 0);
    assert_string_equal(asker.error, "timeout");
    assert_int_equal(resolver_open_queries(stage->resolver), 0);
    write_configuration(stage, "nameserver 127.0.0.1\n");
    ask_and_wait(stage, &asker, "two.test");
    assert_int_equal(asker.count, 2);
    close(second);
}

/* Nobody at the port: over within a second, not within dns_nxdomain_ttl. */
static void test_no_server_is_not_cached_for_long(void **state)
{
    struct stage *stage = *state;
    struct asker asker;
    write_configuration(stage, "nameserver 127.0.0.9\n");
    ask_and_wait(stage, &asker, "one.test");
    assert_int_equal(asker.count, 0);
    write_configuration(stage, "nameserver 127.0.0.1\n");
    if (strstr(asker.error, "contact") == NULL)
        skip(); /* this system does not say that nobody is there */
    run_for(stage->loop, 1100 * MSEC);
    ask_and_wait(stage, &asker, "one.test");
    assert_int_equal(asker.count, 1);
}

static void test_configuration_appears(void **state)
{
    struct stage *stage = *state;
    struct asker asker;
    unlink(stage->resolv_conf); /* c-ares then tries 127.0.0.1 on its own */
    ask_and_wait(stage, &asker, "one.test");
    assert_int_equal(channels_made, 2);
    write_configuration(stage, "complete nonsense\n\0nameserver\nnameserver 1.2.3.4.5\n");
    ask_and_wait(stage, &asker, "two.test");
    assert_int_equal(channels_made, 3);
    write_configuration(stage, "nameserver 127.0.0.1\n");
    ask_and_wait(stage, &asker, "both.test");
    assert_int_equal(asker.count, 2);
    assert_int_equal(channels_made, 4);
}

/* What was asked of the old server is asked again of the new one. */
static void test_configuration_changes_in_flight(void **state)
{
    struct stage *stage = *state;
    struct asker waiting, other;
    write_configuration(stage, "nameserver 127.0.0.2\n");
    ask(stage, &waiting, "one.test");
    run_for(stage->loop, 50 * MSEC);
    assert_int_equal(resolver_open_queries(stage->resolver), 1);
    write_configuration(stage, "nameserver 127.0.0.1\n");
    ask_and_wait(stage, &other, "two.test");
    run_until(stage->loop, flag_is_set, &waiting.is_answered);
    assert_int_equal(waiting.count, 1);
    assert_int_equal(other.count, 2);
    assert_int_equal(resolver_open_queries(stage->resolver), 0);
}

static void test_old_channel_stays_when_a_new_one_fails(void **state)
{
    struct stage *stage = *state;
    struct asker asker;
    write_configuration(stage, "nameserver 127.0.0.1\n# changed\n");
    setup_fails = true;
    ask_and_wait(stage, &asker, "one.test");
    assert_int_equal(asker.count, 1);
    setup_fails = false;
    ask_and_wait(stage, &asker, "two.test");
    assert_int_equal(asker.count, 2);
    assert_int_equal(channels_made, 2);
}

static void test_setup_that_fails(void **state)
{
    struct stage *stage = *state;
    const struct resolver_options options = {.resolv_conf = ""};
    setup_fails = true;
    assert_null(resolver_create(stage->loop, &options));
}

static void test_system_configuration(void **state)
{
    struct stage *stage = *state;
    const struct resolver_options options = {.resolv_conf = NULL};
    resolver_destroy(stage->resolver);
    stage->resolver = resolver_create(stage->loop, &options);
    assert_non_null(stage->resolver);
    struct asker asker;
    ask_and_wait(stage, &asker, "localhost");
    assert_true(asker.count >= 1);
}

/* ---- the table of names ---- */

static void test_number_of_names_is_bounded(void **state)
{
    struct stage *stage = *state;
    static struct asker askers[10050];
    struct asker asker;
    char name[32];
    ask_and_wait(stage, &asker, "one.test"); /* the oldest */
    for (unsigned i = 0; i < countof(askers); i++) {
        snprintf(name, sizeof(name), "bad..%u", i);
        ask(stage, &askers[i], name);
    }
    /* While somebody waits for them, all are kept. */
    assert_int_equal(resolver_names(stage->resolver), countof(askers));
    run_until(stage->loop, flag_is_set, &askers[countof(askers) - 1].is_answered);
    ask_and_wait(stage, &asker, "bad..name");
    ask_and_wait(stage, &asker, "one.test"); /* had to go, and is asked for once more */
    assert_int_equal(questions, 2);
    assert_true(resolver_names(stage->resolver) <= countof(askers));
}

struct visitor {
    char names[256];
    size_t addresses;
    usec_t shortest, longest;
};

static void on_visit(void *argument, const char *name, usec_t seconds_left,
                     const struct address *addresses, size_t count)
{
    struct visitor *visitor = argument;
    size_t length = strlen(visitor->names);
    snprintf(visitor->names + length, sizeof(visitor->names) - length, "%s ", name);
    visitor->addresses += count;
    if (count > 0)
        assert_int_not_equal(addresses[0].family, AF_UNSPEC);
    if (seconds_left < visitor->shortest)
        visitor->shortest = seconds_left;
    if (seconds_left > visitor->longest)
        visitor->longest = seconds_left;
}

static void test_visit(void **state)
{
    struct stage *stage = *state;
    struct visitor visitor = {.shortest = UINT64_MAX};
    struct asker asker;
    resolver_visit(stage->resolver, on_visit, &visitor);
    assert_string_equal(visitor.names, "");
    ask_and_wait(stage, &asker, "two.test");
    ask_and_wait(stage, &asker, "nothing.test");
    ask_and_wait(stage, &asker, "both.test");
    resolver_visit(stage->resolver, on_visit, &visitor);
    assert_string_equal(visitor.names, "both.test nothing.test two.test ");
    assert_int_equal(visitor.addresses, 4);
    assert_in_range(visitor.shortest, 570, 600);
    assert_in_range(visitor.longest, 570, 600);
    ask(stage, &asker, "silent.test");
    visitor.shortest = UINT64_MAX;
    resolver_visit(stage->resolver, on_visit, &visitor);
    assert_int_equal(visitor.shortest, 0); /* nothing is known yet */
    resolver_cancel(&asker.query);
}

static void test_library(void **state UNUSED)
{
    assert_memory_equal(resolver_library(), "c-ares 1.", 9);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_finds_addresses),
        TEST(test_search_domain),
        TEST(test_hosts_file),
        TEST(test_a_thousand_addresses),
        TEST(test_failures),
        TEST(test_long_name),
        TEST(test_forged_answer_is_not_believed),
        TEST(test_one_lookup_for_all),
        TEST(test_answers_are_cached),
        TEST(test_without_caching),
        TEST(test_names_expire),
        TEST(test_new_times_hold_for_old_answers),
        TEST(test_asking_again_from_inside_the_answer),
        TEST(test_cancel),
        TEST(test_cancelling_another_from_inside_the_answer),
        TEST(test_destroy_with_everything_open),
        TEST(test_silent_server),
        TEST(test_limit_of_a_lookup),
        TEST(test_no_server_is_not_cached_for_long),
        TEST(test_configuration_appears),
        TEST(test_configuration_changes_in_flight),
        TEST(test_old_channel_stays_when_a_new_one_fails),
        TEST(test_setup_that_fails),
        TEST(test_system_configuration),
        TEST(test_number_of_names_is_bounded),
        TEST(test_visit),
        TEST(test_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
