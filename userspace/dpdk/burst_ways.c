// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/dpdk/burst_ways.h"

const struct burst_way *burst_ways(void)
{
	static const struct burst_way all[] = {
#if defined(__x86_64__)
		{"x86-64-v3", burst_v3},
#endif
		{"base", burst_base},
		{},
	};

#if defined(__x86_64__)
	if (!__builtin_cpu_supports("x86-64-v3"))
		return &all[1];
#endif
	return all;
}
