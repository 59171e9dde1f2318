/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_syn: new connections a second, by policy and number of members, measured inside the kernel.
 * tables.c: the balancer, with one VIP and one pool that are set up anew for each measurement.
 * main.c: rounds, checks, figures.
 */
#ifndef TOOLS_BENCH_SYN_SYN_H
#define TOOLS_BENCH_SYN_SYN_H

#include <stdint.h>

#include "maps/vip.h"
#include "tools/lib/bench_run.h"

#define SYN_CHUNKS      8 /* of a round: each a run of its own, of BENCH_CHUNK + 1 flows */
#define SYN_FLOWS       (SYN_CHUNKS * (BENCH_CHUNK + 1))
#define SYN_FRAMES      (2 * SYN_CHUNKS * BENCH_CHUNK) /* chunk i begins at frame 2 i BENCH_CHUNK */
#define SYN_MEMBERS_MAX 512

/* SYN number i: all SYN_FRAMES have different sources. A bench_frame_fn. */
void syn_frame(const void *unused, uint32_t i, uint8_t ret_frame[BENCH_FRAME_LEN]);

struct syn_balancer;

/* What the balancer counted since it was loaded, on all CPUs. */
struct syn_counts {
	uint64_t sent;     /* new flows sent to the members */
	uint64_t flows;    /* new flows of the VIP */
	uint64_t entries;  /* flow entries made */
	uint64_t overflow; /* entries refused, for whatever reason */
};

/* Loads the balancer. Returns 0, -errno. Freed by syn_balancer_close(), which accepts NULL. */
int syn_balancer_open(struct syn_balancer **ret_balancer);
void syn_balancer_close(struct syn_balancer *b);
int syn_balancer_fd(const struct syn_balancer *b);

/*
 * Slots, members, turns and loads of a pool with n_members; no entry, no live flow. Every flow gets
 * an entry, but for hash (none) and p2c (those sent to their second choice), as the agent sets it.
 * All slots but those of policy hash are marked as having exceptions, as they are once a pool has
 * been in use: each SYN then looks for an earlier entry. Returns 0, -errno.
 */
int syn_balancer_prepare(struct syn_balancer *b, enum lb_policy policy, uint32_t n_members);

/* As the end of a scrape: the members' loads are those it saw, what was added since is gone. */
void syn_balancer_scrape(struct syn_balancer *b, uint32_t n_members);

void syn_balancer_counts(const struct syn_balancer *b, uint32_t n_members,
			 struct syn_counts *ret_counts);

/* Removes all half-open entries, and forgets which SYNs there were. Returns 0, -errno. */
int syn_balancer_clear(struct syn_balancer *b, uint32_t *ret_removed);

#endif
