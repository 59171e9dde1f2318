/* SPDX-License-Identifier: BSD-2-Clause */
/* What a pool's states make of its capacities: tiers, panic, degradation, the limit of change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "userspace/agent/weight.h"
#include "userspace/lib/cleanup.h"

#define MEMBERS_MAX 64

struct pool {
	struct weight_settings s;
	struct weight_memory memory;
	struct weight_member members[MEMBERS_MAX];
	uint32_t n;
	int64_t now_ms;
	struct weight_output out[MEMBERS_MAX];
	struct weight_verdict verdict;
};

static void judge(struct pool *p)
{
	weight_judge(&p->s, &p->memory, p->members, p->n, p->now_ms, p->out, &p->verdict);
	for (uint32_t i = 0; i < p->n; i++) {
		p->members[i].current = p->out[i].weight;
		p->members[i].was_degraded = p->out[i].held_by_degradation;
	}
}

/* n0 healthy members of weight 1 in tier 0, then n1 in tier 1; judged once. */
static struct pool begin(uint32_t n0, uint32_t n1)
{
	struct pool p = {.n = n0 + n1, .now_ms = 5000000};

	weight_settings_default(&p.s);
	for (uint32_t i = 0; i < p.n; i++)
		p.members[i] = (struct weight_member){
			.identity = 1000 + i,
			.state = LB_STATE_HEALTHY,
			.capacity = 1000,
			.warm_permille = 1000,
			.tier = i >= n0,
		};
	judge(&p);
	return p;
}

static void set(struct pool *p, uint32_t first, uint32_t n, enum lb_state state)
{
	for (uint32_t i = first; i < first + n; i++)
		p->members[i].state = state;
	judge(p);
}

static void later(struct pool *p, int64_t ms)
{
	p->now_ms += ms;
	judge(p);
}

static uint32_t sum(const struct pool *p, uint32_t first, uint32_t n)
{
	uint32_t weight = 0;

	for (uint32_t i = first; i < first + n; i++)
		weight += p->out[i].weight;
	return weight;
}

/* --- states ----------------------------------------------------------------------------------- */

static void each_state_has_its_weight(void **state)
{
	static const struct {
		enum lb_state state;
		uint32_t weight;
	} cases[] = {
		{LB_STATE_UNKNOWN, 300}, /* as adopted */
		{LB_STATE_LOADING, 0},   {LB_STATE_WARMING, 650},   {LB_STATE_HEALTHY, 2000},
		{LB_STATE_DEGRADED, 0},  {LB_STATE_UNHEALTHY, 0},   {LB_STATE_DRAINING, 0},
		{LB_STATE_NONE, 0},      {LB_STATE_MAINTENANCE, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pool p = begin(6, 0);

		p.members[0].capacity = 2000;
		p.members[0].warm_permille = 325;
		p.members[0].adopted = 300;
		set(&p, 0, 1, cases[i].state);
		assert_int_equal(p.out[0].weight, cases[i].weight);
		assert_int_equal(sum(&p, 1, 5), 5000);
		assert_false(p.verdict.empty || p.verdict.panic || p.verdict.standby);
		assert_int_equal(p.verdict.capacity, 7000);
	}
}

static void adopted_weight_is_not_over_the_capacity_of_now(void **state)
{
	struct pool p = begin(3, 0);

	(void)state;
	p.members[1].adopted = 4000;
	set(&p, 1, 1, LB_STATE_UNKNOWN);
	assert_int_equal(p.out[1].weight, 1000);
}

static void a_member_without_capacity_has_no_weight_in_any_state(void **state)
{
	struct pool p = begin(3, 0);

	(void)state;
	p.members[1].capacity = 0;
	p.members[1].adopted = 1000;
	p.members[1].degraded_percent = 100;
	for (int s = LB_STATE_UNKNOWN; s <= LB_STATE_MAINTENANCE; s++) {
		set(&p, 1, 1, s);
		assert_int_equal(p.out[1].weight, 0);
	}
}

static void the_first_step_of_warming_is_not_rounded_to_nothing(void **state)
{
	struct pool p = begin(2, 0);

	(void)state;
	p.members[0].capacity = 5;
	p.members[0].warm_permille = 100;
	set(&p, 0, 1, LB_STATE_WARMING);
	assert_int_equal(p.out[0].weight, 1);
}

static void a_degraded_member_keeps_what_it_is_to_keep(void **state)
{
	struct pool p = begin(4, 0);

	(void)state;
	p.members[2].degraded_percent = 20;
	set(&p, 2, 1, LB_STATE_DEGRADED);
	assert_int_equal(p.out[2].weight, 200);
	assert_true(p.out[2].held_by_degradation);
	set(&p, 2, 1, LB_STATE_HEALTHY);
	assert_int_equal(p.out[2].weight, 1000);
	assert_false(p.out[2].held_by_degradation);
}

/* --- panic ------------------------------------------------------------------------------------ */

static void half_of_a_pool_may_be_degraded_out_and_not_more(void **state)
{
	struct pool p = begin(10, 0);

	(void)state;
	set(&p, 0, 5, LB_STATE_DEGRADED);
	assert_false(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 10), 5000);
	set(&p, 5, 1, LB_STATE_DEGRADED);
	assert_true(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 10), 10000);
}

