// SPDX-License-Identifier: BSD-2-Clause
/* Policies that look at the whole pool: least-queue, least-conn, the round robins. */
#include "tests/packet/cases.h"

#define SYN(port)  .in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(port, PORT, TCP_SYN)}
#define SYN6(port) .in = {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(port, PORT, TCP_SYN)}
#define ACK(port)  .in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(port, PORT, TCP_ACK)}
#define FIN(port)                                                                                  \
	.in = {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(port, PORT, TCP_FIN | TCP_ACK)}
#define ADDED	 .opens = 1, EVENTS(LB_EV_FLOW_ADDED)
#define PROMOTED EVENTS(LB_EV_FLOW_PROMOTED)
#define THREE(bank) MEMBERS(bank, NODE1, NODE2, NODE7)

#define LEAST_QUEUE .policy = LB_POLICY_LEAST_QUEUE, .vip_flags = LB_VIP_F_TRACK
#define LEAST_CONN  .policy = LB_POLICY_LEAST_CONN, .vip_flags = LB_VIP_F_TRACK
#define ROBIN	    .policy = LB_POLICY_ROUND_ROBIN, .vip_flags = LB_VIP_F_TRACK
#define WEIGHTED    .policy = LB_POLICY_WEIGHTED_ROUND_ROBIN, .vip_flags = LB_VIP_F_TRACK

