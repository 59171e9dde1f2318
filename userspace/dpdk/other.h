/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames of a burst that are not of its many: each by itself, through the core as it is. */
#ifndef SLUICE_DPDK_OTHER_H
#define SLUICE_DPDK_OTHER_H

#include "userspace/dpdk/plain.h"
#include "userspace/dpdk/worker.h"

/* What a device says of frames that the core must not meet as they are. */
#define OTHER_ODD (RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_IP_CKSUM_BAD)

/* A device took something out of the frame, or found it damaged, or it is in several pieces. */
static inline int other_is_odd(const struct rte_mbuf *m)
{
	return unlikely((m->ol_flags & OTHER_ODD) || m->nb_segs > 1);
}

/* As plain_choose(); a frame that the core must not meet as it is is another case, too. */
void other_choose(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
		  struct plain *ret_plain);

/* A frame that was chosen for. Returns 0 if it is another case after all; nothing is changed. */
int other_send_plain(struct worker *w, struct worker_port *p, struct rte_mbuf *m,
		     const struct plain *plain);

/* Any frame: lb_forward(). */
void other_send(struct worker *w, struct worker_port *p, struct rte_mbuf *m);

#endif
