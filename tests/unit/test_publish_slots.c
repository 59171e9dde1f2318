/* SPDX-License-Identifier: BSD-2-Clause */
/* Publishing: slots and their transitions. */
#include <pthread.h>
#include <time.h>

#include "tests/unit/publish_bed.h"

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
	assert_int_equal(end_until(f, 1000, NOW + 1000 + LATEST_MS), N_SLOTS);
	assert_int_equal(f->t.slots[f->pool * LB_SLOTS_MAX + 17].exc, 77);
	assert_slot(f, b, 0, 0);
}

static void test_transition_ends_after_idle_time_and_not_before(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");

	publish_all(f, a, 0, NOW);
	publish_all(f, b, 0, NOW + 5000);
	assert_int_equal(end_until(f, IDLE_MS, NOW + 5000), 0);
	assert_int_equal(end_until(f, IDLE_MS, NOW + 5000 + IDLE_MS - 1), 0);
	assert_slot(f, b, LB_ALT_ENDING, a);
	assert_int_equal(end_until(f, IDLE_MS, NOW + 5000 + LATEST_MS + IDLE_MS), N_SLOTS);
	assert_slot(f, b, 0, 0);
	assert_int_equal(publish_in_transition(f->p, f->pool), 0);
}

static void test_a_flow_that_could_not_be_learned_holds_transitions(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	uint64_t *unlearned = &f->t.reasons[LB_REASONS_MAX + LB_EV_OVERFLOW_LEARN]; /* of CPU 1 */
	const uint64_t over_ms = NOW + IDLE_MS + LATEST_MS;

	*unlearned = 7; /* before this agent began */
	restart(f, NOW);
	publish_all(f, a, 0, NOW);
	publish_all(f, b, 0, NOW);
	assert_int_equal(end_until(f, IDLE_MS, over_ms - 1000), 0);
	*unlearned = 8;
	assert_int_equal(end_until(f, IDLE_MS, over_ms), 0);
	assert_int_equal(end_until(f, IDLE_MS, over_ms + IDLE_MS - 1000), 0);
	assert_slot(f, b, 0, a);
	assert_int_equal(end_until(f, IDLE_MS, over_ms + IDLE_MS + LB_HALF_OPEN_MS + LATEST_MS),
			 N_SLOTS);
}

static void test_transition_away_from_this_host_is_short(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	uint64_t over_ms = NOW + PUBLISH_LOCAL_IDLE_MS + LATEST_MS;
	const uint64_t hour_ms = 3600000;

	publish_all(f, LB_BACKEND_LOCAL, 0, NOW);
	publish_all(f, a, 0, NOW);
	assert_slot(f, a, 0, LB_BACKEND_LOCAL);
	assert_int_equal(end_until(f, hour_ms, over_ms - LATEST_MS - 1), 0);
	assert_int_equal(end_until(f, hour_ms, over_ms), N_SLOTS);
	assert_slot(f, a, 0, 0);
	publish_all(f, b, 0, over_ms); /* a node's lasts as long as flows may be idle */
	assert_int_equal(end_until(f, hour_ms, over_ms + hour_ms - 1), 0);
	assert_slot(f, b, LB_ALT_ENDING, a);
}

static void test_a_shorter_idle_time_holds_for_this_host_too(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80");

	publish_all(f, LB_BACKEND_LOCAL, 0, NOW);
	publish_all(f, a, 0, NOW);
	assert_int_equal(end_until(f, 10000, NOW + 9999), 0);
	assert_int_equal(end_until(f, 10000, NOW + 10000 + LATEST_MS), N_SLOTS);
}

static void test_end_of_transitions_keeps_to_its_budget(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	uint64_t late = NOW + 10 * IDLE_MS;
	uint32_t other, ended = 0, calls, n;

	assert_int_equal(publish_pool_get(f->p, "other", N_SLOTS, &other), 0);
	publish_all(f, a, 0, NOW);
	publish_all(f, b, 0, NOW);
	for (calls = 0; calls < 3; calls++) /* each says that its end is near … */
		assert_int_equal(publish_end_transitions(f->p, IDLE_MS, late, 100), 0);
	late += LB_HALF_OPEN_MS + 100;
	while ((n = publish_end_transitions(f->p, IDLE_MS, late, 100))) { /* … and ends */
		assert_true(n <= 100);
		ended += n;
		calls++;
	}
	assert_int_equal(ended, N_SLOTS);
	assert_int_equal(calls, 6);
}

