/* SPDX-License-Identifier: BSD-2-Clause */
/* A small regular file -> its bytes. */
#ifndef SLUICE_LIB_FILE_READ_H
#define SLUICE_LIB_FILE_READ_H

#include <stddef.h>

/*
 * All of a file of at most `max` bytes, and a NUL behind them. Never waits: what is no regular file
 * (a FIFO, a device) is refused.
 * Returns 0, and *ret_bytes is the caller's; -EISDIR, -EINVAL if it is not a regular file; -EFBIG
 * over max, even if it grew while it was read; -ENOMEM, -ENOENT, -EACCES … Outputs are untouched on
 * failure.
 */
int file_read(const char *path, size_t max, char **ret_bytes, size_t *ret_len);

#endif
