/* SPDX-License-Identifier: BSD-2-Clause */
/* What only the whole configuration can show: ports that follow from VIPs, clashes, limits. */
#include <assert.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/config_schema.h"

struct whole {
	struct config_ctx *ctx;
	struct config *cfg;
	const struct config_sources *src;
};

/* A place as deep as "pools[0].nodes[0].key". */
struct where {
	struct config_path list;
	struct config_path item;
	struct config_path sublist;
	struct config_path subitem;
	struct config_path key;
};

static const struct yaml_node *item_of(const struct yaml_node *list, uint32_t i)
{
	return list && list->kind == YAML_LIST && i < list->n ? list->items[i] : NULL;
}

static const struct config_path *where_item(struct where *w, const char *list, uint32_t i,
					    const char *key)
{
	w->list = (struct config_path){.key = list};
	w->item = (struct config_path){.up = &w->list, .index = i};
	w->key = (struct config_path){.up = &w->item, .key = key};
	return key ? &w->key : &w->item;
}

static const struct config_path *where_node(struct where *w, uint32_t pool, uint32_t i,
					    const char *key)
{
	(void)where_item(w, "pools", pool, NULL);
	w->sublist = (struct config_path){.up = &w->item, .key = "nodes"};
	w->subitem = (struct config_path){.up = &w->sublist, .index = i};
	w->key = (struct config_path){.up = &w->subitem, .key = key};
	return key ? &w->key : &w->subitem;
}

/* The value of a key of a list's item, or the item if it does not have the key. */
static const struct yaml_node *source_item(const struct yaml_node *list, uint32_t i,
					   const char *key)
{
	const struct yaml_node *item = item_of(list, i);
	const struct yaml_node *value = key ? yaml_get(item, key) : NULL;

	return value ? value : item;
}

static const struct yaml_node *source_node(const struct whole *w, uint32_t pool, uint32_t i,
					   const char *key)
{
	return source_item(yaml_get(item_of(w->src->pools, pool), "nodes"), i, key);
}

#define fail_pool(w, i, key, ...)                                                                  \
	do {                                                                                       \
		struct where at_;                                                                  \
		config_fail((w)->ctx, source_item((w)->src->pools, i, key),                        \
			    where_item(&at_, "pools", i, key), __VA_ARGS__);                       \
	} while (0)
#define fail_vip(w, i, key, ...)                                                                   \
	do {                                                                                       \
		struct where at_;                                                                  \
		config_fail((w)->ctx, source_item((w)->src->vips, i, key),                         \
			    where_item(&at_, "vips", i, key), __VA_ARGS__);                        \
	} while (0)
#define fail_node(w, pool, i, key, ...)                                                            \
	do {                                                                                       \
		struct where at_;                                                                  \
		config_fail((w)->ctx, source_node(w, pool, i, key),                                \
			    where_node(&at_, pool, i, key), __VA_ARGS__);                          \
	} while (0)

static void check_interfaces(const struct whole *w)
{
	const struct config *cfg = w->cfg;
	struct where at;

	if (cfg->n_interfaces == 0 && w->ctx->n_errors == 0)
		config_fail(w->ctx, w->src->interfaces, NULL,
			    "key 'interfaces': name at least one interface where VIP traffic "
			    "arrives");
	for (uint32_t i = 0; i < cfg->n_interfaces; i++) {
		const struct config_interface *a = &cfg->interfaces[i];

		if (a->device && cfg->dataplane != CONFIG_DATAPLANE_DPDK)
			config_fail(w->ctx, source_item(w->src->interfaces, i, "device"),
				    where_item(&at, "interfaces", i, "device"),
				    "is for dataplane: dpdk only");
		for (uint32_t j = 0; a->name && j < i; j++)
			if (cfg->interfaces[j].name &&
			    strcmp(cfg->interfaces[j].name, a->name) == 0)
				config_fail(w->ctx, source_item(w->src->interfaces, i, "name"),
					    where_item(&at, "interfaces", i, "name"),
					    "interface '%s' is listed twice", a->name);
	}
}

/* VIPs */

static const char *address_unfit(const struct address *a)
{
	if (address_is_unspecified(a))
		return "is no address that packets are sent to";
	if (address_is_multicast(a))
		return "is a multicast address";
	if (address_is_broadcast(a))
		return "is the broadcast address";
	if (address_is_v4_mapped(a))
		return "is an IPv4 address in IPv6 form; write the IPv4 address";
	return NULL;
}

