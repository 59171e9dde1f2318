// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/dataplane.h"

#include <math.h>
#include <net/if.h>

#define AHEAD_TICKS  32  /* a worker may read the clock after us */
#define LOSS_KEPT    0.7 /* of a second's loss, a second later: 90 % are 2 % after eleven */
#define CHECK_FRAMES 4	 /* frames of a check of which none may be lost, for an answer soon */

struct look {
	uint32_t n_running;
	uint32_t n_stuck;
	int64_t quiet_ms; /* of the liveliest worker that is there; INT64_MAX: none is */
	int64_t round_ms; /* age of the latest round of any, those that ended included; -1: none */
};

static int64_t age_ms(uint32_t tick, uint32_t now_ticks)
{
	if (tick - now_ticks <= AHEAD_TICKS)
		return 0;
	return (int64_t)LB_TICKS_TO_MS(now_ticks - tick);
}

static struct look look_at(const struct lb_worker *workers, uint32_t now_ticks)
{
	struct look look = {.quiet_ms = INT64_MAX, .round_ms = -1};

	for (uint32_t i = 0; i < LB_WORKERS_MAX; i++) {
		uint32_t pid = __atomic_load_n(&workers[i].pid, __ATOMIC_ACQUIRE);
		uint32_t tick = __atomic_load_n(&workers[i].tick, __ATOMIC_ACQUIRE);
		int64_t age = age_ms(tick, now_ticks);

		if (!pid && !tick)
			continue; /* there never was such a worker */
		if (look.round_ms < 0 || age < look.round_ms)
			look.round_ms = age;
		if (!pid)
			continue;
		if (age < look.quiet_ms)
			look.quiet_ms = age;
		if (age >= DATAPLANE_STOP_MS)
			look.n_stuck++;
		else
			look.n_running++;
	}
	return look;
}

static enum dataplane_change settle(struct dataplane *d, const struct look *look, int64_t now_ms)
{
	bool stopped = look->n_running == 0;

	d->seen |= look->round_ms >= 0;
	if (stopped == d->stopped)
		return DATAPLANE_AS_IT_WAS;
	d->stopped = stopped;
	if (!stopped) {
		d->back_ms = now_ms;
		d->heard_ms = -1;
		return DATAPLANE_BACK;
	}
	d->n_stops++;
	d->stopped_ms = now_ms - (look->round_ms > 0 ? look->round_ms : 0);
	return DATAPLANE_STOPPED;
}

/* As of all workers that ever ran: counters outlive the process. */
static void count_frames(const struct lb_worker *workers, uint64_t *ret_received, uint64_t *ret_lost)
{
	*ret_received = *ret_lost = 0;
	for (uint32_t i = 0; i < LB_WORKERS_MAX; i++) {
		const struct lb_worker *w = &workers[i];
		uint64_t missed = w->missed + w->no_buffers;

		*ret_received += w->received + missed;
		*ret_lost += missed + w->unsent + w->kernel_full;
	}
}

static void settle_loss(struct dataplane *d, int64_t now_ms)
{
	uint64_t received, lost;
	double loss;

	if (d->counted_ms && now_ms - d->counted_ms < DATAPLANE_LOSS_MS)
		return;
	count_frames(d->workers, &received, &lost);
	loss = received > d->n_received && lost > d->n_lost
		       ? (double)(lost - d->n_lost) / (double)(received - d->n_received)
		       : 0;
	if (!d->counted_ms)
		loss = 0;
	d->loss *= LOSS_KEPT;
	if (loss > d->loss)
		d->loss = loss < 1 ? loss : 1;
	d->n_received = received;
	d->n_lost = lost;
	d->counted_ms = now_ms;
}

void dataplane_init(struct dataplane *d, const struct lb_worker *workers, uint32_t now_ticks,
		    int64_t now_ms)
{
	*d = (struct dataplane){.workers = workers, .back_ms = -1, .heard_ms = -1};
	(void)dataplane_step(d, now_ticks, now_ms);
	d->n_stops = 0; /* that one was before our time */
}

enum dataplane_change dataplane_step(struct dataplane *d, uint32_t now_ticks, int64_t now_ms)
{
	struct look look;

	if (!d->workers)
		return DATAPLANE_AS_IT_WAS;
	look = look_at(d->workers, now_ticks);
	d->n_running = look.n_running;
	d->n_stuck = look.n_stuck;
	d->quiet_ms = look.quiet_ms;
	settle_loss(d, now_ms);
	return settle(d, &look, now_ms);
}

void dataplane_heard(struct dataplane *d, int64_t now_ms)
{
	if (d->heard_ms < 0 && !d->stopped)
		d->heard_ms = now_ms;
}

bool dataplane_excuses(const struct dataplane *d, int64_t started_ms, int64_t now_ms)
{
	int64_t there_ms = d->back_ms + DATAPLANE_PROOF_MS;

	if (!d->workers)
		return false;
	if (d->stopped || d->quiet_ms >= DATAPLANE_DOUBT_MS)
		return true;
	if (d->back_ms < 0)
		return false;
	if (d->heard_ms >= 0 && d->heard_ms < there_ms)
		there_ms = d->heard_ms;
	return now_ms < there_ms || started_ms < there_ms + DATAPLANE_GRACE_MS;
}

double dataplane_lossy(const struct dataplane *d)
{
	uint32_t n = d->n_running + d->n_stuck;
	double kept;

	if (!d->workers || !n)
		return 0;
	kept = pow(1 - d->loss, CHECK_FRAMES);
	return 1 - kept * d->n_running / n;
}

void dataplane_serve(struct dataplane *d, const struct config *cfg)
{
	d->n_links = 0;
	if (!d->workers)
		return;
	for (uint32_t i = 0; i < cfg->n_interfaces; i++)
		d->links[d->n_links++] = if_nametoindex(cfg->interfaces[i].name);
}

bool dataplane_serves(const struct dataplane *d, uint32_t ifindex)
{
	if (!ifindex)
		return d->workers != NULL;
	for (uint32_t i = 0; i < d->n_links; i++)
		if (d->links[i] == ifindex)
			return true;
	return false;
}
