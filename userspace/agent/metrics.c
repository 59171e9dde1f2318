// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/metrics.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/promtext.h"
#include "userspace/lib/cleanup.h"

#define JSON_KEEP_BYTES (64u << 10) /* a larger buffer is given back after its page */

static_assert(offsetof(struct load_sample, slots) - offsetof(struct load_sample, value) ==
		      LOAD_SLOTS * sizeof(double),
	      "names and array of struct load_sample are the same values");
static_assert(LOAD_FIELD_N <= METRIC_SET_MAX, "slots of a set are enum load_field");

struct metrics_reader {
	struct metric_set *set;
	struct metric_run *run;
	struct promtext *prom; /* NULL for JSON */
	size_t max_bytes;

	char *json;
	size_t json_cap;

	struct metrics_page_stats stats; /* of the page being read */
	int failure;                     /* of the page being read, 0 or -errno */
	char error[192];
	enum metric_status status[LOAD_FIELD_N];
	double refused[LOAD_FIELD_N]; /* METRIC_OUT_OF_RANGE: the value */
};

enum field_range {
	RANGE_REQUESTS = 1, /* 0 .. LOAD_REQUESTS_MAX */
	RANGE_POSITIVE,     /* above 0 .. LOAD_REQUESTS_MAX */
	RANGE_COUNTER,      /* 0 .. LOAD_COUNTER_MAX */
	RANGE_FRACTION,     /* 0 .. 1 */
};

static const struct {
	const char *name;
	enum metric_agg agg;
	enum field_range range;
} fields[LOAD_FIELD_N] = {
	[LOAD_QUEUE] = {"queue", METRIC_AGG_SUM, RANGE_REQUESTS},
	[LOAD_RUNNING] = {"running", METRIC_AGG_SUM, RANGE_REQUESTS},
	[LOAD_KV] = {"kv", METRIC_AGG_MAX, RANGE_FRACTION},
	[LOAD_GPU_MEM] = {"gpu_memory", METRIC_AGG_MAX, RANGE_FRACTION},
	[LOAD_PROGRESS] = {"progress", METRIC_AGG_SUM, RANGE_COUNTER},
	[LOAD_ABORTS] = {"aborts", METRIC_AGG_SUM, RANGE_COUNTER},
	[LOAD_SLOTS] = {"slots", METRIC_AGG_SUM, RANGE_POSITIVE},
};

const char *load_field_name(enum load_field field)
{
	assert(field < LOAD_FIELD_N);
	return fields[field].name;
}

int load_field_find(const char *name, size_t len, enum load_field *ret_field)
{
	for (unsigned int i = 0; i < LOAD_FIELD_N; i++) {
		if (strlen(fields[i].name) != len || memcmp(fields[i].name, name, len) != 0)
			continue;
		*ret_field = (enum load_field)i;
		return 0;
	}
	return -ENOENT;
}

enum metric_agg load_field_agg(enum load_field field)
{
	assert(field < LOAD_FIELD_N);
	return fields[field].agg;
}

void load_sample_merge(struct load_sample *into, const struct load_sample *from)
{
	for (unsigned int i = 0; i < LOAD_FIELD_N; i++)
		if (from->has & LOAD_HAS(i))
			into->value[i] = from->value[i];
	into->has |= from->has;
}

/* Whether the field can have this value; *value is brought into its range if it is off by no more
 * than rounding. */
static bool field_accepts(enum field_range range, double *value)
{
	switch (range) {
	case RANGE_REQUESTS:
		return *value >= 0 && *value <= LOAD_REQUESTS_MAX;
	case RANGE_POSITIVE:
		return *value > 0 && *value <= LOAD_REQUESTS_MAX;
	case RANGE_COUNTER:
		return *value >= 0 && *value <= LOAD_COUNTER_MAX;
	case RANGE_FRACTION:
		if (!(*value >= 0 && *value <= 1 + LOAD_FRACTION_SLACK))
			return false;
		if (*value > 1)
			*value = 1;
		return true;
	}
	return false;
}

static int on_want(void *ctx, const char *name, size_t len)
{
	struct metrics_reader *r = ctx;

	return metric_run_want(r->run, name, len);
}

static int on_sample(void *ctx, int id, const struct promtext_label *labels, size_t n_labels,
		     double value)
{
	struct metrics_reader *r = ctx;

	return metric_run_sample(r->run, id, labels, n_labels, value);
}

static void on_unreadable(void *ctx, int id)
{
	struct metrics_reader *r = ctx;

	metric_run_unreadable(r->run, id);
}

