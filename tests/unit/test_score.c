/* SPDX-License-Identifier: BSD-2-Clause */
/* Samples to loads: base and inc, staleness, hot nodes, averages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "userspace/agent/score.h"
#include "userspace/lib/cleanup.h"

#define N 5

struct pool {
	struct score_node nodes[N];
	struct score_settings settings;
	struct score_member members[N];
	struct score scores[N];
	int64_t now_ms;
};

static void begin(struct pool *p)
{
	*p = (struct pool){.settings = {.stale_ms = 2000, .hot_ratio = 0.9}, .now_ms = 1000000};
	for (int i = 0; i < N; i++) {
		score_init(&p->nodes[i]);
		p->members[i] = (struct score_member){&p->nodes[i], &p->settings, 1000};
	}
}

static void judge(struct pool *p)
{
	double scratch[N];

	score_pool(p->members, N, p->now_ms, scratch, p->scores);
}

/* A whole scrape at this moment. */
static uint32_t scrape(struct pool *p, int i, double queue, double running)
{
	struct load_sample sample = {0};
	uint32_t subtract;

	load_set(&sample, LOAD_QUEUE, queue);
	load_set(&sample, LOAD_RUNNING, running);
	score_scrape_begin(&p->nodes[i], 0, p->now_ms);
	score_scrape_end(&p->nodes[i], &p->settings, &sample, &subtract);
	return subtract;
}

static void base_is_running_and_waiting(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	for (int i = 0; i < N; i++)
		(void)scrape(&p, i, i, 10 * i);
	judge(&p);
	for (int i = 0; i < N; i++) {
		assert_int_equal(p.scores[i].base, 11 * i);
		assert_int_equal(p.scores[i].source, SCORE_FRESH);
		assert_int_equal(p.scores[i].age_ms, 0);
	}
}

/* base + inc is the same before and after, but for what the server finished meanwhile. */
static void only_what_was_added_before_the_scrape_is_subtracted(void **state)
{
	struct load_sample sample = {0};
	uint32_t inc = 7, subtract;
	struct pool p;

	(void)state;
	begin(&p);
	score_scrape_begin(&p.nodes[0], inc, p.now_ms);
	inc += 3; /* while the scrape is under way: not in its answer */
	load_set(&sample, LOAD_RUNNING, 7);
	score_scrape_end(&p.nodes[0], &p.settings, &sample, &subtract);
	inc -= subtract;
	assert_int_equal(inc, 3);
	judge(&p);
	assert_int_equal(p.scores[0].base + inc, 10);
	/* nothing new: the next one subtracts what is left, and only once */
	p.now_ms += 500;
	score_scrape_begin(&p.nodes[0], inc, p.now_ms);
	load_set(&sample, LOAD_RUNNING, 10);
	score_scrape_end(&p.nodes[0], &p.settings, &sample, &subtract);
	assert_int_equal(subtract, 3);
}

static void a_failed_scrape_subtracts_nothing_and_keeps_the_sample(void **state)
{
	uint32_t subtract = 99;
	struct pool p;

	(void)state;
	begin(&p);
	(void)scrape(&p, 0, 2, 3);
	p.now_ms += 500;
	score_scrape_begin(&p.nodes[0], 40, p.now_ms);
	score_scrape_abandon(&p.nodes[0], &p.settings, &subtract);
	assert_int_equal(subtract, 0);
	judge(&p);
	assert_int_equal(p.scores[0].base, 5);
	assert_int_equal(p.scores[0].age_ms, 500);
}

/* The median that stands in is of now: what was added before must not count on top of it. */
static void a_failed_scrape_of_a_stale_node_subtracts_like_any_other(void **state)
{
	uint32_t subtract = 0;
	struct pool p;

	(void)state;
	begin(&p);
	(void)scrape(&p, 0, 2, 3);
	p.now_ms += 2001;
	score_scrape_begin(&p.nodes[0], 40, p.now_ms);
	score_scrape_abandon(&p.nodes[0], &p.settings, &subtract);
	assert_int_equal(subtract, 40);
	score_scrape_begin(&p.nodes[1], 30, p.now_ms); /* never had a sample */
	score_scrape_abandon(&p.nodes[1], &p.settings, &subtract);
	assert_int_equal(subtract, 30);
}

