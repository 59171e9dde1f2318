// SPDX-License-Identifier: BSD-2-Clause
/* Which slot a flow falls into: checked against a hash computed apart from the core. */
#include "tests/packet/cases.h"

#define FLOW4(c, p) {.in = {ETH(ROUTER, LB), IP4(c, VIP), TCP(p, PORT, TCP_ACK)}, .to = BY_HASH}
#define FLOW6(c, p) {.in = {ETH(ROUTER, LB), IP6(c, VIP), TCP(p, PORT, TCP_ACK)}, .to = BY_HASH}

static const struct packet_case table[] = {
	{
		.name = "IPv4 flows fall into the slots their hashes name",
		.spread = 1,
		STEPS(FLOW4(CLIENT, 1), FLOW4(CLIENT, 2), FLOW4(CLIENT, 3), FLOW4(CLIENT, 1024),
		      FLOW4(CLIENT, 40000), FLOW4(CLIENT, 65535), FLOW4(CLIENT2, 1), FLOW4(CLIENT2, 2),
		      FLOW4(CLIENT3, 3), FLOW4(STRANGER, 1024), FLOW4(STRANGER, 40000)),
	},
	{
		.name = "IPv6 flows fall into the slots their hashes name",
		.spread = 1,
		STEPS(FLOW6(CLIENT, 1), FLOW6(CLIENT, 2), FLOW6(CLIENT, 3), FLOW6(CLIENT, 1024),
		      FLOW6(CLIENT, 40000), FLOW6(CLIENT, 65535), FLOW6(CLIENT2, 1), FLOW6(CLIENT2, 2),
		      FLOW6(CLIENT3, 3), FLOW6(STRANGER, 1024), FLOW6(STRANGER, 40000)),
	},
	{
		.name = "affinity source: IPv4 flows of one client meet, whatever their ports",
		.spread = 1,
		.affinity = LB_AFFINITY_SOURCE,
		STEPS(FLOW4(CLIENT, 1), FLOW4(CLIENT, 2), FLOW4(CLIENT, 65535), FLOW4(CLIENT2, 1),
		      FLOW4(CLIENT2, 9), FLOW4(CLIENT3, 3), FLOW4(STRANGER, 4)),
	},
	{
		.name = "affinity source: IPv6 flows of one client meet, whatever their ports",
		.spread = 1,
		.affinity = LB_AFFINITY_SOURCE,
		STEPS(FLOW6(CLIENT, 1), FLOW6(CLIENT, 2), FLOW6(CLIENT, 65535), FLOW6(CLIENT2, 1),
		      FLOW6(CLIENT2, 9), FLOW6(CLIENT3, 3), FLOW6(STRANGER, 4)),
	},
	{
		.name = "A flow stays in its slot from SYN to RST",
		.spread = 1,
		STEPS({.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_SYN)},
		       .to = BY_HASH, .opens = 1},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK)}, .to = BY_HASH},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK | TCP_PSH),
			      DATA(900)}, .to = BY_HASH},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_ACK | TCP_FIN)},
		       .to = BY_HASH},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(40000, PORT, TCP_RST)},
		       .to = BY_HASH}),
	},
};

CASE_LIST(cases_hash, table);
