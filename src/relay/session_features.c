/*
 * session_features.c - features of a session that outlive the transaction.
 *
 * SPDX-License-Identifier: ISC
 */
#include "relay/session_features.h"

#include <string.h>

#include "config/config.h"
#include "relay/session.h"
#include "wire/command_tag.h"
#include "wire/error_response.h"
#include "wire/message.h"

static const struct feature {
    enum session_feature flag;
    const char *refusal, *warning, *advice;
    const char *question; /* whose answer has a row if the server's session has it; NULL: told by tag */
} features[] = {
    {FEATURE_SET, "SET is not allowed in transaction pooling (warn_session_features)",
     "SET changes a server connection that other clients will get",
     "Use SET LOCAL, a parameter that is tracked, or session pooling.", NULL},
    {FEATURE_LISTEN, "LISTEN is not allowed in transaction pooling (warn_session_features)",
     "LISTEN is bound to a server connection that other clients will get",
     "Use session pooling to be sure of the notifications.", NULL},
    {FEATURE_PREPARE, "PREPARE is not allowed in transaction pooling (warn_session_features)",
     "PREPARE leaves a statement on a server connection that other clients will get",
     "Use the prepared statements of the driver, which follow the client, or session pooling.", NULL},
    {FEATURE_TEMPORARY_TABLE,
     "temporary tables are not allowed in transaction pooling (warn_session_features)",
     "a temporary table is left on a server connection that other clients will get",
     "Use ON COMMIT DROP, or session pooling.",
     "SELECT 1 FROM pg_catalog.pg_class WHERE pg_catalog.pg_my_temp_schema() <> 0"
     " AND relnamespace = pg_catalog.pg_my_temp_schema() LIMIT 1"},
    {FEATURE_ADVISORY_LOCK,
     "session advisory locks are not allowed in transaction pooling (warn_session_features)",
     "an advisory lock is left on a server connection that other clients will get",
     "Use pg_advisory_xact_lock(), or session pooling.",
     "SELECT 1 FROM pg_catalog.pg_locks WHERE locktype = 'advisory'"
     " AND pid = pg_catalog.pg_backend_pid() LIMIT 1"},
};

bool session_features_are_watched(const struct session *session)
{
    return settings_current()->warn_session_features != FEATURES_OFF &&
           session->client->pool->limits.mode != POOL_SESSION;
}

/* CREATE TABLE AS and SELECT INTO have the tag of a SELECT, of rows that nobody got. */
static bool may_create_table(const struct session_features *seen, const char *tag, size_t size)
{
    static const char select[] = "SELECT ";
    if (command_tag_is(tag, size, "CREATE TABLE") || command_tag_is(tag, size, "CREATE TABLE AS"))
        return true;
    return size > sizeof(select) && memcmp(tag, select, sizeof(select) - 1) == 0 &&
           tag[sizeof(select) - 1] != '0' && !seen->has_rows;
}

/* In a block SET may be SET LOCAL. */
static bool is_lasting_set(const struct session *session, const char *tag, size_t size)
{
    return command_tag_is(tag, size, "SET") && session->client->server->transaction_status == 'I' &&
           !session->features.in_block;
}

void session_features_take_tag(struct session *session, const char *tag, size_t size)
{
    struct session_features *seen = &session->features;
    if (command_tag_is(tag, size, "BEGIN") || command_tag_is(tag, size, "START TRANSACTION"))
        seen->in_block = true;
    else if (is_lasting_set(session, tag, size))
        seen->sets++;
    else if (command_tag_is(tag, size, "LISTEN"))
        seen->seen |= FEATURE_LISTEN;
    else if (command_tag_is(tag, size, "PREPARE"))
        seen->seen |= FEATURE_PREPARE;
    else if (may_create_table(seen, tag, size))
        seen->suspected |= FEATURE_TEMPORARY_TABLE;
    seen->has_rows = false;
}

/* A column is named after the function that makes it. */
static bool names_lock(const uint8_t *body, size_t size)
{
    static const char *const functions[] = {"pg_advisory_lock", "pg_try_advisory_lock"};
    for (size_t i = 0; i < countof(functions); i++)
        if (memmem(body, size, functions[i], strlen(functions[i])) != NULL)
            return true;
    return false;
}

void session_features_take_rows(struct session *session, const uint8_t *body, size_t size)
{
    session->features.has_rows = true;
    if (body != NULL && names_lock(body, size))
        session->features.suspected |= FEATURE_ADVISORY_LOCK;
}

void session_features_take_parameter(struct session *session)
{
    if (session->features.sets > 0)
        session->features.sets--;
}

static const struct feature *find_suspected(const struct session_features *seen)
{
    for (size_t i = 0; i < countof(features); i++)
        if (seen->suspected & features[i].flag)
            return &features[i];
    return NULL;
}

/* Nothing is owed, and the next byte for the server begins a message. */
static bool may_ask(const struct session *session, char status)
{
    return status == 'I' && answers_complete(&session->client->server->answers) &&
           (session->body_left == 0 || session->dropping);
}

bool session_features_ask(struct session *session, char status)
{
    struct session_features *seen = &session->features;
    struct server *server = session->client->server;
    struct buffer query = {0};
    seen->suspected &= (uint8_t) ~seen->told;
    const struct feature *feature = find_suspected(seen);
    if (feature == NULL || !may_ask(session, status))
        return false;
    seen->suspected &= (uint8_t) ~feature->flag;
    seen->asked = (uint8_t) feature->flag;
    answers_expect_swallowed(&server->answers);
    message_write_query(&query, feature->question);
    /* A dead server is noticed by reading: its answer will not come, the end will. */
    bool sent UNUSED = connection_send(&server->connection, query.data, query.size);
    buffer_release(&query);
    return true;
}

bool session_features_answered(struct session *session, uint8_t type)
{
    struct session_features *seen = &session->features;
    if (type == 'D')
        seen->seen |= seen->asked;
    if (type != 'Z')
        return false;
    seen->asked = 0;
    return true;
}

const char *session_features_tell(struct session *session, char status,
                                  struct buffer *ret_warnings)
{
    struct session_features *seen = &session->features;
    unsigned news;
    if (seen->sets > 0)
        seen->seen |= FEATURE_SET;
    news = seen->seen & (unsigned) ~seen->told;
    seen->seen = 0;
    seen->sets = 0;
    seen->in_block = status != 'I';
    for (size_t i = 0; i < countof(features); i++) {
        if (!(news & features[i].flag))
            continue;
        if (settings_current()->warn_session_features == FEATURES_ERROR)
            return features[i].refusal;
        seen->told |= (uint8_t) features[i].flag;
        warning_response_write(ret_warnings, features[i].warning, features[i].advice);
    }
    return NULL;
}
