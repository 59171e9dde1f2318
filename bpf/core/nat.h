/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mode nat: client -> VIP becomes this host -> node, and the node's answer becomes VIP -> client
 * (RFC 2663 section 4.1.2, "twice NAT"). Every flow has an entry for each direction (maps/nat.h).
 *
 * Source ports are taken by adding the entry of the answers, which fails if the port is in use
 * towards that node: no CPU can take what another has. Of CPUs that get a tuple's SYN at the same
 * time one adds the flow, the others give their port back and follow it. Flags of a flow change
 * atomically, and who sets LB_NAT_F_GONE removes both entries.
 */
#ifndef LB_CORE_NAT_H
#define LB_CORE_NAT_H

#include "bpf/core/icmp.h"
#include "bpf/core/reset.h"
#include "bpf/core/select.h"
#include "maps/nat.h"

#define LB_NAT_TRIES 16 /* source ports tried for a new flow */

/* What a translated packet gets. Ports in network order. */
struct lb_nat_to {
	__be32 saddr[4];
	__be32 daddr[4];
	__be16 sport;
	__be16 dport;
};

static __always_inline __u16 lb_csum_apply(__u16 check, __u64 diff)
{
	__u64 sum = (__u16)~check + diff;

	return ~lb_csum_fold((sum & 0xffffffff) + (sum >> 32));
}

/* Written over what is there; each returns what a sum over the bytes changes by. */
static __always_inline __u64 lb_put_be16(__be16 *at, __be16 to)
{
	__u64 change = (__u64)(__u16)~*at + to;

	*at = to;
	return change;
}

static __always_inline __u64 lb_put_be32(__be32 *at, __be32 to)
{
	__u64 change = (__u64)(__u32)~*at + to;

	*at = to;
	return change;
}

static __always_inline __u64 lb_put_addrs4(struct iphdr *ip, const __be32 *saddr,
					   const __be32 *daddr)
{
	return lb_put_be32(&ip->saddr, saddr[3]) + lb_put_be32(&ip->daddr, daddr[3]);
}

static __always_inline __u64 lb_put_addrs6(struct ipv6hdr *ip, const __be32 *saddr,
					   const __be32 *daddr)
{
	__u64 sum = 0;

	LB_UNROLL
	for (int i = 0; i < 4; i++)
		sum += lb_put_be32(&ip->saddr.s6_addr32[i], saddr[i]) +
		       lb_put_be32(&ip->daddr.s6_addr32[i], daddr[i]);
	return sum;
}

/* *ret_addrs: what a sum over the addresses changes by. */
static __always_inline enum lb_reason lb_nat_ip(struct lb_env *env, const struct lb_pkt *pkt,
						const struct lb_nat_to *to, __u64 *ret_addrs)
{
	struct lb_cursor c = lb_cursor_at(env, LB_BOUND(pkt->l3_off, LB_L3_MASK));

	if (pkt->family == 4) {
		struct iphdr *ip = lb_take(&c, sizeof(*ip));

		if (!ip)
			return LB_R_TRUNCATED;
		*ret_addrs = lb_put_addrs4(ip, to->saddr, to->daddr);
		ip->check = lb_csum_apply(ip->check, *ret_addrs);
		lb_ttl_decrement(ip, 4);
	} else {
		struct ipv6hdr *ip = lb_take(&c, sizeof(*ip));

		if (!ip)
			return LB_R_TRUNCATED;
		*ret_addrs = lb_put_addrs6(ip, to->saddr, to->daddr);
		ip->hop_limit--;
	}
	return LB_R_OK;
}

/* RFC 1624 on the TCP checksum: pseudo header and ports. */
static __always_inline enum lb_reason lb_nat_tcp(struct lb_env *env, const struct lb_pkt *pkt,
						 const struct lb_nat_to *to, __u64 addrs)
{
	struct lb_cursor c = lb_cursor_at(env, LB_BOUND(pkt->l4_off, LB_L4_MASK));
	struct tcphdr *tcp = lb_take(&c, sizeof(*tcp));
	__u64 ports;

	if (!tcp)
		return LB_R_TRUNCATED;
	ports = lb_put_be16(&tcp->source, to->sport) + lb_put_be16(&tcp->dest, to->dport);
	tcp->check = lb_csum_apply(tcp->check, addrs + ports);
	return LB_R_OK;
}

