/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/health_dims.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LATENCY_MIN_PROBES 3 /* an average of fewer says nothing */

/* An answer counts for so many times the limit at most: one that took seconds, a lost packet say,
 * would hold an average up for three answers and more. */
#define LATENCY_CAP 3

/* A value and the limits it enters and leaves "over" by. */
struct reading {
	double value;
	double high; /* over at or above */
	double low;  /* not over at or below */
};

static void clear(struct health *h, enum health_dim dim)
{
	h->dims[dim] = (struct health_dim_state){0};
}

void health_dims_reset(struct health *h)
{
	memset(h->dims, 0, sizeof(h->dims));
	h->latency = h->latency_capped = (struct score_ewma){0};
}

void health_dims_forget(struct health *h, const struct health_settings *s, int64_t now_ms)
{
	for (int dim = 0; dim < HEALTH_DIM_N; dim++)
		if (h->dims[dim].known && now_ms - h->dims[dim].seen_ms >= s->forget_ms)
			clear(h, dim);
}

static void judge(struct health *h, const struct health_settings *s, enum health_dim dim,
		  struct reading r, int64_t now_ms)
{
	struct health_dim_state *d = &h->dims[dim];
	const bool opposite = d->over ? r.value <= r.low && r.value < r.high : r.value >= r.high;

	d->known = true;
	d->seen_ms = now_ms;
	d->value = r.value;
	d->limit = r.high;
	d->streak = opposite ? d->streak + 1 : 0;
	if (d->streak >= s->samples) {
		d->over = !d->over;
		d->streak = 0;
	}
}

int health_dims_over(const struct health *h)
{
	for (int dim = 0; dim < HEALTH_DIM_N; dim++)
		if (h->dims[dim].over)
			return dim;
	return -1;
}

bool health_dims_calm(const struct health *h)
{
	for (int dim = 0; dim < HEALTH_DIM_N; dim++)
		if (h->dims[dim].over || h->dims[dim].streak)
			return false;
	return true;
}

void health_dims_describe(const struct health *h, int dim, char ret[HEALTH_DETAIL_MAX])
{
	static const char *const formats[HEALTH_DIM_N] = {
		[HEALTH_DIM_KV] = "kv cache %.3g of 1, limit %.3g",
		[HEALTH_DIM_GPU_MEMORY] = "gpu memory %.3g of 1, limit %.3g",
		[HEALTH_DIM_QUEUE] = "queue %.0f, limit %.0f by its pool",
		[HEALTH_DIM_LATENCY] = "latency %.0f ms, limit %.0f ms",
		[HEALTH_DIM_ABORTS] = "aborts %.3g/s, limit %.3g/s",
	};

	(void)snprintf(ret, HEALTH_DETAIL_MAX, formats[dim], h->dims[dim].value,
		       h->dims[dim].limit);
}

enum health_cause health_dims_cause(int dim)
{
	static const enum health_cause kinds[HEALTH_DIM_N] = {
		[HEALTH_DIM_KV] = HEALTH_CAUSE_KV,
		[HEALTH_DIM_GPU_MEMORY] = HEALTH_CAUSE_GPU_MEMORY,
		[HEALTH_DIM_QUEUE] = HEALTH_CAUSE_QUEUE,
		[HEALTH_DIM_LATENCY] = HEALTH_CAUSE_LATENCY,
		[HEALTH_DIM_ABORTS] = HEALTH_CAUSE_ABORTS,
	};

	return kinds[dim];
}

/* --- against the pool ------------------------------------------------------------------------- */

/*
 * What others are measured by: nodes that take new flows. One that drains, is degraded or warms up
 * has little to do, and a pool where half of them do would make the other half look overloaded.
 */
static bool is_measure(const struct health *h)
{
	return h->state == LB_STATE_HEALTHY;
}

/* n nodes are behind a median, this one perhaps among them: nobody is out of line alone. */
static bool has_others(const struct health *h, uint32_t n)
{
	return n > (is_measure(h) ? 1 : 0);
}

