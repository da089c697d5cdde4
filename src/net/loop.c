/*
 * loop.c - the event loop: libevent, a run queue, deferred freeing and the shared read buffer.
 *
 * Tasks that are posted while the run queue is worked off wait for the next round, and so does a
 * sleep: the loop polls without waiting while the run queue is not empty. So sockets get their turn
 * between two rounds and nobody can starve them.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/loop.h"

#include <stdlib.h>

#include <event2/event.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/deadline.h"
#include "net/tls.h"

struct loop *loop_create(void)
{
    struct loop *loop = memory_new(sizeof(*loop));
    struct event_config *config = event_config_new();
    if (config != NULL) {
        /* One thread: no locks. Not PRECISE_TIMER, which costs a system call in every turn. */
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
        loop->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    if (loop->base == NULL)
        log_fatal("cannot set up the event loop: libevent offers no edge-triggered method");
    loop->read_memory = memory_new(LOOP_HEADROOM + LOOP_READ_SIZE);
    loop->write_memory = memory_new(LOOP_WRITE_SIZE);
    return loop;
}

static void free_deferred(struct loop *loop)
{
    while (loop->deferred != NULL) {
        struct deferred *deferred = loop->deferred;
        loop->deferred = deferred->next;
        deferred->release(deferred);
    }
}

void loop_destroy(struct loop *loop)
{
    free_deferred(loop);
    tls_release_loop(loop);
    deadline_queues_destroy(loop);
    event_base_free(loop->base);
    free(loop->read_memory);
    free(loop->write_memory);
    buffer_release(&loop->gathered);
    free(loop);
}

void loop_post(struct loop *loop, struct task *task)
{
    if (!task_is_posted(task))
        DL_APPEND(loop->tasks, task);
}

void loop_cancel(struct loop *loop, struct task *task)
{
    if (!task_is_posted(task))
        return;
    DL_DELETE(loop->tasks, task);
    task->next = task->prev = NULL;
}

/* Runs the tasks that are posted now. A round ends at a marker, so that tasks posted meanwhile wait. */
static void run_tasks(struct loop *loop)
{
    struct task marker = {.run = NULL};
    if (loop->tasks == NULL)
        return;
    DL_APPEND(loop->tasks, &marker);
    while (loop->tasks != &marker) {
        struct task *task = loop->tasks;
        loop_cancel(loop, task);
        task->run(task);
    }
    DL_DELETE(loop->tasks, &marker);
}

void loop_free_later(struct loop *loop, struct deferred *deferred,
                     void (*release)(struct deferred *deferred))
{
    deferred->release = release;
    deferred->next = loop->deferred;
    loop->deferred = deferred;
}

void loop_run(struct loop *loop)
{
    while (!loop->stopping) {
        int flags = EVLOOP_ONCE | (loop->tasks != NULL ? EVLOOP_NONBLOCK : 0);
        clock_new_turn();
        if (event_base_loop(loop->base, flags) < 0)
            log_fatal("the event loop failed");
        run_tasks(loop);
        free_deferred(loop);
    }
}

void loop_stop(struct loop *loop)
{
    loop->stopping = true;
}
