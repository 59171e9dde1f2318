/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/score.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define BASE_MAX 1e9 /* requests; far from the end of 32 bits */

#define EWMA_WEIGHT (1.0 / 6) /* half of it is the last four values */

void score_init(struct score_node *node)
{
	*node = (struct score_node){.sample_ms = -1, .scrape_ms = -1, .progress = -1};
}

void score_forget(struct score_node *node)
{
	node->counted = false;
	node->given_slots = node->learned_slots = 0;
	node->progress = -1;
}

void score_scrape_begin(struct score_node *node, uint32_t inc, int64_t now_ms)
{
	assert(now_ms >= 0);
	node->scrape_ms = now_ms;
	node->inc_at_begin = inc;
}

/* A counter that fell: the server began anew, perhaps with other limits. */
static bool has_restarted(const struct score_node *node, const struct load_sample *sample)
{
	return load_has(sample, LOAD_PROGRESS) && sample->progress < node->progress;
}

static void learn_slots(struct score_node *node, const struct load_sample *sample)
{
	if (has_restarted(node, sample))
		node->learned_slots = 0;
	if (load_has(sample, LOAD_PROGRESS))
		node->progress = sample->progress;
	if (load_has(sample, LOAD_QUEUE) && load_has(sample, LOAD_RUNNING) && sample->queue > 0)
		node->learned_slots = fmax(node->learned_slots, sample->running);
	node->given_slots = load_has(sample, LOAD_SLOTS) ? sample->slots : 0;
}

static bool is_fresh(const struct score_node *node, const struct score_settings *s, int64_t now_ms)
{
	return node->counted && now_ms - node->sample_ms <= s->stale_ms;
}

void score_scrape_end(struct score_node *node, const struct score_settings *s,
		      const struct load_sample *sample, uint32_t *ret_subtract)
{
	assert(node->scrape_ms >= 0);

	if (!load_has(sample, LOAD_QUEUE) && !load_has(sample, LOAD_RUNNING)) {
		score_scrape_abandon(node, s, ret_subtract);
		return;
	}
	node->counted = true;
	node->sample_ms = node->scrape_ms;
	node->queue = load_has(sample, LOAD_QUEUE) ? sample->queue : 0;
	node->running = load_has(sample, LOAD_RUNNING) ? sample->running : 0;
	learn_slots(node, sample);
	node->scrape_ms = -1;
	*ret_subtract = node->inc_at_begin;
}

void score_scrape_abandon(struct score_node *node, const struct score_settings *s,
			  uint32_t *ret_subtract)
{
	*ret_subtract = 0;
	if (node->scrape_ms >= 0 && !is_fresh(node, s, node->scrape_ms))
		*ret_subtract = node->inc_at_begin;
	node->scrape_ms = -1;
}

static double slots_of(const struct score_member *m)
{
	if (m->settings->slots)
		return m->settings->slots;
	return m->node->given_slots > 0 ? m->node->given_slots : m->node->learned_slots;
}

static bool is_hot(const struct score_member *m)
{
	double slots = slots_of(m);

	return m->node->queue > 0 ||
	       (slots > 0 && m->node->running > m->settings->hot_ratio * slots);
}

static uint32_t to_base(double requests)
{
	return lround(fmin(fmax(requests, 0), BASE_MAX));
}

/* What stands in for a stale sample. */
struct median {
	uint32_t n;  /* fresh samples of members with weight */
	double load; /* requests per full backend */
	bool hot;    /* more than half are */
};

static struct median pool_median(const struct score_member *members, uint32_t n, int64_t now_ms,
				 double *scratch)
{
	struct median median = {0};
	uint32_t n_hot = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct score_member *m = &members[i];

		if (!m->weight || !is_fresh(m->node, m->settings, now_ms))
			continue;
		scratch[median.n++] = (m->node->queue + m->node->running) * 1000 / m->weight;
		n_hot += is_hot(m);
	}
	if (median.n)
		median.load = score_median(scratch, median.n);
	median.hot = 2 * n_hot > median.n;
	return median;
}

void score_pool(const struct score_member *members, uint32_t n, int64_t now_ms, double *scratch,
		struct score *ret_scores)
{
	const struct median median = pool_median(members, n, now_ms, scratch);

	for (uint32_t i = 0; i < n; i++) {
		const struct score_member *m = &members[i];
		struct score *score = &ret_scores[i];

		*score = (struct score){
			.age_ms = m->node->counted ? now_ms - m->node->sample_ms : -1,
		};
		if (!median.n) {
			score->source = SCORE_IGNORED;
		} else if (is_fresh(m->node, m->settings, now_ms)) {
			score->source = SCORE_FRESH;
			score->base = to_base(m->node->queue + m->node->running);
			score->hot = is_hot(m);
		} else {
			score->source = SCORE_MEDIAN;
			score->base = to_base(median.load * m->weight / 1000);
			score->hot = median.hot;
		}
	}
}

/* The first values weigh alike, so that the first is not half of it for long. */
void score_ewma_add(struct score_ewma *ewma, double value)
{
	if (ewma->n < UINT32_MAX)
		ewma->n++;
	ewma->value += (value - ewma->value) * fmax(1.0 / ewma->n, EWMA_WEIGHT);
}

static int by_value(const void *pa, const void *pb)
{
	const double *a = pa, *b = pb;

	return (*a > *b) - (*a < *b);
}

double score_median(double *values, uint32_t n)
{
	assert(n > 0);
	qsort(values, n, sizeof(*values), by_value);
	return values[(n - 1) / 2];
}
