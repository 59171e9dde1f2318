// SPDX-License-Identifier: GPL-2.0-only
#include "userspace/dpdk/worker.h"

#include <unistd.h>

#include "userspace/dpdk/rte.h"
#include "userspace/dpdk/plain.h"

#define PREFETCH_AHEAD 4
#define ODD_FLAGS      (RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_IP_CKSUM_BAD)
#define IDLE_ROUNDS    64 /* empty ones before the first sleep */

/* What the device does not take is freed and counted: the wire is full. */
static void flush(struct worker_out *out, uint16_t queue, __u64 *sent, __u64 *unsent)
{
	uint16_t n = rte_eth_tx_burst(out->port, queue, out->frames, out->n);

	*sent += n;
	if (unlikely(n < out->n)) {
		*unsent += out->n - n;
		rte_pktmbuf_free_bulk(&out->frames[n], out->n - n);
	}
	out->n = 0;
}

static void flush_wire(struct worker *w, struct worker_port *p)
{
	if (p->wire.n)
		flush(&p->wire, w->queue, &w->shared->sent, &w->shared->unsent);
}

static void flush_kernel(struct worker *w, struct worker_port *p)
{
	if (p->kernel.n)
		flush(&p->kernel, w->queue, &w->shared->to_kernel, &w->shared->kernel_full);
}

static inline void to_wire(struct worker *w, struct worker_port *p, struct rte_mbuf *m)
{
	if (unlikely(p->wire.n == WORKER_PENDING))
		flush_wire(w, p);
	p->wire.frames[p->wire.n++] = m;
}

static void to_kernel(struct worker *w, struct worker_port *p, struct rte_mbuf *m)
{
	if (unlikely(p->kernel.n == WORKER_PENDING))
		flush_kernel(w, p);
	p->kernel.frames[p->kernel.n++] = m;
}

static void redirect(struct worker *w, uint32_t ifindex, struct rte_mbuf *m)
{
	for (uint16_t i = 0; i < w->n_ports; i++)
		if (w->ports[i].ifindex == ifindex)
			return to_wire(w, &w->ports[i], m);
	w->shared->no_port++;
	rte_pktmbuf_free(m);
}

/*
 * What a device may do that the core must not meet: a tag taken out of the frame is put back, a
 * frame in several pieces is made one. 0: the core may have it; < 0: it is for the kernel as it
 * is, which also counts what the device found to be damaged.
 */
