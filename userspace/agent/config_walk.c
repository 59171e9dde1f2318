/* SPDX-License-Identifier: BSD-2-Clause */
/* A mapping of the file, and the table of its keys -> a struct. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "userspace/agent/config_schema.h"

static const struct schema_field *field_find(const struct schema *schema, const char *key)
{
	for (size_t i = 0; i < schema->n; i++)
		if (strcmp(schema->fields[i].key, key) == 0)
			return &schema->fields[i];
	return NULL;
}

static bool allowed_in(const struct schema_field *f, enum schema_place place)
{
	return f->places == 0 || (f->places & (uint32_t)place);
}

#define KEYS_MAX      64
#define KEYS_TEXT_MAX 1024

/* Keys that are allowed in a place. */
struct keys {
	const char *key[KEYS_MAX];
	size_t n;
	char text[KEYS_TEXT_MAX]; /* as a list */
};

static void keys_list(const struct schema *schema, enum schema_place place, struct keys *ret)
{
	size_t used = 0;

	ret->n = 0;
	ret->text[0] = '\0';
	for (size_t i = 0; i < schema->n && ret->n < KEYS_MAX && used < KEYS_TEXT_MAX; i++) {
		if (!allowed_in(&schema->fields[i], place))
			continue;
		used += (size_t)snprintf(ret->text + used, KEYS_TEXT_MAX - used, "%s%s",
					 used ? ", " : "", schema->fields[i].key);
		ret->key[ret->n++] = schema->fields[i].key;
	}
}

/* The key of this place that was meant; or NULL, and where the key belongs, or NULL for neither. */
static const char *key_meant(const struct schema *schema, const struct keys *keys, const char *text,
			     const char **ret_home)
{
	const char *meant = config_other_name(text, keys->key, keys->n);

	*ret_home = meant ? NULL : config_key_home(schema, text);
	return meant || *ret_home ? meant : config_suggest(text, keys->key, keys->n);
}

static void fail_unknown(struct config_ctx *ctx, const struct schema *schema,
			 enum schema_place place, const struct yaml_node *key,
			 const struct config_path *up)
{
	struct config_path path = {.up = up, .key = config_escape(ctx, key->text)};
	const char *meant, *home;
	struct keys keys;

	keys_list(schema, place, &keys);
	meant = key_meant(schema, &keys, key->text, &home);
	if (home)
		config_fail(ctx, key, &path, "unknown key here, it belongs to %s; accepted: %s",
			    home, keys.text);
	else
		config_fail(ctx, key, &path, "unknown key%s%s%s; accepted: %s",
			    meant ? " (did you mean '" : "", meant ? meant : "", meant ? "'?)" : "",
			    keys.text);
}

/* Whether the mapping has a key that is none, and stands for this one. */
static bool has_misspelt(const struct schema *schema, enum schema_place place,
			 const struct yaml_node *map, const char *key)
{
	struct keys keys;

	keys_list(schema, place, &keys);
	for (uint32_t i = 0; i < map->n; i++) {
		const char *text = map->pairs[i].key->text, *meant, *home;

		if (field_find(schema, text))
			continue;
		meant = key_meant(schema, &keys, text, &home);
		if (meant && !strcmp(meant, key))
			return true;
	}
	return false;
}

void schema_need(struct config_ctx *ctx, const struct schema *schema, enum schema_place place,
		 const struct yaml_node *node, const struct config_path *path, const char *key,
		 const char *what)
{
	if (node->kind == YAML_MAP ? yaml_get(node, key) != NULL : !node->is_null)
		return;
	if (node->kind != YAML_MAP || !has_misspelt(schema, place, node, key))
		config_fail(ctx, node, path, "needs '%s': %s", key, what);
}

static const char *places_text(uint32_t places)
{
	if (places == SCHEMA_POOL)
		return "a pool";
	if (places == (SCHEMA_POOL | SCHEMA_DEFAULTS))
		return "a pool or under 'defaults'";
	if (places == SCHEMA_DEFAULTS)
		return "a VIP or under 'defaults'";
	return "another place";
}

static void apply_pair(struct config_ctx *ctx, const struct schema *schema, enum schema_place place,
		       const struct yaml_pair *pair, const struct config_path *up, void *base)
{
	struct config_path path = {.up = up, .key = pair->key->text};
	const struct schema_field *f = field_find(schema, pair->key->text);

	if (++ctx->visits > CONFIG_VISITS_MAX) {
		if (ctx->visits == CONFIG_VISITS_MAX + 1)
			config_fail(ctx, pair->key, NULL, "aliases multiply to too many values");
		return;
	}
	if (!f) {
		fail_unknown(ctx, schema, place, pair->key, up);
		return;
	}
	if (!allowed_in(f, place)) {
		config_fail(ctx, pair->key, &path, "this belongs to %s, not here",
			    places_text(f->places));
		return;
	}
	if (f->type == SCHEMA_ELSEWHERE)
		return;
	if (f->type == SCHEMA_SECTION)
		schema_apply(ctx, f->sub, place, pair->value, &path, base);
	else if (f->type == SCHEMA_CUSTOM)
		f->custom->parse(ctx, f, pair->value, &path, base);
	else
		(void)schema_scalar(ctx, f, pair->value, &path, (char *)base + f->offset);
}

void schema_apply(struct config_ctx *ctx, const struct schema *schema, enum schema_place place,
		  const struct yaml_node *node, const struct config_path *path, void *base)
{
	struct keys keys;

	assert(ctx);
	assert(base);

	if (!node || (node->kind == YAML_SCALAR && node->is_null))
		return;
	if (node->kind != YAML_MAP) {
		keys_list(schema, place, &keys);
		config_fail(ctx, node, path, "expected a mapping, found %s; accepted keys: %s",
			    yaml_kind_name(node), keys.text);
		return;
	}
	for (uint32_t i = 0; i < node->n && ctx->n_errors < CONFIG_ERRORS_FOUND; i++) {
		/* Top-level keys "x-…" hold anchors for use elsewhere. */
		if (place == SCHEMA_TOP && !path && strncmp(node->pairs[i].key->text, "x-", 2) == 0)
			continue;
		apply_pair(ctx, schema, place, &node->pairs[i], path, base);
	}
}

void schema_apply_item(struct config_ctx *ctx, const struct schema *schema, enum schema_place place,
		       const char *short_key, const struct yaml_node *item,
		       const struct config_path *path, void *base)
{
	const struct schema_field *f = field_find(schema, short_key);

	assert(f);

	if (item->kind == YAML_SCALAR && !item->is_null)
		(void)schema_scalar(ctx, f, item, path, (char *)base + f->offset);
	else
		schema_apply(ctx, schema, place, item, path, base);
}
