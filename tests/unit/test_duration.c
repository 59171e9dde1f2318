/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "userspace/lib/cleanup.h"
#include "userspace/lib/duration.h"

#define DAY_MS (INT64_C(24) * 3600 * 1000)

static const struct {
	const char *text;
	int r;
	int64_t ms;
} parse_cases[] = {
	{"0", 0, 0},
	{"0s", 0, 0},
	{"500ms", 0, 500},
	{"1s", 0, 1000},
	{"30s", 0, 30000},
	{"1.5s", 0, 1500},
	{"0.25s", 0, 250},
	{"1.500s", 0, 1500},
	{"2m", 0, 120000},
	{"0.5m", 0, 30000},
	{"1h", 0, 3600000},
	{"1h30m", 0, 5400000},
	{"1h30m15s250ms", 0, 5415250},
	{"2d", 0, 2 * DAY_MS},
	{"007s", 0, 7000},
	{"36500d", 0, DURATION_MAX_MS},
	{"", -EINVAL, 0},
	{"5", -EINVAL, 0},
	{"1.5", -EINVAL, 0},
	{"s", -EINVAL, 0},
	{"-1s", -EINVAL, 0},
	{"+1s", -EINVAL, 0},
	{" 1s", -EINVAL, 0},
	{"1s ", -EINVAL, 0},
	{"1 s", -EINVAL, 0},
	{"1S", -EINVAL, 0},
	{"1sec", -EINVAL, 0},
	{"1us", -EINVAL, 0},
	{".5s", -EINVAL, 0},
	{"1.s", -EINVAL, 0},
	{"1.5.5s", -EINVAL, 0},
	{"1e3s", -EINVAL, 0},
	{"0x10s", -EINVAL, 0},
	{"1m1h", -EINVAL, 0},
	{"1s1s", -EINVAL, 0},
	{"1h30", -EINVAL, 0},
	{"0.5ms", -ERANGE, 0},
	{"1.0001s", -ERANGE, 0},
	{"36501d", -ERANGE, 0},
	{"36500d1ms", -ERANGE, 0},
	{"99999999999999999999999999s", -ERANGE, 0},
	{"0.0000000000000000000000001d", -ERANGE, 0},
	{"9223372036854775807ms", -ERANGE, 0},
	{"3153600000000ms", 0, DURATION_MAX_MS},
};

static void durations_are_read_or_refused_with_the_right_error(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(parse_cases); i++) {
		int64_t ms = -7;
		int r = duration_parse(parse_cases[i].text, &ms);

		if (r != parse_cases[i].r || ms != (r < 0 ? -7 : parse_cases[i].ms))
			fail_msg("'%s': returned %d with %lld", parse_cases[i].text, r,
				 (long long)ms);
	}
}

static const struct {
	int64_t ms;
	const char *text;
} format_cases[] = {
	{0, "0"},           {1, "1ms"},
	{999, "999ms"},     {1000, "1s"},
	{1500, "1.5s"},     {1050, "1.05s"},
	{1001, "1.001s"},   {60000, "1m"},
	{90500, "1m30.5s"}, {3600000, "1h"},
	{5400000, "1h30m"}, {3600001, "1h0.001s"},
	{DAY_MS, "1d"},     {DURATION_MAX_MS, "36500d"},
};

static void durations_are_written_as_a_person_would(void **state)
{
	char buf[DURATION_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(format_cases); i++)
		assert_string_equal(duration_format(format_cases[i].ms, buf), format_cases[i].text);
}

static void what_is_written_is_read_back_exactly(void **state)
{
	uint64_t x = 88172645463325252ull;
	char buf[DURATION_TEXT_MAX];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		int64_t ms, back;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		ms = (int64_t)(x % (uint64_t)(DURATION_MAX_MS + 1)) >> (i % 40);
		assert_int_equal(duration_parse(duration_format(ms, buf), &back), 0);
		assert_true(back == ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_are_read_or_refused_with_the_right_error),
		cmocka_unit_test(durations_are_written_as_a_person_would),
		cmocka_unit_test(what_is_written_is_read_back_exactly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
