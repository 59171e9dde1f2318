// SPDX-License-Identifier: BSD-2-Clause
/* Families about each node. */
#include <stdio.h>

#include "userspace/agent/export_priv.h"
#include "userspace/agent/node_drain.h"

#define VALUE(fn, expression)                                                                      \
	static double fn(const struct export_now *now, const struct node *node)                    \
	{                                                                                          \
		(void)now;                                                                         \
		return (double)(expression);                                                       \
	}

/* --- state ------------------------------------------------------------------------------------ */

static void info(const struct export_now *now, struct export_text *t, const struct node *node)
{
	char address[ENDPOINT_TEXT_MAX], id[16], tier[16];

	(void)now;
	snprintf(id, sizeof(id), "%u", node->id);
	snprintf(tier, sizeof(tier), "%u", node->cfg->tier);
	export_text_sample(t, 1, "address", endpoint_format(&node->endpoint, address), "id", id,
			   "tier", tier, NULL);
}

static void state(const struct export_now *now, struct export_text *t, const struct node *node)
{
	(void)now;
	for (int s = LB_STATE_UNKNOWN; s <= LB_STATE_MAINTENANCE; s++)
		export_text_sample(t, node->health.state == (enum lb_state)s, "state",
				   health_state_name(s), NULL);
}

static void cause(const struct export_now *now, struct export_text *t, const struct node *node)
{
	(void)now;
	export_text_sample(t, 1, "cause", health_cause_name(node->health.cause_kind), NULL);
}

static void order(const struct export_now *now, struct export_text *t, const struct node *node)
{
	static const enum lb_state orders[] = {LB_STATE_DRAINING, LB_STATE_MAINTENANCE};

	(void)now;
	for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
		export_text_sample(t, node->health.operator == orders[i], "order",
				   health_state_name(orders[i]), NULL);
}

VALUE(since, export_age_s(now, node->health.since_ms))
VALUE(transitions, node->n_transitions)
VALUE(drained, node->health.operator == LB_STATE_NONE ? NAN : node_is_drained(node, now->now_ms))

static double drain_deadline(const struct export_now *now, const struct node *node)
{
	uint64_t boot_ms = agent_boottime_ms();

	(void)now;
	if (!node->drain_deadline_ms)
		return NAN;
	return node->drain_deadline_ms > boot_ms
		       ? (double)(node->drain_deadline_ms - boot_ms) / 1000
		       : 0;
}

/* "kv cache" -> "kv_cache" */
static void over_limit(const struct export_now *now, struct export_text *t, const struct node *node)
{
	static const char *const names[HEALTH_DIM_N] = {
		[HEALTH_DIM_KV] = "kv_cache",	[HEALTH_DIM_GPU_MEMORY] = "gpu_memory",
		[HEALTH_DIM_QUEUE] = "queue",	[HEALTH_DIM_LATENCY] = "latency",
		[HEALTH_DIM_ABORTS] = "aborts",
	};

	(void)now;
	for (int i = 0; i < HEALTH_DIM_N; i++)
		if (node->health.dims[i].known)
			export_text_sample(t, node->health.dims[i].over, "dimension", names[i],
					   NULL);
}

/* --- weight ----------------------------------------------------------------------------------- */

VALUE(share, node->pool->effective ? (double)node->effective / (double)node->pool->effective : 0)
VALUE(weight, node->weight)
VALUE(effective, (double)node->effective / 1000)

/* --- checks and scrapes ----------------------------------------------------------------------- */

static void checks(const struct export_now *now, struct export_text *t, const struct node *node)
{
	(void)now;
	export_text_sample(t, (double)(node->n_checks - node->n_check_failures), "result", "pass",
			   NULL);
	export_text_sample(t, (double)node->n_check_failures, "result", "fail", NULL);
}

VALUE(check_time, node->n_checks > node->n_check_failures ? node->last_rtt_ms / 1000 : NAN)

static void scrapes(const struct export_now *now, struct export_text *t, const struct node *node)
{
	(void)now;
	for (uint32_t i = 0; i < node->n_pages; i++) {
		const struct node_page *page = &node->pages[i];
		const char *name = page->cfg->source->name;

		export_text_sample(t, (double)page->n_ok, "page", name, "result", "pass", NULL);
		export_text_sample(t, (double)page->n_failed, "page", name, "result", "fail", NULL);
	}
}

static void scrape_age(const struct export_now *now, struct export_text *t, const struct node *node)
{
	for (uint32_t i = 0; i < node->n_pages; i++)
		export_text_sample(t, export_age_s(now, node->pages[i].sample_ms), "page",
				   node->pages[i].cfg->source->name, NULL);
}

/* --- load ------------------------------------------------------------------------------------- */

static double said(const struct node *node, enum load_field field)
{
	return node->sample_ms >= 0 && load_has(&node->sample, field) ? node->sample.value[field]
								      : NAN;
}

static void load_source(const struct export_now *now, struct export_text *t,
			const struct node *node)
{
	static const char *const names[] = {
		[SCORE_FRESH] = "fresh", [SCORE_MEDIAN] = "median", [SCORE_IGNORED] = "ignored"};

	(void)now;
	for (size_t i = SCORE_FRESH; i < ARRAY_SIZE(names); i++)
		export_text_sample(t, node->published.source == i, "source", names[i], NULL);
}

