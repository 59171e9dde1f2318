/* SPDX-License-Identifier: BSD-2-Clause */
/* Health: who is busy, hung, draining by itself or by order, and who is not. */
#include "tests/unit/health_bed.h"

/* --- busy, hung ------------------------------------------------------------------------------- */

static void a_busy_node_whose_counter_moves_is_not_down(void **state)
{
	struct node n = healthy();

	(void)state;
	for (int i = 0; i < 50; i++) {
		work(&n, 5000, 64, 100);
		n.now_ms -= 5000; /* the probe waited while the samples came */
		probe(&n, HEALTH_ANSWER_TIMEOUT);
		assert_true(n.h.busy);
	}
	assert_int_equal(n.h.failures, 0);
	assert_true(health_alive(&n.h));
	assert_int_not_equal(n.h.state, LB_STATE_UNHEALTHY);
}

static void a_silent_node_whose_counter_stopped_is_down(void **state)
{
	struct node n = healthy();
	int64_t silent_ms;

	(void)state;
	work(&n, 5000, 64, 100);
	silent_ms = n.now_ms; /* stopped: neither probes nor scrapes are answered */
	for (int i = 0; i < 10 && n.h.state != LB_STATE_UNHEALTHY; i++)
		probe(&n, HEALTH_ANSWER_TIMEOUT);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	assert_cause(&n, "no answer in time");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_NO_ANSWER);
	assert_in_range(n.now_ms - silent_ms, 15000, 30000);
}

static void without_a_counter_only_long_silence_is_down(void **state)
{
	struct node n = healthy();
	int64_t silent_ms = n.now_ms;

	(void)state;
	for (int i = 0; i < 5; i++)
		probe(&n, HEALTH_ANSWER_TIMEOUT);
	assert_int_not_equal(n.h.state, LB_STATE_UNHEALTHY);
	assert_true(n.h.busy);
	probe(&n, HEALTH_ANSWER_TIMEOUT);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	assert_int_equal(n.now_ms - silent_ms, 30000);
	/* an answer between begins the silence anew */
	n = healthy();
	for (int i = 0; i < 5; i++)
		probe(&n, HEALTH_ANSWER_TIMEOUT);
	probe(&n, HEALTH_PASS);
	for (int i = 0; i < 5; i++)
		probe(&n, HEALTH_ANSWER_TIMEOUT);
	assert_true(health_alive(&n.h));
}

static void a_probe_that_is_void_changes_nothing_and_breaks_a_row_of_silence(void **state)
{
	struct node n = healthy();
	struct score_ewma latency = n.h.latency;

	(void)state;
	probes(&n, HEALTH_UNREACHABLE, 2);
	for (int i = 0; i < 100; i++) {
		n.now_ms += 1000;
		health_probe_void(&n.h, &n.s, n.now_ms - 500, n.now_ms);
		assert_in_range(health_next_probe_ms(&n.h), n.now_ms, n.now_ms + 700);
	}
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	assert_int_equal(n.h.failures, 2);
	assert_memory_equal(&n.h.latency, &latency, sizeof(latency));
	probes(&n, HEALTH_UNREACHABLE, 1); /* the third that counts */
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);

	n = healthy();
	probe(&n, HEALTH_ANSWER_TIMEOUT);
	n.now_ms += 60000;
	health_probe_void(&n.h, &n.s, n.now_ms, n.now_ms);
	probe(&n, HEALTH_ANSWER_TIMEOUT); /* what was between nobody heard */
	assert_true(health_alive(&n.h));
	assert_true(n.h.busy);
}

static void running_without_progress_for_a_minute_is_hung_though_it_answers(void **state)
{
	struct node n = healthy();

	(void)state;
	work(&n, 2000, 5, 10);
	for (int i = 0; i < 59; i++) {
		work(&n, 1000, 5, 0);
		probe(&n, HEALTH_PASS);
		assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	}
	work(&n, 2000, 5, 0);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	assert_cause(&n, "hangs: 5 requests");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_HUNG);
	/* it still answers: that does not bring it back */
	for (int i = 0; i < 20; i++) {
		work(&n, 1000, 5, 0);
		probe(&n, HEALTH_PASS);
	}
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	/* the counter moves again */
	work(&n, 500, 5, 1);
	probe(&n, HEALTH_PASS);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
}

