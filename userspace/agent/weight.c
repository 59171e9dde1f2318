/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/weight.h"

#include <assert.h>
#include <math.h>

#define MINUTE_MS 60000

/*
 * Panic ends when this part of what started it is reached, so that one node more or less does not
 * turn the pool over.
 */
#define PANIC_LEAVE 0.8

/* While the limit holds changes back, they go on in steps of this part of a minute's worth. */
#define LIMIT_STEP 0.1

void weight_settings_default(struct weight_settings *ret)
{
	*ret = (struct weight_settings){
		.standby_below_ratio = 0.5,
		.standby_above_ratio = 0.7,
		.max_out_ratio = 0.5,
		.change_ratio = 0,
	};
}

static uint32_t part_of(uint32_t capacity, uint32_t part, uint32_t whole)
{
	uint32_t weight = (uint64_t)capacity * part / whole;

	return weight == 0 && capacity > 0 && part > 0 ? 1 : weight;
}

/* Out because of what it does under load, not because it failed or was ordered out. */
static bool is_degraded(const struct weight_member *m)
{
	return m->state == LB_STATE_DEGRADED || (m->state == LB_STATE_DRAINING && m->inferred);
}

static bool is_unknown(const struct weight_member *m)
{
	return m->state == LB_STATE_UNKNOWN;
}

/* What degradation leaves of a degraded member. */
static uint32_t rest_of(const struct weight_member *m)
{
	return m->state == LB_STATE_DEGRADED ? part_of(m->capacity, m->degraded_percent, 100) : 0;
}

static uint32_t working_weight(const struct weight_member *m)
{
	switch (m->state) {
	case LB_STATE_HEALTHY:
		return m->capacity;
	case LB_STATE_WARMING:
		return part_of(m->capacity, m->warm_permille, 1000);
	case LB_STATE_UNKNOWN:
		return m->adopted < m->capacity ? m->adopted : m->capacity;
	default:
		return is_degraded(m) ? rest_of(m) : 0;
	}
}

/* --- tiers ------------------------------------------------------------------------------------ */

/* Capacity of the tiers 0 … n_tiers - 1. */
struct tiers {
	uint64_t whole;   /* configured */
	uint64_t sure;    /* works and is not degraded */
	uint64_t at_best; /* likewise, if all that is not known yet turns out well; what is warming
			     in full, since a pool that grows is not one that falls short */
};

static struct tiers tiers_sum(const struct weight_member *members, uint32_t n, uint32_t n_tiers)
{
	struct tiers sum = {0};

	for (uint32_t i = 0; i < n; i++) {
		const struct weight_member *m = &members[i];

		if (m->tier >= n_tiers)
			continue;
		sum.whole += m->capacity;
		sum.sure += is_unknown(m) ? 0 : working_weight(m);
		sum.at_best += is_unknown(m) || m->state == LB_STATE_WARMING ? m->capacity
									     : working_weight(m);
	}
	return sum;
}

/* Tiers that hold capacity lie below this. */
static uint32_t tiers_present(const struct weight_member *members, uint32_t n)
{
	uint32_t present = 1;

	for (uint32_t i = 0; i < n; i++)
		if (members[i].capacity && members[i].tier >= present)
			present = members[i].tier + 1;
	return present;
}

/* At the start those are in use that an agent before left in use. */
static uint32_t tiers_found(const struct weight_member *members, uint32_t n)
{
	uint32_t found = 1;

	for (uint32_t i = 0; i < n; i++)
		if (members[i].current && members[i].tier >= found)
			found = members[i].tier + 1;
	return found;
}

static bool falls_short(const struct weight_settings *s, const struct tiers *above)
{
	return above->at_best == 0 || above->at_best < s->standby_below_ratio * above->whole;
}

/* What is not known yet neither brings a tier in nor sends it home. */
static uint32_t tiers_in_use(const struct weight_settings *s, uint32_t tiers,
			     const struct weight_member *members, uint32_t n)
{
	const uint32_t present = tiers_present(members, n);
	uint32_t wanted = tiers < present ? tiers : present;
	struct tiers above = tiers_sum(members, n, wanted);

	for (; wanted < present && falls_short(s, &above); wanted++)
		above = tiers_sum(members, n, wanted + 1);
	if (wanted > tiers)
		return wanted;
	for (; wanted > 1; wanted--) {
		above = tiers_sum(members, n, wanted - 1);
		if (above.whole == 0 || above.sure <= s->standby_above_ratio * above.whole)
			break;
	}
	return wanted;
}

/* --- panic ------------------------------------------------------------------------------------ */

/* Of the members that have not failed and are not ordered out, is too much degraded? */
static bool is_panic(const struct weight_settings *s, bool panic, uint32_t n_tiers,
		     const struct weight_member *members, uint32_t n)
{
	const double limit = panic ? s->max_out_ratio * PANIC_LEAVE : s->max_out_ratio;
	uint64_t alive = 0, out = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct weight_member *m = &members[i];

		if (m->tier >= n_tiers)
			continue;
		if (is_degraded(m))
			out += m->capacity - rest_of(m);
		if (is_degraded(m) || working_weight(m))
			alive += m->capacity;
	}
	return out > limit * alive;
}

