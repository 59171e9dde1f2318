/* SPDX-License-Identifier: BSD-2-Clause */
/* What agent.c and reload.c share. */
#ifndef SLUICE_AGENT_AGENT_PRIV_H
#define SLUICE_AGENT_AGENT_PRIV_H

#include "userspace/agent/agent.h"

/*
 * Programs to the interfaces that cfg names. With dataplane dpdk, sluice-dpdk has the devices, and
 * none gets a program.
 */
int agent_attach(struct agent *agent, const struct config *cfg, struct attach_error *err);

/*
 * Looking into libxdp's dispatcher takes CAP_SYS_ADMIN, which the agent gave up: what is in it
 * stays as it is until the next start.
 */
bool agent_is_locked(const struct agent *agent);

/* Watches the configuration's file, or no longer, as it says itself. */
void agent_watch_config(struct agent *agent);

#endif
