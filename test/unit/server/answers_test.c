/*
 * answers_test.c - the queue of answers that a server still owes.
 *
 * SPDX-License-Identifier: ISC
 */
#include "server/answers.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

/*
 * A script is a row of message types. Behind '>' they are sent by the client, behind '<' by the
 * server. '.' expects a settled queue and ':' one that is not; '~' expects that the next message of
 * the server is refused.
 */
static void run(const char *script)
{
    struct answers answers = {0};
    bool from_server = false, good = true;
    for (const char *at = script; *at != '\0'; at++) {
        if (*at == '>' || *at == '<')
            from_server = *at == '<';
        else if (*at == '.' || *at == ':')
            good = answers_settled(&answers) == (*at == '.');
        else if (*at == '~')
            good = !answers_received(&answers, (uint8_t) * ++at);
        else if (from_server)
            good = answers_received(&answers, (uint8_t) *at);
        else
            answers_expect(&answers, (uint8_t) *at);
        if (!good)
            fail_msg("'%s' went wrong at '%s'", script, at);
    }
    answers_release(&answers);
}

static void run_all(const char *const scripts[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        run(scripts[i]);
}

static void test_simple_queries(void **state UNUSED)
{
    static const char *const scripts[] = {
        ".",        ">Q:<T:D:D:C:Z.",   ">Q<IZ.",        ">Q<CZ.",
        ">Q<TCZ.",  ">Q<TDCTDCZ.",      ">Q<CTDEZ.",     ">Q<E:Z.",
        ">Q<TDEZ.", ">QQQ<CZ:TDCZ:EZ.", ">Q<T>Q<CZ:IZ.", ">F:<V:Z.",
        ">F<EZ.",   ">FQF<VZCZEZ.",     ">Q<HddcCZ.",    ">Q<HdEZ.",
    };
    run_all(scripts, countof(scripts));
}

static void test_what_may_come_at_any_time(void **state UNUSED)
{
    static const char *const scripts[] = {
        "<ANS.", ">Q<NT:S:A:NDNCNZN.", ">PBDES<N1A2NTSDNCNZ.", ">Q<G>d<N:A>c<CZ.", ">P<EN:S:>S<Z.",
        "<E.", /* why the server ends the connection */
    };
    run_all(scripts, countof(scripts));
}

static void test_extended_protocol(void **state UNUSED)
{
    static const char *const scripts[] = {
        ">PBDES:<1:2:T:D:C:Z.",
        ">PDS<1tTZ.",
        ">PDS<1tnZ.",
        ">BDS<2nZ.",
        ">PBES<12sZ.",
        ">PBES<12IZ.",
        ">BES<2DDsZ.",
        ">BEEES<2DsDsDCZ.",
        ">CCS<3:3:Z.",
        ">PBESPBES<12CZ:12CZ.",
        ">PBEPBES<12C12CZ.",
        ">S<Z.",
        ">SS<Z:Z.",
        ">H.",
        ">PBEH<12C.",
        ">PBDE<12TDC.>S:<Z.",
        ">BES<2HddcCZ.",
        ">PQ<1CZ.",
        ">QPBESQ<CZ12CZCZ.",
    };
    run_all(scripts, countof(scripts));
}

static void test_error_skips_to_the_next_sync(void **state UNUSED)
{
    static const char *const scripts[] = {
        ">PBDES<E:Z.",
        ">PBDES<1E:Z.",
        ">PBDES<12E:Z.",
        ">PBDES<12TDE:Z.",
        ">CS<EZ.",
        ">DS<tEZ.",
        ">PBESPBES<1EZ:12CZ.",
        ">PBESPBES<EZEZ.",
        ">PB<E:>EDCHP:S:<Z.",
        ">P<E:>Q:F:S:<Z.",
        ">PQFS<EZ.",
        ">PBEQcdfHS<EZ.",
        ">PBE<12E:>S<Z.>Q<CZ.",
        ">PBSS<EZ:Z.",
        ">PB<1E>SSQ<Z:Z:CZ.",
        ">PBESQ<12EZ:TDCZ.",
        ">S<E:Z.",
        ">SP<EZ:1.",
        ">QP<EZ:1.",
        ">BES<2HdEZ.",
    };
    run_all(scripts, countof(scripts));
}

static void test_copy_in(void **state UNUSED)
{
    static const char *const scripts[] = {
        ">Q<G:>dd:c:<C:Z.",      ">Q<G>df:<E:Z.",       ">Qddc<GCZ.",      ">Qddf<GEZ.",
        ">Q<G>c<CG:>dc:<CZ.",    ">Qdcdc<GCGCZ.",       ">Qdcdf<GCGEZ.",   ">QdcQ<GCZ:CZ.",
        ">PBE<12G:>dc:<C.>S<Z.", ">PBE<12G>df<E:>S<Z.", ">PBEdcS<12GC:Z.", ">PBEdfS<12GE:Z.",
        ">PBEdcPBES<12GC12CZ.",  ">PBEdcPBES<12GEZ.",
    };
    run_all(scripts, countof(scripts));
}

static void test_copy_reads_over_syncs(void **state UNUSED)
{
    static const char *const scripts[] = {
        ">PBES<12G:>dc:<C.", ">PBES<12G>dcS<CZ.", ">PBES<12G>SdHSc:S<CZ.",
        ">PBESdcS<12GCZ.",   ">PBESSdcS<12GCZ.",  ">Q<G>Sdc<CZ.",
        ">PBES<12G>dc<C~Z",
    };
    run_all(scripts, countof(scripts));
}

/* After the error the client may still be sending. */
static void test_copy_that_fails_in_its_middle(void **state UNUSED)
{
    static const char *const scripts[] = {
        ">Q<G>d<E:>dc:<Z.",   ">Q<G>d<EZ.>dc.f.",       ">Q<G>dc<E>Q<Z:CZ.",
        ">Q<G>d<E>dcQ<Z:CZ.", ">PBE<12G>d<E:>dc:S:<Z.", ">PBE<12G>d<E:>df:S:<Z.",
        ">PBE<12G>dcS<E:Z.",
    };
    run_all(scripts, countof(scripts));
}

/* COPY FREEZE or a trigger may fail behind CopyInResponse; then COPY has not read the Sync. */
static void test_copy_that_fails_before_it_reads(void **state UNUSED)
{
    static const char *const scripts[] = {
        ">PBES<12GE:Z.",        ">PBES<12GEZ.>PBES<12CZ.", ">PBE<12G>S<E:Z.",
        ">PBES<12GEZ.>dc.S<Z.", ">PBES<12GEZ~Z",           ">PBES<12GE>S<Z:Z:",
        ">PBE<12GE:~Z",         ">PBES<12GEZ>P<E~Z",       ">PBES<12G>dc<C>P<E~Z",
    };
    run_all(scripts, countof(scripts));
}

/*
 * A message that was sent into a COPY is lost in the error, or answered behind it: if the COPY had
 * failed before, because of a bad row. As both may be, such a server must never be taken for settled.
 */
static void test_copy_that_fails_leaves_what_it_has_not_read_in_doubt(void **state UNUSED)
{
    static const char *const scripts[] = {
        ">Q<G>Q:<EZ:",        ">Q<G>QQ:<EZ:TDCZ:", ">QQQ<GEZ:TDCZ:",       ">Q<G>QS<EZ:Z:",
        ">QdQ<GEZ:",          ">QdF<GEZ:",         ">PBE<12G>P:BES:<E:Z:", ">PBEPBES<12GEZ:",
        ">QdS<GEZ:Z:",        ">QdSQ<GEZ:~T",      ">QdSQ<GEZ:Z:~T",     ">Q<G>Sdc<EZ:Z:",
        ">PBES<12G>d<E:>S<Z:", ">PBES<12G>d<E:>S<Z:Z:", ">PBES<12G>dfS<EZ:", ">PBESdcS<12GEZ:Z:",
        ">PBESSdc<12GEZ:Z:",  ">QdQ<GEZ>Q:<CZ:",
        ">PBESdcPBE<12GE:",   ">PBESdc<12GE>P:<Z:", ">PBESdc<12GE:Z.",
    };
    run_all(scripts, countof(scripts));
}

/* Late or never asked for: the server takes no notice. */
static void test_ends_of_copy_outside_copy(void **state UNUSED)
{
    static const char *const scripts[] = {
        ">c.f.d.", ">Qc<TDCZ.",    ">QdcdfcQ<CZ:CZ.", ">PcBfEdS<12CZ.",
        ">Scf<Z.", ">PBcES<12CZ.", ">PBEScS<12CZZ.",  ">FcS<VZZ.",
    };
    run_all(scripts, countof(scripts));
}

/* A walsender: COPY data both ways, as long as it likes; then CopyDone from both sides. */
static void test_copy_in_both_directions(void **state UNUSED)
{
    static const char *const scripts[] = {
        ">Q<W:d>d<d>ddc<dc:CZ.", ">Q<Wdc:>c<CZ.", ">Q<Wdc>c<TDCCZ.", ">Q<Wd>d<EZ>dc.",
        ">Q<W>cQ<cCZ:TDCZ.",     "<~W",           ">E<~W",           ">S<~W",
    };
    run_all(scripts, countof(scripts));
}

static void test_wrong_answers(void **state UNUSED)
{
    static const char *const scripts[] = {
        "<~Z",    "<~1",       "<~2",    "<~3",    "<~C",          "<~D",         "<~G",
        "<~T",    "<~n",       "<~t",    "<~s",    "<~V",          "<~I",         "<~d",
        ">Q<~1",  ">Q<~2",     ">Q<~3",  ">Q<~n",  ">Q<~t",        ">Q<~s",       ">Q<~V",
        ">F<~C",  ">F<~D",     ">F<~T",  ">F<~G",  ">P<~2",        ">P<~Z",       ">P<~D",
        ">B<~1",  ">B<~C",     ">D<~1",  ">D<t~C", ">E<~T",        ">E<~n",       ">E<D~Z",
        ">C<~1",  ">S<~C",     ">S<~1",  ">S<~G",  ">S<~D",        ">Q<CZ~Z",     ">Q<CZ~D",
        ">P<1~1", ">PBES<E~1", ">P<E~Z", ">P<E~1", ">PBES<12CZ~Z", ">Q<G>d<CZ~Z",
    };
    run_all(scripts, countof(scripts));
}

/* A late ReadyForQuery must not pass for the answer to the next client's query. */
static void test_ready_alone_answers_no_query(void **state UNUSED)
{
    static const char *const scripts[] = {">Q<~Z",   ">F<~Z",       ">Q<N~Z",      ">Q<CZ>Q<~Z",
                                          ">SQ<Z~Z", ">P<E>SQ<Z~Z", ">Q<CZ<E>Q<~Z"};
    run_all(scripts, countof(scripts));
}

/* Whether the server will speak again without hearing more from the client. */
static void test_what_will_come_by_itself(void **state UNUSED)
{
    static const struct {
        const char *sent, *received;
        bool will_come;
    } cases[] = {
        {"", "", false},        {"Q", "", true},         {"Q", "TD", true},   {"Q", "CZ", false},
        {"F", "", true},        {"PBES", "", true},      {"PBES", "E", true}, {"PBE", "", false},
        {"PBEH", "12", false},  {"QP", "", false},       {"P", "E", false},   {"Q", "G", false},
        {"PBES", "12G", false}, {"PBEdcS", "12G", true}, {"Qdc", "G", true},
        {"Qdc", "", true},      {"PBEdc", "", false},    {"Qcc", "", true},
        {"Q", "W", false},      {"Qd", "Wdd", false},    {"QQ", "WcCZ", true},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct answers answers = {0};
        for (const char *type = cases[i].sent; *type != '\0'; type++)
            answers_expect(&answers, (uint8_t) *type);
        for (const char *type = cases[i].received; *type != '\0'; type++)
            assert_true(answers_received(&answers, (uint8_t) *type));
        if (answers_will_come(&answers) != cases[i].will_come)
            fail_msg("'%s' and '%s'", cases[i].sent, cases[i].received);
        answers_release(&answers);
    }
}

/* ---- our own statements ---- */

static void take_all(struct answers *answers, const char *types)
{
    for (; *types != '\0'; types++)
        assert_true(answers_received(answers, (uint8_t) *types));
}

static void test_answer_to_our_own_statement_is_swallowed(void **state UNUSED)
{
    struct answers answers = {0};
    assert_false(answers_swallows_next(&answers));
    answers_expect_swallowed(&answers);
    answers_expect(&answers, 'Q');
    assert_true(answers_swallows_next(&answers));
    take_all(&answers, "CSCN");
    assert_true(answers_swallows_next(&answers));
    take_all(&answers, "Z");
    assert_false(answers_swallows_next(&answers));
    assert_false(answers_settled(&answers));
    take_all(&answers, "TDCZ");
    assert_true(answers_settled(&answers));
    answers_release(&answers);
}

static void test_our_own_statement_may_fail(void **state UNUSED)
{
    struct answers answers = {0};
    answers_expect_swallowed(&answers);
    take_all(&answers, "E");
    assert_true(answers_swallows_next(&answers));
    assert_false(answers.skipping);
    take_all(&answers, "Z");
    assert_true(answers_settled(&answers));
    answers_release(&answers);
}

static void test_our_own_statement_needs_an_answer(void **state UNUSED)
{
    struct answers answers = {0};
    answers_expect_swallowed(&answers);
    assert_false(answers_received(&answers, 'Z'));
    answers_release(&answers);
}

/* ---- special answers ---- */

static void expect_notes(struct answers *answers, unsigned done, unsigned lost)
{
    assert_int_equal(answers->notes_done, done);
    assert_int_equal(answers->notes_lost, lost);
    answers->notes_done = answers->notes_lost = 0;
}

static void test_own_answer_waits_for_its_turn(void **state UNUSED)
{
    struct answers answers = {0};
    answers_expect(&answers, 'B');
    answers_expect_special(&answers, 'C', ANSWER_OWN | ANSWER_NOTED);
    answers_expect(&answers, 'S');
    assert_false(answers_next_is_own(&answers));
    assert_false(answers_are_all_own(&answers));
    take_all(&answers, "2");
    assert_true(answers_next_is_own(&answers));
    expect_notes(&answers, 0, 0);
    assert_int_equal(answers_give_own(&answers), 'C');
    expect_notes(&answers, 1, 0);
    assert_false(answers_next_is_own(&answers));
    take_all(&answers, "Z");
    assert_true(answers_settled(&answers));
    answers_release(&answers);
}

static void test_own_answers_alone_owe_something(void **state UNUSED)
{
    struct answers answers = {0};
    assert_false(answers_are_all_own(&answers));
    answers_expect_special(&answers, 'P', ANSWER_OWN);
    assert_true(answers_are_all_own(&answers));
    assert_false(answers_settled(&answers));
    answers_expect(&answers, 'S');
    assert_false(answers_are_all_own(&answers));
    assert_int_equal(answers_give_own(&answers), 'P');
    take_all(&answers, "Z");
    assert_true(answers_settled(&answers));
    answers_release(&answers);
}

static void test_notes_tell_what_was_skipped(void **state UNUSED)
{
    struct answers answers = {0};
    answers_expect_special(&answers, 'P', ANSWER_SWALLOWED | ANSWER_NOTED);
    answers_expect_special(&answers, 'P', ANSWER_NOTED);
    answers_expect(&answers, 'B');
    answers_expect_special(&answers, 'P', ANSWER_OWN | ANSWER_NOTED);
    answers_expect_special(&answers, 'C', ANSWER_SWALLOWED | ANSWER_NOTED);
    answers_expect(&answers, 'S');
    answers_expect_special(&answers, 'P', ANSWER_NOTED);
    assert_int_equal(answers_next(&answers), 'P' | ANSWER_SWALLOWED | ANSWER_NOTED);
    take_all(&answers, "1");
    expect_notes(&answers, 1, 0);
    take_all(&answers, "E"); /* the second fails, and all behind it up to the Sync is skipped */
    expect_notes(&answers, 0, 3);
    assert_int_equal(answers.own_count, 0);
    take_all(&answers, "Z1");
    expect_notes(&answers, 1, 0);
    assert_true(answers_settled(&answers));
    answers_release(&answers);
}

static void test_copy_that_swallows_a_pipeline_loses_its_notes(void **state UNUSED)
{
    struct answers answers = {0};
    answers_expect(&answers, 'Q');
    answers_expect_special(&answers, 'C', ANSWER_OWN | ANSWER_NOTED);
    answers_expect_special(&answers, 'P', ANSWER_NOTED);
    answers_expect(&answers, 'S');
    take_all(&answers, "G");
    expect_notes(&answers, 0, 2);
    assert_int_equal(answers.own_count, 0);
    take_all(&answers, "EZZ");
    answers_release(&answers);
}

/* ---- the statement without a name ---- */

static void expect_unnamed(struct answers *answers)
{
    answers_expect(answers, 'P');
    answers_mark_unnamed(answers);
}

static void test_unnamed_parse_that_succeeds(void **state UNUSED)
{
    struct answers answers = {0};
    expect_unnamed(&answers);
    assert_true(answers.unnamed_sent);
    answers_expect(&answers, 'B');
    answers_expect(&answers, 'S');
    assert_false(answers.unnamed_sent);
    assert_false(answers.unnamed_done);
    assert_int_equal(answers.unnamed_count, 1);
    assert_true(answers_received(&answers, '1'));
    assert_true(answers.unnamed_done);
    assert_int_equal(answers.unnamed_count, 0);
    assert_true(answers_received(&answers, '2'));
    assert_true(answers_received(&answers, 'Z'));
    assert_true(answers_settled(&answers));
    answers_release(&answers);
}

/* Neither one that fails nor one that is skipped changes anything; what follows the Sync does. */
static void test_unnamed_parse_that_is_skipped(void **state UNUSED)
{
    struct answers answers = {0};
    expect_unnamed(&answers);
    expect_unnamed(&answers);
    answers_expect(&answers, 'S');
    expect_unnamed(&answers);
    answers_expect(&answers, 'P');
    assert_true(answers.unnamed_sent);
    assert_true(answers_received(&answers, 'E'));
    assert_int_equal(answers.unnamed_count, 1);
    assert_false(answers.unnamed_done);
    assert_true(answers_received(&answers, 'Z'));
    assert_true(answers_received(&answers, '1'));
    assert_true(answers.unnamed_done);
    assert_true(answers_received(&answers, '1'));
    assert_int_equal(answers.unnamed_count, 0);
    answers_release(&answers);
}

static void test_unnamed_parse_that_a_copy_swallows(void **state UNUSED)
{
    struct answers answers = {0};
    answers_expect(&answers, 'Q');
    expect_unnamed(&answers);
    assert_true(answers_received(&answers, 'G'));
    assert_int_equal(answers.unnamed_count, 0);
    assert_false(answers.unnamed_done);
    answers_release(&answers);
}

static void test_nothing_special_while_the_server_skips_or_copies(void **state UNUSED)
{
    struct answers answers = {0};
    assert_true(answers_tracks(&answers));
    answers_expect(&answers, 'B');
    take_all(&answers, "E");
    assert_false(answers_tracks(&answers));
    answers_expect(&answers, 'S');
    assert_true(answers_tracks(&answers));
    take_all(&answers, "Z");
    answers_expect(&answers, 'Q');
    take_all(&answers, "G");
    assert_false(answers_tracks(&answers));
    answers_expect(&answers, 'c');
    assert_true(answers_tracks(&answers));
    answers_release(&answers);
}

/* ---- the ring ---- */

static void test_short_pipelines_need_no_memory(void **state UNUSED)
{
    struct answers answers = {0};
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < ANSWERS_INLINE / 4; i++) {
            take_all(&answers, "N");
            answers_expect(&answers, i % 2 ? 'S' : 'P');
        }
        for (unsigned i = 0; i < ANSWERS_INLINE / 4; i++)
            take_all(&answers, i % 2 ? "Z" : "1");
        assert_true(answers_settled(&answers));
    }
    assert_null(answers.entries);
    answers_release(&answers);
}

