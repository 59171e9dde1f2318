/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lb_forward_plain() (bpf/core/forward.h) in parts, so that a burst goes through each part as a
 * whole: the work on several frames then overlaps, where one frame's whole way is a chain of loads
 * and multiplications that each wait for the one before.
 *
 *	the many	plain_parse_many(), plain_choose_many(), plain_send_many()
 *	any segment	plain_choose(), plain_send()
 *
 * Of the many the compiler knows all that does not vary. Which way a frame takes makes no
 * difference to what becomes of it.
 *
 * A choice is good until a frame before it adds or removes an exception: the caller must choose
 * again after a frame that took another way.
 */
#ifndef SLUICE_DPDK_PLAIN_H
#define SLUICE_DPDK_PLAIN_H

#include "userspace/dpdk/env_dpdk.h"
#include "bpf/core/forward.h"

/* The shortest frame that is a plain segment of IPv4. */
#define PLAIN_BYTES (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr))

/* Bits of plain.kind. */
enum plain_kind {
	PLAIN_IP4 = 0x01,
	PLAIN_IP6 = 0x02,
	PLAIN_NEW = 0x04,  /* begins a flow */
	PLAIN_IPIP = 0x08, /* only with PLAIN_IP4: of a VIP of mode ipip */
	PLAIN_UNSURE = 0x10, /* parsed, but not chosen for */
	PLAIN_MANY = PLAIN_IP4 | PLAIN_IPIP | PLAIN_UNSURE,
};

/* What the second half needs to know. */
struct plain {
	union {
		__u64 sum;  /* of plain_parse_many(): what lb_pkt_hash_finish() wants */
		struct {
			__u32 hash;
			__u16 backend;
		};
	};
	struct plain_of {
		__u16 vip;
		__u16 kind; /* enum plain_kind; 0: no plain segment, or another case */
	} of;
	__u32 first; /* lb_pkt.first, of IPv6 too */
};

/* The VIP of the frame before: most bursts are for few. Not kept from one round to the next. */
struct plain_vip {
	__u64 key;
	const struct lb_vip *vip; /* NULL: there is none, or not one in use */
	struct plain_of of;
};

#define PLAIN_VIP_NONE (~0ULL) /* a key that no segment has */

/* Destination: address and port, with zeroes where the source port stands in lb_pkt.ports. */
static __always_inline __u64 plain_vip_key(const struct lb_pkt *pkt)
{
	return (__u64)(pkt->ports & lb_htonl(0xffff)) << 32 | pkt->daddr[3];
}

static __rte_noinline void plain_vip_find(struct lb_env *env, __u64 key, __be32 addr, __be16 port,
					  struct plain_vip *ret_vip)
{
	const struct lb_vip *vip;
	__be32 mapped[4];
	__u32 id, kind;

	lb_map_ip4(mapped, addr);
	id = lb_vip_find(env, mapped, port, IPPROTO_TCP, LB_VIP_KIND_SERVICE);
	vip = lb_env_vip(env, id);
	*ret_vip = (struct plain_vip){.key = PLAIN_VIP_NONE};
	if (!vip || !(vip->flags & LB_VIP_F_ACTIVE))
		return;
	kind = PLAIN_IP4 | PLAIN_UNSURE | (vip->mode == LB_MODE_IPIP ? PLAIN_IPIP : 0);
	*ret_vip = (struct plain_vip){.key = key, .vip = vip, .of = {id, kind}};
}

/*
 * A segment of IPv4 in a flow that lives. 1: *ret_plain is ready for plain_choose_many(). 0: it may
 * be another one, see plain_choose().
 */
static __always_inline int plain_parse_many(struct lb_env *env, struct plain_vip *last,
					    struct plain *ret_plain)
{
	struct lb_pkt pkt;
	__u64 key;

	if (lb_unlikely(!lb_parse_plain4(env, &pkt) || (pkt.tcp_flags & LB_TCP_SYN)))
		return 0;
	key = plain_vip_key(&pkt);
	if (lb_unlikely(key != last->key)) {
		plain_vip_find(env, key, pkt.daddr[3], pkt.dport, last);
		if (!last->vip)
			return 0;
	}
	ret_plain->sum = lb_pkt_hash_sum(env, &pkt, last->vip->affinity);
	ret_plain->of = last->of;
	ret_plain->first = pkt.first;
	return 1;
}

