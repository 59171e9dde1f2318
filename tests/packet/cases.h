/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The packet-case table: each case a behaviour sentence and the steps that show it. One table
 * runs on every host of the core (tests/packet/runner.h).
 *
 * A case has a service on VIP, port 443, for IPv4 and IPv6 (ids VIP_ID4, VIP_ID6), of one pool. The
 * pool has one slot unless the case says otherwise, so that every flow meets the word in `slot`.
 * To add a theme: a file cases_x.c with an array and one line in cases_all[] (main.c).
 */
#ifndef TESTS_PACKET_CASES_H
#define TESTS_PACKET_CASES_H

#include <stdint.h>

#include "maps/abi.h"
#include "maps/backend.h"
#include "maps/flow.h"
#include "maps/stats.h"
#include "maps/table.h"
#include "maps/vip.h"
#include "tests/packet/frame.h"

#define VIP_ID4	  3
#define VIP_ID6	  5
#define PORT	  443
#define SLOT_BASE 11
#define POOL	  2
#define EPOCH	  7 /* lb_control.epoch at the start of a case */
#define IF_NEAR	  1 /* device frames come from */
#define IF_FAR	  9 /* device of NODE5 and NODE6 */
#define MTU	  1500
#define NODE_PORT 8443 /* of every node, in mode nat */

#define FLOWS_ROOM     8 /* entries the tables hold in the tests */
#define HALF_OPEN_ROOM 4
#define NAT_ROOM       4

/* Numbers of enum lb_verdict, enum lb_flow_table (bpf/core/env.h), which tests must not include. */
enum want {
	DROP = 1,
	PASS = 2,
	TX = 3,
	REDIRECT = 4,
};
enum entry_table {
	IN_FLOWS = 1,
	IN_HALF_OPEN = 2,
};

enum step_kind {
	STEP_FRAME = 0,
	STEP_SWEEP,   /* as STEP_FRAME, for each of the 65536 values of what `sweep` says */
	STEP_CUTS,    /* `in` at every length up to its own; cuts[] says what each must give */
	STEP_SLOT,    /* the agent writes `slot` */
	STEP_NODE,    /* the agent writes flags, generation of `node` */
	STEP_LOAD,    /* … base, inc, weight, flags of `node` */
	STEP_CONTROL, /* … epoch, limits */
	STEP_VIP,     /* … flags of both VIPs */
	STEP_MEMBERS, /* … the pool's members, list[] into bank `value` */
	STEP_TURNS,   /* … the pool's turns, list[] into bank `value` */
	STEP_COUNTED, /* … live flows of `node` */
	STEP_TIME,    /* seconds pass; fewer than 0: on a CPU whose clock is behind */
	STEP_HEARD,   /* the agent's last sign of life was `value` ms ago */
	STEP_MTU,     /* the device that frames come from has MTU `value` from now on */
	STEP_FILL,    /* the table is filled with entries of strangers */
	STEP_ENTRY,   /* expected: entry of (who, family, sport) in table, or none */
	STEP_EXC,     /* expected: exc of the slot */
	STEP_FLOWS,   /* expected: live flows of node */
	STEP_INC,     /* expected: lb_load.inc of node */
	STEP_END,
};

/* Frames of [from, to] bytes get this answer. */
struct cut {
	uint32_t from, to;
	enum want want;
	enum lb_reason reason;
};

#define CUTS_MAX   8
#define LIST_MAX   12
#define EVENTS_MAX 4

enum sweep {
	SWEEP_SUMS,  /* ids of IPv4 headers, sequence numbers: so checksums take every value */
	SWEEP_PORTS, /* the client's port: so the flow's hash does */
	SWEEP_NEAR,  /* the destination: every other address that differs in the last 16 bits */
};

struct step {
	enum step_kind kind;
	enum sweep sweep;

	struct layer in[LAYERS_MAX];
	struct layer out[LAYERS_MAX]; /* the frame that leaves; empty: what `to` implies */
	enum host to;		      /* forwarded to this node; implies verdict, frame, counters */
	enum want want;
	enum lb_reason reason;
	int opens;		      /* counted as a new flow */
	int resets;		      /* answered with a reset */
	int uncounted;		      /* by the VIP, though it is this host's */
	int any_port;		      /* nat: whichever source port was free; frame not compared */
	struct layer like[4];	      /* whose hash the frame goes by; empty: its own */
	uint32_t headroom;	      /* bytes in front of the frame; native only; 0: plenty */
	enum lb_event events[EVENTS_MAX];
	struct cut cuts[CUTS_MAX];

	struct lb_slot slot;
	enum host node;
	enum host who;
	int family, sport;
	enum entry_table table;
	int none; /* there must be no such entry */
	int entry_flags;
	uint32_t value, value2, value3, flags;
	enum host list[LIST_MAX]; /* up to NOBODY */
};

