/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What poll-mode workers keep instead of the kernel's hash maps: exceptions and nat state in
 * arrays that are mapped by the workers and by the agent, and survive both.
 *
 * A table is an array map of buckets. A key may be in either of two buckets, in any of their
 * cells. A cell's word says what it holds; userspace/lib/flow_table.h has the rules.
 */
#ifndef LB_MAPS_DPDK_H
#define LB_MAPS_DPDK_H

#include "maps/abi.h"
#include "maps/flow.h"
#include "maps/nat.h"

#define LB_BUCKET_CELLS 7
#define LB_WORKERS_MAX	64

/* The two low bits of a cell's word. */
#define LB_CELL_EMPTY 0
#define LB_CELL_BUSY  1 /* somebody is filling it */
#define LB_CELL_FULL  2 /* the rest: 14 bits that differ with each use, 16 bits of the key's hash */
#define LB_CELL_DEAD  3 /* the rest: tick (modulo 2^30) of its end; free once no worker can see it */
#define LB_CELL_STATE 3

struct lb_flow_cell {
	struct lb_flow_key key;
	struct lb_flow flow;
};
LB_STATIC_SIZE(struct lb_flow_cell, 32);

/* Maps "dpdk_flows" and "dpdk_half_open". */
struct lb_flow_bucket {
	__u32 word[LB_BUCKET_CELLS];
	__u32 lock; /* held by the worker that adds or removes a key whose first bucket this is */
	struct lb_flow_cell cell[LB_BUCKET_CELLS];
};
LB_STATIC_SIZE(struct lb_flow_bucket, 256);

struct lb_nat_flow_cell {
	struct lb_flow_key key;
	struct lb_nat_flow flow;
};
LB_STATIC_SIZE(struct lb_nat_flow_cell, 32);

/* Map "dpdk_nat_flows". */
struct lb_nat_flow_bucket {
	__u32 word[LB_BUCKET_CELLS];
	__u32 lock;
	struct lb_nat_flow_cell cell[LB_BUCKET_CELLS];
};
LB_STATIC_SIZE(struct lb_nat_flow_bucket, 256);

struct lb_nat_reply_cell {
	struct lb_nat_key key;
	struct lb_nat_reply reply;
};
LB_STATIC_SIZE(struct lb_nat_reply_cell, 64);

/* Map "dpdk_nat_reply". */
struct lb_nat_reply_bucket {
	__u32 word[LB_BUCKET_CELLS];
	__u32 lock;
	__u32 pad[8];
	struct lb_nat_reply_cell cell[LB_BUCKET_CELLS];
};
LB_STATIC_SIZE(struct lb_nat_reply_bucket, 512);

/*
 * Map "dpdk_workers": two lines for each worker. The first is written by it alone, the second by
 * the thread beside the workers, which counts what all devices lost in the entry of worker 0. What
 * a worker saw before `tick` it does not hold any more: userspace/lib/rounds.h.
 */
struct lb_worker {
	__u32 pid;	    /* of sluice-dpdk; 0: not running */
	__u32 tick;	    /* when its round began */
	__u64 received;	    /* frames from its ports */
	__u64 sent;	    /* frames forwarded or answered */
	__u64 unsent;	    /* … that the device did not take: freed */
	__u64 to_kernel;    /* frames passed to the kernel */
	__u64 kernel_full;  /* … that it did not take: freed */
	__u64 from_kernel;  /* frames of the kernel sent on */
	__u64 no_port;	    /* for a device that is none of ours: freed */
	__u64 missed;	    /* frames that found a device's queue full: workers were too slow */
	__u64 no_buffers;   /* … that the device had no buffer for */
	__u64 pause;	    /* its last one, LB_PAUSE_*(); 0: none. Written by the worker, rarely */
	__u64 pad[5];
} __attribute__((aligned(8)));
LB_STATIC_SIZE(struct lb_worker, 128);

/* A round that begins so long after the one before ends a pause: when it began, and how long. */
#define LB_PAUSE_TICKS		   LB_TICKS_FROM_MS(500)
#define LB_PAUSE_OF(end, length)   ((__u64)(length) << 32 | (__u32)(end))
#define LB_PAUSE_END(pause)	   ((__u32)(pause))
#define LB_PAUSE_LENGTH(pause)	   ((__u32)((pause) >> 32))

#endif
