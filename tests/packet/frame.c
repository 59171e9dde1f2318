// SPDX-License-Identifier: BSD-2-Clause
#include <assert.h>
#include <string.h>

#include "tests/packet/frame.h"

/* RFC 5737 and RFC 3849 addresses; locally administered MACs. */
#define HOST(m, a, b, c, d, tail)                                                                  \
	{                                                                                          \
		.mac = {0x02, 0x5c, 0x00, 0x11, 0x22, m}, .ip4 = {a, b, c, d}, .ip6 = {            \
			0x20, 0x01, 0x0d, 0xb8, 0, a, 0, b, 0, 0, 0, 0, 0, 0, tail, d              \
		}                                                                                  \
	}

const struct host_addresses hosts[HOSTS_N] = {
	[NODE1] = HOST(0x01, 198, 51, 100, 1, 0xa1),
	[NODE2] = HOST(0x02, 198, 51, 100, 2, 0xa1),
	[NODE3] = HOST(0x03, 198, 51, 100, 3, 0xa1),
	[NODE4] = HOST(0x04, 198, 51, 100, 4, 0xa1),
	[NODE5] = HOST(0x05, 198, 51, 100, 5, 0xa1),
	[NODE6] = HOST(0x06, 198, 51, 100, 6, 0xa1),
	[NODE7] = HOST(0x07, 198, 51, 100, 7, 0xa1),
	[NODE8] = HOST(0x08, 198, 51, 100, 8, 0xa1),
	[NODE9] = HOST(0x09, 198, 51, 100, 9, 0xa1),
	[CLIENT] = HOST(0x20, 203, 0, 113, 7, 0xc1),
	[CLIENT2] = HOST(0x21, 203, 0, 113, 8, 0xc2),
	[CLIENT3] = HOST(0x22, 203, 0, 113, 9, 0xc3),
	[ROUTER] = HOST(0x23, 192, 0, 2, 1, 0xd1),
	[LB] = HOST(0x24, 192, 0, 2, 2, 0xd2),
	[LB_FAR] = HOST(0x25, 192, 0, 2, 3, 0xd3),
	[VIP] = HOST(0x26, 192, 0, 2, 80, 0xe1),
	[VIP_B] = HOST(0x27, 192, 0, 2, 81, 0xe2),
	[STRANGER] = HOST(0x28, 203, 0, 113, 200, 0xf1),
};

int layers_count(const struct layer *layers)
{
	int n = 0;

	while (n < LAYERS_MAX && layers[n].kind != LAYER_END)
		n++;
	return n;
}

static uint32_t option_words(const struct layer *l)
{
	int words = l->kind == LAYER_TCP ? l->doff : l->ihl;

	if (l->options != AUTO)
		return l->options;
	return words > 5 ? words - 5 : 0;
}

static uint32_t layer_size(const struct layer *l)
{
	switch (l->kind) {
	case LAYER_ETH:
		return 14;
	case LAYER_VLAN:
		return 4;
	case LAYER_TCP:
		if (l->n)
			return l->n;
		return 20 + 4 * option_words(l);
	case LAYER_IP4:
		return 20 + 4 * option_words(l);
	case LAYER_IP6:
		return 40;
	case LAYER_EXT:
		return 8 + 8 * l->n;
	case LAYER_FRAG:
	case LAYER_UDP:
	case LAYER_ICMP4:
	case LAYER_ICMP6:
		return 8;
	case LAYER_DATA:
	case LAYER_PAD:
		return l->n;
	case LAYER_END:
		break;
	}
	return 0;
}

/* Bytes from this layer on, padding behind the IP packet left out. */
static uint32_t size_from(const struct layer *l)
{
	uint32_t n = 0;

	for (; l->kind != LAYER_END; l++)
		if (l->kind != LAYER_PAD)
			n += layer_size(l);
	return n;
}

static int ethertype_of(const struct layer *l)
{
	switch (l->kind) {
	case LAYER_VLAN:
		return l->tpid;
	case LAYER_IP4:
		return 0x0800;
	case LAYER_IP6:
		return 0x86dd;
	default:
		return 0x88b5; /* local experimental */
	}
}

