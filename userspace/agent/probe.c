/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/probe_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "userspace/lib/cleanup.h"

#define TICK_US         2000 /* starts are gathered for so long, to be sent in one go */
#define STARTS_PER_TICK 256
#define FIRST_STEP_MS   1 /* between first starts of probes made at once, if they are few */
#define GOLDEN          0.6180339887498949
#define BODY_BUFFER_MIN 1024 /* kept between probes */
#define WAKE_HOLD       10   /* intervals without an early start after one that was in vain */
#define LATE_MS         50   /* behind its time by this, the loop looks at its sockets first */

/* --- time ---------------------------------------------------------------------------------- */

static uint64_t engine_now_us(const struct probe_engine *engine)
{
	uint64_t us = 0;

	(void)sd_event_now(engine->event, CLOCK_MONOTONIC, &us);
	return us;
}

int64_t probe_engine_now(const struct probe_engine *engine)
{
	return (int64_t)(engine_now_us(engine) / 1000);
}

static void engine_arm(struct probe_engine *engine, uint64_t at_us)
{
	engine->armed_us = at_us;
	(void)sd_event_source_set_time(engine->timer, at_us);
	(void)sd_event_source_set_enabled(engine->timer, SD_EVENT_ONESHOT);
}

void probe_due(struct probe *p, int64_t at_ms)
{
	struct probe_engine *engine = p->engine;
	uint64_t at_us = at_ms < 0 ? 0 : (uint64_t)at_ms * 1000;

	due_queue_set(&engine->queue, &p->due, at_ms);
	if (at_us < engine->armed_us)
		engine_arm(engine, at_us);
}

/* In [-1, 1). Source: xorshift64*, Vigna 2016; spreading starts needs no more. */
static double engine_random(struct probe_engine *engine)
{
	uint64_t x = engine->rng;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	engine->rng = x;
	return (double)((x * 0x2545f4914f6cdd1dULL) >> 11) / (double)(1ULL << 52) - 1.0;
}

static int64_t interval_jittered(struct probe *p)
{
	const struct probe_spec *s = &p->pr.spec;
	double ms = (double)s->interval_ms * (1.0 + s->jitter_ratio * engine_random(p->engine));

	return ms < 1.0 ? 1 : (int64_t)ms;
}

/*
 * Probes made at once start a step apart, and evenly over the interval if they are many. The golden
 * ratio keeps those made one after the other, which often ask the same node, well apart.
 */
static int64_t first_start(struct probe *p, int64_t now_ms)
{
	struct probe_engine *engine = p->engine;
	int64_t span_ms;
	double turns;

	if (now_ms > engine->burst_end_ms)
		engine->burst = 0;
	span_ms = (int64_t)++engine->burst * FIRST_STEP_MS;
	if (span_ms > p->pr.spec.interval_ms)
		span_ms = p->pr.spec.interval_ms;
	engine->burst_end_ms = now_ms + span_ms;
	turns = engine->burst * GOLDEN;
	return now_ms + (int64_t)((turns - (double)(int64_t)turns) * (double)span_ms);
}

/* Never back to back, however long the last one took. */
static int64_t next_start(struct probe *p, int64_t now_ms)
{
	int64_t next = p->started_ms + interval_jittered(p);
	int64_t gap = p->pr.spec.interval_ms / 10 + 1;

	return next < now_ms + gap ? now_ms + gap : next;
}

/*
 * Whether this loop was held up (stopped, starved) since then: deadlines that passed meanwhile say
 * nothing.
 */
static bool is_stalled(struct probe_engine *engine, int64_t since_ms, int64_t now_ms)
{
	const struct due *first = due_queue_first(&engine->queue);

	if (first && first->at_ms + PROBE_STALL_MS < now_ms)
		engine->stall_ms = now_ms;
	return engine->stall_ms >= since_ms;
}

/* --- callbacks ----------------------------------------------------------------------------- */

