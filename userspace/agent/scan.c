/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/scan.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "userspace/agent/grace.h"
#include "userspace/agent/publish.h"

#define BATCH_MIN     64
#define BATCH_MAX     8192 /* more entries than any bucket holds */
#define SLOTS_A_ENTRY 8    /* looking at slots is so much cheaper than at entries */
#define GRACE_POLL_MS 20
#define BUCKETS_AN_ENTRY 8 /* looking at an empty bucket of a worker's table, likewise */

#define N_COUNTS  LB_BACKENDS_MAX /* index 0: this host */
#define N_MARKS   ((size_t)LB_POOLS_MAX * LB_SLOTS_MAX / 64 + 1)
#define TICKS_MAX INT32_MAX

enum scan_phase {
	SCAN_PHASE_IDLE = 1,
	SCAN_PHASE_SWEEP, /* half_open alone */
	SCAN_PHASE_GRACE, /* a pass: the epoch is raised */
	SCAN_PHASE_HALF_OPEN,
	SCAN_PHASE_FLOWS,
	SCAN_PHASE_SLOTS,
};

enum scan_verdict {
	SCAN_KEEP = 1,
	SCAN_EXPIRED,
	SCAN_CLOSED,
	SCAN_VOID,
};

/* Where the next batch of a table goes on. */
struct scan_cursor {
	bool set;
	uint32_t at;	    /* its bucket, in tables of workers */
	uint32_t batch_min; /* a bucket has more entries than were asked for before */
	uint32_t entries;   /* kept so far */
};

/* What a pass counts for a backend. */
struct scan_count {
	uint32_t entries;
	uint32_t live;    /* entries that are not closing */
	uint32_t counted; /* entries that lb_load.flows counts */
};

struct scan {
	struct tables *t;
	uint32_t idle_ticks;
	enum scan_phase phase;
	enum scan_phase resume; /* what a sweep interrupts, and where that was */
	struct scan_cursor resume_cursor;
	bool crowded; /* half_open fills faster than its entries expire */
	bool requested;
	uint64_t next_pass_ms;
	uint64_t next_sweep_ms;
	uint64_t started_ms;
	struct grace *grace;
	uint32_t grace_tick; /* when it began, on the clock of poll-mode workers */
	bool dpdk;	     /* entries are in the tables of poll-mode workers */
	struct flow_table dpdk_flows, dpdk_half_open;

	struct scan_cursor cursor;
	uint32_t next_slot;

	uint64_t *marks;               /* bit for each slot of map "slots" */
	struct scan_count *now, *last; /* [N_COUNTS] of this pass, of the last complete one */
	uint32_t *last_flows;          /* [N_COUNTS] lb_load.flows when the last one ended */
	struct lb_flow_key keys[BATCH_MAX];
	struct lb_flow flows[BATCH_MAX];
	struct scan_stats running; /* of the pass under way */
	struct scan_stats stats;
};

static uint32_t ticks_of(uint64_t ms)
{
	uint64_t ticks = ms * 1000000 >> LB_TICK_SHIFT;

	return ticks < TICKS_MAX ? ticks : TICKS_MAX;
}

/* --- entries ---------------------------------------------------------------------------------- */

static uint32_t count_index(uint16_t backend)
{
	return backend == LB_BACKEND_LOCAL ? 0 : backend;
}

/* Modulo 2^32, and 0 for what the packet path stored a moment after now_ms was taken. */
static uint32_t age_of(const struct lb_flow *flow, uint64_t now_ms)
{
	int32_t age = (int32_t)(LB_TICKS_FROM_MS(now_ms) - flow->seen);

	return age > 0 ? age : 0;
}

static bool is_void(const struct scan *s, const struct lb_flow_key *key, const struct lb_flow *flow)
{
	const struct lb_backend *b;

	if (key->vip >= LB_VIPS_MAX || !(s->t->vips[key->vip].flags & LB_VIP_F_ACTIVE))
		return true;
	if (flow->backend == LB_BACKEND_LOCAL)
		return false;
	if (flow->backend >= LB_BACKENDS_MAX)
		return true;
	b = &s->t->backends[flow->backend];
	return !(b->flags & LB_BACKEND_F_ALIVE) || b->generation != flow->generation;
}

static uint64_t half_open_ms(const struct scan *s)
{
	return s->crowded ? SCAN_CROWDED_MS : LB_HALF_OPEN_MS;
}

static enum scan_verdict judge(const struct scan *s, const struct lb_flow_key *key,
			       const struct lb_flow *flow, uint64_t now_ms)
{
	uint32_t age = age_of(flow, now_ms);

	if (is_void(s, key, flow))
		return SCAN_VOID;
	if (s->phase != SCAN_PHASE_FLOWS)
		return age > ticks_of(half_open_ms(s)) ? SCAN_EXPIRED : SCAN_KEEP;
	if (flow->flags & LB_FLOW_F_CLOSED && age > ticks_of(SCAN_CLOSED_MS))
		return SCAN_CLOSED;
	if (flow->flags & LB_FLOW_F_CLOSING && age > ticks_of(SCAN_CLOSING_MS))
		return SCAN_CLOSED;
	return age > s->idle_ticks ? SCAN_EXPIRED : SCAN_KEEP;
}

