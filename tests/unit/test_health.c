/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of states cell by cell; then start, loading, down and up, time. */
#include "tests/unit/health_bed.h"

/* --- the table -------------------------------------------------------------------------------- */

/* Every change there is; all other cells stay where they are. */
static const struct {
	enum lb_state from;
	enum health_event event;
	enum lb_state to;
} changes[] = {
	{LB_STATE_UNKNOWN, HEALTH_EV_PASS_COLD, LB_STATE_WARMING},
	{LB_STATE_UNKNOWN, HEALTH_EV_RISE, LB_STATE_HEALTHY},
	{LB_STATE_UNKNOWN, HEALTH_EV_NOT_YET, LB_STATE_LOADING},
	{LB_STATE_UNKNOWN, HEALTH_EV_FALL, LB_STATE_UNHEALTHY},
	{LB_STATE_UNKNOWN, HEALTH_EV_HUNG, LB_STATE_UNHEALTHY},
	{LB_STATE_UNKNOWN, HEALTH_EV_OVER, LB_STATE_DEGRADED},
	{LB_STATE_UNKNOWN, HEALTH_EV_LEAVING, LB_STATE_DRAINING},
	{LB_STATE_LOADING, HEALTH_EV_PASS, LB_STATE_WARMING},
	{LB_STATE_LOADING, HEALTH_EV_PASS_COLD, LB_STATE_WARMING},
	{LB_STATE_LOADING, HEALTH_EV_RISE, LB_STATE_WARMING},
	{LB_STATE_LOADING, HEALTH_EV_FALL, LB_STATE_UNHEALTHY},
	{LB_STATE_WARMING, HEALTH_EV_NOT_YET, LB_STATE_LOADING},
	{LB_STATE_WARMING, HEALTH_EV_FALL, LB_STATE_UNHEALTHY},
	{LB_STATE_WARMING, HEALTH_EV_HUNG, LB_STATE_UNHEALTHY},
	{LB_STATE_WARMING, HEALTH_EV_RAMPED, LB_STATE_HEALTHY},
	{LB_STATE_WARMING, HEALTH_EV_OVER, LB_STATE_DEGRADED},
	{LB_STATE_WARMING, HEALTH_EV_LEAVING, LB_STATE_DRAINING},
	{LB_STATE_HEALTHY, HEALTH_EV_FALL, LB_STATE_UNHEALTHY},
	{LB_STATE_HEALTHY, HEALTH_EV_HUNG, LB_STATE_UNHEALTHY},
	{LB_STATE_HEALTHY, HEALTH_EV_OVER, LB_STATE_DEGRADED},
	{LB_STATE_HEALTHY, HEALTH_EV_LEAVING, LB_STATE_DRAINING},
	{LB_STATE_DEGRADED, HEALTH_EV_FALL, LB_STATE_UNHEALTHY},
	{LB_STATE_DEGRADED, HEALTH_EV_HUNG, LB_STATE_UNHEALTHY},
	{LB_STATE_DEGRADED, HEALTH_EV_RELIEVED, LB_STATE_HEALTHY},
	{LB_STATE_DEGRADED, HEALTH_EV_RELIEVED_COLD, LB_STATE_WARMING},
	{LB_STATE_DEGRADED, HEALTH_EV_LEAVING, LB_STATE_DRAINING},
	{LB_STATE_UNHEALTHY, HEALTH_EV_PASS, LB_STATE_WARMING},
	{LB_STATE_UNHEALTHY, HEALTH_EV_PASS_COLD, LB_STATE_WARMING},
	{LB_STATE_UNHEALTHY, HEALTH_EV_RISE, LB_STATE_WARMING},
	{LB_STATE_DRAINING, HEALTH_EV_FALL, LB_STATE_UNHEALTHY},
	{LB_STATE_DRAINING, HEALTH_EV_HUNG, LB_STATE_UNHEALTHY},
	{LB_STATE_DRAINING, HEALTH_EV_STAYING, LB_STATE_WARMING},
};

static enum lb_state expected_next(enum lb_state from, enum health_event event)
{
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
		if (changes[i].from == from && changes[i].event == event)
			return changes[i].to;
	return from;
}

