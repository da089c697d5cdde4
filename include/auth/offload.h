/*
 * offload.h - runs what blocks (PAM, LDAP) in a few threads beside the loop.
 *
 * A job is submitted from the loop and comes back to it: when a thread is through with it, its task
 * is posted to the run queue. In between the thread touches the job and nothing else, so a job owns
 * copies of all that it needs. Whoever submitted a job gives it up with offload_abandon(), at any
 * time; nobody ever waits for a thread, not even the end of the process.
 *
 * Threads come with the first job and as many as there is work for, up to a limit; without one a
 * process has no threads. All signals stay with the loop's thread. At most `queue_limit` jobs wait;
 * one more is refused. Jobs that are refused are told in one line, the next ones in another after
 * OFFLOAD_REPORT_US.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_AUTH_OFFLOAD_H
#define PGWEIR_AUTH_OFFLOAD_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "net/loop.h"

/* The limits of the pooler. */
#define OFFLOAD_THREADS   8
#define OFFLOAD_QUEUE     1024
#define OFFLOAD_REPORT_US (10 * USEC_PER_SEC)

struct offload;

enum offload_state {
    OFFLOAD_IDLE,
    OFFLOAD_QUEUED,
    OFFLOAD_RUNNING,
    OFFLOAD_DONE
};

/* A member of what is to be done; zeroed, with the first three filled in. */
struct offload_job {
    void (*work)(struct offload_job *job);    /* in a thread; no log, no configuration, no loop */
    void (*release)(struct offload_job *job); /* wipes and frees; in either */
    struct task task;                         /* on the loop, when the work is done */
    struct offload *offload;                  /* borrows; NULL until submitted */
    struct offload_job *next, *prev;          /* member of one of its lists */
    enum offload_state state;                 /* private, as all above */
    bool abandoned;
};

struct offload *offload_create(struct loop *loop, unsigned thread_limit,
                               unsigned queue_limit) MUST_CHECK;

/*
 * Frees it; no submitted job may be left that is not abandoned. Returns false if a thread is still
 * busy: it stays as it is, and keeps the memory that it needs. The process should then end with
 * _exit(), as a library that is at work must not meet the destructors of exit().
 */
bool offload_destroy(struct offload *offload) MUST_CHECK;

/* Takes the job over. False if too many wait or no thread can be had; it stays the caller's then.
 */
bool offload_submit(struct offload *offload, struct offload_job *job) MUST_CHECK;

/*
 * Gives up a submitted job, in whatever state: its task does not run, and it is released, at once
 * or when the thread that works on it is through. After its task has run this is how it ends.
 */
void offload_abandon(struct offload_job *job);

#endif
