/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The agent's judgement and the core's choice, driven over virtual time by simulated servers.
 *
 * Servers batch: so many slots, each request holds one for its work divided by the server's speed,
 * the others wait in line. Real are: score.c (base, inc, staleness), health.c (who is degraded),
 * weight.c, maglev.c, and lb_choose() of the packet core with its two choices. Simulated are the
 * clients, the servers and the scrapes between. What is measured is how long requests wait.
 */
#ifndef SLUICE_TESTS_SIMULATION_H
#define SLUICE_TESTS_SIMULATION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/packet/env_native.h"
#include "bpf/core/select.h"
#include "userspace/agent/health.h"
#include "userspace/agent/maglev.h"
#include "userspace/agent/score.h"
#include "userspace/agent/weight.h"
#include "userspace/lib/cleanup.h"

#define SLOTS_MAX    65537
#define SERVER_SLOTS 64
#define WORK_S       8.0 /* mean, of one request */
#define SERVERS_MAX  2000
#define INGRESS_MAX  4
#define SPEED_HALF   0.5
#define SPEED_SLOWED 0.6

enum sim_policy {
	SIM_HASH = 1,   /* equal hashing */
	SIM_LEAST,      /* all to the least loaded, by scrapes alone */
	SIM_THRESHOLD,  /* hashing over the nodes that are not degraded */
	SIM_WEIGHTS,    /* hashing by weights that follow the queues */
	SIM_TWO,        /* two choices by base + inc */
	SIM_TWO_HEALTH, /* likewise, over the nodes that are not degraded: what Sluice does */
	SIM_POLICY_N,
};

struct sim_spec {
	enum sim_policy policy;
	uint32_t n_servers;
	uint32_t n_slots;
	uint32_t n_ingress;
	double scrape_s;
	double answer_s; /* from a scrape's begin to its answer */
	double load;     /* of all capacity */
	double start_s;  /* requests that came earlier are not counted */
	double length_s;
	uint64_t seed;
	bool even; /* else one server in eight is at half speed, another slows for a while */
	uint32_t deaf_from, deaf_to; /* scrapes of the servers in between fail from start_s on */
};

struct sim_result {
	double p50_s, p99_s;
	double alt_ratio;  /* of flows that went to their second choice */
	double share[2];   /* of flows: to server 0 and to server 1 */
	uint32_t n_tables; /* built because some state changed */
	uint64_t n;
};

/* --- randomness, heap of numbers, line -------------------------------------------------------- */

static inline double uniform(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return ((*rng >> 11) + 0.5) * 0x1p-53;
}

static inline double exponential(uint64_t *rng, double mean)
{
	return -mean * log(uniform(rng));
}

static inline void *grown(void *p, size_t n, size_t *room, size_t size)
{
	if (n < *room)
		return p;
	*room = *room ? 2 * *room : 64;
	p = realloc(p, *room * size);
	assert_non_null(p);
	return p;
}

enum event_type { EVENT_ARRIVAL = 1, EVENT_FINISH, EVENT_SCRAPE, EVENT_ANSWER, EVENT_SPEED };

struct event {
	double at_s;
	uint32_t type;
	uint16_t ingress;
	uint16_t server;
	uint32_t version; /* of EVENT_FINISH: void if the server has another by now */
};

/* Binary heap, earliest first. */
struct events {
	struct event *e;
	size_t n, room;
};

static inline void events_add(struct events *h, struct event e)
{
	size_t i = h->n;

	h->e = grown(h->e, h->n, &h->room, sizeof(*h->e));
	h->n++;
	for (; i > 0 && h->e[(i - 1) / 2].at_s > e.at_s; i = (i - 1) / 2)
		h->e[i] = h->e[(i - 1) / 2];
	h->e[i] = e;
}

static inline struct event events_take(struct events *h)
{
	struct event first = h->e[0], last = h->e[--h->n];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
		if (child + 1 < h->n && h->e[child + 1].at_s < h->e[child].at_s)
			child++;
		if (h->e[child].at_s >= last.at_s)
			break;
		h->e[i] = h->e[child];
	}
	h->e[i] = last;
	return first;
}

struct request {
	double arrived_s;
	double work_s;
};

/* --- servers ---------------------------------------------------------------------------------- */

