/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flow -> slot -> backend id.
 *
 * A slot without exceptions and not in transition answers by itself: that is the hot path, and
 * nothing of a flow is read or written there. DESIGN: "Stateless by default, stateful by exception".
 */
#ifndef LB_CORE_SELECT_H
#define LB_CORE_SELECT_H

#include "bpf/core/flow.h"
#include "bpf/core/hash.h"
#include "bpf/core/vip.h"

/* What a selection reads and answers. */
struct lb_choice {
	struct lb_slot *slot;
	struct lb_load *load; /* of backend, if the choice looked at it */
	__u32 slot_index;
	__u32 hash;
	__u32 backend;
	__u8 is_new; /* the flow begins with this packet */
};

union lb_slot_word {
	struct lb_slot s;
	__u64 word;
};

static __always_inline struct lb_slot lb_slot_read(const struct lb_slot *slot)
{
	union lb_slot_word w = {.word = *(const volatile __u64 *)slot};

	return w.s;
}

/* Backend of a flow that has no entry. */
static __always_inline __u32 lb_slot_default(struct lb_slot s)
{
	return s.prev ? s.prev : s.cur;
}

static __always_inline int lb_is_syn(const struct lb_pkt *pkt)
{
	return (pkt->tcp_flags & (LB_TCP_SYN | LB_TCP_ACK)) == LB_TCP_SYN;
}

/* What lb_pkt_hash_finish() makes the flow's hash of. */
static __always_inline __u64 lb_pkt_hash_sum(struct lb_env *env, const struct lb_pkt *pkt,
					     __u8 affinity)
{
	const struct lb_control *ctl = lb_env_control(env);
	__u32 ports = pkt->ports;

	if (!ctl)
		return 0;
	if (lb_unlikely(affinity == LB_AFFINITY_SOURCE))
		ports = pkt->dport;
	if (lb_likely(pkt->family == 4))
		return lb_hash_sum4(&ctl->hash, pkt->saddr[3], pkt->daddr[3], ports);
	return lb_hash_sum6(&ctl->hash, pkt->saddr, pkt->daddr, ports);
}

static __always_inline __u32 lb_pkt_hash_finish(struct lb_env *env, __u64 sum)
{
	const struct lb_control *ctl = lb_env_control(env);

	return ctl ? lb_hash_finish(sum, &ctl->hash) : 0;
}

static __always_inline __u32 lb_pkt_hash(struct lb_env *env, const struct lb_pkt *pkt,
					 __u8 affinity)
{
	return lb_pkt_hash_finish(env, lb_pkt_hash_sum(env, pkt, affinity));
}

/*
 * Two choices by (base + inc) / weight. While cur has headroom, alt must be clearly less loaded
 * (25 % and one request) so that the hash wins; a margin that always applies would spoil the tail.
 * Returns 1 when alt is the better one. Pure.
 */
static __always_inline int lb_p2c_prefers_alt(const struct lb_load *cur, const struct lb_load *alt)
{
	__u64 lc = (__u64)(__u32)(cur->base + cur->inc);
	__u64 la = (__u64)(__u32)(alt->base + alt->inc);

	if (!alt->weight || (cur->flags & LB_LOAD_F_IGNORE))
		return 0;
	if (cur->flags & LB_LOAD_F_HOT)
		return la * cur->weight < lc * alt->weight;
	return 5 * (la + 1) * cur->weight <= 4 * lc * alt->weight;
}

/* cur: the load of s.cur. */
static __always_inline int lb_p2c_is_alt(struct lb_env *env, struct lb_slot s,
					 const struct lb_load *cur)
{
	const struct lb_load *alt = lb_env_load(env, s.alt);

	return s.alt && cur && alt && lb_p2c_prefers_alt(cur, alt);
}

static __always_inline __u32 lb_choose_p2c(struct lb_env *env, struct lb_slot s)
{
	if (!lb_p2c_is_alt(env, s, lb_env_load(env, s.cur)))
		return s.cur;
	lb_count_event(env, LB_EV_ALT_CHOSEN);
	return s.alt;
}

