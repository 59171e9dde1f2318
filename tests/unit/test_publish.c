/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "bpf/core/hash.h"
#include "bpf/core/vip.h"
#include "userspace/agent/publish.h"
#include "userspace/lib/cleanup.h"

#define N_SLOTS 251
#define NOW     1000000
#define IDLE_MS 60000

struct fixture {
	struct tables t;
	struct publish *p;
	uint32_t pool;
	unsigned int graces;
};

static void count_grace(void *userdata)
{
	((struct fixture *)userdata)->graces++;
}

static struct endpoint endpoint(const char *text)
{
	struct endpoint ep;

	assert_int_equal(endpoint_parse(text, &ep), 0);
	return ep;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(tables_alloc(4, 2, &f->t), 0);
	assert_int_equal(publish_new(&f->t, count_grace, f, NOW, &f->p), 0);
	assert_int_equal(publish_pool_get(f->p, "chat", N_SLOTS, &f->pool), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	publish_free(&f->p);
	tables_close(&f->t);
	free(f);
	return 0;
}

/* The agent dies and another one adopts the tables. */
static void restart(struct fixture *f, uint64_t now_ms)
{
	publish_free(&f->p);
	assert_int_equal(publish_new(&f->t, count_grace, f, now_ms, &f->p), 0);
}

static uint16_t node(struct fixture *f, const char *name, const char *ep)
{
	struct endpoint e = endpoint(ep);
	bool adopted;
	uint16_t id;

	assert_int_equal(publish_backend_get(f->p, "chat", name, &e, &id, &adopted), 0);
	return id;
}

static uint16_t live_node(struct fixture *f, const char *name, const char *ep)
{
	uint16_t id = node(f, name, ep);

	publish_backend_set_alive(f->p, id);
	return id;
}

/* Publish the same cur in all slots. */
static uint32_t publish_all(struct fixture *f, uint16_t cur, uint16_t alt, uint64_t now_ms)
{
	uint16_t curs[N_SLOTS], alts[N_SLOTS];
	uint32_t written = 999;

	for (int i = 0; i < N_SLOTS; i++) {
		curs[i] = cur;
		alts[i] = alt;
	}
	assert_int_equal(publish_slots(f->p, f->pool, N_SLOTS, curs, alts, now_ms, &written), 0);
	return written;
}

static void assert_slot(const struct fixture *f, uint16_t cur, uint16_t alt, uint16_t prev)
{
	const struct lb_slot *s = &f->t.slots[f->pool * LB_SLOTS_MAX + 17];

	assert_int_equal(s->cur, cur);
	assert_int_equal(s->alt, alt);
	assert_int_equal(s->prev, prev);
}

/* --- slots ------------------------------------------------------------------------------------ */

static void test_first_table_has_no_transition(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");

	assert_int_equal(publish_all(f, a, b, NOW), N_SLOTS);
	assert_slot(f, a, b, 0);
	assert_int_equal(publish_all(f, a, b, NOW), 0);
	assert_int_equal(publish_in_transition(f->p, f->pool), 0);
	/* nothing beside the pool's own slots */
	assert_int_equal(f->t.slots[f->pool * LB_SLOTS_MAX + N_SLOTS].cur, 0);
}

static void test_change_of_a_live_node_keeps_its_flows(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80"),
		 c = live_node(f, "c", "10.0.0.3:80");

	publish_all(f, a, 0, NOW);
	assert_int_equal(publish_all(f, b, a, NOW), N_SLOTS);
	assert_slot(f, b, a, a);
	assert_int_equal(publish_in_transition(f->p, f->pool), N_SLOTS);
	publish_all(f, c, 0, NOW); /* under way: goes on with its prev */
	assert_slot(f, c, 0, a);
	publish_all(f, a, 0, NOW); /* back: ends */
	assert_slot(f, a, 0, 0);
	assert_int_equal(publish_in_transition(f->p, f->pool), 0);
}

static void test_a_dead_nodes_slots_change_without_prev(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80"),
		 c = live_node(f, "c", "10.0.0.3:80");

	publish_all(f, a, 0, NOW);
	publish_backend_set_dead(f->p, a);
	publish_all(f, b, 0, NOW);
	assert_slot(f, b, 0, 0);
	publish_all(f, c, 0, NOW);
	assert_slot(f, c, 0, b);
	publish_backend_set_dead(f->p, b);
	assert_int_equal(publish_all(f, c, 0, NOW), N_SLOTS); /* only prev goes */
	assert_slot(f, c, 0, 0);
	assert_int_equal(publish_in_transition(f->p, f->pool), 0);
}

static void test_prev_that_died_gives_way_to_the_node_that_leaves(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80"),
		 c = live_node(f, "c", "10.0.0.3:80");

	publish_all(f, a, 0, NOW);
	publish_all(f, b, 0, NOW);
	publish_backend_set_dead(f->p, a);
	publish_all(f, c, 0, NOW);
	assert_slot(f, c, 0, b);
	assert_int_equal(publish_in_transition(f->p, f->pool), N_SLOTS);
}

static void test_this_host_is_a_backend_that_is_always_alive(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");

	publish_all(f, a, 0, NOW);
	publish_all(f, LB_BACKEND_LOCAL, 0, NOW); /* degraded, its streams live on */
	assert_slot(f, LB_BACKEND_LOCAL, 0, a);
	publish_backend_set_dead(f->p, a);
	publish_all(f, LB_BACKEND_LOCAL, 0, NOW);
	assert_slot(f, LB_BACKEND_LOCAL, 0, 0);
	publish_all(f, b, 0, NOW); /* nodes return: answers in progress finish */
	assert_slot(f, b, 0, LB_BACKEND_LOCAL);
}

static void test_exc_is_kept_and_alt_never_equals_cur(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");

	publish_all(f, a, a, NOW);
	assert_slot(f, a, 0, 0);
	f->t.slots[f->pool * LB_SLOTS_MAX + 17].exc = 77;
	publish_all(f, b, 0, NOW);
	assert_int_equal(f->t.slots[f->pool * LB_SLOTS_MAX + 17].exc, 77);
	assert_int_equal(publish_end_transitions(f->p, 0, NOW + 1000, 100000), N_SLOTS);
	assert_int_equal(f->t.slots[f->pool * LB_SLOTS_MAX + 17].exc, 77);
	assert_slot(f, b, 0, 0);
}

static void test_transition_ends_after_idle_time_and_not_before(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");

	publish_all(f, a, 0, NOW);
	publish_all(f, b, 0, NOW + 5000);
	assert_int_equal(publish_end_transitions(f->p, IDLE_MS, NOW + 5000, 100000), 0);
	assert_int_equal(publish_end_transitions(f->p, IDLE_MS, NOW + 5000 + IDLE_MS - 1, 100000),
			 0);
	assert_slot(f, b, 0, a);
	assert_int_equal(publish_end_transitions(f->p, IDLE_MS, NOW + 5200 + IDLE_MS, 100000),
			 N_SLOTS);
	assert_slot(f, b, 0, 0);
	assert_int_equal(publish_in_transition(f->p, f->pool), 0);
}

static void test_a_flow_that_could_not_be_learned_holds_transitions(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	uint64_t *unlearned = &f->t.reasons[LB_REASONS_MAX + LB_EV_OVERFLOW_LEARN]; /* of CPU 1 */
	const uint64_t over_ms = NOW + IDLE_MS + 200;

	*unlearned = 7; /* before this agent began */
	restart(f, NOW);
	publish_all(f, a, 0, NOW);
	publish_all(f, b, 0, NOW);
	*unlearned = 8;
	assert_int_equal(publish_end_transitions(f->p, IDLE_MS, over_ms - 1000, 100000), 0);
	assert_int_equal(publish_end_transitions(f->p, IDLE_MS, over_ms, 100000), 0);
	assert_int_equal(publish_end_transitions(f->p, IDLE_MS, over_ms + IDLE_MS - 1000, 100000),
			 0);
	assert_slot(f, b, 0, a);
	assert_int_equal(publish_end_transitions(f->p, IDLE_MS, over_ms + IDLE_MS, 100000),
			 N_SLOTS);
}

static void test_transition_away_from_this_host_is_short(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	uint64_t over_ms = NOW + PUBLISH_LOCAL_IDLE_MS + 200;
	const uint64_t hour_ms = 3600000;

	publish_all(f, LB_BACKEND_LOCAL, 0, NOW);
	publish_all(f, a, 0, NOW);
	assert_slot(f, a, 0, LB_BACKEND_LOCAL);
	assert_int_equal(publish_end_transitions(f->p, hour_ms, over_ms - 300, 100000), 0);
	assert_int_equal(publish_end_transitions(f->p, hour_ms, over_ms, 100000), N_SLOTS);
	assert_slot(f, a, 0, 0);
	publish_all(f, b, 0, over_ms); /* that of a node still lasts as long as its flows may be idle */
	assert_int_equal(publish_end_transitions(f->p, hour_ms, over_ms + hour_ms - 1, 100000), 0);
	assert_slot(f, b, 0, a);
}

static void test_a_shorter_idle_time_holds_for_this_host_too(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80");

	publish_all(f, LB_BACKEND_LOCAL, 0, NOW);
	publish_all(f, a, 0, NOW);
	assert_int_equal(publish_end_transitions(f->p, 10000, NOW + 9999, 100000), 0);
	assert_int_equal(publish_end_transitions(f->p, 10000, NOW + 10200, 100000), N_SLOTS);
}

static void test_end_of_transitions_keeps_to_its_budget(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	uint64_t late = NOW + 10 * IDLE_MS;
	uint32_t other, ended = 0, calls = 0, n;

	assert_int_equal(publish_pool_get(f->p, "other", N_SLOTS, &other), 0);
	publish_all(f, a, 0, NOW);
	publish_all(f, b, 0, NOW);
	while ((n = publish_end_transitions(f->p, IDLE_MS, late, 100))) {
		assert_true(n <= 100);
		ended += n;
		calls++;
	}
	assert_int_equal(ended, N_SLOTS);
	assert_int_equal(calls, 3);
}

static void test_a_transition_begins_anew_when_it_was_ended_by_going_back(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");

	publish_all(f, a, 0, NOW);
	publish_all(f, b, 0, NOW);
	publish_all(f, a, 0, NOW + 1000);
	publish_all(f, b, 0, NOW + IDLE_MS); /* flows of a begun since 1000 have no entries */
	assert_int_equal(publish_end_transitions(f->p, IDLE_MS, NOW + IDLE_MS + 1000, 100000), 0);
	assert_slot(f, b, 0, a);
}

static void test_adopting_agent_moves_nothing_and_waits_the_whole_idle_time(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	uint64_t later = NOW + 40 * IDLE_MS;
	uint32_t pool;

	publish_all(f, a, 0, NOW);
	publish_all(f, b, a, NOW);
	restart(f, later);
	assert_int_equal(publish_pool_get(f->p, "chat", N_SLOTS, &pool), 0);
	assert_int_equal(pool, f->pool);
	assert_int_equal(node(f, "a", "10.0.0.1:80"), a);
	assert_int_equal(node(f, "b", "10.0.0.2:80"), b);
	assert_true(publish_backend_is_alive(f->p, a));
	assert_int_equal(publish_all(f, b, a, later), 0);
	assert_int_equal(publish_in_transition(f->p, f->pool), N_SLOTS);
	assert_int_equal(publish_end_transitions(f->p, IDLE_MS, later + IDLE_MS - 1, 100000), 0);
	assert_int_equal(publish_end_transitions(f->p, IDLE_MS, later + IDLE_MS + 200, 100000),
			 N_SLOTS);
	assert_slot(f, b, a, 0);
}

/*
 * Random changes against a model of flows: a flow that was learned (or entered) keeps its backend;
 * one without an entry is where the slot says. The invariant of DESIGN section 2 for one slot.
 */
struct model_flow {
	uint16_t home; /* where it was begun */
	bool entry;    /* has an entry naming home */
	uint8_t born;  /* generation of home then */
};

static uint16_t default_of(const struct fixture *f, uint32_t slot)
{
	const struct lb_slot *s = &f->t.slots[f->pool * LB_SLOTS_MAX + slot];

	return s->prev ? s->prev : s->cur;
}

static void model_packet(struct fixture *f, struct model_flow *flow)
{
	const struct lb_slot *s = &f->t.slots[f->pool * LB_SLOTS_MAX];

	if (f->t.backends[flow->home].generation != flow->born) {
		flow->home = 0; /* its node died: it is no longer a live flow */
		return;
	}
	if (flow->entry)
		return;
	assert_int_equal(default_of(f, 0), flow->home);
	flow->entry = s->prev != 0; /* learned */
}

static void test_no_live_flow_moves_whatever_the_agent_does(void **state)
{
	struct fixture *f = *state;
	uint16_t ids[4], curs[N_SLOTS], alts[N_SLOTS];
	struct model_flow flows[64] = {0};
	uint64_t now = NOW;
	uint32_t written;
	char ep[32], name[16];

	srandom(7);
	for (int i = 0; i < 4; i++) {
		snprintf(ep, sizeof(ep), "10.0.0.%d:80", i + 1);
		snprintf(name, sizeof(name), "n%d", i);
		ids[i] = live_node(f, name, ep);
	}
	for (int step = 0; step < 20000; step++) {
		struct model_flow *flow = &flows[random() % 64];
		uint16_t id = ids[random() % 4];

		now += random() % (IDLE_MS / 50);
		switch (random() % 8) {
		case 0: /* a node dies or returns */
			if (publish_backend_is_alive(f->p, id))
				publish_backend_set_dead(f->p, id);
			else
				publish_backend_set_alive(f->p, id);
			break;
		case 1: /* the table changes to a live node */
			for (int i = 0; i < N_SLOTS; i++) {
				curs[i] =
					publish_backend_is_alive(f->p, id) ? id : LB_BACKEND_LOCAL;
				alts[i] = 0;
			}
			publish_slots(f->p, f->pool, N_SLOTS, curs, alts, now, &written);
			break;
		case 2: /* all flows that live send something within the idle time */
			for (int i = 0; i < 64; i++) {
				if (flows[i].home)
					model_packet(f, &flows[i]);
			}
			publish_end_transitions(f->p, IDLE_MS, now, 100000);
			break;
		case 3: /* a new flow */
			id = f->t.slots[f->pool * LB_SLOTS_MAX].cur;
			if (!id || id == LB_BACKEND_LOCAL || !publish_backend_is_alive(f->p, id))
				break;
			*flow = (struct model_flow){.home = id,
						    .entry = default_of(f, 0) != id,
						    .born = f->t.backends[id].generation};
			break;
		default:
			if (flow->home)
				model_packet(f, flow);
		}
	}
}

static void test_one_member_of_1000_is_written_within_5_ms(void **state)
{
	struct fixture *f = *state;
	static uint16_t curs[LB_SLOTS_MAX], alts[LB_SLOTS_MAX];
	struct timespec from, to;
	uint32_t pool, written;
	uint16_t ids[1000];
	double ms, best = 1e9;

	assert_int_equal(publish_pool_get(f->p, "big", LB_SLOTS_MAX, &pool), 0);
	for (int i = 0; i < 1000; i++) {
		struct endpoint e = endpoint("10.1.0.1:80");
		char name[16];
		bool adopted;

		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(publish_backend_get(f->p, "big", name, &e, &ids[i], &adopted), 0);
		publish_backend_set_alive(f->p, ids[i]);
	}
	for (int i = 0; i < LB_SLOTS_MAX; i++) {
		curs[i] = ids[i % 1000];
		alts[i] = ids[(i + 1) % 1000];
	}
	publish_slots(f->p, pool, LB_SLOTS_MAX, curs, alts, NOW, &written);
	assert_int_equal(written, LB_SLOTS_MAX);
	for (int round = 0; round < 5; round++) {
		for (int i = 500; i < LB_SLOTS_MAX; i += 1000)
			curs[i] = ids[round % 2 ? 500 : 499];
		clock_gettime(CLOCK_MONOTONIC, &from);
		publish_slots(f->p, pool, LB_SLOTS_MAX, curs, alts, NOW, &written);
		clock_gettime(CLOCK_MONOTONIC, &to);
		assert_int_equal(written, 66);
		ms = (to.tv_sec - from.tv_sec) * 1e3 + (to.tv_nsec - from.tv_nsec) / 1e6;
		best = ms < best ? ms : best;
	}
	print_message("1 of 1000 members: %.2f ms (with sanitizers)\n", best);
	assert_true(best < 5.0);
}

static void test_slots_of_another_size_are_refused(void **state)
{
	struct fixture *f = *state;
	uint16_t curs[N_SLOTS] = {0};
	uint32_t written, pool;

	assert_int_equal(publish_slots(f->p, f->pool, N_SLOTS - 1, curs, NULL, NOW, &written),
			 -EINVAL);
	assert_int_equal(publish_slots(f->p, 3, N_SLOTS, curs, NULL, NOW, &written), -EINVAL);
	assert_int_equal(publish_pool_get(f->p, "chat", 509, &pool), -EBUSY);
}

/* The packet path stores exc while the agent swaps words: neither is ever lost. */
struct exc_race {
	struct lb_slot *slot;
	bool stop;
	uint64_t wrong;
};

static void *store_exc(void *arg)
{
	struct exc_race *r = arg;
	uint16_t v = 0;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		v = v % 60000 + 1;
		__atomic_store_n(&r->slot->exc, v, __ATOMIC_RELAXED);
		if (__atomic_load_n(&r->slot->exc, __ATOMIC_RELAXED) != v)
			r->wrong++;
	}
	return NULL;
}

