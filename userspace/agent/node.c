// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/node.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/agent.h"
#include "userspace/agent/hold.h"
#include "userspace/agent/maglev.h"
#include "userspace/agent/node_drain.h"
#include "userspace/lib/log.h"

#define NOT_ASKED_AGAIN_MS     60000
#define FORGET_MIN_MS	       30000
#define FORGET_INTERVALS       5

/* What a node said is forgotten when it could have said something new several times over. */
static int64_t forget_ms(const struct config_node *cfg)
{
	int64_t interval_ms = cfg->check->interval_ms;

	if (cfg->load->n_pages && cfg->load->interval_ms > interval_ms)
		interval_ms = cfg->load->interval_ms;
	interval_ms *= FORGET_INTERVALS;
	return interval_ms > FORGET_MIN_MS ? interval_ms : FORGET_MIN_MS;
}

static void settings_of(const struct config_node *cfg, struct health_settings *ret)
{
	const struct config_thresholds *th = cfg->thresholds;
	const struct config_check *check = cfg->check;

	health_settings_default(ret);
	ret->interval_ms = check->interval_ms;
	ret->jitter_ratio = check->jitter_ratio;
	ret->timeout_ms = check->timeout_ms;
	ret->rise = check->rise;
	ret->fall = check->fall;
	ret->refused_interval_ms = check->refused_interval_ms;
	ret->refused_fall = check->refused_fall;
	ret->busy_ms = th->busy_ms;
	/* A counter of finished requests may stand through one long request: no proof of a hang. */
	ret->hung_ms = cfg->spec->progress == PRESET_PROGRESS_STEP ? th->hung_ms : 0;
	ret->warm_up_ms = th->warm_up_ms;
	ret->warm_up_start_ratio = th->warm_up_start_ratio;
	ret->samples = th->samples;
	ret->kv_high_ratio = th->kv_high_ratio;
	ret->kv_low_ratio = th->kv_low_ratio;
	ret->gpu_memory_high_ratio = th->gpu_memory_high_ratio;
	ret->gpu_memory_low_ratio = th->gpu_memory_low_ratio;
	ret->queue_outlier = th->queue_outlier;
	ret->queue_outlier_min = th->queue_outlier_min;
	ret->latency_high_ms = (double)th->latency_high_ms;
	ret->latency_outlier = th->latency_outlier;
	ret->latency_outlier_min_ms = (double)th->latency_outlier_min_ms;
	ret->aborts_high = th->aborts_high;
	ret->forget_ms = forget_ms(cfg);
	ret->flap_changes = th->flap_changes;
	ret->flap_window_ms = th->flap_window_ms;
	ret->flap_hold_ms = th->flap_hold_ms;
	ret->flap_hold_max_ms = th->flap_hold_max_ms;
}

static void configure(struct node *node, const struct config_node *cfg)
{
	node->cfg = cfg;
	settings_of(cfg, &node->health_settings);
	node->score_settings = (struct score_settings){
		.stale_ms = cfg->load->stale_ms,
		.hot_ratio = cfg->thresholds->hot_ratio,
		.slots = cfg->slots,
	};
	if (!node->weight_set)
		node->weight = cfg->weight;
}

static uint64_t identity_of(const struct endpoint *ep)
{
	uint8_t bytes[19] = {ep->addr.family == AF_INET ? 4 : 6};

	memcpy(bytes + 1, ep->addr.bytes, 16);
	bytes[17] = ep->port >> 8;
	bytes[18] = ep->port & 0xff;
	return maglev_identity(bytes, sizeof(bytes));
}

static bool state_was_ready(enum lb_state state)
{
	return state == LB_STATE_HEALTHY || state == LB_STATE_DEGRADED ||
	       state == LB_STATE_WARMING || state == LB_STATE_DRAINING;
}