static void a_page_without_numbers_of_requests_is_no_sample(void **state)
{
	struct load_sample sample = {0};
	uint32_t subtract = 99;
	struct pool p;

	(void)state;
	begin(&p);
	(void)scrape(&p, 0, 2, 3);
	p.now_ms += 500;
	load_set(&sample, LOAD_KV, 0.5);
	score_scrape_begin(&p.nodes[0], 40, p.now_ms);
	score_scrape_end(&p.nodes[0], &p.settings, &sample, &subtract);
	assert_int_equal(subtract, 0);
	judge(&p);
	assert_int_equal(p.scores[0].base, 5);
	assert_int_equal(p.scores[0].age_ms, 500);
}

static void one_of_the_two_numbers_is_enough(void **state)
{
	struct load_sample queue_only = {0};
	uint32_t subtract;
	struct pool p;

	(void)state;
	begin(&p);
	load_set(&queue_only, LOAD_QUEUE, 4);
	score_scrape_begin(&p.nodes[0], 6, p.now_ms);
	score_scrape_end(&p.nodes[0], &p.settings, &queue_only, &subtract);
	assert_int_equal(subtract, 6);
	judge(&p);
	assert_int_equal(p.scores[0].base, 4);
	assert_int_equal(p.scores[0].source, SCORE_FRESH);
}

static void absent_stale_and_zero_differ(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	(void)scrape(&p, 0, 0, 0); /* zero, but soon stale */
	p.now_ms += 2001;
	(void)scrape(&p, 1, 0, 0); /* zero */
	(void)scrape(&p, 2, 4, 16);
	(void)scrape(&p, 3, 10, 20);
	judge(&p); /* and 4 never told anything */
	assert_int_equal(p.scores[0].source, SCORE_MEDIAN);
	assert_int_equal(p.scores[0].base, 20);
	assert_int_equal(p.scores[0].age_ms, 2001);
	assert_int_equal(p.scores[1].source, SCORE_FRESH);
	assert_int_equal(p.scores[1].base, 0);
	assert_int_equal(p.scores[4].source, SCORE_MEDIAN);
	assert_int_equal(p.scores[4].base, 20);
	assert_int_equal(p.scores[4].age_ms, -1);
}

static void a_sample_ages_from_the_begin_of_its_scrape(void **state)
{
	struct load_sample sample = {0};
	uint32_t subtract;
	struct pool p;

	(void)state;
	begin(&p);
	score_scrape_begin(&p.nodes[0], 0, p.now_ms);
	p.now_ms += 900;
	load_set(&sample, LOAD_RUNNING, 1);
	score_scrape_end(&p.nodes[0], &p.settings, &sample, &subtract);
	judge(&p);
	assert_int_equal(p.scores[0].age_ms, 900);
	p.now_ms += 1100;
	judge(&p);
	assert_int_equal(p.scores[0].source, SCORE_FRESH);
	p.now_ms += 1;
	judge(&p);
	assert_int_equal(p.scores[0].source, SCORE_IGNORED);
}

static void the_median_is_per_weight(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	p.members[0].weight = 3000;
	p.members[4].weight = 500;
	(void)scrape(&p, 1, 0, 4);
	(void)scrape(&p, 2, 0, 6);
	(void)scrape(&p, 3, 0, 8);
	judge(&p);
	assert_int_equal(p.scores[0].base, 18);
	assert_int_equal(p.scores[4].base, 3);
}

static void members_without_weight_are_not_in_the_median(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	for (int i = 1; i < N; i++)
		(void)scrape(&p, i, 0, i < 4 ? 0 : 7);
	for (int i = 1; i < 4; i++)
		p.members[i].weight = 0;
	judge(&p);
	assert_int_equal(p.scores[0].base, 7);
	assert_int_equal(p.scores[1].source, SCORE_FRESH);
}

