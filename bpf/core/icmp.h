/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ICMP and ICMPv6 about a VIP: echo answered, errors sent to the flow they are about, "too big"
 * made when an outer header does not fit (RFC 792, 1191, 4443, 8201).
 */
#ifndef LB_CORE_ICMP_H
#define LB_CORE_ICMP_H

#include "bpf/core/reset.h"
#include "bpf/core/select.h"

/* RFC 792 and RFC 4443; <linux/icmp.h> would drag in <sys/socket.h>. */
#define LB_ICMP4_ECHO_REPLY	 0
#define LB_ICMP4_UNREACHABLE	 3
#define LB_ICMP4_FRAG_NEEDED	 4 /* code of UNREACHABLE */
#define LB_ICMP4_ECHO		 8
#define LB_ICMP4_TIME_EXCEEDED	 11
#define LB_ICMP4_PARAMETER	 12
#define LB_ICMP6_UNREACHABLE	 1
#define LB_ICMP6_TOO_BIG	 2
#define LB_ICMP6_PARAMETER	 4
#define LB_ICMP6_ECHO		 128
#define LB_ICMP6_ECHO_REPLY	 129

#define LB_ICMP_HDR   8	  /* bytes of both ICMP and ICMPv6 headers */
#define LB_QUOTE_MAX  128 /* bytes of the packet that is too big, quoted back */
#define LB_QUOTE_L4   8	  /* of them behind the IP header: ports and sequence number */

struct lb_icmp {
	__u8 type;
	__u8 code;
	__be16 check;
	__be32 rest; /* echo: id and sequence; too big: MTU */
};
LB_STATIC_SIZE(struct lb_icmp, LB_ICMP_HDR);

