/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packet -> packet on its way to a backend: link header, outer header, hop count.
 *
 * The inner hop count falls by one as in any forwarder, so that a node which sends VIP packets
 * back cannot make a loop that never ends.
 */
#ifndef LB_CORE_ENCAP_H
#define LB_CORE_ENCAP_H

#include <linux/udp.h>
#include <stddef.h>

#include "bpf/core/parse.h"
#include "maps/backend.h"
#include "maps/vip.h"

#define LB_OUTER_TTL 64

/*
 * Sum of fewer than 65536 32-bit words -> ones' complement sum of their halves (RFC 1071). After the
 * first step it is at most 0x10000fffe, after the second 0x1fffe: the third leaves no carry.
 */
static __always_inline __u16 lb_csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/*
 * RFC 1624: the TTL is the high byte of its word, so the checksum grows by 0x0100; it becomes 0, not
 * 0xffff. TTL, protocol and checksum are one word of memory, changed at once: a carry out of the
 * checksum, or one that would make it 0xffff, is added to it again. ttl > 0.
 */
static __always_inline void lb_ttl_decrement(void *l3, __u8 family)
{
	struct ipv6hdr *ip6 = l3;
	struct lb_word *at = l3 + offsetof(struct iphdr, ttl);
	__u64 w;

	if (family == 6) {
		ip6->hop_limit--;
		return;
	}
	w = at->w;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	at->w = w + 0xffff + ((w + 0x20000) >> 32 << 16);
#else
	at->w = (w & 0xffff0000) - 0x01000000 +
		(((w & 0xffff) + 0x100 + ((w & 0xffff) >= 0xfeff)) & 0xffff);
#endif
}

/* Outer source address: the configured one, with the bits that vary taken from the flow's hash. */
static __always_inline __be32 lb_outer_src(const struct lb_backend *b, __u32 hash)
{
	return b->src[3] | (lb_htonl(hash) & b->src_vary);
}

struct lb_words3 {
	__be32 w[3];
} LB_UNALIGNED;

struct lb_words5 {
	__be32 w[5];
} LB_UNALIGNED;

/* first: the header's first word, host order: LB_IP4_FIRST, TOS, length of the packet with it. */
static __always_inline void lb_put_ip4(void *at, const struct lb_backend *b, __u8 proto,
				       __u32 first, __u32 hash)
{
	struct lb_words5 *ip = at;
	__be32 w0 = lb_htonl(first);
	__be32 w1 = lb_htonl(LB_IP4_DF);
	__be32 w2 = lb_htonl(LB_OUTER_TTL << 24 | (__u32)proto << 16);
	__be32 src = lb_outer_src(b, hash), dst = b->addr[3];
	__u64 sum = (__u64)w0 + w1 + w2 + src + dst;

	ip->w[0] = w0;
	ip->w[1] = w1;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	ip->w[2] = w2 | (__u32)(__u16)~lb_csum_fold(sum) << 16;
#else
	ip->w[2] = w2 | (__u16)~lb_csum_fold(sum);
#endif
	ip->w[3] = src;
	ip->w[4] = dst;
}

static __always_inline void lb_put_ip6(void *at, const struct lb_backend *b, __u8 proto, __u8 tos,
				       __u32 payload, __u32 hash)
{
	struct ipv6hdr *ip = at;

	*(__be32 *)at = lb_htonl(0x60000000 | (__u32)tos << 20 | (hash & 0xfffff));
	ip->payload_len = lb_htons(payload);
	ip->nexthdr = proto;
	ip->hop_limit = LB_OUTER_TTL;
	lb_copy16(ip->saddr.s6_addr32, b->src);
	ip->saddr.s6_addr32[3] = lb_outer_src(b, hash);
	lb_copy16(ip->daddr.s6_addr32, b->addr);
}

/* Checksum 0: allowed for tunnels over IPv4, and over IPv6 by RFC 6935. */
static __always_inline void lb_put_udp(void *at, __be16 port, __u32 len, __u32 hash)
{
	struct udphdr *udp = at;

	udp->source = lb_htons(0xc000 | (hash & 0x3fff));
	udp->dest = port;
	udp->len = lb_htons(len);
	udp->check = 0;
}

struct lb_word8 {
	__u64 w;
} LB_UNALIGNED;

/*
 * Both MAC addresses of a link header, each copied with the two bytes behind it as one 8-byte word,
 * as the agent writes it: a next hop that changes is never seen half. The header's last two bytes,
 * the ethertype, are overwritten and must be set afterwards.
 */
static __always_inline void lb_put_macs(void *eth, const struct lb_backend *b)
{
	((struct lb_word8 *)eth)->w = *(const volatile __u64 *)b->dmac;
	((struct lb_word8 *)(eth + ETH_ALEN))->w = *(const volatile __u64 *)b->smac;
}

