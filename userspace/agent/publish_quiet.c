/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What no packet under way has read in its former state any more.
 *
 * Two changes must not both happen under one packet: that a slot's transition begins and ends, and
 * that a node dies and lives again. The packet would be chosen for by the first state and leave
 * without an entry, and the last one would send its flow elsewhere (tests/model/slot.pml,
 * NO_WAIT_END and NO_WAIT_ALIVE). Poll-mode workers tell when they begin a round (rounds.h), so for
 * them both are exact:
 *   - Between a transition's beginning and its end lies flow_idle, a second at least. A packet that
 *     is under way for so long is a worker's pause, and while there is one no transition ends, nor
 *     until what waited for that worker has come: its flows could not be learned meanwhile.
 *   - Whether all workers know of a death is a question that is put at a tick and answered once all
 *     began a round since. One is always under way, so a node that lives again seconds later waits
 *     for nothing; only one that does so at once, or beside a worker that stands still, has the
 *     callback wait.
 * XDP programs tell nothing. The callback asks RCU for them (grace.h), where keys of the index move
 * or ids are freed; for the two above stands the time, flow_idle and a look of the agent (100 ms).
 * That is some thousand times what a run takes, and nothing of user space, whatever its priority,
 * delays one: it has softirqs off, and so is not preempted, on PREEMPT kernels neither. With
 * PREEMPT_RT it may be, by real-time tasks, for as long as those run.
 */
#include "userspace/agent/publish_priv.h"

#include "userspace/lib/rounds.h"

/* Questions up to n are answered, and the next one is put. */
static void answered(struct publish *p, uint32_t n)
{
	p->known = n;
	p->asked = n + 1;
}

/* No earlier than that, on the workers' clock. */
static uint32_t tick_of(uint64_t ms)
{
	return LB_TICKS_FROM_MS(ms) + 1;
}

void publish_look(struct publish *p, uint64_t now_ms)
{
	const struct lb_worker *workers = p->t->dpdk_workers;
	uint32_t now = tick_of(now_ms);

	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* as rounds_now() */
	if (rounds_passed(workers, now, now)) /* no round is under way */
		answered(p, p->asked + 1);
	else if (rounds_passed(workers, tick_of(p->asked_ms), now))
		answered(p, p->asked);
	else
		return;
	p->asked_ms = now_ms;
}

void publish_wait(struct publish *p)
{
	p->grace(p->userdata);
	answered(p, p->asked + 1);
}

void publish_note_death(struct publish *p, uint16_t id)
{
	p->died[id] = p->asked + 1; /* the one under way was put before */
}

void publish_await_death(struct publish *p, uint16_t id)
{
	/* a slot that names it still may have been read at any time */
	if (p->refs[id] || (int32_t)(p->died[id] - p->known) > 0)
		publish_wait(p);
}

bool publish_is_paused(const struct publish *p, uint64_t now_ms)
{
	return tables_are_dpdk(p->t) && rounds_paused(p->t->dpdk_workers, tick_of(now_ms));
}
