/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text <-> durations in milliseconds.
 *
 * Accepted: one or more pairs of a decimal number and a unit, largest unit first, each unit once:
 * "500ms", "30s", "1.5s", "1h30m", "2d". Units: ms, s, m, h, d. "0" needs no unit; any other number
 * does, so that nobody has to guess. No blanks, no signs.
 */
#ifndef SLUICE_LIB_DURATION_H
#define SLUICE_LIB_DURATION_H

#include <stddef.h>
#include <stdint.h>

#define DURATION_MAX_MS (INT64_C(36500) * 24 * 3600 * 1000) /* a hundred years */

/*
 * Returns 0; -EINVAL if text is not a duration; -ERANGE if it is over DURATION_MAX_MS or finer than
 * a millisecond ("0.5ms"). ret_ms is untouched on failure.
 */
int duration_parse(const char *text, int64_t *ret_ms);

/* Room for every duration that duration_format() writes, with its NUL. */
#define DURATION_TEXT_MAX 48

/* An exact text that duration_parse() reads back: "1h30m", "1.5s". ms is not negative. Returns buf.
 */
const char *duration_format(int64_t ms, char buf[DURATION_TEXT_MAX]);

#endif
