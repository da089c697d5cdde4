/*
 * answers.c - the queue of answers that a server still owes.
 *
 * SPDX-License-Identifier: ISC
 */
#include "server/answers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static uint32_t capacity_of(const struct answers *answers)
{
    return answers->capacity != 0 ? answers->capacity : ANSWERS_INLINE;
}

static unsigned entry_at(const struct answers *answers, uint32_t place)
{
    uint32_t slot = (answers->head + place) & (capacity_of(answers) - 1);
    return answers->capacity != 0 ? answers->entries[slot] : answers->inline_entries[slot];
}

static uint8_t type_at(const struct answers *answers, uint32_t place)
{
    return (uint8_t) (entry_at(answers, place) & ANSWER_TYPE);
}

static void put_entry(struct answers *answers, uint32_t place, unsigned entry)
{
    uint32_t slot = (answers->head + place) & (capacity_of(answers) - 1);
    if (answers->capacity != 0)
        answers->entries[slot] = (uint16_t) entry;
    else
        answers->inline_entries[slot] = (uint16_t) entry;
}

void answers_release(struct answers *answers)
{
    free(answers->entries);
    *answers = (struct answers){0};
}

static void grow(struct answers *answers)
{
    uint32_t capacity = capacity_of(answers) * 2;
    uint16_t *entries = memory_new(capacity * sizeof(*entries));
    for (uint32_t i = 0; i < answers->count; i++)
        entries[i] = (uint16_t) entry_at(answers, i);
    free(answers->entries);
    answers->entries = entries;
    answers->capacity = capacity;
    answers->head = 0;
}

static void push(struct answers *answers, unsigned entry)
{
    if (answers->count == capacity_of(answers))
        grow(answers);
    put_entry(answers, answers->count, entry);
    answers->count++;
}

/* An entry leaves the queue without its answer. */
static void lose(struct answers *answers, unsigned entry)
{
    answers->notes_lost += (entry & ANSWER_NOTED) != 0;
    answers->own_count -= (entry & ANSWER_OWN) != 0;
    answers->unnamed_count -= (entry & ANSWER_UNNAMED) != 0;
}

static void drop_head(struct answers *answers)
{
    answers->head = (answers->head + 1) & (capacity_of(answers) - 1);
    answers->count--;
    answers->begun = answers->copying_both = false;
}

/* What was sent into the COPY at the head has been read, or there is no such head any more. */
static void forget_copy(struct answers *answers)
{
    answers->other_in_copy = false;
    answers->syncs_in_copy = 0;
}

static void doubt(struct answers *answers)
{
    answers->in_doubt = true;
    forget_copy(answers);
}

/* The head was answered. An end of COPY that nobody waited for is ignored by the server. */
static void pop(struct answers *answers)
{
    unsigned entry = entry_at(answers, 0);
    answers->notes_done += (entry & ANSWER_NOTED) != 0;
    if (entry & ANSWER_UNNAMED) {
        answers->unnamed_count--;
        answers->unnamed_done = true;
    }
    drop_head(answers);
    forget_copy(answers);
    while (answers->count > 0 && entry_at(answers, 0) == 'c')
        drop_head(answers);
}

static uint8_t head_type(const struct answers *answers)
{
    return (uint8_t) (answers_next(answers) & ANSWER_TYPE);
}

bool answers_will_come(const struct answers *answers)
{
    uint32_t place = answers->count;
    if (answers->copying || answers->copying_both)
        return false;
    while (place > 0 && type_at(answers, place - 1) == 'c')
        place--; /* the request before it is answered because of it, or in spite of it */
    return place > 0 && answers_ends_request(type_at(answers, place - 1));
}

/* Sync is ignored in a COPY; whatever else is no COPY data is lost in the error that it causes. */
static void add_to_copy(struct answers *answers, uint8_t type)
{
    if (type == 'S') {
        answers->syncs_in_copy = answers->syncs_in_copy == 0 ? 1 : 2;
        return;
    }
    answers->copying = false;
    answers->other_in_copy = type != 'c' && type != 'f';
}

void answers_expect(struct answers *answers, uint8_t type)
{
    if (type == 'd' || type == 'H')
        return;
    if (answers->copying) {
        add_to_copy(answers, type);
        return;
    }
    /* If the Sync in the COPY ends the skipping, this is answered; else it is skipped or ends it. */
    if (answers->skipping && answers->syncs_in_copy > 0 && type != 'c' && type != 'f')
        doubt(answers);
    if (answers->skipping && type != 'S')
        return;
    if (type == 'c' || type == 'f') {
        /* Worth an entry only if something before it may still turn out to be a COPY. */
        if (answers->count > 0)
            push(answers, 'c');
        return;
    }
    answers->skipping = false;
    if (type == 'S')
        answers->unnamed_sent = false;
    push(answers, type);
}

void answers_expect_special(struct answers *answers, uint8_t type, unsigned flags)
{
    assert(answers_tracks(answers));
    push(answers, type | flags);
    answers->own_count += (flags & ANSWER_OWN) != 0;
}

