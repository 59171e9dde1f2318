/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of states cell by cell, then what probes, samples, orders and time make of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "userspace/agent/health.h"
#include "userspace/agent/health_table.h"
#include "userspace/lib/cleanup.h"

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

/* --- one node and its clock ------------------------------------------------------------------- */

struct node {
	struct health h;
	struct health_settings s;
	int64_t now_ms;
	struct health_change change;
	bool changed;
	const struct health_pool *pool;
	struct load_sample sample;
};

static struct node begin(enum health_origin origin, enum lb_state adopted)
{
	struct node n = {.now_ms = 1000000};
	struct health_start start = {.seed = 7, .origin = origin, .adopted = adopted};

	health_settings_default(&n.s);
	health_init(&n.h, &n.s, &start, n.now_ms);
	return n;
}

static void probe_of(struct node *n, enum health_result result, uint32_t status, double rtt_ms)
{
	struct health_probe probe = {
		.result = result, .http_status = status, .rtt_ms = rtt_ms, .started_ms = n->now_ms};

	if (result == HEALTH_ANSWER_TIMEOUT)
		n->now_ms += n->s.timeout_ms;
	n->changed = health_probe(&n->h, &n->s, &probe, n->pool, n->now_ms, &n->change);
}

static void probe(struct node *n, enum health_result result)
{
	probe_of(n, result, result == HEALTH_STATUS_LOADING ? 503 : 0, 2);
}

/* n results, each a second after the one before. */
static void probes(struct node *n, enum health_result result, int times)
{
	for (int i = 0; i < times; i++) {
		n->now_ms += 1000;
		probe(n, result);
	}
}

static void sample(struct node *n)
{
	n->changed = health_sample(&n->h, &n->s, &n->sample, n->pool, 1000, n->now_ms, &n->change);
}

static void samples(struct node *n, int times)
{
	for (int i = 0; i < times; i++) {
		n->now_ms += 500;
		sample(n);
	}
}

static void tick(struct node *n, int64_t after_ms)
{
	n->now_ms += after_ms;
	n->changed = health_tick(&n->h, &n->s, n->now_ms, &n->change);
}

static void order(struct node *n, enum lb_state order_state)
{
	n->changed = health_order(&n->h, &n->s, order_state, n->now_ms, &n->change);
}

static uint32_t permille(const struct node *n)
{
	return health_warm_permille(&n->h, &n->s, n->now_ms);
}

static struct node healthy(void)
{
	struct node n = begin(HEALTH_ORIGIN_START, LB_STATE_NONE);

	probes(&n, HEALTH_PASS, 2);
	assert_int_equal(n.h.state, LB_STATE_HEALTHY);
	return n;
}

static struct node down(void)
{
	struct node n = healthy();

	probes(&n, HEALTH_GARBAGE, 3);
	assert_int_equal(n.h.state, LB_STATE_UNHEALTHY);
	return n;
}

static struct node degraded(void)
{
	struct node n = healthy();

	load_set(&n.sample, LOAD_KV, 0.97);
	samples(&n, 3);
	assert_int_equal(n.h.state, LB_STATE_DEGRADED);
	return n;
}

#define assert_cause(n, part) assert_non_null(strstr((n)->change.cause, part))

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

/* --- busy, hung ------------------------------------------------------------------------------- */

/* Samples every half second for `ms`, the progress counter moving by `speed` each. */
static void work(struct node *n, int64_t ms, double running, double speed)
{
	load_set(&n->sample, LOAD_RUNNING, running);
	for (int64_t t = 0; t < ms; t += 500) {
		load_set(&n->sample, LOAD_PROGRESS, n->sample.progress + speed);
		samples(n, 1);
	}
}

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
		cmocka_unit_test(undrain_returns_to_what_the_node_is_by_then),
		cmocka_unit_test(a_draining_node_that_dies_is_down_and_drains_on_when_it_is_back),
		cmocka_unit_test(maintenance_covers_all_and_kills),
		cmocka_unit_test(the_same_order_twice_is_no_change),
		cmocka_unit_test(an_adopted_order_is_in_force_from_the_start),
		cmocka_unit_test(figures_of_a_pool_are_medians_of_the_nodes_that_work),
		cmocka_unit_test(the_clock_never_spins),
		cmocka_unit_test(everything_has_a_name),
	};

	return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
