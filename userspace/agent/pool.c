// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/agent.h"
#include "userspace/agent/discovery.h"
#include "userspace/agent/maglev.h"
#include "userspace/agent/turns.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define SCORES_EVERY_MS	 250 /* also without new samples, so that stale ones are noticed */
#define FIGURES_EVERY_MS 250
#define SETTLE_MS	 2000
#define RETRY_MS	 1000 /* after something failed for want of memory */
#define QUIET_TIMES	 4    /* a change that took so long keeps others waiting for so often that */
#define QUIET_MAX_US	 100000

bool pool_tracks(const struct config_pool *cfg)
{
	switch (cfg->policy) {
	case CONFIG_POLICY_HASH:
		return false;
	case CONFIG_POLICY_P2C:
		return cfg->load->n_pages == 0;
	case CONFIG_POLICY_LEAST_QUEUE:
	case CONFIG_POLICY_LEAST_CONN:
	case CONFIG_POLICY_ROUND_ROBIN:
	case CONFIG_POLICY_WEIGHTED_ROUND_ROBIN:
		break;
	}
	return true;
}

static void configure(struct pool *pool, const struct config_pool *cfg)
{
	pool->cfg = cfg;
	weight_settings_default(&pool->weight_settings);
	pool->weight_settings.standby_below_ratio = cfg->standby.below_ratio;
	pool->weight_settings.standby_above_ratio = cfg->standby.above_ratio;
	pool->weight_settings.max_out_ratio = cfg->thresholds->max_out_ratio;
	pool->weight_settings.change_ratio = cfg->thresholds->weight_change_ratio;
	pool->dirty = true;
	pool->rebuild = true;
}

int pool_new(struct agent *agent, const struct config_pool *cfg, uint32_t id, bool at_start,
	     struct pool **ret_pool)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pool->agent = agent;
	pool->id = id;
	pool->n_slots = cfg->table_slots;
	pool->next_ms = INT64_MAX;
	pool->created_ms = agent_now_ms(agent);
	snprintf(pool->name, sizeof(pool->name), "%s", cfg->name);
	configure(pool, cfg);
	pool->cur = calloc(pool->n_slots, sizeof(*pool->cur));
	pool->alt = calloc(pool->n_slots, sizeof(*pool->alt));
	if (!pool->cur || !pool->alt ||
	    discovery_new(agent, pool, at_start, &pool->discovery) < 0) {
		pool_free(&pool);
		return -ENOMEM;
	}
	*ret_pool = pool;
	return 0;
}

void pool_free(struct pool **pool)
{
	struct pool *p = *pool;

	if (!p)
		return;
	for (uint32_t i = 0; i < p->n_nodes; i++)
		node_free(&p->nodes[i]);
	discovery_free(&p->discovery);
	free(p->nodes);
	free(p->cur);
	free(p->alt);
	free(p);
	*pool = NULL;
}

int pool_reconfigure(struct pool *pool, const struct config_pool *cfg)
{
	configure(pool, cfg);
	return 0;
}

int pool_add(struct pool *pool, struct node *node)
{
	struct node **nodes = realloc(pool->nodes, (pool->n_nodes + 1) * sizeof(*nodes));

	if (!nodes)
		return -ENOMEM;
	pool->nodes = nodes;
	nodes[pool->n_nodes++] = node;
	pool->agent->layout++;
	pool->dirty = true;
	pool->rebuild = true;
	return 0;
}

void pool_remove(struct pool *pool, struct node *node)
{
	for (uint32_t i = 0; i < pool->n_nodes; i++) {
		if (pool->nodes[i] != node)
			continue;
		memmove(&pool->nodes[i], &pool->nodes[i + 1],
			(pool->n_nodes - i - 1) * sizeof(struct node *));
		pool->n_nodes--;
		pool->agent->layout++;
		pool->dirty = true;
		pool->rebuild = true;
		return;
	}
}

struct node *pool_find(const struct pool *pool, const char *name)
{
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		if (!strcmp(pool->nodes[i]->name, name))
			return pool->nodes[i];
	return NULL;
}

/* --- load ------------------------------------------------------------------------------------- */

