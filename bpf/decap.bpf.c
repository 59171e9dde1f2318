// SPDX-License-Identifier: GPL-2.0-only
/*
 * XDP entry on a GPU node: tunnelled frame -> the packet a client sent, to the node's own kernel.
 *
 * Takes off IPv4/IPv6 in IPv4/IPv6 (RFC 2003, 2473, 4213) and GUE variant 1 on UDP port 6080 or
 * the ports that xdpattach --gue-port gives.
 * Anything else, and anything that does not look right, passes to the kernel untouched. Congestion
 * met in the tunnel is carried to the inner header; a packet that cannot carry it is dropped, for its
 * sender knows no other sign (RFC 6040 section 4.2).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define GUE_PORTS_MAX	 4
#define IP4_MF_OR_OFFSET 0x3fff
#define TAGS_MAX	 2 /* VLAN tags followed; they stay in front of what comes out */

/* Host order; 0: none. Set before the program is loaded. */
const volatile __u16 gue_ports[GUE_PORTS_MAX] = {6080};

/* Counted apart, so that an operator sees which kind arrives: bpftool map dump name decap_stats. */
enum decap_count {
	DECAP_IP4 = 0,	/* inner IPv4 taken out */
	DECAP_IP6 = 1,	/* inner IPv6 taken out */
	DECAP_BAD = 2,	/* a tunnel header, but not one of ours: passed on */
	DECAP_CE = 3,	/* congestion was met, and the inner packet knows no ECN: dropped */
	DECAP_N = 4,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DECAP_N);
	__type(key, __u32);
	__type(value, __u64);
} decap_stats SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&decap_stats, &what);

	if (n)
		*n += 1;
}

/* Where things are in a tunnelled frame; the front is kept, for it must move. */
struct tunnel {
	__be32 macs[3];
	__be32 tags[TAGS_MAX];
	__u32 l3;    /* offset of the outer IP header: 14, 18 or 22 */
	__u32 len;   /* of the outer header */
	__u8 inner;  /* 4 or 6 */
	__u8 is_ce;  /* congestion was met on the way; RFC 6040 */
};

/* -> ethertype behind at most TAGS_MAX tags; 0: truncated, or more of them. */
static __always_inline __be16 parse_link(void *data, void *end, struct tunnel *t)
{
	__be16 *proto = data + 2 * ETH_ALEN;

	if (data + sizeof(struct ethhdr) > end)
		return 0;
	t->macs[0] = ((__be32 *)data)[0];
	t->macs[1] = ((__be32 *)data)[1];
	t->macs[2] = ((__be32 *)data)[2];
	t->l3 = sizeof(struct ethhdr);
#pragma unroll
	for (int i = 0; i < TAGS_MAX; i++) {
		if (*proto != bpf_htons(ETH_P_8021Q) && *proto != bpf_htons(ETH_P_8021AD))
			return *proto;
		if (data + t->l3 + 4 > end)
			return 0;
		t->tags[i] = *(__be32 *)proto;
		t->l3 += 4;
		proto += 2;
	}
	return *proto == bpf_htons(ETH_P_IP) || *proto == bpf_htons(ETH_P_IPV6) ? *proto : 0;
}

static __always_inline int is_gue(__be16 port)
{
	__u16 p = bpf_ntohs(port);

#pragma unroll
	for (int i = 0; i < GUE_PORTS_MAX; i++)
		if (gue_ports[i] && p == gue_ports[i])
			return 1;
	return 0;
}

/* Bytes of the outer header up to the inner one, for what the outer IP header says is in it; or 0. */
static __always_inline __u32 outer_len(void *l4, void *end, __u8 proto, __u32 hlen)
{
	struct udphdr *udp = l4;

	if (proto == IPPROTO_IPIP || proto == IPPROTO_IPV6)
		return hlen;
	if (proto != IPPROTO_UDP || (void *)(udp + 1) > end || !is_gue(udp->dest))
		return 0;
	return hlen + sizeof(*udp);
}

