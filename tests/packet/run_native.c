// SPDX-License-Identifier: BSD-2-Clause
/* The core compiled into this program, under the sanitizers. */
#ifndef __clang__
#pragma GCC optimize("no-strict-aliasing")
#endif
#include "tests/packet/env_native.h"
#include "bpf/core/forward.h"

#include "tests/packet/decap_native.h"
#include "tests/packet/runner.h"

_Static_assert((int)PASS == LB_VERDICT_PASS && (int)DROP == LB_VERDICT_DROP &&
		       (int)TX == LB_VERDICT_TX && (int)REDIRECT == LB_VERDICT_REDIRECT,
	       "verdicts differ");
_Static_assert(NATIVE_NAT_ROOM == NAT_ROOM, "tables differ in size");
_Static_assert((int)IN_FLOWS == LB_FLOWS && (int)IN_HALF_OPEN == LB_HALF_OPEN, "tables differ");

static struct native_tables tables;

/* Every table in a block of its own, so that an index too far is caught. */
static void *table(uint32_t n, uint32_t size)
{
	void *p = calloc(n, size);

	if (!p)
		abort();
	return p;
}

static int native_open(struct runner *r)
{
	struct tables *t = &r->t;

	t->control = tables.control = table(1, sizeof(*t->control));
	t->vip_index = tables.vip_index = table(LB_VIP_BUCKETS, sizeof(*t->vip_index));
	t->vips = tables.vips = table(LB_VIPS_MAX, sizeof(*t->vips));
	t->pools = tables.pools = table(LB_POOLS_MAX, sizeof(*t->pools));
	t->turns = tables.turns = table(2 * LB_POOLS_MAX, sizeof(*t->turns));
	t->members = tables.members = table(2 * LB_POOLS_MAX, sizeof(*t->members));
	t->slots = tables.slots = table(TEST_SLOTS, sizeof(*t->slots));
	t->backends = tables.backends = table(LB_BACKENDS_MAX, sizeof(*t->backends));
	t->loads = tables.loads = table(LB_BACKENDS_MAX, sizeof(*t->loads));
	t->limit = tables.limit = table(1, sizeof(*t->limit));
	t->vip_counts = tables.vip_counts = table(LB_VIPS_MAX, sizeof(*t->vip_counts));
	t->backend_counts = tables.backend_counts = table(LB_BACKENDS_MAX, sizeof(struct lb_count));
	t->counters = (uint64_t *)(tables.counters = table(LB_REASONS_MAX, sizeof(__u64)));
	t->recent = tables.recent = table(NATIVE_RECENT_CELLS, sizeof(*t->recent));
	t->n_recent = NATIVE_RECENT_CELLS;
	tables.n_slots = TEST_SLOTS;
	tables.flows.room = FLOWS_ROOM;
	tables.flows.entries = table(FLOWS_ROOM, sizeof(struct native_flow));
	tables.half_open.room = HALF_OPEN_ROOM;
	tables.half_open.entries = table(HALF_OPEN_ROOM, sizeof(struct native_flow));
	return 0;
}

static void native_close(struct runner *r)
{
	free(tables.control);
	free(tables.vip_index);
	free(tables.vips);
	free(tables.pools);
	free(tables.turns);
	free(tables.members);
	free(tables.slots);
	free(tables.backends);
	free(tables.loads);
	free(tables.limit);
	free(tables.vip_counts);
	free(tables.backend_counts);
	free(tables.counters);
	free(tables.recent);
	free(tables.flows.entries);
	free(tables.half_open.entries);
	memset(&tables, 0, sizeof(tables));
	memset(&r->t, 0, sizeof(r->t));
}

static struct lb_result native_forward(struct lb_env *env)
{
	return lb_forward(env);
}

static void native_run_by(struct lb_result (*forward)(struct lb_env *), const struct frame *in,
			  uint32_t headroom, struct outcome *ret_outcome)
{
	struct lb_env env = {.t = &tables, .ifindex = IF_NEAR};
	struct lb_result result;

	native_frame_put(&env, in->b, in->len, headroom);
	result = forward(&env);
	ret_outcome->verdict = (enum want)result.verdict;
	ret_outcome->reason = result.reason;
	ret_outcome->ifindex = result.verdict == LB_VERDICT_REDIRECT ? (int)result.ifindex : 0;
	ret_outcome->frame.len = (uint8_t *)env.end - (uint8_t *)env.data;
	memcpy(ret_outcome->frame.b, env.data, ret_outcome->frame.len);
	native_frame_free(&env, headroom);
}

static int native_run(struct runner *r, const struct frame *in, uint32_t headroom,
		      struct outcome *ret_outcome)
{
	(void)r;
	native_run_by(native_forward, in, headroom ? headroom : NATIVE_HEADROOM, ret_outcome);
	return 0;
}

static int native_run_decap(struct runner *r, const struct frame *in, struct outcome *ret_outcome)
{
	(void)r;
	decap_native(in, ret_outcome);
	return 0;
}

static int native_flow_get(struct runner *r, enum entry_table table_id,
			   const struct lb_flow_key *key, struct lb_flow *ret_flow)
{
	struct native_flow *e =
		native_flow_find(native_flows_of(&tables, (enum lb_flow_table)table_id), key);

	(void)r;
	if (!e)
		return -ENOENT;
	*ret_flow = e->flow;
	return 0;
}

static int native_put(struct runner *r, enum entry_table table_id, const struct lb_flow_key *key,
		      const struct lb_flow *flow)
{
	(void)r;
	return native_flow_put(native_flows_of(&tables, (enum lb_flow_table)table_id), key, flow);
}

static void native_flows_clear(struct runner *r)
{
	(void)r;
	memset(tables.flows.entries, 0, FLOWS_ROOM * sizeof(struct native_flow));
	memset(tables.half_open.entries, 0, HALF_OPEN_ROOM * sizeof(struct native_flow));
	memset(tables.nat_flows, 0, sizeof(tables.nat_flows));
	memset(tables.nat_replies, 0, sizeof(tables.nat_replies));
	tables.ticks = 0xfffff000; /* the clock turns over within a long case */
}

static uint32_t native_ticks(struct runner *r)
{
	(void)r;
	return tables.ticks;
}

static void native_pass(struct runner *r, uint32_t ticks)
{
	(void)r;
	tables.ticks += ticks;
}

static int native_set_mtu(struct runner *r, uint32_t mtu)
{
	(void)r;
	tables.mtu = mtu;
	return 0;
}

static void native_settle(struct runner *r)
{
	(void)r;
}

struct runner runner_native = {
	.name = "native",
	.open = native_open,
	.close = native_close,
	.frame_min = 0,
	.run = native_run,
	.run_decap = native_run_decap,
	.flow_get = native_flow_get,
	.flow_put = native_put,
	.flows_clear = native_flows_clear,
	.ticks = native_ticks,
	.pass = native_pass,
	.set_mtu = native_set_mtu,
	.settle = native_settle,
};