static void test_order_survives_growth_wherever_the_head_is(void **state UNUSED)
{
    static const char requests[] = "PBDECS", replies[] = "12nC3Z";
    for (unsigned start = 0; start < 2 * ANSWERS_INLINE; start++) {
        struct answers answers = {0};
        for (unsigned i = 0; i < start; i++) {
            answers_expect(&answers, 'S');
            take_all(&answers, "Z");
        }
        for (unsigned i = 0; i < 300; i++)
            answers_expect(&answers, (uint8_t) requests[(start + i) % 6]);
        assert_non_null(answers.entries);
        for (unsigned i = 0; i < 300; i++)
            assert_true(answers_received(&answers, (uint8_t) replies[(start + i) % 6]));
        assert_true(answers_settled(&answers));
        answers_release(&answers);
        assert_true(answers_settled(&answers));
        assert_null(answers.entries);
    }
}

/* ---- comparison with a model of the server ---- */

static uint32_t random_state;

/* Below `limit`; the same row for the same seed everywhere. */
static uint32_t random_below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % limit;
}

static bool one_in(uint32_t count)
{
    return random_below(count) == 0;
}

#define MODEL_MAX 20000

/*
 * What PostgresMain() and CopyGetData() do, without any memory of what is owed. A Query or Execute
 * that is a COPY FROM is written 'q' or 'e' in the client's row.
 */
