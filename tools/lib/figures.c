// SPDX-License-Identifier: BSD-2-Clause
#include "tools/lib/figures.h"

#include <errno.h>
#include <sched.h>
#include <sys/stat.h>

int figures_by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

void figures_stay_on_one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

int figures_make_directory(void)
{
	if (mkdir("build", 0755) < 0 && errno != EEXIST)
		return -errno;
	if (mkdir("build/bench", 0755) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}
