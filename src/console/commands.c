/*
 * commands.c - the commands of the console, as a table.
 *
 * SPDX-License-Identifier: ISC
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "base/text.h"
#include "console/console_session.h"
#include "console/grammar.h"
#include "report/view.h"
#include "wire/message.h"

struct command;

/* Returns false if the reply comes later, or never. */
typedef bool run_fn(struct console_session *session, const struct command *command,
                    const struct command_words *words);

struct command {
    const char *name; /* as in its tag, in log lines and in SHOW HELP */
    run_fn *run;
    bool for_stats;   /* stats users may run it */
    bool logged;      /* "<NAME> command issued" */
    const char *help; /* what follows the name in SHOW HELP; NULL: no line */
    const char *verb; /* in "cannot <verb> admin db" */
};

static struct pools *pools_of(const struct console_session *session)
{
    return session->console->pools;
}

/* ---- errors ---- */

#define QUERY_SHOWN_MAX 400

static bool invalid_command(struct console_session *session, const char *query)
{
    char text[QUERY_SHOWN_MAX + 64];
    snprintf(text, sizeof(text), "invalid command '%.*s', use SHOW HELP;", QUERY_SHOWN_MAX, query);
    reply_error(session, SQLSTATE_PROTOCOL_VIOLATION, text);
    return true;
}

static bool fail(struct console_session *session, const char *format, const char *name)
{
    struct failure failure;
    char text[128];
    snprintf(text, sizeof(text), "%s: %s", format, name);
    failure_set(&failure, "%s", name[0] != '\0' ? text : format);
    reply_error(session, SQLSTATE_PROTOCOL_VIOLATION, failure.message);
    return true;
}

/* The database of the argument, or NULL with an error in the reply. */
static struct database *find_database(struct console_session *session,
                                      const struct command *command, const char *name, bool create)
{
    struct database *database = pools_find_database(pools_of(session), name, create);
    char text[64];
    if (database == NULL) {
        fail(session, "no such database", name);
    } else if (database->console && command->verb != NULL) {
        snprintf(text, sizeof(text), "cannot %s admin db", command->verb);
        fail(session, text, name);
        database = NULL;
    }
    return database;
}

static bool done(struct console_session *session, const struct command *command)
{
    reply_tag(session, command->name);
    return true;
}

/* ---- SHOW and SET ---- */

/* Parameters that drivers ask for; the console has one answer to each. */
static const struct {
    const char *name, *value;
} fixed_parameters[] = {
    {"client_encoding", "UTF-8"},        {"default_transaction_isolation", "read committed"},
    {"standard_conforming_strings", "on"}, {"datestyle", "ISO"},
    {"timezone", "GMT"},
};

static const char *find_fixed_parameter(const char *name, const char **ret_name)
{
    for (size_t i = 0; i < countof(fixed_parameters); i++) {
        if (text_equals_ignoring_case(fixed_parameters[i].name, name)) {
            *ret_name = fixed_parameters[i].name;
            return fixed_parameters[i].value;
        }
    }
    return NULL;
}

static void add_text(struct buffer *out, const char *text)
{
    buffer_append(out, text, strlen(text));
}

/* All views, then every command with its arguments. */
static void show_help(struct console_session *session);

static bool run_show(struct console_session *session, const struct command *command UNUSED,
                     const struct command_words *words)
{
    const struct view *view = view_find(words->argument);
    const char *name, *value;
    char query[COMMAND_NAME_SIZE + COMMAND_ARGUMENT_SIZE + 2];
    if (text_equals_ignoring_case(words->argument, "help")) {
        show_help(session);
        return true;
    }
    if (view != NULL) {
        reply_view(session, view);
        return true;
    }
    value = find_fixed_parameter(words->argument, &name);
    if (value != NULL) {
        reply_single(session, name, value);
        return true;
    }
    snprintf(query, sizeof(query), "%s%s%s", words->name, words->argument[0] != '\0' ? " " : "",
             words->argument);
    return invalid_command(session, query);
}

