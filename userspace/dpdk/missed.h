/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices -> frames that never reached a worker, because their queue was full or no buffer was free.
 *
 * Most drivers say it in their statistics. Of those for kernel devices, net_af_packet (22.11) says
 * nothing and net_af_xdp only a part, so their sockets are asked, among the files of this process.
 */
#ifndef SLUICE_DPDK_MISSED_H
#define SLUICE_DPDK_MISSED_H

#include <linux/types.h>
#include <stdint.h>

#include "userspace/dpdk/ports.h"

#define MISSED_SOCKETS_MAX 256

struct missed_socket {
	int fd; /* the driver's */
	int domain;
	uint64_t seen; /* AF_XDP's counter, which the kernel does not set back */
};

struct missed {
	struct missed_socket sockets[MISSED_SOCKETS_MAX];
	uint32_t n_sockets;
	uint64_t device_missed, device_no_buffers; /* of all devices, as last read */
};

/* Once all ports are open. */
void missed_init(struct missed *m);

/* Add what was lost since the last time to both. */
void missed_count(struct missed *m, const struct port *ports, uint16_t n_ports,
		  __u64 *missed, __u64 *no_buffers);

#endif
