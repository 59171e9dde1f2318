/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every way through the core begins and ends with: address -> VIP, backend -> whether it takes
 * the packet, reason -> counters and verdict; and how one stage of a rare case hands on to another.
 */
#ifndef LB_CORE_VERDICT_H
#define LB_CORE_VERDICT_H

#include "bpf/core/encap.h"
#include "bpf/core/reset.h"
#include "bpf/core/select.h"

/* What a cell is compared with, in as few words as can be loaded at once. */
struct lb_vip_key {
	__u64 lo, hi;
	__u32 service;
};

static __always_inline struct lb_vip_key lb_vip_key_of(const __be32 *addr, __be16 port, __u8 proto,
						       __u8 kind)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (struct lb_vip_key){
		.lo = (__u64)addr[1] << 32 | addr[0],
		.hi = (__u64)addr[3] << 32 | addr[2],
		.service = (__u32)kind << 24 | (__u32)proto << 16 | port,
	};
#else
	return (struct lb_vip_key){
		.lo = (__u64)addr[0] << 32 | addr[1],
		.hi = (__u64)addr[2] << 32 | addr[3],
		.service = (__u32)port << 16 | (__u32)proto << 8 | kind,
	};
#endif
}

static __always_inline int lb_vip_key_is(struct lb_vip_key a, struct lb_vip_key b)
{
	return a.service == b.service && a.hi == b.hi && a.lo == b.lo;
}

static __always_inline int lb_cell_is(const struct lb_vip_cell *cell, struct lb_vip_key key)
{
	struct lb_vip_key got;

	if (!cell)
		return 0;
	lb_memcpy(&got.service, &cell->port, sizeof(got.service));
	lb_memcpy(&got.hi, &cell->addr[2], sizeof(got.hi));
	lb_memcpy(&got.lo, &cell->addr[0], sizeof(got.lo));
	return lb_vip_key_is(got, key);
}

/* Returns the VIP id, or LB_VIPS_MAX when there is none. */
static __always_inline __u32 lb_vip_find(struct lb_env *env, const __be32 *addr, __be16 port,
					 __u8 proto, __u8 kind)
{
	struct lb_vip_key key = lb_vip_key_of(addr, port, proto, kind);
	__u64 h = lb_vip_hash(addr, port, proto);
	const struct lb_vip_cell *cell;

	cell = lb_env_vip_cell(env, lb_vip_hash_a(h));
	if (lb_cell_is(cell, key))
		return cell->vip;
	cell = lb_env_vip_cell(env, lb_vip_hash_b(h));
	if (lb_cell_is(cell, key))
		return cell->vip;
	return LB_VIPS_MAX;
}

static __always_inline enum lb_verdict lb_verdict_of(__u32 reason)
{
	switch (reason) {
	case LB_R_NOT_VIP:
	case LB_R_NOT_TCP:
	case LB_R_LOCAL:
	case LB_R_VLAN_DEPTH:
		return LB_VERDICT_PASS;
	case LB_R_RESET_SENT:
	case LB_R_PING:
	case LB_R_NAT_UNKNOWN:
	case LB_R_TOO_BIG_SENT:
	case LB_R_NO_AGENT:
		return LB_VERDICT_TX;
	default:
		return LB_VERDICT_DROP;
	}
}

static __always_inline struct lb_result lb_finish(struct lb_env *env, __u32 reason)
{
	__u64 *n = lb_env_counter(env, reason);

	if (n)
		*n += 1;
	return (struct lb_result){.verdict = lb_verdict_of(reason), .reason = reason};
}

/* Answered with a reset, for this reason. */
static __always_inline struct lb_result lb_finish_reset(struct lb_env *env,
							const struct lb_pkt *pkt,
							enum lb_reason reason)
{
	enum lb_reason sent = lb_reset(env, pkt);

	return lb_finish(env, sent == LB_R_RESET_SENT ? reason : sent);
}

/*
 * Nobody answers on this host: the agent, whose sockets do, has given no sign of life for so long
 * (0: there never was one). The kernel would send no reset from an address that is not its own.
 */
static __always_inline int lb_is_deserted(struct lb_env *env)
{
	const struct lb_control *ctl = lb_env_control(env);
	__u64 seen_ns = ctl ? LB_READ_ONCE(ctl->heartbeat_ns) : 0;

	return seen_ns && (__s32)(lb_env_ticks(env) - (__u32)(seen_ns >> LB_TICK_SHIFT)) >
				  (__s32)LB_TICKS_FROM_MS(LB_AGENT_SILENT_MS);
}

static __always_inline void lb_count_packet(struct lb_count *n, __u32 bytes, __u32 flows)
{
	if (!n)
		return;
	n->packets += 1;
	n->bytes += bytes;
	if (flows)
		n->flows += 1;
}

/* The backend may be sent to, with this packet: LB_R_OK, or why not. */
static __always_inline enum lb_reason lb_backend_takes(const struct lb_backend *b, __u32 id,
						       const struct lb_pkt *pkt, __u8 mode)
{
	if (lb_unlikely(!b || !id))
		return id ? LB_R_INTERNAL : LB_R_NO_BACKEND;
	if (lb_unlikely(!(b->flags & LB_BACKEND_F_NEXTHOP)))
		return LB_R_NO_NEXTHOP;
	if (lb_unlikely(pkt->ip_len + lb_outer_len(mode, b->family) > b->mtu))
		return LB_R_TOO_BIG;
	return LB_R_OK;
}

/* The frame is on its way to b: count it, say where it leaves. */
static __always_inline struct lb_result lb_finish_sent(struct lb_env *env, const struct lb_pkt *pkt,
						       __u32 vip_id, const struct lb_backend *b,
						       const struct lb_choice *choice)
{
	__u32 ifindex = b->ifindex;

	lb_count_packet(lb_env_vip_count(env, vip_id), pkt->ip_len, choice->is_new);
	lb_count_packet(lb_env_backend_count(env, choice->backend), pkt->ip_len, choice->is_new);
	return (struct lb_result){
		.verdict = ifindex == lb_env_ifindex(env) ? LB_VERDICT_TX : LB_VERDICT_REDIRECT,
		.reason = LB_R_OK,
		.ifindex = ifindex,
	};
}

/*
 * The rare cases are stages: each begins with the frame, does all of its work and gives its stack
 * back (512 bytes are all there is in BPF). A stage that leaves no verdict names the next one.
 */
#ifndef LB_STAGE
#define LB_STAGE(name)                                                                             \
	static __noinline void lb_run_##name(struct lb_env *env, struct lb_result *ret)            \
	{                                                                                          \
		lb_stage_##name(env, ret);                                                         \
	}
#endif

static __always_inline struct lb_result lb_later(enum lb_next next)
{
	return (struct lb_result){.next = next};
}

/* An ICMP error that may be about a flow of mode nat. otherwise: its reason if it is not. */
static __always_inline struct lb_result lb_later_nat_icmp(enum lb_reason otherwise)
{
	return (struct lb_result){.next = LB_NEXT_NAT_ICMP, .reason = otherwise};
}

static __always_inline int lb_nat_in_use(struct lb_env *env)
{
	const struct lb_control *ctl = lb_env_control(env);

	return ctl && ctl->nat_port_low;
}

static __always_inline struct lb_result lb_later_too_big(__u32 mtu)
{
	return (struct lb_result){.next = LB_NEXT_TOO_BIG, .mtu = mtu};
}

#endif
