// SPDX-License-Identifier: BSD-2-Clause
/* Exceptions: flows that live where the slot alone would not look for them. */
#include "tests/packet/cases.h"

#define PKT(port, flags) .in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(port, PORT, flags)}
#define PKT6(port, flags) .in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(port, PORT, flags)}
#define SYN(port)  PKT(port, TCP_SYN)
#define ACK(port)  PKT(port, TCP_ACK)
#define ADDED	   EVENTS(LB_EV_ALT_CHOSEN, LB_EV_FLOW_ADDED)
#define PROMOTED   EVENTS(LB_EV_FLOW_PROMOTED)

/* cur is NODE1, and so busy that a new flow goes to NODE2; then a flow that did. */
#define ALT_IS_BETTER LOAD(NODE1, 100, 1000, 0), LOAD(NODE2, 5, 1000, 0)
#define ON_ALT(port)  ALT_IS_BETTER, {SYN(port), .to = NODE2, .opens = 1, ADDED}
#define LIVES_ON_ALT(port) ON_ALT(port), {ACK(port), .to = NODE2, PROMOTED}
#define CUR_IS_BETTER LOAD(NODE1, 0, 1000, 0), LOAD(NODE2, 500, 1000, 0)

#define P2C .policy = LB_POLICY_P2C, .slot = {NODE1, NODE2}

#define BEHIND_TAG                                                                                 \
	.out = {ETH(LB, NODE1), VLAN(9), IP4(LB, NODE1), IP4(CLIENT, VIP, .ttl = 63),              \
		TCP(40000, PORT, TCP_SYN)}