static void uncount(struct scan *s, const struct lb_flow *flow)
{
	if (flow->flags & LB_FLOW_F_COUNTED && flow->backend < LB_BACKENDS_MAX)
		publish_load_flows_sub(s->t, flow->backend, 1);
}

static void keep(struct scan *s, const struct lb_flow *flow)
{
	struct scan_count *c;

	s->cursor.entries++;
	if (s->phase == SCAN_PHASE_SWEEP)
		return;
	if (flow->slot < s->t->n_pools * LB_SLOTS_MAX)
		s->marks[flow->slot / 64] |= 1ull << flow->slot % 64;
	if (flow->backend != LB_BACKEND_LOCAL && flow->backend >= LB_BACKENDS_MAX)
		return;
	c = &s->now[count_index(flow->backend)];
	c->entries++;
	c->live += !(flow->flags & (LB_FLOW_F_CLOSING | LB_FLOW_F_CLOSED));
	c->counted += !!(flow->flags & LB_FLOW_F_COUNTED);
}

static void count_removal(struct scan *s, enum scan_verdict verdict)
{
	switch (verdict) {
	case SCAN_EXPIRED:
		s->stats.expired++;
		break;
	case SCAN_CLOSED:
		s->stats.closed++;
		break;
	default:
		s->stats.voided++;
	}
}

/*
 * Remove an entry that was judged by what the batch had read. A packet may have come since, so the
 * entry is taken out and judged again as it was then; one that lives is put back. In the
 * microseconds between, its packets find no entry: a SYN then makes a newer one, which stays; any
 * other is routed by the slot alone. It would have to be the second packet within a microsecond of
 * a flow that had been silent for flow_idle, which is the time after which nothing is promised.
 */
static int remove_entry(struct scan *s, int fd, const struct lb_flow_key *key, uint64_t now_ms)
{
	struct lb_flow flow;
	enum scan_verdict verdict;

	if (bpf_map_lookup_and_delete_elem(fd, key, &flow) < 0)
		return errno == ENOENT ? 0 : -errno;
	verdict = judge(s, key, &flow, now_ms);
	if (verdict != SCAN_KEEP) {
		uncount(s, &flow);
		count_removal(s, verdict);
		return 0;
	}
	if (bpf_map_update_elem(fd, key, &flow, BPF_NOEXIST) == 0) {
		s->stats.revived++;
		keep(s, &flow);
		return 0;
	}
	uncount(s, &flow);
	s->stats.lost += errno != EEXIST;
	return 0;
}

/*
 * The next batch of a map, of about budget entries. Returns 1 if there is more, 0 at the end,
 * -errno. A bucket is read whole, so an entry that is there all the time is seen once.
 */
static int read_batch(struct scan *s, int fd, uint32_t budget, uint32_t *ret_n)
{
	uint32_t n = budget < BATCH_MAX ? budget : BATCH_MAX, out = 0;
	int r;

	if (n < s->cursor.batch_min)
		n = s->cursor.batch_min;
	r = bpf_map_lookup_batch(fd, s->cursor.set ? &s->cursor.at : NULL, &out, s->keys, s->flows,
				 &n, NULL);
	if (r < 0 && errno == ENOSPC && s->cursor.batch_min < BATCH_MAX) {
		s->cursor.batch_min *= 2;
		*ret_n = 0;
		return 1;
	}
	if (r < 0 && errno != ENOENT)
		return -errno;
	s->cursor.at = out;
	s->cursor.set = true;
	*ret_n = n;
	return r < 0 ? 0 : 1;
}

/* One step over a map. Returns as read_batch(). */
static int scan_map(struct scan *s, int fd, uint64_t now_ms, uint32_t budget)
{
	uint32_t n = 0;
	int more, r = 0;

	if (fd < 0)
		return 0;
	more = read_batch(s, fd, budget, &n);
	if (more < 0)
		return more;
	for (uint32_t i = 0; i < n && r >= 0; i++) {
		if (judge(s, &s->keys[i], &s->flows[i], now_ms) == SCAN_KEEP)
			keep(s, &s->flows[i]);
		else
			r = remove_entry(s, fd, &s->keys[i], now_ms);
	}
	return r < 0 ? r : more;
}

/* --- entries of poll-mode workers ------------------------------------------------------------- */

/* The clock that they go by. Their tables want the time of each call, not that of the step. */
static uint32_t worker_ticks(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec) >> LB_TICK_SHIFT;
}

