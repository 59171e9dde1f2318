// SPDX-License-Identifier: BSD-2-Clause
/*
 * The table through a worker of sluice-dpdk: each frame comes in by a ring device, and where it
 * comes out (near or far device, the mirror, nowhere) is the verdict.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "tests/packet/dpdk/host.h"
#include "tests/packet/world.h"

static int dpdk_open(struct runner *r)
{
	struct tables *t = &r->t;
	int e = host_open(IF_NEAR, IF_FAR);

	if (e < 0)
		return e;
	t->control = host_control();
	t->vip_index = host_vip_index();
	t->vips = host_vips();
	t->pools = host_pools();
	t->turns = host_turns();
	t->members = host_members();
	t->slots = host_slots();
	t->backends = host_backends();
	t->loads = host_loads();
	t->limit = host_limit();
	t->vip_counts = host_vip_counts();
	t->backend_counts = host_backend_counts();
	t->counters = host_counters();
	t->recent = host_recent();
	return 0;
}

static void dpdk_close(struct runner *r)
{
	memset(&r->t, 0, sizeof(r->t));
}

static int dpdk_run(struct runner *r, const struct frame *in, uint32_t headroom,
		    struct outcome *ret_outcome)
{
	static const enum want wants[] = {[OUT_NOWHERE] = DROP, [OUT_NEAR] = TX,
					  [OUT_FAR] = REDIRECT, [OUT_KERNEL] = PASS};
	enum came_out out;
	int e;

	(void)r;
	(void)headroom;
	e = host_run(in->b, in->len, &out, ret_outcome->frame.b, FRAME_MAX,
		     &ret_outcome->frame.len);
	if (e < 0)
		return e;
	ret_outcome->verdict = wants[out];
	ret_outcome->reason = -1;
	ret_outcome->ifindex = out == OUT_FAR ? IF_FAR : 0;
	return 0;
}

static int dpdk_flow_get(struct runner *r, enum entry_table table, const struct lb_flow_key *key,
			 struct lb_flow *ret_flow)
{
	const struct lb_flow *flow = host_flow(table == IN_HALF_OPEN, key);

	(void)r;
	if (!flow)
		return -ENOENT;
	*ret_flow = *flow;
	return 0;
}

static int dpdk_flow_put(struct runner *r, enum entry_table table, const struct lb_flow_key *key,
			 const struct lb_flow *flow)
{
	(void)r;
	return host_flow_put(table == IN_HALF_OPEN, key, flow);
}

static void dpdk_flows_clear(struct runner *r)
{
	(void)r;
	host_clear();
}

static uint32_t dpdk_now(struct runner *r)
{
	struct timespec now;

	(void)r;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return ((uint64_t)now.tv_sec * 1000000000 + now.tv_nsec) >> LB_TICK_SHIFT;
}

/* The clock cannot be moved, so the entries grow older instead. */
static void dpdk_pass(struct runner *r, uint32_t ticks)
{
	host_age(ticks);
	world_refill(r);
}

static int dpdk_set_mtu(struct runner *r, uint32_t mtu)
{
	(void)r;
	host_set_mtu(mtu);
	return 0;
}

struct runner runner_dpdk = {
	.name = "dpdk",
	.open = dpdk_open,
	.close = dpdk_close,
	.frame_min = 14,
	.room_later = 1,
	.run = dpdk_run,
	.flow_get = dpdk_flow_get,
	.flow_put = dpdk_flow_put,
	.flows_clear = dpdk_flows_clear,
	.ticks = dpdk_now,
	.pass = dpdk_pass,
	.set_mtu = dpdk_set_mtu,
	.settle = world_settle,
};
