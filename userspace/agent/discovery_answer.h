/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a source of nodes says, whichever it is: a list of targets. Filled by discovery_file.h and
 * discovery_dns.h, taken over by discovery.h.
 */
#ifndef SLUICE_AGENT_DISCOVERY_ANSWER_H
#define SLUICE_AGENT_DISCOVERY_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "userspace/lib/address.h"

#define DISCOVERY_ERROR_MAX 256

struct discovery_target {
	struct endpoint endpoint; /* port 0: the pool's */
	uint32_t weight;	  /* these three only if has_ says so */
	uint32_t tier;
	uint32_t slots;
	bool has_weight;
	bool has_tier;
	bool has_slots;
};

/* No endpoint twice; sorted by endpoint. Start from {0}. */
struct discovery_answer {
	struct discovery_target *targets;
	uint32_t n;
};

void discovery_answer_free(struct discovery_answer *answer);

/* Returns 0 or -ENOMEM. */
int discovery_answer_add(struct discovery_answer *answer, const struct discovery_target *target);

/*
 * Sort, and drop those that say an endpoint again. Returns the endpoint of the first that was
 * dropped, inside the answer and valid until it changes; NULL: there was none.
 */
const struct endpoint *discovery_answer_finish(struct discovery_answer *answer);

/* The target of that endpoint; NULL if there is none. */
const struct discovery_target *discovery_answer_find(const struct discovery_answer *answer,
						     const struct endpoint *endpoint);

#endif
