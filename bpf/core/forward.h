/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frame -> verdict: parse, find the VIP, select a backend, rewrite, count. Leaves return a reason;
 * lb_finish() alone counts it and turns it into a verdict.
 */
#ifndef LB_CORE_FORWARD_H
#define LB_CORE_FORWARD_H

#include "bpf/core/forward_nat.h"
#include "bpf/core/icmp.h"
#include "bpf/core/verdict.h"

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
	r = lb_encap(env, pkt, vip->mode, b, choice->hash, LB_BOUND(pkt->l3_off, LB_L3_MASK));
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
	/* The address may be one that mode nat sends from, too. */
	if (lb_nat_in_use(env) && (!vip || vip->mode == LB_MODE_NAT))
		return lb_later_nat_icmp(LB_R_ICMP_OTHER);
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
	/* nor may it lie in what the link added behind the packet */
	if (!icmp || pkt->l4_off + sizeof(*icmp) > pkt->l3_off + pkt->ip_len)
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
	if (vip_id >= LB_VIPS_MAX && reason == LB_R_NOT_TCP && lb_nat_in_use(env))
		return lb_later_nat_icmp(LB_R_NOT_VIP);
	if (vip_id >= LB_VIPS_MAX)
		return lb_finish(env, LB_R_NOT_VIP);
	if (reason == LB_R_NOT_TCP)
		return lb_forward_other(env, pkt, vip_id);
	return lb_finish(env, reason);
}

/* Stage: a frame that lb_parse() did not accept as a segment. */
static __always_inline void lb_stage_odd(struct lb_env *env, struct lb_result *ret)
{
	struct lb_pkt pkt;

	*ret = lb_forward_unbalanced(env, &pkt, lb_parse(env, &pkt));
}
LB_STAGE(odd)

/* Stage: the sender is told which size fits: ret->mtu. */
static __always_inline void lb_stage_too_big(struct lb_env *env, struct lb_result *ret)
{
	__u32 mtu = ret->mtu;
	struct lb_pkt pkt;

	if (lb_parse(env, &pkt) == LB_R_OK)
		*ret = lb_finish(env, lb_icmp_too_big(env, &pkt, mtu));
	else
		*ret = lb_finish(env, LB_R_INTERNAL);
}
LB_STAGE(too_big)

/* What was selected is done: sent, passed to this host, answered with a reset, or dropped. */
static __always_inline struct lb_result lb_forward_selected(struct lb_env *env,
							    const struct lb_pkt *pkt,
							    const struct lb_vip *vip, __u32 vip_id,
							    enum lb_reason r,
							    const struct lb_choice *choice)
{
	if (r == LB_R_OK && choice->backend == LB_BACKEND_LOCAL && lb_is_deserted(env))
		r = LB_R_NO_AGENT;
	if (r == LB_R_RESET_SENT || r == LB_R_NO_AGENT)
		return lb_finish_reset(env, pkt, r);
	if (r != LB_R_OK)
		return lb_finish(env, r);
	if (choice->backend == LB_BACKEND_LOCAL) {
		lb_count_packet(lb_env_vip_count(env, vip_id), pkt->ip_len, choice->is_new);
		return lb_finish(env, LB_R_LOCAL);
	}
	return lb_forward_to(env, pkt, vip, vip_id, choice);
}

/* Stage: a SYN for which there is more to do than to read its slot. */
static __always_inline void lb_stage_syn(struct lb_env *env, struct lb_result *ret)
{
	struct lb_choice choice = {};
	const struct lb_vip *vip;
	struct lb_pkt pkt;
	__u32 vip_id;

	*ret = (struct lb_result){.next = LB_NEXT_SEND, .reason = LB_R_INTERNAL};
	if (lb_parse(env, &pkt) != LB_R_OK)
		return;
	vip_id = lb_vip_find(env, pkt.daddr, pkt.dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, vip_id);
	if (!vip)
		return;
	ret->reason = lb_select_syn(env, &pkt, vip, vip_id, &choice);
	ret->vip = vip_id;
	ret->hash = choice.hash;
	ret->backend = choice.backend;
	ret->is_new = choice.is_new;
}
LB_STAGE(syn)