static void each_cell_of_the_table_goes_where_it_should(void **state)
{
	(void)state;
	for (int from = LB_STATE_UNKNOWN; from <= LB_STATE_DRAINING; from++) {
		for (int event = 1; event < HEALTH_EV_N; event++) {
			const struct health_cell *cell = health_table_next(from, event);

			assert_int_equal(cell->to, expected_next(from, event));
			if (cell->to != (enum lb_state)from) {
				assert_non_null(cell->why);
				assert_true(cell->why[0] != '\0');
			} else {
				assert_null(cell->why);
			}
		}
	}
}

static void each_order_is_laid_over_each_state(void **state)
{
	(void)state;
	for (int under = LB_STATE_UNKNOWN; under <= LB_STATE_DRAINING; under++) {
		assert_int_equal(health_table_shown(LB_STATE_NONE, under), under);
		assert_int_equal(health_table_shown(LB_STATE_MAINTENANCE, under),
				 LB_STATE_MAINTENANCE);
		assert_int_equal(health_table_shown(LB_STATE_DRAINING, under),
				 under == LB_STATE_UNHEALTHY ? LB_STATE_UNHEALTHY
							     : LB_STATE_DRAINING);
	}
}

/* --- start ------------------------------------------------------------------------------------ */

static void a_node_is_healthy_after_rise_passes_at_the_start_without_warming(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_START, LB_STATE_NONE);

	(void)state;
	assert_int_equal(n.h.state, LB_STATE_UNKNOWN);
	probes(&n, HEALTH_PASS, 1);
	assert_false(n.changed);
	assert_int_equal(n.h.state, LB_STATE_UNKNOWN);
	/* a pass to be confirmed is confirmed soon */
	assert_int_equal(health_next_probe_ms(&n.h), n.now_ms + 200);
	probes(&n, HEALTH_PASS, 1);
	assert_true(n.changed);
	assert_int_equal(n.change.from, LB_STATE_UNKNOWN);
	assert_int_equal(n.change.to, LB_STATE_HEALTHY);
	assert_cause(&n, "works: 2 passes in a row");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_PASSED);
	assert_int_equal(permille(&n), 1000);
}

static void a_node_added_while_running_warms_up(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_ADDED, LB_STATE_NONE);

	(void)state;
	probes(&n, HEALTH_PASS, 1);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
	assert_int_equal(permille(&n), 100);
}

static void an_adopted_node_goes_straight_to_healthy(void **state)
{
	const enum lb_state in_use[] = {LB_STATE_HEALTHY, LB_STATE_WARMING, LB_STATE_MAINTENANCE};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(in_use); i++) {
		struct node n = begin(HEALTH_ORIGIN_ADOPTED, in_use[i]);

		assert_int_equal(n.h.state, LB_STATE_UNKNOWN);
		assert_true(health_alive(&n.h));
		probes(&n, HEALTH_PASS, 2);
		assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	}
}

static void a_node_adopted_as_down_stays_dead_and_warms_up_when_it_answers(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_ADOPTED, LB_STATE_UNHEALTHY);

	(void)state;
	assert_false(health_alive(&n.h));
	probes(&n, HEALTH_PASS, 1);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
	assert_true(health_alive(&n.h));
}

static void an_adopted_node_that_refuses_is_down_and_not_loading(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_ADOPTED, LB_STATE_HEALTHY);

	(void)state;
	probes(&n, HEALTH_REFUSED, 1);
	assert_int_equal(n.h.state, LB_STATE_UNKNOWN);
	assert_int_equal(health_next_probe_ms(&n.h), n.now_ms + 200);
	probes(&n, HEALTH_REFUSED, 1);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
}

static void a_node_adopted_while_it_loads_loads_on_when_it_refuses(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_ADOPTED, LB_STATE_LOADING);

	(void)state;
	probes(&n, HEALTH_REFUSED, 5);
	assert_int_equal(n.h.state, LB_STATE_LOADING);
	probes(&n, HEALTH_PASS, 1);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
}