struct server {
	double speed;
	double done;               /* work that one slot has got done since the beginning */
	double at_s;               /* as of then */
	double ends[SERVER_SLOTS]; /* value of done at which a running request ends */
	uint32_t n_running;
	struct request *line; /* ring */
	size_t room, head, n_waiting;
	uint64_t n_finished;
	uint64_t n_flows;
	uint32_t version;
};

static inline void server_advance(struct server *s, double now_s)
{
	s->done += (now_s - s->at_s) * s->speed;
	s->at_s = now_s;
}

static inline double server_next_end(const struct server *s)
{
	double least = INFINITY;

	for (uint32_t i = 0; i < s->n_running; i++)
		least = fmin(least, s->ends[i]);
	return s->at_s + fmax(least - s->done, 0) / s->speed;
}

static inline void line_add(struct server *s, struct request r)
{
	if (s->n_waiting == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		struct request *line = malloc(room * sizeof(*line));

		assert_non_null(line);
		for (size_t i = 0; i < s->n_waiting; i++)
			line[i] = s->line[(s->head + i) % s->room];
		free(s->line);
		s->line = line;
		s->room = room;
		s->head = 0;
	}
	s->line[(s->head + s->n_waiting++) % s->room] = r;
}

/* --- the whole -------------------------------------------------------------------------------- */

struct ingress {
	struct lb_slot slots[SLOTS_MAX];
	struct lb_load loads[SERVERS_MAX + 1];
	struct score_node scores[SERVERS_MAX];
	struct health health[SERVERS_MAX];
	struct load_sample samples[SERVERS_MAX];
	struct weight_memory memory;
	struct weight_member members[SERVERS_MAX];
};

struct sim {
	const struct sim_spec *spec;
	double now_s;
	uint64_t rng;
	double rate; /* requests a second */
	struct events events;
	struct server servers[SERVERS_MAX];
	struct ingress ingress[INGRESS_MAX];
	struct health_settings health_settings;
	struct weight_settings weight_settings;
	struct score_settings score_settings;
	double *waits;
	size_t n_waits, room_waits;
	uint32_t n_tables;
	uint64_t n_alt; /* flows not sent to the first choice of their slot */
	uint64_t counters[LB_REASONS_MAX];
};

static struct sim sim; /* large; one at a time */

static inline int64_t now_ms(void)
{
	return 1000000 + (int64_t)(sim.now_s * 1000);
}

static inline bool uses_two(enum sim_policy policy)
{
	return policy == SIM_TWO || policy == SIM_TWO_HEALTH;
}

static inline bool uses_health(enum sim_policy policy)
{
	return policy == SIM_THRESHOLD || policy == SIM_TWO_HEALTH;
}

static inline void waited(const struct request *r)
{
	if (r->arrived_s < sim.spec->start_s)
		return;
	sim.waits = grown(sim.waits, sim.n_waits, &sim.room_waits, sizeof(*sim.waits));
	sim.waits[sim.n_waits++] = sim.now_s - r->arrived_s;
}

static inline void plan_finish(uint32_t server)
{
	struct server *s = &sim.servers[server];

	s->version++;
	if (s->n_running)
		events_add(&sim.events, (struct event){.at_s = server_next_end(s),
						       .type = EVENT_FINISH,
						       .server = server,
						       .version = s->version});
}

static inline void start_waiting(struct server *s)
{
	for (; s->n_waiting && s->n_running < SERVER_SLOTS; s->n_waiting--) {
		const struct request *r = &s->line[s->head];

		waited(r);
		s->ends[s->n_running++] = s->done + r->work_s;
		s->head = (s->head + 1) % s->room;
	}
}

/* --- what an ingress host does ---------------------------------------------------------------- */

static inline void build_table(struct ingress *in, const uint32_t *weights)
{
	static struct maglev_member members[SERVERS_MAX];
	static uint16_t cur[SLOTS_MAX], alt[SLOTS_MAX];

	for (uint32_t i = 0; i < sim.spec->n_servers; i++) {
		members[i] =
			(struct maglev_member){maglev_identity(&i, sizeof(i)), weights[i], i + 1};
		in->loads[i + 1].weight = weights[i];
	}
	assert_int_equal(maglev_build(members, sim.spec->n_servers, sim.spec->n_slots, cur, alt),
			 0);
	for (uint32_t s = 0; s < sim.spec->n_slots; s++)
		in->slots[s] = (struct lb_slot){.cur = cur[s], .alt = alt[s]};
}

