// SPDX-License-Identifier: BSD-2-Clause
/* Mode nat: ICMP errors from the way to the node, and from the client's side; segments too big. */
#include "tests/packet/cases.h"

#define NAT .mode = LB_MODE_NAT, .nat_low = 30000, .nat_high = 30000

/* Client's port 40000 becomes source port 30000. */
#define OPEN4(node)                                                                                \
	{                                                                                          \
		.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)}, .to = node,  \
		.any_port = 1, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)                                \
	}
#define OPEN6(node)                                                                                \
	{                                                                                          \
		.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)}, .to = node,  \
		.any_port = 1, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)                                \
	}
#define GOES_ON4(node)                                                                             \
	{                                                                                          \
		.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK)}, .to = node,  \
		.out = {ETH(LB, node), IP4(LB, node, .ttl = 63), TCP(30000, NODE_PORT, TCP_ACK)}   \
	}

/* An answer of the node with so many bytes, as the client gets it, or refused. */
#define LONG4(bytes) .in = {ETH(NODE1, LB), IP4(NODE1, LB), TCP(NODE_PORT, 30000, TCP_ACK), DATA(bytes)}
#define LONG6(bytes) .in = {ETH(NODE3, LB), IP6(NODE3, LB), TCP(NODE_PORT, 30000, TCP_ACK), DATA(bytes)}
#define ANSWERED4(bytes)                                                                           \
	{                                                                                          \
		LONG4(bytes), .want = TX, .reason = LB_R_NAT_REPLY,                                \
		.out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63), TCP(PORT, 40000, TCP_ACK),   \
			DATA(bytes)}                                                               \
	}
#define ANSWERED6(bytes)                                                                           \
	{                                                                                          \
		LONG6(bytes), .want = TX, .reason = LB_R_NAT_REPLY,                                \
		.out = {ETH(LB, ROUTER), IP6(VIP, CLIENT, .ttl = 63), TCP(PORT, 40000, TCP_ACK),   \
			DATA(bytes)}                                                               \
	}
#define REFUSED4(bytes, mtu)                                                                       \
	{                                                                                          \
		LONG4(bytes), .want = TX, .reason = LB_R_TOO_BIG_SENT,                             \
		.out = {ETH(LB, NODE1), IP4(LB, NODE1), ICMP4(3, 4, .rest = mtu),                  \
			IP4(NODE1, LB, .len = 40 + (bytes)), TCP(NODE_PORT, 30000, TCP_ACK, .n = 8)} \
	}
#define REFUSED6(bytes, mtu)                                                                       \
	{                                                                                          \
		LONG6(bytes), .want = TX, .reason = LB_R_TOO_BIG_SENT,                             \
		.out = {ETH(LB, NODE3), IP6(LB, NODE3), ICMP6(2, 0, .rest = mtu),                  \
			IP6(NODE3, LB, .len = 20 + (bytes)), TCP(NODE_PORT, 30000, TCP_ACK, .n = 8)} \
	}

#define ABOUT	 EVENTS(LB_EV_ICMP_FLOW)
#define TO_CLIENT .want = TX, .reason = LB_R_NAT_REPLY, ABOUT
#define KERNELS	 .want = PASS, .reason = LB_R_NOT_VIP
#define ODD	 .want = DROP, .reason = LB_R_ICMP_OTHER

/* What a router on the way to the node quotes, and what the client then reads; 8 bytes of TCP. */
#define SENT4(node, ...)  IP4(LB, node, .len = 1500, .ttl = 7), TCP(30000, NODE_PORT, TCP_ACK, __VA_ARGS__)
#define OF_CLIENT4(...)	  IP4(CLIENT, VIP, .len = 1500, .ttl = 7), TCP(40000, PORT, TCP_ACK, __VA_ARGS__)
#define SENT6(node, ...)  IP6(LB, node, .len = 1460, .ttl = 7), TCP(30000, NODE_PORT, TCP_ACK, __VA_ARGS__)
#define OF_CLIENT6(...)	  IP6(CLIENT, VIP, .len = 1460, .ttl = 7), TCP(40000, PORT, TCP_ACK, __VA_ARGS__)

