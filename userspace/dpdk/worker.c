// SPDX-License-Identifier: GPL-2.0-only
#include "userspace/dpdk/worker.h"

#include <unistd.h>

#include "userspace/dpdk/burst_ways.h"
#include "userspace/dpdk/rte.h"

#define IDLE_ROUNDS 64 /* empty ones before the first sleep */

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

void worker_flush_wire(struct worker *w, struct worker_out *wire)
{
	if (wire->n)
		flush(wire, w->queue, &w->shared->sent, &w->shared->unsent);
}

static void flush_kernel(struct worker *w, struct worker_port *p)
{
	if (p->kernel.n)
		flush(&p->kernel, w->queue, &w->shared->to_kernel, &w->shared->kernel_full);
}

void worker_to_wire(struct worker *w, struct worker_port *p, struct rte_mbuf *m)
{
	if (unlikely(p->wire.n == WORKER_PENDING))
		worker_flush_wire(w, &p->wire);
	p->wire.frames[p->wire.n++] = m;
}

void worker_to_kernel(struct worker *w, struct worker_port *p, struct rte_mbuf *m)
{
	if (unlikely(p->kernel.n == WORKER_PENDING))
		flush_kernel(w, p);
	p->kernel.frames[p->kernel.n++] = m;
}

struct worker_port *worker_port_of(struct worker *w, uint32_t ifindex)
{
	for (uint16_t i = 0; i < w->n_ports; i++)
		if (w->ports[i].ifindex == ifindex)
			return &w->ports[i];
	return NULL;
}

void worker_redirect(struct worker *w, uint32_t ifindex, struct rte_mbuf *m)
{
	struct worker_port *p = worker_port_of(w, ifindex);

	if (p)
		return worker_to_wire(w, p, m);
	w->shared->no_port++;
	rte_pktmbuf_free(m);
}

static uint32_t from_wire(struct worker *w, struct worker_port *p)
{
	struct rte_mbuf *frames[WORKER_BURST + BURST_SPARE];
	uint32_t n = rte_eth_rx_burst(p->wire.port, w->queue, frames, WORKER_BURST);

	if (n)
		w->burst(w, p, frames, n);
	w->shared->received += n;
	return n;
}

static uint32_t from_kernel(struct worker *w, struct worker_port *p)
{
	struct rte_mbuf *frames[WORKER_BURST];
	uint16_t n = rte_eth_rx_burst(p->kernel.port, w->queue, frames, WORKER_BURST);

	for (uint16_t i = 0; i < n; i++)
		worker_to_wire(w, p, frames[i]);
	w->shared->from_kernel += n;
	return n;
}

/* A round begins: what was held before is forgotten, and what was changed before is known. */
static void begin_round(struct worker *w, uint32_t ticks)
{
	uint32_t length = ticks - w->tables.ticks;

	if (unlikely(length > LB_PAUSE_TICKS))
		__atomic_store_n(&w->shared->pause, LB_PAUSE_OF(ticks, length), __ATOMIC_RELEASE);
	w->tables.ticks = ticks;
	__atomic_store_n(&w->shared->tick, ticks, __ATOMIC_RELEASE);
}

uint32_t worker_round(struct worker *w, uint32_t ticks)
{
	uint32_t n = 0;

	begin_round(w, ticks);
	for (uint16_t i = 0; i < w->n_ports; i++) {
		n += from_wire(w, &w->ports[i]);
		n += from_kernel(w, &w->ports[i]);
	}
	for (uint16_t i = 0; i < w->n_ports; i++) {
		worker_flush_wire(w, &w->ports[i].wire);
		flush_kernel(w, &w->ports[i]);
	}
	return n;
}

void worker_run(struct worker *w, const volatile int *stop)
{
	uint32_t empty = 0, now = dpdk_ticks();

	/* From the last round of the process before to our first is a pause, too. */
	w->tables.ticks = w->shared->tick ? w->shared->tick : now;
	begin_round(w, now);
	__atomic_store_n(&w->shared->pid, getpid(), __ATOMIC_SEQ_CST);
	while (!*stop) {
		if (worker_round(w, dpdk_ticks()))
			empty = 0;
		else if (++empty >= IDLE_ROUNDS && w->idle_us)
			usleep(w->idle_us);
	}
	__atomic_store_n(&w->shared->pid, 0, __ATOMIC_SEQ_CST);
}
