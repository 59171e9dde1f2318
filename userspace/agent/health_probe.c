/* SPDX-License-Identifier: BSD-2-Clause */
/* health.h: what probes bring, and when the next one is due. */
#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "userspace/agent/health_dims.h"
#include "userspace/agent/health_step.h"

uint64_t health_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

double health_random_ratio(uint64_t *state)
{
	return (health_random(state) >> 11) * 0x1p-53;
}

static int64_t jittered(struct health *h, const struct health_settings *s)
{
	double spread = s->jitter_ratio * (2 * health_random_ratio(&h->rng) - 1);

	return llround(s->interval_ms * (1 + spread));
}

/* A refusal, or a pass still to be confirmed, is looked into sooner. */
static bool is_urgent(const struct health *h, const struct health_settings *s)
{
	if (h->under == LB_STATE_UNKNOWN && h->passes > 0 && h->passes < s->rise)
		return true;
	return h->refusals > 0 && h->refusals < s->refused_fall && health_may_serve(h);
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
		return !h->hung && !health_is_held(h, now_ms);
	return !h->hung;
}

static void pass(const struct health_step *st)
{
	struct health *h = st->h;

	h->failures = h->refusals = 0;
	h->unanswered_ms = -1;
	h->busy = h->doubted = false;
	if (!passes_count(h, st->now_ms)) {
		h->passes = 0;
		return;
	}
	h->seen = true;
	if (h->passes < UINT32_MAX)
		h->passes++;
	if (h->under == LB_STATE_UNKNOWN && h->cold)
		health_happen(st, HEALTH_EV_PASS_COLD, HEALTH_CAUSE_PASSED, "%s", "");
	else if (!health_has_risen(h, st->s))
		health_happen(st, HEALTH_EV_PASS, HEALTH_CAUSE_PASSED, "%s", "");
	else if (h->under == LB_STATE_UNKNOWN && h->adopted == LB_STATE_DEGRADED)
		health_happen(st, HEALTH_EV_OVER, HEALTH_CAUSE_ADOPTED,
			      "it was when it was taken over");
	else
		health_happen(st, HEALTH_EV_RISE, HEALTH_CAUSE_PASSED, "%u passes in a row",
			      h->passes);
	if (h->under == LB_STATE_WARMING && h->warm_ms < 0 && health_has_risen(h, st->s))
		h->warm_ms = st->now_ms;
}

static bool is_answer(enum health_result result)
{
	return result == HEALTH_STATUS_LOADING || result == HEALTH_STATUS_BAD;
}