static void test_exc_stored_during_a_change_is_not_lost(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	struct exc_race race = {.slot = &f->t.slots[f->pool * LB_SLOTS_MAX]};
	pthread_t thread;

	publish_all(f, a, 0, NOW);
	pthread_create(&thread, NULL, store_exc, &race);
	for (int i = 0; i < 3000; i++)
		publish_all(f, i % 2 ? a : b, 0, NOW);
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(race.wrong, 0);
}

/* --- backends --------------------------------------------------------------------------------- */

static void test_backend_ids_belong_to_pool_name_and_address(void **state)
{
	struct fixture *f = *state;
	struct endpoint e = endpoint("10.0.0.1:80");
	uint16_t a = node(f, "a", "10.0.0.1:80"), id;
	bool adopted;

	assert_int_equal(publish_backend_get(f->p, "chat", "a", &e, &id, &adopted), 0);
	assert_int_equal(id, a);
	assert_true(adopted);
	assert_int_not_equal(node(f, "a", "10.0.0.2:80"), a);
	assert_int_not_equal(node(f, "a", "10.0.0.1:81"), a);
	assert_int_not_equal(node(f, "b", "10.0.0.1:80"), a);
	assert_int_equal(publish_backend_get(f->p, "embed", "a", &e, &id, &adopted), 0);
	assert_int_not_equal(id, a);
	assert_false(adopted);
	assert_int_equal(f->t.backends[a].addr[2], htonl(0xffff));
	assert_int_equal(f->t.backends[a].addr[3], htonl(0x0a000001));
	assert_int_equal(f->t.backends[a].port, htons(80));
	assert_int_equal(f->t.backends[a].family, 4);
	assert_string_equal(f->t.backend_info[a].address, "10.0.0.1:80");
	id = node(f, "six", "[2001:db8::7]:80");
	assert_int_equal(f->t.backends[id].family, 6);
	assert_int_equal(f->t.backends[id].addr[3], htonl(7));
}

