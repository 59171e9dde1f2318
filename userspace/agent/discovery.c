// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/discovery.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/agent.h"
#include "userspace/agent/apply.h"
#include "userspace/agent/discovery_dns.h"
#include "userspace/agent/discovery_file.h"
#include "userspace/agent/discovery_internal.h"
#include "userspace/agent/file_watch.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define RETRY_MAX_MS 30000 /* between questions that fail */

static void apply(struct discovery *d, int64_t now_ms)
{
	struct attach_error err = {0};

	if (agent_apply_nodes(d->agent, d->pool, d->at_start, now_ms, &err) < 0)
		log_error("pool %s: discovery: %s", d->pool->name, err.text);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void next_question(struct discovery *d, int64_t now_ms, int64_t ttl_ms)
{
	if (d->type != CONFIG_DISCOVERY_DNS) {
		d->due_ms = INT64_MAX;
		return;
	}
	if (ttl_ms > d->dns.max_ttl_ms)
		ttl_ms = d->dns.max_ttl_ms;
	if (ttl_ms < d->dns.min_ttl_ms)
		ttl_ms = d->dns.min_ttl_ms;
	d->due_ms = now_ms + ttl_ms;
}

static void failed(struct discovery *d, const char *error, int64_t now_ms)
{
	char text[sizeof(d->error)];
	int64_t wait_ms = d->dns.min_ttl_ms;

	snprintf(text, sizeof(text), "%s", error);
	if (strcmp(text, d->error))
		log_warn("pool %s: discovery by %s: %s: %s; its %u nodes stay", d->pool->name,
			 config_discovery_type_name(d->type), d->source, text, d->n);
	memcpy(d->error, text, sizeof(text));
	d->n_failures++;
	for (uint32_t i = 0; i < d->n_failed_in_turn && wait_ms < RETRY_MAX_MS; i++)
		wait_ms *= 2;
	d->n_failed_in_turn++;
	next_question(d, now_ms, wait_ms < RETRY_MAX_MS ? wait_ms : RETRY_MAX_MS);
}

static uint32_t nodes_of_all(const struct agent *agent)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < agent->n_pools; i++)
		n += agent->pools[i]->n_nodes;
	return n;
}

/* What keeps an answer from being taken; "" if nothing does. Targets, not members, are counted. */
static void check_answer(const struct discovery *d, const struct discovery_answer *answer,
			 char *buf, size_t size)
{
	const struct config_pool *cfg = d->pool->cfg;
	uint32_t most = config_pool_nodes_max(cfg), others = nodes_of_all(d->agent);
	uint32_t usable = 0;

	others -= d->n < others ? d->n : others;
	buf[0] = '\0';
	for (uint32_t i = 0; i < answer->n; i++) {
		struct endpoint ep = discovery_endpoint(cfg, &answer->targets[i]);

		usable += !config_endpoint_unfit(d->agent->cfg, cfg, &ep);
	}
	if (answer->n > cfg->discovery.max_nodes)
		snprintf(buf, size, "it names %u nodes, more than max_nodes, %u", answer->n,
			 cfg->discovery.max_nodes);
	else if (answer->n + cfg->n_nodes > most)
		snprintf(buf, size, "it names %u nodes, and the pool takes %u at most", answer->n,
			 most);
	else if (answer->n + others > d->agent->cfg->limits.nodes)
		snprintf(buf, size, "it names %u nodes, and with those of all pools that is more "
			 "than limits.nodes, %u", answer->n, d->agent->cfg->limits.nodes);
	else if (!usable)
		snprintf(buf, size, "none of the %u nodes that it names can be used", answer->n);
}

static bool same_answer(const struct discovery_answer *a, const struct discovery_answer *b)
{
	if (a->n != b->n)
		return false;
	for (uint32_t i = 0; i < a->n; i++) {
		const struct discovery_target *x = &a->targets[i], *y = &b->targets[i];

		if (!endpoint_equal(&x->endpoint, &y->endpoint) ||
		    x->has_weight != y->has_weight || x->weight != y->weight ||
		    x->has_tier != y->has_tier || x->tier != y->tier ||
		    x->has_slots != y->has_slots || x->slots != y->slots)
			return false;
	}
	return true;
}

