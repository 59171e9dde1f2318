// SPDX-License-Identifier: BSD-2-Clause
/* VLAN tags: kept on the device they came from, gone on another. */
#include "tests/packet/cases.h"

#define SEGMENT TCP(40000, PORT, TCP_ACK | TCP_PSH), DATA(30)

static const struct packet_case table[] = {
	{
		.name = "ipip: a VLAN tag stays in front of the outer header",
		ONE(.in = {ETH(ROUTER, LB), VLAN(0x2007), IP4(CLIENT, VIP), SEGMENT},
		    .to = NODE1,
		    .out = {ETH(LB, NODE1), VLAN(0x2007), IP4(LB, NODE1),
			    IP4(CLIENT, VIP, .ttl = 63), SEGMENT}),
	},
	{
		.name = "ipip: two tags, 802.1ad outside, stay in their order",
		ONE(.in = {ETH(ROUTER, LB), VLAN(5, .tpid = 0x88a8), VLAN(6), IP4(CLIENT, VIP), SEGMENT},
		    .to = NODE1,
		    .out = {ETH(LB, NODE1), VLAN(5, .tpid = 0x88a8), VLAN(6), IP4(LB, NODE1),
			    IP4(CLIENT, VIP, .ttl = 63), SEGMENT}),
	},
	{
		.name = "ipip: the tag's ethertype follows the outer header's family",
		.slot = {NODE3},
		STEPS({.in = {ETH(ROUTER, LB), VLAN(9), IP4(CLIENT, VIP), SEGMENT},
		       .to = NODE3,
		       .out = {ETH(LB, NODE3), VLAN(9, .proto = 0x86dd),
			       IP6(LB, NODE3, .flow = FLOW_HASH), IP4(CLIENT, VIP, .ttl = 63), SEGMENT}},
		      SLOT(NODE1, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), VLAN(9), IP6(CLIENT, VIP), SEGMENT},
		       .to = NODE1,
		       .out = {ETH(LB, NODE1), VLAN(9, .proto = 0x0800), IP4(LB, NODE1),
			       IP6(CLIENT, VIP, .ttl = 63), SEGMENT}}),
	},
	{
		.name = "l2dsr: tags stay, nothing moves",
		.mode = LB_MODE_L2DSR,
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), VLAN(7), VLAN(8), IP4(CLIENT, VIP), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), VLAN(7), IP6(CLIENT, VIP), SEGMENT}, .to = NODE1}),
	},
	{
		.name = "gue: tags stay",
		.mode = LB_MODE_GUE,
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), VLAN(7), VLAN(8), IP6(CLIENT, VIP), SEGMENT}, .to = NODE1}),
	},
	{
		.name = "ipip: a tag is taken off for a node on another device",
		.slot = {NODE5},
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), SEGMENT},
		       .to = NODE5,
		       .out = {ETH(LB_FAR, NODE5), IP4(LB, NODE5), IP4(CLIENT, VIP, .ttl = 63), SEGMENT}},
		      {.in = {ETH(ROUTER, LB), VLAN(7), VLAN(8), IP4(CLIENT, VIP), SEGMENT}, .to = NODE5},
		      {.in = {ETH(ROUTER, LB), VLAN(7), VLAN(8), IP6(CLIENT, VIP), SEGMENT}, .to = NODE5}),
	},
	{
		.name = "l2dsr: a tag is taken off for a node on another device: the frame gets shorter",
		.mode = LB_MODE_L2DSR,
		.slot = {NODE5},
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), SEGMENT},
		       .to = NODE5,
		       .out = {ETH(LB_FAR, NODE5), IP4(CLIENT, VIP, .ttl = 63), SEGMENT}},
		      {.in = {ETH(ROUTER, LB), VLAN(7), VLAN(8), IP6(CLIENT, VIP), SEGMENT}, .to = NODE5}),
	},
	{
		.name = "A tagged SYN opens a flow like any other",
		ONE(.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		    .to = NODE1, .opens = 1),
	},
	{
		.name = "Three tags are more than are followed: passes untouched",
		ONE(.in = {ETH(ROUTER, LB), VLAN(7), VLAN(8), VLAN(9), IP4(CLIENT, VIP), SEGMENT},
		    .want = PASS, .reason = LB_R_VLAN_DEPTH),
	},
	{
		.name = "Tagged packets that are not for a VIP pass untouched",
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP_B), SEGMENT},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), VLAN(7), VLAN(8), IP6(CLIENT, VIP_B), SEGMENT},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), VLAN(7, .proto = 0x0806), DATA(46)},
		       .want = PASS, .reason = LB_R_NOT_VIP}),
	},
	{
		.name = "ipip: a next hop behind a tag gets that tag, whatever the packet came with",
		.vlan = 9,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE1,
		       .out = {ETH(LB, NODE1), VLAN(9), IP4(LB, NODE1), IP4(CLIENT, VIP, .ttl = 63), SEGMENT}},
		      {.in = {ETH(ROUTER, LB), VLAN(7), IP6(CLIENT, VIP), SEGMENT}, .to = NODE1,
		       .out = {ETH(LB, NODE1), VLAN(9), IP4(LB, NODE1), IP6(CLIENT, VIP, .ttl = 63), SEGMENT}},
		      {.in = {ETH(ROUTER, LB), VLAN(7), VLAN(8), IP4(CLIENT, VIP), SEGMENT}, .to = NODE1,
		       .out = {ETH(LB, NODE1), VLAN(9), IP4(LB, NODE1), IP4(CLIENT, VIP, .ttl = 63), SEGMENT}}),
	},
	{
		.name = "l2dsr: a next hop behind a tag on another device gets that tag",
		.vlan = 9,
		.mode = LB_MODE_L2DSR,
		.slot = {NODE5},
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE5,
		       .out = {ETH(LB_FAR, NODE5), VLAN(9), IP4(CLIENT, VIP, .ttl = 63), SEGMENT}},
		      {.in = {ETH(ROUTER, LB), VLAN(7), VLAN(8), IP6(CLIENT, VIP), SEGMENT}, .to = NODE5,
		       .out = {ETH(LB_FAR, NODE5), VLAN(9), IP6(CLIENT, VIP, .ttl = 63), SEGMENT}}),
	},
	{
		.name = "A tagged packet's traffic class is copied to the outer header",
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP6(CLIENT, VIP, .tos = 0xb7), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP, .tos = 0xb7), SEGMENT}, .to = NODE1}),
	},
	{
		.name = "A tagged packet for a VIP with a bad header is dropped",
		STEPS({.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP, .ihl = 3), SEGMENT},
		       .want = DROP, .reason = LB_R_BAD_IHL},
		      {.in = {ETH(ROUTER, LB), VLAN(7), VLAN(7), IP4(CLIENT, VIP, .len = 400), SEGMENT},
		       .want = DROP, .reason = LB_R_BAD_LENGTH},
		      {.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP, .ttl = 1), SEGMENT},
		       .want = DROP, .reason = LB_R_TTL}),
	},
	{
		.name = "The MTU is that of the IP packet: tags do not count",
		.mode = LB_MODE_L2DSR,
		ONE(.in = {ETH(ROUTER, LB), VLAN(7), VLAN(8), IP4(CLIENT, VIP),
			   TCP(40000, PORT, TCP_ACK), DATA(MTU - 40)},
		    .to = NODE1),
	},
};

CASE_LIST(cases_vlan, table);
