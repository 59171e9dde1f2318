/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Weights -> the schedule of a round robin: backend ids in the order in which they are served.
 *
 * Spread, not in runs: of the first t of W turns a member with w of them has tw/W, rounded down or
 * up, for every t. For that its turn k (from 0) must lie between kW/w, rounded down, and (k + 1)W/w,
 * rounded up; of the turns that may begin, the one that must end first is next.
 * O(W log members).
 *
 * Source: Baruah, Cohen, Plaxton, Varvel, "Proportionate Progress", Algorithmica 15 (1996).
 */
#ifndef SLUICE_AGENT_TURNS_H
#define SLUICE_AGENT_TURNS_H

#include <stdint.h>

#include "maps/table.h"

struct turns_member {
	uint16_t backend;
	uint32_t weight; /* any unit; 0: no turn */
};

enum turns_kind {
	TURNS_PLAIN = 1, /* one turn for every weight but 0 */
	TURNS_WEIGHTED = 2,
};

/*
 * Weights are reduced by their common divisor, and scaled to LB_TURNS_MAX turns if their sum is
 * higher (every member with a weight keeps a turn). Returns the number of turns, which is 0 if no
 * member has a weight; -E2BIG if there are more such members than LB_TURNS_MAX; -ENOMEM.
 */
int turns_build(const struct turns_member *members, uint32_t n, enum turns_kind kind,
		uint16_t ret_turns[LB_TURNS_MAX]);

#endif
