/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration -> running pools, nodes, VIPs: what is new is made, what changed is changed in
 * place, what is gone goes. agent_apply() itself is declared in agent.h.
 */
#ifndef SLUICE_AGENT_APPLY_H
#define SLUICE_AGENT_APPLY_H

#include "userspace/agent/agent.h"

/*
 * Bring the pool's nodes to what its configuration and its discovery name together: new ones are
 * made, others go. Returns 0; -errno with one line in err.
 */
int agent_apply_nodes(struct agent *agent, struct pool *pool, bool at_start, int64_t now_ms,
		      struct attach_error *err);

/* Have the node's next hop looked up and kept up to date. Returns 0; -ENOMEM. */
int agent_add_nexthop(struct agent *agent, struct node *node);

/* Hand the node's next hop, as last resolved, to the packet path. */
void agent_publish_nexthop(struct agent *agent, const struct node *node);

#endif
