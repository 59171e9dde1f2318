// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/apply.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/discovery.h"
#include "userspace/agent/files.h"
#include "userspace/agent/nat.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define FILES_SPARE (FILES_KEPT + 104) /* maps, sockets to listen on, some clients */

static int fail(struct attach_error *err, int r, const char *what, const char *name)
{
	snprintf(err->text, sizeof(err->text), "%s %s: %s", what, name, strerror(-r));
	return r;
}

static enum lb_mode mode_of(enum config_mode mode)
{
	static const enum lb_mode modes[] = {
		[CONFIG_MODE_L2DSR] = LB_MODE_L2DSR,
		[CONFIG_MODE_IPIP] = LB_MODE_IPIP,
		[CONFIG_MODE_GUE] = LB_MODE_GUE,
		[CONFIG_MODE_NAT] = LB_MODE_NAT,
	};

	return modes[mode];
}

static enum lb_policy policy_of(enum config_policy policy)
{
	static const enum lb_policy policies[] = {
		[CONFIG_POLICY_HASH] = LB_POLICY_HASH,
		[CONFIG_POLICY_P2C] = LB_POLICY_P2C,
		[CONFIG_POLICY_LEAST_QUEUE] = LB_POLICY_LEAST_QUEUE,
		[CONFIG_POLICY_LEAST_CONN] = LB_POLICY_LEAST_CONN,
		[CONFIG_POLICY_ROUND_ROBIN] = LB_POLICY_ROUND_ROBIN,
		[CONFIG_POLICY_WEIGHTED_ROUND_ROBIN] = LB_POLICY_WEIGHTED_ROUND_ROBIN,
	};

	return policies[policy];
}

static enum lb_on_down on_down_of(enum config_on_down on_down)
{
	switch (on_down) {
	case CONFIG_ON_DOWN_REHASH:
		return LB_ON_DOWN_REHASH;
	case CONFIG_ON_DOWN_KEEP:
		return LB_ON_DOWN_KEEP;
	case CONFIG_ON_DOWN_RESET:
		break;
	}
	return LB_ON_DOWN_RESET;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static int add_node(struct agent *agent, struct pool *pool, const struct config_node *cfg,
		    bool at_start, int64_t now_ms, struct attach_error *err)
{
	struct endpoint ep = {.addr = cfg->address, .port = cfg->port};
	struct node *node = NULL;
	bool adopted;
	uint16_t id;
	int r;

	r = publish_backend_get(agent->publish, pool->name, cfg->name, &ep, &id, &adopted);
	if (r < 0)
		return fail(err, r, "node", cfg->name);
	r = node_new(agent, pool, cfg, id, adopted, at_start, now_ms, &node);
	if (r == 0)
		r = pool_add(pool, node);
	if (r < 0) {
		node_free(&node);
		return fail(err, r, "node", cfg->name);
	}
	agent->by_id[id] = node;
	retire_back(agent->retire, id);
	r = node_start(node);
	if (r == 0)
		r = agent_add_nexthop(agent, node);
	if (r < 0)
		return fail(err, r, "node", cfg->name);
	if (!at_start)
		notice(&pool->notices, NOTICE_ADDED, now_ms, LOG_LEVEL_INFO, "node %s/%s: added",
		       pool->name, node->name);
	return 0;
}

static bool same_node(const struct node *node, const struct config_node *cfg)
{
	return !strcmp(node->name, cfg->name) && node->endpoint.port == cfg->port &&
	       address_equal(&node->endpoint.addr, &cfg->address);
}

/* Keys that have nothing to do with how load is scraped. */
static bool key_spares_load(const char *key)
{
	static const char *const keys[] = {"weight",  "tier",	 "policy", "affinity",	 "on_down",
					   "standby", "thresholds", "slots",  "check", "discovery"};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strncmp(key, keys[i], strlen(keys[i])))
			return true;
	return false;
}