static double request_slots(const struct export_now *now, const struct node *node)
{
	(void)now;
	if (node->score_settings.slots)
		return node->score_settings.slots;
	if (node->score.given_slots > 0)
		return node->score.given_slots;
	return node->score.learned_slots > 0 ? node->score.learned_slots : NAN;
}

static const struct lb_load *published(const struct export_now *now, const struct node *node)
{
	return &now->agent->tables.loads[node->id];
}

VALUE(waiting, said(node, LOAD_QUEUE))
VALUE(running, said(node, LOAD_RUNNING))
VALUE(kv, said(node, LOAD_KV))
VALUE(gpu_memory, said(node, LOAD_GPU_MEM))
VALUE(progress, said(node, LOAD_PROGRESS))
VALUE(aborts, said(node, LOAD_ABORTS))
VALUE(load_age, export_age_s(now, node->score.sample_ms))
VALUE(base, __atomic_load_n(&published(now, node)->base, __ATOMIC_RELAXED))
VALUE(inc, __atomic_load_n(&published(now, node)->inc, __ATOMIC_RELAXED))
VALUE(hot, node->published.hot)

/* --- traffic ---------------------------------------------------------------------------------- */

static struct lb_count counts(const struct export_now *now, const struct node *node)
{
	struct lb_count n;

	tables_backend_count(&now->agent->tables, node->id, &n);
	return n;
}

VALUE(packets, counts(now, node).packets)
VALUE(bytes, counts(now, node).bytes)
VALUE(flows, counts(now, node).flows)
VALUE(live_flows, node_live_flows(node))
VALUE(next_hop, node->hop.state == NEXTHOP_READY)

/* --- the table -------------------------------------------------------------------------------- */

#define COUNT(n, fn, text) {.name = n, .type = EXPORT_COUNTER, .help = text, .value.node = fn}
#define GAUGE(n, fn, text) {.name = n, .type = EXPORT_GAUGE, .help = text, .value.node = fn}
#define COUNTS(n, fn, text) {.name = n, .type = EXPORT_COUNTER, .help = text, .samples.node = fn}
#define GAUGES(n, fn, text) {.name = n, .type = EXPORT_GAUGE, .help = text, .samples.node = fn}

static const struct export_family families[] = {
	GAUGES("sluice_node_info", info, "Always 1; where a node is."),
	GAUGES("sluice_node_state", state, "1 for the state it is in."),
	GAUGES("sluice_node_state_cause", cause, "Always 1; what the latest change came from."),
	GAUGE("sluice_node_state_age_seconds", since, "Since its state changed."),
	COUNT("sluice_node_transitions_total", transitions, "Changes of its state."),
	GAUGES("sluice_node_order", order, "1 for the operator's order in force."),
	GAUGE("sluice_node_drained", drained,
	      "With an order: 1 if nothing runs, waits or is open there any more."),
	GAUGE("sluice_node_drain_deadline_seconds", drain_deadline,
	      "Until a drain's deadline, when what is left is reset."),
	GAUGES("sluice_node_over_limit", over_limit,
	       "1 for each dimension judged that degrades it."),
	GAUGE("sluice_node_weight", weight, "Configured capacity weight, or the operator's."),
	GAUGE("sluice_node_effective_weight", effective, "What its table is built from."),
	GAUGE("sluice_node_share_ratio", share, "Its share of its pool's table."),
	COUNTS("sluice_node_checks_total", checks, "Health checks, as they were judged."),
	GAUGE("sluice_node_check_duration_seconds", check_time,
	      "Of the last health check that passed."),
	COUNTS("sluice_node_scrapes_total", scrapes, "Scrapes of its pages."),
	GAUGES("sluice_node_scrape_age_seconds", scrape_age,
	       "Since the last good scrape of a page began."),
	GAUGE("sluice_node_requests_waiting", waiting, "As it said last."),
	GAUGE("sluice_node_requests_running", running, "As it said last."),
	GAUGE("sluice_node_kv_cache_usage_ratio", kv, "As it said last."),
	GAUGE("sluice_node_gpu_memory_usage_ratio", gpu_memory, "As it said last."),
	COUNT("sluice_node_progress_total", progress, "Its counter of work done, as it said last."),
	COUNT("sluice_node_aborts_total", aborts, "Its counter of requests cut short."),
	GAUGE("sluice_node_request_slots", request_slots,
	      "Requests it runs at once: configured, told by it, or learned."),
	GAUGE("sluice_node_load_age_seconds", load_age,
	      "Age of the sample that its load score is from."),
	GAUGES("sluice_node_load_source", load_source,
	       "1 for where its score is from; median: of its pool, its own is stale."),
	GAUGE("sluice_node_load_base", base, "Requests running and waiting, as published."),
	GAUGE("sluice_node_load_added", inc, "Connections this host added since that scrape."),
	GAUGE("sluice_node_hot", hot, "1 if requests wait there or its slots are nearly full."),
	COUNT("sluice_node_packets_total", packets, "Packets forwarded to it."),
	COUNT("sluice_node_bytes_total", bytes, "IP bytes forwarded to it, as received."),
	COUNT("sluice_node_new_flows_total", flows, "Connections given to it."),
	GAUGE("sluice_node_live_flows", live_flows,
	      "Open connections that have an entry, as of the last scan."),
	GAUGE("sluice_node_next_hop_ready", next_hop, "1 if packets for it can be sent."),
};

const struct export_table *export_node_table(void)
{
	static const struct export_table table = {families, ARRAY_SIZE(families)};

	return &table;
}
