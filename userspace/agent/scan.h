/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flow tables -> entries removed, live flows counted per backend, `exc` of slots cleared.
 *
 * A pass goes: raise the epoch; let every packet that still has the old one finish (grace.h); read
 * "half_open", then "flows", and mark the slots that entries keep up; compare-and-swap `exc` from
 * an old epoch to 0 in slots without a mark. Nothing is missed:
 *   - whoever adds an entry, or moves one from half_open to flows, stores the epoch in the slot
 *     first, so what is added after the grace period carries the new epoch and is left alone;
 *   - what was added before is in one of the maps when the pass reads them, for a flow that moves
 *     is in flows before it leaves half_open, and half_open is read first.
 * Between and during passes half_open is swept alone, because its entries live for seconds only. A
 * flood of SYNs crowds it: when more than half of its room is taken it is swept more often, and an
 * entry lives SCAN_CROWDED_MS only, until less than a quarter is taken. So it has room at all times
 * if it holds what new_entries_per_second lets in during about five seconds.
 *
 * With on_down: reset an entry outlives its node: the client's reset comes from it. It counts no
 * more, and goes when the client was told, or when it would have gone had the node lived.
 *
 * Everything is done in bounded steps on the caller's thread.
 *
 * Needs BPF_MAP_LOOKUP_BATCH and BPF_MAP_LOOKUP_AND_DELETE_ELEM of hash maps (Linux 5.14).
 */
#ifndef SLUICE_AGENT_SCAN_H
#define SLUICE_AGENT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "userspace/agent/tables.h"

#define SCAN_INTERVAL_MS 10000 /* from the end of a pass to the start of the next */
#define SCAN_SWEEP_MS    2000  /* from one look at half_open to the next */
#define SCAN_CROWDED_SWEEP_MS 500
#define SCAN_CROWDED_MS  3000  /* longer than a round trip, and than the gaps between three SYNs */
#define SCAN_CLOSING_MS  60000 /* an entry lives so long after a FIN */
#define SCAN_CLOSED_MS   10000 /* … after a RST, or a segment whose node is dead */
#define SCAN_BUDGET      2048  /* entries of one step: a millisecond, or 3 if all of them must go */

struct scan;

struct scan_stats {
	uint64_t passes;     /* complete ones */
	uint64_t started_ms; /* of the last complete pass */
	uint64_t finished_ms;
	uint32_t flows;     /* entries left in "flows" by the last complete pass */
	uint32_t half_open; /* entries seen in "half_open" by it */
	uint32_t slots_exc; /* slots with exceptions after it */
	uint32_t repaired;  /* counts of live flows that were put right by it */
	uint64_t expired;   /* from here on: totals since scan_new() */
	uint64_t closed;    /* FIN or RST, and their time over */
	uint64_t voided;    /* backend died or was replaced, or the VIP is gone */
	uint64_t revived;   /* a packet came between reading and removing: put back */
	uint64_t lost;      /* could not be put back */
	uint64_t exc_cleared;
};

/*
 * Returns 0; -ENOMEM; or what the kernel says to its program (scan_prog.h). t must outlive the scan.
 * Without hash maps (fd -1) passes find nothing.
 */
int scan_new(struct tables *t, uint64_t flow_idle_ms, struct scan **ret);

/* Accepts NULL inside; clears. */
void scan_free(struct scan **s);

/* lb_load.flows counts the flows of mode nat, too. nat must outlive the scan. */
struct scan_nat;
void scan_set_nat(struct scan *s, const struct scan_nat *nat);

void scan_set_idle(struct scan *s, uint64_t flow_idle_ms);

/*
 * Do up to budget (> 0) entries' work. now_ms is CLOCK_MONOTONIC, as the entries' times are.
 * Returns the milliseconds until there is more to do (0: at once); -errno if a map failed: the
 * pass is given up and the next one starts in its time.
 */
int scan_step(struct scan *s, uint64_t now_ms, uint32_t budget);

/* Start the next pass as soon as the one under way is over (drain --wait). */
void scan_request(struct scan *s);

/*
 * Entries naming the backend in the last complete pass, closing ones not counted; and the number
 * of complete passes, so that a caller knows a fresh count from an old one. backend <
 * LB_BACKENDS_MAX or LB_BACKEND_LOCAL.
 */
uint32_t scan_live(const struct scan *s, uint16_t backend, uint64_t *ret_passes);

/* Entries naming the backend in the last complete pass, closing ones too. */
uint32_t scan_entries_of(const struct scan *s, uint16_t backend);

const struct scan_stats *scan_stats(const struct scan *s);

#endif
