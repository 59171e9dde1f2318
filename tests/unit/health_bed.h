/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of health.c share: one node, its clock, and shorthands for what befalls it. */
#ifndef SLUICE_TESTS_HEALTH_BED_H
#define SLUICE_TESTS_HEALTH_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "userspace/agent/health.h"
#include "userspace/agent/health_table.h"
#include "userspace/lib/cleanup.h"

struct node {
	struct health h;
	struct health_settings s;
	int64_t now_ms;
	struct health_change change;
	bool changed;
	const struct health_pool *pool;
	struct load_sample sample;
};

static inline struct node begin(enum health_origin origin, enum lb_state adopted)
{
	struct node n = {.now_ms = 1000000};
	struct health_start start = {.seed = 7, .origin = origin, .adopted = adopted};

	health_settings_default(&n.s);
	health_init(&n.h, &n.s, &start, n.now_ms);
	return n;
}

static inline void probe_of(struct node *n, enum health_result result, uint32_t status,
			    double rtt_ms)
{
	struct health_probe probe = {
		.result = result, .http_status = status, .rtt_ms = rtt_ms, .started_ms = n->now_ms};

	if (result == HEALTH_ANSWER_TIMEOUT)
		n->now_ms += n->s.timeout_ms;
	n->changed = health_probe(&n->h, &n->s, &probe, n->pool, n->now_ms, &n->change);
}

static inline void probe(struct node *n, enum health_result result)
{
	probe_of(n, result, result == HEALTH_STATUS_LOADING ? 503 : 0, 2);
}

/* n results, each a second after the one before. */
static inline void probes(struct node *n, enum health_result result, int times)
{
	for (int i = 0; i < times; i++) {
		n->now_ms += 1000;
		probe(n, result);
	}
}

static inline void sample(struct node *n)
{
	n->changed = health_sample(&n->h, &n->s, &n->sample, n->pool, 1000, n->now_ms, &n->change);
}

static inline void samples(struct node *n, int times)
{
	for (int i = 0; i < times; i++) {
		n->now_ms += 500;
		sample(n);
	}
}

static inline void tick(struct node *n, int64_t after_ms)
{
	n->now_ms += after_ms;
	n->changed = health_tick(&n->h, &n->s, n->now_ms, &n->change);
}

static inline void order(struct node *n, enum lb_state order_state)
{
	n->changed = health_order(&n->h, &n->s, order_state, n->now_ms, &n->change);
}

static inline uint32_t permille(const struct node *n)
{
	return health_warm_permille(&n->h, &n->s, n->now_ms);
}

static inline struct node healthy(void)
{
	struct node n = begin(HEALTH_ORIGIN_START, LB_STATE_NONE);

	probes(&n, HEALTH_PASS, 2);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	return n;
}

static inline struct node down(void)
{
	struct node n = healthy();

	probes(&n, HEALTH_GARBAGE, 3);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	return n;
}

static inline struct node degraded(void)
{
	struct node n = healthy();

	load_set(&n.sample, LOAD_KV, 0.97);
	samples(&n, 3);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	return n;
}

#define assert_cause(n, part) assert_non_null(strstr((n)->change.cause, part))

/* Samples every half second for `ms`, the progress counter moving by `speed` each. */
static inline void work(struct node *n, int64_t ms, double running, double speed)
{
	load_set(&n->sample, LOAD_RUNNING, running);
	for (int64_t t = 0; t < ms; t += 500) {
		load_set(&n->sample, LOAD_PROGRESS, n->sample.progress + speed);
		samples(n, 1);
	}
}

#endif
