/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any bytes as a configuration file. Beyond sanitizers: refused means at least one error and
 * nothing handed out; taken means a configuration that keeps its promises, no errors, and no
 * difference to itself.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/config_diff.h"

#define REQUIRE(cond)                                                                              \
	do {                                                                                       \
		if (!(cond))                                                                       \
			abort();                                                                   \
	} while (0)

static void check_errors(const struct config_errors *errs)
{
	REQUIRE(errs->n > 0);
	for (uint32_t i = 0; i < errs->n; i++) {
		const struct config_error *e = &errs->items[i];

		REQUIRE(strncmp(e->text, "fuzz.yaml", 9) == 0);
		REQUIRE(!strchr(e->text, '\n'));
		if (i > 0)
			REQUIRE(e->line >= e[-1].line);
	}
}

static void check_pool(const struct config_pool *pool)
{
	REQUIRE(config_name_valid(pool->name));
	REQUIRE(pool->spec && pool->check && pool->load && pool->thresholds);
	REQUIRE(pool->port != 0);
	REQUIRE(pool->n_nodes > 0 || pool->discovery.type != CONFIG_DISCOVERY_NONE);
	REQUIRE(pool->load->n_pages == pool->spec->n_sources);
	REQUIRE((pool->check->http.scheme == CONFIG_SCHEME_TCP) == !pool->check->path);
	for (uint32_t i = 0; i < pool->n_nodes; i++) {
		const struct config_node *node = &pool->nodes[i];

		REQUIRE(config_name_valid(node->name));
		REQUIRE(address_is_set(&node->address));
		REQUIRE(node->port != 0 && node->weight <= CONFIG_WEIGHT_MAX);
		REQUIRE(node->spec && node->check && node->load && node->thresholds);
		REQUIRE(config_find_node(pool, node->name) == (int)i);
	}
}

static void check_config(const struct config *cfg)
{
	REQUIRE(cfg->n_interfaces > 0);
	for (uint32_t i = 0; i < cfg->n_pools; i++)
		check_pool(&cfg->pools[i]);
	for (uint32_t i = 0; i < cfg->n_vips; i++) {
		REQUIRE(cfg->vips[i].pool < cfg->n_pools);
		REQUIRE(address_is_set(&cfg->vips[i].endpoint.addr));
		REQUIRE(cfg->vips[i].endpoint.port != 0);
		REQUIRE(config_name_valid(cfg->vips[i].name));
	}
}

static void check_diff(const struct config *was, const struct config *now, bool same)
{
	struct config_diff *diff;
	char line[512];

	REQUIRE(config_diff(was, now, &diff) == 0);
	REQUIRE(!same || diff->n == 0);
	for (uint32_t i = 0; i < diff->n; i++)
		REQUIRE(*config_change_format(&diff->changes[i], line, sizeof(line)));
	config_diff_free(&diff);
}

/* What every configuration is compared with. */
static const struct config *base_config(void)
{
	static const char text[] = "interfaces: [eth0]\n"
				   "pools: [{name: a, preset: vllm, nodes: [10.0.1.1]}]\n"
				   "vips: [{address: 10.0.0.100, port: 80, pool: a}]\n";
	static struct config *cfg;
	struct config_errors errs = {0};

	if (!cfg)
		REQUIRE(config_load_buffer("base", text, strlen(text), &cfg, &errs) == 0);
	return cfg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char canary;
	struct config *untouched = (struct config *)(void *)&canary;
	struct config *cfg = untouched;
	struct config_errors errs = {0};
	int r;

	r = config_load_buffer("fuzz.yaml", (const char *)data, size, &cfg, &errs);
	if (r < 0) {
		REQUIRE(cfg == untouched);
		check_errors(&errs);
	} else {
		REQUIRE(errs.n == 0 && errs.n_dropped == 0);
		check_config(cfg);
		check_diff(cfg, cfg, true);
		check_diff(base_config(), cfg, false);
		check_diff(cfg, base_config(), false);
		config_free(&cfg);
	}
	config_errors_free(&errs);
	return 0;
}
