// SPDX-License-Identifier: BSD-2-Clause
/*
 * Mode nat on several CPUs at once: BPF_PROG_TEST_RUN from threads of which each stays on a CPU, on
 * one set of maps. Afterwards the maps must tell one story, and the one that the frames told.
 * Needs root and two CPUs.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer.skel.h"
#include "maps/nat.h"
#include "tests/packet/run_kernel.h"
#include "tests/packet/world.h"

#define THREADS 2
#define NAT_LOW 30000
#define PLENTY  (1 << 14) /* room of the maps: ports run out, not entries */

#define SMALL_N    512 /* ports of a node, where they are to run out */
#define LARGE_N    4096
#define CROWD      3000 /* clients of each thread */
#define BOTH       3000 /* tuples that both threads open at the same time */
#define SHARED     48   /* tuples that both threads open and end all the time */
#define SHARED_RUN 30000

/* What became of a client's segment. */
struct sent {
	int forwarded;
	int node;
	int nat_port; /* host order */
};

struct worker {
	pthread_t thread;
	int id, cpu;
	void (*work)(struct worker *);
	struct sent *sent;
	uint32_t dropped, wrong;
};

static int cpus[THREADS];
static unsigned int arrived; /* at the barrier, of all rounds */

static struct balancer_bpf *maps(void)
{
	return kernel_balancer();
}

/* Client number n's segment to the VIP. */
static void client_frame(uint32_t n, int flags, struct frame *ret_frame)
{
	const struct layer layers[LAYERS_MAX] = {ETH(ROUTER, LB), IP4(CLIENT + n % 3, VIP),
						 TCP(1024 + n / 3, PORT, flags)};

	frame_build(layers, 0, ret_frame);
}

static int is_towards(const struct frame *out, int node, int nat_port, int flags)
{
	const struct layer layers[LAYERS_MAX] = {ETH(LB, node), IP4(LB, node, .ttl = 63),
						 TCP(nat_port, NODE_PORT, flags)};
	struct frame want;

	frame_build(layers, 0, &want);
	return out->len == want.len && !memcmp(out->b, want.b, want.len);
}

/*
 * The frame that leaves is compared whole with what its source port makes of it. A wrong one is
 * counted, not asserted: cmocka's asserts are for its own thread.
 */
static struct sent send_segment(struct worker *w, uint32_t n, int flags)
{
	static const int nodes[] = {NODE1, NODE2};
	struct sent sent = {0};
	struct outcome outcome;
	struct frame in;

	client_frame(n, flags, &in);
	if (runner_kernel.run(&runner_kernel, &in, 0, &outcome) < 0) {
		w->wrong++;
		return sent;
	}
	if (outcome.verdict == DROP) {
		w->dropped++;
		return sent;
	}
	if (!memcmp(outcome.frame.b, hosts[ROUTER].mac, 6))
		return sent; /* a reset: no such flow */
	sent.nat_port = outcome.frame.b[34] << 8 | outcome.frame.b[35];
	for (int i = 0; i < 2; i++)
		if (is_towards(&outcome.frame, nodes[i], sent.nat_port, flags))
			sent.node = nodes[i];
	sent.forwarded = sent.node && outcome.verdict == TX;
	w->wrong += !sent.forwarded;
	return sent;
}

/* --- threads ---------------------------------------------------------------------------------- */

/* All threads have come here as often as this one. */
static void meet(uint32_t round)
{
	__atomic_fetch_add(&arrived, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < (round + 1) * THREADS)
		sched_yield();
}

static int stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	if (stay_on(w->cpu) < 0)
		w->wrong++;
	meet(0);
	w->work(w);
	return NULL;
}

static void run_threads(struct worker *workers, void (*work)(struct worker *), uint32_t n_sent)
{
	arrived = 0;
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.id = i, .cpu = cpus[i], .work = work};
		workers[i].sent = calloc(n_sent, sizeof(*workers[i].sent));
		assert_non_null(workers[i].sent);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]),
				 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(workers[i].wrong, 0);
}

static void free_sent(struct worker *workers)
{
	for (int i = 0; i < THREADS; i++)
		free(workers[i].sent);
}

/* --- what the maps say ------------------------------------------------------------------------ */

