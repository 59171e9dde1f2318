/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entries of mode nat (maps/nat.h) -> ended and idle ones removed, both directions together; live
 * flows counted per backend. In bounded steps on the caller's thread, as scan.h.
 *
 * An entry that a packet refreshes, or replaces, between reading and removing stays.
 */
#ifndef SLUICE_AGENT_SCAN_NAT_H
#define SLUICE_AGENT_SCAN_NAT_H

#include <stdint.h>

#include "userspace/agent/tables.h"

#define SCAN_NAT_INTERVAL_MS 2000 /* from the end of a pass to the start of the next */
#define SCAN_NAT_CLOSING_MS  60000
#define SCAN_NAT_CLOSED_MS   10000
#define SCAN_NAT_BATCH	     512 /* entries of one step */

struct scan_nat;

struct scan_nat_stats {
	uint64_t passes;
	uint32_t flows; /* left by the last complete pass */
	uint64_t removed;
	uint64_t revived; /* a packet came between reading and removing: stays */
};

/* The maps are those pinned in pin_dir; without them (-ENOENT) every pass finds nothing. t must
 * outlive the result. Returns 0; -ENOMEM; or what the kernel says to its program (scan_prog.h). */
int scan_nat_new(struct tables *t, const char *pin_dir, struct scan_nat **ret);

/* Accepts NULL inside; clears. */
void scan_nat_free(struct scan_nat **s);

void scan_nat_set_idle(struct scan_nat *s, uint64_t flow_idle_ms);

/* now_ms: CLOCK_MONOTONIC. */
void scan_nat_step(struct scan_nat *s, uint64_t now_ms);

/* Entries naming the backend in the last complete pass, ended ones not counted. */
uint32_t scan_nat_live(const struct scan_nat *s, uint16_t backend);

/* Entries naming the backend in the last complete pass that lb_load.flows counts. */
uint32_t scan_nat_counted(const struct scan_nat *s, uint16_t backend);

const struct scan_nat_stats *scan_nat_stats(const struct scan_nat *s);

#endif
