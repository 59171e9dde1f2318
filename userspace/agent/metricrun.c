// SPDX-License-Identifier: BSD-2-Clause
/* Samples of a page, in Prometheus text or JSON -> the tallies of the selectors they belong to. */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/metricrun_internal.h"

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

void metric_tally_trouble(struct tally *t, enum metric_status trouble)
{
	t->n_trouble++;
	if (trouble > t->trouble)
		t->trouble = trouble;
}

void metric_tally_add(struct tally *t, double v)
{
	if (!isfinite(v)) {
		metric_tally_trouble(t, METRIC_NOT_FINITE);
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
		metric_tally_trouble(&st->tally, METRIC_TOO_MANY);
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

/* Hash of a label set: order does not matter, and neither does an empty value. */
static uint64_t hash_labels(const struct promtext_label *labels, size_t n)
{
	uint64_t key = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t h = metric_hash_bytes(0xcbf29ce484222325ull, labels[i].name,
					       labels[i].name_len);

		if (!labels[i].value_len)
			continue;
		h = metric_hash_bytes(h, "\xff", 1);
		key += metric_hash_mix(metric_hash_bytes(h, labels[i].value, labels[i].value_len));
	}
	return key;
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
		metric_tally_add(&run->states[i].tally, value);
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
		metric_tally_trouble(&run->states[i].tally, METRIC_UNREADABLE);
}

/* The end of a path: null says that the server does not know. */
static int json_take(struct leaf_state *st, bool series, uint64_t key, const json_t *at)
{
	if (json_is_null(at))
		return 0;
	if (!json_is_number(at)) {
		metric_tally_trouble(&st->tally, METRIC_UNREADABLE);
		return 0;
	}
	metric_tally_add(&st->tally, json_number_value(at));
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
			r = json_walk(st, series, step + 1, n - 1, metric_hash_mix(key + i + 1),
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
