/* SPDX-License-Identifier: BSD-2-Clause */
/* Properties of the tables: share, second choice, disruption, independence of ids and order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/maglev.h"
#include "userspace/lib/cleanup.h"

#define SLOTS       65537
#define MEMBERS_MAX 8000

struct pool {
	uint32_t n;
	uint32_t n_slots;
	struct maglev_member members[MEMBERS_MAX];
	uint16_t cur[SLOTS];
	uint16_t alt[SLOTS];
};

static struct pool before, after;

/* Member i has the address 10.x.y.z of base + i and the backend id i + 1. */
static void pool_fill(struct pool *p, uint32_t n, uint32_t base, uint32_t weight)
{
	p->n = n;
	p->n_slots = SLOTS;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t a = base + i;
		uint8_t address[4] = {10, a >> 16, a >> 8, a};

		p->members[i].identity = maglev_identity(address, sizeof(address));
		p->members[i].weight = weight;
		p->members[i].id = i + 1;
	}
}

static void pool_build(struct pool *p)
{
	assert_int_equal(maglev_build(p->members, p->n, p->n_slots, p->cur, p->alt), 0);
}

static uint32_t count(const struct pool *p, const uint16_t *slots, uint16_t id)
{
	uint32_t n = 0;

	for (uint32_t s = 0; s < p->n_slots; s++)
		n += slots[s] == id;
	return n;
}

static uint64_t total_weight(const struct pool *p)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < p->n; i++)
		total += p->members[i].weight;
	return total;
}

/* Greatest |slots - ideal| of any member, as a fraction of its ideal. */
static double share_error(const struct pool *p, const uint16_t *slots)
{
	_cleanup_free_ uint32_t *n = calloc(p->n + 1, sizeof(*n));
	const double total = total_weight(p);
	double worst = 0;

	assert_non_null(n);
	for (uint32_t s = 0; s < p->n_slots; s++) {
		assert_in_range(slots[s], 1, p->n);
		n[slots[s]]++;
	}
	for (uint32_t i = 0; i < p->n; i++) {
		double ideal = p->n_slots * p->members[i].weight / total;

		if (ideal > 0)
			worst = fmax(worst, fabs(n[i + 1] - ideal) / ideal);
		else
			assert_int_equal(n[i + 1], 0);
	}
	return worst;
}

/* Slots whose owner changed although it was not `id` and is not. */
static uint32_t moved_beyond(const struct pool *a, const struct pool *b, uint16_t id)
{
	uint32_t n = 0;

	assert_int_equal(a->n_slots, b->n_slots);
	for (uint32_t s = 0; s < a->n_slots; s++)
		n += a->cur[s] != b->cur[s] && a->cur[s] != id && b->cur[s] != id;
	return n;
}

static void share_is_within_1_percent_at_100_members(void **state)
{
	(void)state;
	for (uint32_t base = 0; base < 20; base++) {
		pool_fill(&before, 100, base * 1000, 1000);
		pool_build(&before);
		assert_true(share_error(&before, before.cur) <= 0.01);
	}
}

static void share_is_within_two_slots_at_1000_members(void **state)
{
	(void)state;
	pool_fill(&before, 1000, 77, 1000);
	pool_build(&before);
	assert_true(share_error(&before, before.cur) * SLOTS / 1000 <= 2.5);
}

static void share_follows_weights_3_2_2_1(void **state)
{
	(void)state;
	pool_fill(&before, 4, 1, 1000);
	before.members[0].weight = 3000;
	before.members[1].weight = 2000;
	before.members[2].weight = 2000;
	pool_build(&before);
	assert_true(share_error(&before, before.cur) <= 0.005);
}

static void share_follows_arbitrary_weights(void **state)
{
	(void)state;
	srand(1);
	for (uint32_t round = 0; round < 10; round++) {
		pool_fill(&before, 60, round * 100, 0);
		for (uint32_t i = 0; i < before.n; i++)
			before.members[i].weight = 500 + rand() % 5000;
		pool_build(&before);
		assert_true(share_error(&before, before.cur) <= 0.02);
	}
}

