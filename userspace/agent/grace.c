/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/grace.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum grace_state { GRACE_WAITING = 1, GRACE_PASSED = 2, GRACE_REFUSED = 3 };

/* Shared by the caller and its thread; the last one to leave frees it. */
struct grace {
	uint64_t start_ms;
	atomic_int state;
	atomic_int owners;
};

static bool barrier(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0;
}

static void sleep_ms(unsigned int ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

void grace_wait(void)
{
	if (!barrier())
		sleep_ms(GRACE_FALLBACK_MS - GRACE_MIN_MS);
	sleep_ms(GRACE_MIN_MS);
}

static void leave(struct grace *g)
{
	if (atomic_fetch_sub(&g->owners, 1) == 1)
		free(g);
}

static void *wait_in_thread(void *arg)
{
	struct grace *g = arg;

	atomic_store(&g->state, barrier() ? GRACE_PASSED : GRACE_REFUSED);
	leave(g);
	return NULL;
}

int grace_start(uint64_t now_ms, struct grace **ret)
{
	pthread_attr_t attr;
	pthread_t thread;
	struct grace *g;
	int r;

	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->start_ms = now_ms;
	atomic_init(&g->state, GRACE_WAITING);
	atomic_init(&g->owners, 2);
	r = pthread_attr_init(&attr);
	if (r == 0) {
		(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		r = pthread_create(&thread, &attr, wait_in_thread, g);
		(void)pthread_attr_destroy(&attr);
	}
	if (r) {
		free(g);
		return -r;
	}
	*ret = g;
	return 0;
}

bool grace_done(const struct grace *g, uint64_t now_ms)
{
	switch (atomic_load(&g->state)) {
	case GRACE_PASSED:
		return now_ms >= g->start_ms + GRACE_MIN_MS;
	case GRACE_REFUSED:
		return now_ms >= g->start_ms + GRACE_FALLBACK_MS;
	default:
		return false;
	}
}

void grace_free(struct grace **g)
{
	if (!g || !*g)
		return;
	leave(*g);
	*g = NULL;
}
