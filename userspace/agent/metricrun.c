// SPDX-License-Identifier: BSD-2-Clause
/*
 * Evaluation of metric expressions.
 *
 * Every selector of a set is a leaf with a tally: what its samples add up to so far. An aggregate
 * straight over a selector needs no more. Only selectors inside arithmetic on many samples keep
 * these, as (label set's hash, value) pairs; arithmetic is then done for one label set at a time,
 * so that no intermediate vectors exist.
 */
#include "userspace/agent/metricexpr.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/metricexpr_tree.h"
#include "userspace/lib/cleanup.h"

#define NAME_SLOTS 1024 /* power of two, well above METRIC_SET_MAX * METRIC_SELECTORS_MAX */
#define NO_LEAF    UINT16_MAX

struct leaf {
	const struct metric_expr *expr;
	const struct metric_selector *selector;
	uint16_t next; /* leaf with the same name, or NO_LEAF */
};

struct name {
	const char *name;
	size_t len;
	uint64_t hash;
	uint16_t leaf; /* the first with this name */
};

struct metric_set {
	unsigned int n_refs;
	enum metric_format format;
	struct metric_expr *exprs[METRIC_SET_MAX];
	uint16_t first_leaf[METRIC_SET_MAX];
	struct leaf *leaves;
	uint16_t n_leaves;
	struct name *names;
	uint16_t n_names;
	uint16_t name_at[NAME_SLOTS]; /* open addressing; index in names + 1, 0 is free */
	uint64_t lengths;             /* bit (length mod 64) of every name: most are no match */
};

/* What samples add up to. */
struct tally {
	uint32_t n; /* finite ones */
	uint32_t n_trouble;
	enum metric_status trouble; /* the gravest one's kind */
	double sum;
	double max;
	double min;
};

struct series {
	uint64_t key;
	double value; /* NaN: not usable */
};

struct leaf_state {
	struct tally tally;
	struct series *series;
	uint32_t n_series;
	uint32_t cap_series;
	bool sorted;
};

struct metric_run {
	struct metric_set *set;
	struct leaf_state *states;
};

struct value {
	enum metric_status status;
	double number;
};

/* Evaluation of one expression. */
struct eval {
	struct metric_run *run;
	const struct metric_expr *e;
	struct leaf_state *states; /* of the expression's selectors */
	uint64_t key;              /* the label set nodes with many values are evaluated for */
	struct value memo[METRIC_EXPR_MAX_NODES]; /* nodes with one value; status 0: not yet */
	uint8_t choice[METRIC_EXPR_MAX_NODES];    /* first() of many; 0: not yet */
};

static uint64_t hash_bytes(uint64_t h, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * 0x100000001b3ull; /* FNV-1a */
	return h;
}

/* Spreads what FNV leaves in the high bits (splitmix64's finaliser). */
static uint64_t hash_mix(uint64_t h)
{
	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
	h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
	return h ^ (h >> 31);
}

static uint64_t hash_name(const char *name, size_t len)
{
	return hash_mix(hash_bytes(0xcbf29ce484222325ull, name, len));
}

/* Hash of a label set: order does not matter, and neither does an empty value. */
static uint64_t hash_labels(const struct promtext_label *labels, size_t n)
{
	uint64_t key = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t h = hash_bytes(0xcbf29ce484222325ull, labels[i].name, labels[i].name_len);

		if (!labels[i].value_len)
			continue;
		h = hash_bytes(h, "\xff", 1);
		key += hash_mix(hash_bytes(h, labels[i].value, labels[i].value_len));
	}
	return key;
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

int metric_run_new(struct metric_set *set, struct metric_run **ret_run)
{
	struct metric_run *run = calloc(1, sizeof(*run));

	if (!run)
		return -ENOMEM;
	run->states = calloc(set->n_leaves ? set->n_leaves : 1, sizeof(*run->states));
	if (!run->states) {
		free(run);
		return -ENOMEM;
	}
	run->set = metric_set_ref(set);
	*ret_run = run;
	return 0;
}

