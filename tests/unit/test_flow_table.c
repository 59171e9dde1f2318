// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/lib/flow_table.h"

#define SECRET 0x9e3779b97f4a7c15ULL

struct fixture {
	struct flow_table t;
	struct lb_worker workers[LB_WORKERS_MAX];
	void *memory;
};

static int setup_of(void **state, uint32_t n_buckets)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->memory = aligned_alloc(64, n_buckets * sizeof(struct lb_flow_bucket));
	memset(f->memory, 0, n_buckets * sizeof(struct lb_flow_bucket));
	flow_table_init(&f->t, FLOW_TABLE_FLOWS, f->memory, n_buckets, SECRET, f->workers);
	*state = f;
	return 0;
}

static int setup_one(void **state)
{
	return setup_of(state, 1);
}

static int setup_many(void **state)
{
	return setup_of(state, flow_table_buckets(10000));
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	free(f->memory);
	free(f);
	return 0;
}

static struct lb_flow_key key_of(uint32_t n)
{
	return (struct lb_flow_key){.saddr = {0, 0, 0xffff0000, n}, .sport = n * 7, .vip = 3};
}

static int put(struct flow_table *t, uint32_t n, enum flow_table_put how, uint32_t now)
{
	struct lb_flow_key key = key_of(n);
	struct lb_flow flow = {.backend = n % 1000 + 1, .slot = n, .seen = now};

	return flow_table_put(t, &key, &flow, how, now);
}

static struct lb_flow *get(struct flow_table *t, uint32_t n)
{
	struct lb_flow_key key = key_of(n);

	return flow_table_find(t, &key);
}

static int del(struct flow_table *t, uint32_t n, uint32_t now)
{
	struct lb_flow_key key = key_of(n);

	return flow_table_delete(t, &key, now);
}

static void test_holds_as_many_as_it_was_made_for(void **state)
{
	struct fixture *f = *state;

	for (uint32_t n = 0; n < 10000; n++)
		assert_int_equal(put(&f->t, n, FLOW_TABLE_NOEXIST, 1), 0);
	for (uint32_t n = 0; n < 10000; n++)
		assert_int_equal(get(&f->t, n)->slot, n);
	assert_null(get(&f->t, 10000));
	assert_in_range(flow_table_room(f->t.n_buckets), 10000, 10100);
}

static void test_a_key_is_there_once(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(&f->t, 1, FLOW_TABLE_ANY, 1), 0);
	get(&f->t, 1)->slot = 77;
	assert_int_equal(put(&f->t, 1, FLOW_TABLE_NOEXIST, 1), -EEXIST);
	assert_int_equal(get(&f->t, 1)->slot, 77);
	assert_int_equal(put(&f->t, 1, FLOW_TABLE_ANY, 1), 0);
	assert_int_equal(get(&f->t, 1)->slot, 1);
	assert_int_equal(del(&f->t, 1, 1), 0);
	assert_null(get(&f->t, 1));
	assert_int_equal(del(&f->t, 1, 1), -ENOENT);
}

static void test_a_full_table_refuses(void **state)
{
	struct fixture *f = *state;

	for (uint32_t n = 0; n < LB_BUCKET_CELLS; n++)
		assert_int_equal(put(&f->t, n, FLOW_TABLE_ANY, 1), 0);
	assert_int_equal(put(&f->t, 99, FLOW_TABLE_ANY, 1), -E2BIG);
	assert_int_equal(put(&f->t, 3, FLOW_TABLE_ANY, 1), 0);
}

/* A worker that found an entry may hold it until its next round. */
static void test_a_cell_is_free_when_no_worker_can_see_it(void **state)
{
	struct fixture *f = *state;

	f->workers[5] = (struct lb_worker){.pid = 1, .tick = 100};
	for (uint32_t n = 0; n < LB_BUCKET_CELLS; n++)
		assert_int_equal(put(&f->t, n, FLOW_TABLE_ANY, 100), 0);
	assert_int_equal(del(&f->t, 2, 110), 0);
	assert_int_equal(put(&f->t, 50, FLOW_TABLE_ANY, 120), -E2BIG);
	f->workers[5].tick = 110; /* that round may have begun before the end of the entry */
	assert_int_equal(put(&f->t, 50, FLOW_TABLE_ANY, 121), -E2BIG);
	f->workers[5].tick = 111;
	assert_int_equal(put(&f->t, 50, FLOW_TABLE_ANY, 122), 0);
	assert_non_null(get(&f->t, 50));
}

static void test_ticks_turn_over(void **state)
{
	struct fixture *f = *state;

	f->workers[0] = (struct lb_worker){.pid = 1, .tick = 0xfffffff0};
	for (uint32_t n = 0; n < LB_BUCKET_CELLS; n++)
		assert_int_equal(put(&f->t, n, FLOW_TABLE_ANY, 0xfffffff0), 0);
	assert_int_equal(del(&f->t, 1, 0xfffffffe), 0);
	assert_int_equal(put(&f->t, 50, FLOW_TABLE_ANY, 2), -E2BIG);
	f->workers[0].tick = 3;
	assert_int_equal(put(&f->t, 50, FLOW_TABLE_ANY, 4), 0);
}

