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

struct worker {
	struct dpdk_tables tables;
	struct lb_worker *shared; /* published and counted here */
	uint16_t queue;		  /* of every device */
	uint16_t n_ports;
	uint32_t idle_us; /* sleep so long when nothing comes; 0: poll on */
	struct worker_port ports[WORKER_PORTS_MAX];
} __attribute__((aligned(64)));

/* One round over all ports. ticks: now (dpdk_ticks()). Returns the frames that came. */
uint32_t worker_round(struct worker *w, uint32_t ticks);

/* Rounds until *stop; the worker is published as running meanwhile. */
void worker_run(struct worker *w, const volatile int *stop);

#endif
