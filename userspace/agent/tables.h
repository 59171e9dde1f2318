/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pinned maps -> plain memory: every map of the contract (maps/) that can be mapped, as an array;
 * the hash maps as descriptors. The same struct over anonymous memory serves tests and hosts that
 * have no kernel maps.
 *
 * Memory is shared with the packet path: words that it writes or reads while they change are to be
 * accessed through publish.h, or with __atomic built-ins.
 */
#ifndef SLUICE_AGENT_TABLES_H
#define SLUICE_AGENT_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "maps/abi.h"
#include "maps/backend.h"
#include "maps/dpdk.h"
#include "maps/flow.h"
#include "maps/stats.h"
#include "maps/table.h"
#include "maps/vip.h"
#include "userspace/lib/flow_table.h"

#define TABLES_N 22 /* maps that are mapped */

struct tables {
	struct lb_control *control;
	struct lb_vip_cell *vip_index;        /* [LB_VIP_BUCKETS] */
	struct lb_vip *vips;                  /* [LB_VIPS_MAX] */
	struct lb_vip_info *vip_info;         /* [LB_VIPS_MAX] */
	struct lb_pool *pools;                /* [LB_POOLS_MAX] */
	struct lb_pool_info *pool_info;       /* [LB_POOLS_MAX] */
	struct lb_turns *turns;               /* [2 * LB_POOLS_MAX] */
	struct lb_members *members;           /* [2 * LB_POOLS_MAX] */
	struct lb_slot *slots;                /* [n_pools * LB_SLOTS_MAX] */
	struct lb_backend *backends;          /* [LB_BACKENDS_MAX] */
	struct lb_backend_info *backend_info; /* [LB_BACKENDS_MAX] */
	struct lb_load *loads;                /* [LB_BACKENDS_MAX] */
	struct lb_count *vip_stats;           /* [n_cpus * LB_VIPS_MAX] */
	struct lb_count *backend_stats;       /* [n_cpus * LB_BACKENDS_MAX] */
	uint64_t *reasons;                    /* [n_cpus * LB_REASONS_MAX] */
	struct lb_limit *limits;              /* [n_cpus] */
	struct lb_recent *recent;             /* [LB_RECENT_CELLS] */
	struct lb_flow_bucket *dpdk_flows;    /* [buckets.flows]; of poll-mode workers, as below */
	struct lb_flow_bucket *dpdk_half_open;
	struct lb_nat_flow_bucket *dpdk_nat_flows;
	struct lb_nat_reply_bucket *dpdk_nat_reply;
	struct lb_worker *dpdk_workers;       /* [LB_WORKERS_MAX] */
	struct {
		uint32_t flows, half_open, nat_flows, nat_reply;
	} buckets;
	int flows_fd;                         /* -1: none */
	int half_open_fd;                     /* -1: none */
	uint32_t n_pools;                     /* pools that "slots" has room for */
	uint32_t n_cpus;
	uint32_t flows_max; /* entries that "flows" has room for; 0 without it */
	uint32_t half_open_max;
	size_t sizes[TABLES_N]; /* bytes mapped, in the order above */
};

/*
 * Map the maps pinned under pin_dir. Returns 0; -ENOENT if one is missing; -EPROTO if one has not
 * the form that maps/ says or control.abi is not LB_ABI_VERSION; or what the kernel says.
 * The caller owns *ret_tables and ends it with tables_close(); the maps live on.
 */
int tables_open(const char *pin_dir, struct tables *ret_tables);

/*
 * The same from zeroed anonymous memory, with control.abi, epoch and n_cpus set; no hash maps,
 * and one bucket in each table of poll-mode workers.
 * n_pools 1 … LB_POOLS_MAX, n_cpus 1 … LB_CPUS_MAX. Returns 0; -ENOMEM.
 */
int tables_alloc(uint32_t n_pools, uint32_t n_cpus, struct tables *ret_tables);

/* The maps are sized for poll-mode workers: exceptions are in their tables. */
bool tables_are_dpdk(const struct tables *t);

/* A view of a poll-mode table; the hash key must be set by then and not change. */
enum tables_dpdk { TABLES_FLOWS = 1, TABLES_HALF_OPEN, TABLES_NAT_FLOWS, TABLES_NAT_REPLY };
void tables_view(const struct tables *t, enum tables_dpdk which, struct flow_table *ret_view);

/* Accepts a zeroed and an already closed struct; clears it. */
void tables_close(struct tables *t);

/* Sums over CPUs. vip < LB_VIPS_MAX, backend < LB_BACKENDS_MAX, reason < LB_REASONS_MAX. */
void tables_vip_count(const struct tables *t, uint32_t vip, struct lb_count *ret_count);
void tables_backend_count(const struct tables *t, uint32_t backend, struct lb_count *ret_count);
uint64_t tables_reason(const struct tables *t, uint32_t reason);

/* Name and meaning of an enum lb_reason or enum lb_event value; NULL if there is none. */
const char *tables_reason_name(uint32_t reason);
const char *tables_reason_text(uint32_t reason);

#endif
