/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a node does by itself, and what happens to it -> what it does next, and why.
 *
 * The one table of states; health.c turns probes, samples and the clock into its events. The
 * operator's orders are laid over it and do not change it, so that an undrain finds the node as it
 * is by then. Pure.
 */
#ifndef SLUICE_AGENT_HEALTH_TABLE_H
#define SLUICE_AGENT_HEALTH_TABLE_H

#include "maps/backend.h"

/* Enumerators start at 1, so that a forgotten cell reads 0 and trips an assertion. */
enum health_event {
	HEALTH_EV_PASS = 1,  /* a probe passed, less than `rise` in a row */
	HEALTH_EV_PASS_COLD, /* likewise, and the node has not worked as far as this host knows */
	HEALTH_EV_RISE,      /* a probe passed, `rise` or more in a row */
	HEALTH_EV_NOT_YET,   /* it loads or refuses, and has not worked since first seen */
	HEALTH_EV_FAIL,      /* a probe failed, less than `fall` in a row */
	HEALTH_EV_FALL,      /* a probe failed, and that is enough */
	HEALTH_EV_HUNG,      /* requests run, nothing progresses */
	HEALTH_EV_RAMPED,    /* the ramp of warming is over */
	HEALTH_EV_OVER,      /* some dimension is over its limit */
	HEALTH_EV_RELIEVED,  /* none is any more */
	HEALTH_EV_RELIEVED_COLD, /* likewise, and the ramp of warming is not over */
	HEALTH_EV_LEAVING,       /* it drains by itself: finishes its requests, takes no new ones */
	HEALTH_EV_STAYING,       /* it does so no more */
	HEALTH_EV_N,
};

struct health_cell {
	enum lb_state to;
	const char *why; /* of a change; NULL where the state stays */
};

/* from: LB_STATE_UNKNOWN … LB_STATE_UNHEALTHY, or LB_STATE_DRAINING (by itself). */
const struct health_cell *health_table_next(enum lb_state from, enum health_event event);

/* Order (LB_STATE_NONE, _DRAINING, _MAINTENANCE) over what the node does -> what counts. */
enum lb_state health_table_shown(enum lb_state order, enum lb_state under);

#endif