static void a_hung_node_is_let_go_when_the_judgement_is_turned_off(void **state)
{
	struct node n = healthy();

	(void)state;
	work(&n, 2000, 5, 10);
	work(&n, 62000, 5, 0);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	n.s.hung_ms = 0;
	work(&n, 500, 5, 0);
	probe(&n, HEALTH_PASS);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
	probe(&n, HEALTH_PASS);
	work(&n, 200000, 5, 0);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void an_idle_node_without_progress_is_not_hung(void **state)
{
	struct node n = healthy();

	(void)state;
	work(&n, 2000, 5, 10);
	work(&n, 300000, 0, 0);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void a_counter_that_begins_anew_is_progress(void **state)
{
	struct node n = healthy();

	(void)state;
	work(&n, 2000, 5, 10);
	work(&n, 50000, 5, 0);
	load_set(&n.sample, LOAD_PROGRESS, 3); /* restarted */
	samples(&n, 1);
	work(&n, 50000, 5, 0);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void what_happened_between_far_apart_samples_is_not_guessed(void **state)
{
	struct node n = healthy();

	(void)state;
	work(&n, 2000, 5, 10);
	work(&n, 40000, 5, 0);
	n.now_ms += 25000; /* no samples */
	work(&n, 1000, 5, 0);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	work(&n, 60000, 5, 0);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
}

static void a_hung_node_whose_metrics_vanish_may_come_back(void **state)
{
	struct node n = healthy();

	(void)state;
	work(&n, 2000, 5, 10);
	work(&n, 62000, 5, 0);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	n.sample = (struct load_sample){0};
	for (int i = 0; i < 31; i++) {
		samples(&n, 2);
		probe(&n, HEALTH_PASS);
	}
	assert_int_equal(n.h.state, LB_STATE_WARMING);
}

/* --- draining by itself ----------------------------------------------------------------------- */

static void idle_with_climbing_aborts_is_draining_by_itself(void **state)
{
	struct node n = healthy();

	(void)state;
	load_set(&n.sample, LOAD_RUNNING, 0);
	load_set(&n.sample, LOAD_QUEUE, 0);
	load_set(&n.sample, LOAD_ABORTS, 10);
	samples(&n, 20);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(n.h.state, LB_STATE_HEALTHY);
		load_set(&n.sample, LOAD_ABORTS, n.sample.aborts + 2);
		samples(&n, 1);
	}
	assert_int_equal(n.h.state, LB_STATE_DRAINING);
	assert_cause(&n, "drains by itself: idle");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_IDLE_ABORTS);
	assert_true(health_alive(&n.h));
	assert_true(health_drain_inferred(&n.h));
	n.sample = (struct load_sample){0};
	assert_int_equal(health_next_ms(&n.h, &n.s), n.now_ms + n.s.self_drain_ms);

	probes(&n, HEALTH_PASS, 29);
	assert_int_equal(n.h.state, LB_STATE_DRAINING);
	probes(&n, HEALTH_PASS, 2);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
	assert_cause(&n, "takes requests again");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_STAYED);
}

