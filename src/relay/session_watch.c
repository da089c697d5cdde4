/*
 * session_watch.c - what a session leaves behind on its server.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/prepared.h"

#include "config/config.h"
#include "server/leftovers.h"
#include "server/server_statements.h"
#include "wire/command_tag.h"

static bool notes_leftovers(void)
{
    return settings_current()->server_reset_query_mode == RESET_SMART;
}

void session_watch(struct session *session)
{
    session->client->server->left = LEFT_NOTHING;
    session_watch_anew(session);
    session->features = (struct session_features){.told = session->features.told};
}

/* What was not watched before, or is not from now on, may have left anything. */
void session_watch_anew(struct session *session)
{
    struct server *server = session->client->server;
    if (!notes_leftovers())
        server->left = LEFT_UNKNOWN;
    server->watched = notes_leftovers() || session_features_are_watched(session);
}

void session_take_tag(struct session *session, const char *tag, size_t size)
{
    struct server *server = session->client->server;
    bool discards = command_tag_is(tag, size, "DISCARD ALL");
    if (server->watched) {
        server->left = (uint8_t) leftovers_after_tag(server->left, tag, size);
        session_features_take_tag(session, tag, size);
    }
    /* What the server does not report is not known any more. */
    if (discards || command_tag_is(tag, size, "SET") || command_tag_is(tag, size, "RESET"))
        server->unreported_unknown = true;
    if (command_tag_is(tag, size, "DEALLOCATE"))
        server_statements_doubt(server->statements);
    if (statement_tag_is_end_of_all(tag, size))
        prepared_clear(session);
}