void metric_run_free(struct metric_run **run)
{
	struct metric_run *r = *run;

	*run = NULL;
	if (!r)
		return;
	for (size_t i = 0; i < r->set->n_leaves; i++)
		free(r->states[i].series);
	free(r->states);
	metric_set_unref(&r->set);
	free(r);
}

void metric_run_reset(struct metric_run *run)
{
	for (size_t i = 0; i < run->set->n_leaves; i++) {
		struct leaf_state *st = &run->states[i];

		st->tally = (struct tally){0};
		st->n_series = 0;
		st->sorted = false;
	}
}

/* The gravest kind is kept: their values are in that order. */
static void tally_trouble(struct tally *t, enum metric_status trouble)
{
	t->n_trouble++;
	if (trouble > t->trouble)
		t->trouble = trouble;
}

static void tally_add(struct tally *t, double v)
{
	if (!isfinite(v)) {
		tally_trouble(t, METRIC_NOT_FINITE);
		return;
	}
	t->max = t->n ? fmax(t->max, v) : v;
	t->min = t->n ? fmin(t->min, v) : v;
	t->sum += v;
	t->n++;
}

/* Keeps a sample for arithmetic. Returns 0 or -ENOMEM. */
static int series_add(struct leaf_state *st, uint64_t key, double v)
{
	struct series *p;
	uint32_t cap;

	if (st->n_series == METRIC_SERIES_MAX) {
		tally_trouble(&st->tally, METRIC_TOO_MANY);
		return 0;
	}
	if (st->n_series == st->cap_series) {
		cap = st->cap_series ? 2 * st->cap_series : 16;
		p = realloc(st->series, cap * sizeof(*p));
		if (!p)
			return -ENOMEM;
		st->series = p;
		st->cap_series = cap;
	}
	st->series[st->n_series++] =
		(struct series){.key = key, .value = isfinite(v) ? v : (double)NAN};
	return 0;
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

static bool filter_passes(const struct metric_expr *e, const struct metric_filter *f,
			  const struct promtext_label *labels, size_t n_labels)
{
	struct promtext_label none = {.value = "", .value_len = 0};
	const struct promtext_label *l = &none;
	bool in = false;

	for (size_t i = 0; i < n_labels; i++)
		if (strlen(f->label) == labels[i].name_len &&
		    memcmp(f->label, labels[i].name, labels[i].name_len) == 0)
			l = &labels[i];
	for (size_t i = 0; i < f->n_values && !in; i++) {
		const char *v = e->values[f->first_value + i];

		in = strlen(v) == l->value_len && memcmp(v, l->value, l->value_len) == 0;
	}
	return in != f->negated;
}

int metric_run_sample(struct metric_run *run, int id, const struct promtext_label *labels,
		      size_t n_labels, double value)
{
	const struct metric_set *set = run->set;
	int r = 0;

	assert(id >= 0 && id < set->n_names);
	for (uint16_t i = set->names[id].leaf; i != NO_LEAF && r == 0; i = set->leaves[i].next) {
		const struct leaf *leaf = &set->leaves[i];
		bool passes = true;

		for (size_t f = 0; f < leaf->selector->n && passes; f++)
			passes = filter_passes(leaf->expr,
					       &leaf->expr->filters[leaf->selector->first + f],
					       labels, n_labels);
		if (!passes)
			continue;
		tally_add(&run->states[i].tally, value);
		if (leaf->selector->series)
			r = series_add(&run->states[i], hash_labels(labels, n_labels), value);
	}
	return r;
}

void metric_run_unreadable(struct metric_run *run, int id)
{
	const struct metric_set *set = run->set;

	assert(id >= 0 && id < set->n_names);
	for (uint16_t i = set->names[id].leaf; i != NO_LEAF; i = set->leaves[i].next)
		tally_trouble(&run->states[i].tally, METRIC_UNREADABLE);
}

/* The end of a path: null says that the server does not know. */
static int json_take(struct leaf_state *st, bool series, uint64_t key, const json_t *at)
{
	if (json_is_null(at))
		return 0;
	if (!json_is_number(at)) {
		tally_trouble(&st->tally, METRIC_UNREADABLE);
		return 0;
	}
	tally_add(&st->tally, json_number_value(at));
	return series ? series_add(st, key, json_number_value(at)) : 0;
}

/* Follows a path from `at` on; a step that leads nowhere makes the value absent. */
static int json_walk(struct leaf_state *st, bool series, const struct metric_step *step, size_t n,
		     uint64_t key, const json_t *at)
{
	size_t i;
	int r = 0;

	if (!at)
		return 0;
	if (!n)
		return json_take(st, series, key, at);
	switch (step->kind) {
	case METRIC_STEP_KEY:
		return json_walk(st, series, step + 1, n - 1, key, json_object_get(at, step->key));
	case METRIC_STEP_INDEX:
		i = (size_t)step->index + (step->index < 0 ? json_array_size(at) : 0);
		return json_walk(st, series, step + 1, n - 1, key, json_array_get(at, i));
	case METRIC_STEP_ALL:
		for (i = 0; i < json_array_size(at) && r == 0; i++)
			r = json_walk(st, series, step + 1, n - 1, hash_mix(key + i + 1),
				      json_array_get(at, i));
		return r;
	}
	return 0;
}

int metric_run_json(struct metric_run *run, const struct json_t *root)
{
	int r = 0;

	assert(run->set->format == METRIC_FORMAT_JSON);
	for (size_t i = 0; i < run->set->n_leaves && r == 0; i++) {
		const struct leaf *leaf = &run->set->leaves[i];

		r = json_walk(&run->states[i], leaf->selector->series,
			      &leaf->expr->steps[leaf->selector->first], leaf->selector->n, 0,
			      root);
	}
	return r;
}

static struct value value_of(double number)
{
	if (!isfinite(number))
		return (struct value){.status = METRIC_NOT_FINITE};
	return (struct value){.status = METRIC_OK, .number = number};
}

static struct value no_value(enum metric_status why)
{
	return (struct value){.status = why};
}

static struct value tally_result(const struct tally *t, enum metric_agg agg)
{
	bool whole = agg == METRIC_AGG_SUM || agg == METRIC_AGG_COUNT;

	if (t->n_trouble && (whole || !t->n || t->trouble == METRIC_TOO_MANY))
		return no_value(t->trouble);
	if (!t->n)
		return no_value(METRIC_ABSENT);
	switch (agg) {
	case METRIC_AGG_SUM:
		return value_of(t->sum);
	case METRIC_AGG_MAX:
		return value_of(t->max);
	case METRIC_AGG_MIN:
		return value_of(t->min);
	case METRIC_AGG_AVG:
		return value_of(t->sum / t->n);
	case METRIC_AGG_COUNT:
		return value_of(t->n);
	}
	return no_value(METRIC_ABSENT);
}

static int by_key(const void *a, const void *b)
{
	uint64_t x = ((const struct series *)a)->key;
	uint64_t y = ((const struct series *)b)->key;

	return x < y ? -1 : x > y;
}

/* Sorts by label set. The same one twice with different values is not to be trusted. */
static void series_sort(struct leaf_state *st)
{
	uint32_t n = 0;

	if (st->sorted)
		return;
	st->sorted = true;
	if (!st->n_series)
		return;
	qsort(st->series, st->n_series, sizeof(*st->series), by_key);
	for (uint32_t i = 1; i < st->n_series; i++) {
		if (st->series[i].key != st->series[n].key)
			st->series[++n] = st->series[i];
		else if (!(st->series[i].value == st->series[n].value))
			st->series[n].value = (double)NAN;
	}
	st->n_series = n + 1;
}

static struct value series_at(struct leaf_state *st, uint64_t key)
{
	struct series want = {.key = key};
	const struct series *found;

	if (!st->n_series)
		return no_value(METRIC_ABSENT);
	series_sort(st);
	found = bsearch(&want, st->series, st->n_series, sizeof(want), by_key);
	return found ? value_of(found->value) : no_value(METRIC_ABSENT);
}

static struct value apply(char op, double a, double b)
{
	switch (op) {
	case '+':
		return value_of(a + b);
	case '-':
		return value_of(a - b);
	case '*':
		return value_of(a * b);
	default:
		return b == 0 ? no_value(METRIC_DIV_ZERO) : value_of(a / b);
	}
}

static struct value eval_node(struct eval *ev, uint8_t index);
static uint8_t eval_choice(struct eval *ev, uint8_t index);

static struct value eval_binary(struct eval *ev, const struct metric_node *node)
{
	uint8_t left = node->operand;
	uint8_t right = ev->e->nodes[left].next;
	struct value a = eval_node(ev, left);
	struct value b = eval_node(ev, right);

	if (a.status == METRIC_ABSENT && ev->e->nodes[left].optional)
		return b;
	if (b.status == METRIC_ABSENT && ev->e->nodes[right].optional)
		return a;
	if (a.status == METRIC_OK && b.status == METRIC_OK)
		return apply(node->op, a.number, b.number);
	if (a.status != METRIC_OK && a.status != METRIC_ABSENT)
		return a;
	if (b.status != METRIC_OK && b.status != METRIC_ABSENT)
		return b;
	return no_value(METRIC_ABSENT);
}

/* first() of single values. */
static struct value eval_first(struct eval *ev, const struct metric_node *node)
{
	struct value trouble = no_value(METRIC_ABSENT);

	for (uint8_t i = node->operand; i != METRIC_NODE_NONE; i = ev->e->nodes[i].next) {
		struct value v = eval_node(ev, i);

		if (v.status == METRIC_OK)
			return v;
		if (trouble.status == METRIC_ABSENT)
			trouble = v;
	}
	return trouble;
}

/* Label sets of a part of an expression. */
struct keys {
	struct series *at; /* only the keys count */
	size_t n;
	size_t cap;
	bool no_memory;
	struct tally *trouble; /* collects what its selectors could not read */
};

/* Adds those of all selectors with many values under the node, but not of aggregates in it. */
static void keys_collect(struct eval *ev, uint8_t index, struct keys *keys)
{
	const struct metric_node *node = &ev->e->nodes[index];
	struct leaf_state *st;
	struct series *p;

	if (!node->many)
		return;
	if (node->kind == METRIC_NODE_FIRST) {
		keys_collect(ev, eval_choice(ev, index), keys);
		return;
	}
	if (node->kind != METRIC_NODE_SELECT) {
		for (uint8_t i = node->operand; i != METRIC_NODE_NONE; i = ev->e->nodes[i].next)
			keys_collect(ev, i, keys);
		return;
	}
	st = &ev->states[node->selector];
	/* What is not finite is met again, label set by label set. */
	if (st->tally.n_trouble && st->tally.trouble != METRIC_NOT_FINITE)
		tally_trouble(keys->trouble, st->tally.trouble);
	if (!st->n_series)
		return;
	p = reallocarray(keys->at, keys->n + st->n_series, sizeof(*p));
	if (!p) {
		keys->no_memory = true;
		return;
	}
	memcpy(p + keys->n, st->series, st->n_series * sizeof(*p));
	keys->at = p;
	keys->n += st->n_series;
}

/* Evaluates a node with many values for each of its label sets and adds them up. */
static void eval_many(struct eval *ev, uint8_t index, struct tally *tally)
{
	struct keys keys = {.trouble = tally};
	uint64_t outer = ev->key;

	keys_collect(ev, index, &keys);
	if (keys.n)
		qsort(keys.at, keys.n, sizeof(*keys.at), by_key);
	for (size_t i = 0; i < keys.n; i++) {
		struct value v;

		if (i && keys.at[i].key == keys.at[i - 1].key)
			continue;
		ev->key = keys.at[i].key;
		v = eval_node(ev, index);
		if (v.status == METRIC_OK)
			tally_add(tally, v.number);
		else if (v.status != METRIC_ABSENT)
			tally_trouble(tally, v.status);
	}
	ev->key = outer;
	if (keys.no_memory)
		*tally = (struct tally){.n_trouble = 1, .trouble = METRIC_TOO_MANY};
	free(keys.at);
}

/* Which argument of a first() of many it stands for: the first that has any value; without one,
 * the first that was there at all; else the last. */
static uint8_t eval_choice(struct eval *ev, uint8_t index)
{
	uint8_t present = METRIC_NODE_NONE;
	uint8_t last = METRIC_NODE_NONE;

	if (ev->choice[index])
		return (uint8_t)(ev->choice[index] - 1);
	for (uint8_t i = ev->e->nodes[index].operand; i != METRIC_NODE_NONE;
	     i = ev->e->nodes[i].next) {
		struct tally t = {0};

		eval_many(ev, i, &t);
		last = i;
		if (t.n) {
			present = i;
			break;
		}
		if (t.n_trouble && present == METRIC_NODE_NONE)
			present = i;
	}
	ev->choice[index] = (uint8_t)((present != METRIC_NODE_NONE ? present : last) + 1);
	return (uint8_t)(ev->choice[index] - 1);
}

static struct value eval_agg(struct eval *ev, const struct metric_node *node)
{
	const struct metric_node *of = &ev->e->nodes[node->operand];
	struct tally t = {0};
	struct value v;

	if (of->kind == METRIC_NODE_SELECT)
		return tally_result(&ev->states[of->selector].tally, node->agg);
	if (of->many) {
		eval_many(ev, node->operand, &t);
		return tally_result(&t, node->agg);
	}
	v = eval_node(ev, node->operand);
	if (v.status != METRIC_OK)
		return v;
	tally_add(&t, v.number);
	return tally_result(&t, node->agg);
}

/* The value of a node; of one with many, for the label set ev->key. */
static struct value eval_node(struct eval *ev, uint8_t index)
{
	const struct metric_node *node = &ev->e->nodes[index];
	struct value v = no_value(METRIC_ABSENT);

	if (!node->many && ev->memo[index].status)
		return ev->memo[index];
	switch (node->kind) {
	case METRIC_NODE_NUMBER:
		v = value_of(node->number);
		break;
	case METRIC_NODE_SELECT:
		v = node->many ? series_at(&ev->states[node->selector], ev->key)
			       : tally_result(&ev->states[node->selector].tally, METRIC_AGG_SUM);
		break;
	case METRIC_NODE_AGG:
		v = eval_agg(ev, node);
		break;
	case METRIC_NODE_BINARY:
		v = eval_binary(ev, node);
		break;
	case METRIC_NODE_FIRST:
		v = node->many ? eval_node(ev, eval_choice(ev, index)) : eval_first(ev, node);
		break;
	}
	if (!node->many)
		ev->memo[index] = v;
	return v;
}

enum metric_status metric_run_value(struct metric_run *run, unsigned int slot, double *ret_value)
{
	struct eval ev = {.run = run};
	struct value v;

	ev.e = metric_set_expr(run->set, slot);
	if (!ev.e)
		return METRIC_UNUSED;
	ev.states = &run->states[run->set->first_leaf[slot]];
	v = eval_node(&ev, ev.e->root);
	if (v.status == METRIC_OK)
		*ret_value = v.number;
	return v.status;
}

const char *metric_run_culprit(const struct metric_run *run, unsigned int slot)
{
	const struct metric_expr *e = metric_set_expr(run->set, slot);
	const struct leaf_state *st;

	if (!e)
		return NULL;
	st = &run->states[run->set->first_leaf[slot]];
	for (size_t i = 0; i < e->n_selectors; i++)
		if (st[i].tally.n_trouble)
			return e->selectors[i].text;
	for (size_t i = 0; i < e->n_selectors; i++)
		if (!st[i].tally.n)
			return e->selectors[i].text;
	return NULL;
}
