/* SPDX-License-Identifier: BSD-2-Clause */
/* The scan over real hash maps, also while entries come, move and are refreshed. Needs root. */
#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "userspace/agent/grace.h"
#include "userspace/agent/scan.h"
#include "userspace/lib/cleanup.h"

#define IDLE_MS 60000
#define VIP     3
#define NODE    5
#define DEAD    6

static uint64_t frozen_ms; /* not 0: the time, which passes only where it is waited for */

static uint64_t now_ms(void)
{
	struct timespec t;

	if (frozen_ms)
		return frozen_ms;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static uint32_t ticks_ago(uint64_t ms)
{
	return LB_TICKS_FROM_MS(now_ms()) - LB_TICKS_FROM_MS(ms);
}

static int make_map(const char *name, uint32_t entries)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_HASH, name, sizeof(struct lb_flow_key),
				sizeof(struct lb_flow), entries, NULL);

	assert_true(fd >= 0);
	return fd;
}

static void make_tables(struct tables *t, uint32_t flows_max)
{
	assert_int_equal(tables_alloc(1, 1, t), 0);
	t->flows_fd = make_map("test_flows", flows_max);
	t->half_open_fd = make_map("test_half", 65536);
	t->flows_max = flows_max;
	t->half_open_max = 65536;
	t->pool_info[0] = (struct lb_pool_info){.n_slots = 65537, .in_use = 1};
	t->vips[VIP].flags = LB_VIP_F_ACTIVE;
	t->backends[NODE].flags = LB_BACKEND_F_ALIVE;
	t->backends[NODE].generation = 9;
	t->backends[DEAD].generation = 2;
}

static int setup(void **state)
{
	static struct tables t;

	frozen_ms = 0;
	make_tables(&t, 65536);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	tables_close(*state);
	return 0;
}

static struct lb_flow_key key_of(uint32_t n)
{
	return (struct lb_flow_key){.saddr = {0, 0, 0xffff0000, n}, .sport = n, .vip = VIP};
}

static void put(int fd, uint32_t n, struct lb_flow flow)
{
	struct lb_flow_key key = key_of(n);

	assert_int_equal(bpf_map_update_elem(fd, &key, &flow, BPF_ANY), 0);
}

static bool there(int fd, uint32_t n)
{
	struct lb_flow_key key = key_of(n);
	struct lb_flow flow;

	return bpf_map_lookup_elem(fd, &key, &flow) == 0;
}

static struct lb_flow live_flow(uint64_t idle_ms)
{
	return (struct lb_flow){
		.backend = NODE, .generation = 9, .seen = ticks_ago(idle_ms), .slot = 100};
}

static void run_pass(struct scan *s, uint32_t budget)
{
	uint64_t passes = scan_stats(s)->passes;

	scan_request(s);
	while (scan_stats(s)->passes == passes) {
		int wait_ms = scan_step(s, now_ms(), budget);

		assert_true(wait_ms >= 0);
		usleep(wait_ms < 5 ? 0 : 5000);
		if (frozen_ms)
			frozen_ms += wait_ms < 5 ? wait_ms : 5;
	}
}

/* --- what goes and what stays ----------------------------------------------------------------- */