/* What a router before the client quotes, and what the node then reads. */
#define ANSWER4(...)	   IP4(VIP, CLIENT, .len = 1500, .ttl = 7), TCP(PORT, 40000, TCP_ACK, __VA_ARGS__)
#define OF_NODE4(node, ...) IP4(node, LB, .len = 1500, .ttl = 7), TCP(NODE_PORT, 30000, TCP_ACK, __VA_ARGS__)
#define ANSWER6(...)	   IP6(VIP, CLIENT, .len = 1460, .ttl = 7), TCP(PORT, 40000, TCP_ACK, __VA_ARGS__)
#define OF_NODE6(node, ...) IP6(node, LB, .len = 1460, .ttl = 7), TCP(NODE_PORT, 30000, TCP_ACK, __VA_ARGS__)

/* The whole step: an ICMP error of that type from the router, about NODE1 or NODE3. */
#define BACK4(type, code, ...)                                                                     \
	{                                                                                          \
		.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(type, code, .rest = 1400),           \
		       SENT4(NODE1, __VA_ARGS__)},                                                 \
		TO_CLIENT,                                                                         \
		.out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63),                              \
			ICMP4(type, code, .rest = 1400), OF_CLIENT4(__VA_ARGS__)}                  \
	}
#define BACK6(type, code, ...)                                                                     \
	{                                                                                          \
		.in = {ETH(NODE4, LB), IP6(ROUTER, LB), ICMP6(type, code, .rest = 1400),           \
		       SENT6(NODE3, __VA_ARGS__)},                                                 \
		TO_CLIENT,                                                                         \
		.out = {ETH(LB, ROUTER), IP6(VIP, CLIENT, .ttl = 63),                              \
			ICMP6(type, code, .rest = 1400), OF_CLIENT6(__VA_ARGS__)}                  \
	}
#define FORTH4(type, code, ...)                                                                    \
	{                                                                                          \
		.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(type, code, .rest = 1400),         \
		       ANSWER4(__VA_ARGS__)},                                                      \
		.to = NODE1, ABOUT,                                                                \
		.out = {ETH(LB, NODE1), IP4(LB, NODE1, .ttl = 63),                                 \
			ICMP4(type, code, .rest = 1400), OF_NODE4(NODE1, __VA_ARGS__)}             \
	}
#define FORTH6(type, code, ...)                                                                    \
	{                                                                                          \
		.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(type, code, .rest = 1400),         \
		       ANSWER6(__VA_ARGS__)},                                                      \
		.to = NODE3, ABOUT,                                                                \
		.out = {ETH(LB, NODE3), IP6(LB, NODE3, .ttl = 63),                                 \
			ICMP6(type, code, .rest = 1400), OF_NODE6(NODE3, __VA_ARGS__)}             \
	}
#define EIGHT .n = 8