static void test_death_and_reuse_raise_the_generation(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80");
	uint8_t g = f->t.backends[a].generation;

	publish_backend_set_alive(f->p, a);
	assert_int_equal(f->t.backends[a].generation, g);
	publish_backend_set_dead(f->p, a);
	publish_backend_set_dead(f->p, a);
	assert_int_equal(f->t.backends[a].generation, (uint8_t)(g + 1));
	assert_false(publish_backend_is_alive(f->p, a));
	publish_backend_set_alive(f->p, a);
	assert_int_equal(f->t.backends[a].generation, (uint8_t)(g + 1));
	g = f->t.backends[a].generation;
	assert_int_equal(publish_backend_release(f->p, a), 0);
	assert_false(publish_backend_used(f->p, a));
	assert_int_not_equal(f->t.backends[a].generation, g);
	/* not handed out again at once */
	assert_int_not_equal(node(f, "b", "10.0.0.2:80"), a);
}

static void test_backend_in_use_is_not_released(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");

	publish_all(f, a, b, NOW);
	assert_int_equal(publish_backend_release(f->p, a), -EBUSY);
	assert_int_equal(publish_backend_release(f->p, b), -EBUSY); /* alt */
	publish_all(f, b, 0, NOW);
	assert_int_equal(publish_backend_release(f->p, a), -EBUSY); /* prev */
	publish_backend_set_dead(f->p, a);
	publish_all(f, b, 0, NOW);
	publish_members(f->p, f->pool, &a, 1);
	assert_int_equal(publish_backend_release(f->p, a), -EBUSY);
	publish_members(f->p, f->pool, NULL, 0);
	publish_turns(f->p, f->pool, &a, 1);
	assert_int_equal(publish_backend_release(f->p, a), -EBUSY);
	publish_turns(f->p, f->pool, NULL, 0);
	restart(f, NOW); /* the count of references is found again */
	assert_int_equal(publish_backend_release(f->p, b), -EBUSY);
	assert_int_equal(publish_backend_release(f->p, a), 0);
}

