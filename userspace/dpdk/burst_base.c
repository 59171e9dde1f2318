// SPDX-License-Identifier: GPL-2.0-only
/* For any processor that DPDK was built for. */
#include "userspace/dpdk/burst_ways.h"
#include "userspace/dpdk/burst.h"

void burst_base(struct worker *w, struct worker_port *p, struct rte_mbuf **frames, uint32_t n)
{
	burst_forward(w, p, frames, n);
}
