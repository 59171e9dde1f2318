// SPDX-License-Identifier: BSD-2-Clause
/* Mode l2dsr: only the MAC addresses and the hop count change. */
#include "tests/packet/cases.h"

#define SEGMENT TCP(40000, PORT, TCP_ACK | TCP_PSH), DATA(100)

static const struct packet_case table[] = {
	{
		.name = "l2dsr: IPv4 keeps its header but for the TTL; MACs are the node's",
		.mode = LB_MODE_L2DSR,
		.slot = {NODE1},
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .tos = 0x20, .id = 0x4321), SEGMENT},
		    .to = NODE1,
		    .out = {ETH(LB, NODE1), IP4(CLIENT, VIP, .ttl = 63, .tos = 0x20, .id = 0x4321),
			    SEGMENT}),
	},
	{
		.name = "l2dsr: IPv6 keeps its header but for the hop limit; MACs are the node's",
		.mode = LB_MODE_L2DSR,
		.slot = {NODE3},
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .tos = 0x20, .flow = 0xabcde), SEGMENT},
		    .to = NODE3,
		    .out = {ETH(LB, NODE3),
			    IP6(CLIENT, VIP, .ttl = 63, .tos = 0x20, .flow = 0xabcde), SEGMENT}),
	},
	{
		.name = "l2dsr: a node known by an IPv4 address takes IPv6 packets, and the reverse",
		.mode = LB_MODE_L2DSR,
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT}, .to = NODE1},
		      SLOT(NODE3, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE3}),
	},
	{
		.name = "l2dsr: a SYN is counted as a new flow",
		.mode = LB_MODE_L2DSR,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		    .to = NODE1, .opens = 1),
	},
	{
		.name = "l2dsr: a node on another device is redirected to",
		.mode = LB_MODE_L2DSR,
		.slot = {NODE5},
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT},
		       .to = NODE5,
		       .out = {ETH(LB_FAR, NODE5), IP4(CLIENT, VIP, .ttl = 63), SEGMENT}},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT}, .to = NODE5}),
	},
	{
		.name = "l2dsr: a packet as large as the node's MTU fits",
		.mode = LB_MODE_L2DSR,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK),
			   DATA(MTU - 40)},
		    .to = NODE1),
	},
	{
		.name = "l2dsr: needs no room in front of the frame",
		.mode = LB_MODE_L2DSR,
		.native_only = 1,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .headroom = 1, .to = NODE1),
	},
	{
		.name = "l2dsr: padding of a short frame stays",
		.mode = LB_MODE_L2DSR,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK), PAD(6)},
		    .to = NODE1),
	},
	{
		.name = "l2dsr: an expired TTL is dropped",
		.mode = LB_MODE_L2DSR,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 1), SEGMENT},
		    .want = DROP, .reason = LB_R_TTL),
	},
};

CASE_LIST(cases_l2dsr, table);