struct model {
    char sent[MODEL_MAX], replies[MODEL_MAX];
    unsigned sent_count, read, reply_count, delivered;
    bool skipping;
    char copy; /* 'q' or 'e' while it reads rows */
};

static void reply(struct model *model, const char *types)
{
    for (; *types != '\0'; types++) {
        if (one_in(20))
            model->replies[model->reply_count++] = "NSA"[random_below(3)];
        model->replies[model->reply_count++] = *types;
    }
}

static void fail_copy(struct model *model)
{
    reply(model, model->copy == 'q' ? "EZ" : "E");
    model->skipping = model->copy == 'e';
    model->copy = '\0';
}

static void read_copy(struct model *model, char type)
{
    bool was_simple = model->copy == 'q';
    if (type == 'f' || (type == 'd' && one_in(10))) {
        fail_copy(model);
    } else if (type == 'c') {
        model->copy = '\0';
        reply(model, was_simple ? "CZ" : "C");
    }
}

/* One of the answers, or the error. */
static void answer_extended(struct model *model, const char *const answers[], unsigned count)
{
    model->skipping = one_in(12);
    reply(model, model->skipping ? "E" : answers[random_below(count)]);
}

/* A COPY may fail before its first row, if what becomes of the Sync behind it can be told. */
static void begin_copy(struct model *model, char type)
{
    unsigned unread = model->sent_count - model->read;
    reply(model, "G");
    model->copy = type;
    if (unread <= 1 && one_in(4))
        fail_copy(model);
}

