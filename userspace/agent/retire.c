/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/retire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/agent.h"
#include "userspace/agent/notice.h"
#include "userspace/lib/log.h"

#define STEP_MS		  500
#define CHECK_INTERVAL_MS 1000
#define CHECK_TIMEOUT_MS  2000
#define CHECK_FALL	  3 /* connects that fail in a row: it is gone */

struct retired {
	struct retire *all;
	struct probe *check;
	int64_t unnamed_ms; /* no slot names it since; -1: some do */
	uint32_t failures;
	uint16_t id;
};

struct retire {
	struct agent *agent;
	struct retired **nodes;
	struct notices notices;
	uint32_t n;
	int64_t due_ms;
};

int retire_new(struct agent *agent, struct retire **ret)
{
	struct retire *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->agent = agent;
	*ret = r;
	return 0;
}

static void retired_free(struct retired *node)
{
	probe_free(&node->check);
	free(node);
}

void retire_free(struct retire **r)
{
	if (!*r)
		return;
	for (uint32_t i = 0; i < (*r)->n; i++)
		retired_free((*r)->nodes[i]);
	free((*r)->nodes);
	free(*r);
	*r = NULL;
}

uint32_t retire_count(const struct retire *r)
{
	return r->n;
}

static struct lb_backend_info *info_of(const struct retired *node)
{
	return &node->all->agent->tables.backend_info[node->id];
}

/* --- is it there at all ----------------------------------------------------------------------- */

static void publish_state(const struct retired *node, enum lb_state state)
{
	struct publish_node_info info = {
		.state = state,
		.weight = info_of(node)->weight,
		.tier = info_of(node)->tier,
		.operator_state = LB_STATE_NONE,
		.drain_deadline_ms = info_of(node)->drain_deadline_ms,
	};

	publish_backend_info(node->all->agent->publish, node->id, &info);
}

static void end_flows(struct retired *node, const char *why)
{
	struct agent *agent = node->all->agent;

	if (!publish_backend_is_alive(agent->publish, node->id))
		return;
	notice(&node->all->notices, NOTICE_CUT, agent_now_ms(agent), LOG_LEVEL_WARN,
	       "node %s/%s, removed: %s: its remaining flows are reset", info_of(node)->pool,
	       info_of(node)->name, why);
	publish_backend_set_dead(agent->publish, node->id);
	publish_state(node, LB_STATE_UNHEALTHY);
	/* its slots forget it */
	for (uint32_t i = 0; i < agent->n_pools; i++) {
		if (strcmp(agent->pools[i]->name, info_of(node)->pool))
			continue;
		agent->pools[i]->rebuild = true;
		agent->pools[i]->dirty = true;
	}
	agent_kick(agent);
}

static void on_check(struct probe *p, void *userdata, const struct probe_result *res)
{
	struct retired *node = userdata;

	(void)p;
	if (res->outcome == PROBE_PASS || res->outcome == PROBE_LOCAL) {
		node->failures = 0;
		return;
	}
	if (++node->failures >= CHECK_FALL)
		end_flows(node, res->cause);
}

static const struct probe_ops check_ops = {.on_result = on_check};

/* That its port accepts connections is all that can be asked: what it serves is not known now. */
static int start_check(struct retired *node)
{
	struct probe_spec spec = {
		.http = {.scheme = CONFIG_SCHEME_TCP},
		.interval_ms = CHECK_INTERVAL_MS,
		.jitter_ratio = 0.1,
		.connect_timeout_ms = CHECK_TIMEOUT_MS,
		.timeout_ms = CHECK_TIMEOUT_MS,
	};
	int r = endpoint_parse(info_of(node)->address, &spec.target);

	if (r < 0)
		return r;
	return probe_new(node->all->agent->probes, &spec, &check_ops, node, &node->check);
}

/* --- coming and going ------------------------------------------------------------------------- */

void retire_add(struct retire *r, uint16_t id, int64_t now_ms)
{
	struct retired **nodes = realloc(r->nodes, (r->n + 1) * sizeof(*nodes));
	struct retired *node = calloc(1, sizeof(*node));
	struct publish *p = r->agent->publish;

	if (nodes)
		r->nodes = nodes;
	if (!nodes || !node) {
		log_error("backend %u: out of memory: its id stays in use", id);
		free(node);
		return;
	}
	*node = (struct retired){.all = r, .id = id, .unnamed_ms = -1};
	nodes[r->n++] = node;
	if (publish_backend_is_alive(p, id)) {
		publish_state(node, LB_STATE_DRAINING);
		if (start_check(node) < 0)
			log_warn("node %s/%s, removed: cannot be checked any more",
				 info_of(node)->pool, info_of(node)->name);
	}
	r->due_ms = now_ms;
}

void retire_adopted(struct retire *r, uint16_t id, int64_t now_ms)
{
	const struct lb_backend_info *info = &r->agent->tables.backend_info[id];

	notice(&r->notices, NOTICE_REMOVED, now_ms, LOG_LEVEL_INFO, "node %s/%s: removed",
	       info->pool, info->name);
	retire_add(r, id, now_ms);
}

static void drop(struct retire *r, uint32_t i)
{
	retired_free(r->nodes[i]);
	r->nodes[i] = r->nodes[--r->n];
}

void retire_back(struct retire *r, uint16_t id)
{
	for (uint32_t i = 0; i < r->n; i++) {
		if (r->nodes[i]->id != id)
			continue;
		drop(r, i);
		return;
	}
}

/* --- the end ---------------------------------------------------------------------------------- */

/* A whole pass over the entries that began after the last slot named it found none of it. */
static bool is_unused(const struct retired *node)
{
	const struct agent *agent = node->all->agent;

	return node->unnamed_ms >= 0 &&
	       (int64_t)scan_stats(agent->scan)->started_ms > node->unnamed_ms &&
	       !scan_entries_of(agent->scan, node->id) &&
	       !scan_nat_live(agent->scan_nat, node->id);
}

static void step_deadline(struct retired *node)
{
	uint64_t deadline_ms = info_of(node)->drain_deadline_ms;

	if (deadline_ms && agent_boottime_ms() >= deadline_ms)
		end_flows(node, "drain deadline passed");
}

/* Returns whether its id is free. */
static bool step(struct retired *node, int64_t now_ms)
{
	struct publish *p = node->all->agent->publish;
	bool alive = publish_backend_is_alive(p, node->id);
	char name[LB_NAME_MAX], pool[LB_NAME_MAX];

	if (publish_backend_is_named(p, node->id))
		node->unnamed_ms = -1;
	else if (node->unnamed_ms < 0)
		node->unnamed_ms = now_ms;
	step_deadline(node);
	/* Entries of a dead one are void already. */
	if (node->unnamed_ms < 0 || (alive && !is_unused(node)))
		return false;
	snprintf(name, sizeof(name), "%s", info_of(node)->name);
	snprintf(pool, sizeof(pool), "%s", info_of(node)->pool);
	if (publish_backend_release(p, node->id) < 0)
		return false;
	notice(&node->all->notices, NOTICE_GONE, now_ms, LOG_LEVEL_INFO,
	       "node %s/%s, removed: nothing is left of it", pool, name);
	return true;
}

void retire_step(struct retire *r, int64_t now_ms)
{
	notice_step(&r->notices, NULL, now_ms);
	if (!r->n || now_ms < r->due_ms)
		return;
	r->due_ms = now_ms + STEP_MS;
	for (uint32_t i = r->n; i-- > 0;)
		if (step(r->nodes[i], now_ms))
			drop(r, i);
}
