/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Mode nat: flow of a client -> backend and source port; answer of a node -> client.
 *
 * Every flow has one entry in each table. The packet path adds both and refreshes them; the agent
 * removes them by their age and flags. The source address of a flow is that of its backend entry
 * (lb_backend.src), so node, its port and our port tell flows apart.
 */
#ifndef LB_MAPS_NAT_H
#define LB_MAPS_NAT_H

#include "maps/flow.h"

#define LB_NAT_F_HALF	 0x01 /* only the client's SYN was seen */
#define LB_NAT_F_CLOSING 0x02 /* a FIN came from this side */
#define LB_NAT_F_CLOSED	 0x04 /* a RST came from this side */
#define LB_NAT_F_COUNTED 0x08 /* counted in lb_load.flows */
#define LB_NAT_F_GONE	 0x10 /* a CPU is removing this flow and its reply: no other may */

/* Other tags than one of 802.1Q: an answer keeps those it came with, on the client's device. */
#define LB_NAT_VLAN_KEEP 0xffff

/* Map "nat_flows": key struct lb_flow_key (maps/flow.h). */
struct lb_nat_flow {
	__u16 backend;
	__u8 generation; /* of the backend when the entry was made; differs: void */
	__u8 flags;	 /* LB_NAT_F_*, what the client sent */
	__u32 seen;	 /* ticks */
	__be16 nat_port; /* source port towards the node */
	__u16 pad;
};
LB_STATIC_SIZE(struct lb_nat_flow, 12);

/* Map "nat_replies". */
struct lb_nat_key {
	__be32 node[4]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 node_port;
	__be16 nat_port;
};
LB_STATIC_SIZE(struct lb_nat_key, 20);

struct lb_nat_reply {
	__be32 client[4];
	__be16 client_port;
	__u16 vip;
	__be16 vlan; /* 802.1Q tag of the client's frames; 0: none; or LB_NAT_VLAN_KEEP */
	__u8 flags;  /* LB_NAT_F_*, what the node sent */
	__u8 pad;
	__u32 seen;    /* ticks */
	__u32 ifindex; /* where the client's packets came from, and answers leave */
	__u8 dmac[6];  /* of the next hop towards the client, as its SYN came */
	__u8 smac[6];
};
LB_STATIC_SIZE(struct lb_nat_reply, 44);

#endif