static void read_message(struct model *model)
{
    static const char *const simple[] = {"CZ", "TDDCZ", "IZ", "EZ", "TDCCTDEZ", "HddcCZ", "TEZ"};
    static const char *const parse[] = {"1"}, *const bind[] = {"2"}, *const closing[] = {"3"};
    static const char *const describe[] = {"T", "n", "tT", "tn"};
    static const char *const execute[] = {"C", "DDC", "Ds", "I", "HddcC"};
    char type = model->sent[model->read++];
    if (model->copy != '\0') {
        read_copy(model, type);
    } else if (type == 'S') {
        model->skipping = false;
        reply(model, one_in(10) ? "EZ" : "Z");
    } else if (model->skipping) {
        return;
    } else if (type == 'Q') {
        reply(model, simple[random_below(countof(simple))]);
    } else if (type == 'F') {
        reply(model, one_in(5) ? "EZ" : "VZ");
    } else if (type == 'P') {
        answer_extended(model, parse, countof(parse));
    } else if (type == 'B') {
        answer_extended(model, bind, countof(bind));
    } else if (type == 'D') {
        answer_extended(model, describe, countof(describe));
    } else if (type == 'E') {
        answer_extended(model, execute, countof(execute));
    } else if (type == 'C') {
        answer_extended(model, closing, countof(closing));
    } else if (type == 'q' || type == 'e') {
        begin_copy(model, type);
    }
}

