// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/report.h"

#include <sys/param.h>
#include <unistd.h>

#include "userspace/agent/discovery.h"
#include "userspace/agent/hold.h"
#include "userspace/agent/interfaces.h"
#include "userspace/agent/node_drain.h"
#include "userspace/agent/version.h"

static json_t *text_of_endpoint(const struct endpoint *ep)
{
	char text[ENDPOINT_TEXT_MAX];

	return json_string(endpoint_format(ep, text));
}

static json_t *counts_of(const struct lb_count *n)
{
	return json_pack("{sIsIsI}", "packets", (json_int_t)n->packets, "bytes",
			 (json_int_t)n->bytes, "new_flows", (json_int_t)n->flows);
}

/* Absent fields are null, which is not zero. */
static json_t *sample_value(const struct load_sample *s, enum load_field field)
{
	return load_has(s, field) ? json_real(s->value[field]) : json_null();
}

static json_t *report_load(const struct node *node, int64_t now_ms)
{
	static const char *const sources[] = {
		[SCORE_FRESH] = "fresh", [SCORE_MEDIAN] = "median", [SCORE_IGNORED] = "ignored"};
	const struct lb_load *load = &node->agent->tables.loads[node->id];
	const struct load_sample *s = &node->sample;

	return json_pack(
		"{so so so so so so so sI ss sb si si}", "queue", sample_value(s, LOAD_QUEUE),
		"running", sample_value(s, LOAD_RUNNING), "kv", sample_value(s, LOAD_KV),
		"gpu_memory", sample_value(s, LOAD_GPU_MEM), "progress",
		sample_value(s, LOAD_PROGRESS), "aborts", sample_value(s, LOAD_ABORTS), "slots",
		sample_value(s, LOAD_SLOTS), "age_ms",
		(json_int_t)(node->sample_ms < 0 ? -1 : now_ms - node->sample_ms), "source",
		node->published.source ? sources[node->published.source] : "none", "hot",
		node->published.hot, "base", (int)load->base, "inc", (int)load->inc);
}

static json_t *report_checks(const struct node *node, int64_t now_ms)
{
	json_t *pages = json_array();

	for (uint32_t i = 0; i < node->n_pages; i++) {
		const struct node_page *page = &node->pages[i];

		json_array_append_new(
			pages, json_pack("{ss sI sI sI ss}", "path", page->cfg->path, "ok",
					 (json_int_t)page->n_ok, "failed",
					 (json_int_t)page->n_failed, "age_ms",
					 (json_int_t)(page->sample_ms < 0 ? -1
									  : now_ms - page->sample_ms),
					 "error", page->cause));
	}
	return json_pack("{ss ss sf sI sI so}", "last_result",
			 node->n_checks ? probe_outcome_name(node->last_outcome) : "none", "detail",
			 node->last_cause, "latency_ms", node->last_rtt_ms, "checks",
			 (json_int_t)node->n_checks, "failures",
			 (json_int_t)node->n_check_failures, "pages", pages);
}

static json_t *report_drain(const struct node *node, int64_t now_ms)
{
	uint64_t boot_ms = agent_boottime_ms();
	uint32_t live = node_live_flows(node);
	int64_t silence_ms = node_drain_silence_ms(node, now_ms);
	json_t *requests = json_null(), *deadline = json_null(), *left = json_null();
	double n;

	if (node->health.operator == LB_STATE_NONE)
		return json_null();
	if (node_requests(node, now_ms, &n))
		requests = json_real(n);
	if (node->drain_deadline_ms)
		deadline = json_integer(node->drain_deadline_ms > boot_ms
						? (json_int_t)(node->drain_deadline_ms - boot_ms)
						: 0);
	if (silence_ms && node->silent_since_ms >= 0)
		left = json_integer(MAX(node->silent_since_ms + silence_ms - now_ms, 0));
	return json_pack("{sb si so so so ss?}", "done", node_is_drained(node, now_ms), "live_flows",
			 (int)live, "requests", requests, "deadline_in_ms", deadline,
			 "silence_left_ms", left, "deadline_left", node_cut_name(node->cut));
}

json_t *report_node(const struct node *node, int64_t now_ms)
{
	struct lb_count n;

	tables_backend_count(&node->agent->tables, node->id, &n);
	return json_pack(
		"{ss ss si so ss ss sI si sb sf si sb sb sb ss si so so so so}", "name", node->name,
		"pool", node->pool->name, "id", (int)node->id, "address",
		text_of_endpoint(&node->endpoint), "state", health_state_name(node->health.state),
		"cause", node->health.cause, "since_ms",
		(json_int_t)(now_ms - node->health.since_ms), "weight", (int)node->weight,
		"weight_set", node->weight_set, "effective_weight",
		(double)node->effective / 1000, "tier", (int)node->cfg->tier, "weight_limited",
		node->weight_limited, "discovered", node->cfg->line == 0, "gone", node->gone,
		"next_hop", nexthop_state_name(node->hop.state),
		"live_flows", (int)node_live_flows(node), "load",
		report_load(node, now_ms), "check", report_checks(node, now_ms), "drain",
		report_drain(node, now_ms), "counters", counts_of(&n));
}

