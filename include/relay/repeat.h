/*
 * repeat.h - a pipeline that failed because a plan on the server was stale is sent again.
 *
 * After a change of a table PostgreSQL refuses to run a prepared statement whose result has changed
 * ("cached plan must not change result type"). The client that prepared it for itself would see that
 * once, and prepare anew; here others have prepared it, on servers that it does not know. So the
 * statement is prepared again, and what failed is sent again, if for certain nothing of it has run:
 * it was one pipeline outside a transaction that came in one piece with its Sync, its first message
 * failed, and the client has got nothing of the answer. And only if the client asks for the columns of
 * the result (a Describe behind the Bind): one that remembers them would take the new values for the
 * old columns. Otherwise the client gets the error. In all cases the statements of all servers of the
 * pool are prepared anew before they are used again. The same is done for one server when a statement
 * has vanished from it.
 *
 * Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_RELAY_REPEAT_H
#define PGWEIR_RELAY_REPEAT_H

#include <stdbool.h>

#include "relay/session.h"
#include "relay/stream.h"

/*
 * What the stream holds is about to be sent. It is kept, if it is all that the server has to answer
 * (`alone`: the session was at rest before) and short.
 */
void repeat_keep(struct session *session, const struct stream *stream, bool alone);

/* An ErrorResponse of this size must be whole before it is handled. */
bool repeat_reads_error(const struct session *session, size_t size);

/* Looks at it. Returns true if the client is not to get it: the pipeline will be repeated. */
bool repeat_take_error(struct session *session, const uint8_t *body, size_t size);

/* ReadyForQuery has come: sends the pipeline again. Returns false if the session is over. */
bool repeat_send(struct session *session);

#endif