/* Returns whether they clash, which is reported. */
static bool check_vip_pair(const struct whole *w, uint32_t i, uint32_t j)
{
	const struct config_vip *a = &w->cfg->vips[i], *b = &w->cfg->vips[j];
	char text[ENDPOINT_TEXT_MAX];

	if (address_is_set(&a->endpoint.addr) && endpoint_equal(&a->endpoint, &b->endpoint)) {
		fail_vip(w, i, "address", "the VIP of line %u has %s too", b->line,
			 endpoint_format(&a->endpoint, text));
		return true;
	}
	if (a->name && b->name && strcmp(a->name, b->name) == 0) {
		fail_vip(w, i, "name", "the VIP of line %u has the name '%s' too", b->line,
			 a->name);
		return true;
	}
	if (address_is_set(&a->endpoint.addr) &&
	    address_equal(&a->endpoint.addr, &b->endpoint.addr) && a->ping != b->ping) {
		fail_vip(w, i, "ping", "the VIP of line %u has the same address and says otherwise",
			 b->line);
		return true;
	}
	return false;
}

static void check_fallback(const struct whole *w, uint32_t i)
{
	const struct config_fallback *f = &w->cfg->vips[i].fallback;

	if (!f->certificate_file != !f->key_file)
		fail_vip(w, i, "fallback", "certificate_file and key_file go together");
	if (f->retry_min_ms > f->retry_max_ms)
		fail_vip(w, i, "fallback", "retry_min is longer than retry_max");
}

static void check_vips(const struct whole *w)
{
	const struct config *cfg = w->cfg;

	for (uint32_t i = 0; i < cfg->n_vips; i++) {
		const struct config_vip *v = &cfg->vips[i];
		const char *unfit =
			address_is_set(&v->endpoint.addr) ? address_unfit(&v->endpoint.addr) : NULL;

		if (!unfit && address_is_loopback(&v->endpoint.addr))
			unfit = "is a loopback address, which never comes from a network";
		if (unfit)
			fail_vip(w, i, "address", "%s", unfit);
		check_fallback(w, i);
		for (uint32_t j = 0; j < i; j++)
			if (check_vip_pair(w, i, j))
				break;
	}
	if (cfg->n_vips > cfg->limits.vips)
		fail_vip(w, cfg->limits.vips, NULL, "more VIPs than limits.vips, %u",
			 cfg->limits.vips);
}

/* Ports of pools and nodes */

static bool pool_serves_port(const struct config *cfg, uint32_t pool, uint16_t port)
{
	for (uint32_t i = 0; i < cfg->n_vips; i++)
		if (cfg->vips[i].pool == pool && cfg->vips[i].endpoint.port == port)
			return true;
	return false;
}

/* The first VIP of a pool; NULL if it has none. */
static const struct config_vip *first_vip(const struct config *cfg, uint32_t pool)
{
	for (uint32_t i = 0; i < cfg->n_vips; i++)
		if (cfg->vips[i].pool == pool)
			return &cfg->vips[i];
	return NULL;
}

static const char port_hint[] =
	"mode %s keeps the destination port, so nodes must serve on a port of the pool's VIPs "
	"(%u), "
	"not %u; use check.port if only the check goes to that port, or mode: nat";

static void fill_ports(const struct whole *w, uint32_t i)
{
	struct config_pool *pool = &w->cfg->pools[i];
	const struct config_vip *vip = first_vip(w->cfg, i);
	bool fixed = vip && pool->mode != CONFIG_MODE_NAT;

	if (pool->port && fixed && !pool_serves_port(w->cfg, i, pool->port))
		fail_pool(w, i, "port", port_hint, config_mode_name(pool->mode), vip->endpoint.port,
			  pool->port);
	if (!pool->port && vip)
		pool->port = vip->endpoint.port;
	for (uint32_t k = 0; k < pool->n_nodes; k++) {
		struct config_node *node = &pool->nodes[k];

		if (node->port && node->port != pool->port && fixed &&
		    !pool_serves_port(w->cfg, i, node->port))
			fail_node(w, i, k, "port", port_hint, config_mode_name(pool->mode),
				  vip->endpoint.port, node->port);
		if (!node->port)
			node->port = pool->port;
	}
	if (!pool->port && w->ctx->n_errors == 0)
		fail_pool(w, i, NULL,
			  "no VIP uses this pool, so its nodes' port is not known; name the "
			  "pool in 'vips', or give port");
	if (pool->discovery.dns.port && fixed &&
	    !pool_serves_port(w->cfg, i, pool->discovery.dns.port))
		fail_pool(w, i, "discovery", port_hint, config_mode_name(pool->mode),
			  vip->endpoint.port, pool->discovery.dns.port);
}

/* Nodes */

