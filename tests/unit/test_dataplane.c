// SPDX-License-Identifier: BSD-2-Clause
/* Workers in virtual time: when have they stopped, and what is silence worth? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "userspace/agent/dataplane.h"

#define TICKS_AT_0 0xffffe000u /* so that the clock of workers wraps during the tests */

struct world {
	struct lb_worker workers[LB_WORKERS_MAX];
	struct dataplane d;
	int64_t now_ms;
};

static uint32_t ticks(int64_t ms)
{
	return TICKS_AT_0 + LB_TICKS_FROM_MS(ms);
}

static void worker_round(struct world *w, int n)
{
	w->workers[n].pid = 4711;
	w->workers[n].tick = ticks(w->now_ms);
}

static enum dataplane_change look(struct world *w)
{
	return dataplane_step(&w->d, ticks(w->now_ms), w->now_ms);
}

/* Looks every 100 ms; workers 0 … n-1 are at work. No change may come. */
static void go(struct world *w, int64_t ms, int n)
{
	for (int64_t t = 0; t < ms; t += 100) {
		w->now_ms += 100;
		for (int i = 0; i < n; i++)
			worker_round(w, i);
		assert_int_equal(look(w), DATAPLANE_AS_IT_WAS);
	}
}

static void begin(struct world *w, int n)
{
	memset(w, 0, sizeof(*w));
	w->now_ms = 1000;
	for (int i = 0; i < n; i++)
		worker_round(w, i);
	dataplane_init(&w->d, w->workers, ticks(w->now_ms), w->now_ms);
}

static void xdp_never_stops_and_excuses_nothing(void **state)
{
	struct dataplane d = {};

	(void)state;
	assert_int_equal(dataplane_step(&d, 1, 1000), DATAPLANE_AS_IT_WAS);
	assert_false(d.stopped);
	assert_false(dataplane_excuses(&d, 0, 1000));
	assert_true(dataplane_lossy(&d) == 0);
	assert_false(dataplane_serves(&d, 0));
	assert_false(dataplane_serves(&d, 1));
}

static void silence_counts_while_workers_run(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 2);
	go(&w, 60000, 2); /* the clock wraps */
	assert_false(w.d.stopped);
	assert_int_equal(w.d.n_running, 2);
	assert_int_equal(w.d.n_stops, 0);
	assert_false(dataplane_excuses(&w.d, w.now_ms - 5000, w.now_ms));
}

static void a_killed_process_has_stopped_at_its_last_round(void **state)
{
	struct world w;
	int64_t killed_ms;

	(void)state;
	begin(&w, 2);
	go(&w, 2000, 2);
	killed_ms = w.now_ms;
	go(&w, 400, 0);
	assert_true(dataplane_excuses(&w.d, w.now_ms - 300, w.now_ms)); /* not sure yet, and so no evidence */
	w.now_ms += 110;
	assert_int_equal(look(&w), DATAPLANE_STOPPED);
	assert_true(w.d.stopped);
	assert_in_range(w.d.stopped_ms, killed_ms - 2, killed_ms + 2);
	assert_int_equal(w.d.n_running, 0);
	assert_int_equal(w.d.n_stuck, 2);
	go(&w, 3600000, 0); /* for as long as it takes */
	assert_true(dataplane_excuses(&w.d, w.now_ms - 500, w.now_ms));
	assert_int_equal(w.d.n_stops, 1);
}

static void a_process_that_ends_well_has_stopped_at_once(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 2);
	go(&w, 2000, 2);
	w.workers[0].pid = w.workers[1].pid = 0;
	assert_int_equal(look(&w), DATAPLANE_STOPPED);
	assert_int_equal(w.d.n_stuck, 0);
	assert_true(dataplane_excuses(&w.d, w.now_ms - 10, w.now_ms));
}

/* A stop of ten seconds. When the worker was back. */
static int64_t stop_and_return(struct world *w)
{
	begin(w, 1);
	w->workers[0].pid = 0;
	assert_int_equal(look(w), DATAPLANE_STOPPED);
	go(w, 10000, 0);
	w->now_ms += 100;
	worker_round(w, 0);
	assert_int_equal(look(w), DATAPLANE_BACK);
	assert_int_equal(w->d.back_ms, w->now_ms);
	assert_int_equal(w->d.n_stops, 1);
	return w->now_ms;
}

