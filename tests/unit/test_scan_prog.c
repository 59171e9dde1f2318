// SPDX-License-Identifier: BSD-2-Clause
/* What a scan does to entries of poll-mode workers; test_scan_cpus has those of hash maps. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/scan_prog.h"

#define N    20000
#define PORT 8443
#define NODE 5

static struct flow_table flows, replies;
static struct lb_worker workers[LB_WORKERS_MAX];

static void *table_of(enum flow_table_form form, size_t bucket, struct flow_table *ret)
{
	uint32_t n = flow_table_buckets(N);
	void *memory = aligned_alloc(64, n * bucket);

	assert_non_null(memory);
	memset(memory, 0, n * bucket);
	flow_table_init(ret, form, memory, n, 1, workers);
	return memory;
}

static int setup(void **state)
{
	static void *memory[2];

	memory[0] = table_of(FLOW_TABLE_FLOWS, sizeof(struct lb_nat_flow_bucket), &flows);
	memory[1] = table_of(FLOW_TABLE_REPLIES, sizeof(struct lb_nat_reply_bucket), &replies);
	*state = memory;
	return 0;
}

static int teardown(void **state)
{
	void **memory = *state;

	free(memory[0]);
	free(memory[1]);
	return 0;
}

static struct lb_scan_ask ask_of(uint32_t n)
{
	return (struct lb_scan_ask){
		.key = {.saddr = {n}, .sport = 7, .vip = 3},
		.reply = {.node = {NODE}, .node_port = PORT, .nat_port = n},
		.seen = 1000,
	};
}

static void put(uint32_t n, uint8_t flags)
{
	struct lb_scan_ask ask = ask_of(n);
	struct lb_nat_flow flow = {.backend = NODE, .flags = flags, .seen = 1000, .nat_port = n};
	struct lb_nat_reply reply = {.client = {n}, .client_port = 7, .vip = 3};

	assert_int_equal(flow_table_put(&flows, &ask.key, &flow, FLOW_TABLE_NOEXIST, 1), 0);
	assert_int_equal(flow_table_put(&replies, &ask.reply, &reply, FLOW_TABLE_NOEXIST, 1), 0);
}

static int remove_it(const struct lb_scan_ask *ask)
{
	return scan_remove_dpdk(&flows, &replies, ask, 2);
}

static void test_a_flow_goes_with_its_reply_if_it_was_not_seen_since(void **state)
{
	struct lb_scan_ask ask = ask_of(1);

	(void)state;
	assert_int_equal(remove_it(&ask), LB_SCAN_NONE);
	put(1, LB_NAT_F_COUNTED);
	ask.seen = 999;
	assert_int_equal(remove_it(&ask), LB_SCAN_SEEN);
	assert_non_null(flow_table_find(&flows, &ask.key));
	ask.seen = 1000;
	assert_int_equal(remove_it(&ask), LB_SCAN_COUNTED);
	assert_null(flow_table_find(&flows, &ask.key));
	assert_null(flow_table_find(&replies, &ask.reply));
	put(1, LB_NAT_F_CLOSED);
	assert_int_equal(remove_it(&ask), LB_SCAN_UNCOUNTED);
}

static void test_a_reply_of_another_client_stays(void **state)
{
	struct lb_scan_ask ask = ask_of(1);

	(void)state;
	put(1, 0);
	put(2, 0);
	ask.reply.nat_port = 2; /* the id is another node's now */
	assert_int_equal(remove_it(&ask), LB_SCAN_UNCOUNTED);
	assert_non_null(flow_table_find(&replies, &ask.reply));
}

static void test_what_a_worker_is_removing_is_its_own_until_it_was_killed(void **state)
{
	struct lb_scan_ask ask = ask_of(1);

	(void)state;
	put(1, LB_NAT_F_GONE);
	assert_int_equal(remove_it(&ask), LB_SCAN_SEEN);
	assert_non_null(flow_table_find(&flows, &ask.key));
	ask.left = 1;
	assert_int_equal(remove_it(&ask), LB_SCAN_UNCOUNTED);
	assert_null(flow_table_find(&flows, &ask.key));
	assert_null(flow_table_find(&replies, &ask.reply));
}

static void test_the_mark_of_an_exception_is_taken_once_and_comes_back(void **state)
{
	struct lb_scan_ask ask = ask_of(1);

	(void)state;
	assert_int_equal(scan_uncount_dpdk(&flows, &ask), LB_SCAN_NONE);
	put(1, LB_FLOW_F_COUNTED);
	ask.seen = 1001;
	assert_int_equal(scan_uncount_dpdk(&flows, &ask), LB_SCAN_SEEN);
	ask.seen = 1000;
	assert_int_equal(scan_uncount_dpdk(&flows, &ask), LB_SCAN_COUNTED);
	assert_int_equal(scan_uncount_dpdk(&flows, &ask), LB_SCAN_UNCOUNTED);
	scan_count_dpdk(&flows, &ask.key);
	assert_int_equal(scan_uncount_dpdk(&flows, &ask), LB_SCAN_COUNTED);
	assert_non_null(flow_table_find(&flows, &ask.key));
}

/* A worker ends the flows, in the order in which they are removed. */
static void *end_all(void *arg)
{
	const uint32_t counted = LB_WORD_OF(LB_NAT_F_COUNTED);
	uint32_t *ended = arg;

	for (uint32_t n = 0; n < N; n++) {
		struct lb_scan_ask ask = ask_of(n);
		uint32_t *word = flow_table_find(&flows, &ask.key);

		if (!word)
			continue;
		__atomic_fetch_or(word, LB_WORD_OF(LB_NAT_F_CLOSING), __ATOMIC_ACQ_REL);
		*ended += !!(__atomic_fetch_and(word, ~counted, __ATOMIC_ACQ_REL) & counted);
	}
	return NULL;
}

static void test_flows_that_end_while_they_are_removed_count_once(void **state)
{
	uint32_t ended = 0, removed = 0;
	pthread_t thread;

	(void)state;
	for (uint32_t n = 0; n < N; n++)
		put(n, LB_NAT_F_COUNTED);
	assert_int_equal(pthread_create(&thread, NULL, end_all, &ended), 0);
	for (uint32_t n = 0; n < N; n++) {
		struct lb_scan_ask ask = ask_of(n);

		removed += remove_it(&ask) == LB_SCAN_COUNTED;
	}
	pthread_join(thread, NULL);
	print_message("%u counted when they ended, %u when they were removed\n", ended, removed);
	assert_int_equal(ended + removed, N);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_flow_goes_with_its_reply_if_it_was_not_seen_since),
		T(test_a_reply_of_another_client_stays),
		T(test_what_a_worker_is_removing_is_its_own_until_it_was_killed),
		T(test_the_mark_of_an_exception_is_taken_once_and_comes_back),
		T(test_flows_that_end_while_they_are_removed_count_once),
	};

	return cmocka_run_group_tests_name("scan_prog", tests, NULL, NULL);
}
