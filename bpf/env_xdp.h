/* SPDX-License-Identifier: GPL-2.0-only */
/* The core's host calls (core/env.h) answered with BPF maps and helpers. */
#ifndef LB_ENV_XDP_H
#define LB_ENV_XDP_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps/bpf_maps.h"

#define LB_ENV_HOST "xdp"

/*
 * A stage is a global function: the verifier looks at it once and by itself (Linux 5.6; memory as
 * an argument: 5.12). What it needs of the frame it reads anew from the context.
 */
#define LB_STAGE(name)                                                                             \
	__noinline int sluice_##name(struct xdp_md *ctx, struct lb_result *ret)                    \
	{                                                                                          \
		struct lb_env env;                                                                 \
                                                                                                   \
		if (!ret)                                                                          \
			return 0;                                                                  \
		lb_env_init(&env, ctx);                                                            \
		lb_stage_##name(&env, ret);                                                        \
		return 0;                                                                          \
	}                                                                                          \
	static __always_inline void lb_run_##name(struct lb_env *env, struct lb_result *ret)       \
	{                                                                                          \
		sluice_##name(env->ctx, ret);                                                      \
	}

#define LB_BOUND(x, mask)                                                                          \
	({                                                                                         \
		__u64 bound_x = (x);                                                               \
		asm volatile("%0 &= %1" : "+r"(bound_x) : "i"(mask));                              \
		bound_x;                                                                           \
	})

struct lb_env {
	void *data;
	void *end;
	struct xdp_md *ctx;
	__u32 cpu;
};

#include "bpf/core/env.h"

static __always_inline void lb_env_init(struct lb_env *env, struct xdp_md *ctx)
{
	env->ctx = ctx;
	env->data = (void *)(long)ctx->data;
	env->end = (void *)(long)ctx->data_end;
	env->cpu = bpf_get_smp_processor_id();
}

static __always_inline void *lb_env_front(struct lb_env *env, __u32 len)
{
	if (!env->data)
		__builtin_unreachable(); /* spares the caller's check a branch for NULL */
	return env->data + len > env->end ? NULL : env->data;
}

#define LB_ENV_TABLE(call, type, map)                                                              \
	static __always_inline type *call(struct lb_env *env, __u32 index)                         \
	{                                                                                          \
		return bpf_map_lookup_elem(&map, &index);                                          \
	}

LB_ENV_TABLE(lb_env_vip_cell, struct lb_vip_cell, vip_index)
LB_ENV_TABLE(lb_env_vip, struct lb_vip, vips)
LB_ENV_TABLE(lb_env_slot, struct lb_slot, slots)
LB_ENV_TABLE(lb_env_pool, struct lb_pool, pools)
LB_ENV_TABLE(lb_env_turns, struct lb_turns, turns)
LB_ENV_TABLE(lb_env_members, struct lb_members, members)
LB_ENV_TABLE(lb_env_backend, struct lb_backend, backends)
LB_ENV_TABLE(lb_env_load, struct lb_load, loads)

static __always_inline struct lb_control *lb_env_control(struct lb_env *env)
{
	return &control;
}

static __always_inline struct lb_limit *lb_env_limit(struct lb_env *env)
{
	return bpf_map_lookup_elem(&limits, &env->cpu);
}

static __always_inline struct lb_count *lb_env_vip_count(struct lb_env *env, __u32 vip)
{
	__u32 index = env->cpu * LB_VIPS_MAX + vip;

	return bpf_map_lookup_elem(&vip_stats, &index);
}

static __always_inline struct lb_count *lb_env_backend_count(struct lb_env *env, __u32 backend)
{
	__u32 index = env->cpu * LB_BACKENDS_MAX + backend;

	return bpf_map_lookup_elem(&backend_stats, &index);
}

static __always_inline __u64 *lb_env_counter(struct lb_env *env, __u32 n)
{
	__u32 index = env->cpu * LB_REASONS_MAX + n;

	return bpf_map_lookup_elem(&reasons, &index);
}