static void test_each_entry_lives_as_long_as_it_should(void **state)
{
	struct tables *t = *state;
	struct lb_flow f;
	uint64_t passes;
	struct scan *s;

	frozen_ms = now_ms(); /* half a second more or less decides, and the machine may be slow */
	assert_int_equal(scan_new(t, IDLE_MS, &s), 0);
	t->loads[NODE].flows = 3;
	put(t->flows_fd, 1, live_flow(IDLE_MS + 500)); /* its time may lag: LB_SEEN_REFRESH */
	f = live_flow(IDLE_MS + 2000);
	f.flags = LB_FLOW_F_COUNTED;
	put(t->flows_fd, 2, f);
	f = live_flow(SCAN_CLOSED_MS - 2000);
	f.flags = LB_FLOW_F_CLOSED;
	put(t->flows_fd, 3, f);
	f.seen = ticks_ago(SCAN_CLOSED_MS + 2000);
	put(t->flows_fd, 4, f);
	f = live_flow(SCAN_CLOSING_MS - 2000);
	f.flags = LB_FLOW_F_CLOSING;
	put(t->flows_fd, 5, f);
	f = live_flow(0);
	f.generation = 8; /* of the id's former node */
	f.flags = LB_FLOW_F_COUNTED;
	put(t->flows_fd, 6, f);
	f = live_flow(0);
	f.backend = DEAD;
	f.generation = 2;
	put(t->flows_fd, 7, f);
	f = live_flow(0);
	f.backend = LB_BACKEND_LOCAL;
	f.generation = 0;
	put(t->flows_fd, 8, f);
	f = live_flow(0);
	f.seen = LB_TICKS_FROM_MS(now_ms() + 500); /* a clock a little ahead */
	f.flags = LB_FLOW_F_COUNTED;
	put(t->flows_fd, 9, f);
	put(t->half_open_fd, 20, live_flow(LB_HALF_OPEN_MS - 2000));
	put(t->half_open_fd, 21, live_flow(LB_HALF_OPEN_MS + 2000));
	run_pass(s, SCAN_BUDGET);
	assert_true(there(t->flows_fd, 1));
	assert_false(there(t->flows_fd, 2));
	assert_true(there(t->flows_fd, 3));
	assert_false(there(t->flows_fd, 4));
	assert_true(there(t->flows_fd, 5));
	assert_false(there(t->flows_fd, 6));
	assert_false(there(t->flows_fd, 7));
	assert_true(there(t->flows_fd, 8));
	assert_true(there(t->flows_fd, 9));
	assert_true(there(t->half_open_fd, 20));
	assert_false(there(t->half_open_fd, 21));
	assert_int_equal(t->loads[NODE].flows, 1); /* two counted entries went */
	assert_int_equal(scan_stats(s)->expired, 2);
	assert_int_equal(scan_stats(s)->closed, 1);
	assert_int_equal(scan_stats(s)->voided, 2);
	assert_int_equal(scan_stats(s)->flows, 5);
	assert_int_equal(scan_stats(s)->half_open, 1);
	assert_int_equal(scan_live(s, NODE, &passes), 3); /* 1, 9 and the half-open one */
	assert_int_equal(passes, 1);
	assert_int_equal(scan_live(s, LB_BACKEND_LOCAL, &passes), 1);
	assert_int_equal(scan_live(s, DEAD, &passes), 0);
	t->vips[VIP].flags = 0; /* the VIP goes, and what belongs to it */
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(scan_stats(s)->flows, 0);
	assert_int_equal(scan_live(s, NODE, &passes), 0);
	scan_free(&s);
}

/* Its client is told by a reset, and must find the entry for that. */
static void test_entry_of_a_dead_node_stays_until_its_client_was_told(void **state)
{
	struct tables *t = *state;
	struct lb_flow f = live_flow(IDLE_MS - 2000);
	uint64_t passes;
	struct scan *s;

	frozen_ms = now_ms();
	t->vips[VIP].on_down = LB_ON_DOWN_RESET;
	assert_int_equal(scan_new(t, IDLE_MS, &s), 0);
	t->loads[DEAD].flows = 1;
	t->slots[100].exc = 1;
	f.backend = DEAD;
	f.generation = 1; /* it has died since */
	f.flags = LB_FLOW_F_COUNTED;
	put(t->flows_fd, 1, f);
	f.flags = LB_FLOW_F_CLOSED;
	f.seen = ticks_ago(SCAN_CLOSED_MS - 2000);
	put(t->flows_fd, 2, f);
	f.seen = ticks_ago(SCAN_CLOSED_MS + 2000);
	put(t->flows_fd, 3, f);
	f.flags = 0;
	f.seen = ticks_ago(IDLE_MS + 2000);
	put(t->flows_fd, 4, f);
	f.seen = ticks_ago(1000);
	put(t->half_open_fd, 5, f);
	f.seen = ticks_ago(LB_HALF_OPEN_MS + 2000);
	put(t->half_open_fd, 6, f);
	for (int i = 0; i < 2; i++) {
		run_pass(s, SCAN_BUDGET);
		assert_true(there(t->flows_fd, 1));
		assert_true(there(t->flows_fd, 2));
		assert_false(there(t->flows_fd, 3));
		assert_false(there(t->flows_fd, 4));
		assert_true(there(t->half_open_fd, 5));
		assert_false(there(t->half_open_fd, 6));
		assert_int_equal(t->slots[100].exc, 1);
		assert_int_equal(t->loads[DEAD].flows, 0); /* once, and never below */
		assert_int_equal(scan_live(s, DEAD, &passes), 0);
		assert_int_equal(scan_entries_of(s, DEAD), 0);
		assert_int_equal(scan_stats(s)->voided, 3);
	}
	t->vips[VIP].on_down = LB_ON_DOWN_REHASH; /* nobody is told */
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(scan_stats(s)->flows, 0);
	assert_int_equal(t->slots[100].exc, 0);
	scan_free(&s);
}