static void start_health(struct node *node, bool adopted, bool at_start, int64_t now_ms)
{
	const struct lb_backend_info *info = &node->agent->tables.backend_info[node->id];
	struct health_start start = {.seed = node->identity, .origin = HEALTH_ORIGIN_ADDED};

	if (at_start)
		start.origin = HEALTH_ORIGIN_START;
	if (adopted) {
		start.origin = HEALTH_ORIGIN_ADOPTED;
		start.adopted = info->state;
		start.operator = info->operator_state;
		node->adopted_weight = info->effective_weight;
		node->effective = info->effective_weight;
		/* Without an order it is that of a removal, which is over now. */
		if (start.operator == LB_STATE_DRAINING)
			node->drain_deadline_ms = info->drain_deadline_ms;
		node->was_ready = state_was_ready(info->state);
		if (info->weight_set) {
			node->weight_set = true;
			node->weight = info->weight;
		}
	}
	health_init(&node->health, &node->health_settings, &start, now_ms);
}

int node_new(struct agent *agent, struct pool *pool, const struct config_node *cfg, uint16_t id,
	     bool adopted, bool at_start, int64_t now_ms, struct node **ret_node)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		return -ENOMEM;
	node->agent = agent;
	node->pool = pool;
	node->id = id;
	snprintf(node->name, sizeof(node->name), "%s", cfg->name);
	node->endpoint = (struct endpoint){.addr = cfg->address, .port = cfg->port};
	node->identity = identity_of(&node->endpoint);
	node->sample_ms = -1;
	node->idle_since_ms = node->silent_since_ms = -1;
	configure(node, cfg);
	score_init(&node->score);
	start_health(node, adopted, at_start, now_ms);
	*ret_node = node;
	return 0;
}

static void stop_pages(struct node *node)
{
	for (uint32_t i = 0; i < node->n_pages; i++) {
		probe_free(&node->pages[i].probe);
		metrics_reader_free(&node->pages[i].reader);
	}
	node->n_pages = 0;
}

void node_free(struct node **node)
{
	if (!*node)
		return;
	probe_free(&(*node)->check);
	stop_pages(*node);
	free(*node);
	*node = NULL;
}

/* --- health ----------------------------------------------------------------------------------- */

static enum health_result result_of_verdict(enum health_verdict verdict)
{
	switch (verdict) {
	case HEALTH_VERDICT_PASS:
	case HEALTH_VERDICT_BUSY:
		return HEALTH_PASS;
	case HEALTH_VERDICT_LOADING:
		return HEALTH_STATUS_LOADING;
	case HEALTH_VERDICT_DRAINING:
		return HEALTH_STATUS_DRAINING;
	case HEALTH_VERDICT_FAIL:
		break;
	}
	return HEALTH_STATUS_BAD;
}

/* A whole answer: what the operator expects, or else what the preset knows of such answers. */
static enum health_result judge_answer(struct node *node, const struct probe_result *res,
				       char *cause, size_t size)
{
	enum health_verdict verdict;

	snprintf(cause, size, "%s", res->cause);
	if (node->cfg->check->n_expect_status || !res->http_status) {
		if (res->outcome == PROBE_PASS)
			return HEALTH_PASS;
		return res->http_status == 503 ? HEALTH_STATUS_LOADING : HEALTH_STATUS_BAD;
	}
	verdict = health_body_judge(&node->cfg->spec->rules, res->http_status, res->body,
				    res->body_len,
				    node->was_ready ? HEALTH_WAS_READY : HEALTH_NEVER_READY, cause,
				    size);
	return result_of_verdict(verdict);
}

/* Returns 0 for a result that says nothing about the node. */
static enum health_result judge(struct node *node, const struct probe_result *res, char *cause,
				size_t size)
{
	snprintf(cause, size, "%s", res->cause);
	switch (res->outcome) {
	case PROBE_PASS:
	case PROBE_FAIL_STATUS:
		return judge_answer(node, res, cause, size);
	case PROBE_REFUSED:
	case PROBE_RESET:
		return HEALTH_REFUSED;
	case PROBE_UNREACHABLE:
	case PROBE_CONNECT_TIMEOUT:
		return HEALTH_UNREACHABLE;
	case PROBE_TIMEOUT:
		return HEALTH_ANSWER_TIMEOUT;
	case PROBE_TRUNCATED:
	case PROBE_TOO_BIG:
	case PROBE_BAD_RESPONSE:
	case PROBE_BAD_BODY:
	case PROBE_TLS:
		return HEALTH_GARBAGE;
	case PROBE_LOCAL:
	case PROBE_OUTCOME_N:
		break;
	}
	return 0;
}

