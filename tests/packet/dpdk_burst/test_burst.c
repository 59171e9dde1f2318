// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the case table cannot show, because it sends one frame at a time: frames of one burst. The
 * worker chooses for a whole burst before it sends, so a choice may be out of date by then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/packet/dpdk/host.h"
#include "tests/packet/world.h"

#define PKT(port, flags) {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(port, PORT, flags)}

#define PKT6(port, flags) {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(port, PORT, flags)}

static struct runner *r = &runner_dpdk;

static int open_host(void **state)
{
	(void)state;
	return r->open(r);
}

/* Node 1 is loaded, node 2 is not: new flows of the one slot go to its second choice. */
static void build_world(void)
{
	static const struct packet_case c = {
		.name = "burst", .policy = LB_POLICY_P2C, .slot = {NODE1, NODE2}};

	world_build(r, &c);
	r->t.loads[NODE1].base = 100;
	r->t.loads[NODE2].weight = 1000;
}

/* Sends all at once; the node that each frame went to must be as named. */
static void expect_burst(const struct layer (*frames)[LAYERS_MAX], const enum host *nodes,
			 uint32_t n)
{
	struct frame built[16];
	const uint8_t *bytes[16];
	uint8_t macs[16][6];
	uint32_t lens[16];

	for (uint32_t i = 0; i < n; i++) {
		frame_build(frames[i], 0, &built[i]);
		bytes[i] = built[i].b;
		lens[i] = built[i].len;
	}
	assert_int_equal(host_run_burst(bytes, lens, n, macs), n);
	for (uint32_t i = 0; i < n; i++)
		assert_memory_equal(macs[i], hosts[nodes[i]].mac, 6);
}

static void test_a_syn_and_what_follows_it_in_the_same_burst_go_to_one_node(void **state)
{
	static const struct layer frames[][LAYERS_MAX] = {
		PKT(50000, TCP_ACK), PKT(40000, TCP_SYN), PKT(40000, TCP_ACK),
		PKT(50000, TCP_ACK), PKT(40000, TCP_ACK), PKT(50001, TCP_ACK)};
	static const enum host nodes[] = {NODE1, NODE2, NODE2, NODE1, NODE2, NODE1};

	(void)state;
	build_world();
	expect_burst(frames, nodes, 6);
}

static void test_frames_leave_in_the_order_they_came(void **state)
{
	static const struct layer frames[][LAYERS_MAX] = {
		PKT(40001, TCP_SYN), PKT(50000, TCP_ACK), PKT(40002, TCP_SYN), PKT(40001, TCP_ACK),
		PKT(40002, TCP_ACK), PKT(50000, TCP_ACK), PKT(40001, TCP_ACK | TCP_FIN)};
	static const enum host nodes[] = {NODE2, NODE1, NODE2, NODE2, NODE2, NODE1, NODE2};

	(void)state;
	build_world();
	expect_burst(frames, nodes, 7);
}

static void test_a_burst_of_plain_segments_goes_where_its_slot_says(void **state)
{
	static const struct layer frames[][LAYERS_MAX] = {
		PKT(50000, TCP_ACK), PKT(50001, TCP_ACK), PKT(50002, TCP_ACK), PKT(50003, TCP_ACK),
		PKT(50004, TCP_ACK), PKT(50005, TCP_ACK), PKT(50006, TCP_ACK), PKT(50007, TCP_ACK)};
	static const enum host nodes[] = {NODE1, NODE1, NODE1, NODE1, NODE1, NODE1, NODE1, NODE1};

	(void)state;
	build_world();
	expect_burst(frames, nodes, 8);
	assert_int_equal(r->t.backend_counts[NODE1].packets, 8);
}

/* Some take the way of the many, some do not; all are of one slot, and all are counted once. */
static void test_kinds_of_segments_take_turns_in_a_burst(void **state)
{
	static const struct layer frames[][LAYERS_MAX] = {
		PKT(50000, TCP_ACK), PKT6(50001, TCP_ACK), PKT(50002, TCP_ACK | TCP_FIN),
		{ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), TCP(50003, PORT, TCP_ACK)},
		PKT6(50004, TCP_SYN), PKT(50005, TCP_RST), PKT6(50006, TCP_ACK), PKT(50007, TCP_ACK)};
	static const enum host nodes[] = {NODE1, NODE1, NODE1, NODE1, NODE1, NODE1, NODE1, NODE1};

	(void)state;
	build_world();
	r->t.loads[NODE1].base = 0;
	expect_burst(frames, nodes, 8);
	assert_int_equal(r->t.backend_counts[NODE1].packets, 8);
	assert_int_equal(r->t.backend_counts[NODE1].flows, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_syn_and_what_follows_it_in_the_same_burst_go_to_one_node),
		cmocka_unit_test(test_frames_leave_in_the_order_they_came),
		cmocka_unit_test(test_a_burst_of_plain_segments_goes_where_its_slot_says),
		cmocka_unit_test(test_kinds_of_segments_take_turns_in_a_burst),
	};

	return cmocka_run_group_tests(tests, open_host, NULL);
}
