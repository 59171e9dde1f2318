/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frame -> struct lb_pkt: addresses, ports, where the headers lie.
 *
 * Every byte comes through lb_take(). A header that is short or lies about its length yields a
 * reason; pkt->family is set as soon as the destination address is known, so that the caller can
 * tell "for a VIP but unusable" from "none of our business".
 */
#ifndef LB_CORE_PARSE_H
#define LB_CORE_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include "bpf/core/env.h"
#include "maps/stats.h"

#define LB_VLAN_MAX 2	 /* tags followed */
#define LB_IP6_EXT_MAX 6 /* IPv6 extension headers followed */

#define LB_IP4_MF_OR_OFFSET 0x3fff /* host order: more fragments, or an offset */
#define LB_IP4_DF	    0x4000
#define LB_IP4_FIRST	    0x45000000 /* host order: version, five words; then TOS and length */
#define LB_IP6_FRAG_REST    0xfff9 /* host order: offset or M; neither: atomic (RFC 6946) */

#define LB_TCP_FIN 0x01
#define LB_TCP_SYN 0x02
#define LB_TCP_RST 0x04
#define LB_TCP_ACK 0x10

struct lb_pkt {
	union {
		__be32 saddr[4]; /* IPv4 as ::ffff:a.b.c.d */
		__u64 saddr64[2];
	};
	union {
		__be32 daddr[4];
		__u64 daddr64[2];
	};
	union {
		struct {
			__be16 sport;
			__be16 dport;
		};
		__u32 ports; /* both, as they stand in memory */
	};
	__u32 first;  /* IPv4: first word of a header without options for it, host order */
	__u16 l3_off; /* of the IP header from the start of the frame: 14, 18 or 22 */
	__u16 l4_off;
	__u16 ip_len; /* IP packet, header included; within the frame */
	__u8 family;  /* 4, 6; 0: destination not known */
	__u8 proto;
	__u8 tcp_flags;
	__u8 tos;
	__u8 ttl;
	__u8 df; /* may not be fragmented */
};

struct lb_cursor {
	void *pos;
	void *end;
};

struct lb_word {
	__be32 w;
} LB_UNALIGNED;

struct lb_words16 {
	__u64 w[2];
} LB_UNALIGNED;

struct lb_vlan_hdr {
	__be16 tci;
	__be16 proto;
};

struct lb_ip6_ext {
	__u8 next;
	__u8 len; /* in 8 bytes, the first 8 not counted */
	__be16 frag; /* of a fragment header */
	__be32 rest;
};

/* len: a constant, or bounded by 0x7ff. */
static __always_inline void *lb_take(struct lb_cursor *c, __u32 len)
{
	void *p = c->pos;

	if (!p)
		__builtin_unreachable(); /* spares the caller's check a branch for NULL */
	if (p + len > c->end)
		return NULL;
	c->pos = p + len;
	return p;
}

#define LB_L3_MASK 0x1f	  /* bounds of lb_pkt.l3_off */
#define LB_TAGS_MASK 0x0f	  /* bounds of the tags' length */
#define LB_L4_MASK 0x3fff /* bounds of lb_pkt.l4_off */

/* Cursor at the header that starts `off` bytes into the frame. */
static __always_inline struct lb_cursor lb_cursor_at(struct lb_env *env, __u32 off)
{
	return (struct lb_cursor){.pos = env->data + off, .end = env->end};
}

/* Plain loads instead of a 16-byte copy, which clang would turn into byte loads on the stack. */
static __always_inline void lb_copy16(__be32 *dst, const __be32 *src)
{
	dst[0] = src[0];
	dst[1] = src[1];
	dst[2] = src[2];
	dst[3] = src[3];
}

static __always_inline void lb_map_ip4(__be32 *dst, __be32 addr)
{
	dst[0] = 0;
	dst[1] = 0;
	dst[2] = lb_htonl(0xffff);
	dst[3] = addr;
}

