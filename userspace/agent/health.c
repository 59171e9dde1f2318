/* SPDX-License-Identifier: BSD-2-Clause */
/* What samples bring, orders, the clock. Probes are in health_probe.c. */
#include "userspace/agent/health.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "userspace/agent/health_dims.h"
#include "userspace/agent/health_step.h"
#include "userspace/agent/health_table.h"

#define IDLE_ABORT_QUIET_MS 5000 /* aborts further apart are not a climb */

/* --- samples ---------------------------------------------------------------------------------- */

static void note_progress(struct health *h, const struct health_settings *s,
			  const struct load_sample *sample, int64_t now_ms)
{
	const bool runs = load_has(sample, LOAD_RUNNING) && sample->running > 0;
	const bool gap = now_ms - h->progress_seen_ms > s->progress_ms;
	bool moved;

	if (!load_has(sample, LOAD_PROGRESS))
		return;
	moved = h->progress_known && sample->progress != h->progress;
	if (moved)
		h->progress_ms = now_ms;
	h->progress = sample->progress;
	h->progress_known = true;
	h->progress_seen_ms = now_ms;
	if (moved || !runs) {
		h->frozen_ms = -1;
		h->hung = false;
	} else if (h->frozen_ms < 0 || gap) {
		h->frozen_ms = now_ms; /* what it did meanwhile nobody saw */
	}
}

static void judge_hung(const struct health_step *st, const struct health_pool *pool)
{
	struct health *h = st->h;

	if (st->s->hung_ms <= 0)
		h->hung = false;
	if (st->s->hung_ms <= 0 || h->frozen_ms < 0 || st->now_ms - h->frozen_ms < st->s->hung_ms)
		return;
	if (h->progress_ms < 0 && !(pool && pool->n_moving))
		return;
	h->hung = true;
	h->passes = 0;
	health_happen(st, HEALTH_EV_HUNG, HEALTH_CAUSE_HUNG,
		      "%.0f requests run without progress for %lld s", h->running,
		      (long long)(st->now_ms - h->frozen_ms) / 1000);
}

/*
 * Idle, and yet requests are cut short: it turns them away. Where something progressed meanwhile,
 * short requests ran and their clients let go of them.
 */
static void note_aborts(const struct health_step *st, const struct load_sample *sample)
{
	struct health *h = st->h;
	const bool idle = load_has(sample, LOAD_RUNNING) && sample->running <= 0 &&
			  !(load_has(sample, LOAD_QUEUE) && sample->queue > 0) &&
			  !(h->progress_known && h->progress_ms == st->now_ms);
	double climbed;

	if (!load_has(sample, LOAD_ABORTS))
		return;
	climbed = h->aborts_known ? sample->aborts - h->aborts : 0;
	if (h->aborts_known && climbed >= 0)
		health_dims_aborts(h, st->s, climbed, st->now_ms);
	h->aborts = sample->aborts;
	h->aborts_known = true;
	h->aborts_ms = st->now_ms;

	if (!idle || st->now_ms - h->leaving_ms > IDLE_ABORT_QUIET_MS)
		h->idle_aborts = 0;
	if (!idle || climbed <= 0)
		return;
	health_leave(st, false);
	if (++h->idle_aborts >= st->s->samples && health_is_up(h->under))
		health_happen(st, HEALTH_EV_LEAVING, HEALTH_CAUSE_IDLE_ABORTS,
			      "idle, and %.0f requests aborted", climbed);
}

bool health_sample(struct health *h, const struct health_settings *s,
		   const struct load_sample *sample, const struct health_pool *pool,
		   uint32_t weight, int64_t now_ms, struct health_change *ret)
{
	const struct health_step st = health_step_begin(h, s, now_ms);

	assert(ret);
	health_dims_sample(h, s, sample, pool, weight, now_ms);
	if (load_has(sample, LOAD_RUNNING)) {
		h->running = sample->running;
		h->running_ms = now_ms;
	}
	note_progress(h, s, sample, now_ms);
	judge_hung(&st, pool);
	note_aborts(&st, sample);
	h->sample_ms = now_ms;
	h->calm_samples =
		health_dims_calm(h) ? h->calm_samples + (h->calm_samples < UINT32_MAX) : 0;
	health_settle(&st);
	return health_step_end(&st, ret);
}

/* --- orders and clock ------------------------------------------------------------------------- */

bool health_order(struct health *h, const struct health_settings *s, enum lb_state order,
		  int64_t now_ms, struct health_change *ret)
{
	struct health_step st;

	assert(ret);
	assert(order == LB_STATE_NONE || order == LB_STATE_DRAINING ||
	       order == LB_STATE_MAINTENANCE);
	if (order == h->operator)
		return false;
	st = health_step_begin(h, s, now_ms);
	health_settle(&st);
	h->operator= order;
	h->cause_kind = HEALTH_CAUSE_ORDERED;
	(void)snprintf(h->cause, sizeof(h->cause), "ordered by the operator: %s",
		       order == LB_STATE_NONE       ? "undrain"
		       : order == LB_STATE_DRAINING ? "drain"
						    : "maintenance");
	return health_step_end(&st, ret);
}

bool health_tick(struct health *h, const struct health_settings *s, int64_t now_ms,
		 struct health_change *ret)
{
	const struct health_step st = health_step_begin(h, s, now_ms);

	assert(ret);
	health_settle(&st);
	return health_step_end(&st, ret);
}

static void shift(int64_t *time_ms, int64_t ms)
{
	if (*time_ms >= 0)
		*time_ms += ms;
}

