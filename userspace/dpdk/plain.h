/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lb_forward_plain() (bpf/core/forward.h) for IPv4 in two halves, so that a burst goes through the
 * first half as a whole: the look-ups of several frames then overlap, where one frame's whole way
 * is a chain of loads that each wait for the one before. 28.5 ns a frame became 24 (make bench-dpdk,
 * net_ring, AMD EPYC 9004).
 *
 * A choice is good until a frame before it adds or removes an exception: the caller must choose
 * again after a frame that took another way.
 */
#ifndef SLUICE_DPDK_PLAIN_H
#define SLUICE_DPDK_PLAIN_H

#include "userspace/dpdk/env_dpdk.h"
#include "bpf/core/forward.h"

/* What the second half needs to know. */
struct plain {
	__u32 hash;
	__u16 backend;
	__u16 vip;
	__u16 ip_len;
	__u8 tos;
	__u8 is_new;
	int chosen;
};

/* 1: ret_plain says where it goes. 0: another case. Nothing is changed or counted. */
static __always_inline int plain_choose(struct lb_env *env, struct plain *ret_plain)
{
	const struct lb_vip *vip;
	struct lb_choice choice;
	struct lb_pkt pkt;
	__u32 vip_id;

	if (!lb_parse_plain4(env, &pkt))
		return 0;
	vip_id = lb_vip_find(env, pkt.daddr, pkt.dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, vip_id);
	if (lb_unlikely(!vip || !(vip->flags & LB_VIP_F_ACTIVE)) ||
	    !lb_select_plain(env, &pkt, vip, &choice))
		return 0;
	*ret_plain = (struct plain){.hash = choice.hash, .backend = choice.backend, .vip = vip_id,
				    .ip_len = pkt.ip_len, .tos = pkt.tos,
				    .is_new = choice.is_new, .chosen = 1};
	return 1;
}

/* 1: the frame is rewritten and counted, *ret is its fate. 0: another case, nothing is changed. */
static __always_inline int plain_send(struct lb_env *env, const struct plain *c,
				      struct lb_result *ret)
{
	const struct lb_choice choice = {.hash = c->hash, .backend = c->backend,
					 .is_new = c->is_new};
	const struct lb_pkt pkt = {.family = 4, .ip_len = c->ip_len, .tos = c->tos,
				   .l3_off = ETH_HLEN};
	const struct lb_backend *b = lb_env_backend(env, c->backend);
	const struct lb_vip *vip = lb_env_vip(env, c->vip);
	enum lb_reason r;

	if (lb_unlikely(!vip || !b || !(b->flags & LB_BACKEND_F_NEXTHOP)))
		return 0;
	r = lb_encap_plain(env, &pkt, vip->mode, b, choice.hash);
	if (lb_unlikely(r == LB_R_TOO_BIG))
		return 0;
	if (choice.is_new && vip->policy != LB_POLICY_HASH)
		lb_load_add(env, choice.backend);
	*ret = lb_likely(r == LB_R_OK) ? lb_finish_sent(env, &pkt, c->vip, b, &choice)
				       : lb_finish(env, r);
	return 1;
}

#endif