static void after_its_return_silence_counts_a_second_after_the_first_word(void **state)
{
	struct world w;
	int64_t heard_ms;

	(void)state;
	(void)stop_and_return(&w);
	go(&w, 6000, 1); /* a link comes up */
	assert_true(dataplane_excuses(&w.d, w.now_ms - 500, w.now_ms));
	heard_ms = w.now_ms;
	dataplane_heard(&w.d, w.now_ms);
	go(&w, 6000, 1); /* a check may have a timeout as long as that */
	dataplane_heard(&w.d, w.now_ms);
	assert_int_equal(w.d.heard_ms, heard_ms);
	assert_true(dataplane_excuses(&w.d, heard_ms - 200, w.now_ms));
	assert_true(dataplane_excuses(&w.d, heard_ms + DATAPLANE_GRACE_MS - 1, w.now_ms));
	assert_false(dataplane_excuses(&w.d, heard_ms + DATAPLANE_GRACE_MS, w.now_ms));
}

static void when_no_node_says_a_word_the_excuse_ends(void **state)
{
	struct world w;
	int64_t back_ms = stop_and_return(&w);

	(void)state;
	go(&w, DATAPLANE_PROOF_MS - 100, 1);
	assert_true(dataplane_excuses(&w.d, w.now_ms - 500, w.now_ms));
	go(&w, 3000, 1);
	assert_true(dataplane_excuses(&w.d, back_ms + DATAPLANE_PROOF_MS, w.now_ms));
	assert_false(dataplane_excuses(&w.d, back_ms + DATAPLANE_PROOF_MS + DATAPLANE_GRACE_MS,
				       w.now_ms));
}

static void what_is_heard_during_a_stop_proves_nothing(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1);
	w.workers[0].pid = 0;
	assert_int_equal(look(&w), DATAPLANE_STOPPED);
	dataplane_heard(&w.d, w.now_ms); /* it was on its way */
	go(&w, 1000, 0);
	w.now_ms += 100;
	worker_round(&w, 0);
	assert_int_equal(look(&w), DATAPLANE_BACK);
	go(&w, 3000, 1);
	assert_true(dataplane_excuses(&w.d, w.now_ms - 500, w.now_ms));
}

static void a_worker_that_stands_still_beside_others_is_told_and_is_no_stop(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 3);
	go(&w, 2000, 3);
	go(&w, 2000, 2);
	assert_false(w.d.stopped);
	assert_int_equal(w.d.n_running, 2);
	assert_int_equal(w.d.n_stuck, 1);
	assert_false(dataplane_excuses(&w.d, w.now_ms - 500, w.now_ms));
}

static void a_short_pause_is_no_stop(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1);
	go(&w, 1000, 1);
	go(&w, 400, 0);
	go(&w, 1000, 1);
	assert_int_equal(w.d.n_stops, 0);
	assert_false(dataplane_excuses(&w.d, w.now_ms - 500, w.now_ms));
}

/* Seconds in which so many frames come to worker 0 and so many more find its queue full. */
static void seconds(struct world *w, int n, uint64_t received, uint64_t missed)
{
	for (int i = 0; i < n; i++) {
		w->workers[0].received += received;
		w->workers[0].missed += missed;
		go(w, 1000, 1);
	}
}