static void aborts_of_a_node_that_works_are_its_clients(void **state)
{
	struct node n = healthy();

	(void)state;
	load_set(&n.sample, LOAD_RUNNING, 3);
	for (int i = 0; i < 50; i++) {
		load_set(&n.sample, LOAD_ABORTS, n.sample.aborts + 2);
		samples(&n, 1);
	}
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void now_and_then_an_abort_is_no_drain(void **state)
{
	struct node n = healthy();

	(void)state;
	load_set(&n.sample, LOAD_RUNNING, 0);
	for (int i = 0; i < 20; i++) {
		load_set(&n.sample, LOAD_ABORTS, n.sample.aborts + 1);
		samples(&n, 12);
	}
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void a_node_that_answers_503_but_works_on_keeps_its_streams(void **state)
{
	struct node n = healthy();

	(void)state;
	for (int i = 0; i < 3; i++) {
		work(&n, 1000, 9, 50);
		probe(&n, HEALTH_STATUS_LOADING);
	}
	assert_int_equal(n.h.state, LB_STATE_DRAINING);
	assert_cause(&n, "its requests go on");
	assert_true(health_alive(&n.h));
	for (int i = 0; i < 60; i++) {
		work(&n, 1000, 9, 50);
		probe(&n, HEALTH_STATUS_LOADING);
	}
	assert_int_equal(n.h.state, LB_STATE_DRAINING);
	work(&n, 1000, 0, 0); /* its last stream ended */
	probe(&n, HEALTH_STATUS_LOADING);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
}

static void what_another_page_does_not_say_is_not_forgotten(void **state)
{
	struct node n = healthy();
	struct load_sample other = {0};

	(void)state;
	load_set(&other, LOAD_GPU_MEM, 0.5);
	for (int i = 0; i < 3; i++) {
		work(&n, 1000, 9, 50);
		n.changed = health_sample(&n.h, &n.s, &other, NULL, 1000, n.now_ms, &n.change);
		probe(&n, HEALTH_STATUS_LOADING);
	}
	assert_int_equal(n.h.state, LB_STATE_DRAINING); /* it is known to run requests */
}

static void a_node_that_says_it_drains_is_believed_until_it_passes(void **state)
{
	struct node n = healthy();

	(void)state;
	probes(&n, HEALTH_STATUS_DRAINING, 1);
	assert_int_equal(n.h.state, LB_STATE_DRAINING);
	assert_false(health_drain_inferred(&n.h));
	probes(&n, HEALTH_STATUS_DRAINING, 100);
	assert_int_equal(n.h.state, LB_STATE_DRAINING);
	assert_true(health_alive(&n.h));
	probes(&n, HEALTH_PASS, 1);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
	/* and then it ends its process */
	probes(&n, HEALTH_STATUS_DRAINING, 1);
	probes(&n, HEALTH_REFUSED, 2);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	probes(&n, HEALTH_STATUS_DRAINING, 10);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
}

static void what_came_back_is_in_the_cause(void **state)
{
	struct health_probe p = {.result = HEALTH_STATUS_BAD, .detail = "500 CUDA out of memory"};
	struct node n = healthy();

	(void)state;
	for (int i = 0; i < 3; i++) {
		p.started_ms = n.now_ms += 1000;
		n.changed = health_probe(&n.h, &n.s, &p, NULL, n.now_ms, &n.change);
	}
	assert_true(n.changed);
	assert_string_equal(n.change.cause, "is down: 500 CUDA out of memory, 3 in a row");
}

static void a_node_that_drained_by_itself_and_refuses_is_down(void **state)
{
	struct node n = healthy();

	(void)state;
	for (int i = 0; i < 3; i++) {
		work(&n, 1000, 9, 50);
		probe(&n, HEALTH_STATUS_LOADING);
	}
	probes(&n, HEALTH_REFUSED, 2);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
}

/* --- orders ----------------------------------------------------------------------------------- */

static void undrain_returns_to_what_the_node_is_by_then(void **state)
{
	struct node n = healthy();

	(void)state;
	order(&n, LB_STATE_DRAINING);
	assert_true(n.changed);
	assert_int_equal(n.change.from, LB_STATE_HEALTHY);
	assert_int_equal(n.change.to, LB_STATE_DRAINING);
	assert_cause(&n, "operator: drain");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_ORDERED);
	assert_true(health_alive(&n.h));
	assert_false(health_drain_inferred(&n.h));
	order(&n, LB_STATE_NONE);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);

	order(&n, LB_STATE_DRAINING);
	load_set(&n.sample, LOAD_KV, 0.99);
	samples(&n, 3);
	assert_int_equal(n.h.state, LB_STATE_DRAINING);
	assert_int_equal(n.h.under, LB_STATE_DEGRADED);
	order(&n, LB_STATE_NONE);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
}