/* What a sound client may send next, as a whole. */
static const char *next_step(void)
{
    static const char *const steps[] = {
        "Q",   "Q",    "F",       "S",     "PBDES",  "PBES",    "BES",    "P",      "B",
        "D",   "E",    "C",       "PBH",   "DCS",    "PBESBES", "c",      "d",      "f",
        "qdc", "qddf", "qdddddc", "eddcS", "eSddcS", "PBeSdcS", "BeSdfS", "PBedfS", "qcQ",
    };
    return steps[random_below(countof(steps))];
}

static void deliver(struct model *model, struct answers *answers, unsigned seed)
{
    uint8_t type = (uint8_t) model->replies[model->delivered++];
    if (!answers_received(answers, type))
        fail_msg("seed %u: '%c' was refused behind '%.*s'", seed, type, (int) model->read,
                 model->sent);
}

/* Nothing that the server has said, or will say, is still on its way. */
static bool model_is_settled(const struct model *model)
{
    for (unsigned i = model->delivered; i < model->reply_count; i++)
        if (strchr("NSA", model->replies[i]) == NULL)
            return false;
    for (unsigned i = model->read; i < model->sent_count; i++)
        if (strchr("dcfH", model->sent[i]) == NULL)
            return false;
    return !model->skipping && model->copy == '\0';
}

