// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/export.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/export_priv.h"

#define PIECE_BYTES 8192 /* more objects are added to a piece until it has so many */

struct export_page {
	struct export_now now;
	uint64_t layout;
	struct export_text text;
	size_t sent; /* of text */

	enum export_scope scope;
	size_t family;	/* of the scope's table */
	uint32_t outer; /* VIP or pool */
	uint32_t inner; /* node of the pool */
	bool begun;	/* the family's name is set */
};

static const struct export_table *table_of(enum export_scope scope)
{
	switch (scope) {
	case EXPORT_AGENT:
		return export_agent_table();
	case EXPORT_VIP:
		return export_vip_table();
	case EXPORT_POOL:
		return export_pool_table();
	case EXPORT_NODE:
		return export_node_table();
	case EXPORT_SCOPE_N:
		break;
	}
	return NULL;
}

int export_page_new(const struct agent *agent, struct export_page **ret)
{
	struct export_page *page = calloc(1, sizeof(*page));

	if (!page)
		return -ENOMEM;
	page->now.agent = agent;
	page->layout = agent->layout;
	page->scope = EXPORT_AGENT;
	*ret = page;
	return 0;
}

void export_page_free(struct export_page **page)
{
	if (!*page)
		return;
	export_text_free(&(*page)->text);
	free(*page);
	*page = NULL;
}

/* --- one object ------------------------------------------------------------------------------- */

static void add_agent(struct export_page *p, const struct export_family *f)
{
	export_text_labels(&p->text, NULL);
	if (f->samples.agent)
		f->samples.agent(&p->now, &p->text);
	else
		export_text_sample(&p->text, f->value.agent(&p->now), NULL);
}

static void add_vip(struct export_page *p, const struct export_family *f, const struct vip *vip)
{
	export_text_labels(&p->text, "vip", vip->name, NULL);
	if (f->samples.vip)
		f->samples.vip(&p->now, &p->text, vip);
	else
		export_text_sample(&p->text, f->value.vip(&p->now, vip), NULL);
}

static void add_pool(struct export_page *p, const struct export_family *f, const struct pool *pool)
{
	export_text_labels(&p->text, "pool", pool->name, NULL);
	if (f->samples.pool)
		f->samples.pool(&p->now, &p->text, pool);
	else
		export_text_sample(&p->text, f->value.pool(&p->now, pool), NULL);
}

static void add_node(struct export_page *p, const struct export_family *f, const struct node *node)
{
	export_text_labels(&p->text, "pool", node->pool->name, "node", node->name, NULL);
	if (f->samples.node)
		f->samples.node(&p->now, &p->text, node);
	else
		export_text_sample(&p->text, f->value.node(&p->now, node), NULL);
}

/* --- the walk --------------------------------------------------------------------------------- */

/* Add the next object's samples of the family. Returns false if there is none left. */
static bool add_next(struct export_page *p, const struct export_family *f)
{
	const struct agent *agent = p->now.agent;

	switch (p->scope) {
	case EXPORT_AGENT:
		if (p->outer > 0)
			return false;
		add_agent(p, f);
		break;
	case EXPORT_VIP:
		if (p->outer >= agent->n_vips)
			return false;
		add_vip(p, f, agent->vips[p->outer]);
		break;
	case EXPORT_POOL:
		if (p->outer >= agent->n_pools)
			return false;
		add_pool(p, f, agent->pools[p->outer]);
		break;
	case EXPORT_NODE:
		while (p->outer < agent->n_pools && p->inner >= agent->pools[p->outer]->n_nodes) {
			p->outer++;
			p->inner = 0;
		}
		if (p->outer >= agent->n_pools)
			return false;
		add_node(p, f, agent->pools[p->outer]->nodes[p->inner++]);
		return true;
	case EXPORT_SCOPE_N:
		return false;
	}
	p->outer++;
	return true;
}

static void next_family(struct export_page *p)
{
	p->outer = p->inner = 0;
	p->begun = false;
	if (++p->family < table_of(p->scope)->n)
		return;
	p->family = 0;
	p->scope++;
}

static void fill(struct export_page *p)
{
	export_text_clear(&p->text);
	p->sent = 0;
	p->now.now_ms = agent_now_ms(p->now.agent);
	while (p->scope < EXPORT_SCOPE_N && p->text.len < PIECE_BYTES && !p->text.failed) {
		const struct export_family *f = &table_of(p->scope)->families[p->family];

		if (!p->begun)
			export_text_family(&p->text, f->name, f->type, f->help);
		p->begun = true;
		if (!add_next(p, f))
			next_family(p);
	}
}

ssize_t export_page_read(struct export_page *p, char *buf, size_t max)
{
	size_t n;

	assert(max > 0);
	if (p->layout != p->now.agent->layout)
		return -ESTALE;
	if (p->sent == p->text.len)
		fill(p);
	if (p->text.failed)
		return -ENOMEM;
	n = p->text.len - p->sent < max ? p->text.len - p->sent : max;
	if (n)
		memcpy(buf, p->text.data + p->sent, n);
	p->sent += n;
	return (ssize_t)n;
}
