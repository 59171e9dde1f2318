/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/health_table.h"

#include <assert.h>
#include <stddef.h>

#define STATE_N (LB_STATE_MAINTENANCE + 1)

#define STAY(state)                                                                                \
	{                                                                                          \
		LB_STATE_##state, NULL                                                             \
	}
#define GO(state, why)                                                                             \
	{                                                                                          \
		LB_STATE_##state, why                                                              \
	}

static const struct health_cell next[STATE_N][HEALTH_EV_N] = {
	[LB_STATE_UNKNOWN] = {
		[HEALTH_EV_PASS]	  = STAY(UNKNOWN),
		[HEALTH_EV_PASS_COLD]	  = GO(WARMING, "answers for the first time"),
		[HEALTH_EV_RISE]	  = GO(HEALTHY, "works"),
		[HEALTH_EV_NOT_YET]	  = GO(LOADING, "is not ready yet"),
		[HEALTH_EV_FAIL]	  = STAY(UNKNOWN),
		[HEALTH_EV_FALL]	  = GO(UNHEALTHY, "is down"),
		[HEALTH_EV_HUNG]	  = GO(UNHEALTHY, "hangs"),
		[HEALTH_EV_RAMPED]	  = STAY(UNKNOWN),
		[HEALTH_EV_OVER]	  = GO(DEGRADED, "works, degraded"),
		[HEALTH_EV_RELIEVED]	  = STAY(UNKNOWN),
		[HEALTH_EV_RELIEVED_COLD] = STAY(UNKNOWN),
		[HEALTH_EV_LEAVING]	  = GO(DRAINING, "drains by itself"),
		[HEALTH_EV_STAYING]	  = STAY(UNKNOWN),
	},
	[LB_STATE_LOADING] = {
		[HEALTH_EV_PASS]	  = GO(WARMING, "has loaded"),
		[HEALTH_EV_PASS_COLD]	  = GO(WARMING, "has loaded"),
		[HEALTH_EV_RISE]	  = GO(WARMING, "has loaded"),
		[HEALTH_EV_NOT_YET]	  = STAY(LOADING),
		[HEALTH_EV_FAIL]	  = STAY(LOADING),
		[HEALTH_EV_FALL]	  = GO(UNHEALTHY, "is down"),
		[HEALTH_EV_HUNG]	  = STAY(LOADING),
		[HEALTH_EV_RAMPED]	  = STAY(LOADING),
		[HEALTH_EV_OVER]	  = STAY(LOADING),
		[HEALTH_EV_RELIEVED]	  = STAY(LOADING),
		[HEALTH_EV_RELIEVED_COLD] = STAY(LOADING),
		[HEALTH_EV_LEAVING]	  = STAY(LOADING),
		[HEALTH_EV_STAYING]	  = STAY(LOADING),
	},
	[LB_STATE_WARMING] = {
		[HEALTH_EV_PASS]	  = STAY(WARMING),
		[HEALTH_EV_PASS_COLD]	  = STAY(WARMING),
		[HEALTH_EV_RISE]	  = STAY(WARMING),
		[HEALTH_EV_NOT_YET]	  = GO(LOADING, "is not ready yet"),
		[HEALTH_EV_FAIL]	  = STAY(WARMING),
		[HEALTH_EV_FALL]	  = GO(UNHEALTHY, "is down again"),
		[HEALTH_EV_HUNG]	  = GO(UNHEALTHY, "hangs"),
		[HEALTH_EV_RAMPED]	  = GO(HEALTHY, "is warm"),
		[HEALTH_EV_OVER]	  = GO(DEGRADED, "is degraded"),
		[HEALTH_EV_RELIEVED]	  = STAY(WARMING),
		[HEALTH_EV_RELIEVED_COLD] = STAY(WARMING),
		[HEALTH_EV_LEAVING]	  = GO(DRAINING, "drains by itself"),
		[HEALTH_EV_STAYING]	  = STAY(WARMING),
	},
	[LB_STATE_HEALTHY] = {
		[HEALTH_EV_PASS]	  = STAY(HEALTHY),
		[HEALTH_EV_PASS_COLD]	  = STAY(HEALTHY),
		[HEALTH_EV_RISE]	  = STAY(HEALTHY),
		[HEALTH_EV_NOT_YET]	  = STAY(HEALTHY),
		[HEALTH_EV_FAIL]	  = STAY(HEALTHY),
		[HEALTH_EV_FALL]	  = GO(UNHEALTHY, "is down"),
		[HEALTH_EV_HUNG]	  = GO(UNHEALTHY, "hangs"),
		[HEALTH_EV_RAMPED]	  = STAY(HEALTHY),
		[HEALTH_EV_OVER]	  = GO(DEGRADED, "is degraded"),
		[HEALTH_EV_RELIEVED]	  = STAY(HEALTHY),
		[HEALTH_EV_RELIEVED_COLD] = STAY(HEALTHY),
		[HEALTH_EV_LEAVING]	  = GO(DRAINING, "drains by itself"),
		[HEALTH_EV_STAYING]	  = STAY(HEALTHY),
	},
	[LB_STATE_DEGRADED] = {
		[HEALTH_EV_PASS]	  = STAY(DEGRADED),
		[HEALTH_EV_PASS_COLD]	  = STAY(DEGRADED),
		[HEALTH_EV_RISE]	  = STAY(DEGRADED),
		[HEALTH_EV_NOT_YET]	  = STAY(DEGRADED),
		[HEALTH_EV_FAIL]	  = STAY(DEGRADED),
		[HEALTH_EV_FALL]	  = GO(UNHEALTHY, "is down"),
		[HEALTH_EV_HUNG]	  = GO(UNHEALTHY, "hangs"),
		[HEALTH_EV_RAMPED]	  = STAY(DEGRADED),
		[HEALTH_EV_OVER]	  = STAY(DEGRADED),
		[HEALTH_EV_RELIEVED]	  = GO(HEALTHY, "has recovered"),
		[HEALTH_EV_RELIEVED_COLD] = GO(WARMING, "has recovered, warms up on"),
		[HEALTH_EV_LEAVING]	  = GO(DRAINING, "drains by itself"),
		[HEALTH_EV_STAYING]	  = STAY(DEGRADED),
	},
	[LB_STATE_UNHEALTHY] = {
		[HEALTH_EV_PASS]	  = GO(WARMING, "answers again"),
		[HEALTH_EV_PASS_COLD]	  = GO(WARMING, "answers again"),
		[HEALTH_EV_RISE]	  = GO(WARMING, "answers again"),
		[HEALTH_EV_NOT_YET]	  = STAY(UNHEALTHY),
		[HEALTH_EV_FAIL]	  = STAY(UNHEALTHY),
		[HEALTH_EV_FALL]	  = STAY(UNHEALTHY),
		[HEALTH_EV_HUNG]	  = STAY(UNHEALTHY),
		[HEALTH_EV_RAMPED]	  = STAY(UNHEALTHY),
		[HEALTH_EV_OVER]	  = STAY(UNHEALTHY),
		[HEALTH_EV_RELIEVED]	  = STAY(UNHEALTHY),
		[HEALTH_EV_RELIEVED_COLD] = STAY(UNHEALTHY),
		[HEALTH_EV_LEAVING]	  = STAY(UNHEALTHY),
		[HEALTH_EV_STAYING]	  = STAY(UNHEALTHY),
	},
	[LB_STATE_DRAINING] = {
		[HEALTH_EV_PASS]	  = STAY(DRAINING),
		[HEALTH_EV_PASS_COLD]	  = STAY(DRAINING),
		[HEALTH_EV_RISE]	  = STAY(DRAINING),
		[HEALTH_EV_NOT_YET]	  = STAY(DRAINING),
		[HEALTH_EV_FAIL]	  = STAY(DRAINING),
		[HEALTH_EV_FALL]	  = GO(UNHEALTHY, "is down"),
		[HEALTH_EV_HUNG]	  = GO(UNHEALTHY, "hangs"),
		[HEALTH_EV_RAMPED]	  = STAY(DRAINING),
		[HEALTH_EV_OVER]	  = STAY(DRAINING),
		[HEALTH_EV_RELIEVED]	  = STAY(DRAINING),
		[HEALTH_EV_RELIEVED_COLD] = STAY(DRAINING),
		[HEALTH_EV_LEAVING]	  = STAY(DRAINING),
		[HEALTH_EV_STAYING]	  = GO(WARMING, "takes requests again"),
	},
};