static void panic_ends_with_hysteresis(void **state)
{
	struct pool p = begin(10, 0);

	(void)state;
	set(&p, 0, 6, LB_STATE_DEGRADED);
	set(&p, 4, 2, LB_STATE_HEALTHY); /* 40 % */
	assert_false(p.verdict.panic);
	set(&p, 4, 2, LB_STATE_DEGRADED);
	set(&p, 5, 1, LB_STATE_HEALTHY); /* 50 % */
	assert_true(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 10), 10000);
}

static void failures_are_exempt_from_the_limit_and_shrink_what_it_is_of(void **state)
{
	struct pool p = begin(10, 0);

	(void)state;
	set(&p, 0, 9, LB_STATE_UNHEALTHY);
	assert_false(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 10), 1000);

	p = begin(10, 0);
	set(&p, 0, 6, LB_STATE_UNHEALTHY);
	set(&p, 6, 2, LB_STATE_DEGRADED); /* half of the four that work */
	assert_false(p.verdict.panic);
	assert_int_equal(sum(&p, 6, 4), 2000);
	set(&p, 8, 1, LB_STATE_DEGRADED);
	assert_true(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 6), 0);
	assert_int_equal(sum(&p, 6, 4), 4000);
}

static void orders_are_no_degradation(void **state)
{
	struct pool p = begin(10, 0);

	(void)state;
	set(&p, 0, 9, LB_STATE_DRAINING);
	assert_false(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 10), 1000);
	set(&p, 0, 10, LB_STATE_MAINTENANCE);
	assert_true(p.verdict.empty);
}

static void an_inferred_drain_counts_as_degraded(void **state)
{
	struct pool p = begin(4, 0);

	(void)state;
	for (int i = 0; i < 4; i++)
		p.members[i].inferred = true;
	set(&p, 0, 2, LB_STATE_DRAINING);
	assert_int_equal(sum(&p, 0, 4), 2000);
	set(&p, 2, 1, LB_STATE_DRAINING);
	assert_true(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 4), 4000);
}

static void all_degraded_is_the_same_as_none(void **state)
{
	struct pool p = begin(3, 0);

	(void)state;
	set(&p, 0, 3, LB_STATE_DEGRADED);
	assert_true(p.verdict.panic);
	assert_false(p.verdict.empty);
	assert_int_equal(sum(&p, 0, 3), 3000);
}

static void what_degraded_members_keep_is_not_out(void **state)
{
	struct pool p = begin(10, 0);

	(void)state;
	for (int i = 0; i < 10; i++)
		p.members[i].degraded_percent = 50;
	set(&p, 0, 10, LB_STATE_DEGRADED); /* half of everything is out */
	assert_false(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 10), 5000);
}

static void tiers_that_are_not_in_use_do_not_count(void **state)
{
	struct pool p = begin(4, 10);

	(void)state;
	set(&p, 4, 10, LB_STATE_DEGRADED);
	assert_false(p.verdict.panic);
	set(&p, 0, 2, LB_STATE_DEGRADED);
	assert_false(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 14), 2000);
}

