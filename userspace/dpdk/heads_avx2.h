/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Eight plain frames of IPv4 on their way to nodes: link header, outer header, hop count, in words
 * of all eight, as lb_encap_as() (bpf/core/encap.h) has them of one; turned by 90 degrees they are
 * rows of 16 bytes of each.
 */
#ifndef SLUICE_DPDK_HEADS_AVX2_H
#define SLUICE_DPDK_HEADS_AVX2_H

#include "userspace/dpdk/lanes.h"

#define HEADS_ROWS 4 /* of 16 bytes, at most, in front of what stays of a frame */

/* What is known of eight nodes. */
struct heads_nodes {
	__m256i link[4]; /* rows from dmac on, as of lanes_rows() */
	lanes_v addr, src, mtu, vary, gue_port, ifindex, said;
};

/*
 * The first bytes of eight frames, in rows as of lanes_rows(). The second row begins in the place of
 * the first one's last two bytes.
 */
struct heads {
	__m256i row[HEADS_ROWS][4];
};

static __always_inline lanes_v heads_all(__u32 word)
{
	return word - (lanes_v){};
}

static __always_inline void heads_read_nodes(const struct lb_backend *nodes, const __u32 *ids,
					     struct heads_nodes *ret)
{
	__m256i at12[4], at28[4], at48[4];
	struct lanes_columns c;

	_Static_assert(offsetof(struct lb_backend, addr[3]) == 12 &&
		       offsetof(struct lb_backend, src[3]) == 28 &&
		       offsetof(struct lb_backend, dmac) == 32 &&
		       offsetof(struct lb_backend, mtu) == 38 &&
		       offsetof(struct lb_backend, smac) == 40 &&
		       offsetof(struct lb_backend, src_vary) == 48 &&
		       offsetof(struct lb_backend, gue_port) == 52 &&
		       offsetof(struct lb_backend, ifindex) == 56 &&
		       offsetof(struct lb_backend, family) == 60 &&
		       offsetof(struct lb_backend, flags) == 61, "which words say it");
	for (int k = 0; k < 4; k++) {
		const __u8 *a = (const __u8 *)&nodes[ids[k]], *b = (const __u8 *)&nodes[ids[k + 4]];

		at12[k] = lanes_rows(a + 12, b + 12);
		at28[k] = lanes_rows(a + 28, b + 28);
		at48[k] = lanes_rows(a + 48, b + 48);
		ret->link[k] = lanes_rows(a + 32, b + 32);
	}
	ret->addr = lanes_turn(at12).w[0];
	c = lanes_turn(at28);
	ret->src = c.w[0];
	ret->mtu = c.w[2] >> 16;
	c = lanes_turn(at48);
	ret->vary = c.w[0];
	ret->gue_port = c.w[1];
	ret->ifindex = c.w[2];
	ret->said = c.w[3];
}

/* The sum of both halves of each word; less than 65536 of the whole are less than a word. */
static __always_inline lanes_v heads_halves(lanes_v w)
{
	return (w & 0xffff) + (w >> 16);
}

/* lb_ttl_decrement(), of the word that begins with the TTL. */
static __always_inline lanes_v heads_ttl(lanes_v w)
{
	const __m256i most = (__m256i)heads_all(0xfffe0000);
	const lanes_v carry = (lanes_v)((lanes_v)_mm256_max_epu32((__m256i)w, most) == w);

	return w + 0xffff - (carry << 16);
}

/* A header's third word: TTL, protocol, and the checksum over all. */
static __always_inline lanes_v heads_third(__u8 proto, lanes_v w0, lanes_v src, lanes_v dst)
{
	const __u32 w1 = lb_htonl(LB_IP4_DF);
	const __u32 w2 = lb_htonl(LB_OUTER_TTL << 24 | (__u32)proto << 16);
	lanes_v sum = heads_halves(w0) + heads_halves(src) + heads_halves(dst) +
		      (w1 & 0xffff) + (w1 >> 16) + w2;

	sum = heads_halves(heads_halves(sum));
	return w2 | ~sum << 16;
}

/* lb_put_macs() and the ethertype, and two bytes of zero. */
static __always_inline void heads_link(__m256i ret[4], const struct heads_nodes *to)
{
	const __m256i order = _mm256_broadcastsi128_si256(
		_mm_set_epi8(-1, -1, -1, -1, 13, 12, 11, 10, 9, 8, 5, 4, 3, 2, 1, 0));
	const __m256i type = _mm256_broadcastsi128_si256(
		_mm_set_epi32(lb_htons(ETH_P_IP), 0, 0, 0));

	for (int k = 0; k < 4; k++)
		ret[k] = _mm256_or_si256(_mm256_shuffle_epi8(to->link[k], order), type);
}

