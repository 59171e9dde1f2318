/* SPDX-License-Identifier: BSD-2-Clause */
/* A fleet under judgement: what metrics, checks, orders and the agent itself do to one node. */
#include "tests/unit/judgement_bed.h"

/* --- metrics ---------------------------------------------------------------------------------- */

static void a_node_without_its_page_serves_on_with_its_pools_median(void **state)
{
	struct fleet *f = begin(5, 0);

	(void)state;
	set(f, 0, 5, LOAD_RUNNING, 30);
	f->servers[2].no_page = true;
	run(f, 300000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 5);
	assert_int_equal(weights(f, 0, 5), 5000);
	scores(f);
	assert_int_equal(f->scores[2].source, SCORE_MEDIAN);
	assert_int_equal(f->scores[2].base, 30);
	end(f);
}

static void if_all_pages_are_gone_all_serve_and_load_is_ignored(void **state)
{
	struct fleet *f = begin(4, 0);

	(void)state;
	for (int i = 0; i < 4; i++)
		f->servers[i].no_page = true;
	run(f, 300000);
	assert_int_equal(weights(f, 0, 4), 4000);
	scores(f);
	for (int i = 0; i < 4; i++)
		assert_int_equal(f->scores[i].source, SCORE_IGNORED);
	end(f);
}

static void a_restart_that_no_check_saw_is_nothing_but_a_counter_anew(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	for (int i = 0; i < 3; i++)
		f->servers[i].tokens_step = 500;
	set(f, 0, 3, LOAD_PROGRESS, 1e9);
	set(f, 0, 3, LOAD_ABORTS, 40000);
	run(f, 20000);
	set(f, 1, 1, LOAD_PROGRESS, 0);
	set(f, 1, 1, LOAD_ABORTS, 0);
	run(f, 120000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 3);
	end(f);
}