static void test_exceptions_stay_as_long_as_an_entry_needs_them(void **state)
{
	struct tables *t = *state;
	struct lb_flow f = live_flow(0);
	struct scan *s;

	assert_int_equal(scan_new(t, IDLE_MS, &s), 0);
	f.slot = 10;
	put(t->flows_fd, 1, f);
	f.slot = 11;
	put(t->half_open_fd, 2, f);
	f.slot = 12;
	f.generation = 8; /* void: goes, and its exception with it */
	put(t->flows_fd, 3, f);
	for (int i = 9; i < 14; i++)
		t->slots[i].exc = 1;
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(t->slots[9].exc, 0);
	assert_int_equal(t->slots[10].exc, 1);
	assert_int_equal(t->slots[11].exc, 1);
	assert_int_equal(t->slots[12].exc, 0);
	assert_int_equal(t->slots[13].exc, 0);
	assert_int_equal(scan_stats(s)->slots_exc, 2);
	scan_free(&s);
}

static void test_half_open_entries_are_swept_between_passes(void **state)
{
	struct tables *t = *state;
	struct scan *s;
	uint64_t now;

	assert_int_equal(scan_new(t, IDLE_MS, &s), 0);
	run_pass(s, SCAN_BUDGET);
	now = scan_stats(s)->finished_ms;
	for (int i = 0; i < 1000; i++)
		put(t->half_open_fd, i, live_flow(LB_HALF_OPEN_MS + 5000));
	put(t->half_open_fd, 5000, live_flow(1000));
	while (scan_step(s, now + SCAN_SWEEP_MS, 128) == 0)
		;
	assert_int_equal(scan_stats(s)->passes, 1);
	assert_int_equal(scan_stats(s)->expired, 1000);
	assert_true(there(t->half_open_fd, 5000));
	scan_free(&s);
}

/* Sweep until there is nothing to do at *now; the time of the next thing there is. */
static void sweep_until_quiet(struct scan *s, uint64_t *now)
{
	int wait_ms;

	do
		wait_ms = scan_step(s, *now, SCAN_BUDGET);
	while (wait_ms == 0);
	assert_true(wait_ms > 0);
	*now += wait_ms;
}

static void put_many(int fd, uint32_t from, uint32_t n, uint64_t idle_ms)
{
	for (uint32_t i = from; i < from + n; i++)
		put(fd, i, live_flow(idle_ms));
}

static void test_a_crowded_half_open_table_forgets_sooner(void **state)
{
	struct tables *t = *state;
	uint64_t now, swept;
	struct scan *s;

	assert_int_equal(scan_new(t, IDLE_MS, &s), 0);
	run_pass(s, SCAN_BUDGET);
	swept = now = scan_stats(s)->finished_ms + SCAN_SWEEP_MS;
	put_many(t->half_open_fd, 0, 33000, 4000); /* more than half of the room */
	put_many(t->half_open_fd, 40000, 10, 0);
	sweep_until_quiet(s, &now);
	assert_int_equal(scan_stats(s)->expired, 0); /* none is old: this look found the crowd */
	assert_int_equal(now - swept, SCAN_CROWDED_SWEEP_MS);
	sweep_until_quiet(s, &now);
	assert_int_equal(scan_stats(s)->expired, 33000);
	assert_true(there(t->half_open_fd, 40009));
	put_many(t->half_open_fd, 0, 1000, 0); /* the crowd is gone: five seconds are not too old */
	now += SCAN_SWEEP_MS;
	sweep_until_quiet(s, &now);
	assert_int_equal(scan_stats(s)->expired, 33000);
	scan_free(&s);
}

