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

	if (!lb_parse_plain4(env, &pkt) ||
	    lb_plain_choose(env, &pkt, &vip, &vip_id, &choice) != 1)
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
	const struct lb_vip *vip = lb_env_vip(env, c->vip);

	return vip && lb_plain_send(env, &pkt, vip, c->vip, &choice, ret);
}

#endif
