/* SPDX-License-Identifier: BSD-2-Clause */
/* The balancer's maps as a measurement fills them. */
#ifndef SLUICE_TOOLS_LIB_BENCH_MAPS_H
#define SLUICE_TOOLS_LIB_BENCH_MAPS_H

#include <stdint.h>

struct balancer_bpf;
struct bpf_map;
struct lb_control;

/* Before it is loaded: a region for each CPU where maps have one. Returns 0, -errno. */
int bench_maps_size(const struct balancer_bpf *skel, uint32_t n_cpus);

/* The whole of a loaded map as memory; NULL on failure. Left mapped until the process ends. */
void *bench_maps_memory(const struct bpf_map *map);

/* A fixed hash key; as many new entries and answers a second as there may be. */
void bench_maps_control(struct lb_control *control, uint32_t epoch, uint32_t n_cpus);

#endif