#define LB_OUTER_MAX (sizeof(struct ipv6hdr) + sizeof(struct udphdr))

/* Bytes the mode adds in front of the IP header. */
static __always_inline __u32 lb_outer_len(__u8 mode, __u8 family)
{
	__u32 ip = family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);

	if (mode == LB_MODE_IPIP)
		return ip;
	if (mode == LB_MODE_GUE)
		return ip + sizeof(struct udphdr);
	return 0;
}

/* family: of the backend. */
static __always_inline void lb_put_outer(void *at, const struct lb_pkt *pkt, __u8 mode,
					 const struct lb_backend *b, __u8 family, __u32 hash)
{
	__u8 proto = pkt->family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	__u32 payload = pkt->ip_len, first = pkt->first;

	if (pkt->family != 4)
		first = LB_IP4_FIRST | (__u32)pkt->tos << 16 | pkt->ip_len;
	if (mode == LB_MODE_GUE) {
		proto = IPPROTO_UDP;
		payload += sizeof(struct udphdr);
	}
	if (family == 4) {
		/* What fits the MTU does not carry into the TOS. */
		lb_put_ip4(at, b, proto, first + lb_outer_len(mode, 4), hash);
		at += sizeof(struct iphdr);
	} else {
		lb_put_ip6(at, b, proto, pkt->tos, payload, hash);
		at += sizeof(struct ipv6hdr);
	}
	if (mode == LB_MODE_GUE)
		lb_put_udp(at, b->gue_port, payload, hash);
}

/* As lb_put_outer(), at the cursor. mode and family: constants, so that the verifier knows the
 * length; told from a family read again, it took 40 bytes for a header of 20 to be possible (6.1).
 */
static __always_inline enum lb_reason lb_take_outer(struct lb_cursor *c, const struct lb_pkt *pkt,
						    __u8 mode, const struct lb_backend *b,
						    __u8 family, __u32 hash)
{
	void *at = lb_take(c, lb_outer_len(mode, family));

	if (!at)
		return LB_R_TRUNCATED;
	lb_put_outer(at, pkt, mode, b, family, hash);
	return LB_R_OK;
}

static __always_inline enum lb_reason lb_take_outer_any(struct lb_cursor *c,
							const struct lb_pkt *pkt, __u8 mode,
							const struct lb_backend *b, __u8 family,
							__u32 hash)
{
	if (mode == LB_MODE_GUE && family == 4)
		return lb_take_outer(c, pkt, LB_MODE_GUE, b, 4, hash);
	if (mode == LB_MODE_GUE)
		return lb_take_outer(c, pkt, LB_MODE_GUE, b, 6, hash);
	if (family == 4)
		return lb_take_outer(c, pkt, LB_MODE_IPIP, b, 4, hash);
	return lb_take_outer(c, pkt, LB_MODE_IPIP, b, 6, hash);
}

/* The tags behind the MAC addresses, which a change of the head moves. */
struct lb_tags {
	__be32 w[LB_VLAN_MAX];
};

static __always_inline enum lb_reason lb_tags_read(struct lb_env *env, __u32 l3_off,
						   struct lb_tags *ret_tags)
{
	struct lb_cursor c = lb_cursor_at(env, 2 * ETH_ALEN);

	for (__u32 i = 0; i < LB_VLAN_MAX && i * 4 + ETH_HLEN < l3_off; i++) {
		const struct lb_word *w = lb_take(&c, sizeof(*w));

		if (!w)
			return LB_R_TRUNCATED;
		ret_tags->w[i] = w->w;
	}
	return LB_R_OK;
}

static __always_inline enum lb_reason lb_tags_write(struct lb_cursor *c, __u32 l3_off,
						    const struct lb_tags *tags)
{
	for (__u32 i = 0; i < LB_VLAN_MAX && i * 4 + ETH_HLEN < l3_off; i++) {
		struct lb_word *w = lb_take(c, sizeof(*w));

		if (!w)
			return LB_R_TRUNCATED;
		w->w = tags->w[i];
	}
	return LB_R_OK;
}

static __always_inline __be16 lb_eth_proto(__u8 family)
{
	return family == 4 ? lb_htons(ETH_P_IP) : lb_htons(ETH_P_IPV6);
}

