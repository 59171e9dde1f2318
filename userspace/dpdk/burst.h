/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A burst from a device -> the wire, the kernel, nowhere: what nearly all frames of a burst need is
 * done for all of them at once. Compiled for several processors: burst_base.c and others.
 *
 *	look	words of all frames (lanes.h), the VIP, the hash
 *	choose	slot -> node; a frame that is another case is asked about by itself (other.h)
 *	send	runs of frames of one VIP, in the order they came
 *
 * Of a run the compiler knows all that does not vary. Which way a frame takes makes no difference
 * to what becomes of it.
 */
#ifndef SLUICE_DPDK_BURST_H
#define SLUICE_DPDK_BURST_H

#include "userspace/dpdk/lanes.h"
#ifdef __AVX2__
#include "userspace/dpdk/heads_avx2.h"
#endif

/* A VIP whose flows' slots may be asked. */
struct burst_vip {
	__u32 daddr, ports; /* whose VIP it is; ports without the source's */
	__u32 of;	    /* as in struct burst; 0: there is none, or another case */
	__u32 id;	    /* whose flows may have entries; LB_VIPS_MAX: not known here */
	__u32 slot_base, n_slots;
	__u8 affinity;
};

struct burst {
	struct lanes l;
	LANES(__u32, of);      /* VIP id << 16 | enum plain_kind; 0: another case */
	LANES(__u32, backend); /* below LB_BACKENDS_MAX, but for another case */
};

/* Destination port alone, where lb_pkt.ports has both. */
static __always_inline __u32 burst_dport(__u32 ports)
{
	return ports & lb_htonl(0xffff);
}

/* id: of the VIP, or none; kind: PLAIN_IP4, PLAIN_IP6. Address and port of *ret are left alone. */
static inline void burst_read_vip(struct lb_env *env, __u32 id, enum plain_kind kind,
				  struct burst_vip *ret)
{
	const struct lb_vip *vip = lb_env_vip(env, id);
	union {
		__u64 word;
		struct { __u32 base, n; };
	} slots;

	_Static_assert(offsetof(struct lb_vip, slot_base) % 8 == 0 &&
		       offsetof(struct lb_vip, n_slots) == offsetof(struct lb_vip, slot_base) + 4,
		       "one word");
	ret->id = LB_VIPS_MAX;
	if (!vip || !(vip->flags & LB_VIP_F_ACTIVE) || vip->mode == LB_MODE_NAT)
		return;
	if (vip->affinity == LB_AFFINITY_FLOW) /* else lanes lose the source port */
		ret->id = id;
	if (vip->flags & LB_VIP_F_TRACK)
		return;
	slots.word = *(const volatile __u64 *)&vip->slot_base;
	if (!slots.n || (__u64)slots.base + slots.n > env->t->n_slots)
		return;
	ret->of = id << 16 | kind;
	ret->slot_base = slots.base;
	ret->n_slots = slots.n;
	ret->affinity = vip->affinity;
}

static __rte_noinline void burst_find_vip(struct lb_env *env, __u32 daddr, __u32 ports,
					  struct burst_vip *ret)
{
	const struct lb_pkt pkt = {.ports = ports};
	__be32 mapped[4];

	*ret = (struct burst_vip){.daddr = daddr, .ports = burst_dport(ports)};
	lb_map_ip4(mapped, daddr);
	burst_read_vip(env, lb_vip_find(env, mapped, pkt.dport, IPPROTO_TCP, LB_VIP_KIND_SERVICE),
		       PLAIN_IP4, ret);
}

/* What lb_pkt_hash_sum() takes for ports. */
static __always_inline __u32 burst_ports(__u32 ports, __u8 affinity)
{
	const struct lb_pkt pkt = {.ports = ports};

	return lb_unlikely(affinity == LB_AFFINITY_SOURCE) ? pkt.dport : ports;
}

/* Whether flows with this slot have no entries, and it names their node. */
static __always_inline int burst_slot_answers(union lb_slot_word w)
{
	return !(w.word & lanes_slot_said.word);
}

