/*
 * offload_test.c - jobs in threads: answers, limits, leaving, and threads that hang.
 *
 * SPDX-License-Identifier: ISC
 */
#include "auth/offload.h"

#include <pthread.h>
#include <signal.h>

#include "../net/fixture.h"
#include "base/memory.h"

/* A gate at which jobs wait. Shared with threads that may outlive a test, so it lives for ever. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool gate_is_open;
static unsigned waiting, released, finished;

static void note(unsigned *counter)
{
    pthread_mutex_lock(&lock);
    ++*counter;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void set_gate(bool open)
{
    pthread_mutex_lock(&lock);
    gate_is_open = open;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static unsigned count_of(const unsigned *counter)
{
    unsigned value;
    pthread_mutex_lock(&lock);
    value = *counter;
    pthread_mutex_unlock(&lock);
    return value;
}

static void wait_until(const unsigned *counter, unsigned value)
{
    pthread_mutex_lock(&lock);
    while (*counter < value)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

struct square {
    struct offload_job job;
    int number, result;
    bool is_loop_thread, signals_blocked;
    unsigned *answers;
};

static pthread_t loop_thread;
static int order[64];
static unsigned answers;

static void release(struct offload_job *job)
{
    struct square *square = container_of(job, struct square, job);
    note(&released);
    free(square);
}

static void compute(struct offload_job *job)
{
    struct square *square = container_of(job, struct square, job);
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    square->signals_blocked =
        sigismember(&blocked, SIGHUP) == 1 && sigismember(&blocked, SIGTERM) == 1;
    square->is_loop_thread = pthread_equal(pthread_self(), loop_thread) != 0;
    square->result = square->number * square->number;
    note(&finished);
}

static void wait_at_gate(struct offload_job *job UNUSED)
{
    note(&waiting);
    pthread_mutex_lock(&lock);
    while (!gate_is_open)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    note(&finished);
}

static void on_answer(struct task *task)
{
    struct square *square = container_of(task, struct square, job.task);
    assert_true(answers < countof(order));
    order[answers++] = square->result;
    if (square->job.work == compute) {
        assert_int_equal(square->result, square->number * square->number);
        assert_false(square->is_loop_thread);
        assert_true(square->signals_blocked);
    }
    offload_abandon(&square->job);
}

static struct square *make_job(int number, void (*work)(struct offload_job *job))
{
    struct square *square = memory_new(sizeof(*square));
    square->number = number;
    square->job = (struct offload_job){.work = work, .release = release, .task.run = on_answer};
    return square;
}

static struct square *submit(struct offload *offload, int number,
                             void (*work)(struct offload_job *job))
{
    struct square *square = make_job(number, work);
    assert_true(offload_submit(offload, &square->job));
    return square;
}

static void assert_refused(struct offload *offload)
{
    struct square *square = make_job(0, compute);
    assert_false(offload_submit(offload, &square->job));
    free(square);
}

static bool enough_answers(void *argument)
{
    return answers >= *(const unsigned *) argument;
}

static void run_for_answers(struct loop *loop, unsigned count)
{
    run_until(loop, enough_answers, &count);
    assert_int_equal(answers, count);
}

/* The thread that gave the last answer may not have sat down yet: then it stays for a moment. */
static void destroy(struct offload *offload)
{
    bool all_gone UNUSED = offload_destroy(offload);
}

static int set_up(void **state)
{
    loop_thread = pthread_self();
    gate_is_open = false;
    answers = waiting = released = finished = 0;
    clock_new_turn();
    *state = loop_create();
    return 0;
}

static int tear_down(void **state)
{
    loop_destroy(*state);
    return 0;
}

static void test_no_thread_without_work(void **state)
{
    struct offload *offload = offload_create(*state, 4, 4);
    assert_true(offload_destroy(offload));
}

