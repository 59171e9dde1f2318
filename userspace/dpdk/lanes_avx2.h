/* SPDX-License-Identifier: GPL-2.0-only */
/* What lanes.h asks of a processor, of one with AVX2. */
#ifndef SLUICE_DPDK_LANES_AVX2_H
#define SLUICE_DPDK_LANES_AVX2_H

#include <immintrin.h>

/* Words 0 … 3 of eight rows. */
struct lanes_columns {
	lanes_v w[4];
};

static __always_inline __m128i lanes_row(const void *at)
{
	return _mm_loadu_si128(at);
}

/* A row of two frames side by side. */
static __always_inline __m256i lanes_rows(const void *low, const void *high)
{
	return _mm256_inserti128_si256(_mm256_castsi128_si256(lanes_row(low)), lanes_row(high), 1);
}

/* Rows (k, k + 4) of eight frames -> their words, of each frame a lane. */
static __always_inline struct lanes_columns lanes_turn(const __m256i *row)
{
	__m256i low[2], high[2];

	for (int i = 0; i < 2; i++) {
		low[i] = _mm256_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
		high[i] = _mm256_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
	}
	return (struct lanes_columns){{(lanes_v)_mm256_unpacklo_epi64(low[0], low[1]),
				       (lanes_v)_mm256_unpackhi_epi64(low[0], low[1]),
				       (lanes_v)_mm256_unpacklo_epi64(high[0], high[1]),
				       (lanes_v)_mm256_unpackhi_epi64(high[0], high[1])}};
}

static __always_inline int lanes_none(lanes_v v)
{
	return _mm256_testz_si256((__m256i)v, (__m256i)v);
}

static __always_inline __u32 lanes_sum(lanes_v v)
{
	__m128i sum = _mm_add_epi32(_mm256_castsi256_si128((__m256i)v),
				    _mm256_extracti128_si256((__m256i)v, 1));

	sum = _mm_add_epi32(sum, _mm_unpackhi_epi64(sum, sum));
	return _mm_cvtsi128_si32(sum) + _mm_extract_epi32(sum, 1);
}

/* Rows of 16 bytes, from byte 16 on, of mbufs that are not odd. */
static __always_inline int lanes_are_odd(const __m256i *row)
{
	const __m256i said = _mm256_broadcastsi128_si256(
		_mm_set_epi64x(OTHER_ODD, 0x0000ffff00000000));
	const __m256i want = _mm256_broadcastsi128_si256(_mm_set_epi64x(0, 0x0000000100000000));
	const __m256i ored = _mm256_or_si256(_mm256_or_si256(row[0], row[1]),
					     _mm256_or_si256(row[2], row[3]));

	_Static_assert(offsetof(struct rte_mbuf, nb_segs) == 20 &&
		       offsetof(struct rte_mbuf, ol_flags) == 24, "which bytes say it");
	return !lanes_none((lanes_v)_mm256_xor_si256(_mm256_and_si256(ored, said), want));
}

/* Rows of frames and of their mbufs, by the byte they begin with. */
struct lanes_rows {
	__m256i mbuf16[4], mbuf32[4], at12[4], at26[4], at38[4];
};

static __always_inline void lanes_load(struct rte_mbuf **frames, size_t i, struct lanes *ret,
				       struct lanes_rows *ret_rows)
{
	_Static_assert(offsetof(struct rte_mbuf, data_off) == 16 &&
		       offsetof(struct rte_mbuf, data_len) == 40, "in which rows they are");
	for (int k = 0; k < 4; k++) {
		const __u8 *m = (const __u8 *)frames[i + k], *n = (const __u8 *)frames[i + k + 4];
		__u8 *a = rte_pktmbuf_mtod(frames[i + k], __u8 *);
		__u8 *b = rte_pktmbuf_mtod(frames[i + k + 4], __u8 *);

		ret->at[i + k] = a;
		ret->at[i + k + 4] = b;
		ret_rows->mbuf16[k] = lanes_rows(m + 16, n + 16);
		ret_rows->mbuf32[k] = lanes_rows(m + 32, n + 32);
		ret_rows->at12[k] = lanes_rows(a + 12, b + 12);
		ret_rows->at26[k] = lanes_rows(a + 26, b + 26);
		ret_rows->at38[k] = lanes_rows(a + 38, b + 38);
	}
}