static void a_value_that_is_no_number_any_more_is_forgotten_after_a_while(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	set(f, 0, 1, LOAD_KV, 0.99);
	run(f, 5000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	unset(f, 0, LOAD_KV); /* NaN on the page */
	run(f, 25000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	run(f, 10000);
	assert_int_equal(state_of(f, 0), LB_STATE_HEALTHY);
	end(f);
}

/* A new version of the server that exports the counter and does not count. */
static void a_counter_that_moves_nowhere_hangs_nobody(void **state)
{
	struct fleet *f = begin(4, 0);

	(void)state;
	set(f, 0, 4, LOAD_PROGRESS, 90210);
	run(f, 200000);
	assert_int_equal(weights(f, 0, 4), 4000);
	f->servers[3].tokens_step = 5; /* where it counts, it is believed on the others too */
	run(f, 70000);
	assert_int_equal(count(f, LB_STATE_UNHEALTHY), 3);
	assert_int_equal(state_of(f, 3), LB_STATE_HEALTHY);
	end(f);
}

static void clients_that_let_go_of_short_requests_are_no_drain(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	/* Completions while somebody types: idle whenever it is looked at, and most are cancelled.
	 */
	set(f, 0, 3, LOAD_RUNNING, 0);
	set(f, 0, 3, LOAD_ABORTS, 0);
	set(f, 0, 3, LOAD_PROGRESS, 0);
	for (int i = 0; i < 3; i++) {
		f->servers[i].aborts_step = 3;
		f->servers[i].tokens_step = 20;
	}
	run(f, 120000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 3);
	f->servers[1].tokens_step = 0; /* now it only turns them away */
	run(f, 10000);
	assert_int_equal(state_of(f, 1), LB_STATE_DRAINING);
	end(f);
}

/* --- checks ----------------------------------------------------------------------------------- */

static void silence_of_a_node_without_a_counter_is_borne_for_half_a_minute(void **state)
{
	struct fleet *f = begin(4, 0);

	(void)state;
	answer(f, 0, 1, HEALTH_ANSWER_TIMEOUT);
	run(f, 27000);
	assert_true(health_alive(health_of(f, 0)));
	assert_int_not_equal(state_of(f, 0), LB_STATE_UNHEALTHY);
	run(f, 15000);
	assert_int_equal(state_of(f, 0), LB_STATE_UNHEALTHY);
	assert_int_equal(health_of(f, 0)->cause_kind, HEALTH_CAUSE_NO_ANSWER);
	end(f);
}

static void a_node_that_answers_503_under_load_keeps_its_streams_and_comes_back(void **state)
{
	struct fleet *f = begin(4, 0);

	(void)state;
	set(f, 0, 4, LOAD_PROGRESS, 1000);
	for (int i = 0; i < 4; i++)
		f->servers[i].tokens_step = 100;
	run(f, 5000);
	answer(f, 0, 1, HEALTH_STATUS_BAD);
	run(f, 60000);
	assert_int_equal(state_of(f, 0), LB_STATE_DRAINING);
	assert_true(health_alive(health_of(f, 0)));
	assert_int_equal(f->out[0].weight, 0);
	answer(f, 0, 1, HEALTH_PASS);
	run(f, 2000);
	assert_int_equal(state_of(f, 0), LB_STATE_WARMING);
	run(f, 40000);
	assert_int_equal(weights(f, 0, 4), 4000);
	end(f);
}

/* A rolling restart of most of a pool: what says that it leaves would refuse what it is sent. */
static void nodes_that_say_they_drain_get_nothing_new_however_many_they_are(void **state)
{
	struct fleet *f = begin(10, 0);

	(void)state;
	answer(f, 0, 8, HEALTH_STATUS_DRAINING);
	run(f, 5000);
	assert_int_equal(count(f, LB_STATE_DRAINING), 8);
	assert_int_equal(weights(f, 0, 8), 0);
	assert_int_equal(weights(f, 8, 2), 2000);
	assert_false(f->verdict.panic);
	answer(f, 8, 2, HEALTH_STATUS_DRAINING);
	run(f, 5000);
	assert_true(f->verdict.empty); /* the fallback answers; no stream is cut */
	for (int i = 0; i < 10; i++)
		assert_true(health_alive(health_of(f, i)));
	end(f);
}

/* A packet lost and sent again, a collector's pause: seconds, once. */
static void one_slow_answer_degrades_nobody(void **state)
{
	struct fleet *f = begin(5, 0);

	(void)state;
	for (int round = 0; round < 5; round++) {
		f->servers[1].rtt_ms = 4900;
		run(f, 1000);
		f->servers[1].rtt_ms = 2;
		run(f, 20000);
	}
	assert_int_equal(f->servers[1].n_changes, 1); /* unknown -> healthy */
	f->servers[1].rtt_ms = 4900;
	run(f, 10000);
	assert_int_equal(state_of(f, 1), LB_STATE_DEGRADED);
	assert_int_equal(health_of(f, 1)->cause_kind, HEALTH_CAUSE_LATENCY);
	f->servers[1].rtt_ms = 2;
	run(f, 30000);
	assert_int_equal(state_of(f, 1), LB_STATE_HEALTHY);
	end(f);
}

static void the_first_answer_may_be_slow(void **state)
{
	struct fleet *f = begin(5, 0);

	(void)state;
	add(f, 0, HEALTH_ORIGIN_ADDED);
	f->servers[5].rtt_ms = 3000;
	run(f, 1100);
	f->servers[5].rtt_ms = 2;
	run(f, 40000);
	assert_int_equal(f->servers[5].n_changes, 2); /* unknown -> warming -> healthy */
	end(f);
}

static void a_node_slow_every_other_time_is_slow(void **state)
{
	struct fleet *f = begin(5, 0);

	(void)state;
	for (int round = 0; round < 20; round++) {
		f->servers[1].rtt_ms = round % 2 ? 2 : 4000;
		run(f, 1000);
	}
	assert_int_equal(state_of(f, 1), LB_STATE_DEGRADED);
	end(f);
}

static void a_whole_pool_that_is_slow_is_nobody_out_of_line(void **state)
{
	struct fleet *f = begin(6, 0);

	(void)state;
	for (uint32_t i = 0; i < 6; i++)
		f->servers[i].rtt_ms = 3000;
	run(f, 60000);
	assert_int_equal(weights(f, 0, 6), 6000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 6);
	end(f);
}

/* --- the agent itself ------------------------------------------------------------------------- */

static void a_stopped_agent_holds_its_own_silence_against_nobody(void **state)
{
	struct fleet *f = begin(6, 0);

	(void)state;
	set(f, 0, 1, LOAD_KV, 0.99); /* degraded */
	hang(f, 1);
	answer(f, 2, 1, HEALTH_REFUSED); /* down */
	order(f, 3, LB_STATE_DRAINING);
	run(f, 70000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	assert_int_equal(state_of(f, 1), LB_STATE_UNHEALTHY);
	for (uint32_t i = 0; i < f->n; i++)
		f->servers[i].n_changes = 0;
	stop_agent(f, 60000);
	run(f, 20000);
	for (uint32_t i = 0; i < f->n; i++)
		assert_int_equal(f->servers[i].n_changes, 0);
	assert_int_equal(weights(f, 4, 2), 2000);
	assert_int_equal(weights(f, 0, 4), 0);
	end(f);
}

static void what_hung_before_the_agent_was_stopped_is_still_found_out(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	hang(f, 1);
	run(f, 40000);
	assert_int_equal(state_of(f, 1), LB_STATE_HEALTHY);
	stop_agent(f, 60000);
	run(f, 15000); /* 40 s and 15 s seen: not a minute */
	assert_int_equal(state_of(f, 1), LB_STATE_HEALTHY);
	run(f, 10000);
	assert_int_equal(state_of(f, 1), LB_STATE_UNHEALTHY);
	assert_int_equal(health_of(f, 1)->cause_kind, HEALTH_CAUSE_HUNG);
	end(f);
}

/* --- orders ----------------------------------------------------------------------------------- */

static void a_node_that_drains_dies_and_returns_goes_on_draining(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	order(f, 0, LB_STATE_DRAINING);
	run(f, 2000);
	assert_int_equal(f->out[0].weight, 0);
	answer(f, 0, 1, HEALTH_REFUSED);
	run(f, 3000);
	assert_int_equal(state_of(f, 0), LB_STATE_UNHEALTHY);
	assert_false(health_alive(health_of(f, 0)));
	answer(f, 0, 1, HEALTH_PASS);
	run(f, 60000);
	assert_int_equal(state_of(f, 0), LB_STATE_DRAINING);
	assert_int_equal(f->out[0].weight, 0);
	order(f, 0, LB_STATE_NONE);
	run(f, 1000);
	assert_int_equal(state_of(f, 0), LB_STATE_HEALTHY);
	assert_int_equal(f->out[0].weight, 1000);
	end(f);
}

static void maintenance_over_a_death_ends_in_what_the_node_is_by_then(void **state)
{
	struct fleet *f = begin(2, 0);

	(void)state;
	order(f, 0, LB_STATE_MAINTENANCE);
	answer(f, 0, 1, HEALTH_REFUSED);
	run(f, 60000);
	order(f, 0, LB_STATE_NONE);
	run(f, 1000);
	assert_int_equal(state_of(f, 0), LB_STATE_UNHEALTHY);
	answer(f, 0, 1, HEALTH_PASS);
	run(f, 2000);
	assert_int_equal(state_of(f, 0), LB_STATE_WARMING);
	end(f);
}

/* A reload that gives the pool another preset: its page tells other things, or none. */
static void what_an_old_preset_told_is_forgotten(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	set(f, 0, 1, LOAD_GPU_MEM, 0.99);
	hang(f, 1); /* by the old preset's counter */
	run(f, 70000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	assert_int_equal(state_of(f, 1), LB_STATE_UNHEALTHY);
	unset(f, 0, LOAD_GPU_MEM);
	unset(f, 1, LOAD_PROGRESS);
	run(f, 80000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 3);
	end(f);
}

/* --- many ------------------------------------------------------------------------------------- */

static void a_thousand_flapping_nodes_calm_down(void **state)
{
	struct fleet *f = begin(SERVERS_MAX, 0);
	uint32_t early = 0, late;

	(void)state;
	for (int i = 0; i < 30; i++) { /* five minutes, all of them in and out every 20 s */
		answer(f, 0, f->n, i % 2 ? HEALTH_PASS : HEALTH_REFUSED);
		if (i == 6)
			f->n_tables = 0;
		if (i == 12)
			early = f->n_tables;
		if (i == 24)
			f->n_tables = 0;
		run(f, 10000);
	}
	late = f->n_tables;
	assert_true(count(f, LB_STATE_UNHEALTHY) > f->n * 9 / 10); /* held back */
	assert_true(late < early / 2);
	answer(f, 0, f->n, HEALTH_PASS);
	run(f, 400000); /* the longest wait, and the ramp */
	assert_int_equal(count(f, LB_STATE_HEALTHY), f->n);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_without_its_page_serves_on_with_its_pools_median),
		cmocka_unit_test(if_all_pages_are_gone_all_serve_and_load_is_ignored),
		cmocka_unit_test(a_restart_that_no_check_saw_is_nothing_but_a_counter_anew),
		cmocka_unit_test(a_value_that_is_no_number_any_more_is_forgotten_after_a_while),
		cmocka_unit_test(a_counter_that_moves_nowhere_hangs_nobody),
		cmocka_unit_test(clients_that_let_go_of_short_requests_are_no_drain),
		cmocka_unit_test(silence_of_a_node_without_a_counter_is_borne_for_half_a_minute),
		cmocka_unit_test(
			a_node_that_answers_503_under_load_keeps_its_streams_and_comes_back),
		cmocka_unit_test(nodes_that_say_they_drain_get_nothing_new_however_many_they_are),
		cmocka_unit_test(one_slow_answer_degrades_nobody),
		cmocka_unit_test(the_first_answer_may_be_slow),
		cmocka_unit_test(a_node_slow_every_other_time_is_slow),
		cmocka_unit_test(a_whole_pool_that_is_slow_is_nobody_out_of_line),
		cmocka_unit_test(a_stopped_agent_holds_its_own_silence_against_nobody),
		cmocka_unit_test(what_hung_before_the_agent_was_stopped_is_still_found_out),
		cmocka_unit_test(a_node_that_drains_dies_and_returns_goes_on_draining),
		cmocka_unit_test(maintenance_over_a_death_ends_in_what_the_node_is_by_then),
		cmocka_unit_test(what_an_old_preset_told_is_forgotten),
		cmocka_unit_test(a_thousand_flapping_nodes_calm_down),
	};

	return cmocka_run_group_tests_name("judgement", tests, NULL, NULL);
}
