// SPDX-License-Identifier: BSD-2-Clause
/*
 * The core and the publisher on the same tables, with a worker that stands still in the middle of a
 * packet: between reading the slot and leaving. What the publisher does meanwhile must not send the
 * flow's next packet elsewhere.
 */
#ifndef __clang__
#pragma GCC optimize("no-strict-aliasing")
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "userspace/agent/publish.h"
#include "tests/packet/env_native.h"

/* Loads are read once the slot was: here the worker is stopped. */
static void (*stop_here)(void);

static struct lb_load *load_or_stop(struct lb_env *env, __u32 id)
{
	void (*meanwhile)(void) = stop_here;

	stop_here = NULL;
	if (meanwhile)
		meanwhile();
	return lb_env_load(env, id);
}

#define lb_env_load load_or_stop
#include "bpf/core/forward.h"

#define N_SLOTS	 1
#define START_MS 1000000
#define IDLE_MS	 8000
#define STEP_MS	 100 /* from one look of the agent to the next */
#define ROOM	 4

static struct world {
	struct tables t;
	struct native_tables n;
	struct native_flow flows[ROOM], half_open[ROOM];
	struct lb_recent recent[NATIVE_RECENT_CELLS];
	struct publish *p;
	uint32_t pool;
	uint16_t a, b;
	uint64_t now_ms;
	unsigned int waits;
} w;

/* The worker begins a round. */
static void begin_round(void)
{
	w.n.ticks = LB_TICKS_FROM_MS(w.now_ms);
	w.t.dpdk_workers[0].tick = w.n.ticks;
}

/* As agent_tick(); the worker does its rounds or stands still. */
static void pass(uint64_t ms, bool worker_runs)
{
	for (uint64_t end_ms = w.now_ms + ms; w.now_ms < end_ms; ) {
		w.now_ms += STEP_MS;
		if (worker_runs)
			begin_round();
		publish_end_transitions(w.p, IDLE_MS, w.now_ms, UINT32_MAX);
	}
}

static void publish_cur(uint16_t cur)
{
	uint16_t alt = cur == w.a ? w.b : w.a;
	uint32_t written;

	if (!publish_backend_is_alive(w.p, alt))
		alt = LB_BACKEND_NONE;
	assert_int_equal(publish_slots(w.p, w.pool, N_SLOTS, &cur, &alt, w.now_ms, &written), 0);
}

/* The callback of a publisher that cannot wait its time: the worker goes on after a second. */
static void count_wait(void *userdata)
{
	(void)userdata;
	w.waits++;
}

static uint16_t add_node(const char *name, const char *text)
{
	struct nexthop_result hop = {.state = NEXTHOP_READY, .ifindex = 1, .mtu = 1500,
				     .dmac = {2, 0, 0, 0, 0, 1}, .smac = {2, 0, 0, 0, 0, 2}};
	struct endpoint ep;
	bool adopted;
	uint16_t id;

	assert_int_equal(endpoint_parse(text, &ep), 0);
	assert_int_equal(publish_backend_get(w.p, "chat", name, &ep, &id, &adopted), 0);
	publish_backend_nexthop(w.p, id, &hop, &ep.addr, 0, 0);
	publish_backend_set_alive(w.p, id);
	w.t.loads[id].weight = 1000;
	return id;
}

static void add_vip(void)
{
	struct publish_vip vip = {.proto = IPPROTO_TCP, .pool = w.pool, .mode = LB_MODE_L2DSR,
				  .policy = LB_POLICY_P2C, .affinity = LB_AFFINITY_FLOW,
				  .on_down = LB_ON_DOWN_RESET, .flags = LB_VIP_F_ACTIVE};
	uint32_t id;

	assert_int_equal(endpoint_parse("192.0.2.1:80", &vip.endpoint), 0);
	assert_int_equal(publish_vip_get(w.p, "vip", &id), 0);
	assert_int_equal(publish_vip_set(w.p, id, &vip), 0);
}

static void view_tables(void)
{
	w.n = (struct native_tables){
		.control = w.t.control, .vip_index = w.t.vip_index, .vips = w.t.vips,
		.pools = w.t.pools, .turns = w.t.turns, .members = w.t.members,
		.slots = w.t.slots, .n_slots = w.t.n_pools * LB_SLOTS_MAX,
		.backends = w.t.backends, .loads = w.t.loads, .limit = w.t.limits,
		.vip_counts = w.t.vip_stats, .backend_counts = w.t.backend_stats,
		.counters = (__u64 *)w.t.reasons, .recent = w.recent,
		.flows = {w.flows, ROOM}, .half_open = {w.half_open, ROOM}, .mtu = 1500,
	};
}

