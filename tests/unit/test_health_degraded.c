/* SPDX-License-Identifier: BSD-2-Clause */
/* Health: who is degraded, who flaps, and how each comes back. */
#include "tests/unit/health_bed.h"

/* --- degradation ------------------------------------------------------------------------------ */

static void each_dimension_of_the_page_degrades_after_three_samples(void **state)
{
	static const struct {
		enum load_field field;
		double in, over, between, under;
		const char *cause;
		enum health_cause kind;
	} cases[] = {
		{LOAD_KV, 0.949, 0.95, 0.92, 0.90, "kv cache 0.95", HEALTH_CAUSE_KV},
		{LOAD_GPU_MEM, 0.95, 0.951, 0.93, 0.92, "gpu memory 0.951",
		 HEALTH_CAUSE_GPU_MEMORY},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct node n = healthy();

		load_set(&n.sample, cases[i].field, cases[i].in);
		samples(&n, 10);
		assert_int_equal(n.h.state, LB_STATE_HEALTHY);
		load_set(&n.sample, cases[i].field, cases[i].over);
		samples(&n, 2);
		load_set(&n.sample, cases[i].field, cases[i].in); /* not in a row */
		samples(&n, 1);
		load_set(&n.sample, cases[i].field, cases[i].over);
		samples(&n, 2);
		assert_int_equal(n.h.state, LB_STATE_HEALTHY);
		samples(&n, 1);
		assert_int_equal(n.h.state, LB_STATE_DEGRADED);
		assert_cause(&n, cases[i].cause);
		assert_int_equal(n.h.cause_kind, cases[i].kind);
		assert_true(health_alive(&n.h));

		load_set(&n.sample, cases[i].field, cases[i].between); /* hysteresis */
		samples(&n, 20);
		assert_int_equal(n.h.state, LB_STATE_DEGRADED);
		load_set(&n.sample, cases[i].field, cases[i].under);
		samples(&n, 2);
		assert_int_equal(n.h.state, LB_STATE_DEGRADED);
		samples(&n, 1);
		assert_int_equal(n.h.state, LB_STATE_HEALTHY);
		assert_cause(&n, "has recovered");
		assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_RECOVERED);
	}
}

