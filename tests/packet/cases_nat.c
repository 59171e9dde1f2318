// SPDX-License-Identifier: BSD-2-Clause
/* Mode nat: client -> VIP becomes balancer -> node, and the answer VIP -> client. */
#include "tests/packet/cases.h"

#define NAT	      .mode = LB_MODE_NAT, .nat_low = 30000, .nat_high = 30000
#define NAT_RANGE(hi) .mode = LB_MODE_NAT, .nat_low = 30000, .nat_high = hi

/* Client's segment, as it comes and as it leaves by source port `nat`. */
#define IN4(c, port, f, ...)  .in = {ETH(ROUTER, LB), IP4(c, VIP), TCP(port, PORT, f), __VA_ARGS__}
#define IN6(c, port, f, ...)  .in = {ETH(ROUTER, LB), IP6(c, VIP), TCP(port, PORT, f), __VA_ARGS__}
#define OUT4(node, nat, f, ...)                                                                    \
	.to = node, .out = {ETH(LB, node), IP4(LB, node, .ttl = 63), TCP(nat, NODE_PORT, f), __VA_ARGS__}
#define OUT6(node, nat, f, ...)                                                                    \
	.to = node, .out = {ETH(LB, node), IP6(LB, node, .ttl = 63), TCP(nat, NODE_PORT, f), __VA_ARGS__}
#define OPENS .opens = 1, EVENTS(LB_EV_FLOW_ADDED)

/* Node's answer to source port `nat`, and what the client gets. */
#define BACK4(node, nat, c, port, f, ...)                                                          \
	.in = {ETH(node, LB), IP4(node, LB), TCP(NODE_PORT, nat, f), __VA_ARGS__},                 \
	.want = TX, .reason = LB_R_NAT_REPLY,                                                      \
	.out = {ETH(LB, ROUTER), IP4(VIP, c, .ttl = 63), TCP(PORT, port, f), __VA_ARGS__}
#define BACK6(node, nat, c, port, f, ...)                                                          \
	.in = {ETH(node, LB), IP6(node, LB), TCP(NODE_PORT, nat, f), __VA_ARGS__},                 \
	.want = TX, .reason = LB_R_NAT_REPLY,                                                      \
	.out = {ETH(LB, ROUTER), IP6(VIP, c, .ttl = 63), TCP(PORT, port, f), __VA_ARGS__}

#define SYN(c, port, node, nat) {IN4(c, port, TCP_SYN, ), OUT4(node, nat, TCP_SYN, ), OPENS}
#define ACK(c, port, node, nat) {IN4(c, port, TCP_ACK, ), OUT4(node, nat, TCP_ACK, )}
#define UNKNOWN			.resets = 1, .reason = LB_R_NAT_UNKNOWN

/* NAT_ROOM flows, and one too many. */
#define NAT_FILLED                                                                                 \
	{IN4(CLIENT, 1, TCP_SYN, ), .to = NODE1, OPENS, .any_port = 1},                            \
		{IN4(CLIENT, 2, TCP_SYN, ), .to = NODE1, OPENS, .any_port = 1},                    \
		{IN4(CLIENT, 3, TCP_SYN, ), .to = NODE1, OPENS, .any_port = 1},                    \
		{IN4(CLIENT, 4, TCP_SYN, ), .to = NODE1, OPENS, .any_port = 1},                    \
	{                                                                                          \
		IN4(CLIENT, 5, TCP_SYN, ), .want = DROP, .reason = LB_R_NAT_FULL,                  \
		EVENTS(LB_EV_NAT_PORTS)                                                            \
	}