/* Half-open entries cannot wait until a pass over many flows is through. */
static void test_half_open_is_swept_during_a_pass(void **state)
{
	struct tables *t = *state;
	uint64_t now, passes;
	struct scan *s;

	for (uint32_t i = 0; i < 20000; i++)
		put(t->flows_fd, i, live_flow(0));
	put(t->half_open_fd, 1, live_flow(0));
	t->slots[100].exc = 1;
	assert_int_equal(scan_new(t, IDLE_MS, &s), 0);
	scan_request(s);
	for (now = now_ms(); !scan_stats(s)->passes && scan_step(s, now, 128) > 0; now = now_ms())
		usleep(1000);
	for (int i = 0; i < 20; i++) /* half_open is through, flows are not */
		assert_int_equal(scan_step(s, now, 128), 0);
	assert_int_equal(scan_stats(s)->passes, 0);
	put_many(t->half_open_fd, 50000, 1000, LB_HALF_OPEN_MS + 5000);
	now += SCAN_SWEEP_MS;
	for (int i = 0; i < 40; i++)
		assert_int_equal(scan_step(s, now, 128), 0);
	assert_int_equal(scan_stats(s)->passes, 0);
	assert_int_equal(scan_stats(s)->expired, 1000);
	while (!scan_stats(s)->passes)
		assert_true(scan_step(s, now, 128) >= 0);
	assert_int_equal(scan_stats(s)->flows, 20000);
	assert_int_equal(scan_stats(s)->half_open, 1);
	assert_int_equal(scan_live(s, NODE, &passes), 20001);
	assert_int_equal(t->slots[100].exc, 1);
	scan_free(&s);
}

static void test_a_map_that_fails_ends_the_pass_and_not_the_scan(void **state)
{
	struct tables *t = *state;
	int good = t->flows_fd, r = 0;
	struct scan *s;

	t->slots[9].exc = 1;
	assert_int_equal(scan_new(t, IDLE_MS, &s), 0);
	t->flows_fd = 0; /* not a map */
	scan_request(s);
	while (r >= 0) {
		r = scan_step(s, now_ms(), SCAN_BUDGET);
		usleep(1000);
	}
	assert_true(r < 0);
	assert_int_equal(scan_stats(s)->passes, 0);
	assert_int_equal(t->slots[9].exc, 1); /* unknown is not empty */
	t->flows_fd = good;
	run_pass(s, SCAN_BUDGET);
	assert_int_equal(t->slots[9].exc, 0);
	scan_free(&s);
}

/* Entries 0 … n - 1, in the slots of the same numbers. */
static void fill(int fd, uint32_t n)
{
	_cleanup_free_ struct lb_flow_key *keys = calloc(n, sizeof(*keys));
	_cleanup_free_ struct lb_flow *flows = calloc(n, sizeof(*flows));
	uint32_t count = n;

	for (uint32_t i = 0; i < n; i++) {
		keys[i] = key_of(i);
		flows[i] = live_flow(0);
		flows[i].slot = i % 65537;
	}
	assert_int_equal(bpf_map_update_batch(fd, keys, flows, &count, NULL), 0);
	assert_int_equal(count, n);
}

/* --- races ------------------------------------------------------------------------------------ */

/* Refresh idle entries while the scan removes them: one that was refreshed must be there after. */
#define REFRESHED 60000

struct refresher {
	struct tables *t;
	bool stop;
	uint8_t *fresh;
};

static void *refresh(void *arg)
{
	struct refresher *r = arg;
	unsigned int seed = 1;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		uint32_t n = rand_r(&seed) % REFRESHED;
		struct lb_flow_key key = key_of(n);
		struct lb_flow f = live_flow(0);

		/* EXIST: the packet found its entry */
		if (bpf_map_update_elem(r->t->flows_fd, &key, &f, BPF_EXIST) == 0)
			r->fresh[n] = 1;
	}
	return NULL;
}

