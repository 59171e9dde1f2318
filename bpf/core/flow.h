/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exceptions: flow -> backend it is known to live on, and the slot's mark that such flows exist.
 *
 * An entry begins in the half-open table with the SYN and moves to the flow table with the first
 * packet after it. Whoever adds an entry then stores the current epoch in the slot's exc, before
 * the packet leaves. In this order: an epoch stored ahead of the entry could be overwritten by a
 * packet that still has the old one, and the scan could clear exc before the entry is there
 * (tests/model/slot.pml, MARK_FIRST).
 */
#ifndef LB_CORE_FLOW_H
#define LB_CORE_FLOW_H

#include "bpf/core/parse.h"
#include "maps/backend.h"
#include "maps/flow.h"
#include "maps/table.h"

static __always_inline void lb_count_event(struct lb_env *env, __u32 event)
{
	__u64 *n = lb_env_counter(env, event);

	if (n)
		*n += 1;
}

static __always_inline void lb_flow_key_of(const struct lb_pkt *pkt, __u32 vip,
					   struct lb_flow_key *ret_key)
{
	lb_copy16(ret_key->saddr, pkt->saddr);
	ret_key->sport = pkt->sport;
	ret_key->vip = vip;
}

/* The entry's backend is alive and still the node it was when the entry was made. */
static __always_inline int lb_flow_is_valid(struct lb_env *env, const struct lb_flow *flow)
{
	const struct lb_backend *b = lb_env_backend(env, flow->backend);

	if (flow->backend == LB_BACKEND_LOCAL)
		return 1;
	return b && (b->flags & LB_BACKEND_F_ALIVE) && b->generation == flow->generation;
}

/* Tokens of this CPU, refilled eight times a second. Returns 1 if one was there. */
static __always_inline int lb_take_token(__u32 *tick, __u32 *left, __u32 per_s, __u32 now)
{
	if (now >> 7 != *tick) {
		*tick = now >> 7;
		*left = per_s / 8 + 1;
	}
	if (!*left)
		return 0;
	*left -= 1;
	return 1;
}

static __always_inline int lb_may_add(struct lb_env *env, __u32 now)
{
	const struct lb_control *ctl = lb_env_control(env);
	struct lb_limit *lim = lb_env_limit(env);

	if (ctl && lim &&
	    lb_take_token(&lim->entries_tick, &lim->entries_left, ctl->new_entries_per_s, now))
		return 1;
	lb_count_event(env, LB_EV_OVERFLOW_RATE);
	return 0;
}

static __always_inline int lb_may_learn(struct lb_env *env, __u32 now)
{
	const struct lb_control *ctl = lb_env_control(env);
	struct lb_limit *lim = lb_env_limit(env);

	return ctl && lim &&
	       lb_take_token(&lim->learn_tick, &lim->learn_left, ctl->new_entries_per_s, now);
}

static __always_inline void lb_slot_mark(struct lb_env *env, struct lb_slot *slot)
{
	const struct lb_control *ctl = lb_env_control(env);
	__u16 epoch;

	if (!ctl)
		return;
	epoch = LB_READ_ONCE(ctl->epoch);
	if (LB_READ_ONCE(slot->exc) != epoch)
		LB_WRITE_ONCE(slot->exc, epoch);
}

static __always_inline void lb_flows_add(struct lb_env *env, __u32 backend, int n)
{
	struct lb_load *load = lb_env_load(env, backend);

	if (load)
		LB_FETCH_ADD(&load->flows, n);
}

typedef __u32 __attribute__((may_alias)) lb_flow_word_t;

/* Backend, generation, flags: other CPUs and the agent's scan change them, too. */
static __always_inline lb_flow_word_t *lb_flow_word(struct lb_flow *flow)
{
	return (lb_flow_word_t *)flow;
}

/* The flow ended: it no longer counts as live on its backend. Once only. */
static __always_inline void lb_flow_uncount(struct lb_env *env, struct lb_flow *flow)
{
	const __u32 counted = LB_WORD_OF(LB_FLOW_F_COUNTED);

	if ((flow->flags & LB_FLOW_F_COUNTED) &&
	    (LB_FETCH_AND(lb_flow_word(flow), ~counted) & counted))
		lb_flows_add(env, flow->backend, -1);
}

static __always_inline void lb_flow_touch(struct lb_env *env, struct lb_flow *flow, __u8 tcp_flags,
					  __u32 now)
{
	if (lb_unlikely(tcp_flags & (LB_TCP_FIN | LB_TCP_RST))) {
		LB_FETCH_OR(lb_flow_word(flow),
			    LB_WORD_OF(tcp_flags & LB_TCP_RST ? LB_FLOW_F_CLOSED
							      : LB_FLOW_F_CLOSING));
		lb_flow_uncount(env, flow);
	}
	if (now - flow->seen > LB_SEEN_REFRESH)
		flow->seen = now;
}

