// SPDX-License-Identifier: BSD-2-Clause
/* Mode gue: IP in UDP, GUE variant 1; the UDP source port varies with the flow. */
#include "tests/packet/cases.h"

#define SEGMENT TCP(40000, PORT, TCP_ACK | TCP_PSH), DATA(50)
#define GUE	UDP(FLOW_HASH, 6080, .check = 0)

static const struct packet_case table[] = {
	{
		.name = "gue: IPv4 in UDP over IPv4",
		.mode = LB_MODE_GUE,
		.decap = 1,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 9), SEGMENT},
		    .to = NODE1,
		    .out = {ETH(LB, NODE1), IP4(LB, NODE1, .proto = 17), GUE, IP4(CLIENT, VIP, .ttl = 8),
			    SEGMENT}),
	},
	{
		.name = "gue: IPv6 in UDP over IPv6",
		.mode = LB_MODE_GUE,
		.slot = {NODE3},
		.decap = 1,
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .ttl = 9), SEGMENT},
		    .to = NODE3,
		    .out = {ETH(LB, NODE3), IP6(LB, NODE3, .proto = 17, .flow = FLOW_HASH), GUE,
			    IP6(CLIENT, VIP, .ttl = 8), SEGMENT}),
	},
	{
		.name = "gue: IPv4 in UDP over IPv6, IPv6 in UDP over IPv4",
		.mode = LB_MODE_GUE,
		.slot = {NODE3},
		.decap = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT},
		       .to = NODE3,
		       .out = {ETH(LB, NODE3), IP6(LB, NODE3, .proto = 17, .flow = FLOW_HASH), GUE,
			       IP4(CLIENT, VIP, .ttl = 63), SEGMENT}},
		      SLOT(NODE1, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT},
		       .to = NODE1,
		       .out = {ETH(LB, NODE1), IP4(LB, NODE1, .proto = 17), GUE,
			       IP6(CLIENT, VIP, .ttl = 63), SEGMENT}}),
	},
	{
		.name = "gue: the source port differs between flows and stays for one",
		.mode = LB_MODE_GUE,
		.decap = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK)}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40001, PORT, TCP_ACK)}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT2, VIP), TCP(40000, PORT, TCP_ACK)}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_FIN | TCP_ACK)},
		       .to = NODE1}),
	},
	{
		.name = "gue: a SYN is counted as a new flow",
		.mode = LB_MODE_GUE,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE1, .opens = 1},
		      SLOT(NODE4, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .to = NODE4, .opens = 1}),
	},
	{
		.name = "gue: the traffic class is copied, padding stays behind",
		.mode = LB_MODE_GUE,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .tos = 0x2e), TCP(40000, PORT, TCP_ACK),
			      PAD(6)}, .to = NODE1},
		      SLOT(NODE3, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .tos = 0x2e), TCP(40000, PORT, TCP_ACK),
			      PAD(2)}, .to = NODE3}),
	},
	{
		.name = "gue: a node on another device, and one whose outer source varies",
		.mode = LB_MODE_GUE,
		.slot = {NODE5},
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE5},
		      SLOT(NODE6, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT}, .to = NODE6},
		      SLOT(NODE7, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE7},
		      SLOT(NODE8, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT}, .to = NODE8}),
	},
	{
		.name = "gue: a packet that fills the MTU with both outer headers is forwarded",
		.mode = LB_MODE_GUE,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK),
			      DATA(MTU - 28 - 40)}, .to = NODE1},
		      SLOT(NODE3, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(40000, PORT, TCP_ACK),
			      DATA(MTU - 48 - 60)}, .to = NODE3}),
	},
	{
		.name = "gue: room in front is needed for both outer headers",
		.mode = LB_MODE_GUE,
		.native_only = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT},
		       .headroom = 27, .want = DROP, .reason = LB_R_HEADROOM},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .headroom = 28, .to = NODE1}),
	},
};

CASE_LIST(cases_gue, table);
