/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lb_forward_plain() (bpf/core/forward.h) in two halves, so that a burst goes through each as a
 * whole: the work on several frames then overlaps, where one frame's whole way is a chain of loads
 * and multiplications that each wait for the one before.
 *
 * A choice is good until a frame before it adds or removes an exception: see dpdk_tables.changes.
 */
#ifndef SLUICE_DPDK_PLAIN_H
#define SLUICE_DPDK_PLAIN_H

#include "userspace/dpdk/env_dpdk.h"
#include "bpf/core/forward.h"

enum plain_kind {
	PLAIN_IP4 = 0x01,
	PLAIN_IP6 = 0x02,
	PLAIN_NEW = 0x04, /* begins a flow */
};

/* What the second half needs to know. */
struct plain {
	__u32 hash;
	__u32 first; /* lb_pkt.first, of IPv6 too */
	__u16 backend;
	__u16 vip;
	__u16 kind; /* enum plain_kind; 0: no plain segment, or another case */
};

/* Any plain segment: *ret_plain says where it goes, or that it is another case. */
static __always_inline void plain_choose(struct lb_env *env, struct plain *ret_plain)
{
	const struct lb_vip *vip;
	struct lb_choice choice;
	struct lb_pkt pkt;
	__u32 id, kind;

	ret_plain->kind = 0;
	if (lb_parse_plain4(env, &pkt))
		kind = PLAIN_IP4;
	else if (lb_parse_plain6(env, &pkt))
		kind = PLAIN_IP6;
	else
		return;
	id = lb_vip_find(env, pkt.daddr, pkt.dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, id);
	if (!vip || !lb_plain_choose(env, &pkt, vip, id, &choice))
		return;
	kind |= choice.is_new ? PLAIN_NEW : 0;
	*ret_plain = (struct plain){.hash = choice.hash,
				    .first = LB_IP4_FIRST | (__u32)pkt.tos << 16 | pkt.ip_len,
				    .backend = choice.backend, .vip = id, .kind = kind};
}

/* 1: the frame is rewritten and counted, *ret is its fate. 0: another case, nothing is changed. */
static __always_inline int plain_send(struct lb_env *env, const struct plain *c,
				      struct lb_result *ret)
{
	const struct lb_choice choice = {.hash = c->hash, .backend = c->backend,
					 .is_new = !!(c->kind & PLAIN_NEW)};
	const struct lb_pkt pkt = {.family = c->kind & PLAIN_IP4 ? 4 : 6, .first = c->first,
				   .ip_len = c->first, .tos = c->first >> 16,
				   .l3_off = ETH_HLEN};
	const struct lb_vip *vip = lb_env_vip(env, c->vip);

	return vip && lb_plain_send(env, &pkt, vip, c->vip, &choice, ret);
}

#endif
