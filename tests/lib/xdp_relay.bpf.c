/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The least that forwards: TCP for 10.77.0.0/24 or fd77::/64 -> the same frame with node1's MAC
 * address, out of the device it came in by (xdp_relay_tx) or out of eth1 (xdp_relay_redirect).
 * The testbed's self test uses it to see that frames sent by XDP arrive, fast and intact.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NODE1_NUMBER  101
#define SEGMENT_FRONT 1
#define SEGMENT_BACK  2
#define ETH1_IFINDEX  3 /* lo is 1, eth0 is 2 */

static __always_inline int is_for_vip(void *l3, void *end, __be16 proto)
{
	struct ipv6hdr *ip6 = l3;
	struct iphdr *ip4 = l3;

	if (proto == bpf_htons(ETH_P_IP))
		return (void *)(ip4 + 1) <= end && ip4->protocol == IPPROTO_TCP &&
		       (ip4->daddr & bpf_htonl(0xffffff00)) == bpf_htonl(0x0a4d0000);
	if (proto == bpf_htons(ETH_P_IPV6))
		return (void *)(ip6 + 1) <= end && ip6->nexthdr == IPPROTO_TCP &&
		       ip6->daddr.in6_u.u6_addr32[0] == bpf_htonl(0xfd770000) &&
		       ip6->daddr.in6_u.u6_addr32[1] == 0;
	return 0;
}

static __always_inline int relay(struct xdp_md *ctx, __u8 segment, int verdict)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u8 node1[ETH_ALEN] = {0x02, 0x77, 0, 0, segment, NODE1_NUMBER};

	if ((void *)(eth + 1) > end || !is_for_vip(eth + 1, end, eth->h_proto))
		return XDP_PASS;
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, node1, ETH_ALEN);
	return verdict;
}

SEC("xdp")
int xdp_relay_tx(struct xdp_md *ctx)
{
	return relay(ctx, SEGMENT_FRONT, XDP_TX);
}

SEC("xdp")
int xdp_relay_redirect(struct xdp_md *ctx)
{
	int verdict = relay(ctx, SEGMENT_BACK, XDP_REDIRECT);

	return verdict == XDP_REDIRECT ? bpf_redirect(ETH1_IFINDEX, 0) : verdict;
}

char _license[] SEC("license") = "GPL";