/* Takes the answer over. Returns whether members may differ, and have to be applied. */
static bool take_answer(struct discovery *d, struct discovery_answer *answer, int64_t ttl_ms,
			int64_t now_ms)
{
	char why[sizeof(d->error)];
	bool same;

	check_answer(d, answer, why, sizeof(why));
	if (why[0]) {
		discovery_answer_free(answer);
		failed(d, why, now_ms);
		return false;
	}
	same = d->answered && same_answer(answer, &d->answer);
	if (d->error[0] || !d->answered)
		log_info("pool %s: discovery by %s: %s: %u nodes%s", d->pool->name,
			 config_discovery_type_name(d->type), d->source, answer->n,
			 d->error[0] ? " again" : "");
	discovery_answer_free(&d->answer);
	d->answer = *answer;
	d->answered = true;
	d->answered_ms = now_ms;
	d->error[0] = '\0';
	d->n_answers++;
	d->n_failed_in_turn = 0;
	next_question(d, now_ms, ttl_ms);
	if (same)
		return false;
	discovery_fit(d);
	return true;
}

static bool read_file(struct discovery *d, int64_t now_ms)
{
	struct discovery_answer answer = {0};
	char error[DISCOVERY_ERROR_MAX];

	if (discovery_file_read(d->source, d->pool->cfg->discovery.max_nodes, &answer, error) < 0) {
		failed(d, error, now_ms);
		return false;
	}
	return take_answer(d, &answer, 0, now_ms);
}

static void on_file(void *userdata)
{
	struct discovery *d = userdata;
	int64_t now_ms = agent_now_ms(d->agent);

	if (read_file(d, now_ms))
		apply(d, now_ms);
}

static void on_dns(void *userdata, struct discovery_answer *answer, int64_t ttl_ms,
		   const char *error)
{
	struct discovery *d = userdata;
	int64_t now_ms = agent_now_ms(d->agent);

	discovery_dns_free(&d->question);
	if (!answer) {
		failed(d, error, now_ms);
		return;
	}
	if (take_answer(d, answer, ttl_ms, now_ms))
		apply(d, now_ms);
}

/* --- the source ------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* Mode nat keeps the family of the VIP. */
static sa_family_t family_of(const struct discovery *d)
{
	const struct config *cfg = d->agent->cfg;

	if (d->pool->cfg->mode != CONFIG_MODE_NAT)
		return 0;
	for (uint32_t i = 0; i < cfg->n_vips; i++)
		if (!strcmp(cfg->pools[cfg->vips[i].pool].name, d->pool->name))
			return cfg->vips[i].endpoint.addr.family;
	return 0;
}

static bool source_differs(const struct discovery *d, const struct config_discovery *cfg)
{
	if (d->type != cfg->type)
		return true;
	if (cfg->type == CONFIG_DISCOVERY_FILE)
		return !same_text(d->source, cfg->file);
	return cfg->type == CONFIG_DISCOVERY_DNS &&
	       (!same_text(d->source, cfg->dns.name) || d->dns.type != cfg->dns.type ||
		d->dns.port != cfg->dns.port || !same_text(d->server, cfg->dns.server) ||
		d->family != family_of(d));
}

static void forget_source(struct discovery *d)
{
	discovery_dns_free(&d->question);
	file_watch_free(&d->watch);
	discovery_answer_free(&d->answer);
	free(d->source);
	free(d->server);
	d->source = d->server = NULL;
	d->answered = false;
	d->error[0] = '\0';
	d->n_failed_in_turn = 0;
	d->due_ms = INT64_MAX;
}