static void a_missing_metric_is_not_zero(void **state)
{
	struct node n = degraded();

	(void)state;
	n.sample = (struct load_sample){0};
	load_set(&n.sample, LOAD_RUNNING, 1);
	samples(&n, 20);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	samples(&n, 41); /* what is not heard of for half a minute is forgotten */
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void a_degraded_node_whose_scrapes_stop_is_cleared_by_the_clock(void **state)
{
	struct node n = degraded();
	int64_t next_ms = health_next_ms(&n.h, &n.s);

	(void)state;
	assert_int_equal(next_ms, n.now_ms + 30000);
	n.now_ms = next_ms;
	tick(&n, 0);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void a_queue_is_an_outlier_of_its_pool(void **state)
{
	struct health_pool pool = {.n_queue = 5, .queue_median = 4};
	struct node n = healthy();

	(void)state;
	n.pool = &pool;
	load_set(&n.sample, LOAD_QUEUE, 15); /* under 4 times the median */
	samples(&n, 5);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	load_set(&n.sample, LOAD_QUEUE, 16);
	samples(&n, 3);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	assert_cause(&n, "queue 16, limit 16");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_QUEUE);
	load_set(&n.sample, LOAD_QUEUE, 9);
	samples(&n, 10);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	load_set(&n.sample, LOAD_QUEUE, 8);
	samples(&n, 3);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void a_queue_under_the_least_that_counts_is_no_outlier(void **state)
{
	struct health_pool pool = {.n_queue = 5, .queue_median = 0};
	struct node n = healthy();

	(void)state;
	n.pool = &pool;
	load_set(&n.sample, LOAD_QUEUE, 7);
	samples(&n, 10);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	load_set(&n.sample, LOAD_QUEUE, 8);
	samples(&n, 3);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
}

static void nobody_is_out_of_line_alone(void **state)
{
	struct health_pool pool = {.n_queue = 1, .queue_median = 1, .n_latency = 1};
	struct node n = healthy();

	(void)state;
	n.pool = &pool;
	load_set(&n.sample, LOAD_QUEUE, 1000);
	samples(&n, 10);
	for (int i = 0; i < 10; i++) {
		n.now_ms += 1000;
		probe_of(&n, HEALTH_PASS, 200, 4000);
	}
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void slow_answers_degrade_against_the_pool(void **state)
{
	struct health_pool pool = {.n_latency = 4, .latency_median_ms = 10};
	struct node n = healthy();
	int probes_needed = 0;

	(void)state;
	n.pool = &pool;
	for (int i = 0; i < 20; i++) { /* 150 is 15 times the median, but under 200 ms */
		n.now_ms += 1000;
		probe_of(&n, HEALTH_PASS, 200, 150);
	}
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	while (n.h.state == LB_STATE_HEALTHY && probes_needed < 50) {
		n.now_ms += 1000;
		probe_of(&n, HEALTH_PASS, 200, 900);
		probes_needed++;
	}
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	assert_cause(&n, "latency");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_LATENCY);
	assert_in_range(probes_needed, 3, 6);
	for (int i = 0; i < 30; i++) {
		n.now_ms += 1000;
		probe_of(&n, HEALTH_PASS, 200, 10);
	}
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void slow_answers_degrade_by_a_fixed_limit_without_a_pool(void **state)
{
	struct node n = healthy();

	(void)state;
	n.s.latency_high_ms = 50;
	for (int i = 0; i < 12; i++) {
		n.now_ms += 1000;
		probe_of(&n, HEALTH_PASS, 200, 120);
	}
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
}

static void answers_that_do_not_come_are_slow(void **state)
{
	struct health_pool pool = {.n_latency = 4, .latency_median_ms = 10};
	struct node n = healthy();

	(void)state;
	n.pool = &pool;
	for (int i = 0; i < 4; i++)
		probe(&n, HEALTH_ANSWER_TIMEOUT);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	assert_cause(&n, "latency");
}

static void many_aborts_degrade(void **state)
{
	struct node n = healthy();

	(void)state;
	n.s.aborts_high = 5;
	load_set(&n.sample, LOAD_RUNNING, 10);
	load_set(&n.sample, LOAD_ABORTS, 0);
	samples(&n, 1);
	for (int i = 0; i < 3; i++) { /* 3 in half a second */
		assert_int_equal(n.h.state, LB_STATE_HEALTHY);
		load_set(&n.sample, LOAD_ABORTS, n.sample.aborts + 3);
		samples(&n, 1);
	}
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	assert_cause(&n, "aborts 6/s");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_ABORTS);
	samples(&n, 3);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void aborts_while_this_host_was_stopped_are_spread_over_that_time(void **state)
{
	struct node n = healthy();

	(void)state;
	n.s.aborts_high = 5;
	n.s.samples = 1;
	load_set(&n.sample, LOAD_RUNNING, 10);
	load_set(&n.sample, LOAD_ABORTS, 0);
	samples(&n, 1);
	n.now_ms += 20000;
	health_slept(&n.h, 20000);
	load_set(&n.sample, LOAD_ABORTS, 40); /* two a second */
	samples(&n, 1);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	load_set(&n.sample, LOAD_ABORTS, 50);
	samples(&n, 1);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
}

static void a_degraded_node_goes_down_like_any_other(void **state)
{
	struct node n = degraded();

	(void)state;
	probes(&n, HEALTH_REFUSED, 2);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	/* and what it was degraded by is not held against the new process */
	load_set(&n.sample, LOAD_KV, 0.1);
	probes(&n, HEALTH_PASS, 2);
	samples(&n, 1);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
}

static void degraded_while_warming_goes_on_warming_afterwards(void **state)
{
	struct node n = down();

	(void)state;
	probes(&n, HEALTH_PASS, 2);
	load_set(&n.sample, LOAD_KV, 0.99);
	samples(&n, 3);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	load_set(&n.sample, LOAD_KV, 0.1);
	samples(&n, 3);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
	assert_in_range(permille(&n), 100, 400);
}

static void a_node_found_over_its_limit_is_never_healthy_for_a_moment(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_START, LB_STATE_NONE);

	(void)state;
	load_set(&n.sample, LOAD_GPU_MEM, 0.99);
	samples(&n, 3);
	assert_int_equal(n.h.state, LB_STATE_UNKNOWN);
	probes(&n, HEALTH_PASS, 2);
	assert_int_equal(n.change.from, LB_STATE_UNKNOWN);
	assert_int_equal(n.change.to, LB_STATE_DEGRADED);
}

/* --- flapping --------------------------------------------------------------------------------- */

/* Down, and passing again until it is back or a limit of time. Returns how long it took. */
static int64_t flap(struct node *n)
{
	int64_t down_ms;

	probes(n, HEALTH_REFUSED, 2);
	assert_int_equal(n->h.state, LB_STATE_UNHEALTHY);
	down_ms = n->now_ms;
	while (n->h.state == LB_STATE_UNHEALTHY && n->now_ms - down_ms < 1000000)
		probes(n, HEALTH_PASS, 1);
	probes(n, HEALTH_PASS, 1);
	return n->now_ms - down_ms - 1000;
}

static void a_flapping_node_waits_longer_each_time(void **state)
{
	struct node n = healthy();
	int64_t wait_ms, last_ms = 1000;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(flap(&n), 1000); /* six changes: not too many yet */
	for (int i = 0; i < 4; i++) {
		wait_ms = flap(&n);
		assert_true(wait_ms >= 2 * last_ms - 2000 && wait_ms >= 10000);
		last_ms = wait_ms;
	}
	assert_in_range(last_ms, 80000, 82000);
}

static void loading_is_no_flapping(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_START, LB_STATE_NONE);

	(void)state;
	n.s.flap_changes = 2; /* up is not one of them, down and up again are */
	probes(&n, HEALTH_STATUS_LOADING, 10);
	probes(&n, HEALTH_PASS, 3);
	assert_int_equal(flap(&n), 1000);
	assert_in_range(flap(&n), 10000, 12000);
}

static void the_wait_has_an_end(void **state)
{
	struct node n = healthy();

	(void)state;
	n.s.flap_window_ms = 3600000;
	for (int i = 0; i < 12; i++)
		assert_in_range(flap(&n), 1000, n.s.flap_hold_max_ms + 1000);
}

static void a_failure_while_it_waits_begins_the_wait_anew(void **state)
{
	struct node n = healthy();

	(void)state;
	for (int i = 0; i < 3; i++)
		(void)flap(&n);
	probes(&n, HEALTH_REFUSED, 2); /* held for 10 s */
	probes(&n, HEALTH_PASS, 8);
	probes(&n, HEALTH_REFUSED, 1);
	probes(&n, HEALTH_PASS, 9);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	probes(&n, HEALTH_PASS, 2);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
}

static void a_calm_node_is_forgiven(void **state)
{
	struct node n = healthy();

	(void)state;
	for (int i = 0; i < 5; i++)
		(void)flap(&n);
	probes(&n, HEALTH_PASS, 400);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	assert_int_equal(flap(&n), 1000);
}

static void flapping_between_healthy_and_degraded_is_damped_too(void **state)
{
	struct node n = healthy();

	(void)state;
	for (int i = 0; i < 4; i++) {
		load_set(&n.sample, LOAD_KV, 0.99);
		samples(&n, 3);
		assert_int_equal(n.h.state, LB_STATE_DEGRADED);
		load_set(&n.sample, LOAD_KV, 0.1);
		samples(&n, 3);
		assert_int_equal(n.h.state, i < 3 ? LB_STATE_HEALTHY : LB_STATE_DEGRADED);
	}
	samples(&n, 16);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	samples(&n, 2);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void damping_can_be_turned_off(void **state)
{
	struct node n = healthy();

	(void)state;
	n.s.flap_changes = 0;
	for (int i = 0; i < 20; i++)
		assert_int_equal(flap(&n), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_dimension_of_the_page_degrades_after_three_samples),
		cmocka_unit_test(a_missing_metric_is_not_zero),
		cmocka_unit_test(a_degraded_node_whose_scrapes_stop_is_cleared_by_the_clock),
		cmocka_unit_test(a_queue_is_an_outlier_of_its_pool),
		cmocka_unit_test(a_queue_under_the_least_that_counts_is_no_outlier),
		cmocka_unit_test(nobody_is_out_of_line_alone),
		cmocka_unit_test(slow_answers_degrade_against_the_pool),
		cmocka_unit_test(slow_answers_degrade_by_a_fixed_limit_without_a_pool),
		cmocka_unit_test(answers_that_do_not_come_are_slow),
		cmocka_unit_test(many_aborts_degrade),
		cmocka_unit_test(aborts_while_this_host_was_stopped_are_spread_over_that_time),
		cmocka_unit_test(a_degraded_node_goes_down_like_any_other),
		cmocka_unit_test(degraded_while_warming_goes_on_warming_afterwards),
		cmocka_unit_test(a_node_found_over_its_limit_is_never_healthy_for_a_moment),
		cmocka_unit_test(a_flapping_node_waits_longer_each_time),
		cmocka_unit_test(loading_is_no_flapping),
		cmocka_unit_test(the_wait_has_an_end),
		cmocka_unit_test(a_failure_while_it_waits_begins_the_wait_anew),
		cmocka_unit_test(a_calm_node_is_forgiven),
		cmocka_unit_test(flapping_between_healthy_and_degraded_is_damped_too),
		cmocka_unit_test(damping_can_be_turned_off),
	};

	return cmocka_run_group_tests_name("health, degraded", tests, NULL, NULL);
}