/* The next backend of the pool's schedule, which the agent makes (maps/table.h). */
static __always_inline __u32 lb_choose_turn(struct lb_env *env, __u32 pool_id, __u32 otherwise)
{
	struct lb_pool *pool = lb_env_pool(env, pool_id);
	const struct lb_turns *turns;
	__u32 n, i;

	if (!pool)
		return otherwise;
	n = LB_READ_ONCE(pool->n_turns);
	turns = lb_env_turns(env, pool_id * 2 + !!(n & LB_BANK_BIT));
	n &= ~LB_BANK_BIT;
	if (!turns || !n)
		return otherwise;
	i = LB_FETCH_ADD(&pool->turn, 1) % n;
	return LB_READ_ONCE(turns->backend[LB_BOUND(i, LB_TURNS_MAX - 1)]);
}

/* What an exact scan compares, to be divided by the weight. */
static __always_inline __u64 lb_scan_value(const struct lb_load *load, __u8 policy)
{
	if (policy == LB_POLICY_LEAST_CONN)
		return (__u64)LB_READ_ONCE(load->flows) + 1;
	return (__u64)LB_READ_ONCE(load->base) + LB_READ_ONCE(load->inc) + 1;
}

#define LB_SCAN_STEP 4 /* members looked at for one call of bpf_loop(), which costs as much as one */

/* An exact scan under way. The best so far wins ties, so where it begins matters. */
struct lb_scan {
	struct lb_env *env;
	__u64 best;
	__u64 best_weight;
	__u32 bank;
	__u32 n;
	__u32 at;
	__u32 left; /* to be looked at */
	__u32 found;
	__u8 policy;
};

static __always_inline void lb_scan_member(struct lb_scan *scan, const struct lb_members *members)
{
	const struct lb_load *load;
	__u64 value;
	__u32 id;

	if (scan->at >= scan->n)
		scan->at = 0;
	id = LB_READ_ONCE(members->backend[LB_BOUND(scan->at, LB_MEMBERS_MAX - 1)]);
	scan->at++;
	load = lb_env_load(scan->env, id);
	if (!load || !load->weight)
		return;
	value = lb_scan_value(load, scan->policy);
	if (scan->best_weight && value * scan->best_weight >= scan->best * load->weight)
		return;
	scan->best = value;
	scan->best_weight = load->weight;
	scan->found = id;
}

/* The next members; 0 to go on. The shape is that of a callback of bpf_loop() (Linux 5.17). */
static __noinline long lb_scan_members(__u32 i, void *ctx)
{
	struct lb_scan *scan = ctx;
	const struct lb_members *members = lb_env_members(scan->env, scan->bank);

	(void)i;
	if (!members)
		return 1;
	LB_UNROLL
	for (int k = 0; k < LB_SCAN_STEP; k++) {
		if (!scan->left)
			return 1;
		scan->left--;
		lb_scan_member(scan, members);
	}
	return 0;
}

/*
 * The member with the least load by weight, the new flow included. Where the scan begins depends
 * on the flow, so that equals are not all answered with the first of the list.
 */
static __always_inline __u32 lb_choose_least(struct lb_env *env, __u32 pool_id, __u8 policy,
					     __u32 hash, __u32 otherwise)
{
	const struct lb_pool *pool = lb_env_pool(env, pool_id);
	struct lb_scan scan = {.env = env, .found = otherwise, .policy = policy};
	__u32 n;

	if (!pool)
		return otherwise;
	n = LB_READ_ONCE(pool->n_members);
	scan.bank = pool_id * 2 + !!(n & LB_BANK_BIT);
	scan.n = n & ~LB_BANK_BIT;
	if (!scan.n)
		return otherwise;
	scan.at = lb_hash_to_slot(hash, scan.n);
	scan.left = scan.n < LB_MEMBERS_MAX ? scan.n : LB_MEMBERS_MAX;
	/*
	 * The first ones here and the others by the loop: Linux before 6.7 takes a callback to be
	 * called once, and removes what is dead then. With best_weight known to be 0, that was the
	 * comparison.
	 */
	if (lb_scan_members(0, &scan))
		return scan.found;
	lb_env_loop(env, LB_MEMBERS_MAX / LB_SCAN_STEP, lb_scan_members, &scan);
	return scan.found;
}

/* The policy's answer for a new flow. While nothing is left (cur is this host) there is no choice. */
static __always_inline __u32 lb_choose(struct lb_env *env, const struct lb_vip *vip,
				       struct lb_slot s, __u32 hash)
{
	if (s.cur == LB_BACKEND_LOCAL || s.cur == LB_BACKEND_NONE)
		return s.cur;
	switch (vip->policy) {
	case LB_POLICY_P2C:
		return lb_choose_p2c(env, s);
	case LB_POLICY_LEAST_QUEUE:
	case LB_POLICY_LEAST_CONN:
		return lb_choose_least(env, vip->pool, vip->policy, hash, s.cur);
	case LB_POLICY_ROUND_ROBIN:
	case LB_POLICY_WEIGHTED_ROUND_ROBIN:
		return lb_choose_turn(env, vip->pool, s.cur);
	default:
		return s.cur;
	}
}