static int ip_proto_of(const struct layer *l)
{
	switch (l->kind) {
	case LAYER_EXT:
		return l->proto;
	case LAYER_FRAG:
		return 44;
	case LAYER_TCP:
		return 6;
	case LAYER_UDP:
		return 17;
	case LAYER_ICMP4:
		return 1;
	case LAYER_ICMP6:
		return 58;
	case LAYER_IP4:
		return 4;
	case LAYER_IP6:
		return 41;
	default:
		return 253; /* RFC 3692: experiments */
	}
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

uint32_t checksum_add(uint32_t sum, const uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

uint16_t checksum_end(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static int pick(int given, int right)
{
	return given == AUTO ? right : given;
}

uint32_t layers_ip_len(const struct layer *layers)
{
	for (; layers->kind != LAYER_END; layers++) {
		if (layers->kind == LAYER_IP4)
			return pick(layers->len, size_from(layers));
		if (layers->kind == LAYER_IP6)
			return pick(layers->len, size_from(layers + 1)) + 40;
	}
	return 0;
}

/* Bits of the outer source that vary; the mask of NODE7 and NODE8 in world.c. */
static void vary_source(uint8_t *last_word, const struct layer *l, uint32_t hash)
{
	if (l->dst != NODE7 && l->dst != NODE8)
		return;
	last_word[2] |= hash >> 8;
	last_word[3] |= hash;
}

/* The destination of an IP layer. */
static void put_dst(uint8_t *p, const struct layer *l)
{
	uint32_t len = l->kind == LAYER_IP6 ? 16 : 4;

	memcpy(p, len == 16 ? hosts[l->dst].ip6 : hosts[l->dst].ip4, len);
	p[len - 2] ^= l->near >> 8;
	p[len - 1] ^= l->near;
}

static void put_ip4(uint8_t *p, const struct layer *l, uint32_t hash)
{
	put16(p, l->version << 12 | l->ihl << 8 | l->tos);
	put16(p + 2, pick(l->len, size_from(l)));
	put16(p + 4, l->id);
	put16(p + 6, l->frag);
	p[8] = l->ttl;
	p[9] = pick(l->proto, ip_proto_of(l + 1));
	memcpy(p + 12, hosts[l->src].ip4, 4);
	put_dst(p + 16, l);
	if (l->flow == FLOW_HASH)
		vary_source(p + 12, l, hash);
	memset(p + 20, 1, 4 * option_words(l));
	put16(p + 10, pick(l->check, checksum_end(checksum_add(0, p, 20 + 4 * option_words(l)))));
}

static void put_ip6(uint8_t *p, const struct layer *l, uint32_t hash)
{
	uint32_t label = l->flow == FLOW_HASH ? hash & 0xfffff : (uint32_t)l->flow;

	put32(p, (uint32_t)l->version << 28 | l->tos << 20 | label);
	put16(p + 4, pick(l->len, size_from(l + 1)));
	p[6] = pick(l->proto, ip_proto_of(l + 1));
	p[7] = l->ttl;
	memcpy(p + 8, hosts[l->src].ip6, 16);
	put_dst(p + 24, l);
	if (l->flow == FLOW_HASH)
		vary_source(p + 20, l, hash);
}

static void put_tcp(uint8_t *to, const struct layer *l)
{
	uint8_t p[60];

	put16(p, l->sport);
	put16(p + 2, l->dport);
	put32(p + 4, l->seq);
	put32(p + 8, l->ack);
	put16(p + 12, l->doff << 12 | l->flags);
	put16(p + 14, l->window);
	put16(p + 16, l->check);
	put16(p + 18, l->urgent);
	memset(p + 20, 1, 4 * option_words(l));
	memcpy(to, p, layer_size(l));
}

static void put_udp(uint8_t *p, const struct layer *l, uint32_t hash)
{
	put16(p, l->sport == FLOW_HASH ? 0xc000 | (hash & 0x3fff) : (uint32_t)l->sport);
	put16(p + 2, l->dport);
	put16(p + 4, pick(l->len, size_from(l)));
	put16(p + 6, l->check);
}

static void put_layer(uint8_t *p, const struct layer *l, uint32_t hash)
{
	switch (l->kind) {
	case LAYER_ETH:
		memcpy(p, hosts[l->dst].mac, 6);
		memcpy(p + 6, hosts[l->src].mac, 6);
		put16(p + 12, pick(l->proto, ethertype_of(l + 1)));
		break;
	case LAYER_VLAN:
		put16(p, l->tci);
		put16(p + 2, pick(l->proto, ethertype_of(l + 1)));
		break;
	case LAYER_IP4:
		put_ip4(p, l, hash);
		break;
	case LAYER_IP6:
		put_ip6(p, l, hash);
		break;
	case LAYER_EXT:
		p[0] = l->next ? l->next : ip_proto_of(l + 1);
		p[1] = pick(l->len, l->n);
		memset(p + 2, 1, layer_size(l) - 2);
		break;
	case LAYER_FRAG:
		put16(p, ip_proto_of(l + 1) << 8);
		put16(p + 2, l->frag);
		put32(p + 4, l->rest);
		break;
	case LAYER_TCP:
		put_tcp(p, l);
		break;
	case LAYER_UDP:
		put_udp(p, l, hash);
		break;
	case LAYER_ICMP4:
	case LAYER_ICMP6:
		p[0] = l->type;
		p[1] = l->code;
		put16(p + 2, l->check);
		put32(p + 4, l->rest);
		break;
	case LAYER_DATA:
		for (int i = 0; i < l->n; i++)
			p[i] = l->seed + i * 7;
		break;
	case LAYER_PAD:
		memset(p, 0xee, l->n);
		break;
	case LAYER_END:
		break;
	}
}

/* Pseudo header of RFC 9293 section 3.1 and RFC 8200 section 8.1; final: of a routing header. */
static uint32_t pseudo_sum(const struct layer *ip, int proto, uint32_t len)
{
	uint32_t sum = proto + len;
	int six = ip->kind == LAYER_IP6;
	uint8_t dst[16];

	put_dst(dst, ip);
	sum = checksum_add(sum, six ? hosts[ip->src].ip6 : hosts[ip->src].ip4, six ? 16 : 4);
	return checksum_add(sum, dst, six ? 16 : 4);
}

/* Where the transport checksum lies, or -1 when the layer has none to compute. */
static int check_offset(const struct layer *l)
{
	if (l->check != AUTO)
		return -1;
	switch (l->kind) {
	case LAYER_TCP:
		return l->n ? -1 : 16; /* a segment cut short has none worth computing */
	case LAYER_UDP:
		return 6;
	case LAYER_ICMP4:
	case LAYER_ICMP6:
		return 2;
	default:
		return -1;
	}
}

static void fill_check(uint8_t *p, const struct layer *l, const struct layer *ip)
{
	uint32_t len = size_from(l), sum = 0;
	int off = check_offset(l);

	if (off < 0)
		return;
	if (l->kind != LAYER_ICMP4 && ip)
		sum = pseudo_sum(ip, ip_proto_of(l), len);
	put16(p + off, 0);
	put16(p + off, checksum_end(checksum_add(sum, p, len)));
}

void frame_build(const struct layer *layers, uint32_t hash, struct frame *ret_frame)
{
	const struct layer *ip_of[LAYERS_MAX + 1], *ip = NULL;
	uint32_t at[LAYERS_MAX + 1], off = 0;
	int n = layers_count(layers);

	assert(n < LAYERS_MAX);
	memset(ret_frame, 0, sizeof(*ret_frame));
	for (int i = 0; i < n; i++) {
		at[i] = off;
		ip_of[i] = ip;
		off += layer_size(&layers[i]);
		assert(off <= FRAME_MAX);
		put_layer(ret_frame->b + at[i], &layers[i], hash);
		if (layers[i].kind == LAYER_IP4 || layers[i].kind == LAYER_IP6)
			ip = &layers[i];
	}
	ret_frame->len = off;
	for (int i = n - 1; i >= 0; i--)
		fill_check(ret_frame->b + at[i], &layers[i], ip_of[i]);
}
