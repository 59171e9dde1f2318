/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "userspace/agent/config_schema.h"
#include "userspace/lib/cleanup.h"

#define ARENA_MAX  (512u << 20)
#define POOL_NONE  UINT32_MAX /* of a VIP whose pool is not known; only until errors are out */
#define TWINS_LOOK 16         /* nodes with own settings that are compared with the next */

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

bool config_name_valid(const char *name)
{
	size_t n = 0;

	assert(name);

	if (*name == '-' || *name == '.')
		return false;
	for (; name[n]; n++) {
		char c = name[n];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '_' || c == '-') ||
		    n == CONFIG_NAME_MAX)
			return false;
	}
	return n > 0;
}

void config_node_default_name(const struct address *addr, char ret_name[CONFIG_NAME_MAX + 1])
{
	char text[ADDRESS_TEXT_MAX];

	address_format(addr, text);
	for (char *p = text; *p; p++)
		if (*p == ':')
			*p = '-';
	/* "::1" is "0::1", and so gets a name that is none of an option. */
	snprintf(ret_name, CONFIG_NAME_MAX + 1, "%s%s", *text == '-' ? "0" : "", text);
}

void config_node_init(const struct config_pool *pool, struct config_node *ret_node)
{
	assert(pool);
	assert(ret_node);

	*ret_node = (struct config_node){
		.port = pool->port,
		.weight = pool->discovery.weight,
		.tier = pool->discovery.tier,
		.slots = pool->slots,
		.spec = pool->spec,
		.check = pool->check,
		.load = pool->load,
		.thresholds = pool->thresholds,
		.settings = pool->settings,
	};
}

int config_find_pool(const struct config *cfg, const char *name)
{
	for (uint32_t i = 0; i < cfg->n_pools; i++)
		if (cfg->pools[i].name && strcmp(cfg->pools[i].name, name) == 0)
			return (int)i;
	return -ENOENT;
}

int config_find_vip(const struct config *cfg, const char *name)
{
	for (uint32_t i = 0; i < cfg->n_vips; i++)
		if (cfg->vips[i].name && strcmp(cfg->vips[i].name, name) == 0)
			return (int)i;
	return -ENOENT;
}

int config_find_node(const struct config_pool *pool, const char *name)
{
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		if (pool->nodes[i].name && strcmp(pool->nodes[i].name, name) == 0)
			return (int)i;
	return -ENOENT;
}

void config_free(struct config **cfg)
{
	struct arena *arena;

	if (!cfg || !*cfg)
		return;
	for (struct config_settings *s = (*cfg)->settings; s; s = s->next)
		if (s->spec)
			preset_spec_free(&s->spec);
	arena = (*cfg)->arena;
	free(*cfg);
	arena_free(&arena);
	*cfg = NULL;
}

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

static const struct schema_field *schema_key(const struct schema *schema, const char *key)
{
	for (size_t i = 0; i < schema->n; i++)
		if (strcmp(schema->fields[i].key, key) == 0)
			return &schema->fields[i];
	abort();
}

/* A list's item that is a single word stands for one of its keys: "- eth0", "- 10.0.1.11". */
static void apply_item(struct config_ctx *ctx, const struct schema *schema, enum schema_place place,
		       const char *short_key, const struct yaml_node *item,
		       const struct config_path *path, void *base)
{
	const struct schema_field *f = schema_key(schema, short_key);

	if (item->kind == YAML_SCALAR && !item->is_null)
		(void)schema_scalar(ctx, f, item, path, (char *)base + f->offset);
	else
		schema_apply(ctx, schema, place, item, path, base);
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
		apply_item(ctx, &schema_interface, SCHEMA_TOP, "name", list->items[i], &path, f);
		schema_need(ctx, &schema_interface, SCHEMA_TOP, list->items[i], &path, "name",
			    "the interface, such as eth0");
		if (f->name && (strchr(f->name, '/') || strchr(f->name, ':')))
			config_fail(ctx, list->items[i], &path, "'%s' is not an interface name",
				    f->name);
	}
}

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
	apply_item(ctx, &schema_node, SCHEMA_NODE, "address", item, path, node);
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
	const char *what = arena_printf(ctx->scratch, "what its nodes run; accepted: %s",
					preset_names());

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

static void load_pools(struct config_ctx *ctx, const struct config_sources *src)
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
	src.defaults = yaml_get(root, "defaults");
	src.interfaces = top_list(ctx, root, "interfaces", CONFIG_INTERFACES_MAX);
	src.pools = top_list(ctx, root, "pools", CONFIG_POOLS_MAX);
	src.vips = top_list(ctx, root, "vips", CONFIG_VIPS_MAX);
	load_interfaces(ctx, src.interfaces);
	load_pools(ctx, &src);
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

/* The bytes of a regular file. Returns 0 or -errno; -EFBIG over CONFIG_FILE_SIZE_MAX. */
static int read_file(const char *path, char **ret_buf, size_t *ret_len)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *buf = NULL;
	struct stat st;
	size_t len = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (st.st_size > (off_t)CONFIG_FILE_SIZE_MAX)
		return -EFBIG;
	buf = malloc(CONFIG_FILE_SIZE_MAX + 1);
	if (!buf)
		return -ENOMEM;
	while (len <= CONFIG_FILE_SIZE_MAX) {
		ssize_t n = read(fd, buf + len, CONFIG_FILE_SIZE_MAX + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_buf = TAKE_PTR(buf);
	*ret_len = len;
	return 0;
}

int config_load(const char *path, struct config **ret, struct config_errors *errs)
{
	_cleanup_free_ char *buf = NULL;
	size_t len = 0;
	int r;

	assert(path);
	assert(ret);
	assert(errs);

	r = read_file(path, &buf, &len);
	if (r == -EFBIG)
		return fail_size(errs, path);
	if (r == -EINVAL) {
		config_errors_addf(errs, "%s: not a regular file", path);
		return r;
	}
	if (r < 0)
		return fail_file(errs, path, r);
	return config_load_buffer(path, buf, len, ret, errs);
}

int config_check_files(const struct config *cfg, struct config_errors *errs)
{
	char text[1024];
	int r = 0;

	assert(cfg);
	assert(errs);

	for (uint32_t i = 0; i < cfg->n_files; i++) {
		const struct config_file *f = &cfg->files[i];

		if (access(f->path, R_OK) == 0)
			continue;
		snprintf(text, sizeof(text), "%s:%u:%u: key '%s': cannot read '%s': %s", cfg->path,
			 f->line, f->column, f->key, f->path, strerror(errno));
		config_errors_add(errs, f->line, f->column, text);
		r = -ENOENT;
	}
	return r;
}