static void the_limit_is_of_capacity_and_not_of_members(void **state)
{
	struct pool p = begin(4, 0);

	(void)state;
	p.members[0].capacity = 5000;
	set(&p, 0, 1, LB_STATE_DEGRADED); /* 5 of 8 */
	assert_true(p.verdict.panic);
	set(&p, 0, 1, LB_STATE_HEALTHY);
	set(&p, 1, 3, LB_STATE_DEGRADED); /* 3 of 8 */
	assert_false(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 4), 5000);
}

/* --- tiers ------------------------------------------------------------------------------------ */

static void standby_joins_under_the_threshold_and_leaves_over_another(void **state)
{
	struct pool p = begin(10, 4);

	(void)state;
	assert_int_equal(sum(&p, 10, 4), 0);
	set(&p, 0, 5, LB_STATE_UNHEALTHY); /* half is left: not under it */
	assert_false(p.verdict.standby);
	set(&p, 5, 1, LB_STATE_UNHEALTHY);
	assert_true(p.verdict.standby);
	assert_int_equal(p.verdict.tiers, 2);
	assert_int_equal(sum(&p, 0, 10), 4000);
	assert_int_equal(sum(&p, 10, 4), 4000);

	set(&p, 3, 3, LB_STATE_HEALTHY); /* 70 %: not over it */
	assert_true(p.verdict.standby);
	set(&p, 2, 1, LB_STATE_HEALTHY);
	assert_false(p.verdict.standby);
	assert_int_equal(sum(&p, 10, 4), 0);
	assert_int_equal(sum(&p, 0, 10), 8000);
}

static void warming_counts_by_its_ramp_when_standby_may_leave(void **state)
{
	struct pool p = begin(2, 2);

	(void)state;
	set(&p, 0, 2, LB_STATE_UNHEALTHY);
	p.members[0].warm_permille = p.members[1].warm_permille = 100;
	set(&p, 0, 2, LB_STATE_WARMING);
	assert_true(p.verdict.standby);
	assert_int_equal(sum(&p, 0, 2), 200);
	assert_int_equal(sum(&p, 2, 2), 2000);
	p.members[0].warm_permille = p.members[1].warm_permille = 775;
	judge(&p);
	assert_false(p.verdict.standby);
}

static void drained_and_degraded_capacity_calls_for_standby_too(void **state)
{
	struct pool p = begin(4, 2);

	(void)state;
	set(&p, 0, 3, LB_STATE_DRAINING);
	assert_true(p.verdict.standby);
	p = begin(4, 2);
	set(&p, 0, 3, LB_STATE_DEGRADED);
	assert_true(p.verdict.standby);
	assert_false(p.verdict.panic); /* 3 of 6 */
	assert_int_equal(sum(&p, 0, 6), 3000);
}

static void tiers_join_one_after_the_other_and_leave_likewise(void **state)
{
	struct pool p = begin(4, 4);

	(void)state;
	p.members[6].tier = p.members[7].tier = 2;
	judge(&p);
	set(&p, 0, 4, LB_STATE_UNHEALTHY);
	assert_int_equal(p.verdict.tiers, 3); /* 2 of 6 in the tiers 0 and 1 */
	assert_int_equal(sum(&p, 4, 4), 4000);
	set(&p, 0, 3, LB_STATE_HEALTHY); /* 5 of 6 and 3 of 4 */
	assert_int_equal(p.verdict.tiers, 1);

	set(&p, 0, 4, LB_STATE_HEALTHY);
	set(&p, 0, 3, LB_STATE_UNHEALTHY); /* 1 of 4, then 3 of 6: not under half */
	assert_int_equal(p.verdict.tiers, 2);
}

static void a_tier_without_capacity_is_passed_over(void **state)
{
	struct pool p = begin(2, 2);

	(void)state;
	p.members[2].tier = p.members[3].tier = 5;
	judge(&p);
	assert_int_equal(p.verdict.tiers, 1);
	set(&p, 0, 2, LB_STATE_UNHEALTHY);
	assert_int_equal(sum(&p, 2, 2), 2000);
	set(&p, 0, 2, LB_STATE_HEALTHY);
	assert_int_equal(sum(&p, 2, 2), 0);
	assert_int_equal(p.verdict.tiers, 1);
}

