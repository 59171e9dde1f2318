/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One node: its probes -> its health and load. Judgement is health.c's and score.c's; this is
 * where results reach them, and from where changes reach the pool.
 */
#ifndef SLUICE_AGENT_NODE_H
#define SLUICE_AGENT_NODE_H

#include "userspace/agent/config.h"
#include "userspace/agent/health.h"
#include "userspace/agent/metrics.h"
#include "userspace/agent/nexthop.h"
#include "userspace/agent/probe.h"
#include "userspace/agent/score.h"
#include "userspace/agent/silence.h"

struct agent;
struct pool;
struct node;

/* One page of metrics that is scraped. */
struct node_page {
	struct node *node;
	const struct config_page *cfg;
	struct probe *probe;
	struct metrics_reader *reader;
	struct metrics_watch watch;
	struct load_sample sample;
	int64_t sample_ms; /* begin of the scrape behind sample; -1: never one */
	int64_t begin_ms;
	bool own;      /* the server's own page, not an add-on's */
	bool on_serving_port;
	bool failing;  /* the last scrape failed: logged once */
	uint64_t n_ok;
	uint64_t n_failed;
	char cause[PROBE_CAUSE_MAX];
};

/* What a drain's deadline found when it passed. */
enum node_cut {
	NODE_CUT_NONE = 0, /* none passed, or it did before this agent began */
	NODE_CUT_NOTHING,  /* the node was empty */
	NODE_CUT_WORK,	   /* connections or requests, which are reset */
	NODE_CUT_UNKNOWN,  /* its server does not say what runs */
};

struct node {
	struct agent *agent;
	struct pool *pool;
	const struct config_node *cfg; /* of the configuration in force */
	char name[LB_NAME_MAX];
	struct endpoint endpoint; /* address and serving port */
	uint64_t identity;
	uint16_t id; /* backend id */

	struct health health;
	struct health_settings health_settings;
	bool was_ready; /* passed since this agent first saw it, or adopted as such */
	struct probe *check;
	enum probe_outcome last_outcome;
	double last_rtt_ms;
	char last_cause[PROBE_CAUSE_MAX];
	char not_asked[64]; /* why this host made no check, as last logged; its beginning */
	int64_t not_asked_ms;
	uint64_t n_checks;
	uint64_t n_check_failures;
	uint64_t n_transitions;
	struct silence silence;

	struct node_page pages[PRESET_SOURCES_MAX];
	uint32_t n_pages;
	struct load_sample sample; /* all pages together */
	int64_t sample_ms;	   /* of the latest part; -1: none */
	struct score_node score;
	struct score_settings score_settings;
	struct score published; /* as last published */

	uint32_t weight; /* configured, or the operator's */
	bool weight_set; /* by the operator */
	uint32_t effective; /* thousandths, in force */
	uint32_t adopted_weight; /* thousandths, found at the start */
	bool held_by_degradation;
	bool weight_limited;
	uint64_t drain_deadline_ms; /* CLOCK_BOOTTIME; 0: none */
	bool gone; /* from its pool's discovery: serves until others are ready */
	enum node_cut cut;
	int64_t idle_since_ms; /* draining: nothing running, waiting or open since; -1: not so */
	int64_t silent_since_ms; /* draining: no packet went to it since; -1: not looked yet */
	uint64_t packets_seen;	 /* by then */
	struct nexthop_result hop;
};

enum node_order {
	NODE_ORDER_NONE = 1, /* undrain */
	NODE_ORDER_DRAIN,
	NODE_ORDER_MAINTENANCE,
};

/*
 * A node that publish.h knows as backend `id`; adopted: backend_info holds what an earlier agent
 * knew. at_start: found in the configuration at the start of the agent, so it does not warm up.
 * Probes start with node_start(). Returns 0; -ENOMEM. *ret_node is the caller's.
 */
int node_new(struct agent *agent, struct pool *pool, const struct config_node *cfg, uint16_t id,
	     bool adopted, bool at_start, int64_t now_ms, struct node **ret_node);
void node_free(struct node **node);

/* Start or replace probes as the configuration says. Returns 0 or -ENOMEM, -EINVAL. */
int node_start(struct node *node);

/*
 * The same node in a new configuration: settings and the health check follow; health and load
 * stay. load_changed: the pages that are scraped, or how, differ; otherwise they are left alone.
 */
int node_reconfigure(struct node *node, const struct config_node *cfg, bool load_changed);

/* The clock: ramps, deadlines, load from local flows. */
void node_tick(struct node *node, int64_t now_ms);

/* deadline_ms: CLOCK_BOOTTIME, 0: none. */
void node_order(struct node *node, enum node_order order, uint64_t deadline_ms, int64_t now_ms);

/* weight: 0 … CONFIG_WEIGHT_MAX; from now on the operator's, not the file's. */
void node_set_weight(struct node *node, uint32_t weight);
void node_unset_weight(struct node *node);

/* Write what people and an adopting agent read into backend_info. */
void node_publish_info(struct node *node);

#endif
