/* SPDX-License-Identifier: BSD-2-Clause */
/* Entries of a step -> kept and counted, or removed. */
#include "userspace/agent/scan_priv.h"

#include <bpf/bpf.h>
#include <errno.h>

#include "userspace/agent/publish.h"

#define BUCKETS_AN_ENTRY 8 /* looking at an empty bucket of a worker's table is so much cheaper */
#define TICKS_MAX	 INT32_MAX

enum scan_verdict {
	SCAN_KEEP = 1,
	SCAN_CUT, /* kept, for its client is to be told that its node is dead */
	SCAN_EXPIRED,
	SCAN_CLOSED,
	SCAN_VOID,
};

uint32_t scan_ticks_of(uint64_t ms)
{
	uint64_t ticks = ms * 1000000 >> LB_TICK_SHIFT;

	return ticks < TICKS_MAX ? ticks : TICKS_MAX;
}

/* --- entries ---------------------------------------------------------------------------------- */

uint32_t scan_count_index(uint16_t backend)
{
	return backend == LB_BACKEND_LOCAL ? 0 : backend;
}

static uint32_t age_of(const struct lb_flow *flow, uint64_t now_ms)
{
	return LB_AGE(LB_TICKS_FROM_MS(now_ms), flow->seen);
}

static bool has_vip(const struct scan *s, const struct lb_flow_key *key)
{
	return key->vip < LB_VIPS_MAX && s->t->vips[key->vip].flags & LB_VIP_F_ACTIVE;
}

static bool has_node(const struct scan *s, const struct lb_flow *flow)
{
	const struct lb_backend *b;

	if (flow->backend == LB_BACKEND_LOCAL)
		return true;
	if (flow->backend >= LB_BACKENDS_MAX)
		return false;
	b = &s->t->backends[flow->backend];
	return b->flags & LB_BACKEND_F_ALIVE && b->generation == flow->generation;
}

static uint64_t half_open_ms(const struct scan *s)
{
	return s->crowded ? SCAN_CROWDED_MS : LB_HALF_OPEN_MS;
}

static enum scan_verdict judge_age(const struct scan *s, const struct lb_flow *flow,
				   uint64_t now_ms)
{
	uint32_t age = age_of(flow, now_ms);

	if (s->phase != SCAN_PHASE_FLOWS)
		return age > scan_ticks_of(half_open_ms(s)) && !s->paused ? SCAN_EXPIRED : SCAN_KEEP;
	if (flow->flags & LB_FLOW_F_CLOSED && age > scan_ticks_of(SCAN_CLOSED_MS))
		return SCAN_CLOSED;
	if (flow->flags & LB_FLOW_F_CLOSING && age > scan_ticks_of(SCAN_CLOSING_MS))
		return SCAN_CLOSED;
	return age > s->idle_ticks && !s->paused ? SCAN_EXPIRED : SCAN_KEEP;
}

/*
 * A flow whose node died keeps its entry as long as if it lived: without one its client's next
 * segment would go to another node, and that need not answer with a reset (what is left there of an
 * earlier connection of the same ports answers in its stead). The packet path marks the entry as
 * closed when it has told the client.
 */
static enum scan_verdict judge(const struct scan *s, const struct lb_flow_key *key,
			       const struct lb_flow *flow, uint64_t now_ms)
{
	enum scan_verdict verdict;

	if (!has_vip(s, key))
		return SCAN_VOID;
	verdict = judge_age(s, flow, now_ms);
	if (has_node(s, flow))
		return verdict;
	if (s->t->vips[key->vip].on_down != LB_ON_DOWN_RESET)
		return SCAN_VOID;
	return verdict == SCAN_KEEP ? SCAN_CUT : SCAN_VOID;
}

static void subtract(struct scan *s, uint16_t backend)
{
	if (backend < LB_BACKENDS_MAX)
		publish_load_flows_sub(s->t, backend, 1);
}

