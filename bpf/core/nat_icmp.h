/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mode nat: ICMP errors about a flow (RFC 5508 section 4). One from between this host and the node
 * quotes this host -> node and becomes one from the VIP that quotes client -> VIP; one from the
 * client's side quotes VIP -> client and becomes one from this host that quotes node -> this host.
 * So an error is translated as an answer on its flow would be, and what it quotes the other way.
 *
 * As errors of other modes they leave no trace: no entry is made, refreshed or closed by one.
 */
#ifndef LB_CORE_NAT_ICMP_H
#define LB_CORE_NAT_ICMP_H

#include "bpf/core/nat.h"

#define LB_TCP_CHECK 16 /* offset of the TCP checksum, which a quote need not reach */

/* Addresses of the quoted header. *ret_addrs: what a sum of the addresses alone changes by. */
static __always_inline enum lb_reason lb_nat_quoted_ip(struct lb_env *env, __u8 family, __u32 off,
						       const struct lb_nat_to *to, __u64 *ret_addrs,
						       __u64 *ret_sum)
{
	struct lb_cursor c = lb_cursor_at(env, off);

	if (family == 4) {
		struct iphdr *ip = lb_take(&c, sizeof(*ip));

		if (!ip)
			return LB_R_TRUNCATED;
		*ret_addrs = lb_put_addrs4(ip, to->daddr, to->saddr);
		*ret_sum = *ret_addrs +
			   lb_put_be16(&ip->check, lb_csum_apply(ip->check, *ret_addrs));
	} else {
		struct ipv6hdr *ip = lb_take(&c, sizeof(*ip));

		if (!ip)
			return LB_R_TRUNCATED;
		*ret_addrs = lb_put_addrs6(ip, to->daddr, to->saddr);
		*ret_sum = *ret_addrs;
	}
	return LB_R_OK;
}

/* Ports, and the checksum if it is quoted: whole: it lies within the error. */
static __always_inline enum lb_reason lb_nat_quoted_tcp(struct lb_env *env, __u32 off, int whole,
							const struct lb_nat_to *to, __u64 addrs,
							__u64 *sum)
{
	struct lb_cursor c = lb_cursor_at(env, off);
	__be16 *at = lb_take(&c, 4);
	__u64 ports;

	if (!at)
		return LB_R_TRUNCATED;
	ports = lb_put_be16(&at[0], to->dport) + lb_put_be16(&at[1], to->sport);
	*sum += ports;
	if (!whole)
		return LB_R_OK;
	c = lb_cursor_at(env, off + LB_TCP_CHECK);
	at = lb_take(&c, 2);
	if (!at)
		return LB_R_TRUNCATED;
	*sum += lb_put_be16(at, lb_csum_apply(*at, addrs + ports));
	return LB_R_OK;
}

/* pkt: the error. l3, l4: offsets of the quoted headers. to: what an answer on the flow gets. */
static __always_inline enum lb_reason lb_nat_rewrite_icmp(struct lb_env *env,
							  const struct lb_pkt *pkt, __u32 l3,
							  __u32 l4, const struct lb_nat_to *to,
							  const struct lb_nat_way *way)
{
	int whole = l4 + LB_TCP_CHECK + 2 <= pkt->l3_off + pkt->ip_len;
	__u64 addrs = 0, sum = 0;
	struct lb_icmp *icmp;
	struct lb_cursor c;
	enum lb_reason r;

	if (pkt->ttl <= 1)
		return LB_R_TTL;
	r = lb_nat_quoted_ip(env, pkt->family, LB_BOUND(l3, LB_L4_MASK), to, &addrs, &sum);
	if (r == LB_R_OK)
		r = lb_nat_quoted_tcp(env, LB_BOUND(l4, LB_QUOTED_MASK), whole, to, addrs, &sum);
	if (r != LB_R_OK)
		return r;
	r = lb_nat_ip(env, pkt, to, &addrs);
	if (r != LB_R_OK)
		return r;
	if (pkt->family == 6)
		sum += addrs; /* the pseudo header; ICMP has none */
	c = lb_cursor_at(env, LB_BOUND(pkt->l4_off, LB_L4_MASK));
	icmp = lb_take(&c, sizeof(*icmp));
	if (!icmp)
		return LB_R_TRUNCATED;
	icmp->check = lb_csum_apply(icmp->check, sum);
	return lb_nat_link(env, pkt, way);
}

/* Node and source port of the flow that a client's answer would belong to: LB_R_OK, or why not. */
static __always_inline enum lb_reason lb_nat_icmp_peek(struct lb_env *env,
						       const struct lb_pkt *flow,
						       const struct lb_vip *vip, __u32 vip_id,
						       struct lb_result *ret)
{
	const struct lb_nat_flow *entry;
	struct lb_flow_key key;

	lb_flow_key_of(flow, vip_id, &key);
	entry = lb_env_nat_flow(env, &key);
	if (!entry)
		return lb_nat_is_local(env, flow, vip) ? LB_R_LOCAL : LB_R_ICMP_OTHER;
	if (!lb_nat_is_valid(env, entry))
		return LB_R_ICMP_OTHER;
	ret->vip = vip_id;
	ret->backend = entry->backend;
	ret->nat_port = entry->nat_port;
	return LB_R_OK;
}

/* The error goes on to the node whose answer it quotes: LB_R_OK, or why not. */
static __always_inline enum lb_reason lb_nat_icmp_to_node(struct lb_env *env,
							  const struct lb_pkt *pkt,
							  const struct lb_pkt *flow,
							  const struct lb_backend *b,
							  __be16 nat_port)
{
	struct lb_nat_way way;
	struct lb_nat_to to;
	enum lb_reason r;

	if (b->family != pkt->family)
		return LB_R_NO_NEXTHOP;
	r = lb_nat_node_way(env, pkt, b, nat_port, &to, &way);
	if (r != LB_R_OK)
		return r;
	return lb_nat_rewrite_icmp(env, pkt, flow->l3_off, flow->l4_off, &to, &way);
}

/* … or to the client whose segment it quotes: LB_R_NAT_REPLY, or why not. */
static __always_inline enum lb_reason lb_nat_icmp_to_client(struct lb_env *env,
							    const struct lb_pkt *pkt,
							    const struct lb_pkt *flow,
							    __u32 *ret_ifindex)
{
	const struct lb_nat_reply *reply = lb_nat_reply_find(env, flow);
	const struct lb_vip *vip = reply ? lb_env_vip(env, reply->vip) : NULL;
	struct lb_nat_way way;
	struct lb_nat_to to;
	enum lb_reason r;

	if (!reply || !vip)
		return LB_R_ICMP_OTHER; /* removed since it was found */
	r = lb_nat_client_way(env, pkt, reply, vip, &to, &way);
	if (r == LB_R_OK)
		r = lb_nat_rewrite_icmp(env, pkt, flow->l3_off, flow->l4_off, &to, &way);
	*ret_ifindex = way.ifindex;
	return r == LB_R_OK ? LB_R_NAT_REPLY : r;
}

#endif
