/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text -> numbers, without locale, from bytes that need no terminator. The whole of s[0..len) must
 * be the number: no blanks around it, nothing behind it. Outputs are untouched on failure.
 * And the way back, for people.
 */
#ifndef SLUICE_LIB_NUMBER_H
#define SLUICE_LIB_NUMBER_H

#include <stddef.h>
#include <stdint.h>

#define NUMBER_MAX_LEN 128 /* longer text is refused: no honest number needs it */

/*
 * Decimal floating point: [+-] digits [. digits] [e [+-] digits] with at least one digit before the
 * exponent, correctly rounded; or [+-] inf | infinity, or nan, in any case. Hexadecimal and digit
 * separators are refused, as Prometheus does. A value too small for a double reads as 0.
 * Returns 0 (the result may be NaN or infinite only if the text says so); -EINVAL if it is no
 * number; -ERANGE if it is too large for a double.
 */
int number_parse_double(const char *s, size_t len, double *ret_value);

/* Decimal digits only, at most `max`. Returns 0; -EINVAL; -ERANGE above max. */
int number_parse_u64(const char *s, size_t len, uint64_t max, uint64_t *ret_value);

#define NUMBER_BRIEF_MAX 32

/*
 * A weight or a share of weights for people: three significant digits, but always the whole part, and
 * never an exponent: "0.25", "6.3", "4000". Up to 10^15. Returns buf.
 */
const char *number_brief(char buf[NUMBER_BRIEF_MAX], double value);

#endif