/* Publish load scores: base, hot, stale. */
static void publish_scores(struct pool *pool, int64_t now_ms)
{
	_cleanup_free_ struct score_member *members = calloc(pool->n_nodes + 1, sizeof(*members));
	_cleanup_free_ struct score *scores = calloc(pool->n_nodes + 1, sizeof(*scores));
	_cleanup_free_ double *scratch = calloc(pool->n_nodes + 1, sizeof(*scratch));
	struct publish *p = pool->agent->publish;

	pool->samples_new = false;
	pool->scores_ms = now_ms;
	if (!members || !scores || !scratch)
		return;
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		members[i] = (struct score_member){
			.node = &pool->nodes[i]->score,
			.settings = &pool->nodes[i]->score_settings,
			.weight = pool->nodes[i]->effective,
		};
	score_pool(members, pool->n_nodes, now_ms, scratch, scores);
	for (uint32_t i = 0; i < pool->n_nodes; i++) {
		struct node *node = pool->nodes[i];

		if (scores[i].source != SCORE_FRESH)
			publish_load_base(p, node->id, scores[i].base);
		publish_load_weight(p, node->id, node->effective,
				    (scores[i].hot ? LB_LOAD_F_HOT : 0) |
					    (scores[i].source == SCORE_IGNORED ? LB_LOAD_F_IGNORE
									       : 0));
		node->published = scores[i];
	}
}

const struct health_pool *pool_figures(struct pool *pool, int64_t now_ms)
{
	_cleanup_free_ struct health_pool_member *members = NULL;
	_cleanup_free_ double *scratch = NULL;

	if (pool->figures_ms && now_ms - pool->figures_ms < FIGURES_EVERY_MS)
		return &pool->figures;
	members = calloc(pool->n_nodes + 1, sizeof(*members));
	scratch = calloc(pool->n_nodes + 1, sizeof(*scratch));
	if (!members || !scratch)
		return NULL;
	for (uint32_t i = 0; i < pool->n_nodes; i++) {
		const struct node *node = pool->nodes[i];
		bool fresh = node->sample_ms >= 0 &&
			     now_ms - node->sample_ms <= node->cfg->load->stale_ms;

		members[i] = (struct health_pool_member){
			.health = &node->health,
			.sample = fresh ? &node->sample : NULL,
			.weight = node->weight * 1000,
		};
	}
	health_pool_figures(members, pool->n_nodes, scratch, &pool->figures);
	pool->figures_ms = now_ms;
	return &pool->figures;
}

/* --- judgement -------------------------------------------------------------------------------- */

static void member_of(const struct node *node, int64_t now_ms, struct weight_member *ret)
{
	*ret = (struct weight_member){
		.identity = node->identity,
		.state = node->health.state,
		.inferred = health_drain_inferred(&node->health),
		.capacity = node->weight * 1000,
		.warm_permille =
			health_warm_permille(&node->health, &node->health_settings, now_ms),
		.degraded_percent = node->cfg->thresholds->degraded_weight,
		.adopted = node->adopted_weight,
		.tier = node->cfg->tier,
		.current = node->effective,
		.was_degraded = node->held_by_degradation,
	};
}

/*
 * A new pool waits until each node was judged, for a moment at most: nodes that join one by one
 * would leave most slots in transition for the whole of flow_idle. Where an earlier agent left a
 * table, that goes on meanwhile.
 */
static bool is_undecided(const struct pool *pool, int64_t now_ms)
{
	if (pool->settled || (pool->ticked && now_ms - pool->created_ms >= SETTLE_MS))
		return false;
	if (discovery_awaited(pool->discovery))
		return true;
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		if (pool->nodes[i]->adopted_weight)
			return false;
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		if (pool->nodes[i]->health.state == LB_STATE_UNKNOWN &&
		    pool->nodes[i]->health.adopted <= LB_STATE_UNKNOWN)
			return true;
	return false;
}

static void log_verdict(const struct pool *pool, const struct weight_verdict *now)
{
	const struct weight_verdict *was = &pool->verdict;

	if (!pool->published && !pool->settled)
		log_info("pool %s: waiting for the first checks", pool->name);
	if (now->panic != was->panic)
		log_warn("pool %s: %s", pool->name,
			 now->panic ? "too much of it is degraded: degraded nodes stay in"
				    : "degraded nodes are taken out again");
	if (now->tiers != was->tiers && pool->published)
		log_info("pool %s: tiers in use: 0 to %u (healthy %.1f of %.1f)", pool->name,
			 now->tiers ? now->tiers - 1 : 0, (double)now->healthy / 1000,
			 (double)now->capacity / 1000);
}

