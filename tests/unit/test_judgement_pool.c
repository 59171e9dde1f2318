/* SPDX-License-Identifier: BSD-2-Clause */
/* A fleet under judgement: what a pool does as a whole: panic, outliers, tiers. */
#include "tests/unit/judgement_bed.h"

/* --- panic ------------------------------------------------------------------------------------ */

static void all_degraded_at_once_and_then_one_dies(void **state)
{
	struct fleet *f = begin(4, 0);

	(void)state;
	set(f, 0, 4, LOAD_KV, 0.99);
	run(f, 5000);
	assert_int_equal(count(f, LB_STATE_DEGRADED), 4);
	assert_true(f->verdict.panic);
	assert_int_equal(weights(f, 0, 4), 4000);
	answer(f, 2, 1, HEALTH_REFUSED);
	run(f, 3000);
	assert_int_equal(state_of(f, 2), LB_STATE_UNHEALTHY);
	assert_int_equal(f->out[2].weight, 0);
	assert_int_equal(weights(f, 0, 4), 3000);
	set(f, 0, 4, LOAD_KV, 0.5);
	run(f, 5000);
	assert_false(f->verdict.panic);
	assert_int_equal(weights(f, 0, 4), 3000);
	end(f);
}

static void of_two_nodes_one_may_be_degraded_out_but_not_both(void **state)
{
	struct fleet *f = begin(2, 0);

	(void)state;
	set(f, 0, 1, LOAD_KV, 0.99);
	run(f, 5000);
	assert_int_equal(f->out[0].weight, 0);
	assert_int_equal(f->out[1].weight, 1000);
	set(f, 1, 1, LOAD_KV, 0.99);
	run(f, 5000);
	assert_int_equal(weights(f, 0, 2), 2000);
	answer(f, 1, 1, HEALTH_REFUSED); /* the rest of two is one, degraded */
	run(f, 5000);
	assert_int_equal(f->out[0].weight, 1000);
	assert_int_equal(f->out[1].weight, 0);
	end(f);
}

