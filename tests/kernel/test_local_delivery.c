/* SPDX-License-Identifier: BSD-2-Clause */
/* Routing rules against a real kernel, in a network namespace of this test's own. Needs root. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/local_delivery.h"

#define V4 "10.9.8.7:8000"
#define V6 "[fd00::9]:8000"

static void run(const char *command)
{
	int r = system(command);

	if (r)
		fail_msg("%s: %d", command, r);
}

/* What the command prints holds the text so many times. */
static void assert_printed(const char *command, const char *text, int times)
{
	static char out[65536];
	FILE *p = popen(command, "r");
	size_t n = fread(out, 1, sizeof(out) - 1, p);
	int found = 0;

	pclose(p);
	out[n] = '\0';
	for (const char *at = out; (at = strstr(at, text)); at++)
		found++;
	if (found != times)
		fail_msg("%s: '%s' %d times, not %d:\n%s", command, text, found, times, out);
}

#define RULES "ip rule; ip -6 rule"
#define OURS  "lookup 8383 proto 83"

static struct endpoint endpoint(const char *text)
{
	struct endpoint ep;

	assert_int_equal(endpoint_parse(text, &ep), 0);
	return ep;
}

static int setup(void **state)
{
	struct local_delivery *ld;

	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	run("ip link set lo up");
	run("ip link add d0 type veth peer name d1");
	run("ip addr add 10.1.1.1/24 dev d0; ip addr add fd01::1/64 dev d0 nodad");
	run("ip link set d1 up; ip link set d0 up");
	run("ip route add default via 10.1.1.2; ip -6 route add default via fd01::2");
	assert_int_equal(local_delivery_new(1000, &ld), 0);
	*state = ld;
	return 0;
}

static int teardown(void **state)
{
	struct local_delivery *ld = *state;

	local_delivery_free(&ld);
	return 0;
}

static void keep_both(struct local_delivery *ld, int64_t until_ms)
{
	struct endpoint v4 = endpoint(V4), v6 = endpoint(V6);

	assert_int_equal(local_delivery_keep(ld, &v4, until_ms), 0);
	assert_int_equal(local_delivery_keep(ld, &v6, until_ms), 0);
	assert_true(local_delivery_has(ld, &v4));
	assert_true(local_delivery_has(ld, &v6));
}

static void test_exactly_address_protocol_and_port_are_taken(void **state)
{
	static const char get4[] = "ip route get 10.9.8.7 from 10.1.1.5 iif d0 ipproto tcp dport 8000";
	static const char get6[] = "ip route get fd00::9 from fd01::5 iif d0 ipproto tcp dport 8000";

	assert_printed(get4, "local 10.9.8.7", 0);
	keep_both(*state, 5000);
	assert_printed(get4, "local 10.9.8.7", 1);
	assert_printed(get6, "local fd00::9", 1);
	assert_printed("ip route get 10.9.8.7 ipproto tcp dport 8001", "local", 0);
	assert_printed("ip route get 10.9.8.7 ipproto udp dport 8000", "local", 0);
	assert_printed("ip route get 10.9.8.7", "local", 0);
	assert_printed("ip route get 10.9.8.8 ipproto tcp dport 8000", "local", 0);
	assert_printed("ip route get fd00::9 ipproto tcp dport 8001", "local fd00::9", 0);
}

static void test_they_go_when_their_time_is_over(void **state)
{
	struct endpoint v4 = endpoint(V4);

	keep_both(*state, 5000);
	assert_int_equal(local_delivery_keep(*state, &v4, 7000), 0);
	assert_int_equal(local_delivery_keep(*state, &v4, 3000), 0); /* never shorter */
	assert_int_equal(local_delivery_tick(*state, 5000), 0);
	assert_printed(RULES, OURS, 2);
	assert_int_equal(local_delivery_tick(*state, 5001), 0);
	assert_printed(RULES, OURS, 1);
	assert_int_equal(local_delivery_tick(*state, 7001), 0);
	assert_printed(RULES, OURS, 0);
	assert_false(local_delivery_has(*state, &v4));
}

static void test_what_others_flush_is_put_back_once(void **state)
{
	keep_both(*state, 100000);
	run("ip rule del priority 83; ip -6 rule del priority 83");
	run("ip route flush table 8383; ip -6 route flush table 8383");
	assert_int_equal(local_delivery_tick(*state, LOCAL_DELIVERY_ASSERT_MS), 0);
	assert_printed(RULES, OURS, 2);
	assert_printed("ip route show table 8383; ip -6 route show table 8383", "local default", 2);
	assert_int_equal(local_delivery_tick(*state, 2 * LOCAL_DELIVERY_ASSERT_MS), 0);
	assert_printed(RULES, OURS, 2);
}

static void test_the_next_agent_adopts_them_and_no_one_else_s(void **state)
{
	struct local_delivery *next;
	struct endpoint v4 = endpoint(V4), v6 = endpoint(V6), other = endpoint("10.9.8.6:22");

	run("ip rule add priority 83 to 10.9.8.6/32 ipproto tcp dport 22 lookup 8383 protocol 101");
	run("ip rule add priority 90 to 10.9.8.5/32 lookup 77 protocol 83");
	keep_both(*state, 5000);
	assert_int_equal(local_delivery_new(20000, &next), 0);
	assert_true(local_delivery_has(next, &v4));
	assert_true(local_delivery_has(next, &v6));
	assert_false(local_delivery_has(next, &other));
	assert_int_equal(local_delivery_tick(next, 20000), 0);
	assert_printed(RULES, OURS, 2);
	assert_int_equal(local_delivery_tick(next, 20001), 0);
	assert_printed(RULES, OURS, 0);
	assert_printed(RULES, "proto 101", 1);
	assert_printed(RULES, "lookup 77", 1);
	local_delivery_free(&next);
}

static void test_clearing_leaves_nothing(void **state)
{
	keep_both(*state, INT64_MAX);
	assert_int_equal(local_delivery_clear(*state), 0);
	assert_printed(RULES, OURS, 0);
	assert_printed("ip route show table 8383; ip -6 route show table 8383", "local", 0);
	assert_int_equal(local_delivery_clear(*state), 0);
}

static void test_many_are_kept_apart(void **state)
{
	struct endpoint ep = endpoint("10.9.0.0:80");

	for (int i = 0; i < 500; i++) {
		ep.addr.bytes[2] = (uint8_t)(i >> 8);
		ep.addr.bytes[3] = (uint8_t)i;
		assert_int_equal(local_delivery_keep(*state, &ep, i < 250 ? 1000 : 2000), 0);
	}
	assert_printed(RULES, OURS, 500);
	assert_int_equal(local_delivery_tick(*state, 1500), 0);
	assert_printed(RULES, OURS, 250);
	assert_true(local_delivery_has(*state, &ep));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_exactly_address_protocol_and_port_are_taken),
		T(test_they_go_when_their_time_is_over),
		T(test_what_others_flush_is_put_back_once),
		T(test_the_next_agent_adopts_them_and_no_one_else_s),
		T(test_clearing_leaves_nothing),
		T(test_many_are_kept_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
