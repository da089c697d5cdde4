/*
 * server_statements_test.c - what a server has prepared, while operations succeed, fail and wait.
 *
 * SPDX-License-Identifier: ISC
 */
#include "server/server_statements.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATEMENTS 5

/* A server, and statements that somebody else holds too. */
struct stage {
    struct server_statements *server;
    struct statement_table *table;
    struct statement *statements[STATEMENTS];
};

static int set_up(void **state)
{
    static struct stage stage;
    stage.server = server_statements_create();
    stage.table = statement_table_create();
    for (int i = 0; i < STATEMENTS; i++) {
        uint8_t body[] = {'A' + (uint8_t) i, 0, 0, 0};
        stage.statements[i] = statement_take(stage.table, body, sizeof(body));
    }
    *state = &stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    server_statements_destroy(stage->server);
    for (int i = 0; i < STATEMENTS; i++) {
        assert_int_equal(stage->statements[i]->references, 1);
        statement_give_back(stage->statements[i]);
    }
    assert_int_equal(statement_memory(), 0);
    statement_table_destroy(stage->table);
    return 0;
}

static struct server_statement *entry_of(struct stage *stage, int number)
{
    return server_statements_get(stage->server, stage->statements[number]);
}

static enum statement_need need_of(struct stage *stage, int number)
{
    return server_statements_need(stage->server, entry_of(stage, number));
}

static void send(struct stage *stage, int number, bool present)
{
    server_statements_note(stage->server, (struct statement_note){
                                              .on_server = entry_of(stage, number),
                                              .present = present});
}

static void settle(struct stage *stage, bool done)
{
    server_statements_settle(stage->server, done);
}

/* A statement that the server has for certain. */
static void have(struct stage *stage, int number)
{
    send(stage, number, true);
    settle(stage, true);
    assert_int_equal(need_of(stage, number), STATEMENT_IS_THERE);
}

static bool is_known(struct stage *stage, int number)
{
    struct server_statement *entry;
    struct statement *key = stage->statements[number];
    HASH_FIND_PTR(stage->server->by_statement, &key, entry);
    return entry != NULL;
}

static void test_a_parse(void **state)
{
    struct stage *stage = *state;
    assert_int_equal(need_of(stage, 0), STATEMENT_PARSE);
    send(stage, 0, true);
    assert_int_equal(stage->server->count, 1);
    assert_int_equal(need_of(stage, 0), STATEMENT_IS_THERE);
    settle(stage, true);
    assert_int_equal(need_of(stage, 0), STATEMENT_IS_THERE);
    assert_int_equal(stage->server->count, 1);
    assert_int_equal(stage->server->notes_count, 0);
}

static void test_a_parse_that_fails(void **state)
{
    struct stage *stage = *state;
    send(stage, 0, true);
    settle(stage, false);
    assert_false(is_known(stage, 0));
    assert_int_equal(stage->server->count, 0);
    assert_int_equal(need_of(stage, 0), STATEMENT_PARSE);
}

/* What is behind the next Sync is read even if what is before it was skipped. */
static void test_a_sync_makes_it_uncertain(void **state)
{
    struct stage *stage = *state;
    send(stage, 0, true);
    stage->server->segment++;
    assert_int_equal(need_of(stage, 0), STATEMENT_REPLACE);
    send(stage, 0, false);
    send(stage, 0, true);
    assert_int_equal(need_of(stage, 0), STATEMENT_IS_THERE);
    settle(stage, false); /* the first Parse was skipped */
    assert_int_equal(need_of(stage, 0), STATEMENT_IS_THERE);
    settle(stage, true);
    settle(stage, true);
    assert_int_equal(need_of(stage, 0), STATEMENT_IS_THERE);
    stage->server->segment++; /* what is answered stays true */
    assert_int_equal(need_of(stage, 0), STATEMENT_IS_THERE);
}

static void test_an_eviction_that_fails_is_undone(void **state)
{
    struct stage *stage = *state;
    have(stage, 0);
    have(stage, 1);
    send(stage, 0, false);
    assert_int_equal(stage->server->count, 1);
    assert_int_equal(need_of(stage, 0), STATEMENT_REPLACE);
    settle(stage, false);
    assert_int_equal(stage->server->count, 2);
    assert_int_equal(need_of(stage, 0), STATEMENT_IS_THERE);
    send(stage, 0, false);
    settle(stage, true);
    assert_false(is_known(stage, 0));
    assert_int_equal(stage->server->count, 1);
}

/* Close and Parse again in one segment, of which each may fail: the last that was done counts. */
static void test_every_end_of_a_replacement(void **state)
{
    struct stage *stage = *state;
    for (int first = 0; first < 2; first++)
        for (int done = 0; done < 8; done++) {
            bool present = first == 1;
            if (present)
                have(stage, 0);
            for (int operation = 0; operation < 3; operation++)
                send(stage, 0, operation % 2 == 0);
            for (int operation = 0; operation < 3; operation++) {
                bool succeeds = (done >> operation) & 1;
                if (succeeds)
                    present = operation % 2 == 0;
                settle(stage, succeeds);
            }
            assert_int_equal(need_of(stage, 0), present ? STATEMENT_IS_THERE : STATEMENT_PARSE);
            assert_int_equal(stage->server->count, present);
            send(stage, 0, false);
            settle(stage, true);
            assert_int_equal(stage->server->count, 0);
        }
}

