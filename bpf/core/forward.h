/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frame -> verdict: parse, find the VIP, select a backend, rewrite, count. Leaves return a reason;
 * lb_finish() alone counts it and turns it into a verdict.
 */
#ifndef LB_CORE_FORWARD_H
#define LB_CORE_FORWARD_H

#include "bpf/core/encap.h"
#include "bpf/core/reset.h"
#include "bpf/core/select.h"

static __always_inline int lb_cell_is(const struct lb_vip_cell *cell, const __be32 *addr,
				      __be16 port, __u8 proto, __u8 kind)
{
	return cell && LB_READ_ONCE(cell->kind) == kind && cell->port == port &&
	       cell->proto == proto && cell->addr[3] == addr[3] && cell->addr[2] == addr[2] &&
	       cell->addr[1] == addr[1] && cell->addr[0] == addr[0];
}

/* Returns the VIP id, or LB_VIPS_MAX when there is none. */
static __always_inline __u32 lb_vip_find(struct lb_env *env, const __be32 *addr, __be16 port,
					 __u8 proto, __u8 kind)
{
	__u64 h = lb_vip_hash(addr, port, proto);
	const struct lb_vip_cell *cell;

	cell = lb_env_vip_cell(env, lb_vip_hash_a(h));
	if (lb_cell_is(cell, addr, port, proto, kind))
		return cell->vip;
	cell = lb_env_vip_cell(env, lb_vip_hash_b(h));
	if (lb_cell_is(cell, addr, port, proto, kind))
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

/* Not a TCP segment that can be balanced: dropped if it was meant for a VIP, else passed. */
static __always_inline struct lb_result lb_forward_odd(struct lb_env *env,
							const struct lb_pkt *pkt, __u32 reason)
{
	if (reason == LB_R_NOT_VIP || reason == LB_R_VLAN_DEPTH || reason == LB_R_NOT_TCP)
		return lb_finish(env, reason == LB_R_NOT_TCP ? LB_R_NOT_VIP : reason);
	if (!pkt->family ||
	    lb_vip_find(env, pkt->daddr, 0, 0, LB_VIP_KIND_ADDRESS) >= LB_VIPS_MAX)
		return lb_finish(env, LB_R_NOT_VIP);
	return lb_finish(env, reason);
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

/* Rewrite for backend id and say where the frame leaves. */
static __always_inline struct lb_result lb_forward_to(struct lb_env *env, const struct lb_pkt *pkt,
						      const struct lb_vip *vip, __u32 vip_id,
						      const struct lb_choice *choice)
{
	const struct lb_backend *b = lb_env_backend(env, choice->backend);
	__u32 ifindex;
	enum lb_reason r;

	if (lb_unlikely(!b || !choice->backend))
		return lb_finish(env, choice->backend ? LB_R_INTERNAL : LB_R_NO_BACKEND);
	if (lb_unlikely(!(b->flags & LB_BACKEND_F_NEXTHOP)))
		return lb_finish(env, LB_R_NO_NEXTHOP);
	if (lb_unlikely(pkt->ip_len + lb_outer_len(vip->mode, b->family) > b->mtu))
		return lb_finish(env, LB_R_TOO_BIG);
	if (lb_likely(pkt->l3_off == ETH_HLEN))
		r = lb_encap(env, pkt, vip->mode, b, choice->hash, ETH_HLEN);
	else
		r = lb_encap(env, pkt, vip->mode, b, choice->hash,
			     LB_BOUND(pkt->l3_off, LB_L3_MASK));
	if (lb_unlikely(r != LB_R_OK))
		return lb_finish(env, r);
	lb_count_packet(lb_env_vip_count(env, vip_id), pkt->ip_len, choice->is_new);
	lb_count_packet(lb_env_backend_count(env, choice->backend), pkt->ip_len, choice->is_new);
	ifindex = b->ifindex;
	return (struct lb_result){
		.verdict = ifindex == lb_env_ifindex(env) ? LB_VERDICT_TX : LB_VERDICT_REDIRECT,
		.reason = LB_R_OK,
		.ifindex = ifindex,
	};
}

static __always_inline struct lb_result lb_forward(struct lb_env *env)
{
	struct lb_choice choice;
	const struct lb_vip *vip;
	struct lb_pkt pkt;
	enum lb_reason r;
	__u32 vip_id;

	r = lb_parse(env, &pkt);
	if (lb_unlikely(r != LB_R_OK))
		return lb_forward_odd(env, &pkt, r);
	vip_id = lb_vip_find(env, pkt.daddr, pkt.dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, vip_id);
	if (!vip || !(vip->flags & LB_VIP_F_ACTIVE))
		return lb_finish(env, LB_R_NOT_VIP);
	r = lb_select(env, &pkt, vip, vip_id, &choice);
	if (lb_unlikely(r == LB_R_RESET_SENT))
		r = lb_reset(env, &pkt);
	if (lb_unlikely(r != LB_R_OK))
		return lb_finish(env, r);
	if (lb_unlikely(choice.backend == LB_BACKEND_LOCAL)) {
		lb_count_packet(lb_env_vip_count(env, vip_id), pkt.ip_len, choice.is_new);
		return lb_finish(env, LB_R_LOCAL);
	}
	return lb_forward_to(env, &pkt, vip, vip_id, &choice);
}

#endif