static bool run_set(struct console_session *session, const struct command *command,
                    const struct command_words *words)
{
    const char *name, *notice;
    char tag[COMMAND_ARGUMENT_SIZE + COMMAND_VALUE_SIZE + 8];
    if (find_fixed_parameter(words->argument, &name) != NULL ||
        text_equals_ignoring_case(words->argument, "extra_float_digits")) {
        reply_notice(session, "SET ignored", NULL);
        return done(session, command);
    }
    if (session->client->console_role != CONSOLE_ADMIN)
        return fail(session, "admin access needed", "");
    if (!config_set(words->argument, words->value))
        return fail(session, "SET failed", "");
    notice = session->console->ops->apply_setting(session->console->owner, words->argument);
    if (notice != NULL)
        reply_notice(session, notice, NULL);
    snprintf(tag, sizeof(tag), "SET %s=%s", words->argument, words->value);
    reply_tag(session, tag);
    return true;
}

/* ---- the life of the pooler ---- */

static bool run_reload(struct console_session *session, const struct command *command,
                       const struct command_words *words UNUSED)
{
    if (session->console->ops->reload(session->console->owner))
        return done(session, command);
    reply_error(session, SQLSTATE_CONFIG_FILE_ERROR,
                "RELOAD failed, see logs for additional details");
    return true;
}

static bool run_shutdown(struct console_session *session, const struct command *command,
                         const struct command_words *words)
{
    struct console *console = session->console;
    enum shutdown_mode mode = SHUTDOWN_NONE;
    if (text_equals_ignoring_case(words->argument, "wait_for_servers"))
        mode = SHUTDOWN_WAIT_FOR_SERVERS;
    else if (text_equals_ignoring_case(words->argument, "wait_for_clients"))
        mode = SHUTDOWN_WAIT_FOR_CLIENTS;
    console->ops->shut_down(console->owner, mode);
    return mode != SHUTDOWN_NONE && done(session, command);
}

/* ---- databases ---- */

static struct pause_request request_of(const struct console_session *session)
{
    return (struct pause_request){.user = session->client->user_name,
                                  .peer = session->client->connection.peer};
}

static bool pause_for_switchover(struct console_session *session, const struct command *command,
                                 const struct pause_request *request)
{
    if (pools_pause_for_switchover(pools_of(session), request) == 0)
        return fail(session, "no database has target_session_attrs=read-write or primary", "");
    session_wait_for_drain(session, DRAIN_SWITCHOVER, NULL, command->name);
    return false;
}

static bool run_pause(struct console_session *session, const struct command *command,
                      const struct command_words *words)
{
    struct pools *pools = pools_of(session);
    struct database *database = NULL;
    struct pause_request request = request_of(session);
    request.until_switchover = words->until_switchover;
    if (words->timeout[0] != '\0' &&
        (!text_parse_seconds(words->timeout, &request.timeout_us) || request.timeout_us == 0))
        return fail(session, "invalid TIMEOUT", words->timeout);
    if (request.until_switchover && request.timeout_us == 0)
        return fail(session, "UNTIL SWITCHOVER needs a TIMEOUT", "");
    if (pools->pause != NULL)
        return fail(session, "already suspended/paused", "");
    if (words->argument[0] != '\0') {
        database = find_database(session, command, words->argument, true);
        if (database == NULL)
            return true;
    } else if (request.until_switchover) {
        return pause_for_switchover(session, command, &request);
    }
    pools_pause(pools, database, &request);
    session_wait_for_drain(session, DRAIN_PAUSE, database, command->name);
    return false;
}

static bool run_resume(struct console_session *session, const struct command *command,
                       const struct command_words *words)
{
    struct pools *pools = pools_of(session);
    struct database *database = NULL;
    char text[COMMAND_ARGUMENT_SIZE + 32];
    if (words->argument[0] != '\0') {
        database = find_database(session, command, words->argument, false);
        if (database == NULL)
            return true;
        snprintf(text, sizeof(text), "database %s is not paused", words->argument);
        if (database->pause == NULL)
            return fail(session, text, "");
    } else if (pools->shutdown != SHUTDOWN_NONE) {
        return fail(session, "pooler is shutting down", "");
    } else if (pools->pause == NULL) {
        return fail(session, "pooler is not paused/suspended", "");
    }
    pools_resume(pools, database);
    return done(session, command);
}

