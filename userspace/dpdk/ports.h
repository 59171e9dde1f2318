/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices that DPDK drives, and for each its mirror: a TAP device of the kernel with the same
 * address, through which what is not for a VIP reaches this host and back.
 *
 * The mirror is persistent, so that its addresses and routes survive a restart of this program.
 * Its MTU is the device's. It is made if it is not there, and `ip link del` removes it.
 */
#ifndef SLUICE_DPDK_PORTS_H
#define SLUICE_DPDK_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "userspace/dpdk/tables.h"
#include "userspace/dpdk/worker.h"

struct port {
	const char *device; /* as the configuration has it: "0000:01:00.0", "net_af_xdp0,iface=eth0" */
	const char *mirror; /* name of the kernel's side */
	uint16_t id;	    /* ethdev */
	uint16_t mirror_id;
	uint32_t ifindex; /* of the mirror */
	uint16_t mtu;	  /* of both */
	bool started;	  /* id is valid */
	bool one_pool;	  /* no other device's frames leave by this one */
	struct rte_mempool *pool;
};

/*
 * Open the device with n_queues queues and its mirror, and start both. index: of the port, for
 * names. Returns 0; or -errno with one line in err.
 */
int port_open(struct port *p, uint32_t index, uint16_t n_queues, char err[DPDK_ERROR_MAX]);

/* Stop the device. The mirror stays in the kernel, with its addresses and routes. */
void port_close(struct port *p);

#endif
