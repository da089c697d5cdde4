/*
 * host_list.c - the hosts of a database entry, and which one the next connection goes to.
 *
 * SPDX-License-Identifier: ISC
 */
#include "hosts/host_list.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

/* After so many failures in a row the pause of a host is that of server_login_retry. */
#define FAILURES_MAX 5

/* The shortest pause of a host among several, and the most that chance adds to one. */
#define PAUSE_MIN_US  (USEC_PER_SEC / 10)
#define JITTER_MAX_US (USEC_PER_SEC / 3)

static void add_host(struct host_list *list, char *name, uint16_t port)
{
    list->hosts = memory_resize(list->hosts, (list->count + 1) * sizeof(*list->hosts));
    list->hosts[list->count++] = (struct host){.name = name, .port = port};
}

/* The next port of the list; the last one counts for all that follow. */
static uint16_t next_port(const char **ports)
{
    const char *comma = strchr(*ports, ',');
    uint16_t port = (uint16_t) strtoul(*ports, NULL, 10);
    if (comma != NULL)
        *ports = comma + 1;
    return port;
}

void host_list_init(struct host_list *list, const char *hosts, const char *ports, bool stay)
{
    static const char port_default[] = "5432";
    const char *port = ports != NULL ? ports : port_default;
    *list = (struct host_list){.stay = stay};
    if (hosts == NULL)
        add_host(list, NULL, next_port(&port));
    while (hosts != NULL) {
        const char *comma = strchr(hosts, ',');
        size_t length = comma != NULL ? (size_t) (comma - hosts) : strlen(hosts);
        add_host(list, memory_copy_bytes(hosts, length), next_port(&port));
        hosts = comma != NULL ? comma + 1 : NULL;
    }
}

void host_list_release(struct host_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->hosts[i].name);
    free(list->hosts);
    *list = (struct host_list){0};
}

static struct host *host_at(const struct host_list *list, size_t place)
{
    return &list->hosts[place % list->count];
}

/* An element may stand in the list twice; an only host needs no name. */
static bool is_named(const struct host_list *list, const struct host *host, const char *name,
                     uint16_t port)
{
    return list->count == 1 || (host->port == port && strcmp(host->name, name) == 0);
}

/* Durations of deadlines: a few values for each setting. */
static usec_t pause_us(const struct host *host, usec_t retry_us)
{
    usec_t us = host->failures < FAILURES_MAX ? retry_us >> (FAILURES_MAX - host->failures)
                                              : retry_us;
    if (us < PAUSE_MIN_US)
        us = PAUSE_MIN_US;
    return us < retry_us ? us : retry_us;
}

static bool may_be_tried(const struct host *host, usec_t now_us, usec_t retry_us)
{
    return host->failures == 0 || now_us >= host->pause_since_us + pause_us(host, retry_us);
}

const struct host *host_list_pick(struct host_list *list, usec_t now_us, usec_t retry_us)
{
    size_t place = list->turn;
    for (size_t i = 0; i < list->count; i++) {
        if (may_be_tried(host_at(list, list->turn + i), now_us, retry_us)) {
            place = list->turn + i;
            break;
        }
    }
    list->turn = (place + !list->stay) % list->count;
    return host_at(list, place);
}

bool host_list_must_wait(const struct host_list *list, usec_t now_us, usec_t retry_us,
                         usec_t *ret_pause_us, usec_t *ret_since_us)
{
    usec_t earliest_us = UINT64_MAX;
    for (size_t i = 0; i < list->count; i++) {
        const struct host *host = &list->hosts[i];
        usec_t pause = pause_us(host, retry_us);
        if (may_be_tried(host, now_us, retry_us))
            return false;
        if (host->pause_since_us + pause >= earliest_us)
            continue;
        earliest_us = host->pause_since_us + pause;
        *ret_pause_us = pause;
        *ret_since_us = host->pause_since_us;
    }
    return list->count > 0;
}

static usec_t jitter_us(usec_t pause)
{
    uint32_t chance;
    usec_t most = pause / 10 < JITTER_MAX_US ? pause / 10 : JITTER_MAX_US;
    random_bytes(&chance, sizeof(chance));
    return most * chance / UINT32_MAX;
}

static void begin_pause(struct host *host, unsigned failures, usec_t started_us, usec_t now_us,
                        usec_t retry_us)
{
    host->failures = failures < FAILURES_MAX ? failures : FAILURES_MAX;
    host->failed_us = now_us;
    host->pause_since_us = started_us + jitter_us(pause_us(host, retry_us));
}

bool host_list_failed(struct host_list *list, const char *name, uint16_t port, usec_t started_us,
                      usec_t now_us, usec_t retry_us)
{
    bool others = false;
    for (size_t i = 0; i < list->count; i++) {
        struct host *host = &list->hosts[i];
        if (!is_named(list, host, name, port)) {
            others = others || host->failures == 0;
            continue;
        }
        if (list->stay && i == list->turn)
            list->turn = (list->turn + 1) % list->count;
        if (host->failures > 0 && started_us < host->failed_us)
            continue; /* began before we knew: of one outage with the last one */
        begin_pause(host, list->count == 1 ? FAILURES_MAX : host->failures + 1, started_us, now_us,
                    retry_us);
    }
    return others;
}

void host_list_refused(struct host_list *list, usec_t started_us, usec_t now_us, usec_t retry_us)
{
    for (size_t i = 0; i < list->count; i++)
        begin_pause(&list->hosts[i], FAILURES_MAX, started_us, now_us, retry_us);
}

void host_list_succeeded(struct host_list *list, const char *name, uint16_t port)
{
    for (size_t i = 0; i < list->count; i++)
        if (is_named(list, &list->hosts[i], name, port))
            list->hosts[i].failures = 0;
}

bool host_list_note_role(struct host_list *list, const char *name, uint16_t port,
                         enum host_role role)
{
    bool news = false;
    for (size_t i = 0; i < list->count; i++) {
        struct host *host = &list->hosts[i];
        if (!is_named(list, host, name, port))
            continue;
        news = news || host->role != role;
        host->role = role;
    }
    return news;
}

enum host_role host_list_role(const struct host_list *list, const char *name, uint16_t port,
                              enum host_role unlisted)
{
    for (size_t i = 0; i < list->count; i++)
        if (is_named(list, &list->hosts[i], name, port))
            return list->hosts[i].role;
    return unlisted;
}

void host_list_forget_failures(struct host_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        list->hosts[i].failures = 0;
}

bool host_list_may_have_standby(const struct host_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->hosts[i].role != HOST_PRIMARY && list->hosts[i].failures == 0)
            return true;
    return false;
}

bool host_is_unix(const char *host)
{
    return host[0] == '/' || host[0] == '@';
}