/* Whether the reload under way changes what is scraped from the node, or how. */
static bool load_changes(const struct agent *agent, const struct node *node)
{
	char name[2 * LB_NAME_MAX];

	snprintf(name, sizeof(name), "%s/%s", node->pool->name, node->name);
	for (uint32_t i = 0; agent->diff && i < agent->diff->n; i++) {
		const struct config_change *c = &agent->diff->changes[i];
		bool mine = (c->object == CONFIG_OBJECT_POOL && c->name &&
			     !strcmp(c->name, node->pool->name)) ||
			    (c->object == CONFIG_OBJECT_NODE && c->name && !strcmp(c->name, name));

		if (mine && (!c->key || !key_spares_load(c->key)))
			return true;
	}
	return false;
}

/* What a pool is to have: nodes of the file, and those that discovery names. */
struct wanted {
	const struct config_node *nodes[2];
	uint32_t n[2];
};

/*
 * Both look on from where the last one was found, *hint: the two sides are mostly in one order, and
 * thousands of nodes are not to be compared with thousands.
 */
static const struct config_node *find_cfg(const struct wanted *wanted, const struct node *node,
					  uint32_t *hint)
{
	const uint32_t n = wanted->n[0] + wanted->n[1];

	for (uint32_t k = 0; k < n; k++) {
		uint32_t i = (*hint + k) % n;
		const struct config_node *cfg = i < wanted->n[0]
							? &wanted->nodes[0][i]
							: &wanted->nodes[1][i - wanted->n[0]];

		if (!same_node(node, cfg))
			continue;
		*hint = i + 1;
		return cfg;
	}
	return NULL;
}

static struct node *find_node(const struct pool *pool, const struct config_node *cfg,
			      uint32_t *hint)
{
	for (uint32_t k = 0; k < pool->n_nodes; k++) {
		uint32_t i = (*hint + k) % pool->n_nodes;

		if (!same_node(pool->nodes[i], cfg))
			continue;
		*hint = i + 1;
		return pool->nodes[i];
	}
	return NULL;
}

/* A removed node leaves the table first; its live flows stay. */
static void forget_nodes(struct agent *agent, struct node **gone, uint32_t n, int64_t now_ms)
{
	for (uint32_t i = 0; i < n; i++) {
		retire_add(agent->retire, gone[i]->id, now_ms);
		node_free(&gone[i]);
	}
}

/* Take nodes that are not wanted out of the pool. Returns their number; they are the caller's. */
static uint32_t take_out_nodes(struct agent *agent, struct pool *pool,
			       const struct wanted *wanted, int64_t now_ms, struct node **gone)
{
	uint32_t i = 0, hint = 0, n = 0;

	while (i < pool->n_nodes) {
		struct node *node = pool->nodes[i];

		if (find_cfg(wanted, node, &hint)) {
			i++;
			continue;
		}
		notice(&pool->notices, NOTICE_REMOVED, now_ms, LOG_LEVEL_INFO,
		       "node %s/%s: removed", pool->name, node->name);
		nexthop_remove(agent->nexthop, node->id);
		agent->by_id[node->id] = NULL;
		pool_remove(pool, node);
		gone[n++] = node;
	}
	return n;
}

static int apply_node(struct agent *agent, struct pool *pool, const struct config_node *cfg,
		      bool at_start, int64_t now_ms, uint32_t *hint, struct attach_error *err)
{
	struct node *node = find_node(pool, cfg, hint);

	if (!node)
		return add_node(agent, pool, cfg, at_start, now_ms, err);
	return node_reconfigure(node, cfg, load_changes(agent, node));
}