/* States to weights to table, as the agent does it. */
static inline void judge_weights(struct ingress *in)
{
	static struct weight_output out[SERVERS_MAX];
	static uint32_t weights[SERVERS_MAX];
	struct weight_verdict verdict;
	const uint32_t n = sim.spec->n_servers;

	sim.n_tables++;
	for (uint32_t i = 0; i < n; i++)
		in->members[i].state = in->health[i].state;
	weight_judge(&sim.weight_settings, &in->memory, in->members, n, now_ms(), out, &verdict);
	assert_false(verdict.empty);
	for (uint32_t i = 0; i < n; i++) {
		weights[i] = out[i].weight;
		in->members[i].current = out[i].weight;
		in->members[i].was_degraded = out[i].held_by_degradation;
	}
	build_table(in, weights);
}

static inline void judge_health(struct ingress *in, uint32_t server)
{
	static struct health_pool_member members[SERVERS_MAX];
	static double scratch[SERVERS_MAX];
	struct health_change change;
	struct health_pool pool;
	const uint32_t n = sim.spec->n_servers;

	for (uint32_t i = 0; i < n; i++)
		members[i] = (struct health_pool_member){&in->health[i], &in->samples[i], 1000};
	health_pool_figures(members, n, scratch, &pool);
	if (health_sample(&in->health[server], &sim.health_settings, &in->samples[server], &pool,
			  1000, now_ms(), &change))
		judge_weights(in);
}

/*
 * The policy that DESIGN argues against, done as well as it can be: each round a weight rises or
 * falls by up to a tenth, towards equal loads.
 */
static inline void follow_queues(struct ingress *in)
{
	static uint32_t weights[SERVERS_MAX];
	const uint32_t n = sim.spec->n_servers;
	double mean = 0, load, part;

	for (uint32_t i = 0; i < n; i++)
		mean += (in->samples[i].queue + in->samples[i].running) / n;
	for (uint32_t i = 0; i < n; i++) {
		load = in->samples[i].queue + in->samples[i].running;
		part = fmin(fmax((mean + 8) / (load + 8), 0.9), 1.1);
		weights[i] = fmin(fmax(in->loads[i + 1].weight * part, 1000), 1000000);
	}
	build_table(in, weights);
}

static inline void publish_scores(struct ingress *in)
{
	static struct score_member members[SERVERS_MAX];
	static struct score scores[SERVERS_MAX];
	static double scratch[SERVERS_MAX];
	const uint32_t n = sim.spec->n_servers;

	for (uint32_t i = 0; i < n; i++)
		members[i] = (struct score_member){&in->scores[i], &sim.score_settings,
						   in->loads[i + 1].weight};
	score_pool(members, n, now_ms(), scratch, scores);
	for (uint32_t i = 0; i < n; i++) {
		in->loads[i + 1].base = scores[i].base;
		in->loads[i + 1].flags = (scores[i].hot ? LB_LOAD_F_HOT : 0) |
					 (scores[i].source == SCORE_IGNORED ? LB_LOAD_F_IGNORE : 0);
	}
}

static inline uint32_t least_scraped(const struct ingress *in)
{
	uint32_t best = 1;

	for (uint32_t i = 2; i <= sim.spec->n_servers; i++)
		if (in->loads[i].base < in->loads[best].base)
			best = i;
	return best;
}

static inline uint32_t choose_server(struct ingress *in)
{
	struct native_tables tables = {.loads = in->loads, .counters = (__u64 *)sim.counters};
	struct lb_env env = {.t = &tables};
	const struct lb_vip vip = {.policy = uses_two(sim.spec->policy) ? LB_POLICY_P2C
									: LB_POLICY_HASH};
	const struct lb_slot slot = in->slots[(uint32_t)(uniform(&sim.rng) * sim.spec->n_slots)];
	uint32_t b =
		sim.spec->policy == SIM_LEAST ? least_scraped(in) : lb_choose(&env, &vip, slot, 0);

	assert_in_range(b, 1, sim.spec->n_servers);
	sim.n_alt += b != slot.cur && sim.now_s >= sim.spec->start_s;
	lb_load_add(&vip, 0, lb_env_load(&env, b));
	return b - 1;
}