static void send_next(struct model *model, struct answers *answers, const char **step)
{
    char type = *(*step)++;
    model->sent[model->sent_count++] = type;
    answers_expect(answers, (uint8_t) (type == 'q' ? 'Q' : type == 'e' ? 'E' : type));
}

/*
 * Where a COPY fails at once, the Sync behind it is answered, and both arrive, before the client
 * can send more: not even the client could tell which Sync is answered otherwise.
 */
static void read_next(struct model *model, struct answers *answers, unsigned seed)
{
    bool begins_copy = strchr("qe", model->sent[model->read]) != NULL;
    read_message(model);
    if (!begins_copy || model->copy != '\0')
        return;
    if (model->read + 1 == model->sent_count && model->sent[model->read] == 'S')
        read_message(model);
    while (model->delivered < model->reply_count)
        deliver(model, answers, seed);
}

static void compare_with_model(unsigned seed)
{
    static struct model model;
    struct answers answers = {0};
    const char *step = "";
    unsigned steps = 60;
    memset(&model, 0, sizeof(model));
    random_state = seed * 2654435761U + 1;
    while (steps > 0 || *step != '\0' || model.read < model.sent_count ||
           model.delivered < model.reply_count) {
        uint32_t choice = random_below(3);
        if (*step == '\0' && steps > 0)
            step = --steps > 0 ? next_step() : "S";
        if (choice == 0 && *step != '\0') {
            send_next(&model, &answers, &step);
        } else if (choice == 1 && model.read < model.sent_count) {
            read_next(&model, &answers, seed);
        } else if (choice == 2 && model.delivered < model.reply_count) {
            deliver(&model, &answers, seed);
        }
        if (answers_settled(&answers) && !model_is_settled(&model))
            fail_msg("seed %u: settled too early behind '%.*s'", seed, (int) model.sent_count,
                     model.sent);
    }
    if (!answers_complete(&answers))
        fail_msg("seed %u: not complete in the end", seed);
    answers_release(&answers);
}

