/* SPDX-License-Identifier: GPL-2.0-only */
/* The core's host calls (bpf/core/env.h) answered with mbufs and mapped maps. */
#ifndef SLUICE_DPDK_ENV_DPDK_H
#define SLUICE_DPDK_ENV_DPDK_H

#include "userspace/dpdk/rte.h"
#include "userspace/dpdk/tables.h"

#define LB_ENV_HOST "dpdk"

struct lb_env {
	void *data;
	void *end;
	struct rte_mbuf *m;
	struct dpdk_tables *t;
	__u32 ifindex;
	/* The same in numbers, of which compilers know more than of pointers. */
	__u32 len;
	__u32 room; /* bytes in front of the frame */
};

#include "bpf/core/env.h"

static __always_inline void lb_env_init(struct lb_env *env, struct rte_mbuf *m,
					struct dpdk_tables *t, __u32 ifindex)
{
	env->len = m->data_len;
	env->room = m->data_off;
	env->data = rte_pktmbuf_mtod(m, void *);
	env->end = (uint8_t *)env->data + env->len;
	env->m = m;
	env->t = t;
	env->ifindex = ifindex;
}

/* The frame, as the core left it, back to the mbuf. */
static __always_inline void lb_env_commit(const struct lb_env *env)
{
	env->m->data_off = env->room;
	env->m->data_len = env->len;
	env->m->pkt_len = env->len;
}

static __always_inline void *lb_env_front(struct lb_env *env, __u32 len)
{
	void *p = env->data;

	if (!p)
		__builtin_unreachable();
	return lb_likely(env->len >= len) ? p : NULL;
}

#define DPDK_TABLE(call, type, field, n)                                                           \
	static __always_inline type *call(struct lb_env *env, __u32 index)                         \
	{                                                                                          \
		type *p = &env->t->field[index];                                                   \
                                                                                                   \
		if (!p)                                                                            \
			__builtin_unreachable(); /* spares callers a branch for NULL */            \
		return lb_likely(index < (n)) ? p : NULL;                                          \
	}

DPDK_TABLE(lb_env_vip_cell, struct lb_vip_cell, vip_index, LB_VIP_BUCKETS)
DPDK_TABLE(lb_env_vip, struct lb_vip, vips, LB_VIPS_MAX)
DPDK_TABLE(lb_env_slot, struct lb_slot, slots, env->t->n_slots)
DPDK_TABLE(lb_env_pool, struct lb_pool, pools, LB_POOLS_MAX)
DPDK_TABLE(lb_env_turns, struct lb_turns, turns, 2 * LB_POOLS_MAX)
DPDK_TABLE(lb_env_members, struct lb_members, members, 2 * LB_POOLS_MAX)
DPDK_TABLE(lb_env_backend, struct lb_backend, backends, LB_BACKENDS_MAX)
DPDK_TABLE(lb_env_load, struct lb_load, loads, LB_BACKENDS_MAX)
DPDK_TABLE(lb_env_vip_count, struct lb_count, vip_counts, LB_VIPS_MAX)
DPDK_TABLE(lb_env_backend_count, struct lb_count, backend_counts, LB_BACKENDS_MAX)
DPDK_TABLE(lb_env_recent, struct lb_recent, recent, LB_RECENT_CELLS)

static __always_inline __u64 *lb_env_counter(struct lb_env *env, __u32 n)
{
	return n < LB_REASONS_MAX ? (__u64 *)&env->t->counters[n] : NULL;
}

static __always_inline struct lb_control *lb_env_control(struct lb_env *env)
{
	struct lb_control *control = env->t->control;

	if (!control)
		__builtin_unreachable();
	return control;
}

static __always_inline struct lb_limit *lb_env_limit(struct lb_env *env)
{
	return env->t->limit;
}

static __always_inline __u32 lb_env_ticks(struct lb_env *env)
{
	return env->t->ticks;
}

