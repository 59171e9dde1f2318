/* SPDX-License-Identifier: BSD-2-Clause */
/* What the agent knows -> one HTML page for people, without scripts or anything from elsewhere. */
#ifndef SLUICE_AGENT_STATUS_PAGE_H
#define SLUICE_AGENT_STATUS_PAGE_H

#include <stddef.h>

#include "userspace/agent/agent.h"

#define STATUS_PAGE_TYPE      "text/html; charset=utf-8"
#define STATUS_PAGE_NODES_MAX 1000 /* more are counted, and left out */

/* The caller frees the result; NULL: out of memory. */
char *status_page(const struct agent *agent, int64_t now_ms, size_t *ret_len);

#endif
