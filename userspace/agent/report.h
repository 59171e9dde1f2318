/* SPDX-License-Identifier: BSD-2-Clause */
/* What the agent knows -> JSON for the control socket. New references, NULL when out of memory. */
#ifndef SLUICE_AGENT_REPORT_H
#define SLUICE_AGENT_REPORT_H

#include <jansson.h>

#include "userspace/agent/agent.h"

json_t *report_node(const struct node *node, int64_t now_ms);
json_t *report_nodes(const struct agent *agent, int64_t now_ms);
json_t *report_vips(const struct agent *agent);
json_t *report_status(const struct agent *agent, int64_t now_ms);

#endif
