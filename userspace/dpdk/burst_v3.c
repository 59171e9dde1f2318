// SPDX-License-Identifier: GPL-2.0-only
/* For processors of x86-64-v3 (AVX2, BMI2): Haswell, Zen and later. */
#if defined(__x86_64__)
/* tune: or else GCC 12 loads and stores what is not aligned in halves */
#pragma GCC target("arch=x86-64-v3,tune=haswell")

#include "userspace/dpdk/burst_ways.h"
#include "userspace/dpdk/burst.h"

void burst_v3(struct worker *w, struct worker_port *p, struct rte_mbuf **frames, uint32_t n)
{
	burst_forward(w, p, frames, n);
}
#endif
