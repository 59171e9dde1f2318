/* SPDX-License-Identifier: BSD-2-Clause */
/* What a frame says of itself, read without the core; its checksums. For fuzzers. */
#ifndef TESTS_FUZZ_FRAME_VIEW_H
#define TESTS_FUZZ_FRAME_VIEW_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/packet/frame.h"

#define REQUIRE(cond)                                                                              \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct view {
	const uint8_t *b;
	uint32_t len;
	uint32_t l3;   /* offset of the IP header */
	uint32_t tags; /* bytes of VLAN tags */
	int family;    /* 0: not IP, or its header is not whole */
	uint32_t hlen; /* IP header, IPv4 options included */
	uint32_t ip_len;
	uint8_t proto; /* behind extension headers */
	uint8_t tos;
	uint8_t ttl;
	uint32_t l4;
};

static inline uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static inline int view_is_extension(uint8_t proto)
{
	return proto == 0 || proto == 43 || proto == 44 || proto == 60;
}

static inline void view_ip4(struct view *v)
{
	const uint8_t *p = v->b + v->l3;

	v->family = 4;
	v->hlen = (p[0] & 15) * 4;
	v->ip_len = get16(p + 2);
	v->proto = p[9];
	v->tos = p[1];
	v->ttl = p[8];
	v->l4 = v->l3 + v->hlen;
}

static inline void view_ip6(struct view *v)
{
	const uint8_t *p = v->b + v->l3;

	v->family = 6;
	v->hlen = 40;
	v->ip_len = get16(p + 4) + 40;
	v->proto = p[6];
	v->tos = get16(p) >> 4;
	v->ttl = p[7];
	v->l4 = v->l3 + 40;
	while (view_is_extension(v->proto) && v->l4 + 8 <= v->len) {
		uint32_t n = v->proto == 44 ? 8 : 8 + 8 * v->b[v->l4 + 1];

		v->proto = v->b[v->l4];
		v->l4 += n;
	}
}

static inline struct view view_at(const uint8_t *b, uint32_t len, uint32_t l3, uint32_t type)
{
	struct view v = {.b = b, .len = len, .l3 = l3};

	if (type == 0x0800 && l3 + 20 <= len && b[l3] >> 4 == 4)
		view_ip4(&v);
	else if (type == 0x86dd && l3 + 40 <= len && b[l3] >> 4 == 6)
		view_ip6(&v);
	return v;
}

static inline struct view view_of(const struct frame *f)
{
	uint32_t l3 = 14, type = f->len >= 14 ? get16(f->b + 12) : 0;
	struct view v;

	while ((type == 0x8100 || type == 0x88a8) && l3 < 22 && l3 + 4 <= f->len) {
		type = get16(f->b + l3 + 2);
		l3 += 4;
	}
	v = view_at(f->b, f->len, l3, type);
	v.tags = l3 - 14;
	return v;
}

/*
 * What a checksum and all that it covers sum up to: 0 if it holds. Of a packet that was changed it
 * must be what it was: an error on the way must not be hidden, nor one be made.
 */
static inline uint32_t view_ip_sum(const struct view *v)
{
	uint32_t sum = v->family == 4 ? checksum_end(checksum_add(0, v->b + v->l3, v->hlen)) : 0;

	return sum == 0xffff ? 0 : sum; /* two ways to write zero */
}

/* Of TCP, UDP (other than 0), ICMP, ICMPv6; the packet must be whole. */
static inline uint32_t view_l4_sum(const struct view *v)
{
	uint32_t len = v->l3 + v->ip_len - v->l4, sum = 0;
	uint32_t at = v->family == 4 ? 12 : 8, n = v->family == 4 ? 8 : 32;

	REQUIRE(v->l4 <= v->l3 + v->ip_len && v->l3 + v->ip_len <= v->len);
	if (v->proto != 1)
		sum = checksum_add(v->proto + len, v->b + v->l3 + at, n);
	sum = checksum_end(checksum_add(sum, v->b + v->l4, len));
	return sum == 0xffff ? 0 : sum;
}

#endif