/* 1: its slot answers by itself, p says where it goes. 0: ask plain_choose(). */
static __always_inline int plain_choose_many(struct lb_env *env, struct plain *p)
{
	struct lb_choice choice;
	const struct lb_vip *vip;
	struct lb_slot s;

	if (lb_unlikely(!(p->of.kind & PLAIN_UNSURE)))
		return 1;
	if (p->of.vip >= LB_VIPS_MAX)
		__builtin_unreachable(); /* or it would not have been parsed */
	vip = lb_env_vip(env, p->of.vip);
	if (lb_slot_of_hash(env, vip, lb_pkt_hash_finish(env, p->sum), &choice) < 0)
		return 0;
	s = lb_slot_read(choice.slot);
	p->hash = choice.hash;
	p->backend = s.cur;
	return lb_slot_answers(s, vip);
}

/* Any plain segment: *ret_plain says where it goes, or that it is another case. */
static __always_inline void plain_choose(struct lb_env *env, struct plain *ret_plain)
{
	const struct lb_vip *vip;
	struct lb_choice choice;
	struct lb_pkt pkt;
	__u32 id, kind;

	ret_plain->of.kind = 0;
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
	*ret_plain = (struct plain){.hash = choice.hash, .of = {id, kind},
				    .first = LB_IP4_FIRST | (__u32)pkt.tos << 16 | pkt.ip_len,
				    .backend = choice.backend};
}

/* 1: the frame is rewritten and counted, *ret is its fate. 0: another case, nothing is changed. */
static __always_inline int plain_send(struct lb_env *env, const struct plain *c,
				      struct lb_result *ret)
{
	const struct lb_choice choice = {.hash = c->hash, .backend = c->backend,
					 .is_new = !!(c->of.kind & PLAIN_NEW)};
	const struct lb_pkt pkt = {.family = c->of.kind & PLAIN_IP4 ? 4 : 6, .first = c->first,
				   .ip_len = c->first, .tos = c->first >> 16,
				   .l3_off = ETH_HLEN};
	const struct lb_vip *vip = lb_env_vip(env, c->of.vip);

	return vip && lb_plain_send(env, &pkt, vip, c->of.vip, &choice, ret);
}

/* lb_backend_is_plain(), of a node of IPv4: both bytes compared at once. */
static __always_inline int plain_is_node4(const struct lb_backend *b)
{
	const struct lb_backend plain = {.family = 4, .flags = LB_BACKEND_F_NEXTHOP};
	const struct lb_backend said = {.family = 0xff,
					.flags = LB_BACKEND_F_NEXTHOP | LB_BACKEND_F_TAGGED};
	__u16 is, want, mask;

	_Static_assert(offsetof(struct lb_backend, flags) ==
		       offsetof(struct lb_backend, family) + 1, "compared as one");
	lb_memcpy(&is, &b->family, sizeof(is));
	lb_memcpy(&want, &plain.family, sizeof(want));
	lb_memcpy(&mask, &said.family, sizeof(mask));
	return (is & mask) == want;
}

/*
 * For one of the many, before anything is read of its frame: the node if it is one of IPv4 that
 * needs no tag. NULL: it may be another case, see plain_send().
 */
static __always_inline const struct lb_backend *plain_node_many(struct lb_env *env,
								const struct plain *c)
{
	const struct lb_backend *b = lb_env_backend(env, c->backend);

	return lb_likely(c->of.kind == PLAIN_MANY && b && plain_is_node4(b)) ? b : NULL;
}

/* plain_send() for one of the many; b: its node, of plain_node_many(). */
static __always_inline int plain_send_many(struct lb_env *env, const struct plain *c,
					   const struct lb_backend *b, struct lb_result *ret)
{
	const struct lb_choice choice = {.hash = c->hash, .backend = c->backend, .is_new = 0};
	const struct lb_pkt pkt = {.family = 4, .first = c->first, .ip_len = c->first,
				   .l3_off = ETH_HLEN};

	if (env->len < PLAIN_BYTES || c->of.vip >= LB_VIPS_MAX || c->backend >= LB_BACKENDS_MAX)
		__builtin_unreachable(); /* or it would not have been chosen for */
	return lb_forward_as(env, &pkt, lb_env_vip(env, c->of.vip), c->of.vip, LB_MODE_IPIP, 4, b,
			     &choice, ret);
}

#endif
