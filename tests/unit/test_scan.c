/* SPDX-License-Identifier: BSD-2-Clause */
/* The scan without hash maps: epochs, exceptions of slots, bounded steps. See tests/kernel too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "userspace/agent/grace.h"
#include "userspace/agent/scan.h"
#include "userspace/lib/rounds.h"

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* Run until one more pass is complete; returns the number of steps. */
static uint32_t run_pass(struct scan *s, uint32_t budget)
{
	uint64_t passes = scan_stats(s)->passes;
	uint32_t steps = 0;

	scan_request(s);
	while (scan_stats(s)->passes == passes) {
		int wait_ms = scan_step(s, now_ms(), budget);

		assert_true(wait_ms >= 0);
		steps++;
		usleep(wait_ms < 5 ? 0 : 5000);
	}
	return steps;
}

static int setup(void **state)
{
	static struct tables t;

	assert_int_equal(tables_alloc(2, 1, &t), 0);
	for (uint32_t i = 0; i < 2; i++)
		t.pool_info[i] = (struct lb_pool_info){.n_slots = 65537, .in_use = 1};
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	tables_close(*state);
	return 0;
}

static void test_exceptions_without_entries_are_cleared(void **state)
{
	struct tables *t = *state;
	struct scan *s;

	t->slots[3] = (struct lb_slot){.cur = 4, .alt = 5, .prev = 6, .exc = 1};
	t->slots[LB_SLOTS_MAX + 65536] = (struct lb_slot){.cur = 7, .exc = 1};
	assert_int_equal(scan_new(t, 60000, &s), 0);
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(t->control->epoch, 2);
	assert_int_equal(t->slots[3].exc, 0);
	assert_int_equal(t->slots[3].cur, 4);
	assert_int_equal(t->slots[3].alt, 5);
	assert_int_equal(t->slots[3].prev, 6);
	assert_int_equal(t->slots[LB_SLOTS_MAX + 65536].exc, 0);
	assert_int_equal(scan_stats(s)->exc_cleared, 2);
	scan_free(&s);
	scan_free(&s);
}

static void test_exceptions_of_the_new_epoch_stay_for_a_pass(void **state)
{
	struct tables *t = *state;
	struct scan *s;

	assert_int_equal(scan_new(t, 60000, &s), 0);
	t->control->epoch = 41;
	t->slots[3].exc = 42; /* stored while the pass is under way */
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(t->slots[3].exc, 42);
	assert_int_equal(scan_stats(s)->slots_exc, 1);
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(t->slots[3].exc, 0);
	assert_int_equal(scan_stats(s)->slots_exc, 0);
	scan_free(&s);
}

static void test_epoch_goes_round_without_zero(void **state)
{
	struct tables *t = *state;
	struct scan *s;

	assert_int_equal(scan_new(t, 60000, &s), 0);
	t->control->epoch = 65535;
	t->slots[3].exc = 65535;
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(t->control->epoch, 1);
	assert_int_equal(t->slots[3].exc, 0);
	scan_free(&s);
}

static void test_steps_are_bounded_and_waits_told(void **state)
{
	struct tables *t = *state;
	struct scan *s;
	uint64_t now;

	assert_int_equal(scan_new(t, 60000, &s), 0);
	/* 2 pools of 65537 slots, 8 slots for an entry's budget */
	assert_true(run_pass(s, 1024) >= 2 * 65537 / 8 / 1024);
	now = scan_stats(s)->finished_ms;
	assert_in_range(scan_step(s, now + 1, 1024), 1, SCAN_SWEEP_MS);
	assert_int_equal(scan_stats(s)->passes, 1);
	assert_int_equal(scan_step(s, now + SCAN_SWEEP_MS, 1024), 0); /* a sweep begins */
	assert_int_equal(scan_step(s, now + SCAN_SWEEP_MS, 1024), SCAN_SWEEP_MS);
	scan_request(s);
	assert_in_range(scan_step(s, now + SCAN_SWEEP_MS, 1024), 1, 100);
	assert_true(scan_stats(s)->finished_ms - scan_stats(s)->started_ms >= GRACE_MIN_MS);
	scan_free(&s); /* in the middle of a pass */
}