static const struct packet_case table[] = {
	{
		.name = "nat: a connection there and back, port, address and checksums rewritten",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000),
		      {BACK4(NODE1, 30000, CLIENT, 40000, TCP_SYN | TCP_ACK, )},
		      ACK(CLIENT, 40000, NODE1, 30000),
		      {IN4(CLIENT, 40000, TCP_ACK | TCP_PSH, DATA(101)),
		       OUT4(NODE1, 30000, TCP_ACK | TCP_PSH, DATA(101))},
		      {BACK4(NODE1, 30000, CLIENT, 40000, TCP_ACK | TCP_PSH, DATA(1001))},
		      LIVE_FLOWS(NODE1, 1)),
	},
	{
		.name = "nat over IPv6: there and back",
		NAT,
		.slot = {NODE3},
		STEPS({IN6(CLIENT, 40000, TCP_SYN, ), OUT6(NODE3, 30000, TCP_SYN, ), OPENS},
		      {BACK6(NODE3, 30000, CLIENT, 40000, TCP_SYN | TCP_ACK, )},
		      {IN6(CLIENT, 40000, TCP_ACK | TCP_PSH, DATA(77)),
		       OUT6(NODE3, 30000, TCP_ACK | TCP_PSH, DATA(77))},
		      {BACK6(NODE3, 30000, CLIENT, 40000, TCP_ACK, DATA(5))}),
	},
	{
		.name = "nat: a segment of an unknown flow is answered with a reset",
		NAT,
		STEPS({IN4(CLIENT, 40000, TCP_ACK, DATA(9)), UNKNOWN},
		      {IN6(CLIENT, 40000, TCP_ACK, DATA(9)), UNKNOWN},
		      {IN4(CLIENT, 40000, TCP_SYN | TCP_ACK, ), UNKNOWN},
		      {IN4(CLIENT, 40000, TCP_FIN, ), UNKNOWN}),
	},
	{
		.name = "nat: a reset of an unknown flow is dropped",
		NAT,
		ONE(IN4(CLIENT, 40000, TCP_RST, ), .want = DROP, .reason = LB_R_NO_BACKEND),
	},
	{
		.name = "nat: a segment to the balancer that answers nothing is the kernel's",
		NAT,
		STEPS({.in = {ETH(NODE1, LB), IP4(NODE1, LB), TCP(NODE_PORT, 30000, TCP_ACK)},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, LB), TCP(5000, 22, TCP_SYN)},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, LB), TCP(5000, 22, TCP_SYN)},
		       .want = PASS, .reason = LB_R_NOT_VIP}),
	},
	{
		.name = "nat: an answer from another node, or another of its ports, is not the flow's",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000),
		      {.in = {ETH(NODE2, LB), IP4(NODE2, LB), TCP(NODE_PORT, 30000, TCP_ACK)},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB), TCP(NODE_PORT + 1, 30000, TCP_ACK)},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB), TCP(NODE_PORT, 30001, TCP_ACK)},
		       .want = PASS, .reason = LB_R_NOT_VIP}),
	},
	{
		.name = "nat: what is neither for a VIP nor an answer passes untouched",
		NAT,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP_B), TCP(5000, PORT, TCP_ACK)},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), VLAN(5), IP6(CLIENT, VIP_B), TCP(5000, PORT, TCP_ACK)},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, LB), UDP(5000, 30000), DATA(9)},
		       .want = PASS, .reason = LB_R_NOT_VIP}),
	},
	{
		.name = "nat: one source port serves one flow of a node at a time",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000),
		      {IN4(CLIENT2, 40000, TCP_SYN, ), .want = DROP, .reason = LB_R_NAT_FULL,
		       EVENTS(LB_EV_NAT_PORTS)},
		      SLOT(NODE2, 0, 0, 0), SYN(CLIENT2, 40000, NODE2, 30000),
		      {BACK4(NODE1, 30000, CLIENT, 40000, TCP_ACK, )},
		      {BACK4(NODE2, 30000, CLIENT2, 40000, TCP_ACK, )}, LIVE_FLOWS(NODE1, 1),
		      LIVE_FLOWS(NODE2, 1)),
	},
	{
		.name = "nat: a retransmitted SYN keeps node and source port",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), SLOT(NODE2, 0, 0, 0),
		      {IN4(CLIENT, 40000, TCP_SYN, ), OUT4(NODE1, 30000, TCP_SYN, )},
		      ACK(CLIENT, 40000, NODE1, 30000)),
	},
	{
		.name = "nat: so does one that meets a CPU whose clock is behind the first's",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), SLOT(NODE2, 0, 0, 0), SECONDS(-1),
		      {IN4(CLIENT, 40000, TCP_SYN, ), OUT4(NODE1, 30000, TCP_SYN, )},
		      ACK(CLIENT, 40000, NODE1, 30000)),
	},
	{
		.name = "nat: a flow stays on its node whatever becomes of its slot",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), ACK(CLIENT, 40000, NODE1, 30000),
		      SLOT(NODE2, 0, 0, 0), ACK(CLIENT, 40000, NODE1, 30000), SECONDS(1000),
		      ACK(CLIENT, 40000, NODE1, 30000)),
	},
	{
		.name = "nat: after a RST the tuple and the source port may be used again",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000),
		      {IN4(CLIENT, 40000, TCP_RST, ), OUT4(NODE1, 30000, TCP_RST, )},
		      LIVE_FLOWS(NODE1, 0), SLOT(NODE2, 0, 0, 0), SYN(CLIENT, 40000, NODE2, 30000),
		      SLOT(NODE1, 0, 0, 0), SYN(CLIENT2, 40000, NODE1, 30000)),
	},
	{
		.name = "nat: a FIN ends the count, not the flow",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), ACK(CLIENT, 40000, NODE1, 30000),
		      {IN4(CLIENT, 40000, TCP_FIN | TCP_ACK, ), OUT4(NODE1, 30000, TCP_FIN | TCP_ACK, )},
		      LIVE_FLOWS(NODE1, 0), {BACK4(NODE1, 30000, CLIENT, 40000, TCP_ACK, DATA(500))},
		      ACK(CLIENT, 40000, NODE1, 30000), LIVE_FLOWS(NODE1, 0)),
	},
	{
		.name = "nat: after a FIN of the client a SYN with the same tuple is a new connection",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), ACK(CLIENT, 40000, NODE1, 30000),
		      {IN4(CLIENT, 40000, TCP_FIN | TCP_ACK, ), OUT4(NODE1, 30000, TCP_FIN | TCP_ACK, )},
		      SLOT(NODE2, 0, 0, 0), SYN(CLIENT, 40000, NODE2, 30000),
		      ACK(CLIENT, 40000, NODE2, 30000), LIVE_FLOWS(NODE2, 1)),
	},
	{
		.name = "nat: FIN and RST of the node reach the client",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000),
		      {BACK4(NODE1, 30000, CLIENT, 40000, TCP_FIN | TCP_ACK, )},
		      {BACK4(NODE1, 30000, CLIENT, 40000, TCP_RST, )}),
	},
	{
		.name = "nat: a half-open flow older than nine seconds does not bind a new SYN",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), SLOT(NODE2, 0, 0, 0), SECONDS(10),
		      SYN(CLIENT, 40000, NODE2, 30000), LIVE_FLOWS(NODE1, 0), LIVE_FLOWS(NODE2, 1)),
	},
	{
		.name = "nat: flows of a dead node are reset, then the client gets a live one",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), ACK(CLIENT, 40000, NODE1, 30000), DIES(NODE1),
		      SLOT(NODE2, 0, 0, 0),
		      {IN4(CLIENT, 40000, TCP_ACK, DATA(3)), .resets = 1, EVENTS(LB_EV_FLOW_VOID)},
		      LIVE_FLOWS(NODE1, 0), {IN4(CLIENT, 40000, TCP_ACK, DATA(3)), UNKNOWN},
		      SYN(CLIENT, 40000, NODE2, 30000)),
	},
	{
		.name = "nat: a flow of an earlier life of the node is reset",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), DIES(NODE1), RETURNS(NODE1, 2),
		      {IN4(CLIENT, 40000, TCP_ACK, ), .resets = 1, EVENTS(LB_EV_FLOW_VOID)}),
	},
	{
		.name = "nat: a SYN into a stream does not move it, however old its own SYN is",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), ACK(CLIENT, 40000, NODE1, 30000),
		      SLOT(NODE2, 0, 0, 0), SECONDS(10),
		      {IN4(CLIENT, 40000, TCP_SYN, ), OUT4(NODE1, 30000, TCP_SYN, )}),
	},
	{
		.name = "nat: a dead node's flow that was reset is over for the node, too, if it lives",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), ACK(CLIENT, 40000, NODE1, 30000), DIES(NODE1),
		      {BACK4(NODE1, 30000, CLIENT, 40000, TCP_ACK, DATA(7))},
		      {IN4(CLIENT, 40000, TCP_ACK, ), .resets = 1, EVENTS(LB_EV_FLOW_VOID)},
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB), TCP(NODE_PORT, 30000, TCP_ACK), DATA(7)},
		       .want = PASS, .reason = LB_R_NOT_VIP}),
	},
	{
		.name = "nat: a source port of a dead node's flow serves again when the node is back",
		NAT,
		.room_at_once = 1,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), DIES(NODE1),
		      {IN4(CLIENT, 40000, TCP_ACK, ), .resets = 1, EVENTS(LB_EV_FLOW_VOID)},
		      RETURNS(NODE1, 2), SYN(CLIENT2, 40000, NODE1, 30000),
		      ACK(CLIENT2, 40000, NODE1, 30000)),
	},
	{
		.name = "nat: a SYN on the tuple of a dead node's flow gets a live node",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000), DIES(NODE1), SLOT(NODE2, 0, 0, 0),
		      SYN(CLIENT, 40000, NODE2, 30000)),
	},
	{
		.name = "nat: tables without room refuse a new flow",
		NAT_RANGE(30999),
		STEPS(NAT_FILLED, LIVE_FLOWS(NODE1, 4)),
	},
	{
		.name = "nat: a flow of a full table may open again: nothing leaked",
		NAT_RANGE(30999),
		.room_at_once = 1,
		STEPS(NAT_FILLED, {IN4(CLIENT, 1, TCP_RST, ), .to = NODE1, .any_port = 1},
		      {IN4(CLIENT, 1, TCP_SYN, ), .to = NODE1, OPENS, .any_port = 1},
		      LIVE_FLOWS(NODE1, 4)),
	},
	{
		.name = "nat: over the rate of new entries a SYN is dropped; a second later it is not",
		NAT,
		.clock = 1,
		STEPS(LIMITS(0, 1000), SYN(CLIENT, 40000, NODE1, 30000), SLOT(NODE2, 0, 0, 0),
		      {IN4(CLIENT2, 40000, TCP_SYN, ), .want = DROP, .reason = LB_R_NAT_FULL,
		       EVENTS(LB_EV_OVERFLOW_RATE)},
		      SECONDS(1), SYN(CLIENT2, 40000, NODE2, 30000)),
	},
	{
		.name = "nat: SYN with FIN or RST is dropped and opens nothing",
		NAT,
		STEPS({IN4(CLIENT, 40000, TCP_SYN | TCP_FIN, ), .want = DROP, .reason = LB_R_BAD_FLAGS},
		      {IN4(CLIENT, 40000, TCP_SYN | TCP_RST, ), .want = DROP, .reason = LB_R_BAD_FLAGS},
		      {IN4(CLIENT, 40000, TCP_ACK, ), UNKNOWN}),
	},
	{
		.name = "nat: with nothing left the kernel gets SYN and ACK untouched",
		NAT,
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, 0, 0),
		      {IN4(CLIENT, 40000, TCP_SYN, ), .want = PASS, .reason = LB_R_LOCAL, .opens = 1},
		      {IN4(CLIENT, 40000, TCP_ACK, ), .want = PASS, .reason = LB_R_LOCAL}),
	},
	{
		.name = "nat: with nothing left and the agent silent for long, a SYN is answered with a reset",
		NAT,
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, 0, 0), HEARD(10100),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP),
			      TCP(40000, PORT, TCP_SYN, .seq = 1000)},
		       .want = TX, .reason = LB_R_NO_AGENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST | TCP_ACK, .seq = 0, .ack = 1001, .window = 0)}}),
	},
	{
		.name = "nat: a slot without a backend drops the SYN",
		NAT,
		STEPS(SLOT(0, 0, 0, 0),
		      {IN4(CLIENT, 40000, TCP_SYN, ), .want = DROP, .reason = LB_R_NO_BACKEND}),
	},
	{
		.name = "nat: options of IP and TCP, and padding, are kept",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 9),
			      TCP(40000, PORT, TCP_ACK, .doff = 11), DATA(21), PAD(3)},
		       .to = NODE1,
		       .out = {ETH(LB, NODE1), IP4(LB, NODE1, .ihl = 9, .ttl = 63),
			       TCP(30000, NODE_PORT, TCP_ACK, .doff = 11), DATA(21), PAD(3)}}),
	},
	{
		.name = "nat: IPv6 extension headers are kept",
		NAT,
		.slot = {NODE3},
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST, .n = 1),
			      TCP(40000, PORT, TCP_SYN)},
		       .to = NODE3, OPENS,
		       .out = {ETH(LB, NODE3), IP6(LB, NODE3, .ttl = 63), EXT(EXT_DST, .n = 1),
			       TCP(30000, NODE_PORT, TCP_SYN)}},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_HOP), EXT(EXT_DST, .n = 40),
			      TCP(40000, PORT, TCP_ACK), DATA(9)},
		       .to = NODE3,
		       .out = {ETH(LB, NODE3), IP6(LB, NODE3, .ttl = 63), EXT(EXT_HOP),
			       EXT(EXT_DST, .n = 40), TCP(30000, NODE_PORT, TCP_ACK), DATA(9)}}),
	},
	{
		.name = "nat: a tag stays on the device it came from, there and back",
		NAT,
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE1, OPENS,
		       .out = {ETH(LB, NODE1), VLAN(7), IP4(LB, NODE1, .ttl = 63),
			       TCP(30000, NODE_PORT, TCP_SYN)}},
		      {.in = {ETH(NODE1, LB), VLAN(7), IP4(NODE1, LB), TCP(NODE_PORT, 30000, TCP_ACK)},
		       .want = TX, .reason = LB_R_NAT_REPLY,
		       .out = {ETH(LB, ROUTER), VLAN(7), IP4(VIP, CLIENT, .ttl = 63),
			       TCP(PORT, 40000, TCP_ACK)}}),
	},
	{
		.name = "nat: client and node each get their own tag, or none",
		NAT_RANGE(30000),
		.vlan = 9,
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE1, OPENS,
		       .out = {ETH(LB, NODE1), VLAN(9), IP4(LB, NODE1, .ttl = 63),
			       TCP(30000, NODE_PORT, TCP_SYN)}},
		      {.in = {ETH(NODE1, LB), VLAN(9), IP4(NODE1, LB), TCP(NODE_PORT, 30000, TCP_ACK), DATA(5)},
		       .want = TX, .reason = LB_R_NAT_REPLY,
		       .out = {ETH(LB, ROUTER), VLAN(7), IP4(VIP, CLIENT, .ttl = 63),
			       TCP(PORT, 40000, TCP_ACK), DATA(5)}},
		      SLOT(NODE2, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT2, VIP), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE2, OPENS,
		       .out = {ETH(LB, NODE2), VLAN(9), IP4(LB, NODE2, .ttl = 63),
			       TCP(30000, NODE_PORT, TCP_SYN)}},
		      {.in = {ETH(NODE2, LB), VLAN(9), IP4(NODE2, LB), TCP(NODE_PORT, 30000, TCP_ACK)},
		       .want = TX, .reason = LB_R_NAT_REPLY,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT2, .ttl = 63), TCP(PORT, 40000, TCP_ACK)}}),
	},
	{
		.name = "nat: a tag with a priority comes back with it; two tags stay as they are",
		NAT,
		STEPS({.in = {ETH(ROUTER, LB), VLAN(0xa007), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE1, OPENS,
		       .out = {ETH(LB, NODE1), VLAN(0xa007), IP4(LB, NODE1, .ttl = 63),
			       TCP(30000, NODE_PORT, TCP_SYN)}},
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB), TCP(NODE_PORT, 30000, TCP_ACK)},
		       .want = TX, .reason = LB_R_NAT_REPLY,
		       .out = {ETH(LB, ROUTER), VLAN(0xa007), IP4(VIP, CLIENT, .ttl = 63),
			       TCP(PORT, 40000, TCP_ACK)}},
		      SLOT(NODE2, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), VLAN(4, .tpid = 0x88a8), VLAN(7), IP4(CLIENT2, VIP),
			      TCP(40000, PORT, TCP_SYN)},
		       .to = NODE2, OPENS,
		       .out = {ETH(LB, NODE2), VLAN(4, .tpid = 0x88a8), VLAN(7), IP4(LB, NODE2, .ttl = 63),
			       TCP(30000, NODE_PORT, TCP_SYN)}},
		      {.in = {ETH(NODE2, LB), VLAN(4, .tpid = 0x88a8), VLAN(7), IP4(NODE2, LB),
			      TCP(NODE_PORT, 30000, TCP_ACK)},
		       .want = TX, .reason = LB_R_NAT_REPLY,
		       .out = {ETH(LB, ROUTER), VLAN(4, .tpid = 0x88a8), VLAN(7),
			       IP4(VIP, CLIENT2, .ttl = 63), TCP(PORT, 40000, TCP_ACK)}}),
	},
	{
		.name = "nat: a node on another device gets the segment untagged, redirected there",
		NAT,
		.slot = {NODE5},
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE5, OPENS,
		       .out = {ETH(LB_FAR, NODE5), IP4(LB, NODE5, .ttl = 63),
			       TCP(30000, NODE_PORT, TCP_SYN)}}),
	},
	{
		.name = "nat: a hop count that would reach 0 is dropped, either way",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 1), TCP(40000, PORT, TCP_ACK)},
		       .want = DROP, .reason = LB_R_TTL},
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB, .ttl = 1), TCP(NODE_PORT, 30000, TCP_ACK)},
		       .want = DROP, .reason = LB_R_TTL}),
	},
	{
		.name = "nat: checksums are what sums over the packet give, whatever they were, both ways",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000),
		      SWEEP(SWEEP_SUMS, IN4(CLIENT, 40000, TCP_ACK, DATA(3)),
			    OUT4(NODE1, 30000, TCP_ACK, DATA(3))),
		      SWEEP(SWEEP_SUMS, BACK4(NODE1, 30000, CLIENT, 40000, TCP_ACK, DATA(3)))),
	},
	{
		.name = "nat over IPv6: the checksum is what a sum gives, whatever it was, both ways",
		NAT,
		.slot = {NODE3},
		STEPS({IN6(CLIENT, 40000, TCP_SYN, ), OUT6(NODE3, 30000, TCP_SYN, ), OPENS},
		      SWEEP(SWEEP_SUMS, IN6(CLIENT, 40000, TCP_ACK, ), OUT6(NODE3, 30000, TCP_ACK, )),
		      SWEEP(SWEEP_SUMS, BACK6(NODE3, 30000, CLIENT, 40000, TCP_ACK, ))),
	},
	{
		.name = "nat: a wrong TCP checksum stays wrong by as much",
		NAT,
		STEPS(SYN(CLIENT, 40000, NODE1, 30000),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP),
			      TCP(40000, PORT, TCP_ACK, .seq = 0, .ack = 0, .window = 0, .check = 0x1111)},
		       .to = NODE1,
		       .out = {ETH(LB, NODE1), IP4(LB, NODE1, .ttl = 63),
			       TCP(30000, NODE_PORT, TCP_ACK, .seq = 0, .ack = 0, .window = 0,
				   .check = 0x2b02)}}),
	},
	{
		.name = "nat: a node of the other family cannot be reached",
		NAT,
		STEPS({IN6(CLIENT, 40000, TCP_SYN, ), .want = DROP, .reason = LB_R_NO_NEXTHOP,
		       EVENTS(LB_EV_FLOW_ADDED)}),
	},
	{
		.name = "nat: a node whose next hop is not resolved drops the segment",
		NAT,
		.slot = {NODE9},
		STEPS({IN4(CLIENT, 40000, TCP_SYN, ), .want = DROP, .reason = LB_R_NO_NEXTHOP,
		       EVENTS(LB_EV_FLOW_ADDED)}),
	},
	{
		.name = "nat: new flows fall into the slots their hashes name",
		NAT_RANGE(30999),
		.spread = 1,
		STEPS({IN4(CLIENT, 40000, TCP_SYN, ), .to = BY_HASH, .any_port = 1, OPENS},
		      {IN4(CLIENT2, 40001, TCP_SYN, ), .to = BY_HASH, .any_port = 1, OPENS},
		      {IN4(CLIENT3, 40003, TCP_SYN, ), .to = BY_HASH, .any_port = 1, OPENS}),
	},
	{
		.name = "nat: new flows go by the pool's policy",
		NAT_RANGE(30001),
		.policy = LB_POLICY_P2C,
		.slot = {NODE1, NODE2},
		STEPS(LOAD(NODE1, 50, 1000, 0), LOAD(NODE2, 1, 1000, 0),
		      {IN4(CLIENT, 40000, TCP_SYN, ), .to = NODE2, .any_port = 1, .opens = 1,
		       EVENTS(LB_EV_ALT_CHOSEN, LB_EV_FLOW_ADDED)},
		      INC(NODE2, 1), {IN4(CLIENT, 40000, TCP_ACK, ), .to = NODE2, .any_port = 1}),
	},
};

CASE_LIST(cases_nat, table);
