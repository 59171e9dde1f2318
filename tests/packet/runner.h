/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What runs a case: a host of the core with tables the test may write. Arrays are plain memory
 * (native: heap; kernel: the maps, mapped); flow tables go through calls.
 */
#ifndef TESTS_PACKET_RUNNER_H
#define TESTS_PACKET_RUNNER_H

#include "tests/packet/cases.h"

struct tables {
	struct lb_control *control;
	struct lb_vip_cell *vip_index; /* LB_VIP_BUCKETS */
	struct lb_vip *vips;	       /* LB_VIPS_MAX */
	struct lb_pool *pools;
	struct lb_turns *turns;
	struct lb_members *members;
	struct lb_slot *slots; /* at least TEST_SLOTS */
	struct lb_backend *backends;
	struct lb_load *loads;
	struct lb_limit *limit; /* of the CPU that runs the case, as are the counters */
	struct lb_count *vip_counts;
	struct lb_count *backend_counts;
	uint64_t *counters;
	struct lb_recent *recent;
	uint32_t n_recent; /* 0: LB_RECENT_CELLS */
};

#define TEST_SLOTS  256
#define WATCHED_IDS 64 /* VIP and backend ids that cases use, and whose counters are compared */

struct outcome {
	enum want verdict;
	int reason;  /* enum lb_reason; -1: the host does not tell, the counters do */
	int ifindex; /* of a redirect; 0: the host does not tell */
	struct frame frame;
};

struct runner {
	const char *name;
	struct tables t;

	/* Ready for use; returns 0, -errno. */
	int (*open)(struct runner *);
	void (*close)(struct runner *);

	/* Fewest bytes a frame may have, most it may have. */
	uint32_t frame_min;
	/* The room of a removed entry is free a tick later, not at once. */
	uint32_t room_later;
	/* Entries that each table of mode nat holds, set before open(); 0: NAT_ROOM. Kernel only.
	 */
	uint32_t nat_room;

	int (*run)(struct runner *, const struct frame *in, uint32_t headroom,
		   struct outcome *ret_outcome);
	/* As run, through the node's program; NULL: this host has none. */
	int (*run_decap)(struct runner *, const struct frame *in, struct outcome *ret_outcome);

	/* 0, -errno; -ENOENT: no such entry. */
	int (*flow_get)(struct runner *, enum entry_table, const struct lb_flow_key *,
			struct lb_flow *ret_flow);
	int (*flow_put)(struct runner *, enum entry_table, const struct lb_flow_key *,
			const struct lb_flow *);
	void (*flows_clear)(struct runner *);

	/* The clock that the core reads. */
	uint32_t (*ticks)(struct runner *);
	/* Time moves on by so many ticks: the clock, or the ages of all entries. */
	void (*pass)(struct runner *, uint32_t ticks);

	/* The device that frames come from, IF_NEAR, takes IP packets of so many bytes. */
	int (*set_mtu)(struct runner *, uint32_t mtu);

	/* At least some hundredths of a second remain until the token buckets are refilled. */
	void (*settle)(struct runner *);
};

extern struct runner runner_native;
extern struct runner runner_kernel;
extern struct runner runner_dpdk __attribute__((weak)); /* in packet_cases_dpdk only */

#endif
