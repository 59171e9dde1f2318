/* SPDX-License-Identifier: BSD-2-Clause */
/* What scan.c (passes) and scan_entries.c (what each entry of a pass comes to) share. */
#ifndef SLUICE_AGENT_SCAN_PRIV_H
#define SLUICE_AGENT_SCAN_PRIV_H

#include "userspace/agent/grace.h"
#include "userspace/agent/scan.h"
#include "userspace/agent/scan_prog.h"
#include "userspace/lib/rounds.h"

#define BATCH_MIN 64
#define BATCH_MAX 8192 /* more entries than any bucket holds */
#define N_COUNTS  LB_BACKENDS_MAX /* index 0: this host */
#define N_MARKS	  ((size_t)LB_POOLS_MAX * LB_SLOTS_MAX / 64 + 1)

enum scan_phase {
	SCAN_PHASE_IDLE = 1,
	SCAN_PHASE_SWEEP, /* half_open alone */
	SCAN_PHASE_GRACE, /* a pass: the epoch is raised */
	SCAN_PHASE_HALF_OPEN,
	SCAN_PHASE_FLOWS,
	SCAN_PHASE_SLOTS,
};

/* Where the next batch of a table goes on. */
struct scan_cursor {
	bool set;
	uint32_t at;	    /* its bucket, in tables of workers */
	uint32_t batch_min; /* a bucket has more entries than were asked for before */
	uint32_t entries;   /* kept so far */
};

/* What a pass counts for a backend. */
struct scan_count {
	uint32_t entries;
	uint32_t live;    /* entries that are not closing */
	uint32_t counted; /* entries that lb_load.flows counts */
};

/* What lb_load.flows was, and what it should have been. */
struct scan_sum {
	uint32_t flows;
	uint32_t counted;
	uint64_t began; /* flows so far, where the two differ */
};

struct scan {
	struct tables *t;
	uint32_t idle_ticks;
	enum scan_phase phase;
	enum scan_phase resume; /* what a sweep interrupts, and where that was */
	struct scan_cursor resume_cursor;
	bool crowded; /* half_open fills faster than its entries expire */
	bool requested;
	uint64_t next_pass_ms;
	uint64_t next_sweep_ms;
	uint64_t started_ms;
	struct grace *grace;
	uint32_t grace_tick; /* when it began, on the clock of poll-mode workers */
	bool dpdk;	     /* entries are in the tables of poll-mode workers */
	bool paused;	     /* … which did not see all their flows sent lately: none expires */
	struct flow_table dpdk_flows, dpdk_half_open;

	struct scan_cursor cursor;
	uint32_t next_slot;
	struct scan_prog *prog_flows, *prog_half_open; /* NULL: no such map */
	const struct scan_nat *nat; /* NULL: no flow of mode nat is counted in lb_load.flows */
	uint64_t nat_passes;	    /* of it, when counts were last compared */

	uint64_t *marks;               /* bit for each slot of map "slots" */
	struct scan_count *now, *last; /* [N_COUNTS] of this pass, of the last complete one */
	bool compared;		       /* sums are valid */
	struct scan_sum *sums;	       /* [N_COUNTS] when counts were last compared */
	struct lb_flow_key keys[BATCH_MAX];
	struct lb_flow flows[BATCH_MAX];
	struct scan_stats running; /* of the pass under way */
	struct scan_stats stats;
};

uint32_t scan_ticks_of(uint64_t ms);
uint32_t scan_count_index(uint16_t backend);

/* One step over the table of s->phase. Returns 1 if there is more, 0 at the end, -errno. */
int scan_entries(struct scan *s, uint64_t now_ms, uint32_t budget);

#endif
