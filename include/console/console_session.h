/*
 * console_session.h - one client of the console. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONSOLE_CONSOLE_SESSION_H
#define PGWEIR_CONSOLE_CONSOLE_SESSION_H

#include "base/buffer.h"
#include "console/console.h"
#include "wire/collector.h"

/* A command that waits for servers to go. */
struct waiting_command {
    struct drain drain;
    struct console_session *session; /* borrows: the owner */
    const char *tag;
    struct waiting_command *next, *prev;
};

struct console_session {
    struct console *console;         /* borrows */
    struct client *client;           /* borrows: owned by it */
    struct collector incoming;       /* owns */
    struct waiting_command *waiting; /* owns */
    struct buffer reply;             /* owns; of the command at hand */
};

/* Runs one command and writes its whole reply, ReadyForQuery included, unless it has to wait. */
void command_run(struct console_session *session, const char *query);

/* Replies. The caller adds ReadyForQuery. */
void reply_error(struct console_session *session, const char *sqlstate, const char *message);
void reply_tag(struct console_session *session, const char *tag);
void reply_notice(struct console_session *session, const char *message, const char *detail);

/* One text column with one row. */
void reply_single(struct console_session *session, const char *column, const char *value);

struct view;
void reply_view(struct console_session *session, const struct view *view);

/* Answers `tag` when the condition is met, at once if it is; an error if the pause ends before. */
void session_wait_for_drain(struct console_session *session, enum drain_kind kind,
                            struct database *database, const char *tag);

#endif
