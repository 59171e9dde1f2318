/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HTTP on metrics.listen, for Prometheus and for a look with a browser. Read only.
 *
 *	GET /		status_page.h
 *	GET /metrics	export.h
 *	GET /healthy	200 while the agent's loop runs
 *
 * What cannot be listened on (the port is taken) is logged and tried again; the agent goes on
 * without. A reload that names another address is followed within EXPORT_FOLLOW_MS.
 */
#ifndef SLUICE_AGENT_EXPORT_SERVER_H
#define SLUICE_AGENT_EXPORT_SERVER_H

#include <microhttpd.h>

#include "userspace/agent/agent.h"

#define EXPORT_FOLLOW_MS	 1000
#define EXPORT_RETRY_MS		 5000
#define EXPORT_CONNECTIONS_MAX 32
#define EXPORT_TIMEOUT_S	 15 /* of a silent connection */

struct export_server;

/* agent must outlive it. Returns 0, also if nothing can be listened on yet; -errno with one line in
 * err. */
int export_server_new(struct agent *agent, struct export_server **ret, struct attach_error *err);
void export_server_free(struct export_server **server); /* accepts NULL inside; clears */

/* Queue the page of metrics as the answer on conn. */
enum MHD_Result export_server_answer(const struct agent *agent, struct MHD_Connection *conn);

#endif
