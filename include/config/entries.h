/*
 * entries.h - the lines of [databases], [users] and [peers]. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_ENTRIES_H
#define PGWEIR_CONFIG_ENTRIES_H

#include "config/config.h"
#include "config/report.h"

/* Adds one line to the configuration; an earlier one of the same name is replaced. */
void entries_add_database(struct config *config, const char *name, const char *value,
                          struct place place, struct config_report *report);
void entries_add_user(struct config *config, const char *name, const char *value,
                      struct place place, struct config_report *report);
void entries_add_peer(struct config *config, const char *name, const char *value,
                      struct place place, struct config_report *report);

void entries_release(struct config *config);

#endif
