/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What mode nat needs of the agent: which address flows to a node are sent from, that the packet
 * path knows these addresses when nodes answer, and which source ports it may take.
 */
#ifndef SLUICE_AGENT_NAT_H
#define SLUICE_AGENT_NAT_H

#include "userspace/agent/agent.h"

/* Ports of the configuration, or none if no pool has mode nat; addresses nobody sends from any
 * more are taken out of the index. Call after pools and nodes are in place. */
void nat_apply(struct agent *agent, const struct config *cfg);

/*
 * Source of flows to the node: one of nat.ipv4 or nat.ipv6, nodes taking turns, else the one that
 * the route prefers; family 0 as long as there is none. It is made known to the packet path.
 */
struct address nat_source(struct agent *agent, const struct node *node);

#endif
