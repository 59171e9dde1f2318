/* SPDX-License-Identifier: BSD-2-Clause */
/* Case -> tables as the agent would have written them. */
#ifndef TESTS_PACKET_WORLD_H
#define TESTS_PACKET_WORLD_H

#include "tests/packet/runner.h"

/* Clears every table, then writes nodes, both VIPs and their slots. */
void world_build(struct runner *r, const struct packet_case *c);

/* Steps that are the agent's doing. */
void world_set_slots(struct runner *r, const struct packet_case *c, struct lb_slot slot);
void world_set_vip_flags(struct runner *r, uint32_t flags);
void world_fill(struct runner *r, enum entry_table table);

/* Time passed: the token buckets are refilled with the next packet. */
void world_refill(struct runner *r);

/* Buckets are refilled every 2^27 ns; go on in the first half of such a period of the real clock. */
void world_settle(struct runner *r);

/* Key of the flow from host's port to the VIP. family: 4 or 6. */
struct lb_flow_key world_key(enum host who, int family, int sport);

/* 4 or 6: family of the node's address. */
int node_family(enum host node);
int node_is_far(enum host node);
int gue_port_of(enum host node);

#endif
