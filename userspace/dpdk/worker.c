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

static inline void carry_out(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
			     const struct lb_env *env, const struct lb_result *result)
{
	if (likely(result->verdict == LB_VERDICT_TX)) {
		lb_env_commit(env);
		to_wire(w, p, m);
	} else if (result->verdict == LB_VERDICT_REDIRECT) {
		lb_env_commit(env);
		redirect(w, result->ifindex, m);
	} else if (result->verdict == LB_VERDICT_PASS) {
		to_kernel(w, p, m);
	} else {
		rte_pktmbuf_free(m);
	}
}

/* Any frame. Out of line, so that the loop keeps its registers for the plain ones. */
static __rte_noinline void forward_any(struct worker *w, struct worker_port *p, struct rte_mbuf *m)
{
	struct lb_result result;
	struct lb_env env;

	if (((m->ol_flags & ODD_FLAGS) || m->nb_segs > 1) && make_plain(&m) < 0)
		return to_kernel(w, p, m);
	lb_env_init(&env, m, &w->tables, p->ifindex);
	result = lb_forward(&env);
	carry_out(w, p, m, &env, &result);
}

static inline void choose(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
			  struct plain *ret_plain)
{
	struct lb_env env;

	ret_plain->chosen = 0;
	if (unlikely((m->ol_flags & ODD_FLAGS) || m->nb_segs > 1))
		return;
	lb_env_init(&env, m, &w->tables, p->ifindex);
	(void)plain_choose(&env, ret_plain);
}

/* Returns 1 if the frame went the plain way, which leaves the choices of others as they are. */
static inline int send_one(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
		       const struct plain *plain)
{
	struct lb_result result;
	struct lb_env env;

	lb_env_init(&env, m, &w->tables, p->ifindex);
	if (likely(plain->chosen && plain_send(&env, plain, &result))) {
		carry_out(w, p, m, &env, &result);
		return 1;
	}
	forward_any(w, p, m);
	return 0;
}

static uint32_t from_wire(struct worker *w, struct worker_port *p)
{
	struct rte_mbuf *frames[WORKER_BURST];
	struct plain plain[WORKER_BURST];
	uint16_t n = rte_eth_rx_burst(p->wire.port, w->queue, frames, WORKER_BURST);
	int stale = 0;

	for (uint16_t i = 0; i < n && i < PREFETCH_AHEAD; i++)
		rte_prefetch0(rte_pktmbuf_mtod(frames[i], void *));
	for (uint16_t i = 0; i < n; i++) {
		if (i + PREFETCH_AHEAD < n)
			rte_prefetch0(rte_pktmbuf_mtod(frames[i + PREFETCH_AHEAD], void *));
		choose(w, p, frames[i], &plain[i]);
	}
	for (uint16_t i = 0; i < n; i++) {
		if (unlikely(stale))
			choose(w, p, frames[i], &plain[i]);
		stale |= !send_one(w, p, frames[i], &plain[i]);
	}
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
