/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys whose values are lists, or have a form of their own. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/config_schema.h"
#include "userspace/lib/cleanup.h"

/* Text of a scalar; NULL, with an error that says what was expected, for anything else. */
const char *config_scalar_text(struct config_ctx *ctx, const struct yaml_node *node,
			       const struct config_path *path, const char *expected)
{
	if (node->kind == YAML_SCALAR && !node->is_null)
		return node->text;
	config_fail(ctx, node, path, "expected %s, found %s", expected, yaml_kind_name(node));
	return NULL;
}

static void fail_scalar(struct config_ctx *ctx, const struct yaml_node *node,
			const struct config_path *path, const char *expected)
{
	config_fail(ctx, node, path, "expected %s, found %s", expected,
		    config_quote(ctx, node->text));
}

/* Whether node is a list of at most max items; a null stands for an empty one. */
static bool is_list(struct config_ctx *ctx, const struct yaml_node *node,
		    const struct config_path *path, uint32_t max, const char *what)
{
	if (node->kind == YAML_SCALAR && node->is_null)
		return true;
	if (node->kind != YAML_LIST) {
		config_fail(ctx, node, path, "expected a list of %s, found %s", what,
			    yaml_kind_name(node));
		return false;
	}
	if (node->n > max) {
		config_fail(ctx, node, path, "expected at most %u %s, found %u", max, what,
			    node->n);
		return false;
	}
	return true;
}

/* metrics.listen */

static void listen_parse(struct config_ctx *ctx, const struct schema_field *field,
			 const struct yaml_node *node, const struct config_path *path, void *base)
{
	static const char expected[] = "an address and port, such as 127.0.0.1:9911 or [::1]:9911, "
				       "or off";
	const char *text = config_scalar_text(ctx, node, path, expected);
	struct config *cfg = base;

	(void)field;
	if (!text)
		return;
	cfg->metrics_enabled = strcmp(text, "off") != 0;
	if (cfg->metrics_enabled && endpoint_parse(text, &cfg->metrics_listen) < 0)
		fail_scalar(ctx, node, path, expected);
}

static void listen_format(const void *base, char *buf, size_t size)
{
	const struct config *cfg = base;
	char text[ENDPOINT_TEXT_MAX];

	snprintf(buf, size, "%s",
		 cfg->metrics_enabled ? endpoint_format(&cfg->metrics_listen, text) : "off");
}

const struct schema_custom custom_listen = {listen_parse, listen_format};

/* socket_mode */

static void socket_mode_parse(struct config_ctx *ctx, const struct schema_field *field,
			      const struct yaml_node *node, const struct config_path *path,
			      void *base)
{
	static const char expected[] = "permissions in octal, such as 0660";
	const char *text = config_scalar_text(ctx, node, path, expected);
	struct config *cfg = base;

	(void)field;
	if (!text)
		return;
	if (strncmp(text, "0o", 2) == 0)
		text += 2;
	if (strlen(text) < 3 || strlen(text) > 4 || strspn(text, "01234567") != strlen(text) ||
	    strtoul(text, NULL, 8) > 0777)
		fail_scalar(ctx, node, path, expected);
	else
		cfg->socket_mode = (uint32_t)strtoul(text, NULL, 8);
}

static void socket_mode_format(const void *base, char *buf, size_t size)
{
	snprintf(buf, size, "%04o", ((const struct config *)base)->socket_mode);
}

const struct schema_custom custom_socket_mode = {socket_mode_parse, socket_mode_format};

/* nat: a list of addresses of each family, and a range of ports */

static uint32_t nat_list_parse(struct config_ctx *ctx, const struct yaml_node *node,
			       const struct config_path *path, enum schema_type type,
			       struct address *ret_list)
{
	struct schema_field item = {.key = "", .type = type};
	uint32_t n = 0;

