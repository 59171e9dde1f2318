/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What operators meet -> what the judgement makes of it: health.c, score.c and weight.c together,
 * as node.c and pool.c join them, over virtual time. One server is checked every second and
 * scraped twice a second.
 */
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

static void figures(struct fleet *f)
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

static void judge(struct fleet *f)
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

static void check(struct fleet *f, struct server *s)
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

static void scrape(struct fleet *f, struct server *s, uint32_t weight)
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

static void run(struct fleet *f, int64_t ms)
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
static void stop_agent(struct fleet *f, int64_t ms)
{
	f->stopped = true;
	run(f, ms);
	f->stopped = false;
	for (uint32_t i = 0; i < f->n; i++)
		health_slept(&f->servers[i].h, ms);
}

static void add(struct fleet *f, uint32_t tier, enum health_origin origin)
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
static struct fleet *begin(uint32_t n, uint32_t n_standby)
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

static void end(struct fleet *f)
{
	free(f->servers);
	free(f);
}

static struct health *health_of(struct fleet *f, uint32_t i)
{
	return &f->servers[i].h;
}

static enum lb_state state_of(const struct fleet *f, uint32_t i)
{
	return f->servers[i].h.state;
}

static uint32_t count(const struct fleet *f, enum lb_state state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->n; i++)
		n += state_of(f, i) == state;
	return n;
}

static uint32_t weights(const struct fleet *f, uint32_t first, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t i = first; i < first + n; i++)
		sum += f->out[i].weight;
	return sum;
}

static void set(struct fleet *f, uint32_t first, uint32_t n, enum load_field field, double value)
{
	for (uint32_t i = first; i < first + n; i++)
		load_set(&f->servers[i].page, field, value);
}

static void unset(struct fleet *f, uint32_t i, enum load_field field)
{
	f->servers[i].page.has &= ~LOAD_HAS(field);
	f->servers[i].page.value[field] = 0;
}

static void answer(struct fleet *f, uint32_t first, uint32_t n, enum health_result result)
{
	for (uint32_t i = first; i < first + n; i++)
		f->servers[i].answer = result;
}

/* Its engine worked, and stands still from now on. */
static void hang(struct fleet *f, uint32_t i)
{
	set(f, i, 1, LOAD_PROGRESS, 5);
	f->servers[i].tokens_step = 9;
	run(f, 2000);
	f->servers[i].tokens_step = 0;
}

static void order(struct fleet *f, uint32_t i, enum lb_state state)
{
	struct health_change change;

	(void)health_order(health_of(f, i), &f->hs, state, f->now_ms, &change);
}

static void scores(struct fleet *f)
{
	struct score_member members[SERVERS_MAX];
	double scratch[SERVERS_MAX];

	for (uint32_t i = 0; i < f->n; i++)
		members[i] = (struct score_member){&f->servers[i].load, &f->ss, f->out[i].weight};
	score_pool(members, f->n, f->now_ms, scratch, f->scores);
}

/* --- metrics ---------------------------------------------------------------------------------- */

static void a_node_without_its_page_serves_on_with_its_pools_median(void **state)
{
	struct fleet *f = begin(5, 0);

	(void)state;
	set(f, 0, 5, LOAD_RUNNING, 30);
	f->servers[2].no_page = true;
	run(f, 300000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 5);
	assert_int_equal(weights(f, 0, 5), 5000);
	scores(f);
	assert_int_equal(f->scores[2].source, SCORE_MEDIAN);
	assert_int_equal(f->scores[2].base, 30);
	end(f);
}

static void if_all_pages_are_gone_all_serve_and_load_is_ignored(void **state)
{
	struct fleet *f = begin(4, 0);

	(void)state;
	for (int i = 0; i < 4; i++)
		f->servers[i].no_page = true;
	run(f, 300000);
	assert_int_equal(weights(f, 0, 4), 4000);
	scores(f);
	for (int i = 0; i < 4; i++)
		assert_int_equal(f->scores[i].source, SCORE_IGNORED);
	end(f);
}

