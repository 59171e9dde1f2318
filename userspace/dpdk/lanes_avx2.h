/* SPDX-License-Identifier: GPL-2.0-only */
/* Eight frames -> their lanes: rows of 16 bytes of each, turned by 90 degrees. */
#ifndef SLUICE_DPDK_LANES_AVX2_H
#define SLUICE_DPDK_LANES_AVX2_H

#include <immintrin.h>

/* Words 0 … 3 of eight rows. */
struct lanes_columns {
	__m256i w[4];
};

static __always_inline __m128i lanes_row(const void *at)
{
	return _mm_loadu_si128(at);
}

/* Bytes [offset, offset + 16) behind each pointer -> its words, of each row a lane. */
static __always_inline struct lanes_columns lanes_turn(const __u8 *const *at, __u32 offset)
{
	__m256i row[4], low[2], high[2];

	for (int i = 0; i < 4; i++)
		row[i] = _mm256_inserti128_si256(
			_mm256_castsi128_si256(lanes_row(at[i] + offset)),
			lanes_row(at[i + 4] + offset), 1);
	for (int i = 0; i < 2; i++) {
		low[i] = _mm256_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
		high[i] = _mm256_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
	}
	return (struct lanes_columns){{_mm256_unpacklo_epi64(low[0], low[1]),
				       _mm256_unpackhi_epi64(low[0], low[1]),
				       _mm256_unpacklo_epi64(high[0], high[1]),
				       _mm256_unpackhi_epi64(high[0], high[1])}};
}

static __always_inline void lanes_put(__u32 *lane, __m256i words)
{
	_mm256_store_si256((__m256i *)lane, words);
}

/* Bytes 16 … 31 of an mbuf that is not odd, if these are ored for several. */
static __always_inline int lanes_are_odd(__m128i ored)
{
	const __m128i said = _mm_set_epi64x(OTHER_ODD, 0x0000ffff00000000);
	const __m128i want = _mm_set_epi64x(0, 0x0000000100000000);

	_Static_assert(offsetof(struct rte_mbuf, nb_segs) == 20 &&
		       offsetof(struct rte_mbuf, ol_flags) == 24, "which bytes say it");
	ored = _mm_xor_si128(_mm_and_si128(ored, said), want);
	return !_mm_testz_si128(ored, ored);
}

static inline void lanes_read(struct rte_mbuf **frames, __u32 i, struct lanes *ret)
{
	__m128i ored = _mm_setzero_si128();
	const __u8 *mbuf[LANES_STEP], *at[LANES_STEP];
	struct lanes_columns c;
	__m256i len, is_short;

	_Static_assert(offsetof(struct rte_mbuf, data_len) == 40, "in the row at 32");
	for (int k = 0; k < LANES_STEP; k++) {
		mbuf[k] = (const void *)frames[i + k];
		at[k] = rte_pktmbuf_mtod(frames[i + k], const __u8 *);
		ored = _mm_or_si128(ored, lanes_row(mbuf[k] + 16));
	}
	c = lanes_turn(mbuf, 32);
	len = _mm256_and_si256(c.w[2], _mm256_set1_epi32(0xffff));
	is_short = _mm256_cmpgt_epi32(_mm256_set1_epi32(LANES_BYTES), len);
	if (unlikely(lanes_are_odd(ored) || _mm256_movemask_epi8(is_short))) {
		lanes_read_each(frames, i, ret);
		return;
	}
	lanes_put(&ret->len[i], len);
	c = lanes_turn(at, 12);
	lanes_put(&ret->w12[i], c.w[0]);
	lanes_put(&ret->w16[i], c.w[1]);
	lanes_put(&ret->w20[i], c.w[2]);
	c = lanes_turn(at, 26);
	lanes_put(&ret->saddr[i], c.w[0]);
	lanes_put(&ret->daddr[i], c.w[1]);
	lanes_put(&ret->ports[i], c.w[2]);
	c = lanes_turn(at, 38);
	lanes_put(&ret->w46[i], c.w[2]);
}

#endif