struct packet_case {
	const char *name;
	enum lb_mode mode;	   /* 0: ipip */
	enum lb_policy policy;	   /* 0: hash */
	enum lb_affinity affinity; /* 0: flow */
	enum lb_on_down on_down;   /* 0: reset */
	uint32_t vip_flags;	   /* besides LB_VIP_F_ACTIVE */
	struct lb_slot slot;	   /* of all slots; { NODE1 } unless a member is set */
	uint32_t n_slots;	   /* 0: one */
	int spread;		   /* slots name spread_nodes[] in turn, n_slots of them */
	int cell_b;		   /* the VIP's index cell is its second choice */
	int native_only;	   /* needs what BPF_PROG_TEST_RUN cannot supply */
	uint16_t nat_low, nat_high; /* source ports of mode nat; 0: that mode is not in use */
	int nat_from_vip;	   /* mode nat sends from the VIP's address, not from LB's */
	int vlan;		   /* every next hop is behind this tag; 0: none */
	int clock;		   /* must not straddle a refill of the token buckets */
	int decap;		   /* forwarded frames also go through the node's decap program */
	int decap_only;		   /* `in` goes to the decap program, not to the balancer */
	int room_at_once;	   /* needs the room of a removed entry in the same tick */
	const struct step *steps;
};

struct case_list {
	const struct packet_case *cases;
	uint32_t n;
};

#define STEPS(...) .steps = (const struct step[]) { __VA_ARGS__, {.kind = STEP_END} }
#define ONE(...)   STEPS({__VA_ARGS__})
#define EVENTS(...) .events = {__VA_ARGS__}

#define SWEEP(what, ...)      {.kind = STEP_SWEEP, .sweep = what, __VA_ARGS__}
#define SLOT(c, a, p, e)      {.kind = STEP_SLOT, .slot = {c, a, p, e}}
#define DIES(id)	      {.kind = STEP_NODE, .node = id, .flags = LB_BACKEND_F_NEXTHOP, .value = 1}
#define RETURNS(id, gen)                                                                           \
	{.kind = STEP_NODE, .node = id, .flags = LB_BACKEND_F_NEXTHOP | LB_BACKEND_F_ALIVE,        \
	 .value = gen}
#define LOAD(id, b, w, f)     {.kind = STEP_LOAD, .node = id, .value = b, .value2 = w, .flags = f}
#define MEMBERS(bank, ...)    {.kind = STEP_MEMBERS, .value = bank, .list = {__VA_ARGS__}}
#define TURNS(bank, ...)      {.kind = STEP_TURNS, .value = bank, .list = {__VA_ARGS__}}
#define COUNTED(id, n)	      {.kind = STEP_COUNTED, .node = id, .value = n}
#define LIMITS(entries, replies)                                                                   \
	{.kind = STEP_CONTROL, .value = EPOCH, .value2 = entries, .value3 = replies}
#define EPOCH_IS(e)	      {.kind = STEP_CONTROL, .value = e, .value2 = 100000, .value3 = 100000}
#define VIP_FLAGS(f)	      {.kind = STEP_VIP, .flags = f}
#define SECONDS(s)	      {.kind = STEP_TIME, .value = s}
#define HEARD(ms_ago)	      {.kind = STEP_HEARD, .value = ms_ago}
#define DEVICE_MTU(mtu)	      {.kind = STEP_MTU, .value = mtu}
#define FILL(t)		      {.kind = STEP_FILL, .table = t}
#define ENTRY(t, c, fam, port, id, ...)                                                            \
	{.kind = STEP_ENTRY, .table = t, .who = c, .family = fam, .sport = port, .node = id,       \
	 .entry_flags = AUTO, __VA_ARGS__}
#define NO_ENTRY(t, c, fam, port)                                                                  \
	{.kind = STEP_ENTRY, .table = t, .who = c, .family = fam, .sport = port, .none = 1}
#define EXC(e)		      {.kind = STEP_EXC, .value = e}
#define LIVE_FLOWS(id, count) {.kind = STEP_FLOWS, .node = id, .value = count}
#define INC(id, count)	      {.kind = STEP_INC, .node = id, .value = count}

#define CASE_LIST(name, array)                                                                     \
	const struct case_list name = {array, sizeof(array) / sizeof((array)[0])}

/* Nodes of the slots of a case with `spread`; as many slots as nodes. */
#define SPREAD_N 5
extern const enum host spread_nodes[SPREAD_N];

extern const struct case_list cases_parse, cases_ipip, cases_l2dsr, cases_gue, cases_vlan,
	cases_headers, cases_policy, cases_flow, cases_transition, cases_reset, cases_hash,
	cases_icmp, cases_decap, cases_pool, cases_nat, cases_nat_icmp;

#endif