static void use_source(struct discovery *d, const struct config_discovery *cfg, int64_t now_ms)
{
	const char *source = cfg->type == CONFIG_DISCOVERY_FILE ? cfg->file : cfg->dns.name;
	int r = 0;

	forget_source(d);
	d->type = cfg->type;
	d->family = family_of(d);
	if (cfg->type == CONFIG_DISCOVERY_NONE)
		return;
	d->source = strdup(source);
	if (cfg->dns.server)
		d->server = strdup(cfg->dns.server);
	if (!d->source || (cfg->dns.server && !d->server))
		r = -ENOMEM;
	else if (cfg->type == CONFIG_DISCOVERY_FILE)
		r = file_watch_new(d->agent->event, d->source, on_file, d, &d->watch);
	if (r < 0)
		log_error("pool %s: discovery: %s: %s", d->pool->name, source, strerror(-r));
	else if (cfg->type == CONFIG_DISCOVERY_FILE)
		(void)read_file(d, now_ms);
	else
		d->due_ms = now_ms;
}

void discovery_configure(struct discovery *d, int64_t now_ms)
{
	const struct config_discovery *cfg = &d->pool->cfg->discovery;
	bool other = source_differs(d, cfg);

	d->dns = cfg->dns;
	if (other)
		use_source(d, cfg, now_ms);
	discovery_fit(d);
}

static void ask(struct discovery *d, int64_t now_ms)
{
	int r;

	d->due_ms = INT64_MAX; /* the answer says when again */
	r = discovery_dns_ask(d->agent->event, &d->pool->cfg->discovery, d->family, on_dns, d,
			      &d->question);
	if (r < 0)
		failed(d, strerror(-r), now_ms);
}

void discovery_tick(struct discovery *d, int64_t now_ms)
{
	if (now_ms >= d->due_ms && d->type == CONFIG_DISCOVERY_DNS && !d->question)
		ask(d, now_ms);
	if (discovery_count_gone(d) && discovery_others_ready(d)) {
		discovery_drop_gone(d);
		apply(d, now_ms);
	}
}

bool discovery_awaited(const struct discovery *d)
{
	return d->type != CONFIG_DISCOVERY_NONE && !d->answered && !d->n;
}

/* --- start and end ---------------------------------------------------------------------------- */

int discovery_new(struct agent *agent, struct pool *pool, bool at_start, struct discovery **ret)
{
	struct discovery *d = calloc(1, sizeof(*d));
	int r = d ? 0 : -ENOMEM;

	if (r == 0) {
		d->agent = agent;
		d->pool = pool;
		d->at_start = at_start;
		d->type = CONFIG_DISCOVERY_NONE;
		d->due_ms = INT64_MAX;
		if (at_start && pool->cfg->discovery.type != CONFIG_DISCOVERY_NONE)
			r = discovery_adopt(d);
	}
	if (r < 0) {
		discovery_free(&d);
		return r;
	}
	*ret = d;
	return 0;
}

void discovery_free(struct discovery **discovery)
{
	struct discovery *d = *discovery;

	if (!d)
		return;
	forget_source(d);
	discovery_members_free(d);
	free(d);
	*discovery = NULL;
}

/* --- for people ------------------------------------------------------------------------------- */

void discovery_stats(const struct discovery *d, struct discovery_stats *ret_stats)
{
	*ret_stats = (struct discovery_stats){
		.type = d->type,
		.nodes = d->n,
		.leaving = discovery_count_gone(d),
		.n_answers = d->n_answers,
		.n_failures = d->n_failures,
		.answered_ms = d->answered ? d->answered_ms : -1,
		.failing = d->error[0] != '\0',
	};
}

json_t *discovery_report(const struct discovery *d, int64_t now_ms)
{
	json_int_t age_ms = d->answered ? now_ms - d->answered_ms : -1;
	json_int_t next_ms = d->due_ms == INT64_MAX ? -1 : d->due_ms - now_ms;

	if (d->type == CONFIG_DISCOVERY_NONE && !d->n)
		return NULL;
	return json_pack("{ss ss* ss* si si si sI sI sI sI ss}", "type",
			 config_discovery_type_name(d->type), "record",
			 d->type == CONFIG_DISCOVERY_DNS ? config_dns_type_name(d->dns.type) : NULL,
			 "source", d->source, "named", (int)d->answer.n, "nodes", (int)d->n,
			 "leaving", (int)discovery_count_gone(d), "answers", (json_int_t)d->n_answers, "failures",
			 (json_int_t)d->n_failures, "age_ms", age_ms, "next_ms",
			 d->question ? 0 : next_ms, "error", d->error);
}