static bool is_silence(enum health_result result)
{
	return result == HEALTH_UNREACHABLE || result == HEALTH_ANSWER_TIMEOUT;
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

static void describe_failure(const struct health_probe *probe, char ret[HEALTH_DETAIL_MAX])
{
	const char *name = health_result_name(probe->result);

	if (probe->detail && probe->detail[0])
		(void)snprintf(ret, HEALTH_DETAIL_MAX, "%s", probe->detail);
	else if (probe->http_status)
		(void)snprintf(ret, HEALTH_DETAIL_MAX, "%s (%u)", name, probe->http_status);
	else
		(void)snprintf(ret, HEALTH_DETAIL_MAX, "%s", name);
}
/* A failure that counts, the way it ended in words. */
static void fail(const struct health_step *st, const struct health_probe *probe, bool enough)
{
	struct health *h = st->h;
	const uint32_t fall = h->under == LB_STATE_WARMING && h->warm_ms < 0 ? 1 : st->s->fall;
	const enum health_cause kind = cause_of_result(probe->result);
	char how[HEALTH_DETAIL_MAX];

	describe_failure(probe, how);
	if (h->doubted && !is_silence(probe->result))
		h->failures = 0; /* what was doubted does not add up with what is sure */
	if (h->failures < UINT32_MAX)
		h->failures++;
	if (h->holds && h->under == LB_STATE_UNHEALTHY)
		h->hold_until_ms = st->now_ms + health_hold_ms(h, st->s); /* since it failed last */
	enough = enough || h->failures >= fall;
	h->doubted = enough && probe->doubtful && health_may_serve(h);
	if (!enough || h->doubted) {
		health_happen(st, HEALTH_EV_FAIL, kind, "%s", how);
		return;
	}
	if (is_answer(probe->result) && health_may_serve(h) && h->running > 0 &&
	    progresses(h, st->s, st->now_ms)) {
		health_leave(st, true);
		health_happen(st, HEALTH_EV_LEAVING, kind, "%s, but its requests go on", how);
		return;
	}
	health_happen(st, HEALTH_EV_FALL, kind, "%s, %u in a row", how, h->failures);
}

/* Not ready since first seen: that is no failure. */
static void not_yet(const struct health_step *st, const struct health_probe *probe)
{
	char how[HEALTH_DETAIL_MAX];

	st->h->failures = 0;
	describe_failure(probe, how);
	health_happen(st, HEALTH_EV_NOT_YET, cause_of_result(probe->result), "%s", how);
}

static void refused(const struct health_step *st, const struct health_probe *probe)
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
static void unanswered(const struct health_step *st, const struct health_probe *probe)
{
	struct health *h = st->h;
	const int64_t first_ms = h->unanswered_ms >= 0 ? h->unanswered_ms : probe->started_ms;
	const bool counter = h->progress_known && h->progress_ms >= 0;
	const bool long_since = st->now_ms - first_ms >= st->s->busy_ms;

	h->passes = h->refusals = 0;
	h->unanswered_ms = first_ms;
	h->busy = health_may_serve(h) && (counter ? progresses(h, st->s, st->now_ms) : !long_since);
	h->doubted = h->doubted && !h->busy;
	if (!h->busy)
		fail(st, probe, !counter && long_since);
}

static void failed(const struct health_step *st, const struct health_probe *probe)
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
static void says_it_drains(const struct health_step *st, const struct health_probe *probe)
{
	struct health *h = st->h;
	char how[HEALTH_DETAIL_MAX];

	h->passes = h->refusals = h->failures = 0;
	h->unanswered_ms = -1;
	h->busy = h->doubted = false;
	health_leave(st, true);
	describe_failure(probe, how);
	health_happen(st, HEALTH_EV_LEAVING, HEALTH_CAUSE_SAID_DRAINING, "%s", how);
}

bool health_probe(struct health *h, const struct health_settings *s,
		  const struct health_probe *probe, const struct health_pool *pool, int64_t now_ms,
		  struct health_change *ret)
{
	const struct health_step st = health_step_begin(h, s, now_ms);

	assert(ret);
	if (probe->result == HEALTH_PASS)
		health_dims_latency(h, s, probe->rtt_ms, pool, now_ms);
	else if (probe->result == HEALTH_ANSWER_TIMEOUT)
		health_dims_latency(h, s, s->timeout_ms, pool, now_ms);

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
	health_settle(&st);
	schedule(h, s, probe->started_ms, now_ms);
	return health_step_end(&st, ret);
}

void health_probe_void(struct health *h, const struct health_settings *s, int64_t started_ms,
		       int64_t now_ms)
{
	h->unanswered_ms = -1;
	h->busy = false;
	schedule(h, s, started_ms, now_ms);
}

bool health_scrape_failed(struct health *h, const struct health_settings *s,
			  enum health_result result, int64_t now_ms, struct health_change *ret)
{
	const struct health_probe probe = {.result = HEALTH_REFUSED, .started_ms = now_ms};
	struct health_step st;

	assert(ret);
	if (result != HEALTH_REFUSED || !h->seen)
		return false;
	st = health_step_begin(h, s, now_ms);
	refused(&st, &probe);
	health_settle(&st);
	if (is_urgent(h, s) && now_ms + s->refused_interval_ms < h->next_probe_ms)
		h->next_probe_ms = now_ms + s->refused_interval_ms;
	return health_step_end(&st, ret);
}
