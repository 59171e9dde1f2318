/* SPDX-License-Identifier: BSD-2-Clause */
/* What is done with a burst (burst.h), as compiled for one kind of processor or another. */
#ifndef SLUICE_DPDK_BURST_WAYS_H
#define SLUICE_DPDK_BURST_WAYS_H

#include "userspace/dpdk/worker.h"

struct burst_way {
	const char *name;
	burst_fn fn;
};

/* Those that this processor can go, the fastest one first; the last has a name of NULL. */
const struct burst_way *burst_ways(void);

/* The same for all: see there. */
void burst_base(struct worker *w, struct worker_port *p, struct rte_mbuf **frames, uint32_t n);
void burst_v3(struct worker *w, struct worker_port *p, struct rte_mbuf **frames, uint32_t n);
void burst_v4(struct worker *w, struct worker_port *p, struct rte_mbuf **frames, uint32_t n);

#endif