/* Dead nodes are marked before the table changes, so that none of its slots names one as prev. */
static void publish_alive(struct pool *pool)
{
	struct publish *p = pool->agent->publish;

	for (uint32_t i = 0; i < pool->n_nodes; i++) {
		const struct node *node = pool->nodes[i];
		bool keep = pool->cfg->on_down == CONFIG_ON_DOWN_KEEP &&
			    node->health.operator != LB_STATE_MAINTENANCE;

		if (keep || health_alive(&node->health))
			publish_backend_set_alive(p, node->id);
		else
			publish_backend_set_dead(p, node->id);
	}
}

static int build(struct pool *pool, const struct weight_verdict *verdict)
{
	_cleanup_free_ struct maglev_member *members = NULL;
	int r;

	if (verdict->empty || !pool->settled) {
		/* Before the first judgement a SYN is dropped: its client sends it again, and finds
		 * a node, where an answer of this host would be an error. */
		for (uint32_t i = 0; i < pool->n_slots; i++)
			pool->cur[i] = pool->settled ? LB_BACKEND_LOCAL : LB_BACKEND_NONE;
		memset(pool->alt, 0, pool->n_slots * sizeof(*pool->alt));
		return 0;
	}
	members = calloc(pool->n_nodes, sizeof(*members));
	if (!members)
		return -ENOMEM;
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		members[i] = (struct maglev_member){
			.identity = pool->nodes[i]->identity,
			.weight = pool->nodes[i]->effective,
			.id = pool->nodes[i]->id,
		};
	r = maglev_build(members, pool->n_nodes, pool->n_slots, pool->cur, pool->alt);
	return r;
}

/* The schedule of the round robins; nobody else reads one. */
static int build_turns(const struct pool *pool, const struct turns_member *members,
		       uint16_t turns[LB_TURNS_MAX])
{
	enum turns_kind kind = TURNS_WEIGHTED;

	if (pool->cfg->policy == CONFIG_POLICY_ROUND_ROBIN)
		kind = TURNS_PLAIN;
	else if (pool->cfg->policy != CONFIG_POLICY_WEIGHTED_ROUND_ROBIN)
		return 0;
	return turns_build(members, pool->n_nodes, kind, turns);
}

/* Turns, and the list that exact scans read. */
static int publish_lists(struct pool *pool)
{
	_cleanup_free_ struct turns_member *members = NULL;
	_cleanup_free_ uint16_t *ids = NULL;
	_cleanup_free_ uint16_t *turns = NULL;
	uint32_t n = 0;
	int r;

	members = calloc(pool->n_nodes + 1, sizeof(*members));
	ids = calloc(pool->n_nodes + 1, sizeof(*ids));
	turns = calloc(LB_TURNS_MAX, sizeof(*turns));
	if (!members || !ids || !turns)
		return -ENOMEM;
	for (uint32_t i = 0; i < pool->n_nodes; i++) {
		members[i].backend = pool->nodes[i]->id;
		members[i].weight = pool->nodes[i]->effective;
		if (members[i].weight)
			ids[n++] = members[i].backend;
	}
	r = build_turns(pool, members, turns);
	if (r < 0)
		return r;
	publish_turns(pool->agent->publish, pool->id, turns, (uint32_t)r);
	publish_members(pool->agent->publish, pool->id, ids,
			n < LB_MEMBERS_MAX ? n : LB_MEMBERS_MAX);
	return 0;
}

static void log_local(struct pool *pool, bool local)
{
	if (local && !pool->local)
		log_warn("pool %s: no node left: connections go to this host", pool->name);
	else if (!local && pool->local)
		log_info("pool %s: nodes are back", pool->name);
	pool->local = local;
}

