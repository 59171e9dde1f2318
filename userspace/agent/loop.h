/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one place that waits: an sd-event loop with the agent's clock, signals and the service
 * manager's watchdog. Below it nothing reads a clock or sleeps.
 */
#ifndef SLUICE_AGENT_LOOP_H
#define SLUICE_AGENT_LOOP_H

#include "userspace/agent/agent.h"

/* A loop with SIGINT and SIGTERM (stop), SIGHUP (reload) blocked and routed to it. 0 or -errno. */
int loop_new(sd_event **ret_event);

/* Tick agent, obey signals, tell the service manager that it is ready. Returns when asked to stop:
 * 0, or -errno. */
int loop_run(sd_event *event, struct agent *agent);

/* End loop_run() after this round. */
void loop_stop(sd_event *event);

#endif
