/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SYNs that got an entry, and how many of those were followed by a connection -> what share of a
 * VIP's SYNs counts as load (lb_vip.syn_share).
 *
 * p2c adds each new flow to its node's load until the next scrape. The SYNs of a flood lead to
 * nothing, and there are so many that p2c would level all nodes with them within milliseconds: real
 * flows would be placed by what the flood pretends. Flows on second choices and in transitions have
 * entries that tell which SYNs were followed up; the others are taken to be alike.
 *
 * Pure on struct tables: no clock, no I/O.
 */
#ifndef SLUICE_AGENT_SYNSHARE_H
#define SLUICE_AGENT_SYNSHARE_H

#include <stdint.h>

#include "userspace/agent/tables.h"

#define SYNSHARE_STEP_MS 1000
#define SYNSHARE_LEAST	 256   /* entries in a step: fewer are no flood, and tell little */
#define SYNSHARE_KEEP_MS 10000 /* a flood that seems over may just have had no second choices */

struct synshare {
	struct tables *t;
	uint64_t next_ms;
	struct {
		uint32_t entries, promoted; /* when last looked at */
		uint64_t flood_ms;          /* when a step last said that there is a flood */
	} vip[LB_VIPS_MAX];
};

void synshare_init(struct synshare *s, struct tables *t);

/*
 * Of 256 SYNs so many lead to a connection, 1 … 255; 0: no flood, all count. promoted may be more
 * than entries: those of a step before.
 */
uint32_t synshare_of(uint32_t entries, uint32_t promoted);

/* Does something once in SYNSHARE_STEP_MS; call it as often as you like. */
void synshare_step(struct synshare *s, uint64_t now_ms);

#endif