static int make_plain(struct rte_mbuf **m)
{
	if (((*m)->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) && rte_vlan_insert(m) < 0)
		return -1;
	if (((*m)->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_BAD)
		return -1;
	return rte_pktmbuf_linearize(*m);
}

/* The frame is as it shall be. By value, so that no caller keeps a result in memory for this. */
static __rte_noinline void carry_out(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
				     enum lb_verdict verdict, uint32_t ifindex)
{
	if (verdict == LB_VERDICT_TX)
		to_wire(w, p, m);
	else if (verdict == LB_VERDICT_REDIRECT)
		redirect(w, ifindex, m);
	else if (verdict == LB_VERDICT_PASS)
		to_kernel(w, p, m);
	else
		rte_pktmbuf_free(m);
}

/* Nothing that the core must not meet: see make_plain(). */
static inline int is_odd(const struct rte_mbuf *m)
{
	return unlikely((m->ol_flags & ODD_FLAGS) || m->nb_segs > 1);
}

static __rte_noinline void choose_any(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
				      struct plain *ret_plain)
{
	struct lb_env env;

	ret_plain->of.kind = 0;
	if (is_odd(m))
		return;
	lb_env_init(&env, m, &w->tables, p->ifindex);
	plain_choose(&env, ret_plain);
}

static inline void parse(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
			 struct plain_vip *last, struct plain *ret_plain)
{
	struct lb_env env;

	lb_env_init(&env, m, &w->tables, p->ifindex);
	if (is_odd(m) || unlikely(!plain_parse_many(&env, last, ret_plain)))
		choose_any(w, p, m, ret_plain);
}

static inline void choose(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
			  struct plain *plain)
{
	struct lb_env env = {.t = &w->tables};

	if (unlikely(!plain_choose_many(&env, plain)))
		choose_any(w, p, m, plain);
}

/* Any frame. */
static __rte_noinline void send_any(struct worker *w, struct worker_port *p, struct rte_mbuf *m)
{
	struct lb_result result;
	struct lb_env env;

	if (is_odd(m) && make_plain(&m) < 0)
		return to_kernel(w, p, m);
	lb_env_init(&env, m, &w->tables, p->ifindex);
	result = lb_forward(&env);
	lb_env_commit(&env);
	carry_out(w, p, m, result.verdict, result.ifindex);
}

/*
 * A frame that was chosen for. Returns 0 if it is another case after all; nothing is changed.
 * noipa: taken apart, *plain would keep five registers of send_many() busy for a rare call.
 */
static __attribute__((noipa)) int send_plain(struct worker *w, struct worker_port *p,
					     struct rte_mbuf *m, const struct plain *plain)
{
	struct lb_result result;
	struct lb_env env;

	lb_env_init(&env, m, &w->tables, p->ifindex);
	if (!plain_send(&env, plain, &result))
		return 0;
	lb_env_commit(&env);
	carry_out(w, p, m, result.verdict, result.ifindex);
	return 1;
}

/* The same for one of the many. ifindex: of p. There must be room in p->wire. */
static inline int send_many(struct worker *w, struct worker_port *p, uint32_t ifindex,
			    struct rte_mbuf *m, const struct plain *plain)
{
	struct lb_env env = {.t = &w->tables};
	const struct lb_backend *node = plain_node_many(&env, plain);
	struct lb_result result;

	if (unlikely(!node))
		return 0;
	lb_env_init(&env, m, &w->tables, ifindex);
	if (unlikely(!plain_send_many(&env, plain, node, &result)))
		return 0;
	lb_env_commit(&env);
	if (likely(result.verdict == LB_VERDICT_TX))
		p->wire.frames[p->wire.n++] = m;
	else
		carry_out(w, p, m, result.verdict, result.ifindex);
	return 1;
}

/* frames end with NULL. */
static inline void send_burst(struct worker *w, struct worker_port *p, struct rte_mbuf **frames,
			      const struct plain *plain)
{
	uint32_t ifindex = p->ifindex; /* not again behind each frame that is written */

	if (p->wire.n > WORKER_PENDING - WORKER_BURST)
		flush_wire(w, p);
	while (*frames && (likely(send_many(w, p, ifindex, *frames, plain)) ||
			   (plain->of.kind && send_plain(w, p, *frames, plain))))
		frames++, plain++;
	/* From the first other case on, nothing that was chosen is sure. */
	while (*frames)
		send_any(w, p, *frames++);
}

static uint32_t from_wire(struct worker *w, struct worker_port *p)
{
	struct rte_mbuf *frames[WORKER_BURST + PREFETCH_AHEAD];
	struct plain plain[WORKER_BURST];
	struct plain_vip last = {.key = PLAIN_VIP_NONE};
	uint32_t n = rte_eth_rx_burst(p->wire.port, w->queue, frames, WORKER_BURST);

	if (!n)
		return 0;
	for (uint32_t i = 0; i < PREFETCH_AHEAD; i++) {
		frames[n + i] = frames[n - 1]; /* so that there always is one ahead */
		rte_prefetch0(rte_pktmbuf_mtod(frames[i], void *));
	}
	for (uint32_t i = 0; i < n; i++) {
		rte_prefetch0(rte_pktmbuf_mtod(frames[i + PREFETCH_AHEAD], void *));
		parse(w, p, frames[i], &last, &plain[i]);
	}
	for (uint32_t i = 0; i < n; i++)
		choose(w, p, frames[i], &plain[i]);
	frames[n] = NULL;
	send_burst(w, p, frames, plain);
	w->shared->received += n;
	return n;
}

static uint32_t from_kernel(struct worker *w, struct worker_port *p)
{
	struct rte_mbuf *frames[WORKER_BURST];
	uint16_t n = rte_eth_rx_burst(p->kernel.port, w->queue, frames, WORKER_BURST);

	for (uint16_t i = 0; i < n; i++)
		to_wire(w, p, frames[i]);
	w->shared->from_kernel += n;
	return n;
}

uint32_t worker_round(struct worker *w, uint32_t ticks)
{
	uint32_t n = 0;

	w->tables.ticks = ticks;
	__atomic_store_n(&w->shared->tick, ticks, __ATOMIC_RELEASE);
	for (uint16_t i = 0; i < w->n_ports; i++) {
		n += from_wire(w, &w->ports[i]);
		n += from_kernel(w, &w->ports[i]);
	}
	for (uint16_t i = 0; i < w->n_ports; i++) {
		flush_wire(w, &w->ports[i]);
		flush_kernel(w, &w->ports[i]);
	}
	return n;
}

void worker_run(struct worker *w, const volatile int *stop)
{
	uint32_t empty = 0;

	__atomic_store_n(&w->shared->tick, dpdk_ticks(), __ATOMIC_SEQ_CST);
	__atomic_store_n(&w->shared->pid, getpid(), __ATOMIC_SEQ_CST);
	while (!*stop) {
		if (worker_round(w, dpdk_ticks()))
			empty = 0;
		else if (++empty >= IDLE_ROUNDS && w->idle_us)
			usleep(w->idle_us);
	}
	__atomic_store_n(&w->shared->pid, 0, __ATOMIC_SEQ_CST);
}
