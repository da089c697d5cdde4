/*
 * console.h - the pseudo-database "pgbouncer": a client that talks to the pooler itself.
 *
 * One simple Query holds one command. SHOW reads the views of the report room; the other commands
 * are in a table (commands.c). Commands that wait (PAUSE, WAIT_CLOSE) are answered when their own
 * condition is met; the session answers other commands meanwhile.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONSOLE_CONSOLE_H
#define PGWEIR_CONSOLE_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "client/client.h"
#include "pool/pools.h"
#include "relay/cancel.h"

/* What only the assembly (main) can do. */
struct console_ops {
    /* Loads the configuration again. False if anything was wrong; the log has the reasons. */
    bool (*reload)(void *owner);
    /* The setting `name` was changed by SET. Returns NULL, or a notice for whoever did it. */
    const char *(*apply_setting)(void *owner, const char *name);
    /* SHUTDOWN_NONE: at once. */
    void (*shut_down)(void *owner, enum shutdown_mode mode);
};

/* What the sessions need. Filled in by main. */
struct console {
    struct pools *pools;           /* borrows */
    struct clients *clients;       /* borrows */
    struct cancels *cancels;       /* borrows */
    const struct console_ops *ops; /* borrows */
    void *owner;                   /* for the ops */
    const char *version;           /* of SHOW VERSION; borrows */
};

/*
 * A cancel request with the key of a console client: a PAUSE of everything is taken back, as by
 * RESUME, and commands of this client that wait for anything else end with an error.
 */
void console_cancel(struct console *console, struct client *client);

/* Takes over a client of the console database that has logged in. */
void console_start(struct console *console, struct client *client, const uint8_t *bytes,
                   size_t size);

#endif
