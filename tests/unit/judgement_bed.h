/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What operators meet -> what the judgement makes of it: health.c, score.c and weight.c together,
 * as node.c and pool.c join them, over virtual time. One server is checked every second and
 * scraped twice a second.
 */
#ifndef SLUICE_TESTS_JUDGEMENT_BED_H
#define SLUICE_TESTS_JUDGEMENT_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "userspace/agent/health.h"
#include "userspace/agent/score.h"
#include "userspace/agent/weight.h"
#include "userspace/lib/cleanup.h"

#define SERVERS_MAX 1000
#define STEP_MS     100
#define SCRAPE_MS   500
#define STALE_MS    2000

/* What one server does, from outside. */
struct server {
	enum health_result answer; /* to a check */
	double rtt_ms;
	bool no_page;       /* its scrapes time out */
	double tokens_step; /* what its progress counter gains by each scrape, if it has one */
	double aborts_step;
	struct load_sample page;

	struct health h;
	struct score_node load;
	bool asked; /* a check is under way, since */
	int64_t asked_ms;
	int64_t scraped_ms;
	uint32_t n_changes; /* of state */
};

struct fleet {
	uint32_t n;
	struct server *servers;
	struct health_settings hs;
	struct weight_settings ws;
	struct score_settings ss;
	struct weight_memory memory;
	struct weight_member members[SERVERS_MAX];
	struct weight_output out[SERVERS_MAX];
	struct weight_verdict verdict;
	struct health_pool figures;
	struct score scores[SERVERS_MAX];
	uint32_t n_tables; /* weights changed so often */
	int64_t now_ms;
	bool stopped; /* the agent is */
};

static inline void figures(struct fleet *f)
{
	struct health_pool_member *members = calloc(f->n, sizeof(*members));
	double *scratch = calloc(f->n, sizeof(*scratch));

	for (uint32_t i = 0; i < f->n; i++) {
		struct server *s = &f->servers[i];
		bool fresh = s->load.sample_ms >= 0 && f->now_ms - s->load.sample_ms <= STALE_MS;

		members[i] = (struct health_pool_member){&s->h, fresh ? &s->page : NULL,
							 f->members[i].capacity};
	}
	health_pool_figures(members, f->n, scratch, &f->figures);
	free(members);
	free(scratch);
}

static inline void judge(struct fleet *f)
{
	bool changed = false;

	for (uint32_t i = 0; i < f->n; i++) {
		struct weight_member *m = &f->members[i];

		m->state = f->servers[i].h.state;
		m->inferred = health_drain_inferred(&f->servers[i].h);
		m->warm_permille = health_warm_permille(&f->servers[i].h, &f->hs, f->now_ms);
	}
	weight_judge(&f->ws, &f->memory, f->members, f->n, f->now_ms, f->out, &f->verdict);
	for (uint32_t i = 0; i < f->n; i++) {
		changed |= f->members[i].current != f->out[i].weight;
		f->members[i].current = f->out[i].weight;
		f->members[i].was_degraded = f->out[i].held_by_degradation;
	}
	f->n_tables += changed;
}

static inline void check(struct fleet *f, struct server *s)
{
	struct health_probe probe = {.result = s->answer, .rtt_ms = s->rtt_ms};
	struct health_change change;
	bool lasts = s->answer == HEALTH_ANSWER_TIMEOUT || s->answer == HEALTH_UNREACHABLE;
	int64_t takes_ms = s->answer == HEALTH_ANSWER_TIMEOUT ? f->hs.timeout_ms : 500;

	if (!s->asked) {
		if (health_next_probe_ms(&s->h) > f->now_ms)
			return;
		s->asked = true;
		s->asked_ms = f->now_ms;
	}
	if (lasts && f->now_ms - s->asked_ms < takes_ms)
		return;
	s->asked = false;
	probe.started_ms = s->asked_ms;
	if (health_probe(&s->h, &f->hs, &probe, &f->figures, f->now_ms, &change))
		s->n_changes += change.from != change.to;
}

static inline void scrape(struct fleet *f, struct server *s, uint32_t weight)
{
	struct health_change change;
	uint32_t subtract;

	if (f->now_ms - s->scraped_ms < SCRAPE_MS)
		return;
	s->scraped_ms = f->now_ms;
	score_scrape_begin(&s->load, 0, f->now_ms);
	if (s->no_page || s->answer == HEALTH_REFUSED || s->answer == HEALTH_ANSWER_TIMEOUT ||
	    s->answer == HEALTH_UNREACHABLE) {
		score_scrape_abandon(&s->load, &f->ss, &subtract);
		return;
	}
	if (load_has(&s->page, LOAD_PROGRESS))
		s->page.progress += s->tokens_step;
	if (load_has(&s->page, LOAD_ABORTS))
		s->page.aborts += s->aborts_step;
	score_scrape_end(&s->load, &f->ss, &s->page, &subtract);
	if (health_sample(&s->h, &f->hs, &s->page, &f->figures, weight, f->now_ms, &change))
		s->n_changes += change.from != change.to;
}