/* --- events ----------------------------------------------------------------------------------- */

static inline void on_arrival(void)
{
	struct ingress *in = &sim.ingress[(uint32_t)(uniform(&sim.rng) * sim.spec->n_ingress)];
	uint32_t server = choose_server(in);
	struct server *s = &sim.servers[server];

	s->n_flows += sim.now_s >= sim.spec->start_s;
	server_advance(s, sim.now_s);
	line_add(s, (struct request){sim.now_s, exponential(&sim.rng, WORK_S)});
	if (s->n_running < SERVER_SLOTS) {
		start_waiting(s);
		plan_finish(server);
	}
	events_add(&sim.events,
		   (struct event){.at_s = sim.now_s + exponential(&sim.rng, 1 / sim.rate),
				  .type = EVENT_ARRIVAL});
}

static inline void on_finish(const struct event *e)
{
	struct server *s = &sim.servers[e->server];
	uint32_t n = 0;

	if (e->version != s->version)
		return;
	server_advance(s, sim.now_s);
	for (uint32_t i = 0; i < s->n_running; i++)
		if (s->ends[i] > s->done + 1e-9)
			s->ends[n++] = s->ends[i];
	s->n_finished += s->n_running - n;
	s->n_running = n;
	start_waiting(s);
	plan_finish(e->server);
}

static inline void on_scrape(const struct event *e)
{
	struct ingress *in = &sim.ingress[e->ingress];
	const struct server *s = &sim.servers[e->server];
	struct load_sample *sample = &in->samples[e->server];
	struct event next = *e;

	score_scrape_begin(&in->scores[e->server], in->loads[e->server + 1].inc, now_ms());
	load_set(sample, LOAD_QUEUE, s->n_waiting);
	load_set(sample, LOAD_RUNNING, s->n_running);
	load_set(sample, LOAD_PROGRESS, s->n_finished);
	next.at_s += sim.spec->answer_s;
	next.type = EVENT_ANSWER;
	events_add(&sim.events, next);
	next.at_s = e->at_s + sim.spec->scrape_s;
	next.type = EVENT_SCRAPE;
	events_add(&sim.events, next);
}

static inline bool is_deaf(uint32_t server)
{
	return server >= sim.spec->deaf_from && server < sim.spec->deaf_to &&
	       sim.now_s > sim.spec->start_s;
}

static inline void on_answer(const struct event *e)
{
	struct ingress *in = &sim.ingress[e->ingress];
	struct score_node *score = &in->scores[e->server];
	uint32_t subtract;

	if (is_deaf(e->server)) {
		score_scrape_abandon(score, &sim.score_settings, &subtract);
	} else {
		score_scrape_end(score, &sim.score_settings, &in->samples[e->server], &subtract);
		if (uses_health(sim.spec->policy))
			judge_health(in, e->server);
	}
	in->loads[e->server + 1].inc -= subtract;
	if (e->server == sim.spec->n_servers - 1 || sim.spec->n_servers < 100)
		publish_scores(in); /* of large pools once a round */
	if (e->server == sim.spec->n_servers - 1 && sim.spec->policy == SIM_WEIGHTS)
		follow_queues(in);
}

static inline void on_speed(const struct event *e)
{
	struct server *s = &sim.servers[e->server];

	server_advance(s, sim.now_s);
	s->speed = e->version ? SPEED_SLOWED : 1;
	plan_finish(e->server);
}

/* --- one run ---------------------------------------------------------------------------------- */