static __always_inline struct flow_table *dpdk_flows_of(struct lb_env *env,
							enum lb_flow_table table)
{
	return table == LB_FLOWS ? &env->t->flows : &env->t->half_open;
}

static __always_inline struct lb_flow *lb_env_flow(struct lb_env *env, enum lb_flow_table table,
						   const struct lb_flow_key *key)
{
	return flow_table_find(dpdk_flows_of(env, table), key);
}

static __always_inline int lb_env_flow_add(struct lb_env *env, enum lb_flow_table table,
					   const struct lb_flow_key *key,
					   const struct lb_flow *flow)
{
	env->t->changes++;
	return flow_table_put(dpdk_flows_of(env, table), key, flow, FLOW_TABLE_NOEXIST,
			      dpdk_ticks());
}

static __always_inline void lb_env_flow_delete(struct lb_env *env, enum lb_flow_table table,
					       const struct lb_flow_key *key)
{
	env->t->changes++;
	(void)flow_table_delete(dpdk_flows_of(env, table), key, dpdk_ticks());
}

static __always_inline struct lb_nat_flow *lb_env_nat_flow(struct lb_env *env,
							   const struct lb_flow_key *key)
{
	return flow_table_find(&env->t->nat_flows, key);
}

static __always_inline int lb_env_nat_flow_add(struct lb_env *env, const struct lb_flow_key *key,
					       const struct lb_nat_flow *flow)
{
	return flow_table_put(&env->t->nat_flows, key, flow, FLOW_TABLE_NOEXIST, dpdk_ticks());
}

static __always_inline void lb_env_nat_flow_delete(struct lb_env *env,
						   const struct lb_flow_key *key)
{
	(void)flow_table_delete(&env->t->nat_flows, key, dpdk_ticks());
}

static __always_inline struct lb_nat_reply *lb_env_nat_reply(struct lb_env *env,
							     const struct lb_nat_key *key)
{
	return flow_table_find(&env->t->nat_replies, key);
}

static __always_inline int lb_env_nat_reply_add(struct lb_env *env, const struct lb_nat_key *key,
						const struct lb_nat_reply *reply)
{
	return flow_table_put(&env->t->nat_replies, key, reply, FLOW_TABLE_NOEXIST, dpdk_ticks());
}

static __always_inline void lb_env_nat_reply_delete(struct lb_env *env,
						    const struct lb_nat_key *key)
{
	(void)flow_table_delete(&env->t->nat_replies, key, dpdk_ticks());
}

/* As bpf_xdp_adjust_head(): a link header always remains. */
static __always_inline int lb_env_head(struct lb_env *env, int delta)
{
	if (lb_unlikely((int)env->room < -delta || (int)env->len - delta < 14))
		return -1;
	env->data = (uint8_t *)env->data + delta;
	env->room += delta;
	env->len -= delta;
	return 0;
}

static __always_inline int lb_env_tail(struct lb_env *env, int delta)
{
	uint8_t *to = (uint8_t *)env->end + delta;

	if (to > (uint8_t *)env->m->buf_addr + env->m->buf_len || to < (uint8_t *)env->data + 14)
		return -1;
	env->end = to;
	env->len += delta;
	return 0;
}

#define lb_env_loop(env, n, step, state)                                                           \
	do {                                                                                       \
		for (__u32 loop_i = 0; loop_i < (n) && !step(loop_i, state); loop_i++)             \
			;                                                                          \
	} while (0)

static __always_inline __u32 lb_env_ifindex(struct lb_env *env)
{
	return env->ifindex;
}

static __always_inline __u32 lb_env_mtu(struct lb_env *env, __u32 ifindex)
{
	const struct dpdk_device *devices = env->t->devices;

	for (__u32 i = 0; i < DPDK_DEVICES_MAX && devices[i].ifindex; i++)
		if (devices[i].ifindex == ifindex)
			return devices[i].mtu;
	return 0;
}

#endif
