// SPDX-License-Identifier: BSD-2-Clause
/* The node's program: outer header off. And the way there and back: what went in comes out. */
#include "tests/packet/cases.h"

#define SEGMENT	  TCP(40000, PORT, TCP_ACK | TCP_PSH), DATA(70)
#define UNTOUCHED .want = PASS
#define GUE	  UDP(50000, 6080, .check = 0)

static const struct packet_case table[] = {
	/* --- round trips --------------------------------------------------------------------- */
	{
		.name = "ipip and back: the node's kernel gets the client's packet, one hop later",
		.decap = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT}, .to = NODE1},
		      SLOT(NODE3, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE3},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .flow = 0x54321), SEGMENT}, .to = NODE3}),
	},
	{
		.name = "ipip and back with options, extension headers, data and padding",
		.decap = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 11), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST, .n = 2), SEGMENT},
		       .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK), PAD(6)},
		       .to = NODE1}),
	},
	{
		.name = "ipip and back over another device and with a varying outer source",
		.decap = 1,
		.slot = {NODE5},
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE5},
		      {.in = {ETH(ROUTER, LB), VLAN(3), IP4(CLIENT, VIP), SEGMENT}, .to = NODE5},
		      SLOT(NODE7, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE7},
		      SLOT(NODE8, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT}, .to = NODE8}),
	},
	{
		.name = "gue and back with options and extension headers",
		.mode = LB_MODE_GUE,
		.decap = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 6), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_HOP), SEGMENT}, .to = NODE1}),
	},
	{
		.name = "ipip and back: the largest and the smallest packet",
		.decap = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK),
			      DATA(MTU - 60)}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK)}, .to = NODE1}),
	},
	{
		.name = "ipip and back: congestion the client's network marked arrives marked",
		.decap = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .tos = 3), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .tos = 3), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .tos = 2), SEGMENT}, .to = NODE1}),
	},

	/* --- the program alone --------------------------------------------------------------- */
	{
		.name = "decap: a packet that is not tunnelled passes untouched",
		.decap_only = 1,
		STEPS({.in = {ETH(LB, NODE1), IP4(CLIENT, VIP), SEGMENT}, UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP6(CLIENT, VIP), SEGMENT}, UNTOUCHED},
		      {.in = {ETH(LB, NODE1, .proto = 0x0806), DATA(46)}, UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP4(CLIENT, VIP), UDP(6080, 53), DATA(40)}, UNTOUCHED}),
	},
	{
		.name = "decap: congestion met in the tunnel reaches the inner header (RFC 6040)",
		.decap_only = 1,
		STEPS({.in = {ETH(LB, NODE1), IP4(LB, NODE1, .tos = 3), IP4(CLIENT, VIP, .tos = 2), SEGMENT},
		       .want = PASS,
		       .out = {ETH(LB, NODE1), IP4(CLIENT, VIP, .tos = 3), SEGMENT}},
		      {.in = {ETH(LB, NODE1), IP4(LB, NODE1, .tos = 3), IP4(CLIENT, VIP, .tos = 0xb9),
			      SEGMENT},
		       .want = PASS,
		       .out = {ETH(LB, NODE1), IP4(CLIENT, VIP, .tos = 0xbb), SEGMENT}},
		      {.in = {ETH(LB, NODE1), IP6(LB, NODE1, .tos = 3), IP6(CLIENT, VIP, .tos = 1), SEGMENT},
		       .want = PASS,
		       .out = {ETH(LB, NODE1), IP6(CLIENT, VIP, .tos = 3), SEGMENT}},
		      {.in = {ETH(LB, NODE1), IP6(LB, NODE1, .tos = 0xff), IP4(CLIENT, VIP, .tos = 2),
			      SEGMENT},
		       .want = PASS,
		       .out = {ETH(LB, NODE1), IP4(CLIENT, VIP, .tos = 3), SEGMENT}}),
	},
	{
		.name = "decap: an inner packet that knows no ECN is not marked",
		.decap_only = 1,
		STEPS({.in = {ETH(LB, NODE1), IP4(LB, NODE1, .tos = 3), IP4(CLIENT, VIP), SEGMENT},
		       .want = PASS, .out = {ETH(LB, NODE1), IP4(CLIENT, VIP), SEGMENT}},
		      {.in = {ETH(LB, NODE1), IP6(LB, NODE1, .tos = 3), IP6(CLIENT, VIP), SEGMENT},
		       .want = PASS, .out = {ETH(LB, NODE1), IP6(CLIENT, VIP), SEGMENT}}),
	},
	{
		.name = "decap: marking carries in the inner checksum",
		.decap_only = 1,
		STEPS({.in = {ETH(LB, NODE1), IP4(LB, NODE1, .tos = 3),
			      IP4(CLIENT, VIP, .tos = 1, .check = 0x0001), SEGMENT},
		       .want = PASS,
		       .out = {ETH(LB, NODE1), IP4(CLIENT, VIP, .tos = 3, .check = 0xfffe), SEGMENT}}),
	},
	{
		.name = "decap: fragments of the outer packet pass untouched",
		.decap_only = 1,
		STEPS({.in = {ETH(LB, NODE1), IP4(LB, NODE1, .frag = IP_MF), IP4(CLIENT, VIP), SEGMENT},
		       UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP4(LB, NODE1, .frag = 5), IP4(CLIENT, VIP), SEGMENT},
		       UNTOUCHED}),
	},
	{
		.name = "decap: outer options pass to the kernel, which knows what they mean",
		.decap_only = 1,
		ONE(.in = {ETH(LB, NODE1), IP4(LB, NODE1, .ihl = 6), IP4(CLIENT, VIP), SEGMENT}, UNTOUCHED),
	},
	{
		.name = "decap: a UDP payload on the GUE port that is no IP packet passes untouched",
		.decap_only = 1,
		STEPS({.in = {ETH(LB, NODE1), IP4(LB, NODE1), GUE, DATA(40, .seed = 0x00)}, UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP4(LB, NODE1), GUE, DATA(40, .seed = 0x50)}, UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP4(LB, NODE1), GUE}, UNTOUCHED}),
	},
	{
		.name = "decap: a tunnel packet whose inner header is cut passes untouched",
		.decap_only = 1,
		STEPS({.in = {ETH(LB, NODE1), IP4(LB, NODE1, .proto = 4), DATA(19)}, UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP4(LB, NODE1, .proto = 4)}, UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP4(LB, NODE1, .proto = 41), DATA(39)}, UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP6(LB, NODE1, .proto = 41), DATA(39)}, UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP4(LB, NODE1), GUE, DATA(19, .seed = 0x45)}, UNTOUCHED}),
	},
	{
		.name = "decap: an inner version that contradicts the outer protocol passes untouched",
		.decap_only = 1,
		STEPS({.in = {ETH(LB, NODE1), IP4(LB, NODE1, .proto = 41), IP4(CLIENT, VIP), SEGMENT},
		       UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP6(LB, NODE1, .proto = 4), IP6(CLIENT, VIP), SEGMENT},
		       UNTOUCHED}),
	},
	{
		.name = "decap: an outer version that contradicts the ethertype passes untouched",
		.decap_only = 1,
		STEPS({.in = {ETH(LB, NODE1), IP4(LB, NODE1, .version = 6), IP4(CLIENT, VIP), SEGMENT},
		       UNTOUCHED},
		      {.in = {ETH(LB, NODE1), IP6(LB, NODE1, .version = 4), IP6(CLIENT, VIP), SEGMENT},
		       UNTOUCHED}),
	},
	{
		.name = "decap: a tagged tunnel packet gives a tagged packet",
		.decap_only = 1,
		STEPS({.in = {ETH(LB, NODE1), VLAN(7), IP4(LB, NODE1), IP4(CLIENT, VIP), SEGMENT},
		       .want = PASS,
		       .out = {ETH(LB, NODE1), VLAN(7), IP4(CLIENT, VIP), SEGMENT}},
		      {.in = {ETH(LB, NODE1), VLAN(7), VLAN(8), IP4(LB, NODE1), IP6(CLIENT, VIP), SEGMENT},
		       .want = PASS,
		       .out = {ETH(LB, NODE1), VLAN(7), VLAN(8), IP6(CLIENT, VIP), SEGMENT}}),
	},
	{
		.name = "decap: a tunnel in a tunnel loses one header a pass",
		.decap_only = 1,
		ONE(.in = {ETH(LB, NODE1), IP4(LB, NODE1), IP4(LB, NODE2), IP4(CLIENT, VIP), SEGMENT},
		    .want = PASS, .out = {ETH(LB, NODE1), IP4(LB, NODE2), IP4(CLIENT, VIP), SEGMENT}),
	},
};

CASE_LIST(cases_decap, table);