static __always_inline union lb_slot_word burst_slot(struct lb_env *env,
						     const struct burst_vip *vip, __u32 hash)
{
	__u32 slot = vip->slot_base + lb_hash_to_slot(hash, vip->n_slots);

	return (union lb_slot_word){.s = lb_slot_read(&env->t->slots[slot])};
}

/* Lane i is another case: if it is one of a flow with an entry, that is on its way meanwhile. */
static inline void burst_expect_entry(struct lb_env *env, const struct lanes *l, __u32 i, __u32 id)
{
	const struct lb_pkt pkt = {.ports = l->ports[i]};
	struct lb_flow_key key = {.sport = pkt.sport, .vip = id};

	if (!l->live[i] || id == LB_VIPS_MAX)
		return;
	lb_map_ip4(key.saddr, l->saddr[i]);
	flow_table_expect(&env->t->flows, &key);
}

/* The same for lane i alone. Returns whether it is another case. */
static inline int burst_choose_lane(struct lb_env *env, struct burst *b, __u32 i,
				    const struct burst_vip *vip)
{
	const union lb_slot_word w = burst_slot(env, vip, b->l.hash[i]);

	b->backend[i] = w.s.cur;
	b->of[i] = burst_slot_answers(w) ? b->l.live[i] & vip->of : 0;
	if (!b->of[i])
		burst_expect_entry(env, &b->l, i, vip->id);
	return !b->of[i];
}

/* All live lanes are for the VIP of lane k. Returns whether there was another case. */
static inline int burst_choose_one(struct lb_env *env, struct burst *b, __u32 n, __u32 k)
{
	int answered = 1, others = 0;
	struct burst_vip vip;

	burst_find_vip(env, b->l.daddr[k], b->l.ports[k], &vip);
	if (lb_unlikely(vip.affinity == LB_AFFINITY_SOURCE))
		for (__u32 i = 0; i < n; i++)
			b->l.ports[i] = burst_ports(b->l.ports[i], vip.affinity);
	lanes_hash(&b->l, n, &env->t->control->hash);
	for (size_t i = 0; i < n; i += LANES_STEP) {
		answered &= lanes_slots(&b->l, i, &env->t->slots[vip.slot_base], vip.n_slots,
					b->backend);
		LANES_AT(b->of, i) = LANES_AT(b->l.live, i) & vip.of;
	}
	if (lb_likely(answered && vip.of))
		return 0;
	for (__u32 i = 0; i < n; i++)
		others |= burst_choose_lane(env, b, i, &vip);
	return others;
}

/* The VIP of lane i, among those that the burst has met or as one more. */
static struct burst_vip *burst_vip_of(struct lb_env *env, const struct lanes *l, __u32 i,
				      struct burst_vip *vips, __u32 *n_vips)
{
	__u32 v = 0;

	while (v < *n_vips && (vips[v].daddr != l->daddr[i] ||
			       vips[v].ports != burst_dport(l->ports[i])))
		v++;
	if (v == *n_vips) {
		burst_find_vip(env, l->daddr[i], l->ports[i], &vips[v]);
		++*n_vips;
	}
	return &vips[v];
}

/* The same for lanes of several VIPs. */
static __rte_noinline int burst_choose_each(struct lb_env *env, struct burst *b, __u32 n)
{
	static const struct burst_vip none = {.id = LB_VIPS_MAX};
	struct burst_vip vips[WORKER_BURST];
	const struct burst_vip *of[WORKER_BURST];
	__u32 n_vips = 0;

	for (__u32 i = 0; i < n; i++) {
		of[i] = b->l.live[i] ? burst_vip_of(env, &b->l, i, vips, &n_vips) : &none;
		b->l.ports[i] = burst_ports(b->l.ports[i], of[i]->affinity);
	}
	lanes_hash(&b->l, n, &env->t->control->hash);
	for (__u32 i = 0; i < n; i++)
		(void)burst_choose_lane(env, b, i, of[i]);
	return 1;
}

