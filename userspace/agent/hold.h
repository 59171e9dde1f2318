/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What dataplane.h sees, brought to the agent: said once, and to each check that it concerns; and
 * what nodes on the same way say of each other's silence (silence.h).
 */
#ifndef SLUICE_AGENT_HOLD_H
#define SLUICE_AGENT_HOLD_H

#include "userspace/agent/agent.h"
#include "userspace/agent/node.h"

/* Before cfg is applied: its nodes are not judged by what no worker carries. */
void hold_start(struct agent *agent, const struct config *cfg, int64_t now_ms);

/*
 * Every tick. Is sluice-dpdk at work? A change is logged. While it is not, time stands still for
 * the judgement of nodes behind it. Nothing to look at with XDP.
 */
void hold_step(struct agent *agent, int64_t now_ms);

/*
 * Returns when no packet sees memory as it was before the call. For publish_new(); userdata: the
 * agent. Milliseconds to tens of them, as a rule; up to ROUNDS_LEASE_TICKS (10 s) beside a worker
 * that stands still or was just killed. The tables do not look deserted meanwhile.
 */
void hold_until_quiet(void *userdata);

/*
 * Every result of a check: was there no word from a node behind workers, while they may not have
 * been at work?
 */
bool hold_excuses(const struct node *node, const struct probe_result *res);

/*
 * Every result of a check that is not excused: what it says of the node, and of the way to it, is
 * remembered. Was there no word, and may that be the fault of the way (silence.h)?
 */
bool hold_doubts(struct node *node, const struct probe_result *res);

/* Nodes that would be down, if it were not the way that may be to blame for their silence. */
uint32_t hold_doubted(const struct agent *agent);

/* Every result of a scrape: what it says of the way is remembered. */
void hold_hear_page(struct node *node, const struct probe_result *res);

#endif
