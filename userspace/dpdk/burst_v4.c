// SPDX-License-Identifier: GPL-2.0-only
/* For processors of x86-64-v4 (AVX-512): Skylake servers, Zen 4 and later; vectors of 256 bits. */
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v4,tune=icelake-server,prefer-vector-width=256")

#include "userspace/dpdk/burst_ways.h"
#include "userspace/dpdk/burst.h"

void burst_v4(struct worker *w, struct worker_port *p, struct rte_mbuf **frames, uint32_t n)
{
	burst_forward(w, p, frames, n);
}
#endif
