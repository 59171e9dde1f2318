/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Maps that the agent pinned -> what one worker reads and writes. Nothing is copied: a change that
 * the agent publishes is seen by the next packet. Exceptions and nat state are in tables of the
 * same directory (maps/dpdk.h), so they outlive this process.
 */
#ifndef SLUICE_DPDK_TABLES_H
#define SLUICE_DPDK_TABLES_H

#include <stdint.h>
#include <time.h>

#include "userspace/agent/tables.h"

#define DPDK_DEVICES_MAX 16

/* A device as next hops name it. */
struct dpdk_device {
	uint32_t ifindex; /* of its mirror; 0: behind the last one */
	uint32_t mtu;
};

/* A worker's view: shared tables, and its own region of the counters. */
struct dpdk_tables {
	struct lb_control *control;
	struct lb_vip_cell *vip_index;
	struct lb_vip *vips;
	struct lb_pool *pools;
	struct lb_turns *turns;
	struct lb_members *members;
	struct lb_slot *slots;
	struct lb_backend *backends;
	struct lb_load *loads;
	struct lb_limit *limit;
	struct lb_count *vip_counts;
	struct lb_count *backend_counts;
	uint64_t *counters;
	struct lb_recent *recent;
	uint32_t n_slots;
	uint32_t ticks; /* when the round began */
	uint32_t changes; /* exceptions this worker added and removed */
	struct dpdk_device devices[DPDK_DEVICES_MAX];
	struct flow_table flows, half_open, nat_flows, nat_replies;
};

#define DPDK_ERROR_MAX 256

/*
 * Map what is pinned under pin_dir. Returns 0, and the caller owns *ret; or -errno and one line in
 * err: nothing pinned, another layout version, made for XDP, an agent still at work on it.
 */
int dpdk_tables_open(const char *pin_dir, struct tables *ret, char err[DPDK_ERROR_MAX]);

/* Whether the agent took the tables away ("sluicectl detach"). */
bool dpdk_tables_gone(const struct tables *t);

/* The view of worker n < LB_WORKERS_MAX, n < t->n_cpus. t must outlive it. */
void dpdk_tables_view(const struct tables *t, uint32_t n, struct dpdk_tables *ret_view);

/* Undo what a killed worker left. None may run. Returns the cells and locks that were cleared. */
uint32_t dpdk_tables_recover(const struct tables *t);

/* CLOCK_MONOTONIC_COARSE in ticks (maps/abi.h): no clock hardware is read. */
static inline uint32_t dpdk_ticks(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec) >> LB_TICK_SHIFT;
}

#endif
