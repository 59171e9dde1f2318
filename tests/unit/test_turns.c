/* SPDX-License-Identifier: BSD-2-Clause */
/* Schedules of the round robins: how many turns each member has, and how they are spread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/turns.h"

#define MEMBERS 5000

static struct turns_member members[MEMBERS];
static uint16_t turns[LB_TURNS_MAX];

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

/* One digit a member, whose backends are 1, 2, 3 ... */
static int build(const char *weights, enum turns_kind kind)
{
	uint32_t n = 0;

	for (const char *c = weights; *c; c++, n++)
		members[n] = (struct turns_member){.backend = n + 1, .weight = *c - '0'};
	memset(turns, 0, sizeof(turns));
	return turns_build(members, n, kind, turns);
}

/* What it built, as letters: A is backend 1. */
static void assert_turns(const char *weights, const char *want)
{
	char got[LB_TURNS_MAX + 1] = "";
	int n = build(weights, TURNS_WEIGHTED);

	assert_true(n >= 0 && n <= LB_TURNS_MAX);
	for (int i = 0; i < n; i++)
		got[i] = (char)('A' - 1 + turns[i]);
	assert_string_equal(got, want);
}

/* Of the first t of n turns a member with w of them has tw/n, rounded down or up. */
static void assert_spread(uint32_t n_members, int n)
{
	uint32_t share[MEMBERS + 1] = {0}, had[MEMBERS + 1] = {0};

	for (int t = 0; t < n; t++)
		share[turns[t]]++;
	for (int t = 1; t <= n; t++) {
		had[turns[t - 1]]++;
		for (uint32_t i = 1; i <= n_members; i++) {
			uint64_t ideal = (uint64_t)t * share[i]; /* in n-ths of a turn */

			assert_true((uint64_t)had[i] * n < ideal + n);
			assert_true((uint64_t)had[i] * n + n > ideal);
		}
	}
}

static void test_plain_turns_are_one_each(void **state)
{
	(void)state;
	assert_int_equal(build("3021", TURNS_PLAIN), 3);
	assert_int_equal(turns[0], 1);
	assert_int_equal(turns[1], 3);
	assert_int_equal(turns[2], 4);
	assert_int_equal(build("000", TURNS_PLAIN), 0);
	assert_int_equal(build("", TURNS_WEIGHTED), 0);
}

static void test_weights_are_exact_and_spread(void **state)
{
	(void)state;
	assert_turns("321", "ABABAC");
	assert_turns("642", "ABABAC"); /* 3:2:1 as well */
	assert_turns("3021", "ACACAD");
	assert_turns("511", "AAABAAC");
	assert_turns("811", "AAAABAAAAC");
	assert_turns("4111", "AABACAD");
	assert_turns("7", "A");
	assert_turns("1111", "ABCD");
}

static void test_one_large_weight_alternates_with_many_small_ones(void **state)
{
	int n;

	(void)state;
	members[0] = (struct turns_member){.backend = 1, .weight = 1000};
	for (uint32_t i = 1; i <= 1000; i++)
		members[i] = (struct turns_member){.backend = (uint16_t)(i + 1), .weight = 1};
	n = turns_build(members, 1001, TURNS_WEIGHTED, turns);
	assert_int_equal(n, 2000);
	for (int t = 0; t < n; t++)
		assert_int_equal(turns[t] == 1, t % 2 == 0);
}

static void test_any_weights_are_spread(void **state)
{
	uint64_t random = 1;

	(void)state;
	for (int round = 0; round < 300; round++) {
		uint32_t n_members = 1 + next_random(&random) % 40;
		uint32_t most = 1 + next_random(&random) % (round % 2 ? 12 : 100000);
		int n;

		for (uint32_t i = 0; i < n_members; i++)
			members[i] = (struct turns_member){
				.backend = (uint16_t)(i + 1),
				.weight = next_random(&random) % (most + 1)};
		n = turns_build(members, n_members, TURNS_WEIGHTED, turns);
		assert_in_range(n, 0, LB_TURNS_MAX);
		assert_spread(n_members, n);
	}
}

static void test_turns_of_large_weights_are_scaled(void **state)
{
	uint32_t count[1001] = {0};
	int n;

	(void)state;
	for (int i = 0; i < 1000; i++)
		members[i] = (struct turns_member){.backend = i + 1, .weight = 1000 + i};
	n = turns_build(members, 1000, TURNS_WEIGHTED, turns);
	assert_in_range(n, 1000, LB_TURNS_MAX);
	for (int i = 0; i < n; i++)
		count[turns[i]]++;
	for (int i = 1; i <= 1000; i++)
		assert_true(count[i] >= 1);
	assert_spread(1000, n);
	members[0].weight = 30011;
	members[1].weight = 20011;
	members[2].weight = 10007;
	n = turns_build(members, 3, TURNS_WEIGHTED, turns);
	assert_in_range(n, 4000, LB_TURNS_MAX);
	memset(count, 0, sizeof(count));
	for (int i = 0; i < n; i++)
		count[turns[i]]++;
	assert_in_range(count[1] * 1000 / n, 497, 503);
	assert_in_range(count[2] * 1000 / n, 330, 336);
}

static void test_more_members_than_turns_are_refused(void **state)
{
	(void)state;
	for (int i = 0; i < MEMBERS; i++)
		members[i] = (struct turns_member){.backend = i + 1, .weight = 1 + i % 2};
	assert_int_equal(turns_build(members, MEMBERS, TURNS_PLAIN, turns), -E2BIG);
	assert_int_equal(turns_build(members, LB_TURNS_MAX, TURNS_PLAIN, turns), LB_TURNS_MAX);
	assert_int_equal(turns_build(members, LB_TURNS_MAX, TURNS_WEIGHTED, turns), LB_TURNS_MAX);
	assert_int_equal(turns_build(members, LB_TURNS_MAX + 1, TURNS_WEIGHTED, turns), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_turns_are_one_each),
		cmocka_unit_test(test_weights_are_exact_and_spread),
		cmocka_unit_test(test_one_large_weight_alternates_with_many_small_ones),
		cmocka_unit_test(test_any_weights_are_spread),
		cmocka_unit_test(test_turns_of_large_weights_are_scaled),
		cmocka_unit_test(test_more_members_than_turns_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