static const struct promtext_ops prom_ops = {
	.want = on_want,
	.sample = on_sample,
	.unreadable = on_unreadable,
};

int metrics_reader_new(struct metric_set *set, size_t max_bytes, struct metrics_reader **ret_reader)
{
	bool json = metric_set_format(set) == METRIC_FORMAT_JSON;
	struct metrics_reader *reader;
	int r;

	assert(ret_reader);

	reader = calloc(1, sizeof(*reader));
	if (!reader)
		return -ENOMEM;
	reader->set = metric_set_ref(set);
	reader->max_bytes = max_bytes;
	if (!max_bytes)
		reader->max_bytes = json ? METRICS_JSON_MAX_BYTES : METRICS_PAGE_MAX_BYTES;
	r = metric_run_new(set, &reader->run);
	if (r == 0 && !json)
		r = promtext_new(&prom_ops, reader, &reader->prom);
	if (r < 0) {
		metrics_reader_free(&reader);
		return r;
	}
	metrics_reader_begin(reader);
	*ret_reader = reader;
	return 0;
}

void metrics_reader_free(struct metrics_reader **reader)
{
	struct metrics_reader *r = *reader;

	*reader = NULL;
	if (!r)
		return;
	promtext_free(&r->prom);
	metric_run_free(&r->run);
	metric_set_unref(&r->set);
	free(r->json);
	free(r);
}

void metrics_reader_begin(struct metrics_reader *reader)
{
	metric_run_reset(reader->run);
	if (reader->prom)
		promtext_begin(reader->prom);
	reader->stats = (struct metrics_page_stats){0};
	reader->failure = 0;
	reader->error[0] = '\0';
	for (unsigned int i = 0; i < LOAD_FIELD_N; i++)
		reader->status[i] = metric_set_expr(reader->set, i) ? METRIC_ABSENT : METRIC_UNUSED;
}

/* Appends to the JSON page; its size is checked already. */
static int json_keep(struct metrics_reader *r, const char *data, size_t len)
{
	size_t need = (size_t)r->stats.bytes + len;
	size_t cap = r->json_cap ? r->json_cap : 1024;
	char *p;

	if (need > r->json_cap) {
		while (cap < need)
			cap *= 2;
		p = realloc(r->json, cap);
		if (!p)
			return -ENOMEM;
		r->json = p;
		r->json_cap = cap;
	}
	memcpy(r->json + r->stats.bytes, data, len);
	return 0;
}

int metrics_reader_feed(struct metrics_reader *reader, const char *data, size_t len)
{
	if (reader->failure < 0)
		return reader->failure;
	if (!len)
		return 0;
	if (len > reader->max_bytes - reader->stats.bytes) {
		snprintf(reader->error, sizeof(reader->error), "the page is larger than %zu bytes",
			 reader->max_bytes);
		reader->failure = -EFBIG;
		return reader->failure;
	}
	if (reader->prom)
		reader->failure = promtext_feed(reader->prom, data, len);
	else
		reader->failure = json_keep(reader, data, len);
	if (reader->failure < 0)
		snprintf(reader->error, sizeof(reader->error), "no memory for the page");
	reader->stats.bytes += len;
	return reader->failure;
}

static int end_prom(struct metrics_reader *r, enum metrics_end end)
{
	if (end == METRICS_END_CLOSED && promtext_in_line(r->prom)) {
		snprintf(r->error, sizeof(r->error),
			 "the page ends inside a line and the server did not say how long it is");
		return -EBADMSG;
	}
	return promtext_finish(r->prom);
}

