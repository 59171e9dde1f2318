/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One call of health.h -> the events it is made of, each through the table of states, and what it
 * changed in the end. Shared by health.c and health_probe.c, and nobody else's business.
 */
#ifndef SLUICE_AGENT_HEALTH_STEP_H
#define SLUICE_AGENT_HEALTH_STEP_H

#include "userspace/agent/health.h"
#include "userspace/agent/health_table.h"

#define HEALTH_DETAIL_MAX 144 /* what an event has to tell; the table adds what it means */

/* From the state before the first event to that after the last. */
struct health_step {
	struct health *h;
	const struct health_settings *s;
	int64_t now_ms;
	enum lb_state state;
	enum lb_state under;
};

struct health_step health_step_begin(struct health *h, const struct health_settings *s,
				     int64_t now_ms);

/* Returns whether anything changed, with *ret filled in. */
bool health_step_end(const struct health_step *st, struct health_change *ret);

/* One event through the table; kind and detail say what the event was. */
void health_happen(const struct health_step *st, enum health_event event, enum health_cause kind,
		   const char *detail, ...) __attribute__((format(printf, 4, 5)));

/* What follows from all that is known by now: over a limit or not any more, warm, staying. */
void health_settle(const struct health_step *st);

/* It finishes its requests and takes no more: for now, or until it passes again. */
void health_leave(const struct health_step *st, bool until_pass);

/* Out for a while because it went in and out too often. */
bool health_is_held(const struct health *h, int64_t now_ms);
int64_t health_hold_ms(const struct health *h, const struct health_settings *s);

bool health_has_risen(const struct health *h, const struct health_settings *s);

/* By what the node itself does: works, degraded or draining included. */
bool health_is_up(enum lb_state under);

/* It may have live flows: it works, or did when the last agent saw it. */
bool health_may_serve(const struct health *h);

/* When it was heard of last, by a sample; before the first, since when one could have come. */
int64_t health_heard_ms(const struct health *h);

/* xorshift64 */
uint64_t health_random(uint64_t *state);
double health_random_ratio(uint64_t *state); /* 0 … 1 */

#endif
