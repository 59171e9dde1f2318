// SPDX-License-Identifier: BSD-2-Clause
/* Families about each VIP and each pool. */
#include "userspace/agent/discovery.h"
#include "userspace/agent/export_priv.h"
#include "userspace/agent/fallback.h"

#define VALUE(fn, expression)                                                                      \
	static double fn(const struct export_now *now, const struct pool *pool)                    \
	{                                                                                          \
		(void)now;                                                                         \
		return (double)(expression);                                                       \
	}

/* --- VIPs ------------------------------------------------------------------------------------- */

static void vip_info(const struct export_now *now, struct export_text *t, const struct vip *vip)
{
	char address[ENDPOINT_TEXT_MAX];
	const struct config_pool *cfg = vip->pool->cfg;

	(void)now;
	export_text_sample(t, 1, "address", endpoint_format(&vip->cfg->endpoint, address), "pool",
			   vip->pool->name, "mode", config_mode_name(cfg->mode), "policy",
			   config_policy_name(cfg->policy), "affinity",
			   config_affinity_name(cfg->affinity), "on_down",
			   config_on_down_name(cfg->on_down), NULL);
}

static struct lb_count vip_count(const struct export_now *now, const struct vip *vip)
{
	struct lb_count n;

	tables_vip_count(&now->agent->tables, vip->id, &n);
	return n;
}

static double vip_packets(const struct export_now *now, const struct vip *vip)
{
	return (double)vip_count(now, vip).packets;
}

static double vip_bytes(const struct export_now *now, const struct vip *vip)
{
	return (double)vip_count(now, vip).bytes;
}

static double vip_flows(const struct export_now *now, const struct vip *vip)
{
	return (double)vip_count(now, vip).flows;
}

static void vip_answers(const struct export_now *now, struct export_text *t, const struct vip *vip)
{
	struct fallback_vip_stats s;

	if (!now->agent->fallback || !vip->cfg->fallback.enabled)
		return;
	fallback_vip_stats(now->agent->fallback, vip, &s);
	export_text_sample(t, (double)s.degraded, "kind", "degraded", NULL);
	export_text_sample(t, (double)s.cached, "kind", "cached", NULL);
}

static double vip_listening(const struct export_now *now, const struct vip *vip)
{
	struct fallback_vip_stats s;

	if (!now->agent->fallback || !vip->cfg->fallback.enabled)
		return NAN;
	fallback_vip_stats(now->agent->fallback, vip, &s);
	return s.listening;
}

#define FAMILY(scope, n, t, fn, text) {.name = n, .type = t, .help = text, .scope = fn}

static const struct export_family vip_families[] = {
	FAMILY(samples.vip, "sluice_vip_info", EXPORT_GAUGE, vip_info,
	       "Always 1; what a VIP is and where it leads."),
	FAMILY(value.vip, "sluice_vip_packets_total", EXPORT_COUNTER, vip_packets,
	       "Packets forwarded to nodes."),
	FAMILY(value.vip, "sluice_vip_bytes_total", EXPORT_COUNTER, vip_bytes,
	       "IP bytes forwarded to nodes, as received."),
	FAMILY(value.vip, "sluice_vip_new_flows_total", EXPORT_COUNTER, vip_flows,
	       "Connections that were given a node."),
	FAMILY(samples.vip, "sluice_vip_fallback_answers_total", EXPORT_COUNTER, vip_answers,
	       "Answers of this host because no node was left."),
	FAMILY(value.vip, "sluice_vip_fallback_listening", EXPORT_GAUGE, vip_listening,
	       "1 if this host can answer for the VIP when no node is left."),
};

const struct export_table *export_vip_table(void)
{
	static const struct export_table table = {vip_families, ARRAY_SIZE(vip_families)};

	return &table;
}

/* --- pools ------------------------------------------------------------------------------------ */

static void pool_nodes(const struct export_now *now, struct export_text *t, const struct pool *pool)
{
	uint32_t n[LB_STATE_MAINTENANCE + 1] = {};

	(void)now;
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		n[pool->nodes[i]->health.state]++;
	for (int s = LB_STATE_UNKNOWN; s <= LB_STATE_MAINTENANCE; s++)
		export_text_sample(t, n[s], "state", health_state_name(s), NULL);
}

static void pool_transitions(const struct export_now *now, struct export_text *t,
			     const struct pool *pool)
{
	(void)now;
	for (int s = LB_STATE_UNKNOWN; s <= LB_STATE_MAINTENANCE; s++)
		export_text_sample(t, (double)pool->n_transitions[s], "to", health_state_name(s),
				   NULL);
}