static void test_all_ids_can_be_used_and_then_no_more(void **state)
{
	struct fixture *f = *state;
	struct endpoint e = endpoint("10.0.0.1:80");
	char name[16];
	bool adopted;
	uint16_t id;

	for (int i = 1; i < LB_BACKENDS_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(publish_backend_get(f->p, "chat", name, &e, &id, &adopted), 0);
		assert_true(id >= 1 && id < LB_BACKENDS_MAX && !adopted);
	}
	assert_int_equal(publish_backend_get(f->p, "chat", "more", &e, &id, &adopted), -ENOSPC);
	restart(f, NOW);
	for (int i = 1; i < LB_BACKENDS_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(publish_backend_get(f->p, "chat", name, &e, &id, &adopted), 0);
		assert_true(adopted);
	}
	assert_int_equal(publish_backend_release(f->p, 4000), 0);
	assert_int_equal(publish_backend_get(f->p, "chat", "more", &e, &id, &adopted), 0);
	assert_int_equal(id, 4000);
}

static void test_long_names_are_refused(void **state)
{
	struct fixture *f = *state;
	struct endpoint e = endpoint("10.0.0.1:80");
	char name[LB_NAME_MAX + 1];
	bool adopted;
	uint16_t id;
	uint32_t n;

	memset(name, 'x', sizeof(name));
	name[LB_NAME_MAX] = '\0';
	assert_int_equal(publish_backend_get(f->p, "chat", name, &e, &id, &adopted), -ENAMETOOLONG);
	assert_int_equal(publish_pool_get(f->p, name, 251, &n), -ENAMETOOLONG);
	assert_int_equal(publish_vip_get(f->p, name, &n), -ENAMETOOLONG);
	name[LB_NAME_MAX - 1] = '\0';
	assert_int_equal(publish_vip_get(f->p, name, &n), 0);
	assert_string_equal(f->t.vip_info[n].name, name);
}

static void test_next_hop_comes_changes_and_goes(void **state)
{
	struct fixture *f = *state;
	struct nexthop_result res = {
		.state = NEXTHOP_NO_MAC,
		.ifindex = 5,
		.dmac = {2, 0, 0, 0, 0, 1},
		.smac = {2, 0, 0, 0, 0, 2},
		.mtu = 1500,
	};
	struct address none = {0}, own;
	uint16_t a = live_node(f, "a", "10.0.0.1:80");
	struct lb_backend *b = &f->t.backends[a];

	assert_int_equal(address_parse("10.0.0.254", &res.src), 0);
	assert_int_equal(address_parse("10.9.9.9", &own), 0);
	publish_backend_nexthop(f->p, a, &res, &none, htonl(0xff), 6080);
	assert_false(b->flags & LB_BACKEND_F_NEXTHOP);
	res.state = NEXTHOP_READY;
	publish_backend_nexthop(f->p, a, &res, &none, htonl(0xff), 6080);
	assert_int_equal(b->flags, LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP);
	assert_int_equal(b->ifindex, 5);
	assert_memory_equal(b->dmac, res.dmac, 6);
	assert_memory_equal(b->smac, res.smac, 6);
	assert_int_equal(b->mtu, 1500);
	assert_int_equal(b->port, htons(80));
	assert_int_equal(b->src[3], htonl(0x0a0000fe));
	assert_int_equal(b->src_vary, htonl(0xff));
	assert_int_equal(b->gue_port, htons(6080));
	assert_int_equal(b->addr[3], htonl(0x0a000001));
	res.dmac[5] = 9;
	res.mtu = 70000; /* a loopback's: more than the field holds */
	publish_backend_nexthop(f->p, a, &res, &own, 0, 7777);
	assert_int_equal(b->dmac[5], 9);
	assert_int_equal(b->mtu, 65535);
	assert_int_equal(b->src[3], htonl(0x0a090909));
	assert_int_equal(b->gue_port, htons(7777));
	assert_int_equal(b->vlan, 0);
	res.vlan = 100;
	publish_backend_nexthop(f->p, a, &res, &own, 0, 7777);
	assert_int_equal(b->vlan, htons(100));
	assert_int_equal(b->flags, LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP | LB_BACKEND_F_TAGGED);
	res.vlan = 0;
	publish_backend_nexthop(f->p, a, &res, &own, 0, 7777);
	assert_int_equal(b->vlan, 0);
	assert_int_equal(b->flags, LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP);
	res.state = NEXTHOP_NO_MAC; /* the neighbour failed: the last known one serves on */
	publish_backend_nexthop(f->p, a, &res, &none, 0, 6080);
	assert_true(b->flags & LB_BACKEND_F_NEXTHOP);
	res.state = NEXTHOP_NO_ROUTE;
	publish_backend_nexthop(f->p, a, &res, &none, 0, 6080);
	assert_false(b->flags & LB_BACKEND_F_NEXTHOP);
	assert_true(publish_backend_is_alive(f->p, a));
}