/* Words of eight frames -> rows: what lanes_turn() undoes. */
static __always_inline void heads_turn(__m256i ret[4], lanes_v w0, lanes_v w1, lanes_v w2,
				       lanes_v w3)
{
	const __m256i low[2] = {_mm256_unpacklo_epi32((__m256i)w0, (__m256i)w1),
				_mm256_unpacklo_epi32((__m256i)w2, (__m256i)w3)};
	const __m256i high[2] = {_mm256_unpackhi_epi32((__m256i)w0, (__m256i)w1),
				 _mm256_unpackhi_epi32((__m256i)w2, (__m256i)w3)};

	ret[0] = _mm256_unpacklo_epi64(low[0], low[1]);
	ret[1] = _mm256_unpackhi_epi64(low[0], low[1]);
	ret[2] = _mm256_unpacklo_epi64(high[0], high[1]);
	ret[3] = _mm256_unpackhi_epi64(high[0], high[1]);
}

/* Returns how many rows there are. mode: a constant. */
static __always_inline int heads_make(const struct lanes *l, size_t i, __u8 mode,
				      const struct heads_nodes *to, struct heads *ret)
{
	const __u8 proto = mode == LB_MODE_GUE ? IPPROTO_UDP : IPPROTO_IPIP;
	const int outer = lb_outer_len(mode, 4);
	const lanes_v w12 = LANES_AT(l->w12, i), w16 = LANES_AT(l->w16, i);
	const lanes_v w20 = LANES_AT(l->w20, i), w24 = LANES_AT(l->w24, i);
	/* The frame's own header */
	const lanes_v in0 = w12 >> 16 | w16 << 16, in1 = w16 >> 16 | w20 << 16;
	const lanes_v in2 = heads_ttl(w20 >> 16 | w24 << 16), in3 = LANES_AT(l->saddr, i);
	const lanes_v first = LANES_AT(l->first, i), hash = LANES_AT(l->hash, i);
	lanes_v out0, src, ports, len;

	heads_link(ret->row[0], to);
	if (mode == LB_MODE_L2DSR) {
		heads_turn(ret->row[1], in0, in1, in2, in3);
		return 2;
	}
	out0 = lanes_swap(first + outer);
	src = to->src | (lanes_swap(hash) & to->vary);
	heads_turn(ret->row[1], out0, heads_all(lb_htonl(LB_IP4_DF)),
		   heads_third(proto, out0, src, to->addr), src);
	if (mode == LB_MODE_IPIP) {
		heads_turn(ret->row[2], to->addr, in0, in1, in2);
		return 3;
	}
	ports = lanes_swap(((hash & 0x3fff) | 0xc000) << 16) | to->gue_port << 16;
	len = lanes_swap(((first & 0xffff) + sizeof(struct udphdr)) << 16);
	heads_turn(ret->row[2], to->addr, ports, len, in0);
	heads_turn(ret->row[3], in1, in2, in3, LANES_AT(l->daddr, i));
	return 4;
}

/* Rows of frame k -> where it begins. */
static __always_inline void heads_put(__u8 *at, const struct heads *heads, int n, int k)
{
	for (int i = 0; i < n; i++) {
		const __m256i row = heads->row[i][k % 4];

		_mm_storeu_si128((void *)(at + (i ? 16 * i - 2 : 0)),
				 k < 4 ? _mm256_castsi256_si128(row)
				       : _mm256_extracti128_si256(row, 1));
	}
}

/* The mbuf's frame gets so many bytes in front, for which there is room. */
static __always_inline void heads_grow(struct rte_mbuf *m, __u16 outer)
{
	/* from byte 16 on: data_off, then the lower halves of pkt_len and of data_len */
	const __m256i by = _mm256_set_epi16(0, 0, 0, outer, 0, outer, 0, 0, /* behind 32 */
					    0, 0, 0, 0, 0, 0, 0, -outer);
	__m256i *row = (void *)((__u8 *)m + 16);

	_Static_assert(offsetof(struct rte_mbuf, data_off) == 16 &&
		       offsetof(struct rte_mbuf, pkt_len) == 36 &&
		       offsetof(struct rte_mbuf, data_len) == 40, "in the row at 16");
	_mm256_storeu_si256(row, _mm256_add_epi16(_mm256_loadu_si256(row), by));
}

/* Frames [i, i + LANES_STEP) -> as they leave. */
static __always_inline void heads_send(const struct lanes *l, size_t i, struct rte_mbuf **frames,
				       __u8 mode, const struct heads_nodes *to)
{
	const int outer = lb_outer_len(mode, 4);
	struct heads heads;
	int n = heads_make(l, i, mode, to, &heads);

	for (int k = 0; k < LANES_STEP; k++) {
		heads_put(l->at[i + k] - outer, &heads, n, k);
		if (outer)
			heads_grow(frames[i + k], outer);
	}
}

#endif