static void test_answers_come_on_the_loop(void **state)
{
    struct offload *offload = offload_create(*state, 3, 100);
    for (int i = 0; i < 50; i++)
        (void) submit(offload, i, compute);
    run_for_answers(*state, 50);
    destroy(offload);
    assert_int_equal(count_of(&released), 50);
}

static void test_one_thread_keeps_the_order(void **state)
{
    struct offload *offload = offload_create(*state, 1, 100);
    for (int i = 0; i < 10; i++)
        (void) submit(offload, i, compute);
    run_for_answers(*state, 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(order[i], i * i);
    destroy(offload);
}

static void test_queue_is_bounded(void **state)
{
    struct offload *offload = offload_create(*state, 2, 3);
    for (unsigned i = 0; i < 2; i++) {
        (void) submit(offload, 0, wait_at_gate);
        wait_until(&waiting, i + 1);
    }
    for (int i = 0; i < 3; i++)
        (void) submit(offload, i, compute);
    for (int i = 0; i < 5; i++)
        assert_refused(offload);
    set_gate(true);
    run_for_answers(*state, 5);
    (void) submit(offload, 1, compute); /* there is room again */
    run_for_answers(*state, 6);
    destroy(offload);
}

static void test_who_leaves_the_queue_makes_room(void **state)
{
    struct offload *offload = offload_create(*state, 1, 1);
    struct square *first = submit(offload, 0, wait_at_gate), *second;
    wait_until(&waiting, 1);
    second = submit(offload, 1, compute);
    assert_refused(offload);
    offload_abandon(&second->job);
    assert_int_equal(count_of(&released), 1); /* at once: the password is not kept for a thread */
    (void) submit(offload, 2, compute);
    offload_abandon(&first->job); /* at work: released when the thread is through */
    assert_int_equal(count_of(&released), 1);
    set_gate(true);
    run_for_answers(*state, 1);
    assert_int_equal(order[0], 4);
    assert_int_equal(count_of(&released), 3);
    destroy(offload);
}

static void test_abandoned_when_done(void **state)
{
    struct offload *offload = offload_create(*state, 1, 4);
    struct square *square = submit(offload, 3, compute);
    wait_until(&finished, 1);
    offload_abandon(&square->job);
    run_for(*state, 20 * USEC_PER_MSEC);
    assert_int_equal(answers, 0);
    assert_int_equal(count_of(&released), 1);
    destroy(offload);
}

struct leaver {
    struct task task;
    struct square *square;
};

static void leave(struct task *task)
{
    struct leaver *leaver = container_of(task, struct leaver, task);
    offload_abandon(&leaver->square->job);
}

/* Its task is posted already when somebody else's task gives it up. */
static void test_abandoned_when_posted(void **state)
{
    struct loop *loop = *state;
    struct offload *offload = offload_create(loop, 1, 4);
    struct leaver leaver = {.task.run = leave, .square = submit(offload, 3, compute)};
    wait_until(&finished, 1);
    loop_post(loop, &leaver.task); /* stands in front in the run queue */
    run_for(loop, 20 * USEC_PER_MSEC);
    assert_int_equal(answers, 0);
    assert_int_equal(count_of(&released), 1);
    destroy(offload);
}

static void test_end_does_not_wait_for_a_thread_that_hangs(void **state)
{
    struct offload *offload = offload_create(*state, 2, 4);
    struct square *hanging = submit(offload, 0, wait_at_gate);
    wait_until(&waiting, 1);
    (void) submit(offload, 1, compute);
    run_for_answers(*state, 1);
    offload_abandon(&hanging->job);
    assert_false(offload_destroy(offload));
    assert_int_equal(count_of(&released), 1);
    set_gate(true); /* it comes back after all, and finds what it needs */
    wait_until(&released, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_thread_without_work, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answers_come_on_the_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_thread_keeps_the_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queue_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_leaves_the_queue_makes_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_abandoned_when_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_abandoned_when_posted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end_does_not_wait_for_a_thread_that_hangs, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
