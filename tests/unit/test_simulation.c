/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DESIGN, "Choosing a backend for a new flow", claims an order of policies: simulated servers
 * (simulation.h) hold it.
 */
#include "tests/unit/simulation.h"

static const struct sim_spec design = {
	.n_servers = 8,
	.n_slots = 4099,
	.n_ingress = 1,
	.scrape_s = 0.5,
	.answer_s = 0.01,
	.load = 0.92,
	.start_s = 100,
	.length_s = 1000,
	.seed = 1,
};

static const char *const policy_names[SIM_POLICY_N] = {
	[SIM_HASH] = "equal hashing",
	[SIM_LEAST] = "all to the least loaded",
	[SIM_THRESHOLD] = "drain by threshold",
	[SIM_WEIGHTS] = "weights from queue depth",
	[SIM_TWO] = "two choices",
	[SIM_TWO_HEALTH] = "two choices, degraded ones out",
};

static struct sim_result run_and_tell(const struct sim_spec *spec)
{
	struct sim_result result = run(spec);

	print_message("%4u servers, %u ingress, scrapes every %.1f s, load %.0f %%, %-30s"
		      " p50 %.2f s, p99 %.1f s, %.0f %% not to cur\n",
		      spec->n_servers, spec->n_ingress, spec->scrape_s, 100 * spec->load,
		      policy_names[spec->policy], result.p50_s, result.p99_s,
		      100 * result.alt_ratio);
	return result;
}

/* Two choices beat all the others, and all the others beat equal hashing. */
static void expect_order(const struct sim_spec *like)
{
	struct sim_result r[SIM_POLICY_N];

	for (int policy = SIM_HASH; policy < SIM_POLICY_N; policy++) {
		struct sim_spec spec = *like;

		spec.policy = policy;
		r[policy] = run_and_tell(&spec);
	}
	for (int policy = SIM_LEAST; policy <= SIM_WEIGHTS; policy++) {
		assert_true(r[SIM_TWO].p99_s < r[policy].p99_s);
		assert_true(r[policy].p99_s < r[SIM_HASH].p99_s / 2);
	}
	assert_true(r[SIM_TWO].p99_s < r[SIM_HASH].p99_s / 20);
	/* judging health beside it neither spoils it nor turns the pool over */
	assert_true(r[SIM_TWO_HEALTH].p99_s < 1.3 * r[SIM_TWO].p99_s + 0.1);
	assert_true(r[SIM_THRESHOLD].n_tables > 100);
	assert_true(r[SIM_TWO_HEALTH].n_tables < r[SIM_THRESHOLD].n_tables / 10);
}

static void two_choices_beat_the_others_with_scrapes_every_half_second(void **state)
{
	struct sim_spec spec = design;

	(void)state;
	for (spec.seed = 1; spec.seed <= 2; spec.seed++)
		expect_order(&spec);
}

static void two_choices_beat_the_others_with_scrapes_every_two_seconds(void **state)
{
	struct sim_spec spec = design;

	(void)state;
	spec.scrape_s = 2;
	for (spec.seed = 1; spec.seed <= 2; spec.seed++)
		expect_order(&spec);
}

static void several_ingress_hosts_do_not_herd(void **state)
{
	struct sim_spec one = design, four = design;

	(void)state;
	one.policy = four.policy = SIM_TWO;
	four.n_ingress = 4;
	assert_true(run_and_tell(&four).p99_s < 1.5 * run_and_tell(&one).p99_s + 0.1);
}

static void the_hash_wins_while_there_is_headroom(void **state)
{
	struct sim_spec spec = design;
	double busy;

	(void)state;
	spec.policy = SIM_TWO;
	busy = run_and_tell(&spec).alt_ratio;
	assert_true(busy < 0.4);
	spec.load = 0.8;
	assert_true(run_and_tell(&spec).alt_ratio < busy / 2);
	spec.load = 0.5;
	spec.even = true;
	assert_true(run_and_tell(&spec).alt_ratio < 0.12);
}

static void a_slow_server_gets_less(void **state)
{
	struct sim_spec spec = design;
	struct sim_result hash, two;

	(void)state;
	spec.policy = SIM_HASH;
	hash = run(&spec);
	spec.policy = SIM_TWO;
	two = run(&spec);
	assert_true(fabs(hash.share[0] - 1.0 / 8) < 0.005);
	assert_true(fabs(two.share[0] - 0.5 / 7.5) < 0.015);
	assert_true(fabs(two.share[1] - 1 / 7.5) < 0.01);
}

/* Were its age ignored, or taken as no load, it would starve or drown. */
static void a_server_whose_scrapes_fail_is_taken_for_one_like_the_others(void **state)
{
	struct sim_spec spec = design;
	struct sim_result r;

	(void)state;
	spec.policy = SIM_TWO;
	spec.deaf_from = 1;
	spec.deaf_to = 2;
	r = run_and_tell(&spec);
	assert_true(r.share[1] > 0.5 / 7.5 && r.share[1] < 1.5 / 7.5);
	assert_true(r.p99_s < 10);
}

static void with_no_sample_at_all_the_hash_decides(void **state)
{
	struct sim_spec spec = design;
	struct sim_result r;

	(void)state;
	spec.policy = SIM_TWO;
	spec.deaf_to = 8;
	r = run_and_tell(&spec);
	assert_true(r.alt_ratio < 0.01); /* until the last samples are stale */
	assert_true(fabs(r.share[0] - 1.0 / 8) < 0.01);
}

static void two_thousand_servers_are_no_different(void **state)
{
	struct sim_spec spec = design;
	struct sim_result hash, two;

	(void)state;
	spec.n_servers = 2000;
	spec.n_slots = SLOTS_MAX;
	spec.start_s = 10;
	spec.length_s = 40;
	spec.policy = SIM_HASH;
	hash = run_and_tell(&spec);
	spec.policy = SIM_TWO;
	two = run_and_tell(&spec);
	assert_true(hash.n > 300000 && two.n > 300000);
	assert_true(two.p99_s < hash.p99_s / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_choices_beat_the_others_with_scrapes_every_half_second),
		cmocka_unit_test(two_choices_beat_the_others_with_scrapes_every_two_seconds),
		cmocka_unit_test(several_ingress_hosts_do_not_herd),
		cmocka_unit_test(the_hash_wins_while_there_is_headroom),
		cmocka_unit_test(a_slow_server_gets_less),
		cmocka_unit_test(a_server_whose_scrapes_fail_is_taken_for_one_like_the_others),
		cmocka_unit_test(with_no_sample_at_all_the_hash_decides),
		cmocka_unit_test(two_thousand_servers_are_no_different),
	};

	return cmocka_run_group_tests_name("simulation", tests, NULL, NULL);
}