static void test_the_agent_takes_out_and_puts_back(void **state)
{
	struct flow_table_entry e[LB_BUCKET_CELLS], stale;
	struct fixture *f = *state;

	assert_int_equal(put(&f->t, 8, FLOW_TABLE_ANY, 5), 0);
	assert_int_equal(flow_table_read(&f->t, 0, 6, e), 1);
	stale = e[0];
	assert_int_equal(((struct lb_flow *)e[0].value)->slot, 8);
	get(&f->t, 8)->seen = 6;
	assert_int_equal(flow_table_take(&f->t, &e[0], 7), 0);
	assert_int_equal(((struct lb_flow *)e[0].value)->seen, 6);
	assert_null(get(&f->t, 8));
	assert_int_equal(flow_table_take(&f->t, &stale, 7), -ENOENT);
	assert_int_equal(flow_table_put_back(&f->t, &e[0]), 0);
	assert_int_equal(get(&f->t, 8)->seen, 6);
	assert_int_equal(flow_table_read(&f->t, 0, 8, e), 1);
	assert_int_equal(flow_table_take(&f->t, &e[0], 8), 0);
	assert_int_equal(put(&f->t, 8, FLOW_TABLE_NOEXIST, 8), 0);
	assert_int_equal(flow_table_put_back(&f->t, &e[0]), -EEXIST);
}

static void test_what_a_killed_process_left_is_cleared(void **state)
{
	struct fixture *f = *state;
	struct lb_flow_bucket *b = f->memory;

	assert_int_equal(put(&f->t, 1, FLOW_TABLE_ANY, 1), 0);
	b->lock = 1;
	b->word[6] = LB_CELL_BUSY;
	assert_int_equal(flow_table_recover(&f->t), 2);
	assert_int_equal(flow_table_recover(&f->t), 0);
	assert_non_null(get(&f->t, 1));
	for (uint32_t n = 2; n <= LB_BUCKET_CELLS; n++)
		assert_int_equal(put(&f->t, n, FLOW_TABLE_ANY, 1), 0);
}

/* --- threads ---------------------------------------------------------------------------------- */

#define THREADS 3
#define KEYS	64
#define STEPS	60000

struct racer {
	struct fixture *f;
	uint32_t id;
	uint32_t wrong, won;
};

/*
 * Adds, finds and removes keys that the others add, find and remove too. What is found under a key
 * must be of that key: its slot is written with it.
 */
static void *race(void *arg)
{
	struct racer *r = arg;
	struct lb_worker *me = &r->f->workers[r->id];
	struct flow_table t = r->f->t;
	uint32_t seed = r->id + 1;

	for (uint32_t i = 1; i <= STEPS; i++) {
		const struct lb_flow *flow;
		uint32_t n;

		__atomic_store_n(&me->tick, i, __ATOMIC_RELEASE);
		seed = seed * 1664525 + 1013904223;
		n = (seed >> 16) % KEYS;
		if (seed >> 30 == 0)
			r->won += put(&t, n, FLOW_TABLE_NOEXIST, i) == 0;
		else if (seed >> 30 == 1)
			r->won -= del(&t, n, i) == 0;
		flow = get(&t, n);
		if (flow && (flow->slot != n || flow->backend != n % 1000 + 1))
			r->wrong++;
	}
	__atomic_store_n(&me->pid, 0, __ATOMIC_RELEASE);
	return NULL;
}

/* The ticks of threads differ by far, so a cell is free rarely: the table must just not be wrong. */
static void test_threads_never_see_another_keys_entry(void **state)
{
	struct fixture *f = *state;
	struct racer racers[THREADS];
	pthread_t threads[THREADS];
	uint32_t there = 0, won = 0;

	for (uint32_t i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){.f = f, .id = i};
		f->workers[i] = (struct lb_worker){.pid = 1};
	}
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, race, &racers[i]);
	for (uint32_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(racers[i].wrong, 0);
		won += racers[i].won;
	}
	for (uint32_t n = 0; n < KEYS; n++)
		there += get(&f->t, n) != NULL;
	/* every key that was added and not removed is there once */
	assert_int_equal(there, won);
	for (uint32_t n = 0; n < KEYS; n++)
		(void)del(&f->t, n, STEPS);
	for (uint32_t n = 0; n < KEYS; n++)
		assert_null(get(&f->t, n));
}

#define MANY(test) cmocka_unit_test_setup_teardown(test, setup_many, teardown)
#define ONE(test)  cmocka_unit_test_setup_teardown(test, setup_one, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MANY(test_holds_as_many_as_it_was_made_for),
		MANY(test_a_key_is_there_once),
		ONE(test_a_full_table_refuses),
		ONE(test_a_cell_is_free_when_no_worker_can_see_it),
		ONE(test_ticks_turn_over),
		ONE(test_the_agent_takes_out_and_puts_back),
		ONE(test_what_a_killed_process_left_is_cleared),
		MANY(test_threads_never_see_another_keys_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
