/*
 * deadline.h - time limits. All deadlines of one duration stand in one queue in the order in which
 * they were set, so that setting and clearing are constant time and a libevent timer is needed only
 * for the head of a queue that is not empty. Nothing is scanned.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_NET_DEADLINE_H
#define PGWEIR_NET_DEADLINE_H

#include <stdbool.h>

#include "base/clock.h"

struct loop;
struct deadline_queue;

/* A member of the object that it limits. A zeroed struct with `passed` filled in is valid. */
struct deadline {
    void (*passed)(struct deadline *deadline); /* runs from the loop, after the deadline is cleared */
    usec_t due_us;
    struct deadline_queue *queue; /* borrows from the loop: the one used last, likely the next */
    struct deadline *next, *prev; /* member of the queue while set; else prev is NULL */
};

/* Sets the deadline to `duration_us` from now, in place of what it was. 0 clears: no limit. */
void deadline_set(struct loop *loop, struct deadline *deadline, usec_t duration_us);

/*
 * Sets the deadline to `duration_us` after `since_us`. One that is already past passes at once (from
 * the loop). 0 clears. Durations must come from settings, as each one makes a queue.
 */
void deadline_set_since(struct loop *loop, struct deadline *deadline, usec_t duration_us,
                        usec_t since_us);

/*
 * Sets the deadline to a moment that no setting gives. All of them share one queue, in which each is
 * put at its place; they must be few.
 */
void deadline_set_at(struct loop *loop, struct deadline *deadline, usec_t due_us);

void deadline_clear(struct deadline *deadline);

/* The duration that it was set to last, 0 if none. */
usec_t deadline_duration_us(const struct deadline *deadline);

static inline bool deadline_is_set(const struct deadline *deadline)
{
    return deadline->prev != NULL;
}

/* Frees the queues of a loop. No deadline may be set any more, or ever touched again. */
void deadline_queues_destroy(struct loop *loop);

#endif
