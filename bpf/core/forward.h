/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frame -> verdict: parse, find the VIP, select a backend, rewrite, count. Leaves return a reason;
 * lb_finish() alone counts it and turns it into a verdict.
 */
#ifndef LB_CORE_FORWARD_H
#define LB_CORE_FORWARD_H

#include "bpf/core/encap.h"
#include "bpf/core/icmp.h"
#include "bpf/core/nat.h"
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
	case LB_R_NAT_UNKNOWN:
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

static __always_inline struct lb_result lb_later_too_big(__u32 mtu)
{
	return (struct lb_result){.next = LB_NEXT_TOO_BIG, .mtu = mtu};
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

static __always_inline int lb_nat_in_use(struct lb_env *env)
{
	const struct lb_control *ctl = lb_env_control(env);

	return ctl && ctl->nat_port_low;
}

/* Stage: where a client's segment for a VIP of mode nat goes. */
static __always_inline void lb_stage_nat_choose(struct lb_env *env, struct lb_result *ret)
{
	struct lb_choice choice = {};
	const struct lb_vip *vip;
	__be16 port = 0;
	struct lb_pkt pkt;
	__u32 vip_id, r;

	*ret = (struct lb_result){.next = LB_NEXT_NAT_SEND, .reason = LB_R_INTERNAL};
	r = lb_parse(env, &pkt);
	if (r != LB_R_OK)
		return;
	vip_id = lb_vip_find(env, pkt.daddr, pkt.dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, vip_id);
	if (!vip)
		return;
	ret->reason = lb_nat_select(env, &pkt, vip, vip_id, &choice, &port);
	ret->vip = vip_id;
	ret->backend = choice.backend;
	ret->is_new = choice.is_new;
	ret->nat_port = port;
}
LB_STAGE(nat_choose)

static __always_inline struct lb_result lb_nat_send(struct lb_env *env, const struct lb_pkt *pkt,
						    const struct lb_result *job)
{
	struct lb_choice choice = {.backend = job->backend, .is_new = job->is_new};
	const struct lb_backend *b;
	enum lb_reason r = job->reason;

	if (r == LB_R_RESET_SENT || r == LB_R_NAT_UNKNOWN) {
		enum lb_reason sent = lb_reset(env, pkt);

		return lb_finish(env, sent == LB_R_RESET_SENT ? r : sent);
	}
	if (r != LB_R_OK)
		return lb_finish(env, r);
	if (job->backend == LB_BACKEND_LOCAL) {
		lb_count_packet(lb_env_vip_count(env, job->vip), pkt->ip_len, job->is_new);
		return lb_finish(env, LB_R_LOCAL);
	}
	b = lb_env_backend(env, job->backend);
	r = lb_backend_takes(b, job->backend, pkt, LB_MODE_NAT);
	if (r == LB_R_OK && b)
		r = lb_nat_to_node(env, pkt, b, job->nat_port);
	if (r != LB_R_OK || !b)
		return lb_finish(env, r);
	return lb_finish_sent(env, pkt, job->vip, b, &choice);
}

/* Stage: what nat_choose chose is done. */
static __always_inline void lb_stage_nat_send(struct lb_env *env, struct lb_result *ret)
{
	struct lb_result job = *ret;
	struct lb_pkt pkt;

	if (lb_parse(env, &pkt) == LB_R_OK)
		*ret = lb_nat_send(env, &pkt, &job);
	else
		*ret = lb_finish(env, LB_R_INTERNAL);
}
LB_STAGE(nat_send)

/* Stage: a node's answer, if the segment is one; otherwise it is the kernel's. */
static __always_inline void lb_stage_nat_reply(struct lb_env *env, struct lb_result *ret)
{
	__u32 ifindex = 0;
	struct lb_pkt pkt;

	if (lb_parse(env, &pkt) != LB_R_OK ||
	    lb_vip_find(env, pkt.daddr, 0, IPPROTO_TCP, LB_VIP_KIND_NAT) >= LB_VIPS_MAX) {
		*ret = lb_finish(env, LB_R_NOT_VIP);
		return;
	}
	*ret = lb_finish(env, lb_nat_reply(env, &pkt, &ifindex));
	if (ret->reason != LB_R_NAT_REPLY)
		return;
	ret->ifindex = ifindex;
	ret->verdict = ifindex == lb_env_ifindex(env) ? LB_VERDICT_TX : LB_VERDICT_REDIRECT;
}
LB_STAGE(nat_reply)

/* What was selected is done: sent, passed to this host, answered with a reset, or dropped. */
static __always_inline struct lb_result lb_forward_selected(struct lb_env *env,
							    const struct lb_pkt *pkt,
							    const struct lb_vip *vip, __u32 vip_id,
							    enum lb_reason r,
							    const struct lb_choice *choice)
{
	if (r == LB_R_RESET_SENT)
		r = lb_reset(env, pkt);
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

/* lb_forward_plain() from the encapsulation on, with mode and family of the backend as constants. */
static __always_inline int lb_forward_as(struct lb_env *env, const struct lb_pkt *pkt,
					 const struct lb_vip *vip, __u32 vip_id, __u8 mode,
					 __u8 family, const struct lb_backend *b,
					 const struct lb_choice *choice, struct lb_result *ret)
{
	enum lb_reason r;

	if (lb_unlikely(pkt->ip_len + lb_outer_len(mode, family) > b->mtu))
		return 0;
	if (lb_unlikely(choice->is_new) && vip->policy != LB_POLICY_HASH)
		lb_load_add(env, choice->backend);
	r = lb_encap_as(env, pkt, mode, family, b, choice->hash);
	if (lb_likely(r == LB_R_OK))
		*ret = lb_finish_sent(env, pkt, vip_id, b, choice);
	else
		*ret = lb_finish(env, r);
	return 1;
}

/*
 * The first half of lb_forward_plain(), which changes nothing but an entry's time. 1: where it goes.
 * 0: another case. -1: not for a VIP. A host may choose for several frames before it sends the
 * first, if it chooses again for those behind a frame that was another case.
 */
static __always_inline int lb_plain_choose(struct lb_env *env, const struct lb_pkt *pkt,
					   const struct lb_vip **ret_vip, __u32 *ret_vip_id,
					   struct lb_choice *ret_choice)
{
	const struct lb_vip *vip;

	*ret_vip_id = lb_vip_find(env, pkt->daddr, pkt->dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, *ret_vip_id);
	*ret_vip = vip;
	if (!vip)
		return -1;
	if (lb_unlikely(!(vip->flags & LB_VIP_F_ACTIVE)) ||
	    !lb_select_plain(env, pkt, vip, *ret_vip_id, ret_choice))
		return 0;
	return 1;
}

/* The second half. Of pkt it reads family, ip_len and tos. Returns as lb_forward_plain(). */
static __always_inline int lb_plain_send(struct lb_env *env, const struct lb_pkt *pkt,
					 const struct lb_vip *vip, __u32 vip_id,
					 const struct lb_choice *choice, struct lb_result *ret)
{
	const struct lb_backend *b;
	__u8 mode;

	/* Neither "this host" nor "none" passes: the one has no entry, the other no next hop. */
	b = lb_env_backend(env, choice->backend);
	if (lb_unlikely(!b || !(b->flags & LB_BACKEND_F_NEXTHOP)))
		return 0;
	mode = vip->mode;
	if (lb_likely(mode == LB_MODE_IPIP && b->family == 4))
		return lb_forward_as(env, pkt, vip, vip_id, LB_MODE_IPIP, 4, b, choice, ret);
	if (mode == LB_MODE_IPIP)
		return lb_forward_as(env, pkt, vip, vip_id, LB_MODE_IPIP, 6, b, choice, ret);
	if (mode == LB_MODE_L2DSR)
		return lb_forward_as(env, pkt, vip, vip_id, LB_MODE_L2DSR, 0, b, choice, ret);
	if (b->family == 4)
		return lb_forward_as(env, pkt, vip, vip_id, LB_MODE_GUE, 4, b, choice, ret);
	return lb_forward_as(env, pkt, vip, vip_id, LB_MODE_GUE, 6, b, choice, ret);
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
	int r;

	r = lb_plain_choose(env, pkt, &vip, &vip_id, &choice);
	if (r > 0)
		return lb_plain_send(env, pkt, vip, vip_id, &choice, ret);
	if (r == 0 || lb_unlikely(lb_nat_in_use(env)))
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
	if (r.next == LB_NEXT_TOO_BIG)
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
