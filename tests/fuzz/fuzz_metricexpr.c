// SPDX-License-Identifier: BSD-2-Clause
/*
 * First line: an expression; the rest: a page for it, read as Prometheus text and as JSON. Checked:
 * an error names a place in the text; a value is finite; the same page gives the same value twice.
 */
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/check.h"
#include "userspace/agent/metricexpr.h"
#include "userspace/agent/promtext.h"
#include "userspace/lib/cleanup.h"

static int on_want(void *ctx, const char *name, size_t len)
{
	return metric_run_want(ctx, name, len);
}

static int on_sample(void *ctx, int id, const struct promtext_label *labels, size_t n, double v)
{
	return metric_run_sample(ctx, id, labels, n, v);
}

static void on_unreadable(void *ctx, int id)
{
	metric_run_unreadable(ctx, id);
}

static void feed_prom(struct metric_run *run, const char *page, size_t len)
{
	static const struct promtext_ops ops = {on_want, on_sample, on_unreadable};
	struct promtext *p = NULL;

	CHECK(promtext_new(&ops, run, &p) == 0);
	promtext_begin(p);
	CHECK(promtext_feed(p, page, len) == 0);
	CHECK(promtext_finish(p) == 0);
	promtext_free(&p);
}

static void feed_json(struct metric_run *run, const char *page, size_t len)
{
	json_t *root = json_loadb(page, len, JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY, NULL);

	if (root)
		CHECK(metric_run_json(run, root) == 0);
	json_decref(root);
}

static void check_run(struct metric_run *run, enum metric_format format, const char *page,
		      size_t len)
{
	enum metric_status status[2];
	double value[2] = {0, 0};

	for (int i = 0; i < 2; i++) {
		metric_run_reset(run);
		if (format == METRIC_FORMAT_PROM)
			feed_prom(run, page, len);
		else
			feed_json(run, page, len);
		status[i] = metric_run_value(run, 0, &value[i]);
		CHECK(status[i] >= METRIC_OK && status[i] < METRIC_OUT_OF_RANGE);
		CHECK(status[i] != METRIC_UNUSED);
		CHECK(metric_run_culprit(run, 0) || status[i] == METRIC_OK ||
		      status[i] == METRIC_ABSENT || status[i] == METRIC_NOT_FINITE ||
		      status[i] == METRIC_DIV_ZERO);
		CHECK(isfinite(value[i]));
	}
	CHECK(status[0] == status[1] && value[0] == value[1]);
}

static void check_format(const char *text, enum metric_format format, const char *page, size_t len)
{
	struct metric_expr *e = NULL;
	struct metric_set *set = NULL;
	struct metric_run *run = NULL;
	struct metric_error error = {.pos = SIZE_MAX};

	if (metric_expr_compile(text, format, METRIC_AGG_MAX, &e, &error) < 0) {
		CHECK(!e && error.pos <= strlen(text));
		CHECK(error.text[0] && memchr(error.text, '\0', sizeof(error.text)));
		return;
	}
	CHECK(metric_set_new(format, &set) == 0);
	CHECK(metric_set_add(set, 0, &e) == 0);
	CHECK(metric_run_new(set, &run) == 0);
	metric_set_unref(&set);
	check_run(run, format, page, len);
	metric_run_free(&run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nl = memchr(data, '\n', size);
	size_t len = nl ? (size_t)(nl - data) : size;
	const char *page = (const char *)data + (nl ? len + 1 : len);
	_cleanup_free_ char *text = malloc(len + 1);

	CHECK(text);
	memcpy(text, data, len);
	text[len] = '\0';
	check_format(text, METRIC_FORMAT_PROM, page, (size_t)((const char *)data + size - page));
	check_format(text, METRIC_FORMAT_JSON, page, (size_t)((const char *)data + size - page));
	return 0;
}