/* --- sending ---------------------------------------------------------------------------------- */

/* Frames that leave by one device. */
struct burst_run {
	struct worker *w;
	struct worker_out *out;
	struct rte_mbuf **frames;
	const struct burst *b;
	size_t i, n;   /* frames [i, n) */
	__u32 ifindex; /* of out's mirror */
};

/* What the nodes of a run have in common, to be compared at once. */
static __always_inline __u64 burst_node_word(const struct lb_backend *node)
{
	__u64 word;

	_Static_assert(offsetof(struct lb_backend, ifindex) % sizeof(word) == 0 &&
		       offsetof(struct lb_backend, flags) / sizeof(word) ==
		       offsetof(struct lb_backend, ifindex) / sizeof(word), "one word");
	lb_memcpy(&word, &node->ifindex, sizeof(word));
	return word;
}

#ifdef __AVX2__
/* Whether the frames [i, i + LANES_STEP) leave by this run, to these nodes. */
static __always_inline int burst_step_fits(const struct burst_run *run, size_t i, __u8 mode,
					   __u8 node_family, const struct heads_nodes *to)
{
	const __u32 outer = lb_outer_len(mode, 4);
	const __u32 flags = LB_BACKEND_F_NEXTHOP | LB_BACKEND_F_TAGGED;
	const __u32 said = flags << 8 | (node_family ? 0xff : 0);
	const __u32 want = LB_BACKEND_F_NEXTHOP << 8 | node_family;
	const lanes_s len = (lanes_s)((LANES_AT(run->b->l.first, i) & 0xffff) + outer);
	lanes_v no = to->ifindex ^ run->ifindex;

	no |= (to->said ^ want) & said;
	no |= (lanes_v)(len > (lanes_s)to->mtu);
	no |= (lanes_v)((lanes_s)LANES_AT(run->b->l.room, i) < (int)outer);
	return lanes_none(no);
}

/* Counts frames [i, i + LANES_STEP). Returns their bytes. */
static __always_inline __u32 burst_count_step(struct lb_count *counts, const struct burst *b,
					      size_t i)
{
	const __u32 *ids = &b->backend[i], *first = &b->l.first[i];
	const __u32 bytes = lanes_sum(LANES_AT(first, 0) & 0xffff);

	/* Those of one node at once: additions to one counter wait for each other. */
	if (lanes_none(LANES_AT(ids, 0) ^ ids[0])) {
		struct lb_count *count = &counts[ids[0]];

		count->packets += LANES_STEP;
		count->bytes += bytes;
		return bytes;
	}
	for (int k = 0; k < LANES_STEP; k++) {
		struct lb_count *count = &counts[ids[k]];

		count->packets++;
		count->bytes += first[k] & 0xffff;
	}
	return bytes;
}

static __always_inline int burst_in_steps(__u8 family, __u8 node_family)
{
	return family == 4 && node_family != 6;
}

/* Frames of a run, LANES_STEP at once as long as all of them fit. Returns where that ended. */
static __always_inline size_t burst_send_steps(const struct burst_run *from, __u8 mode,
					       __u8 node_family, __u64 *bytes)
{
	const struct burst_run run = *from; /* nothing that is written changes it */
	const struct lb_backend *nodes = run.w->tables.backends;
	struct lb_count *counts = run.w->tables.backend_counts;
	struct rte_mbuf **put = run.out->frames + run.out->n - run.i;
	const __u32 of = run.b->of[run.i];
	size_t i = run.i;

	for (; i + LANES_STEP <= run.n; i += LANES_STEP) {
		struct heads_nodes to;

		if (lb_unlikely(!lanes_none(LANES_AT(run.b->of, i) ^ of)))
			break; /* not even ids of nodes */
		heads_read_nodes(nodes, &run.b->backend[i], &to);
		if (lb_unlikely(!burst_step_fits(&run, i, mode, node_family, &to)))
			break;
		heads_send(&run.b->l, i, run.frames, mode, &to);
		*bytes += burst_count_step(counts, run.b, i);
		lb_memcpy(&put[i], &run.frames[i], LANES_STEP * sizeof(*put));
	}
	return i;
}
#else
static __always_inline int burst_in_steps(__u8 family, __u8 node_family)
{
	return 0;
}

