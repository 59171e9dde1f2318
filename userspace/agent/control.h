/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HTTP+JSON on the agent's Unix socket: what it knows, and orders to it. For sluicectl, and for
 * `curl --unix-socket`.
 *
 *	GET  /v1/status		agent, interfaces, pools, VIPs, counters of what was lost
 *	GET  /v1/backends	every node with state, cause, weight, load, flows
 *	GET  /v1/backends/NAME	one node; NAME is "node" or "pool/node"
 *	GET  /v1/vips		every VIP with its pool and counters
 *	POST /v1/backends/NAME/drain		{"deadline_ms": N, "now": false} both optional
 *	POST /v1/backends/NAME/undrain
 *	POST /v1/backends/NAME/weight		{"weight": N}, or {"weight": null}: the file's again
 *	POST /v1/reload		answers with what it changed
 *	POST /v1/diff		a configuration file as the body: what a reload of it would change.
 *				It stands for the installed one: names of files are relative to that
 *	POST /v1/detach		stop forwarding, and the agent: {"result": "detached"}; or "left",
 *				when only root can take the program off, once the agent has ended
 *	GET  /metrics		Prometheus text
 *
 * Errors have a 4xx or 5xx status and {"error": "one line"}; a refused reload also
 * and a bad file {"errors": ["file:line:col: …"]}. Changes: {"effect": "live", "changes": […],
 * "lines": ["~ pool a: policy: p2c -> hash"]}, see config_diff.h.
 *
 * Runs in the agent's loop; requests are small and answered at once.
 */
#ifndef SLUICE_AGENT_CONTROL_H
#define SLUICE_AGENT_CONTROL_H

#include "userspace/agent/agent.h"

#define CONTROL_BODY_MAX 4096
#define CONTROL_CONNECTIONS_MAX 64
#define CONTROL_TIMEOUT_S 30 /* of a silent connection */

struct control;

/*
 * Listen on cfg->socket; a socket that no agent answers on is replaced. Returns 0; -EADDRINUSE if
 * another agent answers; -errno with one line in err.
 */
int control_new(struct agent *agent, struct control **ret, struct attach_error *err);
void control_free(struct control **c);

#endif
