// SPDX-License-Identifier: BSD-2-Clause
/*
 * Nodes that do not answer, over virtual time, through hold.c and health.c as node.c joins them:
 * whose silence is it? Each node is checked every second (0.5 s to connect) and scraped twice a
 * second, and what is lost on the way is drawn by lot, always the same one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "userspace/agent/hold.h"

#define NODES_MAX    64
#define STEP_MS	     10
#define CONNECT_MS   500
#define KEPT_OPEN_MS 5000 /* a check on a connection that is open already waits for so long */
#define LO	     1
#define OTHER	     77

struct server {
	enum probe_outcome answer; /* if nothing is lost */
	bool dead;
	bool kept_open;
	int64_t check_ms, scrape_ms; /* when the next one begins */
	int64_t asked_ms;	     /* check under way since; 0: none */
	bool lost;		     /* … and it will not be answered */
	int64_t down_ms;	     /* when its state became unhealthy; 0: it is not */
};

struct world {
	struct config_interface interface;
	struct config cfg;
	struct lb_worker workers[LB_WORKERS_MAX];
	struct agent agent;
	struct pool pool, *pools[1];
	struct node nodes[NODES_MAX], *list[NODES_MAX];
	struct server servers[NODES_MAX];
	uint32_t n;
	double loss; /* of checks and scrapes */
	uint32_t lot;
	int64_t now_ms;
};

static double draw(struct world *w)
{
	w->lot = w->lot * 1664525 + 1013904223;
	return (w->lot >> 8) / 16777216.0;
}

static void begin_node(struct world *w, uint32_t i)
{
	struct health_start start = {.seed = i, .origin = HEALTH_ORIGIN_START};
	struct node *node = &w->nodes[i];

	node->agent = &w->agent;
	node->hop.ifindex = LO;
	health_settings_default(&node->health_settings);
	health_init(&node->health, &node->health_settings, &start, w->now_ms);
	w->list[i] = node;
	w->servers[i] = (struct server){.answer = PROBE_PASS,
					.check_ms = w->now_ms + i * 1000 / w->n,
					.scrape_ms = w->now_ms + i * 500 / w->n + 30};
}

static enum health_result result_of(enum probe_outcome outcome)
{
	return outcome == PROBE_PASS		  ? HEALTH_PASS
	       : outcome == PROBE_FAIL_STATUS	  ? HEALTH_STATUS_LOADING
	       : outcome == PROBE_REFUSED	  ? HEALTH_REFUSED
	       : outcome == PROBE_CONNECT_TIMEOUT ? HEALTH_UNREACHABLE
						  : HEALTH_ANSWER_TIMEOUT;
}

static void end_check(struct world *w, uint32_t i, enum probe_outcome outcome)
{
	struct node *node = &w->nodes[i];
	struct probe_result res = {
		.outcome = outcome, .started_ms = w->servers[i].asked_ms, .now_ms = w->now_ms};
	struct health_probe probe = {
		.result = result_of(outcome), .rtt_ms = 2, .started_ms = res.started_ms};
	struct health_change change;

	w->servers[i].asked_ms = 0;
	w->servers[i].check_ms = res.started_ms + 1000 > w->now_ms ? res.started_ms + 1000
								   : w->now_ms + 100;
	if (outcome == PROBE_REFUSED)
		w->servers[i].check_ms = w->now_ms + 200;
	if (hold_excuses(node, &res)) {
		health_probe_void(&node->health, &node->health_settings, res.started_ms,
				  w->now_ms);
		return;
	}
	probe.doubtful = hold_doubts(node, &res);
	if (health_probe(&node->health, &node->health_settings, &probe, NULL, w->now_ms, &change))
		w->servers[i].down_ms =
			node->health.state == LB_STATE_UNHEALTHY ? w->now_ms : 0;
}

static void check(struct world *w, uint32_t i)
{
	struct server *s = &w->servers[i];
	int64_t wait_ms = s->kept_open ? KEPT_OPEN_MS : CONNECT_MS;

	if (!s->asked_ms && w->now_ms < s->check_ms)
		return;
	if (!s->asked_ms) {
		s->asked_ms = w->now_ms;
		s->lost = s->dead || draw(w) < w->loss;
		return;
	}
	if (!s->lost)
		end_check(w, i, s->answer);
	else if (w->now_ms - s->asked_ms >= wait_ms)
		end_check(w, i, s->kept_open ? PROBE_TIMEOUT : PROBE_CONNECT_TIMEOUT);
}

static void scrape(struct world *w, uint32_t i)
{
	struct server *s = &w->servers[i];
	struct probe_result res = {.outcome = s->answer, .started_ms = w->now_ms - STEP_MS,
				   .now_ms = w->now_ms};

	if (w->now_ms < s->scrape_ms)
		return;
	s->scrape_ms += CONNECT_MS;
	if (s->dead || draw(w) < w->loss) {
		res.outcome = PROBE_CONNECT_TIMEOUT;
		res.started_ms = w->now_ms - CONNECT_MS;
	}
	hold_hear_page(&w->nodes[i], &res);
}