static int end_json(struct metrics_reader *r)
{
	json_error_t error;
	json_t *root;
	int ret;

	if (!r->stats.bytes)
		return 0;
	root = json_loadb(r->json, (size_t)r->stats.bytes,
			  JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	if (r->json_cap > JSON_KEEP_BYTES) {
		free(r->json);
		r->json = NULL;
		r->json_cap = 0;
	}
	if (!root) {
		snprintf(r->error, sizeof(r->error), "the page is not JSON: %.100s at byte %d",
			 error.text, error.position);
		for (char *p = r->error; *p; p++)
			if (*p < 0x20 || *p > 0x7e)
				*p = '?';
		return -EBADMSG;
	}
	ret = metric_run_json(r->run, root);
	json_decref(root);
	return ret;
}

/* Evaluates all expressions. */
static void evaluate(struct metrics_reader *r, struct load_sample *ret_sample)
{
	struct load_sample sample = {0};

	for (unsigned int i = 0; i < LOAD_FIELD_N; i++) {
		double v = 0;

		r->status[i] = metric_run_value(r->run, i, &v);
		if (r->status[i] != METRIC_OK)
			continue;
		r->refused[i] = v;
		if (!field_accepts(fields[i].range, &v)) {
			r->status[i] = METRIC_OUT_OF_RANGE;
			continue;
		}
		sample.value[i] = v;
		sample.has |= LOAD_HAS(i);
	}
	*ret_sample = sample;
}

int metrics_reader_end(struct metrics_reader *reader, enum metrics_end end,
		       struct load_sample *ret_sample)
{
	struct promtext_stats prom;

	assert(end == METRICS_END_FRAMED || end == METRICS_END_CLOSED);
	assert(ret_sample);

	if (reader->failure < 0)
		return reader->failure;
	reader->failure = reader->prom ? end_prom(reader, end) : end_json(reader);
	if (reader->failure < 0) {
		if (!reader->error[0])
			snprintf(reader->error, sizeof(reader->error), "no memory for the page");
		return reader->failure;
	}
	if (reader->prom) {
		promtext_stats(reader->prom, &prom);
		reader->stats.lines = prom.lines;
		reader->stats.samples = prom.samples;
		reader->stats.bad_lines = prom.bad_lines;
		reader->stats.long_lines = prom.long_lines;
	}
	evaluate(reader, ret_sample);
	return 0;
}

const char *metrics_reader_error(const struct metrics_reader *reader)
{
	return reader->error;
}

enum metric_status metrics_reader_status(const struct metrics_reader *reader, enum load_field field)
{
	assert(field < LOAD_FIELD_N);
	return reader->status[field];
}

static const char *status_words(enum metric_status status)
{
	switch (status) {
	case METRIC_OK:
		return "has a value";
	case METRIC_UNUSED:
		return "is not asked for";
	case METRIC_ABSENT:
		return "has no value: nothing in the page matches";
	case METRIC_NOT_FINITE:
		return "has no value: NaN or infinite is";
	case METRIC_DIV_ZERO:
		return "has no value: it divides by zero, see";
	case METRIC_UNREADABLE:
		return "has no value: not readable as a number is";
	case METRIC_TOO_MANY:
		return "has no value: too many samples match";
	case METRIC_OUT_OF_RANGE:
		return "is out of its range";
	}
	return "?";
}

const char *metrics_reader_explain(const struct metrics_reader *reader, enum load_field field,
				   char *buf, size_t size)
{
	const struct metric_expr *e = metric_set_expr(reader->set, field);
	enum metric_status status = metrics_reader_status(reader, field);
	const char *culprit = metric_run_culprit(reader->run, field);
	const char *name = load_field_name(field);
	const char *words = status_words(status);

	assert(size);
	if (status == METRIC_UNUSED || status == METRIC_OK)
		snprintf(buf, size, "%s %s", name, words);
	else if (status == METRIC_OUT_OF_RANGE && fields[field].range == RANGE_FRACTION)
		snprintf(buf, size, "%s = %g from '%s' %s, 0 to 1 (a percentage? divide by 100)",
			 name, reader->refused[field], metric_expr_text(e), words);
	else if (status == METRIC_OUT_OF_RANGE)
		snprintf(buf, size, "%s = %g from '%s' %s", name, reader->refused[field],
			 metric_expr_text(e), words);
	else if (status == METRIC_ABSENT && !culprit)
		snprintf(buf, size, "%s has no value: no two samples of '%s' have the same labels",
			 name, metric_expr_text(e));
	else
		snprintf(buf, size, "%s %s '%s' (expression '%s')", name, words,
			 culprit ? culprit : metric_expr_text(e), metric_expr_text(e));
	return buf;
}

void metrics_reader_stats(const struct metrics_reader *reader, struct metrics_page_stats *ret_stats)
{
	*ret_stats = reader->stats;
}

uint32_t metrics_watch_update(struct metrics_watch *watch, const struct metrics_reader *reader)
{
	uint32_t report = 0;

	if (watch->pages < METRICS_UNMATCHED_PAGES)
		watch->pages++;
	for (unsigned int i = 0; i < LOAD_FIELD_N; i++) {
		const struct metric_expr *e = metric_set_expr(reader->set, i);

		if (e && reader->status[i] != METRIC_ABSENT)
			watch->matched |= LOAD_HAS(i);
		if (e && !metric_expr_optional(e))
			report |= LOAD_HAS(i);
	}
	if (watch->pages < METRICS_UNMATCHED_PAGES)
		return 0;
	report &= ~(watch->matched | watch->reported);
	watch->reported |= report;
	return report;
}