static int by_name(const void *pa, const void *pb)
{
	const struct config_node *a = *(const struct config_node *const *)pa;
	const struct config_node *b = *(const struct config_node *const *)pb;
	int r = strcmp(a->name, b->name);

	return r ? r : (a > b) - (a < b);
}

static int by_endpoint(const void *pa, const void *pb)
{
	const struct config_node *a = *(const struct config_node *const *)pa;
	const struct config_node *b = *(const struct config_node *const *)pb;
	int r = address_compare(&a->address, &b->address);

	if (r == 0)
		r = (int)a->port - (int)b->port;
	return r ? r : (a > b) - (a < b);
}

static void check_twins(const struct whole *w, uint32_t pool_i)
{
	const struct config_pool *pool = &w->cfg->pools[pool_i];
	const struct config_node **sorted;
	uint32_t n = 0;

	if (pool->n_nodes == 0)
		return;
	sorted = arena_alloc(w->ctx->scratch, pool->n_nodes, sizeof(*sorted));
	if (!sorted)
		return;
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		if (pool->nodes[i].name && address_is_set(&pool->nodes[i].address))
			sorted[n++] = &pool->nodes[i];
	qsort(sorted, n, sizeof(*sorted), by_name);
	for (uint32_t i = 1; i < n; i++)
		if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
			fail_node(w, pool_i, (uint32_t)(sorted[i] - pool->nodes), "name",
				  "the node of line %u has the name '%s' too; give each its own",
				  sorted[i - 1]->line, sorted[i]->name);
	qsort(sorted, n, sizeof(*sorted), by_endpoint);
	for (uint32_t i = 1; i < n; i++)
		if (address_equal(&sorted[i - 1]->address, &sorted[i]->address) &&
		    sorted[i - 1]->port == sorted[i]->port)
			fail_node(w, pool_i, (uint32_t)(sorted[i] - pool->nodes), "address",
				  "the node of line %u has the same address and port",
				  sorted[i - 1]->line);
}

/* The first VIP that a node's address does not go with, and why. */
static const char *vip_clash(const struct config *cfg, uint32_t pool_i, const struct address *a,
			     const struct config_vip **ret_vip)
{
	const struct config_pool *pool = &cfg->pools[pool_i];

	for (uint32_t v = 0; v < cfg->n_vips; v++) {
		const struct config_vip *vip = &cfg->vips[v];

		*ret_vip = vip;
		if (!address_is_set(&vip->endpoint.addr))
			continue;
		if (address_equal(&vip->endpoint.addr, a))
			return "is the VIP's own address; give the node's";
		if (vip->pool == pool_i && pool->mode == CONFIG_MODE_NAT &&
		    vip->endpoint.addr.family != a->family)
			return "is not of the VIP's family, and mode nat does not turn IPv4 into "
			       "IPv6 or back";
	}
	return NULL;
}

static void check_node(const struct whole *w, uint32_t pool_i, uint32_t i)
{
	const struct config_pool *pool = &w->cfg->pools[pool_i];
	const struct address *a = &pool->nodes[i].address;
	const struct config_vip *vip;
	const char *why;

	if (!address_is_set(a))
		return;
	why = address_unfit(a);
	if (why) {
		fail_node(w, pool_i, i, "address", "%s", why);
		return;
	}
	why = vip_clash(w->cfg, pool_i, a, &vip);
	if (why)
		fail_node(w, pool_i, i, "address", "%s (VIP of line %u)", why, vip->line);
}

const char *config_endpoint_unfit(const struct config *cfg, const struct config_pool *pool,
				  const struct endpoint *endpoint)
{
	uint32_t pool_i = (uint32_t)(pool - cfg->pools);
	const char *why = address_unfit(&endpoint->addr);
	const struct config_vip *vip;

	if (!why)
		why = vip_clash(cfg, pool_i, &endpoint->addr, &vip);
	if (!why && pool->mode != CONFIG_MODE_NAT && first_vip(cfg, pool_i) &&
	    !pool_serves_port(cfg, pool_i, endpoint->port))
		why = "has a port that no VIP of the pool has, and only mode nat changes ports";
	return why;
}

/* Pools */

static bool is_prime(uint32_t n)
{
	if (n < 2 || (n % 2 == 0 && n != 2))
		return false;
	for (uint32_t i = 3; i * i <= n; i += 2)
		if (n % i == 0)
			return false;
	return true;
}

static uint32_t prime_below(uint32_t n)
{
	while (!is_prime(n))
		n--;
	return n;
}

