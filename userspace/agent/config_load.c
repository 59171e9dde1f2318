/* SPDX-License-Identifier: BSD-2-Clause */
/* A file -> struct config: the tree, interfaces, VIPs. */
#include "userspace/agent/config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/config_schema.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/file_read.h"

#define ARENA_MAX (512u << 20)
#define POOL_NONE UINT32_MAX /* of a VIP whose pool is not known; only until errors are out */

static const struct config_path defaults_path = {.key = "defaults"};

/*
 * The list under a key of the root, of at most max items: NULL if there is none, or if it is not
 * one (reported).
 */
static const struct yaml_node *top_list(struct config_ctx *ctx, const struct yaml_node *root,
					const char *key, uint32_t max)
{
	struct config_path path = {.key = key};
	const struct yaml_node *list = yaml_get(root, key);

	if (!list || (list->kind == YAML_SCALAR && list->is_null))
		return NULL;
	if (list->kind != YAML_LIST) {
		config_fail(ctx, list, &path, "expected a list (items start with '- '), found %s",
			    yaml_kind_name(list));
		return NULL;
	}
	if (list->n > max) {
		config_fail(ctx, list, &path, "at most %u items, found %u", max, list->n);
		return NULL;
	}
	return list;
}

static void load_interfaces(struct config_ctx *ctx, const struct yaml_node *list)
{
	struct config_path up = {.key = "interfaces"};
	struct config *cfg = ctx->cfg;

	if (!list || list->n == 0)
		return;
	cfg->interfaces = arena_alloc(cfg->arena, list->n, sizeof(*cfg->interfaces));
	if (!cfg->interfaces)
		return;
	cfg->n_interfaces = list->n;
	for (uint32_t i = 0; i < list->n; i++) {
		struct config_interface *f = &cfg->interfaces[i];
		struct config_path path = {.up = &up, .index = i};

		f->mode = CONFIG_XDP_NATIVE;
		f->priority = 50;
		f->reattach = true;
		schema_apply_item(ctx, &schema_interface, SCHEMA_TOP, "name", list->items[i], &path,
				  f);
		schema_need(ctx, &schema_interface, SCHEMA_TOP, list->items[i], &path, "name",
			    "the interface, such as eth0");
		if (f->name && (strchr(f->name, '/') || strchr(f->name, ':')))
			config_fail(ctx, list->items[i], &path, "'%s' is not an interface name",
				    f->name);
	}
}

/* The pool that a VIP names. */
static void vip_pool(struct config_ctx *ctx, const struct yaml_node *item,
		     const struct config_path *vip_path, struct config_vip *vip)
{
	const struct schema_field field = {.key = "pool", .type = SCHEMA_NAME};
	struct config_path path = {.up = vip_path, .key = "pool"};
	const struct yaml_node *value = yaml_get(item, "pool");
	const char *names[CONFIG_POOLS_MAX], *name, *better;
	uint32_t n = 0;
	int i;

	vip->pool = POOL_NONE;
	if (!value || schema_scalar(ctx, &field, value, &path, &name) < 0)
		return;
	i = config_find_pool(ctx->cfg, name);
	if (i >= 0) {
		vip->pool = (uint32_t)i;
		return;
	}
	for (uint32_t k = 0; k < ctx->cfg->n_pools && k < CONFIG_POOLS_MAX; k++) {
		if (!ctx->cfg->pools[k].name)
			return; /* which was reported, and may be the one */
		names[n++] = ctx->cfg->pools[k].name;
	}
	better = config_suggest(name, names, n);
	config_fail(ctx, value, &path, "there is no pool '%s'%s%s%s", name,
		    better ? " (did you mean '" : "", better ? better : "", better ? "'?)" : "");
}

/* Ports make names of several VIPs at one address differ. */
static const char *vip_default_name(struct config_ctx *ctx, const struct config_vip *vip)
{
	char name[CONFIG_NAME_MAX + 1];

	config_node_default_name(&vip->endpoint.addr, name);
	return arena_printf(ctx->cfg->arena, "%s-%u", name, vip->endpoint.port);
}