static void warming_member_has_a_tenth(void **state)
{
	(void)state;
	pool_fill(&before, 10, 5, 1000);
	before.members[3].weight = 100;
	pool_build(&before);
	assert_true(share_error(&before, before.cur) <= 0.02);
}

static void no_weight_is_too_small_for_a_slot(void **state)
{
	(void)state;
	pool_fill(&before, 2000, 9, 1);
	before.members[0].weight = MAGLEV_WEIGHT_MAX;
	before.members[1].weight = MAGLEV_WEIGHT_MAX;
	pool_build(&before);
	for (uint32_t i = 0; i < before.n; i++)
		assert_true(count(&before, before.cur, i + 1) >= 1);
	assert_true(count(&before, before.cur, 1) > 30000);
	assert_true(count(&before, before.cur, 2) > 30000);
}

static void member_without_weight_has_no_slot(void **state)
{
	(void)state;
	pool_fill(&before, 5, 1, 1000);
	before.members[2].weight = 0;
	pool_build(&before);
	assert_int_equal(count(&before, before.cur, 3), 0);
	assert_int_equal(count(&before, before.alt, 3), 0);
	assert_true(share_error(&before, before.cur) <= 0.005);
}

static void second_choice_is_never_the_first(void **state)
{
	const uint32_t n_members[] = {2, 3, 7, 50, 1000};

	(void)state;
	for (uint32_t k = 0; k < ARRAY_SIZE(n_members); k++) {
		pool_fill(&before, n_members[k], 1, 1000);
		before.members[0].weight = 100000; /* nearly all slots of the small pools */
		pool_build(&before);
		for (uint32_t s = 0; s < SLOTS; s++) {
			assert_in_range(before.alt[s], 1, before.n);
			assert_int_not_equal(before.alt[s], before.cur[s]);
		}
	}
}

static void second_choice_of_a_lone_member_is_none(void **state)
{
	(void)state;
	pool_fill(&before, 3, 1, 0);
	before.members[1].weight = 1;
	pool_build(&before);
	assert_int_equal(count(&before, before.cur, 2), SLOTS);
	assert_int_equal(count(&before, before.alt, 0), SLOTS);
}

/* For each first choice, the second choices follow the weights of the others. */
static void second_choice_follows_the_weights_of_the_others(void **state)
{
	static uint32_t pair[9][9];
	double total;

	(void)state;
	pool_fill(&before, 8, 33, 1000);
	for (uint32_t i = 0; i < 8; i++)
		before.members[i].weight = 1000 * (i % 3 + 1);
	pool_build(&before);
	total = total_weight(&before);
	memset(pair, 0, sizeof(pair));
	for (uint32_t s = 0; s < SLOTS; s++)
		pair[before.cur[s]][before.alt[s]]++;
	for (uint32_t i = 1; i <= 8; i++) {
		uint32_t own = count(&before, before.cur, i);

		for (uint32_t j = 1; j <= 8; j++) {
			double wi = before.members[i - 1].weight, wj = before.members[j - 1].weight;
			double ideal = i == j ? 0 : own * wj / (total - wi);

			assert_true(fabs(pair[i][j] - ideal) <= 0.15 * ideal);
		}
	}
}

static void removing_one_of_100_moves_few_slots_beyond_its_own(void **state)
{
	(void)state;
	pool_fill(&before, 100, 4242, 1000);
	pool_build(&before);
	for (uint32_t i = 0; i < 100; i += 3) {
		after = before;
		after.members[i] = after.members[--after.n];
		pool_build(&after);
		assert_int_equal(count(&after, after.cur, i + 1), 0);
		assert_true(moved_beyond(&before, &after, i + 1) <= SLOTS * 0.006);
	}
}