static void rebuild(struct pool *pool, const struct weight_verdict *verdict, int64_t now_ms)
{
	uint32_t written = 0;
	int r = build(pool, verdict);

	if (verdict->empty && pool->settled && pool->agent->fallback)
		fallback_pool_empty(pool->agent->fallback, pool, now_ms);
	/* The loop's time is that of the event; a transition must not begin before its slots do. */
	if (r == 0)
		r = publish_slots(pool->agent->publish, pool->id, pool->n_slots, pool->cur,
				  pool->alt, (uint64_t)agent_clock_ms(), &written);
	if (r == 0)
		r = publish_lists(pool);
	if (r < 0) {
		pool->n_build_failures++;
		log_error("pool %s: table not built: %s; the old one stays", pool->name,
			  strerror(-r));
		return;
	}
	log_local(pool, verdict->empty && pool->settled);
	pool->rebuild = false;
	pool->n_builds++;
	pool->built_ms = now_ms;
	pool->n_words += written;
	log_debug("pool %s: table built, %u slots written", pool->name, written);
}

/* Returns whether some weight changed. */
static bool take_weights(struct pool *pool, const struct weight_output *out)
{
	bool changed = false;

	pool->effective = 0;
	for (uint32_t i = 0; i < pool->n_nodes; i++) {
		struct node *node = pool->nodes[i];

		pool->effective += out[i].weight;
		if (node->effective != out[i].weight)
			changed = true;
		node->effective = out[i].weight;
		node->held_by_degradation = out[i].held_by_degradation;
		node->weight_limited = out[i].limited;
		node_publish_info(node);
	}
	return changed;
}

/* Quiet follows the thread's own time: where others take the processor, waiting helps nobody. */
static void note_change(struct pool *pool, int64_t begin_us, int64_t begin_cpu_us)
{
	const int64_t now_us = agent_clock_us();
	const int64_t quiet_us = QUIET_TIMES * (agent_cpu_us() - begin_cpu_us);

	pool->change_us = now_us - begin_us;
	if (pool->change_us > pool->change_max_us)
		pool->change_max_us = pool->change_us;
	pool->quiet_until_us = now_us + (quiet_us < QUIET_MAX_US ? quiet_us : QUIET_MAX_US);
}

bool pool_is_quiet(const struct pool *pool, int64_t now_us)
{
	return now_us < pool->quiet_until_us;
}

void pool_judge(struct pool *pool, int64_t now_ms)
{
	_cleanup_free_ struct weight_member *members = calloc(pool->n_nodes + 1, sizeof(*members));
	_cleanup_free_ struct weight_output *out = calloc(pool->n_nodes + 1, sizeof(*out));
	const int64_t begin_us = agent_clock_us(), begin_cpu_us = agent_cpu_us();
	const uint64_t n_builds = pool->n_builds;
	struct weight_verdict verdict;

	pool->dirty = false;
	if (!members || !out) {
		log_error("pool %s: out of memory: weights stay", pool->name);
		pool->next_ms = now_ms + RETRY_MS;
		return;
	}
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		member_of(pool->nodes[i], now_ms, &members[i]);
	weight_judge(&pool->weight_settings, &pool->memory, members, pool->n_nodes, now_ms, out,
		     &verdict);
	publish_alive(pool);
	if (take_weights(pool, out) || verdict.empty != pool->verdict.empty || !pool->published)
		pool->rebuild = true;
	if (!pool->settled && !is_undecided(pool, now_ms)) {
		pool->settled = true;
		pool->rebuild = true;
	}
	if (pool->rebuild)
		rebuild(pool, &verdict, now_ms);
	log_verdict(pool, &verdict);
	pool->verdict = verdict;
	pool->published = true;
	pool->next_ms = verdict.next_ms;
	if (pool->rebuild && pool->next_ms > now_ms + RETRY_MS)
		pool->next_ms = now_ms + RETRY_MS;
	if (!pool->settled && pool->next_ms > pool->created_ms + SETTLE_MS)
		pool->next_ms = pool->created_ms + SETTLE_MS;
	publish_scores(pool, now_ms);
	if (pool->n_builds > n_builds)
		note_change(pool, begin_us, begin_cpu_us);
}

void pool_tick(struct pool *pool, int64_t now_ms)
{
	discovery_tick(pool->discovery, now_ms);
	/* At the first start the program is loaded for a second before the loop runs. */
	if (!pool->ticked) {
		pool->ticked = true;
		pool->created_ms = now_ms;
	}
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		node_tick(pool->nodes[i], now_ms);
	notice_step(&pool->notices, pool->name, now_ms);
	if (pool->dirty || now_ms >= pool->next_ms)
		pool_judge(pool, now_ms);
	else if (pool->samples_new || now_ms - pool->scores_ms >= SCORES_EVERY_MS)
		publish_scores(pool, now_ms);
}