VALUE(capacity, (double)pool->verdict.capacity / 1000)
VALUE(healthy, (double)pool->verdict.healthy / 1000)
VALUE(empty, pool->published && pool->local)
VALUE(panic, pool->verdict.panic)
VALUE(tiers, pool->verdict.tiers)
VALUE(limited, pool->verdict.limited)
VALUE(slots, pool->n_slots)
VALUE(in_transition, publish_in_transition(now->agent->publish, pool->id))
VALUE(builds, pool->n_builds)
VALUE(change, pool->n_builds ? (double)pool->change_us / 1e6 : NAN)
VALUE(change_max, pool->n_builds ? (double)pool->change_max_us / 1e6 : NAN)
VALUE(build_failures, pool->n_build_failures)
VALUE(words, pool->n_words)
VALUE(table_age, pool->n_builds ? export_age_s(now, pool->built_ms) : NAN)
VALUE(pending, pool->rebuild)
VALUE(scores_age, pool->published ? export_age_s(now, pool->scores_ms) : NAN)

/* --- discovery -------------------------------------------------------------------------------- */

/* Returns false for a pool whose nodes are all in the configuration. */
static bool discovery_of(const struct pool *pool, struct discovery_stats *ret)
{
	if (!pool->discovery)
		return false;
	discovery_stats(pool->discovery, ret);
	return ret->type != CONFIG_DISCOVERY_NONE;
}

static void discovery_answers(const struct export_now *now, struct export_text *t,
			      const struct pool *pool)
{
	struct discovery_stats s;

	(void)now;
	if (!discovery_of(pool, &s))
		return;
	export_text_sample(t, (double)s.n_answers, "result", "pass", NULL);
	export_text_sample(t, (double)s.n_failures, "result", "fail", NULL);
}

#define DISCOVERY_VALUE(fn, expression)                                                            \
	static double fn(const struct export_now *now, const struct pool *pool)                    \
	{                                                                                          \
		struct discovery_stats s;                                                          \
                                                                                                   \
		(void)now;                                                                         \
		return discovery_of(pool, &s) ? (double)(expression) : NAN;                        \
	}

DISCOVERY_VALUE(discovery_members, s.nodes)
DISCOVERY_VALUE(discovery_leaving, s.leaving)
DISCOVERY_VALUE(discovery_failing, s.failing)
DISCOVERY_VALUE(discovery_age, export_age_s(now, s.answered_ms))

/* --- the table -------------------------------------------------------------------------------- */

#define COUNT(n, fn, text) FAMILY(value.pool, n, EXPORT_COUNTER, fn, text)
#define GAUGE(n, fn, text) FAMILY(value.pool, n, EXPORT_GAUGE, fn, text)

static const struct export_family pool_families[] = {
	FAMILY(samples.pool, "sluice_pool_nodes", EXPORT_GAUGE, pool_nodes, "Nodes by state."),
	FAMILY(samples.pool, "sluice_pool_transitions_total", EXPORT_COUNTER, pool_transitions,
	       "Changes of state of its nodes, by the new state."),
	GAUGE("sluice_pool_capacity", capacity,
	      "Configured capacity weight of the tiers in use."),
	GAUGE("sluice_pool_healthy_capacity", healthy,
	      "Of that, the weight of nodes that work and are not degraded."),
	GAUGE("sluice_pool_empty", empty,
	      "1 if no node is left and this host answers for its VIPs."),
	GAUGE("sluice_pool_panic", panic,
	      "1 if so much is degraded that degraded nodes stay in."),
	GAUGE("sluice_pool_tiers", tiers, "Tiers in use; more than 1: standby nodes joined."),
	GAUGE("sluice_pool_weight_limited", limited,
	      "1 while changes wait for the limit of change a minute."),
	GAUGE("sluice_pool_slots", slots, "Slots of its table."),
	GAUGE("sluice_pool_slots_in_transition", in_transition,
	      "Slots whose older connections still belong to another node."),
	COUNT("sluice_pool_table_builds_total", builds, "Times its table was built."),
	GAUGE("sluice_pool_change_seconds", change,
	      "What the latest change of its table took, from judgement to maps written."),
	GAUGE("sluice_pool_change_max_seconds", change_max,
	      "The longest of these since the agent started."),
	COUNT("sluice_pool_table_build_failures_total", build_failures,
	      "Times that failed, and the old table stayed."),
	COUNT("sluice_pool_slots_written_total", words, "Slots that changed."),
	GAUGE("sluice_pool_table_age_seconds", table_age, "Since its table was built."),
	GAUGE("sluice_pool_table_pending", pending,
	      "1 while its table does not follow what was decided."),
	GAUGE("sluice_pool_scores_age_seconds", scores_age,
	      "Since load scores of its nodes were published (every 0.25 s)."),
	FAMILY(samples.pool, "sluice_pool_discovery_answers_total", EXPORT_COUNTER,
	       discovery_answers, "Answers of the source that names its nodes."),
	GAUGE("sluice_pool_discovery_nodes", discovery_members, "Nodes it has from that source."),
	GAUGE("sluice_pool_discovery_leaving", discovery_leaving,
	      "Of those, nodes that the source names no longer."),
	GAUGE("sluice_pool_discovery_failing", discovery_failing,
	      "1 if the last answer was not good; its nodes stay as they are."),
	GAUGE("sluice_pool_discovery_age_seconds", discovery_age, "Since the last good answer."),
};

const struct export_table *export_pool_table(void)
{
	static const struct export_table table = {pool_families, ARRAY_SIZE(pool_families)};

	return &table;
}
