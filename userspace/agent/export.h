/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the agent knows -> Prometheus text, piece by piece.
 *
 * A page of a large fleet has some hundred thousand lines, so it is made while it is sent: each
 * piece is one object (a node, a pool) or a few, and the loop does other work between pieces. When
 * a pool, a node or a VIP comes or goes meanwhile, the page ends with an error, and the next scrape
 * has it whole.
 *
 * Names: sluice_*, and process_* as of every client library. Units: seconds, bytes, ratios 0..1,
 * capacity in whole backends. What a node does not tell is left out: absent is not zero. Labels
 * have values from the configuration (pool, node, vip, interface) or from closed lists (state,
 * cause, reason, result, dimension), never text of a node.
 */
#ifndef SLUICE_AGENT_EXPORT_H
#define SLUICE_AGENT_EXPORT_H

#include <sys/types.h>

#include "userspace/agent/agent.h"

struct export_page;

/* A page that begins now; agent must outlive it. Returns 0; -ENOMEM. */
int export_page_new(const struct agent *agent, struct export_page **ret);
void export_page_free(struct export_page **page); /* accepts NULL inside; clears */

/*
 * The next bytes of it, at most max (> 0). Returns their number; 0 at the end; -ESTALE if the
 * agent's objects changed since the page began; -ENOMEM.
 */
ssize_t export_page_read(struct export_page *page, char *buf, size_t max);

#endif
