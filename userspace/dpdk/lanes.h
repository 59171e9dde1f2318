/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frames of a burst -> lanes: frame i's words at [i] of an array for each, so that frames are
 * looked at side by side, LANES_STEP at a time.
 */
#ifndef SLUICE_DPDK_LANES_H
#define SLUICE_DPDK_LANES_H

#include "userspace/dpdk/other.h"

#ifdef __AVX2__
#define LANES_STEP 8 /* frames looked at side by side: what a vector holds words of */
#else
#define LANES_STEP 4
#endif
#define LANES_BYTES (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr)) /* of each frame */

#define LANES(type, name) type name[WORKER_BURST] __attribute__((aligned(64)))

struct lanes {
	/* Words as they stand in the frame, by their offset as if it were plain IPv4. */
	LANES(__be32, w12); /* ethertype, version and header's length, TOS */
	LANES(__be32, w16); /* length of the packet, identification */
	LANES(__be32, w20); /* fragment, TTL, protocol */
	LANES(__be32, w24); /* checksum, half of the source */
	LANES(__be32, saddr);
	LANES(__be32, daddr);
	LANES(__u32, ports);
	LANES(__be32, w46); /* data offset, TCP flags, window */
	LANES(__u32, len);  /* of the frame */
	LANES(__u32, room); /* in front of it */
	LANES(__u8 *, at);  /* the frame */
	/* What is made of them. */
	LANES(__u32, first); /* lb_pkt.first */
	LANES(__u32, live);  /* ~0: a plain segment of IPv4, no SYN; 0: it may be another case */
	LANES(__u32, hash);
};

/* A word of each of LANES_STEP frames, to be calculated with; what compares two yields ~0 or 0. */
typedef __u32 lanes_v __attribute__((vector_size(4 * LANES_STEP), may_alias));
typedef __s32 lanes_s __attribute__((vector_size(4 * LANES_STEP), may_alias));

#define LANES_AT(lanes, i) (*(lanes_v *)&(lanes)[i])

static __always_inline __u32 lanes_word(const __u8 *at)
{
	return ((const struct lb_word *)at)->w;
}

/* Frames [i, i + LANES_STEP), of which some may be odd or too short for what is read. */
static inline void lanes_read_each(struct rte_mbuf **frames, size_t i, struct lanes *ret)
{
	static const __u8 nothing[LANES_BYTES];

	for (size_t end = i + LANES_STEP; i < end; i++) {
		const struct rte_mbuf *m = frames[i];
		const __u8 *at = ret->at[i] = rte_pktmbuf_mtod(m, __u8 *);

		if (other_is_odd(m) || m->data_len < sizeof(nothing))
			at = nothing;
		ret->w12[i] = lanes_word(at + 12);
		ret->w16[i] = lanes_word(at + 16);
		ret->w20[i] = lanes_word(at + 20);
		ret->w24[i] = lanes_word(at + 24);
		ret->saddr[i] = lanes_word(at + 26);
		ret->daddr[i] = lanes_word(at + 30);
		ret->ports[i] = lanes_word(at + 34);
		ret->w46[i] = lanes_word(at + 46);
		ret->len[i] = m->data_len;
		ret->room[i] = m->data_off;
	}
}

/* What no slot says whose flows have no entries, and which names their node. */
static const union lb_slot_word lanes_slot_said = {
	.s = {.cur = (__u16)~(LB_BACKENDS_MAX - 1), .prev = 0xffff, .exc = 0xffff}};

_Static_assert((LB_BACKENDS_MAX & (LB_BACKENDS_MAX - 1)) == 0, "its bits tell");

/*
 * What a processor has its own way for:
 *	lanes_read(frames, i, ret)	as lanes_read_each()
 *	lanes_swap(v)			lb_ntohl()
 *	lanes_none(v)			whether all are 0
 *	lanes_hash(l, n, key)		addresses, ports -> hash: lb_pkt_hash(), of frames [0, n)
 *	lanes_slots(l, i, slots, n, ret)	hash -> lb_slot.cur; whether all of them answer
 */
#ifdef __AVX2__
#include "userspace/dpdk/lanes_avx2.h"
#else
#include "userspace/dpdk/lanes_base.h"
#endif

/* Frames [i, i + LANES_STEP): words -> first, live: lb_parse_plain4(), and no SYN. */
static __always_inline void lanes_check(struct lanes *l, size_t i)
{
	const lanes_v w12 = LANES_AT(l->w12, i), w20 = LANES_AT(l->w20, i);
	const lanes_v w46 = LANES_AT(l->w46, i);
	const lanes_v first = lanes_swap(w12) << 16 | lanes_swap(LANES_AT(l->w16, i)) >> 16;
	const lanes_s ip_len = (lanes_s)(first & 0xffff), len = (lanes_s)LANES_AT(l->len, i);
	const lanes_s tcp_len = (lanes_s)(lanes_swap(w46) >> 26 & 0x3c);
	lanes_v wrong;
	lanes_s live;

	wrong = (w12 ^ lb_htonl(ETH_P_IP << 16 | LB_IP4_FIRST >> 16)) & lb_htonl(0xffffff00);
	wrong |= (w20 ^ lb_htonl(IPPROTO_TCP)) & lb_htonl((__u32)LB_IP4_MF_OR_OFFSET << 16 | 0xff);
	wrong |= w46 & lb_htonl(LB_TCP_SYN << 16);
	live = wrong == 0;
	live &= (w20 & lb_htonl(0xfe00)) != 0; /* TTL > 1 */
	live &= tcp_len > (int)sizeof(struct tcphdr) - 1;
	live &= ip_len - tcp_len > (int)sizeof(struct iphdr) - 1;
	live &= len - ip_len > ETH_HLEN - 1;
	LANES_AT(l->first, i) = first;
	LANES_AT(l->live, i) = (lanes_v)live;
}

/* Whether all n frames that are live are for the address and port of frame k. */
static inline int lanes_have_one_vip(const struct lanes *l, size_t n, size_t k)
{
	const __u32 daddr = l->daddr[k], ports = l->ports[k];
	lanes_v differ = {};

	for (size_t i = 0; i < n; i += LANES_STEP)
		differ |= LANES_AT(l->live, i) &
			  ((LANES_AT(l->daddr, i) ^ daddr) |
			   ((LANES_AT(l->ports, i) ^ ports) & lb_htonl(0xffff)));
	return lanes_none(differ);
}

#endif
