// SPDX-License-Identifier: BSD-2-Clause
#include "tools/lib/bench_maps.h"

#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "balancer.skel.h"
#include "bpf/core/hash.h"
#include "maps/stats.h"

int bench_maps_size(const struct balancer_bpf *skel, uint32_t n_cpus)
{
	int r;

	r = bpf_map__set_max_entries(skel->maps.vip_stats, n_cpus * LB_VIPS_MAX);
	r = r ?: bpf_map__set_max_entries(skel->maps.backend_stats, n_cpus * LB_BACKENDS_MAX);
	r = r ?: bpf_map__set_max_entries(skel->maps.reasons, n_cpus * LB_REASONS_MAX);
	return r ?: bpf_map__set_max_entries(skel->maps.limits, n_cpus);
}

void *bench_maps_memory(const struct bpf_map *map)
{
	size_t page = sysconf(_SC_PAGESIZE), value = (bpf_map__value_size(map) + 7) & ~7u;
	size_t size = (value * bpf_map__max_entries(map) + page - 1) / page * page;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

void bench_maps_control(struct lb_control *control, uint32_t epoch, uint32_t n_cpus)
{
	lb_hash_expand((__u64[2]){0x0123456789abcdefULL, 0xfedcba9876543210ULL}, &control->hash);
	control->epoch = epoch;
	control->new_entries_per_s = 4000000000;
	control->replies_per_s = 1000000;
	control->n_cpus = n_cpus;
	control->abi = LB_ABI_VERSION;
}
