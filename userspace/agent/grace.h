/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "No packet that was under way when I asked is under way any more."
 *
 * XDP programs run inside RCU read sections, and membarrier(MEMBARRIER_CMD_GLOBAL) returns after
 * an RCU grace period (Linux kernel/sched/membarrier.c: synchronize_rcu()), so it is exact for
 * them. Poll-mode workers are not RCU readers; for them GRACE_MIN_MS, some thousand times the time
 * a burst takes, is added. Where membarrier is refused (nohz_full) GRACE_FALLBACK_MS stands in.
 */
#ifndef SLUICE_AGENT_GRACE_H
#define SLUICE_AGENT_GRACE_H

#include <stdbool.h>
#include <stdint.h>

#define GRACE_MIN_MS      100
#define GRACE_FALLBACK_MS 2000

struct grace;

/* Wait here: tens of milliseconds and more. Fits the callback of publish_new(); arg is unused. */
void grace_wait(void *arg);

/* The same without waiting, by a short-lived thread. Returns 0; -ENOMEM, -EAGAIN: no thread. */
int grace_start(uint64_t now_ms, struct grace **ret);

bool grace_done(const struct grace *g, uint64_t now_ms);

/* Accepts NULL inside; clears. May be called before it is done. */
void grace_free(struct grace **g);

#endif
