// SPDX-License-Identifier: BSD-2-Clause
/* Slots in transition: flows without an entry belong to prev, and are learned. */
#include "tests/packet/cases.h"

#define PKT(port, flags) .in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(port, PORT, flags)}
#define PKT6(port, flags) .in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(port, PORT, flags)}
#define SYN(port)     PKT(port, TCP_SYN)
#define ACK(port)     PKT(port, TCP_ACK)
#define ADDED	      EVENTS(LB_EV_FLOW_ADDED)
#define LEARNED	      EVENTS(LB_EV_FLOW_LEARNED)
#define PROMOTED      EVENTS(LB_EV_FLOW_PROMOTED)
#define FROM_1_TO_2   SLOT(NODE2, 0, NODE1, 0)
#define ENDING	      SLOT(NODE2, LB_ALT_ENDING, NODE1, 0)
#define PASSED	      .want = PASS, .reason = LB_R_LOCAL

static const struct packet_case table[] = {
	{
		.name = "A flow without an entry stays on prev and is learned",
		STEPS({ACK(40000), .to = NODE1}, FROM_1_TO_2, {ACK(40000), .to = NODE1, LEARNED},
		      ENTRY(IN_FLOWS, CLIENT, 4, 40000, NODE1, .entry_flags = LB_FLOW_F_COUNTED),
		      EXC(EPOCH), LIVE_FLOWS(NODE1, 1), {ACK(40000), .to = NODE1}, LIVE_FLOWS(NODE1, 1)),
	},
	{
		.name = "IPv6: a flow without an entry stays on prev and is learned",
		STEPS(FROM_1_TO_2, {PKT6(40000, TCP_ACK), .to = NODE1, LEARNED},
		      ENTRY(IN_FLOWS, CLIENT, 6, 40000, NODE1), {PKT6(40000, TCP_ACK), .to = NODE1}),
	},
	{
		.name = "A learned flow stays on its node after the transition ended",
		STEPS(FROM_1_TO_2, {ACK(40000), .to = NODE1, LEARNED}, SLOT(NODE2, 0, 0, EPOCH),
		      {ACK(40000), .to = NODE1}, {ACK(40001), .to = NODE2}),
	},
	{
		.name = "A new flow goes to cur and gets an entry, for without one prev would have it",
		STEPS(FROM_1_TO_2, {SYN(40000), .to = NODE2, .opens = 1, ADDED},
		      ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000, NODE2), EXC(EPOCH),
		      {ACK(40000), .to = NODE2, PROMOTED}, {ACK(40000), .to = NODE2},
		      SLOT(NODE2, 0, 0, 0), {ACK(40000), .to = NODE2}),
	},
	{
		.name = "A SYN sent again stays, also on a CPU whose clock is behind that of the first",
		STEPS(FROM_1_TO_2, {SYN(40000), .to = NODE2, .opens = 1, ADDED},
		      SLOT(NODE7, 0, NODE1, EPOCH), SECONDS(-1), {SYN(40000), .to = NODE2},
		      {ACK(40000), .to = NODE2, PROMOTED}),
	},
	{
		.name = "p2c: a SYN sent again after its slot changed stays where the first one went",
		.policy = LB_POLICY_P2C,
		STEPS({SYN(40000), .to = NODE1, .opens = 1}, FROM_1_TO_2,
		      {SYN(40000), .to = NODE1, ADDED},
		      ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000, NODE1), {SYN(40000), .to = NODE1},
		      {ACK(40000), .to = NODE1, PROMOTED},
		      {SYN(40001), .to = NODE2, .opens = 1, ADDED}),
	},
	{
		.name = "p2c: it stays there, too, if the transition ends before the client answers",
		.policy = LB_POLICY_P2C,
		STEPS({SYN(40000), .to = NODE1, .opens = 1}, FROM_1_TO_2,
		      {SYN(40000), .to = NODE1, ADDED}, SLOT(NODE2, 0, 0, EPOCH),
		      {ACK(40000), .to = NODE1, PROMOTED}, {SYN(40001), .to = NODE2, .opens = 1}),
	},
	{
		.name = "A second change in a transition: old flows stay on the first node",
		STEPS(FROM_1_TO_2, {SYN(40000), .to = NODE2, .opens = 1, ADDED},
		      {ACK(40000), .to = NODE2, PROMOTED}, SLOT(NODE7, 0, NODE1, EPOCH),
		      {ACK(40000), .to = NODE2}, {ACK(40001), .to = NODE1, LEARNED},
		      {SYN(40002), .to = NODE7, .opens = 1, ADDED}),
	},
	{
		.name = "Back to prev: flows that met the transition stay where they are",
		STEPS(FROM_1_TO_2, {SYN(40000), .to = NODE2, .opens = 1, ADDED},
		      {ACK(40000), .to = NODE2, PROMOTED}, SLOT(NODE1, 0, 0, EPOCH),
		      {ACK(40000), .to = NODE2}, {ACK(40001), .to = NODE1},
		      {SYN(40002), .to = NODE1, .opens = 1}),
	},
	{
		.name = "p2c in transition: alt and cur both need an entry, prev takes nothing new",
		.policy = LB_POLICY_P2C,
		STEPS(SLOT(NODE2, NODE7, NODE1, 0), LOAD(NODE2, 100, 1000, 0), LOAD(NODE7, 1, 1000, 0),
		      {SYN(40000), .to = NODE7, .opens = 1,
		       EVENTS(LB_EV_ALT_CHOSEN, LB_EV_FLOW_ADDED)},
		      LOAD(NODE2, 0, 1000, 0), {SYN(40001), .to = NODE2, .opens = 1, ADDED},
		      {ACK(40000), .to = NODE7, PROMOTED}, {ACK(40001), .to = NODE2, PROMOTED}),
	},
	{
		.name = "p2c in transition: a new flow that chooses prev has an entry if the transition ends",
		.policy = LB_POLICY_P2C,
		STEPS(SLOT(NODE2, NODE1, NODE1, 0), LOAD(NODE2, 100, 1000, 0), LOAD(NODE1, 1, 1000, 0),
		      {SYN(40000), .to = NODE1, .opens = 1,
		       EVENTS(LB_EV_ALT_CHOSEN, LB_EV_FLOW_ADDED)},
		      ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000, NODE1), SLOT(NODE2, NODE1, 0, EPOCH),
		      {ACK(40000), .to = NODE1, PROMOTED}),
	},
	{
		.name = "A prev that died meanwhile had the flows without an entry: a reset; new ones live",
		STEPS(FROM_1_TO_2, DIES(NODE1), {ACK(40000), .resets = 1},
		      NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000),
		      {SYN(40000), .to = NODE2, .opens = 1, EVENTS(LB_EV_FLOW_ADDED)},
		      {ACK(40000), .to = NODE2, EVENTS(LB_EV_FLOW_PROMOTED)}),
	},
	{
		.name = "With on_down: rehash they are cur's",
		.on_down = LB_ON_DOWN_REHASH,
		STEPS(FROM_1_TO_2, DIES(NODE1), {ACK(40000), .to = NODE2},
		      NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000)),
	},
	{
		.name = "RST and SYN+ACK go to prev and are not learned",
		STEPS(FROM_1_TO_2, {PKT(40000, TCP_RST), .to = NODE1},
		      {PKT(40000, TCP_RST | TCP_ACK), .to = NODE1},
		      {PKT(40000, TCP_SYN | TCP_ACK), .to = NODE1}, NO_ENTRY(IN_FLOWS, CLIENT, 4, 40000),
		      EXC(0)),
	},
	{
		.name = "A FIN goes to prev and is learned as closing; its last ACK makes it no live flow",
		STEPS(FROM_1_TO_2, {PKT(40000, TCP_FIN | TCP_ACK), .to = NODE1, LEARNED},
		      {ACK(40000), .to = NODE1},
		      ENTRY(IN_FLOWS, CLIENT, 4, 40000, NODE1, .entry_flags = LB_FLOW_F_CLOSING),
		      LIVE_FLOWS(NODE1, 0), SLOT(NODE2, 0, 0, EPOCH), {ACK(40000), .to = NODE1}),
	},
	{
		.name = "A learned flow is no longer counted after its FIN",
		STEPS(FROM_1_TO_2, {ACK(40000), .to = NODE1, LEARNED}, LIVE_FLOWS(NODE1, 1),
		      {PKT(40000, TCP_FIN | TCP_ACK), .to = NODE1}, LIVE_FLOWS(NODE1, 0)),
	},
	{
		.name = "Over the rate a flow is not learned, but stays on prev; counted",
		.clock = 1,
		STEPS(LIMITS(0, 1000), FROM_1_TO_2, {ACK(40000), .to = NODE1, LEARNED},
		      {ACK(40001), .to = NODE1, EVENTS(LB_EV_OVERFLOW_LEARN)},
		      NO_ENTRY(IN_FLOWS, CLIENT, 4, 40001), SECONDS(1),
		      {ACK(40001), .to = NODE1, LEARNED}),
	},
	{
		.name = "SYNs over the rate do not keep live flows from being learned",
		.clock = 1,
		STEPS(LIMITS(0, 1000), FROM_1_TO_2, {SYN(40000), .to = NODE2, .opens = 1, ADDED},
		      {SYN(40001), .to = NODE1, .opens = 1, EVENTS(LB_EV_OVERFLOW_RATE)},
		      {ACK(40002), .to = NODE1, LEARNED}),
	},
	{
		.name = "Without room a flow is not learned, but stays on prev; counted",
		STEPS(FILL(IN_FLOWS), FROM_1_TO_2,
		      {ACK(40000), .to = NODE1, EVENTS(LB_EV_OVERFLOW_FLOWS, LB_EV_OVERFLOW_LEARN)},
		      LIVE_FLOWS(NODE1, 0)),
	},
	{
		.name = "Before the end of a transition a new flow without room for its entry waits for it",
		STEPS(FILL(IN_HALF_OPEN), ENDING,
		      {SYN(40000), .want = DROP, .reason = LB_R_SYN_LATER,
		       EVENTS(LB_EV_OVERFLOW_HALF_OPEN)},
		      {ACK(40001), .to = NODE1, LEARNED}, SLOT(NODE2, 0, 0, EPOCH),
		      {SYN(40000), .to = NODE2, .opens = 1}, {ACK(40000), .to = NODE2},
		      {ACK(40001), .to = NODE1}),
	},
	{
		.name = "p2c: the same over the rate; under it new flows go to cur, with an entry",
		.policy = LB_POLICY_P2C,
		.clock = 1,
		STEPS(LIMITS(0, 1000), LOAD(NODE2, 1000, 1000, LB_LOAD_F_HOT), ENDING,
		      {SYN(40000), .to = NODE2, .opens = 1, ADDED},
		      {SYN(40001), .want = DROP, .reason = LB_R_SYN_LATER,
		       EVENTS(LB_EV_OVERFLOW_RATE)},
		      {SYN(40000), .to = NODE2}, SECONDS(1),
		      {SYN(40001), .to = NODE2, .opens = 1, ADDED}),
	},
	{
		.name = "Without room for its entry a new flow goes to prev, where later packets go",
		STEPS(FILL(IN_HALF_OPEN), FROM_1_TO_2,
		      {SYN(40000), .to = NODE1, .opens = 1, EVENTS(LB_EV_OVERFLOW_HALF_OPEN)},
		      {ACK(40000), .to = NODE1, LEARNED}),
	},
	{
		.name = "A retransmitted SYN in transition stays with cur of its first",
		STEPS(FROM_1_TO_2, {SYN(40000), .to = NODE2, .opens = 1, ADDED},
		      SLOT(NODE7, 0, NODE1, EPOCH), {SYN(40000), .to = NODE2}),
	},
	{
		.name = "Learning stores the epoch of its time",
		STEPS(FROM_1_TO_2, EPOCH_IS(3), {ACK(40000), .to = NODE1, LEARNED}, EXC(3)),
	},

	/* --- to and from this host ----------------------------------------------------------- */
	{
		.name = "To this host: old flows stay on prev, new ones pass to the kernel and stay there",
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, NODE1, 0), {ACK(40000), .to = NODE1, LEARNED},
		      {SYN(40001), PASSED, .opens = 1, ADDED}, {ACK(40001), PASSED, PROMOTED},
		      {ACK(40001), PASSED}, ENTRY(IN_FLOWS, CLIENT, 4, 40001, NOBODY)),
	},
	{
		.name = "Back from this host: its flows finish there, new ones go to the node at once",
		STEPS(SLOT(NODE1, 0, LB_BACKEND_LOCAL, 0), {ACK(40000), PASSED, LEARNED},
		      ENTRY(IN_FLOWS, CLIENT, 4, 40000, NOBODY),
		      {SYN(40001), .to = NODE1, .opens = 1, ADDED}, SLOT(NODE1, 0, 0, EPOCH),
		      {ACK(40000), PASSED}, {ACK(40001), .to = NODE1, PROMOTED}),
	},
	{
		.name = "p2c with nothing left: this host takes all, alt is not asked",
		.policy = LB_POLICY_P2C,
		STEPS(SLOT(LB_BACKEND_LOCAL, NODE2, 0, 0), {SYN(40000), PASSED, .opens = 1},
		      {ACK(40000), PASSED}),
	},
	{
		.name = "This host answers while its agent lives, whose clock may be a little ahead",
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, 0, 0), HEARD(9900), {SYN(40000), PASSED, .opens = 1},
		      HEARD(-50), {SYN(40000), PASSED, .opens = 1}),
	},
	{
		.name = "With nothing left and the agent silent for long, a SYN is answered with a reset",
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, 0, 0), HEARD(10100),
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP),
			      TCP(40000, PORT, TCP_SYN, .seq = 1000)},
		       .want = TX, .reason = LB_R_NO_AGENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST | TCP_ACK, .seq = 0, .ack = 1001, .window = 0)}},
		      {.in = {ETH(ROUTER, LB), IP6(CLIENT, VIP),
			      TCP(40000, PORT, TCP_SYN, .seq = 1000)},
		       .want = TX, .reason = LB_R_NO_AGENT,
		       .out = {ETH(LB, ROUTER), IP6(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST | TCP_ACK, .seq = 0, .ack = 1001, .window = 0)}},
		      {.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP),
			      TCP(40000, PORT, TCP_ACK, .ack = 2000), DATA(30)},
		       .want = TX, .reason = LB_R_NO_AGENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST, .seq = 2000, .window = 0)}},
		      HEARD(0), {SYN(40000), PASSED, .opens = 1}),
	},
	{
		.name = "The agent's silence changes nothing where there are nodes",
		STEPS(HEARD(60000), {SYN(40000), .to = NODE1, .opens = 1}, {ACK(40000), .to = NODE1}),
	},
	{
		.name = "Resets for want of an agent are limited like all others",
		.clock = 1,
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, 0, 0), HEARD(10100), LIMITS(100000, 0),
		      {SYN(40000), .want = TX, .reason = LB_R_NO_AGENT,
		       .out = {ETH(LB, ROUTER), IP4(VIP, CLIENT),
			       TCP(PORT, 40000, TCP_RST | TCP_ACK, .seq = 0, .ack = 0x10203041,
				   .window = 0)}},
		      {SYN(40000), .want = DROP, .reason = LB_R_REPLY_LIMIT}),
	},
	{
		.name = "A pool that tracks keeps no entries for this host",
		.vip_flags = LB_VIP_F_TRACK,
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, 0, 0), {SYN(40000), PASSED, .opens = 1},
		      NO_ENTRY(IN_HALF_OPEN, CLIENT, 4, 40000), {ACK(40000), PASSED}),
	},
};

CASE_LIST(cases_transition, table);