/* RFC 1624 equation 3. */
static __always_inline __be16 lb_csum_replace(__be16 check, __be16 from, __be16 to)
{
	__u32 sum = (__u16)~check + (__u32)(__u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline int lb_icmp_is_echo(__u8 family, __u8 type)
{
	return family == 4 ? type == LB_ICMP4_ECHO : type == LB_ICMP6_ECHO;
}

static __always_inline int lb_icmp_is_error(__u8 family, __u8 type)
{
	if (family == 4)
		return type == LB_ICMP4_UNREACHABLE || type == LB_ICMP4_TIME_EXCEEDED ||
		       type == LB_ICMP4_PARAMETER;
	return type >= LB_ICMP6_UNREACHABLE && type <= LB_ICMP6_PARAMETER;
}

/* --- echo ------------------------------------------------------------------------------------- */

static __always_inline void lb_turn_ip4(struct iphdr *ip)
{
	__be16 old = *(__be16 *)&ip->ttl;
	__be32 addr = ip->saddr;

	ip->saddr = ip->daddr;
	ip->daddr = addr;
	ip->ttl = LB_OUTER_TTL;
	ip->check = lb_csum_replace(ip->check, old, *(__be16 *)&ip->ttl);
}

static __always_inline void lb_turn_ip6(struct ipv6hdr *ip, const struct lb_pkt *pkt)
{
	lb_copy16(ip->saddr.s6_addr32, pkt->daddr);
	lb_copy16(ip->daddr.s6_addr32, pkt->saddr);
	ip->hop_limit = LB_OUTER_TTL;
}

/* The request becomes its reply in place; addresses swapped leave the ICMPv6 sum as it is. */
static __always_inline enum lb_reason lb_icmp_echo(struct lb_env *env, const struct lb_pkt *pkt)
{
	struct lb_cursor c = lb_cursor_at(env, LB_BOUND(pkt->l4_off, LB_L4_MASK));
	struct lb_icmp *icmp = lb_take(&c, sizeof(*icmp));
	void *at;

	if (!icmp)
		return LB_R_TRUNCATED;
	if (!lb_may_reply(env))
		return LB_R_REPLY_LIMIT;
	/* Type and code are one word: 8,0 becomes 0,0; 128,0 becomes 129,0. */
	icmp->check = lb_csum_replace(icmp->check, lb_htons(pkt->family == 4 ? 0x0800 : 0x8000),
				      lb_htons(pkt->family == 4 ? 0x0000 : 0x8100));
	icmp->type = pkt->family == 4 ? LB_ICMP4_ECHO_REPLY : LB_ICMP6_ECHO_REPLY;
	c = lb_cursor_at(env, LB_BOUND(pkt->l3_off, LB_L3_MASK));
	if (pkt->family == 4) {
		at = lb_take(&c, sizeof(struct iphdr));
		if (!at)
			return LB_R_TRUNCATED;
		lb_turn_ip4(at);
	} else {
		at = lb_take(&c, sizeof(struct ipv6hdr));
		if (!at)
			return LB_R_TRUNCATED;
		lb_turn_ip6(at, pkt);
	}
	c = lb_cursor_at(env, 0);
	at = lb_take(&c, ETH_HLEN);
	if (!at)
		return LB_R_TRUNCATED;
	lb_swap_macs(at);
	return LB_R_PING;
}

/* --- errors ----------------------------------------------------------------------------------- */

#define LB_QUOTED_MASK 0x7fff /* bounds of what lies within a quoted packet */

/* Ports of the packet that an error quotes, as the answer to it has them. */
static __always_inline enum lb_reason lb_icmp_inner_ports(struct lb_cursor *c,
							  const struct lb_pkt *pkt,
							  struct lb_pkt *ret_flow)
{
	const __be16 *ports = lb_take(c, 4);

	if (!ports || ret_flow->l4_off + 4 > pkt->l3_off + pkt->ip_len)
		return LB_R_TRUNCATED;
	ret_flow->dport = ports[0];
	ret_flow->sport = ports[1];
	return LB_R_OK;
}

/*
 * The packet that an error quotes was sent on its way to a client (by a node, in the VIP's name) or
 * to a node (mode nat). ret_flow becomes what the answer to it looks like: addresses and ports the
 * other way round. Its offsets are those of the quoted headers in the frame.
 */
static __always_inline enum lb_reason lb_icmp_inner(struct lb_env *env, const struct lb_pkt *pkt,
						    struct lb_pkt *ret_flow)
{
	__u32 off = LB_BOUND(pkt->l4_off, LB_L4_MASK) + LB_ICMP_HDR, hlen;
	struct lb_cursor c = lb_cursor_at(env, off);

	ret_flow->family = pkt->family;
	ret_flow->l3_off = off;
	if (pkt->family == 4) {
		const struct iphdr *ip = lb_take(&c, sizeof(*ip));

		if (!ip)
			return LB_R_TRUNCATED;
		hlen = ip->ihl * 4;
		if (ip->version != 4 || hlen < sizeof(*ip) || ip->protocol != IPPROTO_TCP ||
		    (ip->frag_off & lb_htons(LB_IP4_MF_OR_OFFSET & 0x1fff)))
			return LB_R_ICMP_OTHER;
		lb_map_ip4(ret_flow->saddr, ip->daddr);
		lb_map_ip4(ret_flow->daddr, ip->saddr);
		if (!lb_take(&c, hlen - sizeof(*ip)))
			return LB_R_TRUNCATED;
		ret_flow->l4_off = off + hlen;
	} else {
		const struct ipv6hdr *ip = lb_take(&c, sizeof(*ip));

		if (!ip)
			return LB_R_TRUNCATED;
		if (ip->version != 6 || ip->nexthdr != IPPROTO_TCP)
			return LB_R_ICMP_OTHER;
		lb_copy16(ret_flow->saddr, ip->daddr.s6_addr32);
		lb_copy16(ret_flow->daddr, ip->saddr.s6_addr32);
		ret_flow->l4_off = off + sizeof(*ip);
	}
	return lb_icmp_inner_ports(&c, pkt, ret_flow);
}

/* Backend of a flow, found without leaving a trace: entry, else prev, else cur. */
static __always_inline enum lb_reason lb_select_peek(struct lb_env *env, const struct lb_pkt *flow,
						     const struct lb_vip *vip, __u32 vip_id,
						     struct lb_choice *ret)
{
	const struct lb_flow *entry;
	struct lb_flow_key key;
	struct lb_slot s;

	ret->hash = lb_pkt_hash(env, flow, vip->affinity);
	ret->slot_index = vip->slot_base + lb_hash_to_slot(ret->hash, vip->n_slots);
	ret->slot = lb_env_slot(env, ret->slot_index);
	ret->is_new = 0;
	if (!ret->slot)
		return LB_R_INTERNAL;
	s = lb_slot_read(ret->slot);
	ret->backend = lb_slot_default(s);
	if (!s.exc && !s.prev && !(vip->flags & LB_VIP_F_TRACK))
		return LB_R_OK;
	lb_flow_key_of(flow, vip_id, &key);
	entry = lb_env_flow(env, LB_FLOWS, &key);
	if (!entry)
		entry = lb_env_flow(env, LB_HALF_OPEN, &key);
	if (entry && lb_flow_is_valid(env, entry))
		ret->backend = entry->backend;
	return LB_R_OK;
}

/* --- too big ---------------------------------------------------------------------------------- */

/*
 * Sum of n bytes that begin at `off`, n a multiple of 4 and at most LB_QUOTE_MAX. Each word by a
 * cursor of its own: clang 14 else turns the end of the loop into arithmetic on pointers ("bitwise
 * operator ^= on pointer prohibited" on 6.18).
 */
static __always_inline enum lb_reason lb_quote_sum(struct lb_env *env, __u32 off, __u32 n,
						   __u64 *ret_sum)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < LB_QUOTE_MAX / 4 && i * 4 < n; i++) {
		struct lb_cursor c = lb_cursor_at(env, off + LB_BOUND(i * 4, LB_QUOTE_MAX - 1));
		const __be32 *w = lb_take(&c, 4);

		if (!w)
			return LB_R_TRUNCATED;
		sum += *w;
	}
	*ret_sum = sum;
	return LB_R_OK;
}