void answers_mark_unnamed(struct answers *answers)
{
    uint32_t newest = answers->count - 1;
    assert(answers->count > 0);
    put_entry(answers, newest, entry_at(answers, newest) | ANSWER_UNNAMED);
    answers->unnamed_count++;
    answers->unnamed_sent = true;
}

uint8_t answers_give_own(struct answers *answers)
{
    uint8_t type = head_type(answers);
    assert(answers_next_is_own(answers));
    answers->own_count--;
    pop(answers);
    return type;
}

/*
 * The head began to read COPY data. What was sent behind it has been, or will be, read as part of
 * the COPY: Syncs are ignored, the first end of COPY ends it, the first other message fails it.
 * What never went to the server is given up with the rest of its pipeline.
 */
static void begin_copy_in(struct answers *answers)
{
    uint32_t kept = 1, read = 1;
    answers->copying = true;
    forget_copy(answers);
    for (; read < answers->count && answers->copying; read++) {
        unsigned entry = entry_at(answers, read);
        lose(answers, entry);
        if (!(entry & ANSWER_OWN))
            add_to_copy(answers, type_at(answers, read));
    }
    for (; read < answers->count; read++)
        put_entry(answers, kept++, entry_at(answers, read));
    answers->count = kept;
}

static bool is_extended(uint8_t type)
{
    return type == 'P' || type == 'B' || type == 'D' || type == 'E' || type == 'C';
}

bool answers_are_one_pipeline(const struct answers *answers)
{
    uint32_t last = answers->count - 1;
    if (answers->count < 2 || entry_at(answers, last) != 'S')
        return false;
    for (uint32_t i = 0; i < last; i++)
        if (!is_extended(type_at(answers, i)) ||
            (entry_at(answers, i) & ~ANSWER_TYPE & ~(unsigned) ANSWER_NOTED) != 0)
            return false;
    return answers_tracks(answers) && !answers->in_doubt;
}

/*
 * After an error in the extended protocol everything up to the next Sync is skipped. Returns false
 * if there was more than the failed head and ends of COPY.
 */
static bool skip_to_sync(struct answers *answers)
{
    bool alone = true;
    lose(answers, entry_at(answers, 0));
    drop_head(answers);
    for (; answers->count > 0 && entry_at(answers, 0) != 'S'; drop_head(answers)) {
        unsigned entry = entry_at(answers, 0);
        alone = alone && (entry == 'c' || (entry & ANSWER_OWN) != 0);
        lose(answers, entry);
    }
    answers->skipping = answers->count == 0;
    return alone && answers->skipping;
}

/*
 * The head failed. Of what was sent into its COPY the server may have read all or nothing: only if
 * that is one Sync, with nothing behind it, will the next answer tell.
 */
static void fail_head(struct answers *answers)
{
    bool told = is_extended(head_type(answers)) && skip_to_sync(answers);
    answers->copying = answers->copying_both = false;
    if (answers->other_in_copy || answers->syncs_in_copy > 1 ||
        (answers->syncs_in_copy == 1 && !told))
        doubt(answers);
}

/* ReadyForQuery with nothing to answer it: for a Sync that a failed COPY has not read, after all. */
static bool ends_skipping(struct answers *answers)
{
    bool due = answers->skipping && answers->syncs_in_copy > 0;
    if (due) {
        answers->skipping = false;
        forget_copy(answers);
    }
    return due || answers->in_doubt;
}

bool answers_received(struct answers *answers, uint8_t type)
{
    uint8_t head = head_type(answers);
    uint8_t answered = 0; /* the request that this message completes */
    bool begun = answers->begun;

    if (type == 'A' || type == 'N' || type == 'S')
        return true;
    answers->begun = head != 0;
    switch (type) {
    case 'E':
        fail_head(answers);
        return true;
    case 'Z':
        if (head == 0)
            return ends_skipping(answers);
        if (!answers_ends_request(head) || (head != 'S' && !begun))
            return answers->in_doubt;
        pop(answers);
        return true;
    case '1':
        answered = 'P';
        break;
    case '2':
        answered = 'B';
        break;
    case '3':
        answered = 'C';
        break;
    case 'n':
        answered = 'D';
        break;
    case 'T':
        if (head == 'Q')
            return true;
        answered = 'D';
        break;
    case 't':
        return head == 'D';
    case 'V':
        return head == 'F';
    case 'C':
    case 'I':
        if (head == 'Q') {
            forget_copy(answers);
            return true;
        }
        answered = 'E';
        break;
    case 's':
        answered = 'E';
        break;
    case 'G':
        if (head != 'Q' && head != 'E')
            return false;
        begin_copy_in(answers);
        return true;
    case 'W':
        answers->copying_both = head == 'Q';
        return head == 'Q';
    default: /* rows and COPY OUT */
        return head == 'Q' || head == 'E';
    }
    if (head != answered)
        return false;
    pop(answers);
    return true;
}
