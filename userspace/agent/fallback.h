/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VIP with nothing left -> an answer all the same, from this host.
 *
 * When a pool is empty its slots name LB_BACKEND_LOCAL and the packet program passes the VIP's
 * packets to the kernel. This module sees to it that the kernel takes them (local_delivery.h), that
 * somebody listens (fallback_server.h) and what is answered (fallback_answer.h), and asks healthy
 * nodes beforehand for the answers to keep (fallback_cache.h).
 *
 *	this file	agent's loop: configuration, which pools are empty, reports
 *	  cache		agent's loop: answers of nodes, through libcurl
 *	  board		handed over: immutable sites (fallback_site.h)
 *	  server	threads of their own: accept, read, answer
 *
 * When nodes return, new connections go to them at once (their SYN is what decides). Connections
 * to this host go on: the slots are in transition from LB_BACKEND_LOCAL for PUBLISH_LOCAL_IDLE_MS,
 * which no connection here outlives (FALLBACK_LIFETIME_MS), and the kernel takes their packets for
 * as long.
 *
 * Nothing here can keep the agent from forwarding: what does not work (an address in use, a
 * certificate that does not fit) is logged, shown in the status, and tried again.
 */
#ifndef SLUICE_AGENT_FALLBACK_H
#define SLUICE_AGENT_FALLBACK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct agent;
struct config;
struct fallback;
struct fallback_server_stats;
struct pool;
struct vip;

#define FALLBACK_TICK_MS  500
#define FALLBACK_RETRY_MS 5000 /* to listen, after it failed */

/* Starts nothing yet but the thread that accepts. Returns 0; -ENOMEM; -errno. */
int fallback_new(struct agent *agent, uint32_t connections, int64_t now_ms, struct fallback **ret);

/* Connections are closed; what the kernel was told stays (local_delivery.h). Accepts NULL inside;
 * clears. */
void fallback_free(struct fallback **f);

/* Take over agent->cfg and its VIPs, all of which exist. */
void fallback_apply(struct fallback *f, int64_t now_ms);

/* The pool is about to be published as empty: from now on its packets come here. */
void fallback_pool_empty(struct fallback *f, const struct pool *pool, int64_t now_ms);

/* From agent_tick(). */
void fallback_tick(struct fallback *f, int64_t now_ms);

/* Forwarding stops for good: take back what the kernel was told. */
void fallback_detach(struct fallback *f);

/* Answers given for one VIP so far. */
struct fallback_vip_stats {
	bool listening;
	uint64_t degraded;
	uint64_t cached;
};
void fallback_vip_stats(struct fallback *f, const struct vip *vip,
			struct fallback_vip_stats *ret_stats);
void fallback_stats(struct fallback *f, struct fallback_server_stats *ret_stats,
		    uint32_t *ret_connections_max);

/* Of one VIP, and of all together. */
json_t *fallback_report_vip(struct fallback *f, const struct vip *vip, int64_t now_ms);
json_t *fallback_report(struct fallback *f);

#endif