/* Sum over all CPUs. */
static uint64_t counter(uint32_t n)
{
	uint64_t value, sum = 0;

	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++) {
		uint32_t index = cpu * LB_REASONS_MAX + n;

		assert_int_equal(bpf_map__lookup_elem(maps()->maps.reasons, &index, sizeof(index),
						      &value, sizeof(value), 0),
				 0);
		sum += value;
	}
	return sum;
}

static struct lb_nat_key reply_key_of(const struct lb_nat_flow *flow)
{
	struct lb_nat_key key = {.node_port = htons(NODE_PORT), .nat_port = flow->nat_port};

	memcpy(key.node, runner_kernel.t.backends[flow->backend].addr, sizeof(key.node));
	return key;
}

static int get_reply(const struct lb_nat_key *key, struct lb_nat_reply *ret_reply)
{
	return bpf_map__lookup_elem(maps()->maps.nat_replies, key, sizeof(*key), ret_reply,
				    sizeof(*ret_reply), 0);
}

static uint32_t entries_of(struct bpf_map *map)
{
	uint8_t key[20], *at = NULL;
	uint32_t n = 0;

	for (; n <= PLENTY && !bpf_map__get_next_key(map, at, key, sizeof(key)); n++)
		at = key;
	return n;
}

/*
 * Every flow has its reply entry, which names it and nobody else, and there are no other replies:
 * so no two flows have node, its port and ours in common. Counted flows are those that count.
 * Returns their number.
 */
static uint32_t check_maps(uint32_t n_ports)
{
	uint32_t n = 0, counted = 0, alone = 0, outside = 0;
	struct lb_flow_key key, *at = NULL;
	struct lb_nat_reply reply;
	struct lb_nat_flow flow;

	for (; !bpf_map__get_next_key(maps()->maps.nat_flows, at, &key, sizeof(key)); n++) {
		struct lb_nat_key reply_key;

		at = &key;
		assert_int_equal(bpf_map__lookup_elem(maps()->maps.nat_flows, &key, sizeof(key),
						      &flow, sizeof(flow), 0),
				 0);
		reply_key = reply_key_of(&flow);
		counted += !!(flow.flags & LB_NAT_F_COUNTED);
		outside +=
			ntohs(flow.nat_port) < NAT_LOW || ntohs(flow.nat_port) >= NAT_LOW + n_ports;
		alone += get_reply(&reply_key, &reply) || reply.client_port != key.sport ||
			 reply.vip != key.vip || memcmp(reply.client, key.saddr, 16);
	}
	print_message("%u flows, %u without their reply, %u replies, %u counted, load %u\n", n,
		      alone, entries_of(maps()->maps.nat_replies), counted,
		      runner_kernel.t.loads[NODE1].flows + runner_kernel.t.loads[NODE2].flows);
	assert_int_equal(outside, 0);
	assert_int_equal(alone, 0);
	assert_int_equal(entries_of(maps()->maps.nat_replies), n);
	assert_int_equal(runner_kernel.t.loads[NODE1].flows + runner_kernel.t.loads[NODE2].flows,
			 counted);
	return n;
}

