/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools and their nodes, from the tree of a configuration. What a node says of checks, load and
 * thresholds is resolved once for nodes that say the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/config_schema.h"
#include "userspace/lib/cleanup.h"

#define TWINS_LOOK 16 /* nodes with own settings that are compared with the next */

/* A node's own settings, kept to be shared with nodes that say the same. */
struct shared {
	const struct yaml_node *check;
	const struct yaml_node *load;
	const struct yaml_node *thresholds;
	struct config_settings *settings;
};

struct pool_source {
	const struct yaml_node *defaults;
	const struct yaml_node *node;
	const struct config_path *path;
	struct shared shared[TWINS_LOOK];
	uint32_t n_shared;
};

static const struct config_path defaults_path = {.key = "defaults"};

static void pool_use(struct config_pool *pool, const struct config_settings *s)
{
	pool->settings = s;
	pool->spec = s->spec;
	pool->check = &s->check;
	pool->load = &s->load;
	pool->thresholds = &s->thresholds;
}

static void node_use(struct config_node *node, const struct config_settings *s)
{
	node->settings = s;
	node->spec = s->spec;
	node->check = &s->check;
	node->load = &s->load;
	node->thresholds = &s->thresholds;
}

static bool same_layer(const struct shared *a, const struct yaml_node *node)
{
	return (a->check == yaml_get(node, "check") ||
		yaml_equal(a->check, yaml_get(node, "check"))) &&
	       (a->load == yaml_get(node, "load") || yaml_equal(a->load, yaml_get(node, "load"))) &&
	       (a->thresholds == yaml_get(node, "thresholds") ||
		yaml_equal(a->thresholds, yaml_get(node, "thresholds")));
}

/* Settings of a node that has some of its own; those of another node where they are the same. */
static void node_settings(struct config_ctx *ctx, struct pool_source *src,
			  const struct config_pool *pool, const struct yaml_node *item,
			  const struct config_path *path, struct config_node *node)
{
	const struct config_layer layers[] = {
		{src->defaults, &defaults_path, SCHEMA_DEFAULTS},
		{src->node, src->path, SCHEMA_POOL},
		{item, path, SCHEMA_NODE},
	};
	struct config_settings *s;

	for (uint32_t i = 0; i < src->n_shared; i++)
		if (same_layer(&src->shared[i], item))
			return node_use(node, src->shared[i].settings);
	s = config_settings_resolve(ctx, pool->preset, layers, ARRAY_SIZE(layers));
	if (!s)
		return;
	node_use(node, s);
	if (src->n_shared < TWINS_LOOK)
		src->shared[src->n_shared++] =
			(struct shared){yaml_get(item, "check"), yaml_get(item, "load"),
					yaml_get(item, "thresholds"), s};
}

static void load_node(struct config_ctx *ctx, struct pool_source *src,
		      const struct config_pool *pool, const struct yaml_node *item,
		      const struct config_path *path, struct config_node *node)
{
	char name[CONFIG_NAME_MAX + 1];

	node->line = item->line;
	node->weight = 1;
	node->slots = pool->slots;
	node_use(node, pool->settings);
	schema_apply_item(ctx, &schema_node, SCHEMA_NODE, "address", item, path, node);
	if (item->kind != YAML_LIST)
		schema_need(ctx, &schema_node, SCHEMA_NODE, item, path, "address",
			    "where the node is, such as 10.0.1.11");
	if (yaml_get(item, "check") || yaml_get(item, "load") || yaml_get(item, "thresholds"))
		node_settings(ctx, src, pool, item, path, node);
	if (node->name || yaml_get(item, "name") || !address_is_set(&node->address))
		return;
	config_node_default_name(&node->address, name);
	node->name = arena_strdup(ctx->cfg->arena, name);
}

static void load_nodes(struct config_ctx *ctx, struct pool_source *src, struct config_pool *pool)
{
	struct config_path up = {.up = src->path, .key = "nodes"};
	const struct yaml_node *list = yaml_get(src->node, "nodes");

	if (!list || (list->kind == YAML_SCALAR && list->is_null))
		return;
	if (list->kind != YAML_LIST) {
		config_fail(ctx, list, &up, "expected a list (items start with '- '), found %s",
			    yaml_kind_name(list));
		return;
	}
	if (list->n > CONFIG_NODES_MAX) {
		config_fail(ctx, list, &up, "at most %u nodes, found %u", CONFIG_NODES_MAX,
			    list->n);
		return;
	}
	if (list->n == 0)
		return;
	pool->nodes = arena_alloc(ctx->cfg->arena, list->n, sizeof(*pool->nodes));
	if (!pool->nodes)
		return;
	pool->n_nodes = list->n;
	for (uint32_t i = 0; i < list->n && ctx->n_errors < CONFIG_ERRORS_FOUND; i++) {
		struct config_path path = {.up = &up, .index = i};

		load_node(ctx, src, pool, list->items[i], &path, &pool->nodes[i]);
	}
}