/* *ret_proto: what the outer header says is in it. Sets len and is_ce; 0: not a tunnel of ours. */
static __always_inline int parse_outer(void *l3, void *end, __be16 type, struct tunnel *t,
				       __u8 *ret_proto)
{
	struct ipv6hdr *ip6 = l3;
	struct iphdr *ip = l3;

	if (type == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5 ||
		    ip->frag_off & bpf_htons(IP4_MF_OR_OFFSET))
			return 0;
		*ret_proto = ip->protocol;
		t->is_ce = (ip->tos & 3) == 3;
		t->len = outer_len(ip + 1, end, ip->protocol, sizeof(*ip));
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end || ip6->version != 6)
			return 0;
		*ret_proto = ip6->nexthdr;
		t->is_ce = (ip6->flow_lbl[0] >> 4 & 3) == 3;
		t->len = outer_len(ip6 + 1, end, ip6->nexthdr, sizeof(*ip6));
	} else {
		return 0;
	}
	return t->len != 0;
}

/* The inner header must be whole and of the version that was announced (GUE announces none). */
static __always_inline int parse_inner(void *inner, void *end, __u8 proto, struct tunnel *t)
{
	if (inner + sizeof(struct iphdr) > end)
		return 0;
	t->inner = *(__u8 *)inner >> 4;
	if (t->inner == 6)
		return proto != IPPROTO_IPIP && inner + sizeof(struct ipv6hdr) <= end;
	return t->inner == 4 && proto != IPPROTO_IPV6;
}

/* -1: the packet's sender knows no ECN. */
static __always_inline int set_ce4(struct iphdr *ip)
{
	__u32 check = bpf_ntohs(ip->check);
	__u8 ecn = ip->tos & 3;

	if (!ecn)
		return -1;
	if (ecn == 3)
		return 0;
	/* RFC 1624 equation 3: the word grows by 3 - ecn, so its checksum falls by that. */
	check += 0xffff - (3 - ecn);
	check = (check & 0xffff) + (check >> 16);
	ip->check = bpf_htons(check);
	ip->tos |= 3;
	return 0;
}

static __always_inline int set_ce6(struct ipv6hdr *ip)
{
	if (!(ip->flow_lbl[0] & 0x30))
		return -1;
	ip->flow_lbl[0] |= 0x30;
	return 0;
}

/* The frame's front anew, before the inner header. */
static __always_inline int put_front(void *data, void *end, const struct tunnel *t)
{
	__be32 *w = data;

	if (data + sizeof(struct ethhdr) + 4 * TAGS_MAX > end)
		return -1; /* never: an inner header follows */
	w[0] = t->macs[0];
	w[1] = t->macs[1];
	w[2] = t->macs[2];
	if (t->l3 >= sizeof(struct ethhdr) + 4)
		w[3] = t->tags[0];
	if (t->l3 >= sizeof(struct ethhdr) + 8)
		w[4] = t->tags[1];
	*(__be16 *)(data + ((t->l3 - 2) & 0x1f)) = bpf_htons(t->inner == 4 ? ETH_P_IP : ETH_P_IPV6);
	return 0;
}

static __always_inline int mark(void *l3, void *end, const struct tunnel *t)
{
	if (!t->is_ce)
		return 0;
	if (t->inner == 4 && l3 + sizeof(struct iphdr) <= end)
		return set_ce4(l3);
	if (t->inner == 6 && l3 + sizeof(struct ipv6hdr) <= end)
		return set_ce6(l3);
	return 0;
}

SEC("xdp")
int sluice_decap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tunnel t = {};
	__u8 proto = 0;
	__be16 type;

	type = parse_link(data, end, &t);
	if (!type || !parse_outer(data + t.l3, end, type, &t, &proto))
		return XDP_PASS;
	if (!parse_inner(data + t.l3 + t.len, end, proto, &t)) {
		count(DECAP_BAD);
		return XDP_PASS;
	}
	if (bpf_xdp_adjust_head(ctx, (int)t.len))
		return XDP_PASS;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (put_front(data, end, &t))
		return XDP_DROP;
	if (mark(data + t.l3, end, &t)) {
		count(DECAP_CE);
		return XDP_DROP;
	}
	count(t.inner == 4 ? DECAP_IP4 : DECAP_IP6);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