/* The frame of client n left by the port that its entry names. */
static void check_sent(uint32_t n, const struct sent *sent)
{
	struct lb_flow_key key = world_key(CLIENT + n % 3, 4, 1024 + n / 3);
	struct lb_nat_flow flow;
	int r = bpf_map__lookup_elem(maps()->maps.nat_flows, &key, sizeof(key), &flow, sizeof(flow),
				     0);

	assert_int_equal(!r, sent->forwarded);
	if (r)
		return;
	assert_int_equal(flow.backend, sent->node);
	assert_int_equal(ntohs(flow.nat_port), sent->nat_port);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void build(uint32_t n_ports)
{
	const struct packet_case c = {
		.mode = LB_MODE_NAT,
		.nat_low = NAT_LOW,
		.nat_high = NAT_LOW + n_ports - 1,
		.n_slots = 2,
	};

	world_build(&runner_kernel, &c);
	runner_kernel.t.slots[SLOT_BASE + 1].cur = NODE2;
	runner_kernel.t.control->new_entries_per_s = 1u << 30;
	runner_kernel.t.control->replies_per_s = 1u << 30;
}

static int setup(void **state)
{
	(void)state;
	runner_kernel.nat_room = PLENTY;
	return runner_kernel.open(&runner_kernel);
}

static int teardown(void **state)
{
	(void)state;
	runner_kernel.close(&runner_kernel);
	return 0;
}

static void open_own(struct worker *w)
{
	for (uint32_t i = 0; i < CROWD; i++)
		w->sent[i] = send_segment(w, i * THREADS + w->id, TCP_SYN);
}

/* Each ends every other connection of its own and opens it again, by whichever port. */
static void reopen_own(struct worker *w)
{
	for (uint32_t i = 0; i < CROWD; i++) {
		uint32_t n = i * THREADS + w->id;

		if (i % 2)
			(void)send_segment(w, n, TCP_RST);
		w->sent[i] = send_segment(w, n, i % 2 ? TCP_SYN : TCP_ACK);
	}
}

static void test_ports_run_out_and_none_is_given_twice(void **state)
{
	struct worker w[THREADS];
	uint32_t opened;

	(void)state;
	build(SMALL_N);
	run_threads(w, open_own, CROWD);
	opened = check_maps(SMALL_N);
	assert_int_equal(opened, 2 * SMALL_N); /* the last port of both nodes was found */
	for (uint32_t n = 0; n < CROWD * THREADS; n++)
		check_sent(n, &w[n % THREADS].sent[n / THREADS]);
	assert_int_equal(w[0].dropped + w[1].dropped, CROWD * THREADS - opened);
	assert_int_equal(counter(LB_R_NAT_FULL), CROWD * THREADS - opened);
	assert_int_equal(counter(LB_EV_NAT_PORTS), CROWD * THREADS - opened);
	assert_int_equal(counter(LB_EV_FLOW_ADDED), opened);
	assert_int_equal(counter(LB_EV_OVERFLOW_FLOWS), 0);
	free_sent(w);
	run_threads(w, reopen_own, CROWD);
	assert_in_range(check_maps(SMALL_N), 2 * SMALL_N - 10, 2 * SMALL_N);
	for (uint32_t n = 0; n < CROWD * THREADS; n++)
		check_sent(n, &w[n % THREADS].sent[n / THREADS]);
	free_sent(w);
}

static void open_together(struct worker *w)
{
	for (uint32_t n = 0; n < BOTH; n++) {
		meet(n + 1);
		w->sent[n] = send_segment(w, n, TCP_SYN);
	}
}

/* Of an ended connection's tuple. */
static void reopen_together(struct worker *w)
{
	for (uint32_t n = 0; n < BOTH; n++) {
		if (w->id == 0)
			(void)send_segment(w, n, TCP_RST);
		meet(n + 1);
		w->sent[n] = send_segment(w, n, TCP_SYN);
	}
}

static void test_one_tuple_on_two_cpus_at_once_gets_one_port(void **state)
{
	struct worker w[THREADS];

	(void)state;
	build(LARGE_N);
	run_threads(w, open_together, BOTH);
	assert_int_equal(check_maps(LARGE_N), BOTH);
	for (uint32_t n = 0; n < BOTH; n++)
		for (int i = 0; i < THREADS; i++)
			check_sent(n, &w[i].sent[n]);
	assert_int_equal(counter(LB_EV_FLOW_ADDED), BOTH);
	free_sent(w);
	run_threads(w, reopen_together, BOTH);
	assert_int_equal(check_maps(LARGE_N), BOTH);
	free_sent(w);
}

/* All that may come of a tuple, from both, in any order. */
static void open_and_end(struct worker *w)
{
	static const int flags[] = {TCP_SYN, TCP_ACK, TCP_FIN | TCP_ACK, TCP_ACK, TCP_RST};
	uint32_t seed = w->id + 1;

	for (uint32_t i = 0; i < SHARED_RUN; i++) {
		seed = seed * 1664525 + 1013904223;
		(void)send_segment(w, (seed >> 16) % SHARED, flags[(seed >> 24) % 5]);
	}
}

static void test_ends_and_beginnings_on_two_cpus_leave_nothing_behind(void **state)
{
	struct worker w[THREADS];

	(void)state;
	build(SMALL_N);
	run_threads(w, open_and_end, 1);
	assert_in_range(check_maps(SMALL_N), 1, SHARED);
	free_sent(w);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_ports_run_out_and_none_is_given_twice),
		T(test_one_tuple_on_two_cpus_at_once_gets_one_port),
		T(test_ends_and_beginnings_on_two_cpus_leave_nothing_behind),
	};
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	for (int cpu = 0; cpu < CPU_SETSIZE && n < THREADS; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
	if (n < THREADS) {
		puts("[  SKIPPED ] test_nat_cpus: one CPU only");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