static void if_all_are_stale_load_is_ignored(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	for (int i = 0; i < N; i++)
		(void)scrape(&p, i, 9, 9);
	p.now_ms += 2001;
	judge(&p);
	for (int i = 0; i < N; i++) {
		assert_int_equal(p.scores[i].source, SCORE_IGNORED);
		assert_int_equal(p.scores[i].base, 0);
		assert_false(p.scores[i].hot);
	}
}

static void a_node_is_hot_when_requests_wait(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	(void)scrape(&p, 0, 1, 3);
	(void)scrape(&p, 1, 0, 3000);
	judge(&p);
	assert_true(p.scores[0].hot);
	assert_false(p.scores[1].hot); /* how many it can run is not known */
}

static void a_node_is_hot_over_nine_tenths_of_its_slots(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	p.settings.slots = 64;
	(void)scrape(&p, 0, 0, 57);
	(void)scrape(&p, 1, 0, 58);
	judge(&p);
	assert_false(p.scores[0].hot);
	assert_true(p.scores[1].hot);
}

static void slots_are_learned_from_what_it_ran_while_some_waited(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	(void)scrape(&p, 0, 0, 60); /* nobody waits: says nothing */
	(void)scrape(&p, 0, 5, 40);
	(void)scrape(&p, 0, 5, 32);
	(void)scrape(&p, 0, 0, 36);
	judge(&p);
	assert_false(p.scores[0].hot);
	(void)scrape(&p, 0, 0, 37);
	judge(&p);
	assert_true(p.scores[0].hot);
}

static void slots_of_the_page_come_before_learned_ones_and_configured_before_both(void **state)
{
	struct load_sample sample = {0};
	uint32_t subtract;
	struct pool p;

	(void)state;
	begin(&p);
	(void)scrape(&p, 0, 5, 10);
	load_set(&sample, LOAD_QUEUE, 0);
	load_set(&sample, LOAD_RUNNING, 40);
	load_set(&sample, LOAD_SLOTS, 100);
	score_scrape_begin(&p.nodes[0], 0, p.now_ms);
	score_scrape_end(&p.nodes[0], &p.settings, &sample, &subtract);
	judge(&p);
	assert_false(p.scores[0].hot);
	p.settings.slots = 40;
	judge(&p);
	assert_true(p.scores[0].hot);
}

static void a_restart_forgets_learned_slots(void **state)
{
	struct load_sample sample = {0};
	uint32_t subtract;
	struct pool p;

	(void)state;
	begin(&p);
	load_set(&sample, LOAD_QUEUE, 3);
	load_set(&sample, LOAD_RUNNING, 8);
	load_set(&sample, LOAD_PROGRESS, 500);
	score_scrape_begin(&p.nodes[0], 0, p.now_ms);
	score_scrape_end(&p.nodes[0], &p.settings, &sample, &subtract);
	load_set(&sample, LOAD_QUEUE, 0);
	load_set(&sample, LOAD_RUNNING, 20);
	load_set(&sample, LOAD_PROGRESS, 600);
	score_scrape_begin(&p.nodes[0], 0, p.now_ms);
	score_scrape_end(&p.nodes[0], &p.settings, &sample, &subtract);
	judge(&p);
	assert_true(p.scores[0].hot);
	load_set(&sample, LOAD_PROGRESS, 10); /* restarted, with more slots */
	score_scrape_begin(&p.nodes[0], 0, p.now_ms);
	score_scrape_end(&p.nodes[0], &p.settings, &sample, &subtract);
	judge(&p);
	assert_false(p.scores[0].hot);
}

static void what_a_node_ran_before_it_died_is_not_its_load_when_it_is_back(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	for (int i = 0; i < N; i++)
		(void)scrape(&p, i, 0, 6);
	(void)scrape(&p, 0, 5, 90);
	score_forget(&p.nodes[0]);
	p.now_ms += 500; /* its old sample would still be fresh */
	judge(&p);
	assert_int_equal(p.scores[0].source, SCORE_MEDIAN);
	assert_int_equal(p.scores[0].base, 6);
	(void)scrape(&p, 0, 0, 85); /* of more slots than it had: 85 of 90 would be hot */
	judge(&p);
	assert_int_equal(p.scores[0].source, SCORE_FRESH);
	assert_false(p.scores[0].hot);
}

