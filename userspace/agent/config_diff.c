/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/config_diff.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/config_schema.h"
#include "userspace/lib/cleanup.h"

#define ARENA_MAX (256u << 20)

struct differ {
	struct config_diff *diff;
	struct arena *arena;
	uint32_t cap;
};

/* Whose fields are being compared. */
struct subject {
	enum config_object object;
	const char *name;
	const char *prefix; /* of keys: "check." */
	enum schema_place place;
	uint32_t flags; /* of the sections around */
};

static enum config_effect effect_of(uint32_t flags)
{
	if (flags & SCHEMA_DETACH)
		return CONFIG_EFFECT_DETACH;
	return flags & SCHEMA_RESTART ? CONFIG_EFFECT_RESTART : CONFIG_EFFECT_LIVE;
}

static const char *copy(struct differ *d, const char *text)
{
	return text ? arena_strdup(d->arena, text) : NULL;
}

/* Texts are copied. */
static void add(struct differ *d, struct config_change change)
{
	struct config_change *changes;
	uint32_t cap;

	if (d->diff->n == d->cap) {
		cap = d->cap ? d->cap * 2 : 64;
		changes = arena_alloc(d->arena, cap, sizeof(*changes));
		if (!changes)
			return;
		if (d->diff->n)
			memcpy(changes, d->diff->changes, d->diff->n * sizeof(*changes));
		d->diff->changes = changes;
		d->cap = cap;
	}
	change.name = copy(d, change.name);
	change.key = copy(d, change.key);
	change.was = copy(d, change.was);
	change.now = copy(d, change.now);
	d->diff->changes[d->diff->n++] = change;
	if (change.effect > d->diff->effect)
		d->diff->effect = change.effect;
}

static void add_changed(struct differ *d, const struct subject *s, const char *key, uint32_t flags,
			const char *was, const char *now)
{
	const char *whole = arena_printf(d->arena, "%s%s", s->prefix, key);

	add(d, (struct config_change){.op = CONFIG_CHANGED,
				      .object = s->object,
				      .effect = effect_of(flags | s->flags),
				      .name = s->name,
				      .key = whole ? whole : key,
				      .was = was,
				      .now = now});
}

/* A setting that only overrides the preset's, and does not. */
static bool is_presets(const struct schema_field *f, const void *base)
{
	const size_t begin = offsetof(struct config_settings, over);
	const void *p = (const char *)base + f->offset;

	if (f->offset < begin || f->offset >= begin + sizeof(struct preset_overrides))
		return false;
	if (f->type == SCHEMA_U16)
		return *(const uint16_t *)p == 0;
	if (f->type == SCHEMA_WORD)
		return *(const int *)p == 0;
	return *(const char *const *)p == NULL;
}

static void format_field(const struct schema_field *f, bool settings, const void *base, char *buf)
{
	if (settings && f->type != SCHEMA_CUSTOM && is_presets(f, base))
		snprintf(buf, CONFIG_VALUE_TEXT_MAX, "the preset's");
	else
		schema_format(f, base, buf, CONFIG_VALUE_TEXT_MAX);
}

/* The buffers that comparing takes; too large for the stack of a recursion. */
struct texts {
	char was[CONFIG_VALUE_TEXT_MAX];
	char now[CONFIG_VALUE_TEXT_MAX];
	char above[CONFIG_VALUE_TEXT_MAX];
};

static bool is_settings(const struct schema *schema)
{
	return schema == &schema_check || schema == &schema_load || schema == &schema_thresholds;
}

/* Whether a node merely inherits both values of a field. */
static bool is_inherited(const struct schema_field *f, const struct config_settings *was,
			 const struct config_settings *now, struct texts *t)
{
	if (!was || !now)
		return false;
	format_field(f, true, was, t->above);
	if (strcmp(t->above, t->was) != 0)
		return false;
	format_field(f, true, now, t->above);
	return strcmp(t->above, t->now) == 0;
}

/* What two structs of one schema, and for nodes those of their pools, have different. */
struct pair {
	const void *was;
	const void *now;
	const struct config_settings *above_was; /* NULL: nothing above */
	const struct config_settings *above_now;
};