static const struct packet_case table[] = {
	/* --- about what went to a node ------------------------------------------------------- */
	{
		.name = "nat: IPv4 errors from the way to the node reach the client as about its segment",
		NAT,
		STEPS(OPEN4(NODE1), BACK4(3, 4, EIGHT), BACK4(3, 1, EIGHT), BACK4(11, 0, EIGHT),
		      BACK4(12, 0, EIGHT)),
	},
	{
		.name = "nat: IPv6 errors from the way to the node reach the client as about its segment",
		NAT,
		.slot = {NODE3},
		STEPS(OPEN6(NODE3), BACK6(2, 0, EIGHT), BACK6(1, 4, EIGHT), BACK6(3, 0, EIGHT),
		      BACK6(4, 1, EIGHT)),
	},
	{
		.name = "nat: the quoted TCP checksum is rewritten where it is quoted, whole or not at all",
		NAT,
		STEPS(OPEN4(NODE1), BACK4(3, 4, .doff = 5), BACK4(3, 4, .doff = 15), BACK4(3, 4, .n = 17), BACK4(3, 4, .n = 16),
		      BACK4(3, 4, .n = 4),
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 4),
			      SENT4(NODE1, .n = 18, .check = 0x1234)},
		       TO_CLIENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63), ICMP4(3, 4),
			       OF_CLIENT4(.n = 18, .check = 0xf842)}},
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 4), SENT4(NODE1), DATA(500)},
		       TO_CLIENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63), ICMP4(3, 4), OF_CLIENT4(),
			       DATA(500)}}),
	},
	{
		.name = "nat over IPv6: the quoted TCP checksum is rewritten where it is quoted",
		NAT,
		.slot = {NODE3},
		STEPS(OPEN6(NODE3), BACK6(2, 0, .doff = 5), BACK6(2, 0, .n = 17), BACK6(2, 0, .n = 4),
		      {.in = {ETH(NODE4, LB), IP6(ROUTER, LB), ICMP6(2, 0),
			      SENT6(NODE3, .n = 18, .check = 0x1234)},
		       TO_CLIENT,
		       .out = {ETH(LB, ROUTER), IP6(VIP, CLIENT, .ttl = 63), ICMP6(2, 0),
			       OF_CLIENT6(.n = 18, .check = 0xdb3f)}},
		      {.in = {ETH(NODE4, LB), IP6(ROUTER, LB), ICMP6(2, 0), SENT6(NODE3), DATA(900)},
		       TO_CLIENT,
		       .out = {ETH(LB, ROUTER), IP6(VIP, CLIENT, .ttl = 63), ICMP6(2, 0), OF_CLIENT6(),
			       DATA(900)}}),
	},
	{
		.name = "nat: a quoted checksum that only the frame's padding holds is none",
		NAT,
		STEPS(OPEN4(NODE1),
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 4), SENT4(NODE1, EIGHT), PAD(20)},
		       TO_CLIENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63), ICMP4(3, 4),
			       OF_CLIENT4(EIGHT), PAD(20)}}),
	},
	{
		.name = "nat: a quoted header with options is read over, and kept",
		NAT,
		STEPS(OPEN4(NODE1),
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB, .ihl = 7), ICMP4(3, 4),
			      IP4(LB, NODE1, .ihl = 15), TCP(30000, NODE_PORT, TCP_ACK)},
		       TO_CLIENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63, .ihl = 7), ICMP4(3, 4),
			       IP4(CLIENT, VIP, .ihl = 15), TCP(40000, PORT, TCP_ACK)}}),
	},
	{
		.name = "nat: all checksums of an error are what sums give, whatever they were",
		NAT,
		STEPS(OPEN4(NODE1),
		      SWEEP(SWEEP_SUMS,
			    .in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 4, .rest = 1400),
				   IP4(LB, NODE1), TCP(30000, NODE_PORT, TCP_ACK)},
			    TO_CLIENT,
			    .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63),
				    ICMP4(3, 4, .rest = 1400), IP4(CLIENT, VIP),
				    TCP(40000, PORT, TCP_ACK)})),
	},
	{
		.name = "nat: wrong checksums of an error stay wrong by as much",
		NAT,
		STEPS(OPEN4(NODE1),
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 4, .check = 0x1234),
			      IP4(LB, NODE1, .check = 0x1000), TCP(30000, NODE_PORT, TCP_ACK, .n = 8)},
		       TO_CLIENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63), ICMP4(3, 4, .check = 0x0a64),
			       IP4(CLIENT, VIP, .check = 0xfdde),
			       TCP(40000, PORT, TCP_ACK, .n = 8)}}),
	},
	{
		.name = "nat: an error about nothing of ours is the kernel's, untouched",
		NAT,
		STEPS({.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 4), SENT4(NODE1, EIGHT)}, KERNELS},
		      OPEN4(NODE1),
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 4), SENT4(NODE2, EIGHT)}, KERNELS},
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 4), IP4(LB, NODE1),
			      TCP(30001, NODE_PORT, TCP_ACK)}, KERNELS},
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 4), IP4(LB, NODE1),
			      TCP(30000, 22, TCP_ACK)}, KERNELS},
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 3), IP4(LB, NODE1),
			      UDP(30000, NODE_PORT)}, KERNELS},
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB), ICMP4(3, 4), IP4(LB, NODE1),
			      TCP(30000, NODE_PORT, TCP_ACK, .n = 3)}, KERNELS},
		      {.in = {ETH(NODE2, LB), IP6(ROUTER, LB), ICMP6(2, 0), SENT6(NODE3, EIGHT)},
		       KERNELS}),
	},
	{
		.name = "nat: pings, redirects and neighbour discovery of this host are the kernel's",
		NAT,
		STEPS(OPEN4(NODE1),
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB), ICMP4(8, 0), SENT4(NODE1, EIGHT)}, KERNELS},
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB), ICMP4(0, 0), SENT4(NODE1, EIGHT)}, KERNELS},
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB), ICMP4(5, 1), SENT4(NODE1, EIGHT)}, KERNELS},
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB, .proto = 1), DATA(7, .seed = 3)}, KERNELS},
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB, .proto = 58), DATA(40, .seed = 3)}, KERNELS},
		      {.in = {ETH(NODE3, LB), IP6(NODE3, LB), ICMP6(135, 0), DATA(24)}, KERNELS},
		      {.in = {ETH(NODE3, LB), IP6(NODE3, LB, .proto = 1), DATA(40, .seed = 3)}, KERNELS}),
	},
	{
		.name = "nat: an error to an address that mode nat does not send from is the kernel's",
		NAT,
		STEPS(OPEN4(NODE1),
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB_FAR), ICMP4(3, 4), SENT4(NODE1, EIGHT)},
		       KERNELS}),
	},
	{
		.name = "nat: an error whose hop count would reach 0 is dropped, either way",
		NAT,
		STEPS(OPEN4(NODE1),
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, LB, .ttl = 1), ICMP4(3, 4), SENT4(NODE1, EIGHT)},
		       .want = DROP, .reason = LB_R_TTL},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP, .ttl = 1), ICMP4(3, 4), ANSWER4(EIGHT)},
		       .want = DROP, .reason = LB_R_TTL}),
	},

	/* --- about what went to a client ----------------------------------------------------- */
	{
		.name = "nat: IPv4 errors from the client's side reach the node as about its segment",
		NAT,
		STEPS(OPEN4(NODE1), FORTH4(3, 4, EIGHT), FORTH4(3, 1, EIGHT), FORTH4(11, 0, EIGHT),
		      FORTH4(12, 0, EIGHT), FORTH4(3, 4, .doff = 5), FORTH4(3, 4, .n = 17)),
	},
	{
		.name = "nat: IPv6 errors from the client's side reach the node as about its segment",
		NAT,
		.slot = {NODE3},
		STEPS(OPEN6(NODE3), FORTH6(2, 0, EIGHT), FORTH6(1, 4, EIGHT), FORTH6(3, 0, EIGHT),
		      FORTH6(4, 1, EIGHT), FORTH6(2, 0, .doff = 5), FORTH6(2, 0, .n = 17)),
	},
	{
		.name = "nat: an error follows its flow's entry, whatever the slot says, and changes nothing",
		NAT,
		STEPS(OPEN4(NODE1), SLOT(NODE2, 0, 0, 0), FORTH4(3, 4, EIGHT), BACK4(3, 4, EIGHT),
		      GOES_ON4(NODE1), LIVE_FLOWS(NODE1, 1)),
	},
	{
		.name = "nat: an error about no flow of the VIP is dropped",
		NAT,
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), ANSWER4(EIGHT)}, ODD},
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(2, 0), ANSWER6(EIGHT)}, ODD},
		      OPEN4(NODE1),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), IP4(VIP, CLIENT2),
			      TCP(PORT, 40000, TCP_ACK, .n = 8)}, ODD},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), IP4(VIP, CLIENT),
			      TCP(22, 40000, TCP_ACK, .n = 8)}, ODD},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), SENT4(NODE1, EIGHT)}, ODD}),
	},
	{
		.name = "nat from the VIP's own address: answers and errors find their flow all the same",
		NAT,
		.nat_from_vip = 1,
		STEPS(OPEN4(NODE1),
		      {.in = {ETH(NODE1, LB), IP4(NODE1, VIP), TCP(NODE_PORT, 30000, TCP_ACK)},
		       .want = TX, .reason = LB_R_NAT_REPLY,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63), TCP(PORT, 40000, TCP_ACK)}},
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, VIP), ICMP4(3, 4), IP4(VIP, NODE1),
			      TCP(30000, NODE_PORT, TCP_ACK)},
		       TO_CLIENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63), ICMP4(3, 4),
			       IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK)}},
		      {.in = {ETH(NODE2, LB), IP4(ROUTER, VIP), ICMP4(3, 4), IP4(VIP, NODE1),
			      TCP(30001, NODE_PORT, TCP_ACK)}, ODD}),
	},
	{
		.name = "nat: an error about a flow that its node's family kept from it is dropped",
		NAT,
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .want = DROP, .reason = LB_R_NO_NEXTHOP, EVENTS(LB_EV_FLOW_ADDED)},
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(2, 0), ANSWER6(EIGHT)},
		       .want = DROP, .reason = LB_R_NO_NEXTHOP}),
	},
	{
		.name = "nat: an error about a dead node's flow is dropped",
		NAT,
		STEPS(OPEN4(NODE1), DIES(NODE1),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), ANSWER4(EIGHT)}, ODD}),
	},
	{
		.name = "nat: an error towards a node without a next hop is dropped",
		NAT,
		STEPS(OPEN4(NODE1),
		      {.kind = STEP_NODE, .node = NODE1, .flags = LB_BACKEND_F_ALIVE, .value = 0},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), ANSWER4(EIGHT)},
		       .want = DROP, .reason = LB_R_NO_NEXTHOP}),
	},
	{
		.name = "nat: an error about a flow of this host passes to the kernel",
		NAT,
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), ANSWER4(EIGHT)},
		       .want = PASS, .reason = LB_R_LOCAL, .uncounted = 1},
		      SLOT(NODE1, 0, LB_BACKEND_LOCAL, 0),
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(2, 0), ANSWER6(EIGHT)},
		       .want = PASS, .reason = LB_R_LOCAL, .uncounted = 1}),
	},
	{
		.name = "nat: an error of a VIP that is not active is dropped",
		NAT,
		STEPS(OPEN4(NODE1), VIP_FLAGS(0),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), ANSWER4(EIGHT)}, ODD}),
	},
	{
		.name = "nat: an error's tag stays on the device it came from, and goes on another",
		NAT,
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE1, .any_port = 1, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)},
		      {.in = {ETH(ROUTER, LB), VLAN(7), IP4(ROUTER, VIP), ICMP4(3, 4), ANSWER4(EIGHT)},
		       .to = NODE1, ABOUT,
		       .out = {ETH(LB, NODE1), VLAN(7), IP4(LB, NODE1, .ttl = 63), ICMP4(3, 4),
			       OF_NODE4(NODE1, EIGHT)}},
		      {.in = {ETH(NODE2, LB), VLAN(7), IP4(ROUTER, LB), ICMP4(3, 4), SENT4(NODE1, EIGHT)},
		       TO_CLIENT,
		       .out = {ETH(LB, ROUTER), VLAN(7), IP4(VIP, CLIENT, .ttl = 63), ICMP4(3, 4),
			       OF_CLIENT4(EIGHT)}}),
	},
	{
		.name = "nat: an error leaves with the tag of where it goes, either way",
		NAT,
		.vlan = 9,
		STEPS(OPEN4(NODE1),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), ANSWER4(EIGHT)},
		       .to = NODE1, ABOUT,
		       .out = {ETH(LB, NODE1), VLAN(9), IP4(LB, NODE1, .ttl = 63), ICMP4(3, 4),
			       OF_NODE4(NODE1, EIGHT)}},
		      {.in = {ETH(NODE2, LB), VLAN(9), IP4(ROUTER, LB), ICMP4(3, 4), SENT4(NODE1, EIGHT)},
		       TO_CLIENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 63), ICMP4(3, 4),
			       OF_CLIENT4(EIGHT)}}),
	},
	{
		.name = "nat: an error for a node on another device leaves there, untagged",
		NAT,
		.slot = {NODE5},
		STEPS(OPEN4(NODE5),
		      {.in = {ETH(ROUTER, LB), VLAN(7), IP4(ROUTER, VIP), ICMP4(3, 4), ANSWER4(EIGHT)},
		       .to = NODE5, ABOUT,
		       .out = {ETH(LB_FAR, NODE5), IP4(LB, NODE5, .ttl = 63), ICMP4(3, 4),
			       OF_NODE4(NODE5, EIGHT)}}),
	},

	/* --- too big ------------------------------------------------------------------------- */
	{
		.name = "nat: a segment beyond the MTU towards the node is answered with that MTU",
		NAT,
		STEPS(OPEN4(NODE1),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK), DATA(MTU - 39)},
		       .want = TX, .reason = LB_R_TOO_BIG_SENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT), ICMP4(3, 4, .rest = MTU),
			       IP4(CLIENT, VIP, .len = MTU + 1), TCP(40000, PORT, TCP_ACK, .n = 8)}},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .frag = 0), TCP(40000, PORT, TCP_ACK),
			      DATA(MTU - 39)},
		       .want = DROP, .reason = LB_R_TOO_BIG}),
	},
	{
		.name = "nat over IPv6: a segment beyond the MTU towards the node is answered with that MTU",
		NAT,
		.slot = {NODE3},
		STEPS(OPEN6(NODE3),
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(40000, PORT, TCP_ACK), DATA(MTU - 59)},
		       .want = TX, .reason = LB_R_TOO_BIG_SENT,
		       .out = {ETH(LB, ROUTER), IP6(VIP, CLIENT), ICMP6(2, 0, .rest = MTU),
			       IP6(CLIENT, VIP, .len = MTU - 39), TCP(40000, PORT, TCP_ACK, .n = 8)}}),
	},
	{
		.name = "nat: an answer beyond the MTU towards the client is answered with that MTU",
		NAT,
		STEPS(OPEN4(NODE1), DEVICE_MTU(1400), ANSWERED4(1400 - 40), REFUSED4(1400 - 39, 1400),
		      ANSWERED4(1400 - 40), DEVICE_MTU(68), REFUSED4(29, 68), DEVICE_MTU(MTU),
		      ANSWERED4(MTU - 40)),
	},
	{
		.name = "nat over IPv6: an answer beyond the MTU towards the client is answered with that MTU",
		NAT,
		.slot = {NODE3},
		STEPS(OPEN6(NODE3), DEVICE_MTU(1280), ANSWERED6(1280 - 60), REFUSED6(1280 - 59, 1280),
		      DEVICE_MTU(MTU), ANSWERED6(1280 - 59)),
	},
	{
		.name = "nat: one that may be fragmented is dropped: Sluice makes no fragments",
		NAT,
		STEPS(OPEN4(NODE1), DEVICE_MTU(1400),
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB, .frag = 0), TCP(NODE_PORT, 30000, TCP_ACK),
			      DATA(1361)},
		       .want = DROP, .reason = LB_R_TOO_BIG}),
	},
	{
		.name = "nat: the answer of a tagged node is refused with its tag, whatever the client's",
		NAT,
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE1, .any_port = 1, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)},
		      DEVICE_MTU(1400),
		      {.in = {ETH(NODE1, LB), VLAN(9), IP4(NODE1, LB), TCP(NODE_PORT, 30000, TCP_ACK),
			      DATA(1361)},
		       .want = TX, .reason = LB_R_TOO_BIG_SENT,
		       .out = {ETH(LB, NODE1), VLAN(9), IP4(LB, NODE1), ICMP4(3, 4, .rest = 1400),
			       IP4(NODE1, LB, .len = 1401), TCP(NODE_PORT, 30000, TCP_ACK, .n = 8)}}),
	},
	{
		.name = "nat: what is no answer of a flow is the kernel's, however big",
		NAT,
		STEPS(OPEN4(NODE1), DEVICE_MTU(1400),
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB), TCP(NODE_PORT, 30001, TCP_ACK), DATA(1361)},
		       KERNELS}),
	},
	{
		.name = "nat: answers that do not fit are answered so many times a second and no more",
		NAT,
		.clock = 1,
		STEPS(OPEN4(NODE1), DEVICE_MTU(1400), LIMITS(100000, 1), REFUSED4(1361, 1400),
		      {.in = {ETH(NODE1, LB), IP4(NODE1, LB), TCP(NODE_PORT, 30000, TCP_ACK), DATA(1361)},
		       .want = DROP, .reason = LB_R_REPLY_LIMIT}),
	},
};

CASE_LIST(cases_nat_icmp, table);
