/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any tables and any frames through the native core: parse, select, rewrite.
 *
 * Input: tests/packet/record.h. Beyond the sanitizers (a read outside the frame is one: each frame
 * ends its own heap block): core_check.h; exactly one counter moves, one node is sent to; with and
 * without the hot path the same. Each frame also goes through the program of a node: decap_check.h.
 *
 * The tables and the native runner are those of the packet cases; the fuzzers' build knows one
 * source a fuzzer, so they are included.
 */
#include <arpa/inet.h>
#include <stdlib.h>

#include "tests/packet/decap_native.c"
#include "tests/packet/run_native.c"

#ifdef __clang__ /* new paths through the checks lead the fuzzer nowhere, and cost half its time */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif
#include "tests/packet/frame.c"
#include "tests/packet/world.c"

#include "tests/fuzz/core_check.h"
#include "tests/fuzz/decap_check.h"
#include "tests/packet/record.h"

/* --- counters ----------------------------------------------------------------------------------- */

static uint64_t reasons_sum(const struct tables *t)
{
	uint64_t sum = 0;

	for (int i = 0; i < LB_R_N; i++)
		sum += t->counters[i];
	return sum;
}

/* Which node has been sent a packet since; NULL: none. */
static const struct lb_backend *sent_to(const struct tables *t, const uint64_t before[WATCHED_IDS])
{
	const struct lb_backend *b = NULL;

	for (int i = 0; i < WATCHED_IDS; i++) {
		uint64_t n = t->backend_counts[i].packets - before[i];

		REQUIRE(n <= 1 && !(n && b));
		if (n)
			b = &t->backends[i];
	}
	return b;
}

/* --- entries ------------------------------------------------------------------------------------ */

static void count_in(const struct native_flows *flows, uint32_t counted[WATCHED_IDS])
{
	for (uint32_t i = 0; i < flows->room; i++) {
		const struct native_flow *e = &flows->entries[i];

		REQUIRE(!e->used || !(e->flow.flags & LB_FLOW_F_GONE));
		if (e->used && (e->flow.flags & LB_FLOW_F_COUNTED) && e->flow.backend < WATCHED_IDS)
			counted[e->flow.backend]++;
	}
}

/* Flow and reply of mode nat are there together, name each other, and nobody else has the port. */
static void require_pairs(uint32_t counted[WATCHED_IDS])
{
	uint32_t flows = 0, replies = 0;

	for (uint32_t i = 0; i < NAT_ROOM; i++) {
		const struct native_nat_flow *e = &tables.nat_flows[i];
		const struct lb_backend *b = &tables.backends[e->flow.backend % NODES_N];
		struct lb_nat_key key = {.node_port = b->port, .nat_port = e->flow.nat_port};
		const struct native_nat_reply *reply;

		replies += tables.nat_replies[i].used;
		if (!e->used)
			continue;
		flows++;
		REQUIRE(e->flow.backend < NODES_N && !(e->flow.flags & LB_NAT_F_GONE));
		counted[e->flow.backend] += !!(e->flow.flags & LB_NAT_F_COUNTED);
		memcpy(key.node, b->addr, sizeof(key.node));
		reply = native_nat_reply_find(&tables, &key);
		REQUIRE(reply && reply->reply.client_port == e->key.sport);
		REQUIRE(reply->reply.vip == e->key.vip);
		REQUIRE(!memcmp(reply->reply.client, e->key.saddr, sizeof(e->key.saddr)));
	}
	REQUIRE(flows == replies);
}

/* lb_load.flows is what the entries say. */
static void require_entries(const struct tables *t)
{
	uint32_t counted[WATCHED_IDS] = {0};

	count_in(&tables.flows, counted);
	count_in(&tables.half_open, counted);
	require_pairs(counted);
	for (int i = 0; i < WATCHED_IDS; i++)
		REQUIRE(t->loads[i].flows == counted[i]);
}

