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
#include "userspace/agent/file_watch.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define RETRY_MAX_MS 30000 /* between questions that fail */
#define READY_SHARE  2	   /* half of the named nodes ready: others may leave */

struct member {
	char name[CONFIG_NAME_MAX + 1];
	struct discovery_target target; /* its port is never 0 */
	bool gone;			/* the last answer does not name it */
};

/* Configuration of all members, as handed out once. */
struct block {
	struct block *former;
	uint32_t n;
	char (*names)[CONFIG_NAME_MAX + 1];
	struct config_node nodes[];
};

struct discovery {
	struct agent *agent;
	struct pool *pool;
	bool at_start; /* until nodes of an answer are in the pool */
	struct member *members;
	uint32_t n;
	struct block *block; /* the newest */

	/* The source that is asked. */
	enum config_discovery_type type;
	struct config_dns dns; /* but for its strings, which go with the configuration */
	char *source;
	char *server;
	sa_family_t family;
	struct file_watch *watch;
	struct discovery_dns *question;
	int64_t due_ms; /* ask again; INT64_MAX: not by time */
	uint32_t n_failed_in_turn;

	bool answered;
	struct discovery_answer answer; /* the last good one of this source */
	int64_t answered_ms;
	uint64_t n_answers;
	uint64_t n_failures;
	char error[DISCOVERY_ERROR_MAX + 64]; /* of the last answer; "" if it was good */
};

/* --- members ---------------------------------------------------------------------------------- */

static struct member *find_member(const struct discovery *d, const struct endpoint *ep)
{
	for (uint32_t i = 0; i < d->n; i++)
		if (endpoint_equal(&d->members[i].target.endpoint, ep))
			return &d->members[i];
	return NULL;
}

static struct node *node_of(const struct discovery *d, const struct member *m)
{
	struct node *node = pool_find(d->pool, m->name);

	return node && endpoint_equal(&node->endpoint, &m->target.endpoint) ? node : NULL;
}

static void set_gone(struct discovery *d, struct member *m, bool gone)
{
	struct node *node = node_of(d, m);

	m->gone = gone;
	if (node)
		node->gone = gone;
}

/* Its address, and the port where that is not the pool's: stable whatever else is named. */
static void name_member(const struct config_pool *cfg, struct member *m)
{
	char base[CONFIG_NAME_MAX + 1];

	config_node_default_name(&m->target.endpoint.addr, base);
	if (m->target.endpoint.port == cfg->port)
		memcpy(m->name, base, sizeof(m->name));
	else
		snprintf(m->name, sizeof(m->name), "%.50s_%u", base, m->target.endpoint.port);
}

static struct member *add_member(struct discovery *d)
{
	struct member *members = reallocarray(d->members, d->n + 1, sizeof(*members));

	if (!members)
		return NULL;
	d->members = members;
	members[d->n] = (struct member){0};
	return &members[d->n++];
}

static void remove_member(struct discovery *d, uint32_t i)
{
	memmove(&d->members[i], &d->members[i + 1], (d->n - i - 1) * sizeof(*d->members));
	d->n--;
}

static const struct config_node *find_static(const struct config_pool *cfg,
					     const struct endpoint *ep)
{
	for (uint32_t i = 0; i < cfg->n_nodes; i++)
		if (cfg->nodes[i].port == ep->port &&
		    address_equal(&cfg->nodes[i].address, &ep->addr))
			return &cfg->nodes[i];
	return NULL;
}

static struct endpoint endpoint_of(const struct config_pool *cfg,
				   const struct discovery_target *target)
{
	struct endpoint ep = target->endpoint;

	if (!ep.port)
		ep.port = cfg->port;
	return ep;
}

/* Whether the pool can have a node there; if not, it is logged. */
static bool is_usable(const struct discovery *d, const struct endpoint *ep)
{
	const char *why = config_endpoint_unfit(d->agent->cfg, d->pool->cfg, ep);
	char text[ENDPOINT_TEXT_MAX];

	if (why)
		notice(&d->pool->notices, NOTICE_UNFIT, agent_now_ms(d->agent), LOG_LEVEL_WARN,
		       "pool %s: discovery names %s, which is left out: it %s", d->pool->name,
		       endpoint_format(ep, text), why);
	return !why;
}

