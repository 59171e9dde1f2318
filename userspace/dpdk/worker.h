/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One core's work: frames of its queue -> the core -> the wire or the kernel; frames of the kernel
 * -> the wire. Run to completion, nothing is handed to another core.
 */
#ifndef SLUICE_DPDK_WORKER_H
#define SLUICE_DPDK_WORKER_H

#include <rte_mbuf.h>
#include <stdint.h>

#include "userspace/dpdk/tables.h"

#define WORKER_BURST	 32
#define WORKER_PORTS_MAX DPDK_DEVICES_MAX
#define WORKER_PENDING	 128 /* frames collected for one device */

/* Frames that wait for the end of the round. */
struct worker_out {
	uint16_t port; /* ethdev */
	uint16_t n;
	struct rte_mbuf *frames[WORKER_PENDING];
};

/* A device with its mirror in the kernel. */
struct worker_port {
	uint32_t ifindex; /* of the mirror: what next hops name */
	struct worker_out wire;
	struct worker_out kernel;
};

struct worker;

/* n > 0 frames that p received -> where they go; there is room for BURST_SPARE more behind them. */
typedef void (*burst_fn)(struct worker *w, struct worker_port *p, struct rte_mbuf **frames,
			 uint32_t n);
#define BURST_SPARE 8

struct worker {
	struct dpdk_tables tables;
	struct lb_worker *shared; /* published and counted here */
	uint16_t queue;		  /* of every device */
	uint16_t n_ports;
	burst_fn burst;
	uint32_t idle_us; /* sleep so long when nothing comes; 0: poll on */
	struct worker_port ports[WORKER_PORTS_MAX];
} __attribute__((aligned(64)));

/* One round over all ports. ticks: now (dpdk_ticks()). Returns the frames that came. */
uint32_t worker_round(struct worker *w, uint32_t ticks);

/* Rounds until *stop; the worker is published as running meanwhile. */
void worker_run(struct worker *w, const volatile int *stop);

/* --- where a frame goes ----------------------------------------------------------------------- */

/* The port whose mirror has this index; NULL: none of ours. */
struct worker_port *worker_port_of(struct worker *w, uint32_t ifindex);

void worker_flush_wire(struct worker *w, struct worker_out *wire);

void worker_to_wire(struct worker *w, struct worker_port *p, struct rte_mbuf *m);
void worker_to_kernel(struct worker *w, struct worker_port *p, struct rte_mbuf *m);

/* To the wire of the port whose mirror has this index. */
void worker_redirect(struct worker *w, uint32_t ifindex, struct rte_mbuf *m);

#endif