static void test_before_the_end_no_more_flows_join_without_an_entry(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	uint16_t c = live_node(f, "c", "10.0.0.3:80");
	const uint64_t ending_ms = NOW + IDLE_MS - LB_HALF_OPEN_MS;

	publish_all(f, a, b, NOW);
	publish_all(f, b, c, NOW);
	assert_int_equal(end_until(f, IDLE_MS, ending_ms - 1), 0);
	assert_slot(f, b, c, a);
	assert_int_equal(end_until(f, IDLE_MS, ending_ms + LATEST_MS), 0);
	assert_slot(f, b, LB_ALT_ENDING, a);
	assert_int_equal(publish_all(f, b, 0, ending_ms + LATEST_MS), 0); /* seen when it ends */
	assert_int_equal(publish_all(f, c, a, ending_ms + LATEST_MS), N_SLOTS);
	assert_slot(f, c, LB_ALT_ENDING, a); /* it goes on with its prev, and so with its end */
	assert_false(publish_backend_is_named(f->p, b));
	assert_int_equal(end_until(f, IDLE_MS, NOW + IDLE_MS - 200), 0);
	assert_int_equal(end_until(f, IDLE_MS, NOW + IDLE_MS + LATEST_MS), N_SLOTS);
	assert_slot(f, c, a, 0);
	assert_true(publish_backend_is_named(f->p, a));
}

static void test_an_agent_that_was_held_up_ends_no_transition_at_once(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	const uint64_t late_ms = NOW + 10 * IDLE_MS;

	publish_all(f, a, 0, NOW);
	publish_all(f, b, 0, NOW);
	f->looked_ms = late_ms;
	assert_int_equal(end_until(f, IDLE_MS, late_ms + LB_HALF_OPEN_MS - 1), 0);
	assert_slot(f, b, LB_ALT_ENDING, a);
	assert_int_equal(end_until(f, IDLE_MS, late_ms + LB_HALF_OPEN_MS + LATEST_MS), N_SLOTS);
	assert_slot(f, b, 0, 0);
}

static void test_an_end_is_put_off_when_a_flow_could_not_be_learned(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	const uint64_t ending_ms = NOW + IDLE_MS - LB_HALF_OPEN_MS + LATEST_MS;

	publish_all(f, a, b, NOW);
	publish_all(f, b, a, NOW);
	assert_int_equal(end_until(f, IDLE_MS, ending_ms), 0);
	assert_slot(f, b, LB_ALT_ENDING, a);
	f->t.reasons[LB_EV_OVERFLOW_LEARN]++;
	assert_int_equal(end_until(f, IDLE_MS, ending_ms + IDLE_MS), 0);
	assert_slot(f, b, a, a);
	assert_int_equal(end_until(f, IDLE_MS, ending_ms + 2 * IDLE_MS), N_SLOTS);
}

static void test_an_end_that_an_agent_left_is_none(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");
	const uint64_t now_ms = NOW + IDLE_MS - 1000;

	publish_all(f, a, b, NOW);
	publish_all(f, b, a, NOW);
	assert_int_equal(end_until(f, IDLE_MS, now_ms), 0);
	assert_slot(f, b, LB_ALT_ENDING, a);
	restart(f, now_ms); /* it does not know whether all flows could be learned */
	assert_slot(f, b, 0, a);
	assert_int_equal(publish_all(f, b, a, now_ms), N_SLOTS);
	assert_slot(f, b, a, a);
	assert_int_equal(end_until(f, IDLE_MS, now_ms + IDLE_MS - 1), 0);
	assert_int_equal(end_until(f, IDLE_MS, now_ms + IDLE_MS + LATEST_MS), N_SLOTS);
	assert_slot(f, b, a, 0);
}

static void test_a_transition_begins_anew_when_it_was_ended_by_going_back(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");

	publish_all(f, a, 0, NOW);
	publish_all(f, b, 0, NOW);
	publish_all(f, a, 0, NOW + 1000);
	publish_all(f, b, 0, NOW + IDLE_MS); /* flows of a begun since 1000 have no entries */
	assert_int_equal(end_until(f, IDLE_MS, NOW + IDLE_MS + 1000), 0);
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
	assert_int_equal(end_until(f, IDLE_MS, later + IDLE_MS - 1), 0);
	assert_int_equal(end_until(f, IDLE_MS, later + IDLE_MS + LATEST_MS), N_SLOTS);
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
		T(test_before_the_end_no_more_flows_join_without_an_entry),
		T(test_an_agent_that_was_held_up_ends_no_transition_at_once),
		T(test_an_end_is_put_off_when_a_flow_could_not_be_learned),
		T(test_an_end_that_an_agent_left_is_none),
		T(test_a_transition_begins_anew_when_it_was_ended_by_going_back),
		T(test_adopting_agent_moves_nothing_and_waits_the_whole_idle_time),
		T(test_no_live_flow_moves_whatever_the_agent_does),
		T(test_one_member_of_1000_is_written_within_5_ms),
		T(test_slots_of_another_size_are_refused),
		T(test_exc_stored_during_a_change_is_not_lost),
	};

	return cmocka_run_group_tests_name("publish, slots", tests, NULL, NULL);
}
