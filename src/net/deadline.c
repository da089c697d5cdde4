/*
 * deadline.c - time limits, one queue for each duration.
 *
 * Within a queue `due_us` never falls from head to tail. deadline_set() appends, which keeps that
 * for free; deadline_set_since() walks back from the tail to its place. A timer may fire when its
 * head was cleared meanwhile: then it is armed for the new head. It is never moved when a head
 * leaves, so the data path does not touch timers.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/deadline.h"

#include <stdlib.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <utlist.h>

#include "base/hash.h"
#include "base/memory.h"
#include "net/loop.h"

struct deadline_queue {
    usec_t duration_us;
    struct deadline *head;
    struct event timer;
    struct loop *loop; /* borrows */
    bool armed;
    usec_t armed_us; /* when the timer fires */
    UT_hash_handle hh; /* member of the loop's queues */
};

static void arm(struct deadline_queue *queue)
{
    if (queue->armed || queue->head == NULL)
        return;
    usec_t now_us = clock_now_us();
    usec_t wait_us = queue->head->due_us > now_us ? queue->head->due_us - now_us : 0;
    struct timeval wait = {.tv_sec = (time_t) (wait_us / USEC_PER_SEC),
                           .tv_usec = (suseconds_t) (wait_us % USEC_PER_SEC)};
    event_add(&queue->timer, &wait);
    queue->armed = true;
    queue->armed_us = queue->head->due_us;
}

/* A new head may be due before the timer, which may still stand for one that has left. */
static void rearm(struct deadline_queue *queue)
{
    if (queue->armed && queue->head->due_us < queue->armed_us) {
        event_del(&queue->timer);
        queue->armed = false;
    }
    arm(queue);
}

static void on_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *argument)
{
    struct deadline_queue *queue = argument;
    usec_t now_us = clock_now_us();
    queue->armed = false;
    while (queue->head != NULL && queue->head->due_us <= now_us) {
        struct deadline *deadline = queue->head;
        deadline_clear(deadline);
        deadline->passed(deadline);
    }
    arm(queue);
}

static struct deadline_queue *queue_for(struct loop *loop, usec_t duration_us)
{
    struct deadline_queue *queue;
    HASH_FIND(hh, loop->deadline_queues, &duration_us, sizeof(duration_us), queue);
    if (queue == NULL) {
        queue = memory_new(sizeof(*queue));
        queue->duration_us = duration_us;
        queue->loop = loop;
        evtimer_assign(&queue->timer, loop->base, on_timer, queue);
        HASH_ADD(hh, loop->deadline_queues, duration_us, sizeof(duration_us), queue);
    }
    return queue;
}

void deadline_set_since(struct loop *loop, struct deadline *deadline, usec_t duration_us,
                        usec_t since_us)
{
    struct deadline_queue *queue = deadline->queue;
    deadline_clear(deadline);
    if (duration_us == 0)
        return;
    if (queue == NULL || queue->duration_us != duration_us)
        queue = queue_for(loop, duration_us);
    deadline->queue = queue;
    deadline->due_us = since_us + duration_us;

    struct deadline *before = queue->head == NULL ? NULL : queue->head->prev; /* the tail */
    if (before == NULL || before->due_us <= deadline->due_us) {
        DL_APPEND(queue->head, deadline);
    } else {
        while (before != queue->head && before->prev->due_us > deadline->due_us)
            before = before->prev;
        DL_PREPEND_ELEM(queue->head, before, deadline);
    }
    rearm(queue);
}

void deadline_set(struct loop *loop, struct deadline *deadline, usec_t duration_us)
{
    deadline_set_since(loop, deadline, duration_us, clock_now_us());
}

void deadline_set_at(struct loop *loop, struct deadline *deadline, usec_t due_us)
{
    deadline_set_since(loop, deadline, 1, due_us - 1);
}

void deadline_clear(struct deadline *deadline)
{
    if (!deadline_is_set(deadline))
        return;
    DL_DELETE(deadline->queue->head, deadline);
    deadline->prev = NULL;
}

usec_t deadline_duration_us(const struct deadline *deadline)
{
    return deadline_is_set(deadline) ? deadline->queue->duration_us : 0;
}

void deadline_queues_destroy(struct loop *loop)
{
    struct deadline_queue *queue, *next;
    HASH_ITER(hh, loop->deadline_queues, queue, next) {
        HASH_DELETE(hh, loop->deadline_queues, queue);
        event_del(&queue->timer);
        free(queue);
    }
}
