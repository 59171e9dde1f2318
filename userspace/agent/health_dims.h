/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Figures of one node, and of its pool -> in which dimensions it is over its limits. Each has two
 * limits and takes health_settings.samples values in a row to change. health.c makes states of it.
 */
#ifndef SLUICE_AGENT_HEALTH_DIMS_H
#define SLUICE_AGENT_HEALTH_DIMS_H

#include "userspace/agent/health.h"
#include "userspace/agent/health_step.h"

/* The time a probe took; one without an answer took the whole timeout. pool: NULL for none. */
void health_dims_latency(struct health *h, const struct health_settings *s, double rtt_ms,
			 const struct health_pool *pool, int64_t now_ms);

/* KV cache, GPU memory, queue; as health_sample(). */
void health_dims_sample(struct health *h, const struct health_settings *s,
			const struct load_sample *sample, const struct health_pool *pool,
			uint32_t weight, int64_t now_ms);

/* Requests aborted since h->aborts_ms. */
void health_dims_aborts(struct health *h, const struct health_settings *s, double climbed,
			int64_t now_ms);

/* A dimension that is not judged keeps what it says; one that is not heard of is forgotten. */
void health_dims_forget(struct health *h, const struct health_settings *s, int64_t now_ms);

/* The node went down: it begins anew. */
void health_dims_reset(struct health *h);

/* The first dimension that is over, or -1. */
int health_dims_over(const struct health *h);

/* No dimension is over, nor on its way there. */
bool health_dims_calm(const struct health *h);

/* "kv cache 0.97 of 1, limit 0.95" */
void health_dims_describe(const struct health *h, int dim, char ret[HEALTH_DETAIL_MAX]);
enum health_cause health_dims_cause(int dim);

#endif