/* -> ethertype behind at most LB_VLAN_MAX tags (802.1Q, 802.1ad); 0: truncated. */
static __always_inline __be16 lb_parse_link(struct lb_cursor *c, void *start, struct lb_pkt *pkt)
{
	const struct ethhdr *eth = lb_take(c, sizeof(*eth));
	__be16 proto;

	if (!eth)
		return 0;
	proto = eth->h_proto;
	LB_UNROLL
	for (int i = 0; i < LB_VLAN_MAX; i++) {
		const struct lb_vlan_hdr *tag;

		if (lb_likely(proto != lb_htons(ETH_P_8021Q) && proto != lb_htons(ETH_P_8021AD)))
			break;
		tag = lb_take(c, sizeof(*tag));
		if (!tag)
			return 0;
		proto = tag->proto;
	}
	pkt->l3_off = c->pos - start;
	return proto;
}

static __always_inline enum lb_reason lb_parse_ip4(struct lb_cursor *c, void *start,
						   struct lb_pkt *pkt)
{
	const struct iphdr *ip = lb_take(c, sizeof(*ip));
	__u32 hlen;

	if (!ip)
		return LB_R_TRUNCATED;
	if (lb_unlikely(ip->version != 4))
		return LB_R_NOT_VIP;
	lb_map_ip4(pkt->saddr, ip->saddr);
	lb_map_ip4(pkt->daddr, ip->daddr);
	pkt->family = 4;
	pkt->proto = ip->protocol;
	pkt->tos = ip->tos;
	pkt->ttl = ip->ttl;
	pkt->df = !!(ip->frag_off & lb_htons(LB_IP4_DF));
	pkt->ip_len = lb_ntohs(ip->tot_len);
	pkt->first = LB_IP4_FIRST | (__u32)ip->tos << 16 | pkt->ip_len;
	hlen = ip->ihl * 4;
	if (lb_unlikely(hlen < sizeof(*ip)))
		return LB_R_BAD_IHL;
	if (lb_unlikely(pkt->ip_len < hlen || pkt->l3_off + pkt->ip_len > c->end - start))
		return LB_R_BAD_LENGTH;
	if (lb_unlikely(ip->frag_off & lb_htons(LB_IP4_MF_OR_OFFSET)))
		return LB_R_FRAGMENT;
	/* bounded for 6.1, which does not take the bound of ihl over to the difference */
	if (lb_unlikely(hlen > sizeof(*ip)) && !lb_take(c, LB_BOUND(hlen - sizeof(*ip), 0x3f)))
		return LB_R_TRUNCATED;
	pkt->l4_off = pkt->l3_off + hlen;
	return LB_R_OK;
}

static __always_inline int lb_ip6_is_ext(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING ||
	       proto == IPPROTO_FRAGMENT || proto == IPPROTO_DSTOPTS;
}

/* Walk extension headers until an upper protocol; RFC 8200 section 4. */
static __always_inline enum lb_reason lb_parse_ip6_ext(struct lb_cursor *c, struct lb_pkt *pkt)
{
	for (int i = 0; i < LB_IP6_EXT_MAX; i++) {
		const struct lb_ip6_ext *ext = lb_take(c, sizeof(*ext));
		__u32 len;

		if (!ext)
			return LB_R_TRUNCATED;
		len = sizeof(*ext);
		if (pkt->proto == IPPROTO_FRAGMENT) {
			if (ext->frag & lb_htons(LB_IP6_FRAG_REST))
				return LB_R_FRAGMENT;
		} else {
			len += ext->len * 8;
			if (!lb_take(c, ext->len * 8))
				return LB_R_TRUNCATED;
		}
		pkt->proto = ext->next;
		pkt->l4_off += len;
		if (!lb_ip6_is_ext(pkt->proto))
			return LB_R_OK;
	}
	return LB_R_EXT_HEADERS;
}

