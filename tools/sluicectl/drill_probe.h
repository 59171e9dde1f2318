/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * URLs -> does the service hold? A thread asks them in turn, each over a connection of its own, and
 * counts the answers; 2xx is good.
 */
#ifndef SLUICECTL_DRILL_PROBE_H
#define SLUICECTL_DRILL_PROBE_H

#include <stdint.h>

#include "tools/sluicectl/drill_plan.h"

struct drill_probe;

struct drill_probe_stats {
	uint64_t sent; /* that ended */
	uint64_t failed;
	int64_t worst_ms; /* of those that did not fail */
	char first_error[DRILL_ERROR_MAX]; /* "" if none failed */
};

/* plan must outlive it. Returns 0; -ENOMEM; -errno. */
int drill_probe_start(const struct drill_plan *plan, struct drill_probe **ret);

/* Waits for the request under way. Accepts NULL inside; clears. */
void drill_probe_stop(struct drill_probe **probe);

/* Accepts NULL: nothing was asked. */
void drill_probe_stats(struct drill_probe *probe, struct drill_probe_stats *ret_stats);

#endif