/* One target of an answer becomes a member, or is one already. Returns 0 or -ENOMEM. */
static int take_target(struct discovery *d, const struct discovery_target *target)
{
	const struct config_pool *cfg = d->pool->cfg;
	struct endpoint ep = endpoint_of(cfg, target);
	struct member *m;

	if (find_static(cfg, &ep) || !is_usable(d, &ep))
		return 0;
	m = find_member(d, &ep);
	if (!m) {
		m = add_member(d);
		if (!m)
			return -ENOMEM;
		m->target.endpoint = ep;
		name_member(cfg, m);
	} else if (m->gone) {
		notice(&d->pool->notices, NOTICE_NAMED, agent_now_ms(d->agent), LOG_LEVEL_INFO,
		       "pool %s: discovery names %s again", d->pool->name, m->name);
	}
	m->target = *target;
	m->target.endpoint = ep;
	set_gone(d, m, false);
	return 0;
}

static void mark_gone(struct discovery *d)
{
	for (uint32_t i = 0; i < d->n; i++) {
		struct member *m = &d->members[i];
		struct discovery_target key = m->target;

		if (m->gone || discovery_answer_find(&d->answer, &key.endpoint))
			continue;
		if (key.endpoint.port == d->pool->cfg->port) {
			key.endpoint.port = 0;
			if (discovery_answer_find(&d->answer, &key.endpoint))
				continue;
		}
		set_gone(d, m, true);
		notice(&d->pool->notices, NOTICE_UNNAMED, agent_now_ms(d->agent), LOG_LEVEL_INFO,
		       "pool %s: discovery no longer names %s", d->pool->name, m->name);
	}
}

/* From now on the file of the configuration names the member's node, and discovery has no say. */
static void hand_over(struct discovery *d, uint32_t i)
{
	set_gone(d, &d->members[i], false);
	remove_member(d, i);
}

/*
 * Where the file of the configuration names the same node, it is no member. If it has another name
 * there, it is another node to everybody who counts and shows nodes: this one leaves.
 */
static void yield_to_static(struct discovery *d)
{
	for (uint32_t i = d->n; i-- > 0;) {
		struct member *m = &d->members[i];
		const struct config_node *node = find_static(d->pool->cfg, &m->target.endpoint);

		if (node && !strcmp(node->name, m->name))
			hand_over(d, i);
		else if (node)
			set_gone(d, m, true);
		else if (config_find_node(d->pool->cfg, m->name) >= 0) {
			log_warn("pool %s: the configuration has another node called %s: the one "
				 "of discovery goes", d->pool->name, m->name);
			remove_member(d, i);
		}
	}
}

static void fit_members(struct discovery *d)
{
	int r = 0;

	if (d->answered || d->type == CONFIG_DISCOVERY_NONE)
		mark_gone(d);
	for (uint32_t i = 0; i < d->answer.n && r == 0; i++)
		r = take_target(d, &d->answer.targets[i]);
	if (r < 0)
		log_error("pool %s: discovery: %s: not all nodes are taken", d->pool->name,
			  strerror(-r));
	yield_to_static(d);
}

/* --- configuration of the members ------------------------------------------------------------- */

static struct block *new_block(uint32_t n)
{
	struct block *b = calloc(1, sizeof(*b) + n * sizeof(b->nodes[0]));

	if (b)
		b->names = calloc(n + 1, sizeof(*b->names));
	if (b && !b->names) {
		free(b);
		return NULL;
	}
	return b;
}

static void free_blocks(struct block **block)
{
	while (*block) {
		struct block *b = *block;

		*block = b->former;
		free(b->names);
		free(b);
	}
}

int discovery_nodes(struct discovery *d, const struct config_node **ret_nodes, uint32_t *ret_n)
{
	struct block *b = new_block(d->n);

	if (!b)
		return -ENOMEM;
	for (uint32_t i = 0; i < d->n; i++) {
		const struct member *m = &d->members[i];
		const struct discovery_target *t = &m->target;
		struct config_node *node = &b->nodes[b->n];

		config_node_init(d->pool->cfg, node);
		memcpy(b->names[b->n], m->name, sizeof(m->name));
		node->name = b->names[b->n++];
		node->address = t->endpoint.addr;
		node->port = t->endpoint.port;
		node->weight = t->has_weight ? t->weight : node->weight;
		node->tier = t->has_tier ? t->tier : node->tier;
		node->slots = t->has_slots ? t->slots : node->slots;
	}
	b->former = d->block;
	d->block = b;
	*ret_nodes = b->nodes;
	*ret_n = b->n;
	return 0;
}

