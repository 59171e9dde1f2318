/* SPDX-License-Identifier: BSD-2-Clause */
/* Milliseconds of CLOCK_MONOTONIC, and waiting for some. */
#ifndef SLUICECTL_CLOCK_H
#define SLUICECTL_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Returns early when a signal comes. */
static inline void clock_sleep_ms(int64_t ms)
{
	const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&ts, NULL);
}

#endif
