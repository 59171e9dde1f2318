/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The contract's version and capacities.
 *
 * maps/ is all that the packet side (bpf/core and its hosts) and the control side (the agent) know
 * of each other: plain structs of fixed layout, native byte order unless a type says __be.
 * A change of any layout raises LB_ABI_VERSION; an agent refuses pinned maps of another version.
 */
#ifndef LB_MAPS_ABI_H
#define LB_MAPS_ABI_H

#include <linux/types.h>

#define LB_ABI_VERSION 3

#define LB_NAME_MAX 64 /* names of nodes, pools and VIPs, with the final NUL */

#define LB_VIPS_MAX	512  /* VIP ids 0 … 511 */
#define LB_POOLS_MAX	64   /* pool ids 0 … 63 */
#define LB_BACKENDS_MAX 8192 /* backend ids 1 … 8191 */

#define LB_BACKEND_NONE	 0
#define LB_BACKEND_LOCAL 0xffff /* "this host": the packet passes to the kernel */

#define LB_SLOTS_MAX	 65537 /* slots of one pool: a prime, and the distance between pools */
#define LB_TURNS_MAX	 4096  /* turns of a round robin; a power of two */
#define LB_MEMBERS_MAX	 1024  /* members an exact scan (least-queue, least-conn) looks at */
#define LB_VIP_BUCKETS	 4096  /* cells of the VIP index; a power of two */
#define LB_REASONS_MAX	 128   /* room for enum lb_reason */
#define LB_CPUS_MAX	 1024

/* Coarse time of entries: CLOCK_MONOTONIC in units of 2^20 ns (1.05 ms), modulo 2^32 (52 days). */
#define LB_TICK_SHIFT	      20
#define LB_TICKS_PER_S	      954
#define LB_TICKS_FROM_MS(ms)  ((__u32)((__u64)(ms) * 1000000 >> LB_TICK_SHIFT))
#define LB_TICKS_TO_MS(ticks) (((__u64)(ticks) << LB_TICK_SHIFT) / 1000000)

/*
 * Ticks from seen to now, both modulo 2^32. What another CPU saw after now was read was seen at
 * now, not 52 days before it.
 */
#define LB_AGE(now, seen) ((__s32)((now) - (seen)) > 0 ? (now) - (seen) : 0)

#define LB_STATIC_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " changed size")

#endif