/* Where a translated frame goes. */
struct lb_nat_way {
	__u32 ifindex;
	__u32 l3_off;	       /* 14, 18 or 22: of the IP header behind the tags */
	struct lb_words3 macs; /* destination, source */
	struct lb_tags tags;
};

static __always_inline enum lb_reason lb_nat_link(struct lb_env *env, const struct lb_pkt *pkt,
						  const struct lb_nat_way *way)
{
	int delta = (int)LB_BOUND(pkt->l3_off, LB_L3_MASK) - (int)way->l3_off;
	struct lb_words3 *at;
	struct lb_cursor c;
	__be16 *proto;

	if (delta && lb_env_head(env, delta) < 0)
		return LB_R_HEADROOM;
	c = lb_cursor_at(env, 0);
	at = lb_take(&c, sizeof(*at));
	if (!at)
		return LB_R_TRUNCATED;
	*at = way->macs;
	if (lb_tags_write(&c, way->l3_off, &way->tags) != LB_R_OK)
		return LB_R_TRUNCATED;
	proto = lb_take(&c, sizeof(*proto));
	if (!proto)
		return LB_R_TRUNCATED;
	*proto = lb_eth_proto(pkt->family);
	return LB_R_OK;
}

static __always_inline enum lb_reason lb_nat_rewrite(struct lb_env *env, const struct lb_pkt *pkt,
						     const struct lb_nat_to *to,
						     const struct lb_nat_way *way)
{
	enum lb_reason r;
	__u64 addrs = 0;

	if (pkt->ttl <= 1)
		return LB_R_TTL;
	r = lb_nat_ip(env, pkt, to, &addrs);
	if (r == LB_R_OK)
		r = lb_nat_tcp(env, pkt, to, addrs);
	if (r == LB_R_OK)
		r = lb_nat_link(env, pkt, way);
	return r;
}

/* --- entries ---------------------------------------------------------------------------------- */