static void diff_fields(struct differ *d, const struct subject *s, const struct schema *schema,
			const struct pair *p, struct texts *t)
{
	for (size_t i = 0; i < schema->n; i++) {
		const struct schema_field *f = &schema->fields[i];
		struct subject inner = *s;

		if (f->type == SCHEMA_ELSEWHERE || (f->places && !(f->places & (uint32_t)s->place)))
			continue;
		if (f->type == SCHEMA_SECTION) {
			inner.prefix = arena_printf(d->arena, "%s%s.", s->prefix, f->key);
			inner.flags |= f->flags;
			if (inner.prefix)
				diff_fields(d, &inner, f->sub, p, t);
			continue;
		}
		format_field(f, is_settings(schema), p->was, t->was);
		format_field(f, is_settings(schema), p->now, t->now);
		if (strcmp(t->was, t->now) == 0 || is_inherited(f, p->above_was, p->above_now, t))
			continue;
		if (f->flags & SCHEMA_SECRET)
			add_changed(d, s, f->key, f->flags, "(hidden)", "(hidden)");
		else
			add_changed(d, s, f->key, f->flags, t->was, t->now);
	}
}

static void diff_settings(struct differ *d, const struct subject *s, const struct pair *p,
			  struct texts *t)
{
	struct subject part = *s;

	part.prefix = "check.";
	diff_fields(d, &part, &schema_check, p, t);
	part.prefix = "load.";
	diff_fields(d, &part, &schema_load, p, t);
	part.prefix = "thresholds.";
	diff_fields(d, &part, &schema_thresholds, p, t);
}

/* Interfaces */

static const struct config_interface *interface_find(const struct config *cfg, const char *name)
{
	for (uint32_t i = 0; i < cfg->n_interfaces; i++)
		if (strcmp(cfg->interfaces[i].name, name) == 0)
			return &cfg->interfaces[i];
	return NULL;
}

static void add_interface(struct differ *d, enum config_change_op op,
			  const struct config_interface *f)
{
	const char *mode = config_xdp_mode_name(f->mode);

	add(d, (struct config_change){.op = op,
				      .object = CONFIG_OBJECT_INTERFACE,
				      .effect = CONFIG_EFFECT_LIVE,
				      .name = f->name,
				      .was = op == CONFIG_REMOVED ? mode : NULL,
				      .now = op == CONFIG_ADDED ? mode : NULL});
}

static void diff_interfaces(struct differ *d, const struct config *was, const struct config *now,
			    struct texts *t)
{
	for (uint32_t i = 0; i < was->n_interfaces; i++)
		if (!interface_find(now, was->interfaces[i].name))
			add_interface(d, CONFIG_REMOVED, &was->interfaces[i]);
	for (uint32_t i = 0; i < now->n_interfaces; i++) {
		const struct config_interface *f = &now->interfaces[i];
		const struct subject s = {CONFIG_OBJECT_INTERFACE, f->name, "", SCHEMA_TOP, 0};
		struct pair p = {.was = interface_find(was, f->name), .now = f};

		if (p.was)
			diff_fields(d, &s, &schema_interface, &p, t);
		else
			add_interface(d, CONFIG_ADDED, f);
	}
}

/* Nodes */

static int by_identity(const struct config_node *a, const struct config_node *b)
{
	int r = strcmp(a->name, b->name);

	if (r == 0)
		r = address_compare(&a->address, &b->address);
	return r ? r : (int)a->port - (int)b->port;
}

static int by_identity_p(const void *pa, const void *pb)
{
	return by_identity(*(const struct config_node *const *)pa,
			   *(const struct config_node *const *)pb);
}

/* Pointers to a pool's nodes in the order of their identity; NULL if it has none, or no memory. */
static const struct config_node **sorted_nodes(struct differ *d, const struct config_pool *pool)
{
	const struct config_node **list;

	if (pool->n_nodes == 0)
		return NULL;
	list = arena_alloc(d->arena, pool->n_nodes, sizeof(*list));
	if (!list)
		return NULL;
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		list[i] = &pool->nodes[i];
	qsort(list, pool->n_nodes, sizeof(*list), by_identity_p);
	return list;
}

static const struct config_node *node_find(const struct config_node **sorted, uint32_t n,
					   const struct config_node *node)
{
	const struct config_node **found;

	if (!sorted)
		return NULL;
	found = bsearch(&node, sorted, n, sizeof(*sorted), by_identity_p);
	return found ? *found : NULL;
}

