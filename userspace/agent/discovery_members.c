// SPDX-License-Identifier: BSD-2-Clause
/*
 * Members of a discovery: an answer's targets -> nodes of the pool; who is gone, and who may leave.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/agent.h"
#include "userspace/agent/discovery_internal.h"
#include "userspace/lib/log.h"

#define READY_SHARE 2 /* half of the named nodes ready: others may leave */

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

struct endpoint discovery_endpoint(const struct config_pool *cfg,
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
	struct endpoint ep = discovery_endpoint(cfg, target);
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

void discovery_fit(struct discovery *d)
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

/* --- leaving ---------------------------------------------------------------------------------- */

bool discovery_others_ready(const struct discovery *d)
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

void discovery_drop_gone(struct discovery *d)
{
	for (uint32_t i = d->n; i-- > 0;)
		if (d->members[i].gone)
			let_leave(d, i);
}

uint32_t discovery_count_gone(const struct discovery *d)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < d->n; i++)
		n += d->members[i].gone;
	return n;
}

/* --- start and end ---------------------------------------------------------------------------- */

/*
 * A node that drains without an order was removed, or drains by itself: it takes no new flow in
 * either case, and is left to retire.h until the source names it.
 */
int discovery_adopt(struct discovery *d)
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

void discovery_members_free(struct discovery *d)
{
	free_blocks(&d->block);
	free(d->members);
}