	if (!is_list(ctx, node, path, CONFIG_NAT_MAX, "addresses"))
		return 0;
	for (uint32_t i = 0; i < node->n; i++) {
		struct config_path at = {.up = path, .index = i};

		if (schema_scalar(ctx, &item, node->items[i], &at, &ret_list[n]) < 0)
			continue;
		for (uint32_t j = 0; j < n; j++)
			if (address_equal(&ret_list[j], &ret_list[n]))
				config_fail(ctx, node->items[i], &at, "the same address twice");
		n++;
	}
	return n;
}

static void nat_list_format(const struct address *list, uint32_t n, char *buf, size_t size)
{
	char text[ADDRESS_TEXT_MAX];
	size_t used = 0;

	snprintf(buf, size, "none");
	for (uint32_t i = 0; i < n && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? ", " : "",
					 address_format(&list[i], text));
}

static void nat_ipv4_parse(struct config_ctx *ctx, const struct schema_field *field,
			   const struct yaml_node *node, const struct config_path *path, void *base)
{
	struct config_nat *nat = &((struct config *)base)->nat;

	(void)field;
	nat->n_ipv4 = nat_list_parse(ctx, node, path, SCHEMA_IPV4, nat->ipv4);
}

static void nat_ipv4_format(const void *base, char *buf, size_t size)
{
	const struct config_nat *nat = &((const struct config *)base)->nat;

	nat_list_format(nat->ipv4, nat->n_ipv4, buf, size);
}

const struct schema_custom custom_nat_ipv4 = {nat_ipv4_parse, nat_ipv4_format};

static void nat_ipv6_parse(struct config_ctx *ctx, const struct schema_field *field,
			   const struct yaml_node *node, const struct config_path *path, void *base)
{
	struct config_nat *nat = &((struct config *)base)->nat;

	(void)field;
	nat->n_ipv6 = nat_list_parse(ctx, node, path, SCHEMA_IPV6, nat->ipv6);
}

static void nat_ipv6_format(const void *base, char *buf, size_t size)
{
	const struct config_nat *nat = &((const struct config *)base)->nat;

	nat_list_format(nat->ipv6, nat->n_ipv6, buf, size);
}

const struct schema_custom custom_nat_ipv6 = {nat_ipv6_parse, nat_ipv6_format};

/*
 * "LOW-HIGH", or one number for both; each at most 5 digits and within min..max.
 * Returns 0 or -1.
 */
static int range_parse(const char *text, uint32_t min, uint32_t max, uint16_t *ret_low,
		       uint16_t *ret_high)
{
	uint32_t v[2] = {0, 0};
	size_t part = 0, digits = 0;

	for (; *text; text++) {
		if (*text == '-' && part == 0 && digits > 0) {
			part = 1;
			digits = 0;
			continue;
		}
		if (*text < '0' || *text > '9' || ++digits > 5)
			return -1;
		v[part] = v[part] * 10 + (uint32_t)(*text - '0');
	}
	if (digits == 0)
		return -1;
	if (part == 0)
		v[1] = v[0];
	if (v[0] < min || v[1] > max || v[0] > v[1])
		return -1;
	*ret_low = (uint16_t)v[0];
	*ret_high = (uint16_t)v[1];
	return 0;
}

static void nat_ports_parse(struct config_ctx *ctx, const struct schema_field *field,
			    const struct yaml_node *node, const struct config_path *path,
			    void *base)
{
	static const char expected[] = "a range of at least 128 ports within 1024-65535, such as "
				       "1024-32767";
	const char *text = config_scalar_text(ctx, node, path, expected);
	struct config_nat *nat = &((struct config *)base)->nat;
	uint16_t low, high;

	(void)field;
	if (!text)
		return;
	if (range_parse(text, 1024, 65535, &low, &high) < 0 || high - low < 127) {
		fail_scalar(ctx, node, path, expected);
		return;
	}
	nat->port_low = low;
	nat->port_high = high;
}

static void nat_ports_format(const void *base, char *buf, size_t size)
{
	const struct config_nat *nat = &((const struct config *)base)->nat;

	snprintf(buf, size, "%u-%u", nat->port_low, nat->port_high);
}