struct mac_race {
	struct lb_backend *b;
	bool stop;
	uint64_t torn;
};

static void *read_mac(void *arg)
{
	struct mac_race *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		uint64_t w = __atomic_load_n((uint64_t *)(void *)r->b->dmac, __ATOMIC_RELAXED);
		uint8_t mac[8];

		memcpy(mac, &w, sizeof(w));
		for (int i = 1; i < 6; i++)
			r->torn += mac[i] != mac[0];
	}
	return NULL;
}

static void test_a_reader_never_sees_a_half_new_mac(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80");
	struct mac_race race = {.b = &f->t.backends[a]};
	struct nexthop_result res = {.state = NEXTHOP_READY, .ifindex = 5, .mtu = 1500};
	struct address none = {0};
	pthread_t thread;

	pthread_create(&thread, NULL, read_mac, &race);
	for (int i = 0; i < 200000; i++) {
		memset(res.dmac, i & 0xff, 6);
		publish_backend_nexthop(f->p, a, &res, &none, 0, 6080);
	}
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(race.torn, 0);
}

static void test_info_is_what_people_read(void **state)
{
	struct fixture *f = *state;
	uint16_t a = node(f, "a", "10.0.0.1:80");
	struct publish_node_info info = {
		.state = LB_STATE_DRAINING,
		.weight = 3,
		.effective_weight = 3000,
		.tier = 1,
		.operator_state = LB_STATE_DRAINING,
		.weight_set = true,
		.drain_deadline_ms = 12345,
	};

	assert_int_equal(f->t.backend_info[a].state, LB_STATE_UNKNOWN);
	publish_backend_info(f->p, a, &info);
	assert_int_equal(f->t.backend_info[a].state, LB_STATE_DRAINING);
	assert_int_equal(f->t.backend_info[a].operator_state, LB_STATE_DRAINING);
	assert_int_equal(f->t.backend_info[a].drain_deadline_ms, 12345);
	assert_int_equal(f->t.backend_info[a].weight_set, 1);
	assert_string_equal(f->t.backend_info[a].name, "a");
	assert_string_equal(f->t.backend_info[a].pool, "chat");
}

/* --- loads ------------------------------------------------------------------------------------ */

static void test_a_scrape_subtracts_what_it_saw_at_its_start(void **state)
{
	struct fixture *f = *state;
	uint16_t a = node(f, "a", "10.0.0.1:80");
	struct lb_load *l = &f->t.loads[a];
	uint32_t inc;

	l->inc = 5;
	inc = publish_load_inc(f->p, a);
	l->inc += 3; /* new flows during the scrape */
	publish_load_scraped(f->p, a, 40, inc);
	assert_int_equal(l->base, 40);
	assert_int_equal(l->inc, 3);
	publish_load_scraped(f->p, a, 40, 10); /* never below 0 */
	assert_int_equal(l->inc, 0);
	publish_load_weight(f->p, a, 2500, LB_LOAD_F_HOT);
	assert_int_equal(l->weight, 2500);
	assert_int_equal(l->flags, LB_LOAD_F_HOT);
	publish_load_base(f->p, a, 9);
	assert_int_equal(l->base, 9);
	l->flows = 7;
	publish_load_flows_sub(&f->t, a, 3);
	assert_int_equal(l->flows, 4);
	publish_load_flows_sub(&f->t, a, 5);
	assert_int_equal(l->flows, 0);
}

/* --- turns ------------------------------------------------------------------------------------ */

static int build(const char *weights, enum publish_turns kind, uint16_t *turns)
{
	struct publish_member m[16];
	uint32_t n = 0;

	for (const char *c = weights; *c; c++, n++)
		m[n] = (struct publish_member){.backend = n + 1, .weight = *c - '0'};
	return publish_turns_build(m, n, kind, turns);
}

static void test_plain_turns_are_one_each(void **state)
{
	uint16_t turns[LB_TURNS_MAX];

	(void)state;
	assert_int_equal(build("3021", PUBLISH_TURNS_PLAIN, turns), 3);
	assert_int_equal(turns[0], 1);
	assert_int_equal(turns[1], 3);
	assert_int_equal(turns[2], 4);
	assert_int_equal(build("000", PUBLISH_TURNS_PLAIN, turns), 0);
	assert_int_equal(build("", PUBLISH_TURNS_WEIGHTED, turns), 0);
}

static void test_weighted_turns_are_spread_as_nginx_does(void **state)
{
	/* nginx's own example: 5, 1, 1 gives a a b a c a a */
	const uint16_t want[7] = {1, 1, 2, 1, 3, 1, 1};
	uint16_t turns[LB_TURNS_MAX];

	(void)state;
	assert_int_equal(build("511", PUBLISH_TURNS_WEIGHTED, turns), 7);
	assert_memory_equal(turns, want, sizeof(want));
	assert_int_equal(build("642", PUBLISH_TURNS_WEIGHTED, turns), 6); /* 3:2:1 */
}

static void test_turns_of_large_weights_are_scaled(void **state)
{
	_cleanup_free_ struct publish_member *m = calloc(5000, sizeof(*m));
	uint16_t turns[LB_TURNS_MAX];
	uint32_t count[1001] = {0};
	int n;

	(void)state;
	for (int i = 0; i < 1000; i++)
		m[i] = (struct publish_member){.backend = i + 1, .weight = 1000 + i};
	n = publish_turns_build(m, 1000, PUBLISH_TURNS_WEIGHTED, turns);
	assert_true(n >= 1000 && n <= LB_TURNS_MAX);
	for (int i = 0; i < n; i++)
		count[turns[i]]++;
	for (int i = 1; i <= 1000; i++)
		assert_true(count[i] >= 1);
	m[0].weight = 30011;
	m[1].weight = 20011;
	m[2].weight = 10007;
	n = publish_turns_build(m, 3, PUBLISH_TURNS_WEIGHTED, turns);
	assert_true(n > 4000 && n <= LB_TURNS_MAX);
	memset(count, 0, sizeof(count));
	for (int i = 0; i < n; i++)
		count[turns[i]]++;
	assert_in_range(count[1] * 1000 / n, 497, 503);
	assert_in_range(count[2] * 1000 / n, 330, 336);
	for (int i = 0; i < 5000; i++)
		m[i].weight = 1;
	assert_int_equal(publish_turns_build(m, 5000, PUBLISH_TURNS_PLAIN, turns), -E2BIG);
}

