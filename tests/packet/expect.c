// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <string.h>

#include "tests/packet/expect.h"
#include "tests/packet/world.h"

static int is_ip(const struct layer *l)
{
	return l->kind == LAYER_IP4 || l->kind == LAYER_IP6;
}

static const struct layer *find_ip(const struct layer *l)
{
	while (l->kind != LAYER_END && !is_ip(l))
		l++;
	assert(l->kind != LAYER_END);
	return l;
}

static const struct layer *find_tcp(const struct layer *l)
{
	while (l->kind != LAYER_END && l->kind != LAYER_TCP)
		l++;
	return l;
}

/* The 32-bit words of the hash's input, as a little-endian machine sees the packet's bytes. */
static uint32_t word_of(const uint8_t *p)
{
	return (uint32_t)p[3] << 24 | p[2] << 16 | p[1] << 8 | p[0];
}

static uint32_t ports_word(const struct layer *tcp, enum lb_affinity affinity)
{
	uint8_t b[4] = {tcp->sport >> 8, tcp->sport, tcp->dport >> 8, tcp->dport};

	if (affinity != LB_AFFINITY_SOURCE)
		return word_of(b);
	return b[3] << 8 | b[2];
}

uint32_t expect_hash(const struct lb_hash_key *key, const struct layer *in,
		     enum lb_affinity affinity)
{
	const struct layer *ip = find_ip(in), *tcp = find_tcp(in);
	uint32_t words[10], n = 0;
	uint64_t h = 0;

	if (tcp->kind == LAYER_END)
		return 0;
	if (ip->kind == LAYER_IP4) {
		words[n++] = word_of(hosts[ip->src].ip4);
		words[n++] = word_of(hosts[ip->dst].ip4);
	} else {
		for (int i = 0; i < 4; i++)
			words[n++] = word_of(hosts[ip->src].ip6 + 4 * i);
		for (int i = 0; i < 4; i++)
			words[n++] = word_of(hosts[ip->dst].ip6 + 4 * i);
	}
	words[n++] = ports_word(tcp, affinity);
	words[n++] = ip->kind == LAYER_IP4 ? 4 : 6;
	for (uint32_t i = 0; i < n; i += 2) {
		uint64_t a = (words[i] + (uint64_t)key->nh[i]) % (1ull << 32);
		uint64_t b = (words[i + 1] + (uint64_t)key->nh[i + 1]) % (1ull << 32);

		h += a * b;
	}
	h ^= key->finish;
	h = (h ^ h >> 32) * 0x9e3779b97f4a7c15ULL;
	h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9ULL;
	return h >> 32;
}

static void push(struct layer *out, int *n, struct layer l)
{
	assert(*n < LAYERS_MAX - 1);
	out[(*n)++] = l;
}

static void push_link(struct layer *out, int *n, const struct layer *in, enum host node)
{
	struct layer near = ETH(LB, node), far = ETH(LB_FAR, node);

	push(out, n, node_is_far(node) ? far : near);
	for (; in->kind == LAYER_ETH || in->kind == LAYER_VLAN; in++) {
		struct layer tag = *in;

		tag.proto = AUTO;
		if (in->kind == LAYER_VLAN && !node_is_far(node))
			push(out, n, tag);
	}
}

static void push_outer(struct layer *out, int *n, const struct layer *ip, enum lb_mode mode,
		       enum host node)
{
	struct layer outer4 = IP4(LB, node, .tos = ip->tos, .flow = FLOW_HASH);
	struct layer outer6 = IP6(LB, node, .tos = ip->tos, .flow = FLOW_HASH);
	struct layer udp = UDP(FLOW_HASH, gue_port_of(node), .check = 0);

	if (mode == LB_MODE_L2DSR)
		return;
	push(out, n, node_family(node) == 6 ? outer6 : outer4);
	if (mode == LB_MODE_GUE)
		push(out, n, udp);
}

/* The IP packet itself, one hop later. */
static void push_inner(struct layer *out, int *n, const struct layer *ip)
{
	struct layer first = *ip;

	first.ttl--;
	push(out, n, first);
	for (ip++; ip->kind != LAYER_END; ip++)
		push(out, n, *ip);
}

void expect_forwarded(const struct layer *in, enum lb_mode mode, enum host node, uint32_t hash,
		      struct frame *ret_frame)
{
	struct layer out[LAYERS_MAX] = {{0}};
	int n = 0;

	push_link(out, &n, in, node);
	push_outer(out, &n, find_ip(in), mode, node);
	push_inner(out, &n, find_ip(in));
	frame_build(out, hash, ret_frame);
}

void expect_decapped(const struct layer *in, enum host node, struct frame *ret_frame)
{
	struct layer out[LAYERS_MAX] = {{0}};
	int n = 0;

	push_link(out, &n, in, node);
	push_inner(out, &n, find_ip(in));
	frame_build(out, 0, ret_frame);
}

/* Bytes of TCP data in the segment, and one for each of SYN and FIN. */
static uint32_t segment_length(const struct layer *tcp)
{
	uint32_t n = !!(tcp->flags & TCP_SYN) + !!(tcp->flags & TCP_FIN);

	for (tcp++; tcp->kind != LAYER_END; tcp++)
		if (tcp->kind == LAYER_DATA)
			n += tcp->n;
	return n;
}

void expect_reset(const struct layer *in, struct frame *ret_frame)
{
	const struct layer *ip = find_ip(in), *tcp = find_tcp(in);
	struct layer rst = TCP(tcp->dport, tcp->sport, TCP_RST, .window = 0);
	struct layer ip4 = IP4(ip->dst, ip->src), ip6 = IP6(ip->dst, ip->src);
	struct layer out[LAYERS_MAX] = {{0}};
	int n = 0;

	for (; in->kind == LAYER_ETH || in->kind == LAYER_VLAN; in++) {
		struct layer l = *in;

		l.src = in->dst;
		l.dst = in->src;
		push(out, &n, l);
	}
	push(out, &n, ip->kind == LAYER_IP4 ? ip4 : ip6);
	rst.seq = tcp->flags & TCP_ACK ? tcp->ack : 0;
	rst.ack = tcp->flags & TCP_ACK ? 0 : tcp->seq + segment_length(tcp);
	if (!(tcp->flags & TCP_ACK))
		rst.flags |= TCP_ACK;
	push(out, &n, rst);
	frame_build(out, 0, ret_frame);
}