static __always_inline size_t burst_send_steps(const struct burst_run *run, __u8 mode,
					       __u8 node_family, __u64 *bytes)
{
	return run->i;
}
#endif

/*
 * Frames of one VIP that nothing speaks against. mode, family (of the packet) and node_family (0:
 * any) are constants. Returns where the run ended.
 */
static __always_inline __u32 burst_send_as(const struct burst_run *run, __u8 mode, __u8 family,
					   __u8 node_family)
{
	const struct lb_backend said_of = {.ifindex = ~0u, .family = node_family ? 0xff : 0,
					   .flags = LB_BACKEND_F_NEXTHOP | LB_BACKEND_F_TAGGED};
	const struct lb_backend want_of = {.ifindex = run->ifindex, .family = node_family,
					   .flags = LB_BACKEND_F_NEXTHOP};
	const __u64 said = burst_node_word(&said_of), want = burst_node_word(&want_of);
	struct worker *w = run->w;
	const struct lb_backend *nodes = w->tables.backends;
	struct lb_count *counts = w->tables.backend_counts, *vip;
	const struct burst *b = run->b;
	struct rte_mbuf **frames = run->frames;
	size_t n = run->n, i = run->i;
	const __u32 of = b->of[i], outer = lb_outer_len(mode, node_family);
	const size_t from = i;
	struct rte_mbuf **put = run->out->frames + run->out->n - i;
	__u64 bytes = 0;

	if (burst_in_steps(family, node_family)) {
		if (i % LANES_STEP == 0)
			i = burst_send_steps(run, mode, node_family, &bytes);
		/* what is behind the step that did not fit may be steps again */
		n = RTE_MIN(n, i / LANES_STEP * LANES_STEP + LANES_STEP);
	}
	for (; i < n && b->of[i] == of; i++) {
		const struct lb_pkt pkt = {.family = family, .first = b->l.first[i],
					   .ip_len = b->l.first[i], .tos = b->l.first[i] >> 16,
					   .l3_off = ETH_HLEN};
		const __u32 id = b->backend[i];
		const struct lb_backend *node = &nodes[id];
		struct rte_mbuf *m = frames[i];
		struct lb_env env;

		lb_env_init(&env, m, &w->tables, 0);
		if (lb_unlikely((burst_node_word(node) & said) != want ||
				pkt.ip_len + outer > node->mtu || env.room < outer))
			break;
		if (env.len < LANES_BYTES)
			__builtin_unreachable(); /* or it would not have been chosen for */
		(void)lb_encap_as(&env, &pkt, mode, node_family, node, b->l.hash[i]);
		lb_env_commit(&env);
		counts[id].packets++;
		counts[id].bytes += pkt.ip_len;
		bytes += pkt.ip_len;
		put[i] = m;
	}
	run->out->n += i - from;
	vip = &w->tables.vip_counts[of >> 16];
	vip->packets += i - from;
	vip->bytes += bytes;
	return i;
}

#define BURST_AS(name, mode, family, node_family)                                                  \
	static __rte_noinline __u32 burst_send_##name(const struct burst_run *run)                 \
	{                                                                                          \
		return burst_send_as(run, mode, family, node_family);                              \
	}

