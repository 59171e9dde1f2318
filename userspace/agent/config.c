/* SPDX-License-Identifier: BSD-2-Clause */
/* A configuration in force: names, finding things, its files, its end. */
#include "userspace/agent/config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "userspace/agent/config_schema.h"

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