void health_slept(struct health *h, int64_t ms)
{
	for (int dim = 0; dim < HEALTH_DIM_N; dim++)
		shift(&h->dims[dim].seen_ms, ms);
	shift(&h->start_ms, ms);
	shift(&h->sample_ms, ms);
	shift(&h->progress_seen_ms, ms);
	shift(&h->progress_ms, ms);
	shift(&h->frozen_ms, ms);
	shift(&h->running_ms, ms);
	/* not aborts_ms: the node counted on meanwhile, and its rate is over that time */
	shift(&h->leaving_ms, ms);
	shift(&h->unanswered_ms, ms);
}

/* Steps of the ramp that are over; warm_up_steps and more: all. */
static int64_t warm_steps_over(const struct health *h, const struct health_settings *s,
			       int64_t now_ms)
{
	if (h->warm_ms < 0 || now_ms < h->warm_ms)
		return 0;
	return (now_ms - h->warm_ms) * s->warm_up_steps / s->warm_up_ms;
}

uint32_t health_warm_permille(const struct health *h, const struct health_settings *s,
			      int64_t now_ms)
{
	double start = s->warm_up_start_ratio, done;

	if (h->under != LB_STATE_WARMING || s->warm_up_ms <= 0 || s->warm_up_steps == 0)
		return 1000;
	done = (double)warm_steps_over(h, s, now_ms) / s->warm_up_steps;
	return lround(1000 * fmin(start + (1 - start) * done, 1));
}

/* The earliest of times that are not dealt with yet. */
static void consider(const struct health *h, int64_t time_ms, int64_t *next_ms)
{
	if (time_ms > h->judged_ms && time_ms < *next_ms)
		*next_ms = time_ms;
}

static int64_t next_warm_step_ms(const struct health *h, const struct health_settings *s)
{
	int64_t step;

	if (h->warm_ms < 0 || s->warm_up_ms <= 0 || s->warm_up_steps == 0)
		return -1;
	step = warm_steps_over(h, s, h->judged_ms) + 1;
	if (step >= s->warm_up_steps)
		return h->warm_ms + s->warm_up_ms;
	return h->warm_ms + (step * s->warm_up_ms + s->warm_up_steps - 1) / s->warm_up_steps;
}

int64_t health_next_ms(const struct health *h, const struct health_settings *s)
{
	int64_t next = INT64_MAX;

	for (int dim = 0; dim < HEALTH_DIM_N; dim++)
		if (h->dims[dim].known)
			consider(h, h->dims[dim].seen_ms + s->forget_ms, &next);
	if (h->progress_known)
		consider(h, h->progress_seen_ms + s->forget_ms, &next);
	if (h->under == LB_STATE_WARMING)
		consider(h, next_warm_step_ms(h, s), &next);
	if (h->under == LB_STATE_DEGRADED)
		consider(h, health_heard_ms(h) + s->forget_ms, &next);
	if (h->under == LB_STATE_DRAINING)
		consider(h, h->leaving_ms + s->self_drain_ms, &next);
	consider(h, h->hold_until_ms, &next);
	return next;
}

/* --- the rest --------------------------------------------------------------------------------- */

static bool was_working(enum lb_state adopted)
{
	return adopted != LB_STATE_NONE && adopted != LB_STATE_UNKNOWN &&
	       adopted != LB_STATE_LOADING;
}

/* Shown as down, loading or draining without an order: it was not in use. */
static bool was_out(const struct health_start *start)
{
	return start->adopted == LB_STATE_UNHEALTHY || start->adopted == LB_STATE_LOADING ||
	       (start->adopted == LB_STATE_DRAINING && start->operator== LB_STATE_NONE);
}

void health_init(struct health *h, const struct health_settings *s,
		 const struct health_start *start, int64_t now_ms)
{
	const bool adopted = start->origin == HEALTH_ORIGIN_ADOPTED;

	assert(start->origin >= HEALTH_ORIGIN_START && start->origin <= HEALTH_ORIGIN_ADDED);
	*h = (struct health){
		.under = LB_STATE_UNKNOWN,
		.operator= start->operator,
		.adopted = adopted ? start->adopted : LB_STATE_NONE,
		.cause_kind = HEALTH_CAUSE_START,
		.seen = adopted && was_working(start->adopted),
		.cold = adopted ? was_out(start) : start->origin == HEALTH_ORIGIN_ADDED,
		.start_ms = now_ms,
		.judged_ms = now_ms,
		.since_ms = now_ms,
		.rng = start->seed ^ 0x9e3779b97f4a7c15u,
		.unanswered_ms = -1,
		.warm_ms = -1,
		.sample_ms = -1,
		.progress_seen_ms = -1,
		.progress_ms = -1,
		.frozen_ms = -1,
		.running = -1,
		.running_ms = -1,
		.aborts_ms = -1,
		.leaving_ms = -1,
		.hold_until_ms = -1,
	};
	if (h->rng == 0)
		h->rng = 1;
	for (int i = 0; i < 4; i++) /* seeds that are alike soon differ */
		(void)health_random(&h->rng);
	h->state = health_table_shown(h->operator, h->under);
	h->next_probe_ms = now_ms + llround(s->interval_ms * health_random_ratio(&h->rng));
	(void)snprintf(h->cause, sizeof(h->cause), "%s", "no answer yet");
}

int64_t health_next_probe_ms(const struct health *h)
{
	return h->next_probe_ms;
}

bool health_alive(const struct health *h)
{
	if (h->state == LB_STATE_UNHEALTHY || h->state == LB_STATE_MAINTENANCE)
		return false;
	return h->under != LB_STATE_UNKNOWN || h->adopted != LB_STATE_UNHEALTHY;
}

bool health_drain_inferred(const struct health *h)
{
	return h->operator== LB_STATE_NONE &&
		h->under == LB_STATE_DRAINING && !h->leaving_until_pass;
}
