/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entries that a scan removes, exactly: of a scan and of packets that end, refresh or replace a flow
 * at the same time one removes it, and one subtracts it from lb_load.flows. In hash maps by
 * bpf/scan.bpf.c, in tables of poll-mode workers here.
 */
#ifndef SLUICE_AGENT_SCAN_PROG_H
#define SLUICE_AGENT_SCAN_PROG_H

#include "maps/scan.h"
#include "userspace/lib/flow_table.h"

struct scan_prog;

/*
 * For the map of exceptions flows_fd, with replies_fd -1; or for those of mode nat. They must stay
 * open. Returns 0; -ENOMEM; or why the kernel does not load the program.
 */
int scan_prog_new(int flows_fd, int replies_fd, struct scan_prog **ret);

/* Accepts NULL inside; clears. */
void scan_prog_free(struct scan_prog **p);

/*
 * Exceptions: take off the mark that the entry counts. Mode nat: remove flow and reply.
 * Returns enum lb_scan_answer, or -errno.
 */
int scan_prog_run(const struct scan_prog *p, const struct lb_scan_ask *ask);

/* The same for exceptions of poll-mode workers, and the mark back on where the entry lies. */
int scan_uncount_dpdk(const struct flow_table *t, const struct lb_scan_ask *ask);
void scan_count_dpdk(const struct flow_table *t, const struct lb_flow_key *key);

/* The same for their flows of mode nat. now: ticks of their clock. */
int scan_remove_dpdk(struct flow_table *flows, struct flow_table *replies,
		     const struct lb_scan_ask *ask, uint32_t now);

#endif