/* As remove_entry(). */
static void remove_cell(struct scan *s, struct flow_table *table, struct flow_table_entry *e,
			uint64_t now_ms)
{
	const struct lb_flow_key *key = (const void *)e->key;
	const struct lb_flow *flow = (const void *)e->value;
	enum scan_verdict verdict;
	int r;

	if (flow_table_take(table, e, worker_ticks()) < 0)
		return;
	verdict = judge(s, key, flow, now_ms);
	if (verdict != SCAN_KEEP) {
		uncount(s, flow);
		count_removal(s, verdict);
		return;
	}
	r = flow_table_put_back(table, e);
	if (r == 0) {
		s->stats.revived++;
		keep(s, flow);
		return;
	}
	uncount(s, flow);
	s->stats.lost += r != -EEXIST;
}

/* One step over a table of workers. Returns 1 if there is more, 0 at the end. */
static int scan_table(struct scan *s, struct flow_table *table, uint64_t now_ms, uint32_t budget)
{
	struct flow_table_entry entries[LB_BUCKET_CELLS];
	int64_t left = (int64_t)budget * BUCKETS_AN_ENTRY;
	uint32_t ticks = worker_ticks();

	if (!s->cursor.set)
		s->cursor.at = 0;
	s->cursor.set = true;
	for (; s->cursor.at < table->n_buckets && left > 0; s->cursor.at++) {
		uint32_t n = flow_table_read(table, s->cursor.at, ticks, entries);

		left -= 1 + n * BUCKETS_AN_ENTRY;
		for (uint32_t i = 0; i < n; i++) {
			const struct lb_flow *flow = (const void *)entries[i].value;

			if (judge(s, (const void *)entries[i].key, flow, now_ms) == SCAN_KEEP)
				keep(s, flow);
			else
				remove_cell(s, table, &entries[i], now_ms);
		}
	}
	return s->cursor.at < table->n_buckets;
}

/* One step over one of the two tables, wherever it is. Returns as read_batch(). */
static int scan_entries(struct scan *s, uint64_t now_ms, uint32_t budget)
{
	bool flows = s->phase == SCAN_PHASE_FLOWS;

	if (s->dpdk)
		return scan_table(s, flows ? &s->dpdk_flows : &s->dpdk_half_open, now_ms, budget);
	return scan_map(s, flows ? s->t->flows_fd : s->t->half_open_fd, now_ms, budget);
}

/* No packet is under way any more that began before the pass did. */
static bool is_quiet(const struct scan *s, uint64_t now_ms)
{
	return grace_done(s->grace, now_ms) &&
	       (!s->dpdk ||
		flow_table_passed(s->t->dpdk_workers, s->grace_tick, worker_ticks()));
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
	s->grace_tick = worker_ticks();
	s->requested = false;
	s->started_ms = now_ms;
	s->running = (struct scan_stats){0};
	memset(s->marks, 0, N_MARKS * sizeof(*s->marks));
	memset(s->now, 0, N_COUNTS * sizeof(*s->now));
	s->phase = SCAN_PHASE_GRACE;
	return 0;
}

/*
 * lb_load.flows against what was counted: it may be off after an agent was killed between taking an
 * entry out and subtracting. Where both stood still for two passes, the count is right.
 */
static void repair_loads(struct scan *s)
{
	for (uint32_t i = 1; i < N_COUNTS; i++) {
		uint32_t *word = &s->t->loads[i].flows;
		uint32_t flows = __atomic_load_n(word, __ATOMIC_RELAXED);
		uint32_t counted = s->now[i].counted;

		if (s->stats.passes && flows != counted && flows == s->last_flows[i] &&
		    counted == s->last[i].counted &&
		    __atomic_compare_exchange_n(word, &flows, counted, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			s->running.repaired++;
		s->last_flows[i] = __atomic_load_n(word, __ATOMIC_RELAXED);
	}
}

static void finish_pass(struct scan *s, uint64_t now_ms)
{
	struct scan_count *swap = s->last;

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
	return s->last[count_index(backend)].live;
}

uint32_t scan_entries_of(const struct scan *s, uint16_t backend)
{
	assert(backend < LB_BACKENDS_MAX || backend == LB_BACKEND_LOCAL);
	return s->last[count_index(backend)].entries;
}

const struct scan_stats *scan_stats(const struct scan *s)
{
	return &s->stats;
}

void scan_set_idle(struct scan *s, uint64_t flow_idle_ms)
{
	/* a flow that is not silent for as long must not look so */
	s->idle_ticks = ticks_of(flow_idle_ms) + LB_SEEN_REFRESH;
}

int scan_new(struct tables *t, uint64_t flow_idle_ms, struct scan **ret)
{
	struct scan *s;

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
	s->last_flows = calloc(N_COUNTS, sizeof(*s->last_flows));
	if (!s->marks || !s->now || !s->last || !s->last_flows) {
		scan_free(&s);
		return -ENOMEM;
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
	free((*s)->last_flows);
	free(*s);
	*s = NULL;
}
