/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two answers of /v1/backends, some time apart -> what each node got a second in between.
 *
 * Each object of the result: pool, name, state, effective_weight, queue, running and kv as in the later
 * answer, and new_flows_per_s, packets_per_s, bits_per_s, share: the node's part of its pool's new
 * flows, null if there were none. A node that is new, or whose counters began anew, has 0. Nodes keep
 * their order. Returns an array (the caller's); NULL without memory.
 */
#ifndef SLUICECTL_TOP_RATES_H
#define SLUICECTL_TOP_RATES_H

#include <jansson.h>

json_t *top_rates(const json_t *before, const json_t *after, double seconds);

#endif
