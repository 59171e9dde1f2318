// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the balancer is measured against: a program that does nothing, and programs that only parse
 * a TCP packet and put an outer header with constant addresses in front of it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int bench_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

static __always_inline void put_link(void *data, __be16 proto)
{
	*(__u32 *)data = 0x11005c02;
	*(__u32 *)(data + 4) = 0x5c020122;
	*(__u32 *)(data + 8) = 0x24221100;
	*(__be16 *)(data + 12) = proto;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

SEC("xdp")
int bench_encap4(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 len, w0, w1, w2, *out;

	if ((void *)(tcp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(0x3fff))
		return XDP_PASS;
	len = bpf_ntohs(ip->tot_len);
	if (data + sizeof(*eth) + sizeof(*ip) > end || len > end - data - sizeof(*eth) ||
	    tcp->dest != bpf_htons(443))
		return XDP_PASS;
	w0 = bpf_htonl(0x45000000 | (__u32)ip->tos << 16 | (len + 20));
	if (bpf_xdp_adjust_head(ctx, -20))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(*eth) + sizeof(*ip) > end)
		return XDP_DROP;
	put_link(data, bpf_htons(ETH_P_IP));
	out = data + sizeof(*eth);
	w1 = bpf_htonl(0x4000);
	w2 = bpf_htonl(64 << 24 | IPPROTO_IPIP << 16);
	out[0] = w0;
	out[1] = w1;
	out[2] = w2 | (__u32)fold((__u64)w0 + w1 + w2 + 0x020200c0 + 0x016433c6) << 16;
	out[3] = 0x020200c0;
	out[4] = 0x016433c6;
	return XDP_TX;
}

SEC("xdp")
int bench_encap6(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 len, w0, *out;

	if ((void *)(tcp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IPV6) ||
	    ip->nexthdr != IPPROTO_TCP)
		return XDP_PASS;
	len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	if (len > end - data - sizeof(*eth) || tcp->dest != bpf_htons(443))
		return XDP_PASS;
	w0 = bpf_htonl(0x60000000 | (tcp->source & 0xfffff));
	if (bpf_xdp_adjust_head(ctx, -40))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(*eth) + sizeof(*ip) > end)
		return XDP_DROP;
	put_link(data, bpf_htons(ETH_P_IPV6));
	out = data + sizeof(*eth);
	out[0] = w0;
	out[1] = bpf_htonl(len << 16 | IPPROTO_IPV6 << 8 | 64);
	out[2] = 0xb80d0120;
	out[3] = 0x00c00000;
	out[4] = 0;
	out[5] = 0x0202d200;
	out[6] = 0xb80d0120;
	out[7] = 0x00c60033;
	out[8] = 0;
	out[9] = 0x0101a100;
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