static void load_vip(struct config_ctx *ctx, const struct yaml_node *defaults,
		     const struct yaml_node *item, const struct config_path *path,
		     struct config_vip *vip)
{
	struct config_path above = {.up = &defaults_path, .key = "fallback"};
	struct config_path own = {.up = path, .key = "fallback"};

	vip->line = item->line;
	vip->ping = true;
	vip->pool = POOL_NONE;
	config_fallback_defaults(&vip->fallback);
	schema_apply(ctx, &schema_vip, SCHEMA_VIP, item, path, vip);
	if (item->kind != YAML_MAP) {
		if (item->kind == YAML_SCALAR && item->is_null)
			config_fail(ctx, item, path, "expected a VIP, found nothing");
		return;
	}
	schema_need(ctx, &schema_vip, SCHEMA_VIP, item, path, "address",
		    "what clients connect to, such as 10.0.0.100");
	schema_need(ctx, &schema_vip, SCHEMA_VIP, item, path, "port",
		    "what clients connect to, such as 8000");
	schema_need(ctx, &schema_vip, SCHEMA_VIP, item, path, "pool",
		    "the name of the pool that serves it");
	schema_apply(ctx, &schema_fallback, SCHEMA_VIP, yaml_get(defaults, "fallback"), &above,
		     &vip->fallback);
	schema_apply(ctx, &schema_fallback, SCHEMA_VIP, yaml_get(item, "fallback"), &own,
		     &vip->fallback);
	vip_pool(ctx, item, path, vip);
	if (!vip->name && !yaml_get(item, "name") && address_is_set(&vip->endpoint.addr))
		vip->name = vip_default_name(ctx, vip);
}

static void load_vips(struct config_ctx *ctx, const struct config_sources *src)
{
	struct config_path up = {.key = "vips"};
	struct config *cfg = ctx->cfg;

	if (!src->vips || src->vips->n == 0)
		return;
	cfg->vips = arena_alloc(cfg->arena, src->vips->n, sizeof(*cfg->vips));
	if (!cfg->vips)
		return;
	cfg->n_vips = src->vips->n;
	for (uint32_t i = 0; i < src->vips->n; i++) {
		struct config_path path = {.up = &up, .index = i};

		load_vip(ctx, src->defaults, src->vips->items[i], &path, &cfg->vips[i]);
	}
}

static void check_key(struct config_ctx *ctx, const struct yaml_node *root)
{
	const struct config_path path = {.key = "hash_key_file"};

	if (ctx->cfg->hash_key_file && yaml_get(root, "hash_key"))
		config_fail(ctx, yaml_get(root, path.key), &path,
			    "hash_key is there too: give one of them");
}

/* The whole tree into ctx->cfg; errors to ctx. */
static void load_tree(struct config_ctx *ctx, const struct yaml_node *root)
{
	struct config_sources src = {0};

	config_defaults(ctx->cfg);
	schema_apply(ctx, &schema_top, SCHEMA_TOP, root, NULL, ctx->cfg);
	if (root->kind != YAML_MAP) {
		if (ctx->n_errors == 0)
			config_fail(ctx, root, NULL, "expected a mapping, found %s",
				    yaml_kind_name(root));
		return;
	}
	check_key(ctx, root);
	src.defaults = yaml_get(root, "defaults");
	src.interfaces = top_list(ctx, root, "interfaces", CONFIG_INTERFACES_MAX);
	src.pools = top_list(ctx, root, "pools", CONFIG_POOLS_MAX);
	src.vips = top_list(ctx, root, "vips", CONFIG_VIPS_MAX);
	load_interfaces(ctx, src.interfaces);
	config_load_pools(ctx, &src);
	load_vips(ctx, &src);
	config_check_whole(ctx, &src);
}

