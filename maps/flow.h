/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Exceptions: known flow -> backend. Only flows that the slot's hash would misplace are here.
 * "half_open" holds flows of which only the SYN was seen; the next packet moves the entry to
 * "flows". Both are plain hash maps, not LRU: a full table refuses and is counted, it never evicts a
 * live stream, nor a connection on its way up. The agent removes half-open entries after
 * LB_HALF_OPEN_MS, sooner under a flood of SYNs (userspace/agent/scan.h). Destination address and
 * port are those of the VIP, so its id stands for them.
 */
#ifndef LB_MAPS_FLOW_H
#define LB_MAPS_FLOW_H

#include "maps/abi.h"

/* Longer than the gap between two SYNs of a client that retransmits (1, 2, 4, 8 s …). */
#define LB_HALF_OPEN_MS 9000

struct lb_flow_key {
	__be32 saddr[4]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 sport;
	__u16 vip;
};
LB_STATIC_SIZE(struct lb_flow_key, 20);

/* Ticks. The packet path does not write an entry's time more often, so it may lag by as much. */
#define LB_SEEN_REFRESH 1024

#define LB_FLOW_F_CLOSING 0x01 /* a FIN was seen: kept for what is still in flight */
#define LB_FLOW_F_CLOSED  0x02 /* a RST was seen */
#define LB_FLOW_F_COUNTED 0x04 /* counted in lb_load.flows; whoever closes or removes it subtracts */

#define LB_FLOW_F_GONE	  0x08 /* a CPU is removing this entry: no other may */

struct lb_flow {
	__u16 backend;
	__u8 generation; /* of the backend when the entry was made; differs: void */
	__u8 flags;	 /* LB_FLOW_F_* */
	__u32 seen;	 /* ticks, of the last packet or up to LB_SEEN_REFRESH before it */
	__u32 slot;	 /* index in map "slots": whose exc this entry keeps up */
};
LB_STATIC_SIZE(struct lb_flow, 12);

/*
 * The first four bytes of an entry, also of struct lb_nat_flow, are changed atomically, as one word:
 * where its flags are in it. So LB_*_F_COUNTED is taken off once, by whoever subtracts.
 */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LB_WORD_OF(flags) ((__u32)(flags) << 24)
#else
#define LB_WORD_OF(flags) ((__u32)(flags))
#endif

/*
 * Map "recent": SYNs that left without an entry, so that one that is sent again goes where the
 * first went, and counts neither as a flow nor as load once more. The flow's hash picks the mark,
 * which holds hash, sequence number (another connection of the same ports begins with another) and
 * backend, and in the low byte, when it was. The last SYN of a mark overwrites, so nothing can be
 * full; what a flood overwrites loses no more than this.
 * Policy hash needs none of it: its answer is the slot's, and no load is asked for.
 */
struct lb_recent {
	__u32 mark[2];
};
LB_STATIC_SIZE(struct lb_recent, 8);

#define LB_RECENT_CELLS	   (1 << 15)		/* 256 KiB: one that misses the cache costs 45 ns */
#define LB_RECENT_TIME(ns) ((__u8)((ns) >> 30)) /* 1.07 s, of the agent's heartbeat */
#define LB_RECENT_MAX	   8			/* later a SYN is another connection's */

#endif