static inline void run(struct fleet *f, int64_t ms)
{
	const int64_t end_ms = f->now_ms + ms;

	for (; f->now_ms < end_ms; f->now_ms += STEP_MS) {
		if (f->stopped)
			continue;
		figures(f);
		for (uint32_t i = 0; i < f->n; i++) {
			struct server *s = &f->servers[i];
			struct health_change change;

			if (health_next_ms(&s->h, &f->hs) <= f->now_ms &&
			    health_tick(&s->h, &f->hs, f->now_ms, &change))
				s->n_changes += change.from != change.to;
			check(f, s);
			scrape(f, s, f->members[i].capacity);
		}
		judge(f);
	}
}

/* The agent is stopped, and goes on. */
static inline void stop_agent(struct fleet *f, int64_t ms)
{
	f->stopped = true;
	run(f, ms);
	f->stopped = false;
	for (uint32_t i = 0; i < f->n; i++)
		health_slept(&f->servers[i].h, ms);
}

static inline void add(struct fleet *f, uint32_t tier, enum health_origin origin)
{
	struct health_start start = {.seed = 77 + f->n, .origin = origin};
	struct server *s = &f->servers[f->n];

	assert_true(f->n < SERVERS_MAX);
	*s = (struct server){
		.answer = HEALTH_PASS, .rtt_ms = 2, .scraped_ms = f->now_ms - f->n % 5 * 100};
	load_set(&s->page, LOAD_QUEUE, 0);
	load_set(&s->page, LOAD_RUNNING, 4);
	score_init(&s->load);
	health_init(&s->h, &f->hs, &start, f->now_ms);
	f->members[f->n] = (struct weight_member){
		.identity = 1000 + f->n, .capacity = 1000, .warm_permille = 1000, .tier = tier};
	f->n++;
}

/* n servers in use and n_standby in tier 1, all healthy and lightly loaded. */
static inline struct fleet *begin(uint32_t n, uint32_t n_standby)
{
	struct fleet *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->servers = calloc(SERVERS_MAX, sizeof(*f->servers));
	assert_non_null(f->servers);
	f->now_ms = 1000000;
	f->ss = (struct score_settings){.stale_ms = STALE_MS, .hot_ratio = 0.9};
	health_settings_default(&f->hs);
	weight_settings_default(&f->ws);
	for (uint32_t i = 0; i < n + n_standby; i++)
		add(f, i >= n, HEALTH_ORIGIN_START);
	run(f, 10000);
	for (uint32_t i = 0; i < f->n; i++)
		assert_int_equal(f->servers[i].h.state, LB_STATE_HEALTHY);
	return f;
}

static inline void end(struct fleet *f)
{
	free(f->servers);
	free(f);
}

static inline struct health *health_of(struct fleet *f, uint32_t i)
{
	return &f->servers[i].h;
}

static inline enum lb_state state_of(const struct fleet *f, uint32_t i)
{
	return f->servers[i].h.state;
}

static inline uint32_t count(const struct fleet *f, enum lb_state state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->n; i++)
		n += state_of(f, i) == state;
	return n;
}

static inline uint32_t weights(const struct fleet *f, uint32_t first, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t i = first; i < first + n; i++)
		sum += f->out[i].weight;
	return sum;
}

static inline void set(struct fleet *f, uint32_t first, uint32_t n, enum load_field field,
		       double value)
{
	for (uint32_t i = first; i < first + n; i++)
		load_set(&f->servers[i].page, field, value);
}

static inline void unset(struct fleet *f, uint32_t i, enum load_field field)
{
	f->servers[i].page.has &= ~LOAD_HAS(field);
	f->servers[i].page.value[field] = 0;
}

static inline void answer(struct fleet *f, uint32_t first, uint32_t n, enum health_result result)
{
	for (uint32_t i = first; i < first + n; i++)
		f->servers[i].answer = result;
}

/* Its engine worked, and stands still from now on. */
static inline void hang(struct fleet *f, uint32_t i)
{
	set(f, i, 1, LOAD_PROGRESS, 5);
	f->servers[i].tokens_step = 9;
	run(f, 2000);
	f->servers[i].tokens_step = 0;
}

static inline void order(struct fleet *f, uint32_t i, enum lb_state state)
{
	struct health_change change;

	(void)health_order(health_of(f, i), &f->hs, state, f->now_ms, &change);
}

static inline void scores(struct fleet *f)
{
	struct score_member members[SERVERS_MAX];
	double scratch[SERVERS_MAX];

	for (uint32_t i = 0; i < f->n; i++)
		members[i] = (struct score_member){&f->servers[i].load, &f->ss, f->out[i].weight};
	score_pool(members, f->n, f->now_ms, scratch, f->scores);
}

#endif