void discovery_settle(struct discovery *d)
{
	if (d->block)
		free_blocks(&d->block->former);
	if (d->answered)
		d->at_start = false;
}

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
		struct endpoint ep = endpoint_of(cfg, &answer->targets[i]);

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
	fit_members(d);
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
	fit_members(d);
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

/* --- leaving ---------------------------------------------------------------------------------- */

/* Whether those that stay can do without those that are gone. */
static bool others_ready(const struct discovery *d)
{
	uint32_t stay = 0, ready = 0;

	for (uint32_t i = 0; i < d->pool->n_nodes; i++) {
		const struct node *node = d->pool->nodes[i];

		if (node->gone || !node->weight)
			continue;
		stay++;
		ready += node->health.state == LB_STATE_HEALTHY ||
			 node->health.state == LB_STATE_WARMING;
	}
	return ready && ready * READY_SHARE >= stay;
}

/* From now on it is retire.h's, with the time its flows have. */
static void let_leave(struct discovery *d, uint32_t i)
{
	struct node *node = node_of(d, &d->members[i]);

	if (node) {
		node->drain_deadline_ms = agent_boottime_ms() +
					  (uint64_t)d->pool->cfg->discovery.drain_deadline_ms;
		node_publish_info(node);
	}
	remove_member(d, i);
}

static void let_go(struct discovery *d, int64_t now_ms)
{
	for (uint32_t i = d->n; i-- > 0;)
		if (d->members[i].gone)
			let_leave(d, i);
	apply(d, now_ms);
}

static uint32_t count_gone(const struct discovery *d)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < d->n; i++)
		n += d->members[i].gone;
	return n;
}

void discovery_tick(struct discovery *d, int64_t now_ms)
{
	if (now_ms >= d->due_ms && d->type == CONFIG_DISCOVERY_DNS && !d->question)
		ask(d, now_ms);
	if (count_gone(d) && others_ready(d))
		let_go(d, now_ms);
}

bool discovery_awaited(const struct discovery *d)
{
	return d->type != CONFIG_DISCOVERY_NONE && !d->answered && !d->n;
}

/* --- start and end ---------------------------------------------------------------------------- */

/*
 * Nodes that an earlier agent had in this pool; those of the configuration yield later. One that
 * drains without an order was removed, or drains by itself: it takes no new flow in either case,
 * and is left to retire.h until the source names it.
 */
static int adopt(struct discovery *d)
{
	for (uint32_t id = 1; id < LB_BACKENDS_MAX; id++) {
		const struct lb_backend_info *info = &d->agent->tables.backend_info[id];
		struct endpoint ep;
		struct member *m;

		if (!publish_backend_used(d->agent->publish, (uint16_t)id) ||
		    strcmp(info->pool, d->pool->name) || endpoint_parse(info->address, &ep) < 0)
			continue;
		if (info->state == LB_STATE_DRAINING && info->operator_state == LB_STATE_NONE)
			continue;
		m = add_member(d);
		if (!m)
			return -ENOMEM;
		snprintf(m->name, sizeof(m->name), "%s", info->name);
		m->target = (struct discovery_target){.endpoint = ep,
						      .has_weight = !info->weight_set,
						      .weight = info->weight,
						      .has_tier = true,
						      .tier = info->tier};
	}
	return 0;
}

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
			r = adopt(d);
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
	free_blocks(&d->block);
	free(d->members);
	free(d);
	*discovery = NULL;
}

/* --- for people ------------------------------------------------------------------------------- */

void discovery_stats(const struct discovery *d, struct discovery_stats *ret_stats)
{
	*ret_stats = (struct discovery_stats){
		.type = d->type,
		.nodes = d->n,
		.leaving = count_gone(d),
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
			 "leaving", (int)count_gone(d), "answers", (json_int_t)d->n_answers, "failures",
			 (json_int_t)d->n_failures, "age_ms", age_ms, "next_ms",
			 d->question ? 0 : next_ms, "error", d->error);
}
