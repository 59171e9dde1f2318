/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Time -> the packet program on every interface it was attached to. Somebody takes it off, a driver
 * is loaded again, a device goes and comes back: it is noticed within INTERFACES_LOOK_MS, logged
 * once, exported, and put right where that can be done. `sluicectl detach` is the way to stop
 * forwarding; a program of somebody else is never replaced.
 */
#ifndef SLUICE_AGENT_INTERFACES_H
#define SLUICE_AGENT_INTERFACES_H

#include <stdint.h>

#include "userspace/agent/attach.h"

#define INTERFACES_LOOK_MS	1000
#define INTERFACES_LOOK_MAX_MS	30000 /* while it is taken off time and again, or kept off */
#define INTERFACES_CALM_MS	60000 /* without such a thing, the next one is the first again */

struct interfaces;

/* Returns 0 or -ENOMEM. a must outlive it. */
int interfaces_new(struct attach *a, struct interfaces **ret);

/* Accepts NULL inside; clears. Nothing is detached. */
void interfaces_free(struct interfaces **interfaces);

void interfaces_tick(struct interfaces *in, int64_t now_ms);

struct interfaces_state {
	const char *error;  /* "": the program runs there */
	uint64_t n_losses;  /* times it was found not to */
	uint64_t n_repairs; /* times it was attached again */
};

/* Of attach_status()[i]. */
struct interfaces_state interfaces_state(const struct interfaces *in, uint32_t i);

#endif
