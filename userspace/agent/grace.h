/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "No XDP program that was running when I asked is running any more." (Poll-mode workers tell
 * themselves: userspace/lib/rounds.h.)
 *
 * A driver runs the program in its NAPI poll, with softirqs off; generic mode in the receive path,
 * likewise. That is an RCU read section since Linux 4.20, where one grace period waits for sections
 * with preemption or softirqs off as for those of rcu_read_lock(); with PREEMPT_RT, where softirqs
 * are threads and may be preempted, local_bh_disable() takes rcu_read_lock() itself.
 * membarrier(MEMBARRIER_CMD_GLOBAL) is synchronize_rcu() (kernel/sched/membarrier.c; Linux 6.1 to
 * 6.18), so it is exact, however long a program was held up, but for two cases:
 *   - one CPU is online: it returns at once. A program can be in the middle of a run then only
 *     with PREEMPT_RT, preempted by us or by a task of higher priority.
 *   - nohz_full: it refuses (EINVAL).
 * For these stand times: GRACE_MIN_MS is always waited for, and where membarrier refuses
 * GRACE_FALLBACK_MS. A run takes microseconds, and without PREEMPT_RT only interrupts come in
 * between. (System calls on maps of maps wait for RCU in any case, but that would need a map that
 * serves nothing else.)
 */
#ifndef SLUICE_AGENT_GRACE_H
#define SLUICE_AGENT_GRACE_H

#include <stdbool.h>
#include <stdint.h>

#define GRACE_MIN_MS      100
#define GRACE_FALLBACK_MS 2000

struct grace;

/* Wait here: tens of milliseconds and more. */
void grace_wait(void);

/* The same without waiting, by a short-lived thread. Returns 0; -ENOMEM, -EAGAIN: no thread. */
int grace_start(uint64_t now_ms, struct grace **ret);

bool grace_done(const struct grace *g, uint64_t now_ms);

/* Accepts NULL inside; clears. May be called before it is done. */
void grace_free(struct grace **g);

#endif
