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

static void fail_unknown(struct config_ctx *ctx, const struct schema *schema,
			 enum schema_place place, const struct yaml_node *key,
			 const struct config_path *up)
{
	struct config_path path = {.up = up, .key = config_escape(ctx, key->text)};
	const char *better;
	struct keys keys;

	keys_list(schema, place, &keys);
	better = config_suggest(key->text, keys.key, keys.n);
	config_fail(ctx, key, &path, "unknown key%s%s%s; accepted: %s",
		    better ? " (did you mean '" : "", better ? better : "", better ? "'?)" : "",
		    keys.text);
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