static bool run_disable(struct console_session *session, const struct command *command,
                        const struct command_words *words)
{
    bool disable = strcmp(command->name, "DISABLE") == 0;
    struct database *database;
    if (words->argument[0] == '\0')
        return fail(session, "a database is required", "");
    database = find_database(session, command, words->argument, disable);
    if (database == NULL)
        return true;
    database->disabled = disable;
    database_begin_idle(database);
    return done(session, command);
}

/* Calls `act` for the database of the argument, or for all but the console. */
typedef void database_fn(struct console_session *session, struct database *database);

static bool for_databases(struct console_session *session, const struct command *command,
                          const char *name, database_fn *act)
{
    struct database *database, *next;
    if (name[0] != '\0') {
        database = find_database(session, command, name, true);
        if (database == NULL)
            return true;
        act(session, database);
        return done(session, command);
    }
    HASH_ITER(hh, pools_of(session)->databases, database, next) {
        if (!database->console && database->members != NULL)
            act(session, database);
    }
    return done(session, command);
}

static void reconnect(struct console_session *session UNUSED, struct database *database)
{
    struct pool *pool, *next;
    HASH_ITER(hh, database->members, pool, next)
        pool_mark_close_needed(pool, "close_needed");
}

static bool run_reconnect(struct console_session *session, const struct command *command,
                          const struct command_words *words)
{
    return for_databases(session, command, words->argument, reconnect);
}

static void kill_database(struct console_session *session, struct database *database)
{
    struct console *console = session->console;
    struct pause_request request = request_of(session);
    /* Paused first: an automatic entry without clients must not vanish, and nobody gets a server. */
    pools_pause(console->pools, database, &request);
    clients_end_database(console->clients, database, "database removed");
    cancels_end_database(console->cancels, database);
    pools_drop_database_pools(console->pools, database, "database removed");
}

static bool run_kill(struct console_session *session, const struct command *command,
                     const struct command_words *words)
{
    if (pools_of(session)->pause != NULL)
        return fail(session, "already suspended/paused", "");
    return for_databases(session, command, words->argument, kill_database);
}

static bool run_wait_close(struct console_session *session, const struct command *command,
                           const struct command_words *words)
{
    struct database *database = NULL;
    if (words->argument[0] != '\0') {
        database = find_database(session, command, words->argument, true);
        if (database == NULL)
            return true;
    }
    session_wait_for_drain(session, DRAIN_CLOSE_NEEDED, database, command->name);
    return false;
}

/* ---- clients ---- */

static struct client *find_client(const struct console_session *session, uint64_t id)
{
    const struct pool *pool;
    struct pool_client *member;
    struct client *client;
    DL_FOREACH(pools_of(session)->all, pool) {
        DL_FOREACH(pool->clients, member) {
            client = container_of(member, struct client, member);
            if (client->id == id)
                return client;
        }
    }
    DL_FOREACH(session->console->clients->canceling, client) {
        if (client->id == id)
            return client;
    }
    return NULL;
}

static bool run_kill_client(struct console_session *session, const struct command *command,
                            const struct command_words *words)
{
    char *end;
    uint64_t id = strtoull(words->argument, &end, 10);
    struct client *client;
    if (end == words->argument)
        return fail(session, "invalid client pointer supplied", "");
    client = find_client(session, id);
    if (client == NULL)
        return fail(session, "client not found", "");
    if (client == session->client) {
        client_end(client, "admin forced disconnect");
        return false;
    }
    client_end(client, "admin forced disconnect");
    return done(session, command);
}

/* ---- the table ---- */

#define PAUSE_HELP "[<db>] [UNTIL SWITCHOVER] [TIMEOUT <seconds>]"