BURST_AS(l2dsr4, LB_MODE_L2DSR, 4, 0)
BURST_AS(l2dsr6, LB_MODE_L2DSR, 6, 0)
BURST_AS(ipip44, LB_MODE_IPIP, 4, 4)
BURST_AS(ipip46, LB_MODE_IPIP, 4, 6)
BURST_AS(ipip64, LB_MODE_IPIP, 6, 4)
BURST_AS(ipip66, LB_MODE_IPIP, 6, 6)
BURST_AS(gue44, LB_MODE_GUE, 4, 4)
BURST_AS(gue46, LB_MODE_GUE, 4, 6)
BURST_AS(gue64, LB_MODE_GUE, 6, 4)
BURST_AS(gue66, LB_MODE_GUE, 6, 6)

/* A run that begins with frame i. Returns where it ended; i: frame i is another case. */
static inline __u32 burst_send_run(struct worker *w, struct worker_port *p,
				   struct rte_mbuf **frames, const struct burst *b, __u32 i,
				   __u32 n)
{
	const struct lb_backend *node = &w->tables.backends[b->backend[i]];
	const __u8 mode = w->tables.vips[b->of[i] >> 16].mode;
	const int ip4 = b->of[i] & PLAIN_IP4;
	struct burst_run run = {.w = w, .frames = frames, .b = b, .i = i, .n = n};
	struct worker_port *to = p;
	__u8 family;

	family = node->family;
	run.ifindex = node->ifindex;
	if (lb_unlikely(run.ifindex != p->ifindex))
		to = worker_port_of(w, run.ifindex);
	if (!to)
		return i;
	run.out = &to->wire;
	if (run.out->n > WORKER_PENDING - WORKER_BURST)
		worker_flush_wire(w, run.out);
	if (mode == LB_MODE_L2DSR)
		return ip4 ? burst_send_l2dsr4(&run) : burst_send_l2dsr6(&run);
	if (mode == LB_MODE_IPIP && family == 4)
		return ip4 ? burst_send_ipip44(&run) : burst_send_ipip64(&run);
	if (mode == LB_MODE_IPIP)
		return ip4 ? burst_send_ipip46(&run) : burst_send_ipip66(&run);
	if (mode == LB_MODE_GUE && family == 4)
		return ip4 ? burst_send_gue44(&run) : burst_send_gue64(&run);
	if (mode == LB_MODE_GUE)
		return ip4 ? burst_send_gue46(&run) : burst_send_gue66(&run);
	return i;
}

/* --- IPv6 ------------------------------------------------------------------------------------- */

/* The VIP of the last frame of IPv6, as struct burst_vip. */
struct burst_vip6 {
	__u64 daddr[2];
	__be16 dport;
	struct burst_vip vip;
};

static __rte_noinline void burst_find_vip6(struct lb_env *env, const struct lb_pkt *pkt,
					   struct burst_vip6 *ret)
{
	*ret = (struct burst_vip6){.daddr = {pkt->daddr64[0], pkt->daddr64[1]}, .dport = pkt->dport};
	burst_read_vip(env, lb_vip_find(env, pkt->daddr, pkt->dport, IPPROTO_TCP,
					LB_VIP_KIND_SERVICE), PLAIN_IP6, &ret->vip);
}

/* A frame of IPv6, as lanes do it with one of IPv4. 0: it may be another case. */
static inline int burst_choose6(struct worker *w, struct rte_mbuf *m, struct burst *b, __u32 i,
				struct burst_vip6 *last)
{
	union lb_slot_word slot;
	struct lb_env env;
	struct lb_pkt pkt;

	if (other_is_odd(m))
		return 0;
	lb_env_init(&env, m, &w->tables, 0);
	if (!lb_parse_plain6(&env, &pkt) || (pkt.tcp_flags & LB_TCP_SYN))
		return 0;
	if (lb_unlikely(pkt.daddr64[0] != last->daddr[0] || pkt.daddr64[1] != last->daddr[1] ||
			pkt.dport != last->dport))
		burst_find_vip6(&env, &pkt, last);
	if (!last->vip.of)
		return 0;
	b->l.hash[i] = lb_pkt_hash(&env, &pkt, last->vip.affinity);
	slot = burst_slot(&env, &last->vip, b->l.hash[i]);
	if (!burst_slot_answers(slot))
		return 0;
	b->l.first[i] = LB_IP4_FIRST | (__u32)pkt.tos << 16 | pkt.ip_len;
	b->backend[i] = slot.s.cur;
	b->of[i] = last->vip.of;
	return 1;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Frames of other cases are asked about by themselves; what is plain after all joins the runs. */
static inline void burst_choose_others(struct worker *w, struct worker_port *p,
				       struct rte_mbuf **frames, struct burst *b, __u32 n)
{
	struct burst_vip6 last = {};

