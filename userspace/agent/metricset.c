// SPDX-License-Identifier: BSD-2-Clause
/* Sets of metric expressions: which names they look for, and whose selectors those are. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/metricrun_internal.h"

static uint64_t hash_name(const char *name, size_t len)
{
	return metric_hash_mix(metric_hash_bytes(0xcbf29ce484222325ull, name, len));
}

/* Index in set->name_at where the name is, or where it would go. */
static size_t name_slot(const struct metric_set *set, const char *name, size_t len, uint64_t hash)
{
	size_t slot = hash % NAME_SLOTS;

	for (; set->name_at[slot]; slot = (slot + 1) % NAME_SLOTS) {
		const struct name *n = &set->names[set->name_at[slot] - 1];

		if (n->hash == hash && n->len == len && memcmp(n->name, name, len) == 0)
			break;
	}
	return slot;
}

/* Enters the leaf under its selector's name; there is room. */
static void name_enter(struct metric_set *set, uint16_t leaf)
{
	const char *text = set->leaves[leaf].selector->name;
	size_t len = strlen(text);
	uint64_t hash = hash_name(text, len);
	size_t slot = name_slot(set, text, len, hash);
	struct name *n;

	if (!set->name_at[slot]) {
		n = &set->names[set->n_names++];
		*n = (struct name){.name = text, .len = len, .hash = hash, .leaf = NO_LEAF};
		set->name_at[slot] = set->n_names;
		set->lengths |= 1ull << (len % 64);
	}
	n = &set->names[set->name_at[slot] - 1];
	set->leaves[leaf].next = n->leaf;
	n->leaf = leaf;
}

int metric_set_new(enum metric_format format, struct metric_set **ret_set)
{
	struct metric_set *set = calloc(1, sizeof(*set));

	assert(format == METRIC_FORMAT_PROM || format == METRIC_FORMAT_JSON);
	static_assert(NAME_SLOTS >= 2 * METRIC_SET_MAX * METRIC_SELECTORS_MAX, "table never fills");
	if (!set)
		return -ENOMEM;
	set->n_refs = 1;
	set->format = format;
	*ret_set = set;
	return 0;
}

struct metric_set *metric_set_ref(struct metric_set *set)
{
	set->n_refs++;
	return set;
}

void metric_set_unref(struct metric_set **set)
{
	struct metric_set *s = *set;

	*set = NULL;
	if (!s || --s->n_refs)
		return;
	for (size_t i = 0; i < METRIC_SET_MAX; i++)
		metric_expr_free(&s->exprs[i]);
	free(s->leaves);
	free(s->names);
	free(s);
}

/* Makes room for n more leaves and names. */
static int set_grow(struct metric_set *set, size_t n)
{
	struct leaf *leaves;
	struct name *names;

	leaves = realloc(set->leaves, (set->n_leaves + n) * sizeof(*leaves));
	if (!leaves)
		return -ENOMEM;
	set->leaves = leaves;
	names = realloc(set->names, (set->n_names + n) * sizeof(*names));
	if (!names)
		return -ENOMEM;
	set->names = names;
	return 0;
}

int metric_set_add(struct metric_set *set, unsigned int slot, struct metric_expr **expr)
{
	struct metric_expr *e = *expr;
	int r;

	assert(slot < METRIC_SET_MAX);
	assert(set->n_refs == 1); /* nobody evaluates it yet */
	if (set->exprs[slot])
		return -EEXIST;
	if (e->format != set->format)
		return -EINVAL;
	r = set_grow(set, e->n_selectors);
	if (r < 0)
		return r;
	set->exprs[slot] = e;
	set->first_leaf[slot] = set->n_leaves;
	for (size_t i = 0; i < e->n_selectors; i++) {
		set->leaves[set->n_leaves++] =
			(struct leaf){.expr = e, .selector = &e->selectors[i], .next = NO_LEAF};
		if (set->format == METRIC_FORMAT_PROM)
			name_enter(set, (uint16_t)(set->n_leaves - 1));
	}
	*expr = NULL;
	return 0;
}

enum metric_format metric_set_format(const struct metric_set *set)
{
	return set->format;
}

const struct metric_expr *metric_set_expr(const struct metric_set *set, unsigned int slot)
{
	return slot < METRIC_SET_MAX ? set->exprs[slot] : NULL;
}

int metric_run_want(const struct metric_run *run, const char *name, size_t len)
{
	const struct metric_set *set = run->set;
	size_t slot;

	if (!(set->lengths & (1ull << (len % 64))))
		return -1;
	slot = name_slot(set, name, len, hash_name(name, len));
	return set->name_at[slot] ? set->name_at[slot] - 1 : -1;
}
