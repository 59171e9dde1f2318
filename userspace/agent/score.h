/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Load samples -> the load of each node of a pool, as new flows are chosen by
 * (DESIGN: "Choosing a backend for a new flow").
 *
 * Pure: no clock, no I/O, no allocation. Times are milliseconds of the monotonic clock; a value
 * that was not in a sample is absent, which is not zero.
 */
#ifndef SLUICE_AGENT_SCORE_H
#define SLUICE_AGENT_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#include "userspace/agent/metrics.h" /* struct load_sample, enum load_field: LOAD_GPU_MEM … */

static inline bool load_has(const struct load_sample *sample, enum load_field field)
{
	return sample->has & LOAD_HAS(field);
}

static inline void load_set(struct load_sample *sample, enum load_field field, double value)
{
	sample->has |= LOAD_HAS(field);
	sample->value[field] = value;
}

struct score_settings {
	int64_t stale_ms; /* an older sample is stale; > 0. DESIGN: max(3 scrapes, 2 s) */
	double hot_ratio; /* of its slots running: hot. DESIGN: 0.9 */
	uint32_t slots;   /* requests the node runs at once; 0: as its page says, or learned */
};

/* One node's load. Start with score_init(); fields are private to score.c but for reading. */
struct score_node {
	int64_t sample_ms;     /* when the scrape behind the sample began; -1: never one */
	int64_t scrape_ms;     /* begin of the scrape under way; -1: none */
	uint32_t inc_at_begin; /* what this host had added when it began */
	double queue;          /* of the sample; 0 if it did not say */
	double running;        /* likewise */
	double given_slots;    /* that the sample told; 0: it did not */
	double learned_slots;  /* the most it ran while some waited; 0: not learned yet */
	double progress;       /* of the sample, to see a restart; < 0: none */
	bool counted;          /* the sample had queue or running */
};

enum score_source {
	SCORE_FRESH = 1, /* its own sample */
	SCORE_MEDIAN,    /* its sample is stale or none: the pool's median */
	SCORE_IGNORED,   /* the whole pool's are: choose by hash (LB_LOAD_F_IGNORE) */
};

struct score {
	uint32_t base; /* running + waiting requests */
	bool hot;      /* requests wait there, or its slots are nearly full */
	enum score_source source;
	int64_t age_ms; /* of the sample; -1: never one */
};

/* One member of a pool, as score_pool() reads it. */
struct score_member {
	const struct score_node *node;
	const struct score_settings *settings;
	uint32_t weight; /* effective, thousandths; 0: not counted for the median */
};

void score_init(struct score_node *node);

/* It went down: what it ran then is not its load when it is back, nor its slots. */
void score_forget(struct score_node *node);

/*
 * A scrape is sent: inc is what the packet path has added for this node so far (sum of CPUs).
 * What is added from now on is not in the sample that comes back, and must stay.
 */
void score_scrape_begin(struct score_node *node, uint32_t inc, int64_t now_ms);

/*
 * Its answer came. *ret_subtract: how much to take from the node's inc, in the same publication
 * that sets the new base (do not zero it). A sample with neither LOAD_QUEUE nor LOAD_RUNNING is
 * none: as score_scrape_abandon().
 * A node that has no such numbers at all (presets ollama and tcp) is fed its live flows as
 * LOAD_RUNNING, begin and end in one go; everything added so far is then subtracted.
 */
void score_scrape_end(struct score_node *node, const struct score_settings *s,
		      const struct load_sample *sample, uint32_t *ret_subtract);

/*
 * It failed or timed out: the old sample ages, and what was added since belongs to it. Once that
 * sample is stale the pool's median stands in for it, which is as new as this scrape: then, too,
 * what was added before has to be subtracted, or the node would look ever fuller and starve.
 */
void score_scrape_abandon(struct score_node *node, const struct score_settings *s,
			  uint32_t *ret_subtract);

/*
 * ret_scores[0..n): the loads to publish, in the order of members. A stale sample becomes the
 * pool's median load per weight, times the node's own weight; if no sample of a member with weight
 * is fresh, all are SCORE_IGNORED with base 0. scratch: room for n doubles.
 */
void score_pool(const struct score_member *members, uint32_t n, int64_t now_ms, double *scratch,
		struct score *ret_scores);

/* Exponentially weighted moving average that is right from the first value on. */
struct score_ewma {
	double value;
	uint32_t n; /* values seen, up to a cap; 0: value means nothing */
};

/* Half-life of about 4 values. */
void score_ewma_add(struct score_ewma *ewma, double value);

/* Lower median of values[0..n), n > 0. Reorders values. */
double score_median(double *values, uint32_t n);

#endif