static void a_restart_that_no_check_saw_is_nothing_but_a_counter_anew(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	for (int i = 0; i < 3; i++)
		f->servers[i].tokens_step = 500;
	set(f, 0, 3, LOAD_PROGRESS, 1e9);
	set(f, 0, 3, LOAD_ABORTS, 40000);
	run(f, 20000);
	set(f, 1, 1, LOAD_PROGRESS, 0);
	set(f, 1, 1, LOAD_ABORTS, 0);
	run(f, 120000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 3);
	end(f);
}

static void a_value_that_is_no_number_any_more_is_forgotten_after_a_while(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	set(f, 0, 1, LOAD_KV, 0.99);
	run(f, 5000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	unset(f, 0, LOAD_KV); /* NaN on the page */
	run(f, 25000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	run(f, 10000);
	assert_int_equal(state_of(f, 0), LB_STATE_HEALTHY);
	end(f);
}

/* A new version of the server that exports the counter and does not count. */
static void a_counter_that_moves_nowhere_hangs_nobody(void **state)
{
	struct fleet *f = begin(4, 0);

	(void)state;
	set(f, 0, 4, LOAD_PROGRESS, 90210);
	run(f, 200000);
	assert_int_equal(weights(f, 0, 4), 4000);
	f->servers[3].tokens_step = 5; /* where it counts, it is believed on the others too */
	run(f, 70000);
	assert_int_equal(count(f, LB_STATE_UNHEALTHY), 3);
	assert_int_equal(state_of(f, 3), LB_STATE_HEALTHY);
	end(f);
}

static void clients_that_let_go_of_short_requests_are_no_drain(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	/* Completions while somebody types: idle whenever it is looked at, and most are cancelled.
	 */
	set(f, 0, 3, LOAD_RUNNING, 0);
	set(f, 0, 3, LOAD_ABORTS, 0);
	set(f, 0, 3, LOAD_PROGRESS, 0);
	for (int i = 0; i < 3; i++) {
		f->servers[i].aborts_step = 3;
		f->servers[i].tokens_step = 20;
	}
	run(f, 120000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 3);
	f->servers[1].tokens_step = 0; /* now it only turns them away */
	run(f, 10000);
	assert_int_equal(state_of(f, 1), LB_STATE_DRAINING);
	end(f);
}

/* --- checks ----------------------------------------------------------------------------------- */

static void silence_of_a_node_without_a_counter_is_borne_for_half_a_minute(void **state)
{
	struct fleet *f = begin(4, 0);

	(void)state;
	answer(f, 0, 1, HEALTH_ANSWER_TIMEOUT);
	run(f, 27000);
	assert_true(health_alive(health_of(f, 0)));
	assert_int_not_equal(state_of(f, 0), LB_STATE_UNHEALTHY);
	run(f, 15000);
	assert_int_equal(state_of(f, 0), LB_STATE_UNHEALTHY);
	assert_int_equal(health_of(f, 0)->cause_kind, HEALTH_CAUSE_NO_ANSWER);
	end(f);
}

static void a_node_that_answers_503_under_load_keeps_its_streams_and_comes_back(void **state)
{
	struct fleet *f = begin(4, 0);

	(void)state;
	set(f, 0, 4, LOAD_PROGRESS, 1000);
	for (int i = 0; i < 4; i++)
		f->servers[i].tokens_step = 100;
	run(f, 5000);
	answer(f, 0, 1, HEALTH_STATUS_BAD);
	run(f, 60000);
	assert_int_equal(state_of(f, 0), LB_STATE_DRAINING);
	assert_true(health_alive(health_of(f, 0)));
	assert_int_equal(f->out[0].weight, 0);
	answer(f, 0, 1, HEALTH_PASS);
	run(f, 2000);
	assert_int_equal(state_of(f, 0), LB_STATE_WARMING);
	run(f, 40000);
	assert_int_equal(weights(f, 0, 4), 4000);
	end(f);
}

/* A rolling restart of most of a pool: what says that it leaves would refuse what it is sent. */
static void nodes_that_say_they_drain_get_nothing_new_however_many_they_are(void **state)
{
	struct fleet *f = begin(10, 0);

	(void)state;
	answer(f, 0, 8, HEALTH_STATUS_DRAINING);
	run(f, 5000);
	assert_int_equal(count(f, LB_STATE_DRAINING), 8);
	assert_int_equal(weights(f, 0, 8), 0);
	assert_int_equal(weights(f, 8, 2), 2000);
	assert_false(f->verdict.panic);
	answer(f, 8, 2, HEALTH_STATUS_DRAINING);
	run(f, 5000);
	assert_true(f->verdict.empty); /* the fallback answers; no stream is cut */
	for (int i = 0; i < 10; i++)
		assert_true(health_alive(health_of(f, i)));
	end(f);
}

/* A packet lost and sent again, a collector's pause: seconds, once. */
static void one_slow_answer_degrades_nobody(void **state)
{
	struct fleet *f = begin(5, 0);

	(void)state;
	for (int round = 0; round < 5; round++) {
		f->servers[1].rtt_ms = 4900;
		run(f, 1000);
		f->servers[1].rtt_ms = 2;
		run(f, 20000);
	}
	assert_int_equal(f->servers[1].n_changes, 1); /* unknown -> healthy */
	f->servers[1].rtt_ms = 4900;
	run(f, 10000);
	assert_int_equal(state_of(f, 1), LB_STATE_DEGRADED);
	assert_int_equal(health_of(f, 1)->cause_kind, HEALTH_CAUSE_LATENCY);
	f->servers[1].rtt_ms = 2;
	run(f, 30000);
	assert_int_equal(state_of(f, 1), LB_STATE_HEALTHY);
	end(f);
}

static void the_first_answer_may_be_slow(void **state)
{
	struct fleet *f = begin(5, 0);

	(void)state;
	add(f, 0, HEALTH_ORIGIN_ADDED);
	f->servers[5].rtt_ms = 3000;
	run(f, 1100);
	f->servers[5].rtt_ms = 2;
	run(f, 40000);
	assert_int_equal(f->servers[5].n_changes, 2); /* unknown -> warming -> healthy */
	end(f);
}

static void a_node_slow_every_other_time_is_slow(void **state)
{
	struct fleet *f = begin(5, 0);

	(void)state;
	for (int round = 0; round < 20; round++) {
		f->servers[1].rtt_ms = round % 2 ? 2 : 4000;
		run(f, 1000);
	}
	assert_int_equal(state_of(f, 1), LB_STATE_DEGRADED);
	end(f);
}

static void a_whole_pool_that_is_slow_is_nobody_out_of_line(void **state)
{
	struct fleet *f = begin(6, 0);

	(void)state;
	for (uint32_t i = 0; i < 6; i++)
		f->servers[i].rtt_ms = 3000;
	run(f, 60000);
	assert_int_equal(weights(f, 0, 6), 6000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 6);
	end(f);
}

/* --- the agent itself ------------------------------------------------------------------------- */

static void a_stopped_agent_holds_its_own_silence_against_nobody(void **state)
{
	struct fleet *f = begin(6, 0);

	(void)state;
	set(f, 0, 1, LOAD_KV, 0.99);     /* degraded */
	hang(f, 1);
	answer(f, 2, 1, HEALTH_REFUSED); /* down */
	order(f, 3, LB_STATE_DRAINING);
	run(f, 70000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	assert_int_equal(state_of(f, 1), LB_STATE_UNHEALTHY);
	for (uint32_t i = 0; i < f->n; i++)
		f->servers[i].n_changes = 0;
	stop_agent(f, 60000);
	run(f, 20000);
	for (uint32_t i = 0; i < f->n; i++)
		assert_int_equal(f->servers[i].n_changes, 0);
	assert_int_equal(weights(f, 4, 2), 2000);
	assert_int_equal(weights(f, 0, 4), 0);
	end(f);
}

static void what_hung_before_the_agent_was_stopped_is_still_found_out(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	hang(f, 1);
	run(f, 40000);
	assert_int_equal(state_of(f, 1), LB_STATE_HEALTHY);
	stop_agent(f, 60000);
	run(f, 15000); /* 40 s and 15 s seen: not a minute */
	assert_int_equal(state_of(f, 1), LB_STATE_HEALTHY);
	run(f, 10000);
	assert_int_equal(state_of(f, 1), LB_STATE_UNHEALTHY);
	assert_int_equal(health_of(f, 1)->cause_kind, HEALTH_CAUSE_HUNG);
	end(f);
}

/* --- panic ------------------------------------------------------------------------------------ */

static void all_degraded_at_once_and_then_one_dies(void **state)
{
	struct fleet *f = begin(4, 0);

	(void)state;
	set(f, 0, 4, LOAD_KV, 0.99);
	run(f, 5000);
	assert_int_equal(count(f, LB_STATE_DEGRADED), 4);
	assert_true(f->verdict.panic);
	assert_int_equal(weights(f, 0, 4), 4000);
	answer(f, 2, 1, HEALTH_REFUSED);
	run(f, 3000);
	assert_int_equal(state_of(f, 2), LB_STATE_UNHEALTHY);
	assert_int_equal(f->out[2].weight, 0);
	assert_int_equal(weights(f, 0, 4), 3000);
	set(f, 0, 4, LOAD_KV, 0.5);
	run(f, 5000);
	assert_false(f->verdict.panic);
	assert_int_equal(weights(f, 0, 4), 3000);
	end(f);
}

static void of_two_nodes_one_may_be_degraded_out_but_not_both(void **state)
{
	struct fleet *f = begin(2, 0);

	(void)state;
	set(f, 0, 1, LOAD_KV, 0.99);
	run(f, 5000);
	assert_int_equal(f->out[0].weight, 0);
	assert_int_equal(f->out[1].weight, 1000);
	set(f, 1, 1, LOAD_KV, 0.99);
	run(f, 5000);
	assert_int_equal(weights(f, 0, 2), 2000);
	answer(f, 1, 1, HEALTH_REFUSED); /* the rest of two is one, degraded */
	run(f, 5000);
	assert_int_equal(f->out[0].weight, 1000);
	assert_int_equal(f->out[1].weight, 0);
	end(f);
}

static void a_single_node_serves_degraded(void **state)
{
	struct fleet *f = begin(1, 0);

	(void)state;
	set(f, 0, 1, LOAD_KV, 1);
	set(f, 0, 1, LOAD_GPU_MEM, 1);
	set(f, 0, 1, LOAD_QUEUE, 500);
	run(f, 60000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	assert_int_equal(f->out[0].weight, 1000);
	assert_false(f->verdict.empty);
	end(f);
}

static void nodes_of_weight_0_are_no_part_of_any_reckoning(void **state)
{
	struct fleet *f = begin(5, 0);

	(void)state;
	for (int i = 0; i < 3; i++)
		f->members[i].capacity = 0;
	set(f, 3, 2, LOAD_QUEUE, 40); /* the idle ones are no measure for them */
	run(f, 20000);
	assert_int_equal(weights(f, 0, 5), 2000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 5);
	set(f, 0, 3, LOAD_KV, 0.99);
	run(f, 5000);
	assert_false(f->verdict.panic);
	answer(f, 3, 2, HEALTH_REFUSED);
	run(f, 5000);
	assert_true(f->verdict.empty);
	end(f);
}

/* --- outliers --------------------------------------------------------------------------------- */

static void of_two_nodes_one_can_be_the_outlier(void **state)
{
	struct fleet *f = begin(2, 0);

	(void)state;
	set(f, 0, 1, LOAD_QUEUE, 100);
	run(f, 5000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	assert_int_equal(state_of(f, 1), LB_STATE_HEALTHY);
	run(f, 60000); /* it stays one against the other alone */
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	answer(f, 1, 1, HEALTH_REFUSED); /* nobody is left to compare with */
	run(f, 5000);
	assert_int_equal(state_of(f, 0), LB_STATE_HEALTHY);
	end(f);
}

static void draining_half_a_pool_makes_no_outliers_of_the_rest(void **state)
{
	struct fleet *f = begin(10, 0);

	(void)state;
	set(f, 0, 10, LOAD_QUEUE, 20);
	for (int i = 0; i < 10; i++)
		f->servers[i].rtt_ms = 300;
	run(f, 20000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 10);
	for (int i = 0; i < 6; i++) {
		order(f, i, LB_STATE_DRAINING);
		f->servers[i].rtt_ms = 2;
	}
	set(f, 0, 6, LOAD_QUEUE, 0);
	set(f, 6, 4, LOAD_QUEUE, 50);
	run(f, 30000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 4);
	assert_int_equal(weights(f, 6, 4), 4000);
	assert_false(f->verdict.panic);
	end(f);
}

/* Half a pool was away; the other half is full, and now gets company with empty queues. */
static void nodes_that_return_make_no_outliers_of_those_that_stayed(void **state)
{
	struct fleet *f = begin(10, 0);

	(void)state;
	answer(f, 0, 5, HEALTH_REFUSED);
	run(f, 5000);
	set(f, 5, 5, LOAD_QUEUE, 30);
	run(f, 20000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 5);
	set(f, 0, 5, LOAD_QUEUE, 0);
	answer(f, 0, 5, HEALTH_PASS);
	run(f, 20000);
	assert_int_equal(count(f, LB_STATE_WARMING), 5);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 5);
	assert_int_equal(weights(f, 5, 5), 5000);
	end(f);
}

/* Those out have little to do, and are no measure for those that do their work. */
static void degradation_does_not_spread(void **state)
{
	struct fleet *f = begin(10, 0);

	(void)state;
	set(f, 0, 10, LOAD_QUEUE, 15);
	set(f, 0, 5, LOAD_KV, 0.97);
	run(f, 5000);
	assert_int_equal(count(f, LB_STATE_DEGRADED), 5);
	set(f, 0, 5, LOAD_QUEUE, 0);
	set(f, 5, 5, LOAD_QUEUE, 45);
	run(f, 30000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 5);
	assert_false(f->verdict.panic);
	end(f);
}

/* --- tiers ------------------------------------------------------------------------------------ */

static void a_pool_that_grows_calls_no_standby(void **state)
{
	struct fleet *f = begin(2, 0);

	(void)state;
	add(f, 1, HEALTH_ORIGIN_ADDED);
	run(f, 60000);
	for (int i = 0; i < 6; i++)
		add(f, 0, HEALTH_ORIGIN_ADDED);
	for (int i = 0; i < 50; i++) {
		run(f, 1000);
		assert_int_equal(f->out[2].weight, 0);
	}
	assert_int_equal(weights(f, 0, 2) + weights(f, 3, 6), 8000);
	end(f);
}

static void a_pool_that_is_new_warms_up_without_its_standby(void **state)
{
	struct fleet *f = begin(0, 0);

	(void)state;
	add(f, 0, HEALTH_ORIGIN_ADDED);
	add(f, 0, HEALTH_ORIGIN_ADDED);
	add(f, 1, HEALTH_ORIGIN_ADDED);
	for (int i = 0; i < 50; i++) {
		run(f, 1000);
		assert_int_equal(f->out[2].weight, 0);
	}
	assert_int_equal(weights(f, 0, 2), 2000);
	end(f);
}

static void standby_that_is_degraded_serves_when_nothing_else_does(void **state)
{
	struct fleet *f = begin(3, 2);

	(void)state;
	set(f, 3, 2, LOAD_KV, 0.99);
	run(f, 5000);
	assert_int_equal(count(f, LB_STATE_DEGRADED), 2);
	assert_false(f->verdict.panic); /* not in use: no part of the pool's capacity */
	answer(f, 0, 3, HEALTH_REFUSED);
	run(f, 5000);
	assert_true(f->verdict.standby && f->verdict.panic);
	assert_int_equal(weights(f, 3, 2), 2000);
	end(f);
}

static void a_first_tier_that_is_degraded_throughout_shares_with_standby(void **state)
{
	struct fleet *f = begin(4, 1);

	(void)state;
	set(f, 0, 4, LOAD_KV, 0.99);
	run(f, 5000);
	assert_true(f->verdict.standby);
	assert_true(f->verdict.panic); /* four of five: the one cannot take it all */
	assert_int_equal(weights(f, 0, 5), 5000);
	end(f);
}

static void a_node_that_flaps_does_not_make_the_tiers_flap(void **state)
{
	struct fleet *f = begin(3, 3);
	uint32_t n_changes = 0;
	uint32_t tiers;

	(void)state;
	answer(f, 0, 1, HEALTH_REFUSED);
	run(f, 5000);
	tiers = f->verdict.tiers;
	assert_int_equal(tiers, 1); /* two of three are left */
	for (int i = 0; i < 90; i++) {
		answer(f, 1, 1, i % 2 ? HEALTH_PASS : HEALTH_REFUSED);
		run(f, 10000);
		n_changes += f->verdict.tiers != tiers;
		tiers = f->verdict.tiers;
		assert_true(weights(f, 0, 6) >= 1000);
	}
	assert_true(n_changes <= 2);
	end(f);
}

static void failover_and_failback_of_a_whole_tier(void **state)
{
	struct fleet *f = begin(2, 2);

	(void)state;
	answer(f, 0, 2, HEALTH_REFUSED);
	run(f, 2000);
	assert_int_equal(weights(f, 0, 2), 0);
	assert_int_equal(weights(f, 2, 2), 2000);
	answer(f, 0, 2, HEALTH_PASS);
	run(f, 10000);
	assert_true(weights(f, 0, 2) > 0 && weights(f, 2, 2) == 2000);
	run(f, 30000);
	assert_int_equal(weights(f, 0, 2), 2000);
	assert_int_equal(weights(f, 2, 2), 0);
	for (int i = 2; i < 4; i++) /* its streams go on */
		assert_true(health_alive(health_of(f, i)));
	end(f);
}

/* --- orders ----------------------------------------------------------------------------------- */

static void a_node_that_drains_dies_and_returns_goes_on_draining(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	order(f, 0, LB_STATE_DRAINING);
	run(f, 2000);
	assert_int_equal(f->out[0].weight, 0);
	answer(f, 0, 1, HEALTH_REFUSED);
	run(f, 3000);
	assert_int_equal(state_of(f, 0), LB_STATE_UNHEALTHY);
	assert_false(health_alive(health_of(f, 0)));
	answer(f, 0, 1, HEALTH_PASS);
	run(f, 60000);
	assert_int_equal(state_of(f, 0), LB_STATE_DRAINING);
	assert_int_equal(f->out[0].weight, 0);
	order(f, 0, LB_STATE_NONE);
	run(f, 1000);
	assert_int_equal(state_of(f, 0), LB_STATE_HEALTHY);
	assert_int_equal(f->out[0].weight, 1000);
	end(f);
}

static void maintenance_over_a_death_ends_in_what_the_node_is_by_then(void **state)
{
	struct fleet *f = begin(2, 0);

	(void)state;
	order(f, 0, LB_STATE_MAINTENANCE);
	answer(f, 0, 1, HEALTH_REFUSED);
	run(f, 60000);
	order(f, 0, LB_STATE_NONE);
	run(f, 1000);
	assert_int_equal(state_of(f, 0), LB_STATE_UNHEALTHY);
	answer(f, 0, 1, HEALTH_PASS);
	run(f, 2000);
	assert_int_equal(state_of(f, 0), LB_STATE_WARMING);
	end(f);
}

/* A reload that gives the pool another preset: its page tells other things, or none. */
static void what_an_old_preset_told_is_forgotten(void **state)
{
	struct fleet *f = begin(3, 0);

	(void)state;
	set(f, 0, 1, LOAD_GPU_MEM, 0.99);
	hang(f, 1); /* by the old preset's counter */
	run(f, 70000);
	assert_int_equal(state_of(f, 0), LB_STATE_DEGRADED);
	assert_int_equal(state_of(f, 1), LB_STATE_UNHEALTHY);
	unset(f, 0, LOAD_GPU_MEM);
	unset(f, 1, LOAD_PROGRESS);
	run(f, 80000);
	assert_int_equal(count(f, LB_STATE_HEALTHY), 3);
	end(f);
}

/* --- many ------------------------------------------------------------------------------------- */

static void a_thousand_flapping_nodes_calm_down(void **state)
{
	struct fleet *f = begin(SERVERS_MAX, 0);
	uint32_t early = 0, late;

	(void)state;
	for (int i = 0; i < 30; i++) { /* five minutes, all of them in and out every 20 s */
		answer(f, 0, f->n, i % 2 ? HEALTH_PASS : HEALTH_REFUSED);
		if (i == 6)
			f->n_tables = 0;
		if (i == 12)
			early = f->n_tables;
		if (i == 24)
			f->n_tables = 0;
		run(f, 10000);
	}
	late = f->n_tables;
	assert_true(count(f, LB_STATE_UNHEALTHY) > f->n * 9 / 10); /* held back */
	assert_true(late < early / 2);
	answer(f, 0, f->n, HEALTH_PASS);
	run(f, 400000); /* the longest wait, and the ramp */
	assert_int_equal(count(f, LB_STATE_HEALTHY), f->n);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_without_its_page_serves_on_with_its_pools_median),
		cmocka_unit_test(if_all_pages_are_gone_all_serve_and_load_is_ignored),
		cmocka_unit_test(a_restart_that_no_check_saw_is_nothing_but_a_counter_anew),
		cmocka_unit_test(a_value_that_is_no_number_any_more_is_forgotten_after_a_while),
		cmocka_unit_test(a_counter_that_moves_nowhere_hangs_nobody),
		cmocka_unit_test(clients_that_let_go_of_short_requests_are_no_drain),
		cmocka_unit_test(silence_of_a_node_without_a_counter_is_borne_for_half_a_minute),
		cmocka_unit_test(
			a_node_that_answers_503_under_load_keeps_its_streams_and_comes_back),
		cmocka_unit_test(nodes_that_say_they_drain_get_nothing_new_however_many_they_are),
		cmocka_unit_test(one_slow_answer_degrades_nobody),
		cmocka_unit_test(the_first_answer_may_be_slow),
		cmocka_unit_test(a_node_slow_every_other_time_is_slow),
		cmocka_unit_test(a_whole_pool_that_is_slow_is_nobody_out_of_line),
		cmocka_unit_test(a_stopped_agent_holds_its_own_silence_against_nobody),
		cmocka_unit_test(what_hung_before_the_agent_was_stopped_is_still_found_out),
		cmocka_unit_test(all_degraded_at_once_and_then_one_dies),
		cmocka_unit_test(of_two_nodes_one_may_be_degraded_out_but_not_both),
		cmocka_unit_test(a_single_node_serves_degraded),
		cmocka_unit_test(nodes_of_weight_0_are_no_part_of_any_reckoning),
		cmocka_unit_test(of_two_nodes_one_can_be_the_outlier),
		cmocka_unit_test(draining_half_a_pool_makes_no_outliers_of_the_rest),
		cmocka_unit_test(nodes_that_return_make_no_outliers_of_those_that_stayed),
		cmocka_unit_test(degradation_does_not_spread),
		cmocka_unit_test(a_pool_that_grows_calls_no_standby),
		cmocka_unit_test(a_pool_that_is_new_warms_up_without_its_standby),
		cmocka_unit_test(standby_that_is_degraded_serves_when_nothing_else_does),
		cmocka_unit_test(a_first_tier_that_is_degraded_throughout_shares_with_standby),
		cmocka_unit_test(a_node_that_flaps_does_not_make_the_tiers_flap),
		cmocka_unit_test(failover_and_failback_of_a_whole_tier),
		cmocka_unit_test(a_node_that_drains_dies_and_returns_goes_on_draining),
		cmocka_unit_test(maintenance_over_a_death_ends_in_what_the_node_is_by_then),
		cmocka_unit_test(what_an_old_preset_told_is_forgotten),
		cmocka_unit_test(a_thousand_flapping_nodes_calm_down),
	};

	return cmocka_run_group_tests_name("judgement", tests, NULL, NULL);
}
