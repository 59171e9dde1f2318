/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When is a node that drains empty? Flow entries, what its server says, packets -> done or not.
 *
 * A connection that has sent nothing since the drain began has no entry yet, and may be a request that
 * is being worked on. The server's own figure tells; where there is none (presets without metrics, a
 * stale page, one that counts the waiting only) a missing figure is not zero, and what is left to go
 * by is silence: NODE_DRAIN_SILENCE_MS without a packet to the node, or flow_idle if that is shorter.
 * It is twice the interval of keep-alives that is usual in clients (curl, OpenAI's), where they are on.
 */
#ifndef SLUICE_AGENT_NODE_DRAIN_H
#define SLUICE_AGENT_NODE_DRAIN_H

#include "userspace/agent/node.h"

#define NODE_DRAIN_SILENCE_MS (2 * 60 * 1000)

/* Running + waiting as last sampled. Returns false if the node's server does not say, or its
 * sample is too old. */
bool node_requests(const struct node *node, int64_t now_ms, double *ret_requests);

/* Flows with an entry that names the node, as of the last complete scan; closing ones not counted. */
uint32_t node_live_flows(const struct node *node);

/* How long nothing may go to the node before it counts as empty; 0: that is known otherwise. */
int64_t node_drain_silence_ms(const struct node *node, int64_t now_ms);

/*
 * A deadline that passes; what node_is_drained() goes by. Once a tick, whatever the state. A node that
 * seems empty at its deadline gets the rest of the second that it takes to be sure of it.
 */
void node_drain_tick(struct node *node, int64_t now_ms);

/* "nothing", "work", "unknown"; NULL for none. */
const char *node_cut_name(enum node_cut cut);

/* Draining, and empty for a second; or in maintenance. */
bool node_is_drained(const struct node *node, int64_t now_ms);

#endif
