/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "userspace/lib/due_queue.h"

enum { N = 500, STEPS = 20000 };

static uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* Beside a list that is searched: after any mix of steps the first is the least. */
static void first_is_the_least_after_any_steps(void **state)
{
	struct due_queue queue = {0};
	static struct due dues[N];
	uint32_t seed = 1, n_in = 0;
	int step, i;

	(void)state;
	assert_int_equal(due_queue_reserve(&queue, N), 0);
	for (step = 0; step < STEPS; step++) {
		struct due *due = &dues[random_next(&seed) % N], *first;
		int64_t least = INT64_MAX;

		if (random_next(&seed) % 3) {
			n_in += !due->pos;
			due_queue_set(&queue, due, random_next(&seed) % 1000 - 100);
		} else {
			n_in -= !!due->pos;
			due_queue_remove(&queue, due);
			assert_int_equal(due->pos, 0);
		}
		assert_int_equal(queue.n, n_in);
		for (i = 0; i < N; i++)
			if (dues[i].pos && dues[i].at_ms < least)
				least = dues[i].at_ms;
		first = due_queue_first(&queue);
		assert_int_equal(!first, n_in == 0);
		if (first)
			assert_int_equal(first->at_ms, least);
	}
	due_queue_free(&queue);
}

static void comes_out_in_order(void **state)
{
	struct due_queue queue = {0};
	static struct due dues[N];
	int64_t last = INT64_MIN;
	uint32_t seed = 7;
	int i;

	(void)state;
	for (i = 0; i < N; i++) {
		assert_int_equal(due_queue_reserve(&queue, (uint32_t)i + 1), 0);
		due_queue_set(&queue, &dues[i], random_next(&seed));
	}
	for (i = 0; i < N; i++) {
		struct due *first = due_queue_first(&queue);

		assert_true(first->at_ms >= last);
		last = first->at_ms;
		due_queue_remove(&queue, first);
		due_queue_remove(&queue, first);
	}
	assert_null(due_queue_first(&queue));
	due_queue_free(&queue);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_is_the_least_after_any_steps),
		cmocka_unit_test(comes_out_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
