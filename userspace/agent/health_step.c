/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/health_step.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "userspace/agent/health_dims.h"
#include "userspace/agent/health_table.h"

#define HOLD_SHIFT_MAX 20

/* Takes new flows, or would but for the operator. */
static bool is_in(enum lb_state under)
{
	return under == LB_STATE_WARMING || under == LB_STATE_HEALTHY;
}

bool health_is_up(enum lb_state under)
{
	return is_in(under) || under == LB_STATE_DEGRADED || under == LB_STATE_DRAINING;
}

bool health_may_serve(const struct health *h)
{
	return health_is_up(h->under) || (h->under == LB_STATE_UNKNOWN && h->seen);
}

int64_t health_hold_ms(const struct health *h, const struct health_settings *s)
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
	h->hold_until_ms = now_ms + health_hold_ms(h, s);
}

bool health_is_held(const struct health *h, int64_t now_ms)
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
	if (h->under == LB_STATE_UNHEALTHY)
		health_dims_reset(h);
	h->calm_needed = h->adopted == LB_STATE_DEGRADED ? s->samples : 0;
	h->adopted = LB_STATE_NONE;
}

/* What samples said long ago. */
static void forget(struct health *h, const struct health_settings *s, int64_t now_ms)
{
	health_dims_forget(h, s, now_ms);
	if (h->progress_known && now_ms - h->progress_seen_ms >= s->forget_ms) {
		h->progress_known = h->hung = false;
		h->progress_ms = h->frozen_ms = -1;
	}
	if (h->aborts_known && now_ms - h->aborts_ms >= s->forget_ms)
		h->aborts_known = false;
	if (h->running >= 0 && now_ms - h->running_ms >= s->forget_ms)
		h->running = -1;
}

struct health_step health_step_begin(struct health *h, const struct health_settings *s,
				     int64_t now_ms)
{
	forget(h, s, now_ms);
	h->judged_ms = now_ms;
	return (struct health_step){h, s, now_ms, h->state, h->under};
}

bool health_step_end(const struct health_step *st, struct health_change *ret)
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

void health_happen(const struct health_step *st, enum health_event event, enum health_cause kind,
		   const char *detail, ...)
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

void health_leave(const struct health_step *st, bool until_pass)
{
	st->h->leaving_ms = st->now_ms;
	st->h->leaving_until_pass = until_pass;
}

bool health_has_risen(const struct health *h, const struct health_settings *s)
{
	return h->passes >= s->rise;
}

static bool ramp_is_over(const struct health *h, const struct health_settings *s, int64_t now_ms)
{
	return h->warm_ms >= 0 && now_ms - h->warm_ms >= s->warm_up_ms;
}

int64_t health_heard_ms(const struct health *h)
{
	return h->sample_ms >= 0 ? h->sample_ms : h->start_ms;
}

/* A degraded node found at the start stays so until enough samples (or their lack) clear it. */
static bool is_clear(const struct health *h, const struct health_settings *s, int64_t now_ms)
{
	if (health_dims_over(h) >= 0 || health_is_held(h, now_ms))
		return false;
	return h->calm_samples >= h->calm_needed || now_ms - health_heard_ms(h) >= s->forget_ms;
}

/* Does a node that drained by itself do so no more? */
static bool stays(const struct health *h, const struct health_settings *s, int64_t now_ms)
{
	if (health_is_held(h, now_ms))
		return false;
	if (h->leaving_until_pass)
		return h->passes > 0;
	return health_has_risen(h, s) && now_ms - h->leaving_ms >= s->self_drain_ms;
}

void health_settle(const struct health_step *st)
{
	struct health *h = st->h;
	const int dim = health_dims_over(h);
	char detail[HEALTH_DETAIL_MAX] = "";

	if (dim >= 0)
		health_dims_describe(h, dim, detail);
	if (h->under == LB_STATE_WARMING && h->warm_ms >= 0 && dim >= 0)
		health_happen(st, HEALTH_EV_OVER, health_dims_cause(dim), "%s", detail);
	if (h->under == LB_STATE_HEALTHY && dim >= 0)
		health_happen(st, HEALTH_EV_OVER, health_dims_cause(dim), "%s", detail);
	if (h->under == LB_STATE_WARMING && ramp_is_over(h, st->s, st->now_ms))
		health_happen(st, HEALTH_EV_RAMPED, HEALTH_CAUSE_WARMED_UP, "%s", "");
	if (h->under == LB_STATE_DEGRADED && is_clear(h, st->s, st->now_ms)) {
		bool cold = h->warm_ms >= 0 && !ramp_is_over(h, st->s, st->now_ms);

		health_happen(st, cold ? HEALTH_EV_RELIEVED_COLD : HEALTH_EV_RELIEVED,
			      HEALTH_CAUSE_RECOVERED, "%s", "");
	}
	if (h->under == LB_STATE_DRAINING && stays(h, st->s, st->now_ms))
		health_happen(st, HEALTH_EV_STAYING, HEALTH_CAUSE_STAYED,
			      "no sign of draining for %lld s",
			      (long long)(st->now_ms - h->leaving_ms) / 1000);
}