static uint32_t ticks(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec) >> LB_TICK_SHIFT;
}

static void run(struct world *w, int64_t ms)
{
	for (int64_t end_ms = w->now_ms + ms; w->now_ms < end_ms; w->now_ms += STEP_MS) {
		w->workers[0].tick = ticks();
		if (w->now_ms % AGENT_TICK_MS == 0)
			hold_step(&w->agent, w->now_ms);
		for (uint32_t i = 0; i < w->n; i++) {
			check(w, i);
			scrape(w, i);
		}
	}
}

/* n nodes that have been healthy for a while. */
static void begin(struct world *w, uint32_t n, enum config_dataplane dataplane)
{
	memset(w, 0, sizeof(*w));
	w->now_ms = 100000;
	w->n = n;
	w->lot = 4711;
	w->interface.name = "lo";
	w->cfg = (struct config){
		.dataplane = dataplane, .interfaces = &w->interface, .n_interfaces = 1};
	w->pools[0] = &w->pool;
	w->pool.nodes = w->list;
	w->pool.n_nodes = n;
	w->agent = (struct agent){.cfg = &w->cfg, .pools = w->pools, .n_pools = 1};
	w->agent.tables.dpdk_workers = w->workers;
	w->workers[0] = (struct lb_worker){.pid = 1, .tick = ticks()};
	for (uint32_t i = 0; i < n; i++)
		begin_node(w, i);
	hold_start(&w->agent, &w->cfg, w->now_ms);
	dataplane_serve(&w->agent.dataplane, &w->cfg);
	run(w, 10000);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(w->nodes[i].health.state, LB_STATE_HEALTHY);
}

static uint32_t n_down(const struct world *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->n; i++)
		n += w->nodes[i].health.state == LB_STATE_UNHEALTHY;
	return n;
}

/* Milliseconds until node i is down, from now. */
static int64_t falls_after(struct world *w, uint32_t i, int64_t most_ms)
{
	int64_t from_ms = w->now_ms;

	while (w->nodes[i].health.state != LB_STATE_UNHEALTHY && w->now_ms < from_ms + most_ms)
		run(w, 100);
	assert_int_equal(w->nodes[i].health.state, LB_STATE_UNHEALTHY);
	return w->servers[i].down_ms - from_ms;
}

static void a_node_that_dies_among_others_that_answer_is_down_as_configured(void **state)
{
	struct world w;

	(void)state;
	for (uint32_t n = 2; n <= 16; n *= 2) {
		begin(&w, n, CONFIG_DATAPLANE_XDP);
		w.servers[n / 2].dead = true;
		assert_in_range(falls_after(&w, n / 2, 10000), 2000, 3600);
		assert_int_equal(n_down(&w), 1);
		assert_int_equal(hold_doubted(&w.agent), 0);
	}
}

static void half_of_the_nodes_that_die_at_once_are_down_as_soon(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 12, CONFIG_DATAPLANE_XDP);
	for (uint32_t i = 0; i < 12; i += 2)
		w.servers[i].dead = true;
	run(&w, 3700);
	assert_int_equal(n_down(&w), 6);
}

static void a_switch_that_restarts_kills_nobody(void **state)
{
	struct world w;

	(void)state;
	for (uint32_t n = 2; n <= 32; n *= 2) {
		begin(&w, n, CONFIG_DATAPLANE_XDP);
		w.loss = 1;
		run(&w, 25000);
		assert_int_equal(n_down(&w), 0);
		assert_int_equal(hold_doubted(&w.agent), n);
		w.loss = 0;
		run(&w, 2000);
		assert_int_equal(hold_doubted(&w.agent), 0);
		run(&w, 10000);
		assert_int_equal(n_down(&w), 0);
	}
}

static void silence_of_all_counts_in_the_end_if_nothing_here_explains_it(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 12, CONFIG_DATAPLANE_XDP);
	w.loss = 1;
	assert_in_range(falls_after(&w, 5, 60000), SILENCE_ALL_MS, SILENCE_ALL_MS + 3000);
	run(&w, 3000);
	assert_int_equal(n_down(&w), 12);
}

static void lots_that_are_drawn_for_long_kill_nobody(void **state)
{
	static const double losses[] = {0.1, 0.3, 0.5, 0.7, 0.9, 0.97};
	struct world w;

	(void)state;
	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++)
		for (uint32_t n = 3; n <= 12; n += 9) {
			begin(&w, n, CONFIG_DATAPLANE_XDP);
			w.loss = losses[i];
			run(&w, 300000);
			assert_int_equal(n_down(&w), 0);
		}
}