static __always_inline int lb_is_addr(const __be32 *a, const __be32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline void lb_nat_key_of(const struct lb_backend *b, __be16 nat_port,
					  struct lb_nat_key *ret_key)
{
	lb_copy16(ret_key->node, b->addr);
	ret_key->node_port = b->port;
	ret_key->nat_port = nat_port;
}

static __always_inline __u8 lb_nat_flags_of(__u8 tcp_flags)
{
	if (tcp_flags & LB_TCP_RST)
		return LB_NAT_F_CLOSED;
	return tcp_flags & LB_TCP_FIN ? LB_NAT_F_CLOSING : 0;
}

typedef __u32 __attribute__((may_alias)) lb_nat_word_t;

/* Backend, generation, flags. */
static __always_inline lb_nat_word_t *lb_nat_word(struct lb_nat_flow *flow)
{
	return (lb_nat_word_t *)flow;
}

static __always_inline void lb_nat_uncount(struct lb_env *env, struct lb_nat_flow *flow)
{
	const __u32 counted = LB_WORD_OF(LB_NAT_F_COUNTED);

	if ((flow->flags & LB_NAT_F_COUNTED) && (LB_FETCH_AND(lb_nat_word(flow), ~counted) & counted))
		lb_flows_add(env, flow->backend, -1);
}

static __always_inline void lb_nat_touch(struct lb_env *env, struct lb_nat_flow *flow,
					 const struct lb_pkt *pkt, __u32 now)
{
	__u8 ended = lb_nat_flags_of(pkt->tcp_flags);

	if (ended) {
		LB_FETCH_OR(lb_nat_word(flow), LB_WORD_OF(ended));
		lb_nat_uncount(env, flow);
	}
	if ((flow->flags & LB_NAT_F_HALF) && !(pkt->tcp_flags & LB_TCP_SYN))
		LB_FETCH_AND(lb_nat_word(flow), ~LB_WORD_OF(LB_NAT_F_HALF));
	if (now - flow->seen > LB_SEEN_REFRESH)
		flow->seen = now;
}

static __always_inline int lb_nat_is_valid(struct lb_env *env, const struct lb_nat_flow *flow)
{
	const struct lb_backend *b = lb_env_backend(env, flow->backend);

	return b && (b->flags & LB_BACKEND_F_ALIVE) && b->generation == flow->generation;
}

/* The search for a source port. */
struct lb_nat_search {
	struct lb_env *env;
	struct lb_nat_key key;
	struct lb_nat_reply reply;
	__u32 hash;
	__u16 low;
	__u16 n;
	__u16 step;
	__u8 found;
};

/*
 * One port; 0 to go on. The first is the tuple's own: a client that uses its port again gets the one
 * again that the node may still hold in TIME_WAIT for it. From there in odd steps, so that the tries
 * of neighbouring flows do not collide, and others the next time, when the SYN is sent again.
 */
static long lb_nat_try_port(__u32 i, void *ctx)
{
	struct lb_nat_search *s = ctx;

	s->key.nat_port = lb_htons(s->low + (s->hash + i * (2 * s->step + 1)) % s->n);
	if (lb_env_nat_reply_add(s->env, &s->key, &s->reply) < 0)
		return 0;
	s->found = 1;
	return 1;
}

/* Take a source port towards b by adding the entry of the answers. 0: none was free. */
static __always_inline __be16 lb_nat_take_port(struct lb_env *env, const struct lb_backend *b,
					       struct lb_nat_search *s)
{
	const struct lb_control *ctl = lb_env_control(env);

	if (!ctl || !ctl->nat_port_low || ctl->nat_port_high < ctl->nat_port_low)
		return 0;
	s->env = env;
	s->found = 0;
	s->low = ctl->nat_port_low;
	s->n = ctl->nat_port_high - s->low + 1;
	lb_nat_key_of(b, 0, &s->key);
	lb_env_loop(env, LB_NAT_TRIES, lb_nat_try_port, s);
	return s->found ? s->key.nat_port : 0;
}

/*
 * Both entries go, so that what either end still sends is answered with a reset. By the node's
 * address as it is now: the id may be another node's since, and the entry found another client's.
 * Nothing happens if the flow changed since word was read of it, or is another CPU's to remove.
 */
static __always_inline void lb_nat_forget(struct lb_env *env, const struct lb_flow_key *key,
					  struct lb_nat_flow *flow, __u32 word)
{
	const __u32 gone = LB_WORD_OF(LB_NAT_F_GONE);
	const struct lb_backend *b = lb_env_backend(env, flow->backend);
	const struct lb_nat_reply *reply = NULL;
	struct lb_nat_key reply_key;

	if ((word & gone) || !LB_SWAP_IF(lb_nat_word(flow), word, word | gone))
		return;
	lb_nat_uncount(env, flow);
	if (b) {
		lb_nat_key_of(b, flow->nat_port, &reply_key);
		reply = lb_env_nat_reply(env, &reply_key);
	}
	if (reply && reply->client_port == key->sport && reply->vip == key->vip &&
	    lb_is_addr(reply->client, key->saddr))
		lb_env_nat_reply_delete(env, &reply_key);
	lb_env_nat_flow_delete(env, key);
}

/* --- from the client -------------------------------------------------------------------------- */

/* Answers leave by the device, with the tag and to the neighbour that the client's SYN came from. */
static __always_inline int lb_nat_way_back(struct lb_env *env, const struct lb_pkt *pkt,
					   struct lb_nat_reply *reply)
{
	struct lb_cursor c = lb_cursor_at(env, 0);
	const struct ethhdr *eth = lb_take(&c, sizeof(*eth));
	const struct lb_vlan_hdr *tag;

	if (!eth)
		return -1;
	lb_memcpy(reply->dmac, eth->h_source, ETH_ALEN);
	lb_memcpy(reply->smac, eth->h_dest, ETH_ALEN);
	reply->ifindex = lb_env_ifindex(env);
	if (pkt->l3_off == ETH_HLEN)
		return 0;
	tag = lb_take(&c, sizeof(*tag));
	if (!tag)
		return -1;
	reply->vlan = tag->tci;
	if (eth->h_proto != lb_htons(ETH_P_8021Q) || pkt->l3_off != ETH_HLEN + sizeof(*tag))
		reply->vlan = LB_NAT_VLAN_KEEP;
	return 0;
}

/*
 * Both entries of a new flow to ret->backend, or what another CPU has just added. Apart from
 * lb_nat_new(), so that what it needs of the stack is not needed beside what the choice does
 * (Linux 6.1 allows a chain of calls 512 bytes, each function rounded up to 32).
 */
static __always_inline enum lb_reason lb_nat_add(struct lb_env *env, const struct lb_pkt *pkt,
						 const struct lb_backend *b, __u32 vip_id,
						 const struct lb_flow_key *key, __u32 now,
						 struct lb_choice *choice, __be16 *ret_port)
{
	const struct lb_nat_flow *other;
	struct lb_nat_search search = {
		.reply = {.client_port = pkt->sport, .vip = vip_id, .seen = now},
	};
	struct lb_nat_flow flow = {
		.backend = choice->backend,
		.generation = b->generation,
		.flags = LB_NAT_F_HALF | LB_NAT_F_COUNTED,
		.seen = now,
	};

	lb_copy16(search.reply.client, pkt->saddr);
	search.hash = choice->hash;
	search.step = (choice->hash >> 20) + now;
	if (lb_nat_way_back(env, pkt, &search.reply) < 0)
		return LB_R_TRUNCATED;
	flow.nat_port = lb_nat_take_port(env, b, &search);
	if (!flow.nat_port) {
		lb_count_event(env, LB_EV_NAT_PORTS);
		return LB_R_NAT_FULL;
	}
	if (!lb_env_nat_flow_add(env, key, &flow)) {
		*ret_port = flow.nat_port;
		return LB_R_OK;
	}
	lb_env_nat_reply_delete(env, &search.key);
	other = lb_env_nat_flow(env, key);
	if (!other || (other->flags & LB_NAT_F_GONE)) {
		lb_count_event(env, LB_EV_OVERFLOW_FLOWS);
		return LB_R_NAT_FULL;
	}
	choice->is_new = 0;
	choice->backend = other->backend;
	*ret_port = other->nat_port;
	return LB_R_OK;
}

static __always_inline enum lb_reason lb_nat_new(struct lb_env *env, const struct lb_pkt *pkt,
						 const struct lb_vip *vip, __u32 vip_id,
						 const struct lb_flow_key *key, __u32 now,
						 struct lb_choice *ret, __be16 *ret_port)
{
	const struct lb_backend *b;
	enum lb_reason r;

	if (pkt->tcp_flags & (LB_TCP_FIN | LB_TCP_RST))
		return LB_R_BAD_FLAGS;
	ret->hash = lb_pkt_hash(env, pkt, vip->affinity);
	ret->slot = lb_env_slot(env, vip->slot_base + lb_hash_to_slot(ret->hash, vip->n_slots));
	if (!ret->slot)
		return LB_R_INTERNAL;
	ret->backend = lb_choose(env, vip, lb_slot_read(ret->slot), ret->hash);
	ret->is_new = 1;
	if (ret->backend == LB_BACKEND_LOCAL)
		return LB_R_OK;
	b = lb_env_backend(env, ret->backend);
	if (!b || !ret->backend)
		return LB_R_NO_BACKEND;
	if (!lb_may_add(env, now))
		return LB_R_NAT_FULL;
	r = lb_nat_add(env, pkt, b, vip_id, key, now, ret, ret_port);
	if (r != LB_R_OK || !ret->is_new)
		return r;
	lb_flows_add(env, ret->backend, 1);
	lb_load_add(vip, ret->hash, lb_env_load(env, ret->backend));
	lb_count_event(env, LB_EV_FLOW_ADDED);
	return LB_R_OK;
}

/* A SYN that begins another connection on a tuple whose entry belongs to an ended or dead one. */
static __always_inline int lb_nat_syn_replaces(struct lb_env *env, const struct lb_nat_flow *flow,
					       __u32 now)
{
	if (flow->flags & (LB_NAT_F_CLOSING | LB_NAT_F_CLOSED))
		return 1;
	if (!lb_nat_is_valid(env, flow))
		return 1;
	return (flow->flags & LB_NAT_F_HALF) &&
	       LB_AGE(now, LB_READ_ONCE(flow->seen)) >= LB_TICKS_FROM_MS(LB_HALF_OPEN_MS);
}

/* Flows that this host itself answers have no entry: whether pkt's would be one of them. */
static __always_inline int lb_nat_is_local(struct lb_env *env, const struct lb_pkt *pkt,
					   const struct lb_vip *vip)
{
	__u32 hash = lb_pkt_hash(env, pkt, vip->affinity);
	const struct lb_slot *slot =
		lb_env_slot(env, vip->slot_base + lb_hash_to_slot(hash, vip->n_slots));

	return slot && (slot->cur == LB_BACKEND_LOCAL || slot->prev == LB_BACKEND_LOCAL);
}

/*
 * LB_R_OK: ret->backend, *ret_port are where the segment goes. LB_R_RESET_SENT, LB_R_NAT_UNKNOWN:
 * to be answered with a reset.
 */
static __always_inline enum lb_reason lb_nat_select(struct lb_env *env, const struct lb_pkt *pkt,
						    const struct lb_vip *vip, __u32 vip_id,
						    struct lb_choice *ret, __be16 *ret_port)
{
	__u32 now = lb_env_ticks(env);
	struct lb_nat_flow *flow;
	struct lb_flow_key key;
	__u32 word;

	ret->is_new = 0;
	ret->hash = 0;
	lb_flow_key_of(pkt, vip_id, &key);
	flow = lb_env_nat_flow(env, &key);
	word = flow ? LB_READ_ONCE(*lb_nat_word(flow)) : 0;
	if (flow && lb_is_syn(pkt) && lb_nat_syn_replaces(env, flow, now)) {
		lb_nat_forget(env, &key, flow, word);
		flow = NULL;
	}
	if (!flow && lb_is_syn(pkt))
		return lb_nat_new(env, pkt, vip, vip_id, &key, now, ret, ret_port);
	if (!flow) {
		ret->backend = LB_BACKEND_LOCAL;
		return lb_nat_is_local(env, pkt, vip) ? LB_R_OK : LB_R_NAT_UNKNOWN;
	}
	if (!lb_nat_is_valid(env, flow)) {
		lb_count_event(env, LB_EV_FLOW_VOID);
		lb_nat_forget(env, &key, flow, word);
		return LB_R_RESET_SENT;
	}
	lb_nat_touch(env, flow, pkt, now);
	ret->backend = flow->backend;
	*ret_port = flow->nat_port;
	return LB_R_OK;
}

/*
 * Both MAC addresses as they stand in a link header. Each is read with the two bytes behind it as
 * one 8-byte word, as the agent writes it, so a next hop that changes is never seen half.
 */
static __always_inline void lb_macs_of(const struct lb_backend *b,
				       struct lb_words3 *to)
{
	__u64 dst = *(const volatile __u64 *)b->dmac;
	__u64 src = *(const volatile __u64 *)b->smac;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	to->w[0] = dst;
	to->w[1] = (dst >> 32 & 0xffff) | (src & 0xffff) << 16;
	to->w[2] = src >> 16;
#else
	to->w[0] = dst >> 32;
	to->w[1] = (dst >> 16 & 0xffff) << 16 | src >> 48;
	to->w[2] = src >> 16;
#endif
}

/* What a flow's packet pkt towards b gets, and where it goes. */
static __always_inline enum lb_reason lb_nat_node_way(struct lb_env *env,
						      const struct lb_pkt *pkt,
						      const struct lb_backend *b, __be16 nat_port,
						      struct lb_nat_to *ret_to,
						      struct lb_nat_way *ret_way)
{
	ret_way->ifindex = b->ifindex;
	lb_macs_of(b, &ret_way->macs);
	lb_copy16(ret_to->saddr, b->src);
	lb_copy16(ret_to->daddr, b->addr);
	ret_to->sport = nat_port;
	ret_to->dport = b->port;
	return lb_tags_towards(env, b, LB_BOUND(pkt->l3_off, LB_L3_MASK), &ret_way->tags,
			       &ret_way->l3_off);
}

/* Client -> VIP becomes this host -> node. */
static __always_inline enum lb_reason lb_nat_to_node(struct lb_env *env, const struct lb_pkt *pkt,
						     const struct lb_backend *b, __be16 nat_port)
{
	struct lb_nat_way way;
	struct lb_nat_to to;
	enum lb_reason r;

	if (b->family != pkt->family)
		return LB_R_NO_NEXTHOP;
	r = lb_nat_node_way(env, pkt, b, nat_port, &to, &way);
	return r == LB_R_OK ? lb_nat_rewrite(env, pkt, &to, &way) : r;
}

/* --- from the node ---------------------------------------------------------------------------- */

/* Entry of what the node sent in pkt, or of what a node would send to it; NULL: no flow of ours. */
static __always_inline struct lb_nat_reply *lb_nat_reply_find(struct lb_env *env,
							      const struct lb_pkt *pkt)
{
	struct lb_nat_key key = {.node_port = pkt->sport, .nat_port = pkt->dport};

	lb_copy16(key.node, pkt->saddr);
	return lb_env_nat_reply(env, &key);
}

/* What pkt, an answer of the entry's flow, gets, and where it goes. */
static __always_inline enum lb_reason lb_nat_client_way(struct lb_env *env,
							const struct lb_pkt *pkt,
							const struct lb_nat_reply *reply,
							const struct lb_vip *vip,
							struct lb_nat_to *ret_to,
							struct lb_nat_way *ret_way)
{
	int keep = reply->vlan == LB_NAT_VLAN_KEEP;

	lb_copy16(ret_to->saddr, vip->addr);
	lb_copy16(ret_to->daddr, reply->client);
	ret_to->sport = vip->port;
	ret_to->dport = reply->client_port;
	ret_way->ifindex = reply->ifindex;
	lb_memcpy(&ret_way->macs, reply->dmac, sizeof(ret_way->macs));
	return lb_tags_of(env, keep ? 0 : reply->vlan,
			  keep && reply->ifindex == lb_env_ifindex(env),
			  LB_BOUND(pkt->l3_off, LB_L3_MASK), &ret_way->tags, &ret_way->l3_off);
}

/*
 * A segment to an address that mode nat sends from. LB_R_NAT_REPLY: it is on its way to the
 * client, *ret_ifindex is where. LB_R_TOO_BIG: nothing was changed, *ret_mtu is what that device
 * takes. LB_R_NOT_VIP: no flow of ours, the kernel's.
 */
static __always_inline enum lb_reason lb_nat_reply(struct lb_env *env, const struct lb_pkt *pkt,
						   __u32 *ret_ifindex, __u32 *ret_mtu)
{
	struct lb_nat_reply *reply = lb_nat_reply_find(env, pkt);
	__u8 ended = lb_nat_flags_of(pkt->tcp_flags);
	const struct lb_vip *vip;
	struct lb_nat_way way;
	struct lb_nat_to to;
	enum lb_reason r;
	__u32 now;

	if (!reply)
		return LB_R_NOT_VIP;
	vip = lb_env_vip(env, reply->vip);
	if (!vip)
		return LB_R_INTERNAL;
	*ret_mtu = lb_env_mtu(env, reply->ifindex);
	if (*ret_mtu && pkt->ip_len > *ret_mtu)
		return LB_R_TOO_BIG;
	now = lb_env_ticks(env);
	if (ended)
		reply->flags |= ended;
	if (now - reply->seen > LB_SEEN_REFRESH)
		reply->seen = now;
	r = lb_nat_client_way(env, pkt, reply, vip, &to, &way);
	if (r == LB_R_OK)
		r = lb_nat_rewrite(env, pkt, &to, &way);
	*ret_ifindex = way.ifindex;
	return r == LB_R_OK ? LB_R_NAT_REPLY : r;
}

#endif