/* A missing file or descriptor is missing at every check: told when it is news, and now and then. */
static void tell_not_asked(struct node *node, const struct probe_result *res)
{
	if (!strncmp(node->not_asked, res->cause, sizeof(node->not_asked) - 1) &&
	    res->now_ms - node->not_asked_ms < NOT_ASKED_AGAIN_MS)
		return;
	notice(&node->pool->notices, NOTICE_NOT_ASKED, res->now_ms, LOG_LEVEL_WARN,
	       "node %s/%s: check not made: %s", node->pool->name, node->name, res->cause);
	snprintf(node->not_asked, sizeof(node->not_asked), "%s", res->cause);
	node->not_asked_ms = res->now_ms;
}

static void on_check(struct probe *p, void *userdata, const struct probe_result *res)
{
	struct node *node = userdata;
	struct health_probe probe = {.http_status = res->http_status};
	struct health_change change;
	int64_t next;

	node->last_outcome = res->outcome;
	node->n_checks++;
	probe.result = judge(node, res, node->last_cause, sizeof(node->last_cause));
	if (!probe.result) {
		tell_not_asked(node, res);
		return;
	}
	if (hold_excuses(node, res)) {
		node->agent->dataplane.n_ignored++;
		health_probe_void(&node->health, &node->health_settings, res->started_ms,
				  res->now_ms);
		return;
	}
	probe.doubtful = hold_doubts(node, res);
	probe.rtt_ms = (double)res->rtt_us / 1000;
	probe.started_ms = res->started_ms;
	probe.detail = node->last_cause;
	if (probe.result == HEALTH_PASS) {
		node->last_rtt_ms = probe.rtt_ms;
		node->was_ready = true;
	} else {
		node->n_check_failures++;
	}
	if (health_probe(&node->health, &node->health_settings, &probe,
			 pool_figures(node->pool, res->now_ms), res->now_ms, &change))
		agent_node_changed(node, &change);
	next = health_next_probe_ms(&node->health) - res->now_ms;
	if (next < node->health_settings.interval_ms / 2)
		probe_again(p, next > 0 ? next : 0);
}

static const struct probe_ops check_ops = {.on_result = on_check};

/* --- load ------------------------------------------------------------------------------------- */

static void on_scrape_start(struct probe *p, void *userdata, int64_t now_ms)
{
	struct node_page *page = userdata;
	struct node *node = page->node;

	(void)p;
	page->begin_ms = now_ms;
	metrics_reader_begin(page->reader);
	if (page->own)
		score_scrape_begin(&node->score, publish_load_inc(node->agent->publish, node->id),
				   now_ms);
}

static int on_scrape_body(struct probe *p, void *userdata, const char *buf, size_t len)
{
	struct node_page *page = userdata;

	(void)p;
	return metrics_reader_feed(page->reader, buf, len);
}

/* All pages' samples together; a part that is too old is left out. */
static void merge_pages(struct node *node, int64_t now_ms)
{
	node->sample = (struct load_sample){0};
	for (uint32_t i = 0; i < node->n_pages; i++) {
		const struct node_page *page = &node->pages[i];

		if (page->sample_ms >= 0 && now_ms - page->sample_ms <= node->cfg->load->stale_ms)
			load_sample_merge(&node->sample, &page->sample);
	}
	node->sample_ms = now_ms;
}

/*
 * A sample that does not count (no such numbers in it, or already stale) leaves the base alone:
 * what stands in for it depends on the whole pool, and pool_tick() knows that.
 */
static void publish_own_score(struct node *node, int64_t now_ms)
{
	struct score_member self = {
		.node = &node->score, .settings = &node->score_settings, .weight = 1000};
	uint32_t subtract = 0;
	struct score own;
	double scratch;

	score_scrape_end(&node->score, &node->score_settings, &node->sample, &subtract);
	score_pool(&self, 1, now_ms, &scratch, &own);
	if (own.source == SCORE_FRESH)
		node->published = own;
	if (own.source == SCORE_FRESH || subtract)
		publish_load_scraped(node->agent->publish, node->id, node->published.base,
				     subtract);
	node->pool->samples_new = true;
}

