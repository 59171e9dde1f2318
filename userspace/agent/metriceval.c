// SPDX-License-Identifier: BSD-2-Clause
/*
 * Tallies -> the value of an expression.
 *
 * Arithmetic on many samples is done for one label set at a time, so that no intermediate vectors
 * exist.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/metricrun_internal.h"
#include "userspace/lib/cleanup.h"

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
		metric_tally_trouble(keys->trouble, st->tally.trouble);
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
			metric_tally_add(tally, v.number);
		else if (v.status != METRIC_ABSENT)
			metric_tally_trouble(tally, v.status);
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
	metric_tally_add(&t, v.number);
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