const struct schema_custom custom_nat_ports = {nat_ports_parse, nat_ports_format};

/* dpdk.eal_args */

static void eal_args_parse(struct config_ctx *ctx, const struct schema_field *field,
			   const struct yaml_node *node, const struct config_path *path, void *base)
{
	struct schema_field item = {.key = "", .type = SCHEMA_TOKEN};
	struct config *cfg = base;
	const char **args;
	uint32_t n = 0;

	(void)field;
	if (!is_list(ctx, node, path, CONFIG_EAL_ARGS_MAX, "arguments"))
		return;
	args = arena_alloc(cfg->arena, node->n + 1, sizeof(*args));
	if (!args)
		return;
	for (uint32_t i = 0; i < node->n; i++) {
		struct config_path at = {.up = path, .index = i};

		if (schema_scalar(ctx, &item, node->items[i], &at, &args[n]) == 0)
			n++;
	}
	cfg->dpdk.eal_args = args;
	cfg->dpdk.n_eal_args = n;
}

static void eal_args_format(const void *base, char *buf, size_t size)
{
	const struct config *cfg = base;
	size_t used = 0;

	snprintf(buf, size, "none");
	for (uint32_t i = 0; i < cfg->dpdk.n_eal_args && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? " " : "",
					 cfg->dpdk.eal_args[i]);
}

const struct schema_custom custom_eal_args = {eal_args_parse, eal_args_format};

/* check.expect_status: one status or range, or a list of them */

static void expect_status_parse(struct config_ctx *ctx, const struct schema_field *field,
				const struct yaml_node *node, const struct config_path *path,
				void *base)
{
	static const char expected[] = "a status or a range of them, such as 200 or 200-299";
	struct config_check *check = &((struct config_settings *)base)->check;
	bool list = node->kind == YAML_LIST;

	(void)field;
	if (list && !is_list(ctx, node, path, CONFIG_STATUS_MAX, "statuses"))
		return;
	check->n_expect_status = 0;
	if (node->kind == YAML_SCALAR && node->is_null)
		return;
	for (uint32_t i = 0; i < (list ? node->n : 1); i++) {
		const struct yaml_node *item = list ? node->items[i] : node;
		struct config_path index = {.up = path, .index = i};
		const struct config_path *at = list ? &index : path;
		const char *text = config_scalar_text(ctx, item, at, expected);
		struct config_status_range r;

		if (!text)
			continue;
		if (range_parse(text, 100, 599, &r.low, &r.high) < 0)
			fail_scalar(ctx, item, at, expected);
		else
			check->expect_status[check->n_expect_status++] = r;
	}
}

static void expect_status_format(const void *base, char *buf, size_t size)
{
	const struct config_check *check = &((const struct config_settings *)base)->check;
	size_t used = 0;

	snprintf(buf, size, "none");
	for (uint32_t i = 0; i < check->n_expect_status && used < size; i++) {
		const struct config_status_range *r = &check->expect_status[i];

		used += (size_t)snprintf(buf + used, size - used, "%s%u", i ? ", " : "", r->low);
		if (r->high != r->low && used < size)
			used += (size_t)snprintf(buf + used, size - used, "-%u", r->high);
	}
}

const struct schema_custom custom_expect_status = {expect_status_parse, expect_status_format};

/* load.addons: names of add-on presets */

static const struct preset *addon_find(struct config_ctx *ctx, const struct yaml_node *node,
				       const struct config_path *path)
{
	const char *text = config_scalar_text(ctx, node, path, "the name of an add-on");
	const struct preset *addon = text ? preset_find(text) : NULL;

	if (!text || (addon && addon->addon))
		return text ? addon : NULL;
	config_fail(ctx, node, path, "unknown value %s; accepted: %s", config_quote(ctx, text),
		    preset_addon_names());
	return NULL;
}

