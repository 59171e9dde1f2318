/* SPDX-License-Identifier: GPL-2.0-only */
/* What lanes.h asks of a processor, of any. */
#ifndef SLUICE_DPDK_LANES_BASE_H
#define SLUICE_DPDK_LANES_BASE_H

static inline void lanes_read(struct rte_mbuf **frames, size_t i, struct lanes *ret)
{
	lanes_read_each(frames, i, ret);
}

static __always_inline lanes_v lanes_swap(lanes_v v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	v = (v & 0x00ff00ff) << 8 | (v >> 8 & 0x00ff00ff);
	v = v << 16 | v >> 16;
#endif
	return v;
}

static __always_inline int lanes_none(lanes_v v)
{
	__u32 any = 0;

	for (int k = 0; k < LANES_STEP; k++)
		any |= v[k];
	return !any;
}

static inline void lanes_hash(struct lanes *l, size_t n, const struct lb_hash_key *from)
{
	const struct lb_hash_key key = *from; /* nothing that is written changes it */

	if (n % LANES_STEP)
		__builtin_unreachable();
	for (size_t i = 0; i < n; i++)
		l->hash[i] = lb_hash_ip4(&key, l->saddr[i], l->daddr[i], l->ports[i]);
}

static __always_inline int lanes_slots(const struct lanes *l, size_t i, const struct lb_slot *slots,
				       __u32 n, __u32 *ret_cur)
{
	union lb_slot_word any = {};

	for (size_t k = i; k < i + LANES_STEP; k++) {
		union lb_slot_word w = {.s = lb_slot_read(&slots[lb_hash_to_slot(l->hash[k], n)])};

		ret_cur[k] = w.s.cur;
		any.word |= w.word;
	}
	return !(any.word & lanes_slot_said.word);
}

#endif