/* Stage: what an earlier one selected is done. */
static __always_inline void lb_stage_send(struct lb_env *env, struct lb_result *ret)
{
	struct lb_choice choice = {
		.backend = ret->backend, .hash = ret->hash, .is_new = ret->is_new};
	const struct lb_vip *vip = lb_env_vip(env, ret->vip);
	__u32 vip_id = ret->vip, reason = ret->reason;
	struct lb_pkt pkt;

	if (!vip || lb_parse(env, &pkt) != LB_R_OK)
		*ret = lb_finish(env, LB_R_INTERNAL);
	else
		*ret = lb_forward_selected(env, &pkt, vip, vip_id, reason, &choice);
}
LB_STAGE(send)

/* Stage: any frame. What it needs of registers and stack is none of the hot path's. */
static __always_inline void lb_stage_any(struct lb_env *env, struct lb_result *ret)
{
	struct lb_choice choice = {};
	const struct lb_vip *vip;
	struct lb_pkt pkt;
	enum lb_reason r;
	__u32 vip_id;

	r = lb_parse(env, &pkt);
	if (r != LB_R_OK) {
		*ret = lb_later(LB_NEXT_ODD);
		return;
	}
	vip_id = lb_vip_find(env, pkt.daddr, pkt.dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, vip_id);
	if (!vip || !(vip->flags & LB_VIP_F_ACTIVE)) {
		*ret = lb_nat_in_use(env) ? lb_later(LB_NEXT_NAT_REPLY)
					  : lb_finish(env, LB_R_NOT_VIP);
	} else if (vip->mode == LB_MODE_NAT) {
		*ret = lb_later(LB_NEXT_NAT_CHOOSE);
	} else if (lb_is_syn(&pkt)) {
		*ret = lb_later(LB_NEXT_SYN);
	} else {
		r = lb_select_segment(env, &pkt, vip, vip_id, &choice);
		*ret = lb_forward_selected(env, &pkt, vip, vip_id, r, &choice);
	}
}
LB_STAGE(any)

/* Frames for b need nothing but its MACs and outer header. */
static __always_inline int lb_backend_is_plain(const struct lb_backend *b)
{
	return (b->flags & (LB_BACKEND_F_NEXTHOP | LB_BACKEND_F_TAGGED)) == LB_BACKEND_F_NEXTHOP;
}

/*
 * A new flow leaves for b without an entry: note its SYN and count it as load, unless it was noted
 * before: then *ret_is_new becomes 0. Returns 0 if it might not fit; nothing was changed then.
 */
static __always_inline int lb_plain_begin(struct lb_env *env, const struct lb_pkt *pkt,
					  const struct lb_vip *vip, const struct lb_backend *b,
					  const struct lb_choice *choice, __u8 *ret_is_new)
{
	__u32 l3 = pkt->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	const void *head = lb_env_front(env, ETH_HLEN + l3 + sizeof(struct tcphdr));

	if (!head || lb_unlikely(pkt->ip_len + LB_OUTER_MAX > b->mtu))
		return 0;
	if (lb_syn_note(env, head + ETH_HLEN + l3, vip, choice->hash, choice->backend))
		*ret_is_new = 0;
	else
		lb_load_add(vip, choice->hash, choice->load ?: lb_env_load(env, choice->backend));
	return 1;
}

/* lb_forward_plain() from the encapsulation on, with mode and family of the backend as constants. */
static __always_inline int lb_forward_as(struct lb_env *env, const struct lb_pkt *pkt,
					 __u32 vip_id, __u8 mode, __u8 family,
					 const struct lb_backend *b,
					 const struct lb_choice *choice, struct lb_result *ret)
{
	enum lb_reason r;

	if (lb_unlikely(pkt->ip_len + lb_outer_len(mode, family) > b->mtu))
		return 0;
	r = lb_encap_as(env, pkt, mode, family, b, choice->hash);
	if (lb_likely(r == LB_R_OK))
		*ret = lb_finish_sent(env, pkt, vip_id, b, choice);
	else
		*ret = lb_finish(env, r);
	return 1;
}

/*
 * The first half of lb_forward_plain(), for a segment to this VIP; it changes nothing but an entry's
 * time. 1: where it goes. 0: another case. A host may choose for several frames before it sends the
 * first, if it chooses again for those behind a frame that was another case.
 */
static __always_inline int lb_plain_choose(struct lb_env *env, const struct lb_pkt *pkt,
					   const struct lb_vip *vip, __u32 vip_id,
					   struct lb_choice *ret_choice)
{
	return lb_likely(vip->flags & LB_VIP_F_ACTIVE) &&
	       lb_select_plain(env, pkt, vip, vip_id, ret_choice);
}

