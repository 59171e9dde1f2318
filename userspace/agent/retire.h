/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes that left the configuration while flows live on them -> their ids, free in the end.
 *
 * A retired node gets no new flow. Its live flows go on until they end by themselves, its drain's
 * deadline passes, or nothing listens on its port any more (then they are reset, DESIGN section
 * 4). Its id is free when no slot and no entry names it. One that is configured again before that
 * is the same backend, with its flows.
 */
#ifndef SLUICE_AGENT_RETIRE_H
#define SLUICE_AGENT_RETIRE_H

#include <stdint.h>

struct agent;
struct retire;

/* agent must outlive the result. Returns 0; -ENOMEM. */
int retire_new(struct agent *agent, struct retire **ret);

/* Accepts NULL inside; clears. The ids stay in use, for the next agent to find. */
void retire_free(struct retire **r);

/*
 * A backend in use that no node stands for any more, its table published without it already. What
 * is not alive, or has nothing left, is freed soon. Without memory it stays until the next start.
 */
void retire_add(struct retire *r, uint16_t id, int64_t now_ms);

/* The same for one that an earlier agent's configuration had and the first of this one lacks. */
void retire_adopted(struct retire *r, uint16_t id, int64_t now_ms);

/* A node stands for it again. Nothing happens if it was not retired. */
void retire_back(struct retire *r, uint16_t id);

/* Every AGENT_TICK_MS. */
void retire_step(struct retire *r, int64_t now_ms);

uint32_t retire_count(const struct retire *r);

#endif