static void test_the_least_recently_used_goes_first(void **state)
{
    struct stage *stage = *state;
    assert_null(server_statements_oldest(stage->server, NULL));
    for (int i = 0; i < 4; i++)
        have(stage, i);
    assert_ptr_equal(server_statements_oldest(stage->server, NULL), entry_of(stage, 0));
    assert_ptr_equal(server_statements_oldest(stage->server, entry_of(stage, 0)),
                     entry_of(stage, 1));
    server_statements_touch(stage->server, entry_of(stage, 0));
    server_statements_touch(stage->server, entry_of(stage, 2));
    server_statements_touch(stage->server, entry_of(stage, 2)); /* the newest already */
    static const int order[] = {1, 3, 0, 2};
    for (int i = 0; i < 4; i++) {
        struct server_statement *oldest = server_statements_oldest(stage->server, NULL);
        assert_ptr_equal(oldest->statement, stage->statements[order[i]]);
        send(stage, order[i], false);
        settle(stage, true);
    }
    assert_null(server_statements_oldest(stage->server, NULL));
    have(stage, 4);
    assert_null(server_statements_oldest(stage->server, entry_of(stage, 4)));
}

/* What is on its way out is not in the list, and may be touched all the same. */
static void test_touching_what_is_being_closed(void **state)
{
    struct stage *stage = *state;
    have(stage, 0);
    have(stage, 1);
    send(stage, 0, false);
    server_statements_touch(stage->server, entry_of(stage, 0));
    assert_int_equal(stage->server->count, 1);
    assert_ptr_equal(server_statements_oldest(stage->server, NULL), entry_of(stage, 1));
    settle(stage, true);
    assert_ptr_equal(server_statements_oldest(stage->server, NULL), entry_of(stage, 1));
}

static void test_deallocate_all(void **state)
{
    struct stage *stage = *state;
    have(stage, 0);
    have(stage, 1);
    server_statements_clear(stage->server);
    assert_int_equal(stage->server->count, 0);
    assert_false(is_known(stage, 0));
    assert_int_equal(need_of(stage, 1), STATEMENT_PARSE);
}

/* What was sent behind it is not touched by it, whatever becomes of that. */
static void test_deallocate_all_in_front_of_operations(void **state)
{
    struct stage *stage = *state;
    have(stage, 0);
    have(stage, 1);
    have(stage, 2);
    send(stage, 0, false); /* these three behind DEALLOCATE ALL */
    send(stage, 1, false);
    send(stage, 1, true);
    server_statements_clear(stage->server);
    assert_false(is_known(stage, 2));
    settle(stage, false);
    assert_int_equal(need_of(stage, 0), STATEMENT_PARSE);
    settle(stage, true);
    settle(stage, true);
    assert_int_equal(need_of(stage, 1), STATEMENT_IS_THERE);
    assert_int_equal(stage->server->count, 1);
}

static void test_doubt(void **state)
{
    struct stage *stage = *state;
    server_statements_doubt(NULL);
    have(stage, 0);
    server_statements_doubt(stage->server);
    assert_int_equal(need_of(stage, 0), STATEMENT_REPLACE);
    send(stage, 0, false);
    send(stage, 0, true);
    assert_int_equal(need_of(stage, 0), STATEMENT_IS_THERE);
    settle(stage, false);
    settle(stage, false);
    assert_int_equal(need_of(stage, 0), STATEMENT_REPLACE); /* the doubt has not been removed */
    send(stage, 0, false);
    send(stage, 0, true);
    settle(stage, true);
    settle(stage, true);
    assert_int_equal(need_of(stage, 0), STATEMENT_IS_THERE);
}

static struct buffer error_number(int number)
{
    struct buffer error = {0};
    buffer_append(&error, &number, sizeof(number));
    return error;
}

static int number_of(const struct statement_note *note)
{
    int number;
    assert_int_equal(note->error.size, sizeof(number));
    memcpy(&number, note->error.data, sizeof(number));
    return number;
}

/* Growing while the ring begins anywhere in its memory. */
static void test_notes_keep_their_order_when_they_grow(void **state UNUSED)
{
    for (int begin = 0; begin < 40; begin++) {
        struct server_statements *server = server_statements_create();
        int put = 0, got = 0;
        for (; put < begin; put++) {
            server_statements_note(server, (struct statement_note){.error = error_number(put)});
            assert_int_equal(number_of(server_statements_first_note(server)), got++);
            server_statements_settle(server, true);
        }
        for (; put < begin + 100; put++) {
            server_statements_note(server, (struct statement_note){.error = error_number(put)});
            if (put % 3 == 0) {
                assert_int_equal(number_of(server_statements_first_note(server)), got++);
                server_statements_settle(server, put % 2 == 0);
            }
        }
        for (; got < put - begin % 5; got++) { /* the last ones are left to destroy() */
            assert_int_equal(number_of(server_statements_first_note(server)), got);
            server_statements_settle(server, true);
        }
        assert_int_equal(server->notes_count, begin % 5);
        server_statements_destroy(server);
    }
}

