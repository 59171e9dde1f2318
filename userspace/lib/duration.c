/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/lib/duration.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "userspace/lib/cleanup.h"

/* Largest first; "ms" stands before "m" so that it is found first. */
static const struct duration_unit {
	const char *name;
	int64_t ms;
} units[] = {
	{"d", 24 * 3600 * 1000}, {"h", 3600 * 1000}, {"ms", 1}, {"m", 60 * 1000}, {"s", 1000},
};

/* A decimal number as digits / scale: "1.25" is 125 / 100. */
struct decimal {
	int64_t digits;
	int64_t scale;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Returns the bytes used; -EINVAL if there is no number at text; -ERANGE if it has too many digits.
 */
static int decimal_parse(const char *text, struct decimal *ret)
{
	struct decimal d = {.digits = 0, .scale = 1};
	bool fraction = false;
	const char *p = text;

	if (!is_digit(*p))
		return -EINVAL;
	for (;; p++) {
		if (*p == '.' && !fraction && is_digit(p[1])) {
			fraction = true;
			continue;
		}
		if (!is_digit(*p))
			break;
		if (d.digits > DURATION_MAX_MS / 10 || d.scale > DURATION_MAX_MS / 10)
			return -ERANGE;
		d.digits = d.digits * 10 + (*p - '0');
		if (fraction)
			d.scale *= 10;
	}
	*ret = d;
	return (int)(p - text);
}

static const struct duration_unit *unit_find(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (strncmp(text, units[i].name, strlen(units[i].name)) == 0)
			return &units[i];
	return NULL;
}

/* One number and its unit. Returns the bytes used or -errno. */
static int pair_parse(const char *text, int64_t *ret_ms, int64_t *ret_unit_ms)
{
	const struct duration_unit *unit;
	struct decimal d;
	__int128 ms;
	int n;

	n = decimal_parse(text, &d);
	if (n < 0)
		return n;
	unit = unit_find(text + n);
	if (!unit)
		return -EINVAL;
	ms = (__int128)d.digits * unit->ms;
	if (ms % d.scale || ms / d.scale > DURATION_MAX_MS)
		return -ERANGE;
	*ret_ms = (int64_t)(ms / d.scale);
	*ret_unit_ms = unit->ms;
	return n + (int)strlen(unit->name);
}

int duration_parse(const char *text, int64_t *ret_ms)
{
	int64_t last_unit = INT64_MAX;
	int64_t total = 0;

	assert(text);
	assert(ret_ms);

	if (strcmp(text, "0") == 0) {
		*ret_ms = 0;
		return 0;
	}
	do {
		int64_t unit, ms;
		int n;

		n = pair_parse(text, &ms, &unit);
		if (n < 0)
			return n;
		if (unit >= last_unit)
			return -EINVAL;
		if (ms > DURATION_MAX_MS - total)
			return -ERANGE;
		total += ms;
		last_unit = unit;
		text += n;
	} while (*text);
	*ret_ms = total;
	return 0;
}

/* "30s", "1.5s", "0.25s"; nothing for 0. */
static int seconds_format(int64_t ms, char *buf, size_t size)
{
	int fraction = (int)(ms % 1000);
	int width = 3;

	if (ms == 0)
		return 0;
	if (fraction == 0)
		return snprintf(buf, size, "%ds", (int)(ms / 1000));
	for (; fraction % 10 == 0; fraction /= 10)
		width--;
	return snprintf(buf, size, "%d.%0*ds", (int)(ms / 1000), width, fraction);
}

const char *duration_format(int64_t ms, char buf[DURATION_TEXT_MAX])
{
	static const struct duration_unit large[] = {
		{"d", 24 * 3600 * 1000}, {"h", 3600 * 1000}, {"m", 60 * 1000}};
	size_t used = 0;

	assert(ms >= 0);
	assert(buf);

	if (ms < 1000) {
		snprintf(buf, DURATION_TEXT_MAX, ms ? "%dms" : "%d", (int)ms);
		return buf;
	}
	for (size_t i = 0; i < ARRAY_SIZE(large); i++) {
		if (ms < large[i].ms)
			continue;
		used += (size_t)snprintf(buf + used, DURATION_TEXT_MAX - used, "%lld%s",
					 (long long)(ms / large[i].ms), large[i].name);
		ms %= large[i].ms;
	}
	seconds_format(ms, buf + used, DURATION_TEXT_MAX - used);
	return buf;
}
