/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a host of the core supplies. A host includes its own env_*.h, which defines `struct lb_env`,
 * the calls below and LB_ENV_HOST, and then core/forward.h. All calls are static inline; tables
 * are returned as pointers into the maps, NULL when the index is out of range.
 *
 *	struct lb_env { void *data, *end; … }		the frame: first byte, byte after the last
 *	void *lb_env_front(env, __u32 len)		the frame, if it has len bytes (a constant)
 *	const struct lb_control *lb_env_control(env)
 *	struct lb_vip_cell *lb_env_vip_cell(env, __u32 bucket)
 *	struct lb_vip *lb_env_vip(env, __u32 vip)
 *	struct lb_slot *lb_env_slot(env, __u32 index)
 *	struct lb_pool *lb_env_pool(env, __u32 pool)
 *	struct lb_turns *lb_env_turns(env, __u32 bank)
 *	struct lb_members *lb_env_members(env, __u32 bank)
 *	struct lb_backend *lb_env_backend(env, __u32 backend)
 *	struct lb_load *lb_env_load(env, __u32 backend)
 *	struct lb_limit *lb_env_limit(env)		this CPU's token buckets
 *	struct lb_count *lb_env_vip_count(env, __u32 vip)		this CPU's counters
 *	struct lb_count *lb_env_backend_count(env, __u32 backend)
 *	__u64 *lb_env_counter(env, __u32 reason_or_event)
 *	struct lb_recent *lb_env_recent(env, __u32 index)
 *	struct lb_flow *lb_env_flow(env, enum lb_flow_table, const struct lb_flow_key *)
 *	int lb_env_flow_add(env, table, key, const struct lb_flow *)	0, or < 0: there, no room
 *	void lb_env_flow_delete(env, table, key)
 *	struct lb_nat_flow *lb_env_nat_flow(env, const struct lb_flow_key *)
 *	int lb_env_nat_flow_add(env, key, const struct lb_nat_flow *)	0, or < 0: there, no room
 *	void lb_env_nat_flow_delete(env, key)
 *	struct lb_nat_reply *lb_env_nat_reply(env, const struct lb_nat_key *)
 *	int lb_env_nat_reply_add(env, key, const struct lb_nat_reply *)	0, or < 0: taken, no room
 *	void lb_env_nat_reply_delete(env, key)
 *	__u32 lb_env_ticks(env)				CLOCK_MONOTONIC in ticks (maps/abi.h)
 *	int lb_env_head(env, int delta)			first byte moves by delta; 0, or < 0
 *	int lb_env_tail(env, int delta)			last byte moves by delta; 0, or < 0
 *	lb_env_loop(env, n, step, state)		step(i, state) for i in [0, n), until not 0
 *	__u32 lb_env_ifindex(env)			device the frame came from
 *	__u32 lb_env_mtu(env, __u32 ifindex)		largest IP packet of a device; 0: not known
 *
 * A host may define LB_STAGE (core/forward.h) to run the rare stages in a way of its own.
 *
 * After lb_env_head() or lb_env_tail() every pointer into the frame is stale.
 */
#ifndef LB_CORE_ENV_H
#define LB_CORE_ENV_H

#ifndef LB_ENV_HOST
#error "include the host's env_*.h before core/forward.h"
#endif

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif

#define lb_likely(x)   __builtin_expect(!!(x), 1)
#define lb_unlikely(x) __builtin_expect(!!(x), 0)

/* Read or written once, whole, by neither side torn: naturally aligned, at most 8 bytes. */
#define LB_READ_ONCE(x)	    (*(const volatile __typeof__(x) *)&(x))
#define LB_WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define LB_FETCH_ADD(p, v)  __sync_fetch_and_add(p, v)
#define LB_FETCH_OR(p, v)    __sync_fetch_and_or(p, v)
#define LB_FETCH_AND(p, v)   __sync_fetch_and_and(p, v)
#define LB_SWAP_IF(p, is, v) __sync_bool_compare_and_swap(p, is, v)

/*
 * Headers are read and written in words wherever they lie: a host on which that is not simply a
 * load (or whose tests check alignment) says so here. XDP: nothing, so that clang emits words.
 */
#ifndef LB_UNALIGNED
#define LB_UNALIGNED
#endif

#ifdef __clang__
#define LB_UNROLL _Pragma("unroll")
#else
#define LB_UNROLL _Pragma("GCC unroll 8")
#endif

#define lb_memcpy(dst, src, n) __builtin_memcpy(dst, src, n)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define lb_htons(x) ((__be16)__builtin_bswap16(x))
#define lb_htonl(x) ((__be32)__builtin_bswap32(x))
#else
#define lb_htons(x) ((__be16)(x))
#define lb_htonl(x) ((__be32)(x))
#endif
#define lb_ntohs(x) lb_htons(x)
#define lb_ntohl(x) lb_htonl(x)

/*
 * x & mask, where the result is known to be x: tells the kernel's verifier a bound that clang has
 * proved and would otherwise optimise away (seen with clang 14; "R4 offset is outside of the
 * packet" on 6.18).
 */
#ifndef LB_BOUND
#define LB_BOUND(x, mask) ((x) & (mask))
#endif

enum lb_verdict {
	LB_VERDICT_DROP = 1, /* numbers as of enum xdp_action: XDP returns them as they are */
	LB_VERDICT_PASS = 2, /* to the kernel, untouched */
	LB_VERDICT_TX = 3,   /* out of the device it came from */
	LB_VERDICT_REDIRECT = 4, /* out of lb_result.ifindex */
};

/* Stages that the rare cases go through (core/forward.h). */
enum lb_next {
	LB_NEXT_NONE = 0, /* the verdict stands */
	LB_NEXT_ODD = 1,
	LB_NEXT_TOO_BIG = 2,
	LB_NEXT_SYN = 3,
	LB_NEXT_SEND = 4,
	LB_NEXT_NAT_CHOOSE = 5,
	LB_NEXT_NAT_SEND = 6,
	LB_NEXT_NAT_REPLY = 7,
	LB_NEXT_NAT_ICMP = 8,
	LB_NEXT_NAT_ICMP_SEND = 9,
};

/* Small: it lies on the stack below the deepest stage. */
struct lb_result {
	__u8 verdict;	 /* enum lb_verdict */
	__u8 reason;	 /* enum lb_reason; for a later stage: of what was chosen, or of no flow */
	__u8 next;	 /* enum lb_next; what that one needs to know: */
	__u8 is_new;	 /* SEND, NAT_SEND */
	__u32 ifindex;	 /* of LB_VERDICT_REDIRECT */
	__u32 hash;	 /* SEND */
	__u16 mtu;	 /* TOO_BIG */
	__u16 vip;	 /* SEND, NAT_SEND */
	__u16 backend;	 /* SEND, NAT_SEND */
	__be16 nat_port; /* NAT_SEND */
};

enum lb_flow_table {
	LB_FLOWS = 1,
	LB_HALF_OPEN = 2,
};

#endif
