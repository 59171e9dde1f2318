// SPDX-License-Identifier: BSD-2-Clause
/* Text -> numbers: the grammar, correct rounding, limits, no locale. */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/lib/cleanup.h"
#include "userspace/lib/number.h"

static void test_double_takes(void **state)
{
	static const struct {
		const char *text;
		double want;
	} cases[] = {
		{"0", 0},
		{"-0", -0.0},
		{"1", 1},
		{"+1", 1},
		{"-12.5", -12.5},
		{".5", 0.5},
		{"5.", 5},
		{"1e3", 1000},
		{"1E+3", 1000},
		{"1.7581234567890123e+09", 1758123456.7890123},
		{"0.9130434782608695", 0.9130434782608695},
		{"85520809984", 85520809984.0},
		{"9007199254740993", 9007199254740992.0}, /* ties to even */
		{"18446744073709551616", 18446744073709551616.0},
		{"123456789012345678901234567890", 123456789012345678901234567890.0},
		{"1e22", 1e22},
		{"1e23", 1e23}, /* not exact as a product */
		{"8.5e-23", 8.5e-23},
		{"2.2250738585072014e-308", 2.2250738585072014e-308},
		{"5e-324", 5e-324},
		{"1e-400", 0},
		{"0e999999999999", 0},
		{"1.7976931348623157e308", 1.7976931348623157e308},
		{"Inf", HUGE_VAL},
		{"+inf", HUGE_VAL},
		{"-Infinity", -HUGE_VAL},
	};
	double v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		v = 42;
		assert_int_equal(number_parse_double(cases[i].text, strlen(cases[i].text), &v), 0);
		if (memcmp(&v, &cases[i].want, sizeof(v)) != 0)
			fail_msg("%s reads as %.17g, not %.17g", cases[i].text, v, cases[i].want);
	}
	assert_int_equal(number_parse_double("NaN", 3, &v), 0);
	assert_true(isnan(v));
}

static void test_double_refuses(void **state)
{
	static const char *const cases[] = {"",     ".",     "+",     "-",   "e5", "1e",
					    "1e+",  "1.2.3", "1,5",   " 1",  "1 ", "1x",
					    "0x10", "1_000", "1e5e5", "--1", "in", "infinit",
					    "nano", "+nan",  "1e1.5", "\n1", "1\n"};
	double v = 42;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (number_parse_double(cases[i], strlen(cases[i]), &v) != -EINVAL)
			fail_msg("'%s' is taken for a number", cases[i]);
		assert_true(v == 42);
	}
	assert_int_equal(number_parse_double("1\0", 2, &v), -EINVAL);
	assert_int_equal(number_parse_double("1e309", 5, &v), -ERANGE);
	assert_int_equal(number_parse_double("-1e999999999999999999999", 24, &v), -ERANGE);
	assert_true(v == 42);
}

static void test_double_stays_in_its_bytes(void **state)
{
	char text[NUMBER_MAX_LEN + 1];
	double v = 0;

	(void)state;
	assert_int_equal(number_parse_double("123456", 3, &v), 0);
	assert_true(v == 123);
	memset(text, '1', sizeof(text));
	assert_int_equal(number_parse_double(text, NUMBER_MAX_LEN, &v), 0);
	assert_true(fabs(v / 1.1111111111111111e127 - 1) < 1e-15);
	assert_int_equal(number_parse_double(text, NUMBER_MAX_LEN + 1, &v), -EINVAL);
}

/* Against the C library, over many shapes and both ways through the parser. */
static void test_double_rounds_as_strtod(void **state)
{
	uint64_t x = 88172645463325252ull;
	char text[64];
	double v;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		int n;

		x ^= x << 13; /* xorshift64 */
		x ^= x >> 7;
		x ^= x << 17;
		n = snprintf(text, sizeof(text), "%s%llu.%04lluE%d", x & 1 ? "-" : "",
			     (unsigned long long)(x >> (x % 60)), (unsigned long long)(x % 10000),
			     (int)(x % 61) - 30);
		assert_int_equal(number_parse_double(text, (size_t)n, &v), 0);
		if (v != strtod(text, NULL))
			fail_msg("%s reads as %.17g", text, v);
	}
}

static void test_double_ignores_the_locale(void **state)
{
	double v;

	(void)state;
	/* Only where one with a decimal comma is installed; the parser never asks for it. */
	(void)(setlocale(LC_ALL, "de_DE.UTF-8") || setlocale(LC_ALL, "fr_FR.UTF-8"));
	assert_int_equal(number_parse_double("1.5", 3, &v), 0);
	assert_true(v == 1.5);
	assert_int_equal(number_parse_double("1.00000000000000000000005e3", 27, &v), 0);
	assert_true(v == 1000);
	assert_int_equal(number_parse_double("1,5", 3, &v), -EINVAL);
	setlocale(LC_ALL, "C");
}

static void test_u64(void **state)
{
	uint64_t v = 42;

	(void)state;
	assert_int_equal(number_parse_u64("", 0, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(number_parse_u64("-1", 2, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(number_parse_u64("+1", 2, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(number_parse_u64("1.0", 3, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(number_parse_u64("99999999999999999999x", 21, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(number_parse_u64("18446744073709551616", 20, UINT64_MAX, &v), -ERANGE);
	assert_int_equal(number_parse_u64("65536", 5, 65535, &v), -ERANGE);
	assert_int_equal(v, 42);
	assert_int_equal(number_parse_u64("65535", 5, 65535, &v), 0);
	assert_int_equal(v, 65535);
	assert_int_equal(number_parse_u64("18446744073709551615", 20, UINT64_MAX, &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(number_parse_u64("007", 3, 7, &v), 0);
	assert_int_equal(v, 7);
}

static void test_brief_is_never_an_exponent(void **state)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {{0, "0"},	   {0.25, "0.25"},   {6.3, "6.3"},	 {12.345, "12.3"},
		     {99.94, "99.9"}, {99.96, "100"}, {999.6, "1000"}, {1000, "1000"},
		     {4000, "4000"}, {123456, "123456"}, {-2.5, "-2.5"}};
	char buf[NUMBER_BRIEF_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(number_brief(buf, cases[i].value), cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_double_takes),
		cmocka_unit_test(test_double_refuses),
		cmocka_unit_test(test_double_stays_in_its_bytes),
		cmocka_unit_test(test_double_rounds_as_strtod),
		cmocka_unit_test(test_double_ignores_the_locale),
		cmocka_unit_test(test_u64),
		cmocka_unit_test(test_brief_is_never_an_exponent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