void health_dims_latency(struct health *h, const struct health_settings *s, double rtt_ms,
			 const struct health_pool *pool, int64_t now_ms)
{
	double high = INFINITY;

	if (s->latency_high_ms > 0)
		high = s->latency_high_ms;
	if (s->latency_outlier > 0 && pool && has_others(h, pool->n_latency))
		high = fmin(high, fmax(s->latency_outlier * pool->latency_median_ms,
				       s->latency_outlier_min_ms));
	score_ewma_add(&h->latency, rtt_ms);
	score_ewma_add(&h->latency_capped, fmin(rtt_ms, LATENCY_CAP * high));
	if (h->latency.n < LATENCY_MIN_PROBES)
		return;
	if (isinf(high)) {
		clear(h, HEALTH_DIM_LATENCY);
		return;
	}
	judge(h, s, HEALTH_DIM_LATENCY, (struct reading){h->latency_capped.value, high, high / 2},
	      now_ms);
	h->dims[HEALTH_DIM_LATENCY].value = h->latency.value;
}

static void judge_queue(struct health *h, const struct health_settings *s,
			const struct load_sample *sample, const struct health_pool *pool,
			uint32_t weight, int64_t now_ms)
{
	double high;

	if (s->queue_outlier <= 0 || !pool || !has_others(h, pool->n_queue)) {
		clear(h, HEALTH_DIM_QUEUE);
		return;
	}
	if (!load_has(sample, LOAD_QUEUE))
		return;
	high = s->queue_outlier * pool->queue_median * (weight ? weight : 1000) / 1000;
	high = fmax(high, fmax(s->queue_outlier_min, 1));
	judge(h, s, HEALTH_DIM_QUEUE, (struct reading){sample->queue, high, high / 2}, now_ms);
}

void health_dims_sample(struct health *h, const struct health_settings *s,
			const struct load_sample *sample, const struct health_pool *pool,
			uint32_t weight, int64_t now_ms)
{
	if (load_has(sample, LOAD_KV))
		judge(h, s, HEALTH_DIM_KV,
		      (struct reading){sample->kv, s->kv_high_ratio, s->kv_low_ratio}, now_ms);
	if (load_has(sample, LOAD_GPU_MEM)) /* at the limit is not over it */
		judge(h, s, HEALTH_DIM_GPU_MEMORY,
		      (struct reading){sample->gpu_mem, nextafter(s->gpu_memory_high_ratio, 2),
				       s->gpu_memory_low_ratio},
		      now_ms);
	judge_queue(h, s, sample, pool, weight, now_ms);
}

void health_dims_aborts(struct health *h, const struct health_settings *s, double climbed,
			int64_t now_ms)
{
	const int64_t since_ms = now_ms - h->aborts_ms;

	if (s->aborts_high <= 0 || since_ms <= 0)
		return;
	judge(h, s, HEALTH_DIM_ABORTS,
	      (struct reading){climbed * 1000 / since_ms, s->aborts_high, s->aborts_high / 2},
	      now_ms);
}

void health_pool_figures(const struct health_pool_member *members, uint32_t n, double *scratch,
			 struct health_pool *ret)
{
	*ret = (struct health_pool){0};
	for (uint32_t i = 0; i < n; i++) {
		const struct health_pool_member *m = &members[i];

		if (is_measure(m->health) && m->weight && m->sample &&
		    load_has(m->sample, LOAD_QUEUE))
			scratch[ret->n_queue++] = m->sample->queue * 1000 / m->weight;
	}
	if (ret->n_queue)
		ret->queue_median = score_median(scratch, ret->n_queue);
	for (uint32_t i = 0; i < n; i++) {
		const struct health *h = members[i].health;

		ret->n_moving += h->progress_known && h->progress_ms >= 0;
		if (is_measure(h) && members[i].weight && h->latency.n >= LATENCY_MIN_PROBES)
			scratch[ret->n_latency++] = h->latency.value;
	}
	if (ret->n_latency)
		ret->latency_median_ms = score_median(scratch, ret->n_latency);
}