static int setup(void **state)
{
	const uint8_t key[16] = "0123456789abcde";

	(void)state;
	memset(&w, 0, sizeof(w));
	stop_here = NULL;
	w.now_ms = START_MS;
	assert_int_equal(tables_alloc(1, 1, &w.t), 0);
	w.t.buckets.flows = 2; /* sized for workers; a page has room for more */
	assert_int_equal(publish_new(&w.t, count_wait, NULL, w.now_ms, &w.p), 0);
	assert_int_equal(publish_control(w.p, key, 20000, 1000), 0);
	assert_int_equal(publish_pool_get(w.p, "chat", N_SLOTS, &w.pool), 0);
	w.a = add_node("a", "198.51.100.1:80");
	w.b = add_node("b", "198.51.100.2:80");
	add_vip();
	view_tables();
	w.t.dpdk_workers[0].pid = 1;
	begin_round();
	publish_cur(w.a);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	publish_free(&w.p);
	tables_close(&w.t);
	return 0;
}

/* Where a segment of the one client goes: a node's id, or 0. */
static uint16_t send_segment(uint8_t tcp_flags)
{
	uint8_t frame[54] = {
		[12] = 0x08, [14] = 0x45, [17] = 40, [20] = 0x40, [22] = 64, [23] = IPPROTO_TCP,
		[26] = 10, 0, 0, 1, [30] = 192, 0, 2, 1,
		[34] = 0x9c, 0x40, 0, 80, [46] = 0x50, [47] = tcp_flags,
	};
	struct lb_env env = {.t = &w.n, .ifindex = 1};
	uint64_t before[2] = {w.n.backend_counts[w.a].packets, w.n.backend_counts[w.b].packets};

	native_frame_put(&env, frame, sizeof(frame), NATIVE_HEADROOM);
	(void)lb_forward(&env);
	native_frame_free(&env, NATIVE_HEADROOM);
	if (w.n.backend_counts[w.a].packets > before[0])
		return w.a;
	return w.n.backend_counts[w.b].packets > before[1] ? w.b : 0;
}

/* --- the worker stands still with a SYN that needs no entry ----------------------------------- */

static void transition_and_time(void)
{
	publish_cur(w.b);
	pass(IDLE_MS + 1000, false);
}

static void test_no_transition_ends_under_a_packet_of_before_it(void **state)
{
	(void)state;
	stop_here = transition_and_time;
	assert_int_equal(send_segment(LB_TCP_SYN), w.a);
	begin_round();
	assert_int_equal(w.t.slots[0].prev, w.a);
	assert_int_equal(send_segment(LB_TCP_ACK), w.a);
	assert_int_equal(w.flows[0].flow.backend, w.a);
	pass(60000, true);
	assert_int_equal(w.t.slots[0].prev, 0);
	assert_int_equal(send_segment(LB_TCP_ACK), w.a); /* it is learned */
}

/* Also where many transitions come and go while others are under way. */
static void test_each_transition_has_its_own_time(void **state)
{
	(void)state;
	publish_cur(w.b);
	pass(IDLE_MS - 1000, true);
	assert_int_equal(w.t.slots[0].prev, w.a);
	pass(2000, true);
	assert_int_equal(w.t.slots[0].prev, 0);
}

static void death_and_return(void)
{
	publish_backend_set_dead(w.p, w.a);
	publish_cur(w.b);
	pass(1000, false);
	publish_backend_set_alive(w.p, w.a);
	assert_int_equal(w.waits, 1); /* and what is below would not come before the packet left */
}

static void test_no_node_lives_again_under_a_packet_of_before_its_death(void **state)
{
	(void)state;
	stop_here = death_and_return;
	(void)send_segment(LB_TCP_SYN);
	assert_int_equal(w.waits, 1);
}

static void test_a_node_that_all_workers_know_to_be_dead_lives_again_at_once(void **state)
{
	(void)state;
	publish_backend_set_dead(w.p, w.a);
	publish_cur(w.b);
	pass(300, true);
	publish_backend_set_alive(w.p, w.a);
	assert_int_equal(w.waits, 0);
	publish_backend_set_dead(w.p, w.a);
	publish_backend_set_dead(w.p, w.b);
	publish_cur(LB_BACKEND_LOCAL);
	publish_backend_set_alive(w.p, w.a); /* one wait is enough for all */
	publish_backend_set_alive(w.p, w.b);
	assert_int_equal(w.waits, 1);
}

static void test_a_node_that_an_agent_found_dead_may_just_have_died(void **state)
{
	(void)state;
	publish_backend_set_dead(w.p, w.a);
	publish_free(&w.p);
	assert_int_equal(publish_new(&w.t, count_wait, NULL, w.now_ms, &w.p), 0);
	publish_backend_set_alive(w.p, w.a);
	publish_backend_set_alive(w.p, w.b); /* it was alive all the time */
	assert_int_equal(w.waits, 1);
}

