/*
 * leftovers.c - what a session may have left behind on its server, as the server's answers tell.
 *
 * SPDX-License-Identifier: ISC
 */
#include "server/leftovers.h"

#include <string.h>

/*
 * Tags by what their command may leave at the end of the transaction. Commands that run functions are
 * listed only where the first word is followed by a count or by other words.
 */
static const struct {
    const char *tag;
    bool counted; /* " 1" or the like follows */
    unsigned left;
} commands[] = {
    /* What queries do is their functions' doing: set_config(), pg_advisory_lock(), EXECUTE. */
    {"SELECT", true, LEFT_BY_FUNCTIONS},
    {"INSERT", true, LEFT_BY_FUNCTIONS},
    {"UPDATE", true, LEFT_BY_FUNCTIONS},
    {"DELETE", true, LEFT_BY_FUNCTIONS},
    {"MERGE", true, LEFT_BY_FUNCTIONS},
    {"COPY", true, LEFT_BY_FUNCTIONS},
    {"FETCH", true, LEFT_BY_FUNCTIONS},
    {"MOVE", true, LEFT_BY_FUNCTIONS},
    {"CALL", false, LEFT_BY_FUNCTIONS},
    {"DO", false, LEFT_BY_FUNCTIONS},
    {"EXPLAIN", false, LEFT_BY_FUNCTIONS},        /* ANALYZE executes */
    {"DECLARE CURSOR", false, LEFT_BY_FUNCTIONS}, /* planning evaluates what is constant */

    {"PREPARE", false, LEFT_STATEMENTS},
    {"SET", false, LEFT_SETTINGS},
    {"LISTEN", false, LEFT_LISTENING},

    /* These end with the transaction, or only take away. */
    {"BEGIN", false, LEFT_NOTHING},
    {"START TRANSACTION", false, LEFT_NOTHING},
    {"COMMIT", false, LEFT_NOTHING},
    {"ROLLBACK", false, LEFT_NOTHING},
    {"SAVEPOINT", false, LEFT_NOTHING},
    {"RELEASE", false, LEFT_NOTHING},
    {"PREPARE TRANSACTION", false, LEFT_NOTHING},
    {"COMMIT PREPARED", false, LEFT_NOTHING},
    {"ROLLBACK PREPARED", false, LEFT_NOTHING},
    {"SHOW", false, LEFT_NOTHING},
    {"RESET", false, LEFT_NOTHING},
    {"NOTIFY", false, LEFT_NOTHING},
    {"UNLISTEN", false, LEFT_NOTHING},
    {"DEALLOCATE", false, LEFT_NOTHING},
    {"DEALLOCATE ALL", false, LEFT_NOTHING},
    {"CLOSE CURSOR", false, LEFT_NOTHING},
    {"CLOSE CURSOR ALL", false, LEFT_NOTHING},
    {"DISCARD PLANS", false, LEFT_NOTHING},
    {"DISCARD SEQUENCES", false, LEFT_NOTHING},
    {"DISCARD TEMP", false, LEFT_NOTHING},
};

/* The tag is the command's: whole, or followed by a blank and a count. */
static bool is_tag(const char *tag, size_t length, const char *command, bool counted)
{
    size_t size = strlen(command);
    if (length < size || memcmp(tag, command, size) != 0)
        return false;
    if (length == size)
        return true;
    return counted && tag[size] == ' ' && tag[size + 1] >= '0' && tag[size + 1] <= '9';
}

unsigned leftovers_after_tag(unsigned left, const char *tag, size_t size)
{
    if (size == 0 || size > LEFTOVERS_TAG_MAX || tag[size - 1] != '\0')
        return LEFT_UNKNOWN;
    if (is_tag(tag, size - 1, "DISCARD ALL", false))
        return LEFT_NOTHING;
    for (size_t i = 0; i < countof(commands); i++)
        if (is_tag(tag, size - 1, commands[i].tag, commands[i].counted))
            return left | commands[i].left;
    return LEFT_UNKNOWN;
}

unsigned leftovers_after_message(unsigned left, uint8_t type)
{
    switch (type) {
    case 'A': /* asynchronous ones */
    case 'N':
    case 'S':
    case 'I': /* nothing was executed */
    case 'Z':
    case '3':
    case 'n':
    case 't':
    case 'T': /* a tag or an error will follow */
    case 'D':
        return left;
    case 'C':
        return LEFT_UNKNOWN;
    case '1': /* the unnamed statement, too, would be there for the next client */
        return left | LEFT_STATEMENTS;
    default: /* a Bind has planned, a failed or suspended command has run in part */
        return left | LEFT_BY_FUNCTIONS;
    }
}

/* Parts of DISCARD ALL, in its order, by what they remove. Cached plans are no trace of anybody. */
#define CURSORS    "CLOSE ALL;"
#define SETTINGS   "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;"
#define STATEMENTS "DEALLOCATE ALL;"
#define LISTENING  "UNLISTEN *;"
#define REST       "SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;DISCARD SEQUENCES;"

const char *leftovers_reset(unsigned left)
{
    static const char *const resets[] = {
        [LEFT_NOTHING] = NULL,
        [LEFT_SETTINGS] = SETTINGS,
        [LEFT_LISTENING] = LISTENING,
        [LEFT_SETTINGS | LEFT_LISTENING] = SETTINGS LISTENING,
        [LEFT_STATEMENTS] = STATEMENTS,
        [LEFT_SETTINGS | LEFT_STATEMENTS] = SETTINGS STATEMENTS,
        [LEFT_LISTENING | LEFT_STATEMENTS] = STATEMENTS LISTENING,
        [LEFT_SETTINGS | LEFT_LISTENING | LEFT_STATEMENTS] = SETTINGS STATEMENTS LISTENING,
    };
    if (left < countof(resets))
        return resets[left];
    return left == LEFT_BY_FUNCTIONS ? CURSORS SETTINGS STATEMENTS LISTENING REST : "DISCARD ALL";
}