/* Returns 0, -EINVAL with errors in ctx, or -ENOMEM. */
static int load_text(struct config_ctx *ctx, const char *buf, size_t len)
{
	const struct yaml_node *root;
	struct yaml_error e;
	int r;

	r = yaml_parse(ctx->scratch, buf, len, &root, &e);
	if (r == -EINVAL) {
		struct yaml_node place = {.line = e.line, .column = e.column};

		config_fail(ctx, &place, NULL, "%s", e.text);
	}
	if (r < 0)
		return r;
	load_tree(ctx, root);
	if (ctx->no_memory || arena_failed(ctx->scratch) || arena_failed(ctx->cfg->arena))
		return -ENOMEM;
	return ctx->n_errors ? -EINVAL : 0;
}

/* The directory of a file, with its final '/'; "" for a file without one. */
static const char *dir_of(struct arena *arena, const char *name)
{
	const char *slash = strrchr(name, '/');

	return arena_strndup(arena, name, slash ? (size_t)(slash - name) + 1 : 0);
}

static int config_new(const char *name, struct config **ret)
{
	struct config *cfg = calloc(1, sizeof(*cfg));

	if (!cfg)
		return -ENOMEM;
	cfg->arena = arena_new(ARENA_MAX);
	if (cfg->arena)
		cfg->path = arena_strdup(cfg->arena, name);
	if (!cfg->path) {
		config_free(&cfg);
		return -ENOMEM;
	}
	*ret = cfg;
	return 0;
}

static int load_with(struct config_ctx *ctx, const char *buf, size_t len,
		     struct config_errors *errs)
{
	int r;

	ctx->dir = dir_of(ctx->scratch, ctx->name);
	if (!ctx->dir)
		return -ENOMEM;
	r = load_text(ctx, buf, len);
	config_errors_finish(ctx, errs);
	return r;
}

static int fail_file(struct config_errors *errs, const char *name, int error)
{
	config_errors_addf(errs, "%s: %s", name, strerror(-error));
	return error;
}

static int fail_size(struct config_errors *errs, const char *name)
{
	config_errors_addf(errs, "%s: larger than %u bytes, which no configuration is", name,
			   CONFIG_FILE_SIZE_MAX);
	return -EFBIG;
}

int config_load_buffer(const char *name, const char *buf, size_t len, struct config **ret,
		       struct config_errors *errs)
{
	struct config *cfg = NULL;
	struct config_ctx *ctx;
	int r;

	assert(name);
	assert(buf || len == 0);
	assert(ret);
	assert(errs);

	if (len > CONFIG_FILE_SIZE_MAX)
		return fail_size(errs, name);
	r = config_new(name, &cfg);
	ctx = calloc(1, sizeof(*ctx));
	if (r < 0 || !ctx) {
		free(ctx);
		config_free(&cfg);
		return fail_file(errs, name, -ENOMEM);
	}
	ctx->name = name;
	ctx->cfg = cfg;
	ctx->scratch = arena_new(ARENA_MAX);
	r = ctx->scratch ? load_with(ctx, buf, len, errs) : -ENOMEM;
	arena_free(&ctx->scratch);
	free(ctx);
	if (r < 0) {
		config_free(&cfg);
		return r == -ENOMEM ? fail_file(errs, name, r) : r;
	}
	*ret = cfg;
	return 0;
}

int config_load(const char *path, struct config **ret, struct config_errors *errs)
{
	_cleanup_free_ char *buf = NULL;
	struct config *cfg = NULL;
	size_t len = 0;
	int r;

	assert(path);
	assert(ret);
	assert(errs);

	r = file_read(path, CONFIG_FILE_SIZE_MAX, &buf, &len);
	if (r == -EFBIG)
		return fail_size(errs, path);
	if (r == -EINVAL) {
		config_errors_addf(errs, "%s: not a regular file", path);
		return r;
	}
	if (r < 0)
		return fail_file(errs, path, r);
	r = config_load_buffer(path, buf, len, &cfg, errs);
	if (r == 0)
		r = config_read_key(cfg, errs);
	if (r < 0) {
		config_free(&cfg);
		return r;
	}
	*ret = cfg;
	return 0;
}
