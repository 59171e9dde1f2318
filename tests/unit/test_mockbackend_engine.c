// SPDX-License-Identifier: BSD-2-Clause
/* The engine of the mock inference server: slots, queue, token rate, and what it counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tools/mockbackend/engine.c"

#define SECOND         1000000ULL
#define START          (7 * SECOND)
#define NO_QUEUE_BOUND UINT32_MAX

struct bench {
	struct engine e;
	uint64_t now_us;
	uint64_t woken;
};

static void on_wake(struct engine_job *job, void *user)
{
	struct bench *b = user;

	assert_true(job->made > 0);
	b->woken++;
}

static void setup(struct bench *b, uint32_t slots, uint32_t queue_max, double rate)
{
	struct engine_config config = {
		.slots = slots,
		.queue_max = queue_max,
		.tokens_per_s = rate,
		.kv_tokens = 1000,
	};

	b->now_us = START;
	b->woken = 0;
	engine_init(&b->e, &config, START);
}

/* Let time pass as the event loop does: a wake-up for each tick. */
static void pass(struct bench *b, uint64_t us)
{
	uint64_t end = b->now_us + us;

	while (b->now_us < end) {
		b->now_us += ENGINE_TICK_US;
		if (engine_next_us(&b->e) <= b->now_us)
			engine_advance(&b->e, b->now_us, on_wake, b);
	}
}

static void submit(struct bench *b, struct engine_job *job, uint32_t tokens)
{
	engine_job_init(job, 3, tokens);
	assert_int_equal(engine_submit(&b->e, job, b->now_us), 0);
}

static void jobs_beyond_the_slots_wait_and_start_in_order(void **state)
{
	struct engine_job jobs[5];
	struct bench b;

	(void)state;
	setup(&b, 2, NO_QUEUE_BOUND, 10);
	for (int i = 0; i < 5; i++)
		submit(&b, &jobs[i], 10);
	assert_int_equal(b.e.running, 2);
	assert_int_equal(b.e.waiting, 3);
	pass(&b, SECOND + 100000);
	assert_int_equal(jobs[0].state, ENGINE_JOB_DONE);
	assert_int_equal(jobs[1].state, ENGINE_JOB_DONE);
	assert_int_equal(jobs[2].state, ENGINE_JOB_RUNNING);
	assert_int_equal(jobs[3].state, ENGINE_JOB_RUNNING);
	assert_int_equal(jobs[4].state, ENGINE_JOB_QUEUED);
	pass(&b, 3 * SECOND);
	assert_int_equal(jobs[4].state, ENGINE_JOB_DONE);
	assert_int_equal(b.e.running, 0);
	assert_int_equal(b.e.counters.finished, 5);
	assert_int_equal(b.e.counters.generation_tokens, 50);
	assert_int_equal(b.e.kv_held, 0);
}

static void a_full_queue_refuses_and_counts_it(void **state)
{
	struct engine_job jobs[3];
	struct bench b;

	(void)state;
	setup(&b, 1, 1, 10);
	submit(&b, &jobs[0], 10);
	submit(&b, &jobs[1], 10);
	engine_job_init(&jobs[2], 1, 1);
	assert_int_equal(engine_submit(&b.e, &jobs[2], START), -EBUSY);
	assert_int_equal(b.e.counters.rejected, 1);
	assert_int_equal(b.e.counters.submitted, 2);
	assert_int_equal(jobs[2].state, ENGINE_JOB_NEW);
}

static void without_a_queue_a_free_slot_is_still_used(void **state)
{
	struct engine_job jobs[2];
	struct bench b;

	(void)state;
	setup(&b, 1, 0, 10);
	submit(&b, &jobs[0], 1);
	engine_job_init(&jobs[1], 1, 1);
	assert_int_equal(engine_submit(&b.e, &jobs[1], START), -EBUSY);
	pass(&b, SECOND);
	assert_int_equal(engine_submit(&b.e, &jobs[1], b.now_us), 0);
	assert_int_equal(jobs[1].state, ENGINE_JOB_RUNNING);
}

static void tokens_come_at_the_rate(void **state)
{
	const double rates[] = {0.5, 3, 50, 100, 1000};

	(void)state;
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct engine_job job;
		struct bench b;

		setup(&b, 1, 0, rates[i]);
		submit(&b, &job, 1000000);
		pass(&b, 10 * SECOND);
		/* One token and a tick of ten milliseconds may be on their way. */
		assert_in_range(job.made, (uint32_t)(rates[i] * 9.98) - 1,
				(uint32_t)(rates[i] * 10));
	}
}

static void a_rate_beyond_the_wheel_is_kept(void **state)
{
	struct engine_job job;
	struct bench b;

	(void)state;
	setup(&b, 1, 0, 0.04); /* a token in 25 s; the wheel turns in 10 s */
	submit(&b, &job, 3);
	pass(&b, 24 * SECOND);
	assert_int_equal(job.made, 0);
	pass(&b, 2 * SECOND);
	assert_int_equal(job.made, 1);
	pass(&b, 25 * SECOND);
	assert_int_equal(job.made, 2);
}

