/*
 * report.h - collects what a load finds wrong.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_REPORT_H
#define PGWEIR_CONFIG_REPORT_H

#include "base/compiler.h"
#include "config/config.h"

/* Where something stands. A NULL file is no place at all. */
struct place {
    const char *file; /* interned; borrows from who reads the file, or owns where it is kept */
    unsigned line;
};

void report_error(struct config_report *report, struct place place, const char *format, ...)
    PRINTF_LIKE(3, 4);
void report_warning(struct config_report *report, struct place place, const char *format, ...)
    PRINTF_LIKE(3, 4);

#endif