static void add_node(struct differ *d, enum config_change_op op, const struct config_pool *pool,
		     const struct config_node *node)
{
	struct endpoint ep = {.addr = node->address, .port = node->port};
	char text[ENDPOINT_TEXT_MAX];
	const char *summary;

	summary = arena_printf(d->arena, node->tier ? "%s, weight %u, tier %u" : "%s, weight %u",
			       endpoint_format(&ep, text), node->weight, node->tier);
	add(d, (struct config_change){
		       .op = op,
		       .object = CONFIG_OBJECT_NODE,
		       .effect = CONFIG_EFFECT_LIVE,
		       .name = arena_printf(d->arena, "%s/%s", pool->name, node->name),
		       .was = op == CONFIG_REMOVED ? summary : NULL,
		       .now = op == CONFIG_ADDED ? summary : NULL,
	       });
}

static void diff_node(struct differ *d, const struct config_pool *pool_was,
		      const struct config_pool *pool_now, const struct config_node *was,
		      const struct config_node *now, struct texts *t)
{
	struct subject s = {.object = CONFIG_OBJECT_NODE, .prefix = "", .place = SCHEMA_NODE};
	struct config_node seen_was = *was;
	struct pair p = {.was = &seen_was, .now = now};

	/* What both inherit is shown at the pool. */
	if (was->slots == pool_was->slots && now->slots == pool_now->slots)
		seen_was.slots = now->slots;
	s.name = arena_printf(d->arena, "%s/%s", pool_now->name, now->name);
	if (!s.name)
		return;
	diff_fields(d, &s, &schema_node, &p, t);
	if (was->settings == pool_was->settings && now->settings == pool_now->settings)
		return;
	p = (struct pair){was->settings, now->settings, pool_was->settings, pool_now->settings};
	diff_settings(d, &s, &p, t);
}

static void diff_nodes(struct differ *d, const struct config_pool *was,
		       const struct config_pool *now, struct texts *t)
{
	const struct config_node **sorted_was = sorted_nodes(d, was);
	const struct config_node **sorted_now = sorted_nodes(d, now);

	for (uint32_t i = 0; i < was->n_nodes; i++)
		if (!node_find(sorted_now, now->n_nodes, &was->nodes[i]))
			add_node(d, CONFIG_REMOVED, was, &was->nodes[i]);
	for (uint32_t i = 0; i < now->n_nodes; i++) {
		const struct config_node *n = &now->nodes[i];
		const struct config_node *w = node_find(sorted_was, was->n_nodes, n);

		if (w)
			diff_node(d, was, now, w, n, t);
		else
			add_node(d, CONFIG_ADDED, now, n);
	}
}

/* Pools */

static void add_pool(struct differ *d, enum config_change_op op, const struct config_pool *pool)
{
	const char *summary;

	summary = arena_printf(d->arena, "%s, mode %s, policy %s, %u node%s%s%s", pool->preset,
			       config_mode_name(pool->mode), config_policy_name(pool->policy),
			       pool->n_nodes, pool->n_nodes == 1 ? "" : "s",
			       pool->discovery.type == CONFIG_DISCOVERY_NONE ? "" : " and by ",
			       pool->discovery.type == CONFIG_DISCOVERY_NONE
				       ? ""
				       : config_discovery_type_name(pool->discovery.type));
	add(d, (struct config_change){.op = op,
				      .object = CONFIG_OBJECT_POOL,
				      .effect = CONFIG_EFFECT_LIVE,
				      .name = pool->name,
				      .was = op == CONFIG_REMOVED ? summary : NULL,
				      .now = op == CONFIG_ADDED ? summary : NULL});
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		add_node(d, op, pool, &pool->nodes[i]);
}

static void diff_discovery(struct differ *d, const struct subject *s,
			   const struct config_discovery *was, const struct config_discovery *now,
			   struct texts *t)
{
	struct pair p = {.was = was, .now = now};
	struct subject inner = *s;

	inner.prefix = "discovery.";
	if (was->type != now->type)
		add_changed(d, &inner, "type", 0, config_discovery_type_name(was->type),
			    config_discovery_type_name(now->type));
	diff_fields(d, &inner, &schema_discovery, &p, t);
}

static void diff_pool(struct differ *d, const struct config_pool *was,
		      const struct config_pool *now, struct texts *t)
{
	const struct subject s = {CONFIG_OBJECT_POOL, now->name, "", SCHEMA_POOL, 0};
	const struct pair pools = {.was = was, .now = now};
	const struct pair settings = {.was = was->settings, .now = now->settings};

	diff_fields(d, &s, &schema_pool, &pools, t);
	diff_settings(d, &s, &settings, t);
	diff_discovery(d, &s, &was->discovery, &now->discovery, t);
	diff_nodes(d, was, now, t);
}