/* --- the limit of change ---------------------------------------------------------------------- */

static uint32_t distance(uint32_t a, uint32_t b)
{
	return a > b ? a - b : b - a;
}

/* Where a member's weight moves from; a capacity that was lowered is not waited for. */
static uint32_t origin(const struct weight_member *m)
{
	return m->current < m->capacity ? m->current : m->capacity;
}

/* Degradation takes weight away, or gives back what it took; all else acts at once. */
static bool is_slowed(const struct weight_member *m, uint32_t target,
		      const struct weight_verdict *verdict)
{
	if (m->tier >= verdict->tiers || m->capacity == 0)
		return false;
	if (is_degraded(m))
		return target < origin(m);
	return m->was_degraded && target > origin(m) && !verdict->panic &&
	       (m->state == LB_STATE_HEALTHY || m->state == LB_STATE_WARMING);
}

/* Refills the bucket. Its size is what may change a minute. */
static double allowance(const struct weight_settings *s, struct weight_memory *memory,
			uint64_t capacity, int64_t now_ms)
{
	const double size = s->change_ratio * capacity;
	const int64_t since_ms = now_ms - memory->allowance_ms;

	if (!memory->started)
		memory->allowance = size;
	else
		memory->allowance += size * since_ms / MINUTE_MS;
	memory->allowance = fmin(memory->allowance, size);
	memory->allowance_ms = now_ms;
	return size;
}

/*
 * All that is slowed moves by the same part of its way, so that the order of the members does not
 * matter; either to its end, or by a step worth building a table for.
 */
static void slow_down(const struct weight_settings *s, struct weight_memory *memory,
		      const struct weight_member *members, uint32_t n, int64_t now_ms,
		      struct weight_output *outputs, struct weight_verdict *verdict)
{
	const double size = allowance(s, memory, verdict->capacity, now_ms);
	const double step = LIMIT_STEP * size;
	double total = 0, part, missing;

	for (uint32_t i = 0; i < n; i++)
		if (is_slowed(&members[i], outputs[i].weight, verdict))
			total += distance(outputs[i].weight, origin(&members[i]));
	if (s->change_ratio <= 0 || total <= memory->allowance) {
		memory->allowance -= s->change_ratio > 0 ? total : 0;
		return;
	}
	part = memory->allowance >= step ? memory->allowance / total : 0;
	memory->allowance -= part * total;
	for (uint32_t i = 0; i < n; i++) {
		const struct weight_member *m = &members[i];
		struct weight_output *out = &outputs[i];
		double way = (double)out->weight - origin(m);

		if (!is_slowed(m, out->weight, verdict))
			continue;
		out->weight = origin(m) + lround(part * way);
		out->limited = true;
		out->held_by_degradation = true;
	}
	verdict->limited = true;
	missing = fmin(step, total * (1 - part)) - memory->allowance;
	verdict->next_ms = now_ms + 1 + (int64_t)(missing / size * MINUTE_MS);
}

/* --- all together ----------------------------------------------------------------------------- */

static void target(const struct weight_member *m, const struct weight_verdict *verdict,
		   struct weight_output *ret)
{
	*ret = (struct weight_output){0};
	if (m->tier >= verdict->tiers)
		return;
	ret->weight = verdict->panic && is_degraded(m) ? m->capacity : working_weight(m);
	ret->held_by_degradation = is_degraded(m) && ret->weight < m->capacity;
}

void weight_judge(const struct weight_settings *s, struct weight_memory *memory,
		  const struct weight_member *members, uint32_t n, int64_t now_ms,
		  struct weight_output *ret_outputs, struct weight_verdict *ret)
{
	struct tiers in_use;

	for (uint32_t i = 0; i < n; i++)
		assert(members[i].tier < WEIGHT_TIERS_MAX);
	if (!memory->started)
		memory->tiers = tiers_found(members, n);
	memory->tiers = tiers_in_use(s, memory->tiers, members, n);
	memory->panic = is_panic(s, memory->panic, memory->tiers, members, n);
	in_use = tiers_sum(members, n, memory->tiers);
	*ret = (struct weight_verdict){
		.panic = memory->panic,
		.standby = memory->tiers > 1,
		.empty = true,
		.tiers = memory->tiers,
		.capacity = in_use.whole,
		.healthy = in_use.sure,
		.next_ms = INT64_MAX,
	};
	for (uint32_t i = 0; i < n; i++)
		target(&members[i], ret, &ret_outputs[i]);
	slow_down(s, memory, members, n, now_ms, ret_outputs, ret);
	for (uint32_t i = 0; i < n; i++)
		if (ret_outputs[i].weight)
			ret->empty = false;
	memory->started = true;
}