static void test_random_sessions_agree_with_a_model(void **state UNUSED)
{
    for (unsigned seed = 1; seed <= 3000; seed++)
        compare_with_model(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple_queries),
        cmocka_unit_test(test_what_may_come_at_any_time),
        cmocka_unit_test(test_extended_protocol),
        cmocka_unit_test(test_error_skips_to_the_next_sync),
        cmocka_unit_test(test_copy_in),
        cmocka_unit_test(test_copy_reads_over_syncs),
        cmocka_unit_test(test_copy_that_fails_in_its_middle),
        cmocka_unit_test(test_copy_that_fails_before_it_reads),
        cmocka_unit_test(test_copy_that_fails_leaves_what_it_has_not_read_in_doubt),
        cmocka_unit_test(test_ends_of_copy_outside_copy),
        cmocka_unit_test(test_copy_in_both_directions),
        cmocka_unit_test(test_wrong_answers),
        cmocka_unit_test(test_ready_alone_answers_no_query),
        cmocka_unit_test(test_what_will_come_by_itself),
        cmocka_unit_test(test_answer_to_our_own_statement_is_swallowed),
        cmocka_unit_test(test_our_own_statement_may_fail),
        cmocka_unit_test(test_our_own_statement_needs_an_answer),
        cmocka_unit_test(test_own_answer_waits_for_its_turn),
        cmocka_unit_test(test_own_answers_alone_owe_something),
        cmocka_unit_test(test_notes_tell_what_was_skipped),
        cmocka_unit_test(test_copy_that_swallows_a_pipeline_loses_its_notes),
        cmocka_unit_test(test_nothing_special_while_the_server_skips_or_copies),
        cmocka_unit_test(test_unnamed_parse_that_succeeds),
        cmocka_unit_test(test_unnamed_parse_that_is_skipped),
        cmocka_unit_test(test_unnamed_parse_that_a_copy_swallows),
        cmocka_unit_test(test_short_pipelines_need_no_memory),
        cmocka_unit_test(test_order_survives_growth_wherever_the_head_is),
        cmocka_unit_test(test_random_sessions_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
