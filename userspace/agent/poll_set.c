/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/poll_set.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "userspace/lib/cleanup.h"

#define EVENTS_PER_WAIT 128
#define DRAIN_ROUNDS    64 /* at most, of EVENTS_PER_WAIT each */

/* Busy: looked at every BUSY_TICK_US. poll_set_flush() counts as a tick. */
#define BUSY_GAP_US      1000 /* wakeups closer than this … */
#define BUSY_WAKEUPS     8    /* … so many in a row make it busy */
#define BUSY_TICK_US     3000
#define BUSY_QUIET_TICKS 16 /* with at most one event each: not busy any more */

#define NEVER UINT64_MAX

/* At the index of the descriptor. */
struct slot {
	poll_set_fn fn;
	void *userdata;
	uint32_t generation; /* tells events of the descriptor's earlier uses */
	uint32_t events;     /* 0: not in the epoll set */
};

struct poll_set {
	sd_event *event;
	sd_event_source *io;
	sd_event_source *tick;
	int epoll_fd;
	bool busy;         /* tick is on, io is off */
	uint32_t wakeups;  /* in a row, close to each other */
	uint32_t quiet;    /* ticks in a row */
	uint64_t woken_us; /* by io */
	struct slot *slots;
	size_t n_slots;
};

static uint64_t now_us(const struct poll_set *set)
{
	uint64_t us = 0;

	(void)sd_event_now(set->event, CLOCK_MONOTONIC, &us);
	return us;
}

static int slots_reserve(struct poll_set *set, int fd)
{
	size_t n = set->n_slots ? set->n_slots : 64;
	struct slot *slots;

	if ((size_t)fd < set->n_slots)
		return 0;
	while (n <= (size_t)fd)
		n *= 2;
	slots = reallocarray(set->slots, n, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memset(slots + set->n_slots, 0, (n - set->n_slots) * sizeof(*slots));
	set->slots = slots;
	set->n_slots = n;
	return 0;
}

int poll_set_watch(struct poll_set *set, int fd, uint32_t events, poll_set_fn fn, void *userdata)
{
	struct epoll_event ev = {.events = events};
	struct slot *slot;
	int r, op;

	assert(fd >= 0);
	r = slots_reserve(set, fd);
	if (r < 0)
		return r;
	slot = &set->slots[fd];
	if (events != slot->events) {
		ev.data.u64 = (uint64_t)slot->generation << 32 | (uint32_t)fd;
		op = !events ? EPOLL_CTL_DEL : slot->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
		if (epoll_ctl(set->epoll_fd, op, fd, &ev) < 0)
			return -errno;
		slot->events = events;
	}
	slot->fn = fn;
	slot->userdata = userdata;
	return 0;
}

void poll_set_forget(struct poll_set *set, int fd)
{
	struct slot *slot;

	assert(fd >= 0);
	if ((size_t)fd >= set->n_slots)
		return;
	slot = &set->slots[fd];
	/* Fails if it is closed already: then the kernel took it out. */
	if (slot->events)
		(void)epoll_ctl(set->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	*slot = (struct slot){.generation = slot->generation + 1};
}

/* Returns how many there were. */
static int take_events(struct poll_set *set)
{
	struct epoll_event events[EVENTS_PER_WAIT];
	int i, n;

	n = epoll_wait(set->epoll_fd, events, EVENTS_PER_WAIT, 0);
	for (i = 0; i < n; i++) {
		int fd = (int)(uint32_t)events[i].data.u64;
		const struct slot *slot = &set->slots[fd];

		/* An earlier one of them may have closed it, and another opened it anew. */
		if (slot->generation == events[i].data.u64 >> 32 && slot->events)
			slot->fn(slot->userdata, fd, events[i].events);
	}
	return n;
}

static void busy_set(struct poll_set *set, bool busy)
{
	set->busy = busy;
	set->quiet = 0;
	set->wakeups = 0;
	(void)sd_event_source_set_enabled(set->io, busy ? SD_EVENT_OFF : SD_EVENT_ON);
	(void)sd_event_source_set_enabled(set->tick, busy ? SD_EVENT_ON : SD_EVENT_OFF);
}

void poll_set_flush(struct poll_set *set)
{
	int n;

	if (!set->busy)
		return;
	(void)sd_event_source_set_time(set->tick, now_us(set) + BUSY_TICK_US);
	n = take_events(set);
	set->quiet = n > 1 ? 0 : set->quiet + 1;
	if (set->quiet >= BUSY_QUIET_TICKS)
		busy_set(set, false);
}

void poll_set_drain(struct poll_set *set)
{
	int i;

	for (i = 0; i < DRAIN_ROUNDS; i++)
		if (take_events(set) < EVENTS_PER_WAIT)
			return;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	poll_set_flush(userdata);
	return 0;
}

static int on_io(sd_event_source *source, int epoll_fd, uint32_t revents, void *userdata)
{
	struct poll_set *set = userdata;
	uint64_t now = now_us(set);

	(void)source;
	(void)epoll_fd;
	(void)revents;
	(void)take_events(set);
	set->wakeups = now - set->woken_us < BUSY_GAP_US ? set->wakeups + 1 : 0;
	set->woken_us = now;
	if (set->wakeups >= BUSY_WAKEUPS) {
		busy_set(set, true);
		(void)sd_event_source_set_time(set->tick, now + BUSY_TICK_US);
	}
	return 0;
}

int poll_set_new(sd_event *event, struct poll_set **ret)
{
	_cleanup_(poll_set_free) struct poll_set *set = NULL;
	int r;

	assert(event);
	assert(ret);

	set = calloc(1, sizeof(*set));
	if (!set)
		return -ENOMEM;
	set->event = sd_event_ref(event);
	set->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (set->epoll_fd < 0)
		return -errno;
	r = sd_event_add_io(event, &set->io, set->epoll_fd, EPOLLIN, on_io, set);
	if (r < 0)
		return r;
	/* Accuracy 1: to the microsecond; 0 would be a quarter of a second. */
	r = sd_event_add_time(event, &set->tick, CLOCK_MONOTONIC, NEVER, 1, on_tick, set);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(set->tick, SD_EVENT_OFF);
	if (r < 0)
		return r;
	(void)sd_event_source_set_description(set->io, "sockets");
	(void)sd_event_source_set_description(set->tick, "sockets-tick");
	*ret = TAKE_PTR(set);
	return 0;
}

void poll_set_free(struct poll_set **setp)
{
	struct poll_set *set = setp ? *setp : NULL;

	if (!set)
		return;
	*setp = NULL;
	sd_event_source_disable_unref(set->io);
	sd_event_source_disable_unref(set->tick);
	sd_event_unref(set->event);
	if (set->epoll_fd >= 0)
		close(set->epoll_fd);
	free(set->slots);
	free(set);
}
