/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frame -> verdict: parse, find the VIP, select a backend, rewrite, count. Leaves return a reason;
 * lb_finish() alone counts it and turns it into a verdict.
 */
#ifndef LB_CORE_FORWARD_H
#define LB_CORE_FORWARD_H

#include "bpf/core/encap.h"
#include "bpf/core/icmp.h"
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

static __always_inline int lb_cell_is(const struct lb_vip_cell *cell, struct lb_vip_key key)
{
	struct lb_vip_key got;

	if (!cell)
		return 0;
	lb_memcpy(&got.service, &cell->port, sizeof(got.service));
	lb_memcpy(&got.hi, &cell->addr[2], sizeof(got.hi));
	lb_memcpy(&got.lo, &cell->addr[0], sizeof(got.lo));
	return got.service == key.service && got.hi == key.hi && got.lo == key.lo;
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
	case LB_R_TOO_BIG_SENT:
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
 * Not finished: what is left is done by a stage of its own, after this one has given its stack
 * back (512 bytes are all there is in BPF).
 */
static __always_inline struct lb_result lb_later_too_big(__u32 mtu)
{
	return (struct lb_result){.reason = LB_R_TOO_BIG, .ifindex = mtu};
}

static __always_inline struct lb_result lb_later_odd(enum lb_reason reason)
{
	return (struct lb_result){.reason = reason};
}

/* Rewrite for the chosen backend; any frame that lb_parse() accepts. */
static __always_inline struct lb_result lb_forward_to(struct lb_env *env, const struct lb_pkt *pkt,
						      const struct lb_vip *vip, __u32 vip_id,
						      const struct lb_choice *choice)
{
	const struct lb_backend *b = lb_env_backend(env, choice->backend);
	enum lb_reason r = lb_backend_takes(b, choice->backend, pkt, vip->mode);

	/* Answered if the sender can do something about it: it set DF, or it is IPv6. */
	if (r == LB_R_TOO_BIG && b && pkt->df && pkt->proto == IPPROTO_TCP)
		return lb_later_too_big(b->mtu - lb_outer_len(vip->mode, b->family));
	if (r != LB_R_OK || !b)
		return lb_finish(env, r);
	if (lb_likely(pkt->l3_off == ETH_HLEN))
		r = lb_encap(env, pkt, vip->mode, b, choice->hash, ETH_HLEN);
	else
		r = lb_encap(env, pkt, vip->mode, b, choice->hash,
			     LB_BOUND(pkt->l3_off, LB_L3_MASK));
	if (r != LB_R_OK)
		return lb_finish(env, r);
	return lb_finish_sent(env, pkt, vip_id, b, choice);
}

/* An ICMP error about a flow goes where the flow goes. */
static __always_inline struct lb_result lb_forward_icmp_error(struct lb_env *env,
							       const struct lb_pkt *pkt)
{
	struct lb_choice choice;
	const struct lb_vip *vip;
	struct lb_pkt flow;
	enum lb_reason r;
	__u32 vip_id;

	r = lb_icmp_inner(env, pkt, &flow);
	if (r != LB_R_OK)
		return lb_finish(env, r);
	vip_id = lb_vip_find(env, flow.daddr, flow.dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, vip_id);
	if (!vip || !(vip->flags & LB_VIP_F_ACTIVE))
		return lb_finish(env, LB_R_ICMP_OTHER);
	r = lb_select_peek(env, &flow, vip, vip_id, &choice);
	if (r != LB_R_OK)
		return lb_finish(env, r);
	if (choice.backend == LB_BACKEND_LOCAL)
		return lb_finish(env, LB_R_LOCAL);
	lb_count_event(env, LB_EV_ICMP_FLOW);
	return lb_forward_to(env, pkt, vip, vip_id, &choice);
}

/* Neither TCP nor broken, and the address is a VIP's: echo and errors are ours, the rest is not. */
static __always_inline struct lb_result lb_forward_other(struct lb_env *env,
							 const struct lb_pkt *pkt, __u32 vip_id)
{
	struct lb_cursor c = lb_cursor_at(env, LB_BOUND(pkt->l4_off, LB_L4_MASK));
	const struct lb_vip *vip = lb_env_vip(env, vip_id);
	const struct lb_icmp *icmp;

	if (pkt->proto != (pkt->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return lb_finish(env, LB_R_NOT_TCP);
	icmp = lb_take(&c, sizeof(*icmp));
	if (!icmp)
		return lb_finish(env, LB_R_TRUNCATED);
	if (lb_icmp_is_error(pkt->family, icmp->type))
		return lb_forward_icmp_error(env, pkt);
	if (lb_icmp_is_echo(pkt->family, icmp->type) && vip && (vip->flags & LB_VIP_F_PING))
		return lb_finish(env, lb_icmp_echo(env, pkt));
	return lb_finish(env, LB_R_NOT_TCP);
}

/* No TCP segment that can be balanced: dropped if it was meant for a VIP, else passed. */
static __always_inline struct lb_result lb_forward_unbalanced(struct lb_env *env,
							       const struct lb_pkt *pkt,
							       __u32 reason)
{
	__u32 vip_id;

	if (reason == LB_R_NOT_VIP || reason == LB_R_VLAN_DEPTH || !pkt->family)
		return lb_finish(env, reason == LB_R_VLAN_DEPTH ? reason : LB_R_NOT_VIP);
	/* UDP and its like never are for a VIP: spare them the look-up. */
	if (reason == LB_R_NOT_TCP && pkt->proto != IPPROTO_ICMP && pkt->proto != IPPROTO_ICMPV6)
		return lb_finish(env, LB_R_NOT_VIP);
	vip_id = lb_vip_find(env, pkt->daddr, 0, 0, LB_VIP_KIND_ADDRESS);
	if (vip_id >= LB_VIPS_MAX)
		return lb_finish(env, LB_R_NOT_VIP);
	if (reason == LB_R_NOT_TCP)
		return lb_forward_other(env, pkt, vip_id);
	return lb_finish(env, reason);
}

static __noinline void lb_forward_odd(struct lb_env *env, struct lb_result *ret)
{
	struct lb_pkt pkt;

	*ret = lb_forward_unbalanced(env, &pkt, lb_parse(env, &pkt));
}

static __noinline void lb_forward_too_big(struct lb_env *env, struct lb_result *ret)
{
	__u32 mtu = ret->ifindex;
	struct lb_pkt pkt;

	if (lb_parse(env, &pkt) == LB_R_OK)
		*ret = lb_finish(env, lb_icmp_too_big(env, &pkt, mtu));
	else
		*ret = lb_finish(env, LB_R_INTERNAL);
}

/* A segment for an active VIP, every case of it. */
static __always_inline struct lb_result lb_forward_vip(struct lb_env *env, const struct lb_pkt *pkt,
						       const struct lb_vip *vip, __u32 vip_id)
{
	struct lb_choice choice;
	enum lb_reason r;

	r = lb_select(env, pkt, vip, vip_id, &choice);
	if (r == LB_R_RESET_SENT)
		r = lb_reset(env, pkt);
	if (r != LB_R_OK)
		return lb_finish(env, r);
	if (choice.backend == LB_BACKEND_LOCAL) {
		lb_count_packet(lb_env_vip_count(env, vip_id), pkt->ip_len, choice.is_new);
		return lb_finish(env, LB_R_LOCAL);
	}
	return lb_forward_to(env, pkt, vip, vip_id, &choice);
}

/* Any frame. Out of line: what it needs of registers and stack is none of the hot path's. */
static __noinline void lb_forward_any(struct lb_env *env, struct lb_result *ret)
{
	const struct lb_vip *vip;
	struct lb_pkt pkt;
	enum lb_reason r;
	__u32 vip_id;

	r = lb_parse(env, &pkt);
	if (r != LB_R_OK) {
		*ret = lb_later_odd(r);
		return;
	}
	vip_id = lb_vip_find(env, pkt.daddr, pkt.dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, vip_id);
	if (!vip || !(vip->flags & LB_VIP_F_ACTIVE))
		*ret = lb_finish(env, LB_R_NOT_VIP);
	else
		*ret = lb_forward_vip(env, &pkt, vip, vip_id);
}

/*
 * A plain segment (lb_parse_plain4(), lb_parse_plain6()). 1: *ret is its fate. 0: it is a case for
 * lb_forward_any(); nothing was changed or counted.
 */
static __always_inline int lb_forward_plain(struct lb_env *env, const struct lb_pkt *pkt,
					    struct lb_result *ret)
{
	const struct lb_backend *b;
	struct lb_choice choice;
	const struct lb_vip *vip;
	enum lb_reason r;
	__u32 vip_id;

	vip_id = lb_vip_find(env, pkt->daddr, pkt->dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, vip_id);
	if (!vip || !(vip->flags & LB_VIP_F_ACTIVE)) {
		*ret = lb_finish(env, LB_R_NOT_VIP);
		return 1;
	}
	if (!lb_select_plain(env, pkt, vip, &choice))
		return 0;
	b = lb_env_backend(env, choice.backend);
	if (lb_unlikely(!b || !(b->flags & LB_BACKEND_F_NEXTHOP)))
		return 0;
	r = lb_encap_plain(env, pkt, vip->mode, b, choice.hash);
	if (lb_unlikely(r == LB_R_TOO_BIG))
		return 0;
	if (choice.is_new && vip->policy != LB_POLICY_HASH)
		lb_load_add(env, choice.backend);
	if (lb_likely(r == LB_R_OK))
		*ret = lb_finish_sent(env, pkt, vip_id, b, &choice);
	else
		*ret = lb_finish(env, r);
	return 1;
}

static __always_inline struct lb_result lb_forward(struct lb_env *env)
{
	struct lb_result r, other;
	struct lb_pkt pkt4, pkt6;
	struct lb_env apart;

	if (lb_likely(lb_parse_plain4(env, &pkt4))) {
		if (lb_likely(lb_forward_plain(env, &pkt4, &r)))
			return r;
	} else if (lb_parse_plain6(env, &pkt6)) {
		if (lb_likely(lb_forward_plain(env, &pkt6, &r)))
			return r;
	}
	apart = *env; /* so that the caller's, whose address goes nowhere, may stay in registers */
	lb_forward_any(&apart, &other);
	if (!other.verdict && other.reason == LB_R_TOO_BIG)
		lb_forward_too_big(&apart, &other);
	else if (!other.verdict)
		lb_forward_odd(&apart, &other);
	*env = apart;
	return other;
}

#endif