static const struct packet_case table[] = {
	{
		.name = "The first packet after the SYN makes a half-open flow a flow",
		P2C,
		STEPS(ON_ALT(40000), {ACK(40000), .to = NODE2, PROMOTED},
		      ENTRY(IN_FLOWS, CLIENT, 4, 40000, NODE2, .entry_flags = 0),
		      NO_ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000), EXC(EPOCH)),
	},
	{
		.name = "Later packets follow the entry, whatever the loads are by then",
		P2C,
		STEPS(LIVES_ON_ALT(40000), CUR_IS_BETTER, {ACK(40000), .to = NODE2},
		      {PKT(40000, TCP_ACK | TCP_PSH), .to = NODE2}, SECONDS(1000),
		      {ACK(40000), .to = NODE2}),
	},
	{
		.name = "IPv6: a flow on alt is promoted and followed",
		P2C,
		STEPS(ALT_IS_BETTER, {PKT6(40000, TCP_SYN), .to = NODE2, .opens = 1, ADDED},
		      {PKT6(40000, TCP_ACK), .to = NODE2, PROMOTED}, CUR_IS_BETTER,
		      {PKT6(40000, TCP_ACK), .to = NODE2}, ENTRY(IN_FLOWS, CLIENT, 6, 40000, NODE2),
		      NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000)),
	},
	{
		.name = "Packets with options, tags or extension headers follow the entry too",
		P2C,
		STEPS(LIVES_ON_ALT(40000),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 8), TCP(40000, PORT, TCP_ACK)},
		       .to = NODE2},
		      {.in = {ETH(ROUTER, LB), VLAN(4), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK)},
		       .to = NODE2},
		      {.in = {ETH(ROUTER, LB), VLAN(4), VLAN(5), IP4(CLIENT, VIP),
			      TCP(40000, PORT, TCP_ACK)}, .to = NODE2}),
	},
	{
		.name = "A neighbour in the same slot without an entry stays on cur",
		P2C,
		STEPS(LIVES_ON_ALT(40000), {ACK(40001), .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT2, VIP), TCP(40000, PORT, TCP_ACK)}, .to = NODE1},
		      {PKT6(40000, TCP_ACK), .to = NODE1}),
	},
	{
		.name = "A retransmitted SYN keeps its backend and is not counted again",
		P2C,
		STEPS(ON_ALT(40000), CUR_IS_BETTER, {SYN(40000), .to = NODE2}, SECONDS(8),
		      {SYN(40000), .to = NODE2}, SECONDS(8), {SYN(40000), .to = NODE2}, INC(NODE2, 0)),
	},
	{
		.name = "A SYN sent again without an entry stays on cur, whatever the loads are by then",
		P2C,
		STEPS({SYN(40000), .to = NODE1, .opens = 1}, ALT_IS_BETTER, INC(NODE1, 0),
		      {SYN(40000), .to = NODE1}, SECONDS(3), {SYN(40000), .to = NODE1}, SECONDS(4),
		      {SYN(40000), .to = NODE1}, INC(NODE1, 0),
		      NO_ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000), {ACK(40000), .to = NODE1},
		      {SYN(40001), .to = NODE2, .opens = 1, ADDED}),
	},
	{
		.name = "A SYN sent again is known as that when the clock of such notes begins anew",
		P2C,
		STEPS(SECONDS(274), {SYN(40000), .to = NODE1, .opens = 1}, SECONDS(3), ALT_IS_BETTER,
		      {SYN(40000), .to = NODE1}, CUR_IS_BETTER, SECONDS(30),
		      {SYN(40001), .to = NODE1, .opens = 1}, SECONDS(3), ALT_IS_BETTER,
		      {SYN(40001), .to = NODE1}),
	},
	{
		.name = "IPv6: a SYN sent again without an entry stays on cur",
		P2C,
		STEPS({PKT6(40000, TCP_SYN), .to = NODE1, .opens = 1}, ALT_IS_BETTER,
		      {PKT6(40000, TCP_SYN), .to = NODE1}, {PKT6(40000, TCP_ACK), .to = NODE1},
		      {PKT6(40001, TCP_SYN), .to = NODE2, .opens = 1, ADDED}),
	},
	{
		.name = "A SYN sent again without an entry is one flow and one of load",
		P2C,
		STEPS({SYN(40000), .to = NODE1, .opens = 1}, {SYN(40000), .to = NODE1}, SECONDS(1),
		      {SYN(40000), .to = NODE1}, INC(NODE1, 1),
		      {PKT6(40000, TCP_SYN), .to = NODE1, .opens = 1}, {PKT6(40000, TCP_SYN), .to = NODE1},
		      INC(NODE1, 2), NO_ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000)),
	},
	{
		.name = "A SYN sent again after its node died is a flow, and load, of the next node",
		P2C,
		STEPS({SYN(40000), .to = NODE1, .opens = 1}, DIES(NODE1), SLOT(NODE2, NODE3, 0, 0),
		      {SYN(40000), .to = NODE2, .opens = 1}, {SYN(40000), .to = NODE2}, INC(NODE2, 1)),
	},
	{
		.name = "The first SYN to a node behind a VLAN tag is a flow, and load; the second is neither",
		P2C,
		.vlan = 9,
		STEPS({SYN(40000), .to = NODE1, .opens = 1, BEHIND_TAG}, {SYN(40000), .to = NODE1, BEHIND_TAG},
		      INC(NODE1, 1)),
	},
	{
		.name = "With IP options, too, a SYN sent again stays on cur",
		P2C,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 6), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE1, .opens = 1}, ALT_IS_BETTER,
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 6), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE1}),
	},
	{
		.name = "A SYN on a tuple without an entry that was new nine seconds ago is new again",
		P2C,
		STEPS({SYN(40000), .to = NODE1, .opens = 1}, ALT_IS_BETTER, SECONDS(10),
		      {SYN(40000), .to = NODE2, .opens = 1, ADDED}),
	},
	{
		.name = "A SYN on that tuple with another sequence number is another connection's",
		P2C,
		STEPS({SYN(40000), .to = NODE1, .opens = 1}, ALT_IS_BETTER,
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN, .seq = 7)},
		       .to = NODE2, .opens = 1, ADDED}),
	},
	{
		.name = "With affinity source another port of a client is not taken for a SYN sent again",
		P2C,
		.affinity = LB_AFFINITY_SOURCE,
		STEPS({SYN(40000), .to = NODE1, .opens = 1}, ALT_IS_BETTER, {SYN(40000), .to = NODE1},
		      {SYN(40001), .to = NODE2, .opens = 1, ADDED}),
	},
	{
		.name = "A half-open entry older than nine seconds does not bind a new SYN",
		P2C,
		STEPS(ON_ALT(40000), CUR_IS_BETTER, SECONDS(10), {SYN(40000), .to = NODE1, .opens = 1},
		      NO_ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000), {ACK(40000), .to = NODE1}),
	},
	{
		.name = "A SYN into a stream seen within the minute does not move it",
		P2C,
		STEPS(LIVES_ON_ALT(40000), CUR_IS_BETTER, {SYN(40000), .to = NODE2}, SECONDS(55),
		      {SYN(40000), .to = NODE2}, {ACK(40000), .to = NODE2}),
	},
	{
		.name = "A SYN that follows a minute of silence is a new connection",
		P2C,
		STEPS(LIVES_ON_ALT(40000), CUR_IS_BETTER, SECONDS(62),
		      {SYN(40000), .to = NODE1, .opens = 1}, NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000),
		      {ACK(40000), .to = NODE1}),
	},
	{
		.name = "Packets keep a stream's entry young: its age is that of the last packet",
		P2C,
		STEPS(LIVES_ON_ALT(40000), CUR_IS_BETTER, SECONDS(50), {ACK(40000), .to = NODE2},
		      SECONDS(50), {SYN(40000), .to = NODE2}),
	},
	{
		.name = "Packets with IP options keep it young as well",
		P2C,
		STEPS(LIVES_ON_ALT(40000), CUR_IS_BETTER, SECONDS(50),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 6), TCP(40000, PORT, TCP_ACK)},
		       .to = NODE2},
		      SECONDS(50), {SYN(40000), .to = NODE2}),
	},
	{
		.name = "After a FIN a SYN with the same tuple is a new connection",
		P2C,
		STEPS(LIVES_ON_ALT(40000), {PKT(40000, TCP_FIN | TCP_ACK), .to = NODE2},
		      ENTRY(IN_FLOWS, CLIENT, 4, 40000, NODE2, .entry_flags = LB_FLOW_F_CLOSING),
		      {ACK(40000), .to = NODE2}, CUR_IS_BETTER, {SYN(40000), .to = NODE1, .opens = 1},
		      NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000)),
	},
	{
		.name = "After a RST a SYN with the same tuple is a new connection",
		P2C,
		STEPS(LIVES_ON_ALT(40000), {PKT(40000, TCP_RST), .to = NODE2},
		      ENTRY(IN_FLOWS, CLIENT, 4, 40000, NODE2, .entry_flags = LB_FLOW_F_CLOSED),
		      CUR_IS_BETTER, {SYN(40000), .to = NODE1, .opens = 1},
		      NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000)),
	},
	{
		.name = "A tuple used again for alt gets a new entry in place of the old",
		P2C,
		STEPS(LIVES_ON_ALT(40000), {PKT(40000, TCP_RST), .to = NODE2}, SLOT(NODE1, NODE7, 0, EPOCH),
		      {SYN(40000), .to = NODE7, .opens = 1, ADDED}, NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000),
		      ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000, NODE7),
		      {ACK(40000), .to = NODE7, PROMOTED}),
	},
	{
		.name = "A half-open flow that is reset at once is not taken for a live one",
		P2C,
		STEPS(ON_ALT(40000), {PKT(40000, TCP_RST), .to = NODE2, PROMOTED},
		      ENTRY(IN_FLOWS, CLIENT, 4, 40000, NODE2, .entry_flags = LB_FLOW_F_CLOSED),
		      CUR_IS_BETTER, {SYN(40000), .to = NODE1, .opens = 1}),
	},
	{
		.name = "SYN+ACK of a half-open flow follows it but does not promote it",
		P2C,
		STEPS(ON_ALT(40000), {PKT(40000, TCP_SYN | TCP_ACK), .to = NODE2},
		      ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000, NODE2),
		      NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000)),
	},
	{
		.name = "Entries of a slot whose exc was cleared are not looked for",
		P2C,
		STEPS(LIVES_ON_ALT(40000), SLOT(NODE1, NODE2, 0, 0), {ACK(40000), .to = NODE1}),
	},
	{
		.name = "A new entry stores the epoch of its time",
		P2C,
		STEPS(ON_ALT(40000), EXC(EPOCH), EPOCH_IS(9), {ACK(40001), .to = NODE1}, EXC(EPOCH),
		      ALT_IS_BETTER, {SYN(40002), .to = NODE2, .opens = 1, ADDED}, EXC(9)),
	},
	{
		.name = "Promotion stores the epoch of its time",
		P2C,
		STEPS(ON_ALT(40000), EPOCH_IS(0xffff), {ACK(40000), .to = NODE2, PROMOTED}, EXC(0xffff)),
	},

	/* --- limits -------------------------------------------------------------------------- */
	{
		.name = "Over the rate of new entries: cur, counted, no entry; a second later again",
		P2C,
		.clock = 1,
		STEPS(LIMITS(0, 1000), ON_ALT(40000), ALT_IS_BETTER,
		      {SYN(40001), .to = NODE1, .opens = 1,
		       EVENTS(LB_EV_ALT_CHOSEN, LB_EV_OVERFLOW_RATE)},
		      NO_ENTRY(IN_HALF_OPEN, CLIENT, 4, 40001), {ACK(40001), .to = NODE1}, SECONDS(1),
		      ALT_IS_BETTER, {SYN(40002), .to = NODE2, .opens = 1, ADDED}),
	},
	{
		.name = "A SYN that was over the rate stays on cur when it is sent again under it",
		P2C,
		.clock = 1,
		STEPS(LIMITS(0, 1000), ON_ALT(40000), ALT_IS_BETTER,
		      {SYN(40001), .to = NODE1, .opens = 1,
		       EVENTS(LB_EV_ALT_CHOSEN, LB_EV_OVERFLOW_RATE)},
		      SECONDS(1), ALT_IS_BETTER, {SYN(40001), .to = NODE1}),
	},
	{
		.name = "Over the rate the flow counts as load of the node it went to",
		P2C,
		.clock = 1,
		STEPS(LIMITS(0, 1000), ON_ALT(40000), ALT_IS_BETTER,
		      {SYN(40001), .to = NODE1, .opens = 1,
		       EVENTS(LB_EV_ALT_CHOSEN, LB_EV_OVERFLOW_RATE)},
		      INC(NODE1, 1), INC(NODE2, 0)),
	},
	{
		.name = "A full half-open table: cur, counted, no entry",
		P2C,
		STEPS(FILL(IN_HALF_OPEN), ALT_IS_BETTER,
		      {SYN(40000), .to = NODE1, .opens = 1,
		       EVENTS(LB_EV_ALT_CHOSEN, LB_EV_OVERFLOW_HALF_OPEN)},
		      NO_ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000), {ACK(40000), .to = NODE1}),
	},
	{
		.name = "A full flow table: a half-open flow stays half-open and on its node, counted",
		P2C,
		STEPS(FILL(IN_FLOWS), ON_ALT(40000),
		      {ACK(40000), .to = NODE2, EVENTS(LB_EV_OVERFLOW_FLOWS)},
		      ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000, NODE2), CUR_IS_BETTER,
		      {ACK(40000), .to = NODE2, EVENTS(LB_EV_OVERFLOW_FLOWS)}),
	},

	/* --- every flow tracked -------------------------------------------------------------- */
	{
		.name = "A pool that tracks counts a flow from its SYN to its FIN, once",
		.vip_flags = LB_VIP_F_TRACK,
		STEPS({SYN(40000), .to = NODE1, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)},
		      LIVE_FLOWS(NODE1, 1), {ACK(40000), .to = NODE1, PROMOTED}, LIVE_FLOWS(NODE1, 1),
		      {PKT(40000, TCP_FIN | TCP_ACK), .to = NODE1}, LIVE_FLOWS(NODE1, 0),
		      {PKT(40000, TCP_FIN | TCP_ACK), .to = NODE1}, {PKT(40000, TCP_RST), .to = NODE1},
		      LIVE_FLOWS(NODE1, 0)),
	},
	{
		.name = "A pool that tracks finds entries even when exc was cleared",
		.vip_flags = LB_VIP_F_TRACK,
		STEPS({SYN(40000), .to = NODE1, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)},
		      {ACK(40000), .to = NODE1, PROMOTED}, SLOT(NODE2, 0, 0, 0),
		      {ACK(40000), .to = NODE1}),
	},
	{
		.name = "A tracked tuple used again is uncounted and counted anew",
		.vip_flags = LB_VIP_F_TRACK,
		STEPS({SYN(40000), .to = NODE1, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)},
		      {ACK(40000), .to = NODE1, PROMOTED}, SECONDS(100), SLOT(NODE2, 0, 0, EPOCH),
		      {SYN(40000), .to = NODE2, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)},
		      LIVE_FLOWS(NODE1, 0), LIVE_FLOWS(NODE2, 1)),
	},
	{
		.name = "A tracked half-open flow that expired is uncounted when its tuple returns",
		.vip_flags = LB_VIP_F_TRACK,
		STEPS({SYN(40000), .to = NODE1, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)}, SECONDS(10),
		      {SYN(40000), .to = NODE1, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)},
		      LIVE_FLOWS(NODE1, 1)),
	},
	{
		.name = "A tracked half-open flow that is reset is uncounted",
		.vip_flags = LB_VIP_F_TRACK,
		STEPS({SYN(40000), .to = NODE1, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)},
		      {PKT(40000, TCP_RST), .to = NODE1, PROMOTED}, LIVE_FLOWS(NODE1, 0)),
	},
	{
		.name = "A pool that tracks, without room: the flow still goes to cur",
		.vip_flags = LB_VIP_F_TRACK,
		STEPS(FILL(IN_HALF_OPEN),
		      {SYN(40000), .to = NODE1, .opens = 1, EVENTS(LB_EV_OVERFLOW_HALF_OPEN)},
		      LIVE_FLOWS(NODE1, 0), {ACK(40000), .to = NODE1}),
	},
};

CASE_LIST(cases_flow, table);