json_t *report_nodes(const struct agent *agent, int64_t now_ms)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < agent->n_pools; i++)
		for (uint32_t k = 0; k < agent->pools[i]->n_nodes; k++)
			json_array_append_new(list,
					      report_node(agent->pools[i]->nodes[k], now_ms));
	return json_pack("{so}", "backends", list);
}

static json_t *report_vip(const struct agent *agent, const struct vip *vip)
{
	const struct config_pool *pc = vip->pool->cfg;
	struct lb_count n;

	tables_vip_count(&agent->tables, vip->id, &n);
	return json_pack("{ss si so ss ss ss ss ss so}", "name", vip->name, "id", (int)vip->id,
			 "address", text_of_endpoint(&vip->cfg->endpoint), "pool", vip->pool->name,
			 "mode", config_mode_name(pc->mode), "policy",
			 config_policy_name(pc->policy), "affinity",
			 config_affinity_name(pc->affinity), "on_down",
			 config_on_down_name(pc->on_down), "counters", counts_of(&n));
}

json_t *report_vips(const struct agent *agent)
{
	int64_t now_ms = agent_now_ms(agent);
	json_t *list = json_array();

	for (uint32_t i = 0; i < agent->n_vips; i++) {
		json_t *vip = report_vip(agent, agent->vips[i]);

		json_object_set_new(vip, "fallback",
				    fallback_report_vip(agent->fallback, agent->vips[i], now_ms));
		json_array_append_new(list, vip);
	}
	return json_pack("{so}", "vips", list);
}

static json_t *report_pool(const struct agent *agent, const struct pool *pool)
{
	uint32_t states[LB_STATE_MAINTENANCE + 1] = {};
	json_t *by_state = json_object();

	for (uint32_t i = 0; i < pool->n_nodes; i++)
		states[pool->nodes[i]->health.state]++;
	for (int s = LB_STATE_UNKNOWN; s <= LB_STATE_MAINTENANCE; s++)
		if (states[s])
			json_object_set_new(by_state, health_state_name(s),
					    json_integer(states[s]));
	return json_pack("{ss si si so sb sb sb sb sf sf si sI sI sf sf}", "name", pool->name, "slots",
			 (int)pool->n_slots, "nodes", (int)pool->n_nodes, "states", by_state,
			 "settled", pool->settled, "empty", pool->verdict.empty, "panic",
			 pool->verdict.panic, "standby", pool->verdict.standby, "capacity", (double)pool->verdict.capacity / 1000,
			 "healthy", (double)pool->verdict.healthy / 1000, "slots_in_transition",
			 (int)publish_in_transition(agent->publish, pool->id), "builds",
			 (json_int_t)pool->n_builds, "slots_written", (json_int_t)pool->n_words,
			 "change_ms", (double)pool->change_us / 1000, "change_max_ms",
			 (double)pool->change_max_us / 1000);
}

/* "device" is what DPDK drives; its name in the kernel is that of the mirror device. */
static json_t *report_dpdk_interfaces(const struct config *cfg)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < cfg->n_interfaces; i++)
		json_array_append_new(list, json_pack("{ss ss ss ss*}", "name",
						      cfg->interfaces[i].name, "mode", "dpdk",
						      "chain", "alone", "device",
						      cfg->interfaces[i].device));
	return list;
}

/* stopped_ms: for so long nothing has been forwarded. */
static json_t *report_dataplane(const struct agent *agent, int64_t now_ms)
{
	const struct dataplane *d = &agent->dataplane;

	if (!d->workers)
		return json_pack("{ss sb}", "kind", "xdp", "stopped", 0);
	return json_pack("{ss sb sI sI sI si si sI sf}", "kind", "dpdk", "stopped", d->stopped,
			 "stopped_ms", (json_int_t)(d->stopped ? now_ms - d->stopped_ms : 0),
			 "stops", (json_int_t)d->n_stops, "checks_ignored",
			 (json_int_t)d->n_ignored, "workers", (int)d->n_running, "workers_stuck",
			 (int)d->n_stuck, "lost", (json_int_t)d->n_lost, "loss", d->loss);
}

static json_t *report_interfaces(const struct agent *agent)
{
	json_t *list = json_array();
	uint32_t n;
	const struct attach_status *st = attach_status(agent->attach, &n);

	for (uint32_t i = 0; i < n; i++) {
		struct interfaces_state now = interfaces_state(agent->interfaces, i);

		json_array_append_new(
			list, json_pack("{ss ss ss sb ss sI sI}", "name", st[i].name, "mode",
					config_xdp_mode_name(st[i].mode), "chain",
					st[i].how == ATTACH_HOW_DISPATCHER ? "dispatcher" : "alone",
					"attached", !*now.error, "error", now.error, "losses",
					(json_int_t)now.n_losses, "repairs",
					(json_int_t)now.n_repairs));
	}
	return list;
}

