/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rounds of poll-mode workers (map "dpdk_workers") -> does anybody forward, since when not, and is
 * the silence of a node evidence against it?
 *
 * With `dataplane: dpdk` health checks go through sluice-dpdk as all else does. While it does not
 * run (restart, upgrade, crash) every node behind it is silent. If the agent took that for death,
 * it would have live streams reset that the restart alone does not touch. So silence counts only
 * if the way was there to break it; what a node says (an answer, a refusal) counts always. After a
 * return the way is there when the first node has said something.
 * There is no limit in time: as long as nothing is forwarded, a wrong table sends nobody astray.
 *
 * Pure but for dataplane_serve(). Times are milliseconds of the monotonic clock, ticks those of
 * workers (maps/dpdk.h).
 */
#ifndef SLUICE_AGENT_DATAPLANE_H
#define SLUICE_AGENT_DATAPLANE_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/dpdk.h"
#include "userspace/agent/config.h"

#define DATAPLANE_STOP_MS  500	/* no worker began a round for so long: it has stopped */
#define DATAPLANE_DOUBT_MS 100	/* … what ends now without an answer may be our own fault */
#define DATAPLANE_PROOF_MS 15000 /* after its return its links may take so long to come up */
#define DATAPLANE_GRACE_MS 1000	/* after that neighbours and lost SYNs take a moment */
#define DATAPLANE_LOSS_MS  1000	/* lost frames are looked at so often */

enum dataplane_change { DATAPLANE_AS_IT_WAS, DATAPLANE_STOPPED, DATAPLANE_BACK };

/* Read by other modules. All zero: the kernel forwards, which does not stop. */
struct dataplane {
	const struct lb_worker *workers; /* LB_WORKERS_MAX; NULL: none, XDP forwards */
	bool stopped;
	bool seen;	      /* a worker has run since the agent started, or before */
	int64_t stopped_ms;   /* when the latest stop began */
	int64_t back_ms;      /* when the latest stop ended; -1: none did */
	int64_t heard_ms;     /* first word of a node since then; -1: none yet */
	int64_t quiet_ms;     /* since the latest round of any worker; INT64_MAX: none is there */
	uint32_t n_running;   /* workers that do their rounds */
	uint32_t n_stuck;     /* workers that are there and do not */
	uint64_t n_received;  /* frames of all workers, those that were lost included */
	uint64_t n_lost;      /* … that came to a queue that was full, or that found no way out */
	int64_t counted_ms;   /* when these two were read; 0: not yet */
	double loss;	      /* share of frames lost: the worst second of late, slowly forgotten */
	int64_t ticked_ms;    /* hold_step() saw it stopped; 0: it was not */
	uint64_t n_stops;
	uint64_t n_ignored; /* checks that were no evidence */
	uint32_t links[CONFIG_INTERFACES_MAX]; /* kernel devices that workers serve; 0: none yet */
	uint32_t n_links;
};

/* Looks once: before that nothing is known, so a worker that is not there has stopped at now_ms. */
void dataplane_init(struct dataplane *d, const struct lb_worker *workers, uint32_t now_ticks,
		    int64_t now_ms);

/* Look at the workers. A stop is dated back to the last round. */
enum dataplane_change dataplane_step(struct dataplane *d, uint32_t now_ticks, int64_t now_ms);

/* A node that workers stand before has said something. */
void dataplane_heard(struct dataplane *d, int64_t now_ms);

/*
 * A check that began at started_ms ended now, just after a step, without a word from the node: may
 * that be for want of a data plane?
 */
bool dataplane_excuses(const struct dataplane *d, int64_t started_ms, int64_t now_ms);

/*
 * Share of checks that frames lost by workers explain: those their ports lost, and all that come to
 * the queue of one that stands still.
 */
double dataplane_lossy(const struct dataplane *d);

/* Look up the devices of the configuration: they are made by sluice-dpdk, so they come late. */
void dataplane_serve(struct dataplane *d, const struct config *cfg);

/* Whether packets to a device go through workers. 0, a device that is not known: they may. */
bool dataplane_serves(const struct dataplane *d, uint32_t ifindex);

#endif