/* A node of discovery that cannot be had is no reason to refuse the others. */
static int apply_wanted(struct agent *agent, struct pool *pool, const struct wanted *wanted,
			bool at_start, int64_t now_ms, struct attach_error *err)
{
	uint32_t hint = 0;
	int r;

	for (uint32_t i = 0; i < wanted->n[0]; i++) {
		r = apply_node(agent, pool, &wanted->nodes[0][i], at_start, now_ms, &hint, err);
		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; i < wanted->n[1]; i++) {
		struct attach_error own = {};

		r = apply_node(agent, pool, &wanted->nodes[1][i], at_start, now_ms, &hint, &own);
		if (r < 0)
			log_error("pool %s: discovery: %s", pool->name,
				  own.text[0] ? own.text : strerror(-r));
	}
	return 0;
}

int agent_apply_nodes(struct agent *agent, struct pool *pool, bool at_start, int64_t now_ms,
		      struct attach_error *err)
{
	_cleanup_free_ struct node **gone = calloc(pool->n_nodes + 1, sizeof(struct node *));
	struct wanted wanted = {{pool->cfg->nodes}, {pool->cfg->n_nodes}};
	uint32_t n_gone;
	int r = -ENOMEM;

	if (gone)
		r = discovery_nodes(pool->discovery, &wanted.nodes[1], &wanted.n[1]);
	if (r < 0)
		return fail(err, r, "pool", pool->name);
	n_gone = take_out_nodes(agent, pool, &wanted, now_ms, gone);
	r = apply_wanted(agent, pool, &wanted, at_start, now_ms, err);
	if (r == 0)
		discovery_settle(pool->discovery);
	pool_judge(pool, now_ms);
	forget_nodes(agent, gone, n_gone, now_ms);
	return r;
}

/* --- pools ------------------------------------------------------------------------------------ */

static struct pool *find_pool(const struct agent *agent, const char *name)
{
	for (uint32_t i = 0; i < agent->n_pools; i++)
		if (!strcmp(agent->pools[i]->name, name))
			return agent->pools[i];
	return NULL;
}

static int add_pool(struct agent *agent, const struct config_pool *cfg, bool at_start,
		    struct pool **ret_pool, struct attach_error *err)
{
	struct pool **pools = realloc(agent->pools, (agent->n_pools + 1) * sizeof(*pools));
	char command[ATTACH_COMMAND_MAX];
	uint32_t id;
	int r;

	if (!pools)
		return fail(err, -ENOMEM, "pool", cfg->name);
	agent->pools = pools;
	r = publish_pool_get(agent->publish, cfg->name, cfg->table_slots, &id);
	if (r == 0)
		r = pool_new(agent, cfg, id, at_start, &pools[agent->n_pools]);
	if (r == -EBUSY)
		snprintf(err->text, sizeof(err->text),
			 "pool %s: its number of slots cannot change while it is in use: give the "
			 "pool another name, or run '%s' first", cfg->name,
			 attach_detach_command(agent->cfg->pin_dir, command));
	else if (r < 0)
		fail(err, r, "pool", cfg->name);
	if (r < 0)
		return r;
	*ret_pool = pools[agent->n_pools++];
	return 0;
}

static int apply_pool(struct agent *agent, const struct config_pool *cfg, bool at_start,
		      int64_t now_ms, struct attach_error *err)
{
	struct pool *pool = find_pool(agent, cfg->name);
	int r = 0;

	if (pool)
		r = pool_reconfigure(pool, cfg);
	else
		r = add_pool(agent, cfg, at_start, &pool, err);
	if (r < 0)
		return r;
	discovery_configure(pool->discovery, now_ms);
	return agent_apply_nodes(agent, pool, at_start, now_ms, err);
}

/* A pool that is gone: VIPs that used it are gone already. */
static void remove_pool(struct agent *agent, uint32_t index)
{
	struct pool *pool = agent->pools[index];
	int r;

	log_info("pool %s: removed", pool->name);
	r = publish_pool_release(agent->publish, pool->id);
	if (r < 0)
		log_error("pool %s: its id stays in use: %s", pool->name, strerror(-r));
	for (uint32_t i = 0; i < pool->n_nodes; i++) {
		nexthop_remove(agent->nexthop, pool->nodes[i]->id);
		agent->by_id[pool->nodes[i]->id] = NULL;
		r = publish_backend_release(agent->publish, pool->nodes[i]->id);
		if (r < 0)
			log_error("node %s/%s: its id stays in use: %s", pool->name,
				  pool->nodes[i]->name, strerror(-r));
	}
	pool_free(&pool);
	memmove(&agent->pools[index], &agent->pools[index + 1],
		(agent->n_pools - index - 1) * sizeof(struct pool *));
	agent->n_pools--;
}

