/*
 * failed_logins.c - remembers who has failed to log in.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/failed_logins.h"

#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/memory.h"

/* A pair that has been quiet for so long begins anew. */
#define FORGET_US (10 * 60 * USEC_PER_SEC)

#define FIRST_DELAY_US (USEC_PER_SEC / 8)

struct failed_login {
    struct buffer key; /* owns; see key_of() */
    unsigned count;
    usec_t last_us;
    struct failed_login *next, *prev; /* by last_us, the oldest first */
    UT_hash_handle hh;
};

struct failed_logins {
    size_t limit;
    struct failed_login *table, *by_age;
};

struct failed_logins *failed_logins_create(size_t limit)
{
    struct failed_logins *failed = memory_new(sizeof(*failed));
    failed->limit = limit;
    return failed;
}

static void drop(struct failed_logins *failed, struct failed_login *login)
{
    HASH_DEL(failed->table, login);
    DL_DELETE(failed->by_age, login);
    buffer_release(&login->key);
    free(login);
}

void failed_logins_destroy(struct failed_logins *failed)
{
    if (failed == NULL)
        return;
    while (failed->by_age != NULL)
        drop(failed, failed->by_age);
    free(failed);
}

/* The address without its port, then the name. */
static struct buffer key_of(const struct address *address, const char *user)
{
    struct buffer key = {0};
    if (address->family == AF_INET)
        buffer_append(&key, &address->ipv4, sizeof(address->ipv4));
    else
        buffer_append(&key, &address->ipv6, sizeof(address->ipv6));
    buffer_append(&key, user, strlen(user));
    return key;
}

static bool is_remote(const struct address *address)
{
    return address->family == AF_INET || address->family == AF_INET6;
}

static struct failed_login *find(const struct failed_logins *failed, const struct address *address,
                                 const char *user)
{
    struct failed_login *login;
    struct buffer key;
    if (failed->table == NULL) /* the usual case */
        return NULL;
    key = key_of(address, user);
    HASH_FIND(hh, failed->table, key.data, key.size, login);
    buffer_release(&key);
    return login;
}

unsigned failed_logins_count(const struct failed_logins *failed, const struct address *address,
                             const char *user)
{
    const struct failed_login *login = is_remote(address) ? find(failed, address, user) : NULL;
    return login != NULL && clock_now_us() - login->last_us < FORGET_US ? login->count : 0;
}

usec_t failed_logins_delay_us(const struct failed_logins *failed, const struct address *address,
                              const char *user, usec_t most_us)
{
    unsigned count = failed_logins_count(failed, address, user);
    usec_t delay_us = FIRST_DELAY_US;
    if (count == 0)
        return 0;
    while (--count > 0 && delay_us < most_us)
        delay_us *= 2;
    return delay_us < most_us ? delay_us : most_us;
}

void failed_logins_add(struct failed_logins *failed, const struct address *address,
                       const char *user)
{
    unsigned count = failed_logins_count(failed, address, user);
    struct failed_login *login;
    if (!is_remote(address))
        return;
    failed_logins_clear(failed, address, user);
    login = memory_new(sizeof(*login));
    login->key = key_of(address, user);
    login->count = count + 1;
    login->last_us = clock_now_us();
    HASH_ADD_KEYPTR(hh, failed->table, login->key.data, login->key.size, login);
    DL_APPEND(failed->by_age, login);
    if (HASH_COUNT(failed->table) > failed->limit)
        drop(failed, failed->by_age);
}

void failed_logins_clear(struct failed_logins *failed, const struct address *address,
                         const char *user)
{
    struct failed_login *login = is_remote(address) ? find(failed, address, user) : NULL;
    if (login != NULL)
        drop(failed, login);
}