static void what_is_unknown_brings_no_standby_in_at_the_start(void **state)
{
	struct pool p = begin(4, 2);

	(void)state;
	memset(&p.memory, 0, sizeof(p.memory));
	for (uint32_t i = 0; i < p.n; i++)
		p.members[i].current = 0;
	set(&p, 0, 6, LB_STATE_UNKNOWN);
	assert_true(p.verdict.empty);
	set(&p, 4, 2, LB_STATE_HEALTHY); /* the standby answers first */
	assert_false(p.verdict.standby);
	assert_true(p.verdict.empty);
	set(&p, 0, 1, LB_STATE_HEALTHY);
	assert_int_equal(sum(&p, 0, 6), 1000);
	set(&p, 1, 3, LB_STATE_UNHEALTHY);
	assert_true(p.verdict.standby);
}

static void standby_in_use_stays_over_a_restart_until_the_others_are_known(void **state)
{
	struct pool p = begin(4, 2);

	(void)state;
	set(&p, 0, 3, LB_STATE_UNHEALTHY);
	assert_true(p.verdict.standby);
	memset(&p.memory, 0, sizeof(p.memory)); /* restarted: all unknown, with adopted weights */
	for (uint32_t i = 0; i < p.n; i++)
		p.members[i].adopted = p.members[i].current;
	set(&p, 0, 6, LB_STATE_UNKNOWN);
	assert_true(p.verdict.standby);
	assert_int_equal(sum(&p, 0, 4), 1000);
	assert_int_equal(sum(&p, 4, 2), 2000);
	set(&p, 0, 4, LB_STATE_HEALTHY);
	assert_false(p.verdict.standby);
}

static void nothing_left_anywhere_is_empty(void **state)
{
	struct pool p = begin(3, 3);

	(void)state;
	set(&p, 0, 6, LB_STATE_UNHEALTHY);
	assert_true(p.verdict.empty);
	assert_int_equal(sum(&p, 0, 6), 0);
	set(&p, 5, 1, LB_STATE_HEALTHY);
	assert_false(p.verdict.empty);
	assert_int_equal(sum(&p, 0, 6), 1000);
	p.n = 0;
	judge(&p);
	assert_true(p.verdict.empty);
}

/* --- the limit of change ---------------------------------------------------------------------- */

static struct pool limited(uint32_t n, double ratio)
{
	struct pool p = begin(n, 0);

	p.s.change_ratio = ratio;
	memset(&p.memory, 0, sizeof(p.memory));
	judge(&p);
	return p;
}

static void degradation_within_a_minutes_worth_acts_at_once(void **state)
{
	struct pool p = limited(10, 0.2);

	(void)state;
	set(&p, 0, 2, LB_STATE_DEGRADED);
	assert_int_equal(sum(&p, 0, 10), 8000);
	assert_false(p.verdict.limited);
	assert_int_equal(p.verdict.next_ms, INT64_MAX);
}

static void more_of_it_goes_on_by_and_by(void **state)
{
	struct pool p = limited(10, 0.2);
	int64_t start_ms = p.now_ms;
	uint32_t last, steps = 0;

	(void)state;
	set(&p, 0, 5, LB_STATE_DEGRADED);
	assert_int_equal(sum(&p, 0, 10), 8000); /* 2000 at once, each of the five alike */
	for (int i = 0; i < 5; i++)
		assert_int_equal(p.out[i].weight, 600);
	assert_true(p.verdict.limited);
	for (last = 8000; p.verdict.limited; steps++) {
		assert_in_range(p.verdict.next_ms, p.now_ms + 1000, p.now_ms + 7000);
		p.now_ms = p.verdict.next_ms;
		judge(&p);
		assert_true(sum(&p, 0, 10) < last);
		last = sum(&p, 0, 10);
	}
	assert_int_equal(last, 5000);
	assert_in_range(p.now_ms - start_ms, 85000, 91000); /* 3000 more, at 2000 a minute */
	assert_in_range(steps, 10, 20);
}

static void between_the_steps_nothing_moves(void **state)
{
	struct pool p = limited(10, 0.2);

	(void)state;
	set(&p, 0, 5, LB_STATE_DEGRADED);
	for (int i = 0; i < 5; i++) {
		later(&p, 1000);
		assert_int_equal(sum(&p, 0, 10), 8000);
	}
	later(&p, 1100);
	assert_in_range(sum(&p, 0, 10), 7700, 7800);
}

