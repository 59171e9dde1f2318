/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration -> running pools, nodes, VIPs: what is new is made, what changed is changed in
 * place, what is gone goes. agent_apply() itself is declared in agent.h.
 */
#ifndef SLUICE_AGENT_APPLY_H
#define SLUICE_AGENT_APPLY_H

#include "userspace/agent/agent.h"

/* Hand the node's next hop, as last resolved, to the packet path. */
void agent_publish_nexthop(struct agent *agent, const struct node *node);

#endif