static void test_lists_are_written_to_the_idle_bank_and_flipped(void **state)
{
	struct fixture *f = *state;
	const uint16_t one[] = {1, 2, 3}, two[] = {4, 5};
	const struct lb_pool *pool = &f->t.pools[f->pool];

	publish_turns(f->p, f->pool, one, 3);
	assert_int_equal(pool->n_turns, 3 | LB_BANK_BIT);
	assert_memory_equal(f->t.turns[2 * f->pool + 1].backend, one, sizeof(one));
	publish_turns(f->p, f->pool, one, 3); /* the same: no flip */
	assert_int_equal(pool->n_turns, 3 | LB_BANK_BIT);
	publish_turns(f->p, f->pool, two, 2);
	assert_int_equal(pool->n_turns, 2);
	assert_memory_equal(f->t.turns[2 * f->pool].backend, two, sizeof(two));
	assert_memory_equal(f->t.turns[2 * f->pool + 1].backend, one, sizeof(one));
	publish_turns(f->p, f->pool, NULL, 0);
	assert_int_equal(pool->n_turns, LB_BANK_BIT);
	publish_members(f->p, f->pool, two, 2);
	assert_int_equal(pool->n_members, 2 | LB_BANK_BIT);
	assert_memory_equal(f->t.members[2 * f->pool + 1].backend, two, sizeof(two));
}

/* --- VIPs and their index --------------------------------------------------------------------- */

static struct publish_vip vip_settings(const struct fixture *f, const char *ep)
{
	return (struct publish_vip){
		.endpoint = endpoint(ep),
		.proto = IPPROTO_TCP,
		.pool = f->pool,
		.mode = LB_MODE_IPIP,
		.policy = LB_POLICY_P2C,
		.affinity = LB_AFFINITY_FLOW,
		.on_down = LB_ON_DOWN_RESET,
		.flags = LB_VIP_F_ACTIVE,
	};
}

static const struct lb_vip_cell *find(const struct fixture *f, const char *addr, uint16_t port)
{
	struct address a;
	__be32 words[4] = {0};

	assert_int_equal(address_parse(addr, &a), 0);
	if (a.family == AF_INET6) {
		memcpy(words, a.bytes, 16);
	} else {
		words[2] = htonl(0xffff);
		memcpy(&words[3], a.bytes, 4);
	}
	return publish_index_find(f->p, words, htons(port), port ? IPPROTO_TCP : 0);
}

static void test_vip_is_found_by_service_and_by_address(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "192.0.2.1:443");
	uint32_t one, two;

	assert_int_equal(publish_vip_get(f->p, "one", &one), 0);
	assert_int_equal(publish_vip_set(f->p, one, &s), 0);
	assert_int_equal(find(f, "192.0.2.1", 443)->kind, LB_VIP_KIND_SERVICE);
	assert_int_equal(find(f, "192.0.2.1", 443)->vip, one);
	assert_int_equal(find(f, "192.0.2.1", 0)->kind, LB_VIP_KIND_ADDRESS);
	assert_null(find(f, "192.0.2.1", 80));
	assert_null(find(f, "192.0.2.2", 443));
	assert_int_equal(f->t.vips[one].flags, LB_VIP_F_ACTIVE);
	assert_int_equal(f->t.vips[one].slot_base, f->pool * LB_SLOTS_MAX);
	assert_int_equal(f->t.vips[one].n_slots, N_SLOTS);
	assert_int_equal(f->t.vips[one].family, 4);
	assert_int_equal(f->t.vips[one].port, htons(443));
	assert_string_equal(f->t.vip_info[one].pool, "chat");
	assert_string_equal(f->t.vip_info[one].address, "192.0.2.1:443");
	/* a second one on the address; the endpoint itself is taken */
	assert_int_equal(publish_vip_get(f->p, "two", &two), 0);
	assert_int_equal(publish_vip_set(f->p, two, &s), -EEXIST);
	assert_int_equal(f->t.vips[two].flags, 0);
	s.endpoint.port = 80;
	assert_int_equal(publish_vip_set(f->p, two, &s), 0);
	/* the address stays as long as one VIP has it */
	publish_vip_release(f->p, one);
	assert_null(find(f, "192.0.2.1", 443));
	assert_int_equal(find(f, "192.0.2.1", 0)->vip, two);
	publish_vip_release(f->p, two);
	assert_null(find(f, "192.0.2.1", 0));
	for (int i = 0; i < LB_VIP_BUCKETS; i++)
		assert_int_equal(f->t.vip_index[i].kind, LB_VIP_KIND_EMPTY);
}

static void test_an_endpoint_keeps_its_id_under_another_name(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "192.0.2.1:443"), other = s;
	char long_name[LB_NAME_MAX + 1];
	uint32_t one, two, id;

	other.endpoint.port = 80;
	assert_int_equal(publish_vip_get(f->p, "one", &one), 0);
	assert_int_equal(publish_vip_set(f->p, one, &s), 0);
	assert_int_equal(publish_vip_claim(f->p, "one", &s.endpoint, IPPROTO_TCP), 0);
	assert_int_equal(publish_vip_claim(f->p, "two", &other.endpoint, IPPROTO_TCP), 0);
	assert_int_equal(publish_vip_claim(f->p, "new", &s.endpoint, IPPROTO_TCP), 1);
	assert_int_equal(publish_vip_get(f->p, "new", &id), 0);
	assert_int_equal(id, one);
	/* two that exchange their endpoints */
	assert_int_equal(publish_vip_get(f->p, "two", &two), 0);
	assert_int_equal(publish_vip_set(f->p, two, &other), 0);
	assert_int_equal(publish_vip_claim(f->p, "two", &s.endpoint, IPPROTO_TCP), 1);
	assert_int_equal(publish_vip_claim(f->p, "new", &other.endpoint, IPPROTO_TCP), 0);
	assert_int_equal(publish_vip_get(f->p, "two", &id), 0);
	assert_int_equal(id, one);
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_int_equal(publish_vip_get(f->p, "new", &id), 0);
	assert_int_equal(id, two);
	memset(long_name, 'x', LB_NAME_MAX);
	long_name[LB_NAME_MAX] = '\0';
	assert_int_equal(publish_vip_claim(f->p, long_name, &s.endpoint, IPPROTO_TCP),
			 -ENAMETOOLONG);
}