static void recovery_from_degradation_is_held_back_too(void **state)
{
	struct pool p = limited(10, 0.2);

	(void)state;
	set(&p, 0, 2, LB_STATE_DEGRADED);
	set(&p, 0, 2, LB_STATE_HEALTHY);
	assert_true(p.verdict.limited);
	assert_int_equal(sum(&p, 0, 10), 8000);
	later(&p, 30000);
	assert_in_range(sum(&p, 0, 10), 8990, 9010);
	later(&p, 31000);
	assert_int_equal(sum(&p, 0, 10), 10000);
	assert_false(p.verdict.limited);
	assert_false(p.out[0].held_by_degradation);
}

static void failures_orders_warming_and_panic_do_not_wait(void **state)
{
	struct pool p = limited(10, 0.1);

	(void)state;
	set(&p, 0, 1, LB_STATE_DEGRADED); /* all of a minute's worth */
	set(&p, 1, 4, LB_STATE_UNHEALTHY);
	assert_int_equal(sum(&p, 1, 4), 0);
	p.members[1].warm_permille = 100;
	set(&p, 1, 1, LB_STATE_WARMING);
	assert_int_equal(p.out[1].weight, 100);
	set(&p, 1, 1, LB_STATE_HEALTHY);
	assert_int_equal(p.out[1].weight, 1000);
	set(&p, 6, 2, LB_STATE_DRAINING);
	assert_int_equal(sum(&p, 6, 2), 0);
	set(&p, 0, 1, LB_STATE_UNHEALTHY);
	assert_int_equal(p.out[0].weight, 0);

	p = limited(10, 0.1);
	set(&p, 0, 1, LB_STATE_DEGRADED);
	set(&p, 0, 8, LB_STATE_DEGRADED);
	assert_true(p.verdict.panic);
	assert_int_equal(sum(&p, 0, 10), 10000);
}

static void a_lowered_capacity_does_not_wait(void **state)
{
	struct pool p = limited(10, 0.1);

	(void)state;
	set(&p, 0, 3, LB_STATE_DEGRADED);
	assert_true(p.out[0].weight > 600);
	p.members[0].capacity = 300;
	judge(&p);
	assert_int_equal(p.out[0].weight, 300);
}

static void a_change_bigger_than_a_minutes_worth_still_ends(void **state)
{
	struct pool p = limited(3, 0.05);

	(void)state;
	set(&p, 0, 1, LB_STATE_DEGRADED);
	for (int i = 0; i < 1000 && p.verdict.limited; i++) {
		p.now_ms = p.verdict.next_ms;
		judge(&p);
	}
	assert_int_equal(p.out[0].weight, 0);
	assert_false(p.verdict.limited);
}

/* --- all -------------------------------------------------------------------------------------- */

static void the_order_of_members_does_not_matter(void **state)
{
	struct pool a = begin(20, 10), b;

	(void)state;
	a.s.change_ratio = 0.15;
	srand(3);
	b = a;
	for (uint32_t i = 0; i < a.n; i++)
		b.members[i] = a.members[a.n - 1 - i];
	for (int round = 0; round < 3000; round++) {
		uint32_t i = rand() % a.n;

		a.now_ms = b.now_ms = a.now_ms + rand() % 20000;
		a.members[i].state = LB_STATE_UNKNOWN + rand() % 8;
		a.members[i].capacity = 500 * (rand() % 5);
		a.members[i].warm_permille = 100 + rand() % 900;
		b.members[a.n - 1 - i].state = a.members[i].state;
		b.members[a.n - 1 - i].capacity = a.members[i].capacity;
		b.members[a.n - 1 - i].warm_permille = a.members[i].warm_permille;
		judge(&a);
		judge(&b);
		for (i = 0; i < a.n; i++)
			assert_int_equal(a.out[i].weight, b.out[a.n - 1 - i].weight);
		assert_memory_equal(&a.verdict, &b.verdict, sizeof(a.verdict));
	}
}

