/*
 * answers.h - the queue of answers that a client still has to get.
 *
 * One small entry for each message that will be answered, in the order of sending: the message's
 * type byte, and what is special about its answer. This one mechanism carries pipelines, the
 * extended protocol, COPY, the pooler's own statements and prepared statements.
 *
 * What must stay true (PostgreSQL documentation, "Message Flow"; PostgresMain() for the details):
 *   - a Query and a FunctionCall are answered up to their ReadyForQuery, a Sync by ReadyForQuery;
 *   - after an error in the extended protocol the server skips everything up to the next Sync,
 *     simple queries too; so everything up to the Sync in the queue is dropped, or `skipping` holds
 *     until the client sends one;
 *   - while the server reads COPY data it ignores Sync, and answers any other message than CopyData,
 *     CopyDone and CopyFail with an error that ends the COPY;
 *   - a COPY may also fail before the server has read all that was sent (a bad row, COPY FREEZE):
 *     then what was sent behind is no part of it and is answered. Nobody can tell whether it has
 *     been read, unless it was one Sync that is answered at once. So such a queue is in doubt for
 *     good: more may come than it knows of;
 *   - in CopyBoth (a walsender) both sides send COPY data until each has said CopyDone; whatever
 *     else a client sends there ends the connection;
 *   - a Query and a FunctionCall are never answered by ReadyForQuery alone;
 *   - CopyDone and CopyFail outside COPY are ignored and not answered.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_SERVER_ANSWERS_H
#define PGWEIR_SERVER_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define ANSWERS_INLINE 16

#define ANSWER_TYPE 0xffU /* of an entry: the message's type byte */

/* What is special about an answer. */
enum answer_flags {
    /* To a message of the pooler's own: the client does not get it. */
    ANSWER_SWALLOWED = 0x100,
    /* The message went nowhere: the pooler gives the answer, when its turn comes. */
    ANSWER_OWN = 0x200,
    /* Somebody keeps a note about it, and is told by notes_done and notes_lost what became of it. */
    ANSWER_NOTED = 0x400,
    /* The message was made to fail; the client gets the error that is in the note instead. */
    ANSWER_REPLACED = 0x800,
    /* To a Parse without a name, of a client that the server's unnamed statement is not of yet. */
    ANSWER_UNNAMED = 0x1000
};

/* A zeroed struct is an empty queue. */
struct answers {
    uint16_t *entries; /* owns; NULL while `inline_entries` is enough. A ring of `capacity` */
    uint32_t head, count;
    uint32_t own_count; /* of them, those with ANSWER_OWN */
    uint32_t capacity;  /* a power of two, or 0 while inline */
    /*
     * Entries with ANSWER_NOTED that have left the queue, in this order: those that ended well, then
     * those that failed or were skipped. Whoever keeps the notes sets both to 0.
     */
    uint32_t notes_done, notes_lost;
    uint32_t unnamed_count; /* entries with ANSWER_UNNAMED */
    bool unnamed_done;      /* one of them was answered with success. Whoever unlinks sets it back */
    bool unnamed_sent;      /* one was sent behind the last Sync. The same */
    bool skipping;     /* the server skips everything until the next Sync is sent */
    bool copying;      /* the server reads COPY data, and the client has not ended it */
    bool copying_both; /* the head has begun CopyBoth: it may be silent as long as it likes */
    bool begun;        /* something has come for the head */
    bool in_doubt;     /* more may be answered than what the queue holds */
    bool other_in_copy;     /* what is no COPY data and no Sync was sent into the COPY at the head */
    uint8_t syncs_in_copy;  /* Syncs that were sent into it; 2 is many */
    uint16_t inline_entries[ANSWERS_INLINE];
};

void answers_release(struct answers *answers);

/* Nothing is owed, skipped or copied, as far as the queue knows. */
static inline bool answers_complete(const struct answers *answers)
{
    return answers->count == 0 && !answers->skipping && !answers->copying;
}

/* The same, and it is certain: the server may serve somebody else. */
static inline bool answers_settled(const struct answers *answers)
{
    return answers_complete(answers) && !answers->in_doubt;
}

/*
 * Something will come from the server even if the client sends nothing more: the newest request ends
 * in a ReadyForQuery of its own. Not so in the middle of a pipeline or of COPY data.
 */
bool answers_will_come(const struct answers *answers);

/* A message of this type makes the server answer at once, and end the answer with ReadyForQuery. */
static inline bool answers_ends_request(uint8_t type)
{
    return type == 'Q' || type == 'S' || type == 'F';
}

/* A client message of this type goes to the server. */
void answers_expect(struct answers *answers, uint8_t type);

/*
 * Something special will be answered: `flags` of enum answer_flags. Only while the server neither
 * skips nor copies (answers_tracks()), because then it would not be answered at all.
 */
void answers_expect_special(struct answers *answers, uint8_t type, unsigned flags);

/* The server takes messages as what they are: it neither skips them nor reads COPY data. */
static inline bool answers_tracks(const struct answers *answers)
{
    return !answers->skipping && !answers->copying;
}

/* A Query of the pooler's own goes to the server. */
static inline void answers_expect_swallowed(struct answers *answers)
{
    answers_expect_special(answers, 'Q', ANSWER_SWALLOWED);
}

/* What was just expected is the answer to a Parse without a name: the newest entry is flagged. */
void answers_mark_unnamed(struct answers *answers);

/* Type byte and flags of the answer that is due next; 0 if none is. */
static inline unsigned answers_next(const struct answers *answers)
{
    if (answers->count == 0)
        return 0;
    return answers->capacity != 0 ? answers->entries[answers->head]
                                  : answers->inline_entries[answers->head];
}

static inline bool answers_swallows_next(const struct answers *answers)
{
    return (answers_next(answers) & ANSWER_SWALLOWED) != 0;
}

/* The pooler itself gives the answer that is due next. */
static inline bool answers_next_is_own(const struct answers *answers)
{
    return answers->own_count > 0 && (answers_next(answers) & ANSWER_OWN) != 0;
}

/* Nothing will come from the server before the pooler gives its own answers. */
static inline bool answers_are_all_own(const struct answers *answers)
{
    return answers->own_count > 0 && answers->own_count == answers->count;
}

/* All that is due is one pipeline of the client's up to its only Sync, and nothing special. */
bool answers_are_one_pipeline(const struct answers *answers);

/* The pooler gives its own answer that is due; returns the type byte of the message. */
uint8_t answers_give_own(struct answers *answers);

/*
 * A message of this type came from the server. Returns false if no such answer is due: the stream
 * cannot be trusted any more.
 */
bool answers_received(struct answers *answers, uint8_t type) MUST_CHECK;

#endif