static void adding_a_member_gives_slots_to_it_and_moves_few_others(void **state)
{
	(void)state;
	pool_fill(&before, 101, 99, 1000);
	before.n = 100;
	pool_build(&before);
	after = before;
	after.n = 101;
	pool_build(&after);
	assert_true(count(&after, after.cur, 101) > SLOTS / 101 * 0.99);
	assert_true(moved_beyond(&before, &after, 101) <= SLOTS * 0.006);
}

static void a_step_of_warming_moves_little_but_what_the_member_gains(void **state)
{
	const uint32_t steps[] = {100, 325, 550, 775, 1000};

	(void)state;
	pool_fill(&before, 50, 7, 1000);
	before.members[20].weight = steps[0];
	pool_build(&before);
	for (uint32_t k = 1; k < ARRAY_SIZE(steps); k++) {
		uint32_t own, gained = 0;

		after = before;
		after.members[20].weight = steps[k];
		pool_build(&after);
		own = count(&before, before.cur, 21);
		for (uint32_t s = 0; s < SLOTS; s++)
			gained += after.cur[s] == 21 && before.cur[s] != 21;
		assert_true(gained > 200);
		/* it keeps nearly all it had, and the others keep nearly all they did not lose */
		assert_true(count(&after, after.cur, 21) - gained > own * 0.8);
		assert_true(moved_beyond(&before, &after, 21) <= SLOTS * 0.006);
		before = after;
	}
}

static void same_members_in_another_order_with_other_ids_make_the_same_table(void **state)
{
	(void)state;
	pool_fill(&before, 300, 5, 0);
	srand(2);
	for (uint32_t i = 0; i < before.n; i++)
		before.members[i].weight = 100 * (1 + rand() % 30);
	pool_build(&before);
	after = before;
	for (uint32_t i = 0; i < after.n; i++) {
		after.members[i] = before.members[after.n - 1 - i];
		after.members[i].id = 7000 - before.members[after.n - 1 - i].id;
	}
	pool_build(&after);
	for (uint32_t s = 0; s < SLOTS; s++) {
		assert_int_equal(after.cur[s], 7000 - before.cur[s]);
		assert_int_equal(after.alt[s], 7000 - before.alt[s]);
	}
}

static void scaling_all_weights_changes_nothing_to_speak_of(void **state)
{
	uint32_t differ = 0;

	(void)state;
	pool_fill(&before, 40, 5, 1000);
	before.members[7].weight = 3000;
	pool_build(&before);
	after = before;
	for (uint32_t i = 0; i < after.n; i++)
		after.members[i].weight *= 7;
	pool_build(&after);
	for (uint32_t s = 0; s < SLOTS; s++)
		differ += before.cur[s] != after.cur[s];
	assert_int_equal(differ, 0);
}

/* Every prime from 3 to 521 with pools from one member to more than there are slots. */
static void small_tables_are_filled_too(void **state)
{
	const uint32_t n_members[] = {1, 2, 3, 20, 60, 250, 251, 252, 520, 521, 600};

	(void)state;
	for (uint32_t n_slots = 3; n_slots <= 521; n_slots++) {
		for (uint32_t k = 0; k < ARRAY_SIZE(n_members); k++) {
			int r;

			pool_fill(&before, n_members[k], 1, 1000);
			before.n_slots = n_slots;
			r = maglev_build(before.members, before.n, n_slots, before.cur, before.alt);
			if (r == -EINVAL)
				break; /* not a prime */
			assert_int_equal(r, 0);
			for (uint32_t s = 0; s < n_slots; s++) {
				assert_in_range(before.cur[s], 1, before.n);
				assert_in_range(before.alt[s], before.n > 1, before.n);
				/* with fewer slots one member may own them all */
				if (before.n_slots > 4 * before.n)
					assert_int_not_equal(before.cur[s], before.alt[s]);
			}
			if (4 * before.n <= n_slots)
				assert_true(share_error(&before, before.cur) <= 1);
		}
	}
}

