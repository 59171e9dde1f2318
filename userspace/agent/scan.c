/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/scan_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/scan_nat.h"

#define SLOTS_A_ENTRY 8 /* looking at slots is so much cheaper than at entries */
#define GRACE_POLL_MS 20

/* No packet is under way any more that began before the pass did. */
static bool is_quiet(const struct scan *s, uint64_t now_ms)
{
	return grace_done(s->grace, now_ms) &&
	       (!s->dpdk ||
		rounds_passed(s->t->dpdk_workers, s->grace_tick, rounds_now()));
}

/* --- slots ------------------------------------------------------------------------------------ */

union slot_word {
	struct lb_slot s;
	uint64_t word;
};

typedef uint64_t __attribute__((may_alias)) word_t;

/*
 * exc of an old epoch -> 0. A packet that stores the new one at the same time wins: the swap then
 * fails, and exc is not of an old epoch any more.
 */
static void clear_exc(struct scan *s, uint32_t i, uint32_t epoch)
{
	word_t *at = (word_t *)&s->t->slots[i];
	union slot_word old = {.word = __atomic_load_n(at, __ATOMIC_ACQUIRE)}, new;

	do {
		if (!old.s.exc)
			return;
		if (old.s.exc == epoch || s->marks[i / 64] & 1ull << i % 64) {
			s->running.slots_exc++;
			return;
		}
		new = old;
		new.s.exc = 0;
	} while (!__atomic_compare_exchange_n(at, &old.word, new.word, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	s->stats.exc_cleared++;
}

/* Returns 1 if there is more, 0 at the end. */
static int scan_slots(struct scan *s, uint32_t budget)
{
	uint32_t end = s->t->n_pools * LB_SLOTS_MAX, epoch = s->t->control->epoch, left;

	left = budget < UINT32_MAX / SLOTS_A_ENTRY ? budget * SLOTS_A_ENTRY : UINT32_MAX;
	while (s->next_slot < end && left) {
		uint32_t pool = s->next_slot / LB_SLOTS_MAX;

		if (s->next_slot % LB_SLOTS_MAX >= s->t->pool_info[pool].n_slots) {
			s->next_slot = (pool + 1) * LB_SLOTS_MAX;
			continue;
		}
		clear_exc(s, s->next_slot++, epoch);
		left--;
	}
	return s->next_slot < end;
}

/* --- passes ----------------------------------------------------------------------------------- */

static void start_map(struct scan *s, enum scan_phase phase)
{
	s->phase = phase;
	s->cursor = (struct scan_cursor){.batch_min = BATCH_MIN};
	/* the key that they go by may have been set since */
	tables_view(s->t, TABLES_FLOWS, &s->dpdk_flows);
	tables_view(s->t, TABLES_HALF_OPEN, &s->dpdk_half_open);
}

static int start_pass(struct scan *s, uint64_t now_ms)
{
	struct lb_control *c = s->t->control;
	int r;

	__atomic_store_n(&c->epoch, c->epoch % UINT16_MAX + 1, __ATOMIC_SEQ_CST);
	r = grace_start(now_ms, &s->grace);
	if (r < 0)
		return r;
	s->grace_tick = rounds_now();
	s->requested = false;
	s->started_ms = now_ms;
	s->running = (struct scan_stats){0};
	memset(s->marks, 0, N_MARKS * sizeof(*s->marks));
	memset(s->now, 0, N_COUNTS * sizeof(*s->now));
	s->phase = SCAN_PHASE_GRACE;
	return 0;
}

/* A pass of mode nat began and ended since counts were last compared. */
static bool nat_is_counted(struct scan *s)
{
	uint64_t passes;

	if (!s->nat)
		return true;
	passes = scan_nat_stats(s->nat)->passes;
	if (passes < s->nat_passes + 2)
		return false;
	s->nat_passes = passes;
	return true;
}

static struct scan_sum sum_of(const struct scan *s, uint16_t backend)
{
	struct lb_count count = {0};
	struct scan_sum sum = {
		.flows = __atomic_load_n(&s->t->loads[backend].flows, __ATOMIC_RELAXED),
		.counted = s->now[backend].counted,
	};

	if (s->nat)
		sum.counted += scan_nat_counted(s->nat, backend);
	if (sum.flows != sum.counted) /* it takes a look at every CPU's memory */
		tables_backend_count(s->t, backend, &count);
	sum.began = count.flows;
	return sum;
}

/*
 * lb_load.flows against what was counted: it may be off after an agent was killed between taking an
 * entry out and subtracting. Where both stood still since they were last compared, and no flow began
 * meanwhile (another may have ended), the count is right.
 */
static void repair_loads(struct scan *s)
{
	for (uint32_t i = 1; i < N_COUNTS; i++) {
		struct scan_sum is = sum_of(s, i), was = s->sums[i];

		if (s->compared && is.flows != is.counted && is.flows == was.flows &&
		    is.counted == was.counted && is.began == was.began &&
		    __atomic_compare_exchange_n(&s->t->loads[i].flows, &is.flows, is.counted,
						false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
			s->running.repaired++;
			is.flows = is.counted;
		}
		s->sums[i] = is;
	}
	s->compared = true;
}

static void finish_pass(struct scan *s, uint64_t now_ms)
{
	struct scan_count *swap = s->last;

	if (nat_is_counted(s))
		repair_loads(s);
	s->last = s->now;
	s->now = swap;
	s->stats.passes++;
	s->stats.started_ms = s->started_ms;
	s->stats.finished_ms = now_ms;
	s->stats.flows = s->running.flows;
	s->stats.half_open = s->running.half_open;
	s->stats.slots_exc = s->running.slots_exc;
	s->stats.repaired = s->running.repaired;
	s->next_pass_ms = now_ms + SCAN_INTERVAL_MS;
	s->phase = SCAN_PHASE_IDLE;
}

static void start_sweep(struct scan *s)
{
	s->resume = s->phase;
	s->resume_cursor = s->cursor;
	start_map(s, SCAN_PHASE_SWEEP);
}

static void end_sweep(struct scan *s)
{
	s->phase = s->resume;
	s->cursor = s->resume_cursor;
}

/* half_open was looked at, and so many entries stayed. */
static void note_half_open(struct scan *s, uint64_t now_ms)
{
	uint64_t n = s->cursor.entries, room = s->t->half_open_max;

	s->crowded = n > room / (s->crowded ? 4 : 2);
	s->next_sweep_ms = now_ms + (s->crowded ? SCAN_CROWDED_SWEEP_MS : SCAN_SWEEP_MS);
}

static int wait_idle(struct scan *s, uint64_t now_ms)
{
	if (s->requested || now_ms >= s->next_pass_ms)
		return start_pass(s, now_ms);
	if (now_ms >= s->next_sweep_ms)
		start_sweep(s);
	return 0;
}

static void end_map(struct scan *s, uint64_t now_ms)
{
	switch (s->phase) {
	case SCAN_PHASE_SWEEP:
		note_half_open(s, now_ms);
		end_sweep(s);
		break;
	case SCAN_PHASE_HALF_OPEN:
		note_half_open(s, now_ms);
		s->running.half_open = s->cursor.entries;
		start_map(s, SCAN_PHASE_FLOWS);
		break;
	default:
		s->running.flows = s->cursor.entries;
		s->next_slot = 0;
		s->phase = SCAN_PHASE_SLOTS;
	}
}

static int one_step(struct scan *s, uint64_t now_ms, uint32_t budget)
{
	int r = 0;

	/* A pass over many flows takes longer than half_open can wait. */
	if (now_ms >= s->next_sweep_ms &&
	    (s->phase == SCAN_PHASE_FLOWS || s->phase == SCAN_PHASE_SLOTS))
		start_sweep(s);
	switch (s->phase) {
	case SCAN_PHASE_IDLE:
		return wait_idle(s, now_ms);
	case SCAN_PHASE_GRACE:
		if (is_quiet(s, now_ms)) {
			grace_free(&s->grace);
			start_map(s, SCAN_PHASE_HALF_OPEN);
		}
		return 0;
	case SCAN_PHASE_SWEEP:
	case SCAN_PHASE_HALF_OPEN:
	case SCAN_PHASE_FLOWS:
		r = scan_entries(s, now_ms, budget);
		break;
	case SCAN_PHASE_SLOTS:
		if (!scan_slots(s, budget))
			finish_pass(s, now_ms);
		return 0;
	}
	if (r == 0)
		end_map(s, now_ms);
	return r < 0 ? r : 0;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

int scan_step(struct scan *s, uint64_t now_ms, uint32_t budget)
{
	uint64_t next_ms;
	int r;

	assert(budget > 0);

	r = one_step(s, now_ms, budget);
	if (r < 0) {
		s->phase = SCAN_PHASE_IDLE;
		s->next_pass_ms = now_ms + SCAN_INTERVAL_MS;
		s->next_sweep_ms = now_ms + SCAN_SWEEP_MS;
		return r;
	}
	if (s->phase == SCAN_PHASE_GRACE)
		return GRACE_POLL_MS;
	if (s->phase != SCAN_PHASE_IDLE || s->requested)
		return 0;
	next_ms = earlier(s->next_pass_ms, s->next_sweep_ms);
	return next_ms > now_ms ? (int)(next_ms - now_ms) : 0;
}

void scan_request(struct scan *s)
{
	s->requested = true;
}

uint32_t scan_live(const struct scan *s, uint16_t backend, uint64_t *ret_passes)
{
	assert(backend < LB_BACKENDS_MAX || backend == LB_BACKEND_LOCAL);
	*ret_passes = s->stats.passes;
	return s->last[scan_count_index(backend)].live;
}

uint32_t scan_entries_of(const struct scan *s, uint16_t backend)
{
	assert(backend < LB_BACKENDS_MAX || backend == LB_BACKEND_LOCAL);
	return s->last[scan_count_index(backend)].entries;
}

const struct scan_stats *scan_stats(const struct scan *s)
{
	return &s->stats;
}

void scan_set_nat(struct scan *s, const struct scan_nat *nat)
{
	s->nat = nat;
}

void scan_set_idle(struct scan *s, uint64_t flow_idle_ms)
{
	/* a flow that is not silent for as long must not look so */
	s->idle_ticks = scan_ticks_of(flow_idle_ms) + LB_SEEN_REFRESH;
}

int scan_new(struct tables *t, uint64_t flow_idle_ms, struct scan **ret)
{
	struct scan *s;
	int r;

	assert(t && ret);

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->t = t;
	s->phase = SCAN_PHASE_IDLE;
	s->dpdk = tables_are_dpdk(t);
	s->marks = calloc(N_MARKS, sizeof(*s->marks));
	s->now = calloc(N_COUNTS, sizeof(*s->now));
	s->last = calloc(N_COUNTS, sizeof(*s->last));
	s->sums = calloc(N_COUNTS, sizeof(*s->sums));
	r = s->marks && s->now && s->last && s->sums ? 0 : -ENOMEM;
	if (r == 0 && t->flows_fd >= 0)
		r = scan_prog_new(t->flows_fd, -1, &s->prog_flows);
	if (r == 0 && t->half_open_fd >= 0)
		r = scan_prog_new(t->half_open_fd, -1, &s->prog_half_open);
	if (r < 0) {
		scan_free(&s);
		return r;
	}
	scan_set_idle(s, flow_idle_ms);
	*ret = s;
	return 0;
}

void scan_free(struct scan **s)
{
	if (!s || !*s)
		return;
	grace_free(&(*s)->grace);
	free((*s)->marks);
	free((*s)->now);
	free((*s)->last);
	free((*s)->sums);
	scan_prog_free(&(*s)->prog_flows);
	scan_prog_free(&(*s)->prog_half_open);
	free(*s);
	*s = NULL;
}