static void what_queues_lose_is_told_and_forgotten(void **state)
{
	struct world w;

	(void)state;
	memset(&w, 0, sizeof(w));
	w.now_ms = 1000;
	w.workers[0].missed = 1000000; /* in an earlier life */
	worker_round(&w, 0);
	dataplane_init(&w.d, w.workers, ticks(w.now_ms), w.now_ms);
	seconds(&w, 3, 1000, 0);
	assert_true(w.d.loss == 0);
	assert_true(dataplane_lossy(&w.d) == 0);
	seconds(&w, 3, 1000, 250);
	assert_in_range((int)(1000 * w.d.loss), 199, 201);
	assert_in_range((int)(1000 * dataplane_lossy(&w.d)), 589, 592); /* 1 - 0.8^4 */
	seconds(&w, 1, 1000, 0);
	assert_in_range((int)(1000 * w.d.loss), 139, 141);
	seconds(&w, 20, 1000, 0);
	assert_true(dataplane_lossy(&w.d) < 0.001);
	w.workers[0].received = w.workers[0].missed = 0; /* maps anew */
	go(&w, 2000, 1);
	assert_true(w.d.loss < 0.001);
	w.workers[0].unsent += 10;
	w.workers[0].no_buffers += 10;
	seconds(&w, 1, 90, 0);
	assert_in_range((int)(1000 * w.d.loss), 199, 201);
}

static void the_share_of_workers_that_stand_still_is_lost(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 4);
	go(&w, 2000, 3);
	assert_in_range((int)(1000 * dataplane_lossy(&w.d)), 249, 251);
	go(&w, 2000, 4);
	assert_true(dataplane_lossy(&w.d) == 0);
}

static void an_agent_that_starts_first_waits_for_workers(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 0);
	assert_true(w.d.stopped);
	assert_int_equal(w.d.stopped_ms, 1000);
	assert_true(dataplane_excuses(&w.d, 900, w.now_ms));
	go(&w, 5000, 0);
	worker_round(&w, 0);
	assert_int_equal(look(&w), DATAPLANE_BACK);
	assert_int_equal(w.d.n_stops, 0);
}

static void an_agent_that_starts_after_a_crash_dates_the_stop_back(void **state)
{
	struct world w;

	(void)state;
	memset(&w, 0, sizeof(w));
	w.now_ms = 1000;
	worker_round(&w, 0);
	w.now_ms = 61000;
	dataplane_init(&w.d, w.workers, ticks(w.now_ms), w.now_ms);
	assert_true(w.d.stopped);
	assert_in_range(w.d.stopped_ms, 990, 1010);
}

static void a_worker_may_read_the_clock_a_little_later_than_we(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1);
	w.workers[0].tick = ticks(w.now_ms) + 4;
	assert_int_equal(look(&w), DATAPLANE_AS_IT_WAS);
	assert_false(w.d.stopped);
	assert_int_equal(w.d.quiet_ms, 0);
}

static void only_devices_of_workers_are_served(void **state)
{
	struct config_interface interfaces[] = {{.name = "lo"}, {.name = "nothing.there"}};
	struct config cfg = {.interfaces = interfaces, .n_interfaces = 2};
	struct world w;

	(void)state;
	begin(&w, 1);
	dataplane_serve(&w.d, &cfg);
	assert_true(dataplane_serves(&w.d, 1)); /* lo */
	assert_false(dataplane_serves(&w.d, 77));
	assert_true(dataplane_serves(&w.d, 0)); /* no route now: who knows */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(xdp_never_stops_and_excuses_nothing),
		cmocka_unit_test(silence_counts_while_workers_run),
		cmocka_unit_test(a_killed_process_has_stopped_at_its_last_round),
		cmocka_unit_test(a_process_that_ends_well_has_stopped_at_once),
		cmocka_unit_test(after_its_return_silence_counts_a_second_after_the_first_word),
		cmocka_unit_test(when_no_node_says_a_word_the_excuse_ends),
		cmocka_unit_test(what_is_heard_during_a_stop_proves_nothing),
		cmocka_unit_test(a_worker_that_stands_still_beside_others_is_told_and_is_no_stop),
		cmocka_unit_test(a_short_pause_is_no_stop),
		cmocka_unit_test(what_queues_lose_is_told_and_forgotten),
		cmocka_unit_test(the_share_of_workers_that_stand_still_is_lost),
		cmocka_unit_test(an_agent_that_starts_first_waits_for_workers),
		cmocka_unit_test(an_agent_that_starts_after_a_crash_dates_the_stop_back),
		cmocka_unit_test(a_worker_may_read_the_clock_a_little_later_than_we),
		cmocka_unit_test(only_devices_of_workers_are_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
