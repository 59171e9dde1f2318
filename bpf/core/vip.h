/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Key of a VIP -> its two candidate cells in map "vip_index" (maps/vip.h).
 * Not keyed by a secret: only the operator puts keys into this table.
 */
#ifndef LB_CORE_VIP_H
#define LB_CORE_VIP_H

#include "maps/vip.h"

/*
 * Multiply-shift (Dietzfelbinger, Hagerup, Katajainen, Penttonen: J. Algorithms 25, 1997) over two
 * words. The words of addr are turned so that what varies within a network is at the low end, where
 * it reaches every bit of the product that is used. Both products are under way at once.
 */
static __always_inline __u64 lb_vip_hash(const __be32 *addr, __be16 port, __u8 proto)
{
	__u64 lo = (__u64)addr[1] << 32 | addr[0];
	__u64 hi = (__u64)addr[2] << 32 | addr[3];

	return (lo ^ ((__u64)port << 16 | proto)) * 0x9e3779b97f4a7c15ULL +
	       hi * 0xbf58476d1ce4e5b9ULL;
}

static __always_inline __u32 lb_vip_hash_a(__u64 h)
{
	return h >> 52 & (LB_VIP_BUCKETS - 1);
}

static __always_inline __u32 lb_vip_hash_b(__u64 h)
{
	return h >> 40 & (LB_VIP_BUCKETS - 1);
}

static __always_inline __u32 lb_vip_bucket_a(const __be32 *addr, __be16 port, __u8 proto)
{
	return lb_vip_hash_a(lb_vip_hash(addr, port, proto));
}

static __always_inline __u32 lb_vip_bucket_b(const __be32 *addr, __be16 port, __u8 proto)
{
	return lb_vip_hash_b(lb_vip_hash(addr, port, proto));
}

#endif
