/*
 * offload.c - runs what blocks in a few threads beside the loop.
 *
 * What the threads share with the loop is struct crew: counted, and freed by who leaves last, so
 * that a thread which hangs in a library never finds its memory gone. The loop holds the lock for a
 * few instructions only.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/offload.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

#include "base/log.h"
#include "base/memory.h"
#include "net/deadline.h"

struct crew;

struct worker {
    struct crew *crew; /* borrows: it counts him */
    pthread_t thread;
    bool has_left; /* under the lock */
};

/* What the threads see. */
struct crew {
    pthread_mutex_t lock;
    pthread_cond_t work; /* there is a job, or the end has come */
    pthread_cond_t gone; /* a thread has left */
    /* All below only under the lock. */
    struct offload_job *queue, *done;
    unsigned queued, threads, idle;
    int wake_fd; /* owns; an eventfd: counts jobs that are done */
    bool stopping;
    bool has_owner;         /* the loop's side still looks */
    struct worker *workers; /* owns; the first `hired` of them were begun. The loop's alone. */
    unsigned hired;
};

struct offload {
    struct loop *loop;  /* borrows */
    struct crew *crew;  /* shares with the threads */
    struct event *wake; /* owns; NULL until the first job */
    unsigned thread_limit, queue_limit;
    struct deadline report;
    unsigned refused; /* since the last line about it */
    bool thread_failure_told;
};

/* ---- in the threads ---- */

static void crew_free(struct crew *crew)
{
    pthread_cond_destroy(&crew->gone);
    pthread_cond_destroy(&crew->work);
    pthread_mutex_destroy(&crew->lock);
    if (crew->wake_fd >= 0)
        close(crew->wake_fd);
    free(crew->workers);
    free(crew);
}

/* Releases the lock, and the crew if nobody is left. */
static void crew_unlock(struct crew *crew)
{
    bool last = crew->threads == 0 && !crew->has_owner;
    pthread_mutex_unlock(&crew->lock);
    if (last)
        crew_free(crew);
}

/* Waits for a job. NULL: the end has come. */
static struct offload_job *next_job(struct crew *crew)
{
    struct offload_job *job;
    crew->idle++;
    while (crew->queue == NULL && !crew->stopping)
        pthread_cond_wait(&crew->work, &crew->lock);
    crew->idle--;
    if (crew->stopping)
        return NULL;
    job = crew->queue;
    DL_DELETE(crew->queue, job);
    crew->queued--;
    job->state = OFFLOAD_RUNNING;
    return job;
}

static void hand_back(struct crew *crew, struct offload_job *job)
{
    static const uint64_t one = 1;
    if (crew->stopping) {
        job->release(job);
        return;
    }
    job->state = OFFLOAD_DONE;
    DL_APPEND(crew->done, job);
    /* Cannot fail: the counter does not overflow and the descriptor is open. */
    ssize_t written = write(crew->wake_fd, &one, sizeof(one));
    assert(written == (ssize_t) sizeof(one));
}

static void *serve(void *argument)
{
    struct worker *worker = argument;
    struct crew *crew = worker->crew;
    struct offload_job *job;
    (void) pthread_setname_np(pthread_self(), "pgweir-auth");
    pthread_mutex_lock(&crew->lock);
    while ((job = next_job(crew)) != NULL) {
        pthread_mutex_unlock(&crew->lock);
        job->work(job);
        pthread_mutex_lock(&crew->lock);
        hand_back(crew, job);
    }
    crew->threads--;
    worker->has_left = true;
    pthread_cond_signal(&crew->gone);
    crew_unlock(crew);
    return NULL;
}

/* ---- threads come ---- */

/* Signals are the loop's; those that a fault raises cannot be kept from whoever makes it. */
static int create_thread(struct crew *crew)
{
    struct worker *worker = &crew->workers[crew->hired];
    sigset_t all, before;
    int error;
    worker->crew = crew;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&worker->thread, NULL, serve, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0) {
        crew->hired++;
        crew->threads++;
    }
    return error;
}

/* One more thread, if there is more work than threads without any. Returns how many there are. */
static unsigned add_thread(struct offload *offload)
{
    struct crew *crew = offload->crew;
    unsigned threads;
    int error = 0;
    pthread_mutex_lock(&crew->lock);
    if (crew->queued >= crew->idle && crew->threads < offload->thread_limit) {
        error = create_thread(crew);
        if (error == 0)
            offload->thread_failure_told = false;
    }
    threads = crew->threads;
    pthread_mutex_unlock(&crew->lock);
    if (error != 0 && !offload->thread_failure_told) {
        log_warn(NULL, "could not start a thread for PAM and LDAP: %s; %u of %u are there",
                 strerror(error), threads, offload->thread_limit);
        offload->thread_failure_told = true;
    }
    return threads;
}

/* ---- jobs come back ---- */

static void on_wake(evutil_socket_t fd, short what UNUSED, void *argument)
{
    struct offload *offload = argument;
    struct offload_job *done, *job, *next;
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0)
        return;
    pthread_mutex_lock(&offload->crew->lock);
    done = offload->crew->done;
    offload->crew->done = NULL;
    pthread_mutex_unlock(&offload->crew->lock);
    DL_FOREACH_SAFE(done, job, next) {
        job->next = job->prev = NULL;
        job->state = OFFLOAD_IDLE;
        if (job->abandoned)
            job->release(job);
        else
            loop_post(offload->loop, &job->task);
    }
}

