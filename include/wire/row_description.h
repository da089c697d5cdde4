/*
 * row_description.h - RowDescription: the columns of a result.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_WIRE_ROW_DESCRIPTION_H
#define PGWEIR_WIRE_ROW_DESCRIPTION_H

#include <stddef.h>
#include <stdint.h>

/*
 * A number, never 0, for the names and types of the columns, equal for equal ones: what must not
 * change beneath a prepared statement. The tables that they are from do not count. What is malformed
 * has a number, too.
 */
uint32_t row_description_fingerprint(const uint8_t *body, size_t size);

/* The same for a statement that returns no rows. */
#define ROW_DESCRIPTION_OF_NONE 1U

#endif
