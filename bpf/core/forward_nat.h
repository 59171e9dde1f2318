/* SPDX-License-Identifier: GPL-2.0-only */
/* The stages of mode nat: a client's segment, a node's answer, ICMP errors about either. */
#ifndef LB_CORE_FORWARD_NAT_H
#define LB_CORE_FORWARD_NAT_H

#include "bpf/core/nat_icmp.h"
#include "bpf/core/verdict.h"

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

	if (r == LB_R_OK && job->backend == LB_BACKEND_LOCAL && lb_is_deserted(env))
		r = LB_R_NO_AGENT;
	if (r == LB_R_RESET_SENT || r == LB_R_NAT_UNKNOWN || r == LB_R_NO_AGENT)
		return lb_finish_reset(env, pkt, r);
	if (r != LB_R_OK)
		return lb_finish(env, r);
	if (job->backend == LB_BACKEND_LOCAL) {
		lb_count_packet(lb_env_vip_count(env, job->vip), pkt->ip_len, job->is_new);
		return lb_finish(env, LB_R_LOCAL);
	}
	b = lb_env_backend(env, job->backend);
	r = lb_backend_takes(b, job->backend, pkt, LB_MODE_NAT);
	if (r == LB_R_TOO_BIG && b && pkt->df)
		return lb_later_too_big(b->mtu);
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

/* A node's answer, or an error about what went to it, leaves for the client. */
static __always_inline struct lb_result lb_finish_reply(struct lb_env *env, enum lb_reason r,
							__u32 ifindex)
{
	struct lb_result ret = lb_finish(env, r);

	if (r != LB_R_NAT_REPLY)
		return ret;
	ret.ifindex = ifindex;
	ret.verdict = ifindex == lb_env_ifindex(env) ? LB_VERDICT_TX : LB_VERDICT_REDIRECT;
	return ret;
}

/* Stage: a node's answer, if the segment is one; otherwise it is the kernel's. */
static __always_inline void lb_stage_nat_reply(struct lb_env *env, struct lb_result *ret)
{
	__u32 ifindex = 0, mtu = 0;
	enum lb_reason r;
	struct lb_pkt pkt;

	if (lb_parse(env, &pkt) != LB_R_OK ||
	    lb_vip_find(env, pkt.daddr, 0, IPPROTO_TCP, LB_VIP_KIND_NAT) >= LB_VIPS_MAX) {
		*ret = lb_finish(env, LB_R_NOT_VIP);
		return;
	}
	r = lb_nat_reply(env, &pkt, &ifindex, &mtu);
	if (r == LB_R_TOO_BIG && pkt.df)
		*ret = lb_later_too_big(mtu);
	else
		*ret = lb_finish_reply(env, r, ifindex);
}
LB_STAGE(nat_reply)

static __always_inline int lb_is_icmp_error(struct lb_env *env, const struct lb_pkt *pkt)
{
	struct lb_cursor c = lb_cursor_at(env, LB_BOUND(pkt->l4_off, LB_L4_MASK));
	const struct lb_icmp *icmp = lb_take(&c, sizeof(*icmp));

	return icmp && pkt->proto == (pkt->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) &&
	       lb_icmp_is_error(pkt->family, icmp->type);
}

/* Whose flow an error is about: LB_R_OK and ret->backend (none: its client's), or why not. */
static __always_inline enum lb_reason lb_nat_icmp_find(struct lb_env *env,
						       enum lb_reason otherwise,
						       struct lb_result *ret)
{
	const struct lb_vip *vip;
	struct lb_pkt pkt, flow;
	__u32 vip_id;

	if (lb_parse(env, &pkt) != LB_R_NOT_TCP || !lb_is_icmp_error(env, &pkt) ||
	    lb_icmp_inner(env, &pkt, &flow) != LB_R_OK)
		return otherwise;
	vip_id = lb_vip_find(env, flow.daddr, flow.dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, vip_id);
	if (vip && (vip->flags & LB_VIP_F_ACTIVE) && vip->mode == LB_MODE_NAT)
		return lb_nat_icmp_peek(env, &flow, vip, vip_id, ret);
	if (lb_vip_find(env, pkt.daddr, 0, IPPROTO_TCP, LB_VIP_KIND_NAT) >= LB_VIPS_MAX ||
	    !lb_nat_reply_find(env, &flow))
		return otherwise;
	ret->backend = LB_BACKEND_NONE;
	return LB_R_OK;
}

/* Stage: an ICMP error, if it is about a flow of mode nat; otherwise ret->reason. */
static __always_inline void lb_stage_nat_icmp(struct lb_env *env, struct lb_result *ret)
{
	enum lb_reason r = lb_nat_icmp_find(env, ret->reason, ret);

	if (r == LB_R_OK)
		ret->next = LB_NEXT_NAT_ICMP_SEND;
	else
		*ret = lb_finish(env, r);
}
LB_STAGE(nat_icmp)

static __always_inline struct lb_result lb_nat_icmp_send_to_node(struct lb_env *env,
								 const struct lb_pkt *pkt,
								 const struct lb_pkt *flow,
								 const struct lb_result *job)
{
	const struct lb_backend *b = lb_env_backend(env, job->backend);
	struct lb_choice choice = {.backend = job->backend};
	enum lb_reason r = lb_backend_takes(b, job->backend, pkt, LB_MODE_NAT);

	if (r == LB_R_OK && b)
		r = lb_nat_icmp_to_node(env, pkt, flow, b, job->nat_port);
	if (r != LB_R_OK || !b)
		return lb_finish(env, r);
	lb_count_event(env, LB_EV_ICMP_FLOW);
	return lb_finish_sent(env, pkt, job->vip, b, &choice);
}

/* Stage: what nat_icmp found is done. */
static __always_inline void lb_stage_nat_icmp_send(struct lb_env *env, struct lb_result *ret)
{
	struct lb_result job = *ret;
	struct lb_pkt pkt, flow;
	__u32 ifindex = 0;
	enum lb_reason r;

	if (lb_parse(env, &pkt) != LB_R_NOT_TCP || lb_icmp_inner(env, &pkt, &flow) != LB_R_OK) {
		*ret = lb_finish(env, LB_R_INTERNAL);
		return;
	}
	if (job.backend != LB_BACKEND_NONE) {
		*ret = lb_nat_icmp_send_to_node(env, &pkt, &flow, &job);
		return;
	}
	r = lb_nat_icmp_to_client(env, &pkt, &flow, &ifindex);
	if (r == LB_R_NAT_REPLY)
		lb_count_event(env, LB_EV_ICMP_FLOW);
	*ret = lb_finish_reply(env, r, ifindex);
}
LB_STAGE(nat_icmp_send)

#endif
