// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/node_drain.h"

#include "userspace/agent/agent_priv.h"
#include "userspace/agent/notice.h"

#define IDLE_BEFORE_DRAINED_MS 1000

bool node_requests(const struct node *node, int64_t now_ms, double *ret_requests)
{
	const struct load_sample *s = &node->sample;

	if (!node->n_pages || node->sample_ms < 0 ||
	    now_ms - node->sample_ms > node->cfg->load->stale_ms)
		return false;
	if (!load_has(s, LOAD_QUEUE) && !load_has(s, LOAD_RUNNING))
		return false;
	*ret_requests = s->queue + s->running;
	return true;
}

uint32_t node_live_flows(const struct node *node)
{
	uint64_t passes;

	return scan_live(node->agent->scan, node->id, &passes) +
	       scan_nat_live(node->agent->scan_nat, node->id);
}

/* Whether the sample is of now, and says how many requests run. */
static bool says_what_runs(const struct node *node, int64_t now_ms)
{
	double requests;

	return node_requests(node, now_ms, &requests) && load_has(&node->sample, LOAD_RUNNING);
}

/* Every connection has an entry, whether it has sent anything lately or not. */
static bool has_entries_only(const struct config_pool *cfg)
{
	return cfg->mode == CONFIG_MODE_NAT ||
	       (cfg->policy != CONFIG_POLICY_HASH && cfg->policy != CONFIG_POLICY_P2C);
}

static bool is_down(const struct node *node)
{
	return node->health.under == LB_STATE_UNHEALTHY || node->health.under == LB_STATE_LOADING;
}

int64_t node_drain_silence_ms(const struct node *node, int64_t now_ms)
{
	int64_t idle_ms = node->agent->cfg->flow_idle_ms;

	if (says_what_runs(node, now_ms) || has_entries_only(node->pool->cfg) || is_down(node))
		return 0;
	return idle_ms < NODE_DRAIN_SILENCE_MS ? idle_ms : NODE_DRAIN_SILENCE_MS;
}

static void look_for_packets(struct node *node, int64_t now_ms)
{
	struct lb_count n;

	tables_backend_count(&node->agent->tables, node->id, &n);
	if (node->silent_since_ms < 0 || n.packets != node->packets_seen)
		node->silent_since_ms = now_ms;
	node->packets_seen = n.packets;
}

static bool is_idle(const struct node *node, int64_t now_ms)
{
	int64_t silence_ms = node_drain_silence_ms(node, now_ms);
	double requests = 0;

	if (!node_requests(node, now_ms, &requests) && node->agent->dataplane.stopped)
		return false; /* its flows cannot be heard of either */
	if (requests > 0 || node_live_flows(node) > 0)
		return false;
	return !node->packets_seen || now_ms - node->silent_since_ms >= silence_ms;
}

const char *node_cut_name(enum node_cut cut)
{
	static const char *const names[] = {[NODE_CUT_NOTHING] = "nothing",
					    [NODE_CUT_WORK] = "work",
					    [NODE_CUT_UNKNOWN] = "unknown"};

	return names[cut];
}

static enum node_cut what_is_left(const struct node *node, int64_t now_ms)
{
	double requests = 0;

	(void)node_requests(node, now_ms, &requests);
	if (requests > 0 || node_live_flows(node) > 0)
		return NODE_CUT_WORK;
	return node_is_drained(node, now_ms) ? NODE_CUT_NOTHING : NODE_CUT_UNKNOWN;
}

static void pass_deadline(struct node *node, int64_t now_ms)
{
	static const char *const said[] = {
		[NODE_CUT_NOTHING] = "nothing was left",
		[NODE_CUT_WORK] = "its remaining flows are reset",
		[NODE_CUT_UNKNOWN] = "flows that remain, which its server does not tell, are reset",
	};
	enum node_cut cut = what_is_left(node, now_ms);

	notice(&node->pool->notices, NOTICE_CUT, now_ms,
	       cut == NODE_CUT_NOTHING ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
	       "node %s/%s: drain deadline passed: %s", node->pool->name, node->name, said[cut]);
	node_order(node, NODE_ORDER_MAINTENANCE, 0, now_ms);
	node->cut = cut;
}

/* Empty, but not for as long as it takes to be sure. */
static bool seems_drained(const struct node *node, int64_t now_ms)
{
	return node->idle_since_ms >= 0 && !node_is_drained(node, now_ms);
}

void node_drain_tick(struct node *node, int64_t now_ms)
{
	if (node->health.operator != LB_STATE_DRAINING)
		return;
	look_for_packets(node, now_ms);
	if (!is_idle(node, now_ms))
		node->idle_since_ms = -1;
	else if (node->idle_since_ms < 0)
		node->idle_since_ms = now_ms;
	scan_request(node->agent->scan);
	if (node->drain_deadline_ms && agent_boottime_ms() >= node->drain_deadline_ms &&
	    !seems_drained(node, now_ms))
		pass_deadline(node, now_ms);
}

bool node_is_drained(const struct node *node, int64_t now_ms)
{
	if (node->health.operator == LB_STATE_MAINTENANCE)
		return true;
	return node->health.operator == LB_STATE_DRAINING && node->idle_since_ms >= 0 &&
	       now_ms - node->idle_since_ms >= IDLE_BEFORE_DRAINED_MS;
}
