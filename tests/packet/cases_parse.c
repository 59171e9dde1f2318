// SPDX-License-Identifier: BSD-2-Clause
/* What is not for a VIP, what is but cannot be used, and headers that are short or lie. */
#include "tests/packet/cases.h"

#define UNTOUCHED .want = PASS, .reason = LB_R_NOT_VIP
#define SEGMENT	  TCP(40000, PORT, TCP_ACK), DATA(16)

static const struct packet_case table[] = {
	/* --- not for a VIP ------------------------------------------------------------------- */
	{
		.name = "IPv4 TCP to an address that is no VIP passes untouched",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP_B), SEGMENT}, UNTOUCHED),
	},
	{
		.name = "IPv6 TCP to an address that is no VIP passes untouched",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP_B), SEGMENT}, UNTOUCHED),
	},
	{
		.name = "IPv4 TCP to another port of the VIP's address passes untouched",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, 22, TCP_SYN)}, UNTOUCHED),
	},
	{
		.name = "IPv6 TCP to another port of the VIP's address passes untouched",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(40000, 22, TCP_SYN)}, UNTOUCHED),
	},
	{
		.name = "IPv4 UDP to the VIP's address and port passes untouched",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), UDP(40000, PORT), DATA(9)}, UNTOUCHED),
	},
	{
		.name = "IPv6 UDP to the VIP's address and port passes untouched",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), UDP(40000, PORT), DATA(9)}, UNTOUCHED),
	},
	{
		.name = "IPv4 packet of an unknown protocol to the VIP's address passes untouched",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), DATA(40)}, UNTOUCHED),
	},
	{
		.name = "A node's own packet, sent from the VIP's port, passes untouched",
		ONE(.in = {ETH(NODE1, LB), IP4(VIP, CLIENT), TCP(PORT, 40000, TCP_ACK)}, UNTOUCHED),
	},
	{
		.name = "IPv4 fragment to an address that is no VIP passes untouched",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP_B, .frag = IP_MF), SEGMENT}, UNTOUCHED),
	},
	{
		.name = "IPv4 packet that lies about its length passes untouched unless it is for a VIP",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP_B, .len = 1400), SEGMENT}, UNTOUCHED),
	},
	{
		.name = "IPv6 packet that lies about its length passes untouched unless it is for a VIP",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP_B, .len = 1400), SEGMENT}, UNTOUCHED),
	},
	{
		.name = "Frame that is neither IPv4 nor IPv6 passes untouched",
		ONE(.in = {ETH(ROUTER, LB, .proto = 0x0806), DATA(46)}, UNTOUCHED),
	},
	{
		.name = "IEEE 802.3 frame with a length in place of the ethertype passes untouched",
		ONE(.in = {ETH(ROUTER, LB, .proto = 46), DATA(46)}, UNTOUCHED),
	},
	{
		.name = "IPv4-mapped IPv6 address is not taken for the IPv4 VIP's packets",
		ONE(.in = {ETH(ROUTER, LB, .proto = 0x86dd), IP4(CLIENT, VIP), SEGMENT, DATA(30)},
		    UNTOUCHED),
	},
	{
		.name = "A VIP that is not active leaves its packets to the kernel",
		STEPS(VIP_FLAGS(0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, UNTOUCHED},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT}, UNTOUCHED}),
	},

	{
		.name = "Addresses around the VIP's, some of which share its cells, are not taken for it",
		STEPS(SWEEP(SWEEP_NEAR, .in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, UNTOUCHED),
		      SWEEP(SWEEP_NEAR, .in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT}, UNTOUCHED)),
	},

	/* --- the index ----------------------------------------------------------------------- */
	{
		.name = "A VIP whose key lies in its second cell is found",
		.cell_b = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), SEGMENT}, .to = NODE1}),
	},

	/* --- truncation ---------------------------------------------------------------------- */
	{
		.name = "IPv4 frame cut anywhere: passes without a destination, else dropped",
		STEPS({.kind = STEP_CUTS,
		       .in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK), DATA(10)},
		       .cuts = {{0, 33, PASS, LB_R_NOT_VIP}, {34, 63, DROP, LB_R_BAD_LENGTH}}}),
	},
	{
		.name = "IPv6 frame cut anywhere: passes without a destination, else dropped",
		STEPS({.kind = STEP_CUTS,
		       .in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(40000, PORT, TCP_ACK), DATA(10)},
		       .cuts = {{0, 53, PASS, LB_R_NOT_VIP}, {54, 83, DROP, LB_R_BAD_LENGTH}}}),
	},
	{
		.name = "IPv4 frame with options cut anywhere is never forwarded",
		STEPS({.kind = STEP_CUTS,
		       .in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 15),
			      TCP(40000, PORT, TCP_ACK, .doff = 15), DATA(4)},
		       .cuts = {{0, 33, PASS, LB_R_NOT_VIP}, {34, 137, DROP, LB_R_BAD_LENGTH}}}),
	},
	{
		.name = "Frame with two VLAN tags cut anywhere is never forwarded",
		STEPS({.kind = STEP_CUTS,
		       .in = {ETH(ROUTER, LB), VLAN(7, .tpid = 0x88a8), VLAN(8), IP4(CLIENT, VIP),
			      TCP(40000, PORT, TCP_ACK), DATA(4)},
		       .cuts = {{0, 41, PASS, LB_R_NOT_VIP}, {42, 65, DROP, LB_R_BAD_LENGTH}}}),
	},
	{
		.name = "IPv4 total length that ends anywhere within the TCP header is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .len = 20),
			      TCP(40000, PORT, TCP_ACK)}, .want = DROP, .reason = LB_R_BAD_TCP},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .len = 21),
			      TCP(40000, PORT, TCP_ACK)}, .want = DROP, .reason = LB_R_BAD_TCP},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .len = 33),
			      TCP(40000, PORT, TCP_ACK)}, .want = DROP, .reason = LB_R_BAD_TCP},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .len = 39),
			      TCP(40000, PORT, TCP_ACK)}, .want = DROP, .reason = LB_R_BAD_TCP}),
	},
	{
		.name = "IPv4 packet whose length agrees with a frame too short for TCP is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .proto = 6)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .proto = 6), DATA(1)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .proto = 6), DATA(4)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .proto = 6), DATA(19)},
		       .want = DROP, .reason = LB_R_TRUNCATED}),
	},
	{
		.name = "IPv6 packet whose length agrees with a frame too short for TCP is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .proto = 6)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .proto = 6), DATA(19)},
		       .want = DROP, .reason = LB_R_TRUNCATED}),
	},

	/* --- lying lengths ------------------------------------------------------------------- */
	{
		.name = "IPv4 header length under five words is dropped for a VIP",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 4), SEGMENT},
		       .want = DROP, .reason = LB_R_BAD_IHL},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 0), SEGMENT},
		       .want = DROP, .reason = LB_R_BAD_IHL}),
	},
	{
		.name = "IPv4 header length beyond the total length is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 15, .options = 0, .len = 40),
			   TCP(40000, PORT, TCP_ACK), PAD(40)},
		    .want = DROP, .reason = LB_R_BAD_LENGTH),
	},
	{
		.name = "IPv4 total length of 0 is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .len = 0), SEGMENT},
		    .want = DROP, .reason = LB_R_BAD_LENGTH),
	},
	{
		.name = "IPv4 total length under its header length is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .len = 19), SEGMENT},
		    .want = DROP, .reason = LB_R_BAD_LENGTH),
	},
	{
		.name = "IPv4 total length one beyond the frame is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .len = 57), SEGMENT},
		    .want = DROP, .reason = LB_R_BAD_LENGTH),
	},
	{
		.name = "IPv4 total length of 65535 in a small frame is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .len = 65535), SEGMENT},
		    .want = DROP, .reason = LB_R_BAD_LENGTH),
	},
	{
		.name = "IPv6 payload length one beyond the frame is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .len = 37), SEGMENT},
		    .want = DROP, .reason = LB_R_BAD_LENGTH),
	},
	{
		.name = "IPv6 payload length of 65535, which overflows 16 bits with its header, is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .len = 65535), SEGMENT},
		    .want = DROP, .reason = LB_R_BAD_LENGTH),
	},
	{
		.name = "IPv6 payload length of 0, as of a jumbogram, is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .len = 0), SEGMENT},
		    .want = DROP, .reason = LB_R_BAD_TCP),
	},
	{
		.name = "IPv6 payload length that ends within the TCP header is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .len = 1), SEGMENT},
		       .want = DROP, .reason = LB_R_BAD_TCP},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .len = 19), SEGMENT},
		       .want = DROP, .reason = LB_R_BAD_TCP}),
	},
	{
		.name = "TCP data offset under five words is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK, .doff = 4)},
		       .want = DROP, .reason = LB_R_BAD_TCP},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK, .doff = 0)},
		       .want = DROP, .reason = LB_R_BAD_TCP},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(40000, PORT, TCP_ACK, .doff = 0)},
		       .want = DROP, .reason = LB_R_BAD_TCP}),
	},
	{
		.name = "TCP data offset beyond the packet is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP),
			      TCP(40000, PORT, TCP_ACK, .doff = 15, .options = 9)},
		       .want = DROP, .reason = LB_R_BAD_TCP},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP),
			      TCP(40000, PORT, TCP_ACK, .doff = 15, .options = 9)},
		       .want = DROP, .reason = LB_R_BAD_TCP}),
	},
	{
		.name = "TCP data offset that only the frame's padding could fill is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP),
			   TCP(40000, PORT, TCP_ACK, .doff = 15, .options = 9), PAD(60)},
		    .want = DROP, .reason = LB_R_BAD_TCP),
	},
	{
		.name = "TCP data offset that fills the packet exactly is forwarded",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK, .doff = 15)},
		    .to = NODE1),
	},

	/* --- fragments ----------------------------------------------------------------------- */
	{
		.name = "First IPv4 fragment for a VIP is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .frag = IP_MF), SEGMENT},
		    .want = DROP, .reason = LB_R_FRAGMENT),
	},
	{
		.name = "Later IPv4 fragment for a VIP is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .frag = 1), SEGMENT},
		       .want = DROP, .reason = LB_R_FRAGMENT},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .frag = IP_MF | 0x1fff), SEGMENT},
		       .want = DROP, .reason = LB_R_FRAGMENT}),
	},
	{
		.name = "IPv4 packet without don't-fragment, but whole, is forwarded",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .frag = 0), SEGMENT}, .to = NODE1),
	},
	{
		.name = "IPv4 packet with the reserved flag bit is forwarded as it is",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .frag = 0x8000), SEGMENT}, .to = NODE1),
	},

	/* --- hop count ----------------------------------------------------------------------- */
	{
		.name = "IPv4 packet whose TTL would reach 0 is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 1), SEGMENT},
		       .want = DROP, .reason = LB_R_TTL},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 0), SEGMENT},
		       .want = DROP, .reason = LB_R_TTL}),
	},
	{
		.name = "IPv6 packet whose hop limit would reach 0 is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .ttl = 1), SEGMENT},
		       .want = DROP, .reason = LB_R_TTL},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .ttl = 0), SEGMENT},
		       .want = DROP, .reason = LB_R_TTL}),
	},
	{
		.name = "TTL of 2 leaves as 1, TTL of 255 as 254",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 2), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 6, .ttl = 2), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), VLAN(3), IP6(CLIENT, VIP, .ttl = 2), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 255), SEGMENT}, .to = NODE1},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .ttl = 255), SEGMENT}, .to = NODE1}),
	},

	/* --- backends that cannot be used ---------------------------------------------------- */
	{
		.name = "A slot without a backend drops the packet",
		STEPS(SLOT(0, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT},
		       .want = DROP, .reason = LB_R_NO_BACKEND}),
	},
	{
		.name = "A slot that names a backend beyond the table drops the packet",
		STEPS(SLOT(LB_BACKENDS_MAX, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT},
		       .want = DROP, .reason = LB_R_INTERNAL}),
	},
	{
		.name = "A backend whose next hop is not resolved drops the packet",
		STEPS(SLOT(NODE9, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT},
		       .want = DROP, .reason = LB_R_NO_NEXTHOP}),
	},
	{
		.name = "A slot of this host passes the packet untouched and counts it for the VIP",
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .want = PASS, .reason = LB_R_LOCAL, .opens = 1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT},
		       .want = PASS, .reason = LB_R_LOCAL}),
	},
};

CASE_LIST(cases_parse, table);
