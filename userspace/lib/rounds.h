/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rounds of poll-mode workers (map "dpdk_workers") -> what none of them holds any more.
 *
 * A worker publishes the tick at which a round begins, before it reads anything, and keeps nothing
 * of the shared memory from one round to the next: slots, cells, epochs, pointers into tables. So
 * what was written before tick T is known to every worker whose round began after T, however long
 * the round before it took. That is exact: a worker which stands still is waited for.
 *
 * The wait has an end. A worker that ends says so (pid 0). One that was killed cannot, nor can the
 * agent tell it from one that stands still: its pid may be of another namespace, and units hide
 * other processes. So who has begun no round for ROUNDS_LEASE_TICKS is taken to have ended (its
 * unit has the watchdog end it after about as long; the next sluice-dpdk clears what a killed one
 * left). If one that stood still for longer wakes after all, in the middle of a round, it finishes
 * that round by what it had read: at most a burst (WORKER_BURST frames) of each device may go by
 * words of then, and the entries they make carry an epoch, a node and a time of then. A frame that
 * goes to the wrong node may end its stream. Its next round is right again.
 *
 * Ticks are CLOCK_MONOTONIC_COARSE in units of maps/abi.h, modulo 2^32.
 */
#ifndef SLUICE_LIB_ROUNDS_H
#define SLUICE_LIB_ROUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/dpdk.h"

#define ROUNDS_LEASE_TICKS (10 * LB_TICKS_PER_S)

/* Now; what the caller wrote before is known to every round that begins later. */
uint32_t rounds_now(void);

/* All functions below: workers: LB_WORKERS_MAX of them. now: when the caller looks. */

/* Every worker has begun a round later than tick. */
bool rounds_passed(const struct lb_worker *workers, uint32_t tick, uint32_t now);

/* When the earliest round began that may be under way; now, if none is. */
uint32_t rounds_oldest(const struct lb_worker *workers, uint32_t now);

/*
 * Whether flows may be alive of which nothing was seen for want of a worker: one stands still, or
 * did so lately, or there is none. What was sent meanwhile waited, or was lost and is sent again
 * after as long a silence once more (RFC 6298: the time-out doubles, here up to 120 s). So after a
 * pause no time is held against a flow for as long as the pause was, and a second. Pauses of less
 * than LB_PAUSE_TICKS are not looked at.
 */
#define ROUNDS_SENT_AGAIN_TICKS (120 * LB_TICKS_PER_S)
bool rounds_paused(const struct lb_worker *workers, uint32_t now);

#endif