static void test_notes_own_what_they_name(void **state)
{
    struct stage *stage = *state;
    struct statement *statement = stage->statements[0];
    server_statements_note(stage->server,
                           (struct statement_note){.named = statement_share(statement)});
    server_statements_note(stage->server,
                           (struct statement_note){.named = statement_share(statement)});
    assert_int_equal(statement->references, 3);
    settle(stage, true);
    assert_int_equal(statement->references, 2);
    settle(stage, false);
    assert_int_equal(statement->references, 1);
    server_statements_note(stage->server, (struct statement_note){
                                              .named = statement_share(statement)});
    /* the last one is left to the end of the server */
}

/*
 * The way a relay uses it, at random, beside a model of the server that reads the messages, skips
 * what an error makes it skip, and answers later.
 */
struct model {
    bool has[STATEMENTS];
    struct {
        int number; /* -1: a Sync, -2: something that fails */
        bool present;
    } sent[1 << 10];
    int read, count;
    bool skipping;
};

static void model_send(struct model *model, int number, bool present)
{
    assert_true(model->count < (int) countof(model->sent));
    model->sent[model->count].number = number;
    model->sent[model->count].present = present;
    model->count++;
}

/* The server reads one message, and its answer comes. */
static void model_answer(struct model *model, struct stage *stage)
{
    int number = model->sent[model->read].number;
    bool present = model->sent[model->read++].present;
    if (number == -1) {
        model->skipping = false;
    } else if (number == -2) {
        model->skipping = true;
    } else {
        if (!model->skipping) {
            if (present && model->has[number]) /* a Parse of what is there would be an error */
                fail_msg("statement %d is prepared a second time", number);
            model->has[number] = present;
        }
        settle(stage, !model->skipping);
    }
}

static void answer_all(struct model *model, struct stage *stage)
{
    while (model->read < model->count)
        model_answer(model, stage);
}

static void model_use(struct model *model, struct stage *stage, int number, unsigned limit)
{
    struct server_statement *entry = entry_of(stage, number), *oldest;
    enum statement_need need = server_statements_need(stage->server, entry);
    if (need == STATEMENT_IS_THERE) {
        server_statements_touch(stage->server, entry);
        return;
    }
    if (need == STATEMENT_REPLACE) {
        send(stage, number, false);
        model_send(model, number, false);
    }
    send(stage, number, true);
    model_send(model, number, true);
    while (stage->server->count > limit &&
           (oldest = server_statements_oldest(stage->server, entry)) != NULL) {
        for (int i = 0; i < STATEMENTS; i++)
            if (stage->statements[i] == oldest->statement)
                model_send(model, i, false);
        server_statements_note(stage->server, (struct statement_note){.on_server = oldest});
    }
}

/* After all answers: the server has what we think it has. */
static void model_compare(const struct model *model, struct stage *stage)
{
    unsigned count = 0;
    for (int i = 0; i < STATEMENTS; i++) {
        assert_int_equal(is_known(stage, i), model->has[i]);
        if (model->has[i])
            assert_int_equal(need_of(stage, i), STATEMENT_IS_THERE);
        count += model->has[i];
    }
    assert_int_equal(stage->server->count, count);
    assert_int_equal(stage->server->notes_count, 0);
}

static void test_at_random_beside_a_server(void **state)
{
    struct stage *stage = *state;
    srand(1);
    for (int round = 0; round < 2000; round++) {
        struct model model = {0};
        unsigned limit = 1 + (unsigned) rand() % 3;
        for (int i = 0; i < STATEMENTS; i++)
            model.has[i] = is_known(stage, i);
        for (int step = 0; step < 60; step++) {
            int what = rand() % 10;
            if (what < 5) {
                model_use(&model, stage, rand() % STATEMENTS, limit);
            } else if (what == 5) {
                model_send(&model, -2, false);
            } else if (what < 8) {
                model_send(&model, -1, false);
                stage->server->segment++;
            } else if (model.read < model.count) {
                model_answer(&model, stage);
            }
        }
        answer_all(&model, stage);
        model_compare(&model, stage);
        /* Evictions that were skipped are caught up with by the next Parse. */
        model_send(&model, -1, false);
        stage->server->segment++;
        int absent = 0;
        while (absent < STATEMENTS && model.has[absent])
            absent++;
        if (absent == STATEMENTS)
            continue;
        model_use(&model, stage, absent, limit);
        answer_all(&model, stage);
        model_compare(&model, stage);
        assert_in_range(stage->server->count, 1, limit);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_parse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_parse_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_sync_makes_it_uncertain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_eviction_that_fails_is_undone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_end_of_a_replacement, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_least_recently_used_goes_first, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_touching_what_is_being_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deallocate_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deallocate_all_in_front_of_operations, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_doubt, set_up, tear_down),
        cmocka_unit_test(test_notes_keep_their_order_when_they_grow),
        cmocka_unit_test_setup_teardown(test_notes_own_what_they_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_at_random_beside_a_server, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
