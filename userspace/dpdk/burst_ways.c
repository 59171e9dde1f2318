// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/dpdk/burst_ways.h"

const struct burst_way *burst_ways(void)
{
	static const struct burst_way all[] = {
#if defined(__x86_64__)
		{"x86-64-v4", burst_v4},
		{"x86-64-v3", burst_v3},
#endif
		{"base", burst_base},
		{},
	};

	const struct burst_way *way = all;

#if defined(__x86_64__)
	way += !__builtin_cpu_supports("x86-64-v4");
	way += !__builtin_cpu_supports("x86-64-v3");
#endif
	return way;
}
