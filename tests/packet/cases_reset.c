// SPDX-License-Identifier: BSD-2-Clause
/* Flows of a dead node: a TCP reset, or another node. */
#include "tests/packet/cases.h"

#define PKT(port, flags) .in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(port, PORT, flags)}
#define SYN(port)  PKT(port, TCP_SYN)
#define ACK(port)  PKT(port, TCP_ACK)
#define LEARNED	   EVENTS(LB_EV_FLOW_LEARNED)
#define VOID	   EVENTS(LB_EV_FLOW_VOID)

/* NODE1 drains: the slot goes to NODE2, a stream (client's port 40000) is known to be on NODE1. */
#define KNOWN4 SLOT(NODE2, 0, NODE1, 0), {ACK(40000), .to = NODE1, LEARNED}
#define KNOWN6                                                                                     \
	SLOT(NODE2, 0, NODE1, 0),                                                                  \
		{.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(40000, PORT, TCP_ACK)},             \
		 .to = NODE1, LEARNED}
#define DEAD4 KNOWN4, DIES(NODE1), SLOT(NODE2, 0, 0, EPOCH)
#define DEAD6 KNOWN6, DIES(NODE1), SLOT(NODE2, 0, 0, EPOCH)

static const struct packet_case table[] = {
	{
		.name = "An IPv4 segment of a dead node's flow is answered with a reset from the VIP",
		STEPS(DEAD4,
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 60, .tos = 0x10),
			      TCP(40000, PORT, TCP_ACK | TCP_PSH, .seq = 1000, .ack = 2000), DATA(300)},
		       .want = TX, .reason = LB_R_RESET_SENT, VOID,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST, .seq = 2000, .window = 0)}}),
	},
	{
		.name = "An IPv6 segment of a dead node's flow is answered with a reset from the VIP",
		STEPS(DEAD6,
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .ttl = 60, .tos = 0x10, .flow = 0x777),
			      TCP(40000, PORT, TCP_ACK | TCP_PSH, .seq = 1000, .ack = 2000), DATA(300)},
		       .want = TX, .reason = LB_R_RESET_SENT, VOID,
		       .out = {ETH(LB, ROUTER), IP6(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST, .seq = 2000, .window = 0)}}),
	},
	{
		.name = "A segment without ACK: the reset acknowledges its data",
		STEPS(DEAD4,
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, 0, .seq = 1000),
			      DATA(300)},
		       .want = TX, .reason = LB_R_RESET_SENT, VOID,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST | TCP_ACK, .seq = 0, .ack = 1300, .window = 0)}}),
	},
	{
		.name = "A FIN without ACK: the reset acknowledges data and FIN; sequence numbers wrap",
		STEPS(DEAD4,
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_FIN,
			      .seq = 0xffffffff), DATA(10)},
		       .want = TX, .reason = LB_R_RESET_SENT, VOID,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST | TCP_ACK, .seq = 0, .ack = 10, .window = 0)}}),
	},
	{
		.name = "The reset of a tagged segment is tagged alike",
		STEPS(DEAD4,
		      {.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK)},
		       .resets = 1, VOID},
		      {.in = {ETH(ROUTER, LB), VLAN(7, .tpid = 0x88a8), VLAN(8), IP4(CLIENT, VIP),
			      TCP(40000, PORT, TCP_ACK), DATA(5)},
		       .resets = 1, VOID}),
	},
	{
		.name = "The reset of a segment with IP and TCP options has none",
		STEPS(DEAD4,
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 15),
			      TCP(40000, PORT, TCP_ACK, .doff = 15), DATA(7)},
		       .resets = 1, VOID}),
	},
	{
		.name = "The reset of a segment behind IPv6 extension headers has none",
		STEPS(DEAD6,
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_HOP), EXT(EXT_DST, .n = 3),
			      TCP(40000, PORT, TCP_ACK), DATA(7)},
		       .want = TX, .reason = LB_R_RESET_SENT, VOID,
		       .out = {ETH(LB, ROUTER), IP6(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST, .seq = 0x50607080, .window = 0)}}),
	},
	{
		.name = "Padding behind the segment counts neither as data nor stays",
		STEPS(DEAD4,
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, 0, .seq = 50), PAD(6)},
		       .want = TX, .reason = LB_R_RESET_SENT, VOID,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST | TCP_ACK, .seq = 0, .ack = 50, .window = 0)}}),
	},
	{
		.name = "A reset is never answered with a reset, nor sent to what has the node's id since",
		STEPS(DEAD4,
		      {.kind = STEP_NODE, .node = NODE1, .flags = LB_BACKEND_F_NEXTHOP, .value = 2},
		      {PKT(40000, TCP_RST), .want = DROP, .reason = LB_R_NO_BACKEND, VOID},
		      {PKT(40000, TCP_RST | TCP_ACK), .want = DROP, .reason = LB_R_NO_BACKEND, VOID}),
	},
	{
		.name = "A node that was cut off and sends on learns it from the client's own reset",
		STEPS(DEAD4, {ACK(40000), .resets = 1, VOID}, {PKT(40000, TCP_RST), .to = NODE1, VOID},
		      {PKT(40000, TCP_RST | TCP_ACK), .to = NODE1, VOID}),
	},
	{
		.name = "Each segment of a dead node's flow gets a reset; its entry is closed, and counts no more",
		STEPS(DEAD4, LIVE_FLOWS(NODE1, 1), {ACK(40000), .resets = 1, VOID}, LIVE_FLOWS(NODE1, 0),
		      ENTRY(IN_FLOWS, CLIENT, 4, 40000, NODE1, .entry_flags = LB_FLOW_F_CLOSED),
		      {ACK(40000), .resets = 1, VOID}, LIVE_FLOWS(NODE1, 0)),
	},
	{
		.name = "Resets over the limit a second are dropped; a second later again",
		.clock = 1,
		STEPS(LIMITS(100000, 0), DEAD4, {ACK(40000), .resets = 1, VOID},
		      {ACK(40000), .want = DROP, .reason = LB_R_REPLY_LIMIT, VOID}, SECONDS(1),
		      {ACK(40000), .resets = 1, VOID}),
	},
	{
		.name = "The flows of a dead node are no longer counted as live",
		STEPS(DEAD4, LIVE_FLOWS(NODE1, 1), {ACK(40000), .resets = 1, VOID}, LIVE_FLOWS(NODE1, 0),
		      {ACK(40000), .resets = 1, VOID}, LIVE_FLOWS(NODE1, 0)),
	},
	{
		.name = "A client that was reset and returns gets a live node",
		STEPS(DEAD4, {ACK(40000), .resets = 1, VOID}, {SYN(40000), .to = NODE2, .opens = 1},
		      NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000), {ACK(40000), .to = NODE2}),
	},
	{
		.name = "A flow with no entry goes by its slot, dead node or not: never a reset",
		STEPS(DIES(NODE1), SLOT(NODE2, 0, 0, 0), {ACK(40000), .to = NODE2}),
	},
	{
		.name = "rehash: the flows of a dead node go where the table says now",
		.on_down = LB_ON_DOWN_REHASH,
		STEPS(DEAD4, {ACK(40000), .to = NODE2, VOID}, NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000),
		      LIVE_FLOWS(NODE1, 0), {ACK(40000), .to = NODE2}),
	},
	{
		.name = "keep: a node the agent holds alive keeps its flows, out of reach or not",
		.on_down = LB_ON_DOWN_KEEP,
		STEPS(KNOWN4, SLOT(NODE2, 0, 0, EPOCH), {ACK(40000), .to = NODE1},
		      {.kind = STEP_NODE, .node = NODE1, .flags = LB_BACKEND_F_ALIVE, .value = 0},
		      {ACK(40000), .want = DROP, .reason = LB_R_NO_NEXTHOP}, RETURNS(NODE1, 0),
		      {ACK(40000), .to = NODE1}),
	},
	{
		.name = "An entry of an earlier life of the node is void",
		STEPS(DEAD4, RETURNS(NODE1, 2), {ACK(40000), .resets = 1, VOID}),
	},
	{
		.name = "A node that was only out of reach, in the same life, keeps its flows",
		STEPS(KNOWN4, {.kind = STEP_NODE, .node = NODE1, .flags = LB_BACKEND_F_NEXTHOP, .value = 0},
		      RETURNS(NODE1, 0), {ACK(40000), .to = NODE1}),
	},
	{
		.name = "A half-open flow of a node that died: its retransmitted SYN goes elsewhere",
		.policy = LB_POLICY_P2C,
		.slot = {NODE1, NODE2},
		STEPS(LOAD(NODE1, 100, 1000, 0), LOAD(NODE2, 1, 1000, 0),
		      {SYN(40000), .to = NODE2, .opens = 1,
		       EVENTS(LB_EV_ALT_CHOSEN, LB_EV_FLOW_ADDED)},
		      DIES(NODE2), SLOT(NODE1, 0, 0, EPOCH), {SYN(40000), .to = NODE1, .opens = 1},
		      NO_ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000)),
	},
	{
		.name = "A half-open flow of a node that died is reset at its first ACK",
		.policy = LB_POLICY_P2C,
		.slot = {NODE1, NODE2},
		STEPS(LOAD(NODE1, 100, 1000, 0), LOAD(NODE2, 1, 1000, 0),
		      {SYN(40000), .to = NODE2, .opens = 1,
		       EVENTS(LB_EV_ALT_CHOSEN, LB_EV_FLOW_ADDED)},
		      DIES(NODE2), SLOT(NODE1, 0, 0, EPOCH), {ACK(40000), .resets = 1, VOID}),
	},
};

CASE_LIST(cases_reset, table);
