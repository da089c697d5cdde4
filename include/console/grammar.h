/*
 * grammar.h - the words of a console command. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONSOLE_GRAMMAR_H
#define PGWEIR_CONSOLE_GRAMMAR_H

#include <stdbool.h>

#include "base/compiler.h"

#define COMMAND_NAME_SIZE     16
#define COMMAND_ARGUMENT_SIZE 64
#define COMMAND_VALUE_SIZE    256

struct command_words {
    char name[COMMAND_NAME_SIZE];         /* as it was written */
    char argument[COMMAND_ARGUMENT_SIZE]; /* "" if there is none; the key of SET */
    char value[COMMAND_VALUE_SIZE];       /* of SET */
    char timeout[COMMAND_NAME_SIZE];      /* of PAUSE: digits and dots; "" if there is none */
    bool until_switchover;                /* of PAUSE */
};

enum grammar_result { GRAMMAR_GOOD, GRAMMAR_SYNTAX_ERROR, GRAMMAR_TOO_LONG };

/*
 * word [word] [;]
 * SET key (= | TO) value [;]
 * PAUSE [word] [UNTIL SWITCHOVER] [TIMEOUT number] [;]
 * Words may be in double quotes, bar the first. UNTIL and TIMEOUT are words like others, unless
 * what belongs to them follows.
 */
enum grammar_result grammar_read(const char *query, struct command_words *ret_words) MUST_CHECK;

#endif