/* An entry that a SYN may follow: its own (retransmitted), or of a stream that still lives. */
static __always_inline int lb_flow_keeps_syn(struct lb_env *env, const struct lb_flow *flow,
					     __u32 now, __u32 ttl_ticks)
{
	return flow && !(flow->flags & (LB_FLOW_F_CLOSING | LB_FLOW_F_CLOSED)) &&
	       LB_AGE(now, LB_READ_ONCE(flow->seen)) < ttl_ticks && lb_flow_is_valid(env, flow);
}

/*
 * SYN of a slot with exceptions: a retransmission, or a blind SYN into a live stream, stays where
 * the flow is; an entry of an earlier connection with the same tuple goes.
 * Returns the backend to keep, or LB_BACKEND_NONE.
 */
static __always_inline __u32 lb_syn_known(struct lb_env *env, const struct lb_flow_key *key,
					  __u32 now)
{
	struct lb_flow *half = lb_env_flow(env, LB_HALF_OPEN, key), *flow;
	__u32 word = half ? LB_READ_ONCE(*lb_flow_word(half)) : 0;

	if (lb_flow_keeps_syn(env, half, now, LB_TICKS_FROM_MS(LB_HALF_OPEN_MS))) {
		half->seen = now;
		return half->backend;
	}
	if (half)
		lb_flow_forget(env, LB_HALF_OPEN, key, half, word);
	flow = lb_env_flow(env, LB_FLOWS, key);
	word = flow ? LB_READ_ONCE(*lb_flow_word(flow)) : 0;
	if (lb_flow_keeps_syn(env, flow, now, LB_TICKS_FROM_MS(60000)))
		return flow->backend;
	if (flow)
		lb_flow_forget(env, LB_FLOWS, key, flow, word);
	return LB_BACKEND_NONE;
}

/*
 * Count the new flow as load on its node until the next scrape sees it there. Of a flood of SYNs
 * that lead to nothing only the share that connections have: else it would level all loads within
 * milliseconds, and real flows would be chosen for by chance.
 */
static __always_inline void lb_load_add(const struct lb_vip *vip, __u32 hash, struct lb_load *load)
{
	__u32 share = LB_READ_ONCE(vip->syn_share);

	if (load && (!share || (hash & 0xff) < share))
		LB_FETCH_ADD(&load->inc, 1);
}

/* Where a SYN that leaves for backend without an entry is noted (maps/flow.h), and with what. */
static __always_inline __u32 *lb_recent(struct lb_env *env, const struct tcphdr *tcp,
					const struct lb_vip *vip, __u32 hash, __u32 backend,
					__u32 *ret_mark)
{
	const struct lb_control *ctl = lb_env_control(env);
	struct lb_recent *cell;

	if (!ctl || !tcp || vip->policy == LB_POLICY_HASH)
		return NULL;
	if (vip->affinity == LB_AFFINITY_SOURCE) /* the hash has no port */
		hash ^= tcp->source * 0x9e3779b1u;
	*ret_mark = ((hash ^ (tcp->seq + backend) * 0x9e3779b1u) & ~0xffu) |
		    LB_RECENT_TIME(LB_READ_ONCE(ctl->heartbeat_ns));
	cell = lb_env_recent(env, LB_BOUND(hash, LB_RECENT_CELLS - 1));
	return cell ? &cell->mark[hash >> 31] : NULL;
}

static __always_inline int lb_recent_is(__u32 noted, __u32 mark)
{
	return !((noted ^ mark) & ~0xffu) && (__u8)(mark - noted) <= LB_RECENT_MAX;
}

static __always_inline const struct tcphdr *lb_tcp_of(struct lb_env *env, const struct lb_pkt *pkt)
{
	struct lb_cursor c = lb_cursor_at(env, LB_BOUND(pkt->l4_off, LB_L4_MASK));

	return lb_take(&c, sizeof(struct tcphdr));
}

/*
 * The SYN leaves for backend without an entry. Returns 1 if it left so before, and is sent again:
 * its flow is counted already.
 */