/* --- VIPs ------------------------------------------------------------------------------------- */

static struct vip *find_vip(const struct agent *agent, const char *name)
{
	for (uint32_t i = 0; i < agent->n_vips; i++)
		if (!strcmp(agent->vips[i]->name, name))
			return agent->vips[i];
	return NULL;
}

static int get_vip(struct agent *agent, const char *name, struct vip **ret_vip)
{
	struct vip *vip = find_vip(agent, name);
	struct vip **vips;
	int r;

	if (vip) {
		*ret_vip = vip;
		return 0;
	}
	vips = realloc(agent->vips, (agent->n_vips + 1) * sizeof(*vips));
	if (!vips)
		return -ENOMEM;
	agent->vips = vips;
	vip = calloc(1, sizeof(*vip));
	if (!vip)
		return -ENOMEM;
	r = publish_vip_get(agent->publish, name, &vip->id);
	if (r < 0) {
		free(vip);
		return r;
	}
	snprintf(vip->name, sizeof(vip->name), "%s", name);
	vips[agent->n_vips++] = vip;
	*ret_vip = vip;
	return 0;
}

/* Endpoints that were there keep their ids and counters, also where VIPs change names or places. */
static int claim_endpoints(struct agent *agent, const struct config *cfg, struct attach_error *err)
{
	for (uint32_t i = 0; i < cfg->n_vips; i++) {
		const struct config_vip *v = &cfg->vips[i];
		int r = publish_vip_claim(agent->publish, v->name, &v->endpoint, IPPROTO_TCP);

		if (r < 0)
			return fail(err, r, "vip", v->name);
	}
	for (uint32_t i = 0; i < agent->n_vips; i++)
		snprintf(agent->vips[i]->name, sizeof(agent->vips[i]->name), "%s",
			 agent->tables.vip_info[agent->vips[i]->id].name);
	return 0;
}

static int apply_vip(struct agent *agent, const struct config *cfg, const struct config_vip *v,
		     struct attach_error *err)
{
	const struct config_pool *pc = &cfg->pools[v->pool];
	struct publish_vip settings = {
		.endpoint = v->endpoint,
		.proto = IPPROTO_TCP,
		.mode = mode_of(pc->mode),
		.policy = policy_of(pc->policy),
		.affinity = pc->affinity == CONFIG_AFFINITY_SOURCE ? LB_AFFINITY_SOURCE
								    : LB_AFFINITY_FLOW,
		.on_down = on_down_of(pc->on_down),
		.flags = LB_VIP_F_ACTIVE | (pool_tracks(pc) ? LB_VIP_F_TRACK : 0) |
			 (v->ping ? LB_VIP_F_PING : 0),
	};
	struct vip *vip;
	int r;

	r = get_vip(agent, v->name, &vip);
	if (r < 0)
		return fail(err, r, "vip", v->name);
	vip->cfg = v;
	vip->pool = find_pool(agent, pc->name);
	settings.pool = vip->pool->id;
	r = publish_vip_set(agent->publish, vip->id, &settings);
	return r < 0 ? fail(err, r, "vip", v->name) : 0;
}

/* VIPs of an earlier agent's configuration that this one lacks. */
static void release_adopted_vips(struct agent *agent)
{
	for (uint32_t id = 0; id < LB_VIPS_MAX; id++) {
		const struct lb_vip_info *info = &agent->tables.vip_info[id];

		if (!info->name[0] || find_vip(agent, info->name))
			continue;
		log_info("vip %s: removed", info->name);
		publish_vip_release(agent->publish, id);
	}
}

