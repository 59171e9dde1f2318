/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables in memory: a VIP of each kind, pools of BENCH_NODES nodes of IPv4 and of IPv6, all slots. */
#ifndef TOOLS_BENCH_DPDK_WORLD_H
#define TOOLS_BENCH_DPDK_WORLD_H

#include <stdint.h>

#include "userspace/agent/tables.h"

#define BENCH_NODES   8
#define BENCH_IFINDEX 1
#define BENCH_FLOWS   1000000u

/* Returns 0, -ENOMEM. n_cpus: workers. */
int world_new(struct tables *t, uint32_t n_cpus);

/* Every flow of [0, BENCH_FLOWS) gets an entry, and every slot is marked. Returns 0, -E2BIG. */
int world_add_entries(struct tables *t);
void world_forget_entries(struct tables *t);

/* What a frame is, and its VIP. */
enum world_kind {
	WORLD_IPIP = 0,
	WORLD_L2DSR,
	WORLD_GUE,
	WORLD_IPIP6, /* IPv6 to nodes of IPv6 */
	WORLD_KINDS,
};

/* Headers of a segment of flow n (an ACK with ten bytes of data). Returns its length. */
#define WORLD_FRAME	64 /* of IPv4 */
#define WORLD_FRAME_MAX 84
uint32_t world_frame(enum world_kind kind, uint32_t n, uint8_t ret_frame[WORLD_FRAME_MAX]);

/* Addresses and port of flow n into a frame made by world_frame(). */
void world_frame_set(enum world_kind kind, uint32_t n, uint8_t *frame);

#endif
