/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Capacity weights of a pool's members -> for each slot its backend and its second choice.
 *
 * Pure: no clock, no I/O. The tables depend on the members' identities, weights and backend ids,
 * not on their order, and which member gets a slot does not depend on the ids: every ingress host
 * with the same nodes computes the same tables.
 */
#ifndef SLUICE_AGENT_MAGLEV_H
#define SLUICE_AGENT_MAGLEV_H

#include <stddef.h>
#include <stdint.h>

#define MAGLEV_SLOTS_MAX  65537
#define MAGLEV_WEIGHT_MAX 1000000u /* thousandths: a thousand full backends */

struct maglev_member {
	uint64_t identity; /* maglev_identity() of what the node is everywhere; distinct */
	uint32_t weight;   /* thousandths of a full backend; 0 takes no new flow */
	uint16_t id;       /* backend id, not 0 */
};

/*
 * Bytes that name a node on every host alike (its address; with its port if two nodes share an
 * address) -> 64-bit identity. Byte by byte, so that byte order does not matter. Not keyed: the
 * nodes are the operator's, not an adversary's.
 */
uint64_t maglev_identity(const void *bytes, size_t len);

/*
 * Fill ret_cur[0..n_slots) and ret_alt[0..n_slots) with backend ids.
 *
 * ret_cur: each member's share of the slots is its weight's share. Of 65537 slots, 100 equal
 * members are off by 0.9 % at most, 1000 by two slots. A member with a weight has at least one
 * slot as long as there are no more than n_slots / 4 members.
 * When one of 100 members goes, 0.5 % of the slots move beyond its own; when a weight changes, what
 * its share gains or loses, and as little beyond it.
 * ret_alt: the second choice, from a second permutation: never the one in ret_cur, and the others
 * of the pool in proportion to their weights. All 0 (none) if only one member has a weight.
 *
 * n_slots: a prime, 3 … MAGLEV_SLOTS_MAX. n_members <= 65535.
 * Returns 0; -EINVAL if n_slots is not such a prime, n_members is too many, an id is 0 or a weight
 * over MAGLEV_WEIGHT_MAX; -ENODATA if no member has a weight; -ENOMEM.
 * The outputs are unchanged on failure.
 * Source: Maglev, NSDI 2016, section 3.4. Turns by weight, the bound on a turn's probes and the
 * second choice are ours.
 */
int maglev_build(const struct maglev_member *members, uint32_t n_members, uint32_t n_slots,
		 uint16_t *ret_cur, uint16_t *ret_alt);

#endif