static void diff_pools(struct differ *d, const struct config *was, const struct config *now,
		       struct texts *t)
{
	for (uint32_t i = 0; i < was->n_pools; i++)
		if (config_find_pool(now, was->pools[i].name) < 0)
			add_pool(d, CONFIG_REMOVED, &was->pools[i]);
	for (uint32_t i = 0; i < now->n_pools; i++) {
		int k = config_find_pool(was, now->pools[i].name);

		if (k >= 0)
			diff_pool(d, &was->pools[k], &now->pools[i], t);
		else
			add_pool(d, CONFIG_ADDED, &now->pools[i]);
	}
}

/* VIPs */

static void add_vip(struct differ *d, enum config_change_op op, const struct config *cfg,
		    const struct config_vip *vip)
{
	char text[ENDPOINT_TEXT_MAX];
	const char *summary;

	summary = arena_printf(d->arena, "%s, pool %s", endpoint_format(&vip->endpoint, text),
			       cfg->pools[vip->pool].name);
	add(d, (struct config_change){.op = op,
				      .object = CONFIG_OBJECT_VIP,
				      .effect = CONFIG_EFFECT_LIVE,
				      .name = vip->name,
				      .was = op == CONFIG_REMOVED ? summary : NULL,
				      .now = op == CONFIG_ADDED ? summary : NULL});
}

static void diff_vip(struct differ *d, const struct config *cfg_was, const struct config *cfg_now,
		     const struct config_vip *was, const struct config_vip *now, struct texts *t)
{
	struct subject s = {CONFIG_OBJECT_VIP, now->name, "", SCHEMA_VIP, 0};
	struct pair p = {.was = was, .now = now};

	diff_fields(d, &s, &schema_vip, &p, t);
	if (strcmp(cfg_was->pools[was->pool].name, cfg_now->pools[now->pool].name) != 0)
		add_changed(d, &s, "pool", 0, cfg_was->pools[was->pool].name,
			    cfg_now->pools[now->pool].name);
	s.prefix = "fallback.";
	p = (struct pair){.was = &was->fallback, .now = &now->fallback};
	diff_fields(d, &s, &schema_fallback, &p, t);
}

static void diff_vips(struct differ *d, const struct config *was, const struct config *now,
		      struct texts *t)
{
	for (uint32_t i = 0; i < was->n_vips; i++)
		if (config_find_vip(now, was->vips[i].name) < 0)
			add_vip(d, CONFIG_REMOVED, was, &was->vips[i]);
	for (uint32_t i = 0; i < now->n_vips; i++) {
		int k = config_find_vip(was, now->vips[i].name);

		if (k >= 0)
			diff_vip(d, was, now, &was->vips[k], &now->vips[i], t);
		else
			add_vip(d, CONFIG_ADDED, now, &now->vips[i]);
	}
}

static void diff_all(struct differ *d, const struct config *was, const struct config *now,
		     struct texts *t)
{
	const struct subject s = {CONFIG_OBJECT_SETTING, NULL, "", SCHEMA_TOP, 0};
	const struct pair p = {.was = was, .now = now};

	diff_fields(d, &s, &schema_top, &p, t);
	diff_interfaces(d, was, now, t);
	diff_pools(d, was, now, t);
	diff_vips(d, was, now, t);
}

int config_diff(const struct config *was, const struct config *now, struct config_diff **ret)
{
	_cleanup_free_ struct texts *t = malloc(sizeof(*t));
	struct config_diff *diff = calloc(1, sizeof(*diff));
	struct differ d = {.diff = diff};

	assert(was);
	assert(now);
	assert(ret);

	if (!t || !diff) {
		free(diff);
		return -ENOMEM;
	}
	diff->effect = CONFIG_EFFECT_LIVE;
	diff->arena = arena_new(ARENA_MAX);
	d.arena = diff->arena;
	if (d.arena) {
		diff->pin_dir = arena_strdup(d.arena, was->pin_dir);
		diff_all(&d, was, now, t);
	}
	if (!d.arena || arena_failed(d.arena)) {
		config_diff_free(&diff);
		return -ENOMEM;
	}
	*ret = diff;
	return 0;
}

void config_diff_free(struct config_diff **diff)
{
	if (!diff || !*diff)
		return;
	arena_free(&(*diff)->arena);
	free(*diff);
	*diff = NULL;
}

