/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of configurations share: texts and fixtures loaded, errors expected. */
#ifndef SLUICE_TESTS_CONFIG_BED_H
#define SLUICE_TESTS_CONFIG_BED_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "userspace/agent/config.h"
#include "userspace/lib/cleanup.h"

#define FIXTURES "tests/fixtures/config/"

/* What must stay untouched by a failed load. */
static char canary;
#define UNTOUCHED ((struct config *)(void *)&canary)

/* "head", then n times `unit`, then "tail". */
static inline char *repeat(const char *head, const char *unit, size_t n, const char *tail)
{
	char *text = malloc(strlen(head) + n * strlen(unit) + strlen(tail) + 1), *p = text;

	assert_non_null(text);
	p = stpcpy(p, head);
	while (n--)
		p = stpcpy(p, unit);
	stpcpy(p, tail);
	return text;
}

static inline int load_text(const char *text, struct config **ret, struct config_errors *errs)
{
	*ret = UNTOUCHED;
	return config_load_buffer("test.yaml", text, strlen(text), ret, errs);
}

static inline struct config *load_good(const char *text)
{
	struct config_errors errs = {0};
	struct config *cfg;

	if (load_text(text, &cfg, &errs) < 0)
		fail_msg("%s", errs.items[0].text);
	assert_int_equal(errs.n, 0);
	return cfg;
}

static inline struct config *load_fixture(const char *name)
{
	struct config_errors errs = {0};
	struct config *cfg = UNTOUCHED;
	char path[256];

	snprintf(path, sizeof(path), FIXTURES "%s", name);
	if (config_load(path, &cfg, &errs) < 0)
		fail_msg("%s", errs.items[0].text);
	assert_int_equal(errs.n, 0);
	return cfg;
}

/* The text must be refused with one error, which contains `want`. */
static inline void expect_error(const char *text, const char *want)
{
	struct config_errors errs = {0};
	struct config *cfg;
	int r = load_text(text, &cfg, &errs);

	if (r != -EINVAL || errs.n != 1 || !strstr(errs.items[0].text, want))
		fail_msg("returned %d with %u errors, first: %s", r, errs.n,
			 errs.n ? errs.items[0].text : "none");
	assert_ptr_equal(cfg, UNTOUCHED);
	config_errors_free(&errs);
}

#endif
