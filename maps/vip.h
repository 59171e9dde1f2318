/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Virtual addresses: (address, port, protocol) -> VIP id -> what to do with its packets.
 *
 * The index is a cuckoo table with one cell a bucket: a key sits in bucket lb_vip_bucket_a() or
 * lb_vip_bucket_b() (bpf/core/vip.h), so a look-up costs at most two array reads and no helper
 * call. The agent moves a key by writing the new cell, waiting a grace period, and then clearing
 * the old one; a reader always finds a key that was there before and after.
 */
#ifndef LB_MAPS_VIP_H
#define LB_MAPS_VIP_H

#include "maps/abi.h"

enum lb_vip_kind {
	LB_VIP_KIND_EMPTY = 0,
	LB_VIP_KIND_SERVICE = 1, /* address, port and protocol of a VIP */
	LB_VIP_KIND_NAT = 3,	 /* an address of this host that mode nat sends from (port 0, TCP) */
	LB_VIP_KIND_ADDRESS = 2, /* the address alone (port 0, protocol 0): ping, ICMP, fragments */
};

/* IPv4 addresses are held as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). */
struct lb_vip_cell {
	__be32 addr[4];
	__be16 port;
	__u8 proto;  /* IPPROTO_TCP */
	__u8 kind;   /* enum lb_vip_kind; written last, cleared first */
	__u32 vip;   /* VIP id; for KIND_ADDRESS that of any VIP on the address */
	__u64 pad;
};
LB_STATIC_SIZE(struct lb_vip_cell, 32);

enum lb_mode {
	LB_MODE_L2DSR = 1, /* MAC addresses rewritten */
	LB_MODE_IPIP = 2,  /* IPv4 or IPv6 in IPv4 or IPv6 (RFC 2003, 2473, 4213) */
	LB_MODE_GUE = 3,   /* IP in UDP, GUE variant 1 (draft-ietf-intarea-gue-09 section 4) */
	LB_MODE_NAT = 4,   /* addresses and ports rewritten, replies come back through */
};

enum lb_policy {
	LB_POLICY_HASH = 1,
	LB_POLICY_P2C = 2,
	LB_POLICY_LEAST_QUEUE = 3,
	LB_POLICY_LEAST_CONN = 4,
	LB_POLICY_ROUND_ROBIN = 5,
	LB_POLICY_WEIGHTED_ROUND_ROBIN = 6,
};

enum lb_on_down {
	LB_ON_DOWN_RESET = 1,  /* flows of a dead node get a TCP reset */
	LB_ON_DOWN_REHASH = 2, /* … go where the table says now */
	LB_ON_DOWN_KEEP = 3,   /* … keep going to the dead node */
};

enum lb_affinity {
	LB_AFFINITY_FLOW = 1,	/* hash of addresses and ports */
	LB_AFFINITY_SOURCE = 2, /* hash of the client's address */
};

#define LB_VIP_F_ACTIVE	    0x01 /* configured; otherwise packets pass to the kernel */
#define LB_VIP_F_TRACK	    0x02 /* every flow has an entry: policy or load source need it; always set with mode nat */
#define LB_VIP_F_PING	    0x04 /* answer ICMP echo for the address */

/*
 * What a packet for the VIP needs, in one cache line: the fields of its pool are copied in by
 * the agent. flags is written last when a VIP appears and first when it goes.
 */
struct lb_vip {
	__u32 slot_base; /* first slot of the pool in map "slots"; one word with n_slots */
	__u32 n_slots;	 /* prime, <= LB_SLOTS_MAX */
	__u32 flags;	 /* LB_VIP_F_* */
	__u32 pool;
	__u8 mode;     /* enum lb_mode */
	__u8 policy;   /* enum lb_policy */
	__u8 affinity; /* enum lb_affinity */
	__u8 on_down;  /* enum lb_on_down */
	__be16 port;
	__u8 proto;
	__u8 family; /* 4 or 6 */
	__be32 addr[4];
	__u32 generation; /* rises with each use of the id, so that old entries are void */
	__u32 syn_share;  /* of 256 SYNs so many count as load, for others lead to nothing; 0: all */
	__u32 pad[4];
} __attribute__((aligned(8)));
LB_STATIC_SIZE(struct lb_vip, 64);

/* For people and for adoption after a restart; the packet path does not read it. */
struct lb_vip_info {
	char name[LB_NAME_MAX];
	char pool[LB_NAME_MAX];
	char address[LB_NAME_MAX];
};
LB_STATIC_SIZE(struct lb_vip_info, 192);

#endif