static void the_first_token_takes_its_extra_time(void **state)
{
	struct engine_job job;
	struct bench b;

	(void)state;
	setup(&b, 1, 0, 10);
	b.e.config.ttft_ms = 500;
	submit(&b, &job, 10);
	pass(&b, 590000);
	assert_int_equal(job.made, 0);
	pass(&b, 30000);
	assert_int_equal(job.made, 1);
	pass(&b, 100000);
	assert_int_equal(job.made, 2);
}

static void a_cancelled_job_frees_its_slot_at_once(void **state)
{
	struct engine_job jobs[4];
	struct bench b;

	(void)state;
	setup(&b, 1, NO_QUEUE_BOUND, 10);
	for (int i = 0; i < 4; i++)
		submit(&b, &jobs[i], 100);
	engine_cancel(&b.e, &jobs[1], START); /* while it waits */
	engine_cancel(&b.e, &jobs[0], START); /* while it runs */
	assert_int_equal(jobs[2].state, ENGINE_JOB_RUNNING);
	assert_int_equal(b.e.running, 1);
	assert_int_equal(b.e.waiting, 1);
	assert_int_equal(b.e.counters.aborted, 2);
	assert_int_equal(b.e.kv_held, 3);
	engine_cancel(&b.e, &jobs[0], START); /* twice is once */
	assert_int_equal(b.e.counters.aborted, 2);
}

static void frozen_makes_nothing_and_goes_on_afterwards(void **state)
{
	struct engine_job job;
	struct bench b;
	uint32_t before;

	(void)state;
	setup(&b, 1, 0, 10);
	submit(&b, &job, 100);
	pass(&b, SECOND);
	before = job.made;
	engine_set_rate(&b.e, 10, 0, b.now_us);
	assert_int_equal(engine_next_us(&b.e), UINT64_MAX);
	pass(&b, 5 * SECOND);
	assert_int_equal(job.made, before);
	assert_int_equal(b.e.running, 1);
	engine_set_rate(&b.e, 10, 1, b.now_us);
	pass(&b, SECOND);
	assert_in_range(job.made, before + 9, before + 10);
}

static void a_job_submitted_while_frozen_runs_when_thawed(void **state)
{
	struct engine_job job;
	struct bench b;

	(void)state;
	setup(&b, 1, 0, 10);
	engine_set_rate(&b.e, 10, 0, b.now_us);
	submit(&b, &job, 5);
	pass(&b, 20 * SECOND);
	assert_int_equal(job.made, 0);
	engine_set_rate(&b.e, 10, 1, b.now_us);
	pass(&b, SECOND);
	assert_int_equal(job.state, ENGINE_JOB_DONE);
}

static void slower_acts_on_running_jobs(void **state)
{
	struct engine_job job;
	struct bench b;
	uint32_t before;

	(void)state;
	setup(&b, 1, 0, 100);
	submit(&b, &job, 100000);
	pass(&b, SECOND);
	before = job.made;
	engine_set_rate(&b.e, 100, 0.1, b.now_us);
	pass(&b, 10 * SECOND);
	assert_in_range(job.made - before, 95, 101);
}

static void a_stopped_process_makes_no_burst(void **state)
{
	struct engine_job job;
	struct bench b;
	uint32_t before;

	(void)state;
	setup(&b, 1, 0, 100);
	submit(&b, &job, 100000);
	pass(&b, SECOND);
	before = job.made;
	b.now_us += 60 * SECOND;
	engine_advance(&b.e, b.now_us, on_wake, &b);
	assert_true(job.made - before <= 2);
	pass(&b, SECOND);
	assert_in_range(job.made - before, 95, 103);
}

static void more_slots_start_what_waits_and_fewer_stop_nothing(void **state)
{
	struct engine_job jobs[4];
	struct bench b;

	(void)state;
	setup(&b, 1, NO_QUEUE_BOUND, 10);
	for (int i = 0; i < 4; i++)
		submit(&b, &jobs[i], 10);
	engine_set_slots(&b.e, 3, b.now_us);
	assert_int_equal(b.e.running, 3);
	engine_set_slots(&b.e, 1, b.now_us);
	assert_int_equal(b.e.running, 3);
	pass(&b, SECOND + 100000);
	assert_int_equal(b.e.running, 1);
	assert_int_equal(b.e.waiting, 0);
}