static __always_inline void lanes_read(struct rte_mbuf **frames, size_t i, struct lanes *ret)
{
	struct lanes_columns c;
	struct lanes_rows rows;
	lanes_v len, is_short;

	lanes_load(frames, i, ret, &rows);
	len = lanes_turn(rows.mbuf32).w[2] & 0xffff;
	is_short = (lanes_v)((lanes_s)len < (int)LANES_BYTES);
	if (unlikely(lanes_are_odd(rows.mbuf16) || !lanes_none(is_short))) {
		lanes_read_each(frames, i, ret);
		return;
	}
	LANES_AT(ret->len, i) = len;
	LANES_AT(ret->room, i) = lanes_turn(rows.mbuf16).w[0] & 0xffff;
	c = lanes_turn(rows.at12);
	LANES_AT(ret->w12, i) = c.w[0];
	LANES_AT(ret->w16, i) = c.w[1];
	LANES_AT(ret->w20, i) = c.w[2];
	LANES_AT(ret->w24, i) = c.w[3];
	c = lanes_turn(rows.at26);
	LANES_AT(ret->saddr, i) = c.w[0];
	LANES_AT(ret->daddr, i) = c.w[1];
	LANES_AT(ret->ports, i) = c.w[2];
	LANES_AT(ret->w46, i) = lanes_turn(rows.at38).w[2];
}

static __always_inline lanes_v lanes_swap(lanes_v v)
{
	const __m256i order = _mm256_broadcastsi128_si256(
		_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));

	return (lanes_v)_mm256_shuffle_epi8((__m256i)v, order);
}

/* Products of 64 bits, of the lanes with even numbers. */
typedef __u64 lanes_pairs __attribute__((vector_size(sizeof(lanes_v)), may_alias));

static __always_inline lanes_pairs lanes_mul(lanes_v a, lanes_v b)
{
	return (lanes_pairs)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}

static __always_inline lanes_v lanes_odd(lanes_v v)
{
	return (lanes_v)((lanes_pairs)v >> 32);
}

/* The high halves of products of even lanes and of odd ones, in their places. */
static __always_inline lanes_v lanes_high(lanes_pairs even, lanes_pairs odd)
{
	return (lanes_v)_mm256_blend_epi32((__m256i)(even >> 32), (__m256i)odd, 0xaa);
}

/* As lb_hash_finish(), but for its last line. */
static __always_inline lanes_pairs lanes_hash_finish(lanes_pairs h, const struct lb_hash_key *key)
{
	h ^= key->finish;
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15ULL;
	h ^= h >> 29;
	return h * 0xbf58476d1ce4e5b9ULL;
}

static inline void lanes_hash(struct lanes *l, size_t n, const struct lb_hash_key *from)
{
	const struct lb_hash_key key = *from; /* nothing that is written changes it */
	const lanes_v four = 4 + key.nh[3] - (lanes_v){};

	for (size_t i = 0; i < n; i += LANES_STEP) {
		const lanes_v saddr = LANES_AT(l->saddr, i) + key.nh[0];
		const lanes_v daddr = LANES_AT(l->daddr, i) + key.nh[1];
		const lanes_v ports = LANES_AT(l->ports, i) + key.nh[2];
		lanes_pairs even = lanes_mul(saddr, daddr) + lanes_mul(ports, four), odd;

		odd = lanes_mul(lanes_odd(saddr), lanes_odd(daddr)) +
		      lanes_mul(lanes_odd(ports), four);
		LANES_AT(l->hash, i) = lanes_high(lanes_hash_finish(even, &key),
						  lanes_hash_finish(odd, &key));
	}
}

/* Two words of 8 bytes. */
static __always_inline __m128i lanes_slot_pair(const struct lb_slot *slots, const __u32 *at)
{
	return _mm_castps_si128(_mm_loadh_pi(
		_mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)&slots[at[0]])),
		(const __m64 *)&slots[at[1]]));
}

static __always_inline int lanes_slots(const struct lanes *l, size_t i, const struct lb_slot *slots,
				       __u32 n, __u32 *ret_cur)
{
	const lanes_v hash = LANES_AT(l->hash, i), by = n - (lanes_v){};
	__u32 at[LANES_STEP] __attribute__((aligned(sizeof(hash))));
	__m256 low, high; /* of each half: two slots, the next two */
	lanes_pairs any;

	LANES_AT(at, 0) = lanes_high(lanes_mul(hash, by), lanes_mul(lanes_odd(hash), by));
	low = (__m256)_mm256_set_m128i(lanes_slot_pair(slots, at + 4),
				       lanes_slot_pair(slots, at));
	high = (__m256)_mm256_set_m128i(lanes_slot_pair(slots, at + 6),
					lanes_slot_pair(slots, at + 2));
	LANES_AT(ret_cur, i) = (lanes_v)_mm256_shuffle_ps(low, high, 0x88) & 0xffff;
	any = (lanes_pairs)low | (lanes_pairs)high;
	return lanes_none((lanes_v)(any & lanes_slot_said.word));
}

#endif