static __always_inline int lb_syn_note(struct lb_env *env, const struct tcphdr *tcp,
				       const struct lb_vip *vip, __u32 hash, __u32 backend)
{
	__u32 mark = 0, *cell = lb_recent(env, tcp, vip, hash, backend, &mark), noted;

	if (!cell)
		return 0;
	noted = LB_READ_ONCE(*cell);
	LB_WRITE_ONCE(*cell, mark);
	return lb_recent_is(noted, mark);
}

/*
 * The SYN left for backend before, without an entry, and is sent again. Both must go to one node:
 * when two answer, the client may take the one's SYN+ACK and its ACK reach the other, which resets.
 */
static __always_inline int lb_syn_noted(struct lb_env *env, const struct tcphdr *tcp,
					const struct lb_vip *vip, __u32 hash, __u32 backend)
{
	__u32 mark = 0, *cell = lb_recent(env, tcp, vip, hash, backend, &mark);

	return cell && lb_recent_is(LB_READ_ONCE(*cell), mark);
}

static __always_inline void lb_count_entry(struct lb_env *env, __u32 vip_id)
{
	struct lb_count *n = lb_env_vip_count(env, vip_id);

	if (n)
		n->entries += 1;
}

/*
 * A new flow: choose, and store an entry only if a later packet could be sent elsewhere. That is so
 * in every transition: it may end before the flow's next packet, and what is not known then belongs
 * to cur. Without an entry it goes to prev, as the next packet will, unless the end is near.
 */
static __always_inline enum lb_reason lb_select_new(struct lb_env *env, const struct lb_pkt *pkt,
						    const struct lb_vip *vip, __u32 vip_id,
						    struct lb_slot s, struct lb_choice *ret)
{
	int track = !!(vip->flags & LB_VIP_F_TRACK);
	const struct tcphdr *tcp;
	struct lb_flow_key key;
	__u32 b, now;
	int r;

	if (lb_unlikely(pkt->tcp_flags & (LB_TCP_FIN | LB_TCP_RST)))
		return LB_R_BAD_FLAGS;
	ret->is_new = 1;
	if (s.exc) {
		lb_flow_key_of(pkt, vip_id, &key);
		now = lb_env_ticks(env);
		ret->backend = lb_syn_known(env, &key, now);
		if (ret->backend) {
			ret->is_new = 0;
			return LB_R_OK;
		}
	}
	tcp = lb_tcp_of(env, pkt);
	b = lb_slot_default(s);
	if (s.cur != LB_BACKEND_LOCAL && b && lb_syn_noted(env, tcp, vip, ret->hash, b))
		ret->is_new = 0;
	else
		b = lb_choose(env, vip, s, ret->hash);
	ret->backend = b;
	if (b == LB_BACKEND_NONE)
		return LB_R_NO_BACKEND;
	if (b != s.cur || s.prev || (track && b != LB_BACKEND_LOCAL)) {
		lb_flow_key_of(pkt, vip_id, &key);
		now = lb_env_ticks(env);
		r = lb_flow_remember(env, LB_HALF_OPEN, &key, ret->slot, ret->slot_index, b,
				     track ? LB_FLOW_F_COUNTED : 0, now);
		if (r > 0) {
			ret->backend = r;
			ret->is_new = 0;
			return LB_R_OK;
		}
		if (r < 0) {
			if (s.alt == LB_ALT_ENDING)
				return LB_R_SYN_LATER;
			b = lb_slot_default(s);
			/* anew: clang takes the test for NULL out of reach of the verifier (14) */
			lb_syn_note(env, lb_tcp_of(env, pkt), vip, ret->hash, b);
		} else {
			lb_count_event(env, LB_EV_FLOW_ADDED);
			lb_count_entry(env, vip_id);
		}
	} else {
		lb_syn_note(env, tcp, vip, ret->hash, b);
	}
	ret->backend = b;
	if (vip->policy != LB_POLICY_HASH && ret->is_new)
		lb_load_add(vip, ret->hash, lb_env_load(env, b));
	return LB_R_OK;
}

/*
 * A packet of a flow whose node is dead: it gets a reset, each time, until the scan removes the
 * entry. What the client answers with a reset itself is news for the node, if that is dead by an
 * order or a deadline only, and sends on.
 */
static __always_inline enum lb_reason lb_select_ended(struct lb_env *env, const struct lb_pkt *pkt,
						      struct lb_flow *flow, __u32 now,
						      struct lb_choice *ret)
{
	const struct lb_backend *b = lb_env_backend(env, flow->backend);

