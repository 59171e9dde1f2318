/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables in memory: one VIP, a pool of BENCH_NODES nodes with all its slots. */
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

/* Headers of a segment of flow n (an ACK with ten bytes of data), WORLD_FRAME bytes. */
#define WORLD_FRAME 64
void world_frame(uint32_t n, uint8_t ret_frame[WORLD_FRAME]);

/* Addresses and port of flow n into a frame made by world_frame(). */
void world_frame_set(uint32_t n, uint8_t *frame);

#endif
