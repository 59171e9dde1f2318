/* SPDX-License-Identifier: BSD-2-Clause */
/* Publishing: the lists of the round robins and of the members. */
#include "tests/unit/publish_bed.h"

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
		T(test_lists_are_written_to_the_idle_bank_and_flipped),
	};

	return cmocka_run_group_tests_name("publish, turns", tests, NULL, NULL);
}