static void pool_of_8000_is_built(void **state)
{
	(void)state;
	pool_fill(&before, MEMBERS_MAX, 1, 1000);
	pool_build(&before);
	for (uint32_t i = 0; i < before.n; i++)
		before.members[i].weight = i % 2 ? 1 : MAGLEV_WEIGHT_MAX;
	pool_build(&before);
}

static void expect_refused(struct pool *p, int error)
{
	memset(p->cur, 0xbe, sizeof(p->cur));
	memset(p->alt, 0xbe, sizeof(p->alt));
	assert_int_equal(maglev_build(p->members, p->n, p->n_slots, p->cur, p->alt), error);
	for (uint32_t s = 0; s < SLOTS; s++) {
		assert_int_equal(p->cur[s], 0xbebe);
		assert_int_equal(p->alt[s], 0xbebe);
	}
}

static void what_makes_no_table_is_refused_and_leaves_the_output_alone(void **state)
{
	const uint32_t no_primes[] = {0, 1, 2, 4, 9, 65535, 65536, 65539};

	(void)state;
	pool_fill(&before, 4, 1, 1000);
	for (uint32_t k = 0; k < ARRAY_SIZE(no_primes); k++) {
		before.n_slots = no_primes[k];
		expect_refused(&before, -EINVAL);
	}
	before.n_slots = SLOTS;
	before.members[1].id = 0;
	expect_refused(&before, -EINVAL);
	pool_fill(&before, 4, 1, 1000);
	before.members[1].weight = MAGLEV_WEIGHT_MAX + 1;
	expect_refused(&before, -EINVAL);
	pool_fill(&before, 4, 1, 0);
	expect_refused(&before, -ENODATA);
	before.n = 0;
	expect_refused(&before, -ENODATA);
}

static void identity_is_of_the_bytes_and_spreads(void **state)
{
	const uint8_t a[4] = {10, 0, 0, 1}, b[4] = {10, 0, 0, 2}, c[4] = {10, 0, 1, 0};
	uint64_t one = maglev_identity(a, 4), two = maglev_identity(b, 4);

	(void)state;
	assert_true(one == maglev_identity(a, 4));
	assert_true(one != two && two != maglev_identity(c, 4) && one != maglev_identity(a, 3));
	assert_in_range(__builtin_popcountll(one ^ two), 12, 52);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(share_is_within_1_percent_at_100_members),
		cmocka_unit_test(share_is_within_two_slots_at_1000_members),
		cmocka_unit_test(share_follows_weights_3_2_2_1),
		cmocka_unit_test(share_follows_arbitrary_weights),
		cmocka_unit_test(warming_member_has_a_tenth),
		cmocka_unit_test(no_weight_is_too_small_for_a_slot),
		cmocka_unit_test(member_without_weight_has_no_slot),
		cmocka_unit_test(second_choice_is_never_the_first),
		cmocka_unit_test(second_choice_of_a_lone_member_is_none),
		cmocka_unit_test(second_choice_follows_the_weights_of_the_others),
		cmocka_unit_test(removing_one_of_100_moves_few_slots_beyond_its_own),
		cmocka_unit_test(adding_a_member_gives_slots_to_it_and_moves_few_others),
		cmocka_unit_test(a_step_of_warming_moves_little_but_what_the_member_gains),
		cmocka_unit_test(same_members_in_another_order_with_other_ids_make_the_same_table),
		cmocka_unit_test(scaling_all_weights_changes_nothing_to_speak_of),
		cmocka_unit_test(small_tables_are_filled_too),
		cmocka_unit_test(pool_of_8000_is_built),
		cmocka_unit_test(what_makes_no_table_is_refused_and_leaves_the_output_alone),
		cmocka_unit_test(identity_is_of_the_bytes_and_spreads),
	};

	return cmocka_run_group_tests_name("maglev", tests, NULL, NULL);
}