static void test_live_counts_are_put_right_when_they_stand_still(void **state)
{
	struct tables *t = *state;
	struct scan *s;

	assert_int_equal(scan_new(t, 60000, &s), 0);
	t->loads[5].flows = 3; /* no entry: its agent was killed */
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(t->loads[5].flows, 3);
	t->loads[5].flows = 4; /* moved: not yet */
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(t->loads[5].flows, 4);
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(t->loads[5].flows, 0);
	assert_int_equal(scan_stats(s)->repaired, 1);
	scan_free(&s);
}

/* Silent for 20 s, in a table of workers. */
static void put_silent(struct tables *t, enum tables_dpdk which)
{
	struct lb_flow_key key = {.sport = 7};
	struct lb_flow flow = {.backend = 5, .seen = rounds_now() - 20 * LB_TICKS_PER_S, .slot = 3};
	struct flow_table view;

	tables_view(t, which, &view);
	assert_int_equal(flow_table_put(&view, &key, &flow, FLOW_TABLE_NOEXIST, rounds_now()), 0);
}

static void test_nothing_expires_for_want_of_a_worker(void **state)
{
	struct tables *t = *state;
	struct lb_worker *w = &t->dpdk_workers[0];
	struct scan *s;

	t->buckets.flows = t->buckets.half_open = 2; /* a page has room for them */
	t->vips[0].flags = LB_VIP_F_ACTIVE;
	t->backends[5].flags = LB_BACKEND_F_ALIVE;
	put_silent(t, TABLES_FLOWS);
	put_silent(t, TABLES_HALF_OPEN);
	assert_int_equal(scan_new(t, 8000, &s), 0);
	run_pass(s, SCAN_BUDGET); /* there is no worker */
	assert_int_equal(scan_entries_of(s, 5), 2);
	*w = (struct lb_worker){.pid = 1, .tick = rounds_now() - ROUNDS_LEASE_TICKS};
	run_pass(s, SCAN_BUDGET); /* it stands still */
	assert_int_equal(scan_entries_of(s, 5), 2);
	w->tick = rounds_now() + LB_TICKS_PER_S; /* it goes on, also during the pass */
	w->pause = LB_PAUSE_OF(rounds_now(), 15 * LB_TICKS_PER_S);
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(scan_entries_of(s, 5), 2);
	assert_int_equal(scan_stats(s)->expired, 0);
	w->pause = LB_PAUSE_OF(rounds_now() - 17 * LB_TICKS_PER_S, 15 * LB_TICKS_PER_S);
	run_pass(s, SCAN_BUDGET); /* what waited for it has come since */
	assert_int_equal(scan_entries_of(s, 5), 0);
	assert_int_equal(scan_stats(s)->expired, 2);
	scan_free(&s);
}

static void test_grace_takes_its_time(void **state)
{
	uint64_t start = now_ms();
	struct grace *g;

	(void)state;
	assert_int_equal(grace_start(start, &g), 0);
	assert_false(grace_done(g, start));
	assert_false(grace_done(g, start + GRACE_MIN_MS - 1));
	while (!grace_done(g, now_ms()))
		usleep(1000);
	assert_true(now_ms() - start >= GRACE_MIN_MS);
	grace_free(&g);
	grace_free(&g);
	assert_int_equal(grace_start(now_ms(), &g), 0);
	grace_free(&g); /* before it is done */
	start = now_ms();
	grace_wait();
	assert_true(now_ms() - start >= GRACE_MIN_MS);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_exceptions_without_entries_are_cleared),
		T(test_exceptions_of_the_new_epoch_stay_for_a_pass),
		T(test_epoch_goes_round_without_zero),
		T(test_steps_are_bounded_and_waits_told),
		T(test_live_counts_are_put_right_when_they_stand_still),
		T(test_nothing_expires_for_want_of_a_worker),
		T(test_grace_takes_its_time),
	};

	return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