static bool open_wake(struct offload *offload)
{
    struct crew *crew = offload->crew;
    if (offload->wake != NULL)
        return true;
    crew->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (crew->wake_fd < 0) {
        if (!offload->thread_failure_told)
            log_warn(NULL, "could not set up threads for PAM and LDAP: %s", strerror(errno));
        offload->thread_failure_told = true;
        return false;
    }
    offload->wake =
        event_new(offload->loop->base, crew->wake_fd, EV_READ | EV_PERSIST, on_wake, offload);
    if (offload->wake == NULL || event_add(offload->wake, NULL) != 0)
        log_fatal("could not watch for the end of PAM and LDAP checks");
    return true;
}

/* ---- too many ---- */

static void on_report(struct deadline *deadline)
{
    struct offload *offload = container_of(deadline, struct offload, report);
    if (offload->refused == 0)
        return;
    log_warn(NULL, "the queue for PAM and LDAP was full: %u more logins were refused",
             offload->refused);
    offload->refused = 0;
    deadline_set(offload->loop, &offload->report, OFFLOAD_REPORT_US);
}

static void note_refusal(struct offload *offload)
{
    if (deadline_is_set(&offload->report)) {
        offload->refused++;
        return;
    }
    log_warn(NULL, "the queue for PAM and LDAP is full: %u logins wait, another one was refused",
             offload->queue_limit);
    deadline_set(offload->loop, &offload->report, OFFLOAD_REPORT_US);
}

static bool has_room(struct offload *offload)
{
    bool room;
    pthread_mutex_lock(&offload->crew->lock);
    room = offload->crew->queued < offload->queue_limit;
    pthread_mutex_unlock(&offload->crew->lock);
    if (!room)
        note_refusal(offload);
    return room;
}

/* ---- for the loop ---- */

struct offload *offload_create(struct loop *loop, unsigned thread_limit, unsigned queue_limit)
{
    struct offload *offload = memory_new(sizeof(*offload));
    struct crew *crew = memory_new(sizeof(*crew));
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->work, NULL);
    pthread_cond_init(&crew->gone, NULL);
    crew->wake_fd = -1;
    crew->workers = memory_new(thread_limit * sizeof(*crew->workers));
    crew->has_owner = true;
    offload->loop = loop;
    offload->crew = crew;
    offload->thread_limit = thread_limit;
    offload->queue_limit = queue_limit;
    offload->report.passed = on_report;
    return offload;
}

static void release_all(struct offload_job **list)
{
    struct offload_job *job, *next;
    DL_FOREACH_SAFE(*list, job, next) {
        assert(job->abandoned);
        DL_DELETE(*list, job);
        job->release(job);
    }
}

/* Sees those off who have nothing to do. False if somebody is at work: he may take for ever. */
static bool dismiss(struct crew *crew)
{
    bool all_gone = true;
    crew->stopping = true;
    pthread_cond_broadcast(&crew->work);
    while (crew->idle > 0)
        pthread_cond_wait(&crew->gone, &crew->lock);
    for (unsigned i = 0; i < crew->hired; i++) {
        struct worker *worker = &crew->workers[i];
        bool has_left = worker->has_left;
        pthread_mutex_unlock(&crew->lock);
        if (has_left)
            pthread_join(worker->thread, NULL);
        else
            pthread_detach(worker->thread);
        pthread_mutex_lock(&crew->lock);
        all_gone = all_gone && has_left;
    }
    return all_gone;
}

bool offload_destroy(struct offload *offload)
{
    struct crew *crew = offload->crew;
    bool all_gone;
    deadline_clear(&offload->report);
    if (offload->wake != NULL)
        event_free(offload->wake);
    pthread_mutex_lock(&crew->lock);
    assert(crew->queue == NULL); /* abandoning takes a job out */
    all_gone = dismiss(crew);
    release_all(&crew->done);
    crew->has_owner = false;
    crew_unlock(crew);
    free(offload);
    return all_gone;
}

bool offload_submit(struct offload *offload, struct offload_job *job)
{
    struct crew *crew = offload->crew;
    assert(job->state == OFFLOAD_IDLE);
    if (!open_wake(offload) || !has_room(offload) || add_thread(offload) == 0)
        return false;
    job->offload = offload;
    pthread_mutex_lock(&crew->lock);
    job->state = OFFLOAD_QUEUED;
    DL_APPEND(crew->queue, job);
    crew->queued++;
    pthread_cond_signal(&crew->work);
    pthread_mutex_unlock(&crew->lock);
    return true;
}

void offload_abandon(struct offload_job *job)
{
    struct crew *crew = job->offload->crew;
    enum offload_state state;
    assert(!job->abandoned);
    pthread_mutex_lock(&crew->lock);
    state = job->state;
    if (state == OFFLOAD_QUEUED) {
        DL_DELETE(crew->queue, job);
        crew->queued--;
    }
    job->abandoned = true;
    pthread_mutex_unlock(&crew->lock);
    if (state == OFFLOAD_RUNNING || state == OFFLOAD_DONE)
        return;
    loop_cancel(job->offload->loop, &job->task);
    job->release(job);
}