static inline void begin_ingress(uint32_t k)
{
	struct ingress *in = &sim.ingress[k];
	static uint32_t weights[SERVERS_MAX];

	memset(in, 0, sizeof(*in));
	for (uint32_t i = 0; i < sim.spec->n_servers; i++) {
		struct health_start start = {.seed = i, .origin = HEALTH_ORIGIN_START};
		struct health_probe pass = {
			.result = HEALTH_PASS, .rtt_ms = 1, .started_ms = now_ms()};
		struct health_change change;
		double first_s = sim.spec->scrape_s * (i + 1) / (sim.spec->n_servers + 1);

		score_init(&in->scores[i]);
		health_init(&in->health[i], &sim.health_settings, &start, now_ms());
		for (uint32_t p = 0; p < sim.health_settings.rise; p++)
			(void)health_probe(&in->health[i], &sim.health_settings, &pass, NULL,
					   now_ms(), &change);
		in->members[i] = (struct weight_member){
			.identity = i, .capacity = 1000, .warm_permille = 1000};
		weights[i] = 100000;
		events_add(&sim.events, (struct event){.at_s = first_s + 0.1 * k,
						       .type = EVENT_SCRAPE,
						       .ingress = k,
						       .server = i});
	}
	build_table(in, weights);
}

static inline void begin(const struct sim_spec *spec)
{
	double capacity = 0;

	memset(&sim, 0, sizeof(sim));
	sim.spec = spec;
	sim.rng = spec->seed * 0x9e3779b97f4a7c15u;
	health_settings_default(&sim.health_settings);
	weight_settings_default(&sim.weight_settings);
	if (spec->policy == SIM_THRESHOLD) { /* as quick as it can be */
		sim.health_settings.queue_outlier = 1e-6;
		sim.health_settings.queue_outlier_min = 8;
		sim.health_settings.samples = 1;
		sim.health_settings.flap_changes = 0;
	}
	sim.score_settings = (struct score_settings){.stale_ms = fmax(3 * spec->scrape_s, 2) * 1000,
						     .hot_ratio = 0.9};
	for (uint32_t i = 0; i < spec->n_servers; i++) {
		sim.servers[i].speed = !spec->even && i % 8 == 0 ? SPEED_HALF : 1;
		capacity += sim.servers[i].speed;
		if (spec->even || i % 8 != 3)
			continue;
		events_add(&sim.events, (struct event){.at_s = spec->length_s * 0.4,
						       .type = EVENT_SPEED,
						       .server = i,
						       .version = 1});
		events_add(&sim.events, (struct event){.at_s = spec->length_s * 0.6,
						       .type = EVENT_SPEED,
						       .server = i});
	}
	sim.rate = spec->load * capacity * SERVER_SLOTS / WORK_S;
	for (uint32_t k = 0; k < spec->n_ingress; k++)
		begin_ingress(k);
	events_add(&sim.events, (struct event){.at_s = 0, .type = EVENT_ARRIVAL});
}

static inline int by_value(const void *pa, const void *pb)
{
	const double *a = pa, *b = pb;

	return (*a > *b) - (*a < *b);
}

/* Those still in line have waited so far, too. */
static inline void end(struct sim_result *ret)
{
	uint64_t n_flows = 0;

	for (uint32_t i = 0; i < sim.spec->n_servers; i++) {
		struct server *s = &sim.servers[i];

		n_flows += s->n_flows;
		for (; s->n_waiting; s->n_waiting--) {
			waited(&s->line[s->head]);
			s->head = (s->head + 1) % s->room;
		}
		free(s->line);
	}
	qsort(sim.waits, sim.n_waits, sizeof(*sim.waits), by_value);
	*ret = (struct sim_result){
		.p50_s = sim.waits[sim.n_waits / 2],
		.p99_s = sim.waits[sim.n_waits * 99 / 100],
		.alt_ratio = (double)sim.n_alt / n_flows,
		.share = {(double)sim.servers[0].n_flows / n_flows,
			  (double)sim.servers[1].n_flows / n_flows},
		.n_tables = sim.n_tables,
		.n = n_flows,
	};
	free(sim.waits);
	free(sim.events.e);
}

static inline struct sim_result run(const struct sim_spec *spec)
{
	struct sim_result result;

	begin(spec);
	for (;;) {
		struct event e = events_take(&sim.events);

		if (e.at_s > spec->length_s)
			break;
		sim.now_s = e.at_s;
		switch (e.type) {
		case EVENT_ARRIVAL:
			on_arrival();
			break;
		case EVENT_FINISH:
			on_finish(&e);
			break;
		case EVENT_SCRAPE:
			on_scrape(&e);
			break;
		case EVENT_ANSWER:
			on_answer(&e);
			break;
		case EVENT_SPEED:
			on_speed(&e);
			break;
		}
	}
	end(&result);
	return result;
}

#endif
