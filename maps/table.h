/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Pools: pool id -> slots, members, turns.
 *
 * Slots of all pools lie in one array map "slots": pool p owns [p * LB_SLOTS_MAX, + n_slots).
 * A slot is one 8-byte word, read once and changed by 8-byte compare-and-swap; only `exc` is also
 * stored alone (2 bytes, by the packet path). DESIGN: "Stateless by default, stateful by exception".
 */
#ifndef LB_MAPS_TABLE_H
#define LB_MAPS_TABLE_H

#include "maps/abi.h"

struct lb_slot {
	__u16 cur;  /* backend of new flows */
	__u16 alt;  /* second choice of new flows, != cur; 0: none; or LB_ALT_ENDING */
	__u16 prev; /* not 0: in transition; flows without an entry belong here */
	__u16 exc;  /* not 0: flows of this slot have entries; the epoch of the newest */
};
LB_STATIC_SIZE(struct lb_slot, 8);

/*
 * alt of a slot whose transition ends in some seconds. A SYN that gets no entry (no room, over the
 * rate) would go to prev, and if the transition ended before its flow's next packet, that to cur.
 * So it is dropped from now on; its client sends it again.
 */
#define LB_ALT_ENDING LB_BACKEND_LOCAL

/* `turns` and `members` of a pool have two banks; the agent fills the idle one and flips. */
#define LB_BANK_BIT 0x80000000u

struct lb_pool {
	__u64 turn;	 /* next turn; added to by every new flow of a round robin */
	__u32 n_turns;	 /* length of the schedule | LB_BANK_BIT when bank 1 is in use */
	__u32 n_members; /* members that take new flows | LB_BANK_BIT */
	__u32 pad[12];
};
LB_STATIC_SIZE(struct lb_pool, 64);

/* Map "turns", entry pool * 2 + bank: backend ids in the order they are served. */
struct lb_turns {
	__u16 backend[LB_TURNS_MAX];
};

/* Map "members", entry pool * 2 + bank: backends an exact scan compares. */
struct lb_members {
	__u16 backend[LB_MEMBERS_MAX];
};

struct lb_pool_info {
	char name[LB_NAME_MAX];
	__u32 n_slots;
	__u32 in_use;
};
LB_STATIC_SIZE(struct lb_pool_info, 72);

#endif
