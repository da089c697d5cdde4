/*
 * prepared.h - prepared statements in transaction and statement pooling (max_prepared_statements).
 *
 * A client prepares a statement once and binds it later, on whichever server it is linked to then.
 * So the names that clients give are theirs alone (client_statements.h); on servers a statement has
 * a name that all clients share (statement.h), and is prepared there when it is first needed
 * (server_statements.h). Names in messages are replaced, a Parse is put in or saved, a Close never
 * sent. What the client gets is in the order of its messages, errors included: all that is put in,
 * saved or made to fail stands in the queue of expected answers (server/answers.h), with a note of
 * what it changes.
 *
 * A client that does not ask for the columns of a result remembers them from an earlier answer, on
 * whichever server that was. So before its Bind runs on a server the statement's columns there are
 * compared with those that it had when it was first prepared (row_description.h); once they differ
 * anywhere the statement is outdated, and such a client is told what PostgreSQL would tell it.
 *
 * With prepare_unnamed a statement without a name, seen for the second time, is treated as one whose
 * name is empty.
 *
 * Errors that PostgreSQL would give and no server can (a statement that is too large) are given in
 * its place: a message that is sure to fail is sent instead, so that transaction and pipeline are in
 * the state that an error puts them in, and its error is replaced.
 *
 * Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_PREPARED_H
#define PGWEIR_RELAY_PREPARED_H

#include "relay/session.h"
#include "relay/stream.h"
#include "wire/frame.h"

/* What becomes of one message of the client. */
enum message_fate {
    FATE_FORWARD,
    FATE_DROP,
    FATE_TAKEN,  /* done; what is left of its body passes as it is */
    FATE_HOLD,   /* it must be longer before anything can be said */
    FATE_STASH,  /* it waits for a server or an answer, and all behind it */
    FATE_STOPPED /* the session has been closed */
};

/* Says so, and closes. */
enum message_fate refuse_message(struct session *session, const char *message);

/*
 * The statement without a name that the server has is the client's newest, or will be when what
 * follows is read: a Parse sent since the last Sync has succeeded then, or what follows is skipped too.
 */
static inline bool prepared_owns_unnamed(const struct session *session, const struct server *server)
{
    return server->unnamed_statement == session->unnamed_statement ||
           server->answers.unnamed_sent || server->answers.unnamed_done;
}

/*
 * Tells at a glance that nothing is to be done about a Parse, Bind, Describe or Close: it is about a
 * portal, or about the client's own statement without a name. Otherwise prepared_take() decides.
 */
static inline bool prepared_passes(const struct session *session, const struct stream *stream,
                                   const struct frame *frame)
{
    const struct client *client = session->client;
    const struct server *server = client->server;
    const uint8_t *body = stream->position + FRAME_HEADER_SIZE;
    if (frame->size < FRAME_HEADER_SIZE + 2 || stream->end - body < 2)
        return false;
    if (frame->type == 'D' || frame->type == 'C')
        return body[0] == 'P';
    if (client->pool->limits.prepare_unnamed)
        return false;
    if (frame->type == 'P') /* but DEALLOCATE may be about one with a name */
        return body[0] == '\0' && (session->statements.by_name == NULL ||
                                   (body[1] > ' ' && body[1] != 'D' && body[1] != 'd'));
    return body[0] == '\0' && body[1] == '\0' && server != NULL &&
           prepared_owns_unnamed(session, server);
}

/*
 * Decides about a Parse, Bind, Describe or Close at the stream's position; not in session pooling.
 * FATE_TAKEN: the position stands behind what was done; session->body_left is set.
 */
enum message_fate prepared_take(struct session *session, struct stream *stream,
                                const struct frame *frame);

/* True if a Query may be one that prepared_take_query() is about, as far as a glance tells. */
static inline bool prepared_concerns_query(const struct session *session,
                                           const struct stream *stream)
{
    const struct server *server = session->client->server;
    const uint8_t *text = stream->position + FRAME_HEADER_SIZE;
    if (session->statements.by_name == NULL && (server == NULL || server->statements == NULL))
        return false;
    return text == stream->end || *text <= ' ' || *text == 'D' || *text == 'd';
}

/*
 * Decides about a Query where there are prepared statements. DEALLOCATE name, sent by drivers that
 * prepare by messages, means the client's name, which no server knows. After DEALLOCATE ALL or
 * DISCARD ALL what names a statement waits until that is answered.
 */
enum message_fate prepared_take_query(struct session *session, struct stream *stream,
                                      const struct frame *frame);

/* Bytes of the message that must be there before prepared_take() is asked again. */
uint64_t prepared_bytes_wanted(const struct frame *frame, size_t available);

/*
 * A Parse without a name has just been expected. If it succeeds, no other statement without one is
 * meant any more; if it is skipped, the server still has the one before, whosever that is.
 */
void prepared_note_unnamed(struct session *session);

/* Before the end of the link: what has succeeded of these is numbered on both sides. */
void prepared_number_unnamed(struct session *session);

/* Answers have come or been lost: what they were to make true is true now, or never will be. */
void prepared_settle(struct session *session);

/* Puts the pooler's own answers that are due into the stream to the client. False: it is gone. */
bool prepared_give_answers(struct session *session, struct stream *stream) MUST_CHECK;

/* The error that the client gets instead of the one that has come for the next answer. Borrowed. */
const struct buffer *prepared_error(const struct session *session);

/* DEALLOCATE ALL or DISCARD ALL has run. */
void prepared_clear(struct session *session);

#endif
