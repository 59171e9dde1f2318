/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests in, tokens out: what an inference engine does with its slots, without the arithmetic.
 * A job runs in one of `slots`, or waits in a first-in first-out queue until one is free. A running
 * job makes one token every 1/(tokens_per_s * rate_factor) seconds. One timer wheel serves all
 * jobs: 10,000 slow streams cost one wake-up a tick. Times are microseconds of a monotonic clock,
 * passed in. No I/O, no clock, no allocation.
 */
#ifndef SLUICE_MOCKBACKEND_ENGINE_H
#define SLUICE_MOCKBACKEND_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#define ENGINE_TICK_US       10000ULL
#define ENGINE_WHEEL_BUCKETS 1024U
#define ENGINE_ITER_BUCKETS  13U

/* Upper bounds of vLLM's iteration_tokens_total buckets. */
extern const uint32_t engine_iter_bounds[ENGINE_ITER_BUCKETS];

struct engine_link {
	struct engine_link *next;
	struct engine_link *prev;
};

enum engine_job_state {
	ENGINE_JOB_NEW = 1,
	ENGINE_JOB_QUEUED,
	ENGINE_JOB_RUNNING,
	ENGINE_JOB_DONE,
	ENGINE_JOB_ABORTED,
};

/* Owned by the caller, who keeps it in place from submit until done or cancelled. */
struct engine_job {
	struct engine_link link;
	enum engine_job_state state;
	uint32_t prompt_tokens;
	uint32_t max_tokens;
	uint32_t made; /* tokens generated so far */
	uint64_t due_us;
	uint64_t submitted_us;
	uint64_t started_us;
};

struct engine_config {
	uint32_t slots;     /* requests that run at once, >= 1 */
	uint32_t queue_max; /* requests that may wait; UINT32_MAX: no bound */
	double tokens_per_s;
	uint32_t ttft_ms;   /* extra time before the first token */
	uint64_t kv_tokens; /* tokens the KV cache holds */
};

struct engine_counters {
	uint64_t submitted;
	uint64_t rejected;
	uint64_t finished;
	uint64_t aborted;
	uint64_t prompt_tokens;
	uint64_t generation_tokens;
	uint64_t iterations;
	uint64_t iter_hist[ENGINE_ITER_BUCKETS + 1]; /* not cumulative; the last one is +Inf */
};

struct engine {
	struct engine_config config;
	double rate_factor; /* 1: as configured; 0: frozen */
	uint32_t running;
	uint32_t waiting;
	uint64_t kv_held;
	uint64_t tick; /* the last tick that was served */
	struct engine_counters counters;
	struct engine_link queue;
	struct engine_link frozen;
	struct engine_link wheel[ENGINE_WHEEL_BUCKETS];
};

/* Called for each job that made tokens; it may not submit or cancel jobs. */
typedef void (*engine_wake_fn)(struct engine_job *job, void *user);

void engine_init(struct engine *e, const struct engine_config *config, uint64_t now_us);

void engine_job_init(struct engine_job *job, uint32_t prompt_tokens, uint32_t max_tokens);

/* Run or queue the job. Returns 0, or -EBUSY when slots and queue are full (and counts that). */
int engine_submit(struct engine *e, struct engine_job *job, uint64_t now_us);

/* The client went away: free the slot or the place in the queue at once. Ignores ended jobs. */
void engine_cancel(struct engine *e, struct engine_job *job, uint64_t now_us);

/* Make the tokens that are due, end and start jobs. A stall of the process makes no burst. */
void engine_advance(struct engine *e, uint64_t now_us, engine_wake_fn wake, void *user);

/* When engine_advance() has something to do next; UINT64_MAX: nothing is running. */
uint64_t engine_next_us(const struct engine *e);

/* Change the speed, also of running jobs. factor: >= 0, 0 freezes. */
void engine_set_rate(struct engine *e, double tokens_per_s, double factor, uint64_t now_us);

/* Change the number of slots; jobs that run keep theirs. */
void engine_set_slots(struct engine *e, uint32_t slots, uint64_t now_us);

/* Share of the KV cache held by running jobs, 0..1. */
double engine_kv_usage(const struct engine *e);

#endif