static void a_single_node_serves_degraded(void **state)
{
	struct fleet *f = begin(1, 0);

	(void)state;
	set(f, 0, 1, LOAD_KV, 1);
	set(f, 0, 1, LOAD_GPU_MEM, 1);
	set(f, 0, 1, LOAD_QUEUE, 500);
	run(f, 60000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	assert_int_equal(f->out[0].weight, 1000);
	assert_false(f->verdict.empty);
	end(f);
}

static void nodes_of_weight_0_are_no_part_of_any_reckoning(void **state)
{
	struct fleet *f = begin(5, 0);

	(void)state;
	for (int i = 0; i < 3; i++)
		f->members[i].capacity = 0;
	set(f, 3, 2, LOAD_QUEUE, 40); /* the idle ones are no measure for them */
	run(f, 20000);
	assert_int_equal(weights(f, 0, 5), 2000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 5);
	set(f, 0, 3, LOAD_KV, 0.99);
	run(f, 5000);
	assert_false(f->verdict.panic);
	answer(f, 3, 2, HEALTH_REFUSED);
	run(f, 5000);
	assert_true(f->verdict.empty);
	end(f);
}

/* --- outliers --------------------------------------------------------------------------------- */

static void of_two_nodes_one_can_be_the_outlier(void **state)
{
	struct fleet *f = begin(2, 0);

	(void)state;
	set(f, 0, 1, LOAD_QUEUE, 100);
	run(f, 5000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	assert_int_equal(state_of(f, 1), LB_STATE_HEALTHY);
	run(f, 60000); /* it stays one against the other alone */
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	answer(f, 1, 1, HEALTH_REFUSED); /* nobody is left to compare with */
	run(f, 5000);
	assert_int_equal(state_of(f, 0), LB_STATE_HEALTHY);
	end(f);
}

static void draining_half_a_pool_makes_no_outliers_of_the_rest(void **state)
{
	struct fleet *f = begin(10, 0);

	(void)state;
	set(f, 0, 10, LOAD_QUEUE, 20);
	for (int i = 0; i < 10; i++)
		f->servers[i].rtt_ms = 300;
	run(f, 20000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 10);
	for (int i = 0; i < 6; i++) {
		order(f, i, LB_STATE_DRAINING);
		f->servers[i].rtt_ms = 2;
	}
	set(f, 0, 6, LOAD_QUEUE, 0);
	set(f, 6, 4, LOAD_QUEUE, 50);
	run(f, 30000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 4);
	assert_int_equal(weights(f, 6, 4), 4000);
	assert_false(f->verdict.panic);
	end(f);
}

/* Half a pool was away; the other half is full, and now gets company with empty queues. */
static void nodes_that_return_make_no_outliers_of_those_that_stayed(void **state)
{
	struct fleet *f = begin(10, 0);

	(void)state;
	answer(f, 0, 5, HEALTH_REFUSED);
	run(f, 5000);
	set(f, 5, 5, LOAD_QUEUE, 30);
	run(f, 20000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 5);
	set(f, 0, 5, LOAD_QUEUE, 0);
	answer(f, 0, 5, HEALTH_PASS);
	run(f, 20000);
	assert_int_equal(count(f, LB_STATE_WARMING), 5);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 5);
	assert_int_equal(weights(f, 5, 5), 5000);
	end(f);
}

/* Those out have little to do, and are no measure for those that do their work. */
static void degradation_does_not_spread(void **state)
{
	struct fleet *f = begin(10, 0);

	(void)state;
	set(f, 0, 10, LOAD_QUEUE, 15);
	set(f, 0, 5, LOAD_KV, 0.97);
	run(f, 5000);
	assert_int_equal(count(f, LB_STATE_DEGRADED), 5);
	set(f, 0, 5, LOAD_QUEUE, 0);
	set(f, 5, 5, LOAD_QUEUE, 45);
	run(f, 30000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 5);
	assert_false(f->verdict.panic);
	end(f);
}

/* --- tiers ------------------------------------------------------------------------------------ */

static void a_pool_that_grows_calls_no_standby(void **state)
{
	struct fleet *f = begin(2, 0);

	(void)state;
	add(f, 1, HEALTH_ORIGIN_ADDED);
	run(f, 60000);
	for (int i = 0; i < 6; i++)
		add(f, 0, HEALTH_ORIGIN_ADDED);
	for (int i = 0; i < 50; i++) {
		run(f, 1000);
		assert_int_equal(f->out[2].weight, 0);
	}
	assert_int_equal(weights(f, 0, 2) + weights(f, 3, 6), 8000);
	end(f);
}

static void a_pool_that_is_new_warms_up_without_its_standby(void **state)
{
	struct fleet *f = begin(0, 0);

	(void)state;
	add(f, 0, HEALTH_ORIGIN_ADDED);
	add(f, 0, HEALTH_ORIGIN_ADDED);
	add(f, 1, HEALTH_ORIGIN_ADDED);
	for (int i = 0; i < 50; i++) {
		run(f, 1000);
		assert_int_equal(f->out[2].weight, 0);
	}
	assert_int_equal(weights(f, 0, 2), 2000);
	end(f);
}

static void standby_that_is_degraded_serves_when_nothing_else_does(void **state)
{
	struct fleet *f = begin(3, 2);

	(void)state;
	set(f, 3, 2, LOAD_KV, 0.99);
	run(f, 5000);
	assert_int_equal(count(f, LB_STATE_DEGRADED), 2);
	assert_false(f->verdict.panic); /* not in use: no part of the pool's capacity */
	answer(f, 0, 3, HEALTH_REFUSED);
	run(f, 5000);
	assert_true(f->verdict.standby && f->verdict.panic);
	assert_int_equal(weights(f, 3, 2), 2000);
	end(f);
}

static void a_first_tier_that_is_degraded_throughout_shares_with_standby(void **state)
{
	struct fleet *f = begin(4, 1);

	(void)state;
	set(f, 0, 4, LOAD_KV, 0.99);
	run(f, 5000);
	assert_true(f->verdict.standby);
	assert_true(f->verdict.panic); /* four of five: the one cannot take it all */
	assert_int_equal(weights(f, 0, 5), 5000);
	end(f);
}

static void a_node_that_flaps_does_not_make_the_tiers_flap(void **state)
{
	struct fleet *f = begin(3, 3);
	uint32_t n_changes = 0;
	uint32_t tiers;

	(void)state;
	answer(f, 0, 1, HEALTH_REFUSED);
	run(f, 5000);
	tiers = f->verdict.tiers;
	assert_int_equal(tiers, 1); /* two of three are left */
	for (int i = 0; i < 90; i++) {
		answer(f, 1, 1, i % 2 ? HEALTH_PASS : HEALTH_REFUSED);
		run(f, 10000);
		n_changes += f->verdict.tiers != tiers;
		tiers = f->verdict.tiers;
		assert_true(weights(f, 0, 6) >= 1000);
	}
	assert_true(n_changes <= 2);
	end(f);
}

static void failover_and_failback_of_a_whole_tier(void **state)
{
	struct fleet *f = begin(2, 2);

	(void)state;
	answer(f, 0, 2, HEALTH_REFUSED);
	run(f, 2000);
	assert_int_equal(weights(f, 0, 2), 0);
	assert_int_equal(weights(f, 2, 2), 2000);
	answer(f, 0, 2, HEALTH_PASS);
	run(f, 10000);
	assert_true(weights(f, 0, 2) > 0 && weights(f, 2, 2) == 2000);
	run(f, 30000);
	assert_int_equal(weights(f, 0, 2), 2000);
	assert_int_equal(weights(f, 2, 2), 0);
	for (int i = 2; i < 4; i++) /* its streams go on */
		assert_true(health_alive(health_of(f, i)));
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_degraded_at_once_and_then_one_dies),
		cmocka_unit_test(of_two_nodes_one_may_be_degraded_out_but_not_both),
		cmocka_unit_test(a_single_node_serves_degraded),
		cmocka_unit_test(nodes_of_weight_0_are_no_part_of_any_reckoning),
		cmocka_unit_test(of_two_nodes_one_can_be_the_outlier),
		cmocka_unit_test(draining_half_a_pool_makes_no_outliers_of_the_rest),
		cmocka_unit_test(nodes_that_return_make_no_outliers_of_those_that_stayed),
		cmocka_unit_test(degradation_does_not_spread),
		cmocka_unit_test(a_pool_that_grows_calls_no_standby),
		cmocka_unit_test(a_pool_that_is_new_warms_up_without_its_standby),
		cmocka_unit_test(standby_that_is_degraded_serves_when_nothing_else_does),
		cmocka_unit_test(a_first_tier_that_is_degraded_throughout_shares_with_standby),
		cmocka_unit_test(a_node_that_flaps_does_not_make_the_tiers_flap),
		cmocka_unit_test(failover_and_failback_of_a_whole_tier),
	};

	return cmocka_run_group_tests_name("judgement, pool", tests, NULL, NULL);
}
