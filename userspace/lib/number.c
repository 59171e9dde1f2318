// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/lib/number.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The shape of a decimal number, enough to compute it exactly when it is small. */
struct decimal {
	bool negative;
	bool exact; /* digits fit in mantissa, none was dropped */
	uint64_t mantissa;
	int exp10;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Adds one digit behind those read so far. */
static void take_digit(struct decimal *d, char c)
{
	if (d->mantissa > (UINT64_MAX - 9) / 10)
		d->exact = false;
	else
		d->mantissa = d->mantissa * 10 + (uint64_t)(c - '0');
}

/* Reads [e [+-] digits] at s[i..len). Returns 0 with the exponent added, or -EINVAL. */
static int take_exponent(const char *s, size_t i, size_t len, struct decimal *d)
{
	bool negative = false;
	int e = 0;

	if (i == len)
		return 0;
	if (s[i] != 'e' && s[i] != 'E')
		return -EINVAL;
	i++;
	if (i < len && (s[i] == '+' || s[i] == '-'))
		negative = s[i++] == '-';
	if (i == len)
		return -EINVAL;
	for (; i < len; i++) {
		if (!is_digit(s[i]))
			return -EINVAL;
		if (e < 100000)
			e = e * 10 + (s[i] - '0');
	}
	d->exp10 += negative ? -e : e;
	return 0;
}

/* Checks the whole grammar. Returns 0 or -EINVAL. */
static int scan_decimal(const char *s, size_t len, struct decimal *ret)
{
	struct decimal d = {.exact = true};
	size_t n_digits = 0;
	size_t i = 0;
	int r;

	if (i < len && (s[i] == '+' || s[i] == '-'))
		d.negative = s[i++] == '-';
	for (; i < len && is_digit(s[i]); i++, n_digits++)
		take_digit(&d, s[i]);
	if (i < len && s[i] == '.') {
		for (i++; i < len && is_digit(s[i]); i++, n_digits++) {
			take_digit(&d, s[i]);
			d.exp10--;
		}
	}
	if (!n_digits)
		return -EINVAL;
	r = take_exponent(s, i, len, &d);
	if (r < 0)
		return r;
	*ret = d;
	return 0;
}

/* Text whose grammar is checked -> double, correctly rounded, by the C library in the C locale. */
static int convert_slow(const char *s, size_t len, double *ret_value)
{
	char copy[NUMBER_MAX_LEN + 1];
	locale_t c_locale;
	double v;

	memcpy(copy, s, len);
	copy[len] = '\0';
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	if (!c_locale)
		return -errno;
	v = strtod_l(copy, NULL, c_locale);
	freelocale(c_locale);
	if (isinf(v))
		return -ERANGE;
	*ret_value = v;
	return 0;
}

static bool is_word(const char *s, size_t len, const char *word)
{
	return len == strlen(word) && strncasecmp(s, word, len) == 0;
}

/* "inf", "-Inf", "NaN", …. Returns 0 or -EINVAL. */
static int parse_special(const char *s, size_t len, double *ret_value)
{
	bool negative = false;

	if (is_word(s, len, "nan")) {
		*ret_value = (double)NAN;
		return 0;
	}
	if (len && (*s == '+' || *s == '-')) {
		negative = *s == '-';
		s++;
		len--;
	}
	if (!is_word(s, len, "inf") && !is_word(s, len, "infinity"))
		return -EINVAL;
	*ret_value = negative ? -HUGE_VAL : HUGE_VAL;
	return 0;
}

int number_parse_double(const char *s, size_t len, double *ret_value)
{
	/* Powers of ten that a double holds exactly. */
	static const double pow10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
				       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
				       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	struct decimal d;
	double v;

	assert(s);
	assert(ret_value);

	if (!len || len > NUMBER_MAX_LEN)
		return -EINVAL;
	if (scan_decimal(s, len, &d) < 0)
		return parse_special(s, len, ret_value);
	/* One rounding only: both operands are exact (Clinger 1990, the fast path). */
	if (!d.exact || d.mantissa > (1ull << 53) || d.exp10 < -22 || d.exp10 > 22)
		return convert_slow(s, len, ret_value);
	v = (double)d.mantissa;
	v = d.exp10 < 0 ? v / pow10[-d.exp10] : v * pow10[d.exp10];
	*ret_value = d.negative ? -v : v;
	return 0;
}

int number_parse_u64(const char *s, size_t len, uint64_t max, uint64_t *ret_value)
{
	uint64_t v = 0;

	assert(s);
	assert(ret_value);

	if (!len || len > NUMBER_MAX_LEN)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (!is_digit(s[i]))
			return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		uint64_t digit = (uint64_t)(s[i] - '0');

		if (v > (UINT64_MAX - digit) / 10)
			return -ERANGE;
		v = v * 10 + digit;
	}
	if (v > max)
		return -ERANGE;
	*ret_value = v;
	return 0;
}

const char *number_brief(char buf[NUMBER_BRIEF_MAX], double value)
{
	snprintf(buf, NUMBER_BRIEF_MAX, fabs(value) < 99.95 ? "%.3g" : "%.0f", value);
	return buf;
}