static void test_vip_changes_in_place(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "[2001:db8::1]:443");
	uint32_t id, again;

	assert_int_equal(publish_vip_get(f->p, "one", &id), 0);
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_int_equal(f->t.vips[id].family, 6);
	s.policy = LB_POLICY_HASH;
	s.flags |= LB_VIP_F_TRACK;
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_int_equal(f->t.vips[id].policy, LB_POLICY_HASH);
	assert_int_equal(f->t.vips[id].flags, LB_VIP_F_ACTIVE | LB_VIP_F_TRACK);
	s.endpoint.port = 8443; /* same address */
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_null(find(f, "2001:db8::1", 443));
	assert_int_equal(find(f, "2001:db8::1", 8443)->vip, id);
	assert_int_equal(find(f, "2001:db8::1", 0)->vip, id);
	s.endpoint = endpoint("198.51.100.7:8443"); /* another one */
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_null(find(f, "2001:db8::1", 8443));
	assert_null(find(f, "2001:db8::1", 0));
	assert_int_equal(find(f, "198.51.100.7", 8443)->vip, id);
	restart(f, NOW);
	assert_int_equal(publish_vip_get(f->p, "one", &again), 0);
	assert_int_equal(again, id);
	assert_int_equal(find(f, "198.51.100.7", 8443)->vip, id);
}

static void test_vip_id_has_a_new_generation_each_time(void **state)
{
	struct fixture *f = *state;
	uint32_t first, id, generation;

	assert_int_equal(publish_vip_get(f->p, "one", &first), 0);
	generation = f->t.vips[first].generation;
	publish_vip_release(f->p, first);
	for (int i = 0; i < LB_VIPS_MAX; i++) { /* ids go round before they come back */
		assert_int_equal(publish_vip_get(f->p, "x", &id), 0);
		if (id == first)
			break;
		publish_vip_release(f->p, id);
	}
	assert_int_equal(id, first);
	assert_int_not_equal(f->t.vips[id].generation, generation);
}

static void test_pool_is_released_when_no_vip_has_it(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "192.0.2.1:443");
	uint16_t a = live_node(f, "a", "10.0.0.1:80");
	uint32_t id, pool;

	publish_all(f, a, 0, NOW);
	assert_int_equal(publish_vip_get(f->p, "one", &id), 0);
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_int_equal(publish_pool_release(f->p, f->pool), -EBUSY);
	publish_vip_release(f->p, id);
	assert_int_equal(publish_backend_release(f->p, a), -EBUSY);
	assert_int_equal(publish_pool_release(f->p, f->pool), 0);
	assert_slot(f, 0, 0, 0);
	assert_int_equal(publish_backend_release(f->p, a), 0);
	/* the same name may come back with another size now */
	assert_int_equal(publish_pool_get(f->p, "chat", 509, &pool), 0);
	for (int i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "p%d", i);
		assert_int_equal(publish_pool_get(f->p, name, 251, &pool), 0);
	}
	assert_int_equal(publish_pool_get(f->p, "more", 251, &pool), -ENOSPC);
}

/* Look a VIP up as the packet path does. */
static bool reader_finds(const struct tables *t, const struct lb_vip_cell *key)
{
	uint32_t buckets[2] = {lb_vip_bucket_a(key->addr, key->port, key->proto),
			       lb_vip_bucket_b(key->addr, key->port, key->proto)};

	for (int i = 0; i < 2; i++) {
		const struct lb_vip_cell *c = &t->vip_index[buckets[i]];

		if (c->kind == key->kind && c->port == key->port && c->proto == key->proto &&
		    !memcmp(c->addr, key->addr, 16))
			return c->vip == key->vip;
	}
	return false;
}

struct index_check {
	struct fixture *f;
	struct lb_vip_cell *keys;
	uint32_t n;
	uint32_t moves;
	uint32_t lost;
};

/* At every step of a move all keys are found: a grace period is where a reader might look. */
static void look_all_up(void *userdata)
{
	struct index_check *c = userdata;

	c->moves++;
	for (uint32_t i = 0; i < c->n; i++)
		c->lost += !reader_finds(&c->f->t, &c->keys[i]);
}

static void random_key(struct lb_vip_cell *key, uint32_t vip)
{
	*key = (struct lb_vip_cell){.port = htons(random() % 65535 + 1),
				    .proto = IPPROTO_TCP,
				    .kind = LB_VIP_KIND_SERVICE,
				    .vip = vip % LB_VIPS_MAX};
	for (int i = 0; i < 4; i++)
		key->addr[i] = random();
}

static void test_index_keeps_every_key_findable_while_keys_move(void **state)
{
	_cleanup_free_ struct lb_vip_cell *keys = calloc(2048, sizeof(*keys));
	struct fixture *f = *state;
	struct index_check check = {.f = f, .keys = keys};
	struct publish *p;
	uint32_t failed = 0;

	srandom(3);
	assert_int_equal(publish_new(&f->t, look_all_up, &check, NOW, &p), 0);
	for (uint32_t i = 0; i < 1024; i++) { /* as many as 512 VIPs may have */
		random_key(&keys[check.n], i);
		if (publish_index_insert(p, &keys[check.n]) < 0)
			failed++;
		else
			check.n++;
	}
	look_all_up(&check);
	print_message("1024 keys: %u moves seen, %u failed\n", check.moves, failed);
	assert_int_equal(check.lost, 0);
	assert_true(check.moves > 20);
	assert_int_equal(failed, 0);
	/* far beyond it insertions fail cleanly and the others stay */
	for (uint32_t i = 0; i < 1024; i++) {
		random_key(&keys[check.n], i);
		if (publish_index_insert(p, &keys[check.n]) == 0)
			check.n++;
	}
	look_all_up(&check);
	assert_int_equal(check.lost, 0);
	while (check.n) {
		check.n--;
		publish_index_remove(p, keys[check.n].addr, keys[check.n].port,
				     keys[check.n].proto);
		assert_false(reader_finds(&f->t, &keys[check.n]));
	}
	for (int i = 0; i < LB_VIP_BUCKETS; i++)
		assert_int_equal(f->t.vip_index[i].kind, LB_VIP_KIND_EMPTY);
	publish_free(&p);
}