static void probe_destroy(struct probe *p)
{
	probe_prepared_free(&p->pr);
	free(p->body);
	free(p);
}

void probe_hold(struct probe *p)
{
	p->in_callback++;
}

bool probe_release(struct probe *p)
{
	if (--p->in_callback || !p->dead)
		return true;
	probe_destroy(p);
	return false;
}

static int stop(struct probe *p, enum probe_outcome outcome, const char *error)
{
	p->stop = outcome;
	p->stop_error = error;
	return -1;
}

/* With room for a final NUL. */
static int body_keep(struct probe *p, const char *buf, size_t len)
{
	size_t size = p->body_size ?: BODY_BUFFER_MIN;
	char *body;

	while (size < p->body_len + len + 1)
		size *= 2;
	if (size != p->body_size) {
		body = realloc(p->body, size);
		if (!body)
			return stop(p, PROBE_LOCAL, "out of memory");
		p->body = body;
		p->body_size = size;
	}
	memcpy(p->body + p->body_len, buf, len);
	p->body_len += len;
	p->body[p->body_len] = '\0';
	return 0;
}

int probe_take_body(struct probe *p, uint16_t status, bool encoded, const char *buf, size_t len)
{
	bool expected;
	int r;

	p->body_bytes += len;
	if (p->body_bytes > p->pr.spec.body_max)
		return stop(p, PROBE_TOO_BIG, NULL);
	if (p->pr.spec.body == PROBE_BODY_DISCARD)
		return 0;
	expected = probe_status_expected(&p->pr.spec, status);
	if (encoded)
		return expected ? stop(p, PROBE_BAD_RESPONSE, "encoded content not asked for") : 0;
	if (p->pr.spec.body == PROBE_BODY_KEEP)
		return body_keep(p, buf, len);
	if (!expected)
		return 0;
	probe_hold(p);
	r = p->ops->on_body(p, p->userdata, buf, len);
	if (!probe_release(p))
		return -1;
	return r < 0 ? stop(p, PROBE_BAD_BODY, NULL) : 0;
}

static void body_release(struct probe *p)
{
	p->body_len = 0;
	if (p->body_size <= BODY_BUFFER_MIN)
		return;
	free(p->body);
	p->body = NULL;
	p->body_size = 0;
}

/* The next start is set before the callback, which may change it. */
static void tell(struct probe *p, struct probe_result *res)
{
	struct probe_engine *engine = p->engine;
	int64_t next_ms = next_start(p, res->now_ms);

	if (p->again_ms >= 0)
		next_ms = p->again_ms;
	if (p->woken && res->outcome == PROBE_PASS)
		p->wake_hold_ms = res->now_ms + WAKE_HOLD * p->pr.spec.interval_ms;
	p->again_ms = -1;
	p->woken = false;
	p->state = PROBE_WAITING;
	engine->stats.in_flight--;
	engine->stats.outcomes[res->outcome]++;
	probe_due(p, next_ms);

	res->started_ms = p->started_ms;
	probe_hold(p);
	p->ops->on_result(p, p->userdata, res);
	/* If it was freed, so was the body; if it started anew, there is none yet. */
	if (probe_release(p))
		body_release(p);
}

void probe_finish(struct probe *p, const struct probe_facts *given, struct probe_result *res)
{
	struct probe_facts facts = *given;
	const struct probe_spec *s = &p->pr.spec;
	char cause[PROBE_CAUSE_MAX];

	res->now_ms = probe_engine_now(p->engine);
	facts.status_expected =
		p->pr.way == PROBE_WAY_CONNECT || probe_status_expected(s, facts.http_status);
	facts.stop = p->stop;
	facts.header_bytes = p->header_bytes;
	facts.body_bytes = p->body_bytes;
	facts.body_max = s->body_max;
	facts.connect_timeout_ms = s->connect_timeout_ms;
	facts.timeout_ms = s->timeout_ms;
	if (p->stop_error || !facts.error)
		facts.error = p->stop_error ?: "";
	if (is_stalled(p->engine, p->started_ms, res->now_ms))
		facts.stalled = true;

	res->outcome = probe_outcome_http(&facts);
	res->http_status = facts.http_status;
	if (res->outcome != PROBE_PASS && res->outcome != PROBE_FAIL_STATUS)
		res->rtt_us = 0;
	probe_outcome_explain(res->outcome, &facts, cause);
	res->cause = cause;
	res->body_len = p->body_bytes;
	if (p->pr.way != PROBE_WAY_CONNECT && s->body == PROBE_BODY_KEEP) {
		res->body = p->body_len ? p->body : "";
		res->body_len = p->body_len;
	}
	tell(p, res);
}