static void a_stale_node_is_hot_if_most_of_the_pool_is(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	(void)scrape(&p, 1, 5, 5);
	(void)scrape(&p, 2, 5, 5);
	(void)scrape(&p, 3, 0, 5);
	judge(&p);
	assert_true(p.scores[0].hot);
	(void)scrape(&p, 2, 0, 4);
	judge(&p);
	assert_false(p.scores[0].hot);
}

static void huge_and_negative_numbers_stay_in_range(void **state)
{
	struct pool p;

	(void)state;
	begin(&p);
	(void)scrape(&p, 0, 1e18, 1e18);
	(void)scrape(&p, 1, -5, 2);
	judge(&p);
	assert_int_equal(p.scores[0].base, 1000000000);
	assert_int_equal(p.scores[1].base, 0);
}

static void an_average_is_right_from_the_first_value_and_follows(void **state)
{
	struct score_ewma ewma = {0};

	(void)state;
	score_ewma_add(&ewma, 100);
	assert_true(ewma.value == 100);
	score_ewma_add(&ewma, 50);
	assert_true(ewma.value == 75);
	score_ewma_add(&ewma, 30);
	assert_true(fabs(ewma.value - 60) < 1e-9);
	for (int i = 0; i < 200; i++)
		score_ewma_add(&ewma, 10);
	assert_true(fabs(ewma.value - 10) < 1e-6);
	for (int i = 0; i < 4; i++)
		score_ewma_add(&ewma, 20);
	assert_true(ewma.value > 14.5 && ewma.value < 15.5); /* half of the way */
	ewma = (struct score_ewma){.value = 5, .n = UINT32_MAX};
	score_ewma_add(&ewma, 5);
	assert_true(ewma.value == 5);
}

static void the_median_is_the_lower_one(void **state)
{
	double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2}, one[] = {7};

	(void)state;
	assert_true(score_median(odd, 3) == 3);
	assert_true(score_median(even, 4) == 2);
	assert_true(score_median(one, 1) == 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base_is_running_and_waiting),
		cmocka_unit_test(only_what_was_added_before_the_scrape_is_subtracted),
		cmocka_unit_test(a_failed_scrape_subtracts_nothing_and_keeps_the_sample),
		cmocka_unit_test(a_failed_scrape_of_a_stale_node_subtracts_like_any_other),
		cmocka_unit_test(a_page_without_numbers_of_requests_is_no_sample),
		cmocka_unit_test(one_of_the_two_numbers_is_enough),
		cmocka_unit_test(absent_stale_and_zero_differ),
		cmocka_unit_test(a_sample_ages_from_the_begin_of_its_scrape),
		cmocka_unit_test(the_median_is_per_weight),
		cmocka_unit_test(members_without_weight_are_not_in_the_median),
		cmocka_unit_test(if_all_are_stale_load_is_ignored),
		cmocka_unit_test(a_node_is_hot_when_requests_wait),
		cmocka_unit_test(a_node_is_hot_over_nine_tenths_of_its_slots),
		cmocka_unit_test(slots_are_learned_from_what_it_ran_while_some_waited),
		cmocka_unit_test(
			slots_of_the_page_come_before_learned_ones_and_configured_before_both),
		cmocka_unit_test(a_restart_forgets_learned_slots),
		cmocka_unit_test(what_a_node_ran_before_it_died_is_not_its_load_when_it_is_back),
		cmocka_unit_test(a_stale_node_is_hot_if_most_of_the_pool_is),
		cmocka_unit_test(huge_and_negative_numbers_stay_in_range),
		cmocka_unit_test(an_average_is_right_from_the_first_value_and_follows),
		cmocka_unit_test(the_median_is_the_lower_one),
	};

	return cmocka_run_group_tests_name("score", tests, NULL, NULL);
}