/*
 * The entry is the caller's to remove, with the mark that it counts, if it is as it was when word was
 * read of it. Of CPUs that would do so at the same time one does; for the others the key, and even
 * the memory, may have another entry since.
 */
static __always_inline int lb_flow_claim(struct lb_flow *flow, __u32 word)
{
	const __u32 gone = LB_WORD_OF(LB_FLOW_F_GONE), counted = LB_WORD_OF(LB_FLOW_F_COUNTED);

	return !(word & gone) && LB_SWAP_IF(lb_flow_word(flow), word, (word & ~counted) | gone);
}

static __always_inline void lb_flow_forget(struct lb_env *env, enum lb_flow_table table,
					   const struct lb_flow_key *key, struct lb_flow *flow,
					   __u32 word)
{
	if (!lb_flow_claim(flow, word))
		return;
	if (word & LB_WORD_OF(LB_FLOW_F_COUNTED))
		lb_flows_add(env, flow->backend, -1);
	lb_env_flow_delete(env, table, key);
}

/*
 * Remember that the flow lives on backend. Returns 0; < 0: no room or over the rate, counted; > 0:
 * another CPU was quicker, and this is the backend that it chose.
 * flags: LB_FLOW_F_COUNTED: count it in the backend's live flows, too; LB_FLOW_F_CLOSING.
 */
static __always_inline int lb_flow_remember(struct lb_env *env, enum lb_flow_table table,
					    const struct lb_flow_key *key, struct lb_slot *slot,
					    __u32 slot_index, __u32 backend, __u8 flags, __u32 now)
{
	const struct lb_backend *b = lb_env_backend(env, backend);
	const struct lb_flow *other;
	struct lb_flow flow = {
		.backend = backend,
		.flags = flags,
		.seen = now,
		.slot = slot_index,
	};

	if (!b && backend != LB_BACKEND_LOCAL)
		return -1;
	if (table == LB_FLOWS ? !lb_may_learn(env, now) : !lb_may_add(env, now))
		return -1;
	flow.generation = b ? b->generation : 0;
	if (lb_env_flow_add(env, table, key, &flow) < 0) {
		other = lb_env_flow(env, table, key);
		if (other && !(other->flags & LB_FLOW_F_GONE) && lb_flow_is_valid(env, other))
			return other->backend;
		lb_count_event(env, table == LB_FLOWS ? LB_EV_OVERFLOW_FLOWS
						      : LB_EV_OVERFLOW_HALF_OPEN);
		return -1;
	}
	lb_slot_mark(env, slot);
	if (flags & LB_FLOW_F_COUNTED)
		lb_flows_add(env, backend, 1);
	return 0;
}

/*
 * The half-open entry, as word was read of it, has become a flow entry. Its mark moves along; if
 * somebody took that meanwhile, and subtracted, the new entry counts anew.
 */
static __always_inline void lb_flow_promoted(struct lb_env *env, const struct lb_flow_key *key,
					     struct lb_flow *half, const struct lb_flow *flow)
{
	struct lb_count *n = lb_env_vip_count(env, key->vip);

	if (lb_flow_claim(half, *(const lb_flow_word_t *)flow))
		lb_env_flow_delete(env, LB_HALF_OPEN, key);
	else if (flow->flags & LB_FLOW_F_COUNTED)
		lb_flows_add(env, flow->backend, 1);
	lb_count_event(env, LB_EV_FLOW_PROMOTED);
	if (n && !(flow->flags & LB_FLOW_F_CLOSED))
		n->promoted += 1;
}

/* First packet after the SYN: half-open entry -> flow entry. Without room it stays half-open. */
static __always_inline void lb_flow_promote(struct lb_env *env, const struct lb_flow_key *key,
					    struct lb_slot *slot, struct lb_flow *half,
					    __u8 tcp_flags, __u32 now)
{
	struct lb_flow *other, flow = *half;

	if (flow.flags & LB_FLOW_F_GONE)
		return; /* a SYN on another CPU begins anew */
	flow.seen = now;
	if (!lb_env_flow_add(env, LB_FLOWS, key, &flow)) {
		lb_slot_mark(env, slot);
		lb_flow_promoted(env, key, half, &flow);
		return;
	}
	other = lb_env_flow(env, LB_FLOWS, key);
	if (other) /* another CPU was quicker */
		lb_flow_touch(env, other, tcp_flags, now);
	else
		lb_count_event(env, LB_EV_OVERFLOW_FLOWS);
}

#endif