static void a_node_adopted_degraded_stays_so_until_samples_clear_it(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_ADOPTED, LB_STATE_DEGRADED);

	(void)state;
	probes(&n, HEALTH_PASS, 2);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	load_set(&n.sample, LOAD_KV, 0.5);
	samples(&n, 2);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	samples(&n, 1);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void a_node_adopted_degraded_is_not_cleared_on_the_way_to_being_so_again(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_ADOPTED, LB_STATE_DEGRADED);

	(void)state;
	probes(&n, HEALTH_PASS, 2);
	for (int i = 0; i < 10; i++) { /* two pages in turn, only one of them tells */
		load_set(&n.sample, LOAD_GPU_MEM, 0.99);
		samples(&n, 1);
		n.sample = (struct load_sample){0};
		load_set(&n.sample, LOAD_KV, 0.1);
		samples(&n, 1);
		assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	}
}

static void a_node_adopted_degraded_whose_metrics_are_gone_recovers_in_time(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_ADOPTED, LB_STATE_DEGRADED);

	(void)state;
	probes(&n, HEALTH_PASS, 2);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	assert_int_equal(health_next_ms(&n.h, &n.s), 1000000 + n.s.forget_ms);
	n.now_ms = health_next_ms(&n.h, &n.s);
	tick(&n, 0);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void the_first_probe_is_within_an_interval_and_spread_by_seed(void **state)
{
	struct health_start start = {.origin = HEALTH_ORIGIN_START};
	struct health_settings s;
	struct health h;
	int early = 0;

	(void)state;
	health_settings_default(&s);
	for (start.seed = 0; start.seed < 1000; start.seed++) {
		health_init(&h, &s, &start, 5000);
		assert_in_range(health_next_probe_ms(&h), 5000, 6000);
		early += health_next_probe_ms(&h) < 5500;
	}
	assert_in_range(early, 400, 600);
}

/* --- loading ---------------------------------------------------------------------------------- */

static void a_node_that_refuses_or_answers_503_since_first_seen_is_loading(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_START, LB_STATE_NONE);

	(void)state;
	probes(&n, HEALTH_REFUSED, 1);
	assert_int_equal(n.h.state, LB_STATE_LOADING);
	assert_cause(&n, "refused");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_REFUSED);
	probes(&n, HEALTH_REFUSED, 20);
	probes(&n, HEALTH_STATUS_LOADING, 20);
	assert_int_equal(n.h.state, LB_STATE_LOADING);
	assert_true(health_alive(&n.h));
	probes(&n, HEALTH_PASS, 1);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
	assert_cause(&n, "has loaded");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_PASSED);
}

static void a_loading_node_that_goes_silent_is_down(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_START, LB_STATE_NONE);

	(void)state;
	probes(&n, HEALTH_STATUS_LOADING, 5);
	probes(&n, HEALTH_UNREACHABLE, 2);
	assert_int_equal(n.h.state, LB_STATE_LOADING);
	probes(&n, HEALTH_UNREACHABLE, 1);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
}

static void a_node_never_reached_is_down_after_fall_failures(void **state)
{
	struct node n = begin(HEALTH_ORIGIN_START, LB_STATE_NONE);

	(void)state;
	probes(&n, HEALTH_UNREACHABLE, 2);
	assert_int_equal(n.h.state, LB_STATE_UNKNOWN);
	probes(&n, HEALTH_UNREACHABLE, 1);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
}

/* --- down and up ------------------------------------------------------------------------------ */

static void fall_failures_in_a_row_are_down_and_a_pass_between_is_not(void **state)
{
	const enum health_result results[] = {HEALTH_UNREACHABLE, HEALTH_STATUS_BAD, HEALTH_GARBAGE,
					      HEALTH_STATUS_LOADING};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
		struct node n = healthy();

		probes(&n, results[i], 2);
		probes(&n, HEALTH_PASS, 1);
		probes(&n, results[i], 2);
		assert_int_equal(n.h.state, LB_STATE_HEALTHY);
		probes(&n, results[i], 1);
		assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
		assert_cause(&n, "3 in a row");
		assert_false(health_alive(&n.h));
	}
}

