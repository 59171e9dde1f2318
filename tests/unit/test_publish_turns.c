/* SPDX-License-Identifier: BSD-2-Clause */
/* Publishing: whose turn it is in the round robins, and who the members are. */
#include "tests/unit/publish_bed.h"

static int build(const char *weights, enum publish_turns kind, uint16_t *turns)
{
	struct publish_member m[16];
	uint32_t n = 0;

	for (const char *c = weights; *c; c++, n++)
		m[n] = (struct publish_member){.backend = n + 1, .weight = *c - '0'};
	return publish_turns_build(m, n, kind, turns);
}

static void test_plain_turns_are_one_each(void **state)
{
	uint16_t turns[LB_TURNS_MAX];

	(void)state;
	assert_int_equal(build("3021", PUBLISH_TURNS_PLAIN, turns), 3);
	assert_int_equal(turns[0], 1);
	assert_int_equal(turns[1], 3);
	assert_int_equal(turns[2], 4);
	assert_int_equal(build("000", PUBLISH_TURNS_PLAIN, turns), 0);
	assert_int_equal(build("", PUBLISH_TURNS_WEIGHTED, turns), 0);
}

static void test_weighted_turns_are_spread_as_nginx_does(void **state)
{
	/* nginx's own example: 5, 1, 1 gives a a b a c a a */
	const uint16_t want[7] = {1, 1, 2, 1, 3, 1, 1};
	uint16_t turns[LB_TURNS_MAX];

	(void)state;
	assert_int_equal(build("511", PUBLISH_TURNS_WEIGHTED, turns), 7);
	assert_memory_equal(turns, want, sizeof(want));
	assert_int_equal(build("642", PUBLISH_TURNS_WEIGHTED, turns), 6); /* 3:2:1 */
}

static void test_turns_of_large_weights_are_scaled(void **state)
{
	_cleanup_free_ struct publish_member *m = calloc(5000, sizeof(*m));
	uint16_t turns[LB_TURNS_MAX];
	uint32_t count[1001] = {0};
	int n;

	(void)state;
	for (int i = 0; i < 1000; i++)
		m[i] = (struct publish_member){.backend = i + 1, .weight = 1000 + i};
	n = publish_turns_build(m, 1000, PUBLISH_TURNS_WEIGHTED, turns);
	assert_true(n >= 1000 && n <= LB_TURNS_MAX);
	for (int i = 0; i < n; i++)
		count[turns[i]]++;
	for (int i = 1; i <= 1000; i++)
		assert_true(count[i] >= 1);
	m[0].weight = 30011;
	m[1].weight = 20011;
	m[2].weight = 10007;
	n = publish_turns_build(m, 3, PUBLISH_TURNS_WEIGHTED, turns);
	assert_true(n > 4000 && n <= LB_TURNS_MAX);
	memset(count, 0, sizeof(count));
	for (int i = 0; i < n; i++)
		count[turns[i]]++;
	assert_in_range(count[1] * 1000 / n, 497, 503);
	assert_in_range(count[2] * 1000 / n, 330, 336);
	for (int i = 0; i < 5000; i++)
		m[i].weight = 1;
	assert_int_equal(publish_turns_build(m, 5000, PUBLISH_TURNS_PLAIN, turns), -E2BIG);
}

static void test_lists_are_written_to_the_idle_bank_and_flipped(void **state)
{
	struct fixture *f = *state;
	const uint16_t one[] = {1, 2, 3}, two[] = {4, 5};
	const struct lb_pool *pool = &f->t.pools[f->pool];

	publish_turns(f->p, f->pool, one, 3);
	assert_int_equal(pool->n_turns, 3 | LB_BANK_BIT);
	assert_memory_equal(f->t.turns[2 * f->pool + 1].backend, one, sizeof(one));
	publish_turns(f->p, f->pool, one, 3); /* the same: no flip */
	assert_int_equal(pool->n_turns, 3 | LB_BANK_BIT);
	publish_turns(f->p, f->pool, two, 2);
	assert_int_equal(pool->n_turns, 2);
	assert_memory_equal(f->t.turns[2 * f->pool].backend, two, sizeof(two));
	assert_memory_equal(f->t.turns[2 * f->pool + 1].backend, one, sizeof(one));
	publish_turns(f->p, f->pool, NULL, 0);
	assert_int_equal(pool->n_turns, LB_BANK_BIT);
	publish_members(f->p, f->pool, two, 2);
	assert_int_equal(pool->n_members, 2 | LB_BANK_BIT);
	assert_memory_equal(f->t.members[2 * f->pool + 1].backend, two, sizeof(two));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_plain_turns_are_one_each),
		T(test_weighted_turns_are_spread_as_nginx_does),
		T(test_turns_of_large_weights_are_scaled),
		T(test_lists_are_written_to_the_idle_bank_and_flipped),
	};

	return cmocka_run_group_tests_name("publish, turns", tests, NULL, NULL);
}
