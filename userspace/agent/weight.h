/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * States of a pool's members -> the capacity weights its table is built from.
 *
 * Pure: no clock, no I/O, no allocation, no logging. The weights depend on the members and the
 * memory only, not on the order of the members. Weights are thousandths of a full backend.
 */
#ifndef SLUICE_AGENT_WEIGHT_H
#define SLUICE_AGENT_WEIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/backend.h"

#define WEIGHT_TIERS_MAX 8

struct weight_settings {
	double standby_below_ratio; /* 0.5: the next tier joins when the healthy capacity of those
				       above is under this share of their whole */
	double standby_above_ratio; /* 0.7: and leaves when it is over this */
	double max_out_ratio;       /* 0.5: degradation may take out this share of the capacity of
				       the members that work */
	double change_ratio;        /* so much of the capacity may change a minute by degradation;
				       0: no limit */
};

struct weight_member {
	uint64_t identity;         /* as for maglev_build(); orders members of equal rank */
	enum lb_state state;       /* what counts: health.state */
	bool inferred;             /* draining by itself as far as its figures tell, neither ordered
				      nor said by it: counts as degraded for the panic limit, though
				      it takes no new flow unless in panic. A node that says so would
				      refuse what panic sends it */
	uint32_t capacity;         /* configured or set by the operator; 0: takes no new flow */
	uint32_t warm_permille;    /* health_warm_permille() */
	uint32_t degraded_percent; /* of its weight that it keeps while degraded; 0 … 100 */
	uint32_t adopted;          /* effective weight found at the start; counts while unknown */
	uint32_t tier;             /* 0: in use; more: standby; < WEIGHT_TIERS_MAX */
	uint32_t current;          /* effective weight in force: the last output for this member */
	bool was_degraded;         /* the last output's held_by_degradation */
};

/* Of one pool, kept between calls. Start from {0}. */
struct weight_memory {
	bool started;
	bool panic;
	uint32_t tiers;       /* tiers in use: 0 … tiers - 1 */
	double allowance;     /* thousandths that may still change now */
	int64_t allowance_ms; /* as of then */
};

struct weight_output {
	uint32_t weight;          /* effective, thousandths */
	bool held_by_degradation; /* weight is what degradation left, not what it could be */
	bool limited;             /* weight is on its way: the limit of change holds it back */
};

struct weight_verdict {
	bool panic;        /* too much is degraded: degraded members stay in */
	bool standby;      /* a tier over 0 is in use */
	bool empty;        /* no weight anywhere: slots point to "this host" */
	bool limited;      /* some change waits for the limit */
	uint32_t tiers;    /* in use */
	uint64_t capacity; /* thousandths: configured, of all tiers in use */
	uint64_t healthy;  /* thousandths: of those, what works and is not degraded */
	int64_t next_ms;   /* when to judge again if nothing else happens; INT64_MAX: never */
};

void weight_settings_default(struct weight_settings *ret);

/*
 * ret_outputs[0..n): in the order of members.
 * Failures, operator's orders, warming and tiers act at once; degradation and its end change at
 * most change_ratio of the capacity a minute (a bucket that holds one minute's worth).
 */
void weight_judge(const struct weight_settings *s, struct weight_memory *memory,
		  const struct weight_member *members, uint32_t n, int64_t now_ms,
		  struct weight_output *ret_outputs, struct weight_verdict *ret);

#endif