/* It stays, and its slot's exc with it. */
static void keep_entry(struct scan *s, const struct lb_flow *flow)
{
	s->cursor.entries++;
	if (s->phase != SCAN_PHASE_SWEEP && flow->slot < s->t->n_pools * LB_SLOTS_MAX)
		s->marks[flow->slot / 64] |= 1ull << flow->slot % 64;
}

static void keep(struct scan *s, const struct lb_flow *flow)
{
	struct scan_count *c;

	keep_entry(s, flow);
	if (s->phase == SCAN_PHASE_SWEEP)
		return;
	if (flow->backend != LB_BACKEND_LOCAL && flow->backend >= LB_BACKENDS_MAX)
		return;
	c = &s->now[scan_count_index(flow->backend)];
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
 * Of an entry that was taken out, with what it held then. counted: it counted until shortly before.
 * Returns whether it is to be put back: a packet came since it was judged.
 */
static bool lives(struct scan *s, const struct lb_flow_key *key, struct lb_flow *flow, bool counted,
		  uint64_t now_ms)
{
	enum scan_verdict verdict = judge(s, key, flow, now_ms);

	/* Its mark is off: this is a younger one, which a packet has put in its place. */
	if (flow->flags & LB_FLOW_F_COUNTED)
		verdict = SCAN_KEEP;
	else if (counted && verdict == SCAN_KEEP &&
		 !(flow->flags & (LB_FLOW_F_CLOSING | LB_FLOW_F_CLOSED))) {
		flow->flags |= LB_FLOW_F_COUNTED;
		counted = false;
	}
	if (counted)
		subtract(s, flow->backend);
	if (verdict == SCAN_KEEP || verdict == SCAN_CUT)
		return true;
	count_removal(s, verdict);
	return false;
}

static void revive(struct scan *s, const struct lb_flow *flow)
{
	s->stats.revived++;
	keep(s, flow);
}

/* r: of putting it back. */
static void put_back(struct scan *s, const struct lb_flow *flow, int r)
{
	if (r == 0) {
		revive(s, flow);
		return;
	}
	if (flow->flags & LB_FLOW_F_COUNTED)
		subtract(s, flow->backend);
	s->stats.lost += r != -EEXIST;
}

/* Returns enum lb_scan_answer, or -errno. */
static int uncount(const struct scan *s, const struct lb_flow_key *key, const struct lb_flow *read)
{
	struct lb_scan_ask ask = {.key = *key, .seen = read->seen};

	return scan_prog_run(s->phase == SCAN_PHASE_FLOWS ? s->prog_flows : s->prog_half_open, &ask);
}

/* A flow that was cut off is no live one of its node's. r: of uncount(), if it counted. */
static int keep_cut(struct scan *s, const struct lb_flow *flow, int r)
{
	keep_entry(s, flow);
	if (r == LB_SCAN_COUNTED)
		subtract(s, flow->backend);
	return r < 0 ? r : 0;
}

/*
 * Remove an entry that was judged by what the batch had read. A packet may have come since, so the
 * entry is taken out and judged again as it was then; one that lives is put back. In the
 * microseconds between, its packets find no entry: a SYN then makes a newer one, which stays; any
 * other is routed by the slot alone. It would have to be the second packet within a microsecond of
 * a flow that had been silent for flow_idle, which is the time after which nothing is promised.
 */
static int remove_entry(struct scan *s, int fd, const struct lb_flow_key *key,
			const struct lb_flow *read, uint64_t now_ms)
{
	int r = uncount(s, key, read);
	bool counted = r == LB_SCAN_COUNTED;
	struct lb_flow flow;

	if (r == LB_SCAN_SEEN)
		revive(s, read);
	if (r <= LB_SCAN_SEEN)
		return r < 0 ? r : 0;
	if (bpf_map_lookup_and_delete_elem(fd, key, &flow) < 0) {
		if (counted)
			subtract(s, read->backend);
		return errno == ENOENT ? 0 : -errno;
	}
	if (lives(s, key, &flow, counted, now_ms))
		put_back(s, &flow, bpf_map_update_elem(fd, key, &flow, BPF_NOEXIST));
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

/* An entry as it was read. Returns 0, -errno. */
static int scan_one(struct scan *s, int fd, const struct lb_flow_key *key,
		    const struct lb_flow *read, uint64_t now_ms)
{
	switch (judge(s, key, read, now_ms)) {
	case SCAN_KEEP:
		keep(s, read);
		return 0;
	case SCAN_CUT:
		return keep_cut(s, read, read->flags & LB_FLOW_F_COUNTED ? uncount(s, key, read) : 0);
	default:
		return remove_entry(s, fd, key, read, now_ms);
	}
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
	for (uint32_t i = 0; i < n && r >= 0; i++)
		r = scan_one(s, fd, &s->keys[i], &s->flows[i], now_ms);
	return r < 0 ? r : more;
}

/* --- entries of poll-mode workers ------------------------------------------------------------- */

/* As remove_entry(). */
static void remove_cell(struct scan *s, struct flow_table *table, struct flow_table_entry *e,
			uint64_t now_ms)
{
	const struct lb_flow_key *key = (const void *)e->key;
	struct lb_flow *flow = (void *)e->value;
	struct lb_scan_ask ask = {.key = *key, .seen = flow->seen};
	int r = scan_uncount_dpdk(table, &ask);
	bool counted = r == LB_SCAN_COUNTED;
	uint16_t backend = flow->backend;

	if (r == LB_SCAN_SEEN)
		revive(s, flow);
	if (r <= LB_SCAN_SEEN)
		return;
	if (flow_table_take(table, e, rounds_now()) < 0) {
		if (counted)
			subtract(s, backend);
		return;
	}
	if (!lives(s, key, flow, counted, now_ms))
		return;
	r = flow_table_put_back(table, e);
	if (r == 0 && flow->flags & LB_FLOW_F_COUNTED)
		scan_count_dpdk(table, key);
	put_back(s, flow, r);
}

/* As scan_one(). */
static void scan_cell(struct scan *s, struct flow_table *table, struct flow_table_entry *e,
		      uint64_t now_ms)
{
	const struct lb_flow_key *key = (const void *)e->key;
	const struct lb_flow *flow = (const void *)e->value;
	struct lb_scan_ask ask = {.key = *key, .seen = flow->seen};

	switch (judge(s, key, flow, now_ms)) {
	case SCAN_KEEP:
		keep(s, flow);
		break;
	case SCAN_CUT:
		keep_cut(s, flow, flow->flags & LB_FLOW_F_COUNTED ? scan_uncount_dpdk(table, &ask) : 0);
		break;
	default:
		remove_cell(s, table, e, now_ms);
	}
}

/* One step over a table of workers. Returns 1 if there is more, 0 at the end. */
static int scan_table(struct scan *s, struct flow_table *table, uint64_t now_ms, uint32_t budget)
{
	struct flow_table_entry entries[LB_BUCKET_CELLS];
	int64_t left = (int64_t)budget * BUCKETS_AN_ENTRY;
	uint32_t ticks = rounds_now();

	s->paused = rounds_paused(s->t->dpdk_workers, ticks);
	if (!s->cursor.set)
		s->cursor.at = 0;
	s->cursor.set = true;
	for (; s->cursor.at < table->n_buckets && left > 0; s->cursor.at++) {
		uint32_t n = flow_table_read(table, s->cursor.at, ticks, entries);

		left -= 1 + n * BUCKETS_AN_ENTRY;
		for (uint32_t i = 0; i < n; i++)
			scan_cell(s, table, &entries[i], now_ms);
	}
	return s->cursor.at < table->n_buckets;
}

int scan_entries(struct scan *s, uint64_t now_ms, uint32_t budget)
{
	bool flows = s->phase == SCAN_PHASE_FLOWS;

	if (s->dpdk)
		return scan_table(s, flows ? &s->dpdk_flows : &s->dpdk_half_open, now_ms, budget);
	return scan_map(s, flows ? s->t->flows_fd : s->t->half_open_fd, now_ms, budget);
}
