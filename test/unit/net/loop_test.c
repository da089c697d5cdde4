/*
 * loop_test.c - the run queue, deferred freeing and their place in a turn.
 *
 * SPDX-License-Identifier: ISC
 */
#include "net/loop.h"

#include "fixture.h"

static char story[64]; /* one letter for each thing that ran */

static void tell(char letter)
{
    size_t length = strlen(story);
    assert_true(length < sizeof(story) - 1);
    story[length] = letter;
}

struct actor {
    struct task task;
    struct deferred deferred;
    struct loop *loop;
    char letter;
    struct actor *posts, *cancels;
    bool frees_itself, stops;
};

static void release_actor(struct deferred *deferred)
{
    struct actor *actor = container_of(deferred, struct actor, deferred);
    tell((char) (actor->letter - 'a' + 'A'));
    if (actor->posts != NULL && actor->posts->frees_itself)
        loop_free_later(actor->loop, &actor->posts->deferred, release_actor);
}

static void run_actor(struct task *task)
{
    struct actor *actor = container_of(task, struct actor, task);
    assert_false(task_is_posted(task));
    tell(actor->letter);
    if (actor->posts != NULL)
        loop_post(actor->loop, &actor->posts->task);
    if (actor->cancels != NULL)
        loop_cancel(actor->loop, &actor->cancels->task);
    if (actor->frees_itself)
        loop_free_later(actor->loop, &actor->deferred, release_actor);
    if (actor->stops)
        loop_stop(actor->loop);
}

static struct actor make_actor(struct loop *loop, char letter)
{
    return (struct actor){.task.run = run_actor, .loop = loop, .letter = letter};
}

static int set_up(void **state)
{
    memset(story, 0, sizeof(story));
    *state = loop_create();
    return 0;
}

static int tear_down(void **state)
{
    loop_destroy(*state);
    return 0;
}

static void test_tasks_run_in_order_and_once(void **state)
{
    struct loop *loop = *state;
    struct actor a = make_actor(loop, 'a'), b = make_actor(loop, 'b'), c = make_actor(loop, 'c');
    c.stops = true;
    assert_false(task_is_posted(&a.task));
    loop_post(loop, &a.task);
    loop_post(loop, &b.task);
    loop_post(loop, &a.task); /* stays where it is */
    loop_post(loop, &c.task);
    assert_true(task_is_posted(&a.task));
    assert_string_equal(story, "");
    loop_run(loop);
    assert_string_equal(story, "abc");
}

static void test_cancel(void **state)
{
    struct loop *loop = *state;
    struct actor a = make_actor(loop, 'a'), b = make_actor(loop, 'b'), c = make_actor(loop, 'c');
    loop_cancel(loop, &a.task); /* not posted: nothing happens */
    loop_post(loop, &a.task);
    loop_cancel(loop, &a.task);
    assert_false(task_is_posted(&a.task));
    assert_null(loop->tasks);
    b.cancels = &c;
    loop_post(loop, &b.task);
    loop_post(loop, &c.task);
    loop_post(loop, &a.task);
    a.stops = true;
    loop_run(loop);
    assert_string_equal(story, "ba");
}

/* What is posted by a task runs in the next turn, after sockets had their chance. */
static void test_posting_from_a_task_waits_for_the_next_round(void **state)
{
    struct loop *loop = *state;
    struct actor a = make_actor(loop, 'a'), b = make_actor(loop, 'b'), c = make_actor(loop, 'c');
    a.posts = &c;
    a.frees_itself = true; /* the end of the turn is marked by 'A' */
    c.stops = true;
    loop_post(loop, &a.task);
    loop_post(loop, &b.task);
    loop_run(loop);
    assert_string_equal(story, "abAc");
}

static void test_cancelling_everything_in_a_round(void **state)
{
    struct loop *loop = *state;
    struct actor a = make_actor(loop, 'a'), b = make_actor(loop, 'b');
    a.cancels = &b;
    a.stops = true;
    loop_post(loop, &a.task);
    loop_post(loop, &b.task);
    loop_run(loop);
    assert_string_equal(story, "a");
    assert_null(loop->tasks);
}

static void on_readable(evutil_socket_t fd UNUSED, short what UNUSED, void *argument)
{
    tell('!');
    loop_stop(argument);
}

/* A task that posts itself for ever does not keep a socket from being heard. */
static void test_tasks_do_not_starve_sockets(void **state)
{
    struct loop *loop = *state;
    int fds[2];
    make_unix_pair(fds);
    struct event *event = event_new(loop->base, fds[0], EV_READ, on_readable, loop);
    event_add(event, NULL);
    struct actor a = make_actor(loop, 'a');
    a.posts = &a;
    loop_post(loop, &a.task);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_run(loop);
    assert_string_equal(story, "!a");
    loop_cancel(loop, &a.task);
    event_free(event);
    close(fds[0]);
    close(fds[1]);
}

static void test_freeing_comes_last_and_may_free_more(void **state)
{
    struct loop *loop = *state;
    struct actor a = make_actor(loop, 'a'), b = make_actor(loop, 'b'), c = make_actor(loop, 'c');
    a.frees_itself = true;
    b.stops = true;
    c.frees_itself = true;
    loop_post(loop, &a.task);
    loop_post(loop, &b.task);
    loop_run(loop);
    assert_string_equal(story, "abA");
    loop_free_later(loop, &a.deferred, release_actor);
    a.posts = &c; /* given up while a is released */
    loop->stopping = false;
    loop_post(loop, &b.task);
    loop_run(loop);
    assert_string_equal(story, "abAbAC");
}

static void test_destroy_frees_what_waits(void **state UNUSED)
{
    struct loop *loop = loop_create();
    struct actor a = make_actor(loop, 'a');
    memset(story, 0, sizeof(story));
    loop_free_later(loop, &a.deferred, release_actor);
    loop_destroy(loop);
    assert_string_equal(story, "A");
}

static void test_stopped_loop_does_not_run(void **state)
{
    struct loop *loop = *state;
    struct actor a = make_actor(loop, 'a');
    loop_post(loop, &a.task);
    loop_stop(loop);
    loop_run(loop);
    assert_string_equal(story, "");
    loop_cancel(loop, &a.task);
}

static void test_read_buffer_has_room_in_front(void **state)
{
    struct loop *loop = *state;
    uint8_t *buffer = loop_read_buffer(loop);
    assert_ptr_equal(buffer - LOOP_HEADROOM, loop->read_memory);
    buffer[-LOOP_HEADROOM] = 1;
    buffer[LOOP_READ_SIZE - 1] = 2;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tasks_run_in_order_and_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_posting_from_a_task_waits_for_the_next_round, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_cancelling_everything_in_a_round, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tasks_do_not_starve_sockets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_freeing_comes_last_and_may_free_more, set_up,
                                        tear_down),
        cmocka_unit_test(test_destroy_frees_what_waits),
        cmocka_unit_test_setup_teardown(test_stopped_loop_does_not_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read_buffer_has_room_in_front, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