void probe_finish_local(struct probe *p, const char *what, int err)
{
	struct probe_result res = {
		.outcome = PROBE_LOCAL,
		.now_ms = probe_engine_now(p->engine),
	};
	char cause[PROBE_CAUSE_MAX];

	snprintf(cause, sizeof(cause), "on this host: %s: %s", what,
		 strerrordesc_np(err) ?: "unknown error");
	res.cause = cause;
	if (p->pr.spec.body == PROBE_BODY_KEEP)
		res.body = "";
	tell(p, &res);
}

/* --- starts -------------------------------------------------------------------------------- */

static bool under_way(const struct probe *p)
{
	return p->state != PROBE_WAITING && p->state != PROBE_PAUSED;
}

/* Stop what is under way, without a result, and let go of what was kept. */
static void probe_drop(struct probe *p)
{
	if (under_way(p))
		p->engine->stats.in_flight--;
	probe_http1_drop(p);
	probe_curl_drop(p);
	due_queue_remove(&p->engine->queue, &p->due);
	p->state = PROBE_PAUSED;
}

static void probe_start(struct probe *p, int64_t now_ms)
{
	struct probe_engine *engine = p->engine;

	due_queue_remove(&engine->queue, &p->due);
	p->state = PROBE_STARTING;
	p->started_ms = now_ms;
	p->again_ms = -1;
	p->header_bytes = 0;
	p->body_bytes = 0;
	p->body_len = 0;
	p->stop = 0;
	p->stop_error = NULL;
	engine->stats.started++;
	engine->stats.in_flight++;
	if (p->ops->on_start) {
		probe_hold(p);
		p->ops->on_start(p, p->userdata, now_ms);
		if (!probe_release(p))
			return;
	}
	if (p->state != PROBE_STARTING)
		return; /* paused or changed by on_start */
	if (p->pr.way == PROBE_WAY_CURL)
		probe_curl_start(p, now_ms);
	else
		probe_http1_start(p, now_ms);
}

void probe_wake(struct probe *p)
{
	int64_t now_ms = probe_engine_now(p->engine);

	if (p->state != PROBE_WAITING || now_ms < p->wake_hold_ms || p->due.at_ms <= now_ms)
		return;
	p->woken = true;
	p->engine->stats.woken++;
	probe_due(p, now_ms);
}

static struct probe *first_due(struct probe_engine *engine, int64_t now_ms)
{
	struct due *due = due_queue_first(&engine->queue);

	if (!due || due->at_ms > now_ms)
		return NULL;
	return (struct probe *)((char *)due - offsetof(struct probe, due));
}

/* Probes are made before the packet programs are loaded, which takes seconds: nothing is late yet. */
static void count_lateness(struct probe_engine *engine, const struct due *due, int64_t now_ms)
{
	int64_t from_ms = due->at_ms > engine->began_ms ? due->at_ms : engine->began_ms;

	if (now_ms - from_ms > engine->stats.late_max_ms)
		engine->stats.late_max_ms = now_ms - from_ms;
}