static __always_inline enum lb_reason lb_parse_ip6(struct lb_cursor *c, void *start,
						   struct lb_pkt *pkt)
{
	const struct ipv6hdr *ip = lb_take(c, sizeof(*ip));
	__u32 len;

	if (!ip)
		return LB_R_TRUNCATED;
	if (lb_unlikely(ip->version != 6))
		return LB_R_NOT_VIP;
	lb_copy16(pkt->saddr, ip->saddr.s6_addr32);
	lb_copy16(pkt->daddr, ip->daddr.s6_addr32);
	pkt->family = 6;
	pkt->proto = ip->nexthdr;
	pkt->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	pkt->ttl = ip->hop_limit;
	pkt->df = 1;
	len = lb_ntohs(ip->payload_len) + sizeof(*ip);
	if (lb_unlikely(len > 0xffff || pkt->l3_off + len > c->end - start))
		return LB_R_BAD_LENGTH;
	pkt->ip_len = len;
	pkt->l4_off = pkt->l3_off + sizeof(*ip);
	if (lb_unlikely(lb_ip6_is_ext(pkt->proto)))
		return lb_parse_ip6_ext(c, pkt);
	return LB_R_OK;
}

/* The whole TCP header must lie within the IP packet; padding of the frame does not count. */
static __always_inline enum lb_reason lb_parse_tcp(struct lb_cursor *c, struct lb_pkt *pkt)
{
	const struct tcphdr *tcp = lb_take(c, sizeof(*tcp));
	__u32 room = pkt->l3_off + pkt->ip_len - pkt->l4_off;

	if (!tcp)
		return LB_R_TRUNCATED;
	if (lb_unlikely(tcp->doff < 5 || room < (__u32)tcp->doff * 4 ||
			pkt->l3_off + pkt->ip_len < pkt->l4_off))
		return LB_R_BAD_TCP;
	pkt->sport = tcp->source;
	pkt->dport = tcp->dest;
	pkt->tcp_flags = ((const __u8 *)tcp)[13];
	return LB_R_OK;
}

/*
 * The plain case: an untagged frame with a whole TCP segment over IPv4 without options, or IPv6
 * without extension headers, and hops left. Nearly every packet is; what it is made of is known to
 * the compiler from here on. 1: pkt is as lb_parse() would leave it. 0: ask lb_parse().
 */
static __always_inline int lb_parse_plain4(struct lb_env *env, struct lb_pkt *pkt)
{
	const __u8 *head = lb_env_front(env, ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr));
	const struct iphdr *ip;
	const struct tcphdr *tcp;
	__u32 offset;

	if (!head || *(const __be16 *)(head + 2 * ETH_ALEN) != lb_htons(ETH_P_IP))
		return 0;
	ip = (const void *)(head + ETH_HLEN);
	tcp = (const void *)(ip + 1);
	if (*(const __u8 *)ip != LB_IP4_FIRST >> 24 || ip->protocol != IPPROTO_TCP ||
	    ip->ttl <= 1 || ip->frag_off & lb_htons(LB_IP4_MF_OR_OFFSET))
		return 0;
	pkt->first = lb_ntohl(((const struct lb_word *)ip)->w);
	pkt->ip_len = pkt->first;
	offset = ((const __u8 *)tcp)[12] >> 4;
	if (offset < sizeof(*tcp) / 4 || sizeof(*ip) + 4 * offset > pkt->ip_len ||
	    (long)pkt->ip_len + ETH_HLEN > env->end - env->data)
		return 0;
	lb_map_ip4(pkt->saddr, ip->saddr);
	lb_map_ip4(pkt->daddr, ip->daddr);
	pkt->ports = *(const __be32 *)tcp;
	pkt->l3_off = ETH_HLEN;
	pkt->l4_off = ETH_HLEN + sizeof(*ip);
	pkt->family = 4;
	pkt->proto = IPPROTO_TCP;
	pkt->tcp_flags = ((const __u8 *)tcp)[13];
	pkt->tos = pkt->first >> 16;
	pkt->ttl = ip->ttl;
	pkt->df = !!(ip->frag_off & lb_htons(LB_IP4_DF));
	return 1;
}