static void test_index_full_of_circles_says_so(void **state)
{
	struct fixture *f = *state;
	struct lb_vip_cell key, keys[3];
	uint32_t n = 0, a, b;

	srandom(5);
	random_key(&keys[0], 1);
	a = lb_vip_bucket_a(keys[0].addr, keys[0].port, keys[0].proto);
	b = lb_vip_bucket_b(keys[0].addr, keys[0].port, keys[0].proto);
	/* a key sits in each of its cells, and both can only go to each other's */
	keys[1] = keys[0];
	assert_int_equal(publish_index_insert(f->p, &keys[0]), 0);
	for (uint64_t tries = 0; n < 2 && tries < 200000000; tries++) {
		keys[1].addr[3] = tries;
		keys[1].port = htons(1 + (tries >> 32));
		if ((lb_vip_bucket_a(keys[1].addr, keys[1].port, keys[1].proto) == a &&
		     lb_vip_bucket_b(keys[1].addr, keys[1].port, keys[1].proto) == b) ||
		    (lb_vip_bucket_a(keys[1].addr, keys[1].port, keys[1].proto) == b &&
		     lb_vip_bucket_b(keys[1].addr, keys[1].port, keys[1].proto) == a)) {
			if (!memcmp(keys[1].addr, keys[0].addr, 16))
				continue;
			key = keys[1];
			if (n == 0)
				assert_int_equal(publish_index_insert(f->p, &key), 0);
			else
				assert_int_equal(publish_index_insert(f->p, &key), -ENOSPC);
			n++;
		}
	}
	assert_int_equal(n, 2);
	assert_true(reader_finds(&f->t, &keys[0]));
}

static void test_cells_of_a_dead_agent_are_cleared(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "192.0.2.1:443");
	const struct lb_vip_cell *at;
	struct lb_vip_cell stray;
	uint32_t id, a, b;

	assert_int_equal(publish_vip_get(f->p, "one", &id), 0);
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	at = find(f, "192.0.2.1", 443);
	a = lb_vip_bucket_a(at->addr, at->port, at->proto);
	b = lb_vip_bucket_b(at->addr, at->port, at->proto);
	f->t.vip_index[a] = f->t.vip_index[b] = *at; /* died while it moved the key */
	random_key(&stray, 77);                      /* no such VIP */
	f->t.vip_index[lb_vip_bucket_a(stray.addr, stray.port, stray.proto)] = stray;
	restart(f, NOW);
	assert_int_equal(f->t.vip_index[a].kind, LB_VIP_KIND_SERVICE);
	assert_int_equal(f->t.vip_index[b].kind, LB_VIP_KIND_EMPTY);
	assert_null(publish_index_find(f->p, stray.addr, stray.port, stray.proto));
	assert_int_equal(find(f, "192.0.2.1", 443)->vip, id);
}

/* --- control ---------------------------------------------------------------------------------- */

static void test_hash_key_cannot_change_under_traffic(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "192.0.2.1:443");
	const uint8_t key[16] = "0123456789abcdef", other[16] = "fedcba9876543210";
	struct lb_hash_key want = {0};
	__u64 secret[2];
	uint32_t id;

	memcpy(secret, key, sizeof(secret));
	lb_hash_expand(secret, &want);
	assert_int_equal(publish_control(f->p, key, 1000, 200), 0);
	assert_memory_equal(&f->t.control->hash, &want, sizeof(want));
	assert_int_equal(f->t.control->new_entries_per_s, 1000);
	assert_int_equal(f->t.control->replies_per_s, 200);
	assert_int_equal(publish_vip_get(f->p, "one", &id), 0);
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_int_equal(publish_control(f->p, other, 9, 9), -EBUSY);
	assert_int_equal(f->t.control->new_entries_per_s, 1000);
	assert_int_equal(publish_control(f->p, key, 500, 100), 0);
	assert_int_equal(f->t.control->new_entries_per_s, 500);
	publish_heartbeat(f->p, 42);
	assert_int_equal(f->t.control->heartbeat_ns, 42);
	publish_vip_release(f->p, id);
	assert_int_equal(publish_control(f->p, other, 9, 9), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_first_table_has_no_transition),
		T(test_change_of_a_live_node_keeps_its_flows),
		T(test_a_dead_nodes_slots_change_without_prev),
		T(test_prev_that_died_gives_way_to_the_node_that_leaves),
		T(test_this_host_is_a_backend_that_is_always_alive),
		T(test_exc_is_kept_and_alt_never_equals_cur),
		T(test_transition_ends_after_idle_time_and_not_before),
		T(test_a_flow_that_could_not_be_learned_holds_transitions),
		T(test_transition_away_from_this_host_is_short),
		T(test_a_shorter_idle_time_holds_for_this_host_too),
		T(test_end_of_transitions_keeps_to_its_budget),
		T(test_a_transition_begins_anew_when_it_was_ended_by_going_back),
		T(test_adopting_agent_moves_nothing_and_waits_the_whole_idle_time),
		T(test_no_live_flow_moves_whatever_the_agent_does),
		T(test_one_member_of_1000_is_written_within_5_ms),
		T(test_slots_of_another_size_are_refused),
		T(test_exc_stored_during_a_change_is_not_lost),
		T(test_backend_ids_belong_to_pool_name_and_address),
		T(test_death_and_reuse_raise_the_generation),
		T(test_backend_in_use_is_not_released),
		T(test_all_ids_can_be_used_and_then_no_more),
		T(test_long_names_are_refused),
		T(test_next_hop_comes_changes_and_goes),
		T(test_a_reader_never_sees_a_half_new_mac),
		T(test_info_is_what_people_read),
		T(test_a_scrape_subtracts_what_it_saw_at_its_start),
		T(test_plain_turns_are_one_each),
		T(test_weighted_turns_are_spread_as_nginx_does),
		T(test_turns_of_large_weights_are_scaled),
		T(test_lists_are_written_to_the_idle_bank_and_flipped),
		T(test_vip_is_found_by_service_and_by_address),
		T(test_vip_changes_in_place),
		T(test_an_endpoint_keeps_its_id_under_another_name),
		T(test_vip_id_has_a_new_generation_each_time),
		T(test_pool_is_released_when_no_vip_has_it),
		T(test_index_keeps_every_key_findable_while_keys_move),
		T(test_index_full_of_circles_says_so),
		T(test_cells_of_a_dead_agent_are_cleared),
		T(test_hash_key_cannot_change_under_traffic),
	};

	return cmocka_run_group_tests_name("publish", tests, NULL, NULL);
}