/* Start what is due and end what is overdue. Returns whether there may be more. */
static bool run_due(struct probe_engine *engine, int64_t now_ms)
{
	struct probe *p;
	int i;

	for (i = 0; i < STARTS_PER_TICK; i++) {
		p = first_due(engine, now_ms);
		if (!p)
			return false;
		count_lateness(engine, &p->due, now_ms);
		(void)is_stalled(engine, 0, now_ms);
		if (p->state == PROBE_WAITING)
			probe_start(p, now_ms);
		else
			probe_http1_deadline(p);
	}
	return true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct probe_engine *engine = userdata;
	int64_t now_ms = probe_engine_now(engine);
	struct probe *late = first_due(engine, now_ms - LATE_MS);
	const struct due *due;
	uint64_t next_us;
	bool more;

	(void)source;
	(void)usec;
	if (!engine->began_ms)
		engine->began_ms = now_ms;
	engine->armed_us = 0; /* nobody arms it meanwhile */
	/* What waits in the sockets may have come in time. */
	if (late) {
		(void)is_stalled(engine, 0, now_ms);
		poll_set_drain(engine->set);
	}
	more = run_due(engine, now_ms);
	curl_loop_flush(engine->curl);
	poll_set_flush(engine->set);

	due = due_queue_first(&engine->queue);
	next_us = engine_now_us(engine) + (more ? 0 : TICK_US);
	if (!due)
		engine->armed_us = UINT64_MAX;
	else if (due->at_ms > 0 && (uint64_t)due->at_ms * 1000 > next_us)
		engine_arm(engine, (uint64_t)due->at_ms * 1000);
	else
		engine_arm(engine, next_us);
	return 0;
}

/* --- probes -------------------------------------------------------------------------------- */

int probe_new(struct probe_engine *engine, const struct probe_spec *spec,
	      const struct probe_ops *ops, void *userdata, struct probe **ret)
{
	_cleanup_(probe_prepared_free) struct probe_prepared pr = {0};
	struct probe *p;
	int r;

	assert(engine && spec && ops && ret);
	assert(ops->on_result);
	assert(ops->on_body || spec->body != PROBE_BODY_STREAM);

	r = probe_prepare(engine, spec, &pr);
	if (r < 0)
		return r;
	r = due_queue_reserve(&engine->queue, engine->stats.probes + 1);
	if (r < 0)
		return r;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->engine = engine;
	p->ops = ops;
	p->userdata = userdata;
	p->fd = -1;
	p->again_ms = -1;
	p->started_ms = probe_engine_now(engine);
	p->pr = pr;
	pr = (struct probe_prepared){0};
	probe_curl_init(p);

	p->next = engine->probes;
	if (p->next)
		p->next->prev = p;
	engine->probes = p;
	engine->stats.probes++;
	p->state = PROBE_WAITING;
	probe_due(p, first_start(p, p->started_ms));
	*ret = p;
	return 0;
}

void probe_free(struct probe **pp)
{
	struct probe *p = pp ? *pp : NULL;

	if (!p)
		return;
	*pp = NULL;
	assert(!p->dead);
	probe_drop(p);
	if (p->prev)
		p->prev->next = p->next;
	else
		p->engine->probes = p->next;
	if (p->next)
		p->next->prev = p->prev;
	p->engine->stats.probes--;
	p->dead = true;
	if (!p->in_callback)
		probe_destroy(p);
}

/* What does not change the request. */
static void update_limits(struct probe *p, const struct probe_spec *spec)
{
	struct probe_spec *own = &p->pr.spec;
	int64_t now_ms = probe_engine_now(p->engine);
	int64_t next_ms = p->started_ms + spec->interval_ms;

	own->interval_ms = spec->interval_ms;
	own->jitter_ratio = spec->jitter_ratio;
	own->connect_timeout_ms = spec->connect_timeout_ms;
	own->timeout_ms = spec->timeout_ms;
	own->n_expect_status = spec->n_expect_status;
	memcpy(own->expect_status, spec->expect_status, sizeof(own->expect_status));
	if (p->state == PROBE_WAITING && p->due.at_ms > next_ms)
		probe_due(p, next_ms > now_ms ? next_ms : now_ms);
}