static const struct command commands[] = {
    /* name         run              stats  logged help                                      verb */
    {"SHOW",        run_show,        true,  false, NULL,                                     NULL},
    {"SELECT",      run_show,        true,  false, NULL,                                     NULL},
    {"SET",         run_set,         true,  false, "key = arg",                              NULL},
    {"RELOAD",      run_reload,      false, true,  "",                                       NULL},
    {"PAUSE",       run_pause,       false, true,  PAUSE_HELP,                               "pause"},
    {"RESUME",      run_resume,      false, true,  "[<db>]",                                 NULL},
    {"DISABLE",     run_disable,     false, true,  "<db>",                                   "disable"},
    {"ENABLE",      run_disable,     false, true,  "<db>",                                   "enable"},
    {"RECONNECT",   run_reconnect,   false, true,  "[<db>]",                                 "reconnect"},
    {"KILL",        run_kill,        false, true,  "[<db>]",                                 "kill"},
    {"KILL_CLIENT", run_kill_client, false, false, "<client_id>",                            NULL},
    {"SHUTDOWN",    run_shutdown,    false, true,  "[WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]",    NULL},
    {"WAIT_CLOSE",  run_wait_close,  false, true,  "[<db>]",                                 "wait in"},
};
static const size_t command_count = countof(commands);

static void show_help(struct console_session *session)
{
    struct buffer text = {0};
    add_text(&text, "\n\tSHOW HELP");
    for (size_t i = 0; i < view_count; i++) {
        char name[64];
        size_t length = strlen(views[i].name);
        for (size_t c = 0; c <= length && c < sizeof(name); c++)
            name[c] = (char) (views[i].name[c] >= 'a' && views[i].name[c] <= 'z'
                                  ? views[i].name[c] - 'a' + 'A'
                                  : views[i].name[c]);
        add_text(&text, i % 6 == 5 ? "\n\tSHOW " : "|");
        add_text(&text, name);
    }
    for (size_t i = 0; i < command_count; i++) {
        if (commands[i].help == NULL)
            continue;
        add_text(&text, "\n\t");
        add_text(&text, commands[i].name);
        add_text(&text, commands[i].help[0] != '\0' ? " " : "");
        add_text(&text, commands[i].help);
    }
    buffer_append(&text, "", 1);
    reply_notice(session, "Console usage", (const char *) text.data);
    reply_tag(session, "SHOW");
    buffer_release(&text);
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (text_equals_ignoring_case(commands[i].name, name))
            return &commands[i];
    return NULL;
}

/* These take no argument, or one of two words only. */
static bool argument_fits(const struct command *command, const char *argument)
{
    if (strcmp(command->name, "RELOAD") == 0)
        return argument[0] == '\0';
    if (strcmp(command->name, "SHUTDOWN") == 0)
        return argument[0] == '\0' || text_equals_ignoring_case(argument, "wait_for_servers") ||
               text_equals_ignoring_case(argument, "wait_for_clients");
    return true;
}

static void log_command(const struct command *command, const char *argument)
{
    if (!command->logged)
        return;
    if (argument[0] != '\0')
        log_info(NULL, "%s '%s' command issued", command->name, argument);
    else
        log_info(NULL, "%s command issued", command->name);
}

static bool dispatch(struct console_session *session, const char *query)
{
    struct command_words words;
    enum grammar_result result = grammar_read(query, &words);
    const struct command *command;
    if (result == GRAMMAR_TOO_LONG)
        return fail(session, "bad arguments", "");
    command = result == GRAMMAR_GOOD ? find_command(words.name) : NULL;
    if (command == NULL || !argument_fits(command, words.argument))
        return invalid_command(session, query);
    if (!command->for_stats && session->client->console_role != CONSOLE_ADMIN)
        return fail(session, "admin access needed", "");
    log_command(command, words.argument);
    return command->run(session, command, &words);
}

void command_run(struct console_session *session, const char *query)
{
    if (dispatch(session, query))
        message_write_ready_for_query(&session->reply, 'I');
}