/* A dead node is shown dead though it drains: its flows are to be reset, not waited for. */
static const enum lb_state shown[STATE_N][STATE_N] = {
	[LB_STATE_NONE] = {
		[LB_STATE_UNKNOWN]   = LB_STATE_UNKNOWN,
		[LB_STATE_LOADING]   = LB_STATE_LOADING,
		[LB_STATE_WARMING]   = LB_STATE_WARMING,
		[LB_STATE_HEALTHY]   = LB_STATE_HEALTHY,
		[LB_STATE_DEGRADED]  = LB_STATE_DEGRADED,
		[LB_STATE_UNHEALTHY] = LB_STATE_UNHEALTHY,
		[LB_STATE_DRAINING]  = LB_STATE_DRAINING,
	},
	[LB_STATE_DRAINING] = {
		[LB_STATE_UNKNOWN]   = LB_STATE_DRAINING,
		[LB_STATE_LOADING]   = LB_STATE_DRAINING,
		[LB_STATE_WARMING]   = LB_STATE_DRAINING,
		[LB_STATE_HEALTHY]   = LB_STATE_DRAINING,
		[LB_STATE_DEGRADED]  = LB_STATE_DRAINING,
		[LB_STATE_UNHEALTHY] = LB_STATE_UNHEALTHY,
		[LB_STATE_DRAINING]  = LB_STATE_DRAINING,
	},
	[LB_STATE_MAINTENANCE] = {
		[LB_STATE_UNKNOWN]   = LB_STATE_MAINTENANCE,
		[LB_STATE_LOADING]   = LB_STATE_MAINTENANCE,
		[LB_STATE_WARMING]   = LB_STATE_MAINTENANCE,
		[LB_STATE_HEALTHY]   = LB_STATE_MAINTENANCE,
		[LB_STATE_DEGRADED]  = LB_STATE_MAINTENANCE,
		[LB_STATE_UNHEALTHY] = LB_STATE_MAINTENANCE,
		[LB_STATE_DRAINING]  = LB_STATE_MAINTENANCE,
	},
};

const struct health_cell *health_table_next(enum lb_state from, enum health_event event)
{
	const struct health_cell *cell;

	assert(from > LB_STATE_NONE && from < STATE_N);
	assert(event > 0 && event < HEALTH_EV_N);
	cell = &next[from][event];
	assert(cell->to != LB_STATE_NONE);
	assert((cell->to == from) == (cell->why == NULL));
	return cell;
}

enum lb_state health_table_shown(enum lb_state order, enum lb_state under)
{
	enum lb_state state;

	assert(order < STATE_N);
	assert(under < STATE_N);
	state = shown[order][under];
	assert(state != LB_STATE_NONE);
	return state;
}