static void report_unmatched(struct node_page *page, int64_t now_ms)
{
	uint32_t fields = metrics_watch_update(&page->watch, page->reader);
	char text[256];

	for (int f = 0; f < LOAD_FIELD_N; f++)
		if (fields & LOAD_HAS(f))
			notice(&page->node->pool->notices, NOTICE_UNMATCHED, now_ms, LOG_LEVEL_WARN,
			       "node %s/%s: %s never matched: %s", page->node->pool->name,
			       page->node->name, load_field_name(f),
			       metrics_reader_explain(page->reader, f, text, sizeof(text)));
}

/* What this host added before a scrape that failed may have to be subtracted all the same. */
static void abandon_scrape(struct node *node)
{
	uint32_t subtract = 0;

	score_scrape_abandon(&node->score, &node->score_settings, &subtract);
	if (subtract)
		publish_load_scraped(node->agent->publish, node->id, node->published.base,
				     subtract);
}

static void scrape_failed(struct node_page *page, const struct probe_result *res,
			  const char *cause)
{
	struct node *node = page->node;
	bool refused = page->on_serving_port && res->outcome == PROBE_REFUSED;
	bool reset = page->on_serving_port && res->outcome == PROBE_RESET && !page->failing;
	struct health_change change;

	page->n_failed++;
	snprintf(page->cause, sizeof(page->cause), "%s", cause);
	if (!page->failing && !hold_excuses(node, res)) {
		notice(&node->pool->notices, NOTICE_NO_LOAD, res->now_ms, LOG_LEVEL_INFO,
		       "node %s/%s: no load from %s: %s", node->pool->name, node->name,
		       page->cfg->path, cause);
		page->failing = true;
	}
	if (page->own)
		abandon_scrape(node);
	if (refused &&
	    health_scrape_failed(&node->health, &node->health_settings, HEALTH_REFUSED,
				 res->now_ms, &change))
		agent_node_changed(node, &change);
	/* A page that resets connections says nothing of the others, but a check may find more. */
	if ((refused || reset) && node->check &&
	    health_next_probe_ms(&node->health) - res->now_ms <
		    node->health_settings.refused_interval_ms)
		probe_again(node->check, 0);
}

static void on_scrape(struct probe *p, void *userdata, const struct probe_result *res)
{
	struct node_page *page = userdata;
	struct node *node = page->node;
	enum metrics_end end = res->framed ? METRICS_END_FRAMED : METRICS_END_CLOSED;
	struct health_change change;
	const char *cause = res->cause;

	(void)p;
	hold_hear_page(node, res);
	if (res->outcome == PROBE_PASS &&
	    metrics_reader_end(page->reader, end, &page->sample) == 0) {
		if (page->failing)
			notice(&node->pool->notices, NOTICE_LOAD, res->now_ms, LOG_LEVEL_INFO,
			       "node %s/%s: load from %s again", node->pool->name, node->name,
			       page->cfg->path);
		page->failing = false;
		page->cause[0] = '\0';
		page->sample_ms = page->begin_ms;
		page->n_ok++;
		report_unmatched(page, res->now_ms);
		merge_pages(node, res->now_ms);
		if (page->own)
			publish_own_score(node, res->now_ms);
		if (health_sample(&node->health, &node->health_settings, &page->sample,
				  pool_figures(node->pool, res->now_ms), node->weight * 1000,
				  res->now_ms, &change))
			agent_node_changed(node, &change);
		return;
	}
	if (res->outcome == PROBE_PASS || res->outcome == PROBE_BAD_BODY)
		cause = metrics_reader_error(page->reader);
	scrape_failed(page, res, cause);
}

static const struct probe_ops page_ops = {
	.on_start = on_scrape_start,
	.on_body = on_scrape_body,
	.on_result = on_scrape,
};

/* A server without metrics: its load is the flows that this host sends it. */
static void sample_local_flows(struct node *node, int64_t now_ms)
{
	uint32_t flows = __atomic_load_n(&node->agent->tables.loads[node->id].flows,
					 __ATOMIC_RELAXED);

	if (node->n_pages || !pool_tracks(node->pool->cfg))
		return;
	score_scrape_begin(&node->score, publish_load_inc(node->agent->publish, node->id), now_ms);
	node->sample = (struct load_sample){0};
	load_set(&node->sample, LOAD_RUNNING, flows);
	node->sample_ms = now_ms;
	publish_own_score(node, now_ms);
}

