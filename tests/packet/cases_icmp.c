// SPDX-License-Identifier: BSD-2-Clause
/* ICMP about a VIP: echo, errors that quote a flow, packets too big for their outer header. */
#include "tests/packet/cases.h"

#define SEGMENT TCP(40000, PORT, TCP_ACK), DATA(12)
#define PINGED	.vip_flags = LB_VIP_F_PING
#define ECHOED	.want = TX, .reason = LB_R_PING
#define OTHER	.want = PASS, .reason = LB_R_NOT_TCP
#define ODD	.want = DROP, .reason = LB_R_ICMP_OTHER
#define SENT	.want = TX, .reason = LB_R_TOO_BIG_SENT
#define ABOUT	EVENTS(LB_EV_ICMP_FLOW)

/* What a router quotes of a segment that a node sent in the VIP's name. */
#define QUOTED4 IP4(VIP, CLIENT, .len = 1500), TCP(PORT, 40000, TCP_ACK, .n = 8)
#define QUOTED6 IP6(VIP, CLIENT, .len = 1460), TCP(PORT, 40000, TCP_ACK, .n = 8)
#define LIKE4	.like = {IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK)}
#define LIKE6	.like = {IP6(CLIENT, VIP), TCP(40000, PORT, TCP_ACK)}

/* A segment of so many bytes of data, and the error that answers it. */
#define BIG4(bytes) .in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK), DATA(bytes)}
#define BIG6(bytes) .in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(40000, PORT, TCP_ACK), DATA(bytes)}
#define NEEDED4(bytes, mtu)                                                                        \
	.out = {ETH(LB, ROUTER), IP4(VIP, CLIENT), ICMP4(3, 4, .rest = mtu),                       \
		IP4(CLIENT, VIP, .len = 40 + (bytes)), TCP(40000, PORT, TCP_ACK, .n = 8)}
#define NEEDED6(bytes, mtu)                                                                        \
	.out = {ETH(LB, ROUTER), IP6(VIP, CLIENT), ICMP6(2, 0, .rest = mtu),                       \
		IP6(CLIENT, VIP, .len = 20 + (bytes)), TCP(40000, PORT, TCP_ACK, .n = 8)}