/* Bytes of the packet that are quoted: its headers, and what tells the flow. */
static __always_inline __u32 lb_quote_len(const struct lb_pkt *pkt)
{
	__u32 n = pkt->l4_off - pkt->l3_off + LB_QUOTE_L4;

	return n < LB_QUOTE_MAX ? n : LB_QUOTE_MAX;
}

static __always_inline void lb_put_too_big(struct lb_icmp *icmp, const struct lb_pkt *pkt,
					   __u32 mtu, __u32 quote, __u64 quote_sum)
{
	__u64 sum = quote_sum;

	icmp->type = pkt->family == 4 ? LB_ICMP4_UNREACHABLE : LB_ICMP6_TOO_BIG;
	icmp->code = pkt->family == 4 ? LB_ICMP4_FRAG_NEEDED : 0;
	icmp->check = 0;
	icmp->rest = lb_htonl(mtu);
	sum += (__u64)*(__be32 *)icmp + icmp->rest;
	if (pkt->family == 6)
		sum += lb_pseudo_sum(pkt->saddr, pkt->daddr, 6, IPPROTO_ICMPV6,
				     quote + LB_ICMP_HDR);
	icmp->check = ~lb_csum_fold((sum & 0xffffffff) + (sum >> 32));
}

/*
 * The packet becomes the ICMP error that says which size fits: mtu, of an IP packet without the
 * outer header. LB_R_TOO_BIG_SENT: the error is in the frame, to leave by the device it came from.
 */
static __always_inline enum lb_reason lb_icmp_too_big(struct lb_env *env, const struct lb_pkt *pkt,
						      __u32 mtu)
{
	__u32 iph = pkt->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	__u32 quote = lb_quote_len(pkt), l3 = LB_BOUND(pkt->l3_off, LB_L3_MASK);
	struct lb_tags tags = {};
	struct lb_cursor c;
	__u64 sum = 0;
	struct lb_words3 macs;
	__be16 *proto;
	void *at;

	if (!lb_may_reply(env))
		return LB_R_REPLY_LIMIT;
	c = lb_cursor_at(env, 0);
	at = lb_take(&c, 2 * ETH_ALEN);
	if (!at || lb_tags_read(env, l3, &tags) != LB_R_OK)
		return LB_R_TRUNCATED;
	lb_swap_macs(at);
	macs = *(struct lb_words3 *)at;
	if (lb_env_tail(env, (int)(l3 + quote) - (int)(env->end - env->data)) < 0 ||
	    lb_env_head(env, -(int)(iph + LB_ICMP_HDR)) < 0)
		return LB_R_HEADROOM;
	if (lb_quote_sum(env, l3 + iph + LB_ICMP_HDR, quote, &sum) != LB_R_OK)
		return LB_R_TRUNCATED;
	c = lb_cursor_at(env, 0);
	at = lb_take(&c, 2 * ETH_ALEN);
	if (!at || lb_tags_write(&c, l3, &tags) != LB_R_OK)
		return LB_R_TRUNCATED;
	*(struct lb_words3 *)at = macs;
	proto = lb_take(&c, sizeof(*proto));
	if (!proto)
		return LB_R_TRUNCATED;
	*proto = lb_eth_proto(pkt->family);
	if (pkt->family == 4) {
		at = lb_take(&c, sizeof(struct iphdr));
		if (!at)
			return LB_R_TRUNCATED;
		lb_put_reply_ip4(at, pkt->daddr[3], pkt->saddr[3], IPPROTO_ICMP,
				 sizeof(struct iphdr) + LB_ICMP_HDR + quote);
	} else {
		at = lb_take(&c, sizeof(struct ipv6hdr));
		if (!at)
			return LB_R_TRUNCATED;
		lb_put_reply_ip6(at, pkt->daddr, pkt->saddr, IPPROTO_ICMPV6, LB_ICMP_HDR + quote);
	}
	at = lb_take(&c, LB_ICMP_HDR);
	if (!at)
		return LB_R_TRUNCATED;
	lb_put_too_big(at, pkt, mtu, quote, sum);
	return LB_R_TOO_BIG_SENT;
}

#endif