static int is_alive(const struct tables *t, uint32_t backend, uint8_t generation)
{
	const struct lb_backend *b = &t->backends[backend % NODES_N];

	return (b->flags & LB_BACKEND_F_ALIVE) && b->generation == generation;
}

/* Ticks since, on whichever CPU: what was seen later than now was seen now. */
static uint32_t age_of(uint32_t seen)
{
	int32_t age = (int32_t)(tables.ticks - seen);

	return age > 0 ? age : 0;
}

/* No frame takes a live flow of mode nat away, or to another node or port. */
static void require_kept(const struct tables *t, const struct native_nat_flow *was)
{
	for (uint32_t i = 0; i < NAT_ROOM; i++) {
		const struct native_nat_flow *e = native_nat_flow_find(&tables, &was[i].key);
		const struct lb_nat_flow *flow = &was[i].flow;

		if (!was[i].used || (flow->flags & (LB_NAT_F_CLOSING | LB_NAT_F_CLOSED)) ||
		    !is_alive(t, flow->backend, flow->generation))
			continue;
		if ((flow->flags & LB_NAT_F_HALF) &&
		    age_of(flow->seen) >= LB_TICKS_FROM_MS(LB_HALF_OPEN_MS))
			continue;
		REQUIRE(e && e->flow.backend == flow->backend);
		REQUIRE(e->flow.nat_port == flow->nat_port);
	}
}

/* Nor an exception: an entry of one of the tables is in one of them afterwards, of the same node. */
static void require_exceptions(const struct tables *t, const struct native_flow *was, uint32_t n,
			       uint32_t fresh_ms)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct lb_flow *flow = &was[i].flow;
		const struct native_flow *e = native_flow_find(&tables.flows, &was[i].key);

		if (!was[i].used || (flow->flags & (LB_FLOW_F_CLOSING | LB_FLOW_F_CLOSED)) ||
		    (flow->backend != LB_BACKEND_LOCAL &&
		     !is_alive(t, flow->backend, flow->generation)) ||
		    age_of(flow->seen) >= LB_TICKS_FROM_MS(fresh_ms))
			continue;
		if (!e)
			e = native_flow_find(&tables.half_open, &was[i].key);
		REQUIRE(e && e->flow.backend == flow->backend);
	}
}

/* --- input -------------------------------------------------------------------------------------- */

struct input {
	const uint8_t *p, *end;
};

