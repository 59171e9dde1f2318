/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Time -> the packet program on every interface it was attached to. Somebody takes it off, a driver
 * is loaded again, a device goes and comes back: it is noticed within INTERFACES_LOOK_MS, logged
 * once, exported, and put right where that can be done and is wanted (`reattach`). `sluicectl detach` is
 * the way to stop forwarding; but who takes it off INTERFACES_REPAIRS times in a row means it, and it
 * stays off until a reload. A program of somebody else is never replaced.
 */
#ifndef SLUICE_AGENT_INTERFACES_H
#define SLUICE_AGENT_INTERFACES_H

#include <stdbool.h>
#include <stdint.h>

#include "userspace/agent/attach.h"

#define INTERFACES_LOOK_MS	1000
#define INTERFACES_LOOK_MAX_MS	30000 /* while it cannot be attached */
#define INTERFACES_CALM_MS	60000 /* without such a thing, the next one is the first again */
#define INTERFACES_REPAIRS	3     /* that are undone within so long of each other */

struct interfaces;

/* Returns 0 or -ENOMEM. a must outlive it. */
int interfaces_new(struct attach *a, struct interfaces **ret);

/* Accepts NULL inside; clears. Nothing is detached. */
void interfaces_free(struct interfaces **interfaces);

/* What is wanted of them, at the start and after a reload; list must live on until the next call. */
void interfaces_apply(struct interfaces *in, const struct config_interface *list, uint32_t n);

/* Whether one is off that only root can put right, by the last two looks, and is to be. */
bool interfaces_need_root(const struct interfaces *in);

void interfaces_tick(struct interfaces *in, int64_t now_ms);

struct interfaces_state {
	const char *error;  /* "": the program runs there */
	uint64_t n_losses;  /* times it was found not to */
	uint64_t n_repairs; /* times it was attached again */
};

/* Of attach_status()[i]. */
struct interfaces_state interfaces_state(const struct interfaces *in, uint32_t i);

#endif