/* The front of the frame, made anew: MACs, tags, protocol, outer header. */
static __always_inline enum lb_reason lb_put_front(struct lb_env *env, const struct lb_pkt *pkt,
						   __u8 mode, const struct lb_backend *b,
						   __u8 family, __u32 hash, __u32 tags_end,
						   const struct lb_tags *tags)
{
	struct lb_cursor c = lb_cursor_at(env, 0);
	__u32 outer = lb_outer_len(mode, family);
	__be16 *proto;
	void *at;

	at = lb_take(&c, ETH_HLEN);
	if (!at)
		return LB_R_TRUNCATED;
	lb_put_macs(at, b);
	c = lb_cursor_at(env, 2 * ETH_ALEN);
	if (lb_tags_write(&c, tags_end, tags) != LB_R_OK)
		return LB_R_TRUNCATED;
	proto = lb_take(&c, sizeof(*proto));
	if (!proto)
		return LB_R_TRUNCATED;
	*proto = lb_eth_proto(outer ? family : pkt->family);
	return outer ? lb_take_outer_any(&c, pkt, mode, b, family, hash) : LB_R_OK;
}

/*
 * As lb_encap() below, for an untagged frame with hops left; mode and family (of the backend) are
 * constants where it is used, so that a packet meets no branch about either.
 */
static __always_inline enum lb_reason lb_encap_as(struct lb_env *env, const struct lb_pkt *pkt,
						  __u8 mode, __u8 family,
						  const struct lb_backend *b, __u32 hash)
{
	__u32 outer = lb_outer_len(mode, family);
	void *at = lb_env_front(env, ETH_HLEN + sizeof(struct iphdr));

	if (!at)
		return LB_R_TRUNCATED;
	lb_ttl_decrement(at + ETH_HLEN, pkt->family);
	if (outer && lb_env_head(env, -(int)outer) < 0)
		return LB_R_HEADROOM;
	at = lb_env_front(env, ETH_HLEN + outer);
	if (!at)
		return LB_R_TRUNCATED;
	lb_put_macs(at, b);
	*(__be16 *)(at + 2 * ETH_ALEN) = lb_eth_proto(outer ? family : pkt->family);
	if (outer)
		lb_put_outer(at + ETH_HLEN, pkt, mode, b, family, hash);
	return LB_R_OK;
}

/* Tags of a frame that leaves: one of 802.1Q, if vlan is not 0; else those it came with, or none. */
static __always_inline enum lb_reason lb_tags_of(struct lb_env *env, __be16 vlan, int keep,
						 __u32 l3_off, struct lb_tags *ret_tags,
						 __u32 *ret_l3_off)
{
	if (vlan) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		ret_tags->w[0] = (__u32)vlan << 16 | lb_htons(ETH_P_8021Q);
#else
		ret_tags->w[0] = (__u32)ETH_P_8021Q << 16 | vlan;
#endif
		*ret_l3_off = ETH_HLEN + sizeof(ret_tags->w[0]);
		return LB_R_OK;
	}
	*ret_l3_off = keep ? l3_off : ETH_HLEN;
	return lb_tags_read(env, *ret_l3_off, ret_tags);
}

/*
 * Tags of a frame towards b: that of the way to its next hop, if there is one. Otherwise they stay
 * when it leaves by the device it came from, and go when it leaves by another.
 */
static __always_inline enum lb_reason lb_tags_towards(struct lb_env *env,
						      const struct lb_backend *b, __u32 l3_off,
						      struct lb_tags *ret_tags, __u32 *ret_l3_off)
{
	return lb_tags_of(env, b->vlan, b->ifindex == lb_env_ifindex(env), l3_off, ret_tags,
			  ret_l3_off);
}

/*
 * Make the frame one that reaches backend b by mode (l2dsr, ipip, gue). l3_off: pkt->l3_off, as a
 * constant where the caller knows it.
 */
static __always_inline enum lb_reason lb_encap(struct lb_env *env, const struct lb_pkt *pkt,
					       __u8 mode, const struct lb_backend *b, __u32 hash,
					       __u32 l3_off)
{
	__u8 family = b->family;
	__u32 outer = lb_outer_len(mode, family);
	struct lb_cursor c = lb_cursor_at(env, l3_off);
	struct lb_tags tags = {};
	__u32 out_off = l3_off;
	int delta;
	void *l3;

	if (pkt->ttl <= 1)
		return LB_R_TTL;
	l3 = lb_take(&c, sizeof(struct iphdr));
	if (!l3)
		return LB_R_TRUNCATED;
	lb_ttl_decrement(l3, pkt->family);
	if (lb_tags_towards(env, b, l3_off, &tags, &out_off) != LB_R_OK)
		return LB_R_TRUNCATED;
	delta = (int)l3_off - (int)out_off - (int)outer;
	if (delta && lb_env_head(env, delta) < 0)
		return LB_R_HEADROOM;
	return lb_put_front(env, pkt, mode, b, family, hash, out_off, &tags);
}

#endif