static void a_draining_node_that_dies_is_down_and_drains_on_when_it_is_back(void **state)
{
	struct node n = healthy();

	(void)state;
	order(&n, LB_STATE_DRAINING);
	probes(&n, HEALTH_REFUSED, 2);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	assert_false(health_alive(&n.h));
	probes(&n, HEALTH_PASS, 1);
	assert_int_equal(n.h.state, LB_STATE_DRAINING);
	order(&n, LB_STATE_NONE);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
}

static void maintenance_covers_all_and_kills(void **state)
{
	struct node n = healthy();

	(void)state;
	order(&n, LB_STATE_MAINTENANCE);
	assert_int_equal(n.h.state, LB_STATE_MAINTENANCE);
	assert_false(health_alive(&n.h));
	probes(&n, HEALTH_REFUSED, 5);
	assert_int_equal(n.h.state, LB_STATE_MAINTENANCE);
	order(&n, LB_STATE_NONE);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
}

static void the_same_order_twice_is_no_change(void **state)
{
	struct node n = healthy();

	(void)state;
	order(&n, LB_STATE_DRAINING);
	order(&n, LB_STATE_DRAINING);
	assert_false(n.changed);
}

static void an_adopted_order_is_in_force_from_the_start(void **state)
{
	struct health_start start = {.origin = HEALTH_ORIGIN_ADOPTED,
				     .adopted = LB_STATE_DRAINING,
				     .operator= LB_STATE_DRAINING };
	struct node n = begin(HEALTH_ORIGIN_START, LB_STATE_NONE);

	(void)state;
	health_init(&n.h, &n.s, &start, n.now_ms);
	assert_int_equal(n.h.state, LB_STATE_DRAINING);
	assert_true(health_alive(&n.h));
	probes(&n, HEALTH_PASS, 2);
	assert_int_equal(n.h.state, LB_STATE_DRAINING);
	order(&n, LB_STATE_NONE);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_busy_node_whose_counter_moves_is_not_down),
		cmocka_unit_test(a_silent_node_whose_counter_stopped_is_down),
		cmocka_unit_test(without_a_counter_only_long_silence_is_down),
		cmocka_unit_test(a_probe_that_is_void_changes_nothing_and_breaks_a_row_of_silence),
		cmocka_unit_test(running_without_progress_for_a_minute_is_hung_though_it_answers),
		cmocka_unit_test(a_hung_node_is_let_go_when_the_judgement_is_turned_off),
		cmocka_unit_test(an_idle_node_without_progress_is_not_hung),
		cmocka_unit_test(a_counter_that_begins_anew_is_progress),
		cmocka_unit_test(what_happened_between_far_apart_samples_is_not_guessed),
		cmocka_unit_test(a_hung_node_whose_metrics_vanish_may_come_back),
		cmocka_unit_test(idle_with_climbing_aborts_is_draining_by_itself),
		cmocka_unit_test(aborts_of_a_node_that_works_are_its_clients),
		cmocka_unit_test(now_and_then_an_abort_is_no_drain),
		cmocka_unit_test(a_node_that_answers_503_but_works_on_keeps_its_streams),
		cmocka_unit_test(what_another_page_does_not_say_is_not_forgotten),
		cmocka_unit_test(a_node_that_says_it_drains_is_believed_until_it_passes),
		cmocka_unit_test(what_came_back_is_in_the_cause),
		cmocka_unit_test(a_node_that_drained_by_itself_and_refuses_is_down),
		cmocka_unit_test(undrain_returns_to_what_the_node_is_by_then),
		cmocka_unit_test(a_draining_node_that_dies_is_down_and_drains_on_when_it_is_back),
		cmocka_unit_test(maintenance_covers_all_and_kills),
		cmocka_unit_test(the_same_order_twice_is_no_change),
		cmocka_unit_test(an_adopted_order_is_in_force_from_the_start),
	};

	return cmocka_run_group_tests_name("health, busy", tests, NULL, NULL);
}