static __always_inline struct lb_recent *lb_env_recent(struct lb_env *env, __u32 index)
{
	return bpf_map_lookup_elem(&recent, &index);
}

static __always_inline struct lb_flow *lb_env_flow(struct lb_env *env, enum lb_flow_table table,
						   const struct lb_flow_key *key)
{
	if (table == LB_FLOWS)
		return bpf_map_lookup_elem(&flows, key);
	return bpf_map_lookup_elem(&half_open, key);
}

static __always_inline int lb_env_flow_add(struct lb_env *env, enum lb_flow_table table,
					   const struct lb_flow_key *key,
					   const struct lb_flow *flow)
{
	if (table == LB_FLOWS)
		return bpf_map_update_elem(&flows, key, flow, BPF_NOEXIST);
	return bpf_map_update_elem(&half_open, key, flow, BPF_NOEXIST);
}

static __always_inline void lb_env_flow_delete(struct lb_env *env, enum lb_flow_table table,
					       const struct lb_flow_key *key)
{
	if (table == LB_FLOWS)
		bpf_map_delete_elem(&flows, key);
	else
		bpf_map_delete_elem(&half_open, key);
}

static __always_inline struct lb_nat_flow *lb_env_nat_flow(struct lb_env *env,
							   const struct lb_flow_key *key)
{
	return bpf_map_lookup_elem(&nat_flows, key);
}

static __always_inline int lb_env_nat_flow_add(struct lb_env *env, const struct lb_flow_key *key,
					       const struct lb_nat_flow *flow)
{
	return bpf_map_update_elem(&nat_flows, key, flow, BPF_NOEXIST);
}

static __always_inline void lb_env_nat_flow_delete(struct lb_env *env,
						   const struct lb_flow_key *key)
{
	bpf_map_delete_elem(&nat_flows, key);
}

static __always_inline struct lb_nat_reply *lb_env_nat_reply(struct lb_env *env,
							     const struct lb_nat_key *key)
{
	return bpf_map_lookup_elem(&nat_replies, key);
}

static __always_inline int lb_env_nat_reply_add(struct lb_env *env, const struct lb_nat_key *key,
						const struct lb_nat_reply *reply)
{
	return bpf_map_update_elem(&nat_replies, key, reply, BPF_NOEXIST);
}

static __always_inline void lb_env_nat_reply_delete(struct lb_env *env,
						    const struct lb_nat_key *key)
{
	bpf_map_delete_elem(&nat_replies, key);
}

/* Coarse: no clock hardware is read. Linux 5.11. */
static __always_inline __u32 lb_env_ticks(struct lb_env *env)
{
	return bpf_ktime_get_coarse_ns() >> LB_TICK_SHIFT;
}

static __always_inline void lb_env_refresh(struct lb_env *env)
{
	env->data = (void *)(long)env->ctx->data;
	env->end = (void *)(long)env->ctx->data_end;
}

static __always_inline int lb_env_head(struct lb_env *env, int delta)
{
	if (bpf_xdp_adjust_head(env->ctx, delta))
		return -1;
	lb_env_refresh(env);
	return 0;
}

static __always_inline int lb_env_tail(struct lb_env *env, int delta)
{
	if (bpf_xdp_adjust_tail(env->ctx, delta))
		return -1;
	lb_env_refresh(env);
	return 0;
}

/* Verified once for all rounds, unlike a loop; Linux 5.17. */
#define lb_env_loop(env, n, step, state) ((void)bpf_loop(n, step, state, 0))

static __always_inline __u32 lb_env_ifindex(struct lb_env *env)
{
	return env->ctx->ingress_ifindex;
}

/* Linux 5.12. It also says whether the frame would fit; it counts a link header without tags. */
static __always_inline __u32 lb_env_mtu(struct lb_env *env, __u32 ifindex)
{
	__u32 mtu = 0;

	return bpf_check_mtu(env->ctx, ifindex, &mtu, 0, 0) < 0 ? 0 : mtu;
}

#endif
