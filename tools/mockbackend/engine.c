// SPDX-License-Identifier: BSD-2-Clause
#include "tools/mockbackend/engine.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

/* A job later than this was held up by the process, not by the model: it makes no burst. */
#define ENGINE_STALL_US 500000ULL

const uint32_t engine_iter_bounds[ENGINE_ITER_BUCKETS] = {
	1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384,
};

static void link_init(struct engine_link *l)
{
	l->next = l;
	l->prev = l;
}

static bool link_empty(const struct engine_link *l)
{
	return l->next == l;
}

static void link_add_tail(struct engine_link *head, struct engine_link *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

static void link_del(struct engine_link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	link_init(l);
}

/* Move all of from to the end of to. */
static void link_splice(struct engine_link *to, struct engine_link *from)
{
	if (link_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	link_init(from);
}

static struct engine_job *link_job(struct engine_link *l)
{
	return (struct engine_job *)((char *)l - offsetof(struct engine_job, link));
}

void engine_init(struct engine *e, const struct engine_config *config, uint64_t now_us)
{
	assert(config->slots > 0);
	assert(config->tokens_per_s > 0);
	assert(config->kv_tokens > 0);

	memset(e, 0, sizeof(*e));
	e->config = *config;
	e->rate_factor = 1.0;
	e->tick = now_us / ENGINE_TICK_US;
	link_init(&e->queue);
	link_init(&e->frozen);
	for (uint32_t i = 0; i < ENGINE_WHEEL_BUCKETS; i++)
		link_init(&e->wheel[i]);
}

void engine_job_init(struct engine_job *job, uint32_t prompt_tokens, uint32_t max_tokens)
{
	assert(max_tokens > 0);

	memset(job, 0, sizeof(*job));
	link_init(&job->link);
	job->state = ENGINE_JOB_NEW;
	job->prompt_tokens = prompt_tokens;
	job->max_tokens = max_tokens;
}

/* Time between two tokens; UINT64_MAX when frozen. */
static uint64_t interval_us(const struct engine *e)
{
	double rate = e->config.tokens_per_s * e->rate_factor;

	if (rate * 1e7 < 1.0)
		return UINT64_MAX;
	return (uint64_t)(1e6 / rate) + 1;
}

static uint64_t first_token_us(const struct engine *e)
{
	return interval_us(e) + (uint64_t)(e->config.ttft_ms * 1000.0 / e->rate_factor);
}

/* Put a running job where its next token is due: a wheel bucket, or the frozen list. */
static void place(struct engine *e, struct engine_job *job)
{
	uint64_t at = job->due_us / ENGINE_TICK_US + 1;

	if (interval_us(e) == UINT64_MAX) {
		link_add_tail(&e->frozen, &job->link);
		return;
	}
	if (at <= e->tick)
		at = e->tick + 1;
	if (at >= e->tick + ENGINE_WHEEL_BUCKETS)
		at = e->tick + ENGINE_WHEEL_BUCKETS - 1;
	link_add_tail(&e->wheel[at % ENGINE_WHEEL_BUCKETS], &job->link);
}

static void start(struct engine *e, struct engine_job *job, uint64_t now_us)
{
	if (!e->running) /* nothing advanced the wheel while it was empty */
		e->tick = now_us / ENGINE_TICK_US;
	job->state = ENGINE_JOB_RUNNING;
	job->started_us = now_us;
	job->due_us = now_us;
	if (interval_us(e) != UINT64_MAX)
		job->due_us += first_token_us(e);
	e->running++;
	e->kv_held += job->prompt_tokens;
	e->counters.prompt_tokens += job->prompt_tokens;
	place(e, job);
}

static void start_waiting(struct engine *e, uint64_t now_us)
{
	while (e->running < e->config.slots && !link_empty(&e->queue)) {
		struct engine_job *job = link_job(e->queue.next);

		link_del(&job->link);
		e->waiting--;
		start(e, job, now_us);
	}
}

int engine_submit(struct engine *e, struct engine_job *job, uint64_t now_us)
{
	assert(job->state == ENGINE_JOB_NEW);

	if (e->running >= e->config.slots && e->waiting >= e->config.queue_max) {
		e->counters.rejected++;
		return -EBUSY;
	}
	e->counters.submitted++;
	job->submitted_us = now_us;
	job->state = ENGINE_JOB_QUEUED;
	link_add_tail(&e->queue, &job->link);
	e->waiting++;
	start_waiting(e, now_us);
	return 0;
}

/* Take a running job off its slot. */
static void release(struct engine *e, struct engine_job *job)
{
	assert(e->running > 0);

	link_del(&job->link);
	e->running--;
	e->kv_held -= job->prompt_tokens + job->made;
}

void engine_cancel(struct engine *e, struct engine_job *job, uint64_t now_us)
{
	switch (job->state) {
	case ENGINE_JOB_QUEUED:
		link_del(&job->link);
		e->waiting--;
		break;
	case ENGINE_JOB_RUNNING:
		release(e, job);
		break;
	case ENGINE_JOB_NEW:
	case ENGINE_JOB_DONE:
	case ENGINE_JOB_ABORTED:
		return;
	}
	job->state = ENGINE_JOB_ABORTED;
	e->counters.aborted++;
	start_waiting(e, now_us);
}

/* Returns the tokens made now: those due, or one after a stall. */
static uint32_t make_tokens(struct engine *e, struct engine_job *job, uint64_t now_us)
{
	uint64_t step = interval_us(e);
	uint32_t n = 0;

	if (job->due_us + ENGINE_STALL_US < now_us)
		job->due_us = now_us;
	while (job->due_us <= now_us && job->made < job->max_tokens) {
		job->made++;
		job->due_us += step;
		n++;
	}
	e->kv_held += n;
	e->counters.generation_tokens += n;
	return n;
}

static void count_iteration(struct engine *e, uint64_t tokens)
{
	uint32_t i = 0;

	if (!tokens)
		return;
	while (i < ENGINE_ITER_BUCKETS && tokens > engine_iter_bounds[i])
		i++;
	e->counters.iter_hist[i]++;
	e->counters.iterations++;
}

/* One bucket of the wheel is one step of the engine: all its jobs advance together. */
static void serve_bucket(struct engine *e, struct engine_link *bucket, uint64_t now_us,
			 engine_wake_fn wake, void *user)
{
	struct engine_link due;
	uint64_t tokens = 0;

	link_init(&due);
	link_splice(&due, bucket);
	while (!link_empty(&due)) {
		struct engine_job *job = link_job(due.next);
		uint32_t n = make_tokens(e, job, now_us);

		tokens += n;
		if (job->made == job->max_tokens) {
			release(e, job);
			job->state = ENGINE_JOB_DONE;
			e->counters.finished++;
		} else {
			link_del(&job->link);
			place(e, job);
		}
		if (n)
			wake(job, user);
	}
	count_iteration(e, tokens);
}

void engine_advance(struct engine *e, uint64_t now_us, engine_wake_fn wake, void *user)
{
	uint64_t target = now_us / ENGINE_TICK_US;
	uint64_t steps;

	if (target <= e->tick)
		return;
	steps = target - e->tick;
	if (steps > ENGINE_WHEEL_BUCKETS) {
		steps = ENGINE_WHEEL_BUCKETS;
		e->tick = target - steps;
	}
	while (steps--) {
		e->tick++;
		serve_bucket(e, &e->wheel[e->tick % ENGINE_WHEEL_BUCKETS], now_us, wake, user);
	}
	start_waiting(e, now_us);
}

uint64_t engine_next_us(const struct engine *e)
{
	if (!e->running || interval_us(e) == UINT64_MAX)
		return UINT64_MAX;
	return (e->tick + 1) * ENGINE_TICK_US;
}

void engine_set_rate(struct engine *e, double tokens_per_s, double factor, uint64_t now_us)
{
	struct engine_link all;

	assert(tokens_per_s > 0);
	assert(factor >= 0);

	link_init(&all);
	link_splice(&all, &e->frozen);
	for (uint32_t i = 0; i < ENGINE_WHEEL_BUCKETS; i++)
		link_splice(&all, &e->wheel[i]);
	e->config.tokens_per_s = tokens_per_s;
	e->rate_factor = factor;
	while (!link_empty(&all)) {
		struct engine_job *job = link_job(all.next);

		link_del(&job->link);
		job->due_us = now_us;
		if (interval_us(e) != UINT64_MAX)
			job->due_us += job->made ? interval_us(e) : first_token_us(e);
		place(e, job);
	}
}

void engine_set_slots(struct engine *e, uint32_t slots, uint64_t now_us)
{
	assert(slots > 0);

	e->config.slots = slots;
	start_waiting(e, now_us);
}

double engine_kv_usage(const struct engine *e)
{
	double usage = (double)e->kv_held / (double)e->config.kv_tokens;

	return usage > 1.0 ? 1.0 : usage;
}