static uint32_t take(struct input *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

static uint16_t take_id(struct input *in)
{
	uint32_t id = take(in);

	return id == RECORD_LOCAL ? LB_BACKEND_LOCAL : id % NODES_N;
}

static struct lb_slot take_slot(struct input *in)
{
	struct lb_slot s = {.cur = take_id(in), .alt = take_id(in)};

	s.prev = take_id(in);
	s.exc = take(in);
	return s;
}

/* 1 … last as they are; what else there is becomes one of them. */
static uint32_t take_enum(struct input *in, uint32_t last)
{
	return (take(in) + last - 1) % last + 1;
}

static struct packet_case take_case(struct input *in)
{
	struct packet_case c = {.name = "fuzz"};

	c.mode = take_enum(in, LB_MODE_NAT);
	c.policy = take_enum(in, LB_POLICY_WEIGHTED_ROUND_ROBIN);
	c.affinity = take_enum(in, LB_AFFINITY_SOURCE);
	c.on_down = take_enum(in, LB_ON_DOWN_KEEP);
	c.vip_flags = take(in) & (LB_VIP_F_TRACK | LB_VIP_F_PING);
	c.nat_low = (take(in) & 1) || c.mode == LB_MODE_NAT ? 30000 : 0;
	c.nat_high = c.nat_low + 3;
	c.spread = take(in) & 1;
	c.slot = take_slot(in);
	return c;
}

/* --- with and without the short ways ------------------------------------------------------------ */

/* All that a packet may change. */
struct state {
	struct lb_pool pool;
	struct lb_recent recent[NATIVE_RECENT_CELLS];
	struct lb_slot slots[TEST_SLOTS];
	struct lb_load loads[WATCHED_IDS];
	struct lb_limit limit;
	struct lb_count vip_counts[WATCHED_IDS], backend_counts[WATCHED_IDS];
	__u64 counters[LB_REASONS_MAX];
	struct native_flow flows[FLOWS_ROOM], half_open[HALF_OPEN_ROOM];
	struct native_nat_flow nat_flows[NAT_ROOM];
	struct native_nat_reply nat_replies[NAT_ROOM];
};

#define STATE_PARTS(X)                                                                             \
	X(pool, &tables.pools[POOL])                                                               \
	X(recent, tables.recent)                                                                   \
	X(slots, tables.slots)                                                                     \
	X(loads, tables.loads)                                                                     \
	X(limit, tables.limit)                                                                     \
	X(vip_counts, tables.vip_counts)                                                           \
	X(backend_counts, tables.backend_counts)                                                   \
	X(counters, tables.counters)                                                               \
	X(flows, tables.flows.entries)                                                             \
	X(half_open, tables.half_open.entries)                                                     \
	X(nat_flows, tables.nat_flows)                                                             \
	X(nat_replies, tables.nat_replies)

static void state_save(struct state *s)
{
#define X(part, at) memcpy(&s->part, at, sizeof(s->part));
	STATE_PARTS(X)
#undef X
}

static void state_restore(const struct state *s)
{
#define X(part, at) memcpy(at, &s->part, sizeof(s->part));
	STATE_PARTS(X)
#undef X
}

static void run_way(struct lb_result (*way)(struct lb_env *), const struct frame *f,
		    struct outcome *ret_outcome, struct state *ret_after)
{
	struct state before;

	state_save(&before);
	native_run_by(way, f, NATIVE_HEADROOM, ret_outcome);
#define X(part, at) memcpy(&ret_after->part, at, sizeof(ret_after->part));
	STATE_PARTS(X)
#undef X
	state_restore(&before);
}

/* On the hot path a SYN that is sent again counts as another flow and as load; it is not looked up. */
static int is_counted_anew(const struct frame *f)
{
	struct view v = view_of(f);

	return v.proto == 6 && v.l4 + 14 <= v.len && (v.b[v.l4 + 13] & TCP_SYN) &&
	       tables.vips[VIP_ID4].policy == LB_POLICY_P2C;
}

static struct lb_result forward_rare(struct lb_env *env)
{
	return lb_forward_rare(env);
}

/* What the hot path makes of a frame is what the stages for any frame make of it. */
static void check_ways(const struct frame *f)
{
	static struct state after_hot, after_rare;
	struct outcome hot, rare;

	run_way(native_forward, f, &hot, &after_hot);
	run_way(forward_rare, f, &rare, &after_rare);
	REQUIRE(is_counted_anew(f) || !memcmp(&after_hot, &after_rare, sizeof(after_hot)));
	REQUIRE(hot.verdict == rare.verdict && hot.reason == rare.reason);
	REQUIRE(hot.ifindex == rare.ifindex && hot.frame.len == rare.frame.len);
	REQUIRE(hot.verdict == DROP || !memcmp(hot.frame.b, rare.frame.b, hot.frame.len));
}

/* --- one frame ---------------------------------------------------------------------------------- */

static void check_frame(struct runner *r, const struct frame *f, enum lb_mode mode)
{
	uint64_t reasons = reasons_sum(&r->t), sent[WATCHED_IDS];
	struct fate fate = {.mode = mode, .frame = f, .t = &tables};
	static struct state before;
	struct outcome o;

	check_decap(f);
	state_save(&before);
	check_ways(f);
	for (int i = 0; i < WATCHED_IDS; i++)
		sent[i] = r->t.backend_counts[i].packets;
	r->run(r, f, 0, &o);
	fate.o = &o;
	fate.b = sent_to(&r->t, sent);
	require_fate(&fate);
	REQUIRE(reasons_sum(&r->t) - reasons == (o.reason != LB_R_OK));
	require_entries(&r->t);
	require_kept(&r->t, before.nat_flows);
	require_exceptions(&r->t, before.flows, FLOWS_ROOM, 60000);
}

static void take_frame(struct runner *r, struct input *in, enum lb_mode mode)
{
	uint32_t len = take(in), left;
	struct frame f;

	len |= take(in) << 8;
	left = in->end - in->p;
	f.len = len < left ? len : left;
	if (f.len > FRAME_MAX - 64)
		f.len = FRAME_MAX - 64;
	memcpy(f.b, in->p, f.len);
	in->p += f.len;
	check_frame(r, &f, mode);
}

static void take_node(struct runner *r, struct input *in)
{
	struct lb_backend *b = &r->t.backends[take(in) % NODES_N];

	b->flags = take(in) & (LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP);
	b->generation = take(in);
}

static void take_load(struct runner *r, struct input *in)
{
	struct lb_load *load = &r->t.loads[take(in) % NODES_N];

	load->base = take(in);
	load->weight = take(in) * 100;
	load->flags = take(in);
}

static void take_list(struct runner *r, struct input *in, enum record_kind kind)
{
	uint32_t bank = take(in) & 1, n = take(in) % LIST_MAX;
	uint16_t *to = kind == RECORD_MEMBERS ? r->t.members[2 * POOL + bank].backend
					      : r->t.turns[2 * POOL + bank].backend;
	struct lb_pool *pool = &r->t.pools[POOL];

	for (uint32_t i = 0; i < n; i++)
		to[i] = take_id(in);
	*(kind == RECORD_MEMBERS ? &pool->n_members : &pool->n_turns) =
		n | (bank ? LB_BANK_BIT : 0);
}

static void fill(struct runner *r, uint32_t table)
{
	enum entry_table which = table & 1 ? IN_FLOWS : IN_HALF_OPEN;
	struct lb_flow flow = {.backend = NODE9};

	for (int i = 0; i < FLOWS_ROOM; i++) {
		struct lb_flow_key key = world_key(STRANGER, 4, 20000 + i);

		(void)r->flow_put(r, which, &key, &flow); /* full is what it is for */
	}
}

/* Bit 0: answers are not limited. Bit 1: the agent was heard of long ago. */
static void take_replies(struct runner *r, uint8_t bits)
{
	uint32_t heard = r->ticks(r) - LB_TICKS_FROM_MS(2 * LB_AGENT_SILENT_MS);

	r->t.control->replies_per_s = bits & 1 ? 100000 : 0;
	r->t.control->heartbeat_ns = bits & 2 ? (uint64_t)heard << LB_TICK_SHIFT : 0;
}

static void take_record(struct runner *r, const struct packet_case *c, struct input *in)
{
	uint32_t kind = take(in) % RECORD_N, seconds;

	switch (kind) {
	case RECORD_FRAME:
		return take_frame(r, in, c->mode);
	case RECORD_SLOT:
		return world_set_slots(r, c, take_slot(in));
	case RECORD_NODE:
		return take_node(r, in);
	case RECORD_LOAD:
		return take_load(r, in);
	case RECORD_CONTROL:
		r->t.control->epoch = take(in);
		r->t.control->new_entries_per_s = take(in) & 1 ? 100000 : 0;
		return take_replies(r, take(in));
	case RECORD_TIME:
		seconds = take(in);
		return r->pass(r, (seconds == 255 ? -1u : seconds) * LB_TICKS_PER_S);
	case RECORD_MTU:
		REQUIRE(r->set_mtu(r, MTU - 8 * (take(in) % 180)) == 0);
		return;
	case RECORD_FILL:
		return fill(r, take(in));
	default:
		return take_list(r, in, kind);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct runner *r;
	struct input in = {data, data + size};
	struct packet_case c;

	if (!r) {
		r = &runner_native;
		REQUIRE(r->open(r) == 0);
	}
	c = take_case(&in);
	world_build(r, &c);
	while (in.p < in.end)
		take_record(r, &c, &in);
	return 0;
}

#ifdef __clang__
#pragma clang attribute pop
#endif