	LB_FETCH_OR(lb_flow_word(flow), LB_WORD_OF(LB_FLOW_F_CLOSED));
	if (now - flow->seen > LB_SEEN_REFRESH)
		flow->seen = now;
	ret->backend = flow->backend;
	if ((pkt->tcp_flags & LB_TCP_RST) && b && (__u8)(b->generation - flow->generation) == 1)
		return LB_R_OK;
	return LB_R_RESET_SENT;
}

/* A packet of a flow that has an entry. */
static __always_inline enum lb_reason lb_select_entry(struct lb_env *env, const struct lb_pkt *pkt,
						      const struct lb_vip *vip,
						      const struct lb_flow_key *key,
						      enum lb_flow_table table,
						      struct lb_flow *flow, struct lb_slot s,
						      __u32 now, struct lb_choice *ret)
{
	if (lb_unlikely(!lb_flow_is_valid(env, flow))) {
		lb_count_event(env, LB_EV_FLOW_VOID);
		lb_flow_uncount(env, flow);
		if (vip->on_down == LB_ON_DOWN_RESET)
			return lb_select_ended(env, pkt, flow, now, ret);
		lb_flow_forget(env, table, key, flow, LB_READ_ONCE(*lb_flow_word(flow)));
		ret->backend = s.cur;
		return LB_R_OK;
	}
	ret->backend = flow->backend;
	lb_flow_touch(env, flow, pkt->tcp_flags, now);
	if (table == LB_HALF_OPEN && !(pkt->tcp_flags & LB_TCP_SYN))
		lb_flow_promote(env, key, ret->slot, flow, pkt->tcp_flags, now);
	return LB_R_OK;
}

/* A packet of a slot with exceptions or in transition: entry, else prev (and learn), else cur. */
static __always_inline enum lb_reason lb_select_known(struct lb_env *env, const struct lb_pkt *pkt,
						      const struct lb_vip *vip, __u32 vip_id,
						      struct lb_slot s, struct lb_choice *ret)
{
	__u32 now = lb_env_ticks(env);
	const struct lb_backend *prev;
	struct lb_flow_key key;
	struct lb_flow *flow;
	int r;

	lb_flow_key_of(pkt, vip_id, &key);
	flow = lb_env_flow(env, LB_FLOWS, &key);
	if (flow)
		return lb_select_entry(env, pkt, vip, &key, LB_FLOWS, flow, s, now, ret);
	flow = lb_env_flow(env, LB_HALF_OPEN, &key);
	if (flow)
		return lb_select_entry(env, pkt, vip, &key, LB_HALF_OPEN, flow, s, now, ret);
	ret->backend = s.cur;
	if (!s.prev)
		return LB_R_OK;
	prev = lb_env_backend(env, s.prev);
	/* Dead, and the agent will take it out of the slot in a moment. */
	if (s.prev != LB_BACKEND_LOCAL && (!prev || !(prev->flags & LB_BACKEND_F_ALIVE)))
		return vip->on_down == LB_ON_DOWN_RESET ? LB_R_RESET_SENT : LB_R_OK;
	ret->backend = s.prev;
	if (pkt->tcp_flags & (LB_TCP_RST | LB_TCP_SYN))
		return LB_R_OK;
	/* After a FIN as closing: else the ACK that ends the connection would be learned as live. */
	r = lb_flow_remember(env, LB_FLOWS, &key, ret->slot, ret->slot_index, s.prev,
			     pkt->tcp_flags & LB_TCP_FIN ? LB_FLOW_F_CLOSING : LB_FLOW_F_COUNTED,
			     now);
	if (r > 0)
		ret->backend = r;
	else
		lb_count_event(env, r ? LB_EV_OVERFLOW_LEARN : LB_EV_FLOW_LEARNED);
	return LB_R_OK;
}

/* The slot of a flow with this hash. 0, or < 0: the VIP names slots that do not exist. */
static __always_inline int lb_slot_of_hash(struct lb_env *env, const struct lb_vip *vip, __u32 hash,
					   struct lb_choice *ret)
{
	ret->hash = hash;
	ret->slot_index = vip->slot_base + lb_hash_to_slot(ret->hash, vip->n_slots);
	ret->slot = lb_env_slot(env, ret->slot_index);
	ret->load = NULL;
	ret->is_new = 0;
	return ret->slot ? 0 : -1;
}