static void a_refusal_is_looked_into_at_once_and_the_second_is_down(void **state)
{
	struct node n = healthy();
	int64_t closed_ms = n.now_ms;

	(void)state;
	probe(&n, HEALTH_REFUSED);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	assert_int_equal(health_next_probe_ms(&n.h), closed_ms + 200);
	n.now_ms = health_next_probe_ms(&n.h);
	probe(&n, HEALTH_REFUSED);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	assert_cause(&n, "refused, 2 in a row");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_REFUSED);
	/* then at leisure */
	assert_in_range(health_next_probe_ms(&n.h), n.now_ms + 900, n.now_ms + 1100);
}

static void a_refused_scrape_counts_and_brings_the_probe_forward(void **state)
{
	struct node n = healthy();
	int64_t scrape_ms = n.now_ms + 300;

	(void)state;
	assert_true(health_next_probe_ms(&n.h) > scrape_ms + 200);
	assert_false(health_scrape_failed(&n.h, &n.s, HEALTH_REFUSED, scrape_ms, &n.change));
	assert_int_equal(health_next_probe_ms(&n.h), scrape_ms + 200);
	n.now_ms = scrape_ms + 200;
	probe(&n, HEALTH_REFUSED);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
}

static void other_failures_of_a_scrape_do_not_count(void **state)
{
	struct node n = healthy();
	int64_t next_ms = health_next_probe_ms(&n.h);

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_false(health_scrape_failed(&n.h, &n.s, HEALTH_ANSWER_TIMEOUT, n.now_ms,
						  &n.change));
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	assert_int_equal(health_next_probe_ms(&n.h), next_ms);
}