	for (__u32 i = 0; i < n; i++) {
		struct plain plain;

		if (b->of[i] || burst_choose6(w, frames[i], b, i, &last))
			continue;
		other_choose(w, p, frames[i], &plain);
		if (!plain.kind || plain.backend >= LB_BACKENDS_MAX)
			continue;
		b->of[i] = (__u32)plain.vip << 16 | plain.kind;
		b->l.hash[i] = plain.hash;
		b->l.first[i] = plain.first;
		b->backend[i] = plain.backend;
	}
}

static inline void burst_choose(struct worker *w, struct worker_port *p, struct rte_mbuf **frames,
				struct burst *b, __u32 n)
{
	const __u32 lanes = (n + LANES_STEP - 1) / LANES_STEP * LANES_STEP;
	struct lb_env env = {.t = &w->tables};
	lanes_v all = ~(lanes_v){}, any = {};
	int others;
	__u32 k = 0;

	for (size_t i = 0; i < lanes; i += LANES_STEP) {
		lanes_check(&b->l, i);
		all &= LANES_AT(b->l.live, i);
		any |= LANES_AT(b->l.live, i);
	}
	others = !lanes_none(~all);
	while (others && k < lanes - 1 && !b->l.live[k])
		k++;
	if (lb_unlikely(lanes_none(any)))
		memset(b->of, 0, sizeof(b->of));
	else if (lb_likely(lanes_have_one_vip(&b->l, lanes, k)))
		others |= burst_choose_one(&env, b, lanes, k);
	else
		others |= burst_choose_each(&env, b, lanes);
	if (lb_unlikely(others))
		burst_choose_others(w, p, frames, b, n);
}

/* What is chosen for frame i is done, or else all that is to be done with it. */
static __rte_noinline void burst_send_one(struct worker *w, struct worker_port *p,
					  struct rte_mbuf **frames, struct burst *b, __u32 i,
					  __u32 n)
{
	const struct plain plain = {.hash = b->l.hash[i], .first = b->l.first[i],
				    .backend = b->backend[i], .vip = b->of[i] >> 16,
				    .kind = b->of[i]};
	const __u32 changes = w->tables.changes;

	if (plain.kind && other_send_plain(w, p, frames[i], &plain))
		return;
	other_send(w, p, frames[i]);
	if (changes != w->tables.changes) /* nothing that was chosen is sure */
		memset(&b->of[i], 0, (n - i) * sizeof(b->of[0]));
}

static inline void burst_forward(struct worker *w, struct worker_port *p, struct rte_mbuf **frames,
				 __u32 n)
{
	struct burst b;
	__u32 sent;

	/*
	 * Nothing is prefetched: what lanes_read() loads of a frame waits for no frame before it, so
	 * the processor has a dozen of them under way by itself.
	 */
	for (__u32 i = n; i % LANES_STEP; i++)
		frames[i] = frames[n - 1]; /* lanes that nobody asks */
	for (__u32 i = 0; i < n; i += LANES_STEP)
		lanes_read(frames, i, &b.l);
	burst_choose(w, p, frames, &b, n);
	for (__u32 i = 0; i < n; i += sent) {
		sent = 0;
		if (lb_likely(b.of[i] && !(b.of[i] & PLAIN_NEW)))
			sent = burst_send_run(w, p, frames, &b, i, n) - i;
		if (lb_likely(sent))
			continue;
		burst_send_one(w, p, frames, &b, i, n);
		sent = 1;
	}
}

#endif