const struct config_change *config_diff_find(const struct config_diff *diff,
					     enum config_effect effect)
{
	for (uint32_t i = 0; i < diff->n; i++)
		if (diff->changes[i].effect == effect)
			return &diff->changes[i];
	return NULL;
}

static const char *op_name(enum config_change_op op)
{
	switch (op) {
	case CONFIG_ADDED:
		return "added";
	case CONFIG_REMOVED:
		return "removed";
	case CONFIG_CHANGED:
		return "changed";
	}
	return "?";
}

static const char *object_name(enum config_object object)
{
	switch (object) {
	case CONFIG_OBJECT_SETTING:
		return "setting";
	case CONFIG_OBJECT_INTERFACE:
		return "interface";
	case CONFIG_OBJECT_POOL:
		return "pool";
	case CONFIG_OBJECT_NODE:
		return "node";
	case CONFIG_OBJECT_VIP:
		return "vip";
	}
	return "?";
}

static const char *effect_name(enum config_effect effect)
{
	switch (effect) {
	case CONFIG_EFFECT_LIVE:
		return "live";
	case CONFIG_EFFECT_RESTART:
		return "restart";
	case CONFIG_EFFECT_DETACH:
		return "detach";
	}
	return "?";
}

static const char *effect_note(enum config_effect effect)
{
	if (effect == CONFIG_EFFECT_RESTART)
		return " (takes a restart of sluiced)";
	if (effect == CONFIG_EFFECT_DETACH)
		return " (takes a detach and a new start)";
	return "";
}

const char *config_change_format(const struct config_change *c, char *buf, size_t size)
{
	static const char signs[] = {
		[CONFIG_ADDED] = '+', [CONFIG_REMOVED] = '-', [CONFIG_CHANGED] = '~'};
	const char *kind = c->object == CONFIG_OBJECT_SETTING ? "" : object_name(c->object);

	if (c->op == CONFIG_CHANGED)
		snprintf(buf, size, "~ %s%s%s%s%s: %s -> %s%s", kind, *kind ? " " : "",
			 c->name ? c->name : "", c->name ? ": " : "", c->key, c->was, c->now,
			 effect_note(c->effect));
	else
		snprintf(buf, size, "%c %s %s: %s", signs[c->op], kind, c->name,
			 c->op == CONFIG_ADDED ? c->now : c->was);
	return buf;
}

void config_diff_print(const struct config_diff *diff, FILE *out)
{
	char line[2 * CONFIG_VALUE_TEXT_MAX];

	for (uint32_t i = 0; i < diff->n; i++)
		fprintf(out, "%s\n", config_change_format(&diff->changes[i], line, sizeof(line)));
	if (diff->n == 0)
		fprintf(out, "nothing changes\n");
	else if (diff->effect == CONFIG_EFFECT_LIVE)
		fprintf(out, "%u change%s, all taken over by a reload\n", diff->n,
			diff->n == 1 ? "" : "s");
	else
		fprintf(out, "%u change%s; a reload refuses them%s\n", diff->n,
			diff->n == 1 ? "" : "s",
			diff->effect == CONFIG_EFFECT_DETACH
				? ": 'sluicectl detach', then start sluiced"
				: ": restart sluiced, forwarding goes on meanwhile");
}

/* Returns 0 or -1; no value is no key. */
static int set_text(json_t *object, const char *key, const char *value)
{
	return value ? json_object_set_new(object, key, json_string(value)) : 0;
}

static json_t *change_json(const struct config_change *c)
{
	json_t *o = json_object();

	if (!o)
		return NULL;
	if (set_text(o, "op", op_name(c->op)) < 0 ||
	    set_text(o, "object", object_name(c->object)) < 0 ||
	    set_text(o, "name", c->name) < 0 || set_text(o, "key", c->key) < 0 ||
	    set_text(o, "was", c->was) < 0 || set_text(o, "now", c->now) < 0 ||
	    set_text(o, "effect", effect_name(c->effect)) < 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}

json_t *config_diff_json(const struct config_diff *diff)
{
	json_t *changes = json_array();
	json_t *root;

	for (uint32_t i = 0; changes && i < diff->n; i++) {
		if (json_array_append_new(changes, change_json(&diff->changes[i])) == 0)
			continue;
		json_decref(changes);
		changes = NULL;
	}
	root = changes ? json_pack("{s:s, s:s, s:o}", "effect", effect_name(diff->effect),
				   "pin_dir", diff->pin_dir, "changes", changes)
		       : NULL;
	return root;
}