static const struct packet_case table[] = {
	/* --- least-queue --------------------------------------------------------------------- */
	{
		.name = "least-queue: the member with the shortest queue, wherever the hash points",
		LEAST_QUEUE,
		STEPS(THREE(0), LOAD(NODE1, 9, 1000, 0), LOAD(NODE2, 8, 1000, 0), LOAD(NODE7, 7, 1000, 0),
		      {SYN(40000), .to = NODE7, ADDED}, {ACK(40000), .to = NODE7, PROMOTED},
		      LOAD(NODE2, 1, 1000, 0), {SYN(40001), .to = NODE2, ADDED},
		      {ACK(40000), .to = NODE7}),
	},
	{
		.name = "least-queue: what this host added counts, so that new flows do not herd",
		LEAST_QUEUE,
		STEPS(THREE(0), LOAD(NODE1, 2, 1000, 0), LOAD(NODE2, 5, 1000, 0), LOAD(NODE7, 9, 1000, 0),
		      {SYN(40000), .to = NODE1, ADDED}, {SYN(40001), .to = NODE1, ADDED},
		      {SYN(40002), .to = NODE1, ADDED}, INC(NODE1, 3), LOAD(NODE2, 4, 1000, 0),
		      {SYN(40003), .to = NODE2, ADDED}, INC(NODE2, 1)),
	},
	{
		.name = "least-queue: queues are compared by weight",
		LEAST_QUEUE,
		STEPS(THREE(0), LOAD(NODE1, 9, 1000, 0), LOAD(NODE2, 18, 3000, 0), LOAD(NODE7, 8, 1000, 0),
		      {SYN(40000), .to = NODE2, ADDED}),
	},
	{
		.name = "least-queue: a member of weight 0 takes nothing, though idle",
		LEAST_QUEUE,
		STEPS(THREE(0), LOAD(NODE1, 0, 0, 0), LOAD(NODE2, 8, 1000, 0), LOAD(NODE7, 9, 1000, 0),
		      {SYN(40000), .to = NODE2, ADDED}),
	},
	{
		.name = "least-queue: nobody to compare: the slot's cur",
		LEAST_QUEUE,
		.slot = {NODE2},
		STEPS({SYN(40000), .to = NODE2, ADDED}, MEMBERS(0, NODE1, NODE7), LOAD(NODE1, 0, 0, 0),
		      LOAD(NODE7, 0, 0, 0), {SYN(40001), .to = NODE2, ADDED}),
	},
	{
		.name = "least-queue: a list changed in the other bank is followed at once",
		LEAST_QUEUE,
		STEPS(MEMBERS(0, NODE1, NODE2), LOAD(NODE1, 5, 1000, 0), LOAD(NODE2, 6, 1000, 0),
		      {SYN(40000), .to = NODE1, ADDED}, MEMBERS(1, NODE7, NODE2),
		      LOAD(NODE7, 1, 1000, 0), {SYN(40001), .to = NODE7, ADDED}),
	},
	{
		.name = "least-queue over IPv6",
		LEAST_QUEUE,
		STEPS(THREE(0), LOAD(NODE1, 9, 1000, 0), LOAD(NODE2, 8, 1000, 0), LOAD(NODE7, 9, 1000, 0),
		      {SYN6(40000), .to = NODE2, ADDED}),
	},

	{
		.name = "least-queue: the shortest queue of nine is found, wherever the look round begins",
		LEAST_QUEUE,
		STEPS(MEMBERS(0, NODE1, NODE9, NODE2, NODE3, NODE4, NODE5, NODE7, NODE8, NODE6),
		      LOAD(NODE1, 50, 1000, 0), LOAD(NODE9, 50, 1000, 0), LOAD(NODE2, 50, 1000, 0),
		      LOAD(NODE3, 50, 1000, 0), LOAD(NODE4, 50, 1000, 0), LOAD(NODE5, 50, 1000, 0),
		      LOAD(NODE8, 50, 1000, 0), LOAD(NODE6, 50, 1000, 0), LOAD(NODE7, 30, 1000, 0),
		      {SYN(40000), .to = NODE7, ADDED}, {SYN(40001), .to = NODE7, ADDED},
		      {SYN(40002), .to = NODE7, ADDED}, {SYN6(40003), .to = NODE7, ADDED}),
	},

	/* --- least-conn ---------------------------------------------------------------------- */
	{
		.name = "least-conn: the member with the fewest live flows, whatever its queue",
		LEAST_CONN,
		STEPS(THREE(0), COUNTED(NODE1, 3), COUNTED(NODE2, 1), COUNTED(NODE7, 2),
		      LOAD(NODE2, 1000, 1000, LB_LOAD_F_HOT), {SYN(40000), .to = NODE2, ADDED},
		      LIVE_FLOWS(NODE2, 2)),
	},
	{
		.name = "least-conn: flows that end make room",
		LEAST_CONN,
		STEPS(MEMBERS(0, NODE1, NODE2), COUNTED(NODE1, 5), COUNTED(NODE2, 4),
		      {SYN(40000), .to = NODE2, ADDED}, {ACK(40000), .to = NODE2, PROMOTED},
		      COUNTED(NODE1, 4), {SYN(40001), .to = NODE1, ADDED},
		      {FIN(40000), .to = NODE2}, LIVE_FLOWS(NODE2, 4), {SYN(40002), .to = NODE2, ADDED}),
	},
	{
		.name = "least-conn: live flows are compared by weight",
		LEAST_CONN,
		STEPS(MEMBERS(0, NODE1, NODE2), COUNTED(NODE1, 5), COUNTED(NODE2, 9),
		      LOAD(NODE2, 0, 3000, 0), {SYN(40000), .to = NODE2, ADDED}),
	},

	/* --- round robins -------------------------------------------------------------------- */
	{
		.name = "round-robin: exactly in turn, and round again",
		ROBIN,
		STEPS(TURNS(0, NODE1, NODE2, NODE7), {SYN(40000), .to = NODE1, ADDED},
		      {ACK(40000), .to = NODE1, PROMOTED}, {SYN(40001), .to = NODE2, ADDED},
		      {ACK(40001), .to = NODE2, PROMOTED}, {SYN(40002), .to = NODE7, ADDED},
		      {ACK(40002), .to = NODE7, PROMOTED}, {SYN(40003), .to = NODE1, ADDED}),
	},
	{
		.name = "round-robin: both families of a pool take turns together",
		ROBIN,
		STEPS(TURNS(0, NODE1, NODE2), {SYN(40000), .to = NODE1, ADDED},
		      {SYN6(40000), .to = NODE2, ADDED}, {SYN(40001), .to = NODE1, ADDED}),
	},
	{
		.name = "round-robin: a retransmitted SYN takes no turn",
		ROBIN,
		STEPS(TURNS(0, NODE1, NODE2, NODE7), {SYN(40000), .to = NODE1, ADDED},
		      {SYN(40000), .to = NODE1}, {SYN(40001), .to = NODE2, ADDED}),
	},
	{
		.name = "round-robin: a shorter schedule in the other bank is followed at once",
		ROBIN,
		STEPS(TURNS(0, NODE1, NODE2, NODE7), {SYN(40000), .to = NODE1, ADDED},
		      {SYN(40001), .to = NODE2, ADDED}, TURNS(1, NODE5, NODE7),
		      {SYN(40002), .to = NODE5, ADDED}, {SYN(40003), .to = NODE7, ADDED}),
	},
	{
		.name = "round-robin: without a schedule the slot's cur",
		ROBIN,
		.slot = {NODE2},
		STEPS({SYN(40000), .to = NODE2, ADDED}),
	},
	{
		.name = "round-robin: a flow that lost its entry goes by its slot",
		ROBIN,
		.slot = {NODE2},
		STEPS(TURNS(0, NODE1), {ACK(40000), .to = NODE2}),
	},
	{
		.name = "weighted-round-robin: the schedule as it is: 3, 2, 1, spread",
		WEIGHTED,
		STEPS(TURNS(0, NODE1, NODE2, NODE1, NODE7, NODE2, NODE1),
		      {SYN(40000), .to = NODE1, ADDED}, {ACK(40000), .to = NODE1, PROMOTED},
		      {SYN(40001), .to = NODE2, ADDED}, {ACK(40001), .to = NODE2, PROMOTED},
		      {SYN(40002), .to = NODE1, ADDED}, {ACK(40002), .to = NODE1, PROMOTED},
		      {SYN(40003), .to = NODE7, ADDED}, {ACK(40003), .to = NODE7, PROMOTED},
		      {SYN(40004), .to = NODE2, ADDED}, {ACK(40004), .to = NODE2, PROMOTED},
		      {SYN(40005), .to = NODE1, ADDED}),
	},
	{
		.name = "Any policy: with this host as cur there is nothing to choose",
		ROBIN,
		STEPS(SLOT(LB_BACKEND_LOCAL, 0, 0, 0), TURNS(0, NODE1, NODE2), THREE(0),
		      {SYN(40000), .want = PASS, .reason = LB_R_LOCAL, .opens = 1}),
	},
	{
		.name = "Any policy: without a backend in the slot the SYN is dropped",
		LEAST_QUEUE,
		STEPS(SLOT(0, 0, 0, 0), THREE(0),
		      {SYN(40000), .want = DROP, .reason = LB_R_NO_BACKEND}),
	},
	{
		.name = "Any policy: a drain's old flows stay while new ones are placed by policy",
		ROBIN,
		STEPS(SLOT(NODE2, 0, NODE1, 0), TURNS(0, NODE7, NODE2),
		      {ACK(40000), .to = NODE1, EVENTS(LB_EV_FLOW_LEARNED)},
		      {SYN(40001), .to = NODE7, ADDED}, {SYN(40002), .to = NODE2, ADDED}),
	},
};

CASE_LIST(cases_pool, table);
