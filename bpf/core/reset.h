/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TCP segment -> the reset that answers it (RFC 9293 section 3.10.7.1), in the same frame: sent
 * to a client whose node is dead, so that it retries in a round trip instead of hanging.
 */
#ifndef LB_CORE_RESET_H
#define LB_CORE_RESET_H

#include "bpf/core/encap.h"
#include "bpf/core/flow.h"

static __always_inline int lb_may_reply(struct lb_env *env)
{
	const struct lb_control *ctl = lb_env_control(env);
	struct lb_limit *lim = lb_env_limit(env);

	return ctl && lim &&
	       lb_take_token(&lim->replies_tick, &lim->replies_left, ctl->replies_per_s,
			     lb_env_ticks(env));
}

static __always_inline void lb_swap_macs(void *at)
{
	struct lb_words3 *to = at;
	__u32 a = to->w[0], b = to->w[1], c = to->w[2];

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	to->w[0] = b >> 16 | c << 16;
	to->w[1] = c >> 16 | a << 16;
	to->w[2] = a >> 16 | b << 16;
#else
	to->w[0] = b << 16 | c >> 16;
	to->w[1] = c << 16 | a >> 16;
	to->w[2] = a << 16 | b >> 16;
#endif
}

/* IPv4 header without options, from `from` to `to`. */
static __always_inline void lb_put_reply_ip4(void *at, __be32 from, __be32 to, __u8 proto,
					     __u32 len)
{
	struct lb_backend b = {.src[3] = from, .addr[3] = to};

	lb_put_ip4(at, &b, proto, LB_IP4_FIRST | len, 0);
}

static __always_inline void lb_put_reply_ip6(void *at, const __be32 *from, const __be32 *to,
					     __u8 proto, __u32 payload)
{
	struct ipv6hdr *ip = at;

	*(__be32 *)at = lb_htonl(0x60000000);
	ip->payload_len = lb_htons(payload);
	ip->nexthdr = proto;
	ip->hop_limit = LB_OUTER_TTL;
	lb_copy16(ip->saddr.s6_addr32, from);
	lb_copy16(ip->daddr.s6_addr32, to);
}

/* Sum of the pseudo header of an upper protocol; RFC 9293 section 3.1, RFC 8200 section 8.1. */
static __always_inline __u64 lb_pseudo_sum(const __be32 *a, const __be32 *b, __u8 family,
					   __u8 proto, __u32 len)
{
	__u64 sum = (__u64)a[3] + b[3] + lb_htonl(len) + lb_htonl(proto);

	if (family == 6)
		sum += (__u64)a[0] + a[1] + a[2] + b[0] + b[1] + b[2];
	return sum;
}

struct lb_reset_numbers {
	__be32 seq;
	__be32 ack;
	__u8 flags;
};

/* The numbers a reset must carry to be accepted. */
static __always_inline struct lb_reset_numbers lb_reset_numbers_of(const struct tcphdr *tcp,
								   const struct lb_pkt *pkt)
{
	__u32 data = pkt->l3_off + pkt->ip_len - pkt->l4_off - tcp->doff * 4;
	struct lb_reset_numbers n = {.flags = LB_TCP_RST};

	if (pkt->tcp_flags & LB_TCP_ACK) {
		n.seq = tcp->ack_seq;
		return n;
	}
	data += !!(pkt->tcp_flags & LB_TCP_SYN) + !!(pkt->tcp_flags & LB_TCP_FIN);
	n.ack = lb_htonl(lb_ntohl(tcp->seq) + data);
	n.flags |= LB_TCP_ACK;
	return n;
}

static __always_inline void lb_put_reset(void *at, const struct lb_pkt *pkt,
					 struct lb_reset_numbers n)
{
	struct lb_words5 *tcp = at;
	__be32 w0 = (__u32)pkt->sport << 16 | pkt->dport; /* swapped, as they stand in memory */
	__be32 w3 = lb_htonl(0x50000000 | (__u32)n.flags << 16);
	__u64 sum = lb_pseudo_sum(pkt->saddr, pkt->daddr, pkt->family, IPPROTO_TCP, 20) + w0 +
		    n.seq + n.ack + w3;

	tcp->w[0] = w0;
	tcp->w[1] = n.seq;
	tcp->w[2] = n.ack;
	tcp->w[3] = w3;
	tcp->w[4] = (__u16)~lb_csum_fold((sum & 0xffffffff) + (sum >> 32));
}

/*
 * LB_R_RESET_SENT: the frame is now the reset, to leave by the device it came from.
 * LB_R_REPLY_LIMIT, LB_R_NO_BACKEND (it was a reset itself): drop it.
 */
static __always_inline enum lb_reason lb_reset(struct lb_env *env, const struct lb_pkt *pkt)
{
	__u32 l3 = pkt->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	struct lb_cursor c = lb_cursor_at(env, LB_BOUND(pkt->l4_off, LB_L4_MASK));
	const struct tcphdr *tcp = lb_take(&c, sizeof(*tcp));
	struct lb_reset_numbers n;
	void *at;

	if (!tcp)
		return LB_R_TRUNCATED;
	if (pkt->tcp_flags & LB_TCP_RST)
		return LB_R_NO_BACKEND;
	if (!lb_may_reply(env))
		return LB_R_REPLY_LIMIT;
	n = lb_reset_numbers_of(tcp, pkt);
	if (lb_env_tail(env, (int)(pkt->l3_off + l3 + sizeof(*tcp)) -
				     (int)(env->end - env->data)) < 0)
		return LB_R_HEADROOM;
	c = lb_cursor_at(env, 0);
	at = lb_take(&c, ETH_HLEN);
	if (!at || !lb_take(&c, LB_BOUND(pkt->l3_off - ETH_HLEN, LB_TAGS_MASK)))
		return LB_R_TRUNCATED;
	lb_swap_macs(at);
	if (pkt->family == 4) {
		at = lb_take(&c, sizeof(struct iphdr));
		if (!at)
			return LB_R_TRUNCATED;
		lb_put_reply_ip4(at, pkt->daddr[3], pkt->saddr[3], IPPROTO_TCP, 40);
	} else {
		at = lb_take(&c, sizeof(struct ipv6hdr));
		if (!at)
			return LB_R_TRUNCATED;
		lb_put_reply_ip6(at, pkt->daddr, pkt->saddr, IPPROTO_TCP, 20);
	}
	at = lb_take(&c, sizeof(*tcp));
	if (!at)
		return LB_R_TRUNCATED;
	lb_put_reset(at, pkt, n);
	return LB_R_RESET_SENT;
}

#endif