int probe_update(struct probe *p, const struct probe_spec *spec)
{
	struct probe_prepared pr;
	bool paused = p->state == PROBE_PAUSED;
	int r;

	assert(!p->dead);
	assert(p->ops->on_body || spec->body != PROBE_BODY_STREAM);

	if (!probe_spec_valid(spec))
		return -EINVAL;
	if (probe_same_request(&p->pr.spec, spec)) {
		update_limits(p, spec);
		return 0;
	}
	r = probe_prepare(p->engine, spec, &pr);
	if (r < 0) {
		probe_prepared_free(&pr);
		return r;
	}
	probe_drop(p);
	probe_prepared_free(&p->pr);
	p->pr = pr;
	probe_curl_init(p);
	p->again_ms = -1;
	p->woken = false;
	p->wake_hold_ms = 0;
	if (paused)
		return 0;
	p->state = PROBE_WAITING;
	probe_due(p, first_start(p, probe_engine_now(p->engine)));
	return 0;
}

void probe_again(struct probe *p, int64_t in_ms)
{
	int64_t at_ms = probe_engine_now(p->engine) + (in_ms > 0 ? in_ms : 0);

	assert(!p->dead);
	if (p->state == PROBE_WAITING)
		probe_due(p, at_ms);
	else if (p->state != PROBE_PAUSED)
		p->again_ms = at_ms;
}

void probe_pause(struct probe *p)
{
	assert(!p->dead);
	probe_drop(p);
}

void probe_resume(struct probe *p)
{
	assert(!p->dead);
	if (p->state != PROBE_PAUSED)
		return;
	p->state = PROBE_WAITING;
	p->again_ms = -1;
	probe_due(p, probe_engine_now(p->engine));
}

/* --- the engine ---------------------------------------------------------------------------- */

static uint64_t random_seed(void)
{
	uint64_t seed = 0;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = (uint64_t)getpid();
	return seed ?: 1;
}

int probe_engine_new(sd_event *event, struct probe_engine **ret)
{
	_cleanup_(probe_engine_free) struct probe_engine *engine = NULL;
	int r;

	assert(event);
	assert(ret);

	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return -ENOMEM;
	engine->event = sd_event_ref(event);
	engine->armed_us = UINT64_MAX;
	engine->rng = random_seed();
	engine->stall_ms = -1;
	r = bearer_store_new(&engine->bearers);
	if (r < 0)
		return r;
	r = poll_set_new(event, &engine->set);
	if (r < 0)
		return r;
	r = curl_loop_new(event, engine->set, &engine->curl);
	if (r < 0)
		return r;
	/* Accuracy 1: to the microsecond; 0 would be a quarter of a second. */
	r = sd_event_add_time(event, &engine->timer, CLOCK_MONOTONIC, UINT64_MAX, 1, on_timer,
			      engine);
	if (r < 0)
		return r;
	(void)sd_event_source_set_description(engine->timer, "probes");
	*ret = TAKE_PTR(engine);
	return 0;
}

void probe_engine_free(struct probe_engine **enginep)
{
	struct probe_engine *engine = enginep ? *enginep : NULL;

	if (!engine)
		return;
	*enginep = NULL;
	while (engine->probes) {
		struct probe *p = engine->probes;

		probe_free(&p);
	}
	curl_loop_free(&engine->curl);
	poll_set_free(&engine->set);
	bearer_store_free(&engine->bearers);
	sd_event_source_disable_unref(engine->timer);
	sd_event_unref(engine->event);
	due_queue_free(&engine->queue);
	free(engine);
}

void probe_engine_stats(const struct probe_engine *engine, struct probe_stats *ret_stats)
{
	struct curl_loop_stats curl;

	curl_loop_stats(engine->curl, &curl);
	*ret_stats = engine->stats;
	ret_stats->connections += curl.connections;
}

void probe_engine_stats_reset(struct probe_engine *engine)
{
	engine->stats.late_max_ms = 0;
}
