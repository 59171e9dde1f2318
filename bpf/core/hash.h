/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flow -> 32-bit hash under a secret key, and key -> expanded key.
 *
 * NH (Black, Halevi, Krawczyk, Krovetz, Rogaway: UMAC, CRYPTO 1999): products of keyed 32-bit
 * word pairs, summed modulo 2^64; almost universal, and all its multiplications run side by side.
 * A multiply-xor finish spreads the sum over the bits that pick the slot. The key keeps outsiders
 * from aiming at one node; it is not a message authentication code.
 */
#ifndef LB_CORE_HASH_H
#define LB_CORE_HASH_H

#include "maps/stats.h"

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

static __always_inline __u32 lb_hash_finish(__u64 h, const struct lb_hash_key *key)
{
	h ^= key->finish;
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15ULL;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9ULL;
	return h >> 32;
}

/* The sum is modulo 2^32 inside the factors, 2^64 outside. */
static __always_inline __u64 lb_hash_pair(__u32 a, __u32 ka, __u32 b, __u32 kb)
{
	return (__u64)(__u32)(a + ka) * (__u32)(b + kb);
}

/* Addresses and ports in network order, as they stand in the packet. -> lb_hash_finish() */
static __always_inline __u64 lb_hash_sum4(const struct lb_hash_key *key, __be32 saddr, __be32 daddr,
					  __u32 ports)
{
	return lb_hash_pair(saddr, key->nh[0], daddr, key->nh[1]) +
	       lb_hash_pair(ports, key->nh[2], 4, key->nh[3]);
}

static __always_inline __u64 lb_hash_sum6(const struct lb_hash_key *key, const __be32 *saddr,
					  const __be32 *daddr, __u32 ports)
{
	return lb_hash_pair(saddr[0], key->nh[0], saddr[1], key->nh[1]) +
	       lb_hash_pair(saddr[2], key->nh[2], saddr[3], key->nh[3]) +
	       lb_hash_pair(daddr[0], key->nh[4], daddr[1], key->nh[5]) +
	       lb_hash_pair(daddr[2], key->nh[6], daddr[3], key->nh[7]) +
	       lb_hash_pair(ports, key->nh[8], 6, key->nh[9]);
}

static __always_inline __u32 lb_hash_ip4(const struct lb_hash_key *key, __be32 saddr, __be32 daddr,
					 __u32 ports)
{
	return lb_hash_finish(lb_hash_sum4(key, saddr, daddr, ports), key);
}

static __always_inline __u32 lb_hash_ip6(const struct lb_hash_key *key, const __be32 *saddr,
					 const __be32 *daddr, __u32 ports)
{
	return lb_hash_finish(lb_hash_sum6(key, saddr, daddr, ports), key);
}

/* hash * n / 2^32: a slot in [0, n) without a division. */
static __always_inline __u32 lb_hash_to_slot(__u32 hash, __u32 n)
{
	return (__u64)hash * n >> 32;
}

/* splitmix64 (Steele, Lea, Flood: OOPSLA 2014) over the two halves of a 16-byte secret. */
static inline void lb_hash_expand(const __u64 secret[2], struct lb_hash_key *ret_key)
{
	__u64 state = secret[0], z[6];

	for (int i = 0; i < 6; i++) {
		state += 0x9e3779b97f4a7c15ULL ^ (secret[1] & ~1ULL); /* odd */
		z[i] = state;
		z[i] = (z[i] ^ (z[i] >> 30)) * 0xbf58476d1ce4e5b9ULL;
		z[i] = (z[i] ^ (z[i] >> 27)) * 0x94d049bb133111ebULL;
		z[i] ^= z[i] >> 31;
	}
	for (int i = 0; i < 10; i++)
		ret_key->nh[i] = (__u32)(z[i / 2] >> (i % 2 * 32));
	ret_key->finish = z[5];
}

#endif