static void a_node_that_dies_while_half_is_lost_is_found_all_the_same(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 12, CONFIG_DATAPLANE_XDP);
	w.loss = 0.5;
	run(&w, 20000);
	w.servers[7].dead = true;
	assert_in_range(falls_after(&w, 7, 90000), 5000, 60000);
	assert_int_equal(n_down(&w), 1);
}

static void a_refusal_needs_no_witness(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 12, CONFIG_DATAPLANE_XDP);
	w.loss = 0.9;
	run(&w, 20000);
	w.loss = 0;
	w.servers[3].answer = PROBE_REFUSED;
	assert_in_range(falls_after(&w, 3, 5000), 100, 1500);
}

static void a_503_does_not_add_up_with_silence_that_was_doubted(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 4, CONFIG_DATAPLANE_XDP);
	w.loss = 1;
	run(&w, 10000);
	assert_true(w.nodes[1].health.doubted);
	w.loss = 0;
	w.servers[1].answer = PROBE_FAIL_STATUS;
	run(&w, 1200);
	assert_int_equal(n_down(&w), 0);
	assert_false(w.nodes[1].health.doubted);
	run(&w, 3000);
	assert_int_equal(n_down(&w), 1);
}

static void peers_whose_checks_wait_longer_are_waited_for(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 12, CONFIG_DATAPLANE_XDP);
	for (uint32_t i = 1; i < 12; i++)
		w.servers[i].kept_open = true;
	w.loss = 1;
	run(&w, 20000);
	assert_int_equal(n_down(&w), 0);
}

static void a_node_without_peers_is_down_as_configured(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1, CONFIG_DATAPLANE_XDP);
	w.servers[0].dead = true;
	assert_in_range(falls_after(&w, 0, 10000), 2000, 3600);
	begin(&w, 4, CONFIG_DATAPLANE_XDP);
	w.nodes[0].hop.ifindex = OTHER; /* its way is its own */
	w.servers[0].dead = true;
	assert_in_range(falls_after(&w, 0, 10000), 2000, 3600);
}

/* A flood that fills the data path's queues, and hardly a check gets through. */
static void flood(struct world *w, int64_t ms, double loss)
{
	for (int64_t end_ms = w->now_ms + ms; w->now_ms < end_ms;) {
		w->workers[0].received += 10000;
		w->workers[0].missed += (uint64_t)(10000 * loss / (1 - loss));
		run(w, 100);
	}
}

static void while_workers_lose_frames_silence_has_no_end(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 12, CONFIG_DATAPLANE_DPDK);
	w.loss = 1;
	flood(&w, 600000, 0.8);
	assert_int_equal(n_down(&w), 0);
	assert_int_equal(hold_doubted(&w.agent), 12);
	w.loss = 0;
	run(&w, 20000);
	assert_int_equal(hold_doubted(&w.agent), 0);
	w.servers[2].dead = true;
	assert_in_range(falls_after(&w, 2, 10000), 2000, 3600);
}

static void a_single_node_is_spared_while_workers_lose_frames(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1, CONFIG_DATAPLANE_DPDK);
	w.loss = 0.8;
	flood(&w, 60000, 0.4);
	assert_int_equal(n_down(&w), 0);
	w.servers[0].dead = true;
	assert_in_range(falls_after(&w, 0, 30000), 5000, 20000); /* what was lost is forgotten */
}

static void a_worker_that_stands_still_is_not_held_against_nodes(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 6, CONFIG_DATAPLANE_DPDK);
	w.workers[1] = (struct lb_worker){.pid = 1, .tick = ticks() - LB_TICKS_FROM_MS(60000)};
	w.loss = 0.5; /* what comes to its queue */
	run(&w, 300000);
	assert_int_equal(n_down(&w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_that_dies_among_others_that_answer_is_down_as_configured),
		cmocka_unit_test(half_of_the_nodes_that_die_at_once_are_down_as_soon),
		cmocka_unit_test(a_switch_that_restarts_kills_nobody),
		cmocka_unit_test(silence_of_all_counts_in_the_end_if_nothing_here_explains_it),
		cmocka_unit_test(lots_that_are_drawn_for_long_kill_nobody),
		cmocka_unit_test(a_node_that_dies_while_half_is_lost_is_found_all_the_same),
		cmocka_unit_test(a_refusal_needs_no_witness),
		cmocka_unit_test(a_503_does_not_add_up_with_silence_that_was_doubted),
		cmocka_unit_test(peers_whose_checks_wait_longer_are_waited_for),
		cmocka_unit_test(a_node_without_peers_is_down_as_configured),
		cmocka_unit_test(while_workers_lose_frames_silence_has_no_end),
		cmocka_unit_test(a_single_node_is_spared_while_workers_lose_frames),
		cmocka_unit_test(a_worker_that_stands_still_is_not_held_against_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
