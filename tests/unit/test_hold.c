// SPDX-License-Identifier: BSD-2-Clause
/* What a stop of sluice-dpdk means for a node behind it, and for one that is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "userspace/agent/hold.h"

#define LO    1	 /* the device that workers serve: it is on every machine */
#define OTHER 77 /* one that they do not */

struct world {
	struct config_interface interface;
	struct config cfg;
	struct lb_worker workers[LB_WORKERS_MAX];
	struct agent agent;
	struct pool pool, *pools[1];
	struct node near, far, *nodes[2];
	int64_t now_ms;
};

static uint32_t ticks(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec) >> LB_TICK_SHIFT;
}

static void begin_node(struct world *w, struct node *node, uint32_t ifindex)
{
	struct health_start start = {.seed = 1, .origin = HEALTH_ORIGIN_START};

	node->agent = &w->agent;
	node->hop.ifindex = ifindex;
	health_settings_default(&node->health_settings);
	health_init(&node->health, &node->health_settings, &start, w->now_ms);
}

static void begin(struct world *w, enum config_dataplane dataplane)
{
	memset(w, 0, sizeof(*w));
	w->now_ms = 100000;
	w->interface.name = "lo";
	w->cfg = (struct config){
		.dataplane = dataplane, .interfaces = &w->interface, .n_interfaces = 1};
	w->nodes[0] = &w->near;
	w->nodes[1] = &w->far;
	w->pool.nodes = w->nodes;
	w->pool.n_nodes = 2;
	w->pools[0] = &w->pool;
	w->agent = (struct agent){.cfg = &w->cfg, .pools = w->pools, .n_pools = 1};
	w->agent.tables.dpdk_workers = w->workers;
	begin_node(w, &w->near, LO);
	begin_node(w, &w->far, OTHER);
	w->workers[0] = (struct lb_worker){.pid = 1, .tick = ticks()};
	hold_start(&w->agent, &w->cfg, w->now_ms);
	dataplane_serve(&w->agent.dataplane, &w->cfg);
}

static void step(struct world *w, bool runs)
{
	w->now_ms += AGENT_TICK_MS;
	w->workers[0] = (struct lb_worker){.pid = runs, .tick = ticks()};
	hold_step(&w->agent, w->now_ms);
}

static bool excused(struct world *w, const struct node *node, enum probe_outcome outcome)
{
	struct probe_result res = {
		.outcome = outcome, .started_ms = w->now_ms - 400, .now_ms = w->now_ms};

	return hold_excuses(node, &res);
}

static void with_xdp_nothing_is_excused(void **state)
{
	struct world w;

	(void)state;
	begin(&w, CONFIG_DATAPLANE_XDP);
	step(&w, false);
	assert_false(w.agent.dataplane.stopped);
	assert_false(excused(&w, &w.near, PROBE_CONNECT_TIMEOUT));
}

static void during_a_stop_only_silence_of_nodes_behind_workers_is_excused(void **state)
{
	struct world w;

	(void)state;
	begin(&w, CONFIG_DATAPLANE_DPDK);
	step(&w, true);
	assert_false(excused(&w, &w.near, PROBE_CONNECT_TIMEOUT));
	step(&w, false);
	for (int i = PROBE_PASS; i < PROBE_OUTCOME_N; i++) {
		bool silence = i == PROBE_CONNECT_TIMEOUT || i == PROBE_TIMEOUT ||
			       i == PROBE_UNREACHABLE;

		assert_int_equal(excused(&w, &w.near, i), silence);
		assert_false(excused(&w, &w.far, i));
	}
	w.near.hop.ifindex = 0; /* its route went with the device's carrier */
	assert_true(excused(&w, &w.near, PROBE_UNREACHABLE));
}

static void after_a_stop_a_word_of_a_node_behind_workers_ends_the_excuse(void **state)
{
	struct world w;

	(void)state;
	begin(&w, CONFIG_DATAPLANE_DPDK);
	step(&w, false);
	step(&w, true);
	for (int i = 0; i < 30; i++)
		step(&w, true);
	assert_false(excused(&w, &w.far, PROBE_PASS)); /* heard, and not by workers */
	assert_true(excused(&w, &w.near, PROBE_TIMEOUT));
	assert_false(excused(&w, &w.near, PROBE_REFUSED)); /* that is a word */
	for (int i = 0; i < 15; i++)
		step(&w, true);
	assert_false(excused(&w, &w.near, PROBE_TIMEOUT));
}

static void during_a_stop_time_stands_still_for_nodes_behind_workers(void **state)
{
	struct load_sample sample = {};
	struct health_change change;
	struct world w;
	int64_t near_ms;

	(void)state;
	begin(&w, CONFIG_DATAPLANE_DPDK);
	load_set(&sample, LOAD_KV, 0.5);
	for (int i = 0; i < 2; i++)
		(void)health_sample(&w.nodes[i]->health, &w.nodes[i]->health_settings, &sample,
				    NULL, 1000, w.now_ms, &change);
	near_ms = w.near.health.sample_ms;
	step(&w, true);
	for (int i = 0; i < 600; i++)
		step(&w, false); /* a minute */
	assert_int_equal(w.near.health.sample_ms, near_ms + 599 * AGENT_TICK_MS);
	assert_int_equal(w.far.health.sample_ms, near_ms);
	step(&w, true);
	step(&w, true);
	assert_int_equal(w.near.health.sample_ms, near_ms + 599 * AGENT_TICK_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_xdp_nothing_is_excused),
		cmocka_unit_test(during_a_stop_only_silence_of_nodes_behind_workers_is_excused),
		cmocka_unit_test(after_a_stop_a_word_of_a_node_behind_workers_ends_the_excuse),
		cmocka_unit_test(during_a_stop_time_stands_still_for_nodes_behind_workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
