/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frames of a burst -> lanes: frame i's words at [i] of an array for each, so that all frames
 * are looked at side by side, as many at once as the processor's vectors hold.
 */
#ifndef SLUICE_DPDK_LANES_H
#define SLUICE_DPDK_LANES_H

#include "userspace/dpdk/other.h"

#define LANES_STEP  8 /* frames read at a time */
#define LANES_BYTES (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr)) /* of each frame */

#define LANES(type, name) type name[WORKER_BURST] __attribute__((aligned(64)))

struct lanes {
	/* Words as they stand in the frame, by their offset as if it were plain IPv4. */
	LANES(__be32, w12); /* ethertype, version and header's length, TOS */
	LANES(__be32, w16); /* length of the packet, identification */
	LANES(__be32, w20); /* fragment, TTL, protocol */
	LANES(__be32, saddr);
	LANES(__be32, daddr);
	LANES(__u32, ports);
	LANES(__be32, w46); /* data offset, TCP flags, window */
	LANES(__u32, len);  /* of the frame */
	/* What is made of them. */
	LANES(__u32, first); /* lb_pkt.first */
	LANES(__u32, live);  /* ~0: a plain segment of IPv4, no SYN; 0: it may be another case */
	LANES(__u32, hash);
};

static __always_inline __u32 lanes_word(const __u8 *at)
{
	return ((const struct lb_word *)at)->w;
}

/* Frames [i, i + LANES_STEP), of which some are odd or too short for what is read. */
static inline void lanes_read_each(struct rte_mbuf **frames, __u32 i, struct lanes *ret)
{
	static const __u8 nothing[LANES_BYTES];

	for (__u32 end = i + LANES_STEP; i < end; i++) {
		const struct rte_mbuf *m = frames[i];
		const __u8 *at = rte_pktmbuf_mtod(m, const __u8 *);

		if (other_is_odd(m) || m->data_len < sizeof(nothing))
			at = nothing;
		ret->w12[i] = lanes_word(at + 12);
		ret->w16[i] = lanes_word(at + 16);
		ret->w20[i] = lanes_word(at + 20);
		ret->saddr[i] = lanes_word(at + 26);
		ret->daddr[i] = lanes_word(at + 30);
		ret->ports[i] = lanes_word(at + 34);
		ret->w46[i] = lanes_word(at + 46);
		ret->len[i] = m->data_len;
	}
}

#ifdef __AVX2__
#include "userspace/dpdk/lanes_avx2.h"
#else
static inline void lanes_read(struct rte_mbuf **frames, __u32 i, struct lanes *ret)
{
	lanes_read_each(frames, i, ret);
}
#endif

enum lanes_live {
	LANES_NONE = 1,
	LANES_SOME,
	LANES_ALL,
};

/*
 * Words -> first, live: lb_parse_plain4() for all lanes, and no SYN. n: of lanes, a multiple of
 * LANES_STEP. Returns how it is with all of them.
 */
static inline enum lanes_live lanes_check(struct lanes *l, __u32 n)
{
	__u32 all = ~0u, any = 0;

	if (n % LANES_STEP)
		__builtin_unreachable();
	for (__u32 i = 0; i < n; i++) {
		__u32 first = lb_ntohl(l->w12[i]) << 16 | lb_ntohl(l->w16[i]) >> 16;
		int ip_len = first & 0xffff, tcp_len = lb_ntohl(l->w46[i]) >> 28 << 2;
		__u32 wrong, live;

		wrong = (l->w12[i] ^ lb_htonl(ETH_P_IP << 16 | LB_IP4_FIRST >> 16)) &
			lb_htonl(0xffffff00);
		wrong |= (l->w20[i] ^ lb_htonl(IPPROTO_TCP)) &
			 lb_htonl((__u32)LB_IP4_MF_OR_OFFSET << 16 | 0xff);
		wrong |= l->w46[i] & lb_htonl(LB_TCP_SYN << 16);
		live = wrong ? 0 : ~0u;
		live &= l->w20[i] & lb_htonl(0xfe00) ? ~0u : 0; /* TTL > 1 */
		live &= tcp_len >= (int)sizeof(struct tcphdr) ? ~0u : 0;
		live &= ip_len >= tcp_len + (int)sizeof(struct iphdr) ? ~0u : 0;
		live &= (int)l->len[i] >= ip_len + ETH_HLEN ? ~0u : 0;
		l->first[i] = first;
		l->live[i] = live;
		all &= live;
		any |= live;
	}
	if (all)
		return LANES_ALL;
	return any ? LANES_SOME : LANES_NONE;
}

/* Whether all live lanes are for the address and port of lane k. */
static inline int lanes_have_one_vip(const struct lanes *l, __u32 n, __u32 k)
{
	__u32 daddr = l->daddr[k], ports = l->ports[k], differ = 0;

	if (n % LANES_STEP)
		__builtin_unreachable();
	for (__u32 i = 0; i < n; i++)
		differ |= l->live[i] & ((l->daddr[i] ^ daddr) |
					((l->ports[i] ^ ports) & lb_htonl(0xffff)));
	return !differ;
}

/* addresses, ports -> hash: lb_pkt_hash() for all lanes. */
static inline void lanes_hash(struct lanes *l, __u32 n, const struct lb_hash_key *from)
{
	const struct lb_hash_key key = *from; /* so that what is written cannot change it */

	if (n % LANES_STEP)
		__builtin_unreachable();
	for (__u32 i = 0; i < n; i++)
		l->hash[i] = lb_hash_ip4(&key, l->saddr[i], l->daddr[i], l->ports[i]);
}

#endif