static void test_entry_refreshed_in_the_last_moment_stays(void **state)
{
	_cleanup_free_ uint8_t *fresh = NULL;
	struct tables *t = *state;
	uint32_t n_fresh, lost;
	uint64_t revived = 0;
	struct refresher r = {.t = t};
	pthread_t thread;
	struct scan *s;

	for (int round = 0; round < 30 && revived < 3; round++) {
		fresh = calloc(REFRESHED, 1);
		r.fresh = fresh;
		r.stop = false;
		n_fresh = lost = 0;
		for (int i = 0; i < REFRESHED; i++)
			put(t->flows_fd, i, live_flow(IDLE_MS + 5000));
		assert_int_equal(scan_new(t, IDLE_MS, &s), 0);
		pthread_create(&thread, NULL, refresh, &r);
		run_pass(s, SCAN_BUDGET);
		__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
		for (int i = 0; i < REFRESHED; i++) {
			n_fresh += fresh[i];
			lost += fresh[i] && !there(t->flows_fd, i);
		}
		assert_true(n_fresh > 0);
		assert_int_equal(lost, 0);
		assert_int_equal(scan_stats(s)->lost, 0);
		revived += scan_stats(s)->revived;
		scan_free(&s);
		free(TAKE_PTR(fresh));
	}
	print_message("put back: %u\n", (unsigned int)revived);
	assert_true(revived > 0); /* else the race was not met */
}

/*
 * A thread plays the packet path as the core does it (mark the slot, add to half_open; mark, move
 * to flows) on slots of its own, removes what it added, and looks whether a slot of a live entry
 * has lost its exception. It is no RCU reader: a round in which it was held up for longer than a
 * grace period is not looked at.
 */
struct packet_path {
	struct tables *t;
	bool stop;
	bool broken; /* the control: marks with the epoch of its start, as if there were none */
	uint64_t rounds;
	uint64_t held_up;
	uint64_t lost;
};

static void mark(struct tables *t, uint32_t slot, uint16_t epoch)
{
	if (__atomic_load_n(&t->slots[slot].exc, __ATOMIC_RELAXED) != epoch)
		__atomic_store_n(&t->slots[slot].exc, epoch, __ATOMIC_RELAXED);
}

static uint16_t epoch_now(const struct tables *t)
{
	return __atomic_load_n(&t->control->epoch, __ATOMIC_RELAXED);
}

static void one_flow(struct packet_path *p, uint32_t n, uint16_t old_epoch)
{
	struct lb_flow f = live_flow(0);
	uint64_t start = now_ms();
	struct lb_flow_key key = key_of(1000000 + n);
	bool lost = false;

	f.slot = 40000 + n % 1000;
	mark(p->t, f.slot, p->broken ? old_epoch : epoch_now(p->t));
	put(p->t->half_open_fd, 1000000 + n, f);
	if (now_ms() - start > GRACE_MIN_MS / 2)
		p->held_up++;
	usleep(n % 7 * 100);
	lost |= !__atomic_load_n(&p->t->slots[f.slot].exc, __ATOMIC_RELAXED);
	mark(p->t, f.slot, p->broken ? old_epoch : epoch_now(p->t));
	put(p->t->flows_fd, 1000000 + n, f);
	bpf_map_delete_elem(p->t->half_open_fd, &key);
	usleep(n % 11 * 100);
	lost |= !__atomic_load_n(&p->t->slots[f.slot].exc, __ATOMIC_RELAXED);
	bpf_map_delete_elem(p->t->flows_fd, &key);
	p->rounds++;
	if (now_ms() - start < GRACE_MIN_MS)
		p->lost += lost;
	else
		p->held_up++;
}

static void *packet_path(void *arg)
{
	struct packet_path *p = arg;
	uint16_t old_epoch = epoch_now(p->t);

	for (uint32_t n = 0; !__atomic_load_n(&p->stop, __ATOMIC_RELAXED); n++)
		one_flow(p, n, old_epoch);
	return NULL;
}