static void release_vips(struct agent *agent, const struct config *cfg)
{
	for (uint32_t i = agent->n_vips; i-- > 0;) {
		struct vip *vip = agent->vips[i];

		if (config_find_vip(cfg, vip->name) >= 0)
			continue;
		log_info("vip %s: removed", vip->name);
		publish_vip_release(agent->publish, vip->id);
		memmove(&agent->vips[i], &agent->vips[i + 1],
			(agent->n_vips - i - 1) * sizeof(struct vip *));
		agent->n_vips--;
		free(vip);
	}
}

/* --- what an earlier agent left and nobody knows any more ------------------------------------- */

static void retire_adopted_backends(struct agent *agent, int64_t now_ms)
{
	for (uint32_t id = 1; id < LB_BACKENDS_MAX; id++) {
		if (!publish_backend_used(agent->publish, (uint16_t)id) || agent->by_id[id])
			continue;
		retire_adopted(agent->retire, (uint16_t)id, now_ms);
	}
}

static void release_adopted_pools(struct agent *agent)
{
	for (uint32_t id = 0; id < agent->tables.n_pools; id++) {
		const struct lb_pool_info *info = &agent->tables.pool_info[id];

		if (!info->in_use || find_pool(agent, info->name))
			continue;
		log_info("pool %s: removed", info->name);
		(void)publish_pool_release(agent->publish, id);
	}
}

/* --- is there room ---------------------------------------------------------------------------- */

/* Connections to nodes are kept; those that find no descriptor are checks that are not made. */
static void check_files(const struct agent *agent)
{
	uint32_t nodes = 0, connections = 0;
	uint32_t limit = files_limit();

	for (uint32_t i = 0; i < agent->n_pools; i++) {
		nodes += agent->pools[i]->n_nodes;
		connections += agent->pools[i]->n_nodes * (1 + agent->pools[i]->cfg->load->n_pages);
	}
	if (connections + FILES_SPARE <= limit)
		return;
	log_warn("%u nodes take up to %u connections, and this process may open only %u files: "
		 "checks will be missing; raise the limit (LimitNOFILE= of the unit)", nodes,
		 connections, limit);
}

/*
 * Order: pools and their nodes first, so that a VIP never points at an empty table; then VIPs;
 * then what is gone, from the outside in.
 */
int agent_apply(struct agent *agent, struct config *cfg, bool at_start, int64_t now_ms,
		struct attach_error *err)
{
	int r = 0;

	agent->cfg = cfg;
	agent->layout++;
	dataplane_serve(&agent->dataplane, cfg);
	scan_set_idle(agent->scan, (uint64_t)cfg->flow_idle_ms);
	scan_nat_set_idle(agent->scan_nat, (uint64_t)cfg->flow_idle_ms);
	for (uint32_t i = 0; i < cfg->n_pools && r == 0; i++)
		r = apply_pool(agent, &cfg->pools[i], at_start, now_ms, err);
	if (r == 0)
		r = claim_endpoints(agent, cfg, err);
	for (uint32_t i = 0; i < cfg->n_vips && r == 0; i++)
		r = apply_vip(agent, cfg, &cfg->vips[i], err);
	if (r < 0)
		return r;
	nat_apply(agent, cfg);
	release_vips(agent, cfg);
	for (uint32_t i = agent->n_pools; i-- > 0;)
		if (config_find_pool(cfg, agent->pools[i]->name) < 0)
			remove_pool(agent, i);
	if (at_start) {
		release_adopted_vips(agent);
		release_adopted_pools(agent);
		retire_adopted_backends(agent, now_ms);
	}
	if (agent->fallback)
		fallback_apply(agent->fallback, now_ms);
	agent_kick(agent);
	check_files(agent);
	return 0;
}
