/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Key of a VIP -> its two candidate cells in map "vip_index" (maps/vip.h).
 * Not keyed by a secret: only the operator puts keys into this table.
 */
#ifndef LB_CORE_VIP_H
#define LB_CORE_VIP_H

#include "maps/vip.h"

static __always_inline __u64 lb_vip_hash(const __be32 *addr, __be16 port, __u8 proto)
{
	__u64 lo = (__u64)addr[1] << 32 | addr[0];
	__u64 hi = (__u64)addr[3] << 32 | addr[2];
	__u64 h;

	h = (lo ^ (__u64)port << 16 ^ proto) * 0x9e3779b97f4a7c15ULL;
	h = (h ^ h >> 32 ^ hi) * 0xbf58476d1ce4e5b9ULL;
	return (h ^ h >> 32) * 0x94d049bb133111ebULL;
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