static uint32_t members_max(enum config_policy policy)
{
	switch (policy) {
	case CONFIG_POLICY_LEAST_QUEUE:
	case CONFIG_POLICY_LEAST_CONN:
		return LB_MEMBERS_MAX;
	case CONFIG_POLICY_ROUND_ROBIN:
	case CONFIG_POLICY_WEIGHTED_ROUND_ROBIN:
		return LB_TURNS_MAX;
	default:
		return CONFIG_NODES_MAX;
	}
}

uint32_t config_pool_nodes_max(const struct config_pool *pool)
{
	uint32_t most = members_max(pool->policy);

	return most < pool->table_slots ? most : pool->table_slots;
}

static void check_pool_itself(const struct whole *w, uint32_t i)
{
	const struct config_pool *pool = &w->cfg->pools[i];
	const struct config_discovery *d = &pool->discovery;

	if (!is_prime(pool->table_slots))
		fail_pool(w, i, "table_slots", "%u is not a prime number; the next below is %u",
			  pool->table_slots, prime_below(pool->table_slots));
	if (pool->n_nodes > members_max(pool->policy))
		fail_pool(w, i, "nodes", "policy %s takes at most %u nodes, found %u",
			  config_policy_name(pool->policy), members_max(pool->policy),
			  pool->n_nodes);
	else if (pool->n_nodes > pool->table_slots)
		fail_pool(w, i, "nodes", "%u nodes need more than %u table_slots", pool->n_nodes,
			  pool->table_slots);
	if (pool->standby.above_ratio < pool->standby.below_ratio)
		fail_pool(w, i, "standby", "above is less than below");
	if (d->dns.min_ttl_ms > d->dns.max_ttl_ms)
		fail_pool(w, i, "discovery", "min_ttl is longer than max_ttl");
	if (pool->n_nodes == 0 && d->type == CONFIG_DISCOVERY_NONE && w->ctx->n_errors == 0)
		fail_pool(w, i, "nodes", "the pool has no nodes; list some, or give discovery");
}

static void check_pool(const struct whole *w, uint32_t i)
{
	const struct config_pool *pool = &w->cfg->pools[i];

	for (uint32_t j = 0; pool->name && j < i; j++)
		if (w->cfg->pools[j].name && strcmp(pool->name, w->cfg->pools[j].name) == 0)
			fail_pool(w, i, "name", "the pool of line %u has the name '%s' too",
				  w->cfg->pools[j].line, pool->name);
	check_pool_itself(w, i);
	fill_ports(w, i);
	for (uint32_t k = 0; k < pool->n_nodes && w->ctx->n_errors < CONFIG_ERRORS_FOUND; k++)
		check_node(w, i, k);
	check_twins(w, i);
}

static void check_discovery_family(const struct whole *w, uint32_t i)
{
	const struct config_vip *vip = &w->cfg->vips[i];
	const struct config_pool *pool = &w->cfg->pools[vip->pool];
	const struct config_discovery *d = &pool->discovery;
	sa_family_t family = d->dns.type == CONFIG_DNS_A ? AF_INET : AF_INET6;

	if (pool->mode != CONFIG_MODE_NAT || d->type != CONFIG_DISCOVERY_DNS ||
	    d->dns.type == CONFIG_DNS_SRV || !address_is_set(&vip->endpoint.addr))
		return;
	if (vip->endpoint.addr.family != family)
		fail_pool(w, vip->pool, "discovery",
			  "mode nat does not change the family, and the VIP of line %u needs type: "
			  "%s",
			  vip->line, family == AF_INET ? "AAAA" : "A");
}

static void check_sums(const struct whole *w)
{
	const struct config *cfg = w->cfg;
	uint32_t nodes = 0;

	if (cfg->n_pools > cfg->limits.pools)
		fail_pool(w, cfg->limits.pools, NULL, "more pools than limits.pools, %u",
			  cfg->limits.pools);
	for (uint32_t i = 0; i < cfg->n_pools; i++) {
		if (nodes <= cfg->limits.nodes && nodes + cfg->pools[i].n_nodes > cfg->limits.nodes)
			fail_pool(w, i, "nodes", "more nodes in all pools than limits.nodes, %u",
				  cfg->limits.nodes);
		nodes += cfg->pools[i].n_nodes;
	}
}

void config_check_whole(struct config_ctx *ctx, const struct config_sources *sources)
{
	struct whole w = {.ctx = ctx, .cfg = ctx->cfg, .src = sources};

	check_interfaces(&w);
	check_vips(&w);
	for (uint32_t i = 0; i < w.cfg->n_pools; i++)
		check_pool(&w, i);
	for (uint32_t i = 0; i < w.cfg->n_vips; i++)
		if (w.cfg->vips[i].pool < w.cfg->n_pools)
			check_discovery_family(&w, i);
	check_sums(&w);
}
