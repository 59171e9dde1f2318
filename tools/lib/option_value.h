/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The value of a command line's option -> a number within its range. What is none of these is
 * logged with the option's name and the range, and -EINVAL. Outputs are untouched on failure.
 */
#ifndef SLUICE_TOOLS_LIB_OPTION_VALUE_H
#define SLUICE_TOOLS_LIB_OPTION_VALUE_H

#include <stdint.h>

int option_number(const char *name, const char *text, double min, double max, double *ret);

/* Digits alone. max: at most 2^53. */
int option_count(const char *name, const char *text, double min, double max, uint64_t *ret);

#endif
