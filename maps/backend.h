/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Backends: backend id -> where its packets go, what it is called, how loaded it is.
 * Three maps, because they are written by different hands: "backends" by the agent and rarely (read
 * by every packet), "loads" by every new flow, "backend_info" for people and adoption.
 */
#ifndef LB_MAPS_BACKEND_H
#define LB_MAPS_BACKEND_H

#include "maps/abi.h"

#define LB_BACKEND_F_ALIVE   0x01 /* its flows may be forwarded; clear: dead, entries are void */
#define LB_BACKEND_F_NEXTHOP 0x02 /* ifindex and MACs are known; clear: packets are dropped */
#define LB_BACKEND_F_TAGGED  0x04 /* vlan is not 0 */

/* One cache line. The agent changes it in place, one 8-byte word at a time, so what must not be
 * seen half changed shares a word. */
struct lb_backend {
	__be32 addr[4]; /* node address; IPv4 as ::ffff:a.b.c.d */
	__be32 src[4];	/* outer source (nat: inner source); IPv4 as ::ffff:a.b.c.d */

	__u8 dmac[6]; /* of the next hop */
	__u16 mtu;    /* largest IP packet towards the node, outer headers included */

	__u8 smac[6]; /* of the egress device */
	__be16 port;  /* nat: destination port at the node */

	__be32 src_vary; /* bits of src[3] that vary by flow hash, so receivers spread flows */
	__be16 gue_port; /* gue: UDP destination port */
	__be16 vlan;	 /* tag (802.1Q) of frames to the next hop; 0: none, or as the frame came */

	__u32 ifindex;	 /* egress device */
	__u8 family;	 /* 4 or 6: of addr and src */
	__u8 flags;	 /* LB_BACKEND_F_* */
	__u8 generation; /* rises when the node dies or the id gets another node */
	__u8 pad2;
} __attribute__((aligned(8)));
LB_STATIC_SIZE(struct lb_backend, 64);

#define LB_LOAD_F_HOT	 0x01 /* requests wait there, or its slots are above 90 % busy */
#define LB_LOAD_F_IGNORE 0x02 /* no load known in the whole pool: choose by hash */

struct lb_load {
	__u32 base;   /* running + waiting requests as last scraped */
	__u32 inc;    /* flows this host added since; the agent subtracts what it read */
	__u32 weight; /* capacity weight, thousandths */
	__u32 flags;  /* LB_LOAD_F_* */
	__u32 flows;  /* live flows with an entry */
	__u32 pad[3];
};
LB_STATIC_SIZE(struct lb_load, 32);

enum lb_state {
	LB_STATE_NONE = 0, /* the id is free */
	LB_STATE_UNKNOWN = 1,
	LB_STATE_LOADING = 2,
	LB_STATE_WARMING = 3,
	LB_STATE_HEALTHY = 4,
	LB_STATE_DEGRADED = 5,
	LB_STATE_UNHEALTHY = 6,
	LB_STATE_DRAINING = 7,
	LB_STATE_MAINTENANCE = 8,
};

struct lb_backend_info {
	char name[LB_NAME_MAX];
	char pool[LB_NAME_MAX];
	char address[LB_NAME_MAX]; /* address:port of the health check, printed */
	enum lb_state state;
	__u32 weight;		/* configured or set by the operator, whole numbers */
	__u32 effective_weight; /* thousandths, as published */
	__u32 tier;
	__u32 operator_state; /* LB_STATE_NONE, _DRAINING or _MAINTENANCE: what the operator asked */
	__u32 weight_set;     /* not 0: weight is the operator's, not the file's */
	__u64 drain_deadline_ms; /* CLOCK_BOOTTIME; 0: none */
};
LB_STATIC_SIZE(struct lb_backend_info, 224);

#endif