static void load_discovery(struct config_ctx *ctx, const struct yaml_node *node,
			   const struct config_path *pool_path, struct config_discovery *d)
{
	struct config_path path = {.up = pool_path, .key = "discovery"};
	bool dns = yaml_get(node, "dns"), file = yaml_get(node, "file");

	if (!node || (node->kind == YAML_SCALAR && node->is_null))
		return;
	schema_apply(ctx, &schema_discovery, SCHEMA_POOL, node, &path, d);
	if (node->kind != YAML_MAP)
		return;
	if (dns == file) {
		config_fail(ctx, node, &path, "give either dns or file%s", dns ? ", not both" : "");
		return;
	}
	d->type = dns ? CONFIG_DISCOVERY_DNS : CONFIG_DISCOVERY_FILE;
	if (dns && !yaml_get(yaml_get(node, "dns"), "name"))
		config_fail(ctx, yaml_get(node, "dns"), &path,
			    "dns needs 'name': the name to look up");
}

static void need_preset(struct config_ctx *ctx, const struct yaml_node *item,
			const struct config_path *path)
{
	const char *what =
		arena_printf(ctx->scratch, "what its nodes run; accepted: %s", preset_names());

	schema_need(ctx, &schema_pool, SCHEMA_POOL, item, path, "preset", what ? what : "");
}

static void load_pool(struct config_ctx *ctx, const struct yaml_node *defaults,
		      const struct yaml_node *item, const struct config_path *path,
		      struct config_pool *pool)
{
	struct pool_source src = {.defaults = defaults, .node = item, .path = path};
	const struct config_layer layers[] = {
		{defaults, &defaults_path, SCHEMA_DEFAULTS},
		{item, path, SCHEMA_POOL},
	};
	struct config_settings *s;

	pool->line = item->line;
	config_pool_defaults(pool);
	schema_apply(ctx, &schema_pool, SCHEMA_DEFAULTS, defaults, &defaults_path, pool);
	schema_apply(ctx, &schema_pool, SCHEMA_POOL, item, path, pool);
	if (item->kind != YAML_MAP) {
		if (item->kind == YAML_SCALAR && item->is_null)
			config_fail(ctx, item, path, "expected a pool, found nothing");
		return;
	}
	schema_need(ctx, &schema_pool, SCHEMA_POOL, item, path, "name", "a short name of the pool");
	if (!pool->preset)
		need_preset(ctx, item, path);
	s = config_settings_resolve(ctx, pool->preset, layers, ARRAY_SIZE(layers));
	if (!s)
		return;
	pool_use(pool, s);
	load_discovery(ctx, yaml_get(item, "discovery"), path, &pool->discovery);
	load_nodes(ctx, &src, pool);
}

/* Errors in `defaults` are found even if no pool uses what is wrong. */
static void check_defaults(struct config_ctx *ctx, const struct yaml_node *defaults)
{
	const struct config_layer layer = {defaults, &defaults_path, SCHEMA_DEFAULTS};
	struct config_path path = {.up = &defaults_path, .key = "fallback"};
	struct config_fallback fallback = {0};
	struct config_pool pool = {0};

	if (!defaults)
		return;
	config_pool_defaults(&pool);
	config_fallback_defaults(&fallback);
	schema_apply(ctx, &schema_pool, SCHEMA_DEFAULTS, defaults, &defaults_path, &pool);
	schema_apply(ctx, &schema_fallback, SCHEMA_VIP, yaml_get(defaults, "fallback"), &path,
		     &fallback);
	(void)config_settings_resolve(ctx, NULL, &layer, 1);
}

void config_load_pools(struct config_ctx *ctx, const struct config_sources *src)
{
	struct config_path up = {.key = "pools"};
	struct config *cfg = ctx->cfg;

	check_defaults(ctx, src->defaults);
	if (!src->pools || src->pools->n == 0)
		return;
	cfg->pools = arena_alloc(cfg->arena, src->pools->n, sizeof(*cfg->pools));
	if (!cfg->pools)
		return;
	cfg->n_pools = src->pools->n;
	for (uint32_t i = 0; i < src->pools->n; i++) {
		struct config_path path = {.up = &up, .index = i};

		load_pool(ctx, src->defaults, src->pools->items[i], &path, &cfg->pools[i]);
	}
}