static const struct packet_case table[] = {
	/* --- echo ---------------------------------------------------------------------------- */
	{
		.name = "An IPv4 echo request to a VIP is answered, data and all",
		PINGED,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 3, .tos = 4, .id = 0x7777),
			   ICMP4(8, 0, .rest = 0x12340001), DATA(56)},
		    ECHOED,
		    .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ttl = 64, .tos = 4, .id = 0x7777),
			    ICMP4(0, 0, .rest = 0x12340001), DATA(56)}),
	},
	{
		.name = "An IPv6 echo request to a VIP is answered, data and all",
		PINGED,
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .ttl = 3, .tos = 4),
			   ICMP6(128, 0, .rest = 0x12340001), DATA(55)},
		    ECHOED,
		    .out = {ETH(LB, ROUTER), IP6(VIP, CLIENT, .ttl = 64, .tos = 4),
			    ICMP6(129, 0, .rest = 0x12340001), DATA(55)}),
	},
	{
		.name = "An echo request with TTL 1 is answered: it reached its end",
		PINGED,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 1), ICMP4(8, 0), DATA(8)},
		    ECHOED,
		    .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT), ICMP4(0, 0), DATA(8)}),
	},
	{
		.name = "A tagged echo request, and one with IP options, are answered alike",
		PINGED,
		STEPS({.in = {ETH(ROUTER, LB), VLAN(9), IP4(CLIENT, VIP), ICMP4(8, 0), DATA(8)},
		       ECHOED,
		       .out = {ETH(LB, ROUTER), VLAN(9), IP4(VIP, CLIENT), ICMP4(0, 0), DATA(8)}},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 8), ICMP4(8, 0), DATA(8)},
		       ECHOED,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT, .ihl = 8), ICMP4(0, 0), DATA(8)}}),
	},
	{
		.name = "Checksums of an answer are what sums give, whatever those of the request were",
		PINGED,
		STEPS(LIMITS(100000, 1u << 29),
		      SWEEP(SWEEP_SUMS,
			    .in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = 3), ICMP4(8, 0),
				   TCP(1, 2, 3)},
			    ECHOED,
			    .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT), ICMP4(0, 0), TCP(1, 2, 3)})),
	},
	{
		.name = "A wrong ICMP checksum stays as wrong in the answer",
		PINGED,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), ICMP4(8, 0, .check = 0x1234), DATA(8)},
		    ECHOED,
		    .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT), ICMP4(0, 0, .check = 0x1a34), DATA(8)}),
	},
	{
		.name = "Echo requests are the kernel's where the VIP does not answer them",
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), ICMP4(8, 0), DATA(8)}, OTHER},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), ICMP6(128, 0), DATA(8)}, OTHER}),
	},
	{
		.name = "Echo requests to another address pass untouched",
		PINGED,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP_B), ICMP4(8, 0), DATA(8)},
		       .want = PASS, .reason = LB_R_NOT_VIP},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP_B), ICMP6(128, 0), DATA(8)},
		       .want = PASS, .reason = LB_R_NOT_VIP}),
	},
	{
		.name = "Echo replies, redirects and neighbour discovery for a VIP are the kernel's",
		PINGED,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), ICMP4(0, 0), DATA(8)}, OTHER},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), ICMP4(5, 1), DATA(28)}, OTHER},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), ICMP6(129, 0), DATA(8)}, OTHER},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), ICMP6(135, 0), DATA(24)}, OTHER}),
	},
	{
		.name = "Pings over the limit a second are dropped; a second later answered again",
		PINGED,
		.clock = 1,
		STEPS(LIMITS(1000, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), ICMP4(8, 0), DATA(8)}, ECHOED,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT), ICMP4(0, 0), DATA(8)}},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), ICMP4(8, 0), DATA(8)},
		       .want = DROP, .reason = LB_R_REPLY_LIMIT},
		      SECONDS(1),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), ICMP4(8, 0), DATA(8)}, ECHOED,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT), ICMP4(0, 0), DATA(8)}}),
	},
	{
		.name = "A fragment of an echo request to a VIP is dropped",
		PINGED,
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .frag = IP_MF), ICMP4(8, 0), DATA(56)},
		    .want = DROP, .reason = LB_R_FRAGMENT),
	},
	{
		.name = "An ICMP header cut short is dropped",
		PINGED,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .proto = 1), DATA(7)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .proto = 58), DATA(7)},
		       .want = DROP, .reason = LB_R_TRUNCATED}),
	},
	{
		.name = "An ICMP header that goes on behind the packet, in what the link added, is dropped",
		PINGED,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .len = 24), ICMP4(8, 0), DATA(8)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .len = 7), ICMP6(128, 0), DATA(8)},
		       .want = DROP, .reason = LB_R_TRUNCATED}),
	},
	{
		.name = "ICMPv6 over IPv4 and ICMP over IPv6 are nothing to a VIP",
		PINGED,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .proto = 58), DATA(40, .seed = 128)}, OTHER},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP, .proto = 1), DATA(40, .seed = 8)}, OTHER}),
	},

	/* --- errors about a flow ------------------------------------------------------------- */
	{
		.name = "IPv4 \"fragmentation needed\" goes to the node whose segment it quotes",
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4, .rest = 1400), QUOTED4},
		       .to = NODE1, ABOUT, LIKE4}),
	},
	{
		.name = "IPv6 \"packet too big\" goes to the node whose segment it quotes",
		.slot = {NODE3},
		STEPS({.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(2, 0, .rest = 1400), QUOTED6},
		       .to = NODE3, ABOUT, LIKE6}),
	},
	{
		.name = "Unreachable, time exceeded and parameter problem go to the node too",
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 1), QUOTED4},
		       .to = NODE1, ABOUT, LIKE4},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(11, 0), QUOTED4},
		       .to = NODE1, ABOUT, LIKE4},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(12, 0), QUOTED4},
		       .to = NODE1, ABOUT, LIKE4},
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(1, 4), QUOTED6},
		       .to = NODE1, ABOUT, LIKE6},
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(3, 0), QUOTED6},
		       .to = NODE1, ABOUT, LIKE6},
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(4, 1), QUOTED6},
		       .to = NODE1, ABOUT, LIKE6}),
	},
	{
		.name = "The quoted flow's hash picks the node, not the router's",
		.spread = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), QUOTED4},
		       .to = BY_HASH, ABOUT, LIKE4},
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(2, 0), QUOTED6},
		       .to = BY_HASH, ABOUT, LIKE6},
		      {.in = {ETH(ROUTER, LB), IP4(STRANGER, VIP), ICMP4(3, 4),
			      IP4(VIP, CLIENT2), TCP(PORT, 7, TCP_ACK, .n = 8)},
		       .to = BY_HASH, ABOUT, .like = {IP4(CLIENT2, VIP), TCP(7, PORT, TCP_ACK)}}),
	},
	{
		.name = "A quoted header with options is read over",
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4),
			      IP4(VIP, CLIENT, .ihl = 15), TCP(PORT, 40000, TCP_ACK, .n = 8)},
		       .to = NODE1, ABOUT, LIKE4}),
	},
	{
		.name = "An error about a flow with an entry follows the entry and changes nothing",
		STEPS(SLOT(NODE2, 0, NODE1, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE1,
		       EVENTS(LB_EV_FLOW_LEARNED)},
		      SLOT(NODE2, 0, 0, EPOCH),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), QUOTED4},
		       .to = NODE1, ABOUT, LIKE4},
		      LIVE_FLOWS(NODE1, 1)),
	},
	{
		.name = "An error about an unknown flow of a slot in transition goes to prev, unlearned",
		STEPS(SLOT(NODE2, 0, NODE1, 0),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), QUOTED4},
		       .to = NODE1, ABOUT, LIKE4},
		      NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000), EXC(0)),
	},
	{
		.name = "An error about a half-open flow goes where its SYN went",
		.policy = LB_POLICY_P2C,
		.slot = {NODE1, NODE2},
		STEPS(LOAD(NODE1, 100, 1000, 0), LOAD(NODE2, 1, 1000, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)}, .to = NODE2,
		       .opens = 1, EVENTS(LB_EV_ALT_CHOSEN, LB_EV_FLOW_ADDED)},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), QUOTED4},
		       .to = NODE2, ABOUT, LIKE4}),
	},
	{
		.name = "An error about a dead node's flow goes where the slot says",
		STEPS(SLOT(NODE2, 0, NODE1, 0),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), SEGMENT}, .to = NODE1,
		       EVENTS(LB_EV_FLOW_LEARNED)},
		      DIES(NODE1), SLOT(NODE2, 0, 0, EPOCH),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), QUOTED4},
		       .to = NODE2, ABOUT, LIKE4}),
	},
	{
		.name = "An error about a flow of a pool that tracks follows its entry",
		.policy = LB_POLICY_ROUND_ROBIN,
		.vip_flags = LB_VIP_F_TRACK,
		STEPS(TURNS(0, NODE2),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)}, .to = NODE2,
		       .opens = 1, EVENTS(LB_EV_FLOW_ADDED)},
		      SLOT(NODE1, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), QUOTED4},
		       .to = NODE2, ABOUT, LIKE4}),
	},
	{
		.name = "l2dsr and gue carry errors about a flow as well",
		.mode = LB_MODE_GUE,
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), QUOTED4},
		       .to = NODE1, ABOUT, LIKE4},
		      {.in = {ETH(ROUTER, LB), VLAN(4), IP6(ROUTER, VIP), ICMP6(2, 0), QUOTED6},
		       .to = NODE1, ABOUT, LIKE6}),
	},
	{
		.name = "An error too big for the outer header is dropped: none is answered with another",
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), QUOTED4, DATA(MTU - 75)},
		       .want = DROP, .reason = LB_R_TOO_BIG, ABOUT}),
	},
	{
		.name = "An error about a service that is not active is dropped",
		STEPS(VIP_FLAGS(0),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), QUOTED4}, ODD},
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(2, 0), QUOTED6}, ODD}),
	},
	{
		.name = "An error that quotes no service of the VIP is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4),
			      IP4(VIP, CLIENT), TCP(22, 40000, TCP_ACK, .n = 8)}, ODD},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 3),
			      IP4(VIP, CLIENT), UDP(PORT, 53), DATA(8)}, ODD},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4),
			      IP4(VIP_B, CLIENT), TCP(PORT, 40000, TCP_ACK, .n = 8)}, ODD},
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(2, 0),
			      IP6(VIP, CLIENT), UDP(PORT, 53), DATA(8)}, ODD}),
	},
	{
		.name = "An error that quotes a packet of neither IP version is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4),
			      IP4(VIP, CLIENT, .version = 5), TCP(PORT, 40000, TCP_ACK, .n = 8)}, ODD},
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(2, 0),
			      IP6(VIP, CLIENT, .version = 4), TCP(PORT, 40000, TCP_ACK, .n = 8)}, ODD}),
	},
	{
		.name = "An error about a packet the VIP did not send, but received, is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), IP4(CLIENT, VIP),
			   TCP(40000, PORT, TCP_ACK, .n = 8)}, ODD),
	},
	{
		.name = "An error that quotes a later fragment is dropped: it names no ports",
		ONE(.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), IP4(VIP, CLIENT, .frag = 9),
			   TCP(PORT, 40000, TCP_ACK, .n = 8)}, ODD),
	},
	{
		.name = "An error that quotes too little is dropped",
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), DATA(19, .seed = 0x45)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4),
			      IP4(VIP, CLIENT, .proto = 6), DATA(3)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4),
			      IP4(VIP, CLIENT, .proto = 6), PAD(8)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4),
			      IP4(VIP, CLIENT, .ihl = 15, .options = 0), TCP(PORT, 40000, TCP_ACK, .n = 8)},
		       .want = DROP, .reason = LB_R_TRUNCATED},
		      {.in = {ETH(ROUTER, LB), IP6(ROUTER, VIP), ICMP6(2, 0), DATA(39)},
		       .want = DROP, .reason = LB_R_TRUNCATED}),
	},
	{
		.name = "An error that quotes a bad header length is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4),
			   IP4(VIP, CLIENT, .ihl = 4), TCP(PORT, 40000, TCP_ACK, .n = 8)}, ODD),
	},
	{
		.name = "An error about a flow of this host passes to the kernel",
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, 0, 0),
		      {.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP), ICMP4(3, 4), QUOTED4},
		       .want = PASS, .reason = LB_R_LOCAL, .uncounted = 1}),
	},
	{
		.name = "An error to another address passes untouched, whatever it quotes",
		STEPS({.in = {ETH(ROUTER, LB), IP4(ROUTER, VIP_B), ICMP4(3, 4), QUOTED4},
		       .want = PASS, .reason = LB_R_NOT_VIP}),
	},

	/* --- too big ------------------------------------------------------------------------- */
	{
		.name = "ipip: one byte too many for the outer header: fragmentation needed, with the size",
		STEPS({BIG4(MTU - 20 - 40 + 1), SENT, NEEDED4(MTU - 60 + 1, MTU - 20)},
		      SLOT(NODE3, 0, 0, 0),
		      {BIG4(MTU - 40 - 40 + 1), SENT, NEEDED4(MTU - 80 + 1, MTU - 40)}),
	},
	{
		.name = "ipip over IPv6: one byte too many: packet too big, with the size",
		.slot = {NODE3},
		STEPS({BIG6(MTU - 40 - 60 + 1), SENT, NEEDED6(MTU - 100 + 1, MTU - 40)},
		      SLOT(NODE1, 0, 0, 0),
		      {BIG6(MTU - 20 - 60 + 1), SENT, NEEDED6(MTU - 80 + 1, MTU - 20)}),
	},
	{
		.name = "gue: one byte too many for both outer headers is answered",
		.mode = LB_MODE_GUE,
		STEPS({BIG4(MTU - 28 - 40 + 1), SENT, NEEDED4(MTU - 68 + 1, MTU - 28)},
		      {BIG6(MTU - 28 - 60 + 1), SENT, NEEDED6(MTU - 88 + 1, MTU - 28)}),
	},
	{
		.name = "l2dsr: a packet beyond the node's MTU is answered with that MTU",
		.mode = LB_MODE_L2DSR,
		STEPS({BIG4(MTU - 40 + 1), SENT, NEEDED4(MTU - 40 + 1, MTU)},
		      {BIG6(MTU - 60 + 1), SENT, NEEDED6(MTU - 60 + 1, MTU)}),
	},
	{
		.name = "A packet that may be fragmented but does not fit is dropped",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .frag = 0), TCP(40000, PORT, TCP_ACK),
			   DATA(MTU - 59)},
		    .want = DROP, .reason = LB_R_TOO_BIG),
	},
	{
		.name = "The error quotes a tagged packet without its tag, and is tagged itself",
		ONE(.in = {ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK),
			   DATA(MTU - 59)},
		    SENT,
		    .out = {ETH(LB, ROUTER), VLAN(7), IP4(VIP, CLIENT), ICMP4(3, 4, .rest = MTU - 20),
			    IP4(CLIENT, VIP, .len = MTU - 19), TCP(40000, PORT, TCP_ACK, .n = 8)}),
	},
	{
		.name = "The error quotes IPv4 options",
		ONE(.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP, .ihl = 15), TCP(40000, PORT, TCP_ACK),
			   DATA(MTU)},
		    SENT,
		    .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT), ICMP4(3, 4, .rest = MTU - 20),
			    IP4(CLIENT, VIP, .ihl = 15, .len = MTU + 80),
			    TCP(40000, PORT, TCP_ACK, .n = 8)}),
	},
	{
		.name = "The error quotes at most 128 bytes of a packet with extension headers",
		ONE(.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), EXT(EXT_DST, .n = 30),
			   TCP(40000, PORT, TCP_ACK), DATA(MTU - 200)},
		    SENT,
		    .out = {ETH(LB, ROUTER), IP6(VIP, CLIENT), ICMP6(2, 0, .rest = MTU - 20),
			    IP6(CLIENT, VIP, .len = 248 + 20 + MTU - 200, .proto = EXT_DST),
			    EXT(EXT_DST, .n = 10, .len = 30, .next = 6)}),
	},
	{
		.name = "\"Too big\" over the limit a second is dropped",
		.clock = 1,
		STEPS(LIMITS(1000, 0), {BIG4(MTU - 59), SENT, NEEDED4(MTU - 59, MTU - 20)},
		      {BIG4(MTU - 59), .want = DROP, .reason = LB_R_REPLY_LIMIT}),
	},
	{
		.name = "A SYN too big for its outer header is answered, and opens no flow",
		.policy = LB_POLICY_P2C,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN), DATA(MTU - 59)},
		       SENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT), ICMP4(3, 4, .rest = MTU - 20),
			       IP4(CLIENT, VIP, .len = MTU - 19), TCP(40000, PORT, TCP_SYN, .n = 8)}}),
	},
};

CASE_LIST(cases_icmp, table);
