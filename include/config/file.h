/*
 * file.h - reads the files of a configuration. Private to the room.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_CONFIG_FILE_H
#define PGWEIR_CONFIG_FILE_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/compiler.h"

/*
 * Reads a whole file. Returns false with errno set; then what was read so far is in the buffer. A
 * file that changes while it is read is read again, a few times.
 * Never waits: pipes, sockets and devices are refused with ENODEV, only an empty device such as
 * /dev/null is an empty file. Wipe the text if it may hold secrets.
 */
bool file_read(const char *file, struct buffer *ret_text) MUST_CHECK;

/* True if users other than the owner and the group may write (or also read) a regular file. */
bool file_is_writable_by_others(const char *file);
bool file_is_open_to_others(const char *file);

#endif