/* --- probes ----------------------------------------------------------------------------------- */

static int start_page(struct node *node, const struct config_page *cfg)
{
	struct node_page *page = &node->pages[node->n_pages];
	struct probe_spec spec;
	int r;

	*page = (struct node_page){
		.node = node,
		.cfg = cfg,
		.sample_ms = -1,
		.own = node->n_pages == 0,
		.on_serving_port = !cfg->port || cfg->port == node->cfg->port,
	};
	r = metrics_reader_new(cfg->source->set, 0, &page->reader);
	if (r < 0)
		return r;
	node->n_pages++;
	probe_spec_page(node->cfg, cfg, &spec);
	return probe_new(node->agent->probes, &spec, &page_ops, page, &page->probe);
}

static int start_pages(struct node *node)
{
	int r = 0;

	for (uint32_t i = 0; i < node->cfg->load->n_pages && r == 0; i++)
		r = start_page(node, &node->cfg->load->pages[i]);
	return r;
}

int node_start(struct node *node)
{
	struct probe_spec spec;
	int r;

	probe_spec_health(node->cfg, &spec);
	r = probe_new(node->agent->probes, &spec, &check_ops, node, &node->check);
	return r < 0 ? r : start_pages(node);
}

int node_reconfigure(struct node *node, const struct config_node *cfg, bool load_changed)
{
	struct probe_spec spec;
	int r;

	configure(node, cfg);
	probe_spec_health(cfg, &spec);
	r = probe_update(node->check, &spec);
	if (r < 0)
		return r;
	if (load_changed || node->n_pages != cfg->load->n_pages) {
		stop_pages(node);
		return start_pages(node);
	}
	for (uint32_t i = 0; i < node->n_pages; i++)
		node->pages[i].cfg = &cfg->load->pages[i];
	return 0;
}

/* --- orders ----------------------------------------------------------------------------------- */

static enum lb_state state_of_order(enum node_order order)
{
	switch (order) {
	case NODE_ORDER_DRAIN:
		return LB_STATE_DRAINING;
	case NODE_ORDER_MAINTENANCE:
		return LB_STATE_MAINTENANCE;
	case NODE_ORDER_NONE:
		break;
	}
	return LB_STATE_NONE;
}

void node_order(struct node *node, enum node_order order, uint64_t deadline_ms, int64_t now_ms)
{
	struct health_change change;

	node->drain_deadline_ms = order == NODE_ORDER_DRAIN ? deadline_ms : 0;
	node->cut = NODE_CUT_NONE;
	node->idle_since_ms = node->silent_since_ms = -1;
	if (health_order(&node->health, &node->health_settings, state_of_order(order), now_ms,
			 &change))
		agent_node_changed(node, &change);
	else
		node_publish_info(node);
	scan_request(node->agent->scan);
}

void node_set_weight(struct node *node, uint32_t weight)
{
	node->weight = weight;
	node->weight_set = true;
	node->pool->dirty = true;
	agent_kick(node->agent);
}

void node_unset_weight(struct node *node)
{
	node->weight_set = false;
	node->weight = node->cfg->weight;
	node->pool->dirty = true;
	agent_kick(node->agent);
}

/* --- the clock -------------------------------------------------------------------------------- */

void node_tick(struct node *node, int64_t now_ms)
{
	struct health_change change;

	if (health_next_ms(&node->health, &node->health_settings) <= now_ms) {
		if (health_tick(&node->health, &node->health_settings, now_ms, &change))
			agent_node_changed(node, &change);
		node->pool->dirty = true;
	}
	node_drain_tick(node, now_ms);
	if (!node->n_pages && now_ms - node->sample_ms >= node->cfg->load->interval_ms)
		sample_local_flows(node, now_ms);
}

void node_publish_info(struct node *node)
{
	struct publish_node_info info = {
		.state = node->health.state,
		.weight = node->weight,
		.effective_weight = node->effective,
		.tier = node->cfg->tier,
		.operator_state = node->health.operator,
		.weight_set = node->weight_set,
		.drain_deadline_ms = node->drain_deadline_ms,
	};

	publish_backend_info(node->agent->publish, node->id, &info);
}