static void one_refusal_between_passes_is_nothing(void **state)
{
	struct node n = healthy();

	(void)state;
	for (int i = 0; i < 10; i++) {
		probes(&n, HEALTH_REFUSED, 1);
		probes(&n, HEALTH_PASS, 1);
	}
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void a_node_that_was_down_warms_up_in_steps(void **state)
{
	struct node n = down();
	uint32_t last = 100, steps = 0;
	int64_t first_ms;

	(void)state;
	probes(&n, HEALTH_PASS, 1);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
	assert_cause(&n, "answers again");
	assert_int_equal(permille(&n), 100);
	tick(&n, 20000); /* not risen: the ramp has not begun */
	assert_int_equal(permille(&n), 100);
	probe(&n, HEALTH_PASS);
	first_ms = n.now_ms;
	while (n.h.state == LB_STATE_WARMING) {
		assert_in_range(permille(&n), last, 999);
		steps += permille(&n) > last;
		last = permille(&n);
		n.now_ms = health_next_ms(&n.h, &n.s);
		tick(&n, 0);
	}
	assert_int_equal(steps, 3);
	assert_int_equal(n.now_ms - first_ms, 30000);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	assert_cause(&n, "is warm");
	assert_int_equal(n.h.cause_kind, HEALTH_CAUSE_WARMED_UP);
	assert_string_equal(n.change.cause, "is warm"); /* nothing to add: no colon */
	assert_int_equal(permille(&n), 1000);
}

static void without_a_ramp_rise_passes_are_enough(void **state)
{
	struct node n = down();

	(void)state;
	n.s.warm_up_ms = 0;
	probes(&n, HEALTH_PASS, 1);
	assert_int_equal(permille(&n), 1000);
	probes(&n, HEALTH_PASS, 1);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
}

static void one_failure_before_it_has_risen_is_down_again(void **state)
{
	struct node n = down();

	(void)state;
	probes(&n, HEALTH_PASS, 1);
	probes(&n, HEALTH_GARBAGE, 1);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	probes(&n, HEALTH_PASS, 2); /* risen */
	probes(&n, HEALTH_GARBAGE, 2);
	assert_int_equal(n.h.state, LB_STATE_WARMING);
	probes(&n, HEALTH_GARBAGE, 1);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	assert_cause(&n, "down again");
}

static void probes_are_jittered_and_start_an_interval_after_the_one_before(void **state)
{
	struct node n = healthy();
	int64_t least = INT64_MAX, most = 0;

	(void)state;
	for (int i = 0; i < 500; i++) {
		struct health_probe p = {.result = HEALTH_PASS, .rtt_ms = 400};
		int64_t wait;

		p.started_ms = n.now_ms;
		(void)health_probe(&n.h, &n.s, &p, NULL, n.now_ms + 400, &n.change);
		wait = health_next_probe_ms(&n.h) - n.now_ms;
		least = wait < least ? wait : least;
		most = wait > most ? wait : most;
		n.now_ms += 1000;
	}
	assert_in_range(least, 900, 920);
	assert_in_range(most, 1080, 1100);
}

/* --- pool, clock, names ----------------------------------------------------------------------- */

static void figures_of_a_pool_are_medians_of_the_nodes_that_work(void **state)
{
	const double queues[] = {2, 4, 600, 8};
	const double rtts[] = {10, 20, 30, 5000};
	struct health_pool_member members[6];
	struct node nodes[6];
	struct health_pool pool;
	double scratch[6];

	(void)state;
	for (int i = 0; i < 6; i++) {
		nodes[i] = i < 5 ? healthy() : down();
		members[i] = (struct health_pool_member){&nodes[i].h, &nodes[i].sample, 1000};
		if (i >= 4)
			continue;
		nodes[i].h.latency = (struct score_ewma){0};
		for (int k = 0; k < 5; k++)
			probe_of(&nodes[i], HEALTH_PASS, 200, rtts[i]);
		load_set(&nodes[i].sample, LOAD_QUEUE, queues[i]);
	}
	members[3].weight = 2000; /* 8 waiting at twice the capacity are 4 */
	members[4].sample = NULL;
	load_set(&nodes[5].sample, LOAD_QUEUE, 0);
	health_pool_figures(members, 6, scratch, &pool);
	assert_int_equal(pool.n_queue, 4);
	assert_true(pool.queue_median == 4);
	assert_int_equal(pool.n_latency, 4); /* the fifth has too few probes */
	assert_true(pool.latency_median_ms == 20);
}

/* Whatever comes, a tick at the time asked for always moves that time on. */
static void the_clock_never_spins(void **state)
{
	const enum health_result results[] = {
		HEALTH_PASS,        HEALTH_PASS,           HEALTH_PASS,       HEALTH_REFUSED,
		HEALTH_UNREACHABLE, HEALTH_STATUS_LOADING, HEALTH_STATUS_BAD, HEALTH_GARBAGE};
	struct node n = begin(HEALTH_ORIGIN_ADDED, LB_STATE_NONE);
	uint64_t rng = 88172645463325252u;
	bool seen[LB_STATE_MAINTENANCE + 1] = {false};

	(void)state;
	n.s.aborts_high = 4;
	for (int i = 0; i < 200000; i++) {
		rng ^= rng << 13;
		rng ^= rng >> 7;
		rng ^= rng << 17;
		n.now_ms += rng % 700;
		switch (rng >> 20 & 7) {
		case 0:
		case 1:
			probe(&n, results[(rng >> 24 & 127) < 100 ? 0 : rng >> 40 & 7]);
			break;
		case 2:
		case 3:
			load_set(&n.sample, LOAD_KV, (i / 400 % 5) * 0.2 + 0.19);
			load_set(&n.sample, LOAD_RUNNING, rng >> 24 & 1);
			load_set(&n.sample, LOAD_PROGRESS, i / 700);
			load_set(&n.sample, LOAD_ABORTS, i / 300 % 3 ? n.sample.aborts : i);
			sample(&n);
			break;
		case 4:
			if ((rng >> 24 & 255) == 0)
				order(&n, (rng >> 40 & 3) == 0   ? LB_STATE_DRAINING
					  : (rng >> 40 & 3) == 1 ? LB_STATE_MAINTENANCE
								 : LB_STATE_NONE);
			break;
		default:
			if (health_next_ms(&n.h, &n.s) <= n.now_ms + 60000) {
				int64_t due_ms = health_next_ms(&n.h, &n.s);

				n.now_ms = due_ms > n.now_ms ? due_ms : n.now_ms;
				tick(&n, 0);
				assert_true(health_next_ms(&n.h, &n.s) > n.now_ms);
			}
		}
		seen[n.h.state] = true;
		assert_true(n.h.cause[0] != '\0');
		assert_string_not_equal(health_cause_name(n.h.cause_kind), "?");
		assert_in_range(permille(&n), 1, 1000);
		if (n.changed)
			assert_int_equal(n.change.to, n.h.state);
	}
	for (int s = LB_STATE_WARMING; s <= LB_STATE_MAINTENANCE; s++)
		assert_true(seen[s]);
}

static void everything_has_a_name(void **state)
{
	(void)state;
	for (int i = 0; i <= LB_STATE_MAINTENANCE; i++)
		assert_string_not_equal(health_state_name(i), "?");
	for (int i = 0; i < HEALTH_DIM_N; i++)
		assert_string_not_equal(health_dim_name(i), "?");
	for (int i = 1; i < HEALTH_RESULT_N; i++)
		assert_string_not_equal(health_result_name(i), "?");
	for (int i = HEALTH_CAUSE_START; i < HEALTH_CAUSE_N; i++) { /* and labels differ */
		assert_string_not_equal(health_cause_name(i), "?");
		for (int k = HEALTH_CAUSE_START; k < i; k++)
			assert_string_not_equal(health_cause_name(i), health_cause_name(k));
	}
	assert_string_equal(health_cause_name(0), "?");
	assert_string_equal(health_cause_name(HEALTH_CAUSE_N), "?");
	assert_string_equal(health_state_name(99), "?");
	assert_string_equal(health_dim_name(99), "?");
	assert_string_equal(health_result_name(0), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_cell_of_the_table_goes_where_it_should),
		cmocka_unit_test(each_order_is_laid_over_each_state),
		cmocka_unit_test(a_node_is_healthy_after_rise_passes_at_the_start_without_warming),
		cmocka_unit_test(a_node_added_while_running_warms_up),
		cmocka_unit_test(an_adopted_node_goes_straight_to_healthy),
		cmocka_unit_test(a_node_adopted_as_down_stays_dead_and_warms_up_when_it_answers),
		cmocka_unit_test(an_adopted_node_that_refuses_is_down_and_not_loading),
		cmocka_unit_test(a_node_adopted_while_it_loads_loads_on_when_it_refuses),
		cmocka_unit_test(a_node_adopted_degraded_stays_so_until_samples_clear_it),
		cmocka_unit_test(
			a_node_adopted_degraded_is_not_cleared_on_the_way_to_being_so_again),
		cmocka_unit_test(a_node_adopted_degraded_whose_metrics_are_gone_recovers_in_time),
		cmocka_unit_test(the_first_probe_is_within_an_interval_and_spread_by_seed),
		cmocka_unit_test(a_node_that_refuses_or_answers_503_since_first_seen_is_loading),
		cmocka_unit_test(a_loading_node_that_goes_silent_is_down),
		cmocka_unit_test(a_node_never_reached_is_down_after_fall_failures),
		cmocka_unit_test(fall_failures_in_a_row_are_down_and_a_pass_between_is_not),
		cmocka_unit_test(a_refusal_is_looked_into_at_once_and_the_second_is_down),
		cmocka_unit_test(a_refused_scrape_counts_and_brings_the_probe_forward),
		cmocka_unit_test(other_failures_of_a_scrape_do_not_count),
		cmocka_unit_test(one_refusal_between_passes_is_nothing),
		cmocka_unit_test(a_node_that_was_down_warms_up_in_steps),
		cmocka_unit_test(without_a_ramp_rise_passes_are_enough),
		cmocka_unit_test(one_failure_before_it_has_risen_is_down_again),
		cmocka_unit_test(probes_are_jittered_and_start_an_interval_after_the_one_before),
		cmocka_unit_test(figures_of_a_pool_are_medians_of_the_nodes_that_work),
		cmocka_unit_test(the_clock_never_spins),
		cmocka_unit_test(everything_has_a_name),
	};

	return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