/* Random pools: no weight over its capacity, none for the dead, and an end to every wait. */
static void what_must_always_hold_holds(void **state)
{
	bool panic = false, standby = false, empty = false, waited = false;

	(void)state;
	srand(4);
	for (int round = 0; round < 300; round++) {
		struct pool p = begin(1 + rand() % 12, rand() % 6);

		p.s.change_ratio = round % 3 ? 0.05 * (rand() % 10) : 0;
		for (int step = 0; step < 50; step++) {
			struct weight_member *m = &p.members[rand() % p.n];

			m->state = rand() % 3 ? LB_STATE_HEALTHY + rand() % 3
					      : LB_STATE_UNKNOWN + rand() % 8;
			m->capacity = 1000 * (rand() % 4);
			m->degraded_percent = 10 * (rand() % 11);
			m->inferred = rand() % 2;
			later(&p, rand() % 30000);
			for (uint32_t i = 0; i < p.n; i++) {
				m = &p.members[i];
				assert_true(p.out[i].weight <= m->capacity);
				if (m->state == LB_STATE_UNHEALTHY ||
				    m->state == LB_STATE_LOADING ||
				    m->state == LB_STATE_MAINTENANCE)
					assert_int_equal(p.out[i].weight, 0);
			}
			assert_int_equal(p.verdict.empty, sum(&p, 0, p.n) == 0);
			assert_int_equal(p.verdict.limited, p.verdict.next_ms != INT64_MAX);
			assert_true(p.verdict.next_ms > p.now_ms);
			panic |= p.verdict.panic;
			standby |= p.verdict.standby;
			empty |= p.verdict.empty;
			waited |= p.verdict.limited;
		}
	}
	assert_true(panic && standby && empty && waited);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_state_has_its_weight),
		cmocka_unit_test(adopted_weight_is_not_over_the_capacity_of_now),
		cmocka_unit_test(a_member_without_capacity_has_no_weight_in_any_state),
		cmocka_unit_test(the_first_step_of_warming_is_not_rounded_to_nothing),
		cmocka_unit_test(a_degraded_member_keeps_what_it_is_to_keep),
		cmocka_unit_test(half_of_a_pool_may_be_degraded_out_and_not_more),
		cmocka_unit_test(panic_ends_with_hysteresis),
		cmocka_unit_test(failures_are_exempt_from_the_limit_and_shrink_what_it_is_of),
		cmocka_unit_test(orders_are_no_degradation),
		cmocka_unit_test(an_inferred_drain_counts_as_degraded),
		cmocka_unit_test(all_degraded_is_the_same_as_none),
		cmocka_unit_test(what_degraded_members_keep_is_not_out),
		cmocka_unit_test(tiers_that_are_not_in_use_do_not_count),
		cmocka_unit_test(the_limit_is_of_capacity_and_not_of_members),
		cmocka_unit_test(standby_joins_under_the_threshold_and_leaves_over_another),
		cmocka_unit_test(warming_counts_by_its_ramp_when_standby_may_leave),
		cmocka_unit_test(drained_and_degraded_capacity_calls_for_standby_too),
		cmocka_unit_test(tiers_join_one_after_the_other_and_leave_likewise),
		cmocka_unit_test(a_tier_without_capacity_is_passed_over),
		cmocka_unit_test(what_is_unknown_brings_no_standby_in_at_the_start),
		cmocka_unit_test(standby_in_use_stays_over_a_restart_until_the_others_are_known),
		cmocka_unit_test(nothing_left_anywhere_is_empty),
		cmocka_unit_test(degradation_within_a_minutes_worth_acts_at_once),
		cmocka_unit_test(more_of_it_goes_on_by_and_by),
		cmocka_unit_test(between_the_steps_nothing_moves),
		cmocka_unit_test(recovery_from_degradation_is_held_back_too),
		cmocka_unit_test(failures_orders_warming_and_panic_do_not_wait),
		cmocka_unit_test(a_lowered_capacity_does_not_wait),
		cmocka_unit_test(a_change_bigger_than_a_minutes_worth_still_ends),
		cmocka_unit_test(the_order_of_members_does_not_matter),
		cmocka_unit_test(what_must_always_hold_holds),
	};

	return cmocka_run_group_tests_name("weight", tests, NULL, NULL);
}
