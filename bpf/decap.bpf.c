// SPDX-License-Identifier: GPL-2.0-only
/*
 * XDP entry on a GPU node: tunnelled frame -> the packet a client sent, to the node's own kernel.
 *
 * Takes off IPv4/IPv6 in IPv4/IPv6 (RFC 2003, 2473, 4213) and GUE variant 1 on UDP port 6080.
 * Anything else, and anything that does not look right, passes to the kernel untouched.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define GUE_PORT	 6080
#define IP4_MF_OR_OFFSET 0x3fff

/* Counted apart, so that an operator sees which kind arrives: bpftool map dump name decap_stats. */
enum decap_count {
	DECAP_IP4 = 0,	/* inner IPv4 taken out */
	DECAP_IP6 = 1,	/* inner IPv6 taken out */
	DECAP_BAD = 2,	/* a tunnel header, but not one of ours: passed on */
	DECAP_N = 3,
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

/* GUE variant 1: the payload begins with the inner IP header, whose version is its first nibble. */
static __always_inline __u8 gue_inner(void *l4, void *end)
{
	struct udphdr *udp = l4;
	__u8 *inner = (void *)(udp + 1);

	if ((void *)(inner + 1) > end || udp->dest != bpf_htons(GUE_PORT))
		return 0;
	if (*inner >> 4 == 4)
		return IPPROTO_IPIP;
	return *inner >> 4 == 6 ? IPPROTO_IPV6 : 0;
}

/* Returns the inner protocol (IPPROTO_IPIP, IPPROTO_IPV6), 0 for none; *ret_len: outer header. */
static __always_inline __u8 outer_of(void *l4, void *end, __u8 proto, __u32 hlen, __u32 *ret_len)
{
	*ret_len = hlen;
	if (proto == IPPROTO_IPIP || proto == IPPROTO_IPV6)
		return proto;
	if (proto != IPPROTO_UDP)
		return 0;
	*ret_len = hlen + sizeof(struct udphdr);
	return gue_inner(l4, end);
}

static __always_inline __u8 parse_outer(struct ethhdr *eth, void *end, __u32 *ret_len)
{
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);

	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip + 1) > end || ip->ihl != 5 ||
		    ip->frag_off & bpf_htons(IP4_MF_OR_OFFSET))
			return 0;
		return outer_of(ip + 1, end, ip->protocol, sizeof(*ip), ret_len);
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end)
			return 0;
		return outer_of(ip6 + 1, end, ip6->nexthdr, sizeof(*ip6), ret_len);
	}
	return 0;
}

/* RFC 6040 section 4.2: congestion met in the tunnel must reach the inner header; decap_ecn(). */
static __always_inline int outer_is_ce(struct ethhdr *eth)
{
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip = (void *)(eth + 1);

	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return (ip->tos & 3) == 3;
	return (ip6->flow_lbl[0] >> 4 & 3) == 3;
}

static __always_inline void set_ce4(struct iphdr *ip)
{
	__u32 check = bpf_ntohs(ip->check);
	__u8 ecn = ip->tos & 3;

	if (!ecn || ecn == 3)
		return;
	/* RFC 1624 equation 3: the word grows by 3 - ecn, so its checksum falls by that. */
	check += 0xffff - (3 - ecn);
	check = (check & 0xffff) + (check >> 16);
	ip->check = bpf_htons(check);
	ip->tos |= 3;
}

static __always_inline void set_ce6(struct ipv6hdr *ip)
{
	if (ip->flow_lbl[0] & 0x30)
		ip->flow_lbl[0] |= 0x30;
}

static __always_inline int finish(struct xdp_md *ctx, const struct ethhdr *link, __u8 inner, int ce)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > end)
		return XDP_DROP;
	*eth = *link;
	eth->h_proto = bpf_htons(inner == IPPROTO_IPIP ? ETH_P_IP : ETH_P_IPV6);
	if (ce && inner == IPPROTO_IPIP)
		set_ce4(ip);
	if (ce && inner == IPPROTO_IPV6 && (void *)(ip6 + 1) <= end)
		set_ce6(ip6);
	count(inner == IPPROTO_IPIP ? DECAP_IP4 : DECAP_IP6);
	return XDP_PASS;
}

SEC("xdp")
int sluice_decap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data, link;
	__u32 len = 0;
	__u8 inner;
	int ce;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	inner = parse_outer(eth, end, &len);
	if (!inner)
		return XDP_PASS;
	/* The inner IPv4 header must be whole, or the kernel gets the frame as it came. */
	if ((void *)(eth + 1) + len + sizeof(struct iphdr) > end) {
		count(DECAP_BAD);
		return XDP_PASS;
	}
	link = *eth;
	ce = outer_is_ce(eth);
	if (bpf_xdp_adjust_head(ctx, (int)len))
		return XDP_PASS;
	return finish(ctx, &link, inner, ce);
}

char _license[] SEC("license") = "GPL";