static void run_packet_path(struct tables *t, struct packet_path *p, unsigned int passes)
{
	pthread_t thread;
	struct scan *s;

	p->t = t;
	fill(t->flows_fd, 20000); /* other flows, which make a pass long */
	assert_int_equal(scan_new(t, IDLE_MS, &s), 0);
	pthread_create(&thread, NULL, packet_path, p);
	/* small steps: much time between what was read and what is cleared */
	for (unsigned int i = 0; i < passes && !p->lost; i++)
		run_pass(s, 64);
	__atomic_store_n(&p->stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	print_message("%u flows, %u exceptions cleared, %u lost, %u held up\n",
		      (unsigned int)p->rounds, (unsigned int)scan_stats(s)->exc_cleared,
		      (unsigned int)p->lost, (unsigned int)p->held_up);
	assert_true(p->lost || scan_stats(s)->exc_cleared > 0);
	scan_free(&s);
}

static void test_no_live_entry_loses_its_exception(void **state)
{
	struct packet_path p = {0};

	run_packet_path(*state, &p, 20);
	assert_true(p.rounds > 100);
	assert_int_equal(p.lost, 0);
}

static void test_without_the_epoch_exceptions_would_be_lost(void **state)
{
	struct packet_path p = {.broken = true};

	run_packet_path(*state, &p, 100);
	assert_true(p.lost > 0); /* else the test above proves nothing */
}

/* --- size ------------------------------------------------------------------------------------- */

/* A pass; *ret_longest_ms: CPU time of its longest step. Returns the CPU time of all. */
static double timed_pass(struct scan *s, double *ret_longest_ms)
{
	double all = 0, longest = 0;

	scan_request(s);
	for (uint64_t passes = scan_stats(s)->passes; scan_stats(s)->passes == passes;) {
		struct timespec a, b;
		int wait_ms;
		double ms;

		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
		wait_ms = scan_step(s, now_ms(), SCAN_BUDGET);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
		assert_true(wait_ms >= 0);
		ms = (b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) / 1e6;
		longest = ms > longest ? ms : longest;
		all += ms;
		usleep(wait_ms < 5 ? 0 : 5000);
	}
	*ret_longest_ms = longest;
	return all;
}

static void test_a_million_entries_are_scanned_in_short_steps(void **state)
{
	double all, longest, empty, empty_longest;
	struct tables t;
	struct scan *s;

	(void)state;
	make_tables(&t, 1 << 20);
	assert_int_equal(scan_new(&t, IDLE_MS, &s), 0);
	empty = timed_pass(s, &empty_longest);
	fill(t.flows_fd, 1000000);
	all = timed_pass(s, &longest);
	assert_int_equal(scan_stats(s)->flows, 1000000);
	print_message("1 M entries: %.0f ms, longest step %.1f ms; none: %.1f ms, %.1f ms\n", all,
		      longest, empty, empty_longest);
	assert_true(longest < 30);     /* with sanitizers, on a busy machine */
	t.backends[NODE].generation++; /* all void at once */
	all = timed_pass(s, &longest);
	assert_int_equal(scan_stats(s)->voided, 1000000);
	assert_int_equal(scan_stats(s)->flows, 0);
	print_message("1 M removed: %.0f ms, longest step %.1f ms\n", all, longest);
	assert_true(longest < 60);
	scan_free(&s);
	tables_close(&t);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* An argument is a pattern (* and ?) of the tests that are to run. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_each_entry_lives_as_long_as_it_should),
		T(test_entry_of_a_dead_node_stays_until_its_client_was_told),
		T(test_exceptions_stay_as_long_as_an_entry_needs_them),
		T(test_half_open_entries_are_swept_between_passes),
		T(test_a_crowded_half_open_table_forgets_sooner),
		T(test_half_open_is_swept_during_a_pass),
		T(test_a_map_that_fails_ends_the_pass_and_not_the_scan),
		T(test_entry_refreshed_in_the_last_moment_stays),
		T(test_no_live_entry_loses_its_exception),
		T(test_without_the_epoch_exceptions_would_be_lost),
		cmocka_unit_test(test_a_million_entries_are_scanned_in_short_steps),
	};

	if (geteuid() != 0) {
		printf("skip: needs root\n");
		return 77;
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("scan (kernel)", tests, NULL, NULL);
}