/* The second half. Of pkt it reads family, ip_len and tos. Returns as lb_forward_plain(). */
static __always_inline int lb_plain_send(struct lb_env *env, const struct lb_pkt *pkt,
					 const struct lb_vip *vip, __u32 vip_id,
					 const struct lb_choice *choice, struct lb_result *ret)
{
	struct lb_choice sent = *choice;
	const struct lb_backend *b;
	__u8 mode;

	/* Neither "this host" nor "none" passes: the one has no entry, the other no next hop. */
	b = lb_env_backend(env, choice->backend);
	if (lb_unlikely(!b || !lb_backend_is_plain(b)))
		return 0;
	if (lb_unlikely(choice->is_new) && vip->policy != LB_POLICY_HASH &&
	    !lb_plain_begin(env, pkt, vip, b, choice, &sent.is_new))
		return 0;
	mode = vip->mode;
	if (lb_likely(mode == LB_MODE_IPIP && b->family == 4))
		return lb_forward_as(env, pkt, vip_id, LB_MODE_IPIP, 4, b, &sent, ret);
	if (mode == LB_MODE_IPIP)
		return lb_forward_as(env, pkt, vip_id, LB_MODE_IPIP, 6, b, &sent, ret);
	if (mode == LB_MODE_L2DSR)
		return lb_forward_as(env, pkt, vip_id, LB_MODE_L2DSR, 0, b, &sent, ret);
	if (b->family == 4)
		return lb_forward_as(env, pkt, vip_id, LB_MODE_GUE, 4, b, &sent, ret);
	return lb_forward_as(env, pkt, vip_id, LB_MODE_GUE, 6, b, &sent, ret);
}

/*
 * A plain segment (lb_parse_plain4(), lb_parse_plain6()). 1: *ret is its fate. 0: it is a case for
 * lb_stage_any(); nothing was changed or counted.
 */
static __always_inline int lb_forward_plain(struct lb_env *env, const struct lb_pkt *pkt,
					    struct lb_result *ret)
{
	const struct lb_vip *vip;
	struct lb_choice choice;
	__u32 vip_id;

	vip_id = lb_vip_find(env, pkt->daddr, pkt->dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, vip_id);
	if (lb_likely(vip))
		return lb_plain_choose(env, pkt, vip, vip_id, &choice) &&
		       lb_plain_send(env, pkt, vip, vip_id, &choice, ret);
	if (lb_unlikely(lb_nat_in_use(env)))
		return 0;
	*ret = lb_finish(env, LB_R_NOT_VIP);
	return 1;
}

/* What no fast way was found for. */
static __always_inline struct lb_result lb_forward_rare(struct lb_env *env)
{
	struct lb_result r = {};

	lb_run_any(env, &r);
	if (r.next == LB_NEXT_SYN)
		lb_run_syn(env, &r);
	else if (r.next == LB_NEXT_NAT_CHOOSE)
		lb_run_nat_choose(env, &r);
	if (r.next == LB_NEXT_SEND)
		lb_run_send(env, &r);
	else if (r.next == LB_NEXT_NAT_SEND)
		lb_run_nat_send(env, &r);
	else if (r.next == LB_NEXT_NAT_REPLY)
		lb_run_nat_reply(env, &r);
	else if (r.next == LB_NEXT_ODD)
		lb_run_odd(env, &r);
	if (r.next == LB_NEXT_NAT_ICMP)
		lb_run_nat_icmp(env, &r);
	if (r.next == LB_NEXT_NAT_ICMP_SEND)
		lb_run_nat_icmp_send(env, &r);
	else if (r.next == LB_NEXT_TOO_BIG)
		lb_run_too_big(env, &r);
	return r;
}

static __always_inline struct lb_result lb_forward(struct lb_env *env)
{
	struct lb_pkt pkt4, pkt6;
	struct lb_result r = {};

	if (lb_likely(lb_parse_plain4(env, &pkt4))) {
		if (lb_likely(lb_forward_plain(env, &pkt4, &r)))
			return r;
	} else if (lb_parse_plain6(env, &pkt6)) {
		if (lb_likely(lb_forward_plain(env, &pkt6, &r)))
			return r;
	}
	return lb_forward_rare(env);
}

#endif
