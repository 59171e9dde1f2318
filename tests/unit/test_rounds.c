// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "userspace/lib/rounds.h"

#define NOW 0x10000u

static struct lb_worker workers[LB_WORKERS_MAX];

static int setup(void **state)
{
	(void)state;
	for (int i = 0; i < LB_WORKERS_MAX; i++)
		workers[i] = (struct lb_worker){0};
	workers[0] = (struct lb_worker){.pid = 1, .tick = NOW};
	workers[LB_WORKERS_MAX - 1] = (struct lb_worker){.pid = 1, .tick = NOW - 20};
	return 0;
}

static void test_the_slowest_worker_is_waited_for(void **state)
{
	(void)state;
	assert_int_equal(rounds_oldest(workers, NOW), NOW - 20);
	assert_true(rounds_passed(workers, NOW - 21, NOW));
	assert_false(rounds_passed(workers, NOW - 20, NOW)); /* it may have begun before */
	assert_false(rounds_passed(workers, NOW - 1, NOW + LB_TICKS_PER_S));
	workers[LB_WORKERS_MAX - 1].tick = NOW;
	assert_true(rounds_passed(workers, NOW - 1, NOW));
}

static void test_a_worker_that_ended_is_not(void **state)
{
	(void)state;
	workers[LB_WORKERS_MAX - 1].pid = 0;
	assert_int_equal(rounds_oldest(workers, NOW), NOW);
	assert_true(rounds_passed(workers, NOW - 1, NOW));
}

static void test_one_that_was_killed_is_until_its_lease_is_over(void **state)
{
	uint32_t over = NOW - 20 + ROUNDS_LEASE_TICKS;

	(void)state;
	workers[0].tick = over;
	assert_false(rounds_passed(workers, NOW, over - 1));
	assert_true(rounds_passed(workers, NOW, over));
	assert_int_equal(rounds_oldest(workers, over), over);
}

static void test_ticks_turn_over(void **state)
{
	(void)state;
	workers[0].tick = 5;
	workers[LB_WORKERS_MAX - 1].tick = 0xfffffff0u;
	assert_int_equal(rounds_oldest(workers, 7), 0xfffffff0u);
	assert_true(rounds_passed(workers, 0xffffffefu, 7));
	assert_false(rounds_passed(workers, 2, 7));
	workers[LB_WORKERS_MAX - 1].tick = 3;
	assert_true(rounds_passed(workers, 2, 7));
	assert_false(rounds_paused(workers, 7));
}

static void test_now_goes_on(void **state)
{
	uint32_t before = rounds_now();

	(void)state;
	while (rounds_now() == before)
		;
	assert_true((int32_t)(rounds_now() - before) > 0);
}

static void test_a_worker_that_stands_still_is_a_pause(void **state)
{
	(void)state;
	assert_false(rounds_paused(workers, NOW));
	assert_false(rounds_paused(workers, NOW - 20 + LB_PAUSE_TICKS));
	assert_true(rounds_paused(workers, NOW - 20 + LB_PAUSE_TICKS + 1));
	assert_true(rounds_paused(workers, NOW + 100 * ROUNDS_LEASE_TICKS)); /* killed, as well */
	assert_false(rounds_paused(workers, NOW - 1)); /* a worker may read the clock after us */
}

static void test_so_is_none_at_all(void **state)
{
	(void)state;
	workers[0].pid = 0;
	assert_false(rounds_paused(workers, NOW));
	workers[LB_WORKERS_MAX - 1].pid = 0;
	assert_true(rounds_paused(workers, NOW));
}

/* Both workers do their rounds. */
static int paused_at(uint32_t now)
{
	workers[0].tick = workers[LB_WORKERS_MAX - 1].tick = now;
	return rounds_paused(workers, now);
}

static void test_what_waited_has_as_long_again_and_a_second(void **state)
{
	(void)state;
	workers[0].pause = LB_PAUSE_OF(NOW, 3000);
	assert_true(paused_at(NOW));
	assert_true(paused_at(NOW + 3000 + LB_TICKS_PER_S));
	assert_false(paused_at(NOW + 3000 + LB_TICKS_PER_S + 1));
	workers[0].pause = LB_PAUSE_OF(NOW, 0xffffffffu); /* not for ever */
	assert_true(paused_at(NOW + ROUNDS_SENT_AGAIN_TICKS));
	assert_false(paused_at(NOW + ROUNDS_SENT_AGAIN_TICKS + LB_TICKS_PER_S + 1));
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_the_slowest_worker_is_waited_for),
		T(test_a_worker_that_ended_is_not),
		T(test_one_that_was_killed_is_until_its_lease_is_over),
		T(test_ticks_turn_over),
		T(test_now_goes_on),
		T(test_a_worker_that_stands_still_is_a_pause),
		T(test_so_is_none_at_all),
		T(test_what_waited_has_as_long_again_and_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