static void iterations_count_steps_and_their_tokens(void **state)
{
	struct engine_job jobs[20];
	struct bench b;
	uint64_t sum = 0;

	(void)state;
	setup(&b, 20, 0, 10);
	for (int i = 0; i < 20; i++)
		submit(&b, &jobs[i], 10);
	pass(&b, 2 * SECOND);
	for (uint32_t i = 0; i <= ENGINE_ITER_BUCKETS; i++)
		sum += b.e.counters.iter_hist[i];
	assert_int_equal(sum, b.e.counters.iterations);
	/* All twenty started together, so each step made twenty tokens: le="32" is the fourth. */
	assert_int_equal(b.e.counters.iterations, 10);
	assert_int_equal(b.e.counters.iter_hist[3], 10);
	assert_int_equal(b.e.counters.generation_tokens, 200);
}

static void kv_usage_is_what_running_jobs_hold(void **state)
{
	struct engine_job jobs[2];
	struct bench b;

	(void)state;
	setup(&b, 1, NO_QUEUE_BOUND, 100);
	engine_job_init(&jobs[0], 400, 100);
	engine_job_init(&jobs[1], 400, 100);
	assert_int_equal(engine_submit(&b.e, &jobs[0], START), 0);
	assert_int_equal(engine_submit(&b.e, &jobs[1], START), 0);
	assert_true(engine_kv_usage(&b.e) == 0.4);
	pass(&b, SECOND / 2);
	assert_true(engine_kv_usage(&b.e) > 0.44 && engine_kv_usage(&b.e) < 0.46);
	pass(&b, 10 * SECOND);
	assert_true(engine_kv_usage(&b.e) == 0);
}

/* What must hold whatever happens. */
static void check_invariants(const struct bench *b, const struct engine_job *jobs, uint32_t n)
{
	uint32_t running = 0;
	uint32_t waiting = 0;
	uint64_t held = 0;

	for (uint32_t i = 0; i < n; i++) {
		running += jobs[i].state == ENGINE_JOB_RUNNING;
		waiting += jobs[i].state == ENGINE_JOB_QUEUED;
		if (jobs[i].state == ENGINE_JOB_RUNNING)
			held += jobs[i].prompt_tokens + jobs[i].made;
		assert_true(jobs[i].made <= jobs[i].max_tokens);
	}
	assert_int_equal(running, b->e.running);
	assert_int_equal(waiting, b->e.waiting);
	assert_int_equal(held, b->e.kv_held);
	assert_true(!waiting || running >= b->e.config.slots);
	assert_int_equal(b->e.counters.submitted,
			 b->e.counters.finished + b->e.counters.aborted + running + waiting);
}

static void random_step(struct bench *b, struct engine_job *job, int what)
{
	switch (what % 8) {
	case 0:
		engine_set_slots(&b->e, 1 + (uint32_t)what % 7, b->now_us);
		break;
	case 1:
		engine_set_rate(&b->e, 20, (what / 8 % 3) * 0.7, b->now_us);
		break;
	case 2:
		engine_cancel(&b->e, job, b->now_us);
		break;
	case 3:
	case 4:
		pass(b, (uint64_t)(what % 40) * ENGINE_TICK_US);
		break;
	default:
		if (job->state == ENGINE_JOB_RUNNING || job->state == ENGINE_JOB_QUEUED)
			break;
		engine_job_init(job, (uint32_t)what % 5, 1 + (uint32_t)what % 30);
		(void)engine_submit(&b->e, job, b->now_us);
	}
}

static void counts_agree_after_any_sequence(void **state)
{
	struct engine_job jobs[32];
	struct bench b;

	(void)state;
	srand(4);
	setup(&b, 4, 8, 20);
	for (int i = 0; i < 32; i++)
		engine_job_init(&jobs[i], 0, 1);
	for (int i = 0; i < 20000; i++) {
		random_step(&b, &jobs[rand() % 32], rand());
		check_invariants(&b, jobs, 32);
	}
	assert_true(b.e.counters.finished > 100);
	assert_true(b.e.counters.rejected > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_beyond_the_slots_wait_and_start_in_order),
		cmocka_unit_test(a_full_queue_refuses_and_counts_it),
		cmocka_unit_test(without_a_queue_a_free_slot_is_still_used),
		cmocka_unit_test(tokens_come_at_the_rate),
		cmocka_unit_test(a_rate_beyond_the_wheel_is_kept),
		cmocka_unit_test(the_first_token_takes_its_extra_time),
		cmocka_unit_test(a_cancelled_job_frees_its_slot_at_once),
		cmocka_unit_test(frozen_makes_nothing_and_goes_on_afterwards),
		cmocka_unit_test(a_job_submitted_while_frozen_runs_when_thawed),
		cmocka_unit_test(slower_acts_on_running_jobs),
		cmocka_unit_test(a_stopped_process_makes_no_burst),
		cmocka_unit_test(more_slots_start_what_waits_and_fewer_stop_nothing),
		cmocka_unit_test(iterations_count_steps_and_their_tokens),
		cmocka_unit_test(kv_usage_is_what_running_jobs_hold),
		cmocka_unit_test(counts_agree_after_any_sequence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