/* --- the worker stands still with a queue that fills ------------------------------------------ */

static void test_no_transition_ends_before_what_waited_is_seen(void **state)
{
	(void)state;
	assert_int_equal(send_segment(LB_TCP_SYN), w.a);
	publish_cur(w.b);
	pass(1000, true);
	pass(IDLE_MS, false); /* the flow sends, and it waits in the queue or is sent again */
	w.t.dpdk_workers[0].pause = LB_PAUSE_OF(LB_TICKS_FROM_MS(w.now_ms),
						LB_TICKS_FROM_MS(IDLE_MS));
	pass(IDLE_MS, true);
	assert_int_equal(send_segment(LB_TCP_ACK), w.a);
	pass(IDLE_MS, true);
	assert_int_equal(w.t.slots[0].prev, 0);
	assert_int_equal(send_segment(LB_TCP_ACK), w.a);
}

static void test_no_transition_ends_while_no_worker_runs(void **state)
{
	(void)state;
	publish_cur(w.b);
	w.t.dpdk_workers[0].pid = 0;
	pass(3 * IDLE_MS, false);
	assert_int_equal(w.t.slots[0].prev, w.a);
}

/* --- a SYN that gets no entry, in a transition ------------------------------------------------- */

/*
 * Whenever it comes: its flow stays where it went, or it went nowhere, if the client sends on within
 * the time for which a SYN's entry would have been kept.
 */
static void test_a_flow_without_an_entry_sees_no_transition_end(void **state)
{
	const uint64_t answer_ms[] = {50, 1000, IDLE_MS / 2 - 500};
	unsigned int to_a = 0, later = 0;

	(void)state;
	w.n.half_open.room = 0;
	for (unsigned int i = 0; i < 3; i++)
		for (uint64_t ms = 0; ms < IDLE_MS + 500; ms += STEP_MS) {
			uint16_t went;

			publish_cur(w.a);
			pass(3 * IDLE_MS, true);
			memset(w.flows, 0, sizeof(w.flows));
			publish_cur(w.b);
			pass(ms, true);
			went = send_segment(LB_TCP_SYN);
			pass(answer_ms[i], true);
			if (went)
				assert_int_equal(send_segment(LB_TCP_ACK), went);
			to_a += went == w.a;
			later += !went;
		}
	assert_in_range(to_a, 3 * IDLE_MS / 2 / STEP_MS, 3 * (IDLE_MS / 2 / STEP_MS + 3));
	assert_in_range(later, 3 * IDLE_MS / 2 / STEP_MS - 9, 3 * (IDLE_MS / 2 / STEP_MS + 3));
}

/* --- without workers -------------------------------------------------------------------------- */

static void test_xdp_goes_by_the_time(void **state)
{
	(void)state;
	w.t.buckets.flows = 1;
	w.t.dpdk_workers[0].pid = 0;
	publish_cur(w.b);
	pass(IDLE_MS + 200, false);
	assert_int_equal(w.t.slots[0].prev, 0);
	publish_backend_set_dead(w.p, w.a);
	publish_cur(w.b);
	pass(STEP_MS, false);
	publish_backend_set_alive(w.p, w.a);
	assert_int_equal(w.waits, 0);
}

/* --- slots that are written late -------------------------------------------------------------- */

static void test_a_death_is_known_when_the_slots_are_too(void **state)
{
	(void)state;
	publish_backend_set_dead(w.p, w.a);
	pass(300, true); /* all know of it, but slots send packets there still */
	publish_cur(w.b);
	publish_backend_set_alive(w.p, w.a);
	assert_int_equal(w.waits, 1);
	publish_backend_set_dead(w.p, w.b);
	pass(300, true);
	publish_backend_set_alive(w.p, w.b); /* its slots were never written */
	assert_int_equal(w.waits, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_no_transition_ends_under_a_packet_of_before_it),
		T(test_each_transition_has_its_own_time),
		T(test_no_node_lives_again_under_a_packet_of_before_its_death),
		T(test_a_node_that_all_workers_know_to_be_dead_lives_again_at_once),
		T(test_a_node_that_an_agent_found_dead_may_just_have_died),
		T(test_no_transition_ends_before_what_waited_is_seen),
		T(test_no_transition_ends_while_no_worker_runs),
		T(test_a_flow_without_an_entry_sees_no_transition_end),
		T(test_xdp_goes_by_the_time),
		T(test_a_death_is_known_when_the_slots_are_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