static void addons_parse(struct config_ctx *ctx, const struct schema_field *field,
			 const struct yaml_node *node, const struct config_path *path, void *base)
{
	struct config_settings *s = base;
	size_t n = 0;

	(void)field;
	if (!is_list(ctx, node, path, CONFIG_ADDONS_MAX, "add-ons"))
		return;
	for (uint32_t i = 0; i < node->n; i++) {
		struct config_path at = {.up = path, .index = i};
		const struct preset *addon = addon_find(ctx, node->items[i], &at);
		bool twice = false;

		for (size_t j = 0; addon && j < n; j++)
			twice = twice || strcmp(s->addons[j], addon->name) == 0;
		if (twice)
			config_fail(ctx, node->items[i], &at, "the same add-on twice");
		else if (addon)
			s->addons[n++] = addon->name;
	}
	s->over.addons = s->addons;
	s->over.n_addons = n;
}

static void addons_format(const void *base, char *buf, size_t size)
{
	const struct config_settings *s = base;
	size_t used = 0;

	snprintf(buf, size, "none");
	for (size_t i = 0; i < s->over.n_addons && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? ", " : "",
					 s->addons[i]);
}

const struct schema_custom custom_addons = {addons_parse, addons_format};

/* fallback.cache: paths, or mappings with path, refresh and max_age */

#define FIELD(key_, type_, member, min_, max_)                                                     \
	{                                                                                          \
		.key = (key_), .type = (type_), .offset = offsetof(struct config_cache, member),   \
		.min = (min_), .max = (max_)                                                       \
	}

static const struct schema_field cache_fields[] = {
	FIELD("path", SCHEMA_HTTP_PATH, path, 0, 0),
	FIELD("refresh", SCHEMA_DURATION, refresh_ms, 100, 24 * 3600e3),
	FIELD("max_age", SCHEMA_DURATION, max_age_ms, 1000, 7 * 24 * 3600e3),
};
static const struct schema schema_cache = {.fields = cache_fields, .n = ARRAY_SIZE(cache_fields)};

static void cache_one(struct config_ctx *ctx, const struct yaml_node *node,
		      const struct config_path *path, struct config_fallback *f)
{
	struct config_cache c = {.refresh_ms = 30 * 1000, .max_age_ms = 10 * 60 * 1000};

	if (node->kind == YAML_SCALAR && !node->is_null) {
		if (schema_scalar(ctx, &cache_fields[0], node, path, &c.path) < 0)
			return;
	} else {
		schema_apply(ctx, &schema_cache, SCHEMA_VIP, node, path, &c);
		if (!yaml_get(node, "path"))
			config_fail(ctx, node, path, "needs a path, such as /v1/models");
	}
	if (!c.path)
		return;
	if (c.max_age_ms < c.refresh_ms)
		config_fail(ctx, node, path, "max_age is less than refresh");
	for (uint32_t i = 0; i < f->n_cache; i++)
		if (strcmp(f->cache[i].path, c.path) == 0)
			config_fail(ctx, node, path, "the same path twice");
	f->cache[f->n_cache++] = c;
}

static void cache_parse(struct config_ctx *ctx, const struct schema_field *field,
			const struct yaml_node *node, const struct config_path *path, void *base)
{
	struct config_fallback *f = base;

	(void)field;
	if (!is_list(ctx, node, path, CONFIG_CACHE_MAX, "paths"))
		return;
	f->n_cache = 0;
	for (uint32_t i = 0; i < node->n; i++) {
		struct config_path at = {.up = path, .index = i};

		cache_one(ctx, node->items[i], &at, f);
	}
}

static void cache_format(const void *base, char *buf, size_t size)
{
	const struct config_fallback *f = base;
	size_t used = 0;

	snprintf(buf, size, "none");
	for (uint32_t i = 0; i < f->n_cache && used < size; i++) {
		const struct config_cache *c = &f->cache[i];

		used += (size_t)snprintf(buf + used, size - used, "%s%s (refresh %gs, max_age %gs)",
					 i ? ", " : "", c->path, (double)c->refresh_ms / 1000,
					 (double)c->max_age_ms / 1000);
	}
}

const struct schema_custom custom_cache = {cache_parse, cache_format};
