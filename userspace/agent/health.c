/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/health.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "userspace/agent/health_table.h"
#include "userspace/lib/cleanup.h"

#define DETAIL_MAX          144  /* what an event has to tell; the table adds what it means */
#define LATENCY_MIN_PROBES  3    /* an average of fewer says nothing */
#define IDLE_ABORT_QUIET_MS 5000 /* aborts further apart are not a climb */
#define OUTLIER_MIN_POOL    2    /* nobody is out of line alone */
#define HOLD_SHIFT_MAX      20

void health_settings_default(struct health_settings *ret)
{
	*ret = (struct health_settings){
		.interval_ms = 1000,
		.jitter_ratio = 0.1,
		.timeout_ms = 5000,
		.rise = 2,
		.fall = 3,
		.refused_interval_ms = 200,
		.refused_fall = 2,
		.busy_ms = 30000,
		.progress_ms = 10000,
		.hung_ms = 60000,
		.warm_up_ms = 30000,
		.warm_up_start_ratio = 0.1,
		.warm_up_steps = 4,
		.samples = 3,
		.kv_high_ratio = 0.95,
		.kv_low_ratio = 0.90,
		.gpu_memory_high_ratio = 0.95,
		.gpu_memory_low_ratio = 0.92,
		.queue_outlier = 4,
		.queue_outlier_min = 8,
		.latency_high_ms = 0,
		.latency_outlier = 5,
		.latency_outlier_min_ms = 200,
		.aborts_high = 0,
		.self_drain_ms = 30000,
		.forget_ms = 30000,
		.flap_changes = 6,
		.flap_window_ms = 300000,
		.flap_hold_ms = 10000,
		.flap_hold_max_ms = 300000,
	};
}