static __always_inline int lb_parse_plain6(struct lb_env *env, struct lb_pkt *pkt)
{
	const __u8 *head = lb_env_front(env, ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct tcphdr));
	const struct lb_words16 *addr;
	const struct ipv6hdr *ip;
	const struct tcphdr *tcp;
	__u32 len, offset;

	if (!head || *(const __be16 *)(head + 2 * ETH_ALEN) != lb_htons(ETH_P_IPV6))
		return 0;
	ip = (const void *)(head + ETH_HLEN);
	addr = (const void *)&ip->saddr; /* source, then destination */
	tcp = (const void *)(ip + 1);
	if (*(const __u8 *)ip >> 4 != 6 || ip->nexthdr != IPPROTO_TCP || ip->hop_limit <= 1)
		return 0;
	len = lb_ntohs(ip->payload_len) + sizeof(*ip);
	offset = ((const __u8 *)tcp)[12] >> 4;
	if (offset < sizeof(*tcp) / 4 || sizeof(*ip) + 4 * offset > len || len > 0xffff ||
	    (long)len + ETH_HLEN > env->end - env->data)
		return 0;
	pkt->saddr64[0] = addr[0].w[0];
	pkt->saddr64[1] = addr[0].w[1];
	pkt->daddr64[0] = addr[1].w[0];
	pkt->daddr64[1] = addr[1].w[1];
	pkt->ports = *(const __be32 *)tcp;
	pkt->l3_off = ETH_HLEN;
	pkt->l4_off = ETH_HLEN + sizeof(*ip);
	pkt->ip_len = len;
	pkt->family = 6;
	pkt->proto = IPPROTO_TCP;
	pkt->tcp_flags = ((const __u8 *)tcp)[13];
	pkt->tos = lb_ntohs(*(const __be16 *)ip) >> 4;
	pkt->ttl = ip->hop_limit;
	pkt->df = 1;
	return 1;
}

/*
 * LB_R_OK: a TCP segment, every field of pkt is set. LB_R_NOT_TCP: another upper protocol, all but
 * ports and flags are set. LB_R_NOT_VIP: neither IPv4 nor IPv6, whatever the ethertype says.
 * Otherwise what is wrong with it.
 */
static __always_inline enum lb_reason lb_parse(struct lb_env *env, struct lb_pkt *pkt)
{
	struct lb_cursor c = {.pos = env->data, .end = env->end};
	enum lb_reason r;
	__be16 proto;

	pkt->family = 0;
	pkt->proto = 0;
	pkt->ip_len = 0;
	pkt->l3_off = ETH_HLEN;
	pkt->l4_off = 0;
	pkt->tos = 0;
	pkt->first = 0;
	pkt->ttl = 0;
	pkt->df = 0;
	pkt->tcp_flags = 0;
	pkt->sport = 0;
	pkt->dport = 0;
	proto = lb_parse_link(&c, env->data, pkt);
	if (lb_likely(proto == lb_htons(ETH_P_IP)))
		r = lb_parse_ip4(&c, env->data, pkt);
	else if (proto == lb_htons(ETH_P_IPV6))
		r = lb_parse_ip6(&c, env->data, pkt);
	else if (proto == lb_htons(ETH_P_8021Q) || proto == lb_htons(ETH_P_8021AD))
		return LB_R_VLAN_DEPTH;
	else
		return LB_R_NOT_VIP;
	if (lb_unlikely(r != LB_R_OK))
		return r;
	if (lb_unlikely(pkt->proto != IPPROTO_TCP))
		return LB_R_NOT_TCP;
	return lb_parse_tcp(&c, pkt);
}

#endif