static json_t *report_reasons(const struct agent *agent)
{
	json_t *all = json_object();
	uint64_t forwarded = 0;

	for (uint32_t i = 0; i < agent->n_vips; i++) {
		struct lb_count n;

		tables_vip_count(&agent->tables, agent->vips[i]->id, &n);
		forwarded += n.packets;
	}
	/* Forwarded packets are counted by VIP only: the hot path writes no counter twice. */
	json_object_set_new(all, tables_reason_name(LB_R_OK), json_integer((json_int_t)forwarded));
	for (uint32_t i = LB_R_OK + 1; i < LB_REASONS_MAX; i++)
		if (tables_reason_name(i))
			json_object_set_new(
				all, tables_reason_name(i),
				json_integer((json_int_t)tables_reason(&agent->tables, i)));
	return all;
}

static json_t *report_flows(const struct agent *agent)
{
	const struct scan_stats *s = scan_stats(agent->scan);

	return json_pack("{si si si si si sI sI sI sI}", "flows", (int)s->flows, "flows_max",
			 (int)agent->tables.flows_max, "half_open", (int)s->half_open,
			 "half_open_max", (int)agent->tables.half_open_max, "slots_with_exceptions",
			 (int)s->slots_exc, "scans", (json_int_t)s->passes, "expired",
			 (json_int_t)s->expired, "closed", (json_int_t)s->closed, "lost",
			 (json_int_t)s->lost);
}

/*
 * late_max_ms: how far the worst start of a probe was behind its time, in the last 5 to 10 s;
 * doubted: nodes whose silence is not held against them.
 */
static json_t *report_probes(const struct agent *agent)
{
	struct probe_stats s;
	int64_t late_ms;

	probe_engine_stats(agent->probes, &s);
	late_ms = s.late_max_ms > agent->late_before_ms ? s.late_max_ms : agent->late_before_ms;
	return json_pack("{si si sI sI si}", "probes", (int)s.probes, "in_flight",
			 (int)s.in_flight, "started", (json_int_t)s.started, "late_max_ms",
			 (json_int_t)late_ms, "doubted", (int)hold_doubted(agent));
}

static bool is_in_order(const struct node *node)
{
	return node->health.state == LB_STATE_HEALTHY && node->hop.state == NEXTHOP_READY;
}

/* Nodes that somebody should look at, with what is the matter, in the order of the file. */
static json_t *report_attention(const struct agent *agent, int64_t now_ms)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < agent->n_pools; i++)
		for (uint32_t k = 0; k < agent->pools[i]->n_nodes; k++) {
			const struct node *node = agent->pools[i]->nodes[k];

			if (is_in_order(node))
				continue;
			json_array_append_new(
				list,
				json_pack("{ss ss ss ss sI ss}", "pool", node->pool->name, "name",
					  node->name, "state", health_state_name(node->health.state),
					  "cause", node->health.cause, "since_ms",
					  (json_int_t)(now_ms - node->health.since_ms), "next_hop",
					  nexthop_state_name(node->hop.state)));
		}
	return list;
}

static json_t *report_warnings(const struct config *cfg)
{
	struct config_errors list = {};
	json_t *warnings = json_array();

	config_warnings(cfg, &list);
	for (uint32_t i = 0; i < list.n; i++)
		json_array_append_new(warnings, json_string(list.items[i].text));
	config_errors_free(&list);
	return warnings;
}

json_t *report_status(const struct agent *agent, int64_t now_ms)
{
	json_t *pools = json_array();
	json_t *vips = report_vips(agent);
	json_t *st;

	for (uint32_t i = 0; i < agent->n_pools; i++) {
		json_t *pool = report_pool(agent, agent->pools[i]);
		json_t *from = discovery_report(agent->pools[i]->discovery, now_ms);

		if (from)
			json_object_set_new(pool, "discovery", from);
		json_array_append_new(pools, pool);
	}
	st = json_pack("{ss si sI ss ss sI sI ss so so so so}", "version", SLUICE_VERSION, "pid",
		       (int)getpid(), "uptime_ms", (json_int_t)(now_ms - agent->started_ms),
		       "config", agent->cfg->path, "program", attach_program_tag(agent->attach),
		       "reloads", (json_int_t)agent->n_reloads, "reloads_refused",
		       (json_int_t)agent->n_reloads_refused, "reload_error", agent->reload_error,
		       "interfaces",
		       agent->cfg->dataplane == CONFIG_DATAPLANE_DPDK
			       ? report_dpdk_interfaces(agent->cfg)
			       : report_interfaces(agent),
		       "pools", pools, "flows",
		       report_flows(agent), "packets", report_reasons(agent));
	if (st && vips)
		json_object_update(st, vips);
	if (st) {
		json_object_set_new(st, "map_layout", json_integer(LB_ABI_VERSION));
		json_object_set_new(st, "pin_dir", json_string(agent->cfg->pin_dir));
		json_object_set_new(st, "warnings", report_warnings(agent->cfg));
		json_object_set_new(st, "attention", report_attention(agent, now_ms));
		json_object_set_new(st, "checks", report_probes(agent));
		json_object_set_new(st, "dataplane", report_dataplane(agent, now_ms));
		json_object_set_new(st, "fallback", fallback_report(agent->fallback));
	}
	json_decref(vips);
	return st;
}