static __always_inline int lb_find_slot(struct lb_env *env, const struct lb_pkt *pkt,
					const struct lb_vip *vip, struct lb_choice *ret)
{
	return lb_slot_of_hash(env, vip, lb_pkt_hash(env, pkt, vip->affinity), ret);
}

/* Whether the slot answers by itself: none of its flows has an entry. */
static __always_inline int lb_slot_answers(struct lb_slot s, const struct lb_vip *vip)
{
	const union lb_slot_word slot = {.s = s}, said = {.s = {.prev = 0xffff, .exc = 0xffff}};

	return lb_likely(!(slot.word & said.word) && !(vip->flags & LB_VIP_F_TRACK));
}

/*
 * A slot with exceptions, for a segment in the middle of a stream: the live node of its entry, or
 * cur if it has none. 1: ret->backend is a node. 0: ask lb_select_segment(); but for the entry's
 * time nothing was changed.
 */
static __always_inline int lb_select_entry_plain(struct lb_env *env, const struct lb_pkt *pkt,
						 __u32 vip_id, struct lb_slot s,
						 struct lb_choice *ret)
{
	struct lb_flow_key key;
	struct lb_flow *flow;
	__u32 now;

	if (pkt->tcp_flags & (LB_TCP_SYN | LB_TCP_FIN | LB_TCP_RST))
		return 0;
	lb_flow_key_of(pkt, vip_id, &key);
	flow = lb_env_flow(env, LB_FLOWS, &key);
	if (!flow)
		return !s.prev && !lb_env_flow(env, LB_HALF_OPEN, &key);
	if (!lb_flow_is_valid(env, flow))
		return 0;
	ret->backend = flow->backend;
	now = lb_env_ticks(env);
	if (now - flow->seen > LB_SEEN_REFRESH)
		flow->seen = now;
	return 1;
}

/*
 * The hot path: a slot that answers by itself, for a packet of a live flow, or of a new one that
 * needs no entry. 1: ret->backend is a node. 0: ask lb_select_segment() or lb_select_syn(); nothing
 * was changed or counted.
 */
static __always_inline int lb_select_plain(struct lb_env *env, const struct lb_pkt *pkt,
					   const struct lb_vip *vip, __u32 vip_id,
					   struct lb_choice *ret)
{
	struct lb_slot s;

	if (lb_unlikely(lb_find_slot(env, pkt, vip, ret) < 0))
		return 0;
	s = lb_slot_read(ret->slot);
	ret->backend = s.cur;
	if (!lb_slot_answers(s, vip))
		return vip->mode != LB_MODE_NAT &&
		       lb_select_entry_plain(env, pkt, vip_id, s, ret);
	if (lb_likely(!(pkt->tcp_flags & LB_TCP_SYN)))
		return 1;
	if (pkt->tcp_flags & (LB_TCP_FIN | LB_TCP_RST | LB_TCP_ACK))
		return 0;
	ret->is_new = 1;
	if (vip->policy == LB_POLICY_HASH)
		return 1;
	ret->load = lb_env_load(env, s.cur);
	return vip->policy == LB_POLICY_P2C && !lb_p2c_is_alt(env, s, ret->load);
}

/* A SYN: LB_R_OK: ret->backend is where it goes. Otherwise why it must be dropped. */
static __always_inline enum lb_reason lb_select_syn(struct lb_env *env, const struct lb_pkt *pkt,
						    const struct lb_vip *vip, __u32 vip_id,
						    struct lb_choice *ret)
{
	if (lb_find_slot(env, pkt, vip, ret) < 0)
		return LB_R_INTERNAL;
	return lb_select_new(env, pkt, vip, vip_id, lb_slot_read(ret->slot), ret);
}

/*
 * Any other segment. LB_R_OK: ret->backend is where it goes (LB_BACKEND_LOCAL: this host).
 * LB_R_RESET_SENT: its node is dead, answer with a reset. Otherwise why it must be dropped.
 */
static __always_inline enum lb_reason lb_select_segment(struct lb_env *env,
							const struct lb_pkt *pkt,
							const struct lb_vip *vip, __u32 vip_id,
							struct lb_choice *ret)
{
	struct lb_slot s;

	if (lb_find_slot(env, pkt, vip, ret) < 0)
		return LB_R_INTERNAL;
	s = lb_slot_read(ret->slot);
	if (s.prev || s.exc || (vip->flags & LB_VIP_F_TRACK))
		return lb_select_known(env, pkt, vip, vip_id, s, ret);
	ret->backend = s.cur;
	return LB_R_OK;
}

#endif
