// SPDX-License-Identifier: BSD-2-Clause
/* IPv4 options, IPv6 extension headers, versions that lie. */
#include "tests/packet/cases.h"

#define SEGMENT TCP(40000, PORT, TCP_ACK), DATA(12)

static const struct packet_case table[] = {
	{
		.name = "IPv4 options of one word and of ten words are kept",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 6), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 15), SEGMENT}, .to = NODE1},
		      SLOT(NODE3, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 15), SEGMENT}, .to = NODE3}),
	},
	{
		.name = "l2dsr: IPv4 options are kept",
		.mode = LB_MODE_L2DSR,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 9), SEGMENT}, .to = NODE1),
	},
	{
		.name = "gue: IPv4 options are kept",
		.mode = LB_MODE_GUE,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 7), SEGMENT}, .to = NODE1),
	},
	{
		.name = "IPv4 options that push TCP beyond the packet are dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 10, .options = 0), SEGMENT},
		    .want = DROP, .reason = LB_R_TRUNCATED),
	},
	{
		.name = "IPv4 packet with options to another address passes untouched",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP_B, .ihl = 15), SEGMENT},
		    .want = PASS, .reason = LB_R_NOT_VIP),
	},
	{
		.name = "A SYN behind IPv4 options opens a flow",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 6), TCP(40000, PORT, TCP_SYN)},
		    .to = NODE1, .opens = 1),
	},
	{
		.name = "A flow is the same with and without IPv4 options, with and without a tag",
		.spread = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = BY_HASH},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 8), SEGMENT}, .to = BY_HASH},
		      {.in = {ETH(ROUTER, LB), VLAN(3), IP4(CLIENT, VIP), SEGMENT}, .to = BY_HASH},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT}, .to = BY_HASH},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST), SEGMENT}, .to = BY_HASH}),
	},
	{
		.name = "An ethertype that contradicts the version nibble passes untouched",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .version = 6), SEGMENT},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .version = 4), SEGMENT},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .version = 0), SEGMENT},
		       .want = PASS, .reason = LB_R_NOT_VIP}),
	},
	{
		.name = "IPv6 hop-by-hop, routing and destination headers are walked and kept",
		.slot = {NODE3},
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_HOP), SEGMENT}, .to = NODE3},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_ROUTE, .n = 2), SEGMENT},
		       .to = NODE3},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST, .n = 30), SEGMENT},
		       .to = NODE3},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_HOP), EXT(EXT_DST),
			      EXT(EXT_ROUTE), EXT(EXT_DST), SEGMENT}, .to = NODE3}),
	},
	{
		.name = "l2dsr, gue: IPv6 extension headers are kept",
		.mode = LB_MODE_L2DSR,
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_HOP, .n = 1), SEGMENT}, .to = NODE1),
	},
	{
		.name = "Six IPv6 extension headers are followed",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST), EXT(EXT_DST), EXT(EXT_DST),
			   EXT(EXT_DST), EXT(EXT_DST), EXT(EXT_DST), SEGMENT}, .to = NODE1),
	},
	{
		.name = "Seven IPv6 extension headers are dropped for a VIP",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST), EXT(EXT_DST), EXT(EXT_DST),
			   EXT(EXT_DST), EXT(EXT_DST), EXT(EXT_DST), EXT(EXT_DST), TCP(1, PORT, TCP_ACK)},
		    .want = DROP, .reason = LB_R_EXT_HEADERS),
	},
	{
		.name = "Seven IPv6 extension headers to another address pass untouched",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP_B), EXT(EXT_DST), EXT(EXT_DST), EXT(EXT_DST),
			   EXT(EXT_DST), EXT(EXT_DST), EXT(EXT_DST), EXT(EXT_DST), TCP(1, PORT, TCP_ACK)},
		    .want = PASS, .reason = LB_R_NOT_VIP),
	},
	{
		.name = "An atomic IPv6 fragment, whole in itself, is forwarded",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), FRAG(0), SEGMENT}, .to = NODE1),
	},
	{
		.name = "The reserved bits of an IPv6 fragment header do not make a fragment",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), FRAG(6), SEGMENT}, .to = NODE1),
	},
	{
		.name = "First and later IPv6 fragments for a VIP are dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), FRAG(1), SEGMENT},
		       .want = DROP, .reason = LB_R_FRAGMENT},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), FRAG(8), DATA(60)},
		       .want = DROP, .reason = LB_R_FRAGMENT},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_HOP), FRAG(0xfff9), DATA(60)},
		       .want = DROP, .reason = LB_R_FRAGMENT}),
	},
	{
		.name = "IPv6 fragments to another address pass untouched",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP_B), FRAG(1), SEGMENT},
		    .want = PASS, .reason = LB_R_NOT_VIP),
	},
	{
		.name = "An IPv6 extension header longer than the frame is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST, .len = 255), SEGMENT},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST, .len = 4), SEGMENT},
		       .want = DROP, .reason = LB_R_TRUNCATED}),
	},
	{
		.name = "An IPv6 extension header that ends the packet is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .proto = EXT_HOP)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .proto = EXT_HOP), DATA(7)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .len = 8), EXT(EXT_DST), SEGMENT},
		       .want = DROP, .reason = LB_R_BAD_TCP}),
	},
	{
		.name = "An IPv6 extension header that ends within the padding is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST, .len = 5),
			   TCP(40000, PORT, TCP_ACK), PAD(60)},
		    .want = DROP, .reason = LB_R_BAD_TCP),
	},
	{
		.name = "IPv6 frame with extension headers cut anywhere is never forwarded",
		STEPS({.kind = STEP_CUTS,
		       .in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_HOP), EXT(EXT_DST, .n = 1),
			      TCP(40000, PORT, TCP_ACK)},
		       .cuts = {{0, 53, PASS, LB_R_NOT_VIP}, {54, 97, DROP, LB_R_BAD_LENGTH}}}),
	},
	{
		.name = "IPv6 without a next header, and encrypted IPv6, pass untouched",
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .proto = 59)},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .proto = 50), DATA(40)},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .proto = 51), DATA(40)},
		       .want = PASS, .reason = LB_R_NOT_VIP}),
	},
	{
		.name = "A SYN behind IPv6 extension headers opens a flow",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST), TCP(40000, PORT, TCP_SYN)},
		    .to = NODE1, .opens = 1),
	},
	{
		.name = "A tunnel to the VIP's address is not looked into",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), IP4(CLIENT, VIP), SEGMENT},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), IP6(CLIENT, VIP), SEGMENT},
		       .want = PASS, .reason = LB_R_NOT_VIP}),
	},
};

CASE_LIST(cases_headers, table);
