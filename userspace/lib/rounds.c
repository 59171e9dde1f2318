// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/lib/rounds.h"

#include <time.h>

uint32_t rounds_now(void)
{
	struct timespec ts;

	/* A worker reads first its clock and then the rest: it must not find both too early. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec) >> LB_TICK_SHIFT;
}

/* The worker is there, maybe standing still. */
static bool is_there(const struct lb_worker *w, uint32_t *ret_tick)
{
	*ret_tick = __atomic_load_n(&w->tick, __ATOMIC_ACQUIRE);
	return __atomic_load_n(&w->pid, __ATOMIC_ACQUIRE) != 0;
}

/* The worker counts: it is there, and began a round lately. */
static bool is_running(const struct lb_worker *w, uint32_t now, uint32_t *ret_tick)
{
	return is_there(w, ret_tick) && (int32_t)(now - *ret_tick) < ROUNDS_LEASE_TICKS;
}

bool rounds_passed(const struct lb_worker *workers, uint32_t tick, uint32_t now)
{
	uint32_t at;

	for (uint32_t i = 0; i < LB_WORKERS_MAX; i++)
		if (is_running(&workers[i], now, &at) && (int32_t)(at - tick) <= 0)
			return false;
	return true;
}

uint32_t rounds_oldest(const struct lb_worker *workers, uint32_t now)
{
	uint32_t oldest = now, at;

	for (uint32_t i = 0; i < LB_WORKERS_MAX; i++)
		if (is_running(&workers[i], now, &at) && (int32_t)(at - oldest) < 0)
			oldest = at;
	return oldest;
}

/* What waited for the worker during its last pause may not have come yet. */
static bool is_catching_up(const struct lb_worker *w, uint32_t now)
{
	uint64_t pause = __atomic_load_n(&w->pause, __ATOMIC_RELAXED);
	uint32_t length = LB_PAUSE_LENGTH(pause);

	if (!length)
		return false;
	if (length > ROUNDS_SENT_AGAIN_TICKS)
		length = ROUNDS_SENT_AGAIN_TICKS;
	return LB_AGE(now, LB_PAUSE_END(pause)) <= length + LB_TICKS_PER_S;
}

bool rounds_paused(const struct lb_worker *workers, uint32_t now)
{
	bool any = false;
	uint32_t at;

	for (uint32_t i = 0; i < LB_WORKERS_MAX; i++) {
		if (!is_there(&workers[i], &at))
			continue;
		any = true;
		if (LB_AGE(now, at) > LB_PAUSE_TICKS || is_catching_up(&workers[i], now))
			return true;
	}
	return !any;
}
