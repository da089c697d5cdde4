/*
 * loop.h - the event loop: libevent, a run queue, deferred freeing and the shared read buffer.
 *
 * One turn: wait for events and handle them, run what was posted, free what was given up. Nothing
 * runs inside anything: to wake somebody is to post his task; the task runs later in the same turn,
 * never inside the call. An object that closes itself is freed at the end of the turn, so a pointer
 * to it stays valid until the turn is over.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_NET_LOOP_H
#define PGWEIR_NET_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/compiler.h"

struct event_base;
struct deadline_queue;
struct farewell_list;
struct tls_workspace;

/* One read buffer for all connections. Bytes in it are borrowed for one call. */
#define LOOP_READ_SIZE (256 * 1024)
/* Room in front of it, where a reader puts back the head of a message that was cut by a read. */
#define LOOP_HEADROOM (16 * 1024)
/* One write buffer, where pieces are gathered that leave in one send; in use during one call. */
#define LOOP_WRITE_SIZE (64 * 1024)

/* Something to run soon; a member of the object that it wakes. */
struct task {
    void (*run)(struct task *task);
    struct task *next, *prev; /* member of the loop's run queue while posted */
};

/* An object that waits for its memory to be freed; a member of it. */
struct deferred {
    void (*release)(struct deferred *deferred);
    struct deferred *next;
};

struct loop {
    struct event_base *base; /* owns */
    uint8_t *read_memory;    /* owns; headroom, then the read buffer */
    uint8_t *write_memory;   /* owns */
    struct buffer gathered;  /* owns; what a connection will send first (connection_gather()) */
    struct task *tasks;      /* the run queue: head of a doubly linked list */
    struct deferred *deferred;
    struct deadline_queue *deadline_queues; /* owns; by duration */
    struct farewell_list *farewells;        /* owns until farewell_close_all() */
    struct tls_workspace *tls;              /* owns; NULL before the first TLS connection */
    bool stopping;
};

struct loop *loop_create(void) MUST_CHECK;
void loop_destroy(struct loop *loop);

/* Runs until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Where a read puts its bytes: LOOP_READ_SIZE of them, with LOOP_HEADROOM writable before. */
static inline uint8_t *loop_read_buffer(const struct loop *loop)
{
    return loop->read_memory + LOOP_HEADROOM;
}

static inline uint8_t *loop_write_buffer(const struct loop *loop)
{
    return loop->write_memory;
}

/* Posts a task; a posted one stays where it is in the queue. */
void loop_post(struct loop *loop, struct task *task);

/* Takes a task back, if it is posted. */
void loop_cancel(struct loop *loop, struct task *task);

static inline bool task_is_posted(const struct task *task)
{
    return task->prev != NULL;
}

/* Calls `release` at the end of the turn. */
void loop_free_later(struct loop *loop, struct deferred *deferred,
                     void (*release)(struct deferred *deferred));

#endif
