/* SPDX-License-Identifier: BSD-2-Clause */
/* What is compared: each takes a burst from its device and gives it back. */
#ifndef TOOLS_BENCH_DPDK_PROGRAMS_H
#define TOOLS_BENCH_DPDK_PROGRAMS_H

#include "userspace/dpdk/worker.h"

/*
 * One round of a program on w's first device and queue. Returns the frames that came. The device
 * must take all that is sent.
 */
typedef uint32_t (*program_fn)(struct worker *w);

/* Swaps the MAC addresses: what a frame costs that a program touches at all. */
uint32_t program_macswap(struct worker *w);

/* Parses, and puts an outer IPv4 header in front, towards the backend of id 1, always. */
uint32_t program_encap(struct worker *w);

/* sluice-dpdk: the worker's own round. */
uint32_t program_sluice(struct worker *w);

#endif
