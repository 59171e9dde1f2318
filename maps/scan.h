/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent's scans ask of their programs (bpf/scan.bpf.c). */
#ifndef LB_MAPS_SCAN_H
#define LB_MAPS_SCAN_H

#include "maps/flow.h"
#include "maps/nat.h"

struct lb_scan_ask {
	struct lb_flow_key key;
	struct lb_nat_key reply; /* of the flow's answers, where it has any */
	__u32 seen;		 /* of the entry as it was read: a packet since then saves it */
	__u32 left; /* not 0: it was being removed when it was read, by a worker that was killed */
};
LB_STATIC_SIZE(struct lb_scan_ask, 48);

enum lb_scan_answer {
	LB_SCAN_NONE = 0,	/* there is no such entry */
	LB_SCAN_SEEN = 1,	/* it was seen since, or is another's to remove: nothing changed */
	LB_SCAN_COUNTED = 2,	/* done; it counted in lb_load.flows, which the agent subtracts */
	LB_SCAN_UNCOUNTED = 3,	/* done; it did not */
};

#endif