const char *health_state_name(enum lb_state state)
{
	static const char *const names[] = {
		[LB_STATE_NONE] = "none",
		[LB_STATE_UNKNOWN] = "unknown",
		[LB_STATE_LOADING] = "loading",
		[LB_STATE_WARMING] = "warming",
		[LB_STATE_HEALTHY] = "healthy",
		[LB_STATE_DEGRADED] = "degraded",
		[LB_STATE_UNHEALTHY] = "unhealthy",
		[LB_STATE_DRAINING] = "draining",
		[LB_STATE_MAINTENANCE] = "maintenance",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "?";
}

const char *health_dim_name(enum health_dim dim)
{
	static const char *const names[HEALTH_DIM_N] = {
		[HEALTH_DIM_KV] = "kv cache",   [HEALTH_DIM_GPU_MEMORY] = "gpu memory",
		[HEALTH_DIM_QUEUE] = "queue",   [HEALTH_DIM_LATENCY] = "latency",
		[HEALTH_DIM_ABORTS] = "aborts",
	};

	return dim < HEALTH_DIM_N ? names[dim] : "?";
}

const char *health_result_name(enum health_result result)
{
	static const char *const names[HEALTH_RESULT_N] = {
		[HEALTH_PASS] = "pass",
		[HEALTH_REFUSED] = "refused",
		[HEALTH_UNREACHABLE] = "unreachable",
		[HEALTH_ANSWER_TIMEOUT] = "no answer in time",
		[HEALTH_STATUS_LOADING] = "loading",
		[HEALTH_STATUS_DRAINING] = "draining",
		[HEALTH_STATUS_BAD] = "bad status",
		[HEALTH_GARBAGE] = "not understood",
	};

	return result > 0 && result < HEALTH_RESULT_N ? names[result] : "?";
}

const char *health_cause_name(enum health_cause cause)
{
	static const char *const names[HEALTH_CAUSE_N] = {
		[HEALTH_CAUSE_START] = "start",
		[HEALTH_CAUSE_PASSED] = "passed",
		[HEALTH_CAUSE_REFUSED] = "refused",
		[HEALTH_CAUSE_UNREACHABLE] = "unreachable",
		[HEALTH_CAUSE_NO_ANSWER] = "no_answer",
		[HEALTH_CAUSE_LOADING] = "loading",
		[HEALTH_CAUSE_SAID_DRAINING] = "said_draining",
		[HEALTH_CAUSE_BAD_STATUS] = "bad_status",
		[HEALTH_CAUSE_GARBAGE] = "garbage",
		[HEALTH_CAUSE_HUNG] = "hung",
		[HEALTH_CAUSE_KV] = "kv_cache",
		[HEALTH_CAUSE_GPU_MEMORY] = "gpu_memory",
		[HEALTH_CAUSE_QUEUE] = "queue",
		[HEALTH_CAUSE_LATENCY] = "latency",
		[HEALTH_CAUSE_ABORTS] = "aborts",
		[HEALTH_CAUSE_ADOPTED] = "adopted",
		[HEALTH_CAUSE_IDLE_ABORTS] = "idle_aborts",
		[HEALTH_CAUSE_RECOVERED] = "recovered",
		[HEALTH_CAUSE_WARMED_UP] = "warmed_up",
		[HEALTH_CAUSE_STAYED] = "stayed",
		[HEALTH_CAUSE_ORDERED] = "ordered",
	};

	return cause > 0 && cause < HEALTH_CAUSE_N ? names[cause] : "?";
}

/* --- one change ------------------------------------------------------------------------------- */

/* Takes new flows, or would but for the operator. */
static bool is_in(enum lb_state under)
{
	return under == LB_STATE_WARMING || under == LB_STATE_HEALTHY;
}

static bool is_up(enum lb_state under)
{
	return is_in(under) || under == LB_STATE_DEGRADED || under == LB_STATE_DRAINING;
}

/* It may have live flows: it works, or did when the last agent saw it. */
static bool may_serve(const struct health *h)
{
	return is_up(h->under) || (h->under == LB_STATE_UNKNOWN && h->seen);
}

static int64_t hold_ms(const struct health *h, const struct health_settings *s)
{
	uint32_t shift = h->holds - 1 < HOLD_SHIFT_MAX ? h->holds - 1 : HOLD_SHIFT_MAX;
	int64_t hold = s->flap_hold_ms << shift;

	return hold < s->flap_hold_max_ms ? hold : s->flap_hold_max_ms;
}

/* The node goes in or out: too often, and the way back takes longer each time. */
static void note_flap(struct health *h, const struct health_settings *s, bool out, int64_t now_ms)
{
	const uint32_t limit =
		s->flap_changes < HEALTH_FLAPS_MAX ? s->flap_changes : HEALTH_FLAPS_MAX - 1;
	const uint32_t n = h->n_flaps < HEALTH_FLAPS_MAX ? h->n_flaps : HEALTH_FLAPS_MAX - 1;
	uint32_t recent = 1;

	for (uint32_t i = 1; i <= n; i++)
		recent += now_ms - h->flaps_ms[(h->n_flaps - i) % HEALTH_FLAPS_MAX] <
			  s->flap_window_ms;
	h->flaps_ms[h->n_flaps++ % HEALTH_FLAPS_MAX] = now_ms;
	if (!out)
		return;
	if (limit == 0 || recent <= limit) {
		h->holds = 0;
		h->hold_until_ms = -1;
		return;
	}
	h->holds++;
	h->hold_until_ms = now_ms + hold_ms(h, s);
}

static bool is_held(const struct health *h, int64_t now_ms)
{
	return now_ms < h->hold_until_ms;
}

/* What a node takes along into its new state. A node that was down begins anew. */
static void enter(struct health *h, const struct health_settings *s, enum lb_state from,
		  int64_t now_ms)
{
	if (from != LB_STATE_UNKNOWN && from != LB_STATE_LOADING && is_in(from) != is_in(h->under))
		note_flap(h, s, !is_in(h->under), now_ms);
	if (h->under == LB_STATE_WARMING && from != LB_STATE_DEGRADED)
		h->warm_ms = h->passes >= s->rise ? now_ms : -1;
	else if (h->under != LB_STATE_WARMING && h->under != LB_STATE_DEGRADED)
		h->warm_ms = -1;
	if (h->under == LB_STATE_UNHEALTHY) {
		memset(h->dims, 0, sizeof(h->dims));
		h->latency = (struct score_ewma){0};
	}
	h->calm_needed = h->adopted == LB_STATE_DEGRADED ? s->samples : 0;
	h->adopted = LB_STATE_NONE;
}

static void clear_dim(struct health *h, enum health_dim dim)
{
	h->dims[dim] = (struct health_dim_state){0};
}

/* A dimension that is not judged keeps what it says; one that is not heard of is forgotten. */
static void forget_dims(struct health *h, const struct health_settings *s, int64_t now_ms)
{
	for (int dim = 0; dim < HEALTH_DIM_N; dim++)
		if (h->dims[dim].known && now_ms - h->dims[dim].seen_ms >= s->forget_ms)
			clear_dim(h, dim);
}

/* What samples said long ago. */
static void forget(struct health *h, const struct health_settings *s, int64_t now_ms)
{
	forget_dims(h, s, now_ms);
	if (h->progress_known && now_ms - h->progress_seen_ms >= s->forget_ms) {
		h->progress_known = h->hung = false;
		h->progress_ms = h->frozen_ms = -1;
	}
	if (h->aborts_known && now_ms - h->aborts_ms >= s->forget_ms)
		h->aborts_known = false;
	if (h->running >= 0 && now_ms - h->running_ms >= s->forget_ms)
		h->running = -1;
}

/* What happened in one call: from the state before the first event to that after the last. */
struct step {
	struct health *h;
	const struct health_settings *s;
	int64_t now_ms;
	enum lb_state state;
	enum lb_state under;
};

static struct step step_begin(struct health *h, const struct health_settings *s, int64_t now_ms)
{
	forget(h, s, now_ms);
	h->judged_ms = now_ms;
	return (struct step){h, s, now_ms, h->state, h->under};
}

static bool step_end(const struct step *st, struct health_change *ret)
{
	struct health *h = st->h;

	h->state = health_table_shown(h->operator, h->under);
	if (h->state == st->state && h->under == st->under)
		return false;
	if (h->state != st->state)
		h->since_ms = st->now_ms;
	ret->from = st->state;
	ret->to = h->state;
	ret->under_from = st->under;
	ret->under_to = h->under;
	memcpy(ret->cause, h->cause, sizeof(ret->cause));
	return true;
}

/* One event through the table; kind and detail say what the event was. */
__attribute__((format(printf, 4, 5))) static void
happen(const struct step *st, enum health_event event, enum health_cause kind, const char *detail,
       ...)
{
	struct health *h = st->h;
	const enum lb_state from = h->under;
	const struct health_cell *cell = health_table_next(from, event);
	char text[HEALTH_CAUSE_MAX - 40]; /* the table's part is shorter than that */
	va_list ap;

	if (cell->to == from)
		return;
	h->under = cell->to;
	enter(h, st->s, from, st->now_ms);
	h->cause_kind = kind;
	va_start(ap, detail);
	(void)vsnprintf(text, sizeof(text), detail, ap);
	va_end(ap);
	(void)snprintf(h->cause, sizeof(h->cause), "%s%s%s", cell->why, text[0] ? ": " : "", text);
}

/* --- dimensions ------------------------------------------------------------------------------- */

/* A value and the limits it enters and leaves "over" by. */
struct reading {
	double value;
	double high; /* over at or above */
	double low;  /* not over at or below */
};

static void judge_dim(struct health *h, const struct health_settings *s, enum health_dim dim,
		      struct reading r, int64_t now_ms)
{
	struct health_dim_state *d = &h->dims[dim];
	const bool opposite = d->over ? r.value <= r.low && r.value < r.high : r.value >= r.high;

	d->known = true;
	d->seen_ms = now_ms;
	d->value = r.value;
	d->limit = r.high;
	d->streak = opposite ? d->streak + 1 : 0;
	if (d->streak >= s->samples) {
		d->over = !d->over;
		d->streak = 0;
	}
}

static int dim_over(const struct health *h)
{
	for (int dim = 0; dim < HEALTH_DIM_N; dim++)
		if (h->dims[dim].over)
			return dim;
	return -1;
}

/* No dimension is over, nor on its way there. */
static bool is_calm(const struct health *h)
{
	for (int dim = 0; dim < HEALTH_DIM_N; dim++)
		if (h->dims[dim].over || h->dims[dim].streak)
			return false;
	return true;
}

/* "kv cache 0.97 of 1, limit 0.95" */
static void describe_dim(const struct health *h, int dim, char ret[DETAIL_MAX])
{
	static const char *const formats[HEALTH_DIM_N] = {
		[HEALTH_DIM_KV] = "kv cache %.3g of 1, limit %.3g",
		[HEALTH_DIM_GPU_MEMORY] = "gpu memory %.3g of 1, limit %.3g",
		[HEALTH_DIM_QUEUE] = "queue %.0f, limit %.0f by its pool",
		[HEALTH_DIM_LATENCY] = "latency %.0f ms, limit %.0f ms",
		[HEALTH_DIM_ABORTS] = "aborts %.3g/s, limit %.3g/s",
	};

	(void)snprintf(ret, DETAIL_MAX, formats[dim], h->dims[dim].value, h->dims[dim].limit);
}

static enum health_cause cause_of_dim(int dim)
{
	static const enum health_cause kinds[HEALTH_DIM_N] = {
		[HEALTH_DIM_KV] = HEALTH_CAUSE_KV,
		[HEALTH_DIM_GPU_MEMORY] = HEALTH_CAUSE_GPU_MEMORY,
		[HEALTH_DIM_QUEUE] = HEALTH_CAUSE_QUEUE,
		[HEALTH_DIM_LATENCY] = HEALTH_CAUSE_LATENCY,
		[HEALTH_DIM_ABORTS] = HEALTH_CAUSE_ABORTS,
	};

	return kinds[dim];
}

static void judge_latency(struct health *h, const struct health_settings *s,
			  const struct health_pool *pool, int64_t now_ms)
{
	double high = INFINITY;

	if (s->latency_high_ms > 0)
		high = s->latency_high_ms;
	if (s->latency_outlier > 0 && pool && pool->n_latency >= OUTLIER_MIN_POOL)
		high = fmin(high, fmax(s->latency_outlier * pool->latency_median_ms,
				       s->latency_outlier_min_ms));
	if (h->latency.n < LATENCY_MIN_PROBES)
		return;
	if (isinf(high))
		clear_dim(h, HEALTH_DIM_LATENCY);
	else
		judge_dim(h, s, HEALTH_DIM_LATENCY,
			  (struct reading){h->latency.value, high, high / 2}, now_ms);
}

static void judge_queue(struct health *h, const struct health_settings *s,
			const struct load_sample *sample, const struct health_pool *pool,
			uint32_t weight, int64_t now_ms)
{
	double high;

	if (s->queue_outlier <= 0 || !pool || pool->n_queue < OUTLIER_MIN_POOL) {
		clear_dim(h, HEALTH_DIM_QUEUE);
		return;
	}
	if (!load_has(sample, LOAD_QUEUE))
		return;
	high = s->queue_outlier * pool->queue_median * (weight ? weight : 1000) / 1000;
	high = fmax(high, fmax(s->queue_outlier_min, 1));
	judge_dim(h, s, HEALTH_DIM_QUEUE, (struct reading){sample->queue, high, high / 2}, now_ms);
}

static void judge_aborts(struct health *h, const struct health_settings *s, double climbed,
			 int64_t now_ms)
{
	const int64_t since_ms = now_ms - h->aborts_ms;

	if (s->aborts_high <= 0 || since_ms <= 0)
		return;
	judge_dim(h, s, HEALTH_DIM_ABORTS,
		  (struct reading){climbed * 1000 / since_ms, s->aborts_high, s->aborts_high / 2},
		  now_ms);
}

/* --- what follows from all that is known ------------------------------------------------------ */

static bool has_risen(const struct health *h, const struct health_settings *s)
{
	return h->passes >= s->rise;
}

static bool ramp_is_over(const struct health *h, const struct health_settings *s, int64_t now_ms)
{
	return h->warm_ms >= 0 && now_ms - h->warm_ms >= s->warm_up_ms;
}

/* When it was heard of last, by a sample; before the first, since when one could have come. */
static int64_t heard_ms(const struct health *h)
{
	return h->sample_ms >= 0 ? h->sample_ms : h->start_ms;
}

/* A degraded node found at the start stays so until enough samples (or their lack) clear it. */
static bool is_clear(const struct health *h, const struct health_settings *s, int64_t now_ms)
{
	if (dim_over(h) >= 0 || is_held(h, now_ms))
		return false;
	return h->calm_samples >= h->calm_needed || now_ms - heard_ms(h) >= s->forget_ms;
}

/* Does a node that drained by itself do so no more? */
static bool stays(const struct health *h, const struct health_settings *s, int64_t now_ms)
{
	if (is_held(h, now_ms))
		return false;
	if (h->leaving_until_pass)
		return h->passes > 0;
	return has_risen(h, s) && now_ms - h->leaving_ms >= s->self_drain_ms;
}

static void settle(const struct step *st)
{
	struct health *h = st->h;
	const int dim = dim_over(h);
	char detail[DETAIL_MAX] = "";

	if (dim >= 0)
		describe_dim(h, dim, detail);
	if (h->under == LB_STATE_WARMING && h->warm_ms >= 0 && dim >= 0)
		happen(st, HEALTH_EV_OVER, cause_of_dim(dim), "%s", detail);
	if (h->under == LB_STATE_HEALTHY && dim >= 0)
		happen(st, HEALTH_EV_OVER, cause_of_dim(dim), "%s", detail);
	if (h->under == LB_STATE_WARMING && ramp_is_over(h, st->s, st->now_ms))
		happen(st, HEALTH_EV_RAMPED, HEALTH_CAUSE_WARMED_UP, "%s", "");
	if (h->under == LB_STATE_DEGRADED && is_clear(h, st->s, st->now_ms)) {
		bool cold = h->warm_ms >= 0 && !ramp_is_over(h, st->s, st->now_ms);

		happen(st, cold ? HEALTH_EV_RELIEVED_COLD : HEALTH_EV_RELIEVED,
		       HEALTH_CAUSE_RECOVERED, "%s", "");
	}
	if (h->under == LB_STATE_DRAINING && stays(h, st->s, st->now_ms))
		happen(st, HEALTH_EV_STAYING, HEALTH_CAUSE_STAYED,
		       "no sign of draining for %lld s", (long long)(st->now_ms - h->leaving_ms) / 1000);
}

/* --- probes ----------------------------------------------------------------------------------- */

static uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state; /* xorshift64 */

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* 0 … 1 */
static double random_ratio(uint64_t *state)
{
	return (random_next(state) >> 11) * 0x1p-53;
}

static int64_t jittered(struct health *h, const struct health_settings *s)
{
	double spread = s->jitter_ratio * (2 * random_ratio(&h->rng) - 1);

	return llround(s->interval_ms * (1 + spread));
}

/* A refusal, or a pass still to be confirmed, is looked into sooner. */
static bool is_urgent(const struct health *h, const struct health_settings *s)
{
	if (h->under == LB_STATE_UNKNOWN && h->passes > 0 && h->passes < s->rise)
		return true;
	return h->refusals > 0 && h->refusals < s->refused_fall && may_serve(h);
}

static void schedule(struct health *h, const struct health_settings *s, int64_t started_ms,
		     int64_t now_ms)
{
	int64_t soon_ms = now_ms + s->refused_interval_ms;

	h->next_probe_ms = started_ms + jittered(h, s);
	if (h->next_probe_ms < now_ms)
		h->next_probe_ms = now_ms;
	if (is_urgent(h, s) && soon_ms < h->next_probe_ms)
		h->next_probe_ms = soon_ms;
}

static bool progresses(const struct health *h, const struct health_settings *s, int64_t now_ms)
{
	return h->progress_known && h->progress_ms >= 0 &&
	       now_ms - h->progress_ms <= s->progress_ms;
}

/* Passes of a node that hangs, or that came back too often, do not count. */
static bool passes_count(const struct health *h, int64_t now_ms)
{
	if (h->under == LB_STATE_UNHEALTHY || h->under == LB_STATE_DRAINING)
		return !h->hung && !is_held(h, now_ms);
	return !h->hung;
}

static void pass(const struct step *st)
{
	struct health *h = st->h;

	h->failures = h->refusals = 0;
	h->unanswered_ms = -1;
	h->busy = false;
	if (!passes_count(h, st->now_ms)) {
		h->passes = 0;
		return;
	}
	h->seen = true;
	if (h->passes < UINT32_MAX)
		h->passes++;
	if (h->under == LB_STATE_UNKNOWN && h->cold)
		happen(st, HEALTH_EV_PASS_COLD, HEALTH_CAUSE_PASSED, "%s", "");
	else if (!has_risen(h, st->s))
		happen(st, HEALTH_EV_PASS, HEALTH_CAUSE_PASSED, "%s", "");
	else if (h->under == LB_STATE_UNKNOWN && h->adopted == LB_STATE_DEGRADED)
		happen(st, HEALTH_EV_OVER, HEALTH_CAUSE_ADOPTED, "it was when it was taken over");
	else
		happen(st, HEALTH_EV_RISE, HEALTH_CAUSE_PASSED, "%u passes in a row", h->passes);
	if (h->under == LB_STATE_WARMING && h->warm_ms < 0 && has_risen(h, st->s))
		h->warm_ms = st->now_ms;
}

static bool is_answer(enum health_result result)
{
	return result == HEALTH_STATUS_LOADING || result == HEALTH_STATUS_BAD;
}

static enum health_cause cause_of_result(enum health_result result)
{
	static const enum health_cause kinds[HEALTH_RESULT_N] = {
		[HEALTH_PASS] = HEALTH_CAUSE_PASSED,
		[HEALTH_REFUSED] = HEALTH_CAUSE_REFUSED,
		[HEALTH_UNREACHABLE] = HEALTH_CAUSE_UNREACHABLE,
		[HEALTH_ANSWER_TIMEOUT] = HEALTH_CAUSE_NO_ANSWER,
		[HEALTH_STATUS_LOADING] = HEALTH_CAUSE_LOADING,
		[HEALTH_STATUS_DRAINING] = HEALTH_CAUSE_SAID_DRAINING,
		[HEALTH_STATUS_BAD] = HEALTH_CAUSE_BAD_STATUS,
		[HEALTH_GARBAGE] = HEALTH_CAUSE_GARBAGE,
	};

	return kinds[result];
}

static void describe_failure(const struct health_probe *probe, char ret[DETAIL_MAX])
{
	const char *name = health_result_name(probe->result);

	if (probe->detail && probe->detail[0])
		(void)snprintf(ret, DETAIL_MAX, "%s", probe->detail);
	else if (probe->http_status)
		(void)snprintf(ret, DETAIL_MAX, "%s (%u)", name, probe->http_status);
	else
		(void)snprintf(ret, DETAIL_MAX, "%s", name);
}

/* It finishes its requests and takes no more: for now, or until it passes again. */
static void leave(const struct step *st, bool until_pass)
{
	st->h->leaving_ms = st->now_ms;
	st->h->leaving_until_pass = until_pass;
}

/* A failure that counts, the way it ended in words. */
static void fail(const struct step *st, const struct health_probe *probe, bool enough)
{
	struct health *h = st->h;
	const uint32_t fall = h->under == LB_STATE_WARMING && h->warm_ms < 0 ? 1 : st->s->fall;
	const enum health_cause kind = cause_of_result(probe->result);
	char how[DETAIL_MAX];

	describe_failure(probe, how);
	if (h->failures < UINT32_MAX)
		h->failures++;
	if (h->holds && h->under == LB_STATE_UNHEALTHY)
		h->hold_until_ms = st->now_ms + hold_ms(h, st->s); /* since it failed last */
	if (!enough && h->failures < fall) {
		happen(st, HEALTH_EV_FAIL, kind, "%s", how);
		return;
	}
	if (is_answer(probe->result) && may_serve(h) && h->running > 0 &&
	    progresses(h, st->s, st->now_ms)) {
		leave(st, true);
		happen(st, HEALTH_EV_LEAVING, kind, "%s, but its requests go on", how);
		return;
	}
	happen(st, HEALTH_EV_FALL, kind, "%s, %u in a row", how, h->failures);
}

/* Not ready since first seen: that is no failure. */
static void not_yet(const struct step *st, const struct health_probe *probe)
{
	char how[DETAIL_MAX];

	st->h->failures = 0;
	describe_failure(probe, how);
	happen(st, HEALTH_EV_NOT_YET, cause_of_result(probe->result), "%s", how);
}

static void refused(const struct step *st, const struct health_probe *probe)
{
	struct health *h = st->h;

	h->passes = 0;
	h->unanswered_ms = -1;
	h->busy = false;
	if (h->refusals < UINT32_MAX)
		h->refusals++;
	if (!h->seen) {
		not_yet(st, probe);
		return;
	}
	fail(st, probe, h->refusals >= st->s->refused_fall);
}

/*
 * Accepted, but no answer in time: a busy server does that, and so does one that is stopped. What
 * it does is seen by its progress; if it has no such counter, only long silence is death.
 */
static void unanswered(const struct step *st, const struct health_probe *probe)
{
	struct health *h = st->h;
	const int64_t first_ms = h->unanswered_ms >= 0 ? h->unanswered_ms : probe->started_ms;
	const bool counter = h->progress_known && h->progress_ms >= 0;
	const bool long_since = st->now_ms - first_ms >= st->s->busy_ms;

	h->passes = h->refusals = 0;
	h->unanswered_ms = first_ms;
	h->busy = may_serve(h) && (counter ? progresses(h, st->s, st->now_ms) : !long_since);
	if (!h->busy)
		fail(st, probe, !counter && long_since);
}

static void failed(const struct step *st, const struct health_probe *probe)
{
	struct health *h = st->h;

	h->passes = h->refusals = 0;
	h->unanswered_ms = -1;
	h->busy = false;
	if (probe->result == HEALTH_STATUS_LOADING && !h->seen)
		not_yet(st, probe);
	else
		fail(st, probe, false);
}

/* It says that it drains; a node that was given up is not believed. */
static void says_it_drains(const struct step *st, const struct health_probe *probe)
{
	struct health *h = st->h;
	char how[DETAIL_MAX];

	h->passes = h->refusals = h->failures = 0;
	h->unanswered_ms = -1;
	h->busy = false;
	leave(st, true);
	describe_failure(probe, how);
	happen(st, HEALTH_EV_LEAVING, HEALTH_CAUSE_SAID_DRAINING, "%s", how);
}

bool health_probe(struct health *h, const struct health_settings *s,
		  const struct health_probe *probe, const struct health_pool *pool, int64_t now_ms,
		  struct health_change *ret)
{
	const struct step st = step_begin(h, s, now_ms);

	assert(ret);
	if (probe->result == HEALTH_PASS)
		score_ewma_add(&h->latency, probe->rtt_ms);
	else if (probe->result == HEALTH_ANSWER_TIMEOUT)
		score_ewma_add(&h->latency, s->timeout_ms);
	if (probe->result == HEALTH_PASS || probe->result == HEALTH_ANSWER_TIMEOUT)
		judge_latency(h, s, pool, now_ms);

	switch (probe->result) {
	case HEALTH_PASS:
		pass(&st);
		break;
	case HEALTH_REFUSED:
		refused(&st, probe);
		break;
	case HEALTH_ANSWER_TIMEOUT:
		unanswered(&st, probe);
		break;
	case HEALTH_STATUS_DRAINING:
		says_it_drains(&st, probe);
		break;
	case HEALTH_UNREACHABLE:
	case HEALTH_STATUS_LOADING:
	case HEALTH_STATUS_BAD:
	case HEALTH_GARBAGE:
		failed(&st, probe);
		break;
	default:
		assert(!"no such result");
	}
	settle(&st);
	schedule(h, s, probe->started_ms, now_ms);
	return step_end(&st, ret);
}

bool health_scrape_failed(struct health *h, const struct health_settings *s,
			  enum health_result result, int64_t now_ms, struct health_change *ret)
{
	const struct health_probe probe = {.result = HEALTH_REFUSED, .started_ms = now_ms};
	struct step st;

	assert(ret);
	if (result != HEALTH_REFUSED || !h->seen)
		return false;
	st = step_begin(h, s, now_ms);
	refused(&st, &probe);
	settle(&st);
	if (is_urgent(h, s) && now_ms + s->refused_interval_ms < h->next_probe_ms)
		h->next_probe_ms = now_ms + s->refused_interval_ms;
	return step_end(&st, ret);
}

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

static void judge_hung(const struct step *st)
{
	struct health *h = st->h;

	if (st->s->hung_ms <= 0)
		h->hung = false;
	if (st->s->hung_ms <= 0 || h->frozen_ms < 0 || st->now_ms - h->frozen_ms < st->s->hung_ms)
		return;
	h->hung = true;
	h->passes = 0;
	happen(st, HEALTH_EV_HUNG, HEALTH_CAUSE_HUNG,
	       "%.0f requests run without progress for %lld s", h->running,
	       (long long)(st->now_ms - h->frozen_ms) / 1000);
}

/* Idle, and yet requests are cut short: it turns them away. */
static void note_aborts(const struct step *st, const struct load_sample *sample)
{
	struct health *h = st->h;
	const bool idle = load_has(sample, LOAD_RUNNING) && sample->running <= 0 &&
			  !(load_has(sample, LOAD_QUEUE) && sample->queue > 0);
	double climbed;

	if (!load_has(sample, LOAD_ABORTS))
		return;
	climbed = h->aborts_known ? sample->aborts - h->aborts : 0;
	if (h->aborts_known && climbed >= 0)
		judge_aborts(h, st->s, climbed, st->now_ms);
	h->aborts = sample->aborts;
	h->aborts_known = true;
	h->aborts_ms = st->now_ms;

	if (!idle || st->now_ms - h->leaving_ms > IDLE_ABORT_QUIET_MS)
		h->idle_aborts = 0;
	if (!idle || climbed <= 0)
		return;
	leave(st, false);
	if (++h->idle_aborts >= st->s->samples && is_up(h->under))
		happen(st, HEALTH_EV_LEAVING, HEALTH_CAUSE_IDLE_ABORTS,
		       "idle, and %.0f requests aborted", climbed);
}

bool health_sample(struct health *h, const struct health_settings *s,
		   const struct load_sample *sample, const struct health_pool *pool,
		   uint32_t weight, int64_t now_ms, struct health_change *ret)
{
	const struct step st = step_begin(h, s, now_ms);

	assert(ret);
	if (load_has(sample, LOAD_KV))
		judge_dim(h, s, HEALTH_DIM_KV,
			  (struct reading){sample->kv, s->kv_high_ratio, s->kv_low_ratio}, now_ms);
	if (load_has(sample, LOAD_GPU_MEM)) /* at the limit is not over it */
		judge_dim(h, s, HEALTH_DIM_GPU_MEMORY,
			  (struct reading){sample->gpu_mem, nextafter(s->gpu_memory_high_ratio, 2),
					   s->gpu_memory_low_ratio},
			  now_ms);
	judge_queue(h, s, sample, pool, weight, now_ms);
	if (load_has(sample, LOAD_RUNNING)) {
		h->running = sample->running;
		h->running_ms = now_ms;
	}
	note_progress(h, s, sample, now_ms);
	judge_hung(&st);
	note_aborts(&st, sample);
	h->sample_ms = now_ms;
	h->calm_samples = is_calm(h) ? h->calm_samples + (h->calm_samples < UINT32_MAX) : 0;
	settle(&st);
	return step_end(&st, ret);
}

/* --- orders and clock ------------------------------------------------------------------------- */

bool health_order(struct health *h, const struct health_settings *s, enum lb_state order,
		  int64_t now_ms, struct health_change *ret)
{
	struct step st;

	assert(ret);
	assert(order == LB_STATE_NONE || order == LB_STATE_DRAINING ||
	       order == LB_STATE_MAINTENANCE);
	if (order == h->operator)
		return false;
	st = step_begin(h, s, now_ms);
	settle(&st);
	h->operator= order;
	h->cause_kind = HEALTH_CAUSE_ORDERED;
	(void)snprintf(h->cause, sizeof(h->cause), "ordered by the operator: %s",
		       order == LB_STATE_NONE       ? "undrain"
		       : order == LB_STATE_DRAINING ? "drain"
						    : "maintenance");
	return step_end(&st, ret);
}

bool health_tick(struct health *h, const struct health_settings *s, int64_t now_ms,
		 struct health_change *ret)
{
	const struct step st = step_begin(h, s, now_ms);

	assert(ret);
	settle(&st);
	return step_end(&st, ret);
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
		consider(h, heard_ms(h) + s->forget_ms, &next);
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
		(void)random_next(&h->rng);
	h->state = health_table_shown(h->operator, h->under);
	h->next_probe_ms = now_ms + llround(s->interval_ms * random_ratio(&h->rng));
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

bool health_drains_by_itself(const struct health *h)
{
	return h->operator== LB_STATE_NONE && h->under == LB_STATE_DRAINING;
}

void health_pool_figures(const struct health_pool_member *members, uint32_t n, double *scratch,
			 struct health_pool *ret)
{
	*ret = (struct health_pool){0};
	for (uint32_t i = 0; i < n; i++) {
		const struct health_pool_member *m = &members[i];

		if (is_up(m->health->under) && m->weight && m->sample &&
		    load_has(m->sample, LOAD_QUEUE))
			scratch[ret->n_queue++] = m->sample->queue * 1000 / m->weight;
	}
	if (ret->n_queue)
		ret->queue_median = score_median(scratch, ret->n_queue);
	for (uint32_t i = 0; i < n; i++) {
		const struct health *h = members[i].health;

		if (is_up(h->under) && h->latency.n >= LATENCY_MIN_PROBES)
			scratch[ret->n_latency++] = h->latency.value;
	}
	if (ret->n_latency)
		ret->latency_median_ms = score_median(scratch, ret->n_latency);
}
