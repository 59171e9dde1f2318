/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The agent: configuration -> running pools, nodes and VIPs; and the owner of all of them.
 *
 * One thread, one sd-event loop (loop.c). Everything here runs in it.
 */
#ifndef SLUICE_AGENT_AGENT_H
#define SLUICE_AGENT_AGENT_H

#include <systemd/sd-event.h>

#include "userspace/agent/attach.h"
#include "userspace/agent/config.h"
#include "userspace/agent/config_diff.h"
#include "userspace/agent/dataplane.h"
#include "userspace/agent/fallback.h"
#include "userspace/agent/pool.h"
#include "userspace/agent/probe.h"
#include "userspace/agent/publish.h"
#include "userspace/agent/retire.h"
#include "userspace/agent/scan.h"
#include "userspace/agent/scan_nat.h"
#include "userspace/agent/synshare.h"
#include "userspace/agent/tables.h"

#define AGENT_ERROR_MAX 512

struct file_watch;

struct vip {
	const struct config_vip *cfg;
	char name[LB_NAME_MAX];
	uint32_t id;
	struct pool *pool;
};

struct agent {
	sd_event *event;
	struct config *cfg; /* in force */
	struct file_watch *watch; /* of the configuration file, with watch: true; else NULL */
	bool debug; /* --debug: log_level does not count */
	bool started_again; /* --restart-to-repair: a service manager does so when it fails */
	struct config_diff *diff; /* what a reload under way changes; else NULL */
	struct attach *attach;
	struct interfaces *interfaces;
	struct tables tables;
	struct publish *publish;
	struct nexthop_table *nexthop;
	struct scan *scan;
	struct synshare synshare;
	struct retire *retire;
	struct scan_nat *scan_nat;
	struct probe_engine *probes;
	struct dataplane dataplane;
	int64_t asked_ms; /* latest silence.asked_ms of any node */
	struct fallback *fallback;
	struct pool **pools;
	uint32_t n_pools;
	struct vip **vips;
	uint32_t n_vips;
	uint64_t layout; /* rises when a pool, a node or a VIP comes or goes */
	struct node *by_id[LB_BACKENDS_MAX];
	sd_event_source *kick; /* runs judgements that became due, once per loop round */
	sd_event_source *later; /* those of pools that were to wait */
	int64_t started_ms;
	int64_t ticked_ms; /* last time; 0: not yet */
	int64_t scan_due_ms;
	int64_t nexthop_due_ms;
	int64_t late_before_ms; /* latest start of a probe in the LATE_MS before this one's */
	int64_t late_due_ms;
	bool ready; /* started: changes are logged as changes, not as a beginning */
	uint64_t n_reloads;
	uint64_t n_reloads_refused;
	char reload_error[AGENT_ERROR_MAX]; /* of the last reload; "" if it worked */
};

/*
 * Bring up what cfg says: maps made or adopted, tables published, program attached. Takes cfg
 * over on success. Returns 0 or -errno with one line in err; nothing that was attached before is
 * taken down on failure.
 */
int agent_new(sd_event *event, struct config **cfg, struct agent **ret_agent,
	      struct attach_error *err);

/*
 * The rest of the start, for which privileges can be dropped before: what has threads of its own.
 * Returns 0, or -errno with one line in err.
 */
int agent_start(struct agent *agent, struct attach_error *err);

/*
 * Something else of the start failed. Interfaces that this start brought the program to are left
 * again, so that VIPs whose nodes nobody checks do not take their packets; what an earlier agent
 * attached goes on.
 */
void agent_abandon(struct agent *agent);

/* Ends the agent; program and maps stay. */
void agent_free(struct agent **agent);

/*
 * Read the file again and take it over, whole or not at all: 0, or -errno with the lines of what
 * is wrong in errs (which the caller frees) or one line in agent->reload_error. ret_diff: what it
 * changed, the caller's; may be NULL.
 */
int agent_reload(struct agent *agent, struct config_errors *errs, struct config_diff **ret_diff);

/* Bring runtime objects to a configuration. The old one must live until this returns. */
int agent_apply(struct agent *agent, struct config *cfg, bool at_start, int64_t now_ms,
		struct attach_error *err);

/*
 * Stop forwarding: programs off, pins gone. -EPERM: only root can do it (the program runs in
 * libxdp's dispatcher), by attach_detach_pinned() once this agent has ended.
 */
int agent_detach(struct agent *agent, struct attach_error *err);

/* Node by "NAME" (if only one pool has it) or "POOL/NAME". NULL: none, or *ret_ambiguous. */
struct node *agent_find_node(const struct agent *agent, const char *name, bool *ret_ambiguous);

/* A pool wants judgement before the loop waits again. */
void agent_kick(struct agent *agent);

/* Every AGENT_TICK_MS. */
#define AGENT_TICK_MS 100
void agent_tick(struct agent *agent, int64_t now_ms);

/* A node's state changed, or only its cause: log it, publish it. */
void agent_node_changed(struct node *node, const struct health_change *change);

int64_t agent_now_ms(const struct agent *agent); /* CLOCK_MONOTONIC */
uint64_t agent_boottime_ms(void);
int64_t agent_clock_ms(void); /* CLOCK_MONOTONIC at this moment: for what must not be dated back */
int64_t agent_clock_us(void); /* likewise */
int64_t agent_cpu_us(void);   /* processor time of this thread */
int64_t agent_realtime_ms(void); /* for people and for Prometheus; nothing is decided by it */

#endif
